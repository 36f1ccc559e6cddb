//! Encodes orders, returns and failures.

use crate::domain::returns::{Pieces, Return};
use crate::domain::{Failure, Item, Order, ShortLine, Step};
use localmart_guest::http::decode::money_json;
use localmart_guest::http::{FieldProblem, Problem};
use serde_json::{Value, json};

/// The body of an order. The guest's token is only in the answer to the checkout.
pub(crate) fn order(order: &Order, guest_token: Option<String>) -> Value {
    let totals = &order.totals;
    let mut body = json!({
        "id": order.id.as_str(),
        "number": order.number,
        "status": order.status.name(),
        "status_history": order.history.iter().map(step).collect::<Vec<_>>(),
        "email": order.email,
        "items": order.items.iter().map(item).collect::<Vec<_>>(),
        "subtotal": money_json(totals.subtotal),
        "discount_total": money_json(totals.discount),
        "shipping_total": money_json(totals.shipping),
        "tax_total": money_json(totals.tax),
        "total": money_json(totals.total),
        "flags": order.flags.iter().map(|flag| flag.name()).collect::<Vec<_>>(),
        "currency": totals.total.currency().code(),
        "shipping_address": order.shipping_address.to_json(),
        "billing_address": order.billing_address.to_json(),
        "returns": order.returns.iter().map(|it| returned(order, it)).collect::<Vec<_>>(),
        "version": order.version,
        "created_at": order.created_at.to_string(),
        "updated_at": order.updated_at.to_string(),
    });
    if let Some(object) = body.as_object_mut() {
        if let Some(customer) = &order.customer_id {
            object.insert("customer_id".into(), json!(customer));
        }
        if let Some((id, status)) = &order.payment {
            object.insert(
                "payment".into(),
                json!({ "id": id.as_str(), "status": status.name() }),
            );
        }
        if let Some(token) = guest_token {
            object.insert("guest_token".into(), json!(token));
        }
    }
    body
}

/// The body of a return.
pub(crate) fn returned(order: &Order, returned: &Return) -> Value {
    let piece = |piece: &Pieces| json!({ "product_id": piece.product_id.as_str(), "quantity": piece.quantity });
    json!({
        "id": returned.id.as_str(),
        "order_id": order.id.as_str(),
        "status": returned.status.name(),
        "items": returned.items.iter().map(piece).collect::<Vec<_>>(),
        "reason": returned.reason,
        "refund": money_json(returned.refund),
        "created_at": returned.created_at.to_string(),
        "updated_at": returned.updated_at.to_string(),
    })
}

fn step(step: &Step) -> Value {
    let mut value = json!({ "status": step.status.name(), "at": step.at.to_string() });
    if let (Some(reason), Some(object)) = (&step.reason, value.as_object_mut()) {
        object.insert("reason".into(), json!(reason));
    }
    value
}

fn item(item: &Item) -> Value {
    json!({
        "product_id": item.product_id.as_str(),
        "sku": item.sku,
        "name": item.name,
        "unit_price": money_json(item.unit_price),
        "quantity": item.quantity,
        "line_total": money_json(item.line_total),
        "discount": money_json(item.discount),
        "tax": money_json(item.tax),
    })
}

/// The problem of a failed checkout.
pub(crate) fn failure(failure: &Failure) -> Problem {
    match failure {
        Failure::Declined(words) => Problem::business(402, "payment_declined", words.clone()),
        Failure::CartChanged => Problem::business(
            409,
            "cart_changed",
            "The cart was changed during checkout; review it and try again.",
        ),
        Failure::Insufficient(short) => {
            let line = |line: &ShortLine| FieldProblem {
                field: format!("items.{}", line.product_id),
                code: "insufficient_stock".into(),
                detail: format!("{} requested, {} available", line.requested, line.available),
            };
            Problem::business(
                409,
                "insufficient_stock",
                "There is not enough stock; nothing was charged.",
            )
            .with_errors(short.iter().map(line).collect())
        }
    }
}
