//! The HTTP API of inventory: stock levels and adjustments.

use crate::DECLARED;
use crate::domain::{Level, Links, MAX_DELTA};
use crate::service::{Inventory, InventoryError};
use localmart_guest::http::decode::{integer, text};
use localmart_guest::http::idempotency::effect_name;
use localmart_guest::http::{Access, Answer, Fields, Invalid, Problem, Request, Response, Routes};
use localmart_guest::service::{Declared, Service, count};
use localmart_guest::sql::Database;
use localmart_guest::token::Role;
use localmart_guest::wit::Context;
use serde_json::{Map, Value, json};
use std::rc::Rc;

impl<D, L> Service for Inventory<D, L>
where
    D: Database + From<&'static str>,
    L: Links + Default + 'static,
{
    const DECLARED: Declared = DECLARED;

    fn routes() -> Routes<Self> {
        Routes::new()
            .on("GET", "/api/inventory/{product_id}", Access::All, get)
            .on(
                "POST",
                "/api/inventory/{product_id}/adjustments",
                Access::Only(Role::Staff),
                adjust,
            )
    }

    async fn sweep(&self, _: &Context) -> Result<Map<String, Value>, Problem> {
        Ok(count("released", Inventory::sweep(self).await?))
    }
}

type Api<D, L> = Rc<Inventory<D, L>>;

async fn get<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    let level = api
        .level(&request.context(), request.param("product_id"))
        .await?;
    Ok(Response::json(200, &encode(&level)))
}

async fn adjust<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let delta = fields.required("delta", nonzero);
    let reason = fields.required("reason", text(1, 200));
    let (delta, reason) = fields.finish(delta.zip(reason))?;
    // An idempotency key names the adjustment, so that a crash before the key is stored cannot lead to a second adjustment.
    let name = effect_name(&request, "adjustment")?;
    let (context, product) = (request.context(), request.param("product_id"));
    let inventory = &api;
    let adjusted = inventory.adjust(&context, product, delta, &reason, name.as_deref());
    let level = adjusted.await?;
    Ok(Response::json(200, &encode(&level)))
}

fn nonzero(value: &Value) -> Result<i64, Invalid> {
    match integer(-MAX_DELTA, MAX_DELTA)(value)? {
        0 => Err(Invalid::new("must not be 0")),
        delta => Ok(delta),
    }
}

fn encode(level: &Level) -> Value {
    json!({
        "product_id": level.product_id.as_str(),
        "on_hand": level.on_hand,
        "reserved": level.reserved,
        "available": level.available(),
    })
}

impl From<InventoryError> for Problem {
    fn from(error: InventoryError) -> Self {
        match error {
            InventoryError::ProductNotFound => Self::not_found("product"),
            InventoryError::Insufficient(_) => Self::business(
                409,
                "insufficient_stock",
                "The stock would fall below the reserved pieces or exceed the largest possible stock.",
            ),
            InventoryError::ReservationLost => Self::business(
                409,
                "reservation_lost",
                "The reservation was released or has expired.",
            ),
            InventoryError::NotSold => Self::business(
                409,
                "not_sold",
                "The order does not contain that many pieces.",
            ),
            InventoryError::Link(_) => Self::unavailable(),
            InventoryError::Sql(error) => error.into(),
        }
    }
}
