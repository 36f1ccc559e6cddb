//! The default tax policy: prices are final, no tax is added.

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
        world: "localmart:tax/component@1.0.0",
        path: "../../wit/tax",
    });
}

use bindings::exports::localmart::tax::tax::{Assessment, Error, Guest, Question};

struct Policy;
#[cfg(target_arch = "wasm32")]
bindings::export!(Policy with_types_in bindings);

impl Guest for Policy {
    fn assess(question: Question) -> Result<Assessment, Error> {
        Ok(Assessment {
            lines: vec![0; question.lines.len()],
            shipping: 0,
        })
    }
}
