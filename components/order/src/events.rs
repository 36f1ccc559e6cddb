//! The consumed events: a payment that was decided late or refunded.

use crate::domain::links::Links;
use crate::service::Orders;
use localmart_events::{EventData as _, PaymentChanged};
use localmart_guest::events::{Event, Refusal};
use localmart_guest::kernel::Id;
use localmart_guest::sql::Database;
use localmart_guest::wit::Context;

/// Handles an event of payment.
pub(crate) async fn handle<D: Database, L: Links>(
    orders: &Orders<D, L>,
    event: &Event,
) -> Result<(), Refusal> {
    let payment = || PaymentChanged::read(&event.data).map_err(Refusal::Permanent);
    let done = match event.kind.as_str() {
        "payment.refunded" => orders.refunded(event, &payment()?).await,
        "payment.captured" | "payment.failed" => {
            let id = Id::parse(&payment()?.order_id);
            let id =
                id.ok_or_else(|| Refusal::Permanent("`data.order_id` is not an id".to_owned()))?;
            let context = Context::system(&event.trace_parent);
            orders.payment_decided(&context, &id).await
        }
        _ => Ok(()),
    };
    done.map_err(|error| Refusal::Retryable(error.to_string()))
}
