//! The calls that orders make to other services, in types of this component.

use super::ShortLine;
use super::pricing::Policies;
use localmart_guest::kernel::{Currency, Id, Money, Timestamp, named};
use localmart_guest::wit::Context;

/// A product with its current price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: Id,
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) price: Money,
    pub(crate) published: bool,
}

/// A line of a cart, or of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) product_id: Id,
    pub(crate) quantity: u32,
}

/// A cart as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CartSnapshot {
    pub(crate) id: Id,
    pub(crate) currency: Currency,
    pub(crate) lines: Vec<Line>,
    pub(crate) order_id: Option<Id>,
    pub(crate) version: u64,
}

named! {
    /// The status of a payment, as the payment service reports it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum PaymentStatus {
        Pending = "pending",
        Authorized = "authorized",
        Captured = "captured",
        PartiallyRefunded = "partially_refunded",
        Refunded = "refunded",
        Voided = "voided",
        Failed = "failed",
    }
}

impl From<localmart_events::PaymentStatus> for PaymentStatus {
    fn from(told: localmart_events::PaymentStatus) -> Self {
        use localmart_events::PaymentStatus as Told;
        match told {
            Told::Captured => Self::Captured,
            Told::Failed => Self::Failed,
            Told::PartiallyRefunded => Self::PartiallyRefunded,
            Told::Refunded => Self::Refunded,
        }
    }
}

/// The parts of a payment that an order needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: Id,
    pub(crate) status: PaymentStatus,
    /// Grows with every change.
    pub(crate) version: u64,
}

/// A refund for a return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) amount: Money,
    pub(crate) payment: Payment,
}

/// Why a call to another service failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    /// The service is not available, and the effect of the call is unknown. Retryable.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The service has no such object.
    #[error("not found")]
    NotFound,
    /// The cart was already completed by this order.
    #[error("the cart was already ordered with order {0}")]
    CartCompleted(Id),
    /// The cart has another version.
    #[error("the cart changed")]
    CartChanged,
    /// Not enough stock.
    #[error("not enough stock")]
    Insufficient(Vec<ShortLine>),
    /// The reservation was released or has expired.
    #[error("the reservation was released or has expired")]
    ReservationLost,
    /// The card was refused, with the provider's explanation.
    #[error("declined")]
    Declined(String),
    /// The provider did not answer in time; the payment is pending.
    #[error("the payment provider has not answered yet")]
    NoAnswer(Payment),
    /// The payment was voided or refunded and cannot continue.
    #[error("the payment has ended")]
    PaymentEnded,
}

pub(crate) type LinkResult<T> = Result<T, LinkError>;

/// The calls to other services.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub(crate) trait Links: Policies {
    async fn products(&self, context: &Context, ids: &[Id]) -> LinkResult<Vec<Product>>;
    async fn cart(&self, context: &Context, id: &Id) -> LinkResult<CartSnapshot>;
    async fn complete_cart(
        &self,
        context: &Context,
        id: &Id,
        order: &Id,
        version: u64,
    ) -> LinkResult<()>;
    async fn reopen_cart(&self, context: &Context, id: &Id, order: &Id) -> LinkResult<()>;
    async fn reserve(
        &self,
        context: &Context,
        order: &Id,
        lines: &[Line],
        until: Timestamp,
    ) -> LinkResult<()>;
    async fn confirm(&self, context: &Context, order: &Id) -> LinkResult<()>;
    async fn release(&self, context: &Context, order: &Id) -> LinkResult<()>;
    async fn restock(&self, context: &Context, order: &Id) -> LinkResult<()>;
    /// Returns these pieces of a sale to stock, once per return.
    async fn take_back(
        &self,
        context: &Context,
        order: &Id,
        return_id: &Id,
        lines: &[Line],
    ) -> LinkResult<()>;
    /// The e-mail address of a user.
    async fn email(&self, context: &Context, user: &str) -> LinkResult<String>;
    async fn authorize(
        &self,
        context: &Context,
        order: &Id,
        customer: Option<&str>,
        amount: Money,
        token: &str,
    ) -> LinkResult<Payment>;
    async fn capture(&self, context: &Context, payment: &Id) -> LinkResult<Payment>;
    async fn settle(&self, context: &Context, payment: &Id) -> LinkResult<Payment>;
    /// Refunds an amount, or the rest of the payment if that is less, once per name.
    async fn refund(
        &self,
        context: &Context,
        payment: &Id,
        name: &str,
        at_most: Money,
    ) -> LinkResult<Refund>;
    /// Reverses the payment of an order, if there is one.
    async fn reverse(&self, context: &Context, order: &Id) -> LinkResult<Option<Payment>>;
}
