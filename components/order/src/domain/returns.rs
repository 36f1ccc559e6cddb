//! Returns: which items of an order, and the amount to refund. No clock, no I/O.

use super::{Item, Order};
use localmart_guest::kernel::money::Rounding;
use localmart_guest::kernel::{Id, Money, MoneyError, Timestamp, named};

named! {
    /// The status of a return.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum ReturnStatus {
        Requested = "requested",
        /// Staff approved the return; refund and restocking are in progress.
        Approving = "approving",
        Approved = "approved",
        Rejected = "rejected",
    }
}

/// A number of pieces of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pieces {
    pub(crate) product_id: Id,
    pub(crate) quantity: u32,
}

/// A return of items of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Return {
    pub(crate) id: Id,
    /// A name from the request, so that a repeated request has one effect.
    pub(crate) name: String,
    pub(crate) status: ReturnStatus,
    pub(crate) items: Vec<Pieces>,
    pub(crate) reason: String,
    /// The amount to refund; once approved, the refunded amount.
    pub(crate) refund: Money,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Why pieces cannot be returned. Indexes refer to the lines of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReturnError {
    #[error("line {0}: the order has no such product")]
    NotOrdered(usize),
    /// The quantity is larger than the number of pieces that were not returned before.
    #[error("line {index}: at most {left} can be returned")]
    TooMany { index: usize, left: u32 },
    /// The stored amounts contradict each other, so no refund can be computed.
    #[error("the amounts of the order do not add up: {0}")]
    Amounts(#[from] MoneyError),
}

/// The refund for pieces of an order. The price of an item is divided so that all its pieces together give exactly the amount
/// paid. If all items are returned, the refund is the rest of the total, including shipping.
pub(crate) fn refund_of(order: &Order, pieces: &[Pieces]) -> Result<Money, ReturnError> {
    let mut owed = Money::zero(order.totals.total.currency());
    for (index, wanted) in pieces.iter().enumerate() {
        let mut items = order.items.iter();
        let item = items.find(|item| item.product_id == wanted.product_id);
        let item = item.ok_or(ReturnError::NotOrdered(index))?;
        let before = returned_pieces(order, &item.product_id);
        let left = item.quantity.saturating_sub(before);
        if wanted.quantity > left {
            return Err(ReturnError::TooMany { index, left });
        }
        let part = share(item, before + wanted.quantity)?.minus(share(item, before)?)?;
        owed = owed.plus(part)?;
    }
    if is_everything(order, pieces) {
        return Ok(rest(order)?);
    }
    Ok(owed)
}

/// Whether all pieces of the order are returned once these are.
pub(crate) fn is_everything(order: &Order, pieces: &[Pieces]) -> bool {
    order.items.iter().all(|item| {
        let now = pieces
            .iter()
            .filter(|piece| piece.product_id == item.product_id)
            .map(|piece| piece.quantity)
            .sum::<u32>();
        returned_pieces(order, &item.product_id) + now >= item.quantity
    })
}

/// The total of the order minus the refunds of earlier returns.
fn rest(order: &Order) -> Result<Money, MoneyError> {
    let mut earlier = approved(order).map(|earlier| earlier.refund);
    earlier.try_fold(order.totals.total, Money::minus)
}

/// The amount paid for a number of pieces of an item, rounded down.
fn share(item: &Item, pieces: u32) -> Result<Money, MoneyError> {
    let paid = item.line_total.minus(item.discount)?.plus(item.tax)?;
    paid.fraction(pieces.into(), item.quantity.into(), Rounding::Down)
}

/// The number of pieces of a product that were returned before.
fn returned_pieces(order: &Order, product: &Id) -> u32 {
    approved(order)
        .flat_map(|earlier| &earlier.items)
        .filter(|piece| piece.product_id == *product)
        .map(|piece| piece.quantity)
        .sum()
}

fn approved(order: &Order) -> impl Iterator<Item = &Return> {
    let returns = order.returns.iter();
    returns.filter(|earlier| earlier.status == ReturnStatus::Approved)
}
