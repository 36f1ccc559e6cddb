//! Login: sessions, access and refresh tokens, logout, and the lockout after wrong passwords.

use crate::domain::{User, email_key, is_password};
use crate::service::{Result, UserError, Users};
use crate::store::{RefreshOutcome, Store};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use localmart_guest::kernel::Id;
use localmart_guest::ports::Ports;
use localmart_guest::short_lived::{ShortLived, StoreError};
use localmart_guest::sql::Database;
use localmart_guest::token::{NewToken, TokenSigner, capability, revocation_key};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;

/// How long an access token is valid, in seconds.
pub(crate) const ACCESS_S: i64 = 900;
/// How long a session lasts without a refresh, in milliseconds.
const SESSION_MS: i64 = 30 * 86_400_000;
/// How long a revoked session is kept in the short-lived store, in milliseconds: longer than its access tokens are valid.
const REVOKED_MS: i64 = (ACCESS_S + 60) * 1_000;
/// How many wrong passwords in a row a client address may send for one account.
const FAILURES_OF_CLIENT: i64 = 5;
/// How many wrong passwords in a row all clients together may send for one account (NIST SP 800-63B, section 5.2.2). It
/// does not apply to a client that has logged in to the account before, so that strangers cannot lock its owner out.
const FAILURES_OF_ACCOUNT: i64 = 100;
/// How many wrong passwords in a row a client address may send for all accounts together.
const FAILURES_OF_ADDRESS: i64 = 20;
/// How long a client address is known to an account after a login, in milliseconds.
const KNOWN_CLIENT_MS: i64 = 90 * 86_400_000;
/// How long a lock lasts the first time, in milliseconds. The time doubles with every lock.
const LOCK_MS: i64 = 60_000;
/// The longest lock, in milliseconds.
const MAX_LOCK_MS: i64 = 3_600_000;
/// How long failures are kept, in milliseconds.
const FAILURES_MS: i64 = 86_400_000;
/// How often a write is tried when concurrent writes win.
const ATTEMPTS: u32 = 50;

/// The tokens that a client gets at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenPair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// The stored form of a refresh token.
fn token_hash(refresh: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(refresh.as_bytes()))
}

/// The operations on sessions.
pub(crate) struct Sessions<D, K> {
    store: Store<D>,
    values: K,
    tokens: TokenSigner,
    ports: Ports,
}

impl<D: Database, K: ShortLived> Sessions<D, K> {
    pub(crate) fn new(store: Store<D>, values: K, tokens: TokenSigner, ports: Ports) -> Self {
        Self {
            store,
            values,
            tokens,
            ports,
        }
    }

    /// Begins a session of a user, with the rights that the user has when the session is written. Returns this state of the
    /// user.
    pub(crate) async fn begin(&self, mut user: User) -> Result<(User, TokenPair)> {
        for _ in 0..ATTEMPTS {
            let (session, now) = (self.ports.new_id(), self.ports.now());
            let refresh = self.secret();
            let end = now.plus_ms(SESSION_MS);
            let begun = self
                .store
                .begin_session(&session, &user, &token_hash(&refresh), now, end)
                .await?;
            if begun {
                let pair = self.pair(&user, &session, refresh);
                return Ok((user, pair));
            }
            // The user was changed or erased since the password was checked.
            let changed = self.store.by_id(&user.id).await?;
            user = changed.ok_or(UserError::InvalidCredentials)?;
        }
        Err(UserError::VersionConflict)
    }

    /// Exchanges a refresh token for a new pair of tokens. A token that is used a second time has been stolen, so its session
    /// ends.
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

    /// Ends the session of a refresh token, which must belong to this user, and the session of the access token in the
    /// request.
    pub(crate) async fn log_out(
        &self,
        user: &str,
        presented: &str,
        current: Option<&str>,
    ) -> Result<()> {
        let found = self.store.session_of(&token_hash(presented)).await?;
        let (session, _) = found
            .filter(|(_, owner)| owner.as_str() == user)
            .ok_or(UserError::InvalidToken)?;
        self.end(&session).await?;
        if let Some(current) = current
            .and_then(Id::parse)
            .filter(|current| *current != session)
        {
            self.end(&current).await?;
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

    /// Ends a session, first in SQL: even if the short-lived store is unavailable, the session cannot be refreshed any more.
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
            access: self.tokens.sign(NewToken {
                subject: user.id.as_str(),
                roles: &user.role.names(),
                session: Some(session.as_str()),
                id: id.as_str(),
                issued_s: now.ms().div_euclid(1_000),
                seconds: ACCESS_S,
            }),
            refresh,
        }
    }

    fn secret(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.ports.secret())
    }
}

/// Counts wrong passwords in a row, whether an account exists or not.
pub(crate) struct Failures<K> {
    values: K,
    ports: Ports,
}

impl<K: ShortLived> Failures<K> {
    pub(crate) fn new(values: K, ports: Ports) -> Self {
        Self { values, ports }
    }

    /// Counts an attempt and refuses it if there were too many. Called before the password is checked, so that concurrent
    /// attempts all count.
    async fn count(&self, key: &str, allowed: i64) -> Result<()> {
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
            if failures > allowed {
                until = now.ms() + LOCK_MS.saturating_mul(1 << locks.min(10)).min(MAX_LOCK_MS);
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
            "too many concurrent login attempts".to_owned(),
        )))
    }

    async fn reset(&self, key: &str) -> Result<()> {
        Ok(self.values.delete(key).await?)
    }

    /// Takes back one attempt. Logins to an account of one's own do not make room for guesses at others.
    async fn forgive(&self, key: &str) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let now = self.ports.now();
            let Some(known) = self.values.get(key, now).await? else {
                return Ok(());
            };
            let mut record: Value = serde_json::from_slice(&known).unwrap_or_default();
            let failures = record.get("failures").and_then(Value::as_i64);
            if let Some(object) = record.as_object_mut() {
                let left = failures.unwrap_or_default().saturating_sub(1).max(0);
                object.insert("failures".to_owned(), json!(left));
            }
            let next = record.to_string();
            let end = now.plus_ms(FAILURES_MS);
            let swapped = self
                .values
                .swap(key, Some(&known), next.as_bytes(), end, now);
            if swapped.await? {
                break;
            }
        }
        Ok(())
    }

    async fn is_known(&self, key: &str) -> Result<bool> {
        Ok(self.values.get(key, self.ports.now()).await?.is_some())
    }

    async fn remember(&self, key: &str) -> Result<()> {
        let now = self.ports.now();
        let known = self.values.get(key, now).await?;
        let end = now.plus_ms(KNOWN_CLIENT_MS);
        // A concurrent login of the same client remembers it just as well.
        self.values
            .swap(key, known.as_deref(), b"1", end, now)
            .await?;
        Ok(())
    }
}

/// The keys of the counters for one attempt. They are hashes, so that the store contains no address.
struct Counters {
    client: String,
    account: String,
    /// `None` for clients of this machine, which do not count, and where the host reports no address.
    address: Option<String>,
    known: String,
}

impl Counters {
    fn new(account: &str, client_ip: &str) -> Self {
        let key = |kind: &str, text: &str| format!("login/{}", capability(kind, text));
        let both = format!("{account}\n{client_ip}");
        let remote = client_ip.parse::<IpAddr>().ok();
        let remote = remote.filter(|ip| !ip.to_canonical().is_loopback());
        Self {
            client: key("login", &both),
            account: key("login-account", account),
            address: remote.map(|ip| key("login-address", &ip.to_string())),
            known: key("login-known", &both),
        }
    }
}

impl<D: Database, K: ShortLived + Clone> Users<D, K> {
    /// The user with this e-mail address and password. Failures count per client address and account, per account, and per
    /// client address.
    pub(crate) async fn log_in(
        &self,
        email: &str,
        password: &str,
        client_ip: &str,
    ) -> Result<User> {
        let key = email_key(email);
        let counters = Counters::new(&key, client_ip);
        let failures = &self.failures;
        failures.count(&counters.client, FAILURES_OF_CLIENT).await?;
        if let Some(address) = &counters.address {
            failures.count(address, FAILURES_OF_ADDRESS).await?;
        }
        if !failures.is_known(&counters.known).await? {
            failures
                .count(&counters.account, FAILURES_OF_ACCOUNT)
                .await?;
        }
        let known = self.store.by_email(&key).await?;
        let hash = known.as_ref().map(|(_, hash)| hash.as_str());
        if !is_password(password, hash) {
            return Err(UserError::InvalidCredentials);
        }
        let (user, _) = known.ok_or(UserError::InvalidCredentials)?;
        failures.reset(&counters.client).await?;
        failures.reset(&counters.account).await?;
        if let Some(address) = &counters.address {
            failures.forgive(address).await?;
        }
        failures.remember(&counters.known).await?;
        Ok(user)
    }
}
