//! The native counterpart: axum on one thread per core, the same statements through rusqlite or tokio-postgres, the same JSON.

mod checkout;
mod database;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use database::{Asked, Cell, Database};
use localmart_kernel::{Id, Timestamp};
use localmart_measure::server::{Server, free_address};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The shop's statements for reads and carts. `?` is `$` for Postgres.
struct Statements {
    priced: &'static str,
    product: &'static str,
    list: &'static str,
    stock: &'static str,
    read_cart: &'static str,
    write_cart: &'static str,
}

macro_rules! products {
    ($rest:literal) => {
        concat!(
            "SELECT id, sku, name, slug, description, category, price, currency, compare_at_price, attributes, published, version, ",
            "created_at, updated_at FROM products WHERE ",
            $rest
        )
    };
}

static STATEMENTS: Statements = Statements {
    priced: products!("id IN (CAST(?1 AS TEXT))"),
    product: products!("id = CAST(?1 AS TEXT)"),
    list: products!("published = 1 ORDER BY created_at DESC, id DESC LIMIT CAST(?1 AS BIGINT)"),
    stock: "SELECT product_id, on_hand, reserved FROM stock WHERE product_id IN (CAST(?1 AS TEXT))",
    read_cart: "SELECT CAST(SUBSTR(value, 9) AS TEXT) FROM entries WHERE store = 'default' AND key = CAST(?1 AS TEXT)",
    write_cart: "INSERT INTO entries (store, key, value) VALUES ('default', ?1, x'7fffffffffffffff' || CAST(?2 AS BLOB)) \
                 ON CONFLICT (store, key) DO UPDATE SET value = excluded.value",
};

/// The locations of the stores.
struct Shop {
    database: Database,
    /// The embedded key-value store of the host, also with Postgres.
    carts: Database,
}

/// Serves until it is killed.
pub(crate) fn serve(
    listen: SocketAddr,
    state: &Path,
    database_url: Option<&str>,
) -> anyhow::Result<()> {
    let shop = Shop {
        database: match database_url {
            Some(url) => Database::postgres(url),
            None => Database::sqlite(state.to_owned()),
        },
        carts: Database::sqlite(state.to_owned()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = Router::new()
            .route("/hello", get(|| async { "Hello, world!" }))
            .route("/api/products", get(products))
            .route("/api/products/{id}", get(product))
            .route("/api/carts", post(checkout::create_cart))
            .route("/api/carts/{id}/items", post(checkout::add_item))
            .route("/api/orders", post(checkout::place_order))
            .with_state(Arc::new(shop));
        let listener = tokio::net::TcpListener::bind(listen).await?;
        axum::serve(listener, app).await?;
        Ok(())
    })
}

async fn product(State(shop): State<Arc<Shop>>, UrlPath(id): UrlPath<String>) -> Response {
    let asked = [Asked {
        sql: STATEMENTS.product,
        with: vec![Some(id)],
    }];
    match shop.database.run("catalog", false, &asked).await {
        Ok(rows) => match rows.first().map(|row| shape(row)) {
            Some(Ok(body)) => reply(StatusCode::OK, &body),
            Some(Err(error)) => failed(&error),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Err(error) => failed(&error),
    }
}

/// A page of products. Its length is that of the shop, and one more row is read to find out whether there is another page.
async fn products(State(shop): State<Arc<Shop>>) -> Response {
    const LENGTH: usize = 20;
    let asked = [Asked {
        sql: STATEMENTS.list,
        with: vec![Some((LENGTH + 1).to_string())],
    }];
    let page = async {
        let rows = shop.database.run("catalog", false, &asked).await?;
        let items: Vec<Value> = rows
            .iter()
            .take(LENGTH)
            .map(|row| shape(row))
            .collect::<Result<_, _>>()?;
        let last = rows.get(LENGTH).and_then(|row| row.first()).map(Cell::text);
        anyhow::Ok(json!({ "items": items, "next_cursor": last }))
    };
    match page.await {
        Ok(body) => reply(StatusCode::OK, &body),
        Err(error) => failed(&error),
    }
}

/// A product with the same members as in the shop.
fn shape(row: &[Cell]) -> anyhow::Result<Value> {
    let cell = |at: usize| row.get(at).context("a column is missing");
    let (id, version) = (cell(0)?.text(), cell(11)?.int());
    let attributes: Value = serde_json::from_str(cell(9)?.text()).unwrap_or_default();
    Ok(json!({
        "id": id, "sku": cell(1)?.text(), "name": cell(2)?.text(), "slug": cell(3)?.text(),
        "description": cell(4)?.text(), "category": cell(5)?.text(),
        "price": { "amount": cell(6)?.int(), "currency": cell(7)?.text() },
        "image_url": format!("/images/{id}-v{version}.svg"), "attributes": attributes,
        "rating": { "average": 0, "count": 0 }, "published": cell(10)?.int() != 0, "version": version,
        "created_at": Timestamp::from_ms(cell(12)?.int()).to_string(), "updated_at": Timestamp::from_ms(cell(13)?.int()).to_string(),
    }))
}

fn reply(status: StatusCode, body: &Value) -> Response {
    reply_text(status, body.to_string())
}

fn reply_text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn failed(error: &anyhow::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response()
}

pub(crate) fn now_ms() -> i64 {
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

/// Starts this program on the databases of a state folder, or on a Postgres server.
pub(crate) fn server(
    state: &Path,
    database_url: Option<&str>,
    path: &str,
) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.stderr(Stdio::null());
    command
        .args(["native", "--listen", &address.to_string(), "--state"])
        .arg(state);
    if let Some(url) = database_url {
        command.args(["--database-url", url]);
    }
    Server::start(command, address, path)
}
