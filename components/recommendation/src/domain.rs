//! Signals, reasons, and the links that the service needs. No clock, no I/O.

use localmart_guest::kernel::{Asker, Id, Money};
use localmart_guest::wit::Context;
use std::collections::BTreeSet;

/// How many views a sold piece counts as.
pub(crate) const SOLD_WEIGHT: i64 = 10;
/// How many products of one order are counted as pairs. A larger order says little about which products belong together.
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

/// A product as the catalog describes it now.
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

/// A recommended product, which can be bought now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recommended {
    pub(crate) product: Product,
    pub(crate) score: u64,
    pub(crate) reason: Reason,
}

/// The product or the customer that recommendations are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) product_id: Option<Id>,
    pub(crate) customer_id: Option<String>,
}

impl Query {
    /// The customer of the query, if this asker may use the history of the customer: the customer, those who run the shop,
    /// and the shop itself.
    pub(crate) fn customer_open_to(&self, asker: &Asker) -> Option<&str> {
        let customer = self.customer_id.as_deref();
        customer.filter(|customer| asker.runs_the_shop() || asker.is_user(customer))
    }
}

/// An order that was paid or cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderSignal {
    pub(crate) order_id: String,
    pub(crate) customer_id: Option<String>,
    /// The products with quantities, each once and sorted.
    pub(crate) items: Vec<(Id, i64)>,
}

/// Whether an order starts or stops to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderChange {
    Paid,
    Cancelled,
}

/// A linked component failed or is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a linked component is not available: {0}")]
pub(crate) struct LinkError(pub(crate) String);

/// Arranges products by a ranking; `None` if the ranking contains an index twice or an index out of range.
pub(crate) fn ranked(found: &[Recommended], indexes: &[u32]) -> Option<Vec<Recommended>> {
    let mut seen = BTreeSet::new();
    let product = |index: &u32| {
        let index = usize::try_from(*index)
            .ok()
            .filter(|index| seen.insert(*index))?;
        found.get(index).cloned()
    };
    indexes.iter().map(product).collect()
}

/// The links of the recommendation service.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub(crate) trait Links {
    /// The products with these ids, published or not.
    async fn products(&self, context: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkError>;
    /// The indexes of the products, best first. Products that are left out are not shown.
    fn rank(&self, found: &[Recommended]) -> Result<Vec<u32>, LinkError>;
    /// The products among these that are in stock.
    async fn in_stock(&self, context: &Context, ids: &[Id]) -> Result<Vec<Id>, LinkError>;
}
