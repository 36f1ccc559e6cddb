//! What every cart must do.

use super::Case;
use super::subject::{SYSTEM, Subject, text};
use anyhow::Context as _;
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an unknown cart is not found",
        check: unknown,
    },
    Case {
        name: "a cart has the lines that were added to it",
        check: a_cart,
    },
    Case {
        name: "a cart becomes one order, and only that order can reopen it",
        check: completed_and_reopened,
    },
];

fn unknown(subject: &Subject) -> anyhow::Result<()> {
    for id in [subject.fresh_id().as_str(), "", "nonsense"] {
        subject.expect("get", &[SYSTEM, &text(id)], "err(not-found)")?;
    }
    Ok(())
}

/// Creates a cart with two of a product; returns its id and the product's.
fn filled(subject: &Subject) -> anyhow::Result<(String, String)> {
    let product = subject.product(5, 10)?;
    let cart = subject.post("/api/carts", &json!({ "currency": "USD" }))?;
    let cart = cart
        .pointer("/id")
        .and_then(Value::as_str)
        .context("a cart without an id")?
        .to_owned();
    let item = json!({ "product_id": product, "quantity": 2 });
    subject.post(&format!("/api/carts/{cart}/items"), &item)?;
    Ok((cart, product))
}

/// The version in an answer.
fn version(said: &str) -> anyhow::Result<String> {
    let version = said
        .split("version: ")
        .nth(1)
        .and_then(|rest| rest.split('}').next());
    version
        .map(str::to_owned)
        .with_context(|| format!("no version in {said}"))
}

fn a_cart(subject: &Subject) -> anyhow::Result<()> {
    let (cart, product) = filled(subject)?;
    let said = subject.expect_like("get", &[SYSTEM, &text(&cart)], "ok({id: ")?;
    let line = format!("lines: [{{product-id: {product:?}, quantity: 2}}]");
    anyhow::ensure!(
        said.contains(&line) && said.contains("currency: \"USD\""),
        "{said}"
    );
    Ok(())
}

fn completed_and_reopened(subject: &Subject) -> anyhow::Result<()> {
    let (cart, _) = filled(subject)?;
    let (cart, order, other) = (
        text(&cart),
        text(&subject.fresh_id()),
        text(&subject.fresh_id()),
    );
    let now = version(&subject.call("get", &[SYSTEM, &cart])?)?;
    subject.expect("complete", &[SYSTEM, &cart, &order, "99"], "err(changed)")?;
    for _ in 0..2 {
        subject.expect("complete", &[SYSTEM, &cart, &order, &now], "ok")?;
    }
    let taken = format!("err(completed({order}))");
    subject.expect("complete", &[SYSTEM, &cart, &other, &now], &taken)?;
    subject.expect("reopen", &[SYSTEM, &cart, &other], "ok")?;
    let said = subject.call("get", &[SYSTEM, &cart])?;
    anyhow::ensure!(said.contains(&format!("order-id: some({order})")), "{said}");
    subject.expect("reopen", &[SYSTEM, &cart, &order], "ok")?;
    let said = subject.call("get", &[SYSTEM, &cart])?;
    anyhow::ensure!(
        said.contains("order-id: none") || !said.contains("order-id"),
        "{said}"
    );
    Ok(())
}
