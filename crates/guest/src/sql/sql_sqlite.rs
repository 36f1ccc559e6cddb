//! The SQL trait on `spin:sqlite`: the embedded default.

use super::{Connection, Database, Row, SqlError, Value, numbered_for_sqlite};
use spin_sdk::sqlite::wit::sqlite as wit;

/// The database with a label of the manifest.
#[derive(Clone)]
pub struct SqliteDatabase {
    label: &'static str,
}

impl SqliteDatabase {
    /// The database labelled with a service's noun.
    pub const fn new(label: &'static str) -> Self {
        Self { label }
    }
}

impl From<&'static str> for SqliteDatabase {
    fn from(noun: &'static str) -> Self {
        Self::new(noun)
    }
}

/// An open connection; the host rolls back and keeps it when it is dropped.
pub struct SqliteConnection(wit::Connection);

impl Database for SqliteDatabase {
    type Connection = SqliteConnection;

    async fn open(&self) -> Result<SqliteConnection, SqlError> {
        wit::Connection::open(self.label)
            .map(SqliteConnection)
            .map_err(|error| match error {
                wit::Error::Io(reason) => SqlError::Unavailable(reason),
                other => SqlError::Failed(other.to_string()),
            })
    }
}

impl SqliteConnection {
    /// The synchronous call: it costs no stream, and a local database has nothing to wait for but its writer's turn,
    /// which `begin` waits for asynchronously.
    fn run(&self, sql: &str, params: &[Value]) -> Result<wit::QueryResult, SqlError> {
        let params: Vec<wit::Value> = params.iter().map(lower).collect();
        self.0
            .execute(&numbered_for_sqlite(sql), &params)
            .map_err(failed)
    }
}

impl Connection for SqliteConnection {
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        let result = self.run(sql, params)?;
        result.rows.into_iter().map(lift).collect()
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        self.run(sql, params)?;
        Ok(self.0.changes())
    }

    async fn begin(&self) -> Result<(), SqlError> {
        let begun = self
            .0
            .execute_async("BEGIN IMMEDIATE".to_owned(), Vec::new());
        let (_, _, end) = begun.await.map_err(failed)?;
        end.await.map_err(failed)
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.run("COMMIT", &[]).map(drop)
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.run("ROLLBACK", &[]).map(drop)
    }
}

fn lower(value: &Value) -> wit::Value {
    match value {
        Value::Null => wit::Value::Null,
        Value::Integer(number) => wit::Value::Integer(*number),
        Value::Text(text) => wit::Value::Text(text.clone()),
    }
}

fn lift(row: wit::RowResult) -> Result<Row, SqlError> {
    let column = |value| match value {
        wit::Value::Null => Ok(Value::Null),
        wit::Value::Integer(number) => Ok(Value::Integer(number)),
        wit::Value::Text(text) => Ok(Value::Text(text)),
        wit::Value::Real(_) | wit::Value::Blob(_) => Err(SqlError::Failed(
            "a column is neither BIGINT nor TEXT".to_owned(),
        )),
    };
    row.values
        .into_iter()
        .map(column)
        .collect::<Result<_, _>>()
        .map(Row)
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
