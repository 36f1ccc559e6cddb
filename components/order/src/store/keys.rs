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
            let sql = "DELETE FROM checkout_keys WHERE name = $1 AND expires_at <= $2";
            connection.queue(sql, params![name, now]).await?;
            let sql = "INSERT INTO checkout_keys (name, print, order_id, lease_until, answer, expires_at) VALUES ($1, \
                       $2, $3, $4, NULL, $5) ON CONFLICT DO NOTHING";
            if connection.execute(sql, params![name, fingerprint, fresh, lease, end]).await? == 1 {
                return Ok(Claim::Run(fresh.clone()));
            }
            let sql = "SELECT print, order_id, answer FROM checkout_keys WHERE name = $1";
            let rows = connection.query(sql, params![name]).await?;
            let row = rows.first().ok_or_else(|| SqlError::Unavailable("the key was released concurrently".to_owned()))?;
            if row.get::<String>("print")? != fingerprint {
                return Ok(Claim::Reused);
            }
            if let Some(answer) = row.get("answer")? {
                return Ok(Claim::Answered(answer));
            }
            let sql = "UPDATE checkout_keys SET lease_until = $3 WHERE name = $1 AND lease_until <= $2";
            let taken = connection.execute(sql, params![name, now, lease]).await? == 1;
            Ok(if taken { Claim::Run(row.get("order_id")?) } else { Claim::InFlight })
        })
        .await
    }

    pub(crate) async fn store_answer(
        &self,
        name: &str,
        order: &Id,
        answer: &str,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE checkout_keys SET answer = $3, lease_until = 0 WHERE name = $1 AND order_id = $2";
        self.run(sql, params![name, order, answer]).await.map(drop)
    }

    /// Releases the lease of a key, so that the next request can continue at once; deletes the key if it has no order.
    pub(crate) async fn release_key(&self, name: &str, order: &Id) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "UPDATE checkout_keys SET lease_until = 0 WHERE name = $1 AND answer IS NULL";
            connection.execute(sql, params![name]).await?;
            let sql = "DELETE FROM checkout_keys WHERE name = $1 AND answer IS NULL \
                       AND NOT EXISTS (SELECT 1 FROM orders WHERE id = $2)";
            connection
                .execute(sql, params![name, order])
                .await
                .map(drop)
        })
        .await
    }

    pub(crate) async fn forget_expired_keys(&self, now: Timestamp) -> Result<(), SqlError> {
        let sql = "DELETE FROM checkout_keys WHERE expires_at <= $1";
        self.run(sql, params![now]).await.map(drop)
    }
}
