//! The kit's own migrations, for those who apply them; components never do.

/// Outbox, inbox and audit: beside the tables of every service.
pub const SERVICE: &str = include_str!("../migrations/service/0001_events.sql");
/// The bus where there is no Redis: a database of its own.
pub const BUS: &str = include_str!("../migrations/bus/0001_bus.sql");
