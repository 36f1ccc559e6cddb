//! What checkout needs of the other services, in order's own words.

use super::ShortLine;
use super::pricing::Policies;
use localmart_guest::kernel::{Currency, Id, Money, Timestamp};
use localmart_guest::wit::Context;

/// A product as it is sold now.
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

/// A payment, as far as an order cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: Id,
    /// The word in the order's `payment.status`.
    pub(crate) status: &'static str,
    /// Grows with every change.
    pub(crate) version: u64,
}

/// Money given back for a return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) amount: Money,
    pub(crate) payment: Payment,
}

/// A service that does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    /// It cannot answer now; nothing is known of what happened. Retryable.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It has no such thing.
    #[error("not found")]
    NotFound,
    /// The cart became this order.
    #[error("the cart already is order {0}")]
    CartCompleted(Id),
    /// The cart is in another version.
    #[error("the cart changed")]
    CartChanged,
    /// Not enough stock.
    #[error("not enough stock")]
    Insufficient(Vec<ShortLine>),
    /// The reservation is gone.
    #[error("the reservation is gone")]
    ReservationLost,
    /// The card was refused, in the provider's words.
    #[error("declined")]
    Declined(String),
    /// The provider did not answer; the payment is pending.
    #[error("no answer yet")]
    NoAnswer(Payment),
    /// The payment was ended and cannot go on.
    #[error("the payment is over")]
    PaymentEnded,
}

pub(crate) type LinkResult<T> = Result<T, LinkError>;

/// The other services.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub(crate) trait Links: Policies {
    async fn products(&self, context: &Context, ids: &[Id]) -> LinkResult<Vec<Product>>;
    async fn cart(&self, context: &Context, id: &Id) -> LinkResult<CartSnapshot>;
    async fn complete_cart(&self, context: &Context, id: &Id, order: &Id, version: u64)
    -> LinkResult<()>;
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
    /// Takes these pieces of a sale back, once per return.
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
    /// Gives so much back, or what is left, once per name.
    async fn refund(
        &self,
        context: &Context,
        payment: &Id,
        name: &str,
        at_most: Money,
    ) -> LinkResult<Refund>;
    /// Ends the payment of an order, if it has one.
    async fn reverse(&self, context: &Context, order: &Id) -> LinkResult<Option<Payment>>;
}
