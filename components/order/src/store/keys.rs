//! Idempotency keys of checkout. They are in the database of the service, so that a key and its order are written in one
//! transaction.

use super::Store;
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::params;
use localmart_guest::sql::{Connection, Database, SqlError, transaction};

/// The result of claiming an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The key is claimed: create or resume the order with this id.
    Run(Id),
    /// The key was used with another body.
    Reused,
    /// Another request with this key is running.
    InFlight,
    /// The key has this answer.
    Answered(String),
}

impl<D: Database> Store<D> {
    /// Claims a key. The first request to write it wins; after a crash, the first request after the lease has expired.
    pub(crate) async fn claim(
        &self,
        name: &str,
        fingerprint: &str,
        fresh: &Id,
        now: Timestamp,
        lease: Timestamp,
        end: Timestamp,
    ) -> Result<Claim, SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "DELETE FROM checkout_keys WHERE name = CAST($1 AS TEXT) AND expires_at <= CAST($2 AS BIGINT)";
            connection.queue(sql, params![name, now]).await?;
            let sql = "INSERT INTO checkout_keys (name, print, order_id, lease_until, answer, expires_at) VALUES (CAST($1 AS TEXT), \
                       CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), NULL, CAST($5 AS BIGINT)) ON CONFLICT DO NOTHING";
            if connection.execute(sql, params![name, fingerprint, fresh, lease, end]).await? == 1 {
                return Ok(Claim::Run(fresh.clone()));
            }
            let sql = "SELECT print, order_id, answer FROM checkout_keys WHERE name = CAST($1 AS TEXT)";
            let rows = connection.query(sql, params![name]).await?;
            let row = rows.first().ok_or_else(|| SqlError::Unavailable("the key was released concurrently".to_owned()))?;
            if row.text(0)? != fingerprint {
                return Ok(Claim::Reused);
            }
            if let Some(answer) = row.maybe_text(2)? {
                return Ok(Claim::Answered(answer));
            }
            let sql = "UPDATE checkout_keys SET lease_until = CAST($3 AS BIGINT) WHERE name = CAST($1 AS TEXT) AND lease_until <= CAST($2 AS BIGINT)";
            let taken = connection.execute(sql, params![name, now, lease]).await? == 1;
            Ok(if taken { Claim::Run(row.id(1)?) } else { Claim::InFlight })
        })
        .await
    }

    pub(crate) async fn store_answer(
        &self,
        name: &str,
        order: &Id,
        answer: &str,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE checkout_keys SET answer = CAST($3 AS TEXT), lease_until = 0 WHERE name = CAST($1 AS TEXT) AND order_id = CAST($2 AS TEXT)";
        self.run(sql, params![name, order, answer]).await.map(drop)
    }

    /// Releases the lease of a key, so that the next request can continue at once; deletes the key if it has no order.
    pub(crate) async fn release_key(&self, name: &str, order: &Id) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "UPDATE checkout_keys SET lease_until = 0 WHERE name = CAST($1 AS TEXT) AND answer IS NULL";
            connection.execute(sql, params![name]).await?;
            let sql = "DELETE FROM checkout_keys WHERE name = CAST($1 AS TEXT) AND answer IS NULL \
                       AND NOT EXISTS (SELECT 1 FROM orders WHERE id = CAST($2 AS TEXT))";
            connection.execute(sql, params![name, order]).await.map(drop)
        })
        .await
    }

    pub(crate) async fn forget_expired_keys(&self, now: Timestamp) -> Result<(), SqlError> {
        let sql = "DELETE FROM checkout_keys WHERE expires_at <= CAST($1 AS BIGINT)";
        self.run(sql, params![now]).await.map(drop)
    }
}
