//! Inventory's SQL. Stock is guarded by conditions inside the statements, so that no reader can be outrun.

use crate::domain::{Level, Line, MAX_ON_HAND, ReservationState, Shortage};
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::params;
use localmart_guest::sql::{Connection, Database, Row, SqlError, Value, transaction};

/// What became of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    Done,
    Short(Vec<Shortage>),
}

pub(crate) struct Store<D> {
    database: D,
}

/// Ends a reservation's transaction without keeping anything.
enum Stop {
    Short(Vec<Shortage>),
    Sql(SqlError),
}

impl From<SqlError> for Stop {
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
        let places: Vec<String> = (1..=ids.len())
            .map(|n| format!("CAST(${n} AS TEXT)"))
            .collect();
        let sql = format!(
            "SELECT product_id, on_hand, reserved FROM stock WHERE product_id IN ({})",
            places.join(", ")
        );
        let params: Vec<Value> = ids.iter().map(Value::from).collect();
        let rows = self.database.open().await?.query(&sql, &params).await?;
        let known: Vec<Level> = rows.iter().map(level).collect::<Result<_, _>>()?;
        let of = |id: &Id| known.iter().find(|level| level.product_id == *id).cloned();
        Ok(ids
            .iter()
            .map(|id| of(id).unwrap_or_else(|| Level::none(id.clone())))
            .collect())
    }

    /// `Err` is the level that does not allow it.
    pub(crate) async fn adjust(
        &self,
        adjustment: &Id,
        product: &Id,
        delta: i64,
        reason: &str,
        actor: &str,
        at: Timestamp,
    ) -> Result<Result<Level, Level>, SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "INSERT INTO stock (product_id, on_hand, reserved) VALUES (CAST($1 AS TEXT), 0, 0) ON CONFLICT DO NOTHING";
            connection.execute(sql, params![product]).await?;
            let sql = "UPDATE stock SET on_hand = on_hand + CAST($2 AS BIGINT) WHERE product_id = CAST($1 AS TEXT) \
                       AND on_hand + CAST($2 AS BIGINT) >= reserved AND on_hand + CAST($2 AS BIGINT) <= CAST($3 AS BIGINT)";
            let changed = connection.execute(sql, params![product, delta, MAX_ON_HAND]).await?;
            let level = read_level(connection, product).await?.unwrap_or_else(|| Level::none(product.clone()));
            if changed == 0 {
                return Ok(Err(level));
            }
            let sql = "INSERT INTO adjustments (id, product_id, delta, reason, actor, created_at) VALUES (CAST($1 AS TEXT), \
                       CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS BIGINT))";
            connection.execute(sql, params![adjustment, product, delta, reason, actor, at]).await?;
            Ok(Ok(level))
        })
        .await
    }

    /// Reserves every line or none. A reservation that stands is left as it is; one that was released is made anew.
    pub(crate) async fn reserve(
        &self,
        order: &Id,
        lines: &[Line],
        expires_at: Timestamp,
    ) -> Result<Reserved, SqlError> {
        let outcome = transaction(&self.database, async |connection| {
            let standing = reservation(connection, order).await?;
            if standing
                .iter()
                .any(|(_, _, held)| matches!(held, ReservationState::Held | ReservationState::Sold))
            {
                return Ok(());
            }
            connection
                .execute(
                    "DELETE FROM reservations WHERE order_id = CAST($1 AS TEXT)",
                    params![order],
                )
                .await?;
            let mut shortages = Vec::new();
            for line in lines {
                if !hold(connection, line).await? {
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
                return Err(Stop::Short(shortages));
            }
            for line in lines {
                let sql = "INSERT INTO reservations (order_id, product_id, quantity, status, expires_at) VALUES \
                           (CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS TEXT), CAST($5 AS BIGINT))";
                let params = params![
                    order,
                    &line.product_id,
                    line.quantity,
                    ReservationState::Held.name(),
                    expires_at
                ];
                connection.execute(sql, params).await?;
            }
            Ok(())
        });
        match outcome.await {
            Ok(()) => Ok(Reserved::Done),
            Err(Stop::Short(shortages)) => Ok(Reserved::Short(shortages)),
            Err(Stop::Sql(error)) => Err(error),
        }
    }

    /// Whether the order now has its goods.
    pub(crate) async fn confirm(&self, order: &Id) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            let lines = reservation(connection, order).await?;
            for (product, quantity, held) in &lines {
                match held {
                    ReservationState::Sold => {}
                    ReservationState::Held => {
                        let sql = "UPDATE stock SET on_hand = on_hand - CAST($2 AS BIGINT), reserved = reserved - CAST($2 AS BIGINT) \
                                   WHERE product_id = CAST($1 AS TEXT)";
                        connection.execute(sql, params![product, *quantity]).await?;
                    }
                    ReservationState::Released | ReservationState::Restocked => return Ok(false),
                }
            }
            mark(connection, order, ReservationState::Held, ReservationState::Sold).await?;
            Ok(!lines.is_empty())
        })
        .await
    }

    pub(crate) async fn release(&self, order: &Id) -> Result<(), SqlError> {
        let sql = "UPDATE stock SET reserved = reserved - CAST($2 AS BIGINT) WHERE product_id = CAST($1 AS TEXT)";
        self.undo(
            order,
            ReservationState::Held,
            ReservationState::Released,
            sql,
        )
        .await
    }

    pub(crate) async fn restock(&self, order: &Id) -> Result<(), SqlError> {
        let sql = "UPDATE stock SET on_hand = on_hand + CAST($2 AS BIGINT) WHERE product_id = CAST($1 AS TEXT)";
        self.undo(
            order,
            ReservationState::Sold,
            ReservationState::Restocked,
            sql,
        )
        .await
    }

    async fn undo(
        &self,
        order: &Id,
        from: ReservationState,
        to: ReservationState,
        sql: &str,
    ) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            for (product, quantity, held) in reservation(connection, order).await? {
                if held == from {
                    connection.execute(sql, params![&product, quantity]).await?;
                }
            }
            mark(connection, order, from, to).await
        })
        .await
    }

    pub(crate) async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<Id>, SqlError> {
        let sql = "SELECT DISTINCT order_id FROM reservations WHERE status = CAST($1 AS TEXT) \
                   AND expires_at <= CAST($2 AS BIGINT) LIMIT CAST($3 AS BIGINT)";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![ReservationState::Held.name(), now, limit])
            .await?;
        rows.iter().map(|row| row.id(0)).collect()
    }
}

async fn read_level(connection: &impl Connection, id: &Id) -> Result<Option<Level>, SqlError> {
    let sql = "SELECT product_id, on_hand, reserved FROM stock WHERE product_id = CAST($1 AS TEXT)";
    connection
        .query(sql, params![id])
        .await?
        .first()
        .map(level)
        .transpose()
}

/// Reserves one line if so much is there.
async fn hold(connection: &impl Connection, line: &Line) -> Result<bool, SqlError> {
    let sql = "UPDATE stock SET reserved = reserved + CAST($2 AS BIGINT) WHERE product_id = CAST($1 AS TEXT) \
               AND on_hand - reserved >= CAST($2 AS BIGINT)";
    Ok(connection
        .execute(sql, params![&line.product_id, line.quantity])
        .await?
        == 1)
}

async fn reservation(
    connection: &impl Connection,
    order: &Id,
) -> Result<Vec<(Id, i64, ReservationState)>, SqlError> {
    let sql = "SELECT product_id, quantity, status FROM reservations WHERE order_id = CAST($1 AS TEXT) ORDER BY product_id";
    let rows = connection.query(sql, params![order]).await?;
    let read = |row: &Row| {
        let held = ReservationState::parse(&row.text(2)?)
            .ok_or_else(|| SqlError::Failed("a reservation's status is not known".to_owned()));
        Ok((row.id(0)?, row.integer(1)?, held?))
    };
    rows.iter().map(read).collect()
}

async fn mark(
    connection: &impl Connection,
    order: &Id,
    from: ReservationState,
    to: ReservationState,
) -> Result<(), SqlError> {
    let sql = "UPDATE reservations SET status = CAST($3 AS TEXT) WHERE order_id = CAST($1 AS TEXT) AND status = CAST($2 AS TEXT)";
    connection
        .execute(sql, params![order, from.name(), to.name()])
        .await
        .map(drop)
}

fn level(row: &Row) -> Result<Level, SqlError> {
    Ok(Level {
        product_id: row.id(0)?,
        on_hand: row.unsigned(1)?,
        reserved: row.unsigned(2)?,
    })
}
