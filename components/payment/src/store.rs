//! The SQL of payment.

use crate::domain::{Payment, Status};
use localmart_events::{EventData as _, PaymentChanged, PaymentStatus};
use localmart_guest::audit;
use localmart_guest::events::{Event, outbox};
use localmart_guest::kernel::{Currency, Id, Money};
use localmart_guest::params;
use localmart_guest::ports::Ports;
use localmart_guest::sql::{Connection, Database, Row, SqlError, Value, decode_rows, transaction};
use localmart_guest::wit::Context;

const COLUMNS: &str = "id, order_id, status, amount, currency, captured, refunded, reason, version, created_at, updated_at, customer_id, told";

#[derive(Clone)]
pub(crate) struct Store<D> {
    pub(crate) database: D,
}

impl<D: Database> Store<D> {
    pub(crate) async fn by_id(&self, id: &Id) -> Result<Option<Payment>, SqlError> {
        self.one("id", id).await
    }

    pub(crate) async fn by_order(&self, order: &Id) -> Result<Option<Payment>, SqlError> {
        self.one("order_id", order).await
    }

    async fn one(&self, column: &str, id: &Id) -> Result<Option<Payment>, SqlError> {
        let sql = format!("SELECT {COLUMNS} FROM payments WHERE {column} = CAST($1 AS TEXT)");
        let rows = self.database.open().await?.query(&sql, params![id]).await?;
        rows.first().map(payment).transpose()
    }

    /// Writes a new payment. Does nothing if the order has one.
    pub(crate) async fn insert(&self, payment: &Payment) -> Result<(), SqlError> {
        let sql = "INSERT INTO payments (id, order_id, status, amount, currency, captured, refunded, reason, version, created_at, \
                   updated_at, customer_id) VALUES (CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), CAST($5 AS TEXT), \
                   CAST($6 AS BIGINT), CAST($7 AS BIGINT), CAST($8 AS TEXT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), \
                   CAST($11 AS BIGINT), CAST($12 AS TEXT)) ON CONFLICT DO NOTHING";
        let params: &[Value] = params![
            &payment.id,
            &payment.order_id,
            payment.status.name(),
            payment.amount.amount(),
            payment.amount.currency().code(),
            payment.captured,
            payment.refunded,
            payment.reason.clone(),
            payment.version,
            payment.created_at,
            payment.updated_at,
            payment.customer_id.clone(),
        ];
        self.database
            .open()
            .await?
            .execute(sql, params)
            .await
            .map(drop)
    }

    /// The amount of the refund with this name, if there is one.
    pub(crate) async fn refund(&self, payment: &Id, name: &str) -> Result<Option<u64>, SqlError> {
        let sql = "SELECT amount FROM refunds WHERE payment_id = CAST($1 AS TEXT) AND name = CAST($2 AS TEXT)";
        let connection = self.database.open().await?;
        let rows = connection.query(sql, params![payment, name]).await?;
        rows.first().map(|row| row.unsigned(0)).transpose()
    }

    /// Payments with refunds that the provider may not have received.
    pub(crate) async fn unsent_refunds(&self, limit: u32) -> Result<Vec<Payment>, SqlError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM payments WHERE refunded > told ORDER BY updated_at LIMIT CAST($1 AS BIGINT)"
        );
        let connection = self.database.open().await?;
        let rows = connection.query(&sql, params![limit]).await?;
        Ok(decode_rows("payments", &rows, payment).items)
    }

    /// Records that the provider has received refunds up to this total.
    pub(crate) async fn mark_refund_sent(&self, payment: &Id, total: u64) -> Result<(), SqlError> {
        let sql = "UPDATE payments SET told = CAST($2 AS BIGINT) WHERE id = CAST($1 AS TEXT) AND told < CAST($2 AS BIGINT)";
        let connection = self.database.open().await?;
        connection
            .execute(sql, params![payment, total])
            .await
            .map(drop)
    }

    /// Writes a payment over the version that was read, with its event and with a named refund; `false` if the payment was
    /// changed since it was read.
    pub(crate) async fn update(
        &self,
        payment: &Payment,
        refund: Option<(&str, u64)>,
        context: &Context,
        ports: &Ports,
    ) -> Result<bool, SqlError> {
        let now = ports.now();
        let sql = "UPDATE payments SET status = CAST($3 AS TEXT), captured = CAST($4 AS BIGINT), refunded = CAST($5 AS BIGINT), \
                   reason = CAST($6 AS TEXT), version = version + 1, updated_at = CAST($7 AS BIGINT), told = CAST($8 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND version = CAST($2 AS BIGINT)";
        let params: &[Value] = params![
            &payment.id,
            payment.version,
            payment.status.name(),
            payment.captured,
            payment.refunded,
            payment.reason.clone(),
            now,
            payment.refund_sent,
        ];
        transaction(&self.database, async |connection| {
            if connection.execute(sql, params).await? == 0 {
                return Ok(false);
            }
            if let Some((name, amount)) = refund {
                let sql = "INSERT INTO refunds (payment_id, name, amount, created_at) VALUES (CAST($1 AS TEXT), CAST($2 AS TEXT), \
                           CAST($3 AS BIGINT), CAST($4 AS BIGINT))";
                connection.queue(sql, params![&payment.id, name, amount, now]).await?;
            }
            let (subject, action) = (
                payment.id.as_str(),
                format!("payment.{}", payment.status.name()),
            );
            audit::record(
                connection,
                &ports.new_id(),
                context,
                subject,
                &action,
                payment.order_id.as_str(),
                now,
            )
            .await?;
            let status = match payment.status {
                Status::Captured => PaymentStatus::Captured,
                Status::Failed => PaymentStatus::Failed,
                Status::Refunded => PaymentStatus::Refunded,
                Status::PartiallyRefunded => PaymentStatus::PartiallyRefunded,
                Status::Pending | Status::Authorized | Status::Voided => return Ok(true),
            };
            let event = Event::new(
                &ports.new_id(),
                status.kind(),
                "payment",
                subject,
                payment.version + 1,
                now,
            );
            let event = event
                .with(event_data(payment, status).to_value())
                .in_trace(&context.trace_parent);
            outbox::record(connection, &event, now).await?;
            Ok(true)
        })
        .await
    }
}

/// The data of an event. Contains no token and no e-mail address.
fn event_data(payment: &Payment, status: PaymentStatus) -> PaymentChanged {
    PaymentChanged {
        payment_id: payment.id.to_string(),
        order_id: payment.order_id.to_string(),
        customer_id: payment.customer_id.clone(),
        status,
        currency: payment.amount.currency().code().to_owned(),
        amount: payment.amount.amount(),
        captured: payment.captured,
        refunded: payment.refunded,
    }
}

fn payment(row: &Row) -> Result<Payment, SqlError> {
    let invalid = |what: &str| SqlError::Failed(format!("a payment's {what} is not valid"));
    let currency = Currency::parse(&row.text(4)?).map_err(|_| invalid("currency"))?;
    Ok(Payment {
        id: row.id(0)?,
        order_id: row.id(1)?,
        status: Status::parse(&row.text(2)?).ok_or_else(|| invalid("status"))?,
        amount: Money::new(row.unsigned(3)?, currency).map_err(|_| invalid("amount"))?,
        captured: row.unsigned(5)?,
        refunded: row.unsigned(6)?,
        reason: row.maybe_text(7)?,
        version: row.unsigned(8)?,
        created_at: row.time(9)?,
        updated_at: row.time(10)?,
        customer_id: row.maybe_text(11)?,
        refund_sent: row.unsigned(12)?,
    })
}
