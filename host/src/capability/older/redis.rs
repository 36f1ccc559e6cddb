//! `fermyon:spin/redis@2.0.0`.

use super::bindings::fermyon::spin::redis as wit;
use crate::capability::redis::bindings::spin::redis::redis as newer;
use crate::capability::redis::{Connection, bytes, count, flat, number, refusal, texts};
use crate::capability::state::HostState;
use redis::{Cmd, Value};
use wasmtime::component::Resource;

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl HostState {
    async fn ask_redis<T>(
        &mut self,
        connection: &Resource<Connection>,
        command: &Cmd,
        read: impl FnOnce(Value) -> Result<T, newer::Error>,
    ) -> Answer<T> {
        let connection = self.table.get(connection)?.clone();
        let answer = connection.ask(command).await.and_then(read);
        Ok(answer.map_err(failed))
    }
}

impl wit::Host for HostState {}

impl wit::HostConnection for HostState {
    async fn open(&mut self, address: String) -> Answer<Resource<Connection>> {
        Ok(self.open_redis(&address)?.map_err(failed))
    }

    async fn publish(
        &mut self,
        connection: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Answer<()> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(payload);
        self.ask_redis(&connection, &command, |_| Ok(())).await
    }

    async fn get(
        &mut self,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        let mut command = redis::cmd("GET");
        self.ask_redis(&connection, command.arg(key), bytes).await
    }

    async fn set(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value);
        self.ask_redis(&connection, &command, |_| Ok(())).await
    }

    async fn incr(&mut self, connection: Resource<Connection>, key: String) -> Answer<i64> {
        let mut command = redis::cmd("INCR");
        self.ask_redis(&connection, command.arg(key), number).await
    }

    async fn del(&mut self, connection: Resource<Connection>, keys: Vec<String>) -> Answer<u32> {
        if keys.is_empty() {
            return Ok(Ok(0));
        }
        let mut command = redis::cmd("DEL");
        let read = |value| count(&value);
        self.ask_redis(&connection, command.arg(keys), read).await
    }

    async fn sadd(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        let mut command = redis::cmd("SADD");
        command.arg(key).arg(values);
        self.ask_redis(&connection, &command, |value| count(&value))
            .await
    }

    async fn smembers(
        &mut self,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<Vec<String>> {
        let mut command = redis::cmd("SMEMBERS");
        self.ask_redis(&connection, command.arg(key), texts).await
    }

    async fn srem(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        let mut command = redis::cmd("SREM");
        command.arg(key).arg(values);
        self.ask_redis(&connection, &command, |value| count(&value))
            .await
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        name: String,
        arguments: Vec<wit::RedisParameter>,
    ) -> Answer<Vec<wit::RedisResult>> {
        let arguments: Vec<newer::RedisParameter> = arguments.into_iter().map(lift).collect();
        if let Some(reason) = refusal(&name, &arguments) {
            return Ok(Err(wit::Error::Other(reason)));
        }
        let mut command = redis::cmd(&name);
        for argument in arguments {
            match argument {
                newer::RedisParameter::Int64(number) => command.arg(number),
                newer::RedisParameter::Binary(bytes) => command.arg(bytes),
            };
        }
        let read = |value| Ok(flat(value)?.into_iter().map(lower).collect());
        self.ask_redis(&connection, &command, read).await
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_redis(connection)
    }
}

fn lift(parameter: wit::RedisParameter) -> newer::RedisParameter {
    match parameter {
        wit::RedisParameter::Int64(number) => newer::RedisParameter::Int64(number),
        wit::RedisParameter::Binary(bytes) => newer::RedisParameter::Binary(bytes),
    }
}

fn lower(result: newer::RedisResult) -> wit::RedisResult {
    match result {
        newer::RedisResult::Nil => wit::RedisResult::Nil,
        newer::RedisResult::Status(text) => wit::RedisResult::Status(text),
        newer::RedisResult::Int64(number) => wit::RedisResult::Int64(number),
        newer::RedisResult::Binary(bytes) => wit::RedisResult::Binary(bytes),
    }
}

fn failed(error: newer::Error) -> wit::Error {
    match error {
        newer::Error::InvalidAddress => wit::Error::InvalidAddress,
        newer::Error::TooManyConnections => wit::Error::TooManyConnections,
        newer::Error::TypeError => wit::Error::TypeError,
        newer::Error::Other(reason) => wit::Error::Other(reason),
    }
}
