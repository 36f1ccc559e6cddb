//! Cart, item and checkout natively: the statements of the shop (`checkout.json`) in the same transactions and order, without contracts
//! in between. Publishing the events, which the shop does later, is left out.

use super::database::Asked;
use super::{STATEMENTS, Shop, failed, new_id, now_ms, reply};
use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use localmart_kernel::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// The statements of the shop for one checkout.
#[derive(Deserialize)]
struct Recorded {
    answer: String,
    groups: Vec<Group>,
}

/// Statements on one database, in a transaction or not.
#[derive(Deserialize)]
struct Group {
    on: String,
    transaction: bool,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    sql: String,
    with: Vec<Option<String>>,
}

/// The recording. Its texts live as long as the program, as the caches of prepared statements require.
static RECORDED: LazyLock<Option<&'static Recorded>> = LazyLock::new(|| {
    let recorded: Recorded = serde_json::from_str(include_str!("checkout.json")).ok()?;
    Some(Box::leak(Box::new(recorded)))
});

/// The positions of two statements: the claim of the key, before the cart is read, and the new order, after which the cart is marked.
const CLAIM: usize = 0;
const ORDER: usize = 3;

async fn read_cart(shop: &Shop, id: &str) -> anyhow::Result<Value> {
    let asked = [Asked {
        sql: STATEMENTS.read_cart,
        with: vec![Some(format!("cart/{id}"))],
    }];
    let rows = shop.carts.run("key-value", false, &asked).await?;
    let text = rows
        .first()
        .and_then(|row| row.first())
        .context("no such cart")?;
    Ok(serde_json::from_str(text.text())?)
}

async fn write_cart(shop: &Shop, id: &str, cart: &Value) -> anyhow::Result<()> {
    let with = vec![Some(format!("cart/{id}")), Some(cart.to_string())];
    let asked = [Asked {
        sql: STATEMENTS.write_cart,
        with,
    }];
    shop.carts.run("key-value", true, &asked).await.map(drop)
}

pub(super) async fn create_cart(State(shop): State<Arc<Shop>>) -> Response {
    let id = new_id().to_string();
    let cart =
        json!({ "id": id, "currency": "USD", "items": [], "version": 1, "updated_at": now_ms() });
    match write_cart(&shop, &id, &cart).await {
        Ok(()) => reply(StatusCode::CREATED, &cart),
        Err(error) => failed(&error),
    }
}

pub(super) async fn add_item(
    State(shop): State<Arc<Shop>>,
    UrlPath(id): UrlPath<String>,
    body: Bytes,
) -> Response {
    let Ok(item) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match add(&shop, &id, &item).await {
        Ok(body) => reply(StatusCode::OK, &body),
        Err(error) => failed(&error),
    }
}

async fn add(shop: &Shop, id: &str, item: &Value) -> anyhow::Result<Value> {
    let product = item
        .get("product_id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let with = || vec![Some(product.to_owned())];
    let rows = shop
        .database
        .run(
            "catalog",
            false,
            &[Asked {
                sql: STATEMENTS.priced,
                with: with(),
            }],
        )
        .await?;
    let row = rows.first().context("no such product")?;
    let cell = |at: usize| row.get(at).context("a column is missing");
    let line = json!({ "product_id": product, "sku": cell(1)?.text(), "name": cell(2)?.text(), "amount": cell(6)?.int(), "currency": cell(7)?.text() });
    let mut cart = read_cart(shop, id).await?;
    if let Some(items) = cart.get_mut("items").and_then(Value::as_array_mut) {
        items.push(json!({ "product_id": product, "quantity": item.get("quantity") }));
    }
    write_cart(shop, id, &cart).await?;
    let stock = shop
        .database
        .run(
            "inventory",
            false,
            &[Asked {
                sql: STATEMENTS.stock,
                with: with(),
            }],
        )
        .await?;
    let available = stock
        .first()
        .and_then(|row| Some(row.get(1)?.int() - row.get(2)?.int()));
    Ok(json!({ "cart": cart, "line": line, "available": available }))
}

pub(super) async fn place_order(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok());
    let Ok(checkout) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match order(&shop, key.unwrap_or_default(), &checkout).await {
        Ok(order) => super::reply_text(StatusCode::CREATED, order),
        Err(error) => failed(&error),
    }
}

async fn order(shop: &Shop, key: &str, checkout: &Value) -> anyhow::Result<String> {
    let recorded = (*RECORDED).context("checkout.json cannot be read")?;
    let now = now_ms();
    let cart_id = checkout
        .get("cart_id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let (order, payment) = (new_id().to_string(), new_id().to_string());
    let digits = order.replace('-', "");
    let mut values = vec![
        ("{key}", key.to_owned()),
        ("{print}", digits.clone()),
        ("{number}", format!("LM-{digits}")),
        ("{trace}", digits),
        ("{cart}", cart_id.to_owned()),
        ("{order}", order.clone()),
        ("{payment}", payment),
        ("{now}", now.to_string()),
        ("{later}", (now + 900_000).to_string()),
        ("{time}", Timestamp::from_ms(now).to_string()),
    ];
    let fill = |text: &str, values: &[(&str, String)]| {
        let mut text = text.to_owned();
        for (name, value) in values {
            if text.contains(name) {
                text = text.replace(name, value);
            }
        }
        while text.contains("{id}") {
            text = text.replacen("{id}", &new_id().to_string(), 1);
        }
        text
    };
    for (place, group) in recorded.groups.iter().enumerate() {
        let asked: Vec<Asked> = group
            .statements
            .iter()
            .map(|statement| Asked {
                sql: &statement.sql,
                with: statement
                    .with
                    .iter()
                    .map(|text| Some(fill(text.as_ref()?, &values)))
                    .collect(),
            })
            .collect();
        let rows = shop
            .database
            .run(&group.on, group.transaction, &asked)
            .await?;
        match place {
            CLAIM => {
                let cart = read_cart(shop, cart_id).await?;
                let product = cart.pointer("/items/0/product_id").and_then(Value::as_str);
                values.push(("{product}", product.context("an empty cart")?.to_owned()));
            }
            // The product from the catalog.
            2 => {
                let price = rows
                    .first()
                    .and_then(|row| row.get(6))
                    .context("no such product")?;
                values.push(("{amount}", price.int().to_string()));
            }
            ORDER => {
                let mut cart = read_cart(shop, cart_id).await?;
                if let Some(cart) = cart.as_object_mut() {
                    cart.insert("order_id".into(), json!(order));
                }
                write_cart(shop, cart_id, &cart).await?;
            }
            _ => {}
        }
    }
    Ok(fill(&recorded.answer, &values))
}
