//! The WIT exports of recommendation, and the bindings of all contracts that this component uses.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
pub(crate) mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:recommendation/component@1.0.0",
        path: ["../../wit/kernel", "../../wit/catalog", "../../wit/inventory", "../../wit/ranking", "../../wit/recommendation"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
mod component {
    use super::bindings;
    use super::bindings::exports::localmart::recommendation::recommendation::{
        Error, Guest, Item, Reason as WitReason,
    };
    use crate::domain::{Query, Reason};
    use crate::links::Linked;
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
            let query = Query {
                product_id: product_id.as_deref().and_then(Id::parse),
                customer_id,
            };
            let limit = Limit::parse(&limit.to_string())
                .ok_or_else(|| Error::Other("limit must be 1 to 100".to_owned()))?;
            let database = ServiceDatabase::new("recommendation");
            let recommendations = Recommendations::new(database, Linked, Ports::real());
            let found = recommendations.recommend(&context, &query, limit).await;
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
