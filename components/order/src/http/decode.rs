//! The body of a checkout.

use crate::domain::{Address, Checkout};
use localmart_guest::door::decode::{id, money, text};
use localmart_guest::door::{Fields, Invalid, Problem};
use serde_json::Value;

/// Reads the body of `POST /api/orders`.
pub(crate) fn checkout(body: &[u8]) -> Result<Checkout, Problem> {
    let mut fields = Fields::of_body(body)?;
    let cart_id = fields.required("cart_id", id);
    let email = fields.required("email", email);
    let shipping = fields.object("shipping_address", true, address);
    let billing = fields.object("billing_address", false, address);
    let _method = fields.optional("shipping_method", shipping_method);
    let token = fields.object("payment", true, |payment| payment.required("token", token));
    let expected_total = fields.optional("expected_total", money);
    let parts = cart_id.zip(email).zip(shipping).zip(token);
    fields.finish(parts.map(
        |(((cart_id, email), shipping_address), payment_token)| Checkout {
            cart_id,
            email,
            billing_address: billing.unwrap_or_else(|| shipping_address.clone()),
            shipping_address,
            payment_token,
            expected_total,
        },
    ))
}

fn address(fields: &mut Fields) -> Option<Address> {
    let name = fields.required("name", text(1, 200));
    let line1 = fields.required("line1", text(1, 200));
    let line2 = fields.optional("line2", text(0, 200));
    let city = fields.required("city", text(1, 100));
    let region = fields.optional("region", text(0, 100));
    let postal_code = fields.required("postal_code", text(1, 20));
    let country = fields.required("country", country);
    let parts = name.zip(line1).zip(city).zip(postal_code).zip(country);
    parts.map(|((((name, line1), city), postal_code), country)| Address {
        name,
        line1,
        line2,
        city,
        region,
        postal_code,
        country,
    })
}

fn country(value: &Value) -> Result<String, Invalid> {
    let code = value
        .as_str()
        .filter(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()));
    code.map(str::to_owned)
        .ok_or_else(|| Invalid::new("must be an ISO 3166-1 code like US"))
}

/// One `@`, something around it, no white space, at most 254 characters: the rest only a mail can tell.
fn email(value: &Value) -> Result<String, Invalid> {
    let shape = |text: &&str| {
        let parts: Vec<&str> = text.split('@').collect();
        text.len() <= 254
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && matches!(parts.as_slice(), [local, domain] if !local.is_empty() && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.'))
    };
    let email = value.as_str().filter(shape);
    email
        .map(str::to_owned)
        .ok_or_else(|| Invalid::new("must be an e-mail address"))
}

fn shipping_method(value: &Value) -> Result<(), Invalid> {
    if value.as_str() == Some("standard") {
        Ok(())
    } else {
        Err(Invalid::new("must be standard"))
    }
}

/// A provider's token; a card number is none and is refused without being repeated.
fn token(value: &Value) -> Result<String, Invalid> {
    let token = value.as_str().filter(|text| {
        let name = text.strip_prefix("tok_").unwrap_or_default();
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    });
    token
        .map(str::to_owned)
        .ok_or_else(|| Invalid::new("must be a token of the payment provider, never a card number"))
}
