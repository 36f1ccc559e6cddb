//! The shop from outside: journeys, wrong inputs, races and crashes, through HTTP against the real binary, on the embedded
//! stores. `shop_on_servers.rs` runs the same bodies on Postgres and Redis.

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

#[path = "shop/all.rs"]
mod all;
