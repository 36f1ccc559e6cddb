//! The consumed events: orders that are paid or cancelled, products that are viewed.

use crate::domain::{Links, OrderChange, OrderSignal};
use crate::service::Recommendations;
use localmart_events::{EventData as _, OrderChanged, ProductViewed};
use localmart_guest::events::{Event, Refusal};
use localmart_guest::kernel::Id;
use localmart_guest::sql::{Database, SqlError};

/// The most views that one event can count.
const MAX_VIEWS: u64 = 1_000_000;
/// The most pieces that one line can count.
const MAX_QUANTITY: i64 = 1_000_000;

/// Handles an event of an order or a product.
pub(crate) async fn handle<D: Database, L: Links>(
    recommendations: &Recommendations<D, L>,
    event: &Event,
) -> Result<(), Refusal> {
    let (store, now) = (&recommendations.store, recommendations.ports.now());
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
            let viewed = ProductViewed::read(&event.data).map_err(Refusal::Permanent)?;
            let product = id(&viewed.product_id)?;
            let views = i64::try_from(viewed.views.min(MAX_VIEWS)).unwrap_or(0);
            let customer = viewed.customer_id.as_deref();
            store
                .viewed(&event.id, &product, customer, views, now)
                .await
        }
        _ => Ok(()),
    };
    done.map_err(|error| Refusal::Retryable(error.to_string()))
}

fn id(text: &str) -> Result<Id, Refusal> {
    let invalid = || Refusal::Permanent("`data.product_id` is not an id".to_owned());
    Id::parse(text).ok_or_else(invalid)
}

fn order(event: &Event) -> Result<OrderSignal, Refusal> {
    let changed = OrderChanged::read(&event.data).map_err(Refusal::Permanent)?;
    let mut items = Vec::with_capacity(changed.items.len());
    for line in changed.items {
        let quantity = i64::from(line.quantity);
        if !(1..=MAX_QUANTITY).contains(&quantity) {
            let reason = format!("`data.items` has a quantity of {quantity}");
            return Err(Refusal::Permanent(reason));
        }
        items.push((id(&line.product_id)?, quantity));
    }
    items.sort();
    Ok(OrderSignal {
        order_id: event.subject.clone(),
        customer_id: changed.customer_id,
        items,
    })
}
