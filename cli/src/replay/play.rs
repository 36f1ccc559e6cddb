//! A plan as requests: products and stock, then orders, then what is undone. Every request has a key, so that a replay that
//! was interrupted can be run again.

use super::plan::{Order, Plan, Product};
use crate::client::Client;
use crate::workers::at_once;
use anyhow::{Context as _, bail};
use localmart_guest::kernel::Currency;
use serde_json::{Value, json};
use std::sync::Mutex;

/// The category of everything that a replay sells.
const CATEGORY: &str = "replay";
/// Longest name of a product, in characters.
const MAX_NAME: usize = 200;

/// The shop that a plan is played in.
pub(super) struct Shop {
    pub(super) staff: Client,
    pub(super) guest: Client,
    /// Requests under way at once.
    pub(super) clients: usize,
}

/// What the shop says of it.
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
        let products = at_once("products", plan.products.len(), self.clients, |place| {
            let product = plan.products.get(place).context("a product is missing")?;
            self.stock(product)
        })?;
        let played = Mutex::new(Played::default());
        at_once("orders", plan.orders.len(), self.clients, |place| {
            let order = plan.orders.get(place).context("an order is missing")?;
            let (sold, given_back, end) = self.order(plan, &products, order)?;
            let mut played = played
                .lock()
                .map_err(|_| anyhow::anyhow!("a worker died"))?;
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
            .map_err(|_| anyhow::anyhow!("a worker died"))
    }

    /// A product with as much stock as the plan needs; its id.
    fn stock(&self, product: &Product) -> anyhow::Result<String> {
        let sku = &product.sku;
        let name: String = product.name.chars().take(MAX_NAME).collect();
        let body = json!({
            "sku": sku, "name": name, "description": "Sold before.", "category": CATEGORY, "published": true,
            "price": money(product.price.amount(), product.price.currency().code()),
        });
        let key = format!("replay-{}", fingerprint(sku));
        let made = self.staff.post("/api/products", &key, &body)?;
        let id = text(&made, "/id")?;
        // One adjustment moves at most a billion pieces, more than any file has of one thing.
        let stock = json!({ "delta": product.needed, "reason": "replay" });
        let path = format!("/api/inventory/{id}/adjustments");
        self.staff.post(&path, &format!("{key}-stock"), &stock)?;
        Ok(id)
    }

    /// Buys, and undoes what the plan undoes; what was sold and given back.
    fn order(
        &self,
        plan: &Plan,
        products: &[String],
        order: &Order,
    ) -> anyhow::Result<(u128, u128, End)> {
        let (name, key) = (&order.name, format!("replay-{}", fingerprint(&order.name)));
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
            bail!("invoice {name}: {sold} was sold and {kept} was taken");
        }
        Ok((sold, amount(&payment, "/refunded/amount")?, end))
    }

    fn undo(&self, products: &[String], order: &Order, id: &str, key: &str) -> anyhow::Result<End> {
        let act = |verb: &str, body: &Value| {
            let (path, key) = (
                format!("/api/orders/{id}/{verb}"),
                format!("{key}-{}", fingerprint(verb)),
            );
            self.staff.post(&path, &key, body)
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

/// What became of an order.
enum End {
    Kept,
    Cancelled,
    Returned,
}

fn money(amount: u64, currency: &str) -> Value {
    json!({ "amount": amount, "currency": currency })
}

/// A name as part of a key: names of files have characters that no key has.
fn fingerprint(name: &str) -> String {
    localmart_guest::token::capability("replay", name)
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
