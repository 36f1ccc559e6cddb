//! What order hears: a payment that gave money back.

use crate::domain::needs::Needs;
use crate::http::OrderDoor;
use localmart_guest::events::{Consumer, Event, Refusal};
use localmart_guest::sql::Database;
use serde_json::Value;

impl<D: Database, N: Needs> Consumer for OrderDoor<D, N> {
    const GROUP: &'static str = "order";
    const CHANNELS: &'static [&'static str] = &["payment.events"];

    async fn handle(&self, event: &Event) -> Result<(), Refusal> {
        if event.kind != "payment.refunded" {
            return Ok(());
        }
        let text = |name: &str| {
            let found = event.data.get(name).and_then(Value::as_str);
            found.ok_or_else(|| Refusal::Never(format!("`data.{name}` is missing")))
        };
        let (payment, status) = (text("payment_id")?, text("status")?);
        let refunded = self.orders.refunded(event, payment, status).await;
        refunded.map_err(|error| Refusal::NotNow(error.to_string()))
    }
}
