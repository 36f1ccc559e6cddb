//! Calls to the linked services over WIT.

use crate::bindings::localmart::catalog::catalog;
use crate::domain::{LinkError, Links};
use localmart_guest::kernel::Id;
use localmart_guest::wit::Context;

/// The link to the catalog.
#[derive(Default)]
pub(crate) struct Linked;

impl Links for Linked {
    async fn exists(&self, context: &Context, id: &Id) -> Result<bool, LinkError> {
        let (linked, _span) = context.linked("catalog.get-product");
        match catalog::get_product(linked, id.to_string()).await {
            Ok(_) => Ok(true),
            Err(catalog::Error::NotFound) => Ok(false),
            Err(catalog::Error::Unavailable(reason) | catalog::Error::Other(reason)) => {
                Err(LinkError(reason))
            }
        }
    }
}
