//! The storage traits of the guest kit on native drivers. The command line reads the stores of a shop with them, and unit
//! tests run the real statements on them. Every call blocks, so this crate must not be used to serve requests.
//!
//! In reading order: [`Sqlite`], [`Postgres`], [`Chosen`] (either of them), [`RedisServer`], [`now`].

mod chosen;
mod redis_server;
mod sql_postgres;
mod sql_sqlite;

pub use chosen::Chosen;
pub use redis_server::{RedisServer, redis_server};
pub use sql_postgres::{Postgres, postgres_server};
pub use sql_sqlite::Sqlite;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a future that awaits only calls of these stores, which complete at once.
///
/// # Errors
/// The future awaits something else.
pub fn now<T>(future: impl Future<Output = T>) -> Result<T, StillWaiting> {
    let mut future = pin!(future);
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return Ok(value);
        }
    }
    Err(StillWaiting)
}

/// The future awaits something other than a native store.
#[derive(Clone, Copy, Debug)]
pub struct StillWaiting;

impl std::fmt::Display for StillWaiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the future awaits something other than a native store")
    }
}

impl std::error::Error for StillWaiting {}
