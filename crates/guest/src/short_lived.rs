//! State that expires: guest carts, idempotency keys, counters. Values are swapped only against what was read.

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

/// How many keys one sweep looks at; where it begins moves with time, so that the others have their turn.
pub const SWEEP_KEYS: usize = 10_000;

/// The store cannot answer; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the short-lived store is not available: {0}")]
pub struct StoreError(pub String);

/// A store of values with an end.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait ShortLived {
    /// The value, unless it has expired by `now`.
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces `expected` (`None`: nothing, or something expired) by `value` until `expires_at`. `false` if
    /// something else was there.
    async fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Forgets the value.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Removes what has expired among the keys with this prefix; returns how many.
    async fn sweep(&self, prefix: &str, now: Timestamp) -> Result<u64, StoreError>;
}

/// The keys that a sweep at this time looks at.
pub fn turn_of(keys: &[String], now: Timestamp) -> impl Iterator<Item = &String> {
    let seconds = usize::try_from(now.ms() / 1000).unwrap_or_default();
    let start = seconds.checked_rem(keys.len()).unwrap_or_default();
    keys.iter()
        .cycle()
        .skip(start)
        .take(keys.len().min(SWEEP_KEYS))
}

/// A value with its end in front, for stores that know no expiry: eight bytes of Unix milliseconds, big endian.
pub fn seal(value: &[u8], expires_at: Timestamp) -> Vec<u8> {
    [&expires_at.ms().to_be_bytes(), value].concat()
}

/// Undoes [`seal`]; `None` if the value has expired or was never sealed.
pub fn unseal(sealed: &[u8], now: Timestamp) -> Option<&[u8]> {
    let (end, value) = sealed.split_first_chunk::<8>()?;
    (i64::from_be_bytes(*end) > now.ms()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_turn_in_a_sweep() {
        let few: Vec<String> = (0..3).map(|number| number.to_string()).collect();
        let seen: Vec<&String> = turn_of(&few, Timestamp::from_ms(1_000)).collect();
        assert_eq!(seen, ["1", "2", "0"]);
        assert_eq!(turn_of(&[], Timestamp::from_ms(1_000)).count(), 0);
        let many: Vec<String> = (0..=SWEEP_KEYS).map(|number| number.to_string()).collect();
        assert_eq!(turn_of(&many, Timestamp::from_ms(0)).count(), SWEEP_KEYS);
        assert_eq!(
            turn_of(&many, Timestamp::from_ms(7_000))
                .next()
                .map(String::as_str),
            Some("7")
        );
    }

    #[test]
    fn a_sealed_value_ends() {
        let sealed = seal(b"x", Timestamp::from_ms(10));
        assert_eq!(unseal(&sealed, Timestamp::from_ms(9)), Some(&b"x"[..]));
        assert_eq!(unseal(&sealed, Timestamp::from_ms(10)), None);
        assert_eq!(unseal(b"short", Timestamp::from_ms(0)), None);
    }
}
