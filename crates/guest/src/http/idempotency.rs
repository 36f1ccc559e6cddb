//! `Idempotency-Key` on POST (IETF draft): repeating a request with the same key and body has one effect and gives the
//! same answer.
//!
//! Keys are kept in the short-lived store, per caller and path. A route that must write its key in the same transaction
//! as its effect (checkout) manages its own keys.

use super::message::Incoming;
use super::{Answer, Problem, Request, Response};
use crate::ports::{LocalFuture, Ports};
use crate::short_lived::ShortLived;
use crate::token::capability;
use localmart_kernel::Timestamp;
use serde_json::{Value, json};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// How long a request may hold its key without renewing it, in milliseconds. After that another request may take over.
pub const LEASE_MS: i64 = 5_000;
/// How often a running request renews its lease.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// The prefix of idempotency keys in the short-lived store.
pub const PREFIX: &str = "key/";
/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// The shortest cookie of a guest that counts, in bytes: nobody guesses a random one of this length.
const MIN_COOKIE_BYTES: usize = 16;
/// How often claiming a key is tried when other requests change it at the same time.
const ATTEMPTS: u32 = 3;

/// How a route treats idempotency keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The header is ignored.
    Ignored,
    /// A key is honoured if the request has one.
    Optional,
    /// Like [`Keys::Optional`], for a route on which guests cannot be told apart: a guest's key counts together with the
    /// body, so that strangers with different bodies never get each other's answers.
    ByBody,
    /// Like [`Keys::Optional`], for a route whose answer is a capability. The key of a guest is ignored, unless the guest
    /// has a cookie of its own: nothing else distinguishes two guests.
    OfKnownClients,
    /// A request without a key is refused.
    Required,
    /// The route manages its keys itself.
    Managed,
}

impl Keys {
    /// The key that this layer must honour, if any.
    pub(super) fn of(self, incoming: &Incoming) -> Result<Option<String>, Problem> {
        match self {
            Self::Ignored | Self::Managed => Ok(None),
            Self::Optional | Self::ByBody | Self::OfKnownClients => key_of(incoming),
            Self::Required => required_key_of(incoming).map(Some),
        }
    }
}

/// The key of a request, if it has one; `400 idempotency_key_invalid` if it is not 1 to 255 visible ASCII characters.
pub fn key_of(incoming: &Incoming) -> Result<Option<String>, Problem> {
    let Some(key) = incoming.header("idempotency-key") else {
        return Ok(None);
    };
    if (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(Some(key.to_owned()))
    } else {
        Err(Problem::new(
            400,
            "idempotency_key_invalid",
            "Idempotency-Key must be 1 to 255 visible ASCII characters.",
        ))
    }
}

/// The key of a request that must have one; `400 idempotency_key_missing` without.
pub fn required_key_of(incoming: &Incoming) -> Result<String, Problem> {
    key_of(incoming)?.ok_or_else(missing)
}

/// Identifies the caller: the user id, or the order token or the cookie of a guest. A guest with a cart is identified by the
/// path.
fn caller(request: &Request) -> &str {
    let guest = request
        .header("x-order-token")
        .or_else(|| client_cookie(request));
    let claims = request.claims.as_ref();
    claims.map_or(guest.unwrap_or_default(), |claims| claims.subject.as_str())
}

/// The value of a guest's cookie `localmart-client`, which the client chooses at random.
fn client_cookie(request: &Request) -> Option<&str> {
    let cookies = request.header("cookie")?.split(';');
    let mut pairs = cookies.filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == "localmart-client")?;
    (value.len() >= MIN_COOKIE_BYTES).then_some(value)
}

/// Whether the key of a request counts on a route.
pub(super) fn counts(keys: Keys, request: &Request) -> bool {
    keys != Keys::OfKnownClients || request.claims.is_some() || client_cookie(request).is_some()
}

/// A name for the effect of a request with a key. The operation stores the name in the transaction of the effect, so that
/// a repeated request finds the effect even if the process died before the key was stored. `None` without a key.
pub fn effect_name(request: &Request, effect: &str) -> Result<Option<String>, Problem> {
    let caller = caller(request);
    let key = key_of(&request.incoming)?;
    Ok(key.map(|key| capability(effect, &format!("{caller}\n{key}"))))
}

/// Like [`effect_name`], for a route that requires a key.
pub fn required_effect_name(request: &Request, effect: &str) -> Result<String, Problem> {
    let name = effect_name(request, effect)?;
    name.ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::new(
        400,
        "idempotency_key_missing",
        "This needs an Idempotency-Key header.",
    )
}

/// A hash of the canonical JSON of a body (sorted members, no white space). Two bodies with one fingerprint are the same.
pub fn fingerprint(body: &[u8]) -> String {
    let canonical = serde_json::from_slice::<Value>(body).map(|value| value.to_string());
    match canonical {
        Ok(text) => capability("body", &text),
        Err(_) => capability("bytes", &String::from_utf8_lossy(body)),
    }
}

/// `422 idempotency_key_reused`.
pub fn reused() -> Problem {
    Problem::new(
        422,
        "idempotency_key_reused",
        "This Idempotency-Key was used with another body.",
    )
}

/// `409 idempotency_key_in_flight`.
pub fn in_flight() -> Problem {
    Problem::new(
        409,
        "idempotency_key_in_flight",
        "The first request with this Idempotency-Key is still running.",
    )
    .with_header("retry-after", "1".to_owned())
}

/// Marks a response as replayed from a stored one.
pub fn replayed(response: Response) -> Response {
    response.with_header("idempotent-replayed", "true")
}

/// Runs a handler once per key.
pub(super) async fn run_once<K: ShortLived>(
    store: &K,
    noun: &str,
    (keys, key): (Keys, &str),
    ttl_ms: i64,
    ports: &Ports,
    request: Request,
    run: impl FnOnce(Request) -> LocalFuture<'static, Answer>,
) -> Answer {
    let caller = caller(&request);
    let path = request.incoming.path();
    let fingerprint = fingerprint(&request.body);
    let mut scope = format!("{noun}\n{caller}\n{path}\n{key}");
    if keys == Keys::ByBody && request.claims.is_none() {
        scope = format!("{scope}\n{}\n{fingerprint}", request.client_ip());
    }
    let name = format!("{PREFIX}{}", capability("key", &scope));
    let trace_parent = request.trace_parent().to_owned();
    let expires_at = ports.now().plus_ms(ttl_ms);
    let mut running = match claim_key(store, &name, &fingerprint, expires_at, ports).await? {
        KeyState::Run(record) => record,
        KeyState::Replay(response) => return Ok(response),
    };
    let renew = async || {
        let now = ports.now();
        let longer = lease_record(&fingerprint, now, ports);
        // If another request took over, it continues. The operation itself is safe to run twice.
        let swapped = store.swap(&name, Some(&running), &longer, expires_at, now);
        if swapped.await.is_ok_and(|swapped| swapped) {
            running = longer;
        }
    };
    let response = match run_renewing(run(request), ports, renew).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(&trace_parent),
    };
    let now = ports.now();
    if response.stored_with_key {
        let done = record_of(&fingerprint, &response);
        // If the lease was lost, the operation has already prevented a second effect, and the answer is still correct.
        let _ = store
            .swap(&name, Some(&running), &done, expires_at, now)
            .await;
    } else {
        let _ = store.delete(&name).await;
    }
    Ok(response)
}

enum KeyState {
    Run(Vec<u8>),
    Replay(Response),
}

async fn claim_key<K: ShortLived>(
    store: &K,
    name: &str,
    fingerprint: &str,
    expires_at: Timestamp,
    ports: &Ports,
) -> Result<KeyState, Problem> {
    for _ in 0..ATTEMPTS {
        let now = ports.now();
        let known = store.get(name, now).await?;
        if let Some(record) = &known
            && let Some(decision) = decide(record, fingerprint, now)
        {
            return decision;
        }
        let lease = lease_record(fingerprint, now, ports);
        let swapped = store
            .swap(name, known.as_deref(), &lease, expires_at, now)
            .await;
        if swapped? {
            return Ok(KeyState::Run(lease));
        }
    }
    Err(in_flight())
}

/// The record of a key whose request is still running.
fn lease_record(fingerprint: &str, now: Timestamp, ports: &Ports) -> Vec<u8> {
    let lease = now.plus_ms(LEASE_MS).ms();
    let record = json!({ "print": fingerprint, "lease": lease, "run": ports.new_id().as_str() });
    record.to_string().into_bytes()
}

/// Waits for a request to finish and renews its lease meanwhile.
async fn run_renewing<T>(
    mut run: LocalFuture<'static, T>,
    ports: &Ports,
    mut renew: impl AsyncFnMut(),
) -> T {
    loop {
        let mut pause = pin!(ports.sleep(RENEW_EVERY));
        let done = poll_fn(|context| match run.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => pause.as_mut().poll(context).map(|()| None),
        });
        match done.await {
            Some(value) => return value,
            None => renew().await,
        }
    }
}

/// What the record of a key means for a new request; `None` if its lease has expired and the new request may take over.
fn decide(record: &[u8], fingerprint: &str, now: Timestamp) -> Option<Result<KeyState, Problem>> {
    let record: Value = serde_json::from_slice(record).ok()?;
    if record.get("print").and_then(Value::as_str) != Some(fingerprint) {
        return Some(Err(reused()));
    }
    if let Some(response) = response_of(&record) {
        return Some(Ok(KeyState::Replay(replayed(response))));
    }
    let lease = record
        .get("lease")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    (lease > now.ms()).then(|| Err(in_flight()))
}

/// A response as text, for a route that manages its own keys.
pub fn response_to_text(response: &Response) -> String {
    String::from_utf8_lossy(&record_of("", response)).into_owned()
}

/// The inverse of [`response_to_text`].
pub fn response_from_text(text: &str) -> Option<Response> {
    response_of(&serde_json::from_str(text).ok()?)
}

fn record_of(fingerprint: &str, response: &Response) -> Vec<u8> {
    let record = json!({
        "print": fingerprint,
        "status": response.status,
        "headers": response.headers,
        "body": String::from_utf8_lossy(&response.body),
    });
    record.to_string().into_bytes()
}

fn response_of(record: &Value) -> Option<Response> {
    Some(Response {
        status: u16::try_from(record.get("status")?.as_u64()?).ok()?,
        headers: serde_json::from_value(record.get("headers")?.clone()).ok()?,
        body: record.get("body")?.as_str()?.as_bytes().to_vec(),
        stored_with_key: true,
    })
}
