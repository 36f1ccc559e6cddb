//! Calls to the linked services and to the ranking policy over WIT.

use crate::bindings::localmart::{catalog::catalog, inventory::inventory, ranking::ranking};
use crate::domain::{LinkError, Links, Product, Recommended};
use localmart_guest::kernel::{Id, Money};
use localmart_guest::wit::Context;

/// The links to catalog, inventory and ranking.
#[derive(Default)]
pub(crate) struct Linked;

impl Links for Linked {
    async fn products(&self, context: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkError> {
        let (linked, _span) = context.linked("catalog.get-products");
        let ids = ids.iter().map(Id::to_string).collect();
        let products = catalog::get_products(linked, ids).await;
        let products = products.map_err(|error| LinkError(error.to_string()))?;
        products.into_iter().map(product).collect()
    }

    fn rank(&self, found: &[Recommended]) -> Result<Vec<u32>, LinkError> {
        let candidate = |one: &Recommended| ranking::Candidate {
            product_id: one.product.id.to_string(),
            category: one.product.category.clone(),
            price: one.product.price.amount(),
            score: one.score,
            reason: one.reason.name().to_owned(),
        };
        let candidates: Vec<_> = found.iter().map(candidate).collect();
        ranking::rank(&candidates).map_err(|error| LinkError(error.to_string()))
    }

    async fn in_stock(&self, context: &Context, ids: &[Id]) -> Result<Vec<Id>, LinkError> {
        let (linked, _span) = context.linked("inventory.get-levels");
        let ids = ids.iter().map(Id::to_string).collect();
        let levels = inventory::get_levels(linked, ids).await;
        let levels = levels.map_err(|error| LinkError(error.to_string()))?;
        let there = levels.iter().filter(|level| level.on_hand > level.reserved);
        Ok(there
            .filter_map(|level| Id::parse(&level.product_id))
            .collect())
    }
}

fn product(product: catalog::Product) -> Result<Product, LinkError> {
    let invalid = || LinkError("the catalog returned an invalid product".to_owned());
    Ok(Product {
        id: Id::parse(&product.id).ok_or_else(invalid)?,
        sku: product.sku,
        name: product.name,
        slug: product.slug,
        category: product.category,
        price: Money::try_from(product.price).map_err(|_| invalid())?,
        published: product.published,
        version: product.version,
    })
}
