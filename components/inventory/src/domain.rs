//! Stock levels, reservation states, and the link that the service needs. No clock, no I/O.

use localmart_guest::kernel::{Id, named};
use localmart_guest::wit::Context;

/// The largest number of pieces in one adjustment.
pub(crate) const MAX_DELTA: i64 = 1_000_000_000;
/// The largest stock of one product. It keeps sums far below the maximum of a BIGINT.
pub(crate) const MAX_ON_HAND: i64 = 1_000_000_000_000;

/// A product is low on stock if at most this many pieces are available.
pub(crate) const LOW_STOCK: i64 = 5;

/// The stock of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) product_id: Id,
    pub(crate) on_hand: u64,
    pub(crate) reserved: u64,
}

impl Level {
    pub(crate) fn none(product_id: Id) -> Self {
        Self {
            product_id,
            on_hand: 0,
            reserved: 0,
        }
    }

    pub(crate) fn available(&self) -> u64 {
        self.on_hand.saturating_sub(self.reserved)
    }
}

/// A line to reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) product_id: Id,
    pub(crate) quantity: u32,
}

/// A line that could not be reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) product_id: Id,
    pub(crate) requested: u32,
    pub(crate) available: u64,
}

named! {
    /// The state of a reservation.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum ReservationState {
        Held = "held",
        Sold = "sold",
        Released = "released",
        Restocked = "restocked",
    }
}

/// Merges lines of the same product and sorts by product, so that concurrent orders lock products in the same order and
/// cannot deadlock.
pub(crate) fn merged(lines: &[Line]) -> Vec<Line> {
    let mut merged: Vec<Line> = Vec::new();
    for line in lines {
        match merged
            .iter_mut()
            .find(|known| known.product_id == line.product_id)
        {
            Some(known) => known.quantity = known.quantity.saturating_add(line.quantity),
            None => merged.push(line.clone()),
        }
    }
    merged.sort_by(|a, b| a.product_id.cmp(&b.product_id));
    merged
}

/// The catalog failed or is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the catalog is not available: {0}")]
pub(crate) struct LinkError(pub(crate) String);

/// The link of the inventory service to the catalog.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub(crate) trait Links {
    /// Whether a product with this id exists, published or not.
    async fn exists(&self, context: &Context, id: &Id) -> Result<bool, LinkError>;
}
