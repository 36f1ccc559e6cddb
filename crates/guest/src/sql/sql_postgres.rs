//! The SQL trait on `spin:postgres`: every service has a schema named after it in one database.

use super::{Connection, Database, Row, SqlError, Value};
use crate::wit::postgres as wit;

/// A service's schema on a server.
#[derive(Clone)]
pub struct PostgresDatabase {
    address: String,
}

impl PostgresDatabase {
    /// The schema of a noun at `postgres://user:password@host:port/database`.
    pub fn new(url: &str, noun: &str) -> Self {
        let joint = if url.contains('?') { '&' } else { '?' };
        Self {
            address: format!("{url}{joint}options=-c%20search_path%3D{noun}"),
        }
    }
}

/// An open connection; the host rolls back what it leaves open when it is dropped.
pub struct PostgresConnection(wit::Connection);

impl Database for PostgresDatabase {
    type Connection = PostgresConnection;

    async fn open(&self) -> Result<PostgresConnection, SqlError> {
        let opening = wit::Connection::open_async(self.address.clone());
        opening.await.map(PostgresConnection).map_err(failed)
    }
}

impl Connection for PostgresConnection {
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        let params = params.iter().map(lower).collect();
        let running = self.0.query_async(sql.to_owned(), params);
        let (_, stream, end) = running.await.map_err(failed)?;
        let rows = stream.collect().await;
        end.await.map_err(failed)?;
        rows.into_iter().map(lift).collect()
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        let params = params.iter().map(lower).collect();
        let running = self.0.execute_async(sql.to_owned(), params);
        running.await.map_err(failed)
    }

    async fn begin(&self) -> Result<(), SqlError> {
        self.execute("BEGIN", &[]).await.map(drop)
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.execute("COMMIT", &[]).await.map(drop)
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.execute("ROLLBACK", &[]).await.map(drop)
    }
}

fn lower(value: &Value) -> wit::ParameterValue {
    match value {
        Value::Null => wit::ParameterValue::DbNull,
        Value::Integer(number) => wit::ParameterValue::Int64(*number),
        Value::Text(text) => wit::ParameterValue::Str(text.clone()),
    }
}

fn lift(row: wit::Row) -> Result<Row, SqlError> {
    let column = |value| match value {
        wit::DbValue::DbNull => Ok(Value::Null),
        wit::DbValue::Int64(number) => Ok(Value::Integer(number)),
        wit::DbValue::Int32(number) => Ok(Value::Integer(i64::from(number))),
        wit::DbValue::Str(text) => Ok(Value::Text(text)),
        _ => Err(SqlError::Failed(
            "a column is neither BIGINT nor TEXT".to_owned(),
        )),
    };
    row.into_iter()
        .map(column)
        .collect::<Result<_, _>>()
        .map(Row)
}

/// Errors after which the same statement may succeed: the server is gone or going (08, 57P), full (53), or had to choose
/// between two transactions (40), or the statement was given up (55P03, 57014), or somebody wrote the same unique value at
/// the same moment (23505).
fn failed(error: wit::Error) -> SqlError {
    match error {
        wit::Error::ConnectionFailed(reason) => SqlError::Unavailable(reason),
        wit::Error::QueryFailed(wit::QueryError::Text(reason)) => SqlError::Unavailable(reason),
        wit::Error::QueryFailed(wit::QueryError::DbError(error)) => {
            let transient = ["08", "53", "40", "57", "55P03", "23505"];
            if transient.iter().any(|class| error.code.starts_with(class)) {
                SqlError::Unavailable(error.as_text)
            } else {
                SqlError::Failed(error.as_text)
            }
        }
        wit::Error::BadParameter(reason)
        | wit::Error::ValueConversionFailed(reason)
        | wit::Error::Other(reason) => SqlError::Failed(reason),
    }
}
