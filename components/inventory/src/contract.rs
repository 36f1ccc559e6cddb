//! The WIT exports of inventory, and the bindings of all contracts that this component uses.

use crate::domain::Shortage;
use crate::service::InventoryError;
use bindings::exports::localmart::inventory::inventory::{Error, Shortage as WitShortage};
use localmart_guest::kernel::Id;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
pub(crate) mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:inventory/component@1.0.0",
        path: ["../../wit/kernel", "../../wit/catalog", "../../wit/inventory"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
mod component {
    use super::bindings::exports::localmart::inventory::inventory::{
        Error, Guest, Level, Line as WitLine,
    };
    use super::{bindings, id};
    use crate::domain::Line;
    use crate::links::Linked;
    use crate::service::Inventory;
    use localmart_guest::kernel::Timestamp;
    use localmart_guest::ports::Ports;
    use localmart_guest::sql::ServiceDatabase;
    use localmart_guest::wit::Context;

    struct Component;
    bindings::export!(Component with_types_in bindings);

    fn inventory() -> Inventory<ServiceDatabase, Linked> {
        Inventory::new(ServiceDatabase::new("inventory"), Linked, Ports::real())
    }

    fn from_wit(lines: Vec<WitLine>) -> Result<Vec<Line>, Error> {
        let line = |line: WitLine| {
            Ok(Line {
                product_id: id(&line.product_id)?,
                quantity: line.quantity,
            })
        };
        lines.into_iter().map(line).collect()
    }

    impl Guest for Component {
        async fn get_levels(_: Context, product_ids: Vec<String>) -> Result<Vec<Level>, Error> {
            let ids = product_ids
                .iter()
                .map(|text| id(text))
                .collect::<Result<Vec<_>, _>>()?;
            let levels = inventory().levels(&ids).await?;
            let to_wit = |level: crate::domain::Level| Level {
                product_id: level.product_id.into(),
                on_hand: level.on_hand,
                reserved: level.reserved,
            };
            Ok(levels.into_iter().map(to_wit).collect())
        }

        async fn reserve(
            context: Context,
            order_id: String,
            lines: Vec<WitLine>,
            expires_at: u64,
        ) -> Result<(), Error> {
            let lines = from_wit(lines)?;
            let expires_at = Timestamp::from_ms(i64::try_from(expires_at).unwrap_or(i64::MAX));
            Ok(inventory()
                .reserve(&context, &id(&order_id)?, &lines, expires_at)
                .await?)
        }

        async fn confirm(context: Context, order_id: String) -> Result<(), Error> {
            Ok(inventory().confirm(&context, &id(&order_id)?).await?)
        }

        async fn release(_: Context, order_id: String) -> Result<(), Error> {
            Ok(inventory().release(&id(&order_id)?).await?)
        }

        async fn take_back(
            context: Context,
            order_id: String,
            return_id: String,
            lines: Vec<WitLine>,
        ) -> Result<(), Error> {
            let (order, id) = (id(&order_id)?, id(&return_id)?);
            let lines = from_wit(lines)?;
            Ok(inventory().take_back(&context, &order, &id, &lines).await?)
        }

        async fn restock(context: Context, order_id: String) -> Result<(), Error> {
            Ok(inventory().restock(&context, &id(&order_id)?).await?)
        }
    }
}

fn id(text: &str) -> Result<Id, Error> {
    Id::parse(text).ok_or_else(|| Error::Other("not an id".to_owned()))
}

impl From<InventoryError> for Error {
    fn from(error: InventoryError) -> Self {
        use localmart_guest::sql::SqlError;
        let to_wit = |short: Shortage| WitShortage {
            product_id: short.product_id.into(),
            requested: short.requested,
            available: short.available,
        };
        match error {
            InventoryError::Insufficient(shortages) => {
                Self::Insufficient(shortages.into_iter().map(to_wit).collect())
            }
            InventoryError::ReservationLost => Self::ReservationLost,
            InventoryError::NotSold => Self::NotSold,
            InventoryError::Link(down) => Self::Unavailable(down.to_string()),
            InventoryError::Sql(SqlError::Unavailable(reason)) => Self::Unavailable(reason),
            other => Self::Other(other.to_string()),
        }
    }
}
