//! The WIT exports of orders, and the bindings of all contracts that this component uses.

use crate::domain::Order;
use crate::domain::status::Status;
use crate::store::Store;
use bindings::exports::localmart::order::order::{Error, Status as WitStatus, Summary};
use localmart_guest::kernel::{Asker, Id};
use localmart_guest::sql::{Database, SqlError};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
pub(crate) mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:order/component@1.0.0",
        path: [
            "../../wit/kernel",
            "../../wit/catalog",
            "../../wit/inventory",
            "../../wit/cart",
            "../../wit/payment",
            "../../wit/user",
            "../../wit/tax",
            "../../wit/shipping-rate",
            "../../wit/discount",
            "../../wit/order",
        ],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
mod component {
    use super::bindings::exports::localmart::order::order::{Error, Guest, Summary};
    use super::{bindings, get};
    use crate::store::Store;
    use localmart_guest::ports::Ports;
    use localmart_guest::sql::ServiceDatabase;
    use localmart_guest::wit::Context;

    struct Component;
    bindings::export!(Component with_types_in bindings);

    impl Guest for Component {
        async fn get(context: Context, id: String) -> Result<Summary, Error> {
            let store = Store::new(ServiceDatabase::new("order"), Ports::real());
            get(&store, &context.asker(), &id).await
        }
    }
}

/// The order with this id, if it is open to this asker. A guest needs the order token, which this contract does not carry.
pub(crate) async fn get<D: Database>(
    store: &Store<D>,
    asker: &Asker,
    id: &str,
) -> Result<Summary, Error> {
    let id = Id::parse(id).ok_or(Error::NotFound)?;
    let order = store.order(&id).await.map_err(|error| match error {
        SqlError::Unavailable(reason) => Error::Unavailable(reason),
        SqlError::Failed(reason) => Error::Other(reason),
    })?;
    let order = order.filter(|order| order.is_open_to(asker, false));
    order.map(summary).ok_or(Error::NotFound)
}

fn summary(order: Order) -> Summary {
    let status = match order.status {
        Status::Pending => WitStatus::Pending,
        Status::Paid => WitStatus::Paid,
        Status::Failed => WitStatus::Failed,
        Status::Cancelled => WitStatus::Cancelled,
        Status::Shipped => WitStatus::Shipped,
        Status::Delivered => WitStatus::Delivered,
        Status::ReturnRequested => WitStatus::ReturnRequested,
        Status::Returned => WitStatus::Returned,
    };
    Summary {
        id: order.id.into(),
        number: order.number,
        status,
        total: order.totals.total.into(),
    }
}
