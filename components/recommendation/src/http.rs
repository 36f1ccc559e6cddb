//! The HTTP API of recommendations.

use crate::domain::{Links, Query, Reason, Recommended};
use crate::service::{RecommendationError, Recommendations};
use localmart_guest::config::ConfigError;
use localmart_guest::events::{sweep_consumer, sweep_events};
use localmart_guest::http::decode::money_json;
use localmart_guest::http::{Access, Answer, Problem, Request, Response, Routes, Service};
use localmart_guest::kernel::{Id, Limit};
use localmart_guest::ports::Ports;
use localmart_guest::sql::Database;
use serde_json::{Value, json};
use std::rc::Rc;

/// The HTTP API with its service. It is also the consumer of events.
pub(crate) struct RecommendationApi<D, L> {
    pub(crate) recommendations: Recommendations<D, L>,
}

impl<D: Database + From<&'static str>, L: Links + Default + 'static> Service
    for RecommendationApi<D, L>
{
    const NOUN: &'static str = "recommendation";

    async fn start(ports: Ports) -> Result<Self, ConfigError> {
        Ok(Self {
            recommendations: Recommendations::new(D::from(Self::NOUN), L::default(), ports),
        })
    }

    fn routes() -> Routes<Self> {
        Routes::new()
            .on("GET", "/api/recommendations", Access::All, recommend)
            .on(
                "POST",
                "/internal/recommendation/sweep",
                Access::Sweep,
                sweep,
            )
    }
}

type Api<D, L> = Rc<RecommendationApi<D, L>>;

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
    let found = api
        .recommendations
        .recommend(&request.context(), &query, limit)
        .await?;
    let strategy = found.first().map_or(Reason::Popular, |first| first.reason);
    let body = json!({
        "items": found.iter().map(encode).collect::<Vec<_>>(),
        "strategy": strategy.name(),
    });
    Ok(Response::json(200, &body))
}

async fn sweep<D, L>(api: Api<D, L>, _: Request) -> Answer
where
    D: Database + From<&'static str>,
    L: Links + Default + 'static,
{
    let ports = &api.recommendations.ports;
    sweep_events::<RecommendationApi<D, L>>(ports).await?;
    let report = sweep_consumer(&*api, ports).await?;
    Ok(Response::json(200, &json!({ "handled": report.handled })))
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
