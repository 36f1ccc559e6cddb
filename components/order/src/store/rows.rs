//! Converts orders to columns and back.

use crate::domain::links::PaymentStatus;
use crate::domain::pricing::Flag;
use crate::domain::returns::{Pieces, Return, ReturnStatus};
use crate::domain::status::Status;
use crate::domain::{Failure, Item, Order, ShortLine, Step, Totals};
use localmart_events::{EventData as _, OrderChanged, OrderLine, OrderReturned, Returned};
use localmart_guest::kernel::{Address, Currency, Id, Money, Timestamp};
use localmart_guest::sql::{Row, SqlError, Stored as _};
use localmart_guest::{columns, text_column};
use serde_json::json;

columns! {
    /// An order as it is stored. What was told about it, and the version of its payment, have statements of their own.
    pub(super) struct OrderRow in "orders" {
        id: Id,
        number: String,
        cart_id: Id,
        cart_version: u64,
        status: Status,
        email: String,
        currency: Currency,
        subtotal: u64,
        discount_total: u64,
        shipping_total: u64,
        tax_total: u64,
        total: u64,
        shipping_address: Address,
        billing_address: Address,
        payment_id: Option<Id>,
        payment_status: Option<PaymentStatus>,
        payment_token: Option<String>,
        failure: Option<String>,
        failure_detail: Option<String>,
        cancelling: bool,
        cancel_reason: Option<String>,
        reserve_until: Timestamp,
        lease_until: Timestamp,
        next_try_at: Timestamp,
        version: u64,
        created_at: Timestamp,
        updated_at: Timestamp,
        customer_id: Option<String>,
        /// Names with spaces between.
        flags: String,
    }
}

columns! {
    /// A line of an order.
    pub(super) struct ItemRow in "order_items" {
        order_id: Id,
        position: u32,
        product_id: Id,
        sku: String,
        name: String,
        unit_price: u64,
        quantity: u32,
        line_total: u64,
        discount: u64,
        tax: u64,
    }
}

columns! {
    /// A step of an order's history.
    pub(super) struct StepRow in "order_history" {
        order_id: Id,
        status: Status,
        at: Timestamp,
        reason: Option<String>,
    }
}

columns! {
    /// A return.
    pub(super) struct ReturnRow in "returns" {
        id: Id,
        order_id: Id,
        name: String,
        status: ReturnStatus,
        reason: String,
        refund: u64,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
}

columns! {
    /// Pieces of a return.
    pub(super) struct PiecesRow in "return_items" {
        return_id: Id,
        position: u32,
        product_id: Id,
        quantity: u32,
    }
}

text_column! {
    Status: |status: &Status| status.name(), Status::parse;
    PaymentStatus: |status: &PaymentStatus| status.name(), PaymentStatus::parse;
    ReturnStatus: |status: &ReturnStatus| status.name(), ReturnStatus::parse;
}

impl OrderRow {
    /// The row of an order on which a request works until `lease`.
    pub(super) fn of(order: &Order, lease: Timestamp) -> Self {
        let Totals {
            subtotal,
            discount,
            shipping,
            tax,
            total,
        } = order.totals;
        let failure = order.failure.as_ref().map(failure_columns);
        let (failure, failure_detail) = failure.unzip();
        let flags: Vec<&str> = order.flags.iter().map(|flag| flag.name()).collect();
        Self {
            id: order.id.clone(),
            number: order.number.clone(),
            cart_id: order.cart_id.clone(),
            cart_version: order.cart_version,
            status: order.status,
            email: order.email.clone(),
            currency: total.currency(),
            subtotal: subtotal.amount(),
            discount_total: discount.amount(),
            shipping_total: shipping.amount(),
            tax_total: tax.amount(),
            total: total.amount(),
            shipping_address: order.shipping_address.clone(),
            billing_address: order.billing_address.clone(),
            payment_id: order.payment.as_ref().map(|(id, _)| id.clone()),
            payment_status: order.payment.as_ref().map(|(_, status)| *status),
            payment_token: order.payment_token.clone(),
            failure: failure.map(str::to_owned),
            failure_detail,
            cancelling: order.cancelling,
            cancel_reason: order.cancel_reason.clone(),
            reserve_until: order.reserve_until,
            lease_until: lease,
            next_try_at: Timestamp::from_ms(0),
            version: order.version,
            created_at: order.created_at,
            updated_at: order.updated_at,
            customer_id: order.customer_id.clone(),
            flags: flags.join(" "),
        }
    }
}

impl ItemRow {
    pub(super) fn of(order: &Id, position: usize, item: &Item) -> Self {
        let Item {
            product_id,
            sku,
            name,
            unit_price,
            quantity,
            line_total,
            discount,
            tax,
        } = item.clone();
        Self {
            order_id: order.clone(),
            position: u32::try_from(position).unwrap_or(u32::MAX),
            product_id,
            sku,
            name,
            unit_price: unit_price.amount(),
            quantity,
            line_total: line_total.amount(),
            discount: discount.amount(),
            tax: tax.amount(),
        }
    }
}

impl ReturnRow {
    pub(super) fn of(order: &Id, returned: &Return) -> Self {
        let Return {
            id,
            name,
            status,
            items: _,
            reason,
            refund,
            created_at,
            updated_at,
        } = returned.clone();
        Self {
            id,
            order_id: order.clone(),
            name,
            status,
            reason,
            refund: refund.amount(),
            created_at,
            updated_at,
        }
    }
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

/// Builds an order from its row, and from rows of `items` and `history`, which may have those of other orders too.
pub(super) fn order(row: &Row, items: &[Row], history: &[Row]) -> Result<Order, SqlError> {
    let row = OrderRow::of_row(row)?;
    let currency = row.currency;
    let money = |amount| Money::new(amount, currency).map_err(|_| invalid("amount"));
    let failure = match row.failure {
        Some(code) => {
            let detail = row.failure_detail.unwrap_or_default();
            Some(failure(&code, detail).ok_or_else(|| invalid("failure"))?)
        }
        None => None,
    };
    let flag = |name| Flag::parse(name).ok_or_else(|| invalid("flag"));
    Ok(Order {
        items: rows_of(items, "order_id", &row.id)
            .map(|row| item(row, currency))
            .collect::<Result<_, _>>()?,
        history: rows_of(history, "order_id", &row.id)
            .map(step)
            .collect::<Result<_, _>>()?,
        id: row.id,
        number: row.number,
        cart_id: row.cart_id,
        cart_version: row.cart_version,
        status: row.status,
        email: row.email,
        totals: Totals {
            subtotal: money(row.subtotal)?,
            discount: money(row.discount_total)?,
            shipping: money(row.shipping_total)?,
            tax: money(row.tax_total)?,
            total: money(row.total)?,
        },
        shipping_address: row.shipping_address,
        billing_address: row.billing_address,
        payment: row.payment_id.zip(row.payment_status),
        payment_token: row.payment_token,
        failure,
        cancelling: row.cancelling,
        cancel_reason: row.cancel_reason,
        reserve_until: row.reserve_until,
        returns: Vec::new(),
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
        customer_id: row.customer_id,
        flags: row
            .flags
            .split_whitespace()
            .map(flag)
            .collect::<Result<_, _>>()?,
    })
}

/// Builds a return from its row, and from rows of `pieces`, which may have those of other returns too.
pub(super) fn returned(row: &Row, pieces: &[Row], currency: Currency) -> Result<Return, SqlError> {
    let row = ReturnRow::of_row(row)?;
    let piece = |row: &Row| {
        let row = PiecesRow::of_row(row)?;
        Ok(Pieces {
            product_id: row.product_id,
            quantity: row.quantity,
        })
    };
    Ok(Return {
        items: rows_of(pieces, "return_id", &row.id)
            .map(piece)
            .collect::<Result<_, SqlError>>()?,
        id: row.id,
        name: row.name,
        status: row.status,
        reason: row.reason,
        refund: Money::new(row.refund, currency).map_err(|_| invalid("refund"))?,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

/// The rows whose column has this id.
fn rows_of<'a>(rows: &'a [Row], column: &str, id: &Id) -> impl Iterator<Item = &'a Row> {
    rows.iter()
        .filter(move |row| row.get::<String>(column).is_ok_and(|of| of == id.as_str()))
}

fn item(row: &Row, currency: Currency) -> Result<Item, SqlError> {
    let row = ItemRow::of_row(row)?;
    let money = |amount| Money::new(amount, currency).map_err(|_| invalid("amount"));
    Ok(Item {
        product_id: row.product_id,
        sku: row.sku,
        name: row.name,
        unit_price: money(row.unit_price)?,
        quantity: row.quantity,
        line_total: money(row.line_total)?,
        discount: money(row.discount)?,
        tax: money(row.tax)?,
    })
}

fn step(row: &Row) -> Result<Step, SqlError> {
    let row = StepRow::of_row(row)?;
    Ok(Step {
        status: row.status,
        at: row.at,
        reason: row.reason,
    })
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
