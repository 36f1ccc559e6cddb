//! The operation of recommendation: products for a product, for a customer, or for everybody.

use crate::DECLARED;
use crate::domain::{Candidate, LinkError, Links, Query, Recommended, ranked};
use crate::store::Store;
use localmart_guest::config::ConfigError;
use localmart_guest::kernel::{Id, Limit};
use localmart_guest::log::{self, Level};
use localmart_guest::ports::Ports;
use localmart_guest::service::Wire;
use localmart_guest::sql::{Database, SqlError};
use localmart_guest::wit::Context;

/// How many candidates are checked at once in catalog and inventory.
const BATCH: usize = 100;
/// How many batches of popular products are checked at most, in case most of them cannot be bought.
const MAX_BATCHES: usize = 5;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecommendationError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

type Result<T> = std::result::Result<T, RecommendationError>;

/// The operations of recommendation.
pub(crate) struct Recommendations<D, L> {
    pub(crate) store: Store<D>,
    pub(crate) ports: Ports,
    links: L,
}

impl<D, L> Wire for Recommendations<D, L>
where
    D: Database + From<&'static str>,
    L: Links + Default + 'static,
{
    async fn wire(ports: Ports) -> std::result::Result<Self, ConfigError> {
        Ok(Self::new(D::from(DECLARED.noun), L::default(), ports))
    }
}

impl<D: Database, L: Links> Recommendations<D, L> {
    pub(crate) fn new(database: D, links: L, ports: Ports) -> Self {
        Self {
            store: Store::new(database),
            ports,
            links,
        }
    }

    /// At most `limit` products that can be bought now, best first.
    pub(crate) async fn recommend(
        &self,
        context: &Context,
        query: &Query,
        limit: Limit,
    ) -> Result<Vec<Recommended>> {
        let mut found: Vec<Recommended> = Vec::new();
        let mut seen: Vec<Id> = query.product_id.iter().cloned().collect();
        let personal = self.personal(context, query).await?;
        self.add_available(context, personal, &mut seen, &mut found)
            .await?;
        let mut after = None;
        for _ in 0..MAX_BATCHES {
            if found.len() >= limit.get() {
                break;
            }
            let popular = self.store.popular(after.as_ref(), BATCH).await?;
            let full = popular.len() == BATCH;
            after = popular
                .last()
                .map(|last| (last.score, last.product_id.clone()));
            self.add_available(context, popular, &mut seen, &mut found)
                .await?;
            if !full {
                break;
            }
        }
        let mut found = self.rank(context, found);
        found.truncate(limit.get());
        Ok(found)
    }

    /// Ranks products with the ranking policy. Without a valid decision the order stays as it is.
    fn rank(&self, context: &Context, found: Vec<Recommended>) -> Vec<Recommended> {
        if found.is_empty() {
            return found;
        }
        let reason = match self.links.rank(&found) {
            Ok(indexes) => match ranked(&found, &indexes) {
                Some(ranked) => return ranked,
                None => {
                    "the ranking contains a duplicate index or an index out of range".to_owned()
                }
            },
            Err(LinkError(reason)) => reason,
        };
        // The host counts the rejection as an error of the policy.
        let fields = [("rejected", "ranking"), ("reason", reason.as_str())];
        log::write(
            Level::Warn,
            &context.trace_parent,
            "the ranking policy gave no valid decision",
            &fields,
        );
        found
    }

    /// Candidates for a product or for a customer.
    async fn personal(&self, context: &Context, query: &Query) -> Result<Vec<Candidate>> {
        if let Some(product) = &query.product_id {
            return Ok(self.store.bought_together(product, BATCH).await?);
        }
        match query.customer_open_to(&context.asker()) {
            Some(customer) => Ok(self.store.for_customer(customer, BATCH).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Adds the candidates that were not seen before and that can be bought.
    async fn add_available(
        &self,
        context: &Context,
        candidates: Vec<Candidate>,
        seen: &mut Vec<Id>,
        found: &mut Vec<Recommended>,
    ) -> Result<()> {
        let mut fresh: Vec<Candidate> = Vec::new();
        for candidate in candidates {
            if !seen.contains(&candidate.product_id) {
                seen.push(candidate.product_id.clone());
                fresh.push(candidate);
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let ids: Vec<Id> = fresh.iter().map(|one| one.product_id.clone()).collect();
        let products = self.links.products(context, &ids).await?;
        let in_stock = self.links.in_stock(context, &ids).await?;
        for candidate in fresh {
            let sold = |product: &&crate::domain::Product| {
                product.id == candidate.product_id && product.published
            };
            if let Some(product) = products.iter().find(sold)
                && in_stock.contains(&candidate.product_id)
            {
                found.push(Recommended {
                    product: product.clone(),
                    score: candidate.score,
                    reason: candidate.reason,
                });
            }
        }
        Ok(())
    }
}
