//! The database that the variable `database_url` selects: `embedded` (SQLite) or the address of a Postgres server.

use super::sql_postgres::{PostgresConnection, PostgresDatabase};
use super::sql_sqlite::{SqliteConnection, SqliteDatabase};
use super::{Connection, Database, Row, SqlError, Value};
use crate::config::{self, EMBEDDED};

/// The database of a service.
#[derive(Clone)]
pub struct ServiceDatabase {
    noun: &'static str,
}

impl ServiceDatabase {
    /// The database of a noun.
    pub const fn new(noun: &'static str) -> Self {
        Self { noun }
    }
}

impl From<&'static str> for ServiceDatabase {
    fn from(noun: &'static str) -> Self {
        Self::new(noun)
    }
}

/// A connection to the database of a service.
pub enum ServiceConnection {
    /// The embedded database.
    Sqlite(SqliteConnection),
    /// A Postgres server.
    Postgres(PostgresConnection),
}

impl Database for ServiceDatabase {
    type Connection = ServiceConnection;

    async fn open(&self) -> Result<ServiceConnection, SqlError> {
        let url = config::once("database_url").await;
        let url = url.map_err(|error| SqlError::Failed(error.to_string()))?;
        if url == EMBEDDED {
            let connection = SqliteDatabase::new(self.noun).open().await?;
            return Ok(ServiceConnection::Sqlite(connection));
        }
        let connection = PostgresDatabase::new(&url, self.noun).open().await?;
        Ok(ServiceConnection::Postgres(connection))
    }

    fn committed(&self) {
        crate::events::wasi::committed(self.noun);
    }
}

impl Connection for ServiceConnection {
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        match self {
            Self::Sqlite(connection) => connection.query(sql, params).await,
            Self::Postgres(connection) => connection.query(sql, params).await,
        }
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql, params).await,
            Self::Postgres(connection) => connection.execute(sql, params).await,
        }
    }

    async fn queue(&self, sql: &str, params: &[Value]) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => connection.queue(sql, params).await,
            Self::Postgres(connection) => connection.queue(sql, params).await,
        }
    }

    async fn query_all(&self, queries: &[(&str, &[Value])]) -> Result<Vec<Vec<Row>>, SqlError> {
        match self {
            Self::Sqlite(connection) => connection.query_all(queries).await,
            Self::Postgres(connection) => connection.query_all(queries).await,
        }
    }

    async fn begin(&self) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => connection.begin().await,
            Self::Postgres(connection) => connection.begin().await,
        }
    }

    async fn commit(&self) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => connection.commit().await,
            Self::Postgres(connection) => connection.commit().await,
        }
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => connection.rollback().await,
            Self::Postgres(connection) => connection.rollback().await,
        }
    }
}
