//! The WIT exports of carts.

use crate::bindings::exports::localmart::cart::cart::Error;
use crate::service::CartError;

#[cfg(target_arch = "wasm32")]
mod component {
    use crate::Wired;
    use crate::bindings::exports::localmart::cart::cart::{Cart, Error, Guest, Line};
    use localmart_guest::kernel::Id;
    use localmart_guest::service::instance;
    use localmart_guest::wit::Context;
    use std::rc::Rc;

    struct Component;
    crate::bindings::export!(Component with_types_in crate::bindings);

    async fn carts() -> Result<Rc<Wired>, Error> {
        let wired = instance::<Wired>().await;
        wired.map_err(|error| Error::Other(error.to_string()))
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
