//! Converts orders to columns and back.

use crate::domain::links::PaymentStatus;
use crate::domain::pricing::Flag;
use crate::domain::returns::{Pieces, Return, ReturnStatus};
use crate::domain::status::Status;
use crate::domain::{Failure, Item, Order, ShortLine, Step, Totals};
use localmart_events::{EventData as _, OrderChanged, OrderLine, OrderReturned, Returned};
use localmart_guest::kernel::{Address, Currency, Id, Money, Timestamp};
use localmart_guest::params;
use localmart_guest::sql::{Row, SqlError, Value};
use serde_json::json;

pub(super) const COLUMNS: &str = "id, number, cart_id, cart_version, status, email, currency, subtotal, discount_total, \
     shipping_total, tax_total, total, shipping_address, billing_address, payment_id, payment_status, payment_token, \
     failure, failure_detail, cancelling, cancel_reason, reserve_until, version, created_at, updated_at, customer_id, flags";

pub(super) const INSERT: &str = "INSERT INTO orders (id, number, cart_id, cart_version, status, email, currency, subtotal, \
     discount_total, shipping_total, tax_total, total, shipping_address, billing_address, payment_id, payment_status, \
     payment_token, failure, failure_detail, cancelling, cancel_reason, reserve_until, lease_until, next_try_at, version, \
     created_at, updated_at, customer_id, flags) VALUES (CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), \
     CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), \
     CAST($11 AS BIGINT), CAST($12 AS BIGINT), CAST($13 AS TEXT), CAST($14 AS TEXT), NULL, NULL, CAST($15 AS TEXT), NULL, NULL, 0, \
     NULL, CAST($16 AS BIGINT), CAST($17 AS BIGINT), 0, CAST($18 AS BIGINT), CAST($19 AS BIGINT), CAST($20 AS BIGINT), CAST($21 AS TEXT), CAST($22 AS TEXT)) \
     ON CONFLICT DO NOTHING";

pub(super) const INSERT_ITEM: &str = "INSERT INTO order_items (order_id, position, product_id, sku, name, unit_price, \
     quantity, line_total, discount, tax) VALUES (CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), CAST($4 AS TEXT), \
     CAST($5 AS TEXT), CAST($6 AS BIGINT), CAST($7 AS BIGINT), CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT))";

pub(super) fn columns(order: &Order, lease: Timestamp) -> Vec<Value> {
    let totals = &order.totals;
    let columns: &[Value] = params![
        &order.id,
        order.number.as_str(),
        &order.cart_id,
        order.cart_version,
        order.status.name(),
        order.email.as_str(),
        totals.total.currency().code(),
        totals.subtotal.amount(),
        totals.discount.amount(),
        totals.shipping.amount(),
        totals.tax.amount(),
        totals.total.amount(),
        address_text(&order.shipping_address),
        address_text(&order.billing_address),
        order.payment_token.clone(),
        order.reserve_until,
        lease,
        order.version,
        order.created_at,
        order.updated_at,
        order.customer_id.clone(),
        flags(&order.flags),
    ];
    columns.to_vec()
}

pub(super) fn item_columns(order: &Id, position: usize, item: &Item) -> Vec<Value> {
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    let columns: &[Value] = params![
        order,
        position,
        &item.product_id,
        item.sku.as_str(),
        item.name.as_str(),
        item.unit_price.amount(),
        item.quantity,
        item.line_total.amount(),
        item.discount.amount(),
        item.tax.amount(),
    ];
    columns.to_vec()
}

pub(super) fn failure_columns(failure: &Failure) -> (&'static str, String) {
    match failure {
        Failure::Declined(words) => ("payment_declined", words.clone()),
        Failure::CartChanged => ("cart_changed", String::new()),
        Failure::Insufficient(short) => {
            let line = |line: &ShortLine| {
                json!([line.product_id.as_str(), line.requested, line.available])
            };
            (
                "insufficient_stock",
                json!(short.iter().map(line).collect::<Vec<_>>()).to_string(),
            )
        }
    }
}

fn failure(code: &str, detail: String) -> Option<Failure> {
    match code {
        "payment_declined" => Some(Failure::Declined(detail)),
        "cart_changed" => Some(Failure::CartChanged),
        "insufficient_stock" => {
            let short: Vec<(String, u32, u64)> = serde_json::from_str(&detail).ok()?;
            let line = |(id, requested, available): (String, u32, u64)| {
                Some(ShortLine {
                    product_id: Id::parse(&id)?,
                    requested,
                    available,
                })
            };
            short
                .into_iter()
                .map(line)
                .collect::<Option<_>>()
                .map(Failure::Insufficient)
        }
        _ => None,
    }
}

/// Builds an order from its row. Rows of `items` and `history` begin with the id of the order.
pub(super) fn order(row: &Row, items: &[Row], history: &[Row]) -> Result<Order, SqlError> {
    let currency = Currency::parse(&row.text(6)?).map_err(|_| invalid("currency"))?;
    let money =
        |column: usize| Money::new(row.unsigned(column)?, currency).map_err(|_| invalid("amount"));
    let payment = match (row.maybe_text(14)?, row.maybe_text(15)?) {
        (Some(id), Some(status)) => {
            let payment = Id::parse(&id).zip(PaymentStatus::parse(&status));
            Some(payment.ok_or_else(|| invalid("payment"))?)
        }
        _ => None,
    };
    let failure = match row.maybe_text(17)? {
        Some(code) => Some(
            failure(&code, row.maybe_text(18)?.unwrap_or_default())
                .ok_or_else(|| invalid("failure"))?,
        ),
        None => None,
    };
    let id = row.id(0)?;
    Ok(Order {
        id: id.clone(),
        number: row.text(1)?,
        cart_id: row.id(2)?,
        cart_version: row.unsigned(3)?,
        status: status(&row.text(4)?)?,
        email: row.text(5)?,
        items: rows_of(items, &id)
            .map(|row| item(row, currency))
            .collect::<Result<_, _>>()?,
        totals: Totals {
            subtotal: money(7)?,
            discount: money(8)?,
            shipping: money(9)?,
            tax: money(10)?,
            total: money(11)?,
        },
        shipping_address: address(&row.text(12)?)?,
        billing_address: address(&row.text(13)?)?,
        payment,
        payment_token: row.maybe_text(16)?,
        failure,
        cancelling: row.boolean(19)?,
        cancel_reason: row.maybe_text(20)?,
        reserve_until: row.time(21)?,
        history: rows_of(history, &id).map(step).collect::<Result<_, _>>()?,
        returns: Vec::new(),
        version: row.unsigned(22)?,
        created_at: row.time(23)?,
        updated_at: row.time(24)?,
        customer_id: row.maybe_text(25)?,
        flags: row
            .text(26)?
            .split_whitespace()
            .map(|name| Flag::parse(name).ok_or_else(|| invalid("flag")))
            .collect::<Result<_, _>>()?,
    })
}

/// Builds a return from its row. Rows of `pieces` begin with the id of the return.
pub(super) fn returned(row: &Row, pieces: &[Row], currency: Currency) -> Result<Return, SqlError> {
    let id = row.id(1)?;
    let piece = |row: &Row| {
        Ok(Pieces {
            product_id: row.id(1)?,
            quantity: u32::try_from(row.unsigned(2)?).map_err(|_| invalid("quantity"))?,
        })
    };
    let status = ReturnStatus::parse(&row.text(3)?).ok_or_else(|| invalid("return"))?;
    Ok(Return {
        name: row.text(2)?,
        status,
        items: rows_of(pieces, &id)
            .map(piece)
            .collect::<Result<_, SqlError>>()?,
        reason: row.text(4)?,
        refund: Money::new(row.unsigned(5)?, currency).map_err(|_| invalid("refund"))?,
        created_at: row.time(6)?,
        updated_at: row.time(7)?,
        id,
    })
}

fn rows_of<'a>(rows: &'a [Row], order: &Id) -> impl Iterator<Item = &'a Row> {
    rows.iter()
        .filter(move |row| row.text(0).is_ok_and(|id| id == order.as_str()))
}

fn item(row: &Row, currency: Currency) -> Result<Item, SqlError> {
    let money =
        |column: usize| Money::new(row.unsigned(column)?, currency).map_err(|_| invalid("amount"));
    Ok(Item {
        product_id: row.id(1)?,
        sku: row.text(2)?,
        name: row.text(3)?,
        unit_price: money(4)?,
        quantity: u32::try_from(row.unsigned(5)?).map_err(|_| invalid("quantity"))?,
        line_total: money(6)?,
        discount: money(7)?,
        tax: money(8)?,
    })
}

fn step(row: &Row) -> Result<Step, SqlError> {
    Ok(Step {
        status: status(&row.text(1)?)?,
        at: row.time(2)?,
        reason: row.maybe_text(3)?,
    })
}

fn status(text: &str) -> Result<Status, SqlError> {
    Status::parse(text).ok_or_else(|| invalid("status"))
}

fn invalid(what: &str) -> SqlError {
    SqlError::Failed(format!("an order's {what} is not valid"))
}

/// The data of order events; `docs/events/` has the schemas. Contains no e-mail address, no postal address and no token.
pub(super) fn event_data(order: &Order, returned: Option<&Return>) -> serde_json::Value {
    let line = |item: &Item| OrderLine {
        product_id: item.product_id.to_string(),
        quantity: item.quantity,
        line_total: item.line_total.amount(),
    };
    let changed = OrderChanged {
        order_id: order.id.to_string(),
        number: order.number.clone(),
        status: order.status.into(),
        customer_id: order.customer_id.clone(),
        currency: order.totals.total.currency().code().to_owned(),
        total: order.totals.total.amount(),
        items: order.items.iter().map(line).collect(),
    };
    let Some(returned) = returned else {
        return changed.to_value();
    };
    let pieces = |piece: &Pieces| localmart_events::Pieces {
        product_id: piece.product_id.to_string(),
        quantity: piece.quantity,
    };
    let returned = Returned {
        id: returned.id.to_string(),
        refund: returned.refund.amount(),
        items: returned.items.iter().map(pieces).collect(),
    };
    OrderReturned {
        order: changed,
        returned,
    }
    .to_value()
}

fn flags(flags: &[Flag]) -> String {
    let names: Vec<&str> = flags.iter().map(|flag| flag.name()).collect();
    names.join(" ")
}

fn address_text(address: &Address) -> String {
    address.to_json().to_string()
}

fn address(text: &str) -> Result<Address, SqlError> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| invalid("address"))?;
    Address::from_json(&value).ok_or_else(|| invalid("address"))
}
