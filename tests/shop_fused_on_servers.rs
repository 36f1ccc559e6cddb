//! The shop from outside with its links fused, on Postgres and Redis: the bodies of `shop.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

mod harness;

/// Where the shops of this binary keep what they know.
const STORES: harness::Stores = harness::Stores::SERVERS;

/// How their links are bound.
const BINDING: &str = "fused";

#[path = "shop/all.rs"]
mod all;
