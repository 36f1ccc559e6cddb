//! The SQL trait on SQLite and Postgres side by side: every statement runs on both and must have the same result.

use crate::servers;
use localmart_guest::migrations;
use localmart_guest::sql::{Connection, Database, Row, SqlError, Value};
use localmart_stores::{Postgres, Sqlite};
use std::sync::atomic::{AtomicU32, Ordering};

/// A database with the migrations of a service applied. Clones share it.
#[derive(Clone)]
pub struct TestDatabase {
    sqlite: Sqlite,
    postgres: Option<Postgres>,
}

impl TestDatabase {
    /// A database with the migrations of the kit followed by these.
    pub fn new(migrations: &[&str]) -> Self {
        Self::with(&[&[migrations::SERVICE], migrations].concat())
    }

    /// A database for the bus.
    pub fn bus() -> Self {
        Self::with(&[migrations::BUS])
    }

    fn with(migrations: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let sqlite = Sqlite::in_memory().unwrap();
        let postgres = servers::postgres().map(|url| {
            let name = format!("twin{}", COUNT.fetch_add(1, Ordering::Relaxed));
            let postgres = Postgres::open(&url, &name).unwrap();
            postgres.batch(&format!("CREATE SCHEMA {name}")).unwrap();
            postgres
        });
        for migration in migrations {
            sqlite.batch(migration).unwrap();
            if let Some(postgres) = &postgres {
                postgres.batch(migration).unwrap();
            }
        }
        Self { sqlite, postgres }
    }

    /// The SQLite query plan of a statement: the lines of EXPLAIN QUERY PLAN.
    pub fn plan(&self, sql: &str, params: &[Value]) -> Vec<String> {
        self.sqlite.plan(sql, params).unwrap()
    }
}

impl Database for TestDatabase {
    type Connection = Self;

    async fn open(&self) -> Result<Self, SqlError> {
        Ok(self.clone())
    }
}

impl Connection for TestDatabase {
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        let rows = self.sqlite.query(sql, params).await;
        if let Some(postgres) = &self.postgres {
            let others = postgres.query(sql, params).await;
            assert_eq!(sorted(&rows, sql), sorted(&others, sql), "{sql} {params:?}");
        }
        rows
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        let changed = self.sqlite.execute(sql, params).await;
        if let Some(postgres) = &self.postgres {
            let others = postgres.execute(sql, params).await;
            assert_eq!(
                comparable(&changed),
                comparable(&others),
                "{sql} {params:?} {changed:?} {others:?}"
            );
        }
        changed
    }

    async fn begin(&self) -> Result<(), SqlError> {
        self.both("BEGIN IMMEDIATE", "BEGIN")
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.both("COMMIT", "COMMIT")
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.both("ROLLBACK", "ROLLBACK")
    }
}

impl TestDatabase {
    fn both(&self, sqlite: &str, postgres: &str) -> Result<(), SqlError> {
        if let Some(server) = &self.postgres {
            server.batch(postgres)?;
        }
        self.sqlite.batch(sqlite)
    }
}

/// The part of a result that must be equal on both databases. Error messages may differ.
fn comparable<T: Clone>(outcome: &Result<T, SqlError>) -> Option<T> {
    outcome.as_ref().ok().cloned()
}

/// The rows for comparison: sorted, unless the statement itself defines their order.
fn sorted(outcome: &Result<Vec<Row>, SqlError>, sql: &str) -> Option<Vec<String>> {
    let rows = comparable(outcome)?;
    let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    if !sql.contains("ORDER BY") {
        rows.sort();
    }
    Some(rows)
}
