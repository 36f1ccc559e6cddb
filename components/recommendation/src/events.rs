//! The consumed events: orders that are paid or cancelled, products that are viewed.

use crate::domain::{Links, OrderChange, OrderSignal};
use crate::http::RecommendationApi;
use localmart_guest::events::{Consumer, Event, Refusal};
use localmart_guest::kernel::Id;
use localmart_guest::sql::{Database, SqlError};
use serde_json::Value;

impl<D: Database, L: Links> Consumer for RecommendationApi<D, L> {
    const GROUP: &'static str = "recommendation";
    const CHANNELS: &'static [&'static str] = &["order.events", "product.events"];

    async fn handle(&self, event: &Event) -> Result<(), Refusal> {
        let (store, now) = (
            &self.recommendations.store,
            self.recommendations.ports.now(),
        );
        let done: Result<(), SqlError> = match event.kind.as_str() {
            "order.paid" => {
                store
                    .order_changed(&event.id, &order(event)?, OrderChange::Paid, now)
                    .await
            }
            "order.cancelled" => {
                store
                    .order_changed(&event.id, &order(event)?, OrderChange::Cancelled, now)
                    .await
            }
            "product.viewed" => {
                let product = id(event.data.get("product_id"))?;
                let customer = event.data.get("customer_id").and_then(Value::as_str);
                let views = event.data.get("views").and_then(Value::as_i64).unwrap_or(1);
                store
                    .viewed(
                        &event.id,
                        &product,
                        customer,
                        views.clamp(0, 1_000_000),
                        now,
                    )
                    .await
            }
            _ => Ok(()),
        };
        done.map_err(|error| Refusal::Retryable(error.to_string()))
    }
}

fn invalid_field(what: &str) -> Refusal {
    Refusal::Permanent(format!(
        "`data.{what}` does not match the schema of the event"
    ))
}

fn id(value: Option<&Value>) -> Result<Id, Refusal> {
    let id = value.and_then(Value::as_str).and_then(Id::parse);
    id.ok_or_else(|| invalid_field("product_id"))
}

fn order(event: &Event) -> Result<OrderSignal, Refusal> {
    let data = &event.data;
    let items = data
        .get("items")
        .and_then(Value::as_array)
        .ok_or_else(|| invalid_field("items"))?;
    let mut signal = OrderSignal {
        order_id: event.subject.clone(),
        customer_id: data
            .get("customer_id")
            .and_then(Value::as_str)
            .map(str::to_owned),
        items: Vec::with_capacity(items.len()),
    };
    for item in items {
        let product = id(item.get("product_id"))?;
        let quantity = item
            .get("quantity")
            .and_then(Value::as_i64)
            .filter(|quantity| (1..=1_000_000).contains(quantity));
        signal
            .items
            .push((product, quantity.ok_or_else(|| invalid_field("quantity"))?));
    }
    signal.items.sort();
    Ok(signal)
}
