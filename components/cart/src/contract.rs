//! The WIT exports of carts, and the bindings of all contracts that this component uses.

use crate::service::CartError;
use bindings::exports::localmart::cart::cart::Error;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
pub(crate) mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:cart/component@1.0.0",
        path: ["../../wit/kernel", "../../wit/catalog", "../../wit/inventory", "../../wit/cart"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
mod component {
    use super::bindings;
    use super::bindings::exports::localmart::cart::cart::{Cart, Error, Guest, Line};
    use crate::links::Linked;
    use crate::service::Carts;
    use localmart_guest::config;
    use localmart_guest::kernel::Id;
    use localmart_guest::ports::Ports;
    use localmart_guest::short_lived::ServiceStore;
    use localmart_guest::sql::ServiceDatabase;
    use localmart_guest::wit::Context;

    struct Component;
    bindings::export!(Component with_types_in bindings);

    async fn carts() -> Result<Carts<ServiceDatabase, ServiceStore, Linked>, Error> {
        let ttl = config::duration("cart_ttl")
            .await
            .map_err(|error| Error::Other(error.to_string()))?;
        let database = ServiceDatabase::new("cart");
        Ok(Carts::new(
            database,
            ServiceStore,
            Linked,
            Ports::real(),
            ttl,
        ))
    }

    fn order(id: &str) -> Result<Id, Error> {
        Id::parse(id).ok_or_else(|| Error::Other("not an id".to_owned()))
    }

    impl Guest for Component {
        async fn get(context: Context, id: String) -> Result<Cart, Error> {
            let cart = carts().await?.read(&context, &id).await?;
            let line = |line: crate::domain::Line| Line {
                product_id: line.product_id.into(),
                quantity: line.quantity,
            };
            Ok(Cart {
                id: cart.id.into(),
                currency: cart.currency.code().to_owned(),
                lines: cart.lines.into_iter().map(line).collect(),
                order_id: cart.order_id.map(Into::into),
                version: cart.version,
            })
        }

        async fn complete(
            context: Context,
            id: String,
            order_id: String,
            version: u64,
        ) -> Result<(), Error> {
            Ok(carts()
                .await?
                .complete(&context, &id, &order(&order_id)?, version)
                .await?)
        }

        async fn reopen(context: Context, id: String, order_id: String) -> Result<(), Error> {
            Ok(carts()
                .await?
                .reopen(&context, &id, &order(&order_id)?)
                .await?)
        }
    }
}

impl From<CartError> for Error {
    fn from(error: CartError) -> Self {
        match error {
            CartError::NotFound => Self::NotFound,
            CartError::Completed(order_id) => Self::Completed(order_id.into()),
            CartError::VersionConflict => Self::Changed,
            CartError::Contended | CartError::Link(_) | CartError::Store(_) => {
                Self::Unavailable(error.to_string())
            }
            other => Self::Other(other.to_string()),
        }
    }
}
