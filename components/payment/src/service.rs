//! What can be asked of payment: one verb per function. The provider's memory is the truth about money; ours follows it.

mod notices;

pub(crate) use notices::Notice;

use crate::domain::{Excess, Payment, Refund, Status};
use crate::provider::{Answer, Provider};
use crate::store::Store;
use localmart_guest::kernel::{Id, Money};
use localmart_guest::point;
use localmart_guest::ports::Ports;
use localmart_guest::sql::{Database, SqlError};
use localmart_guest::wit::Context;
use std::time::Duration;

/// How long the provider may think before we stop waiting.
pub(crate) const PROVIDER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a broken provider is asked again, or a payment looked at that others change.
const ATTEMPTS: u32 = 4;
/// The pause before the first repetition; it doubles.
const BACKOFF: Duration = Duration::from_millis(50);
/// The name of the refund that ends a payment.
const REVERSAL: &str = "reversal";
/// How many payments one sweep tells the provider about.
const SWEEP_PAYMENTS: u32 = 100;

/// Why a verb was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PaymentError {
    #[error("{0}")]
    Declined(String),
    #[error("the provider does not answer")]
    NoAnswer(Box<Payment>),
    #[error("there is no such payment")]
    NotFound,
    #[error("the payment is {}", .0.name())]
    IllegalState(Status),
    #[error("more than there is: {0}")]
    Exceeds(Money),
    #[error("the currency is another")]
    CurrencyMismatch,
    #[error("the provider is broken")]
    ProviderBroken,
    #[error("somebody else is changing the payment")]
    Contended,
    #[error(transparent)]
    Sql(#[from] SqlError),
}

type Result<T> = std::result::Result<T, PaymentError>;

/// Payments.
pub(crate) struct Payments<D> {
    store: Store<D>,
    provider: Provider<D>,
    ports: Ports,
    context: Context,
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

    /// The same payments, changed on somebody's behalf.
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

    /// Holds the money of an order. Repeated, it goes on where it was.
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
            Answer::Held => {
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
            Answer::Broken => Err(PaymentError::ProviderBroken),
            Answer::Silent => {
                self.ports.sleep(PROVIDER_TIMEOUT).await;
                // It may have told by itself meanwhile.
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
            if answer != Answer::Broken {
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

    /// Takes all of the held money.
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

    /// Ends a payment that keeps nothing. If somebody else changes it meanwhile, it is looked at again.
    pub(crate) async fn reverse(&self, id: &Id) -> Result<Payment> {
        for _ in 0..ATTEMPTS {
            let payment = self.get(id).await?;
            let ended = match payment.status {
                Status::Failed | Status::Voided | Status::Refunded => return Ok(payment),
                Status::Pending | Status::Authorized => {
                    self.provider.void(id, payment.amount.amount()).await?;
                    let charge = self.provider.charge(id).await?;
                    // A capture that was under way may have been faster than the void; then it is refunded instead.
                    let captured = charge.map_or(0, |charge| charge.captured);
                    self.give_back(payment, captured).await?
                }
                Status::Captured | Status::PartiallyRefunded => {
                    let captured = payment.captured;
                    self.give_back(payment, captured).await?
                }
            };
            if let Some(payment) = ended {
                return Ok(payment);
            }
        }
        Err(PaymentError::Contended)
    }

    /// Refunds all of what was captured, or writes down that nothing was; `None` if somebody was faster.
    async fn give_back(&self, payment: Payment, captured: u64) -> Result<Option<Payment>> {
        if captured == 0 {
            let void = |payment: &mut Payment| payment.status = Status::Voided;
            return self.write(payment, None, void).await;
        }
        let rest = captured.saturating_sub(payment.refunded);
        let refund = |payment: &mut Payment| {
            payment.captured = captured;
            payment.give_back(rest);
        };
        let written = self.write(payment, Some((REVERSAL, rest)), refund).await?;
        match written {
            Some(payment) => Ok(Some(self.send_refunds(payment).await?)),
            None => Ok(None),
        }
    }

    /// Gives some of the money back, once per name.
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
            let amount = allowed(&payment, amount, excess)?;
            if amount == 0 {
                return Ok(Refund { amount, payment });
            }
            // Written first, with the name and over the version that was looked at: two at once cannot both pass.
            let give = |payment: &mut Payment| payment.give_back(amount);
            if let Some(payment) = self.write(payment, Some((name, amount)), give).await? {
                point("payment.refunded").await;
                let payment = self.send_refunds(payment).await?;
                return Ok(Refund { amount, payment });
            }
        }
        Err(PaymentError::Contended)
    }

    /// Tells the provider what was given back in all. If this process dies before, the sweep tells it.
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

    /// Tells the provider of refunds that it may not know; returns of how many payments.
    pub(crate) async fn sweep(&self) -> Result<usize> {
        let unsent_refunds = self.store.unsent_refunds(SWEEP_PAYMENTS).await?;
        let count = unsent_refunds.len();
        for payment in unsent_refunds {
            self.send_refunds(payment).await?;
        }
        Ok(count)
    }

    /// Asks the provider what became of a pending payment and writes it down.
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
            // The provider never heard of it: nothing was held, nothing will be.
            _ => {
                self.provider.void(id, payment.amount.amount()).await?;
                self.apply(payment, |payment| payment.status = Status::Voided)
                    .await
            }
        }
    }

    /// Writes a change; if somebody was faster, what they wrote stands.
    async fn apply(
        &self,
        payment: Payment,
        change: impl FnOnce(&mut Payment),
    ) -> Result<Payment> {
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

/// How much of what is asked back can be given back.
fn allowed(payment: &Payment, asked: Money, excess: Excess) -> Result<u64> {
    let left = payment.refundable();
    let spent = payment.status == Status::Refunded && excess == Excess::Capped;
    if !payment.status.holds_money() && !spent {
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
