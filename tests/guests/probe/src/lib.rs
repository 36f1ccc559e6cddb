//! A guest for tests: the last part of the path selects a capability to use or a way to misbehave; the body is the
//! result.

use spin_sdk::http::{EmptyBody, IntoResponse, Request, body::IncomingBodyExt as _};
use spin_sdk::http_service;
use spin_sdk::wasip3::clocks::system_clock;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Response as WasiResponse};
use spin_sdk::wasip3::{wit_future, wit_stream};
use spin_sdk::{http, key_value, mqtt, mysql, pg, redis, sqlite, variables};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[http_service]
async fn probe(request: Request) -> Result<WasiResponse, ErrorCode> {
    match request.uri().path().rsplit('/').next() {
        Some("cut") => Ok(stream(true)),
        Some("whole") => Ok(stream(false)),
        _ => answer(request).await.into_response(),
    }
}

/// Streams two parts. With `cut` the guest traps instead of sending the second one.
fn stream(cut: bool) -> WasiResponse {
    let (mut writer, reader) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    spin_sdk::wasip3::spawn(async move {
        let _ = writer.write_all(b"first\n".to_vec()).await;
        spin_sdk::time::sleep(Duration::from_millis(50)).await;
        if cut {
            std::process::abort();
        }
        let _ = writer.write_all(b"second\n".to_vec()).await;
    });
    let (response, _sent) = WasiResponse::new(Fields::new(), Some(reader), trailers);
    response
}

async fn answer(request: Request) -> String {
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
        "pg-text" => {
            let (sql, text) = query.split_once(';').unwrap_or((query.as_str(), ""));
            postgres(sql, &[pg::ParameterValue::Str(text.to_owned())])
                .await
                .unwrap_or_else(|error| format!("error: {error:?}"))
        }
        "pg" => postgres(&query, &[])
            .await
            .unwrap_or_else(|error| format!("{error:?}")),
        "pg-leak" => leave_a_server_transaction_open().await,
        "pg-hold" => hold_connections(&query).await,
        "pg-hoard" => {
            let mut hoard = Vec::new();
            // Until it is stopped.
            while let Ok(connection) = open_and_begin().await {
                hoard.push(connection);
            }
            format!("{} hoarded", hoard.len())
        }
        "redis" => command(&query)
            .await
            .unwrap_or_else(|error| format!("{error:?}")),
        "mqtt" => message(&query)
            .await
            .map_or_else(|error| format!("{error:?}"), |()| "sent".to_owned()),
        "mysql" => {
            let opened = mysql::Connection::open(&query).await;
            format!("{:?}", opened.map(drop))
        }
        "tcp" => match std::net::TcpStream::connect(&query) {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.kind().to_string(),
        },
        "clock" => clocks(),
        "headers" => format!("{:?}", request.headers()),
        _ => "probe".to_owned(),
    }
}

/// Unix milliseconds by the wall clocks of WASI 0.2 and 0.3, and how many milliseconds this instance has lived by the monotonic one.
fn clocks() -> String {
    static BORN: OnceLock<Instant> = OnceLock::new();
    let older = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = system_clock::now();
    let newer = now.seconds * 1_000 + i64::from(now.nanoseconds / 1_000_000);
    let lived = BORN.get_or_init(Instant::now).elapsed();
    format!(
        "{} {newer} {}",
        older.unwrap_or_default().as_millis(),
        lived.as_millis()
    )
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

/// Starts a transaction, writes and traps. Nothing may remain, and nobody may have to wait.
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

async fn open() -> Result<pg::Connection, pg::Error> {
    let address = variables::get("pg_address").await.unwrap_or_default();
    pg::Connection::open(address).await
}

/// A connection that is not returned before its transaction ends.
async fn open_and_begin() -> Result<pg::Connection, pg::Error> {
    let connection = open().await?;
    connection.execute("BEGIN", []).await?;
    connection.execute("SELECT 1", []).await?;
    Ok(connection)
}

/// Runs a statement, in which `+` stands for a space, and returns columns and rows.
async fn postgres(sql: &str, values: &[pg::ParameterValue]) -> Result<String, pg::Error> {
    let result = open().await?.query(sql.replace('+', " "), values).await?;
    let columns: Vec<String> = result
        .columns()
        .iter()
        .map(|column| format!("{:?}", column.data_type))
        .collect();
    let width = columns.len();
    let rows = result.collect().await?;
    let row = |row: &pg::Row| (0..width).map(|at| format!("{:?}", row[at])).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    let text = rows.iter().map(|row| row.join(", "));
    Ok(format!(
        "{columns:?} {}",
        text.collect::<Vec<_>>().join("; ")
    ))
}

async fn leave_a_server_transaction_open() -> String {
    if let Ok(database) = open().await {
        for statement in [
            "BEGIN",
            "INSERT INTO t VALUES ('leaked')",
            "LOCK TABLE t IN ACCESS EXCLUSIVE MODE",
        ] {
            let _ = database.execute(statement, []).await;
        }
    }
    std::process::abort()
}

/// Opens several connections and keeps them open for a while.
async fn hold_connections(count: &str) -> String {
    let mut held = Vec::new();
    for _ in 0..count.parse().unwrap_or(0) {
        match open_and_begin().await {
            Ok(connection) => held.push(connection),
            Err(error) => return format!("{} held, then {error:?}", held.len()),
        }
    }
    format!("{} held", held.len())
}

/// Sends a command, in which `+` stands for a space, and returns the flat answer.
async fn command(words: &str) -> Result<String, redis::Error> {
    let address = variables::get("redis_address").await.unwrap_or_default();
    let connection = redis::Connection::open(address).await?;
    let mut words = words.split('+');
    let name = words.next().unwrap_or_default();
    let arguments: Vec<_> = words
        .map(|word| redis::RedisParameter::Binary(word.as_bytes().to_vec()))
        .collect();
    let answer = connection.execute(name, arguments).await?;
    Ok(format!("{answer:?}"))
}

/// Publishes to a topic, given after the address and a `+`, with each quality of service.
async fn message(place: &str) -> Result<(), mqtt::Error> {
    let (address, topic) = place.split_once('+').unwrap_or((place, "topic"));
    let server = mqtt::Connection::open(address, "", "", 30).await?;
    for (qos, text) in [
        (mqtt::Qos::AtMostOnce, "zero"),
        (mqtt::Qos::AtLeastOnce, "one"),
        (mqtt::Qos::ExactlyOnce, "two"),
    ] {
        server.publish(topic, text.as_bytes().to_vec(), qos).await?;
    }
    Ok(())
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
