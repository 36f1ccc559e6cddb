//! A key-value store on a Redis server, as configured in the runtime configuration. Keys are stored unchanged.

use super::Sql;
use crate::capability::redis::Redis;
use crate::limits;
use redis::Value;
use std::sync::Arc;

/// Sets `KEYS[1]` to `ARGV[3]` if its value is `ARGV[2]`, or if it does not exist and `ARGV[1]` is 0.
const SWAP: &str = "local found = redis.call('GET', KEYS[1])
if ARGV[1] == '0' then if found then return 0 end
elseif found ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
return 1";

/// The store on one server.
#[derive(Clone)]
pub(super) struct RedisStore {
    redis: Arc<Redis>,
    url: Arc<str>,
}

impl RedisStore {
    pub(super) fn new(redis: Arc<Redis>, url: &str) -> Self {
        Self {
            redis,
            url: url.into(),
        }
    }

    async fn ask(&self, command: &redis::Cmd) -> Sql<Value> {
        let answer = self.redis.ask(&self.url, command).await;
        answer.map_err(|error| error.to_string())
    }

    pub(super) async fn get(&self, key: &str) -> Sql<Option<Vec<u8>>> {
        match self.ask(redis::cmd("GET").arg(key)).await? {
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::Nil => Ok(None),
            _ => Err("the value is not a string".to_owned()),
        }
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Sql<()> {
        self.ask(redis::cmd("SET").arg(key).arg(value))
            .await
            .map(drop)
    }

    pub(super) async fn delete(&self, key: &str) -> Sql<()> {
        self.ask(redis::cmd("DEL").arg(key)).await.map(drop)
    }

    /// The next page of keys in order. Redis lists keys unordered, so all keys are fetched.
    pub(super) async fn keys_after(&self, after: &str) -> Sql<Vec<String>> {
        let Value::Array(items) = self.ask(redis::cmd("KEYS").arg("*")).await? else {
            return Err("the list of keys is not a list".to_owned());
        };
        let text = |item| match item {
            Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
            _ => None,
        };
        let mut keys: Vec<String> = items.into_iter().filter_map(text).collect();
        keys.retain(|key| key.as_str() > after);
        keys.sort();
        keys.truncate(limits::KEYS_PER_PAGE);
        Ok(keys)
    }

    pub(super) async fn swap(&self, key: &str, seen: Option<Vec<u8>>, value: Vec<u8>) -> Sql<bool> {
        let mut command = redis::cmd("EVAL");
        command.arg(SWAP).arg(1).arg(key);
        command.arg(i32::from(seen.is_some()));
        command.arg(seen.unwrap_or_default()).arg(value);
        Ok(self.ask(&command).await? == Value::Int(1))
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Sql<i64> {
        match self.ask(redis::cmd("INCRBY").arg(key).arg(delta)).await? {
            Value::Int(number) => Ok(number),
            _ => Err("the value is not a number".to_owned()),
        }
    }
}
