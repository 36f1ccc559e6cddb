//! SQL behind one small trait, so that the same statements run on SQLite and Postgres.
//!
//! Rules for statements: a parameter is `$1`, `$2`, …, always inside `CAST($1 AS BIGINT)` or `CAST($1 AS TEXT)`; a sum is
//! `CAST(SUM(x) AS BIGINT)`; ids are TEXT, money and times BIGINT, booleans BIGINT 0 or 1; a conflict is detected with
//! `ON CONFLICT DO NOTHING` and the number of changed rows, never by a statement that fails. Backends are `sql_<tech>`.

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

use crate::log::{self, Level};
use localmart_kernel::{Id, Timestamp};

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

/// Replaces `$1` with `?1`, the syntax of SQLite. Quoted text stays as it is.
pub fn numbered_for_sqlite(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quoted = false;
    let mut letters = sql.chars().peekable();
    while let Some(letter) = letters.next() {
        quoted ^= letter == '\'';
        let parameter =
            letter == '$' && !quoted && letters.peek().is_some_and(char::is_ascii_digit);
        out.push(if parameter { '?' } else { letter });
    }
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

/// Placeholders for `count` rows with these column types, for example `(CAST($1 AS TEXT)), (CAST($2 AS TEXT))`.
pub fn row_placeholders(count: usize, types: &[&str]) -> String {
    let row = |row: usize| {
        let cell = |(column, kind): (usize, &&str)| {
            format!("CAST(${} AS {kind})", row * types.len() + column + 1)
        };
        let cells: Vec<String> = types.iter().enumerate().map(cell).collect();
        format!("({})", cells.join(", "))
    };
    (0..count).map(row).collect::<Vec<_>>().join(", ")
}

/// A row of a result; columns are read by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// A TEXT column.
    pub fn text(&self, column: usize) -> Result<String, SqlError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text.clone()),
            other => Err(unexpected(column, "TEXT", other)),
        }
    }

    /// A BIGINT column.
    pub fn integer(&self, column: usize) -> Result<i64, SqlError> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(*number),
            other => Err(unexpected(column, "BIGINT", other)),
        }
    }

    /// A BIGINT column that is never negative.
    pub fn unsigned(&self, column: usize) -> Result<u64, SqlError> {
        let number = self.integer(column)?;
        u64::try_from(number)
            .map_err(|_| SqlError::Failed(format!("column {column} is negative: {number}")))
    }

    /// A BIGINT column that holds 0 or 1.
    pub fn boolean(&self, column: usize) -> Result<bool, SqlError> {
        Ok(self.integer(column)? != 0)
    }

    /// A BIGINT column that holds Unix milliseconds.
    pub fn time(&self, column: usize) -> Result<Timestamp, SqlError> {
        self.integer(column).map(Timestamp::from_ms)
    }

    /// A TEXT column that holds an id.
    pub fn id(&self, column: usize) -> Result<Id, SqlError> {
        let text = self.text(column)?;
        Id::parse(&text).ok_or_else(|| SqlError::Failed(format!("column {column} is not an id")))
    }

    /// A TEXT column that may be NULL.
    pub fn maybe_text(&self, column: usize) -> Result<Option<String>, SqlError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.text(column).map(Some),
        }
    }

    /// A BIGINT column that may be NULL and is never negative.
    pub fn maybe_unsigned(&self, column: usize) -> Result<Option<u64>, SqlError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.unsigned(column).map(Some),
        }
    }
}

fn unexpected(column: usize, expected: &str, found: Option<&Value>) -> SqlError {
    SqlError::Failed(format!(
        "expected {expected} in column {column}, found {found:?}"
    ))
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

/// The decoded rows of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<T> {
    /// The rows that could be decoded.
    pub items: Vec<T>,
    /// The number of rows that the query returned.
    pub rows: usize,
}

/// Decodes rows, whose first column is the key. A row that cannot be decoded must not make a whole list unreadable: it is
/// left out and logged with its key. `localmart verify` names such rows too.
pub fn decode_rows<T>(
    table: &str,
    rows: &[Row],
    decode: impl Fn(&Row) -> Result<T, SqlError>,
) -> Decoded<T> {
    let readable = |row: &Row| match decode(row) {
        Ok(item) => Some(item),
        Err(error) => {
            let key = row.text(0).unwrap_or_default();
            let fields = [
                ("table", table),
                ("key", &key),
                ("reason", &error.to_string()),
            ];
            let message = "a row cannot be read and is left out";
            log::write(Level::Error, "", message, &fields);
            None
        }
    };
    Decoded {
        items: rows.iter().filter_map(readable).collect(),
        rows: rows.len(),
    }
}

/// The parameters of a statement, in order: `params![id, now, None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Value::from($value)),*] };
}

#[cfg(test)]
mod tests {
    use super::{numbered_for_sqlite, power_of_two_chunks, row_placeholders};

    #[test]
    fn rows_are_split_into_chunks_of_few_sizes() {
        let items: Vec<u32> = (0..203).collect();
        let sizes: Vec<usize> = power_of_two_chunks(&items).map(<[u32]>::len).collect();
        assert_eq!(sizes, [64, 64, 64, 8, 2, 1]);
        assert_eq!(
            power_of_two_chunks(&items)
                .flatten()
                .copied()
                .collect::<Vec<_>>(),
            items
        );
        assert_eq!(power_of_two_chunks::<u32>(&[]).count(), 0);
        let rows = "(CAST($1 AS TEXT), CAST($2 AS BIGINT)), (CAST($3 AS TEXT), CAST($4 AS BIGINT))";
        assert_eq!(row_placeholders(2, &["TEXT", "BIGINT"]), rows);
    }

    #[test]
    fn parameters_are_renumbered_outside_of_quotes() {
        assert_eq!(
            numbered_for_sqlite("SELECT '$1', CAST($1 AS TEXT), $12 || 'it''s $2' || $2"),
            "SELECT '$1', CAST(?1 AS TEXT), ?12 || 'it''s $2' || ?2"
        );
        assert_eq!(numbered_for_sqlite("a $ b"), "a $ b");
    }
}
