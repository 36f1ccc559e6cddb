//! What an interface says of asking a function again. WIT has no word for it, so it is in the documentation of the function, in
//! those of RFC 9110: `Safe.` (it changes nothing) or `Idempotent` (asking again changes nothing more), each as a sentence or at the
//! beginning of one. `localmart
//! build` puts that into the component, as a custom section of JSON: `{ "package:name/interface@1.0.0": { "function": "safe" } }`.

use crate::sections;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The custom section.
pub const SECTION: &str = "localmart:promises";

/// What a function promises of being asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promise {
    /// It changes nothing.
    Safe,
    /// Asking again changes nothing more.
    Idempotent,
}

impl Promise {
    /// What the documentation of a function says.
    pub fn of(docs: &str) -> Option<Self> {
        let says = |word: &str| docs.split_whitespace().any(|one| one == word);
        if says("Safe.") {
            Some(Self::Safe)
        } else {
            (says("Idempotent.") || says("Idempotent")).then_some(Self::Idempotent)
        }
    }
}

/// The promises of functions, by interface and function.
pub type Promises = BTreeMap<String, BTreeMap<String, Promise>>;

/// Those that a component and the components inside it carry.
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
