//! The inbox: which events have had their effect here. It is written in the transaction of the effect.

use crate::params;
use crate::sql::{Connection, Database, SqlError};
use localmart_kernel::Timestamp;

/// How long an event is remembered, in milliseconds: longer than the bus keeps it.
pub const REMEMBERED_MS: i64 = 30 * 86_400_000;

/// Whether this event is new here; from now on it is not.
pub async fn first_time(
    connection: &impl Connection,
    id: &str,
    now: Timestamp,
) -> Result<bool, SqlError> {
    let sql = "INSERT INTO inbox (id, seen_at) VALUES (CAST($1 AS TEXT), CAST($2 AS BIGINT)) ON CONFLICT DO NOTHING";
    Ok(connection.execute(sql, params![id, now]).await? == 1)
}

/// Forgets events that cannot come again.
pub async fn forget(database: &impl Database, now: Timestamp) -> Result<u64, SqlError> {
    let sql = "DELETE FROM inbox WHERE seen_at < CAST($1 AS BIGINT)";
    let connection = database.open().await?;
    connection
        .execute(sql, params![now.plus_ms(-REMEMBERED_MS)])
        .await
}
