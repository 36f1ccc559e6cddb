//! The host from outside: wrong manifests, the observe address, draining, and the verbs of the command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

mod harness;

/// Where the shops of this binary keep what they know.
const STORES: harness::Stores = harness::Stores::EMBEDDED;

#[path = "host/conformance.rs"]
mod conformance;
#[path = "host/guests.rs"]
mod guests;
#[path = "host/links.rs"]
mod links;
#[path = "host/manifests.rs"]
mod manifests;
#[path = "host/older.rs"]
mod older;
#[path = "host/portable.rs"]
mod portable;
#[path = "host/running.rs"]
mod running;
#[path = "host/verbs.rs"]
mod verbs;
