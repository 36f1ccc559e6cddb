//! The WIT exports of recommendation.

#[cfg(target_arch = "wasm32")]
mod component {
    use crate::Wired;
    use crate::bindings::exports::localmart::recommendation::recommendation::{
        Error, Guest, Item, Reason as WitReason,
    };
    use crate::domain::{Query, Reason};
    use crate::service::RecommendationError;
    use localmart_guest::kernel::{Id, Limit};
    use localmart_guest::service::instance;
    use localmart_guest::sql::SqlError;
    use localmart_guest::wit::Context;

    struct Component;
    crate::bindings::export!(Component with_types_in crate::bindings);

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
            let recommendations = instance::<Wired>().await;
            let recommendations =
                recommendations.map_err(|error| Error::Other(error.to_string()))?;
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
