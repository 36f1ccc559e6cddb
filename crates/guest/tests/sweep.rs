//! The sweep of a service: its own work, and keys that have expired.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use localmart_guest::config::ConfigError;
use localmart_guest::http::message::Incoming;
use localmart_guest::http::routes::{HttpServer, Settings};
use localmart_guest::http::{Problem, Response, Routes, answer};
use localmart_guest::ports::Ports;
use localmart_guest::service::{Declared, Service, Wire, count};
use localmart_guest::short_lived::ShortLived as _;
use localmart_guest::token::{TokenKey, revocation_key};
use localmart_guest::wit::Context;
use localmart_testkit::{MemoryStore, TestEnvironment, now};
use serde_json::{Map, Value, json};
use std::rc::Rc;

struct Things;

impl Wire for Things {
    async fn wire(_: Ports) -> Result<Self, ConfigError> {
        Ok(Self)
    }
}

impl Service for Things {
    const DECLARED: Declared = Declared {
        noun: "things",
        tells: &[],
        hears: &[],
        expires: &["thing/"],
    };

    fn routes() -> Routes<Self> {
        Routes::new()
    }

    async fn sweep(&self, _: &Context) -> Result<Map<String, Value>, Problem> {
        Ok(count("mended", 3))
    }
}

#[test]
fn a_sweep_does_the_own_work_and_deletes_expired_keys_now_and_then() {
    let environment = TestEnvironment::new();
    let values = MemoryStore::default();
    let settings = Settings {
        // The base point of the curve, whose private key nobody uses.
        token_key: TokenKey::parse("WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY").unwrap(),
        sweep_token: "secret".to_owned(),
        idempotency_ttl_ms: 1000,
    };
    let things = Rc::new(Things);
    let server = HttpServer::new(things, settings, environment.ports(), values.clone());
    let sweep = |token: &str| -> Response {
        let incoming = Incoming {
            method: "POST".to_owned(),
            target: "/internal/things/sweep".to_owned(),
            headers: vec![("x-sweep-token".to_owned(), token.to_owned())],
        };
        now(answer(&server, incoming, async |_| Ok(Vec::new())))
    };
    let write = |key: &str| {
        let at = environment.ports().now();
        now(values.swap(key, None, b"1", at.plus_ms(1_000), at)).unwrap()
    };
    let body = |response: Response| -> Value { serde_json::from_slice(&response.body).unwrap() };
    assert_eq!(sweep("guess").status, 404);
    assert!(write("thing/1") && write(&revocation_key("a")) && write("other/1"));
    environment.advance_ms(2_000);
    assert_eq!(
        body(sweep("secret")),
        json!({ "mended": 3, "handled": 0, "expired": { "key/": 0, "revoked/": 1, "thing/": 1 } })
    );
    assert!(write("thing/2"));
    environment.advance_ms(2_000);
    // Looking through all keys is not worth it again so soon.
    let soon = json!({ "mended": 3, "handled": 0, "expired": {} });
    assert_eq!(body(sweep("secret")), soon);
    environment.advance_ms(3_600_000);
    assert_eq!(body(sweep("secret"))["expired"]["thing/"], 1);
}
