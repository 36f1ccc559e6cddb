//! A guest's handle: when it holds a connection, how its statements are sent, and what happens to the connection
//! afterwards.

use super::pool::{InUse, NoConnection, PooledConnection};
use super::server::Server;
use super::values;
use crate::capability::postgres::bindings::spin::postgres::postgres as wit;
use crate::capability::state::LoadedComponent;
use crate::connect::NoServer;
use crate::fault::{Capability, InstanceFaults};
use crate::limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A guest's handle. Concurrent statements are sent at once, in the order of the calls.
#[derive(Clone)]
pub struct Connection {
    component: Arc<LoadedComponent>,
    /// The faults that apply to this instance.
    faults: InstanceFaults,
    server: Server,
    /// Locked while a statement is sent, not while it runs.
    session: Arc<Mutex<Session>>,
    /// Set when a statement was cancelled, so that its effect on the server is unknown.
    given_up: Arc<AtomicBool>,
}

/// The connection of a handle, and its state.
struct Session {
    state: State,
    /// Statements that were sent and are not answered yet.
    running: usize,
    /// Whether the connection has state that the next guest must not inherit, such as a `SET` or a temporary table.
    altered: bool,
}

/// The connection that a handle holds.
enum State {
    /// None: the next statement takes a connection.
    Free,
    /// None yet: the next statement starts a transaction, and BEGIN is sent together with it.
    Begun,
    /// A connection outside a transaction: statements are running, or it has state.
    Kept(Lease),
    /// A connection in a transaction.
    InTransaction(Lease),
    /// The connection was lost together with a transaction or state.
    Lost,
}

/// A connection, counted as in use.
struct Lease {
    connection: PooledConnection,
    in_use: InUse,
}

/// The lasting effect of a statement on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    Begins,
    Ends,
    Alters,
}

/// Why a statement failed.
enum StatementError {
    Driver(tokio_postgres::Error),
    TooLarge,
}

impl From<tokio_postgres::Error> for StatementError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

/// The result of a statement.
pub(in crate::capability) struct Answer {
    pub(in crate::capability) columns: Vec<wit::Column>,
    pub(in crate::capability) rows: Vec<Vec<wit::DbValue>>,
    pub(in crate::capability) changed: u64,
}

impl Connection {
    /// Opens a handle. Checks that the server accepts a connection, which the first statement then uses.
    pub(super) async fn open(
        component: Arc<LoadedComponent>,
        faults: InstanceFaults,
        server: Server,
    ) -> Result<Self, wit::Error> {
        let session = Session {
            state: State::Free,
            running: 0,
            altered: false,
        };
        let connection = Self {
            component,
            faults,
            server,
            session: Arc::new(Mutex::new(session)),
            given_up: Arc::default(),
        };
        connection.inject_fault().await?;
        let mut session = connection.session.lock().await;
        connection.have_lease(&mut session).await?;
        connection.settle(&mut session, false);
        drop(session);
        Ok(connection)
    }

    /// Injected faults look like a server that cannot be reached.
    async fn inject_fault(&self) -> Result<(), wit::Error> {
        let injected = self.faults.inject(Capability::Postgres).await;
        injected.map_err(|injected| wit::Error::ConnectionFailed(injected.to_string()))
    }

    /// Runs one statement.
    pub(in crate::capability) async fn run(
        &self,
        sql: &str,
        params: &[wit::ParameterValue],
    ) -> Result<Answer, wit::Error> {
        self.inject_fault().await?;
        let effect = effect(sql);
        let params = params.iter().map(values::parameter);
        let params = params
            .collect::<Result<Vec<_>, _>>()
            .map_err(wit::Error::BadParameter)?;
        let mut session = self.session.lock().await;
        match (&session.state, effect) {
            (State::Free, Effect::Begins) if is_plain_begin(sql) => {
                session.state = State::Begun;
                return Ok(Answer::none());
            }
            (State::Begun, Effect::Ends) => {
                session.state = State::Free;
                return Ok(Answer::none());
            }
            _ => {}
        }
        let begins = matches!(session.state, State::Begun);
        self.have_lease(&mut session).await?;
        let Some(lease) = session.lease() else {
            return Err(lost());
        };
        let client = lease.connection.client.clone();
        let mut running = Running {
            client: Some(client.clone()),
            connector: lease.connection.connector.clone(),
            given_up: self.given_up.clone(),
        };
        let give_up = tokio::time::Instant::now() + limits::POSTGRES_STATEMENT_TIMEOUT;
        // A statement that cannot be prepared must fail inside the transaction, so the transaction is started first.
        let begins_before = begins && !lease.connection.knows(sql);
        let prepared = async {
            if begins_before {
                client.batch_execute("BEGIN").await?;
            }
            lease.connection.prepared(sql).await
        };
        let prepared = tokio::time::timeout_at(give_up, prepared).await;
        let sent = match prepared {
            Ok(Ok(statement)) => {
                let with_begin = begins && !begins_before;
                let mut sent = Box::pin(execute(client.clone(), with_begin, statement, params));
                // Polling the future once sends the statement.
                let at_once = futures::poll!(sent.as_mut());
                Ok((sent, at_once))
            }
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(None),
        };
        if effect == Effect::Begins || begins {
            session.state = match std::mem::replace(&mut session.state, State::Lost) {
                State::Kept(lease) => State::InTransaction(lease),
                other => other,
            };
        }
        session.running += 1;
        drop(session);
        let result = match sent {
            Ok((_, Poll::Ready(result))) => Ok(result),
            Ok((sent, Poll::Pending)) => tokio::time::timeout_at(give_up, sent).await.map_err(drop),
            Err(Some(error)) => Ok(Err(StatementError::Driver(error))),
            Err(None) => Err(()),
        };
        let stopped = |text: String| wit::Error::QueryFailed(wit::QueryError::Text(text));
        let result = match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(StatementError::Driver(error))) => Err(error),
            Ok(Err(StatementError::TooLarge)) => {
                return Err(stopped("the result is larger than 128 MiB".to_owned()));
            }
            Err(()) => {
                let limit = limits::POSTGRES_STATEMENT_TIMEOUT;
                return Err(stopped(format!(
                    "the statement did not end within {limit:?} and was cancelled"
                )));
            }
        };
        running.client = None;
        let mut session = self.session.lock().await;
        session.running -= 1;
        let result = result.map_err(|error| {
            if matches!(code_of(&error), Some("0A000" | "26000"))
                && let Some(lease) = session.lease()
            {
                lease.connection.forget(sql);
            }
            failed(&error, client.is_closed())
        });
        let in_transaction = match (&session.state, &result, effect) {
            (State::InTransaction(_), Ok(_), Effect::Ends) => false,
            (state, ..) => matches!(state, State::InTransaction(_)),
        };
        session.altered |= result.is_ok() && effect == Effect::Alters;
        self.settle(&mut session, in_transaction);
        result
    }

    /// Takes a connection if the handle has none.
    async fn have_lease(&self, session: &mut Session) -> Result<(), wit::Error> {
        if self.given_up.load(Ordering::Relaxed) {
            session.state = State::Lost;
        }
        if let State::Free | State::Begun = session.state {
            // If the transaction cannot be started, the next statement must not run without it.
            let begun = matches!(session.state, State::Begun);
            session.state = match self.lease().await {
                Ok(lease) => State::Kept(lease),
                Err(error) => {
                    session.state = if begun { State::Lost } else { State::Free };
                    return Err(error);
                }
            };
        }
        Ok(())
    }

    /// Decides what happens to the connection after a statement.
    fn settle(&self, session: &mut Session, in_transaction: bool) {
        let lease = match std::mem::replace(&mut session.state, State::Lost) {
            State::Kept(lease) | State::InTransaction(lease) => lease,
            other => {
                session.state = other;
                return;
            }
        };
        session.state = if self.given_up.load(Ordering::Relaxed) {
            State::Lost
        } else if lease.connection.client.is_closed() {
            // Closing the connection loses only an open transaction or session state.
            if in_transaction || session.altered {
                State::Lost
            } else {
                State::Free
            }
        } else if in_transaction {
            State::InTransaction(lease)
        } else if session.altered || session.running > 0 {
            State::Kept(lease)
        } else {
            let pool = &self.component.servers.postgres;
            pool.give_back(&self.server.name, lease.connection);
            drop(lease.in_use);
            State::Free
        };
    }

    /// Takes a connection, waiting until one is available.
    async fn lease(&self) -> Result<Lease, wit::Error> {
        let component = &self.component;
        let taken = async {
            let (member, limited) = (&component.postgres, &component.metrics.limited_connections);
            let pool = &component.servers.postgres;
            let (connection, in_use) = pool.take(member, &self.server, limited).await?;
            Ok(Lease { connection, in_use })
        };
        taken.await.map_err(|error| {
            if matches!(error, NoConnection::ShareInUse(_)) {
                tracing::warn!(component = %component.id, "a component has used up its share of Postgres connections");
            }
            let cause = match &error {
                NoConnection::Server(NoServer::Unreachable(cause)) => std::error::Error::source(cause),
                _ => None,
            };
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            wit::Error::ConnectionFailed(format!("{error}{cause}"))
        })
    }
}

impl Session {
    fn lease(&mut self) -> Option<&mut Lease> {
        match &mut self.state {
            State::Kept(lease) | State::InTransaction(lease) => Some(lease),
            _ => None,
        }
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

/// A running statement. If it is dropped early, the server is asked to cancel it, and the connection is not reused.
struct Running {
    client: Option<Arc<Client>>,
    connector: MakeRustlsConnect,
    given_up: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.given_up.store(true, Ordering::Relaxed);
            let cancel = client.cancel_token();
            let connector = self.connector.clone();
            let cancelling = async move {
                let told = cancel.cancel_query(connector);
                // A server that cannot be reached runs nothing.
                let _ = tokio::time::timeout(limits::SERVER_CONNECT_TIMEOUT, told).await;
                drop(client);
            };
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(cancelling);
            }
        }
    }
}

type Parameter = Box<dyn tokio_postgres::types::ToSql + Sync + Send>;

async fn execute(
    client: Arc<Client>,
    begins: bool,
    statement: Statement,
    params: Vec<Parameter>,
) -> Result<Answer, StatementError> {
    use futures::TryStreamExt as _;
    let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = params
        .iter()
        .map(|param| param.as_ref() as &(dyn tokio_postgres::types::ToSql + Sync))
        .collect();
    let rows = client.query_raw(&statement, params);
    let rows = if begins {
        // Both are sent together, in this order.
        futures::future::try_join(client.batch_execute("BEGIN"), rows)
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
            return Err(StatementError::TooLarge);
        }
        let values = (0..row.len()).map(|column| {
            row.try_get::<_, values::GuestValue>(column)
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

/// Whether a BEGIN has no options, so that it cannot fail and may be sent with the first statement.
fn is_plain_begin(sql: &str) -> bool {
    sql.trim()
        .trim_end_matches(';')
        .eq_ignore_ascii_case("BEGIN")
}

/// The effect of a statement, from its first words. A prepared statement is a single command, so the words cannot hide
/// another one.
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
            // Functions that change the session, wherever they are called.
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

/// Converts an error for the guest. It distinguishes errors of the connection, of the values and of the statement.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effect_of_a_statement_follows_from_its_first_words() {
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
