//! Notices from the provider. A notice may arrive repeatedly, late and in any order, so its effect depends on the status of
//! the payment.

use super::{ATTEMPTS, PaymentError, Payments, Result};
use crate::domain::{Payment, Status};
use localmart_guest::kernel::{Id, Money};
use localmart_guest::sql::Database;

/// A notice from the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The provider holds this amount for the shop.
    Succeeded(Money),
    /// The payment failed for good.
    Failed,
    /// The total of all refunds.
    Refunded(Money),
}

impl<D: Database> Payments<D> {
    /// Applies a notice with this name. A notice that is repeated or outdated has no effect.
    pub(crate) async fn notice(&self, id: &Id, name: &str, notice: Notice) -> Result<Payment> {
        for _ in 0..ATTEMPTS {
            let payment = self.get(id).await?;
            let is_open = matches!(payment.status, Status::Pending | Status::Authorized);
            let done = match notice {
                Notice::Succeeded(amount) if amount != payment.amount => {
                    return Err(PaymentError::Exceeds(payment.amount));
                }
                Notice::Succeeded(_) if is_open => Some(self.succeeded(payment).await?),
                Notice::Failed if is_open => self.provider_failed(payment).await?,
                Notice::Refunded(total) if total.currency() != payment.amount.currency() => {
                    return Err(PaymentError::CurrencyMismatch);
                }
                Notice::Refunded(total) if total.amount() > payment.amount.amount() => {
                    return Err(PaymentError::Exceeds(payment.amount));
                }
                // A refund implies that the amount was captured.
                Notice::Refunded(_) if is_open => {
                    self.succeeded(payment).await?;
                    None
                }
                Notice::Refunded(total) if payment.status.is_refundable() => {
                    self.provider_refunded(payment, name, total.amount())
                        .await?
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

    /// Marks the payment as failed; `None` if it was changed concurrently.
    async fn provider_failed(&self, payment: Payment) -> Result<Option<Payment>> {
        self.provider
            .void(&payment.id, payment.amount.amount())
            .await?;
        let charge = self.provider.charge(&payment.id).await?;
        if charge.is_some_and(|charge| charge.captured > 0) {
            // A concurrent call captured the charge and will store that.
            return Ok(Some(payment));
        }
        let fail = |payment: &mut Payment| {
            payment.status = Status::Failed;
            payment.reason = Some("The card was declined.".to_owned());
        };
        self.write(payment, None, fail).await
    }

    /// Adds the part of the total that is not recorded yet; `None` if the payment was changed concurrently.
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
        let refund_more = |payment: &mut Payment| payment.add_refund(more);
        let written = self.write(payment, Some((name.as_str(), more)), refund_more);
        match written.await? {
            Some(payment) => Ok(Some(self.send_refunds(payment).await?)),
            None => Ok(None),
        }
    }
}
