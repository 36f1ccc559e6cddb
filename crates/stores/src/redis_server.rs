//! The Redis trait on the blocking driver.

use localmart_connect::redis::Address;
use localmart_guest::redis::{Argument, Redis, Reply};
use localmart_guest::short_lived::StoreError;
use redis::Value;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// How long connecting may take, and how long one command may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The host and port of an address.
pub fn redis_server(address: &str) -> Result<(String, u16), StoreError> {
    let address = Address::parse(address).map_err(StoreError)?;
    Ok((address.host, address.port))
}

/// A connection to a Redis server; clones share it.
#[derive(Clone)]
pub struct RedisServer(Rc<RefCell<redis::Connection>>);

impl RedisServer {
    /// Connects to `redis://host:port/number`.
    pub fn open(address: &str) -> Result<Self, StoreError> {
        let client = Address::parse(address).and_then(|address| address.client());
        let client = client.map_err(StoreError)?;
        let connection = client
            .get_connection_with_timeout(TIMEOUT)
            .map_err(|error| {
                let place = client.get_connection_info().addr().to_string();
                StoreError(format!(
                    "the Redis server at {place} does not answer: {error}"
                ))
            })?;
        connection.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        Ok(Self(Rc::new(RefCell::new(connection))))
    }
}

impl Redis for RedisServer {
    async fn send(
        &self,
        command: &str,
        arguments: Vec<Argument>,
    ) -> Result<Vec<Reply>, StoreError> {
        let mut request = redis::cmd(command);
        for argument in arguments {
            match argument {
                Argument::Number(number) => request.arg(number),
                Argument::Bytes(bytes) => request.arg(bytes),
            };
        }
        let answer: Value = request.query(&mut *self.0.borrow_mut()).map_err(failed)?;
        let mut flat = Vec::new();
        flatten(answer, &mut flat)?;
        Ok(flat)
    }
}

fn flatten(value: Value, out: &mut Vec<Reply>) -> Result<(), StoreError> {
    match value {
        Value::Nil => out.push(Reply::Nil),
        Value::Int(number) => out.push(Reply::Number(number)),
        Value::BulkString(bytes) => out.push(Reply::Bytes(bytes)),
        Value::SimpleString(text) => out.push(Reply::Bytes(text.into_bytes())),
        Value::Okay => out.push(Reply::Bytes(b"OK".to_vec())),
        Value::Array(items) => {
            for item in items {
                flatten(item, out)?;
            }
        }
        other => {
            return Err(StoreError(format!(
                "an answer of an unexpected kind: {other:?}"
            )));
        }
    }
    Ok(())
}

fn failed(error: redis::RedisError) -> StoreError {
    StoreError(error.to_string())
}
