//! Users' carts in SQL: one row per cart, written only over the version that was read. At most one cart of a user is current
//! (`mine`).

use super::guests::{decode_lines, encode_lines};
use crate::domain::Cart;
use localmart_guest::kernel::{Currency, Id, Timestamp};
use localmart_guest::sql::{
    Connection, Database, Json, Row, SqlError, Stored as _, Value as SqlValue, transaction,
};
use localmart_guest::{columns, params};
use serde_json::Value;

columns! {
    /// A cart as it is stored. The column `current` has statements of its own.
    struct CartRow in "carts" {
        id: Id,
        owner: String,
        currency: Currency,
        lines: Json<Value>,
        order_id: Option<Id>,
        version: u64,
        updated_at: Timestamp,
        expires_at: Timestamp,
    }
}

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
        let condition = "WHERE id = $1 AND expires_at > $2";
        self.one(condition, params![id, now]).await
    }

    pub(super) async fn mine(&self, owner: &str, now: Timestamp) -> Result<Option<Cart>, SqlError> {
        let condition = "WHERE owner = $1 AND current = 1 AND expires_at > $2";
        self.one(condition, params![owner, now]).await
    }

    async fn one(&self, condition: &str, params: &[SqlValue]) -> Result<Option<Cart>, SqlError> {
        let sql = CartRow::select(condition);
        let rows = self.database.open().await?.query(&sql, params).await?;
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
            let sql = "DELETE FROM carts WHERE owner = $1 AND current = 1 \
                       AND (lines = '[]' OR expires_at <= $2)";
            connection.execute(sql, params![owner, now]).await?;
            for current in [true, false] {
                let sql = "INSERT INTO carts (id, owner, current, currency, lines, order_id, version, updated_at, expires_at) VALUES \
                           ($1, $2, $3, $4, '[]', NULL, 1, $5, \
                           $6) ON CONFLICT DO NOTHING";
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
                let sql = "UPDATE carts SET current = 0 WHERE id = $1 AND current = 1";
                connection.execute(sql, params![&cart.id]).await?;
            } else {
                let sql = "DELETE FROM carts WHERE owner = $1 AND current = 1 AND lines = '[]' AND id <> $2 \
                           AND EXISTS (SELECT 1 FROM carts c WHERE c.id = $2 AND c.current = 0 AND c.lines <> '[]')";
                connection.execute(sql, params![owner, &cart.id]).await?;
                let sql = "UPDATE carts SET current = 1 WHERE id = $1 AND current = 0 \
                           AND NOT EXISTS (SELECT 1 FROM carts c WHERE c.owner = $2 AND c.current = 1)";
                connection.execute(sql, params![&cart.id, owner]).await?;
            }
            Ok(true)
        })
        .await
    }

    pub(super) async fn delete(&self, id: &Id) -> Result<(), SqlError> {
        let sql = "DELETE FROM carts WHERE id = $1 AND order_id IS NULL";
        let connection = self.database.open().await?;
        connection.execute(sql, params![id]).await.map(drop)
    }

    pub(super) async fn is_merged(&self, guest: &Id, owner: &str) -> Result<bool, SqlError> {
        let sql = "SELECT 1 FROM merges WHERE guest_cart_id = $1 AND owner = $2";
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
            let sql = "INSERT INTO merges (guest_cart_id, owner, merged_at) VALUES ($1, $2, $3) \
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
        let sql = "DELETE FROM merges WHERE merged_at < $1";
        connection.execute(sql, params![merged_before]).await?;
        let sql = "DELETE FROM carts WHERE expires_at <= $1";
        connection.execute(sql, params![now]).await
    }
}

/// Writes a cart over the version that was read.
async fn update(
    connection: &impl Connection,
    cart: &Cart,
    previous: u64,
) -> Result<bool, SqlError> {
    let sql = "UPDATE carts SET currency = $3, lines = $4, order_id = $5, version = $6, updated_at = $7, expires_at = $8 \
               WHERE id = $1 AND version = $2";
    let params: &[SqlValue] = params![
        &cart.id,
        previous,
        cart.currency.code(),
        encode_lines(&cart.lines).to_string(),
        cart.order_id.as_ref(),
        cart.version,
        cart.updated_at,
        cart.expires_at
    ];
    Ok(connection.execute(sql, params).await? == 1)
}

fn cart(row: &Row) -> Result<Cart, SqlError> {
    let row = CartRow::of_row(row)?;
    let lines = decode_lines(&row.lines.0);
    Ok(Cart {
        id: row.id,
        owner: Some(row.owner),
        currency: row.currency,
        lines: lines.ok_or_else(|| SqlError::Failed("a cart's lines are not valid".to_owned()))?,
        order_id: row.order_id,
        merged_by: None,
        version: row.version,
        updated_at: row.updated_at,
        expires_at: row.expires_at,
    })
}
