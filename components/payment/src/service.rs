//! The operations on payments: one function each. The provider's records are authoritative; the payments here follow them.

mod notices;

pub(crate) use notices::Notice;

use crate::DECLARED;
use crate::domain::{Excess, Payment, Refund, Status};
use crate::provider::{Answer, Provider};
use crate::store::Store;
use localmart_guest::config::ConfigError;
use localmart_guest::kernel::{Id, Money};
use localmart_guest::point;
use localmart_guest::ports::Ports;
use localmart_guest::service::Wire;
use localmart_guest::sql::{Database, SqlError};
use localmart_guest::wit::Context;
use std::time::Duration;

/// How long a call to the provider may take.
pub(crate) const PROVIDER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a failing call to the provider, or a change that conflicts with others, is tried.
const ATTEMPTS: u32 = 4;
/// The pause before the first retry. It doubles with every retry.
const BACKOFF: Duration = Duration::from_millis(50);
/// The name of the refund that reverses a payment.
const REVERSAL: &str = "reversal";
/// For how many payments one sweep sends refunds to the provider.
const SWEEP_PAYMENTS: u32 = 100;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PaymentError {
    #[error("{0}")]
    Declined(String),
    #[error("the provider did not answer in time")]
    NoAnswer(Box<Payment>),
    #[error("there is no such payment")]
    NotFound,
    #[error("the payment is {}", .0.name())]
    IllegalState(Status),
    #[error("the amount is larger than {0}")]
    Exceeds(Money),
    #[error("the payment has another currency")]
    CurrencyMismatch,
    #[error("the provider failed repeatedly")]
    ProviderFailed,
    #[error("the payment is being changed concurrently")]
    Contended,
    #[error(transparent)]
    Sql(#[from] SqlError),
}

type Result<T> = std::result::Result<T, PaymentError>;

/// The operations on payments.
pub(crate) struct Payments<D> {
    store: Store<D>,
    provider: Provider<D>,
    ports: Ports,
    context: Context,
}

impl<D: Database + From<&'static str>> Wire for Payments<D> {
    async fn wire(ports: Ports) -> std::result::Result<Self, ConfigError> {
        Ok(Self::new(D::from(DECLARED.noun), ports))
    }
}

impl<D: Database> Payments<D> {
    pub(crate) fn new(database: D, ports: Ports) -> Self {
        Self {
            store: Store {
                database: database.clone(),
            },
            provider: Provider::new(database),
            ports,
            context: Context::system(""),
        }
    }

    /// The same operations on behalf of the actor in a context.
    pub(crate) fn on_behalf_of(&self, context: &Context) -> Self {
        Self {
            store: self.store.clone(),
            provider: self.provider.clone(),
            ports: self.ports.clone(),
            context: context.clone(),
        }
    }

    pub(crate) async fn get(&self, id: &Id) -> Result<Payment> {
        self.store.by_id(id).await?.ok_or(PaymentError::NotFound)
    }

    pub(crate) async fn find(&self, order: &Id) -> Result<Payment> {
        self.store
            .by_order(order)
            .await?
            .ok_or(PaymentError::NotFound)
    }

    /// Authorises the amount of an order. A repeated call continues where the previous one stopped.
    pub(crate) async fn authorize(
        &self,
        order: &Id,
        customer: Option<&str>,
        amount: Money,
        token: &str,
    ) -> Result<Payment> {
        let now = self.ports.now();
        let new_payment = Payment {
            id: self.ports.new_id(),
            order_id: order.clone(),
            customer_id: customer.map(str::to_owned),
            status: Status::Pending,
            amount,
            captured: 0,
            refunded: 0,
            refund_sent: 0,
            reason: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        self.store.insert(&new_payment).await?;
        let payment = self.find(order).await?;
        match payment.status {
            Status::Pending => {}
            Status::Failed => {
                return Err(PaymentError::Declined(payment.reason.unwrap_or_default()));
            }
            Status::Voided | Status::Refunded => {
                return Err(PaymentError::IllegalState(payment.status));
            }
            Status::Authorized | Status::Captured | Status::PartiallyRefunded => {
                return Ok(payment);
            }
        }
        if payment.amount != amount {
            return Err(PaymentError::Exceeds(payment.amount));
        }
        match self.authorize_with_retries(&payment, token).await? {
            Answer::Authorized => {
                self.apply(payment, |payment| payment.status = Status::Authorized)
                    .await
            }
            Answer::Refused(words) => {
                let refuse = |payment: &mut Payment| {
                    payment.status = Status::Failed;
                    payment.reason = Some(words.to_owned());
                };
                self.apply(payment, refuse).await?;
                Err(PaymentError::Declined(words.to_owned()))
            }
            Answer::Failed => Err(PaymentError::ProviderFailed),
            Answer::Timeout => {
                self.ports.sleep(PROVIDER_TIMEOUT).await;
                // A notice from the provider may have arrived meanwhile.
                let payment = self.get(&payment.id).await?;
                match payment.status {
                    Status::Pending => Err(PaymentError::NoAnswer(Box::new(payment))),
                    Status::Failed => {
                        Err(PaymentError::Declined(payment.reason.unwrap_or_default()))
                    }
                    Status::Voided | Status::Refunded => {
                        Err(PaymentError::IllegalState(payment.status))
                    }
                    Status::Authorized | Status::Captured | Status::PartiallyRefunded => {
                        Ok(payment)
                    }
                }
            }
        }
    }

    async fn authorize_with_retries(&self, payment: &Payment, token: &str) -> Result<Answer> {
        let mut pause = BACKOFF;
        for _ in 1..ATTEMPTS {
            let answer = self
                .provider
                .authorize(&payment.id, payment.amount.amount(), token)
                .await?;
            if answer != Answer::Failed {
                return Ok(answer);
            }
            self.ports.sleep(pause).await;
            pause *= 2;
        }
        Ok(self
            .provider
            .authorize(&payment.id, payment.amount.amount(), token)
            .await?)
    }

    /// Captures the whole authorised amount.
    pub(crate) async fn capture(&self, id: &Id) -> Result<Payment> {
        let payment = self.get(id).await?;
        match payment.status {
            Status::Authorized => {}
            Status::Captured | Status::PartiallyRefunded => return Ok(payment),
            other => return Err(PaymentError::IllegalState(other)),
        }
        let captured = self.provider.capture(id).await?;
        point("payment.captured").await;
        self.apply(payment, |payment| {
            payment.status = Status::Captured;
            payment.captured = captured;
        })
        .await
    }

    /// Reverses a payment: voids the authorisation, or refunds what was captured. Repeats if the payment is changed
    /// concurrently.
    pub(crate) async fn reverse(&self, id: &Id) -> Result<Payment> {
        for _ in 0..ATTEMPTS {
            let payment = self.get(id).await?;
            let ended = match payment.status {
                Status::Failed | Status::Voided | Status::Refunded => return Ok(payment),
                Status::Pending | Status::Authorized => {
                    self.provider.void(id, payment.amount.amount()).await?;
                    let charge = self.provider.charge(id).await?;
                    // A concurrent capture may have preceded the void; then the amount is refunded.
                    let captured = charge.map_or(0, |charge| charge.captured);
                    self.refund_or_void(payment, captured).await?
                }
                Status::Captured | Status::PartiallyRefunded => {
                    let captured = payment.captured;
                    self.refund_or_void(payment, captured).await?
                }
            };
            if let Some(payment) = ended {
                return Ok(payment);
            }
        }
        Err(PaymentError::Contended)
    }

    /// Refunds the rest of the captured amount, or marks the payment as voided if nothing was captured. `None` if the payment
    /// was changed concurrently.
    async fn refund_or_void(&self, payment: Payment, captured: u64) -> Result<Option<Payment>> {
        if captured == 0 {
            let void = |payment: &mut Payment| payment.status = Status::Voided;
            return self.write(payment, None, void).await;
        }
        let rest = captured.saturating_sub(payment.refunded);
        let refund = |payment: &mut Payment| {
            payment.captured = captured;
            payment.add_refund(rest);
        };
        let written = self.write(payment, Some((REVERSAL, rest)), refund).await?;
        match written {
            Some(payment) => Ok(Some(self.send_refunds(payment).await?)),
            None => Ok(None),
        }
    }

    /// Refunds an amount, once per name.
    pub(crate) async fn refund(
        &self,
        id: &Id,
        name: &str,
        amount: Money,
        excess: Excess,
    ) -> Result<Refund> {
        for _ in 0..ATTEMPTS {
            let payment = self.get(id).await?;
            if let Some(amount) = self.store.refund(id, name).await? {
                let payment = self.send_refunds(payment).await?;
                return Ok(Refund { amount, payment });
            }
            let amount = allowed_refund(&payment, amount, excess)?;
            if amount == 0 {
                return Ok(Refund { amount, payment });
            }
            // Written before it is sent, over the version that was read, so that concurrent refunds cannot both succeed.
            let refund_more = |payment: &mut Payment| payment.add_refund(amount);
            if let Some(payment) = self
                .write(payment, Some((name, amount)), refund_more)
                .await?
            {
                point("payment.refunded").await;
                let payment = self.send_refunds(payment).await?;
                return Ok(Refund { amount, payment });
            }
        }
        Err(PaymentError::Contended)
    }

    /// Sends the total of all refunds to the provider. If the process dies before, the sweep sends it.
    async fn send_refunds(&self, payment: Payment) -> Result<Payment> {
        let total = payment.refunded;
        if payment.refund_sent < total {
            self.provider.refund_up_to(&payment.id, total).await?;
            self.store.mark_refund_sent(&payment.id, total).await?;
        }
        Ok(Payment {
            refund_sent: total,
            ..payment
        })
    }

    /// Sends refunds that the provider may not have received; returns the number of payments.
    pub(crate) async fn sweep(&self) -> Result<usize> {
        let unsent_refunds = self.store.unsent_refunds(SWEEP_PAYMENTS).await?;
        let count = unsent_refunds.len();
        for payment in unsent_refunds {
            self.send_refunds(payment).await?;
        }
        Ok(count)
    }

    /// Asks the provider for the result of a pending payment and stores it.
    pub(crate) async fn settle(&self, id: &Id) -> Result<Payment> {
        let payment = self.get(id).await?;
        if payment.status != Status::Pending {
            return Ok(payment);
        }
        let charge = self.provider.charge(id).await?;
        match charge.as_ref().map(|charge| charge.status.as_str()) {
            Some("held" | "captured") => {
                self.apply(payment, |payment| payment.status = Status::Authorized)
                    .await
            }
            Some("refused") => {
                let refuse = |payment: &mut Payment| {
                    payment.status = Status::Failed;
                    payment.reason = Some("The card was declined.".to_owned());
                };
                self.apply(payment, refuse).await
            }
            // The provider has no decided charge. Voiding it ensures that none will be authorised.
            _ => {
                self.provider.void(id, payment.amount.amount()).await?;
                self.apply(payment, |payment| payment.status = Status::Voided)
                    .await
            }
        }
    }

    /// Writes a change. If the payment was changed concurrently, returns it as it is now.
    async fn apply(&self, payment: Payment, change: impl FnOnce(&mut Payment)) -> Result<Payment> {
        let id = payment.id.clone();
        match self.write(payment, None, change).await? {
            Some(payment) => Ok(payment),
            None => self.get(&id).await,
        }
    }

    async fn write(
        &self,
        mut payment: Payment,
        refund: Option<(&str, u64)>,
        change: impl FnOnce(&mut Payment),
    ) -> Result<Option<Payment>> {
        change(&mut payment);
        let now = self.ports.now();
        let updating = self
            .store
            .update(&payment, refund, &self.context, &self.ports);
        let written = updating.await?;
        payment.version += 1;
        payment.updated_at = now;
        Ok(written.then_some(payment))
    }
}

/// The amount of a requested refund that can be refunded.
fn allowed_refund(payment: &Payment, asked: Money, excess: Excess) -> Result<u64> {
    let left = payment.refundable();
    let spent = payment.status == Status::Refunded && excess == Excess::Capped;
    if !payment.status.is_refundable() && !spent {
        return Err(PaymentError::IllegalState(payment.status));
    }
    if asked.currency() != payment.amount.currency() {
        return Err(PaymentError::CurrencyMismatch);
    }
    match excess {
        Excess::Capped => Ok(asked.amount().min(left)),
        Excess::Refused if (1..=left).contains(&asked.amount()) => Ok(asked.amount()),
        Excess::Refused => {
            let left = Money::new(left, payment.amount.currency()).unwrap_or(asked);
            Err(PaymentError::Exceeds(left))
        }
    }
}
