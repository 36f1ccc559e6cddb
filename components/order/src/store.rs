//! Order's SQL. [`rows`] turns orders into columns and back, [`keys`] has those of idempotency keys, [`returns`] those of
//! returns; here are the statements about orders.

mod keys;
mod returns;
pub(crate) mod rows;

pub(crate) use keys::Claim;

use crate::domain::needs::Payment;
use crate::domain::returns::Return;
use crate::domain::status::Status;
use crate::domain::{Failure, Order};
use localmart_guest::audit;
use localmart_guest::events::{Event, inbox, outbox};
use localmart_guest::kernel::{Cursor, Id, Limit, Timestamp};
use localmart_guest::params;
use localmart_guest::ports::Ports;
use localmart_guest::sql::{Connection, Database, Row, SqlError, Value, transaction};
use localmart_guest::wit::Context;

/// What became of a new order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Done,
    /// The cart already is this order.
    CartTaken(Id),
}

pub(crate) struct Store<D> {
    database: D,
    ports: Ports,
}

/// A change of status, and what is told of it.
struct Turn<'a> {
    to: Status,
    reason: Option<&'a str>,
    /// The event's type, and the return it is about.
    event: Option<(&'static str, Option<&'a Return>)>,
}

/// Whose orders a list shows, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// One user's; otherwise all.
    pub(crate) customer_id: Option<String>,
    pub(crate) status: Option<Status>,
}

impl<D: Database> Store<D> {
    pub(crate) fn new(database: D, ports: Ports) -> Self {
        Self { database, ports }
    }

    pub(crate) async fn order(&self, id: &Id) -> Result<Option<Order>, SqlError> {
        read(&self.database.open().await?, id).await
    }

    /// A page of orders, newest first, and one more to see whether there is a next page.
    pub(crate) async fn list(
        &self,
        scope: &Scope,
        limit: Limit,
        after: Option<&Cursor>,
    ) -> Result<Vec<Order>, SqlError> {
        let (sql, params) = list_statement(scope, limit, after);
        let connection = self.database.open().await?;
        let found = connection.query(&sql, &params).await?;
        complete(&connection, &found).await
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
                    // The one that was in the way has just failed, or the number is taken; another try has another id.
                    None => Err(SqlError::Unavailable("another order was in the way".to_owned())),
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

    /// Keeps the lease of an order, and that of the key whose request works on it.
    pub(crate) async fn renew(&self, id: &Id, until: Timestamp) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "UPDATE orders SET lease_until = CAST($2 AS BIGINT) WHERE id = CAST($1 AS TEXT)";
            connection.execute(sql, params![id, until]).await?;
            let sql = "UPDATE checkout_keys SET lease_until = CAST($2 AS BIGINT) WHERE order_id = CAST($1 AS TEXT) AND answer IS NULL \
                       AND lease_until > 0";
            connection.execute(sql, params![id, until]).await.map(drop)
        })
        .await
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
        context: &Context,
        id: &Id,
        payment: &Payment,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET payment_id = CAST($2 AS TEXT), payment_status = CAST($3 AS TEXT), next_try_at = CAST($5 AS BIGINT), \
                   version = version + 1, updated_at = CAST($4 AS BIGINT) WHERE id = CAST($1 AS TEXT) AND status = 'pending'";
        let params = params![id, &payment.id, payment.status, now, next];
        transaction(&self.database, async |connection| {
            connection.execute(sql, params).await?;
            let order = must_read(connection, id).await?;
            self.announce(connection, context, &order, now).await
        })
        .await
    }

    /// Whether the order is pending because its provider did not answer.
    pub(crate) async fn waits_for_provider(&self, id: &Id) -> Result<bool, SqlError> {
        let sql = "SELECT CAST(1 AS BIGINT) FROM orders WHERE id = CAST($1 AS TEXT) AND status = 'pending' AND payment_status = 'pending'";
        let connection = self.database.open().await?;
        Ok(!connection.query(sql, params![id]).await?.is_empty())
    }

    /// `false` if the order is no longer waiting for it.
    pub(crate) async fn paid(
        &self,
        context: &Context,
        id: &Id,
        payment: &Payment,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let sql = "UPDATE orders SET status = 'paid', payment_id = CAST($2 AS TEXT), payment_status = CAST($3 AS TEXT), \
                   payment_token = NULL, version = version + 1, updated_at = CAST($4 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND status = 'pending' AND cancelling = 0";
        self.change(
            context,
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
        context: &Context,
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
        self.change(context, id, Status::Failed, now, Some(code), sql, params)
            .await
    }

    pub(crate) async fn ask_cancel(
        &self,
        id: &Id,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let sql = "UPDATE orders SET cancelling = 1, cancel_reason = CAST($2 AS TEXT), next_try_at = CAST($3 AS BIGINT), \
                   version = version + 1, updated_at = CAST($3 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND status IN ('pending', 'paid') AND cancelling = 0";
        Ok(self.run(sql, params![id, reason, now]).await? == 1)
    }

    /// A step that staff take; `false` if the order stands elsewhere, or is being called off.
    pub(crate) async fn advance_to(
        &self,
        context: &Context,
        id: &Id,
        from: Status,
        to: Status,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let sql = "UPDATE orders SET status = CAST($3 AS TEXT), version = version + 1, updated_at = CAST($4 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND status = CAST($2 AS TEXT) AND cancelling = 0";
        let params = params![id, from.name(), to.name(), now];
        self.change(context, id, to, now, None, sql, params).await
    }

    /// A payment gave money back; nothing happens if a later state of it is known.
    pub(crate) async fn refunded(
        &self,
        event: &Event,
        payment_id: &str,
        status: &str,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            if !inbox::first_time(connection, &event.id, now).await? {
                return Ok(());
            }
            let sql = "UPDATE orders SET payment_status = CAST($2 AS TEXT), payment_version = CAST($3 AS BIGINT), \
                       version = version + 1, updated_at = CAST($4 AS BIGINT) \
                       WHERE payment_id = CAST($1 AS TEXT) AND payment_version < CAST($3 AS BIGINT) AND cancelling = 0 \
                       AND status IN ('paid', 'shipped', 'delivered', 'return_requested', 'returned')";
            let params = params![payment_id, status, event.version, now];
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
        self.change(
            context,
            id,
            Status::Cancelled,
            now,
            reason.as_deref(),
            sql,
            params,
        )
        .await
    }

    /// Orders that nobody works on and that should be further: pending, half called off, or half given back.
    pub(crate) async fn unfinished(&self, now: Timestamp, limit: u32) -> Result<Vec<Id>, SqlError> {
        let sql = "SELECT id FROM orders WHERE status = 'pending' AND next_try_at <= CAST($1 AS BIGINT) AND lease_until <= CAST($1 AS BIGINT) \
                   UNION SELECT id FROM orders WHERE cancelling = 1 AND next_try_at <= CAST($1 AS BIGINT) AND lease_until <= CAST($1 AS BIGINT) \
                   UNION SELECT o.id FROM returns r JOIN orders o ON o.id = r.order_id WHERE r.status = 'approving' \
                   AND o.next_try_at <= CAST($1 AS BIGINT) AND o.lease_until <= CAST($1 AS BIGINT) \
                   LIMIT CAST($2 AS BIGINT)";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![now, limit])
            .await?;
        rows.iter().map(|row| row.id(0)).collect()
    }

    /// A conditional change of status together with its line in the history, in the audit, and its event.
    #[expect(clippy::too_many_arguments, reason = "the parts of one statement")]
    async fn change(
        &self,
        context: &Context,
        id: &Id,
        to: Status,
        now: Timestamp,
        reason: Option<&str>,
        sql: &str,
        params: &[Value],
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            if connection.execute(sql, params).await? == 0 {
                return Ok(false);
            }
            let event = match to {
                Status::Paid => Some(("order.paid", None)),
                Status::Cancelled => Some(("order.cancelled", None)),
                Status::Shipped => Some(("order.shipped", None)),
                Status::Delivered => Some(("order.delivered", None)),
                Status::Pending | Status::Failed | Status::ReturnRequested | Status::Returned => {
                    None
                }
            };
            let turn = Turn { to, reason, event };
            self.turned(connection, context, id, &turn, now).await?;
            Ok(true)
        })
        .await
    }

    /// What goes with a change of status that was just written: history, audit, event.
    async fn turned(
        &self,
        connection: &impl Connection,
        context: &Context,
        id: &Id,
        turn: &Turn<'_>,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        step(connection, id, turn.to, now, turn.reason).await?;
        let order = must_read(connection, id).await?;
        self.announce(connection, context, &order, now).await?;
        let action = format!("order.{}", turn.to.name());
        let (deed, detail) = (self.ports.new_id(), turn.reason.unwrap_or_default());
        let subject = id.as_str();
        audit::record(connection, &deed, context, subject, &action, detail, now).await?;
        match turn.event {
            Some(event) => self.tell(connection, context, &order, event, now).await,
            None => Ok(()),
        }
    }

    /// Tells once that there is an order, when its cart is surely its own.
    async fn announce(
        &self,
        connection: &impl Connection,
        context: &Context,
        order: &Order,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET announced = 1 WHERE id = CAST($1 AS TEXT) AND announced = 0";
        if connection.execute(sql, params![&order.id]).await? == 0 {
            return Ok(());
        }
        let made = Order {
            status: Status::Pending,
            version: 1,
            updated_at: order.created_at,
            ..order.clone()
        };
        let event = ("order.created", None);
        self.tell(connection, context, &made, event, now).await
    }

    /// Writes the event of an order as it stands.
    async fn tell(
        &self,
        connection: &impl Connection,
        context: &Context,
        order: &Order,
        (kind, returned): (&str, Option<&Return>),
        now: Timestamp,
    ) -> Result<(), SqlError> {
        let (id, at) = (self.ports.new_id(), order.updated_at);
        let event = Event::new(&id, kind, "order", order.id.as_str(), order.version, at);
        let event = event
            .with(rows::event_data(order, returned))
            .in_trace(&context.trace_parent);
        outbox::record(connection, &event, now).await
    }

    async fn run(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        self.database.open().await?.execute(sql, params).await
    }
}

async fn read(connection: &impl Connection, id: &Id) -> Result<Option<Order>, SqlError> {
    let sql = format!(
        "SELECT {} FROM orders WHERE id = CAST($1 AS TEXT)",
        rows::COLUMNS
    );
    let found = connection.query(&sql, params![id]).await?;
    Ok(complete(connection, &found).await?.into_iter().next())
}

/// An order that was just written.
async fn must_read(connection: &impl Connection, id: &Id) -> Result<Order, SqlError> {
    let order = read(connection, id).await?;
    order.ok_or_else(|| SqlError::Failed("an order vanished".to_owned()))
}

/// Orders with their lines and their history.
async fn complete(connection: &impl Connection, found: &[Row]) -> Result<Vec<Order>, SqlError> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let ids = found.iter().map(|row| row.text(0).map(Value::from));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let places: Vec<String> = (1..=ids.len())
        .map(|n| format!("CAST(${n} AS TEXT)"))
        .collect();
    let places = places.join(", ");
    let sql = format!(
        "SELECT order_id, product_id, sku, name, unit_price, quantity, line_total, discount, tax FROM order_items \
         WHERE order_id IN ({places}) ORDER BY order_id, position"
    );
    let items = connection.query(&sql, &ids).await?;
    let sql = format!(
        "SELECT order_id, status, at, reason FROM order_history WHERE order_id IN ({places}) ORDER BY order_id, position"
    );
    let history = connection.query(&sql, &ids).await?;
    let orders = found.iter().map(|row| rows::order(row, &items, &history));
    let mut orders = orders.collect::<Result<Vec<_>, _>>()?;
    returns::complete(connection, &mut orders).await?;
    Ok(orders)
}

/// The statement of a page: by key, so that page 1000 costs what page 1 costs.
pub(crate) fn list_statement(
    scope: &Scope,
    limit: Limit,
    after: Option<&Cursor>,
) -> (String, Vec<Value>) {
    let mut params: Vec<Value> = Vec::new();
    let mut conditions = Vec::new();
    let mut place = |value: Value| {
        params.push(value);
        params.len()
    };
    if let Some(customer) = &scope.customer_id {
        conditions.push(format!(
            "customer_id = CAST(${} AS TEXT)",
            place(customer.into())
        ));
    }
    if let Some(status) = scope.status {
        conditions.push(format!(
            "status = CAST(${} AS TEXT)",
            place(status.name().into())
        ));
    }
    if let Some(after) = after {
        let key = place(after.key.parse::<i64>().unwrap_or_default().into());
        let id = place(Value::from(&after.id));
        conditions.push(format!(
            "(created_at, id) < (CAST(${key} AS BIGINT), CAST(${id} AS TEXT))"
        ));
    }
    let limit = place(limit.probe().into());
    let filter = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    let sql = format!(
        "SELECT {} FROM orders{filter} ORDER BY created_at DESC, id DESC LIMIT CAST(${limit} AS BIGINT)",
        rows::COLUMNS
    );
    (sql, params)
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
