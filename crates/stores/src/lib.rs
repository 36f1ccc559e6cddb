//! The guest kit's storage traits on native drivers: the command line looks into a shop's stores with them, and tests run
//! the real statements. Each call blocks; nothing here is for serving requests.
//!
//! In reading order: [`Sqlite`], [`Postgres`], [`Chosen`] (one of the two), [`RedisServer`], [`now`].

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

/// Runs a future that waits for nothing but these stores, which are ready at once.
///
/// # Errors
/// The future waits for something else.
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

/// A future waits for something that no native store has.
#[derive(Clone, Copy, Debug)]
pub struct StillWaiting;

impl std::fmt::Display for StillWaiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a future waits for something that no native store has")
    }
}

impl std::error::Error for StillWaiting {}
