//! Connections to Postgres servers: pooled per core and address, with one limit for all, and reset before another guest
//! gets them.

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
    /// Notified when a connection is returned or closed.
    freed: Arc<Notify>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    core: ThreadId,
    address: Arc<str>,
    connection: PooledConnection,
    since: Instant,
}

/// A connection in use or in the pool.
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
    #[error("all connections are in use; none was returned within {0:?}")]
    AllInUse(Duration),
    #[error("this component has used up its share of connections and returned none within {0:?}")]
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

    /// The number of connections that one component may hold.
    pub fn share(&self) -> Share {
        let share = (self.most / limits::POSTGRES_SHARE_DIVISOR).max(limits::POSTGRES_MIN_SHARE);
        Share(Arc::new(Semaphore::new(share.min(self.most))))
    }

    /// Takes a connection to an address: an idle one of this core, or a new one as soon as the limit allows.
    pub(super) async fn take(
        self: &Arc<Self>,
        address: &Arc<str>,
        config: &Config,
    ) -> Result<PooledConnection, NoConnection> {
        let give_up = tokio::time::Instant::now() + limits::POSTGRES_ACQUIRE_TIMEOUT;
        loop {
            // Register before looking, so that a connection returned in between is not missed.
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
        // Connections are in the order of their return, so the oldest come first.
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

    /// Closes the connection that has been idle longest, to make room for another address or core.
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

    /// Returns a connection to the pool of this core. It must be outside a transaction and without session state.
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

/// The share of one component: one permit per connection that it may hold.
#[derive(Clone)]
pub struct Share(Arc<Semaphore>);

impl Share {
    /// Takes a permit. Having to wait is counted in `waits`.
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
    /// Whether the statement is already prepared on this connection.
    pub(super) fn knows(&self, sql: &str) -> bool {
        self.statements.contains_key(sql)
    }

    /// The prepared statement; prepares it on first use.
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

    /// Removes a statement that the server no longer accepts, for example after a migration.
    pub(super) fn forget(&mut self, sql: &str) {
        self.statements.remove(sql);
    }
}
