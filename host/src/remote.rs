//! Links to components on other hosts, over HTTP, with the same WIT interfaces.
//!
//! A call is `POST /links/<component>/<interface>/<function>`. Its body contains the arguments in WAVE, the text format
//! for component values, and the response contains the result in WAVE. `GET /links/<component>` lists the exports of a
//! component, so that the types are compared before the first call. Every request is signed with a key that both hosts
//! share ([`sign`]). The content is not encrypted: between machines, use a private network.
//!
//! [`shape`] writes types as text, the server in `serve` answers calls, [`client`] makes them. A [`fake`] answers from a file instead;
//! a [`provider`] is either.

pub mod client;
pub mod fake;
pub mod provider;
pub mod shape;
pub mod sign;

use crate::link::promise::Promise;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The exported functions of a component, by interface and name.
pub type ExportedInterfaces = BTreeMap<String, BTreeMap<String, ExportedFunction>>;

/// A function that another host may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFunction {
    /// Its types as text.
    pub shape: String,
    /// What it promises about repeated calls.
    pub promise: Option<Promise>,
}

/// The header with the hash of the function's types. A host whose function has other types by now refuses the call.
pub(crate) const SHAPE: &str = "localmart-shape";
/// The header with the signature.
pub(crate) const SIGNATURE: &str = "localmart-signature";
/// The header with the id of the calling component.
pub(crate) const CALLER: &str = "localmart-caller";
