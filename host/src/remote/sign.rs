//! Signatures of requests between hosts: HMAC-SHA256 over time, path and body, with a shared key.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The maximum age of a signature. It also bounds the clock difference between two hosts.
const OLDEST: Duration = Duration::from_secs(60);

/// The shared key for links between hosts.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key from its text.
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// Signs a request. The result is `t=<Unix seconds>,v1=<hexadecimal>`.
    pub fn sign(&self, path: &str, body: &[u8]) -> String {
        let time = now();
        let mac = self.mac(time, path, body).finalize().into_bytes();
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={time},v1={hex}")
    }

    /// Whether a request was signed with this key, and recently enough.
    pub fn verifies(&self, signature: &str, path: &str, body: &[u8]) -> bool {
        let Some((time, mac)) = signature.split_once(",v1=") else {
            return false;
        };
        let Some(Ok(time)) = time.strip_prefix("t=").map(str::parse::<u64>) else {
            return false;
        };
        let recent = time.abs_diff(now()) <= OLDEST.as_secs();
        let bytes: Option<Vec<u8>> = (0..mac.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(mac.get(at..at + 2)?, 16).ok())
            .collect();
        // The comparison takes constant time.
        recent && bytes.is_some_and(|bytes| self.mac(time, path, body).verify_slice(&bytes).is_ok())
    }

    fn mac(&self, time: u64, path: &str, body: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC accepts keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(format!("{time}\n{path}\n").as_bytes());
        mac.update(body);
        mac
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_signed_with_the_key_verify() {
        let (key, other) = (Key::new("secret"), Key::new("another"));
        let signature = key.sign("/links/a", b"()");
        assert!(key.verifies(&signature, "/links/a", b"()"));
        assert!(!other.verifies(&signature, "/links/a", b"()"));
        assert!(!key.verifies(&signature, "/links/b", b"()"));
        assert!(!key.verifies(&signature, "/links/a", b"(1)"));
        for wrong in [
            "",
            "t=1,v1=00",
            "v1=00",
            "t=x,v1=00",
            &signature.replace("t=", "t=1"),
        ] {
            assert!(!key.verifies(wrong, "/links/a", b"()"), "{wrong}");
        }
    }
}
