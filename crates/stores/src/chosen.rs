//! The database of a service: SQLite or Postgres, as the configuration says.

use crate::{Postgres, Sqlite};
use localmart_guest::config::EMBEDDED;
use localmart_guest::sql::{Connection, Database, Row, SqlError, Value};
use std::path::Path;

/// A connection to either database.
#[derive(Clone)]
pub enum Chosen {
    /// A SQLite file.
    Sqlite(Sqlite),
    /// A Postgres server.
    Postgres(Postgres),
}

impl Chosen {
    /// Opens the database of a service: a file in the state folder, or a schema on the server at this address.
    pub fn open(database_url: &str, state_dir: &Path, noun: &str) -> Result<Self, SqlError> {
        if database_url == EMBEDDED {
            Sqlite::open(&state_dir.join(format!("{noun}.db"))).map(Self::Sqlite)
        } else {
            Postgres::open(database_url, noun).map(Self::Postgres)
        }
    }

    /// Runs several statements.
    pub fn batch(&self, sql: &str) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => connection.batch(sql),
            Self::Postgres(connection) => connection.batch(sql),
        }
    }
}

impl Database for Chosen {
    type Connection = Self;

    async fn open(&self) -> Result<Self, SqlError> {
        Ok(self.clone())
    }
}

impl Connection for Chosen {
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

    async fn begin(&self) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => connection.begin().await,
            Self::Postgres(connection) => connection.begin().await,
        }
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.batch("COMMIT")
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.batch("ROLLBACK")
    }
}
