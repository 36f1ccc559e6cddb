//! The bus: channels of events, groups that read them, what was acknowledged and what was given up. One trait, two
//! backends: [`SqlBus`] in a database of its own, [`RedisBus`] on Redis Streams.

mod bus_redis;
mod bus_sql;
mod scripts;

pub use bus_redis::RedisBus;
pub use bus_sql::SqlBus;

use crate::short_lived::StoreError;
use crate::sql::SqlError;
use localmart_kernel::Timestamp;

/// How long an event that every group has read is kept, in milliseconds, for replays and late groups.
pub const RETENTION_MS: i64 = 7 * 86_400_000;

/// The bus cannot answer. Retryable; what was published twice has its effect once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus is not available: {0}")]
pub struct BusError(pub String);

impl From<SqlError> for BusError {
    fn from(error: SqlError) -> Self {
        Self(error.to_string())
    }
}

impl From<StoreError> for BusError {
    fn from(error: StoreError) -> Self {
        Self(error.0)
    }
}

/// An event on its way to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// `<noun>.events`.
    pub channel: String,
    /// The ordering key.
    pub subject: String,
    /// Unique.
    pub id: String,
    /// CloudEvents JSON.
    pub body: String,
}

/// An event that a group has read and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How the bus finds it again.
    pub token: String,
    /// `<noun>.events`.
    pub channel: String,
    /// The ordering key.
    pub subject: String,
    /// Unique.
    pub id: String,
    /// CloudEvents JSON.
    pub body: String,
    /// How often it failed.
    pub attempts: u32,
    /// Not to be tried before.
    pub next_try_at: Timestamp,
}

/// An event that a group has given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The group.
    pub group: String,
    /// The event's id.
    pub id: String,
    /// `<noun>.events`.
    pub channel: String,
    /// The ordering key.
    pub subject: String,
    /// CloudEvents JSON, or whatever it was.
    pub body: String,
    /// How often it failed.
    pub attempts: u32,
    /// Why, the last time.
    pub reason: String,
    /// When it was given up.
    pub died_at: Timestamp,
}

/// How far a group is behind in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// `<noun>.events`.
    pub channel: String,
    /// Events that it has not read.
    pub unread: u64,
    /// Events that it has read and not acknowledged.
    pub pending: u64,
    /// Events that it has given up.
    pub dead: u64,
}

/// The verbs of a bus. A group has one consumer at work at a time, which [`Bus::lock`] sees to.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Bus {
    /// Appends events, in this order.
    async fn publish(&self, events: &[Outgoing], now: Timestamp) -> Result<(), BusError>;
    /// Makes `owner` the group's consumer until then; `false` if another is. Repeating it renews it.
    async fn lock(
        &self,
        group: &str,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, BusError>;
    /// Lets another consumer begin.
    async fn unlock(&self, group: &str, owner: &str) -> Result<(), BusError>;
    /// What the group has read and not acknowledged, then what it has not read, in order, at most `max`.
    async fn claim(
        &self,
        group: &str,
        channels: &[&str],
        max: u32,
    ) -> Result<Vec<Delivery>, BusError>;
    /// The group is done with it.
    async fn acknowledge(&self, group: &str, delivery: &Delivery) -> Result<(), BusError>;
    /// The group will try it again; `delivery` says how often it failed and when.
    async fn postpone(&self, group: &str, delivery: &Delivery, reason: &str)
    -> Result<(), BusError>;
    /// The group gives it up: it is among the dead letters from now on.
    async fn give_up(
        &self,
        group: &str,
        delivery: &Delivery,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), BusError>;
    /// Dead letters, oldest first.
    async fn dead(&self) -> Result<Vec<DeadLetter>, BusError>;
    /// Hands a dead letter to its group once more; `false` if there is no such letter.
    async fn replay(&self, letter: &DeadLetter, now: Timestamp) -> Result<bool, BusError>;
    /// How far every group is behind.
    async fn lag(&self) -> Result<Vec<Lag>, BusError>;
    /// The last `max` events of a channel, oldest first: their place, and their body.
    async fn history(&self, channel: &str, max: u32) -> Result<Vec<(String, String)>, BusError>;
    /// The channels that there are.
    async fn channels(&self) -> Result<Vec<String>, BusError>;
    /// Forgets events of a channel that are older than this and that no group still needs.
    async fn trim(&self, channel: &str, older_than: Timestamp) -> Result<u64, BusError>;
}
