//! The WIT exports of inventory.

use crate::bindings::exports::localmart::inventory::inventory::{Error, Shortage as WitShortage};
use crate::domain::Shortage;
use crate::service::InventoryError;
use localmart_guest::kernel::Id;

#[cfg(target_arch = "wasm32")]
mod component {
    use super::id;
    use crate::Wired;
    use crate::bindings::exports::localmart::inventory::inventory::{
        Error, Guest, Level, Line as WitLine,
    };
    use crate::domain::Line;
    use localmart_guest::kernel::Timestamp;
    use localmart_guest::service::instance;
    use localmart_guest::wit::Context;
    use std::rc::Rc;

    struct Component;
    crate::bindings::export!(Component with_types_in crate::bindings);

    async fn inventory() -> Result<Rc<Wired>, Error> {
        let wired = instance::<Wired>().await;
        wired.map_err(|error| Error::Other(error.to_string()))
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
            let levels = inventory().await?.levels(&ids).await?;
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
                .await?
                .reserve(&context, &id(&order_id)?, &lines, expires_at)
                .await?)
        }

        async fn confirm(context: Context, order_id: String) -> Result<(), Error> {
            Ok(inventory()
                .await?
                .confirm(&context, &id(&order_id)?)
                .await?)
        }

        async fn release(_: Context, order_id: String) -> Result<(), Error> {
            Ok(inventory().await?.release(&id(&order_id)?).await?)
        }

        async fn take_back(
            context: Context,
            order_id: String,
            return_id: String,
            lines: Vec<WitLine>,
        ) -> Result<(), Error> {
            let (order, id) = (id(&order_id)?, id(&return_id)?);
            let lines = from_wit(lines)?;
            Ok(inventory()
                .await?
                .take_back(&context, &order, &id, &lines)
                .await?)
        }

        async fn restock(context: Context, order_id: String) -> Result<(), Error> {
            Ok(inventory()
                .await?
                .restock(&context, &id(&order_id)?)
                .await?)
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
