//! Changes of status. Each is written in one transaction with its entries in history and audit log and with its event.

use super::{Store, must_read, rows};
use crate::domain::Order;
use crate::domain::returns::Return;
use crate::domain::status::Status;
use localmart_guest::audit;
use localmart_guest::events::{Event, outbox};
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::params;
use localmart_guest::sql::{Connection, Database, SqlError, Value, transaction};
use localmart_guest::wit::Context;

/// A change of status and the event that reports it.
pub(super) struct StatusChange<'a> {
    pub(super) to: Status,
    pub(super) reason: Option<&'a str>,
    /// The type of the event, and the return that it concerns.
    pub(super) event: Option<(&'static str, Option<&'a Return>)>,
}

impl<D: Database> Store<D> {
    /// A conditional change of status with history, audit log and event; returns the changed order, or `None` if the condition
    /// does not hold.
    #[expect(clippy::too_many_arguments, reason = "the parts of one statement")]
    pub(super) async fn change(
        &self,
        context: &Context,
        id: &Id,
        to: Status,
        now: Timestamp,
        reason: Option<&str>,
        sql: &str,
        params: &[Value],
    ) -> Result<Option<Order>, SqlError> {
        transaction(&self.database, async |connection| {
            if connection.execute(sql, params).await? == 0 {
                return Ok(None);
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
            let change = StatusChange { to, reason, event };
            let order = self
                .record_status_change(connection, context, id, &change, now)
                .await?;
            Ok(Some(order))
        })
        .await
    }

    /// Writes history, audit log and event after a change of status; returns the order as it is now.
    pub(super) async fn record_status_change(
        &self,
        connection: &impl Connection,
        context: &Context,
        id: &Id,
        change: &StatusChange<'_>,
        now: Timestamp,
    ) -> Result<Order, SqlError> {
        step(connection, id, change.to, now, change.reason).await?;
        let order = must_read(connection, id).await?;
        self.record_created(connection, context, &order, now)
            .await?;
        let action = format!("order.{}", change.to.name());
        let (entry_id, detail) = (self.ports.new_id(), change.reason.unwrap_or_default());
        let subject = id.as_str();
        audit::record(
            connection, &entry_id, context, subject, &action, detail, now,
        )
        .await?;
        if let Some(event) = change.event {
            self.record_event(connection, context, &order, event, now)
                .await?;
        }
        Ok(order)
    }

    /// Writes `order.created`, once, after the order has completed its cart.
    pub(super) async fn record_created(
        &self,
        connection: &impl Connection,
        context: &Context,
        order: &Order,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        let sql = "UPDATE orders SET announced = 1 WHERE id = $1 AND announced = 0";
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
        self.record_event(connection, context, &made, event, now)
            .await
    }

    /// Writes an event with the current state of an order.
    async fn record_event(
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
}

pub(super) async fn step(
    connection: &impl Connection,
    id: &Id,
    status: Status,
    at: Timestamp,
    reason: Option<&str>,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO order_history (order_id, position, status, at, reason) SELECT $1, \
               CAST(COUNT(*) AS BIGINT), $2, $3, $4 \
               FROM order_history WHERE order_id = $1";
    let params = params![id, status.name(), at, reason];
    connection.queue(sql, params).await
}
