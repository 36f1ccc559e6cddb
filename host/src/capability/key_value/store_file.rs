//! Key-value stores in one table of an SQLite file, shared by many labels.

use super::Sql;
use crate::capability::sqlite::bindings::spin::sqlite::sqlite::{Error as SqlError, Value};
use crate::capability::sqlite::{Connection, Database, Rows, Synchronous};
use crate::limits;
use std::path::Path;
use std::sync::Arc;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS entries (\
    store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key)) WITHOUT ROWID";

/// The stores in one file.
#[derive(Clone)]
pub(super) struct FileStore(Arc<Database>);

impl FileStore {
    /// The stores in a file, which is created when it is first used.
    pub(super) fn new(path: &Path, synchronous: Synchronous) -> Self {
        Self(Arc::new(Database::new(path, synchronous)))
    }

    /// Creates the table.
    pub(super) async fn prepare(&self) -> Sql<()> {
        self.run(SCHEMA, &[]).await.map(drop)
    }

    async fn run(&self, sql: &str, params: &[Value]) -> Sql<(Rows, u64)> {
        let mut connection = self.0.open().map_err(|error| error.to_string())?;
        let rows = run(&mut connection, sql, params).await?;
        Ok((rows, connection.changes()))
    }

    pub(super) async fn get(&self, label: &str, key: &str) -> Sql<Option<Vec<u8>>> {
        let (rows, _) = self
            .run(
                "SELECT value FROM entries WHERE store = ?1 AND key = ?2",
                &place(label, key),
            )
            .await?;
        Ok(first_blob(rows))
    }

    pub(super) async fn set(&self, label: &str, key: &str, value: Vec<u8>) -> Sql<()> {
        let [store, key] = place(label, key);
        let sql = "INSERT INTO entries (store, key, value) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
        self.run(sql, &[store, key, Value::Blob(value)])
            .await
            .map(drop)
    }

    pub(super) async fn delete(&self, label: &str, key: &str) -> Sql<()> {
        self.run(
            "DELETE FROM entries WHERE store = ?1 AND key = ?2",
            &place(label, key),
        )
        .await
        .map(drop)
    }

    pub(super) async fn keys_after(&self, label: &str, after: &str) -> Sql<Vec<String>> {
        let sql = "SELECT key FROM entries WHERE store = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        let [store, after] = place(label, after);
        let page = i64::try_from(limits::KEYS_PER_PAGE).unwrap_or(i64::MAX);
        let (rows, _) = self.run(sql, &[store, after, Value::Integer(page)]).await?;
        let text = |row: Vec<Value>| match row.into_iter().next() {
            Some(Value::Text(key)) => Some(key),
            _ => None,
        };
        Ok(rows.rows.into_iter().filter_map(text).collect())
    }

    /// Compare-and-swap with one statement, which makes it atomic.
    pub(super) async fn swap(
        &self,
        label: &str,
        key: &str,
        seen: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Sql<bool> {
        let [store, key] = place(label, key);
        let (_, changed) = match seen {
            None => {
                let sql = "INSERT INTO entries (store, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                self.run(sql, &[store, key, Value::Blob(value)]).await?
            }
            Some(seen) => {
                let sql =
                    "UPDATE entries SET value = ?3 WHERE store = ?1 AND key = ?2 AND value = ?4";
                self.run(sql, &[store, key, Value::Blob(value), Value::Blob(seen)])
                    .await?
            }
        };
        Ok(changed == 1)
    }

    pub(super) async fn increment(&self, label: &str, key: &str, delta: i64) -> Sql<i64> {
        let mut connection = self.0.open().map_err(|error| error.to_string())?;
        run(&mut connection, "BEGIN IMMEDIATE", &[]).await?;
        let [store, key] = place(label, key);
        let found = "SELECT value FROM entries WHERE store = ?1 AND key = ?2";
        let current = first_blob(run(&mut connection, found, &[store.clone(), key.clone()]).await?);
        let number = match current {
            None => 0,
            Some(bytes) => String::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or("the value is not a number")?,
        };
        let sum = number
            .checked_add(delta)
            .ok_or("the number would be too large")?;
        let sql = "INSERT INTO entries (store, key, value) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
        run(
            &mut connection,
            sql,
            &[store, key, Value::Blob(sum.to_string().into_bytes())],
        )
        .await?;
        run(&mut connection, "COMMIT", &[]).await?;
        Ok(sum)
    }
}

async fn run(connection: &mut Connection, sql: &str, params: &[Value]) -> Sql<Rows> {
    connection
        .run(sql, params)
        .await
        .map_err(|error| match error {
            SqlError::Io(reason) => reason,
            other => format!("{other:?}"),
        })
}

fn place(label: &str, key: &str) -> [Value; 2] {
    [Value::Text(label.to_owned()), Value::Text(key.to_owned())]
}

fn first_blob(rows: Rows) -> Option<Vec<u8>> {
    match rows.rows.into_iter().next()?.into_iter().next()? {
        Value::Blob(bytes) => Some(bytes),
        _ => None,
    }
}
