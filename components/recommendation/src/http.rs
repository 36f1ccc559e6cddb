//! The HTTP API of recommendations.

use crate::domain::{Links, Query, Reason, Recommended};
use crate::service::{RecommendationError, Recommendations};
use crate::{DECLARED, events};
use localmart_guest::events::{Event, Refusal};
use localmart_guest::http::decode::money_json;
use localmart_guest::http::{Access, Answer, Problem, Request, Response, Routes};
use localmart_guest::kernel::{Id, Limit};
use localmart_guest::service::{Declared, Service};
use localmart_guest::sql::Database;
use serde_json::{Value, json};
use std::rc::Rc;

impl<D, L> Service for Recommendations<D, L>
where
    D: Database + From<&'static str>,
    L: Links + Default + 'static,
{
    const DECLARED: Declared = DECLARED;

    fn routes() -> Routes<Self> {
        Routes::new().on("GET", "/api/recommendations", Access::All, recommend)
    }

    async fn handle(&self, event: &Event) -> Result<(), Refusal> {
        events::handle(self, event).await
    }
}

type Api<D, L> = Rc<Recommendations<D, L>>;

async fn recommend<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    let mut parameters = request.query(&["customer_id", "product_id", "limit"])?;
    let query = Query {
        product_id: parameters.get("product_id", "must be an id (UUID, lower case)", Id::parse),
        customer_id: parameters
            .get("customer_id", "must be an id (UUID, lower case)", Id::parse)
            .map(String::from),
    };
    let limit = parameters
        .get("limit", "must be 1 to 100", Limit::parse)
        .unwrap_or_default();
    parameters.finish()?;
    let found = api.recommend(&request.context(), &query, limit).await?;
    let strategy = found.first().map_or(Reason::Popular, |first| first.reason);
    let body = json!({
        "items": found.iter().map(encode).collect::<Vec<_>>(),
        "strategy": strategy.name(),
    });
    Ok(Response::json(200, &body))
}

fn encode(recommended: &Recommended) -> Value {
    let product = &recommended.product;
    json!({
        "product": {
            "id": product.id.as_str(),
            "sku": product.sku,
            "name": product.name,
            "slug": product.slug,
            "category": product.category,
            "price": money_json(product.price),
            "image_url": format!("/images/{}-v{}.svg", product.id, product.version),
        },
        "score": recommended.score,
        "reason": recommended.reason.name(),
    })
}

impl From<RecommendationError> for Problem {
    fn from(error: RecommendationError) -> Self {
        match error {
            RecommendationError::Link(_) => Self::unavailable(),
            RecommendationError::Sql(error) => error.into(),
        }
    }
}
