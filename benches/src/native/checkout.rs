//! Cart, item and checkout natively: the same tables, the same writes in the same transactions, no contracts between.

use super::{new_id, now_ms, reply, with};
use axum::body::Bytes;
use axum::extract::Path as UrlPath;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::{Value, json};
use std::sync::Mutex;

/// Writers take turns, one queue per database.
static TURNS: [Mutex<()>; 4] = [const { Mutex::new(()) }; 4];
const DATABASES: [&str; 4] = ["key-value", "order", "inventory", "payment"];

type Outcome<T> = Result<T, rusqlite::Error>;

fn write<T>(database: &'static str, run: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
    let turn = DATABASES
        .iter()
        .position(|name| *name == database)
        .and_then(|place| TURNS.get(place));
    let _turn = turn.and_then(|turn| turn.lock().ok());
    with(database, |connection| {
        let transaction =
            rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let value = run(&transaction)?;
        transaction.commit()?;
        Ok(value)
    })
}

fn run(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Outcome<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

fn read_cart(connection: &Connection, id: &str) -> Outcome<Value> {
    let sql = "SELECT value FROM entries WHERE store = 'default' AND key = ?1";
    let bytes: Vec<u8> = connection
        .prepare_cached(sql)?
        .query_row([format!("cart/{id}")], |row| row.get(0))?;
    Ok(serde_json::from_slice(bytes.get(8..).unwrap_or_default()).unwrap_or_default())
}

fn write_cart(connection: &Connection, id: &str, cart: &Value) -> Outcome<usize> {
    let value = [&i64::MAX.to_be_bytes()[..], cart.to_string().as_bytes()].concat();
    let sql = "INSERT INTO entries (store, key, value) VALUES ('default', ?1, ?2) ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
    run(connection, sql, params![format!("cart/{id}"), value])
}

pub(super) async fn create_cart() -> Response {
    let id = new_id().to_string();
    let cart =
        json!({ "id": id, "currency": "USD", "items": [], "version": 1, "updated_at": now_ms() });
    match write("key-value", |connection| write_cart(connection, &id, &cart)) {
        Ok(_) => reply(StatusCode::CREATED, &cart),
        Err(error) => failed(&error),
    }
}

pub(super) async fn add_item(UrlPath(id): UrlPath<String>, body: Bytes) -> Response {
    let Ok(item) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let priced = || -> Outcome<Value> {
        let product = item
            .get("product_id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let line = price(product)?;
        let cart = write("key-value", |connection| {
            let mut cart = read_cart(connection, &id)?;
            if let Some(items) = cart.get_mut("items").and_then(Value::as_array_mut) {
                items.push(json!({ "product_id": product, "quantity": item.get("quantity") }));
            }
            write_cart(connection, &id, &cart)?;
            Ok(cart)
        })?;
        let sql = "SELECT on_hand, reserved FROM stock WHERE product_id = ?1";
        let available: i64 = with("inventory", |connection| {
            connection.prepare_cached(sql)?.query_row([product], |row| {
                Ok(row.get::<_, i64>(0)? - row.get::<_, i64>(1)?)
            })
        })?;
        Ok(json!({ "cart": cart, "line": line, "available": available }))
    };
    match priced() {
        Ok(body) => reply(StatusCode::OK, &body),
        Err(error) => failed(&error),
    }
}

fn price(product: &str) -> Outcome<Value> {
    let sql = "SELECT sku, name, price, currency FROM products WHERE id = ?1 AND published = 1";
    with("catalog", |connection| {
        connection.prepare_cached(sql)?.query_row([product], |row| {
            Ok(json!({ "product_id": product, "sku": row.get::<_, String>(0)?, "name": row.get::<_, String>(1)?,
                "amount": row.get::<_, i64>(2)?, "currency": row.get::<_, String>(3)? }))
        })
    })
}

pub(super) async fn place_order(headers: HeaderMap, body: Bytes) -> Response {
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .unwrap_or_default();
    let Ok(checkout) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match order(key, &checkout) {
        Ok(order) => reply(StatusCode::CREATED, &order),
        Err(error) => failed(&error),
    }
}

/// The writes of a checkout, in the order and the transactions of the shop's own.
fn order(key: &str, checkout: &Value) -> Outcome<Value> {
    let (id, now) = (new_id().to_string(), now_ms());
    let text = |name: &str| {
        checkout
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let cart_id = text("cart_id");
    let sql =
        "INSERT INTO checkout_keys VALUES (?1, 'print', ?2, ?3, NULL, ?3) ON CONFLICT DO NOTHING";
    write("order", |connection| {
        run(connection, sql, params![key, id, now + 86_400_000])
    })?;
    let mut cart = with("key-value", |connection| read_cart(connection, cart_id))?;
    let line = cart.pointer("/items/0").cloned().unwrap_or_default();
    let product = line
        .get("product_id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let quantity = line.get("quantity").and_then(Value::as_i64).unwrap_or(1);
    let priced = price(product)?;
    let amount = priced
        .get("amount")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let total = amount * quantity;
    let address = checkout
        .get("shipping_address")
        .cloned()
        .unwrap_or_default()
        .to_string();
    write("order", |connection| {
        let sql = "INSERT INTO orders VALUES (?1, ?1, ?2, 1, 'pending', ?3, 'USD', ?4, 0, 0, 0, ?4, ?5, ?5, NULL, NULL, 'tok_visa', \
                   NULL, NULL, 0, NULL, ?6, ?6, 0, 1, ?6, ?6, NULL, 0, 0)";
        run(
            connection,
            sql,
            params![id, cart_id, text("email"), total, address, now],
        )?;
        let sql = "INSERT INTO order_items (order_id, position, product_id, sku, name, unit_price, quantity, line_total) \
                   VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7)";
        let name = |name: &str| {
            priced
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        run(
            connection,
            sql,
            params![
                id,
                product,
                name("sku"),
                name("name"),
                amount,
                quantity,
                total
            ],
        )?;
        step(connection, &id, "pending", now)
    })?;
    if let Some(cart) = cart.as_object_mut() {
        cart.insert("order_id".into(), json!(id));
    }
    write("key-value", |connection| {
        write_cart(connection, cart_id, &cart)
    })?;
    write("inventory", |connection| {
        let sql = "UPDATE stock SET reserved = reserved + ?2 WHERE product_id = ?1 AND on_hand - reserved >= ?2";
        run(connection, sql, params![product, quantity])?;
        run(
            connection,
            "INSERT INTO reservations (order_id, product_id, quantity, status, expires_at) VALUES (?1, ?2, ?3, 'held', ?4)",
            params![id, product, quantity, now + 900_000],
        )
    })?;
    let payment = new_id().to_string();
    write("payment", |connection| {
        let sql = "INSERT INTO payments (id, order_id, status, amount, currency, captured, refunded, reason, version, created_at, updated_at, \
                   customer_id) VALUES (?1, ?2, 'pending', ?3, 'USD', 0, 0, NULL, 1, ?4, ?4, NULL)";
        run(connection, sql, params![payment, id, total, now])
    })?;
    write("payment", |connection| {
        run(
            connection,
            "INSERT INTO provider_charges VALUES (?1, 'tok_visa', 1, 'held', ?2, 0, 0)",
            params![payment, total],
        )
    })?;
    write("payment", |connection| {
        run(
            connection,
            "UPDATE payments SET status = 'authorized', version = 2 WHERE id = ?1",
            [&payment],
        )
    })?;
    write("payment", |connection| {
        run(
            connection,
            "UPDATE provider_charges SET status = 'captured', captured = amount WHERE payment_id = ?1",
            [&payment],
        )
    })?;
    write("payment", |connection| {
        run(
            connection,
            "UPDATE payments SET status = 'captured', captured = amount, version = 3 WHERE id = ?1",
            [&payment],
        )
    })?;
    write("inventory", |connection| {
        let sql = "UPDATE stock SET on_hand = on_hand - ?2, reserved = reserved - ?2 WHERE product_id = ?1";
        run(connection, sql, params![product, quantity])?;
        run(
            connection,
            "UPDATE reservations SET status = 'sold' WHERE order_id = ?1",
            [&id],
        )
    })?;
    write("order", |connection| {
        let sql = "UPDATE orders SET status = 'paid', payment_id = ?2, payment_status = 'captured', payment_token = NULL, version = 2 WHERE id = ?1";
        run(connection, sql, params![id, payment])?;
        step(connection, &id, "paid", now)
    })?;
    let order = json!({ "id": id, "status": "paid", "items": [priced], "total": { "amount": total, "currency": "USD" },
        "payment": { "id": payment, "status": "captured" }, "shipping_address": checkout.get("shipping_address") });
    let sql = "UPDATE checkout_keys SET answer = ?2, lease_until = 0 WHERE name = ?1";
    write("order", |connection| {
        run(connection, sql, params![key, order.to_string()])
    })?;
    Ok(order)
}

fn step(connection: &Connection, id: &str, status: &str, at: i64) -> Outcome<usize> {
    let sql = "INSERT INTO order_history SELECT ?1, COUNT(*), ?2, ?3, NULL FROM order_history WHERE order_id = ?1";
    run(connection, sql, params![id, status, at])
}

fn failed(error: &rusqlite::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}
