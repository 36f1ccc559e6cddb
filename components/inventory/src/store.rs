//! The SQL of inventory. Conditions inside the UPDATE statements protect the stock, so that no check relies on a value that
//! was read earlier.

use crate::domain::{LOW_STOCK, Level, Line, MAX_ON_HAND, ReservationState, Shortage};
use localmart_events::{EventData as _, InventoryLow};
use localmart_guest::audit;
use localmart_guest::events::{Event, outbox};
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::ports::Ports;
use localmart_guest::sql::{
    Connection, Database, Row, SqlError, Stored as _, Value, places, transaction,
};
use localmart_guest::wit::Context;
use localmart_guest::{columns, params};

/// The result of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    Done,
    Short(Vec<Shortage>),
}

/// A manual change of stock.
pub(crate) struct Adjustment<'a> {
    pub(crate) product: &'a Id,
    pub(crate) delta: i64,
    pub(crate) reason: &'a str,
    /// Identifies the change: a second change with the same name has no effect.
    pub(crate) name: Option<String>,
}

/// The context of a change of stock: the actor, the time, and ids for the audit log and events.
pub(crate) struct StockChange<'a> {
    pub(crate) context: &'a Context,
    pub(crate) id: Id,
    pub(crate) ports: &'a Ports,
    pub(crate) at: Timestamp,
}

// Version and low mark have statements of their own.
columns! {
    impl Level in "stock" { product_id, on_hand, reserved }
}

pub(crate) struct Store<D> {
    database: D,
}

/// Why a transaction is rolled back.
enum Abort<W> {
    /// The change is refused for this reason.
    Refused(W),
    Sql(SqlError),
}

/// The order does not contain that many pieces.
struct NotSold;

impl<W> From<SqlError> for Abort<W> {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl<D: Database> Store<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database }
    }

    pub(crate) async fn level(&self, id: &Id) -> Result<Option<Level>, SqlError> {
        read_level(&self.database.open().await?, id).await
    }

    pub(crate) async fn levels(&self, ids: &[Id]) -> Result<Vec<Level>, SqlError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = Level::select(&format!("WHERE product_id IN ({})", places(1..=ids.len())));
        let params: Vec<Value> = ids.iter().map(Value::from).collect();
        let rows = self.database.open().await?.query(&sql, &params).await?;
        let known: Vec<Level> = rows.iter().map(Level::of_row).collect::<Result<_, _>>()?;
        let of = |id: &Id| known.iter().find(|level| level.product_id == *id).cloned();
        Ok(ids
            .iter()
            .map(|id| of(id).unwrap_or_else(|| Level::none(id.clone())))
            .collect())
    }

    /// Applies a manual change once per name. The inner `Err` is the stock level that does not allow the change.
    pub(crate) async fn adjust(
        &self,
        adjustment: &Adjustment<'_>,
        change: &StockChange<'_>,
    ) -> Result<Result<Level, Level>, SqlError> {
        let (product, delta) = (adjustment.product, adjustment.delta);
        transaction(&self.database, async |connection| {
            let sql = "INSERT INTO stock (product_id, on_hand, reserved) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
            connection.execute(sql, params![product]).await?;
            let id = adjustment.name.as_deref().unwrap_or(change.id.as_str());
            let sql = "SELECT delta FROM adjustments WHERE id = $1";
            if !connection.query(sql, params![id]).await?.is_empty() {
                let level = read_level(connection, product).await?;
                return Ok(Ok(level.unwrap_or_else(|| Level::none(product.clone()))));
            }
            let sql = "UPDATE stock SET on_hand = on_hand + $2, version = version + 1 WHERE product_id = $1 \
                       AND on_hand + $2 >= reserved AND on_hand + $2 <= $3";
            let changed = connection.execute(sql, params![product, delta, MAX_ON_HAND]).await?;
            let level = read_level(connection, product).await?.unwrap_or_else(|| Level::none(product.clone()));
            if changed == 0 {
                return Ok(Err(level));
            }
            let sql = "INSERT INTO adjustments (id, product_id, delta, reason, actor, created_at) VALUES ($1, \
                       $2, $3, $4, $5, $6)";
            let actor = audit::actor(&change.context.actor);
            let params = params![id, product, delta, adjustment.reason, actor, change.at];
            connection.execute(sql, params).await?;
            audit::record(connection, &change.id, change.context, product.as_str(), "stock.adjusted", &delta.to_string(), change.at).await?;
            clear_low_mark(connection, product).await?;
            record_if_low(connection, product, change).await?;
            Ok(Ok(level))
        })
        .await
    }

    /// Reserves every line or none. An existing reservation is extended; a released one is replaced.
    pub(crate) async fn reserve(
        &self,
        order: &Id,
        lines: &[Line],
        expires_at: Timestamp,
        change: &StockChange<'_>,
    ) -> Result<Reserved, SqlError> {
        let outcome = transaction(&self.database, async |connection| {
            let sql = "DELETE FROM reservations WHERE order_id = $1 AND status IN ('released', 'restocked')";
            connection.queue(sql, params![order]).await?;
            for line in lines {
                // Written before the stock is changed, so that a concurrent call for the same order waits here.
                let sql = "INSERT INTO reservations (order_id, product_id, quantity, status, expires_at) VALUES \
                           ($1, $2, $3, $4, $5) \
                           ON CONFLICT DO NOTHING";
                let held = ReservationState::Held.name();
                let params = params![order, &line.product_id, line.quantity, held, expires_at];
                if connection.execute(sql, params).await? == 0 {
                    let sql = "UPDATE reservations SET expires_at = $2 WHERE order_id = $1 \
                               AND status = $3 AND expires_at < $2";
                    connection
                        .execute(sql, params![order, expires_at, held])
                        .await?;
                    return Ok(());
                }
            }
            let mut shortages = Vec::new();
            for line in lines {
                if !reserve_line(connection, line, change).await? {
                    let level = read_level(connection, &line.product_id).await?;
                    let available = level.map_or(0, |level| level.available());
                    shortages.push(Shortage {
                        product_id: line.product_id.clone(),
                        requested: line.quantity,
                        available,
                    });
                }
            }
            if !shortages.is_empty() {
                return Err(Abort::Refused(shortages));
            }
            Ok(())
        });
        match outcome.await {
            Ok(()) => Ok(Reserved::Done),
            Err(Abort::Refused(shortages)) => Ok(Reserved::Short(shortages)),
            Err(Abort::Sql(error)) => Err(error),
        }
    }

    /// Makes the reservation of an order a sale; returns whether the order has its goods now.
    pub(crate) async fn confirm(
        &self,
        order: &Id,
        change: &StockChange<'_>,
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            let taken = change_state(
                connection,
                order,
                ReservationState::Held,
                ReservationState::Sold,
            )
            .await?;
            for (product, quantity) in &taken {
                let sql = "UPDATE stock SET on_hand = on_hand - $2, reserved = reserved - $2, \
                           version = version + 1 WHERE product_id = $1";
                connection.queue(sql, params![product, *quantity]).await?;
            }
            if !taken.is_empty() {
                audit::record(
                    connection,
                    &change.id,
                    change.context,
                    order.as_str(),
                    "stock.sold",
                    "",
                    change.at,
                )
                .await?;
                return Ok(true);
            }
            // Either the reservation was confirmed before, or there is none.
            let sql = "SELECT 1 FROM reservations WHERE order_id = $1 AND status = $2 LIMIT 1";
            let sold = connection
                .query(sql, params![order, ReservationState::Sold.name()])
                .await?;
            Ok(!sold.is_empty())
        })
        .await
    }

    pub(crate) async fn release(&self, order: &Id) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let freed = change_state(
                connection,
                order,
                ReservationState::Held,
                ReservationState::Released,
            )
            .await?;
            for (product, quantity) in freed {
                let sql = "UPDATE stock SET reserved = reserved - $2, version = version + 1 \
                           WHERE product_id = $1";
                connection.queue(sql, params![&product, quantity]).await?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn restock(
        &self,
        order: &Id,
        change: &StockChange<'_>,
    ) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let back = change_state(
                connection,
                order,
                ReservationState::Sold,
                ReservationState::Restocked,
            )
            .await?;
            for (product, quantity) in &back {
                return_to_stock(connection, product, *quantity, change).await?;
            }
            if !back.is_empty() {
                audit::record(
                    connection,
                    &change.id,
                    change.context,
                    order.as_str(),
                    "stock.restocked",
                    "",
                    change.at,
                )
                .await?;
            }
            Ok(())
        })
        .await
    }

    /// Returns part of a sale to stock, once per return; `false`, without a change, if the order does not contain that many
    /// pieces.
    pub(crate) async fn take_back(
        &self,
        order: &Id,
        return_id: &Id,
        lines: &[Line],
        change: &StockChange<'_>,
    ) -> Result<bool, SqlError> {
        let outcome = transaction(&self.database, async |connection| {
            for line in lines {
                let sql = "INSERT INTO returned_lines (return_id, product_id, order_id, quantity) VALUES ($1, \
                           $2, $3, $4) ON CONFLICT DO NOTHING";
                let params = params![return_id, &line.product_id, order, line.quantity];
                if connection.execute(sql, params).await? == 0 {
                    return Ok(());
                }
                let sql = "UPDATE reservations SET returned = returned + $3 WHERE order_id = $1 \
                           AND product_id = $2 AND status = $4 AND returned + $3 <= quantity";
                let sold = ReservationState::Sold.name();
                let params = params![order, &line.product_id, line.quantity, sold];
                if connection.execute(sql, params).await? == 0 {
                    return Err(Abort::Refused(NotSold));
                }
                return_to_stock(connection, &line.product_id, line.quantity.into(), change).await?;
            }
            let (subject, detail) = (order.as_str(), return_id.as_str());
            audit::record(
                connection,
                &change.id,
                change.context,
                subject,
                "stock.returned",
                detail,
                change.at,
            )
            .await?;
            Ok(())
        });
        match outcome.await {
            Ok(()) => Ok(true),
            Err(Abort::Refused(NotSold)) => Ok(false),
            Err(Abort::Sql(error)) => Err(error),
        }
    }

    pub(crate) async fn expired(&self, now: Timestamp, limit: u32) -> Result<Vec<Id>, SqlError> {
        let sql = "SELECT DISTINCT order_id FROM reservations WHERE status = $1 \
                   AND expires_at <= $2 LIMIT $3";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![ReservationState::Held.name(), now, limit])
            .await?;
        rows.iter().map(|row| row.get("order_id")).collect()
    }
}

async fn read_level(connection: &impl Connection, id: &Id) -> Result<Option<Level>, SqlError> {
    let sql = Level::select("WHERE product_id = $1");
    let rows = connection.query(&sql, params![id]).await?;
    rows.first().map(Level::of_row).transpose()
}

/// Reserves one line if there is enough stock, and writes the event if the product becomes low. This is a single statement,
/// because other orders for the product wait from here until the commit.
async fn reserve_line(
    connection: &impl Connection,
    line: &Line,
    change: &StockChange<'_>,
) -> Result<bool, SqlError> {
    let sql = "UPDATE stock SET reserved = reserved + $2, version = version + 1, \
               alerted = CASE WHEN alerted = 0 AND on_hand - reserved - $2 <= $3 THEN version + 1 ELSE alerted END \
               WHERE product_id = $1 AND on_hand - reserved >= $2 \
               RETURNING on_hand, reserved, version, alerted";
    let params = params![&line.product_id, line.quantity, LOW_STOCK];
    let rows = connection.query(sql, params).await?;
    let Some(row) = rows.first() else {
        return Ok(false);
    };
    if row.get::<u64>("alerted")? == row.get::<u64>("version")? {
        record_low_stock(connection, &line.product_id, row, change).await?;
    }
    Ok(true)
}

/// Adds returned pieces to the stock.
async fn return_to_stock(
    connection: &impl Connection,
    product: &Id,
    quantity: i64,
    change: &StockChange<'_>,
) -> Result<(), SqlError> {
    let sql =
        "UPDATE stock SET on_hand = on_hand + $2, version = version + 1 WHERE product_id = $1";
    connection.queue(sql, params![product, quantity]).await?;
    clear_low_mark(connection, product).await?;
    // If the stock is still low after these pieces came back, the event is written again.
    record_if_low(connection, product, change).await
}

/// Moves the reservation of an order from one state to another; returns the moved lines, sorted by product. A concurrent
/// call waits and then finds nothing to move.
async fn change_state(
    connection: &impl Connection,
    order: &Id,
    from: ReservationState,
    to: ReservationState,
) -> Result<Vec<(Id, i64)>, SqlError> {
    let sql = "UPDATE reservations SET status = $3 WHERE order_id = $1 AND status = $2 \
               RETURNING product_id, quantity - returned AS kept";
    let rows = connection
        .query(sql, params![order, from.name(), to.name()])
        .await?;
    let moved = rows
        .iter()
        .map(|row| Ok((row.get("product_id")?, row.get("kept")?)));
    let mut moved = moved.collect::<Result<Vec<_>, SqlError>>()?;
    moved.sort();
    Ok(moved)
}

/// Clears the low mark after pieces were added. Releasing a reservation adds no pieces and keeps the mark.
async fn clear_low_mark(connection: &impl Connection, product: &Id) -> Result<(), SqlError> {
    let sql = "UPDATE stock SET alerted = 0 WHERE product_id = $1 AND alerted <> 0 AND on_hand - reserved > $2";
    let done = connection.execute(sql, params![product, LOW_STOCK]).await;
    done.map(drop)
}

/// Writes the event if a product is low and has no low mark yet.
async fn record_if_low(
    connection: &impl Connection,
    product: &Id,
    change: &StockChange<'_>,
) -> Result<(), SqlError> {
    let sql = "UPDATE stock SET alerted = version WHERE product_id = $1 AND alerted = 0 AND on_hand - reserved <= $2 \
               RETURNING on_hand, reserved, version";
    let rows = connection.query(sql, params![product, LOW_STOCK]).await?;
    match rows.first() {
        Some(row) => record_low_stock(connection, product, row, change).await,
        None => Ok(()),
    }
}

/// Writes the event `inventory.low`. The row contains on_hand, reserved and version.
async fn record_low_stock(
    connection: &impl Connection,
    product: &Id,
    row: &Row,
    change: &StockChange<'_>,
) -> Result<(), SqlError> {
    let (on_hand, reserved): (u64, u64) = (row.get("on_hand")?, row.get("reserved")?);
    let event = Event::new(
        &change.ports.new_id(),
        "inventory.low",
        "inventory",
        product.as_str(),
        row.get("version")?,
        change.at,
    );
    let data = InventoryLow {
        product_id: product.to_string(),
        available: on_hand.saturating_sub(reserved),
        threshold: LOW_STOCK.unsigned_abs(),
    };
    let event = event
        .with(data.to_value())
        .in_trace(&change.context.trace_parent);
    outbox::record(connection, &event, change.at).await
}
