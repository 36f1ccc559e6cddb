//! Signals, reasons, and what recommendation needs of others. No clock, no I/O.

use localmart_guest::kernel::{Id, Money};
use localmart_guest::wit::Context;
use std::collections::BTreeSet;

/// What a sold piece counts, in views.
pub(crate) const SOLD_WEIGHT: i64 = 10;
/// Products of one order whose pairs are counted; a larger order says little about what goes together.
pub(crate) const MAX_PAIRED: usize = 20;

/// Why a product is recommended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Popular,
    BoughtTogether,
    ForYou,
    Viewed,
}

impl Reason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Popular => "popular",
            Self::BoughtTogether => "bought_together",
            Self::ForYou => "for_you",
            Self::Viewed => "viewed",
        }
    }
}

/// A product that may be recommended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) product_id: Id,
    pub(crate) score: u64,
    pub(crate) reason: Reason,
}

/// What the catalog says of a product now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: Id,
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) slug: String,
    pub(crate) category: String,
    pub(crate) price: Money,
    pub(crate) published: bool,
    pub(crate) version: u64,
}

/// A product that is recommended: it can be bought now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recommended {
    pub(crate) product: Product,
    pub(crate) score: u64,
    pub(crate) reason: Reason,
}

/// Who wants recommendations, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) product_id: Option<Id>,
    pub(crate) customer_id: Option<String>,
}

/// An order that was paid or cancelled, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderSignal {
    pub(crate) order_id: String,
    pub(crate) customer_id: Option<String>,
    /// Each product once, in a fixed order.
    pub(crate) items: Vec<(Id, i64)>,
}

/// Whether an order begins or ceases to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderChange {
    Paid,
    Cancelled,
}

/// A linked service does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a linked service does not answer: {0}")]
pub(crate) struct LinkError(pub(crate) String);

/// What was found in the order of a ranking; `None` if that names a place twice, or one that is not.
pub(crate) fn ranked(found: &[Recommended], places: &[u32]) -> Option<Vec<Recommended>> {
    let mut seen = BTreeSet::new();
    let place = |place: &u32| {
        let place = usize::try_from(*place)
            .ok()
            .filter(|place| seen.insert(*place))?;
        found.get(place).cloned()
    };
    places.iter().map(place).collect()
}

/// What recommendation needs of others.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub(crate) trait Links {
    /// The products with these ids, published or not.
    async fn products(&self, context: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkError>;
    /// The places of what was found, best first; what is left out is not shown.
    fn rank(&self, found: &[Recommended]) -> Result<Vec<u32>, LinkError>;
    /// Those of these products that can be bought.
    async fn in_stock(&self, context: &Context, ids: &[Id]) -> Result<Vec<Id>, LinkError>;
}
