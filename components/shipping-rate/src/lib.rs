//! The default shipping policy: free shipping to every destination.

#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only a component has callers")
)]

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
mod bindings {
    wit_bindgen::generate!({
        world: "localmart:shipping-rate/component@1.0.0",
        path: "../../wit/shipping-rate",
    });
}

use bindings::exports::localmart::shipping_rate::shipping_rate::{Error, Guest, Method, Question};

/// Days until delivery.
const DAYS: u32 = 5;

struct Policy;
#[cfg(target_arch = "wasm32")]
bindings::export!(Policy with_types_in bindings);

impl Guest for Policy {
    fn methods(_: Question) -> Result<Vec<Method>, Error> {
        Ok(vec![Method {
            code: "standard".to_owned(),
            name: "Standard".to_owned(),
            amount: 0,
            days: DAYS,
        }])
    }
}
