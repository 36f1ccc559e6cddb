//! Order's SQL. [`rows`] turns orders into columns and back; here are the statements.

pub(crate) mod rows;

use crate::domain::needs::Payment;
use crate::domain::status::Status;
use crate::domain::{Failure, Order};
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::params;
use localmart_guest::sql::{Connection, Database, SqlError, Value, transaction};

/// What an idempotency key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours: make, or resume, the order with this id.
    Run(Id),
    /// It was used with another body.
    Reused,
    /// Somebody runs with it.
    InFlight,
    /// It was answered with this.
    Answered(String),
}

/// What became of a new order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Done,
    /// The cart already is this order.
    CartTaken(Id),
}

pub(crate) struct Store<D> {
    database: D,
}

impl<D: Database> Store<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database }
    }

    pub(crate) async fn order(&self, id: &Id) -> Result<Option<Order>, SqlError> {
        let connection = self.database.open().await?;
        let sql = format!(
            "SELECT {} FROM orders WHERE id = CAST($1 AS TEXT)",
            rows::COLUMNS
        );
        let found = connection.query(&sql, params![id]).await?;
        let Some(row) = found.first() else {
            return Ok(None);
        };
        let sql = "SELECT product_id, sku, name, unit_price, quantity, line_total FROM order_items \
                   WHERE order_id = CAST($1 AS TEXT) ORDER BY position";
        let items = connection.query(sql, params![id]).await?;
        let sql = "SELECT status, at, reason FROM order_history WHERE order_id = CAST($1 AS TEXT) ORDER BY position";
        let history = connection.query(sql, params![id]).await?;
        rows::order(row, &items, &history).map(Some)
    }

    pub(crate) async fn insert(
        &self,
        order: &Order,
        lease: Timestamp,
    ) -> Result<Inserted, SqlError> {
        transaction(&self.database, async |connection| {
            if connection.execute(rows::INSERT, &rows::columns(order, lease)).await? == 0 {
                let sql = "SELECT id FROM orders WHERE cart_id = CAST($1 AS TEXT) AND status <> CAST($2 AS TEXT)";
                let rows = connection.query(sql, params![&order.cart_id, Status::Failed.name()]).await?;
                return match rows.first() {
                    Some(row) => Ok(Inserted::CartTaken(row.id(0)?)),
                    None => Err(SqlError::Failed("an order's id or number is taken".to_owned())),
                };
            }
            for (position, item) in order.items.iter().enumerate() {
                connection.execute(rows::INSERT_ITEM, &rows::item_columns(&order.id, position, item)).await?;
            }
            step(connection, &order.id, Status::Pending, order.created_at, None).await?;
            Ok(Inserted::Done)
        })
        .await
    }

    /// Removes an order that never was one: its cart was not completed by it.
    pub(crate) async fn forget(&self, id: &Id) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            for table in ["order_history", "order_items"] {
                let sql = format!("DELETE FROM {table} WHERE order_id = CAST($1 AS TEXT)");
                connection.execute(&sql, params![id]).await?;
            }
            let sql = "DELETE FROM orders WHERE id = CAST($1 AS TEXT) AND status = 'pending' AND payment_id IS NULL";
            connection.execute(sql, params![id]).await.map(drop)
        })
        .await
    }

    pub(crate) async fn lease(
        &self,
        id: &Id,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, SqlError> {
        let sql = "UPDATE orders SET lease_until = CAST($3 AS BIGINT) WHERE id = CAST($1 AS TEXT) AND lease_until <= CAST($2 AS BIGINT)";
        Ok(self.run(sql, params![id, now, until]).await? == 1)
    }

    pub(crate) async fn renew(&self, id: &Id, until: Timestamp) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET lease_until = CAST($2 AS BIGINT) WHERE id = CAST($1 AS TEXT)";
        self.run(sql, params![id, until]).await.map(drop)
    }

    pub(crate) async fn unlease(&self, id: &Id) -> Result<(), SqlError> {
        let sql =
            "UPDATE orders SET lease_until = 0 WHERE id = CAST($1 AS TEXT) AND lease_until > 0";
        self.run(sql, params![id]).await.map(drop)
    }

    pub(crate) async fn put_off(&self, id: &Id, until: Timestamp) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET next_try_at = CAST($2 AS BIGINT) WHERE id = CAST($1 AS TEXT)";
        self.run(sql, params![id, until]).await.map(drop)
    }

    pub(crate) async fn wait_for_provider(
        &self,
        id: &Id,
        payment: &Payment,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET payment_id = CAST($2 AS TEXT), payment_status = CAST($3 AS TEXT), next_try_at = CAST($5 AS BIGINT), \
                   version = version + 1, updated_at = CAST($4 AS BIGINT) WHERE id = CAST($1 AS TEXT) AND status = 'pending'";
        self.run(sql, params![id, &payment.id, payment.status, now, next])
            .await
            .map(drop)
    }

    /// `false` if the order is no longer waiting for it.
    pub(crate) async fn paid(
        &self,
        id: &Id,
        payment: &Payment,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let sql = "UPDATE orders SET status = 'paid', payment_id = CAST($2 AS TEXT), payment_status = CAST($3 AS TEXT), \
                   payment_token = NULL, version = version + 1, updated_at = CAST($4 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND status = 'pending' AND cancelling = 0";
        self.change(
            id,
            Status::Paid,
            now,
            None,
            sql,
            params![id, &payment.id, payment.status, now],
        )
        .await
    }

    pub(crate) async fn failed(
        &self,
        id: &Id,
        failure: &Failure,
        payment: Option<&Payment>,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let (code, detail) = rows::failure_columns(failure);
        let sql = "UPDATE orders SET status = 'failed', failure = CAST($2 AS TEXT), failure_detail = CAST($3 AS TEXT), \
                   payment_id = CAST($4 AS TEXT), payment_status = CAST($5 AS TEXT), payment_token = NULL, \
                   version = version + 1, updated_at = CAST($6 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND status = 'pending' AND cancelling = 0";
        let params = params![
            id,
            code,
            detail,
            payment
                .map(|payment| Value::from(&payment.id))
                .unwrap_or(Value::Null),
            payment.map(|payment| payment.status),
            now
        ];
        self.change(id, Status::Failed, now, Some(code), sql, params)
            .await
    }

    pub(crate) async fn ask_cancel(
        &self,
        id: &Id,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET cancelling = 1, cancel_reason = CAST($2 AS TEXT), next_try_at = CAST($3 AS BIGINT), \
                   version = version + 1, updated_at = CAST($3 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND status IN ('pending', 'paid') AND cancelling = 0";
        self.run(sql, params![id, reason, now]).await.map(drop)
    }

    pub(crate) async fn cancelled(
        &self,
        id: &Id,
        payment: Option<&Payment>,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let reason = {
            let sql = "SELECT cancel_reason FROM orders WHERE id = CAST($1 AS TEXT)";
            let rows = self.database.open().await?.query(sql, params![id]).await?;
            rows.first()
                .map(|row| row.maybe_text(0))
                .transpose()?
                .flatten()
        };
        let sql = "UPDATE orders SET status = 'cancelled', cancelling = 0, payment_token = NULL, \
                   payment_id = CAST($2 AS TEXT), payment_status = CAST($3 AS TEXT), version = version + 1, updated_at = CAST($4 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND status IN ('pending', 'paid') AND cancelling = 1";
        let params = params![
            id,
            payment
                .map(|payment| Value::from(&payment.id))
                .unwrap_or(Value::Null),
            payment.map(|payment| payment.status),
            now
        ];
        self.change(id, Status::Cancelled, now, reason.as_deref(), sql, params)
            .await
    }

    /// Orders that nobody works on and that should be further: pending, or half called off.
    pub(crate) async fn unfinished(&self, now: Timestamp, limit: u32) -> Result<Vec<Id>, SqlError> {
        let sql = "SELECT id FROM orders WHERE status = 'pending' AND next_try_at <= CAST($1 AS BIGINT) AND lease_until <= CAST($1 AS BIGINT) \
                   UNION SELECT id FROM orders WHERE cancelling = 1 AND next_try_at <= CAST($1 AS BIGINT) AND lease_until <= CAST($1 AS BIGINT) \
                   LIMIT CAST($2 AS BIGINT)";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![now, limit])
            .await?;
        rows.iter().map(|row| row.id(0)).collect()
    }

    /// Takes a key; the first to write it wins, and after a crash the first to find its lease lapsed.
    pub(crate) async fn claim(
        &self,
        name: &str,
        print: &str,
        fresh: &Id,
        now: Timestamp,
        lease: Timestamp,
        end: Timestamp,
    ) -> Result<Claim, SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "DELETE FROM checkout_keys WHERE name = CAST($1 AS TEXT) AND expires_at <= CAST($2 AS BIGINT)";
            connection.execute(sql, params![name, now]).await?;
            let sql = "INSERT INTO checkout_keys (name, print, order_id, lease_until, answer, expires_at) VALUES (CAST($1 AS TEXT), \
                       CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), NULL, CAST($5 AS BIGINT)) ON CONFLICT DO NOTHING";
            if connection.execute(sql, params![name, print, fresh, lease, end]).await? == 1 {
                return Ok(Claim::Run(fresh.clone()));
            }
            let sql = "SELECT print, order_id, answer FROM checkout_keys WHERE name = CAST($1 AS TEXT)";
            let rows = connection.query(sql, params![name]).await?;
            let row = rows.first().ok_or_else(|| SqlError::Failed("a key vanished".to_owned()))?;
            if row.text(0)? != print {
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

    pub(crate) async fn remember(
        &self,
        name: &str,
        order: &Id,
        answer: &str,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE checkout_keys SET answer = CAST($3 AS TEXT), lease_until = 0 WHERE name = CAST($1 AS TEXT) AND order_id = CAST($2 AS TEXT)";
        self.run(sql, params![name, order, answer]).await.map(drop)
    }

    /// Lets the next request with this key go on at once; forgets the key if it has no order.
    pub(crate) async fn give_back(&self, name: &str, order: &Id) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "UPDATE checkout_keys SET lease_until = 0 WHERE name = CAST($1 AS TEXT) AND answer IS NULL";
            connection.execute(sql, params![name]).await?;
            let sql = "DELETE FROM checkout_keys WHERE name = CAST($1 AS TEXT) AND answer IS NULL \
                       AND NOT EXISTS (SELECT 1 FROM orders WHERE id = CAST($2 AS TEXT))";
            connection.execute(sql, params![name, order]).await.map(drop)
        })
        .await
    }

    pub(crate) async fn forget_keys(&self, now: Timestamp) -> Result<(), SqlError> {
        let sql = "DELETE FROM checkout_keys WHERE expires_at <= CAST($1 AS BIGINT)";
        self.run(sql, params![now]).await.map(drop)
    }

    /// A conditional change of status together with its line in the history.
    async fn change(
        &self,
        id: &Id,
        to: Status,
        now: Timestamp,
        reason: Option<&str>,
        sql: &str,
        params: &[Value],
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            let changed = connection.execute(sql, params).await? == 1;
            if changed {
                step(connection, id, to, now, reason).await?;
            }
            Ok(changed)
        })
        .await
    }

    async fn run(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        self.database.open().await?.execute(sql, params).await
    }
}

async fn step(
    connection: &impl Connection,
    id: &Id,
    status: Status,
    at: Timestamp,
    reason: Option<&str>,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO order_history (order_id, position, status, at, reason) SELECT CAST($1 AS TEXT), \
               CAST(COUNT(*) AS BIGINT), CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS TEXT) \
               FROM order_history WHERE order_id = CAST($1 AS TEXT)";
    connection
        .execute(sql, params![id, status.name(), at, reason])
        .await
        .map(drop)
}
