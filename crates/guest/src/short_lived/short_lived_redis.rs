//! The short-lived store on Redis. The server deletes a value when it expires; a swap is one Lua script.

use super::{ShortLived, StoreError, seal, unseal};
use crate::redis::{Argument, Redis, Reply};
use localmart_kernel::Timestamp;

/// The prefix of all keys of this store.
const PREFIX: &str = "localmart:kv:";

/// Sets `KEYS[1]` to `ARGV[3]`, which expires at `ARGV[4]`, if its value is `ARGV[2]`, or if it has none and `ARGV[1]` is
/// 0.
const SWAP: &str = "local found = redis.call('GET', KEYS[1])
if ARGV[1] == '0' then if found then return 0 end
elseif found ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[4])
return 1";

/// The store on a Redis server.
#[derive(Clone)]
pub struct RedisStore<R>(pub R);

impl<R: Redis> RedisStore<R> {
    async fn sealed(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let answer = self.0.send("GET", vec![named(key)]).await?;
        Ok(match answer.into_iter().next() {
            Some(Reply::Bytes(bytes)) => Some(bytes),
            _ => None,
        })
    }
}

impl<R: Redis> ShortLived for RedisStore<R> {
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed = self.sealed(key).await?;
        Ok(sealed.and_then(|sealed| unseal(&sealed, now).map(<[u8]>::to_vec)))
    }

    async fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sealed = self.sealed(key).await?;
        if sealed.as_deref().and_then(|sealed| unseal(sealed, now)) != expected {
            return Ok(false);
        }
        let arguments = vec![
            SWAP.into(),
            Argument::Number(1),
            named(key),
            Argument::Number(i64::from(sealed.is_some())),
            sealed.as_deref().unwrap_or_default().into(),
            seal(value, expires_at).as_slice().into(),
            Argument::Number(expires_at.ms()),
        ];
        let answer = self.0.send("EVAL", arguments).await?;
        Ok(answer.first().and_then(Reply::number) == Some(1))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.send("DEL", vec![named(key)]).await.map(drop)
    }

    /// Does nothing: the server deletes expired values itself.
    async fn sweep(&self, _prefix: &str, _now: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}

fn named(key: &str) -> Argument {
    format!("{PREFIX}{key}").into()
}
