//! A guest of the benches: calls another component, again and again, and says how long that took.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:measure/caller@1.0.0",
        path: ["../../../wit/kernel", "../../../wit/catalog", "../wit"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

use bindings::exports::localmart::measure::calls::Guest;
use bindings::localmart::catalog::catalog;
use bindings::localmart::measure::nothing;
use localmart_guest::wit::Context;
use std::time::Instant;

struct Caller;
#[cfg(target_arch = "wasm32")]
bindings::export!(Caller with_types_in bindings);

impl Guest for Caller {
    async fn run(what: String, times: u32) -> Result<u64, String> {
        let (context, id) = (Context::system(""), "01920000-0000-7000-8000-000000000001");
        let begun = Instant::now();
        for _ in 0..times {
            match what.as_str() {
                "at-once" => {
                    nothing::at_once().map_err(|error| format!("{error:?}"))?;
                }
                "in-time" => {
                    let called = nothing::in_time().await;
                    called.map_err(|error| format!("{error:?}"))?;
                }
                "product" => {
                    let called = catalog::get_product(context.clone(), id.to_owned()).await;
                    called.map_err(|error| format!("{error:?}"))?;
                }
                other => return Err(format!("there is no {other}")),
            }
        }
        Ok(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
