//! The consumed events: a payment that was decided late or refunded.

use crate::domain::links::Links;
use crate::http::OrderApi;
use localmart_guest::events::{Consumer, Event, Refusal};
use localmart_guest::kernel::Id;
use localmart_guest::sql::Database;
use localmart_guest::wit::Context;
use serde_json::Value;

impl<D: Database, L: Links> Consumer for OrderApi<D, L> {
    const GROUP: &'static str = "order";
    const CHANNELS: &'static [&'static str] = &["payment.events"];

    async fn handle(&self, event: &Event) -> Result<(), Refusal> {
        let text = |name: &str| {
            let found = event.data.get(name).and_then(Value::as_str);
            found.ok_or_else(|| Refusal::Permanent(format!("`data.{name}` is missing")))
        };
        let done = match event.kind.as_str() {
            "payment.refunded" => {
                let (payment, status) = (text("payment_id")?, text("status")?);
                self.orders.refunded(event, payment, status).await
            }
            "payment.captured" | "payment.failed" => {
                let id = Id::parse(text("order_id")?);
                let id = id
                    .ok_or_else(|| Refusal::Permanent("`data.order_id` is not an id".to_owned()))?;
                let context = Context::system(&event.trace_parent);
                self.orders.payment_decided(&context, &id).await
            }
            _ => Ok(()),
        };
        done.map_err(|error| Refusal::Retryable(error.to_string()))
    }
}
