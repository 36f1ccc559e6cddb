//! Giving goods back: which of an order's items, and what was paid for them. No clock, no I/O.

use super::{Item, Order};
use localmart_guest::kernel::money::Rounding;
use localmart_guest::kernel::{Id, Money, MoneyError, Timestamp};

/// Where a return stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReturnStatus {
    Requested,
    /// Staff said yes; money and goods are on their way.
    Approving,
    Approved,
    Rejected,
}

impl ReturnStatus {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Requested, "requested"),
        (Self::Approving, "approving"),
        (Self::Approved, "approved"),
        (Self::Rejected, "rejected"),
    ];

    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(status, _)| *status == self);
        found.map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(status, _)| *status)
    }
}

/// Pieces of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pieces {
    pub(crate) product_id: Id,
    pub(crate) quantity: u32,
}

/// Something of an order given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Return {
    pub(crate) id: Id,
    /// What whoever asked for it called it, so that asking twice is asking once.
    pub(crate) name: String,
    pub(crate) status: ReturnStatus,
    pub(crate) items: Vec<Pieces>,
    pub(crate) reason: String,
    /// What is to be given back for it; once approved, what was.
    pub(crate) refund: Money,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Why pieces cannot be given back; places are those in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReturnError {
    /// The order has no such product.
    NotOrdered(usize),
    /// More than is left of it.
    TooMany { place: usize, left: u32 },
}

/// What is owed for pieces of an order. What was paid for an item is divided so that all its pieces together give back
/// exactly that; whoever gives everything back gets everything back, shipping too.
pub(crate) fn refund_of(order: &Order, pieces: &[Pieces]) -> Result<Money, ReturnError> {
    let mut owed = Money::zero(order.totals.total.currency());
    for (place, wanted) in pieces.iter().enumerate() {
        let mut items = order.items.iter();
        let item = items.find(|item| item.product_id == wanted.product_id);
        let item = item.ok_or(ReturnError::NotOrdered(place))?;
        let before = given_back(order, &item.product_id);
        let left = item.quantity.saturating_sub(before);
        if wanted.quantity > left {
            return Err(ReturnError::TooMany { place, left });
        }
        let share = |pieces| share(item, pieces).unwrap_or(owed);
        let part = share(before + wanted.quantity).minus(share(before));
        owed = part.and_then(|part| owed.plus(part)).unwrap_or(owed);
    }
    if is_everything(order, pieces) {
        return Ok(rest(order).unwrap_or(owed));
    }
    Ok(owed)
}

/// Whether nothing is left of the order once these pieces are back.
pub(crate) fn is_everything(order: &Order, pieces: &[Pieces]) -> bool {
    order.items.iter().all(|item| {
        let now = pieces
            .iter()
            .filter(|piece| piece.product_id == item.product_id)
            .map(|piece| piece.quantity)
            .sum::<u32>();
        given_back(order, &item.product_id) + now >= item.quantity
    })
}

/// The order's total without what was given back for earlier returns.
fn rest(order: &Order) -> Result<Money, MoneyError> {
    let mut earlier = approved(order).map(|earlier| earlier.refund);
    earlier.try_fold(order.totals.total, Money::minus)
}

/// What was paid for so many pieces of an item, rounded down.
fn share(item: &Item, pieces: u32) -> Result<Money, MoneyError> {
    let paid = item.line_total.minus(item.discount)?.plus(item.tax)?;
    paid.fraction(pieces.into(), item.quantity.into(), Rounding::Down)
}

/// Pieces of a product that came back before.
fn given_back(order: &Order, product: &Id) -> u32 {
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
