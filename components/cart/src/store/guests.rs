//! Guests' carts in the short-lived store: one JSON value per cart, written with compare-and-swap.

use super::StoredCart;
use crate::domain::{Cart, Line};
use localmart_guest::kernel::{Currency, Id, Timestamp};
use localmart_guest::short_lived::{ShortLived, StoreError};
use serde_json::{Value, json};

const PREFIX: &str = "cart/";

pub(super) struct Guests<K> {
    values: K,
}

impl<K: ShortLived> Guests<K> {
    pub(super) fn new(values: K) -> Self {
        Self { values }
    }

    pub(super) async fn read(
        &self,
        id: &Id,
        now: Timestamp,
    ) -> Result<Option<StoredCart>, StoreError> {
        let Some(bytes) = self.values.get(&key(id), now).await? else {
            return Ok(None);
        };
        let cart = serde_json::from_slice(&bytes)
            .ok()
            .and_then(|value: Value| decode(id, &value));
        let cart = cart.ok_or_else(|| StoreError("a stored cart is not valid".to_owned()))?;
        Ok(Some(StoredCart { cart, bytes }))
    }

    pub(super) async fn write(
        &self,
        cart: &Cart,
        previous: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let value = encode(cart).to_string().into_bytes();
        self.values
            .swap(&key(&cart.id), previous, &value, cart.expires_at, now)
            .await
    }

    pub(super) async fn delete(&self, id: &Id) -> Result<(), StoreError> {
        self.values.delete(&key(id)).await
    }
}

fn key(id: &Id) -> String {
    format!("{PREFIX}{id}")
}

/// The stored form of the lines.
pub(super) fn encode_lines(lines: &[Line]) -> Value {
    let line = |line: &Line| json!([line.product_id.as_str(), line.quantity]);
    lines.iter().map(line).collect()
}

/// The inverse of [`encode_lines`].
pub(super) fn decode_lines(value: &Value) -> Option<Vec<Line>> {
    let line = |line: &Value| {
        Some(Line {
            product_id: Id::parse(line.get(0)?.as_str()?)?,
            quantity: u32::try_from(line.get(1)?.as_u64()?).ok()?,
        })
    };
    value.as_array()?.iter().map(line).collect()
}

fn encode(cart: &Cart) -> Value {
    json!({
        "currency": cart.currency.code(),
        "lines": encode_lines(&cart.lines),
        "order_id": cart.order_id.as_ref().map(Id::as_str),
        "merged_by": cart.merged_by,
        "version": cart.version,
        "updated_at": cart.updated_at.ms(),
        "expires_at": cart.expires_at.ms(),
    })
}

fn decode(id: &Id, value: &Value) -> Option<Cart> {
    let time = |name: &str| Some(Timestamp::from_ms(value.get(name)?.as_i64()?));
    Some(Cart {
        id: id.clone(),
        owner: None,
        currency: Currency::parse(value.get("currency")?.as_str()?).ok()?,
        lines: decode_lines(value.get("lines")?)?,
        order_id: match value.get("order_id")? {
            Value::Null => None,
            id => Some(Id::parse(id.as_str()?)?),
        },
        merged_by: value
            .get("merged_by")
            .and_then(Value::as_str)
            .map(str::to_owned),
        version: value.get("version")?.as_u64()?,
        updated_at: time("updated_at")?,
        expires_at: time("expires_at")?,
    })
}
