//! The short-lived store: values that expire, such as guest carts, idempotency keys and counters. A value is replaced only
//! if it is still the one that was read (compare-and-swap).

#[cfg(target_arch = "wasm32")]
mod short_lived_chosen;
#[cfg(target_arch = "wasm32")]
mod short_lived_key_value;
mod short_lived_redis;

#[cfg(target_arch = "wasm32")]
pub use short_lived_chosen::{ServiceStore, server};
#[cfg(target_arch = "wasm32")]
pub use short_lived_key_value::KeyValueStore;
pub use short_lived_redis::RedisStore;

use localmart_kernel::Timestamp;

/// How many keys one sweep checks. The first key depends on the time, so that successive sweeps cover all keys.
pub const SWEEP_KEYS: usize = 10_000;

/// The store is not available; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the short-lived store is not available: {0}")]
pub struct StoreError(pub String);

/// A store of values that expire.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait ShortLived {
    /// The value, unless it has expired by `now`.
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces `expected` (`None`: no value, or an expired one) with `value`, which expires at `expires_at`. `false` if
    /// the current value is another one.
    async fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Deletes the value.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Deletes expired values among the keys with this prefix; returns how many were deleted.
    async fn sweep(&self, prefix: &str, now: Timestamp) -> Result<u64, StoreError>;
}

/// The keys that a sweep at this time checks.
pub fn keys_to_sweep(keys: &[String], now: Timestamp) -> impl Iterator<Item = &String> {
    let seconds = usize::try_from(now.ms() / 1000).unwrap_or_default();
    let start = seconds.checked_rem(keys.len()).unwrap_or_default();
    keys.iter()
        .cycle()
        .skip(start)
        .take(keys.len().min(SWEEP_KEYS))
}

/// A value with its expiry in front, for stores without expiry: eight bytes of Unix milliseconds, big endian.
pub fn seal(value: &[u8], expires_at: Timestamp) -> Vec<u8> {
    [&expires_at.ms().to_be_bytes(), value].concat()
}

/// The inverse of [`seal`]; `None` if the value has expired or was not sealed.
pub fn unseal(sealed: &[u8], now: Timestamp) -> Option<&[u8]> {
    let (expires_at, value) = sealed.split_first_chunk::<8>()?;
    (i64::from_be_bytes(*expires_at) > now.ms()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successive_sweeps_cover_every_key() {
        let few: Vec<String> = (0..3).map(|number| number.to_string()).collect();
        let seen: Vec<&String> = keys_to_sweep(&few, Timestamp::from_ms(1_000)).collect();
        assert_eq!(seen, ["1", "2", "0"]);
        assert_eq!(keys_to_sweep(&[], Timestamp::from_ms(1_000)).count(), 0);
        let many: Vec<String> = (0..=SWEEP_KEYS).map(|number| number.to_string()).collect();
        assert_eq!(
            keys_to_sweep(&many, Timestamp::from_ms(0)).count(),
            SWEEP_KEYS
        );
        assert_eq!(
            keys_to_sweep(&many, Timestamp::from_ms(7_000))
                .next()
                .map(String::as_str),
            Some("7")
        );
    }

    #[test]
    fn a_sealed_value_expires() {
        let sealed = seal(b"x", Timestamp::from_ms(10));
        assert_eq!(unseal(&sealed, Timestamp::from_ms(9)), Some(&b"x"[..]));
        assert_eq!(unseal(&sealed, Timestamp::from_ms(10)), None);
        assert_eq!(unseal(b"short", Timestamp::from_ms(0)), None);
    }
}
