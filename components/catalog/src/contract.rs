//! The WIT exports of the catalog.

use crate::bindings::exports::localmart::catalog::catalog::{Error, Product as WitProduct};
use crate::domain::Product;
use crate::service::{Catalog, CatalogError};
use localmart_guest::sql::Database;

/// The largest number of products in one call.
const MAX_PRODUCTS: usize = 200;

#[cfg(target_arch = "wasm32")]
mod component {
    use super::{get_product, get_products};
    use crate::Wired;
    use crate::bindings::exports::localmart::catalog::catalog::{Error, Guest, Product};
    use localmart_guest::service::instance;
    use localmart_guest::wit::Context;
    use std::rc::Rc;

    struct Component;
    crate::bindings::export!(Component with_types_in crate::bindings);

    async fn catalog() -> Result<Rc<Wired>, Error> {
        let wired = instance::<Wired>().await;
        wired.map_err(|error| Error::Other(error.to_string()))
    }

    impl Guest for Component {
        async fn get_product(_: Context, id: String) -> Result<Product, Error> {
            get_product(&*catalog().await?, &id).await
        }

        async fn get_products(_: Context, ids: Vec<String>) -> Result<Vec<Product>, Error> {
            get_products(&*catalog().await?, &ids).await
        }
    }
}

async fn get_product<D: Database>(catalog: &Catalog<D>, id: &str) -> Result<WitProduct, Error> {
    catalog
        .product(id, true)
        .await
        .map(to_wit)
        .map_err(Error::from)
}

async fn get_products<D: Database>(
    catalog: &Catalog<D>,
    ids: &[String],
) -> Result<Vec<WitProduct>, Error> {
    if ids.len() > MAX_PRODUCTS {
        return Err(Error::Other(format!(
            "at most {MAX_PRODUCTS} products at once"
        )));
    }
    let products = catalog.products_by_id(ids).await?;
    Ok(products.into_iter().map(to_wit).collect())
}

fn to_wit(product: Product) -> WitProduct {
    WitProduct {
        id: product.id.into(),
        sku: product.draft.sku.as_str().to_owned(),
        name: product.draft.name,
        slug: product.slug.as_str().to_owned(),
        category: product.draft.category.as_str().to_owned(),
        price: product.draft.prices.price().into(),
        published: product.draft.published,
        version: product.version,
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        use localmart_guest::sql::SqlError;
        match error {
            CatalogError::ProductNotFound => Self::NotFound,
            CatalogError::Sql(SqlError::Unavailable(reason)) => Self::Unavailable(reason),
            other => Self::Other(other.to_string()),
        }
    }
}
