//! Access tokens (EdDSA, RFC 8037), which every service verifies itself, and the HMACs that the shop uses as capabilities
//! and signatures.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use localmart_kernel::{Timestamp, named};
use serde_json::Value;
use sha2::Sha256;

/// The audience and issuer of every token of the shop.
pub const AUDIENCE: &str = "localmart";

/// How far clocks may differ, in seconds.
const LEEWAY_S: i64 = 5;

named! {
    /// The role of a user; each role includes the ones before it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Role {
        /// Buys goods.
        Customer = "customer",
        /// Runs the shop.
        Staff = "staff",
        /// Runs the shop and manages users.
        Admin = "admin",
    }
}

impl Role {
    /// The names of this role and of the roles that it includes.
    pub fn names(self) -> Vec<&'static str> {
        let included = Self::ALL.into_iter().filter(|role| *role <= self);
        included.map(Self::name).collect()
    }
}

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The user id.
    pub subject: String,
    /// The highest role in the token.
    pub role: Role,
    /// The session of the token. A session can be ended before its tokens expire.
    pub session: Option<String>,
}

/// The prefix of the keys in the short-lived store that mark sessions as ended.
pub const REVOKED_PREFIX: &str = "revoked/";

/// The key in the short-lived store that marks a session as ended.
pub fn revocation_key(session: &str) -> String {
    format!("{REVOKED_PREFIX}{session}")
}

/// The public half of the key that signs tokens.
#[derive(Clone)]
pub struct TokenKey(VerifyingKey);

impl TokenKey {
    /// Reads the variable `jwt_public_key`: 32 bytes in base64url without padding.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).ok()?;
        let bytes = <[u8; 32]>::try_from(bytes).ok()?;
        VerifyingKey::from_bytes(&bytes).ok().map(Self)
    }

    /// Checks algorithm, signature, expiry, audience and issuer. The caller does not learn which check failed, so that an
    /// attacker does not either.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header = json(header)?;
        if header.get("alg")?.as_str()? != "EdDSA" {
            return None;
        }
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        self.0.verify_strict(signed.as_bytes(), &signature).ok()?;
        let claims = json(payload)?;
        let expires = claims.get("exp")?.as_i64()?;
        let in_time = expires.saturating_add(LEEWAY_S).saturating_mul(1000) > now.ms();
        let ours =
            claims.get("aud")?.as_str()? == AUDIENCE && claims.get("iss")?.as_str()? == AUDIENCE;
        if !(in_time && ours) {
            return None;
        }
        let roles = claims.get("roles")?.as_array()?;
        let role = roles
            .iter()
            .filter_map(|role| Role::parse(role.as_str()?))
            .max();
        Some(Claims {
            subject: claims.get("sub")?.as_str()?.to_owned(),
            role: role.unwrap_or(Role::Customer),
            session: claims.get("sid").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// The private half of the key that signs tokens.
#[derive(Clone)]
pub struct TokenSigner(SigningKey);

/// The content of a new token.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// The user id.
    pub subject: &'a str,
    /// The names of the roles.
    pub roles: &'a [&'a str],
    /// The session of the token, if it belongs to one.
    pub session: Option<&'a str>,
    /// The unique id of the token.
    pub id: &'a str,
    /// The time of issue, in Unix seconds.
    pub issued_s: i64,
    /// How long the token is valid, in seconds.
    pub seconds: i64,
}

impl TokenSigner {
    /// Parses the variable `jwt_private_key`: 32 bytes in base64url without padding.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).ok()?;
        let bytes = <[u8; 32]>::try_from(bytes).ok()?;
        Some(Self(SigningKey::from_bytes(&bytes)))
    }

    /// Signs a token: an EdDSA JWT (RFC 8037).
    pub fn sign(&self, token: NewToken<'_>) -> String {
        let mut claims = serde_json::json!({
            "iss": AUDIENCE,
            "aud": AUDIENCE,
            "sub": token.subject,
            "roles": token.roles,
            "jti": token.id,
            "iat": token.issued_s,
            "exp": token.issued_s.saturating_add(token.seconds),
        });
        if let (Some(session), Some(claims)) = (token.session, claims.as_object_mut()) {
            claims.insert("sid".to_owned(), session.into());
        }
        let header = serde_json::json!({ "alg": "EdDSA", "typ": "JWT" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn json(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// The HMAC-SHA256 of a text in base64url: a capability that needs no storage.
pub fn capability(key: &str, text: &str) -> String {
    URL_SAFE_NO_PAD.encode(mac(key, text).finalize().into_bytes())
}

/// Whether `presented` is the [`capability`] of the text; compared in constant time.
pub fn is_capability(key: &str, text: &str, presented: &str) -> bool {
    URL_SAFE_NO_PAD
        .decode(presented)
        .is_ok_and(|bytes| mac(key, text).verify_slice(&bytes).is_ok())
}

/// Whether one of `presented` is the HMAC-SHA256 of the text in hexadecimal, as providers sign webhooks; compared in
/// constant time.
pub fn is_signature(key: &str, text: &str, presented: &[&str]) -> bool {
    let bytes = mac(key, text).finalize().into_bytes();
    let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let matches = |presented: &&str| secrets_match(&expected, &presented.to_ascii_lowercase());
    presented.iter().any(matches)
}

/// Whether two secrets are equal; compared in constant time.
pub fn secrets_match(one: &str, other: &str) -> bool {
    // Comparing MACs also hides the lengths.
    is_capability("same_secret", one, &capability("same_secret", other))
}

fn mac(key: &str, text: &str) -> Hmac<Sha256> {
    // HMAC accepts keys of any length (RFC 2104), so the fallback is never used.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(header: &str, claims: &str) -> (TokenKey, String) {
        let key = SigningKey::from_bytes(&[3; 32]);
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).to_bytes());
        (TokenKey(key.verifying_key()), format!("{text}.{signature}"))
    }

    const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

    fn check(header: &str, claims: &str, now_s: i64) -> Option<Claims> {
        let (key, token) = signed(header, claims);
        key.verify(&token, Timestamp::from_ms(now_s * 1000))
    }

    #[test]
    fn only_a_valid_unexpired_token_of_this_shop_is_accepted() {
        let good = r#"{"iss":"localmart","aud":"localmart","sub":"u","roles":["customer","staff"],"exp":100}"#;
        assert_eq!(check(HEADER, good, 99).unwrap().role, Role::Staff);
        assert_eq!(check(HEADER, good, 106), None);
        assert_eq!(check(r#"{"alg":"none"}"#, good, 99), None);
        assert_eq!(
            check(
                HEADER,
                &good.replace("\"aud\":\"localmart\"", "\"aud\":\"x\""),
                99
            ),
            None
        );
        assert_eq!(
            check(HEADER, &good.replace("\"exp\":100", "\"exp\":\"100\""), 99),
            None
        );
    }

    #[test]
    fn a_forged_token_is_refused() {
        let claims =
            r#"{"iss":"localmart","aud":"localmart","sub":"u","roles":["customer"],"exp":100}"#;
        let (key, token) = signed(HEADER, claims);
        let parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(claims.replace("customer", "admin"));
        let now = Timestamp::from_ms(0);
        assert!(key.verify(&token, now).is_some());
        for bad in [
            format!("{}.{forged}.{}", parts[0], parts[2]),
            String::new(),
            "..".into(),
            "a.b.c".into(),
        ] {
            assert_eq!(key.verify(&bad, now), None, "{bad}");
        }
    }

    #[test]
    fn a_capability_is_valid_only_for_its_text_and_key() {
        let token = capability("key", "order-1");
        assert!(is_capability("key", "order-1", &token));
        assert!(!is_capability("key", "order-2", &token));
        assert!(!is_capability("yek", "order-1", &token));
        assert!(!is_capability("key", "order-1", ""));
        assert!(secrets_match("a", "a") && !secrets_match("a", "b"));
    }
}
