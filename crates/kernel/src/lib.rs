//! What every noun of the shop is made of, without clock, randomness or I/O.
//!
//! In reading order: [`money`] (exact amounts), [`id`] (UUIDv7), [`time`] (Unix milliseconds and RFC 3339),
//! [`page`] (limits and opaque cursors), [`text`] (sort keys and slugs). It knows no service, no HTTP and no SQL.

pub mod address;
pub mod id;
pub mod money;
pub mod page;
pub mod text;
pub mod time;

pub use address::Address;
pub use id::Id;
pub use money::{Currency, Money, MoneyError};
pub use page::{Cursor, Limit};
pub use time::Timestamp;
