//! The SQL trait on rusqlite, so that unit tests run the real statements and migrations.

use localmart_guest::sql::{Connection, Database, Row, SqlError, Value, numbered_for_sqlite};
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::rc::Rc;

/// A database in memory with a service's migrations applied. Clones share it.
#[derive(Clone)]
pub struct TestDatabase(Rc<rusqlite::Connection>);

impl TestDatabase {
    /// A database with these migrations, in order.
    pub fn new(migrations: &[&str]) -> Self {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        for migration in migrations {
            connection.execute_batch(migration).unwrap();
        }
        Self(Rc::new(connection))
    }

    /// How SQLite would run a statement: the lines of EXPLAIN QUERY PLAN.
    pub fn plan(&self, sql: &str, params: &[Value]) -> Vec<String> {
        let sql = format!("EXPLAIN QUERY PLAN {}", numbered_for_sqlite(sql));
        let mut statement = self.0.prepare(&sql).unwrap();
        let lines = statement.query_map(
            rusqlite::params_from_iter(params.iter().map(Bound)),
            |row| row.get(3),
        );
        lines.unwrap().map(Result::unwrap).collect()
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
        let mut statement = self
            .0
            .prepare_cached(&numbered_for_sqlite(sql))
            .map_err(failed)?;
        let width = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            (0..width)
                .map(|column| row.get_ref(column).map(value))
                .collect()
        };
        let rows = statement
            .query_map(rusqlite::params_from_iter(params.iter().map(Bound)), read)
            .map_err(failed)?;
        rows.map(|row| row.map(Row))
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        let mut statement = self
            .0
            .prepare_cached(&numbered_for_sqlite(sql))
            .map_err(failed)?;
        let changed = statement
            .execute(rusqlite::params_from_iter(params.iter().map(Bound)))
            .map_err(failed)?;
        Ok(changed as u64)
    }

    async fn begin(&self) -> Result<(), SqlError> {
        self.0.execute_batch("BEGIN IMMEDIATE").map_err(failed)
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.0.execute_batch("COMMIT").map_err(failed)
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.0.execute_batch("ROLLBACK").map_err(failed)
    }
}

struct Bound<'a>(&'a Value);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).unwrap()),
        other => panic!("a column is neither BIGINT nor TEXT: {other:?}"),
    }
}

fn failed(error: rusqlite::Error) -> SqlError {
    SqlError::Failed(error.to_string())
}
