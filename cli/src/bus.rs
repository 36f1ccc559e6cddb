//! The event bus of a shop, in SQL or in Redis, for the commands that read it.

use crate::app::Stores;
use crate::databases;
use localmart_guest::config::EMBEDDED;
use localmart_guest::events::bus::{Bus, BusError, DeadLetter, Lag, Outgoing, RedisBus, SqlBus};
use localmart_guest::kernel::Timestamp;
use localmart_stores::{Chosen, RedisServer, now};
use std::path::Path;

/// A bus in SQL or Redis. Each call blocks until it is complete.
pub(crate) enum OpenBus {
    Sql(SqlBus<Chosen>),
    Redis(RedisBus<RedisServer>),
}

/// Calls the method of the bus in use.
macro_rules! ask {
    ($bus:expr, $verb:ident($($argument:expr),*)) => {
        match $bus {
            OpenBus::Sql(bus) => now(bus.$verb($($argument),*)),
            OpenBus::Redis(bus) => now(bus.$verb($($argument),*)),
        }
    };
}

impl OpenBus {
    /// The bus of a running or stopped shop.
    pub(crate) fn open(stores: &Stores, state_dir: &Path) -> anyhow::Result<Self> {
        if stores.redis_url == EMBEDDED {
            Ok(Self::Sql(SqlBus(databases::open(
                stores, state_dir, "bus",
            )?)))
        } else {
            let server = RedisServer::open(&stores.redis_url);
            Ok(Self::Redis(RedisBus(
                server.map_err(|error| anyhow::anyhow!(error.0))?,
            )))
        }
    }

    pub(crate) fn channels(&self) -> anyhow::Result<Vec<String>> {
        flat(ask!(self, channels())?)
    }

    /// The newest events of a channel, oldest first: the position and the body of each.
    pub(crate) fn history(
        &self,
        channel: &str,
        most: u32,
    ) -> anyhow::Result<Vec<(String, String)>> {
        flat(ask!(self, history(channel, most))?)
    }

    pub(crate) fn dead(&self) -> anyhow::Result<Vec<DeadLetter>> {
        flat(ask!(self, dead())?)
    }

    pub(crate) fn replay(&self, letter: &DeadLetter, at: Timestamp) -> anyhow::Result<bool> {
        flat(ask!(self, replay(letter, at))?)
    }

    pub(crate) fn lag(&self) -> anyhow::Result<Vec<Lag>> {
        flat(ask!(self, lag())?)
    }

    pub(crate) fn publish(&self, event: Outgoing, at: Timestamp) -> anyhow::Result<()> {
        flat(ask!(self, publish(&[event], at))?)
    }
}

fn flat<T>(result: Result<T, BusError>) -> anyhow::Result<T> {
    result.map_err(|error| anyhow::anyhow!("{error}"))
}
