//! The databases of the native counterpart: SQLite files on the calling thread, with writers in turns as in the host; or Postgres over a
//! few connections per schema, with prepared statements and the statements of a transaction sent together.

use anyhow::Context as _;
use bytes::BytesMut;
use futures::future::try_join_all;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, TransactionBehavior, params_from_iter};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use tokio::sync::Semaphore;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, Statement};

/// Connections to Postgres per schema.
const CONNECTIONS: usize = 12;
/// The databases of the shop that are used.
const SCHEMAS: [&str; 5] = ["catalog", "order", "inventory", "payment", "key-value"];

/// A value of a row.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Text(String),
}

impl Cell {
    pub(super) fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            _ => 0,
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }
}

/// A statement with its parameters as text; the statement casts each of them.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) sql: &'static str,
    pub(super) with: Vec<Option<String>>,
}

pub(super) type Rows = Vec<Vec<Cell>>;

/// The location of the shop's tables.
pub(super) enum Database {
    Sqlite {
        folder: PathBuf,
        turns: [Mutex<()>; SCHEMAS.len()],
    },
    Postgres(HashMap<&'static str, Pool>),
}

impl Database {
    pub(super) fn sqlite(folder: PathBuf) -> Self {
        Self::Sqlite {
            folder,
            turns: Default::default(),
        }
    }

    pub(super) fn postgres(url: &str) -> Self {
        let pool = |schema| (schema, Pool::new(url, schema));
        Self::Postgres(SCHEMAS.into_iter().map(pool).collect())
    }

    /// Runs statements; returns the rows of the last one.
    pub(super) async fn run(
        &self,
        on: &str,
        transaction: bool,
        asked: &[Asked],
    ) -> anyhow::Result<Rows> {
        match self {
            Self::Postgres(pools) => {
                pools
                    .get(on)
                    .context("no such schema")?
                    .run(transaction, asked)
                    .await
            }
            Self::Sqlite { folder, turns } => {
                let (name, turn) = SCHEMAS
                    .into_iter()
                    .zip(turns)
                    .find(|(name, _)| *name == on)
                    .context("no such database")?;
                let _turn = transaction.then(|| turn.lock());
                with_file(folder, name, |connection| {
                    in_file(connection, transaction, asked)
                })
            }
        }
    }
}

thread_local! {
    static OPEN: RefCell<HashMap<&'static str, Connection>> = RefCell::default();
}

/// Calls `run` with this thread's connection to a file.
fn with_file<T>(
    folder: &std::path::Path,
    name: &'static str,
    run: impl FnOnce(&Connection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    OPEN.with_borrow_mut(|open| {
        let connection = match open.entry(name) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let connection = Connection::open(folder.join(format!("{name}.db")))?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
                connection.pragma_update(None, "synchronous", "NORMAL")?;
                connection.busy_timeout(std::time::Duration::from_secs(5))?;
                connection.set_prepared_statement_cache_capacity(64);
                entry.insert(connection)
            }
        };
        run(connection)
    })
}

fn in_file(connection: &Connection, transaction: bool, asked: &[Asked]) -> anyhow::Result<Rows> {
    let transaction = match transaction {
        true => Some(rusqlite::Transaction::new_unchecked(
            connection,
            TransactionBehavior::Immediate,
        )?),
        false => None,
    };
    let mut last = Rows::new();
    for one in asked {
        let mut statement = connection.prepare_cached(one.sql)?;
        let width = statement.column_count();
        let mut rows = statement.query(params_from_iter(&one.with))?;
        last.clear();
        while let Some(row) = rows.next()? {
            let cell = |at| -> rusqlite::Result<Cell> {
                Ok(match row.get_ref(at)? {
                    ValueRef::Integer(number) => Cell::Int(number),
                    ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
                    _ => Cell::Null,
                })
            };
            last.push((0..width).map(cell).collect::<Result<_, _>>()?);
        }
    }
    if let Some(transaction) = transaction {
        transaction.commit()?;
    }
    Ok(last)
}

/// A few connections to one schema.
pub(super) struct Pool {
    url: String,
    schema: &'static str,
    permits: Semaphore,
    idle: Mutex<Vec<Link>>,
}

struct Link {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Pool {
    fn new(url: &str, schema: &'static str) -> Self {
        let (url, permits) = (url.to_owned(), Semaphore::new(CONNECTIONS));
        Self {
            url,
            schema,
            permits,
            idle: Mutex::default(),
        }
    }

    async fn run(&self, transaction: bool, asked: &[Asked]) -> anyhow::Result<Rows> {
        let _permit = self.permits.acquire().await?;
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let mut link = match idle {
            Some(link) => link,
            None => self.connect().await?,
        };
        let rows = link.run(transaction && asked.len() > 1, asked).await?;
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(link);
        }
        Ok(rows)
    }

    async fn connect(&self) -> anyhow::Result<Link> {
        let mut config: tokio_postgres::Config = self.url.parse()?;
        config.options(format!("-c search_path=\"{}\"", self.schema));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(Link {
            client,
            statements: HashMap::new(),
        })
    }
}

impl Link {
    async fn run(&mut self, transaction: bool, asked: &[Asked]) -> anyhow::Result<Rows> {
        let control = |sql| Asked {
            sql,
            with: Vec::new(),
        };
        let (begin, commit) = (control("BEGIN"), control("COMMIT"));
        let all: Vec<&Asked> = match transaction {
            true => std::iter::once(&begin)
                .chain(asked)
                .chain([&commit])
                .collect(),
            false => asked.iter().collect(),
        };
        for one in &all {
            if !self.statements.contains_key(one.sql) {
                let statement = self.client.prepare(&one.sql.replace('?', "$")).await?;
                self.statements.insert(one.sql, statement);
            }
        }
        // The statements are sent together, and the server answers them in order.
        let sent = all.iter().map(async |one| {
            let statement = self.statements.get(one.sql).context("not prepared")?;
            let values: Vec<AsText<'_>> = one
                .with
                .iter()
                .map(|value| AsText(value.as_deref()))
                .collect();
            let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
            anyhow::Ok(self.client.query(statement, &values).await?)
        });
        let answers = try_join_all(sent).await?;
        let last = answers
            .len()
            .saturating_sub(if transaction { 2 } else { 1 });
        let rows = answers.into_iter().nth(last).unwrap_or_default();
        let cell = |row: &tokio_postgres::Row, at: usize| match row
            .columns()
            .get(at)
            .map(|column| column.type_())
        {
            Some(&Type::INT8) => row
                .try_get::<_, Option<i64>>(at)
                .map(|cell| cell.map_or(Cell::Null, Cell::Int)),
            Some(&Type::INT4) => row
                .try_get::<_, Option<i32>>(at)
                .map(|cell| cell.map_or(Cell::Null, |cell| Cell::Int(cell.into()))),
            _ => row
                .try_get::<_, Option<String>>(at)
                .map(|cell| cell.map_or(Cell::Null, Cell::Text)),
        };
        let row = |row: &tokio_postgres::Row| {
            (0..row.len())
                .map(|at| cell(row, at))
                .collect::<Result<_, _>>()
        };
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }
}

/// A parameter that is sent as text, whatever its type.
#[derive(Debug)]
struct AsText<'a>(Option<&'a str>);

impl ToSql for AsText<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match self.0 {
            None => IsNull::Yes,
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
