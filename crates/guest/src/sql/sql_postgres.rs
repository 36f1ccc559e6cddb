//! The SQL trait on `spin:postgres`. All services share one database; each has a schema with its name.

use super::{Connection, Database, Names, Row, SqlError, Value, for_postgres, query_sequentially};
use crate::wit::postgres as wit;
use futures::future::{join, join_all};
use std::cell::RefCell;

/// The schema of a service on a server.
#[derive(Clone)]
pub struct PostgresDatabase {
    address: String,
}

impl PostgresDatabase {
    /// The schema of a noun at `postgres://user:password@host:port/database`.
    pub fn new(url: &str, noun: &str) -> Self {
        let separator = if url.contains('?') { '&' } else { '?' };
        Self {
            address: format!("{url}{separator}options=-c%20search_path%3D{noun}"),
        }
    }
}

/// An open connection. If it is dropped during a transaction, the host rolls back.
pub struct PostgresConnection {
    server: wit::Connection,
    /// Statements to send together with the next one.
    queue: RefCell<Vec<QueuedStatement>>,
}

/// A statement to send together with the next one, with its parameters.
type QueuedStatement = (String, Vec<wit::ParameterValue>);

impl Database for PostgresDatabase {
    type Connection = PostgresConnection;

    async fn open(&self) -> Result<PostgresConnection, SqlError> {
        let opening = wit::Connection::open_async(self.address.clone());
        let server = opening.await.map_err(failed)?;
        Ok(PostgresConnection {
            server,
            queue: RefCell::default(),
        })
    }
}

impl PostgresConnection {
    /// Sends the queued statements and `last` without waiting in between. On a host that does not guarantee the order, each
    /// statement waits for the one before it.
    async fn after_queued<T>(
        &self,
        last: impl Future<Output = Result<T, SqlError>>,
    ) -> Result<T, SqlError> {
        let queued = self.queue.take();
        if queued.is_empty() {
            return last.await;
        }
        let before = queued.into_iter().map(|(sql, params)| async {
            let changed = self.server.execute_async(sql, params).await;
            changed.map(drop).map_err(failed)
        });
        if !pipelines() {
            for statement in before {
                statement.await?;
            }
            return last.await;
        }
        let (before, last) = join(join_all(before), last).await;
        // The first failure causes the later ones.
        before.into_iter().collect::<Result<(), _>>()?;
        last
    }

    async fn read(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        let sql = for_postgres(sql, params);
        let params = params.iter().map(to_wit).collect();
        let running = self.server.query_async(sql, params);
        let (columns, stream, end) = running.await.map_err(failed)?;
        let rows = stream.collect().await;
        end.await.map_err(failed)?;
        let names: Names = columns.into_iter().map(|column| column.name).collect();
        rows.into_iter().map(|row| from_wit(&names, row)).collect()
    }

    async fn write(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        let sql = for_postgres(sql, params);
        let params = params.iter().map(to_wit).collect();
        let running = self.server.execute_async(sql, params);
        running.await.map_err(failed)
    }
}

impl Connection for PostgresConnection {
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        self.after_queued(self.read(sql, params)).await
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        self.after_queued(self.write(sql, params)).await
    }

    async fn queue(&self, sql: &str, params: &[Value]) -> Result<(), SqlError> {
        let sql = for_postgres(sql, params);
        let params = params.iter().map(to_wit).collect();
        self.queue.borrow_mut().push((sql, params));
        Ok(())
    }

    async fn query_all(&self, queries: &[(&str, &[Value])]) -> Result<Vec<Vec<Row>>, SqlError> {
        if !pipelines() {
            return query_sequentially(self, queries).await;
        }
        let all = join_all(queries.iter().map(|(sql, params)| self.read(sql, params)));
        let answers = self.after_queued(async { Ok(all.await) }).await?;
        answers.into_iter().collect()
    }

    async fn begin(&self) -> Result<(), SqlError> {
        self.queue("BEGIN", &[]).await
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.execute("COMMIT", &[]).await.map(drop)
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.queue.take();
        self.write("ROLLBACK", &[]).await.map(drop)
    }
}

/// Whether the host sends concurrent statements of one connection in the order in which they were started.
fn pipelines() -> bool {
    thread_local! {
        static SUPPORTED: bool = std::env::var("LOCALMART_PIPELINES").is_ok();
    }
    SUPPORTED.with(|supported| *supported)
}

fn to_wit(value: &Value) -> wit::ParameterValue {
    match value {
        Value::Null => wit::ParameterValue::DbNull,
        Value::Integer(number) => wit::ParameterValue::Int64(*number),
        Value::Text(text) => wit::ParameterValue::Str(text.clone()),
    }
}

fn from_wit(names: &Names, row: wit::Row) -> Result<Row, SqlError> {
    let column = |value| match value {
        wit::DbValue::DbNull => Ok(Value::Null),
        wit::DbValue::Int64(number) => Ok(Value::Integer(number)),
        wit::DbValue::Int32(number) => Ok(Value::Integer(i64::from(number))),
        wit::DbValue::Str(text) => Ok(Value::Text(text)),
        _ => Err(SqlError::Failed(
            "a column is neither BIGINT nor TEXT".to_owned(),
        )),
    };
    let values: Result<_, _> = row.into_iter().map(column).collect();
    values.map(|values| Row::new(names, values))
}

/// Classes of errors after which the same statement may succeed: the connection was lost (08), the server has no resources
/// left (53), a serialization failure or deadlock (40), a shutdown or a cancelled statement (57), a lock timeout (55P03),
/// or a concurrent insert of the same unique value (23505).
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
