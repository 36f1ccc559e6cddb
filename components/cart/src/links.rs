//! Calls to the linked services over WIT.

use crate::bindings::localmart::{catalog::catalog, inventory::inventory};
use crate::domain::{LinkError, Links, Product};
use localmart_guest::kernel::{Id, Money};
use localmart_guest::wit::Context;

/// The links to catalog and inventory.
#[derive(Default)]
pub(crate) struct Linked;

impl Links for Linked {
    async fn products(&self, context: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkError> {
        let (linked, _span) = context.linked("catalog.get-products");
        let ids = ids.iter().map(Id::to_string).collect();
        let products = catalog::get_products(linked, ids)
            .await
            .map_err(link_error)?;
        products.into_iter().map(product).collect()
    }

    async fn available(&self, context: &Context, ids: &[Id]) -> Result<Vec<(Id, u64)>, LinkError> {
        let (linked, _span) = context.linked("inventory.get-levels");
        let ids = ids.iter().map(Id::to_string).collect();
        let levels = inventory::get_levels(linked, ids).await;
        let levels = levels.map_err(|error| LinkError(error.to_string()))?;
        let level = |level: inventory::Level| {
            Some((
                Id::parse(&level.product_id)?,
                level.on_hand.saturating_sub(level.reserved),
            ))
        };
        Ok(levels.into_iter().filter_map(level).collect())
    }
}

fn link_error(error: catalog::Error) -> LinkError {
    LinkError(error.to_string())
}

fn product(product: catalog::Product) -> Result<Product, LinkError> {
    let invalid = || LinkError("the catalog returned an invalid product".to_owned());
    Ok(Product {
        id: Id::parse(&product.id).ok_or_else(invalid)?,
        sku: product.sku,
        name: product.name,
        price: Money::try_from(product.price).map_err(|_| invalid())?,
        published: product.published,
    })
}
