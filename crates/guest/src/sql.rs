//! SQL behind one small trait, so that the same statements run on SQLite and Postgres.
//!
//! Rules for statements: a parameter is `$1`, `$2`, …; a sum is `CAST(SUM(x) AS BIGINT)`; an expression has a name, `AS name`;
//! ids are TEXT, money and times BIGINT, booleans BIGINT 0 or 1; a conflict is detected with `ON CONFLICT DO NOTHING` and the
//! number of changed rows, never by a statement that fails. Backends are `sql_<tech>`; [`rows`] has rows and columns.

pub mod rows;

#[cfg(target_arch = "wasm32")]
mod sql_chosen;
#[cfg(target_arch = "wasm32")]
mod sql_postgres;
#[cfg(target_arch = "wasm32")]
mod sql_sqlite;

#[cfg(target_arch = "wasm32")]
pub use sql_chosen::{ServiceConnection, ServiceDatabase};
#[cfg(target_arch = "wasm32")]
pub use sql_postgres::{PostgresConnection, PostgresDatabase};
#[cfg(target_arch = "wasm32")]
pub use sql_sqlite::{SqliteConnection, SqliteDatabase};

use localmart_kernel::{Id, Timestamp};
pub use rows::{Column, Decoded, Json, Names, Part, Row, Stored, decode_rows, places};
#[doc(hidden)]
pub use rows::{names_of, read_names_of};

/// A value of a parameter or a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// No value.
    Null,
    /// A BIGINT.
    Integer(i64),
    /// A TEXT.
    Text(String),
}

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The database is unreachable or too busy. Retryable; nothing was changed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A statement failed, or a row does not have the expected shape.
    #[error("a statement failed: {0}")]
    Failed(String),
}

/// An open connection.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Connection {
    /// Runs a statement that returns rows.
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError>;
    /// Runs a statement that changes rows; returns the number of changed rows.
    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError>;
    /// Runs a statement of a transaction whose result is not needed. On Postgres it is sent together with the next statement
    /// or with the commit, which then reports its failure.
    async fn queue(&self, sql: &str, params: &[Value]) -> Result<(), SqlError> {
        self.execute(sql, params).await.map(drop)
    }
    /// Runs independent statements that return rows.
    async fn query_all(&self, queries: &[(&str, &[Value])]) -> Result<Vec<Vec<Row>>, SqlError> {
        query_sequentially(self, queries).await
    }
    /// Begins a write transaction.
    async fn begin(&self) -> Result<(), SqlError>;
    /// Commits the transaction.
    async fn commit(&self) -> Result<(), SqlError>;
    /// Rolls the transaction back.
    async fn rollback(&self) -> Result<(), SqlError>;
}

/// Runs statements that return rows, one after the other.
pub(crate) async fn query_sequentially<C: Connection + ?Sized>(
    connection: &C,
    queries: &[(&str, &[Value])],
) -> Result<Vec<Vec<Row>>, SqlError> {
    let mut answers = Vec::with_capacity(queries.len());
    for (sql, params) in queries {
        answers.push(connection.query(sql, params).await?);
    }
    Ok(answers)
}

/// The database of a service.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Database: Clone + 'static {
    /// A connection to this database.
    type Connection: Connection;
    /// Opens a connection, or takes one from a pool.
    async fn open(&self) -> Result<Self::Connection, SqlError>;
    /// Called when [`transaction`] has committed.
    fn committed(&self) {}
}

/// Runs `body` in a transaction: committed if it returns `Ok`, rolled back otherwise.
pub async fn transaction<D, T, E>(
    database: &D,
    body: impl AsyncFnOnce(&D::Connection) -> Result<T, E>,
) -> Result<T, E>
where
    D: Database,
    E: From<SqlError>,
{
    let connection = database.open().await?;
    connection.begin().await?;
    match body(&connection).await {
        Ok(value) => {
            connection.commit().await?;
            // The connection returns to its pool before the relay starts.
            drop(connection);
            database.committed();
            Ok(value)
        }
        Err(error) => {
            // The first error is the one to report. If the rollback fails, the host rolls back when the connection is dropped.
            let _ = connection.rollback().await;
            Err(error)
        }
    }
}

/// The text for SQLite: `?1` instead of `$1`. Quoted text stays as it is.
pub fn for_sqlite(sql: &str) -> String {
    with_places(sql, |number, out| {
        out.push('?');
        out.push_str(number);
    })
}

/// The text for Postgres, which must know the type of each parameter: `CAST($1 AS BIGINT)` instead of `$1`. A parameter without
/// a value has no type of its own, and takes that of the column it is for.
pub fn for_postgres(sql: &str, params: &[Value]) -> String {
    with_places(sql, |number, out| {
        let value = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let kind = match value.and_then(|place| params.get(place)) {
            Some(Value::Integer(_)) => "BIGINT",
            Some(Value::Text(_)) => "TEXT",
            Some(Value::Null) | None => return out.extend(["$", number]),
        };
        out.extend(["CAST($", number, " AS ", kind, ")"]);
    })
}

/// Replaces the places of parameters, `$1` and so on, outside of quotes.
fn with_places(sql: &str, write: impl Fn(&str, &mut String)) -> String {
    let mut out = String::with_capacity(sql.len() * 2);
    let mut rest = sql;
    let mut quoted = false;
    while let Some(at) = rest.find(['$', '\'']) {
        let (before, mark) = rest.split_at(at);
        out.push_str(before);
        let (mark, after) = mark.split_at(1);
        quoted ^= mark == "'";
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if mark == "$" && digits > 0 && !quoted {
            let (number, after) = after.split_at(digits);
            write(number, &mut out);
            rest = after;
        } else {
            out.push_str(mark);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Splits into chunks of 64, 32, 16, 8, 4, 2 and 1, so that statements over many rows have few distinct texts and stay
/// prepared.
pub fn power_of_two_chunks<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    /// The binary logarithm of the longest chunk.
    const MAX_LOG2: u32 = 6;
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = 1_usize << rest.len().checked_ilog2()?.min(MAX_LOG2);
        let (chunk, remaining) = rest.split_at_checked(size)?;
        rest = remaining;
        Some(chunk)
    })
}

/// Places for `count` rows of this width, for example `($1, $2), ($3, $4)`.
pub fn row_places(count: usize, width: usize) -> String {
    let row = |row: usize| format!("({})", places(row * width + 1..=(row + 1) * width));
    (0..count).map(row).collect::<Vec<_>>().join(", ")
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Id> for Value {
    fn from(id: &Id) -> Self {
        Self::Text(id.as_str().to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(i64::from(number))
    }
}

impl From<u64> for Value {
    /// Amounts and versions stay below 2^53, far below the maximum of a BIGINT.
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Integer(i64::from(truth))
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Integer(time.ms())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The parameters of a statement, in order: `params![id, now, None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Value::from($value)),*] };
}

#[cfg(test)]
mod tests {
    use super::{Value, for_postgres, for_sqlite, power_of_two_chunks, row_places};

    #[test]
    fn rows_are_split_into_chunks_of_few_sizes() {
        let items: Vec<u32> = (0..203).collect();
        let sizes: Vec<usize> = power_of_two_chunks(&items).map(<[u32]>::len).collect();
        assert_eq!(sizes, [64, 64, 64, 8, 2, 1]);
        let again: Vec<u32> = power_of_two_chunks(&items).flatten().copied().collect();
        assert_eq!(again, items);
        assert_eq!(power_of_two_chunks::<u32>(&[]).count(), 0);
        assert_eq!(row_places(2, 2), "($1, $2), ($3, $4)");
    }

    #[test]
    fn places_of_parameters_are_written_for_each_database() {
        let sql = "SELECT '$1', $1, $12 || 'it''s $2' || $2 FROM a $ b";
        assert_eq!(
            for_sqlite(sql),
            "SELECT '$1', ?1, ?12 || 'it''s $2' || ?2 FROM a $ b"
        );
        let params = [Value::from("a"), Value::from(1_u32), Value::Null];
        assert_eq!(
            for_postgres("$1 $2 $3 '$1'", &params),
            "CAST($1 AS TEXT) CAST($2 AS BIGINT) $3 '$1'"
        );
    }
}
