//! What can be asked of recommendation: products, for a product, for a customer, for anybody.

use crate::domain::{Candidate, LinkError, Links, Question, Recommended, ranked};
use crate::store::Store;
use localmart_guest::kernel::{Id, Limit};
use localmart_guest::log::{self, Level};
use localmart_guest::ports::Ports;
use localmart_guest::sql::{Database, SqlError};
use localmart_guest::wit::{Actor, Context};

/// Candidates that are looked at together; catalog and inventory are asked about no more at once.
const BATCH: usize = 100;
/// How many batches of popular products are looked at, if most of them cannot be bought.
const MAX_BATCHES: usize = 5;

/// Why a verb was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecommendationError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

type Result<T> = std::result::Result<T, RecommendationError>;

/// Recommendations.
pub(crate) struct Recommendations<D, L> {
    pub(crate) store: Store<D>,
    pub(crate) ports: Ports,
    links: L,
}

impl<D: Database, L: Links> Recommendations<D, L> {
    pub(crate) fn new(database: D, links: L, ports: Ports) -> Self {
        Self {
            store: Store::new(database),
            ports,
            links,
        }
    }

    /// At most so many products that can be bought now, best first.
    pub(crate) async fn recommend(
        &self,
        context: &Context,
        question: &Question,
        limit: Limit,
    ) -> Result<Vec<Recommended>> {
        let mut found: Vec<Recommended> = Vec::new();
        let mut seen: Vec<Id> = question.product_id.iter().cloned().collect();
        let personal = self.personal(context, question).await?;
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
            self.add_available(context, popular, &mut seen, &mut found).await?;
            if !full {
                break;
            }
        }
        let mut found = self.rank(context, found);
        found.truncate(limit.get());
        Ok(found)
    }

    /// In the order that the ranking policy decides; as they come if it decides nothing that can be.
    fn rank(&self, context: &Context, found: Vec<Recommended>) -> Vec<Recommended> {
        if found.is_empty() {
            return found;
        }
        let reason = match self.links.rank(&found) {
            Ok(places) => match ranked(&found, &places) {
                Some(ranked) => return ranked,
                None => "it named a place twice, or one that is not".to_owned(),
            },
            Err(LinkError(reason)) => reason,
        };
        let fields = [("reason", reason.as_str())];
        log::write(
            Level::Warn,
            &context.trace_parent,
            "the ranking policy decided nothing",
            &fields,
        );
        found
    }

    /// What goes with a product, or suits a customer. A taste is shown to its owner, to staff and to the shop alone.
    async fn personal(&self, context: &Context, question: &Question) -> Result<Vec<Candidate>> {
        if let Some(product) = &question.product_id {
            return Ok(self.store.bought_together(product, BATCH).await?);
        }
        let known = question
            .customer_id
            .as_deref()
            .filter(|customer| match &context.actor {
                Actor::Staff(_) | Actor::Admin(_) | Actor::System => true,
                Actor::Customer(id) => id == customer,
                Actor::Anonymous => false,
            });
        match known {
            Some(customer) => Ok(self.store.for_customer(customer, BATCH).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Keeps those candidates that are new here and can be bought.
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
