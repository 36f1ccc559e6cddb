//! The short-lived store that the variable `redis_url` selects: `embedded` (key-value store) or the address of a server.

use super::short_lived_redis::RedisStore;
use super::{KeyValueStore, ShortLived, StoreError};
use crate::config::{self, EMBEDDED};
use crate::redis::Server;
use localmart_kernel::Timestamp;

/// The configured store.
#[derive(Clone, Copy, Default)]
pub struct ServiceStore;

/// The configured Redis server; `None` if the store is embedded.
pub async fn server() -> Result<Option<Server>, StoreError> {
    let url = config::once("redis_url").await;
    let url = url.map_err(|error| StoreError(error.to_string()))?;
    Ok((url != EMBEDDED).then(|| Server::new(&url)))
}

impl ShortLived for ServiceStore {
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        match server().await? {
            Some(server) => RedisStore(server).get(key, now).await,
            None => KeyValueStore.get(key, now).await,
        }
    }

    async fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match server().await? {
            Some(server) => {
                let store = RedisStore(server);
                store.swap(key, expected, value, expires_at, now).await
            }
            None => {
                KeyValueStore
                    .swap(key, expected, value, expires_at, now)
                    .await
            }
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match server().await? {
            Some(server) => RedisStore(server).delete(key).await,
            None => KeyValueStore.delete(key).await,
        }
    }

    async fn sweep(&self, prefix: &str, now: Timestamp) -> Result<u64, StoreError> {
        match server().await? {
            Some(server) => RedisStore(server).sweep(prefix, now).await,
            None => KeyValueStore.sweep(prefix, now).await,
        }
    }
}
