//! Users' carts in SQL: one row per cart, written only over the version that was read. At most one cart of a user is current
//! (`mine`).

use super::guests::{decode_lines, encode_lines};
use crate::domain::Cart;
use localmart_guest::kernel::{Currency, Id, Timestamp};
use localmart_guest::params;
use localmart_guest::sql::{Connection, Database, Row, SqlError, Value, transaction};

const COLUMNS: &str = "id, owner, currency, lines, order_id, version, updated_at, expires_at";

pub(super) struct Users<D> {
    database: D,
}

/// Why a transaction is rolled back.
enum Abort {
    Changed,
    Sql(SqlError),
}

impl From<SqlError> for Abort {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl<D: Database> Users<D> {
    pub(super) fn new(database: D) -> Self {
        Self { database }
    }

    pub(super) async fn read(&self, id: &Id, now: Timestamp) -> Result<Option<Cart>, SqlError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM carts WHERE id = CAST($1 AS TEXT) AND expires_at > CAST($2 AS BIGINT)"
        );
        self.one(&sql, params![id, now]).await
    }

    pub(super) async fn mine(&self, owner: &str, now: Timestamp) -> Result<Option<Cart>, SqlError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM carts WHERE owner = CAST($1 AS TEXT) AND current = 1 AND expires_at > CAST($2 AS BIGINT)"
        );
        self.one(&sql, params![owner, now]).await
    }

    async fn one(&self, sql: &str, params: &[Value]) -> Result<Option<Cart>, SqlError> {
        let rows = self.database.open().await?.query(sql, params).await?;
        rows.first().map(cart).transpose()
    }

    /// Writes a new cart. It becomes the current cart if the user has none or an empty one, which is deleted; otherwise it is
    /// an additional cart.
    pub(super) async fn create(
        &self,
        cart: &Cart,
        owner: &str,
        now: Timestamp,
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "DELETE FROM carts WHERE owner = CAST($1 AS TEXT) AND current = 1 \
                       AND (lines = '[]' OR expires_at <= CAST($2 AS BIGINT))";
            connection.execute(sql, params![owner, now]).await?;
            for current in [true, false] {
                let sql = "INSERT INTO carts (id, owner, current, currency, lines, order_id, version, updated_at, expires_at) VALUES \
                           (CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS TEXT), '[]', NULL, 1, CAST($5 AS BIGINT), \
                           CAST($6 AS BIGINT)) ON CONFLICT DO NOTHING";
                let params = params![&cart.id, owner, current, cart.currency.code(), cart.updated_at, cart.expires_at];
                if connection.execute(sql, params).await? == 1 {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Writes the cart over its previous version. An ordered cart stops being current. A reopened cart becomes current again
    /// unless the user has another cart with lines.
    pub(super) async fn write(
        &self,
        cart: &Cart,
        owner: &str,
        previous: u64,
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            if !update(connection, cart, previous).await? {
                return Ok(false);
            }
            if cart.order_id.is_some() {
                let sql = "UPDATE carts SET current = 0 WHERE id = CAST($1 AS TEXT) AND current = 1";
                connection.execute(sql, params![&cart.id]).await?;
            } else {
                let sql = "DELETE FROM carts WHERE owner = CAST($1 AS TEXT) AND current = 1 AND lines = '[]' AND id <> CAST($2 AS TEXT) \
                           AND EXISTS (SELECT 1 FROM carts c WHERE c.id = CAST($2 AS TEXT) AND c.current = 0 AND c.lines <> '[]')";
                connection.execute(sql, params![owner, &cart.id]).await?;
                let sql = "UPDATE carts SET current = 1 WHERE id = CAST($1 AS TEXT) AND current = 0 \
                           AND NOT EXISTS (SELECT 1 FROM carts c WHERE c.owner = CAST($2 AS TEXT) AND c.current = 1)";
                connection.execute(sql, params![&cart.id, owner]).await?;
            }
            Ok(true)
        })
        .await
    }

    pub(super) async fn delete(&self, id: &Id) -> Result<(), SqlError> {
        let sql = "DELETE FROM carts WHERE id = CAST($1 AS TEXT) AND order_id IS NULL";
        let connection = self.database.open().await?;
        connection.execute(sql, params![id]).await.map(drop)
    }

    pub(super) async fn is_merged(&self, guest: &Id, owner: &str) -> Result<bool, SqlError> {
        let sql = "SELECT CAST(1 AS BIGINT) FROM merges WHERE guest_cart_id = CAST($1 AS TEXT) AND owner = CAST($2 AS TEXT)";
        let connection = self.database.open().await?;
        Ok(!connection
            .query(sql, params![guest, owner])
            .await?
            .is_empty())
    }

    pub(super) async fn merge(
        &self,
        cart: &Cart,
        previous: u64,
        guest: &Id,
        now: Timestamp,
    ) -> Result<Option<bool>, SqlError> {
        let merged = transaction(&self.database, async |connection| {
            let sql = "INSERT INTO merges (guest_cart_id, owner, merged_at) VALUES (CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT)) \
                       ON CONFLICT DO NOTHING";
            let owner = cart.owner.clone().unwrap_or_default();
            if connection.execute(sql, params![guest, owner, now]).await? == 0 {
                return Ok(false);
            }
            if update(connection, cart, previous).await? {
                Ok(true)
            } else {
                Err(Abort::Changed)
            }
        });
        match merged.await {
            Ok(first) => Ok(Some(first)),
            Err(Abort::Changed) => Ok(None),
            Err(Abort::Sql(error)) => Err(error),
        }
    }

    pub(super) async fn sweep(
        &self,
        now: Timestamp,
        merged_before: Timestamp,
    ) -> Result<u64, SqlError> {
        let connection = self.database.open().await?;
        let sql = "DELETE FROM merges WHERE merged_at < CAST($1 AS BIGINT)";
        connection.execute(sql, params![merged_before]).await?;
        let sql = "DELETE FROM carts WHERE expires_at <= CAST($1 AS BIGINT)";
        connection.execute(sql, params![now]).await
    }
}

async fn update(
    connection: &impl Connection,
    cart: &Cart,
    previous: u64,
) -> Result<bool, SqlError> {
    let sql = "UPDATE carts SET currency = CAST($3 AS TEXT), lines = CAST($4 AS TEXT), order_id = CAST($5 AS TEXT), \
               version = CAST($6 AS BIGINT), updated_at = CAST($7 AS BIGINT), expires_at = CAST($8 AS BIGINT) \
               WHERE id = CAST($1 AS TEXT) AND version = CAST($2 AS BIGINT)";
    let params: &[Value] = params![
        &cart.id,
        previous,
        cart.currency.code(),
        encode_lines(&cart.lines).to_string(),
        cart.order_id.as_ref().map(|id| id.as_str()),
        cart.version,
        cart.updated_at,
        cart.expires_at
    ];
    Ok(connection.execute(sql, params).await? == 1)
}

fn cart(row: &Row) -> Result<Cart, SqlError> {
    let invalid = |what: &str| SqlError::Failed(format!("a cart's {what} is not valid"));
    let lines = serde_json::from_str(&row.text(3)?).map_err(|_| invalid("lines"))?;
    let order = row.maybe_text(4)?;
    Ok(Cart {
        id: row.id(0)?,
        owner: Some(row.text(1)?),
        currency: Currency::parse(&row.text(2)?).map_err(|_| invalid("currency"))?,
        lines: decode_lines(&lines).ok_or_else(|| invalid("lines"))?,
        order_id: order
            .map(|id| Id::parse(&id).ok_or_else(|| invalid("order")))
            .transpose()?,
        merged_by: None,
        version: row.unsigned(5)?,
        updated_at: row.time(6)?,
        expires_at: row.time(7)?,
    })
}
