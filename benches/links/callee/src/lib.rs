//! A guest of the benches: answers calls with little, or with a product that it makes up.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:measure/callee@1.0.0",
        path: ["../../../wit/kernel", "../../../wit/catalog", "../wit"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

use bindings::exports::localmart::catalog::catalog;
use bindings::exports::localmart::measure::nothing;
use localmart_guest::wit::{Context, types::Money};

struct Callee;
#[cfg(target_arch = "wasm32")]
bindings::export!(Callee with_types_in bindings);

impl nothing::Guest for Callee {
    fn at_once() -> Result<u32, nothing::Error> {
        Ok(1)
    }

    async fn in_time() -> Result<u32, nothing::Error> {
        Ok(1)
    }
}

impl catalog::Guest for Callee {
    async fn get_product(_: Context, id: String) -> Result<catalog::Product, catalog::Error> {
        Ok(catalog::Product {
            id,
            sku: "SKU-0001".to_owned(),
            name: "A lamp of brass, with a green shade".to_owned(),
            slug: "a-lamp-of-brass".to_owned(),
            category: "lamps".to_owned(),
            price: Money {
                amount: 1999,
                currency: "USD".to_owned(),
            },
            published: true,
            version: 1,
        })
    }

    async fn get_products(
        _: Context,
        _: Vec<String>,
    ) -> Result<Vec<catalog::Product>, catalog::Error> {
        Ok(Vec::new())
    }
}
