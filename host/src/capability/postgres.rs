//! `spin:postgres@4.2`: pooled connections with prepared statements, and transactions that cannot leak.
//!
//! In reading order: this file (the interface), [`pool`] (connections), `values` (types). A guest's handle holds a connection while a
//! statement runs, from the first statement of a transaction to its end, and for good once it told the connection something that the
//! next guest must not inherit. When the handle goes while a transaction is open or a statement runs, the connection goes too, and the
//! server rolls back.

#![expect(clippy::result_large_err, reason = "the error is the interface's own")]

pub mod pool;
mod values;

use super::Capabilities;
use super::bindings::spin::postgres::postgres as wit;
use crate::limits;
use crate::state::{HostState, LoadedComponent};
use pool::{Link, NoConnection};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// A guest's handle.
pub struct Connection {
    component: Arc<LoadedComponent>,
    address: Arc<str>,
    config: Arc<Config>,
    state: State,
    /// Whether the connection was told something that the next guest must not inherit, as `SET` or a temporary table.
    altered: bool,
}

/// What a handle holds.
enum State {
    /// Nothing: the next statement takes a connection.
    Free,
    /// Nothing yet: the next statement begins a transaction, in the same flight.
    Begun,
    /// A connection outside of a transaction, for the sake of what it was told.
    Kept(Lease),
    /// A connection in a transaction.
    InTransaction(Lease),
    /// Its connection was lost with a transaction in it; or a statement runs.
    Lost,
}

/// A connection, and its place among those that its component may hold.
struct Lease {
    link: Link,
    share: OwnedSemaphorePermit,
}

/// A connection that is being described.
pub struct ConnectionBuilder {
    address: String,
}

/// What a statement does to its connection, as far as that outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    Begins,
    Ends,
    Alters,
}

/// Why a statement came to nothing.
enum Stopped {
    Driver(tokio_postgres::Error),
    TooLarge,
}

impl From<tokio_postgres::Error> for Stopped {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

/// What a statement answers.
pub(super) struct Answer {
    pub(super) columns: Vec<wit::Column>,
    pub(super) rows: Vec<Vec<wit::DbValue>>,
    pub(super) changed: u64,
}

impl Connection {
    /// Runs one statement. While it runs the connection is not here, so that dropping this future drops both.
    pub(super) async fn run(
        &mut self,
        sql: &str,
        params: &[wit::ParameterValue],
    ) -> Result<Answer, wit::Error> {
        let effect = effect(sql);
        match (&self.state, effect) {
            (State::Free, Effect::Begins) if is_plain_begin(sql) => {
                self.state = State::Begun;
                return Ok(Answer::none());
            }
            (State::Begun, Effect::Ends) => {
                self.state = State::Free;
                return Ok(Answer::none());
            }
            _ => {}
        }
        let params = params.iter().map(values::parameter);
        let params = params
            .collect::<Result<Vec<_>, _>>()
            .map_err(wit::Error::BadParameter)?;
        let begins = matches!(self.state, State::Begun);
        let before = std::mem::replace(&mut self.state, State::Lost);
        let was_in_transaction = begins || matches!(before, State::InTransaction(_));
        let Lease { link, share } = match before {
            State::Kept(lease) | State::InTransaction(lease) => lease,
            State::Lost => return Err(lost()),
            State::Free | State::Begun => match self.lease().await {
                Ok(lease) => lease,
                Err(error) => {
                    self.state = State::Free;
                    return Err(error);
                }
            },
        };
        let mut running = Running { link: Some(link) };
        let result = tokio::time::timeout(
            limits::POSTGRES_STATEMENT,
            execute(
                running.link.as_mut().ok_or_else(lost)?,
                begins,
                sql,
                &params,
            ),
        )
        .await;
        let given_up = |text: String| Err(wit::Error::QueryFailed(wit::QueryError::Text(text)));
        let result = match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Stopped::Driver(error))) => Err(error),
            Ok(Err(Stopped::TooLarge)) => {
                return given_up("the result is larger than 128 MiB".to_owned());
            }
            Err(_) => {
                let limit = limits::POSTGRES_STATEMENT;
                return given_up(format!(
                    "the statement did not end within {limit:?} and was cancelled"
                ));
            }
        };
        let mut link = running.link.take().ok_or_else(lost)?;
        let result = result.map_err(|error| {
            if matches!(code_of(&error), Some("0A000" | "26000")) {
                link.forget(sql);
            }
            failed(&error, link.client.is_closed())
        });
        let is_in_transaction = match (&result, effect) {
            (Ok(_), Effect::Begins) => true,
            (Ok(_), Effect::Ends) => false,
            _ => was_in_transaction,
        };
        self.altered |= result.is_ok() && effect == Effect::Alters;
        self.keep(Lease { link, share }, is_in_transaction);
        result
    }

    /// What becomes of a connection after a statement.
    fn keep(&mut self, lease: Lease, in_transaction: bool) {
        self.state = if lease.link.client.is_closed() {
            // Nothing is lost with it but what a transaction did, or what the session was told.
            if in_transaction || self.altered {
                State::Lost
            } else {
                State::Free
            }
        } else if in_transaction {
            State::InTransaction(lease)
        } else if self.altered {
            State::Kept(lease)
        } else {
            let pool = &self.component.servers.postgres;
            pool.give_back(self.address.clone(), lease.link);
            State::Free
        };
    }

    /// Takes a connection, as soon as there may be one.
    async fn lease(&self) -> Result<Lease, wit::Error> {
        let component = &self.component;
        let taken = async {
            let limited = &component.metrics.limited_connections;
            let share = component.postgres_share.take(limited).await?;
            let pool = &component.servers.postgres;
            let link = pool.take(&self.address, &self.config).await?;
            Ok(Lease { link, share })
        };
        taken.await.map_err(|error| {
            if matches!(error, NoConnection::ShareInUse(_)) {
                tracing::warn!(component = %component.id, "a component holds as many Postgres connections as it may");
            }
            let cause = match &error {
                NoConnection::Unreachable(cause) => std::error::Error::source(cause),
                _ => None,
            };
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            wit::Error::ConnectionFailed(format!("{error}{cause}"))
        })
    }
}

impl Answer {
    fn none() -> Self {
        Self {
            columns: Vec::new(),
            rows: Vec::new(),
            changed: 0,
        }
    }
}

/// A statement that runs. If it is given up, the server is told to stop.
struct Running {
    link: Option<Link>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            let cancel = link.client.cancel_token();
            let cancelling = async move {
                let told = cancel.cancel_query(tokio_postgres::NoTls);
                // A server that is gone runs nothing.
                let _ = tokio::time::timeout(limits::SERVER_CONNECT, told).await;
                drop(link);
            };
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(cancelling);
            }
        }
    }
}

async fn execute(
    link: &mut Link,
    begins: bool,
    sql: &str,
    params: &[Box<dyn tokio_postgres::types::ToSql + Sync + Send>],
) -> Result<Answer, Stopped> {
    use futures::TryStreamExt as _;
    let statement = link.prepared(sql).await?;
    let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = params
        .iter()
        .map(|param| param.as_ref() as &(dyn tokio_postgres::types::ToSql + Sync))
        .collect();
    let rows = link.client.query_raw(&statement, params);
    let rows = if begins {
        // In one flight: what is asked first is sent first.
        futures::future::try_join(link.client.batch_execute("BEGIN"), rows)
            .await?
            .1
    } else {
        rows.await?
    };
    let mut rows = std::pin::pin!(rows);
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += row.raw_size_bytes();
        if bytes > limits::POSTGRES_RESULT_BYTES {
            return Err(Stopped::TooLarge);
        }
        let values = (0..row.len()).map(|column| {
            row.try_get::<_, values::Lifted>(column)
                .map(|value| value.0)
        });
        found.push(values.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(Answer {
        columns: statement.columns().iter().map(values::column).collect(),
        rows: found,
        changed: rows.rows_affected().unwrap_or_default(),
    })
}

/// A beginning that can wait for the first statement, as nothing can be wrong with it.
fn is_plain_begin(sql: &str) -> bool {
    sql.trim()
        .trim_end_matches(';')
        .eq_ignore_ascii_case("BEGIN")
}

/// What the first words of a statement say. A prepared statement is always one command, so nothing hides behind them.
fn effect(sql: &str) -> Effect {
    let upper = sql.trim_start().to_ascii_uppercase();
    let mut words = upper.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let first = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.filter(|word| !word.is_empty()).take(3).collect();
    match first {
        "BEGIN" | "START" => Effect::Begins,
        "ROLLBACK" if rest.contains(&"TO") => Effect::None,
        "COMMIT" | "END" | "ROLLBACK" | "ABORT"
            if rest.contains(&"CHAIN") && !rest.contains(&"NO") =>
        {
            Effect::Begins
        }
        "COMMIT" | "END" | "ROLLBACK" | "ABORT" => Effect::Ends,
        "SAVEPOINT" | "RELEASE" => Effect::None,
        "SELECT" | "WITH" | "VALUES" | "TABLE" => {
            // The functions that change a session, whatever calls them.
            let session = ["SET_CONFIG", "ADVISORY", "SETSEED", "DBLINK"];
            if session.iter().any(|name| upper.contains(name)) {
                Effect::Alters
            } else {
                Effect::None
            }
        }
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" => Effect::None,
        _ => Effect::Alters,
    }
}

fn code_of(error: &tokio_postgres::Error) -> Option<&str> {
    error.code().map(|code| code.code())
}

fn lost() -> wit::Error {
    wit::Error::ConnectionFailed("the connection to the server was lost".to_owned())
}

/// The error as guests see it. Whoever caused it is told apart: the connection, the values, or the statement.
fn failed(error: &tokio_postgres::Error, closed: bool) -> wit::Error {
    if let Some(db) = error.as_db_error() {
        let extra = |name: &str, value: Option<&str>| Some((name.to_owned(), value?.to_owned()));
        let extras = [
            extra("hint", db.hint()),
            extra("schema", db.schema()),
            extra("table", db.table()),
            extra("column", db.column()),
            extra("datatype", db.datatype()),
            extra("constraint", db.constraint()),
        ];
        return wit::Error::QueryFailed(wit::QueryError::DbError(wit::DbError {
            as_text: db.to_string(),
            severity: db.severity().to_owned(),
            code: db.code().code().to_owned(),
            message: db.message().to_owned(),
            detail: db.detail().map(str::to_owned),
            extras: extras.into_iter().flatten().collect(),
        }));
    }
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let text = match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    let kind = error.to_string();
    if closed || error.is_closed() || kind.starts_with("error communicating") {
        wit::Error::ConnectionFailed(text)
    } else if kind.starts_with("error serializing") {
        wit::Error::BadParameter(text)
    } else if kind.starts_with("error deserializing") {
        wit::Error::ValueConversionFailed(text)
    } else {
        wit::Error::QueryFailed(wit::QueryError::Text(text))
    }
}

/// Reads an address and checks every server that it may lead to, by name and by number.
fn permitted(state: &HostState, address: &str) -> Result<Config, wit::Error> {
    let config: Config = address.parse().map_err(|error| {
        wit::Error::ConnectionFailed(format!("the address is not valid: {error}"))
    })?;
    let port_of = |place: usize| {
        let ports = config.get_ports();
        let port = if ports.len() == 1 {
            ports.first()
        } else {
            ports.get(place)
        };
        port.copied().unwrap_or(5432)
    };
    let mut servers = Vec::new();
    for (place, host) in config.get_hosts().iter().enumerate() {
        match host {
            Host::Tcp(name) => servers.push((name.clone(), port_of(place))),
            #[cfg(unix)]
            Host::Unix(path) => servers.push((path.display().to_string(), port_of(place))),
        }
    }
    for (place, number) in config.get_hostaddrs().iter().enumerate() {
        servers.push((number.to_string(), port_of(place)));
    }
    if servers.is_empty() {
        servers.push(("localhost".to_owned(), port_of(0)));
    }
    let refused = servers.iter().find(|(host, port)| {
        let allowed = &state.component.allowed_hosts;
        !allowed
            .iter()
            .any(|one| one.allows("postgres", host, *port))
    });
    if let Some((host, port)) = refused {
        return Err(wit::Error::ConnectionFailed(format!(
            "address postgres://{host}:{port} is not permitted"
        )));
    }
    if config.get_ssl_mode() == SslMode::Require {
        return Err(wit::Error::ConnectionFailed(
            "this host does not speak TLS to Postgres yet; reach the server over a private network"
                .to_owned(),
        ));
    }
    Ok(config)
}

/// A handle; the server is asked for a connection, which the next statement finds.
async fn open(
    component: Arc<LoadedComponent>,
    address: String,
    config: Config,
) -> Result<Connection, wit::Error> {
    let (address, config) = (address.into(), Arc::new(config));
    let mut connection = Connection {
        component,
        address,
        config,
        state: State::Free,
        altered: false,
    };
    let lease = connection.lease().await?;
    connection.keep(lease, false);
    Ok(connection)
}

impl HostState {
    pub(super) async fn open_postgres(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let config = match permitted(self, &address) {
            Ok(config) => config,
            Err(error) => return Ok(Err(error)),
        };
        match open(self.component.clone(), address, config).await {
            Ok(connection) => self.keep_postgres(connection),
            Err(error) => Ok(Err(error)),
        }
    }

    fn keep_postgres(
        &mut self,
        connection: Connection,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        if self.postgres_handles >= limits::POSTGRES_HANDLES {
            let refused = "this instance has too many open connections".to_owned();
            return Ok(Err(wit::Error::ConnectionFailed(refused)));
        }
        self.postgres_handles += 1;
        Ok(Ok(self.table.push(connection)?))
    }

    pub(super) fn close_postgres(
        &mut self,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.postgres_handles = self.postgres_handles.saturating_sub(1);
        Ok(())
    }
}

async fn open_async<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    address: String,
) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
    let permitted = accessor.with(|mut access| {
        let state = access.get();
        permitted(state, &address).map(|config| (state.component.clone(), config))
    });
    let (component, config) = match permitted {
        Ok(permitted) => permitted,
        Err(error) => return Ok(Err(error)),
    };
    match open(component, address, config).await {
        Ok(connection) => accessor.with(|mut access| access.get().keep_postgres(connection)),
        Err(error) => Ok(Err(error)),
    }
}

/// Runs a statement while the instance's other calls go on: the connection leaves the table for as long.
async fn run_async<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    connection: &Resource<Connection>,
    sql: &str,
    params: &[wit::ParameterValue],
) -> wasmtime::Result<Result<Answer, wit::Error>> {
    let mut held = accessor.with(|mut access| {
        let held = access.get().table.get_mut(connection)?;
        let gone = Connection {
            component: held.component.clone(),
            address: held.address.clone(),
            config: held.config.clone(),
            state: State::Lost,
            altered: false,
        };
        wasmtime::error::Ok(std::mem::replace(held, gone))
    })?;
    let answer = held.run(sql, params).await;
    accessor.with(|mut access| {
        *access.get().table.get_mut(connection)? = held;
        Ok(answer)
    })
}

impl wit::Host for HostState {}

impl wit::HostConnectionBuilder for HostState {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<ConnectionBuilder>> {
        Ok(self.table.push(ConnectionBuilder { address })?)
    }

    async fn set_ca_root(
        &mut self,
        _: Resource<ConnectionBuilder>,
        _: String,
    ) -> wasmtime::Result<Result<(), wit::Error>> {
        Ok(Err(wit::Error::Other(
            "this host does not speak TLS to Postgres yet".to_owned(),
        )))
    }

    async fn build(
        &mut self,
        builder: Resource<ConnectionBuilder>,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let address = self.table.get(&builder)?.address.clone();
        self.open_postgres(address).await
    }

    async fn drop(&mut self, builder: Resource<ConnectionBuilder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}

impl<T: Send + 'static> wit::HostConnectionBuilderWithStore<T> for Capabilities {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<ConnectionBuilder>,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let address = accessor.with(|mut access| {
            wasmtime::error::Ok(access.get().table.get(&builder)?.address.clone())
        })?;
        open_async(accessor, address).await
    }
}

impl wit::HostConnection for HostState {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        self.open_postgres(address).await
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> wasmtime::Result<Result<wit::RowSet, wit::Error>> {
        let answer = self
            .table
            .get_mut(&connection)?
            .run(&statement, &params)
            .await;
        Ok(answer.map(|answer| wit::RowSet {
            columns: answer.columns,
            rows: answer.rows,
        }))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, wit::Error>> {
        let answer = self
            .table
            .get_mut(&connection)?
            .run(&statement, &params)
            .await;
        Ok(answer.map(|answer| answer.changed))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_postgres(connection)
    }
}

type Outcome = (
    Vec<wit::Column>,
    StreamReader<wit::Row>,
    FutureReader<Result<(), wit::Error>>,
);

impl<T: Send + 'static> wit::HostConnectionWithStore<T> for Capabilities {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        open_async(accessor, address).await
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> wasmtime::Result<Result<Outcome, wit::Error>> {
        let answer = run_async(accessor, &connection, &statement, &params).await?;
        accessor.with(|mut access| {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return Ok(Err(error)),
            };
            let stream = StreamReader::new(&mut access, answer.rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((answer.columns, stream, end)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, wit::Error>> {
        let answer = run_async(accessor, &connection, &statement, &params).await?;
        Ok(answer.map(|answer| answer.changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_outlives_a_statement_is_seen_in_its_first_words() {
        for (sql, expected) in [
            ("SELECT 1", Effect::None),
            ("  begin isolation level serializable", Effect::Begins),
            ("START TRANSACTION", Effect::Begins),
            ("COMMIT", Effect::Ends),
            ("COMMIT AND CHAIN", Effect::Begins),
            ("COMMIT AND NO CHAIN", Effect::Ends),
            ("ROLLBACK TO SAVEPOINT a", Effect::None),
            ("ROLLBACK WORK TO a", Effect::None),
            ("rollback;", Effect::Ends),
            ("INSERT INTO a VALUES (1)", Effect::None),
            ("SET search_path = a", Effect::Alters),
            ("SELECT set_config('a.b', 'c', false)", Effect::Alters),
            ("SELECT pg_advisory_lock(1)", Effect::Alters),
            ("CREATE TEMP TABLE a (b INT)", Effect::Alters),
            ("/* a */ SELECT 1", Effect::Alters),
            ("", Effect::Alters),
        ] {
            assert_eq!(effect(sql), expected, "{sql}");
        }
    }
}
