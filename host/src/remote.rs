//! Links to components in another process, over HTTP: the same WIT, the same calls.
//!
//! A call is `POST /links/<component>/<interface>/<function>` with its arguments as a tuple in WAVE, the text format of component
//! values; the answer is the value in WAVE. `GET /links/<component>` tells what a component exports, so that both sides are compared
//! before anything is called. Every request is signed with a key that both sides have ([`sign`]); what is said travels in the
//! clear, so that between machines it belongs on a private network.
//!
//! [`shape`] writes types down to be compared, [`server`] answers, [`client`] asks.

pub mod client;
pub mod server;
pub mod shape;
pub mod sign;

use crate::link::promise::Promise;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a component exports: interfaces, with their functions.
pub type ExportedInterfaces = BTreeMap<String, BTreeMap<String, ExportedFunction>>;

/// A function that another process may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFunction {
    /// Its types, written down.
    pub shape: String,
    /// What it promises of being asked again.
    pub promise: Option<Promise>,
}

/// The header with the shape of the function that is meant, hashed; what has another shape by now does not answer.
const SHAPE: &str = "localmart-shape";
/// The header with the signature.
const SIGNATURE: &str = "localmart-signature";
/// The header with who calls.
const CALLER: &str = "localmart-caller";
