//! The native counterpart: axum on one thread per core, the same statements through rusqlite, the same JSON. Reads run
//! where they are asked for, writers take turns, as in the host.

mod checkout;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Path as UrlPath;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use localmart_kernel::{Id, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

static STATE: OnceLock<PathBuf> = OnceLock::new();

thread_local! {
    static OPEN: RefCell<HashMap<&'static str, Connection>> = RefCell::default();
}

/// Serves until it is killed.
pub(crate) fn serve(listen: SocketAddr, state: &Path) -> anyhow::Result<()> {
    STATE.set(state.to_owned()).ok().context("started twice")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = Router::new()
            .route("/hello", get(|| async { "Hello, world!" }))
            .route("/api/products/{id}", get(product))
            .route("/api/carts", post(checkout::create_cart))
            .route("/api/carts/{id}/items", post(checkout::add_item))
            .route("/api/orders", post(checkout::place_order));
        let listener = tokio::net::TcpListener::bind(listen).await?;
        axum::serve(listener, app).await?;
        Ok(())
    })
}

/// Runs something on this thread's connection to a database.
fn with<T>(
    database: &'static str,
    run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    OPEN.with_borrow_mut(|open| {
        let connection = match open.entry(database) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let folder = STATE.get().cloned().unwrap_or_default();
                let connection = Connection::open(folder.join(format!("{database}.db")))?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
                connection.pragma_update(None, "synchronous", "NORMAL")?;
                connection.busy_timeout(std::time::Duration::from_secs(5))?;
                connection.set_prepared_statement_cache_capacity(64);
                entry.insert(connection)
            }
        };
        run(connection)
    })
}

async fn product(UrlPath(id): UrlPath<String>) -> Response {
    match with("catalog", |connection| read_product(connection, &id)) {
        Ok(body) => reply(StatusCode::OK, &body),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The statement and the shape of the shop's own product.
fn read_product(connection: &Connection, id: &str) -> rusqlite::Result<Value> {
    let sql = "SELECT id, sku, name, slug, description, category, price, currency, compare_at_price, attributes, \
               published, version, created_at, updated_at FROM products WHERE id = CAST(?1 AS TEXT)";
    connection.prepare_cached(sql)?.query_row([id], |row| {
        let (id, version, currency): (String, i64, String) = (row.get(0)?, row.get(11)?, row.get(7)?);
        let attributes: Value = serde_json::from_str(&row.get::<_, String>(9)?).unwrap_or_default();
        Ok(json!({
            "id": id, "sku": row.get::<_, String>(1)?, "name": row.get::<_, String>(2)?, "slug": row.get::<_, String>(3)?,
            "description": row.get::<_, String>(4)?, "category": row.get::<_, String>(5)?,
            "price": { "amount": row.get::<_, i64>(6)?, "currency": currency },
            "image_url": format!("/images/{id}-v{version}.svg"), "attributes": attributes,
            "rating": { "average": 0, "count": 0 }, "published": row.get::<_, i64>(10)? != 0, "version": version,
            "created_at": Timestamp::from_ms(row.get(12)?).to_string(), "updated_at": Timestamp::from_ms(row.get(13)?).to_string(),
        }))
    })
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn new_id() -> Id {
    let mut dice = [0; 10];
    getrandom::fill(&mut dice).unwrap_or_default();
    Id::from_parts(u64::try_from(now_ms()).unwrap_or_default(), &dice)
}
