//! `spin:redis@3`: one multiplexed connection per core and address, shared by all guests. Commands that would block or
//! change it for others are refused. The address `embedded` means no server: messages go to the application's own Redis
//! triggers, within this process.

use super::{Capabilities, Interface, interfaces};
use crate::app::EMBEDDED;
use crate::capability::messages::{Message, Messages};
use crate::capability::state::HostState;
use crate::connect;
use crate::fault::{Capability, InstanceFaults};
use crate::limits;
use bindings::spin::redis::redis as wit;
use localmart_connect::Trust;
use localmart_connect::redis::Address;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use wasmtime::component::{Accessor, Resource};

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capability {
                import spin:redis/redis@3.0.0;
            }
        ",
        path: ["../wit/deps/spin-redis@3.0.0"],
        imports: { default: async | trappable },
        with: {
            "spin:redis/redis.connection": super::Connection,
        },
        require_store_data_send: true,
    });
}

interfaces! {
    "spin:redis/redis@3.0.0": bindings::spin::redis::redis,
}

/// Commands that would block, subscribe or change the shared connection.
const REFUSED: &[&str] = &[
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
];

/// All connections of the host to Redis servers.
#[derive(Default)]
pub struct Redis {
    shared: Mutex<HashMap<(ThreadId, String), MultiplexedConnection>>,
}

/// A guest's handle to a server.
#[derive(Clone)]
pub struct Connection {
    to: To,
    /// The faults that apply to this instance.
    faults: InstanceFaults,
}

/// The destination of a handle.
#[derive(Clone)]
enum To {
    /// No server: messages stay within this process.
    Embedded(Arc<Messages>),
    /// The address of a server.
    Server(Arc<Redis>, String),
}

impl Redis {
    async fn connection(&self, address: &str) -> Result<MultiplexedConnection, RedisError> {
        let place = (std::thread::current().id(), address.to_owned());
        let known = self
            .shared
            .lock()
            .ok()
            .and_then(|shared| shared.get(&place).cloned());
        if let Some(connection) = known {
            return Ok(connection);
        }
        let connection = connect::redis(address).await?;
        if let Ok(mut shared) = self.shared.lock() {
            // If another task has connected meanwhile, its connection is used; both are equivalent.
            shared.entry(place).or_insert_with(|| connection.clone());
        }
        Ok(connection)
    }

    /// Sends a command over the shared connection.
    pub(super) async fn ask(&self, address: &str, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.connection(address).await?;
        let answer = connection.send_packed_command(command).await;
        let answer = answer.and_then(Value::extract_error);
        if let Err(error) = &answer
            && error.is_unrecoverable_error()
            && let Ok(mut shared) = self.shared.lock()
        {
            // The next command connects again.
            shared.remove(&(std::thread::current().id(), address.to_owned()));
        }
        answer
    }
}

impl Connection {
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, wit::Error> {
        let injected = self.faults.inject(Capability::Redis).await;
        injected.map_err(|injected| wit::Error::Other(injected.to_string()))?;
        match &self.to {
            To::Server(redis, address) => redis.ask(address, command).await.map_err(failed),
            To::Embedded(messages) => embedded(messages, command),
        }
    }
}

/// Without a server, only PUBLISH is supported.
fn embedded(messages: &Messages, command: &Cmd) -> Result<Value, wit::Error> {
    let args: Vec<&[u8]> = command
        .args_iter()
        .map(|arg| match arg {
            redis::Arg::Simple(bytes) => bytes,
            _ => b"",
        })
        .collect();
    match args.as_slice() {
        [name, channel, payload] if name.eq_ignore_ascii_case(b"PUBLISH") => {
            let heard = messages.deliver(Message {
                address: EMBEDDED.to_owned(),
                channel: String::from_utf8_lossy(channel).into_owned(),
                payload: payload.to_vec(),
            });
            Ok(Value::Int(i64::try_from(heard).unwrap_or(i64::MAX)))
        }
        args => {
            let name =
                String::from_utf8_lossy(args.first().copied().unwrap_or_default()).into_owned();
            Err(wit::Error::Other(format!(
                "there is no Redis server (redis_url is `{EMBEDDED}`), so only PUBLISH is supported, to this application's own triggers; {name} needs a server"
            )))
        }
    }
}

/// Why a command may not use the shared connection; `None` if it may.
pub(super) fn refusal(name: &str, arguments: &[wit::RedisParameter]) -> Option<String> {
    let name = name.to_ascii_uppercase();
    let blocks = matches!(name.as_str(), "XREAD" | "XREADGROUP")
        && arguments.iter().any(|argument| {
            matches!(argument, wit::RedisParameter::Binary(bytes) if bytes.eq_ignore_ascii_case(b"BLOCK"))
        });
    (blocks || REFUSED.contains(&name.as_str())).then(|| {
        format!(
            "{name} is refused because it would block or change a connection that all components share"
        )
    })
}

fn failed(error: RedisError) -> wit::Error {
    // In this interface a value that is not a number is a type error.
    let no_number = error.to_string().contains("not an integer");
    let kind = error.kind() == redis::ErrorKind::UnexpectedReturnType;
    if kind || no_number || error.code() == Some("WRONGTYPE") {
        wit::Error::TypeError
    } else {
        wit::Error::Other(error.to_string())
    }
}

fn wrong_type() -> wit::Error {
    wit::Error::TypeError
}

/// Converts an answer to the flat list of the interface. Nested lists are concatenated.
fn flatten(value: Value, out: &mut Vec<wit::RedisResult>) -> Result<(), wit::Error> {
    match value {
        Value::Nil => out.push(wit::RedisResult::Nil),
        Value::Int(number) => out.push(wit::RedisResult::Int64(number)),
        Value::BulkString(bytes) => out.push(wit::RedisResult::Binary(bytes)),
        Value::SimpleString(text) => out.push(wit::RedisResult::Status(text)),
        Value::Okay => out.push(wit::RedisResult::Status("OK".to_owned())),
        Value::Array(items) | Value::Set(items) => {
            for item in items {
                flatten(item, out)?;
            }
        }
        Value::Map(pairs) => {
            for (key, value) in pairs {
                flatten(key, out)?;
                flatten(value, out)?;
            }
        }
        Value::Boolean(truth) => out.push(wit::RedisResult::Int64(i64::from(truth))),
        Value::VerbatimString { text, .. } => out.push(wit::RedisResult::Binary(text.into_bytes())),
        _ => return Err(wrong_type()),
    }
    Ok(())
}

/// An answer as a flat list.
pub(super) fn flat(value: Value) -> Result<Vec<wit::RedisResult>, wit::Error> {
    let mut out = Vec::new();
    flatten(value, &mut out).map(|()| out)
}

/// An answer as bytes; `None` for nil.
pub(super) fn bytes(value: Value) -> Result<Option<Vec<u8>>, wit::Error> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(wrong_type()),
    }
}

/// An answer as a number.
pub(super) fn number(value: Value) -> Result<i64, wit::Error> {
    match value {
        Value::Int(number) => Ok(number),
        _ => Err(wrong_type()),
    }
}

/// An answer as a list of strings.
pub(super) fn texts(value: Value) -> Result<Vec<String>, wit::Error> {
    match value {
        Value::Array(items) | Value::Set(items) => items.into_iter().map(text).collect(),
        _ => Err(wrong_type()),
    }
}

fn text(value: Value) -> Result<String, wit::Error> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| wrong_type()),
        Value::SimpleString(text) => Ok(text),
        _ => Err(wrong_type()),
    }
}

pub(super) fn count(value: &Value) -> Result<u32, wit::Error> {
    match value {
        Value::Int(number) => u32::try_from(*number).map_err(|_| wrong_type()),
        _ => Err(wrong_type()),
    }
}

impl HostState {
    pub(super) fn open_redis(
        &mut self,
        address: &str,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let servers = &self.component.servers;
        let allowed = |host: &str, port: u16, tls: bool| {
            let hosts = &self.component.allowed_hosts;
            let allows = |scheme: &str| hosts.iter().any(|one| one.allows(scheme, host, port));
            allows("redis") || (tls && allows("rediss"))
        };
        let to = if address == EMBEDDED && servers.embedded_messages {
            To::Embedded(servers.messages.clone())
        } else {
            let Ok(server) = Address::parse(address) else {
                return Ok(Err(wit::Error::InvalidAddress));
            };
            let tls = server.trust.is_some();
            if !allowed(&server.host, server.port, tls) {
                let scheme = if tls { "rediss" } else { "redis" };
                self.log_refused(&format!("{scheme}://{}:{}", server.host, server.port));
                return Ok(Err(wit::Error::InvalidAddress));
            }
            if let Err(reason) = self.check_files(server.trust.iter().flat_map(Trust::files)) {
                return Ok(Err(wit::Error::Other(reason)));
            }
            To::Server(servers.redis.clone(), address.to_owned())
        };
        if self.redis_handles >= limits::REDIS_HANDLES {
            return Ok(Err(wit::Error::TooManyConnections));
        }
        self.redis_handles += 1;
        let faults = self.faults.clone();
        Ok(Ok(self.table.push(Connection { to, faults })?))
    }

    pub(super) fn close_redis(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.redis_handles = self.redis_handles.saturating_sub(1);
        Ok(())
    }
}

impl wit::Host for HostState {}

impl wit::HostConnection for HostState {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_redis(connection)
    }
}

/// Sends a command for a guest.
async fn ask<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    connection: &Resource<Connection>,
    command: Cmd,
) -> wasmtime::Result<Result<Value, wit::Error>> {
    let connection = accessor
        .with(|mut access| wasmtime::error::Ok(access.get().table.get(connection)?.clone()))?;
    Ok(connection.ask(&command).await)
}

impl<T: Send + 'static> wit::HostConnectionWithStore<T> for Capabilities {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        accessor.with(|mut access| access.get().open_redis(&address))
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::Error>> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(payload);
        Ok(ask(accessor, &connection, command).await?.map(drop))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, wit::Error>> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        Ok(ask(accessor, &connection, command).await?.and_then(bytes))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::Error>> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value);
        Ok(ask(accessor, &connection, command).await?.map(drop))
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> wasmtime::Result<Result<i64, wit::Error>> {
        let mut command = redis::cmd("INCR");
        command.arg(key);
        Ok(ask(accessor, &connection, command).await?.and_then(number))
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<u32, wit::Error>> {
        if keys.is_empty() {
            return Ok(Ok(0));
        }
        let mut command = redis::cmd("DEL");
        command.arg(keys);
        Ok(ask(accessor, &connection, command)
            .await?
            .and_then(|value| count(&value)))
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<u32, wit::Error>> {
        let mut command = redis::cmd("SADD");
        command.arg(key).arg(values);
        Ok(ask(accessor, &connection, command)
            .await?
            .and_then(|value| count(&value)))
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> wasmtime::Result<Result<Vec<String>, wit::Error>> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(key);
        Ok(ask(accessor, &connection, command).await?.and_then(texts))
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<u32, wit::Error>> {
        let mut command = redis::cmd("SREM");
        command.arg(key).arg(values);
        Ok(ask(accessor, &connection, command)
            .await?
            .and_then(|value| count(&value)))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        name: String,
        arguments: Vec<wit::RedisParameter>,
    ) -> wasmtime::Result<Result<Vec<wit::RedisResult>, wit::Error>> {
        if let Some(reason) = refusal(&name, &arguments) {
            return Ok(Err(wit::Error::Other(reason)));
        }
        let mut command = redis::cmd(&name);
        for argument in arguments {
            match argument {
                wit::RedisParameter::Int64(number) => command.arg(number),
                wit::RedisParameter::Binary(bytes) => command.arg(bytes),
            };
        }
        Ok(ask(accessor, &connection, command).await?.and_then(flat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_disturb_other_guests_are_refused() {
        let binary = |text: &str| wit::RedisParameter::Binary(text.as_bytes().to_vec());
        assert!(refusal("watch", &[binary("k")]).is_some());
        assert!(refusal("XREAD", &[binary("block"), binary("0")]).is_some());
        assert!(refusal("XREADGROUP", &[binary("GROUP"), binary("g")]).is_none());
        assert!(refusal("EVAL", &[]).is_none());
    }

    #[test]
    fn nested_answers_are_flat_lists() {
        let value = Value::Array(vec![
            Value::Int(1),
            Value::Array(vec![Value::Nil, Value::BulkString(b"x".to_vec())]),
            Value::Okay,
        ]);
        let mut flat = Vec::new();
        flatten(value, &mut flat).unwrap();
        assert_eq!(flat.len(), 4);
    }
}
