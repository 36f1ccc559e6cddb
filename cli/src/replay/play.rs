//! A plan as requests: products and stock, then orders, then cancellations and returns. Every request that writes has an
//! idempotency key made from the contents of the file, so an interrupted replay can be run again and another file never meets
//! the orders of this one.

use super::plan::{Order, Plan, Product};
use crate::client::Client;
use crate::workers::at_once;
use anyhow::{Context as _, bail};
use localmart_guest::kernel::Currency;
use localmart_guest::token::capability;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The category of everything that a replay sells.
const CATEGORY: &str = "replay";
/// Longest name of a product, in characters.
const MAX_NAME: usize = 200;

/// Products that are listed at once.
const PAGE: usize = 100;

/// The shop in which a plan is played.
pub(super) struct Shop {
    pub(super) staff: Client,
    pub(super) guest: Client,
    /// Concurrent requests.
    pub(super) clients: usize,
}

/// What the shop reports about the orders.
#[derive(Default)]
pub(super) struct Played {
    /// Totals of the orders, in minor units.
    pub(super) sold: u128,
    /// Refunds, in minor units.
    pub(super) given_back: u128,
    pub(super) cancelled: usize,
    pub(super) returned: usize,
}

impl Shop {
    pub(super) fn play(&self, plan: &Plan) -> anyhow::Result<Played> {
        let category = json!({ "slug": CATEGORY, "name": "Replay" });
        self.staff.make("/api/categories", &category)?;
        let known = self.known()?;
        let products = at_once("products", plan.products.len(), self.clients, |place| {
            let product = plan.products.get(place).context("a product is missing")?;
            self.stock(plan, product, known.get(&product.sku))
        })?;
        let played = Mutex::new(Played::default());
        at_once("orders", plan.orders.len(), self.clients, |place| {
            let order = plan.orders.get(place).context("an order is missing")?;
            let (sold, given_back, end) = self.order(plan, &products, order)?;
            let mut played = played
                .lock()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))?;
            played.sold += sold;
            played.given_back += given_back;
            match end {
                End::Kept => {}
                End::Cancelled => played.cancelled += 1,
                End::Returned => played.returned += 1,
            }
            Ok(())
        })?;
        played
            .into_inner()
            .map_err(|_| anyhow::anyhow!("a worker panicked"))
    }

    /// The products of earlier replays, by SKU.
    fn known(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let (mut known, mut cursor) = (BTreeMap::new(), None);
        loop {
            let mut path = format!("/api/products?category={CATEGORY}&limit={PAGE}");
            if let Some(cursor) = &cursor {
                path = format!("{path}&cursor={cursor}");
            }
            let page = self.staff.get(&path)?;
            let items = page.get("items").and_then(Value::as_array);
            for product in items.into_iter().flatten() {
                known.insert(text(product, "/sku")?, product.clone());
            }
            cursor = page
                .get("next_cursor")
                .and_then(Value::as_str)
                .map(str::to_owned);
            if cursor.is_none() {
                return Ok(known);
            }
        }
    }

    /// Makes a product unless there is one, and adds as much stock as the plan needs; the id of the product.
    fn stock(
        &self,
        plan: &Plan,
        product: &Product,
        known: Option<&Value>,
    ) -> anyhow::Result<String> {
        let sku = &product.sku;
        let price = money(product.price.amount(), product.price.currency().code());
        let id = match known {
            Some(known) if known.get("price") == Some(&price) => text(known, "/id")?,
            Some(known) => bail!(
                "the shop has a product with the SKU {sku} at another price; its id is {}",
                text(known, "/id")?
            ),
            None => {
                let name: String = product.name.chars().take(MAX_NAME).collect();
                let body = json!({
                    "sku": sku, "name": name, "description": "Sold before.", "category": CATEGORY, "published": true,
                    "price": price,
                });
                let made =
                    self.staff
                        .post("/api/products", &key(plan, &["product", sku]), &body)?;
                text(&made, "/id")?
            }
        };
        // One adjustment moves at most a billion pieces, more than any file has of one thing.
        let stock = json!({ "delta": product.needed, "reason": "replay" });
        let path = format!("/api/inventory/{id}/adjustments");
        // With another --limit the same file needs another number of pieces.
        let pieces = product.needed.to_string();
        let key = key(plan, &["stock", sku, &pieces]);
        self.staff.post(&path, &key, &stock)?;
        Ok(id)
    }

    /// Places an order and returns what the plan returns; the amounts sold and refunded.
    fn order(
        &self,
        plan: &Plan,
        products: &[String],
        order: &Order,
    ) -> anyhow::Result<(u128, u128, End)> {
        let (name, key) = (&order.name, key(plan, &["order", &order.name]));
        let money_of = plan.products.first().map(|it| it.price.currency());
        let currency = money_of.unwrap_or(Currency::USD);
        let currency = currency.code();
        let cart = json!({ "currency": currency });
        let cart = self
            .guest
            .post("/api/carts", &format!("{key}-cart"), &cart)?;
        let cart = text(&cart, "/id")?;
        for line in &order.lines {
            let product = products.get(line.product).context("a product is missing")?;
            let item = json!({ "product_id": product, "quantity": line.quantity });
            let path = format!("/api/carts/{cart}/items");
            self.guest.post(&path, &format!("{key}-{product}"), &item)?;
        }
        let address = json!({ "name": "Replay", "line1": "1 High Street", "city": "London", "postal_code": "E1 6AN", "country": "GB" });
        let total = u64::try_from(plan.total(order))?;
        let checkout = json!({
            "cart_id": cart, "email": "replay@localmart.test", "shipping_address": address, "payment": { "token": "tok_visa" },
            "expected_total": money(total, currency),
        });
        let made = self.guest.post("/api/orders", &key, &checkout);
        let made = made.with_context(|| format!("invoice {name}"))?;
        let (id, sold) = (text(&made, "/id")?, amount(&made, "/total/amount")?);
        let payment = text(&made, "/payment/id")?;
        let end = self.undo(products, order, &id, &key)?;
        let payment = self.staff.get(&format!("/api/payments/{payment}"))?;
        let kept = amount(&payment, "/captured/amount")?;
        if kept != sold {
            bail!("invoice {name}: the order comes to {sold}, but {kept} was charged");
        }
        Ok((sold, amount(&payment, "/refunded/amount")?, end))
    }

    fn undo(&self, products: &[String], order: &Order, id: &str, key: &str) -> anyhow::Result<End> {
        let act = |verb: &str, body: &Value| {
            let key = format!("{key}-{}", capability("replay", verb));
            self.staff
                .post(&format!("/api/orders/{id}/{verb}"), &key, body)
        };
        let mut back = order.lines.iter().filter(|line| line.back > 0).peekable();
        if back.peek().is_none() {
            return Ok(End::Kept);
        }
        if order.lines.iter().all(|line| line.back == line.quantity) {
            act("cancel", &json!({ "reason": "cancelled" }))?;
            return Ok(End::Cancelled);
        }
        act("ship", &json!({}))?;
        act("deliver", &json!({}))?;
        let item = |line: &super::plan::Line| json!({ "product_id": products.get(line.product), "quantity": line.back });
        let items: Vec<Value> = back.map(item).collect();
        let asked = act("returns", &json!({ "items": items, "reason": "cancelled" }))?;
        act(
            &format!("returns/{}/approve", text(&asked, "/id")?),
            &json!({}),
        )?;
        Ok(End::Returned)
    }
}

/// How an order ended.
enum End {
    Kept,
    Cancelled,
    Returned,
}

fn money(amount: u64, currency: &str) -> Value {
    json!({ "amount": amount, "currency": currency })
}

/// An idempotency key for something that this file asks for: names in files have characters that no key has.
fn key(plan: &Plan, words: &[&str]) -> String {
    let named = [&[plan.file.as_str()], words].concat().join("\n");
    format!("replay-{}", capability("replay", &named))
}

/// The cookie of the guest who plays a plan. Who has the file knows it, and nobody else.
pub(super) fn client_of(plan: &Plan) -> String {
    key(plan, &["client"])
}

fn text(body: &Value, place: &str) -> anyhow::Result<String> {
    let found = body.pointer(place).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("the shop's answer has no {place}"))
}

fn amount(body: &Value, place: &str) -> anyhow::Result<u128> {
    let found = body.pointer(place).and_then(Value::as_u64);
    found
        .map(u128::from)
        .with_context(|| format!("the shop's answer has no {place}"))
}
