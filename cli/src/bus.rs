//! The bus of a shop, wherever it is, for verbs that look into it.

use crate::app::Stores;
use anyhow::Context as _;
use localmart_guest::config::EMBEDDED;
use localmart_guest::events::bus::{Bus, BusError, DeadLetter, Lag, Outgoing, RedisBus, SqlBus};
use localmart_guest::kernel::Timestamp;
use localmart_stores::{Chosen, RedisServer, now};
use std::path::Path;

/// A bus of either kind; each call waits until it is done.
pub(crate) enum OpenBus {
    Sql(SqlBus<Chosen>),
    Redis(RedisBus<RedisServer>),
}

/// Asks whichever bus it is.
macro_rules! ask {
    ($bus:expr, $verb:ident($($argument:expr),*)) => {
        match $bus {
            OpenBus::Sql(bus) => now(bus.$verb($($argument),*)),
            OpenBus::Redis(bus) => now(bus.$verb($($argument),*)),
        }
    };
}

impl OpenBus {
    /// The bus of a shop, running or not.
    pub(crate) fn open(stores: &Stores, state_dir: &Path) -> anyhow::Result<Self> {
        if stores.redis_url == EMBEDDED {
            let database = Chosen::open(&stores.database_url, state_dir, "bus")
                .context("there is no bus yet; it is made by localmart up or localmart migrate")?;
            Ok(Self::Sql(SqlBus(database)))
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

    /// The last events of a channel: their place, and their body.
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
