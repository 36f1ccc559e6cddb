//! The inbox: the events that this service has already handled. An entry is written in the transaction of the effect.

use crate::params;
use crate::sql::{Connection, Database, SqlError};
use localmart_kernel::Timestamp;

/// How long an entry is kept, in milliseconds: longer than the bus keeps the event.
pub const RETENTION_MS: i64 = 30 * 86_400_000;

/// Records that an event is handled; `false` if the inbox contains it already.
pub async fn first_time(
    connection: &impl Connection,
    id: &str,
    now: Timestamp,
) -> Result<bool, SqlError> {
    let sql = "INSERT INTO inbox (id, seen_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(connection.execute(sql, params![id, now]).await? == 1)
}

/// Deletes the entries of events that cannot be delivered again.
pub async fn forget(database: &impl Database, now: Timestamp) -> Result<u64, SqlError> {
    let sql = "DELETE FROM inbox WHERE seen_at < $1";
    let connection = database.open().await?;
    connection
        .execute(sql, params![now.plus_ms(-RETENTION_MS)])
        .await
}
