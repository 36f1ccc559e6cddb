//! The requests that one connection repeats.

use crate::load::Client;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// One iteration of a measurement.
#[derive(Clone, Debug)]
pub enum Work {
    /// A GET of this path, answered with 200.
    Get(String),
    /// Any request, with the expected status of the answer.
    Ask {
        /// The method, for example GET.
        method: String,
        /// The path with the query.
        path: String,
        /// The JSON body.
        body: Option<String>,
        /// The expected status.
        status: u16,
    },
    /// Creates a cart and adds one piece of this product.
    Fill(String),
    /// Creates a cart, adds one piece of this product and places the order.
    Buy(String),
}

impl Work {
    /// Runs one iteration. `number` must be unique among all iterations.
    pub async fn once(&self, client: &mut Client, number: u64) -> anyhow::Result<()> {
        match self {
            Self::Get(path) => client.send("GET", path, None, None, 200).await.map(drop),
            Self::Ask {
                method,
                path,
                body,
                status,
            } => {
                let asked = client.send(method, path, None, body.clone(), *status);
                asked.await.map(drop)
            }
            Self::Fill(product) => fill(client, product).await.map(drop),
            Self::Buy(product) => buy(client, product, number).await,
        }
    }
}

/// The cheapest product of a shop.
pub async fn first_product(address: SocketAddr) -> anyhow::Result<String> {
    let mut client = Client::connect(address).await?;
    let path = "/api/products?limit=1&sort=price_asc";
    let body = client.send("GET", path, None, None, 200).await?;
    let body: Value = serde_json::from_slice(&body)?;
    let id = body.pointer("/items/0/id").and_then(Value::as_str);
    Ok(id.context("the shop has no products")?.to_owned())
}

/// Creates a cart with one piece of a product; returns the id of the cart.
async fn fill(client: &mut Client, product: &str) -> anyhow::Result<String> {
    let cart: Value =
        serde_json::from_slice(&client.send("POST", "/api/carts", None, None, 201).await?)?;
    let cart = cart.pointer("/id").and_then(Value::as_str);
    let cart = cart.context("a cart without an id")?.to_owned();
    let item = json!({ "product_id": product, "quantity": 1 });
    let path = format!("/api/carts/{cart}/items");
    client
        .send("POST", &path, None, Some(item.to_string()), 200)
        .await?;
    Ok(cart)
}

/// Creates a cart with one piece of a product and places the order.
async fn buy(client: &mut Client, product: &str, number: u64) -> anyhow::Result<()> {
    let cart = fill(client, product).await?;
    let order = json!({
        "cart_id": cart, "email": "ada@example.com", "payment": { "token": "tok_visa" },
        "shipping_address": { "name": "Ada", "line1": "1 Way", "city": "London", "postal_code": "N1", "country": "GB" },
    });
    let key = format!("{cart}-{number}");
    let path = "/api/orders";
    let asked = client.send("POST", path, Some(&key), Some(order.to_string()), 201);
    asked.await.map(drop)
}
