//! The migrations of the kit's tables. The command line and the tests apply them; components never do.

/// Outbox, inbox and audit log: tables in the database of every service.
pub const SERVICE: &str = include_str!("../migrations/service/0001_events.sql");
/// The bus on SQL, used without Redis: tables in a database of its own.
pub const BUS: &str = include_str!("../migrations/bus/0001_bus.sql");
