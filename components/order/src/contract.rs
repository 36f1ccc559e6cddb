//! The WIT exports of orders.

use crate::bindings::exports::localmart::order::order::{Error, Status as WitStatus, Summary};
use crate::domain::Order;
use crate::domain::status::Status;
use crate::store::Store;
use localmart_guest::kernel::{Asker, Id};
use localmart_guest::sql::{Database, SqlError};

#[cfg(target_arch = "wasm32")]
mod component {
    use super::get;
    use crate::Wired;
    use crate::bindings::exports::localmart::order::order::{Error, Guest, Summary};
    use localmart_guest::service::instance;
    use localmart_guest::wit::Context;

    struct Component;
    crate::bindings::export!(Component with_types_in crate::bindings);

    impl Guest for Component {
        async fn get(context: Context, id: String) -> Result<Summary, Error> {
            let orders = instance::<Wired>().await;
            let orders = orders.map_err(|error| Error::Other(error.to_string()))?;
            get(orders.store(), &context.asker(), &id).await
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
