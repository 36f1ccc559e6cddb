//! The SQL of payment.

use crate::domain::{Payment, Status};
use localmart_events::{EventData as _, PaymentChanged, PaymentStatus};
use localmart_guest::audit;
use localmart_guest::events::{Event, outbox};
use localmart_guest::kernel::Id;
use localmart_guest::ports::Ports;
use localmart_guest::sql::{
    Connection, Database, SqlError, Stored as _, Value, decode_rows, transaction,
};
use localmart_guest::wit::Context;
use localmart_guest::{columns, params, text_column};

columns! {
    impl Payment in "payments" {
        id,
        order_id,
        customer_id,
        status,
        amount,
        captured,
        refunded,
        refund_sent as "told",
        reason,
        version,
        created_at,
        updated_at
    }
}

text_column!(Status: |status: &Status| status.name(), Status::parse);

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
        let sql = Payment::select(&format!("WHERE {column} = $1"));
        let rows = self.database.open().await?.query(&sql, params![id]).await?;
        rows.first().map(Payment::of_row).transpose()
    }

    /// Writes a new payment. Does nothing if the order has one.
    pub(crate) async fn insert(&self, payment: &Payment) -> Result<(), SqlError> {
        let sql = Payment::insert("ON CONFLICT DO NOTHING");
        self.database
            .open()
            .await?
            .execute(&sql, &payment.values())
            .await
            .map(drop)
    }

    /// The amount of the refund with this name, if there is one.
    pub(crate) async fn refund(&self, payment: &Id, name: &str) -> Result<Option<u64>, SqlError> {
        let sql = "SELECT amount FROM refunds WHERE payment_id = $1 AND name = $2";
        let connection = self.database.open().await?;
        let rows = connection.query(sql, params![payment, name]).await?;
        rows.first().map(|row| row.get("amount")).transpose()
    }

    /// Payments with refunds that the provider may not have received.
    pub(crate) async fn unsent_refunds(&self, limit: u32) -> Result<Vec<Payment>, SqlError> {
        let sql = Payment::select("WHERE refunded > told ORDER BY updated_at LIMIT $1");
        let connection = self.database.open().await?;
        let rows = connection.query(&sql, params![limit]).await?;
        Ok(decode_rows("payments", &rows, Payment::of_row).items)
    }

    /// Records that the provider has received refunds up to this total.
    pub(crate) async fn mark_refund_sent(&self, payment: &Id, total: u64) -> Result<(), SqlError> {
        let sql = "UPDATE payments SET told = $2 WHERE id = $1 AND told < $2";
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
        let sql = "UPDATE payments SET status = $3, captured = $4, refunded = $5, \
                   reason = $6, version = version + 1, updated_at = $7, told = $8 \
                   WHERE id = $1 AND version = $2";
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
                let sql = "INSERT INTO refunds (payment_id, name, amount, created_at) VALUES ($1, $2, \
                           $3, $4)";
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
