//! For tests only: SQL on SQLite and Postgres side by side ([`TestDatabase`]), a short-lived store in memory
//! ([`MemoryStore`]), a clock that tests control ([`TestEnvironment`]), mutated inputs for parsers ([`fuzz()`]), and servers as child
//! processes ([`servers`]). Code
//! here may panic: a panic fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this crate is used only by tests"
)]

mod environment;
mod fuzz;
pub mod servers;
mod short_lived_memory;
mod sql_twin;

pub use environment::TestEnvironment;
pub use fuzz::fuzz;
pub use short_lived_memory::MemoryStore;
pub use sql_twin::TestDatabase;

/// Runs a future that never waits: in a unit test everything completes at once.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    localmart_stores::now(future).unwrap()
}
