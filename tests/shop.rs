//! Black-box tests of the shop: journeys, invalid input, races and crashes, through HTTP against the real binary, on embedded
//! stores with isolated links. All groups of tests run here; the other binaries run the groups that depend on the stores or
//! on the binding of links.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

mod harness;

/// The stores of the shops in this binary.
const STORES: harness::Stores = harness::Stores::EMBEDDED;

/// The binding of the links.
const BINDING: &str = "isolated";

#[path = "shop/common.rs"]
mod common;
#[path = "shop/journeys.rs"]
mod journeys;
#[path = "shop/on_stores.rs"]
mod on_stores;
#[path = "shop/once.rs"]
mod once;
