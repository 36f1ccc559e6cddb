//! A guest for tests: the last part of the path says which capability it uses or how it misbehaves; the body says what came of it.

use spin_sdk::http::{EmptyBody, IntoResponse, Request, body::IncomingBodyExt as _};
use spin_sdk::http_service;
use spin_sdk::{http, key_value, sqlite, variables};
use std::time::Duration;

#[http_service]
async fn probe(request: Request) -> impl IntoResponse {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    match path.rsplit('/').next().unwrap_or_default() {
        "loop" => loop {
            std::hint::black_box(0);
        },
        "sleep" => {
            spin_sdk::time::sleep(Duration::from_secs(3600)).await;
            "awake".to_owned()
        }
        "memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&hoard);
            }
        }
        "trap" => std::process::abort(),
        "leak" => leave_a_transaction_open(&query).await,
        "key-value" => key_values(&query)
            .await
            .unwrap_or_else(|error| format!("{error:?}")),
        "sqlite" => rows(&query)
            .await
            .unwrap_or_else(|error| format!("{error:?}")),
        "variable" => variables::get(&query)
            .await
            .unwrap_or_else(|error| format!("{error:?}")),
        "environment" => std::env::var(&query).unwrap_or_else(|error| error.to_string()),
        "file" => std::fs::read_to_string(&query).unwrap_or_else(|error| error.kind().to_string()),
        "write" => format!(
            "{:?}",
            std::fs::write(&query, "x").map_err(|error| error.kind())
        ),
        "fetch" => fetch(&query)
            .await
            .unwrap_or_else(|error| format!("refused: {error}")),
        "headers" => format!("{:?}", request.headers()),
        _ => "probe".to_owned(),
    }
}

async fn key_values(label: &str) -> Result<String, key_value::Error> {
    let store = key_value::Store::open(label).await?;
    store.set("a", b"1").await?;
    let found = store.get("a").await?;
    store.delete("a").await?;
    Ok(format!("{found:?} {:?}", store.exists("a").await?))
}

async fn rows(label: &str) -> Result<String, sqlite::Error> {
    let database = sqlite::Connection::open(label).await?;
    for statement in [
        "CREATE TABLE IF NOT EXISTS t (x)",
        "DELETE FROM t",
        "INSERT INTO t VALUES (1), ('two'), (NULL)",
    ] {
        database.execute(statement, []).await?.result().await?;
    }
    let rows = database
        .execute("SELECT x FROM t ORDER BY rowid", [])
        .await?
        .collect()
        .await?;
    Ok(format!("{rows:?} {}", database.changes().await))
}

/// Begins, writes and traps: nothing of it may stay, and nobody may have to wait for it.
async fn leave_a_transaction_open(label: &str) -> String {
    if let Ok(database) = sqlite::Connection::open(label).await {
        for statement in [
            "CREATE TABLE IF NOT EXISTS t (x)",
            "BEGIN IMMEDIATE",
            "INSERT INTO t VALUES ('leaked')",
        ] {
            let _ = database.execute(statement, []).await;
        }
    }
    std::process::abort()
}

async fn fetch(url: &str) -> Result<String, http::Error> {
    let request = http::Request::get(url).body(EmptyBody::new())?;
    let response = http::send(request).await?;
    let status = response.status();
    let body = response.into_body().bytes().await?;
    Ok(format!(
        "{} {}",
        status.as_u16(),
        String::from_utf8_lossy(&body)
    ))
}
