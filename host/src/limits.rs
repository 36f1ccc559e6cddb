//! Every limit and timeout of the host, in one place, with its unit.

use std::time::Duration;

/// Default time for a guest until its response headers.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// After a missed deadline: the time for other calls in the same instance before it is terminated.
pub const RETIRE_GRACE: Duration = Duration::from_secs(2);
/// How long an instance without calls is kept.
pub const INSTANCE_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests in flight may take after SIGTERM or ctrl-c.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Default number of open connections of clients. Half of the files that the process may open, if that is less.
pub const CLIENT_CONNECTIONS: usize = 4096;
/// Default number of open connections of one address.
pub const CLIENT_CONNECTIONS_PER_ADDRESS: usize = 256;
/// Default time from a new connection, or from the first byte of a later request, to the end of the head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Default time that a connection may stay open without a request.
pub const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Default for the longest pause between two parts of a request body, and for the time of a whole small body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// Default for the least rate of a large request body, in bytes per second.
pub const MIN_BODY_RATE: u64 = 1024;
/// How long a large request body may be slower than the least rate.
pub const BODY_GRACE: Duration = Duration::from_secs(5);
/// Default time that a client may read nothing of its response.
pub const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest silence of a client while three quarters of the connections are taken.
pub const CROWDED_TIMEOUT: Duration = Duration::from_secs(2);
/// A request body up to this size is received before an instance is taken, in bytes. A larger one is streamed.
pub const BUFFERED_BODY_BYTES: usize = 64 * 1024;
/// Default for the memory of all received request bodies that no guest has read yet, in bytes.
pub const BUFFERED_BYTES: usize = 64 * 1024 * 1024;
/// The least time between two checks whether a client is silent.
pub const SILENCE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// After a connection was asked to end: how long its client may take to notice.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, usually because the process has too many files open. It doubles
/// up to [`ACCEPT_MAX_PAUSE`].
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
pub const ACCEPT_MAX_PAUSE: Duration = Duration::from_secs(1);
/// Open connections to the observe address, and of one other host to the address for links.
pub const INTERNAL_CONNECTIONS: usize = 512;
/// How long a client that waits for a connection between hosts keeps it open without a call. Shorter than the time after
/// which the other host closes it.
pub const REMOTE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Default number of calls that one instance serves at once.
pub const CALLS_PER_INSTANCE: usize = 16;
/// Default number of calls after which an instance is replaced.
pub const CALLS_PER_LIFE: usize = 4096;
/// The same limit for components with fused links. While an instance lives, wasmtime 48 keeps about 400 bytes for every
/// async call between fused components that completes synchronously, and traps the instance after 1 000 000 of them.
pub const FUSED_CALLS_PER_LIFE: usize = 512;
/// Maximum number of instances of one component on one core. With many cores and components the share of the pool is
/// smaller.
pub const MAX_INSTANCES_PER_CORE: usize = 64;
/// Minimum share of instances of one component on one core.
pub const MIN_INSTANCES_PER_CORE: usize = 2;
/// Calls of one component on one core that wait for an instance; further calls are answered with 503.
pub const QUEUED_CALLS: usize = 512;
/// The value of `Retry-After` in a 503 response, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// Default limit for the linear memory of one instance, in bytes.
pub const INSTANCE_MEMORY_BYTES: usize = 128 * 1024 * 1024;
/// Component instances in the pool, over all cores.
pub const POOL_INSTANCES: u32 = 512;
/// Core instances in the pool per component instance; a fused component has several.
pub const POOL_CORE_PER_INSTANCE: u32 = 8;
/// Bytes of a freed linear memory that stay resident for the next instance.
pub const KEEP_RESIDENT_BYTES: usize = 512 * 1024;
/// Freed slots that are returned to the system together.
pub const DECOMMIT_BATCH: usize = 16;

/// How often a busy guest yields to other tasks of its core.
pub const EPOCH_TICK: Duration = Duration::from_millis(2);

/// How long a statement may wait for the write lock, or for another process that has locked the file.
pub const SQLITE_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one statement may run.
pub const SQLITE_STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval between attempts while another process has locked the file.
pub const SQLITE_RETRY_INTERVAL: Duration = Duration::from_millis(2);
/// Idle connections that a database keeps open per core.
pub const SQLITE_IDLE_CONNECTIONS: usize = 8;
/// Prepared statements kept per connection.
pub const SQLITE_STATEMENTS: usize = 64;
/// Maximum size of a result in bytes.
pub const SQLITE_RESULT_BYTES: usize = 64 * 1024 * 1024;
/// Default limit for connections to all Postgres servers together; `[outbound_pg] max_connections` overrides it.
pub const POSTGRES_CONNECTIONS: usize = 60;
/// One component may hold the limit divided by this number, so that others can still connect.
pub const POSTGRES_SHARE_DIVISOR: usize = 2;
/// Every component may hold at least this many connections, if others leave so many.
pub const POSTGRES_MIN_SHARE: usize = 8;
/// How long connecting to a Postgres or Redis server may take.
pub const SERVER_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a guest may wait for a connection.
pub const POSTGRES_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of open Postgres handles of one instance. A handle holds a connection only while it needs one.
pub const POSTGRES_HANDLES: usize = 1024;
/// How long one statement may run on a Postgres server.
pub const POSTGRES_STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept per connection, of all schemas. The one that was not used for the longest time makes room.
pub const POSTGRES_STATEMENTS: usize = 512;
/// How long an unused connection is kept open.
pub const POSTGRES_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Maximum size of a result from a Postgres server, in bytes.
pub const POSTGRES_RESULT_BYTES: usize = 128 * 1024 * 1024;
/// How long a call over a link may take, unless its deadline is earlier.
pub const LINK_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of one `list<u8>` that crosses a link, in bytes.
pub const LINK_LIST_BYTES: usize = 256 * 1024;
/// Failures in a row that open a circuit breaker.
pub const BREAKER_FAILURES: u32 = 8;
/// How long a circuit breaker rejects calls before it lets one through as a test.
pub const BREAKER_OPEN_TIME: Duration = Duration::from_secs(1);
/// The length of one window of latencies. Percentiles cover the current window and the one before.
pub const HEALTH_WINDOW: Duration = Duration::from_secs(15);

/// The nice value of compiler threads, from -20 to 19.
pub const BACKGROUND_NICE: i32 = 5;
/// Default limit of instructions for one decision of a policy: some tens of milliseconds.
pub const POLICY_INSTRUCTIONS: u64 = 50_000_000;
/// Default limit for the linear memory of a policy, in bytes.
pub const POLICY_MEMORY_BYTES: usize = 64 * 1024 * 1024;
/// Random bytes that a policy gets at once; they are all zero.
pub const POLICY_RANDOM_BYTES: usize = 4096;
/// Idle instances of one policy that a core keeps.
pub const POLICY_IDLE_INSTANCES: usize = 4;
/// How long moving a test clock may take: running timer requests end first, and then every timer fires once.
pub const CLOCK_MOVE_TIMEOUT: Duration = Duration::from_secs(90);
/// How long it may take until the first core accepts commands.
pub const CORE_START_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a call to another host, or of its answer, in bytes.
pub const REMOTE_BYTES: usize = 16 * 1024 * 1024;
/// How long another host may take to list the exports of a component.
pub const REMOTE_DISCOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a call to another host is attempted.
pub const REMOTE_ATTEMPTS: u32 = 6;
/// The pause before the second attempt; it doubles each time.
pub const REMOTE_BACKOFF: Duration = Duration::from_millis(50);
/// How long it may take to create an instance of a new generation on every core.
pub const WARM_TIMEOUT: Duration = Duration::from_secs(30);
/// Default time for which a new generation is watched.
pub const WATCH_TIME: Duration = Duration::from_secs(30);
/// The interval between checks of a new generation.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Default share of calls to a new generation that may fail.
pub const WATCH_ERROR_RATE: f64 = 0.01;
/// Default limit for the ratio of the new p99 latency to the old one.
pub const WATCH_P99_RATIO: f64 = 2.0;
/// A new generation is not rolled back for fewer failures than this.
pub const WATCH_MIN_ERRORS: u64 = 3;
/// A p99 latency is compared only if it covers at least this many calls.
pub const WATCH_MIN_TIMED_CALLS: u64 = 100;
/// So many times in a row the p99 latency must exceed its limit, each time computed from new calls only.
pub const WATCH_SLOW_OBSERVATIONS: u32 = 3;
/// A p99 latency must be worse by at least this much; less is noise.
pub const WATCH_MIN_SLOWDOWN: Duration = Duration::from_millis(5);

/// How long one Redis command may take.
pub const REDIS_COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of open Redis handles of one instance.
pub const REDIS_HANDLES: usize = 1024;
/// The pause before the first attempt to renew a lost subscription; it doubles up to [`REDIS_SUBSCRIBE_MAX_BACKOFF`].
pub const REDIS_SUBSCRIBE_BACKOFF: Duration = Duration::from_millis(200);
/// The longest pause between attempts to renew a subscription.
pub const REDIS_SUBSCRIBE_MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long publishing an MQTT message may take until it is confirmed, including the connection.
pub const MQTT_PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of open MQTT handles of one instance.
pub const MQTT_HANDLES: usize = 64;
/// The longest keep-alive interval in MQTT, in seconds.
pub const MQTT_KEEP_ALIVE_S: u64 = 65_535;
/// Maximum length of a key in a key-value store, in bytes.
pub const KEY_BYTES: usize = 1024;
/// Maximum size of a value in a key-value store, in bytes.
pub const VALUE_BYTES: usize = 16 * 1024 * 1024;
/// Keys in one page of a listing.
pub const KEYS_PER_PAGE: usize = 1000;

/// The size at which the log continues in another file, in bytes.
pub const LOG_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Files of the log that are kept.
pub const LOG_FILES: usize = 4;

/// How long the download of a component may take.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum size of a downloaded component, in bytes.
pub const FETCH_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes of an unread request body that are read and discarded, so that the client can read an early response.
pub const DISCARD_BYTES: u64 = 8 * 1024 * 1024;
/// How long reading and discarding may take.
pub const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an outgoing request may take to connect, unless the guest asks for less.
pub const OUTGOING_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an outgoing request may take until its first byte, and between bytes.
pub const OUTGOING_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an outgoing connection stays open without a request. Many servers close theirs after a minute.
pub const OUTGOING_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the files of the certificate are looked at.
pub const TLS_LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Outgoing connections without a request that stay open, for each destination and core.
pub const OUTGOING_IDLE_CONNECTIONS: usize = 16;

/// The denominator of shares: 10 000 parts are 100 %.
pub const FULL_SHARE: u32 = 10_000;
