//! A guest for tests: wraps a catalog, both its HTTP interface and its contract, and disturbs it. A test writes the
//! kind of disturbance into the wasm file at [`WHAT`]: `traps`, `fails`, `slow` or `slow-start`; anything else passes
//! all calls through.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        inline: "
            package localmart:hindrance;
            world hindrance {
                import localmart:catalog/catalog@1.0.0;
                export localmart:catalog/catalog@1.0.0;
            }
        ",
        path: ["../../../wit/kernel", "../../../wit/catalog"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

use bindings::exports::localmart::catalog::catalog as mine;
use bindings::localmart::catalog::catalog as theirs;
use localmart_guest::ports::Ports;
use localmart_guest::wasip3::http::types::ErrorCode;
use localmart_guest::wit::Context;
use spin_sdk::http::{self, IntoResponse, Request};
use spin_sdk::http_service;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The kind of disturbance, padded to a fixed length.
static WHAT: [u8; 24] = *b"hindrance:none          ";

/// The delay of a slow call.
const SLOW: Duration = Duration::from_millis(40);

/// The number of slow calls that an instance with a slow start begins with.
const SLOW_START: u32 = 4;

/// The calls of this instance.
static CALLS: AtomicU32 = AtomicU32::new(0);

async fn hinder() -> Result<(), ()> {
    let what = black_box(&WHAT);
    let what = String::from_utf8_lossy(what);
    match what.trim().trim_start_matches("hindrance:") {
        "traps" => std::process::abort(),
        "fails" => Err(()),
        "slow-start" if CALLS.fetch_add(1, Ordering::Relaxed) >= SLOW_START => Ok(()),
        "slow" | "slow-start" => {
            Ports::real().sleep(SLOW).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

#[http_service]
async fn before(request: Request) -> http::Result<impl IntoResponse> {
    if hinder().await.is_err() {
        return Err(ErrorCode::InternalError(Some("hindered".to_owned())).into());
    }
    Ok(http::next(request).await?)
}

struct Hindrance;
bindings::export!(Hindrance with_types_in bindings);

impl mine::Guest for Hindrance {
    async fn get_product(context: Context, id: String) -> Result<mine::Product, mine::Error> {
        hinder().await.map_err(|()| hindered())?;
        let product = theirs::get_product(context, id).await;
        product.map(passed).map_err(failed)
    }

    async fn get_products(
        context: Context,
        ids: Vec<String>,
    ) -> Result<Vec<mine::Product>, mine::Error> {
        hinder().await.map_err(|()| hindered())?;
        let products = theirs::get_products(context, ids).await.map_err(failed)?;
        Ok(products.into_iter().map(passed).collect())
    }
}

fn hindered() -> mine::Error {
    mine::Error::Unavailable("hindered".to_owned())
}

fn failed(error: theirs::Error) -> mine::Error {
    match error {
        theirs::Error::NotFound => mine::Error::NotFound,
        theirs::Error::Unavailable(reason) => mine::Error::Unavailable(reason),
        theirs::Error::Other(reason) => mine::Error::Other(reason),
    }
}

fn passed(product: theirs::Product) -> mine::Product {
    mine::Product {
        id: product.id,
        sku: product.sku,
        name: product.name,
        slug: product.slug,
        category: product.category,
        price: product.price,
        published: product.published,
        version: product.version,
    }
}
