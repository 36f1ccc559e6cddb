//! What every order service must do.

use super::Case;
use super::subject::{SYSTEM, Subject, text};
use anyhow::Context as _;
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an unknown order is not found",
        check: unknown,
    },
    Case {
        name: "an order has its status and its total",
        check: in_short,
    },
];

fn unknown(subject: &Subject) -> anyhow::Result<()> {
    for id in [subject.fresh_id().as_str(), "", "nonsense"] {
        subject.expect("get", &[SYSTEM, &text(id)], "err(not-found)")?;
    }
    Ok(())
}

fn in_short(subject: &Subject) -> anyhow::Result<()> {
    let product = subject.product(1999, 10)?;
    let cart = subject.post("/api/carts", &json!({ "currency": "USD" }))?;
    let cart = cart
        .pointer("/id")
        .and_then(Value::as_str)
        .context("a cart without an id")?;
    let item = json!({ "product_id": product, "quantity": 2 });
    subject.post(&format!("/api/carts/{cart}/items"), &item)?;
    let order = subject.post(
        "/api/orders",
        &json!({
            "cart_id": cart, "email": "ada@example.com", "payment": { "token": "tok_visa" },
            "shipping_address": { "name": "Ada", "line1": "1", "city": "London", "postal_code": "N1", "country": "GB" },
        }),
    )?;
    let id = order
        .pointer("/id")
        .and_then(Value::as_str)
        .context("an order without an id")?;
    let total = order
        .pointer("/total/amount")
        .and_then(Value::as_u64)
        .context("an order without a total")?;
    let said = subject.expect_like("get", &[SYSTEM, &text(id)], "ok({id: ")?;
    let known = format!("total: {{amount: {total}, currency: \"USD\"}}");
    anyhow::ensure!(
        said.contains("status: paid") && said.contains(&known),
        "{said}"
    );
    Ok(())
}
