//! For tests only: the real statements and migrations on SQLite and Postgres at once, a short-lived store in memory, a
//! world that stands still until a test moves it, servers that come and go with the test. What a test needs here may stop at once when something is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this crate is only part of tests"
)]

pub mod servers;
mod short_lived_memory;
mod sql_twin;
mod world;

pub use short_lived_memory::MemoryStore;
pub use sql_twin::TestDatabase;
pub use world::TestWorld;

/// Runs a future that never has to wait: everything in a unit test is ready at once.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    localmart_stores::now(future).unwrap()
}
