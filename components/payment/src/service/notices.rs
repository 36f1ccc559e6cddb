//! What the provider tells by itself. It comes again, late and in any order, so what it does depends on how the payment stands.

use super::{ATTEMPTS, PaymentError, Payments, Result};
use crate::domain::{Payment, Status};
use localmart_guest::kernel::{Id, Money};
use localmart_guest::sql::Database;

/// What the provider tells by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It has this money for us.
    Succeeded(Money),
    /// It has nothing, and never will.
    Failed,
    /// It gave back so much in all.
    Refunded(Money),
}

impl<D: Database> Payments<D> {
    /// Applies what the provider tells, known under this name. What comes too late, again or in another order has no effect.
    pub(crate) async fn notice(&self, id: &Id, name: &str, notice: Notice) -> Result<Payment> {
        for _ in 0..ATTEMPTS {
            let payment = self.get(id).await?;
            let under_way = matches!(payment.status, Status::Pending | Status::Authorized);
            let done = match notice {
                Notice::Succeeded(amount) if amount != payment.amount => {
                    return Err(PaymentError::Exceeds(payment.amount));
                }
                Notice::Succeeded(_) if under_way => Some(self.succeeded(payment).await?),
                Notice::Failed if under_way => self.provider_failed(payment).await?,
                Notice::Refunded(total) if total.currency() != payment.amount.currency() => {
                    return Err(PaymentError::CurrencyMismatch);
                }
                Notice::Refunded(total) if total.amount() > payment.amount.amount() => {
                    return Err(PaymentError::Exceeds(payment.amount));
                }
                // Who gives money back has taken it.
                Notice::Refunded(_) if under_way => {
                    self.succeeded(payment).await?;
                    None
                }
                Notice::Refunded(total) if payment.status.holds_money() => {
                    self.provider_refunded(payment, name, total.amount()).await?
                }
                _ => Some(payment),
            };
            if let Some(payment) = done {
                return Ok(payment);
            }
        }
        Err(PaymentError::Contended)
    }

    async fn succeeded(&self, payment: Payment) -> Result<Payment> {
        let settled = self.settle(&payment.id).await?;
        if settled.status == Status::Authorized {
            return self.capture(&payment.id).await;
        }
        Ok(settled)
    }

    /// The provider says that it took nothing and never will; `None` if somebody was faster.
    async fn provider_failed(&self, payment: Payment) -> Result<Option<Payment>> {
        self.provider
            .void(&payment.id, payment.amount.amount())
            .await?;
        let charge = self.provider.charge(&payment.id).await?;
        if charge.is_some_and(|charge| charge.captured > 0) {
            // It was captured at this very moment, and whoever does that writes it down.
            return Ok(Some(payment));
        }
        let fail = |payment: &mut Payment| {
            payment.status = Status::Failed;
            payment.reason = Some("The card was declined.".to_owned());
        };
        self.write(payment, None, fail).await
    }

    /// So much was given back in all: what we know of already is not counted again. `None` if somebody was faster.
    async fn provider_refunded(
        &self,
        payment: Payment,
        name: &str,
        total: u64,
    ) -> Result<Option<Payment>> {
        let name = format!("webhook/{name}");
        let known = self.store.refund(&payment.id, &name).await?.is_some();
        let more = total.saturating_sub(payment.refunded);
        if known || more == 0 {
            return Ok(Some(payment));
        }
        let give = |payment: &mut Payment| payment.give_back(more);
        let written = self.write(payment, Some((name.as_str(), more)), give);
        match written.await? {
            Some(payment) => Ok(Some(self.send_refunds(payment).await?)),
            None => Ok(None),
        }
    }
}
