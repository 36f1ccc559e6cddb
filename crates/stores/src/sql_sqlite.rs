//! The SQL trait on rusqlite.

use localmart_guest::sql::{Connection, Database, Names, Row, SqlError, Value, for_sqlite};
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// How long a statement waits for a lock of another process.
const BUSY: Duration = Duration::from_secs(5);

/// A connection to a database; clones share it.
#[derive(Clone)]
pub struct Sqlite(Rc<rusqlite::Connection>);

impl Sqlite {
    /// Opens an existing database file.
    pub fn open(path: &Path) -> Result<Self, SqlError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = rusqlite::Connection::open_with_flags(path, flags)
            .map_err(|error| SqlError::Unavailable(format!("{}: {error}", path.display())))?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        Ok(Self(Rc::new(connection)))
    }

    /// Opens an empty database in memory.
    pub fn in_memory() -> Result<Self, SqlError> {
        rusqlite::Connection::open_in_memory()
            .map(|connection| Self(Rc::new(connection)))
            .map_err(failed)
    }

    /// Runs several statements without parameters.
    pub fn batch(&self, sql: &str) -> Result<(), SqlError> {
        self.0.execute_batch(sql).map_err(failed)
    }

    /// The query plan of a statement: the lines of EXPLAIN QUERY PLAN.
    pub fn plan(&self, sql: &str, params: &[Value]) -> Result<Vec<String>, SqlError> {
        let sql = format!("EXPLAIN QUERY PLAN {}", for_sqlite(sql));
        let mut statement = self.0.prepare(&sql).map_err(failed)?;
        let params = rusqlite::params_from_iter(params.iter().map(Bound));
        let lines = statement
            .query_map(params, |row| row.get(3))
            .map_err(failed)?;
        lines.collect::<Result<_, _>>().map_err(failed)
    }
}

impl Database for Sqlite {
    type Connection = Self;

    async fn open(&self) -> Result<Self, SqlError> {
        Ok(self.clone())
    }
}

impl Connection for Sqlite {
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        let mut statement = self.0.prepare_cached(&for_sqlite(sql)).map_err(failed)?;
        let width = statement.column_count();
        let names: Names = statement.column_names().map(str::to_owned).collect();
        let params = rusqlite::params_from_iter(params.iter().map(Bound));
        let mut rows = statement.query(params).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let read = |column| value(row.get_ref(column).map_err(failed)?);
            let values = (0..width).map(read).collect::<Result<_, _>>()?;
            found.push(Row::new(&names, values));
        }
        Ok(found)
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        let mut statement = self.0.prepare_cached(&for_sqlite(sql)).map_err(failed)?;
        let params = rusqlite::params_from_iter(params.iter().map(Bound));
        let changed = statement.execute(params).map_err(failed)?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    async fn begin(&self) -> Result<(), SqlError> {
        self.batch("BEGIN IMMEDIATE")
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.batch("COMMIT")
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.batch("ROLLBACK")
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

fn value(value: ValueRef<'_>) -> Result<Value, SqlError> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Text(text) => String::from_utf8(text.to_vec())
            .map(Value::Text)
            .map_err(|_| SqlError::Failed("a column is not UTF-8".to_owned())),
        ValueRef::Real(_) | ValueRef::Blob(_) => Err(SqlError::Failed(
            "a column is neither BIGINT nor TEXT".to_owned(),
        )),
    }
}

fn failed(error: rusqlite::Error) -> SqlError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            SqlError::Unavailable(error.to_string())
        }
        _ => SqlError::Failed(error.to_string()),
    }
}
