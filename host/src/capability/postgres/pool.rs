//! Connections to Postgres servers: kept per core and address, under one cap over all, clean when somebody else gets them.

use crate::limits;
use prometheus::IntCounter;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, Config, NoTls, Statement};

/// All connections of the host to Postgres servers.
pub struct Postgres {
    most: usize,
    /// One permit per connection that may be open.
    permits: Arc<Semaphore>,
    /// Rung when a connection is given back or closed.
    freed: Arc<Notify>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    core: ThreadId,
    address: Arc<str>,
    connection: PooledConnection,
    since: Instant,
}

/// A connection that somebody uses, or will use again.
pub(super) struct PooledConnection {
    pub(super) client: Arc<Client>,
    statements: HashMap<String, Statement>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoConnection {
    #[error("the server does not answer: {0}")]
    Unreachable(tokio_postgres::Error),
    #[error("the server does not answer within {0:?}")]
    Silent(Duration),
    #[error("all connections are in use; none came free within {0:?}")]
    AllInUse(Duration),
    #[error("this component holds as many connections as it may; it gave none back within {0:?}")]
    ShareInUse(Duration),
}

impl Postgres {
    /// A pool of at most `most` connections.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            permits: Arc::new(Semaphore::new(most)),
            freed: Arc::default(),
            idle: Mutex::default(),
        }
    }

    /// How many of the connections one component may hold.
    pub fn share(&self) -> Share {
        let share = (self.most / limits::POSTGRES_SHARE_DIVISOR).max(limits::POSTGRES_MIN_SHARE);
        Share(Arc::new(Semaphore::new(share.min(self.most))))
    }

    /// A connection to the address: one that was used before on this core, or a new one when there may be one.
    pub(super) async fn take(
        self: &Arc<Self>,
        address: &Arc<str>,
        config: &Config,
    ) -> Result<PooledConnection, NoConnection> {
        let give_up = tokio::time::Instant::now() + limits::POSTGRES_ACQUIRE_TIMEOUT;
        loop {
            // Asked for before looking, so that what comes free in between is not missed.
            let freed = self.freed.notified();
            if let Some(connection) = self.idle_of(address) {
                return Ok(connection);
            }
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                return self.connect(config, permit).await;
            }
            self.close_oldest_idle();
            if tokio::time::timeout_at(give_up, freed).await.is_err() {
                return Err(NoConnection::AllInUse(limits::POSTGRES_ACQUIRE_TIMEOUT));
            }
        }
    }

    fn idle_of(&self, address: &Arc<str>) -> Option<PooledConnection> {
        let core = std::thread::current().id();
        let mut idle = self.idle.lock().ok()?;
        // Those that were given back first are the first to be too old.
        let is_old = |one: &Idle| one.since.elapsed() >= limits::POSTGRES_IDLE_TIMEOUT;
        let old = idle.iter().take_while(|one| is_old(one)).count();
        idle.drain(..old);
        loop {
            let place = idle
                .iter()
                .rposition(|one| one.core == core && one.address == *address)?;
            let connection = idle.remove(place).connection;
            if !connection.client.is_closed() {
                return Some(connection);
            }
        }
    }

    /// Makes room: a connection that nobody uses goes, for whoever waits for one to another address or on another core.
    fn close_oldest_idle(&self) {
        if let Ok(mut idle) = self.idle.lock()
            && !idle.is_empty()
        {
            idle.remove(0);
        }
    }

    async fn connect(
        &self,
        config: &Config,
        permit: OwnedSemaphorePermit,
    ) -> Result<PooledConnection, NoConnection> {
        let connecting =
            tokio::time::timeout(limits::SERVER_CONNECT_TIMEOUT, config.connect(NoTls));
        let connected = match connecting.await {
            Ok(connected) => connected.map_err(NoConnection::Unreachable),
            Err(_) => Err(NoConnection::Silent(limits::SERVER_CONNECT_TIMEOUT)),
        };
        let (client, connection) = match connected {
            Ok(made) => made,
            Err(error) => {
                drop(permit);
                self.freed.notify_one();
                return Err(error);
            }
        };
        let freed = self.freed.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a Postgres connection ended");
            }
            drop(permit);
            freed.notify_one();
        });
        Ok(PooledConnection {
            client: Arc::new(client),
            statements: HashMap::new(),
        })
    }

    /// Keeps a connection for the next guest of this core. It must be outside of a transaction and as new.
    pub(super) fn give_back(&self, address: Arc<str>, connection: PooledConnection) {
        if !connection.client.is_closed()
            && let Ok(mut idle) = self.idle.lock()
        {
            idle.push(Idle {
                core: std::thread::current().id(),
                address,
                connection,
                since: Instant::now(),
            });
        }
        self.freed.notify_one();
    }
}

/// One permit per connection that a component may hold at once.
#[derive(Clone)]
pub struct Share(Arc<Semaphore>);

impl Share {
    /// A place among them, for as long as it is kept. Having to wait for one is counted.
    pub(super) async fn take(
        &self,
        waits: &IntCounter,
    ) -> Result<OwnedSemaphorePermit, NoConnection> {
        if let Ok(permit) = self.0.clone().try_acquire_owned() {
            return Ok(permit);
        }
        waits.inc();
        let waiting = self.0.clone().acquire_owned();
        match tokio::time::timeout(limits::POSTGRES_ACQUIRE_TIMEOUT, waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(NoConnection::ShareInUse(limits::POSTGRES_ACQUIRE_TIMEOUT)),
        }
    }
}

impl PooledConnection {
    /// Whether the statement is prepared on this connection.
    pub(super) fn knows(&self, sql: &str) -> bool {
        self.statements.contains_key(sql)
    }

    /// The statement, prepared on this connection once.
    pub(super) async fn prepared(&mut self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        if self.statements.len() >= limits::POSTGRES_STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Forgets a statement that the server cannot use any more, as after a migration.
    pub(super) fn forget(&mut self, sql: &str) {
        self.statements.remove(sql);
    }
}
