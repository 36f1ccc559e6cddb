//! The shop from outside: journeys, wrong inputs, races and crashes, through HTTP against the real binary, on the embedded
//! stores, with isolated links. `shop_on_servers.rs` runs the same bodies on Postgres and Redis, `shop_fused.rs` and
//! `shop_fused_on_servers.rs` with fused links.

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

/// How their links are bound.
const BINDING: &str = "isolated";

#[path = "shop/all.rs"]
mod all;
