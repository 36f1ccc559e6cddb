//! The WIT door: what checkout needs of a cart, and how cart asks catalog and inventory.

use crate::domain::{LinkDown, Links, Product};
use crate::service::CartError;
use bindings::exports::localmart::cart::cart::Error;
use bindings::localmart::{catalog::catalog, inventory::inventory};
use localmart_guest::kernel::{Id, Money};
use localmart_guest::wit::Context;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:cart/component@1.0.0",
        path: ["../../wit/kernel", "../../wit/catalog", "../../wit/inventory", "../../wit/cart"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

/// Catalog and inventory over their links.
#[derive(Default)]
pub(crate) struct Linked;

impl Links for Linked {
    async fn products(&self, context: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkDown> {
        let (linked, _span) = context.linked("catalog.get-products");
        let ids = ids.iter().map(Id::to_string).collect();
        let products = catalog::get_products(linked, ids).await.map_err(down)?;
        products.into_iter().map(product).collect()
    }

    async fn available(&self, context: &Context, ids: &[Id]) -> Result<Vec<(Id, u64)>, LinkDown> {
        let (linked, _span) = context.linked("inventory.get-levels");
        let ids = ids.iter().map(Id::to_string).collect();
        let levels = inventory::get_levels(linked, ids).await;
        let levels = levels.map_err(|error| LinkDown(error.to_string()))?;
        let level = |level: inventory::Level| {
            Some((
                Id::parse(&level.product_id)?,
                level.on_hand.saturating_sub(level.reserved),
            ))
        };
        Ok(levels.into_iter().filter_map(level).collect())
    }
}

fn down(error: catalog::Error) -> LinkDown {
    LinkDown(error.to_string())
}

fn product(product: catalog::Product) -> Result<Product, LinkDown> {
    let broken = || LinkDown("the catalog's answer is not valid".to_owned());
    Ok(Product {
        id: Id::parse(&product.id).ok_or_else(broken)?,
        sku: product.sku,
        name: product.name,
        price: Money::try_from(product.price).map_err(|_| broken())?,
        published: product.published,
    })
}

#[cfg(target_arch = "wasm32")]
mod component {
    use super::bindings::exports::localmart::cart::cart::{Cart, Error, Guest, Line};
    use super::{Linked, bindings};
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
            CartError::Contended | CartError::LinkDown(_) | CartError::Store(_) => {
                Self::Unavailable(error.to_string())
            }
            other => Self::Other(other.to_string()),
        }
    }
}
