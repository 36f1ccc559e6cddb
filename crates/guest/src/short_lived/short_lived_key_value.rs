//! The short-lived store on `wasi:keyvalue`: the embedded default.

use super::{ShortLived, StoreError, keys_to_sweep, seal, unseal};
use crate::wit::keyvalue::{atomics, store};
use localmart_kernel::Timestamp;

/// The key-value store with the label `default`.
#[derive(Clone, Copy, Default)]
pub struct KeyValueStore;

impl KeyValueStore {
    fn open() -> Result<store::Bucket, StoreError> {
        store::open("default").map_err(failed)
    }
}

impl ShortLived for KeyValueStore {
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed = Self::open()?.get(key).map_err(failed)?;
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
        let bucket = Self::open()?;
        let handle = atomics::Cas::new(&bucket, key).map_err(failed)?;
        let current = handle.current().map_err(failed)?;
        if current.as_deref().and_then(|sealed| unseal(sealed, now)) != expected {
            return Ok(false);
        }
        match atomics::swap(handle, &seal(value, expires_at)) {
            Ok(()) => Ok(true),
            Err(atomics::CasError::CasFailed(_)) => Ok(false),
            Err(atomics::CasError::StoreError(error)) => Err(failed(error)),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        Self::open()?.delete(key).map_err(failed)
    }

    async fn sweep(&self, prefix: &str, now: Timestamp) -> Result<u64, StoreError> {
        let bucket = Self::open()?;
        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let page = bucket.list_keys(cursor.as_deref()).map_err(failed)?;
            keys.extend(page.keys.into_iter().filter(|key| key.starts_with(prefix)));
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let mut removed = 0;
        for key in keys_to_sweep(&keys, now) {
            let sealed = bucket.get(key).map_err(failed)?;
            if sealed.is_some_and(|sealed| unseal(&sealed, now).is_none()) {
                bucket.delete(key).map_err(failed)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn failed(error: store::Error) -> StoreError {
    StoreError(error.to_string())
}
