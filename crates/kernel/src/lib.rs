//! The value types that all services share: pure code without clock, random numbers or I/O.
//!
//! In reading order: [`money`] (exact amounts), [`id`] (UUIDv7), [`time`] (Unix milliseconds and RFC 3339), [`address`]
//! (postal addresses), [`asker`] (who asks), [`page`] (limits and opaque cursors), [`text`] (sort keys and slugs), [`named!`] (enums whose cases
//! have names). This crate knows no service, no HTTP and no SQL.

pub mod address;
pub mod asker;
pub mod id;
pub mod money;
mod named;
pub mod page;
pub mod text;
pub mod time;

pub use address::Address;
pub use asker::Asker;
pub use id::Id;
pub use money::{Currency, Money, MoneyError};
pub use page::{Cursor, Limit};
pub use time::Timestamp;
