//! Returns. Each step changes the return and the status of the order in one transaction, so that both always agree.

use super::rows::{PiecesRow, ReturnRow};
use super::status_changes::StatusChange;
use super::{Store, rows};
use crate::domain::Order;
use crate::domain::links::Refund;
use crate::domain::returns::{Return, ReturnStatus};
use crate::domain::status::Status;
use localmart_guest::audit;
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::params;
use localmart_guest::sql::{Connection, Database, Row, SqlError, Stored as _, Value, transaction};
use localmart_guest::wit::Context;

impl<D: Database> Store<D> {
    /// Writes a requested return; `false` if the status of the order does not allow a return.
    pub(crate) async fn request_return(
        &self,
        context: &Context,
        order: &Id,
        returned: &Return,
    ) -> Result<bool, SqlError> {
        let now = returned.created_at;
        transaction(&self.database, async |connection| {
            if !move_order(
                connection,
                order,
                Status::Delivered,
                Status::ReturnRequested,
                now,
            )
            .await?
            {
                return Ok(false);
            }
            let row = ReturnRow::of(order, returned);
            connection
                .execute(&ReturnRow::insert(""), &row.values())
                .await?;
            for (position, pieces) in returned.items.iter().enumerate() {
                let row = PiecesRow {
                    return_id: returned.id.clone(),
                    position: u32::try_from(position).unwrap_or(u32::MAX),
                    product_id: pieces.product_id.clone(),
                    quantity: pieces.quantity,
                };
                connection
                    .execute(&PiecesRow::insert(""), &row.values())
                    .await?;
            }
            let change = StatusChange {
                to: Status::ReturnRequested,
                reason: Some(&returned.reason),
                event: None,
            };
            self.record_status_change(connection, context, order, &change, now)
                .await?;
            Ok(true)
        })
        .await
    }

    /// Marks a return as approved by staff; `false` if it was decided before.
    pub(crate) async fn approving(
        &self,
        context: &Context,
        order: &Id,
        returned: &Id,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            let (from, to) = (ReturnStatus::Requested, ReturnStatus::Approving);
            if !decide(connection, returned, from, to, now).await? {
                return Ok(false);
            }
            let (entry_id, subject, detail) =
                (self.ports.new_id(), order.as_str(), returned.as_str());
            audit::record(
                connection,
                &entry_id,
                context,
                subject,
                "order.return_approved",
                detail,
                now,
            )
            .await?;
            Ok(true)
        })
        .await
    }

    /// Marks a return as rejected and the order as delivered; `false` if it was decided before.
    pub(crate) async fn rejected(
        &self,
        context: &Context,
        order: &Id,
        returned: &Id,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            let (from, to) = (ReturnStatus::Requested, ReturnStatus::Rejected);
            if !decide(connection, returned, from, to, now).await? {
                return Ok(false);
            }
            move_order(
                connection,
                order,
                Status::ReturnRequested,
                Status::Delivered,
                now,
            )
            .await?;
            let change = StatusChange {
                to: Status::Delivered,
                reason,
                event: None,
            };
            self.record_status_change(connection, context, order, &change, now)
                .await?;
            Ok(true)
        })
        .await
    }

    /// Completes a return after refund and restocking; `false` if it was completed before.
    pub(crate) async fn approved(
        &self,
        context: &Context,
        order: &Id,
        returned: &Return,
        refund: Option<&Refund>,
        to: Status,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        let done = Return {
            status: ReturnStatus::Approved,
            refund: refund.map_or(returned.refund, |refund| refund.amount),
            ..returned.clone()
        };
        transaction(&self.database, async |connection| {
            if !decide(
                connection,
                &returned.id,
                ReturnStatus::Approving,
                done.status,
                now,
            )
            .await?
            {
                return Ok(false);
            }
            let sql = "UPDATE returns SET refund = $2 WHERE id = $1";
            connection
                .execute(sql, params![&returned.id, done.refund.amount()])
                .await?;
            move_order(connection, order, Status::ReturnRequested, to, now).await?;
            if let Some(refund) = refund {
                let sql = "UPDATE orders SET payment_status = $2, payment_version = $3 \
                           WHERE id = $1 AND payment_version < $3";
                let params = params![order, refund.payment.status.name(), refund.payment.version];
                connection.execute(sql, params).await?;
            }
            let change = StatusChange {
                to,
                reason: None,
                event: Some(("order.returned", Some(&done))),
            };
            self.record_status_change(connection, context, order, &change, now)
                .await?;
            Ok(true)
        })
        .await
    }
}

/// Adds returns to orders. Reads them only for orders whose history contains a return.
pub(super) async fn complete(
    connection: &impl Connection,
    orders: &mut [Order],
) -> Result<(), SqlError> {
    for order in orders {
        let mut steps = order.history.iter();
        if !steps.any(|step| step.status == Status::ReturnRequested) {
            continue;
        }
        let sql = ReturnRow::select("WHERE order_id = $1 ORDER BY created_at, id");
        let found = connection.query(&sql, params![&order.id]).await?;
        let sql = PiecesRow::select(
            "WHERE return_id IN (SELECT id FROM returns WHERE order_id = $1) ORDER BY return_id, position",
        );
        let pieces = connection.query(&sql, params![&order.id]).await?;
        let currency = order.totals.total.currency();
        let returned = |row: &Row| rows::returned(row, &pieces, currency);
        order.returns = found.iter().map(returned).collect::<Result<_, _>>()?;
    }
    Ok(())
}

async fn move_order(
    connection: &impl Connection,
    order: &Id,
    from: Status,
    to: Status,
    now: Timestamp,
) -> Result<bool, SqlError> {
    let sql = "UPDATE orders SET status = $3, version = version + 1, updated_at = $4 \
               WHERE id = $1 AND status = $2";
    let params: &[Value] = params![order, from.name(), to.name(), now];
    Ok(connection.execute(sql, params).await? == 1)
}

async fn decide(
    connection: &impl Connection,
    returned: &Id,
    from: ReturnStatus,
    to: ReturnStatus,
    now: Timestamp,
) -> Result<bool, SqlError> {
    let sql = "UPDATE returns SET status = $3, updated_at = $4 \
               WHERE id = $1 AND status = $2";
    let params: &[Value] = params![returned, from.name(), to.name(), now];
    Ok(connection.execute(sql, params).await? == 1)
}
