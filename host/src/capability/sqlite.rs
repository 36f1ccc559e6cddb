//! `spin:sqlite@3.1`: WAL mode, prepared statements, one writer at a time, and transactions that cannot leak into the
//! next guest.
//!
//! Statements run on the core of the caller: a read takes microseconds, which is less than handing it to another
//! thread. Only waiting for the write lock is asynchronous, so that waiting writers block nobody else.

use super::{Capabilities, Interface, interfaces};
use crate::capability::state::HostState;
use crate::fault::{Capability, InstanceFaults};
use crate::limits;
use bindings::spin::sqlite::sqlite as wit;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::OwnedMutexGuard;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capability {
                import spin:sqlite/sqlite@3.1.0;
            }
        ",
        path: ["../wit/deps/spin-sqlite@3.1.0"],
        imports: { default: async | trappable },
        with: {
            "spin:sqlite/sqlite.connection": super::Connection,
        },
        require_store_data_send: true,
    });
}

interfaces! {
    "spin:sqlite/sqlite@3.1.0": bindings::spin::sqlite::sqlite,
}

/// `CREATE TABLE IF NOT EXISTS temp.t`: within so many words after CREATE a statement names the schema.
const CREATED_WITHIN_WORDS: usize = 6;

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// `kill -9` loses nothing; a power failure may lose the last commits.
    Normal,
    /// A power failure loses nothing either.
    Full,
}

/// A database file, shared by all cores.
pub struct Database {
    path: PathBuf,
    synchronous: Synchronous,
    /// The lock for writing.
    writer: Arc<tokio::sync::Mutex<()>>,
    idle: Mutex<HashMap<std::thread::ThreadId, Vec<Raw>>>,
}

/// The databases of an application, by label.
pub type Databases = BTreeMap<String, Arc<Database>>;

struct Raw {
    connection: rusqlite::Connection,
    /// The deadline of the current statement.
    deadline: Arc<Mutex<Instant>>,
}

/// A guest's open connection. Dropping it always rolls back its transaction.
pub struct Connection {
    raw: Option<Raw>,
    database: Arc<Database>,
    turn: Option<OwnedMutexGuard<()>>,
    /// Whether a statement changed the session, by a pragma or a temporary table. Such a connection is not reused.
    altered: bool,
    /// Whether a statement of this guest may have changed rows.
    wrote: bool,
    /// The faults that apply to this instance.
    faults: Option<InstanceFaults>,
}

/// The rows of a result.
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<wit::Value>>,
}

impl Database {
    /// A database file; it is created when it is first opened.
    pub fn new(path: &Path, synchronous: Synchronous) -> Self {
        Self {
            path: path.to_owned(),
            synchronous,
            writer: Arc::default(),
            idle: Mutex::default(),
        }
    }

    /// Opens a connection, or reuses an idle one of this core.
    pub fn open(self: &Arc<Self>) -> Result<Connection, rusqlite::Error> {
        let idle = self
            .idle
            .lock()
            .ok()
            .and_then(|mut idle| idle.get_mut(&std::thread::current().id())?.pop());
        let raw = match idle {
            Some(raw) => raw,
            None => self.connect()?,
        };
        raw.forget_last_insert();
        Ok(Connection {
            raw: Some(raw),
            database: self.clone(),
            turn: None,
            altered: false,
            wrote: false,
            faults: None,
        })
    }

    fn connect(&self) -> Result<Raw, rusqlite::Error> {
        let mut connection = rusqlite::Connection::open(&self.path)?;
        connection.busy_timeout(limits::SQLITE_RETRY_INTERVAL)?;
        let synchronous = match self.synchronous {
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
        };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        // Otherwise a statement with LIMIT $1 is prepared again before each run, for the value of its limit.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(limits::SQLITE_STATEMENTS);
        let deadline = Arc::new(Mutex::new(Instant::now()));
        let watched = deadline.clone();
        let late = move || {
            watched
                .lock()
                .is_ok_and(|deadline| Instant::now() > *deadline)
        };
        connection.progress_handler(20_000, Some(late))?;
        Ok(Raw {
            connection,
            deadline,
        })
    }
}

impl Raw {
    /// What an earlier guest inserted is no business of the next one.
    fn forget_last_insert(&self) {
        // SAFETY: the handle belongs to an open connection, which no other thread uses.
        unsafe { rusqlite::ffi::sqlite3_set_last_insert_rowid(self.connection.handle(), 0) }
    }
}

impl Connection {
    /// Runs one statement, after waiting for the write lock if it writes.
    pub(crate) async fn run(
        &mut self,
        sql: &str,
        params: &[wit::Value],
    ) -> Result<Rows, wit::Error> {
        if let Some(faults) = &self.faults {
            let injected = faults.inject(Capability::Sqlite).await;
            injected.map_err(|injected| wit::Error::Io(injected.to_string()))?;
        }
        let statement = statement_of(sql);
        if statement.is_empty() {
            return Err(wit::Error::Io("the statement is empty".to_owned()));
        }
        self.altered |= alters(statement);
        if self.needs_turn(sql)? {
            let turn = self.database.writer.clone().lock_owned();
            let turn = tokio::time::timeout(limits::SQLITE_WRITE_TIMEOUT, turn).await;
            self.turn = Some(turn.map_err(|_| busy())?);
        }
        let give_up = Instant::now() + limits::SQLITE_WRITE_TIMEOUT;
        let result = loop {
            match self.step(sql, params) {
                // Only another process can hold the lock; within this process the mutex serialises writers.
                Err(error) if is_busy(&error) && Instant::now() < give_up => {
                    tokio::time::sleep(limits::SQLITE_RETRY_INTERVAL).await;
                }
                result => break result,
            }
        };
        self.wrote |= self.turn.is_some();
        if self.raw()?.connection.is_autocommit() {
            self.turn = None;
        }
        result.map_err(|error| {
            if is_busy(&error) {
                busy()
            } else {
                wit::Error::Io(error.to_string())
            }
        })
    }

    fn raw(&self) -> Result<&Raw, wit::Error> {
        self.raw.as_ref().ok_or(wit::Error::InvalidConnection)
    }

    fn needs_turn(&self, sql: &str) -> Result<bool, wit::Error> {
        if self.turn.is_some() {
            return Ok(false);
        }
        let statement = self.raw()?.connection.prepare_cached(sql);
        let statement = statement.map_err(|error| wit::Error::Io(error.to_string()))?;
        Ok(!statement.readonly())
    }

    fn step(&self, sql: &str, params: &[wit::Value]) -> Result<Rows, rusqlite::Error> {
        let raw = self.raw.as_ref().ok_or(rusqlite::Error::InvalidQuery)?;
        if let Ok(mut deadline) = raw.deadline.lock() {
            *deadline = Instant::now() + limits::SQLITE_STATEMENT_TIMEOUT;
        }
        let mut statement = raw.connection.prepare_cached(sql)?;
        let needed = statement.parameter_count();
        if needed != params.len() {
            let given = params.len();
            let wrong = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_RANGE);
            let text =
                format!("the statement has {needed} parameters, and {given} values were given");
            return Err(rusqlite::Error::SqliteFailure(wrong, Some(text)));
        }
        for (at, param) in params.iter().enumerate() {
            bind(&mut statement, at + 1, param)?;
        }
        let width = statement.column_count();
        let columns = statement.column_names().map(str::to_owned).collect();
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(width);
            for column in 0..width {
                let value = row.get_ref(column)?;
                bytes += size_of(&value);
                values.push(lift(value));
            }
            if bytes > limits::SQLITE_RESULT_BYTES {
                let too_big = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_TOOBIG);
                return Err(rusqlite::Error::SqliteFailure(
                    too_big,
                    Some("the result is larger than 64 MiB".to_owned()),
                ));
            }
            found.push(values);
        }
        Ok(Rows {
            columns,
            rows: found,
        })
    }

    /// The rows that the last write of this guest changed.
    pub(crate) fn changes(&self) -> u64 {
        if !self.wrote {
            return 0;
        }
        self.raw.as_ref().map_or(0, |raw| raw.connection.changes())
    }

    fn last_insert_rowid(&self) -> i64 {
        self.raw
            .as_ref()
            .map_or(0, |raw| raw.connection.last_insert_rowid())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(raw) = self.raw.take() else { return };
        let clean =
            raw.connection.is_autocommit() || raw.connection.execute_batch("ROLLBACK").is_ok();
        if clean
            && !self.altered
            && let Ok(mut idle) = self.database.idle.lock()
        {
            let mine = idle.entry(std::thread::current().id()).or_default();
            if mine.len() < limits::SQLITE_IDLE_CONNECTIONS {
                mine.push(raw);
            }
        }
    }
}

/// The text from its first statement on, without leading white space, comments and semicolons.
fn statement_of(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            return rest;
        }
    }
}

/// Whether a statement may change the session, so that the next guest would see it: a pragma, or a new temporary object.
fn alters(statement: &str) -> bool {
    let words = statement.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut words = words.filter(|word| !word.is_empty());
    let is = |word: Option<&str>, names: &[&str]| {
        word.is_some_and(|word| names.iter().any(|name| word.eq_ignore_ascii_case(name)))
    };
    let first = words.next();
    is(first, &["PRAGMA"])
        || (is(first, &["CREATE"])
            && words
                .take(CREATED_WITHIN_WORDS)
                .any(|word| is(Some(word), &["TEMP", "TEMPORARY"])))
}

fn bind(
    statement: &mut rusqlite::Statement<'_>,
    at: usize,
    value: &wit::Value,
) -> Result<(), rusqlite::Error> {
    match value {
        wit::Value::Integer(number) => statement.raw_bind_parameter(at, number),
        wit::Value::Real(number) => statement.raw_bind_parameter(at, number),
        wit::Value::Text(text) => statement.raw_bind_parameter(at, text),
        wit::Value::Blob(bytes) => statement.raw_bind_parameter(at, bytes),
        wit::Value::Null => statement.raw_bind_parameter(at, rusqlite::types::Null),
    }
}

fn lift(value: ValueRef<'_>) -> wit::Value {
    match value {
        ValueRef::Null => wit::Value::Null,
        ValueRef::Integer(number) => wit::Value::Integer(number),
        ValueRef::Real(number) => wit::Value::Real(number),
        ValueRef::Text(text) => wit::Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => wit::Value::Blob(bytes.to_vec()),
    }
}

fn size_of(value: &ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() + 16,
        _ => 16,
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}

fn busy() -> wit::Error {
    wit::Error::Io("the database is locked: no write lock within 5 s".to_owned())
}

type Outcome = (
    Vec<String>,
    StreamReader<wit::RowResult>,
    FutureReader<Result<(), wit::Error>>,
);

impl HostState {
    pub(super) fn open_database(
        &mut self,
        label: &str,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        if !self.component.spec.sqlite_databases.contains_key(label) {
            return Ok(Err(wit::Error::AccessDenied));
        }
        let Some(database) = self.component.databases.get(label) else {
            return Ok(Err(wit::Error::NoSuchDatabase));
        };
        match database.open() {
            Ok(mut connection) => {
                connection.faults = Some(self.faults.clone());
                Ok(Ok(self.table.push(connection)?))
            }
            Err(error) => Ok(Err(wit::Error::Io(error.to_string()))),
        }
    }
}

impl wit::Host for HostState {}

impl wit::HostConnection for HostState {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        self.open_database(&database)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> wasmtime::Result<Result<wit::QueryResult, wit::Error>> {
        let rows = self
            .table
            .get_mut(&connection)?
            .run(&statement, &parameters)
            .await;
        Ok(rows.map(|Rows { columns, rows }| wit::QueryResult {
            columns,
            rows: rows
                .into_iter()
                .map(|values| wit::RowResult { values })
                .collect(),
        }))
    }

    async fn last_insert_rowid(
        &mut self,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<i64> {
        Ok(self.table.get(&connection)?.last_insert_rowid())
    }

    async fn changes(&mut self, connection: Resource<Connection>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&connection)?.changes())
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send + 'static> wit::HostConnectionWithStore<T> for Capabilities {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        accessor.with(|mut access| access.get().open_database(&database))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> wasmtime::Result<Result<Outcome, wit::Error>> {
        // The connection leaves the table meanwhile, so that other calls of the instance can continue.
        let mut held = accessor.with(|mut access| {
            let held = access.get().table.get_mut(&connection)?;
            let gone = Connection {
                raw: None,
                database: held.database.clone(),
                turn: None,
                altered: false,
                wrote: false,
                faults: None,
            };
            wasmtime::error::Ok(std::mem::replace(held, gone))
        })?;
        let outcome = held.run(&statement, &parameters).await;
        accessor.with(|mut access| {
            *access.get().table.get_mut(&connection)? = held;
            let Rows { columns, rows } = match outcome {
                Ok(rows) => rows,
                Err(error) => return Ok(Err(error)),
            };
            let rows: Vec<wit::RowResult> = rows
                .into_iter()
                .map(|values| wit::RowResult { values })
                .collect();
            let stream = StreamReader::new(&mut access, rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, stream, end)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<i64> {
        accessor.with(|mut access| Ok(access.get().table.get(&connection)?.last_insert_rowid()))
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<u64> {
        accessor.with(|mut access| Ok(access.get().table.get(&connection)?.changes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap().block_on(future)
    }

    fn run(connection: &mut Connection, sql: &str, params: &[wit::Value]) -> Result<Rows, String> {
        now(connection.run(sql, params)).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_limit_in_a_parameter_does_not_prepare_its_statement_again() {
        let folder = std::env::temp_dir().join(format!("sqlite-limit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let database = Arc::new(Database::new(&folder.join("a.db"), Synchronous::Normal));
        let mut connection = database.open().unwrap();
        run(
            &mut connection,
            "CREATE TABLE t (x INTEGER PRIMARY KEY)",
            &[],
        )
        .unwrap();
        run(&mut connection, "INSERT INTO t VALUES (7), (8)", &[]).unwrap();
        let sql = "SELECT x FROM t ORDER BY x LIMIT ?1";
        for limit in [1, 2, 1] {
            let found = run(&mut connection, sql, &[wit::Value::Integer(limit)]).unwrap();
            assert_eq!(found.rows.len(), usize::try_from(limit).unwrap());
        }
        let raw = &connection.raw.as_ref().unwrap().connection;
        let statement = raw.prepare_cached(sql).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 3);
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        drop(statement);
        drop(connection);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_session_ends_with_its_guest() {
        let folder = std::env::temp_dir().join(format!("sqlite-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let database = Arc::new(Database::new(&folder.join("a.db"), Synchronous::Normal));
        let mut first = database.open().unwrap();
        run(&mut first, "CREATE TABLE t (x INTEGER PRIMARY KEY)", &[]).unwrap();
        run(&mut first, "INSERT INTO t VALUES (7), (8)", &[]).unwrap();
        assert_eq!((first.changes(), first.last_insert_rowid()), (2, 8));
        drop(first);
        let mut second = database.open().unwrap();
        assert_eq!((second.changes(), second.last_insert_rowid()), (0, 0));
        run(&mut second, "CREATE TEMP TABLE mine (x)", &[]).unwrap();
        run(&mut second, "PRAGMA cache_size = 7", &[]).unwrap();
        drop(second);
        let mut third = database.open().unwrap();
        assert!(run(&mut third, "SELECT * FROM mine", &[]).is_err());
        let size = run(&mut third, "PRAGMA cache_size", &[]).unwrap();
        assert!(
            !matches!(size.rows.as_slice(), [row] if matches!(row.as_slice(), [wit::Value::Integer(7)]))
        );
        drop(third);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn values_and_statements_that_do_not_fit_are_refused_in_words() {
        let database = Arc::new(Database::new(Path::new(":memory:"), Synchronous::Normal));
        let mut connection = database.open().unwrap();
        let one = [wit::Value::Integer(1)];
        for (sql, params, reason) in [
            (
                "SELECT ?1, ?2",
                &one[..],
                "the statement has 2 parameters, and 1 values were given",
            ),
            (
                "SELECT 1",
                &one,
                "the statement has 0 parameters, and 1 values were given",
            ),
            ("-- nothing\n/* at all */ ;", &[], "the statement is empty"),
            ("", &[], "the statement is empty"),
        ] {
            let refused = run(&mut connection, sql, params).err().unwrap();
            assert!(refused.contains(reason), "{sql}: {refused}");
        }
        assert!(run(&mut connection, "/* one */ SELECT ?1 -- two", &one).is_ok());
    }
}
