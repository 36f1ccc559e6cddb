//! Which functions can be called again safely. WIT has no notation for this, so it is part of a function's
//! documentation, with the terms of RFC 9110: `Safe.` (the function changes nothing) or `Idempotent` (a repeated call
//! changes nothing more), as a sentence or at the beginning of one. `localmart build` writes it into the component as a
//! custom section of JSON: `{ "package:name/interface@1.0.0": { "function": "safe" } }`.

use crate::sections;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of the custom section.
pub const SECTION: &str = "localmart:promises";

/// What a function promises about repeated calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promise {
    /// It changes nothing.
    Safe,
    /// A repeated call changes nothing more.
    Idempotent,
}

impl Promise {
    /// Reads the promise from the documentation of a function.
    pub fn of(docs: &str) -> Option<Self> {
        let says = |word: &str| docs.split_whitespace().any(|one| one == word);
        if says("Safe.") {
            Some(Self::Safe)
        } else {
            (says("Idempotent.") || says("Idempotent")).then_some(Self::Idempotent)
        }
    }
}

/// Promises by interface and function.
pub type Promises = BTreeMap<String, BTreeMap<String, Promise>>;

/// The promises in a component and in the components inside it.
pub fn read(wasm: &[u8]) -> Promises {
    let mut all = Promises::new();
    for section in sections::read(wasm, SECTION).unwrap_or_default() {
        let promises: Promises = serde_json::from_slice(&section).unwrap_or_default();
        for (interface, functions) in promises {
            all.entry(interface).or_default().extend(functions);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_sentences() {
        for (docs, promise) in [
            ("The product with this id. Safe.", Some(Promise::Safe)),
            ("Idempotent. Keeps all lines.", Some(Promise::Idempotent)),
            (
                "Takes it. Idempotent under the id.",
                Some(Promise::Idempotent),
            ),
            ("Not idempotent.", None),
            ("Safe and sound", None),
            ("", None),
        ] {
            assert_eq!(Promise::of(docs), promise, "{docs}");
        }
    }
}
