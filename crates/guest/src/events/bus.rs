//! The bus: channels of events, consumer groups, acknowledgements and dead letters. One trait with two backends:
//! [`SqlBus`] in a database of its own, [`RedisBus`] on Redis Streams.

mod bus_redis;
mod bus_sql;
mod scripts;

pub use bus_redis::RedisBus;
pub use bus_sql::SqlBus;

use crate::short_lived::StoreError;
use crate::sql::SqlError;
use localmart_kernel::Timestamp;

/// How long an event that every group has read is kept for replays and new groups, in milliseconds.
pub const RETENTION_MS: i64 = 7 * 86_400_000;

/// The bus is not available. Retryable: an event that is published twice takes effect once.
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
    /// The unique id of the event.
    pub id: String,
    /// CloudEvents JSON.
    pub body: String,
}

/// An event that a group has read and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Identifies the delivery on the bus.
    pub token: String,
    /// `<noun>.events`.
    pub channel: String,
    /// The ordering key.
    pub subject: String,
    /// The unique id of the event.
    pub id: String,
    /// CloudEvents JSON.
    pub body: String,
    /// How often handling it failed.
    pub attempts: u32,
    /// The earliest time of the next attempt.
    pub next_try_at: Timestamp,
}

/// An event that a group has given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The group.
    pub group: String,
    /// The id of the event.
    pub id: String,
    /// `<noun>.events`.
    pub channel: String,
    /// The ordering key.
    pub subject: String,
    /// CloudEvents JSON, or the text that could not be decoded.
    pub body: String,
    /// How often handling it failed.
    pub attempts: u32,
    /// The reason of the last failure.
    pub reason: String,
    /// When the group gave it up.
    pub died_at: Timestamp,
}

/// How far a group is behind on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// `<noun>.events`.
    pub channel: String,
    /// Events that the group has not read.
    pub unread: u64,
    /// Events that the group has read and not acknowledged.
    pub pending: u64,
    /// Events that the group has given up.
    pub dead: u64,
}

/// The operations of a bus. [`Bus::lock`] ensures that a group has one active consumer at a time.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Bus {
    /// Appends events, in this order.
    async fn publish(&self, events: &[Outgoing], now: Timestamp) -> Result<(), BusError>;
    /// Gives `owner` the lock of the group until `until`; `false` if another owner holds it. Repeating the call renews the
    /// lock.
    async fn lock(
        &self,
        group: &str,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, BusError>;
    /// Releases the lock of the group.
    async fn unlock(&self, group: &str, owner: &str) -> Result<(), BusError>;
    /// At most `max` events in order: first those that the group has read and not acknowledged, then unread ones.
    async fn claim(
        &self,
        group: &str,
        channels: &[&str],
        max: u32,
    ) -> Result<Vec<Delivery>, BusError>;
    /// Marks a delivery as handled.
    async fn acknowledge(&self, group: &str, delivery: &Delivery) -> Result<(), BusError>;
    /// Schedules another attempt. `delivery` holds the number of failures and the time of the next attempt.
    async fn postpone(
        &self,
        group: &str,
        delivery: &Delivery,
        reason: &str,
    ) -> Result<(), BusError>;
    /// Turns a delivery into a dead letter.
    async fn give_up(
        &self,
        group: &str,
        delivery: &Delivery,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), BusError>;
    /// The dead letters, oldest first.
    async fn dead(&self) -> Result<Vec<DeadLetter>, BusError>;
    /// Delivers a dead letter to its group again; `false` if there is no such dead letter.
    async fn replay(&self, letter: &DeadLetter, now: Timestamp) -> Result<bool, BusError>;
    /// How far every group is behind on every channel.
    async fn lag(&self) -> Result<Vec<Lag>, BusError>;
    /// The last `max` events of a channel, oldest first: position and body.
    async fn history(&self, channel: &str, max: u32) -> Result<Vec<(String, String)>, BusError>;
    /// The channels that have events.
    async fn channels(&self) -> Result<Vec<String>, BusError>;
    /// Deletes the events of a channel that are older than `older_than` and that no group still needs.
    async fn trim(&self, channel: &str, older_than: Timestamp) -> Result<u64, BusError>;
}
