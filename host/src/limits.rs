//! Every limit and timeout of the host, in one place, with its unit.

use std::time::Duration;

/// How long a guest may take until its response headers, unless the manifest says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long siblings of a call that missed its deadline may still run before their instance is dropped.
pub const RETIRE_GRACE: Duration = Duration::from_secs(2);
/// How long an instance without calls is kept warm.
pub const IDLE_INSTANCE: Duration = Duration::from_secs(60);
/// How long requests in flight may take after SIGTERM or ctrl-c.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How long a client may take to send its request head.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Calls that one instance serves at once, unless the manifest says otherwise.
pub const CALLS_PER_INSTANCE: usize = 16;
/// Calls that one instance serves in its life.
pub const CALLS_PER_LIFE: usize = 4096;
/// The same where links are fused into it. wasmtime 48 keeps a note of every async call between fused components that is answered at
/// once for as long as the instance lives, some 400 bytes, and traps it after 1 000 000 of them.
pub const FUSED_CALLS_PER_LIFE: usize = 512;
/// Instances of one component on one core, at most; with many cores and components each gets its share of the pool.
pub const INSTANCES_PER_CORE: usize = 64;
/// Instances of one component on one core that it gets however small its share is.
pub const LEAST_INSTANCES_PER_CORE: usize = 2;
/// Requests that wait for an instance of one component on one core before the next is told 503.
pub const QUEUED_CALLS: usize = 512;
/// Seconds a client is asked to wait after a 503.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// Linear memory of one instance in bytes, unless `--max-instance-memory` says otherwise.
pub const INSTANCE_MEMORY_BYTES: usize = 128 * 1024 * 1024;
/// Component instances that the pool holds, over all cores.
pub const POOL_INSTANCES: u32 = 512;
/// Core instances in the pool for each component instance; a fused component has several.
pub const POOL_CORE_PER_INSTANCE: u32 = 8;
/// Bytes of a freed linear memory that stay resident for its next owner.
pub const KEEP_RESIDENT_BYTES: usize = 512 * 1024;
/// Freed slots that are given back to the system together.
pub const DECOMMIT_BATCH: usize = 16;

/// How often a busy guest is asked to let others run.
pub const EPOCH_TICK: Duration = Duration::from_millis(10);

/// How long a statement may wait for its turn to write, or for another process that holds the file.
pub const SQLITE_WRITE_WAIT: Duration = Duration::from_secs(5);
/// How long one statement may run.
pub const SQLITE_STATEMENT: Duration = Duration::from_secs(10);
/// How long until a file that another process holds is tried again.
pub const SQLITE_RETRY: Duration = Duration::from_millis(2);
/// Connections that a database keeps open per core when they are idle.
pub const SQLITE_IDLE_CONNECTIONS: usize = 8;
/// Prepared statements kept per connection.
pub const SQLITE_STATEMENTS: usize = 64;
/// Bytes of one result.
pub const SQLITE_RESULT_BYTES: usize = 64 * 1024 * 1024;
/// Connections to all Postgres servers together, unless `[outbound_pg] max_connections` says otherwise.
pub const POSTGRES_CONNECTIONS: usize = 60;
/// The part of them that one component may hold, as a divisor: the others always find some free.
pub const POSTGRES_SHARE: usize = 2;
/// So many of them any component may hold, however few there are.
pub const POSTGRES_LEAST_SHARE: usize = 8;
/// How long making a connection to a Postgres or Redis server may take.
pub const SERVER_CONNECT: Duration = Duration::from_secs(5);
/// How long a guest may wait for one of the connections that there may be.
pub const POSTGRES_WAIT: Duration = Duration::from_secs(5);
/// Open Postgres handles of one instance; a handle holds a connection only while it needs one.
pub const POSTGRES_HANDLES: usize = 1024;
/// How long one statement may run on a Postgres server.
pub const POSTGRES_STATEMENT: Duration = Duration::from_secs(10);
/// Prepared statements kept per connection.
pub const POSTGRES_STATEMENTS: usize = 256;
/// How long a connection without a guest is kept open.
pub const POSTGRES_IDLE: Duration = Duration::from_secs(300);
/// Bytes of one result of a Postgres server.
pub const POSTGRES_RESULT_BYTES: usize = 128 * 1024 * 1024;
/// How long a call over a link may take, unless its context says less.
pub const LINK_CALL: Duration = Duration::from_secs(10);
/// Bytes of one `list<u8>` that crosses a link.
pub const LINK_LIST_BYTES: usize = 256 * 1024;
/// Failures in a row after which a callee is left alone.
pub const BREAKER_FAILURES: u32 = 8;
/// For how long, until one call tries it again.
pub const BREAKER_PAUSE: Duration = Duration::from_secs(1);
/// Percentiles of a generation are of the calls of this while and of the one before.
pub const HEALTH_WHILE: Duration = Duration::from_secs(15);

/// How far compiling stands back behind serving, on the system's scale from -20 to 19.
pub const BACKGROUND_NICE: i32 = 5;
/// Instructions of one decision of a policy, unless the manifest says otherwise: some tens of milliseconds.
pub const POLICY_INSTRUCTIONS: u64 = 50_000_000;
/// Linear memory of a policy in bytes, unless the manifest says otherwise.
pub const POLICY_MEMORY_BYTES: usize = 64 * 1024 * 1024;
/// Random bytes that the runtime of a policy gets at once; they are all zero.
pub const POLICY_RANDOM_BYTES: usize = 4096;
/// Instances of one policy that a core keeps.
pub const POLICY_IDLE: usize = 4;
/// How long moving a test clock may take: timers that are under way end first, and each has its turn afterwards.
pub const CLOCK_MOVE: Duration = Duration::from_secs(90);
/// How long a core may take until it can be told something.
pub const CORE_START: Duration = Duration::from_secs(5);
/// Bytes of a call to another host, or of its answer.
pub const REMOTE_BYTES: usize = 16 * 1024 * 1024;
/// How long another host may take to say what a component of it offers.
pub const REMOTE_FIND: Duration = Duration::from_secs(5);
/// How often a call to another host is tried.
pub const REMOTE_ATTEMPTS: u32 = 6;
/// The pause before it is tried again; it doubles.
pub const REMOTE_PAUSE: Duration = Duration::from_millis(50);
/// How long making an instance of a new generation on every core may take.
pub const WARM: Duration = Duration::from_secs(30);
/// How long a new generation is watched, unless its swap says otherwise.
pub const WATCH: Duration = Duration::from_secs(30);
/// How often it is looked at.
pub const WATCH_EVERY: Duration = Duration::from_millis(50);
/// The part of its calls that may fail, unless its swap says otherwise.
pub const WATCH_ERROR_RATE: f64 = 0.01;
/// How many times as long as before its slowest hundredth may take, unless its swap says otherwise.
pub const WATCH_P99_RATIO: f64 = 2.0;
/// So many failures are no bad luck.
pub const WATCH_ERRORS: u64 = 3;
/// So many calls make a percentile.
pub const WATCH_TIMED: u64 = 100;
/// By so much more than before, at least: less is noise.
pub const WATCH_SLOWER: Duration = Duration::from_millis(5);

/// How long one Redis command may take.
pub const REDIS_COMMAND: Duration = Duration::from_secs(5);
/// Open Redis handles of one instance.
pub const REDIS_HANDLES: usize = 1024;
/// The pause before a lost subscription is tried again; it doubles up to [`REDIS_SUBSCRIBE_SLOWEST`].
pub const REDIS_SUBSCRIBE_AGAIN: Duration = Duration::from_millis(200);
/// The longest such pause.
pub const REDIS_SUBSCRIBE_SLOWEST: Duration = Duration::from_secs(5);
/// How long a message to an MQTT server may take until it is confirmed, connecting included.
pub const MQTT_PUBLISH: Duration = Duration::from_secs(10);
/// Open MQTT handles of one instance.
pub const MQTT_HANDLES: usize = 64;
/// The longest keep-alive interval that MQTT has, in seconds.
pub const MQTT_KEEP_ALIVE_S: u64 = 65_535;
/// Longest key of a key-value store in bytes.
pub const KEY_BYTES: usize = 1024;
/// Largest value of a key-value store in bytes.
pub const VALUE_BYTES: usize = 16 * 1024 * 1024;
/// Keys that one page of a listing holds.
pub const KEYS_PER_PAGE: usize = 1000;

/// How long a component may take to be fetched.
pub const FETCH: Duration = Duration::from_secs(60);
/// Bytes of a component that is fetched.
pub const FETCH_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes of an unread request body that are read and dropped, so that the client sees its early answer.
pub const DISCARD_BYTES: u64 = 8 * 1024 * 1024;
/// How long that may take.
pub const DISCARD_TIME: Duration = Duration::from_secs(2);
/// How long an outgoing request may take to connect, unless the guest asks for less.
pub const OUTGOING_CONNECT: Duration = Duration::from_secs(5);
/// How long an outgoing request may take until its first byte, and between bytes.
pub const OUTGOING_BYTE: Duration = Duration::from_secs(30);
