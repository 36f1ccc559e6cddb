//! Everything that a stranger sends passes these parsers: path, query, JSON, cursor. Whatever it is, the answer is a
//! well-formed one, and what was accepted has the meaning that it had.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

use localmart_guest::config::ConfigError;
use localmart_guest::http::decode::{self, Fields};
use localmart_guest::http::message::Incoming;
use localmart_guest::http::routes::{BodyError, HttpServer, Settings};
use localmart_guest::http::{Access, Request, Response, Routes, answer};
use localmart_guest::kernel::page::{Cursor, Limit};
use localmart_guest::ports::Ports;
use localmart_guest::service::{Declared, Service, Wire};
use localmart_guest::token::TokenKey;
use localmart_testkit::{MemoryStore, TestEnvironment, fuzz, now};
use serde_json::{Value, json};

/// An error is never longer than this, whatever was sent.
const ERROR_BYTES: usize = 16 * 1024;

const ID: &str = "01939d5c-0000-7000-8000-000000000000";

/// A service with a list and an operation.
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
        expires: &[],
    };

    fn routes() -> Routes<Self> {
        Routes::new()
            .on("GET", "/api/things", Access::All, |_, request: Request| async move {
                let mut query = request.query(&["limit", "cursor", "q"])?;
                let limit = query.get("limit", "is not a limit", Limit::parse);
                let cursor = query.get("cursor", "is not a cursor", |text| {
                    Cursor::decode(text, "name")
                });
                query.finish()?;
                let cursor = cursor.map(|cursor| cursor.encode());
                let limit = limit.unwrap_or_default().get();
                Ok(Response::json(200, &json!({ "limit": limit, "cursor": cursor })))
            })
            .on("POST", "/api/things/{id}", Access::All, |_, request: Request| async move {
                let mut fields = Fields::of_body(&request.body)?;
                let name = fields.required("name", decode::text(1, 20));
                let price = fields.optional("price", decode::money);
                let email = fields.optional("email", decode::email);
                let id = fields.optional("id", decode::id);
                let name = fields.finish(name)?;
                let price = price.map(decode::money_json);
                let id = id.map(|id| id.to_string());
                let param = request.param("id");
                Ok(Response::json(
                    201,
                    &json!({ "name": name, "price": price, "email": email, "id": id, "param": param }),
                ))
            })
    }
}

fn server() -> HttpServer<Things, MemoryStore> {
    let environment = TestEnvironment::new();
    let settings = Settings {
        // The base point of the curve, whose private key nobody uses.
        token_key: TokenKey::parse("WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY").unwrap(),
        sweep_token: "sweep".to_owned(),
        idempotency_ttl_ms: 1000,
    };
    HttpServer::new(
        std::rc::Rc::new(Things),
        settings,
        environment.ports(),
        MemoryStore::default(),
    )
}

/// Sends a request; checks what is true of every answer.
fn sent(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
    let headers = headers.iter();
    let incoming = Incoming {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let body = body.to_vec();
    let read = async move |limit: usize| match body.len() > limit {
        true => Err(BodyError::TooLarge),
        false => Ok(body),
    };
    let response = now(answer(&server(), incoming, read));
    let text: Value = serde_json::from_slice(&response.body).unwrap();
    if response.status >= 400 {
        assert!(response.status < 500, "{text}");
        assert!(
            response.body.len() <= ERROR_BYTES,
            "{} bytes",
            response.body.len()
        );
        assert_eq!(text["status"], response.status);
    }
    for (name, value) in &response.headers {
        assert!(
            value
                .bytes()
                .all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte)),
            "{name}: {value:?}"
        );
    }
    (response.status, text)
}

#[test]
fn any_path_and_query() {
    let cursor = Cursor {
        order: "name".to_owned(),
        key: "Übung \u{1f600}".to_owned(),
        id: ID.to_owned(),
    };
    let cursor = format!("/api/things?limit=5&cursor={}", cursor.encode());
    let examples: [&[u8]; 4] = [
        cursor.as_bytes(),
        b"/api/things?limit=100&q=a%20b+c",
        b"/api/things/%F0%9F%98%80",
        b"/api/things/a?x=y&x=y",
    ];
    fuzz(&examples, |bytes| {
        let target = String::from_utf8_lossy(bytes);
        let (status, body) = sent("GET", &target, &[], b"");
        if status == 200 {
            assert!((1..=100).contains(&body["limit"].as_u64().unwrap()));
        }
        sent("POST", &target, &[], b"{}");
    });
}

#[test]
fn any_body() {
    let examples: [&[u8]; 5] = [
        br#"{"name":"A thing","price":{"amount":100,"currency":"USD"},"email":"a@b.cc"}"#,
        br#"{"name":"\u00e9\ud83d\ude00","id":"0190d7a0-0000-7000-8000-000000000000"}"#,
        br#"{"name":"one\r\ntwo","price":{"amount":-9007199254740993,"currency":"JPY"}}"#,
        br#"{"items[0]":1,"name":"x","name":"y"}"#,
        br#"[[[[{"a":1.5e10}]]]]"#,
    ];
    let json = [("content-type", "application/json")];
    fuzz(&examples, |bytes| {
        let (status, body) = sent("POST", "/api/things/a", &json, bytes);
        if status == 201 {
            let name = body["name"].as_str().unwrap();
            assert!((1..=20).contains(&name.chars().count()), "{name:?}");
            assert!(!name.contains('\0'), "{name:?}");
            let again = json!({ "name": name, "price": body["price"] }).to_string();
            let (status, same) = sent("POST", "/api/things/a", &json, again.as_bytes());
            assert_eq!((status, &same["name"]), (201, &body["name"]), "{again}");
        }
    });
}

#[test]
fn any_header() {
    let examples: [&[u8]; 4] = [
        b"Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.AAAA",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"\"1\", W/\"2\", *",
        b"application/json; charset=utf-8",
    ];
    let names = [
        "authorization",
        "traceparent",
        "if-match",
        "content-type",
        "idempotency-key",
        "x-request-id",
        "content-length",
    ];
    fuzz(&examples, |bytes| {
        // What no HTTP parser lets through is left out.
        let value: String = String::from_utf8_lossy(bytes)
            .chars()
            .filter(|letter| *letter == '\t' || (' '..='~').contains(letter))
            .collect();
        for name in names {
            sent(
                "POST",
                "/api/things/a",
                &[(name, &value)],
                br#"{"name":"a"}"#,
            );
        }
    });
}

#[test]
fn any_cursor() {
    let cursor = Cursor {
        order: "name".to_owned(),
        key: "a".to_owned(),
        id: ID.to_owned(),
    };
    let encoded = cursor.encode();
    let examples: [&[u8]; 3] = [encoded.as_bytes(), b"WyJuYW1lIiwiYVx1MDAwMGIiLCJ4Il0", b""];
    fuzz(&examples, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(cursor) = Cursor::decode(&text, "name") {
            assert_eq!(Cursor::decode(&cursor.encode(), "name"), Some(cursor));
        }
    });
}
