//! The SQL trait on `spin:sqlite`: the embedded default.

use super::{Connection, Database, Names, Row, SqlError, Value, for_sqlite};
use spin_sdk::sqlite::wit::sqlite as wit;
use std::cell::Cell;

/// A database, named by its label in the manifest.
#[derive(Clone)]
pub struct SqliteDatabase {
    label: &'static str,
}

impl SqliteDatabase {
    /// The database with this label: the noun of the service.
    pub const fn new(label: &'static str) -> Self {
        Self { label }
    }
}

impl From<&'static str> for SqliteDatabase {
    fn from(noun: &'static str) -> Self {
        Self::new(noun)
    }
}

/// An open connection. If it is dropped during a transaction, the host rolls back and returns it to the pool.
pub struct SqliteConnection {
    connection: wit::Connection,
    in_transaction: Cell<bool>,
}

impl Database for SqliteDatabase {
    type Connection = SqliteConnection;

    async fn open(&self) -> Result<SqliteConnection, SqlError> {
        wit::Connection::open(self.label)
            .map(|connection| Self::Connection {
                connection,
                in_transaction: Cell::new(false),
            })
            .map_err(|error| match error {
                wit::Error::Io(reason) => SqlError::Unavailable(reason),
                other => SqlError::Failed(other.to_string()),
            })
    }
}

impl SqliteConnection {
    /// The synchronous call: cheaper, because it needs no stream. Used for statements that never wait: reads, and writes in a
    /// transaction, which already holds the write lock.
    fn run(&self, sql: &str, params: &[Value]) -> Result<wit::QueryResult, SqlError> {
        let params: Vec<wit::Value> = params.iter().map(to_wit).collect();
        self.connection
            .execute(&for_sqlite(sql), &params)
            .map_err(failed)
    }

    /// The asynchronous call, for statements that may wait for the write lock. A synchronous call would block every other
    /// call in this instance, possibly including the one that holds the lock.
    async fn run_async(
        &self,
        sql: &str,
        params: &[Value],
    ) -> Result<(Vec<String>, Vec<wit::RowResult>), SqlError> {
        let params: Vec<wit::Value> = params.iter().map(to_wit).collect();
        let running = self.connection.execute_async(for_sqlite(sql), params);
        let (columns, stream, end) = running.await.map_err(failed)?;
        let rows = stream.collect().await;
        end.await.map_err(failed)?;
        Ok((columns, rows))
    }
}

impl Connection for SqliteConnection {
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        // Outside a transaction only a read is certain not to wait.
        let (columns, rows) = if self.in_transaction.get() || sql.starts_with("SELECT") {
            let result = self.run(sql, params)?;
            (result.columns, result.rows)
        } else {
            self.run_async(sql, params).await?
        };
        let names: Names = columns.into();
        rows.into_iter().map(|row| from_wit(&names, row)).collect()
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        if self.in_transaction.get() {
            self.run(sql, params)?;
        } else {
            self.run_async(sql, params).await?;
        }
        Ok(self.connection.changes())
    }

    async fn begin(&self) -> Result<(), SqlError> {
        self.run_async("BEGIN IMMEDIATE", &[]).await?;
        self.in_transaction.set(true);
        Ok(())
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.run("COMMIT", &[])?;
        self.in_transaction.set(false);
        Ok(())
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.in_transaction.set(false);
        self.run("ROLLBACK", &[]).map(drop)
    }
}

fn to_wit(value: &Value) -> wit::Value {
    match value {
        Value::Null => wit::Value::Null,
        Value::Integer(number) => wit::Value::Integer(*number),
        Value::Text(text) => wit::Value::Text(text.clone()),
    }
}

fn from_wit(names: &Names, row: wit::RowResult) -> Result<Row, SqlError> {
    let column = |value| match value {
        wit::Value::Null => Ok(Value::Null),
        wit::Value::Integer(number) => Ok(Value::Integer(number)),
        wit::Value::Text(text) => Ok(Value::Text(text)),
        wit::Value::Real(_) | wit::Value::Blob(_) => Err(SqlError::Failed(
            "a column is neither BIGINT nor TEXT".to_owned(),
        )),
    };
    let values: Result<_, _> = row.values.into_iter().map(column).collect();
    values.map(|values| Row::new(names, values))
}

fn failed(error: wit::Error) -> SqlError {
    match error {
        wit::Error::Io(reason) if reason.contains("locked") || reason.contains("busy") => {
            SqlError::Unavailable(reason)
        }
        wit::Error::Io(reason) => SqlError::Failed(reason),
        other => SqlError::Failed(other.to_string()),
    }
}
