//! The WIT exports of payment.

use crate::bindings::exports::localmart::payment::payment::{
    Error, Payment as WitPayment, Refund as WitRefund, Status as WitStatus,
};
use crate::domain::{Payment, Refund, Status};
use crate::service::PaymentError;

#[cfg(target_arch = "wasm32")]
mod component {
    use super::{refund_to_wit, to_wit};
    use crate::Wired;
    use crate::bindings::exports::localmart::payment::payment::{Error, Guest, Payment, Refund};
    use crate::domain::Excess;
    use localmart_guest::kernel::{Id, Money};
    use localmart_guest::service::instance;
    use localmart_guest::wit::{Context, types};

    struct Component;
    crate::bindings::export!(Component with_types_in crate::bindings);

    async fn payments(context: &Context) -> Result<Wired, Error> {
        let wired = instance::<Wired>().await;
        let wired = wired.map_err(|error| Error::Other(error.to_string()))?;
        Ok(wired.on_behalf_of(context))
    }

    fn id(text: &str) -> Result<Id, Error> {
        Id::parse(text).ok_or(Error::NotFound)
    }

    impl Guest for Component {
        async fn find(context: Context, order_id: String) -> Result<Payment, Error> {
            Ok(to_wit(
                payments(&context).await?.find(&id(&order_id)?).await?,
            ))
        }

        async fn authorize(
            context: Context,
            order_id: String,
            customer_id: Option<String>,
            amount: types::Money,
            token: String,
        ) -> Result<Payment, Error> {
            let amount =
                Money::try_from(amount).map_err(|error| Error::Other(error.to_string()))?;
            Ok(to_wit(
                payments(&context)
                    .await?
                    .authorize(&id(&order_id)?, customer_id.as_deref(), amount, &token)
                    .await?,
            ))
        }

        async fn capture(context: Context, payment_id: String) -> Result<Payment, Error> {
            Ok(to_wit(
                payments(&context).await?.capture(&id(&payment_id)?).await?,
            ))
        }

        async fn reverse(context: Context, payment_id: String) -> Result<Payment, Error> {
            Ok(to_wit(
                payments(&context).await?.reverse(&id(&payment_id)?).await?,
            ))
        }

        async fn give_back(
            context: Context,
            payment_id: String,
            name: String,
            at_most: types::Money,
        ) -> Result<Refund, Error> {
            let amount =
                Money::try_from(at_most).map_err(|error| Error::Other(error.to_string()))?;
            let payments = payments(&context).await?;
            let id = id(&payment_id)?;
            let refund = payments.refund(&id, &name, amount, Excess::Capped);
            Ok(refund_to_wit(refund.await?))
        }

        async fn settle(context: Context, payment_id: String) -> Result<Payment, Error> {
            Ok(to_wit(
                payments(&context).await?.settle(&id(&payment_id)?).await?,
            ))
        }
    }
}

fn to_wit(payment: Payment) -> WitPayment {
    WitPayment {
        id: payment.id.into(),
        order_id: payment.order_id.into(),
        status: status_to_wit(payment.status),
        amount: payment.amount.into(),
        captured: payment.captured,
        refunded: payment.refunded,
        version: payment.version,
    }
}

fn refund_to_wit(refund: Refund) -> WitRefund {
    WitRefund {
        amount: refund.amount,
        payment: to_wit(refund.payment),
    }
}

fn status_to_wit(status: Status) -> WitStatus {
    match status {
        Status::Pending => WitStatus::Pending,
        Status::Authorized => WitStatus::Authorized,
        Status::Captured => WitStatus::Captured,
        Status::PartiallyRefunded => WitStatus::PartiallyRefunded,
        Status::Refunded => WitStatus::Refunded,
        Status::Voided => WitStatus::Voided,
        Status::Failed => WitStatus::Failed,
    }
}

impl From<PaymentError> for Error {
    fn from(error: PaymentError) -> Self {
        use localmart_guest::sql::SqlError;
        match error {
            PaymentError::Declined(words) => Self::Declined(words),
            PaymentError::NoAnswer(payment) => Self::NoAnswer(to_wit(*payment)),
            PaymentError::NotFound => Self::NotFound,
            PaymentError::IllegalState(status) => Self::IllegalState(status_to_wit(status)),
            PaymentError::Exceeds(left) => Self::Exceeds(left.into()),
            PaymentError::ProviderFailed | PaymentError::Contended => {
                Self::Unavailable(error.to_string())
            }
            PaymentError::Sql(SqlError::Unavailable(reason)) => Self::Unavailable(reason),
            other => Self::Other(other.to_string()),
        }
    }
}
