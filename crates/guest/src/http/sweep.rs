//! The sweep: the periodic work of a service, which a timer starts. Each part runs even if another one fails.

use super::{Answer, Problem, Request, Response, idempotency};
use crate::events::{sweep_consumer, sweep_events};
use crate::ports::Ports;
use crate::service::Service;
use crate::short_lived::ShortLived;
use crate::token::REVOKED_PREFIX;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Prefixes of keys that the kit writes on behalf of every service.
const KIT_EXPIRES: &[&str] = &[idempotency::PREFIX, REVOKED_PREFIX];
/// The prefix of the marks that say when the keys with a prefix were last looked through.
const MARK_PREFIX: &str = "swept/";
/// How often the keys with a prefix are looked through, in milliseconds. Somewhat less than the longest timer.
const EXPIRE_EVERY_MS: i64 = 55 * 60_000;

/// The address of the sweep.
pub(super) fn path(noun: &str) -> String {
    format!("/internal/{noun}/sweep")
}

/// Does what is due: the service's own work, events to publish and to read, keys that have expired.
pub(super) async fn sweep<S: Service, K: ShortLived>(
    service: &S,
    keys: &K,
    ports: &Ports,
    request: &Request,
) -> Answer {
    let own = service.sweep(&request.context().as_system()).await;
    let told = sweep_events::<S>(ports).await;
    let heard = sweep_consumer(service, ports).await;
    let expired = expire::<S, K>(keys, ports).await;
    let mut done = own?;
    told?;
    done.insert("handled".to_owned(), heard?.handled.into());
    done.insert("expired".to_owned(), Value::Object(expired?));
    Ok(Response::json(200, &Value::Object(done)))
}

/// Deletes expired keys; returns how many of each prefix that was due.
async fn expire<S: Service, K: ShortLived>(
    keys: &K,
    ports: &Ports,
) -> Result<Map<String, Value>, Problem> {
    let mut expired = Map::new();
    for prefix in KIT_EXPIRES.iter().chain(S::DECLARED.expires).copied() {
        if is_due(keys, prefix, ports).await? {
            let removed = keys.sweep(prefix, ports.now()).await?;
            expired.insert(prefix.to_owned(), removed.into());
        }
    }
    Ok(expired)
}

/// Whether nobody has looked through the keys with this prefix for [`EXPIRE_EVERY_MS`]. The mark is in the store, because
/// several instances and services look after the same keys; the memory of the instance saves most questions to the store.
async fn is_due<K: ShortLived>(
    keys: &K,
    prefix: &'static str,
    ports: &Ports,
) -> Result<bool, Problem> {
    thread_local! {
        static ASK_AGAIN_AT: RefCell<BTreeMap<&'static str, i64>> = const { RefCell::new(BTreeMap::new()) };
    }
    let now = ports.now();
    let again = now.plus_ms(EXPIRE_EVERY_MS);
    let later = ASK_AGAIN_AT.with_borrow(|at| at.get(prefix).is_some_and(|at| now.ms() < *at));
    if later {
        return Ok(false);
    }
    let mark = format!("{MARK_PREFIX}{prefix}");
    let due = keys.swap(&mark, None, b"", again, now).await?;
    ASK_AGAIN_AT.with_borrow_mut(|at| at.insert(prefix, again.ms()));
    Ok(due)
}
