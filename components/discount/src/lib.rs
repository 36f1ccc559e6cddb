//! The default discount policy: no discount.

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
        world: "localmart:discount/component@1.0.0",
        path: "../../wit/discount",
    });
}

use bindings::exports::localmart::discount::discount::{Error, Guest, Question};

struct Policy;
#[cfg(target_arch = "wasm32")]
bindings::export!(Policy with_types_in bindings);

impl Guest for Policy {
    fn reduce(question: Question) -> Result<Vec<u64>, Error> {
        Ok(vec![0; question.lines.len()])
    }
}
