//! Decodes the body of a checkout.

use crate::domain::Checkout;
use localmart_guest::http::decode::{address, email, id, money};
use localmart_guest::http::{Fields, Invalid, Problem};
use serde_json::Value;

/// Decodes the body of `POST /api/orders`.
pub(crate) fn checkout(body: &[u8], customer_id: Option<String>) -> Result<Checkout, Problem> {
    let mut fields = Fields::of_body(body)?;
    let cart_id = fields.required("cart_id", id);
    let email = match &customer_id {
        None => fields.required("email", email).map(Some),
        Some(_) => Some(fields.optional("email", email)),
    };
    let shipping = fields.object("shipping_address", true, address);
    let billing = fields.object("billing_address", false, address);
    let _method = fields.optional("shipping_method", shipping_method);
    let token = fields.object("payment", true, |payment| payment.required("token", token));
    let expected_total = fields.optional("expected_total", money);
    let parts = cart_id.zip(email).zip(shipping).zip(token);
    fields.finish(parts.map(
        |(((cart_id, email), shipping_address), payment_token)| Checkout {
            cart_id,
            customer_id,
            email,
            billing_address: billing.unwrap_or_else(|| shipping_address.clone()),
            shipping_address,
            payment_token,
            expected_total,
        },
    ))
}

fn shipping_method(value: &Value) -> Result<(), Invalid> {
    if value.as_str() == Some("standard") {
        Ok(())
    } else {
        Err(Invalid::new("must be standard"))
    }
}

/// Decodes a token of the payment provider. A card number is refused, and the error does not repeat it.
fn token(value: &Value) -> Result<String, Invalid> {
    let token = value.as_str().filter(|text| {
        let name = text.strip_prefix("tok_").unwrap_or_default();
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    });
    token
        .map(str::to_owned)
        .ok_or_else(|| Invalid::new("must be a token of the payment provider, never a card number"))
}
