//! Connections to Postgres servers: one limit for all, shared by all services and cores. A service with a schema of its
//! own gets any connection to its server, set to its schema.
//!
//! Who waits is served in turn: first the component that holds the fewest connections, then in the order of asking. A
//! component that calls others leaves one connection to each level of components below, so that components that wait
//! for each other always go on (see [`Member::level`]).

use super::server::{Schema, Server};
use crate::connect::{self, NoServer, PostgresConnectors};
use crate::limits;
use futures::channel::oneshot;
use prometheus::IntCounter;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// All connections of the host to Postgres servers.
pub struct Postgres {
    most: usize,
    inner: Mutex<Inner>,
    counts: Counts,
    connectors: PostgresConnectors,
}

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    evicted: AtomicU64,
    switched: AtomicU64,
    waits: AtomicU64,
    wait_us: AtomicU64,
}

#[derive(Default)]
struct Inner {
    /// Open connections, and those that are being opened.
    open: usize,
    /// In the order of their return, so the oldest come first.
    idle: Vec<Idle>,
    /// Connections in use, by component.
    used: BTreeMap<Arc<str>, Used>,
    waiting: VecDeque<Waiting>,
}

/// The connections that a component uses.
struct Used {
    level: usize,
    connections: usize,
}

struct Idle {
    core: ThreadId,
    server: Arc<str>,
    connection: PooledConnection,
    since: Instant,
}

struct Waiting {
    member: Member,
    want: Want,
    grant: oneshot::Sender<Granted>,
}

/// The connection that somebody asks for.
#[derive(Clone)]
struct Want {
    core: ThreadId,
    server: Arc<str>,
    schema: Schema,
}

/// A granted connection, or the permission to open one.
struct Granted {
    connection: Option<PooledConnection>,
    place: Option<Place>,
    in_use: InUse,
}

/// A component, as the pool sees it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The id of the component.
    pub component: Arc<str>,
    /// The length of the longest chain of components that it calls. A component of level 2 cannot use the last two
    /// connections: those it calls may need one while it holds its own.
    pub level: usize,
}

/// A connection in use or in the pool.
pub(super) struct PooledConnection {
    pub(super) client: Arc<Client>,
    /// What connected, to cancel a statement over another connection.
    pub(super) connector: MakeRustlsConnect,
    schema: Schema,
    /// Prepared statements by schema, because names in a statement have another meaning in another schema.
    statements: HashMap<Schema, HashMap<String, Prepared>>,
    /// Counts the uses of statements.
    uses: u64,
}

struct Prepared {
    statement: Statement,
    last_use: u64,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoConnection {
    #[error(transparent)]
    Server(#[from] NoServer),
    #[error("all connections are in use; none was returned within {0:?}")]
    AllInUse(Duration),
    #[error("this component has used up its share of connections and returned none within {0:?}")]
    ShareInUse(Duration),
}

impl Postgres {
    /// A pool of at most `most` connections.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            inner: Mutex::default(),
            counts: Counts::default(),
            connectors: PostgresConnectors::default(),
        }
    }

    /// The number of connections that one component may use.
    fn share(&self) -> usize {
        let share = (self.most / limits::POSTGRES_SHARE_DIVISOR).max(limits::POSTGRES_MIN_SHARE);
        share.min(self.most)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that holds the lock can leave the counts half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection to a server, set to the schema. Having to wait because the share of the component is used up
    /// is counted in `limited`.
    pub(super) async fn take(
        self: &Arc<Self>,
        member: &Member,
        server: &Server,
        limited: &IntCounter,
    ) -> Result<(PooledConnection, InUse), NoConnection> {
        let want = Want {
            core: std::thread::current().id(),
            server: server.name.clone(),
            schema: server.schema.clone(),
        };
        let timeout = limits::POSTGRES_ACQUIRE_TIMEOUT;
        let granted = match self.grant_at_once(member, &want) {
            Ok(granted) => granted,
            Err(granted) => {
                let begun = Instant::now();
                let share_in_use = self.lock().uses(&member.component) >= self.share();
                if share_in_use {
                    limited.inc();
                }
                self.counts.waits.fetch_add(1, Ordering::Relaxed);
                let granted = tokio::time::timeout(timeout, granted).await;
                let waited = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.counts.wait_us.fetch_add(waited, Ordering::Relaxed);
                match granted {
                    Ok(Ok(granted)) => granted,
                    _ if share_in_use => return Err(NoConnection::ShareInUse(timeout)),
                    _ => return Err(NoConnection::AllInUse(timeout)),
                }
            }
        };
        let Granted {
            connection,
            place,
            in_use,
        } = granted;
        let mut connection = match (connection, place) {
            (Some(connection), _) => connection,
            (None, Some(place)) => self.connect(server, place).await?,
            // A grant has one or the other.
            (None, None) => return Err(NoConnection::AllInUse(timeout)),
        };
        if connection.use_schema(&server.schema).await {
            self.counts.switched.fetch_add(1, Ordering::Relaxed);
        }
        Ok((connection, in_use))
    }

    /// A connection, or else a place in the queue.
    fn grant_at_once(
        self: &Arc<Self>,
        member: &Member,
        want: &Want,
    ) -> Result<Granted, oneshot::Receiver<Granted>> {
        let (mut closed, mut inner) = (Vec::new(), self.lock());
        inner.take_old(&mut closed);
        // Nobody waits who could be served, because each change serves those first.
        let granted = match inner.may_use(member, self.most, self.share()) {
            true => inner.grant(self, member, want),
            false => None,
        };
        let granted = granted.ok_or_else(|| {
            let (grant, granted) = oneshot::channel();
            inner.waiting.push_back(Waiting {
                member: member.clone(),
                want: want.clone(),
                grant,
            });
            closed.extend(self.make_room(&mut inner, want));
            granted
        });
        drop(inner);
        drop(closed);
        granted
    }

    /// The connection that has been idle longest, to be closed because all others belong to another server.
    fn make_room(&self, inner: &mut Inner, want: &Want) -> Option<PooledConnection> {
        let own = inner.idle.iter().any(|idle| idle.server == want.server);
        if own || inner.open < self.most || inner.idle.is_empty() {
            return None;
        }
        self.counts.evicted.fetch_add(1, Ordering::Relaxed);
        Some(inner.idle.remove(0).connection)
    }

    /// Serves those that wait, as far as there are connections.
    fn serve_waiting(self: &Arc<Self>) {
        loop {
            let mut inner = self.lock();
            let Some(place) = inner.next_waiting(self.most, self.share()) else {
                return;
            };
            let Some(waiting) = inner.waiting.remove(place) else {
                return;
            };
            let Some(granted) = inner.grant(self, &waiting.member, &waiting.want) else {
                let room = self.make_room(&mut inner, &waiting.want);
                inner.waiting.insert(place, waiting);
                drop(inner);
                // Closing it serves those that wait again.
                drop(room);
                return;
            };
            drop(inner);
            // Somebody who gave up returns what was granted, when it is dropped here.
            if let Err(granted) = waiting.grant.send(granted) {
                self.undo(granted, &waiting.want);
            }
        }
    }

    fn undo(self: &Arc<Self>, mut granted: Granted, want: &Want) {
        if let Some(connection) = granted.connection.take() {
            self.give_back(&want.server, connection);
        }
        drop(granted);
    }

    async fn connect(
        self: &Arc<Self>,
        server: &Server,
        place: Place,
    ) -> Result<PooledConnection, NoConnection> {
        let connector = self.connectors.get(server.trust.as_ref())?;
        let (client, connection) = connect::postgres(&server.config, connector.clone()).await?;
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a Postgres connection ended");
            }
        });
        Ok(PooledConnection {
            client: Arc::new(client),
            connector,
            schema: None,
            statements: HashMap::new(),
            uses: 0,
        })
    }

    /// Returns a connection to the pool. It must be outside a transaction and without session state other than its
    /// schema. The caller then drops the guard of its use.
    pub(super) fn give_back(&self, server: &Arc<str>, connection: PooledConnection) {
        if connection.client.is_closed() {
            return;
        }
        self.lock().idle.push(Idle {
            core: std::thread::current().id(),
            server: server.clone(),
            connection,
            since: Instant::now(),
        });
    }

    /// The metrics in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let (open, idle, waiting) = {
            let inner = self.lock();
            (inner.open, inner.idle.len(), inner.waiting.len())
        };
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        let in_use = open.saturating_sub(idle);
        let waited = Duration::from_micros(load(&counts.wait_us)).as_secs_f64();
        format!(
            "# HELP localmart_postgres_connections Open connections to Postgres servers.\n\
             # TYPE localmart_postgres_connections gauge\n\
             localmart_postgres_connections{{state=\"idle\"}} {idle}\n\
             localmart_postgres_connections{{state=\"in use\"}} {in_use}\n\
             # HELP localmart_postgres_waiting Statements and transactions that wait for a connection.\n\
             # TYPE localmart_postgres_waiting gauge\n\
             localmart_postgres_waiting {waiting}\n\
             # HELP localmart_postgres_sessions_opened_total Sessions opened at Postgres servers.\n\
             # TYPE localmart_postgres_sessions_opened_total counter\n\
             localmart_postgres_sessions_opened_total {}\n\
             # HELP localmart_postgres_evictions_total Idle connections closed for another server.\n\
             # TYPE localmart_postgres_evictions_total counter\n\
             localmart_postgres_evictions_total {}\n\
             # HELP localmart_postgres_schema_switches_total Connections given from one schema to another.\n\
             # TYPE localmart_postgres_schema_switches_total counter\n\
             localmart_postgres_schema_switches_total {}\n\
             # HELP localmart_postgres_waits_total How often no connection was free.\n\
             # TYPE localmart_postgres_waits_total counter\n\
             localmart_postgres_waits_total {}\n\
             # HELP localmart_postgres_wait_seconds_total Seconds spent waiting for a connection.\n\
             # TYPE localmart_postgres_wait_seconds_total counter\n\
             localmart_postgres_wait_seconds_total {waited}\n",
            load(&counts.opened),
            load(&counts.evicted),
            load(&counts.switched),
            load(&counts.waits),
        )
    }
}

impl Inner {
    fn uses(&self, component: &Arc<str>) -> usize {
        self.used.get(component).map_or(0, |used| used.connections)
    }

    /// Whether a component may use one more connection: it has some of its share left, and so many stay for the
    /// components that it calls as there are levels of them.
    fn may_use(&self, member: &Member, most: usize, share: usize) -> bool {
        let level = member.level.min(most.saturating_sub(1));
        let not_below = self.used.values().filter(|used| used.level >= level);
        let not_below: usize = not_below.map(|used| used.connections).sum();
        self.uses(&member.component) < share && not_below < most - level
    }

    /// Who is served next: the component with the fewest connections, and of several the one that asked first.
    fn next_waiting(&mut self, most: usize, share: usize) -> Option<usize> {
        self.waiting.retain(|waiting| !waiting.grant.is_canceled());
        let served = self.waiting.iter().enumerate();
        let served = served.filter(|(_, waiting)| self.may_use(&waiting.member, most, share));
        served
            .min_by_key(|(place, waiting)| (self.uses(&waiting.member.component), *place))
            .map(|(place, _)| place)
    }

    /// Takes a connection for a member that may use one. `None` if all others belong to other servers.
    fn grant(&mut self, pool: &Arc<Postgres>, member: &Member, want: &Want) -> Option<Granted> {
        let connection = self.idle_for(want, pool.most);
        let place = match &connection {
            Some(_) => None,
            None if self.open < pool.most => {
                self.open += 1;
                Some(Place(pool.clone()))
            }
            None => return None,
        };
        let used = self.used.entry(member.component.clone()).or_insert(Used {
            level: member.level.min(pool.most.saturating_sub(1)),
            connections: 0,
        });
        used.connections += 1;
        Some(Granted {
            connection,
            place,
            in_use: InUse {
                pool: pool.clone(),
                component: member.component.clone(),
            },
        })
    }

    /// The best idle connection. While less than half of the connections are open, opening one is better than another
    /// schema or core.
    fn idle_for(&mut self, want: &Want, most: usize) -> Option<PooledConnection> {
        self.idle.retain(|idle| !idle.connection.client.is_closed());
        let same = |idle: &Idle| idle.server == want.server;
        let mine = |idle: &Idle| same(idle) && idle.core == want.core;
        let schema = |idle: &Idle| idle.connection.schema == want.schema;
        let best = self
            .idle
            .iter()
            .rposition(|idle| mine(idle) && schema(idle));
        let best = best.or_else(|| {
            if self.open < most.div_ceil(2) {
                return None;
            }
            let other_schema = self.idle.iter().position(mine);
            if other_schema.is_some() || self.open < most {
                return other_schema;
            }
            let other_core = self
                .idle
                .iter()
                .rposition(|idle| same(idle) && schema(idle));
            other_core.or_else(|| self.idle.iter().position(same))
        })?;
        Some(self.idle.remove(best).connection)
    }

    /// Removes connections that were not used for long. They are closed when the caller drops them.
    fn take_old(&mut self, closed: &mut Vec<PooledConnection>) {
        let is_old = |idle: &&Idle| idle.since.elapsed() >= limits::POSTGRES_IDLE_TIMEOUT;
        let old = self.idle.iter().take_while(is_old).count();
        closed.extend(self.idle.drain(..old).map(|idle| idle.connection));
    }
}

/// Counts an open connection until its task ends.
struct Place(Arc<Postgres>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.open = inner.open.saturating_sub(1);
        drop(inner);
        self.0.serve_waiting();
    }
}

/// Counts a connection in use by a component.
pub(super) struct InUse {
    pool: Arc<Postgres>,
    component: Arc<str>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut inner = self.pool.lock();
        if let Some(used) = inner.used.get_mut(&self.component) {
            used.connections = used.connections.saturating_sub(1);
            if used.connections == 0 {
                inner.used.remove(&self.component);
            }
        }
        drop(inner);
        self.pool.serve_waiting();
    }
}

impl PooledConnection {
    /// Sets the schema in which names are looked up. Returns whether the connection had another one. The command travels
    /// with the next statement.
    async fn use_schema(&mut self, schema: &Schema) -> bool {
        if self.schema == *schema {
            return false;
        }
        let command = match schema {
            Some(name) => format!("SET search_path = \"{name}\""),
            None => "RESET search_path".to_owned(),
        };
        let client = self.client.clone();
        let mut sent = Box::pin(async move { client.batch_execute(&command).await });
        // Polling the future once sends the command. A failure means that the connection is lost, which the next
        // statement finds out.
        let _ = futures::poll!(sent.as_mut());
        let known = self.schema.is_some() || !self.statements.is_empty();
        self.schema = schema.clone();
        known
    }

    /// Whether the statement is already prepared on this connection.
    pub(super) fn knows(&self, sql: &str) -> bool {
        let statements = self.statements.get(&self.schema);
        statements.is_some_and(|statements| statements.contains_key(sql))
    }

    /// The prepared statement; prepares it on first use.
    pub(super) async fn prepared(&mut self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.uses += 1;
        let last_use = self.uses;
        let known = self.statements.get_mut(&self.schema);
        if let Some(known) = known.and_then(|statements| statements.get_mut(sql)) {
            known.last_use = last_use;
            return Ok(known.statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        let count: usize = self.statements.values().map(HashMap::len).sum();
        if count >= limits::POSTGRES_STATEMENTS {
            self.forget_oldest();
        }
        let prepared = Prepared {
            statement: statement.clone(),
            last_use,
        };
        let statements = self.statements.entry(self.schema.clone()).or_default();
        statements.insert(sql.to_owned(), prepared);
        Ok(statement)
    }

    /// Closes the statement that was not used for the longest time.
    fn forget_oldest(&mut self) {
        let all = self.statements.iter().flat_map(|(schema, statements)| {
            statements
                .iter()
                .map(move |(sql, prepared)| (prepared.last_use, schema, sql))
        });
        let oldest = all.min_by_key(|(last_use, ..)| *last_use);
        let oldest = oldest.map(|(_, schema, sql)| (schema.clone(), sql.clone()));
        if let Some((schema, sql)) = oldest
            && let Some(statements) = self.statements.get_mut(&schema)
        {
            statements.remove(&sql);
        }
    }

    /// Removes a statement that the server no longer accepts, for example after a migration.
    pub(super) fn forget(&mut self, sql: &str) {
        if let Some(statements) = self.statements.get_mut(&self.schema) {
            statements.remove(sql);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(component: &str, level: usize) -> Member {
        Member {
            component: component.into(),
            level,
        }
    }

    fn want() -> Want {
        Want {
            core: std::thread::current().id(),
            server: "server".into(),
            schema: None,
        }
    }

    fn take(pool: &Arc<Postgres>, who: &Member) -> Option<Granted> {
        pool.grant_at_once(who, &want()).ok()
    }

    #[test]
    fn a_caller_leaves_connections_to_those_that_it_calls() {
        let pool = Arc::new(Postgres::new(8));
        let (top, middle, bottom) = (member("top", 2), member("middle", 1), member("bottom", 0));
        let of_top: Vec<_> = (0..8).map_while(|_| take(&pool, &top)).collect();
        assert_eq!(of_top.len(), 6);
        let of_middle: Vec<_> = (0..8).map_while(|_| take(&pool, &middle)).collect();
        assert_eq!(of_middle.len(), 1);
        let of_bottom: Vec<_> = (0..8).map_while(|_| take(&pool, &bottom)).collect();
        assert_eq!(of_bottom.len(), 1);
    }

    #[test]
    fn one_connection_serves_every_level() {
        let pool = Arc::new(Postgres::new(1));
        let granted = take(&pool, &member("top", 3));
        assert!(granted.is_some());
        assert!(take(&pool, &member("bottom", 0)).is_none());
        drop(granted);
        assert!(take(&pool, &member("bottom", 0)).is_some());
    }

    #[test]
    fn the_component_with_the_fewest_connections_is_served_first() {
        let pool = Arc::new(Postgres::new(2));
        let (busy, calm) = (member("busy", 0), member("calm", 0));
        let mut held = vec![take(&pool, &busy).unwrap(), take(&pool, &busy).unwrap()];
        let wait = |who: &Member| pool.grant_at_once(who, &want()).err().unwrap();
        let mut first = wait(&busy);
        let mut second = wait(&calm);
        held.pop();
        assert!(first.try_recv().unwrap().is_none());
        let served = second.try_recv().unwrap();
        assert!(served.is_some());
        held.pop();
        assert!(first.try_recv().unwrap().is_some());
    }

    #[test]
    fn one_who_gave_up_takes_nothing() {
        let pool = Arc::new(Postgres::new(1));
        let who = member("a", 0);
        let held = take(&pool, &who).unwrap();
        drop(pool.grant_at_once(&who, &want()).err().unwrap());
        let mut waiting = pool.grant_at_once(&who, &want()).err().unwrap();
        drop(held);
        // What was granted to somebody who never looks comes back too.
        let mut late = pool.grant_at_once(&who, &want()).err().unwrap();
        drop(waiting.try_recv().unwrap());
        assert!(late.try_recv().unwrap().is_some());
        assert!(take(&pool, &who).is_some());
    }
}
