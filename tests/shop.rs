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

#[path = "shop/carts.rs"]
mod carts;
#[path = "shop/checkout.rs"]
mod checkout;
#[path = "shop/crashes.rs"]
mod crashes;
#[path = "shop/doors.rs"]
mod doors;
#[path = "shop/events.rs"]
mod events;
#[path = "shop/mine.rs"]
mod mine;
#[path = "shop/products.rs"]
mod products;
#[path = "shop/stores.rs"]
mod stores;
#[path = "shop/traces.rs"]
mod traces;
#[path = "shop/users.rs"]
mod users;
