//! The REST door: stock and its adjustments. Decode, one verb, encode.

use crate::domain::{Level, MAX_DELTA, Links};
use crate::service::{Inventory, InventoryError};
use localmart_guest::config::ConfigError;
use localmart_guest::door::decode::{integer, text};
use localmart_guest::door::idempotency::effect_name;
use localmart_guest::door::{
    Access, Answer, Fields, Invalid, Problem, Request, Response, Routes, Service,
};
use localmart_guest::events::sweep_events;
use localmart_guest::ports::Ports;
use localmart_guest::sql::Database;
use localmart_guest::token::Role;
use serde_json::{Value, json};
use std::rc::Rc;

/// Inventory behind its REST door.
pub(crate) struct InventoryDoor<D, L> {
    inventory: Inventory<D, L>,
    ports: Ports,
}

impl<D: Database + From<&'static str>, L: Links + Default + 'static> Service
    for InventoryDoor<D, L>
{
    const NOUN: &'static str = "inventory";

    async fn start(ports: Ports) -> Result<Self, ConfigError> {
        Ok(Self {
            inventory: Inventory::new(D::from(Self::NOUN), L::default(), ports.clone()),
            ports,
        })
    }

    fn routes() -> Routes<Self> {
        Routes::new()
            .on("GET", "/api/inventory/{product_id}", Access::All, get)
            .on(
                "POST",
                "/api/inventory/{product_id}/adjustments",
                Access::Only(Role::Staff),
                adjust,
            )
            .on("POST", "/internal/inventory/sweep", Access::Sweep, sweep)
    }
}

type Door<D, L> = Rc<InventoryDoor<D, L>>;

async fn get<D: Database, L: Links>(door: Door<D, L>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    let level = door
        .inventory
        .level(&request.context(), request.param("product_id"))
        .await?;
    Ok(Response::json(200, &encode(&level)))
}

async fn adjust<D: Database, L: Links>(door: Door<D, L>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let delta = fields.required("delta", nonzero);
    let reason = fields.required("reason", text(1, 200));
    let (delta, reason) = fields.finish(delta.zip(reason))?;
    // With a key it is known by that, so that a crash between its writing and the key's does not make it two.
    let name = effect_name(&request, "adjustment")?;
    let (context, product) = (request.context(), request.param("product_id"));
    let inventory = &door.inventory;
    let adjusted = inventory.adjust(&context, product, delta, &reason, name.as_deref());
    let level = adjusted.await?;
    Ok(Response::json(200, &encode(&level)))
}

async fn sweep<D, L>(door: Door<D, L>, _: Request) -> Answer
where
    D: Database + From<&'static str>,
    L: Links + Default + 'static,
{
    sweep_events::<InventoryDoor<D, L>>(&door.ports).await?;
    let released = door.inventory.sweep().await?;
    Ok(Response::json(200, &json!({ "released": released })))
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
                "The stock would go below what is reserved, or beyond what can be counted.",
            ),
            InventoryError::ReservationLost => {
                Self::business(409, "reservation_lost", "The reservation is gone.")
            }
            InventoryError::NotSold => {
                Self::business(409, "not_sold", "So much was not sold to this order.")
            }
            InventoryError::Link(_) => Self::unavailable(),
            InventoryError::Sql(error) => error.into(),
        }
    }
}
