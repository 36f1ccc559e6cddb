//! For tests only: the real statements and migrations on rusqlite, a short-lived store in memory, a world that stands
//! still until a test moves it. What a test needs here may stop at once when something is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this crate is only part of tests"
)]

mod short_lived_memory;
mod sql_rusqlite;
mod world;

pub use short_lived_memory::MemoryStore;
pub use sql_rusqlite::TestDatabase;
pub use world::TestWorld;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a future that never has to wait: everything in a unit test is ready at once.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return value;
        }
    }
    panic!("the future waits for something that no unit test has");
}
