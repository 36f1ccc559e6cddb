//! The WIT door, and how recommendation asks catalog and inventory.

use crate::domain::{LinkDown, Links, Product, Recommended};
use bindings::localmart::{catalog::catalog, inventory::inventory, ranking::ranking};
use localmart_guest::kernel::{Id, Money};
use localmart_guest::wit::Context;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:recommendation/component@1.0.0",
        path: ["../../wit/kernel", "../../wit/catalog", "../../wit/inventory", "../../wit/ranking", "../../wit/recommendation"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

/// Catalog and inventory over their links.
#[derive(Default)]
pub(crate) struct Linked;

impl Links for Linked {
    async fn products(&self, context: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkDown> {
        let (linked, _span) = context.linked("catalog.get-products");
        let ids = ids.iter().map(Id::to_string).collect();
        let products = catalog::get_products(linked, ids).await;
        let products = products.map_err(|error| LinkDown(error.to_string()))?;
        products.into_iter().map(product).collect()
    }

    fn rank(&self, found: &[Recommended]) -> Result<Vec<u32>, LinkDown> {
        let candidate = |one: &Recommended| ranking::Candidate {
            product_id: one.product.id.to_string(),
            category: one.product.category.clone(),
            price: one.product.price.amount(),
            score: one.score,
            reason: one.reason.name().to_owned(),
        };
        let candidates: Vec<_> = found.iter().map(candidate).collect();
        ranking::rank(&candidates).map_err(|error| LinkDown(error.to_string()))
    }

    async fn in_stock(&self, context: &Context, ids: &[Id]) -> Result<Vec<Id>, LinkDown> {
        let (linked, _span) = context.linked("inventory.get-levels");
        let ids = ids.iter().map(Id::to_string).collect();
        let levels = inventory::get_levels(linked, ids).await;
        let levels = levels.map_err(|error| LinkDown(error.to_string()))?;
        let there = levels.iter().filter(|level| level.on_hand > level.reserved);
        Ok(there
            .filter_map(|level| Id::parse(&level.product_id))
            .collect())
    }
}

fn product(product: catalog::Product) -> Result<Product, LinkDown> {
    let broken = || LinkDown("the catalog's answer is not valid".to_owned());
    Ok(Product {
        id: Id::parse(&product.id).ok_or_else(broken)?,
        sku: product.sku,
        name: product.name,
        slug: product.slug,
        category: product.category,
        price: Money::try_from(product.price).map_err(|_| broken())?,
        published: product.published,
        version: product.version,
    })
}

#[cfg(target_arch = "wasm32")]
mod component {
    use super::bindings::exports::localmart::recommendation::recommendation::{
        Error, Guest, Item, Reason as WitReason,
    };
    use super::{Linked, bindings};
    use crate::domain::{Question, Reason};
    use crate::service::{RecommendationError, Recommendations};
    use localmart_guest::kernel::{Id, Limit};
    use localmart_guest::ports::Ports;
    use localmart_guest::sql::{ServiceDatabase, SqlError};
    use localmart_guest::wit::Context;

    struct Component;
    bindings::export!(Component with_types_in bindings);

    impl Guest for Component {
        async fn recommend(
            context: Context,
            product_id: Option<String>,
            customer_id: Option<String>,
            limit: u32,
        ) -> Result<Vec<Item>, Error> {
            let question = Question {
                product_id: product_id.as_deref().and_then(Id::parse),
                customer_id,
            };
            let limit = Limit::parse(&limit.to_string())
                .ok_or_else(|| Error::Other("limit must be 1 to 100".to_owned()))?;
            let database = ServiceDatabase::new("recommendation");
            let recommendations = Recommendations::new(database, Linked, Ports::real());
            let found = recommendations.recommend(&context, &question, limit).await;
            let found = found.map_err(|error| match error {
                RecommendationError::Sql(SqlError::Failed(reason)) => Error::Other(reason),
                other => Error::Unavailable(other.to_string()),
            })?;
            let item = |one: crate::domain::Recommended| Item {
                product_id: one.product.id.into(),
                score: one.score,
                reason: match one.reason {
                    Reason::Popular => WitReason::Popular,
                    Reason::BoughtTogether => WitReason::BoughtTogether,
                    Reason::ForYou => WitReason::ForYou,
                    Reason::Viewed => WitReason::Viewed,
                },
            };
            Ok(found.into_iter().map(item).collect())
        }
    }
}
