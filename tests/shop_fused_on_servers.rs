//! The journeys with fused links, on Postgres and Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

mod harness;

/// The stores of the shops in this binary.
const STORES: harness::Stores = harness::Stores::SERVERS;

/// The binding of the links.
const BINDING: &str = "fused";

#[path = "shop/common.rs"]
mod common;
#[path = "shop/journeys.rs"]
mod journeys;
