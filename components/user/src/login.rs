//! Login: sessions and their tokens, refreshing, logging out, and the patience with wrong passwords.

use crate::domain::{User, email_key, is_password};
use crate::service::{Result, UserError, Users};
use crate::store::{RefreshOutcome, Store};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::ports::Ports;
use localmart_guest::short_lived::{ShortLived, StoreError};
use localmart_guest::sql::Database;
use localmart_guest::token::{AUDIENCE, Role, capability, revocation_key};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// How long an access token holds, in seconds.
pub(crate) const ACCESS_S: i64 = 900;
/// How long a session lives without being refreshed, in milliseconds.
const SESSION_MS: i64 = 30 * 86_400_000;
/// How long a revoked session is remembered by the doors, in milliseconds: longer than any of its tokens holds.
const REVOKED_MS: i64 = (ACCESS_S + 60) * 1_000;
/// Wrong passwords in a row that an address may have.
const ALLOWED_FAILURES: i64 = 5;
/// How long an address is locked then, in milliseconds; it doubles with every lock.
const LOCK_MS: i64 = 60_000;
/// The longest lock, in milliseconds.
const MAX_LOCK_MS: i64 = 3_600_000;
/// How long failures are remembered, in milliseconds.
const FAILURES_MS: i64 = 86_400_000;
/// How often a counter is tried again when somebody else counts at the same moment.
const ATTEMPTS: u32 = 50;

/// What a client gets for logging in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenPair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// Makes tokens.
pub(crate) struct Tokens(SigningKey);

impl Tokens {
    /// Reads the variable `jwt_private_key`: 32 bytes in base64url without padding.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).ok()?;
        let bytes = <[u8; 32]>::try_from(bytes).ok()?;
        Some(Self(SigningKey::from_bytes(&bytes)))
    }

    /// An EdDSA JWT (RFC 8037) of a session.
    fn access(&self, user: &Id, role: Role, session: &Id, id: &Id, now: Timestamp) -> String {
        let seconds = now.ms().div_euclid(1_000);
        let claims = json!({
            "iss": AUDIENCE,
            "aud": AUDIENCE,
            "sub": user.as_str(),
            "roles": role.names(),
            "jti": id.as_str(),
            "sid": session.as_str(),
            "iat": seconds,
            "exp": seconds + ACCESS_S,
        });
        let header = json!({ "alg": "EdDSA", "typ": "JWT" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What of a refresh token is stored.
fn token_hash(refresh: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(refresh.as_bytes()))
}

/// Sessions.
pub(crate) struct Sessions<D, K> {
    store: Store<D>,
    values: K,
    tokens: Tokens,
    ports: Ports,
}

impl<D: Database, K: ShortLived> Sessions<D, K> {
    pub(crate) fn new(store: Store<D>, values: K, tokens: Tokens, ports: Ports) -> Self {
        Self {
            store,
            values,
            tokens,
            ports,
        }
    }

    /// A new session.
    pub(crate) async fn begin(&self, user: &User) -> Result<TokenPair> {
        let (session, now) = (self.ports.new_id(), self.ports.now());
        let refresh = self.secret();
        let end = now.plus_ms(SESSION_MS);
        self.store
            .begin_session(&session, &user.id, &token_hash(&refresh), now, end)
            .await?;
        Ok(self.pair(user, &session, refresh))
    }

    /// Spends a refresh token for another. One that was spent before is a thief's or its victim's: the whole family falls.
    pub(crate) async fn refresh(&self, presented: &str) -> Result<(User, TokenPair)> {
        let now = self.ports.now();
        let refresh = self.secret();
        let (old, new) = (token_hash(presented), token_hash(&refresh));
        let end = now.plus_ms(SESSION_MS);
        let outcome = self.store.rotate(&old, &new, now, end).await?;
        match outcome {
            RefreshOutcome::Rotated(session, user) => {
                let user = self
                    .store
                    .by_id(&user)
                    .await?
                    .ok_or(UserError::InvalidToken)?;
                let pair = self.pair(&user, &session, refresh);
                Ok((user, pair))
            }
            RefreshOutcome::Reused(session) => {
                self.end(&session).await?;
                Err(UserError::InvalidToken)
            }
            RefreshOutcome::Invalid => Err(UserError::InvalidToken),
        }
    }

    /// Ends the session of a refresh token, which must be this user's, and the session of the access token he shows.
    pub(crate) async fn log_out(
        &self,
        user: &str,
        presented: &str,
        shown: Option<&str>,
    ) -> Result<()> {
        let found = self.store.session_of(&token_hash(presented)).await?;
        let (session, _) = found
            .filter(|(_, owner)| owner.as_str() == user)
            .ok_or(UserError::InvalidToken)?;
        self.end(&session).await?;
        if let Some(shown) = shown.and_then(Id::parse).filter(|shown| *shown != session) {
            self.end(&shown).await?;
        }
        Ok(())
    }

    /// Ends all sessions of a user.
    pub(crate) async fn end_all(&self, user: &Id) -> Result<()> {
        for session in self.store.live_sessions(user, self.ports.now()).await? {
            self.end(&session).await?;
        }
        Ok(())
    }

    /// Written in SQL first: if the doors cannot be told now, no new token comes of it all the same.
    async fn end(&self, session: &Id) -> Result<()> {
        let now = self.ports.now();
        self.store.end_session(session, now).await?;
        let key = revocation_key(session.as_str());
        let end = now.plus_ms(REVOKED_MS);
        for _ in 0..ATTEMPTS {
            let known = self.values.get(&key, now).await?;
            if self
                .values
                .swap(&key, known.as_deref(), b"1", end, now)
                .await?
            {
                break;
            }
        }
        Ok(())
    }

    fn pair(&self, user: &User, session: &Id, refresh: String) -> TokenPair {
        let (id, now) = (self.ports.new_id(), self.ports.now());
        TokenPair {
            access: self.tokens.access(&user.id, user.role, session, &id, now),
            refresh,
        }
    }

    fn secret(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.ports.secret())
    }
}

/// Wrong passwords in a row, by address, whether anybody has it or not.
pub(crate) struct Failures<K> {
    values: K,
    ports: Ports,
}

impl<K: ShortLived> Failures<K> {
    pub(crate) fn new(values: K, ports: Ports) -> Self {
        Self { values, ports }
    }

    /// Counts an attempt before it is made, so that many at once are not one; refuses it if there were too many.
    async fn count(&self, key: &str) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let now = self.ports.now();
            let known = self.values.get(key, now).await?;
            let record: Value = known
                .as_deref()
                .and_then(|bytes| serde_json::from_slice(bytes).ok())
                .unwrap_or_default();
            let number = |name: &str| record.get(name).and_then(Value::as_i64).unwrap_or_default();
            let wait =
                |until: i64| UserError::TooManyAttempts((until - now.ms()).div_euclid(1_000) + 1);
            if number("until") > now.ms() {
                return Err(wait(number("until")));
            }
            let (mut failures, mut locks, mut until) = (number("failures") + 1, number("locks"), 0);
            if failures > ALLOWED_FAILURES {
                until = now.ms()
                    + LOCK_MS
                        .saturating_mul(1 << locks.min(10))
                        .min(MAX_LOCK_MS);
                failures = 0;
                locks += 1;
            }
            let next = json!({ "failures": failures, "locks": locks, "until": until }).to_string();
            let end = now.plus_ms(FAILURES_MS);
            if self
                .values
                .swap(key, known.as_deref(), next.as_bytes(), end, now)
                .await?
            {
                return if until > 0 { Err(wait(until)) } else { Ok(()) };
            }
        }
        Err(UserError::Store(StoreError(
            "too many count at once".to_owned(),
        )))
    }

    async fn forget(&self, key: &str) -> Result<()> {
        Ok(self.values.delete(key).await?)
    }
}

impl<D: Database, K: ShortLived + Clone> Users<D, K> {
    /// Whose e-mail address and password these are.
    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Result<User> {
        let key = email_key(email);
        // The store learns no address.
        let counter = format!("login/{}", capability("login", &key));
        self.failures.count(&counter).await?;
        let known = self.store.by_email(&key).await?;
        let hash = known.as_ref().map(|(_, hash)| hash.as_str());
        if !is_password(password, hash) {
            return Err(UserError::InvalidCredentials);
        }
        let (user, _) = known.ok_or(UserError::InvalidCredentials)?;
        self.failures.forget(&counter).await?;
        Ok(user)
    }
}
