//! The SQL of order. [`rows`] converts orders to columns and back, [`status_changes`] writes history, audit log and events,
//! [`lists`] reads pages, [`keys`] has idempotency keys, [`returns`] has returns; this file has all other statements.

mod keys;
mod lists;
mod returns;
pub(crate) mod rows;
mod status_changes;

pub(crate) use keys::Claim;
pub(crate) use lists::Scope;
#[cfg(test)]
pub(crate) use lists::list_statement;

use crate::domain::links::{Payment, PaymentStatus};
use crate::domain::status::Status;
use crate::domain::{Failure, Order};
use localmart_events::PaymentChanged;
use localmart_guest::events::{Event, inbox};
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::params;
use localmart_guest::ports::Ports;
use localmart_guest::sql::{
    Connection, Database, Row, SqlError, Stored as _, Value, decode_rows, places, transaction,
};
use localmart_guest::wit::Context;
use rows::{ItemRow, OrderRow, StepRow};

/// The result of writing a new order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Done,
    /// The cart was already ordered with this order.
    CartTaken(Id),
}

pub(crate) struct Store<D> {
    database: D,
    ports: Ports,
}

impl<D: Database> Store<D> {
    pub(crate) fn new(database: D, ports: Ports) -> Self {
        Self { database, ports }
    }

    pub(crate) async fn order(&self, id: &Id) -> Result<Option<Order>, SqlError> {
        read(&self.database.open().await?, id).await
    }

    pub(crate) async fn exists(&self, id: &Id) -> Result<bool, SqlError> {
        let sql = "SELECT 1 FROM orders WHERE id = $1";
        let connection = self.database.open().await?;
        Ok(!connection.query(sql, params![id]).await?.is_empty())
    }

    pub(crate) async fn insert(
        &self,
        order: &Order,
        lease: Timestamp,
    ) -> Result<Inserted, SqlError> {
        transaction(&self.database, async |connection| {
            let (sql, row) = (
                OrderRow::insert("ON CONFLICT DO NOTHING"),
                OrderRow::of(order, lease),
            );
            if connection.execute(&sql, &row.values()).await? == 0 {
                let sql = "SELECT id FROM orders WHERE cart_id = $1 AND status <> $2";
                let rows = connection
                    .query(sql, params![&order.cart_id, Status::Failed.name()])
                    .await?;
                return match rows.first() {
                    Some(row) => Ok(Inserted::CartTaken(row.get("id")?)),
                    // The conflicting order has just failed, or the order number is taken. A retry has another id.
                    None => Err(SqlError::Unavailable(
                        "the order conflicts with another order".to_owned(),
                    )),
                };
            }
            for (position, item) in order.items.iter().enumerate() {
                let row = ItemRow::of(&order.id, position, item);
                connection
                    .queue(&ItemRow::insert(""), &row.values())
                    .await?;
            }
            status_changes::step(
                connection,
                &order.id,
                Status::Pending,
                order.created_at,
                None,
            )
            .await?;
            Ok(Inserted::Done)
        })
        .await
    }

    /// Deletes an order that did not complete its cart.
    pub(crate) async fn forget(&self, id: &Id) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            for table in ["order_history", "order_items"] {
                let sql = format!("DELETE FROM {table} WHERE order_id = $1");
                connection.execute(&sql, params![id]).await?;
            }
            let sql =
                "DELETE FROM orders WHERE id = $1 AND status = 'pending' AND payment_id IS NULL";
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
        let sql = "UPDATE orders SET lease_until = $3 WHERE id = $1 AND lease_until <= $2";
        Ok(self.run(sql, params![id, now, until]).await? == 1)
    }

    /// Renews the lease of an order and of the key whose request works on it.
    pub(crate) async fn renew(&self, id: &Id, until: Timestamp) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "UPDATE orders SET lease_until = $2 WHERE id = $1";
            connection.execute(sql, params![id, until]).await?;
            let sql = "UPDATE checkout_keys SET lease_until = $2 WHERE order_id = $1 AND answer IS NULL \
                       AND lease_until > 0";
            connection.execute(sql, params![id, until]).await.map(drop)
        })
        .await
    }

    pub(crate) async fn release_lease(&self, id: &Id) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET lease_until = 0 WHERE id = $1 AND lease_until > 0";
        self.run(sql, params![id]).await.map(drop)
    }

    pub(crate) async fn postpone(&self, id: &Id, until: Timestamp) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET next_try_at = $2 WHERE id = $1";
        self.run(sql, params![id, until]).await.map(drop)
    }

    pub(crate) async fn wait_for_provider(
        &self,
        context: &Context,
        id: &Id,
        payment: &Payment,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET payment_id = $2, payment_status = $3, next_try_at = $5, \
                   version = version + 1, updated_at = $4 WHERE id = $1 AND status = 'pending'";
        let params = params![id, &payment.id, payment.status.name(), now, next];
        transaction(&self.database, async |connection| {
            connection.execute(sql, params).await?;
            let order = must_read(connection, id).await?;
            self.record_created(connection, context, &order, now).await
        })
        .await
    }

    /// Whether the order is pending because the payment provider did not answer.
    pub(crate) async fn waits_for_provider(&self, id: &Id) -> Result<bool, SqlError> {
        let sql = "SELECT 1 FROM orders WHERE id = $1 AND status = 'pending' AND payment_status = 'pending'";
        let connection = self.database.open().await?;
        Ok(!connection.query(sql, params![id]).await?.is_empty())
    }

    /// Marks an order as paid and releases its lease; `None` if the order is no longer pending.
    pub(crate) async fn paid(
        &self,
        context: &Context,
        id: &Id,
        payment: &Payment,
        now: Timestamp,
    ) -> Result<Option<Order>, SqlError> {
        let sql = "UPDATE orders SET status = 'paid', payment_id = $2, payment_status = $3, \
                   payment_token = NULL, lease_until = 0, version = version + 1, updated_at = $4 \
                   WHERE id = $1 AND status = 'pending' AND cancelling = 0";
        self.change(
            context,
            id,
            Status::Paid,
            now,
            None,
            sql,
            params![id, &payment.id, payment.status.name(), now],
        )
        .await
    }

    pub(crate) async fn failed(
        &self,
        context: &Context,
        id: &Id,
        failure: &Failure,
        payment: Option<&Payment>,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let (code, detail) = rows::failure_columns(failure);
        let sql = "UPDATE orders SET status = 'failed', failure = $2, failure_detail = $3, \
                   payment_id = $4, payment_status = $5, payment_token = NULL, \
                   version = version + 1, updated_at = $6 \
                   WHERE id = $1 AND status = 'pending' AND cancelling = 0";
        let params = params![
            id,
            code,
            detail,
            payment.map(|payment| &payment.id),
            payment.map(|payment| payment.status.name()),
            now
        ];
        let changed = self.change(context, id, Status::Failed, now, Some(code), sql, params);
        Ok(changed.await?.is_some())
    }

    pub(crate) async fn request_cancellation(
        &self,
        id: &Id,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let sql = "UPDATE orders SET cancelling = 1, cancel_reason = $2, next_try_at = $3, \
                   version = version + 1, updated_at = $3 \
                   WHERE id = $1 AND status IN ('pending', 'paid') AND cancelling = 0";
        Ok(self.run(sql, params![id, reason, now]).await? == 1)
    }

    /// Marks an order as shipped or delivered; `false` if its status is not `from` or if it is being cancelled.
    pub(crate) async fn advance_to(
        &self,
        context: &Context,
        id: &Id,
        from: Status,
        to: Status,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let sql = "UPDATE orders SET status = $3, version = version + 1, updated_at = $4 \
                   WHERE id = $1 AND status = $2 AND cancelling = 0";
        let params = params![id, from.name(), to.name(), now];
        let changed = self.change(context, id, to, now, None, sql, params);
        Ok(changed.await?.is_some())
    }

    /// Records the status of a refunded payment. Does nothing if a later version of the payment is known.
    pub(crate) async fn refunded(
        &self,
        event: &Event,
        payment: &PaymentChanged,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            if !inbox::first_time(connection, &event.id, now).await? {
                return Ok(());
            }
            let sql = "UPDATE orders SET payment_status = $2, payment_version = $3, \
                       version = version + 1, updated_at = $4 \
                       WHERE payment_id = $1 AND payment_version < $3 AND cancelling = 0 \
                       AND status IN ('paid', 'shipped', 'delivered', 'return_requested', 'returned')";
            let (id, status) = (&payment.payment_id, PaymentStatus::from(payment.status));
            let params = params![id, status.name(), event.version, now];
            connection.execute(sql, params).await.map(drop)
        })
        .await
    }

    pub(crate) async fn cancelled(
        &self,
        context: &Context,
        id: &Id,
        payment: Option<&Payment>,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let reason = {
            let sql = "SELECT cancel_reason FROM orders WHERE id = $1";
            let rows = self.database.open().await?.query(sql, params![id]).await?;
            rows.first()
                .map(|row| row.get::<Option<String>>("cancel_reason"))
                .transpose()?
                .flatten()
        };
        let sql = "UPDATE orders SET status = 'cancelled', cancelling = 0, payment_token = NULL, \
                   payment_id = $2, payment_status = $3, version = version + 1, updated_at = $4 \
                   WHERE id = $1 AND status IN ('pending', 'paid') AND cancelling = 1";
        let params = params![
            id,
            payment.map(|payment| &payment.id),
            payment.map(|payment| payment.status.name()),
            now
        ];
        let (to, reason) = (Status::Cancelled, reason.as_deref());
        let changed = self.change(context, id, to, now, reason, sql, params);
        Ok(changed.await?.is_some())
    }

    /// Unfinished orders without a lease: pending orders, and interrupted cancellations and returns.
    pub(crate) async fn unfinished(&self, now: Timestamp, limit: u32) -> Result<Vec<Id>, SqlError> {
        let sql = "SELECT id FROM orders WHERE status = 'pending' AND next_try_at <= $1 AND lease_until <= $1 \
                   UNION SELECT id FROM orders WHERE cancelling = 1 AND next_try_at <= $1 AND lease_until <= $1 \
                   UNION SELECT o.id FROM returns r JOIN orders o ON o.id = r.order_id WHERE r.status = 'approving' \
                   AND o.next_try_at <= $1 AND o.lease_until <= $1 \
                   LIMIT $2";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![now, limit])
            .await?;
        rows.iter().map(|row| row.get("id")).collect()
    }

    async fn run(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        self.database.open().await?.execute(sql, params).await
    }
}

async fn read(connection: &impl Connection, id: &Id) -> Result<Option<Order>, SqlError> {
    let sql = OrderRow::select("WHERE id = $1");
    let one: &[Value] = params![id];
    let (items, history) = (items_of("$1"), history_of("$1"));
    let queries = [
        (sql.as_str(), one),
        (items.as_str(), one),
        (history.as_str(), one),
    ];
    let answers = connection.query_all(&queries).await?;
    let [found, items, history] = answers.as_slice() else {
        return Err(SqlError::Failed(
            "the result of a query is missing".to_owned(),
        ));
    };
    let orders = assemble(connection, found, items, history).await?;
    Ok(orders.into_iter().next())
}

fn items_of(places: &str) -> String {
    ItemRow::select(&format!(
        "WHERE order_id IN ({places}) ORDER BY order_id, position"
    ))
}

fn history_of(places: &str) -> String {
    StepRow::select(&format!(
        "WHERE order_id IN ({places}) ORDER BY order_id, position"
    ))
}

/// Reads an order that must exist.
async fn must_read(connection: &impl Connection, id: &Id) -> Result<Order, SqlError> {
    let order = read(connection, id).await?;
    order.ok_or_else(|| SqlError::Failed("the order is missing".to_owned()))
}

/// Adds lines and history to orders.
async fn complete(connection: &impl Connection, found: &[Row]) -> Result<Vec<Order>, SqlError> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let ids = found.iter().map(|row| row.get::<Id>("id"));
    let ids = ids.map(|id| id.map(|id| Value::from(&id)));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let places = places(1..=ids.len());
    let (items, history) = (items_of(&places), history_of(&places));
    let queries = [(items.as_str(), ids.as_slice()), (history.as_str(), &ids)];
    let answers = connection.query_all(&queries).await?;
    let [items, history] = answers.as_slice() else {
        return Err(SqlError::Failed(
            "the result of a query is missing".to_owned(),
        ));
    };
    let decode = |row: &Row| rows::order(row, items, history);
    let mut orders = decode_rows("orders", found, decode).items;
    returns::complete(connection, &mut orders).await?;
    Ok(orders)
}

async fn assemble(
    connection: &impl Connection,
    found: &[Row],
    items: &[Row],
    history: &[Row],
) -> Result<Vec<Order>, SqlError> {
    let orders = found.iter().map(|row| rows::order(row, items, history));
    let mut orders = orders.collect::<Result<Vec<_>, _>>()?;
    returns::complete(connection, &mut orders).await?;
    Ok(orders)
}
