//! Carts in the short-lived store: one JSON value per cart, swapped only against what was read.

use crate::domain::{Cart, Line};
use localmart_guest::door::idempotency;
use localmart_guest::kernel::{Currency, Id, Timestamp};
use localmart_guest::short_lived::{ShortLived, StoreError};
use serde_json::{Value, json};

const PREFIX: &str = "cart/";

pub(crate) struct Store<K> {
    values: K,
}

/// A cart and the bytes it was read from.
pub(crate) struct Read {
    pub(crate) cart: Cart,
    bytes: Vec<u8>,
}

impl<K: ShortLived> Store<K> {
    pub(crate) fn new(values: K) -> Self {
        Self { values }
    }

    pub(crate) async fn read(&self, id: &Id, now: Timestamp) -> Result<Option<Read>, StoreError> {
        let Some(bytes) = self.values.get(&key(id), now).await? else {
            return Ok(None);
        };
        let cart = serde_json::from_slice(&bytes)
            .ok()
            .and_then(|value: Value| decode(id, &value));
        let cart = cart.ok_or_else(|| StoreError("a stored cart is not valid".to_owned()))?;
        Ok(Some(Read { cart, bytes }))
    }

    /// `false` if somebody was faster.
    pub(crate) async fn write(
        &self,
        cart: &Cart,
        over: Option<&Read>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let expected = over.map(|read| read.bytes.as_slice());
        let value = encode(cart).to_string().into_bytes();
        self.values
            .swap(&key(&cart.id), expected, &value, cart.expires_at, now)
            .await
    }

    pub(crate) async fn delete(&self, id: &Id) -> Result<(), StoreError> {
        self.values.delete(&key(id)).await
    }

    pub(crate) async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        // The other services keep their idempotency keys in the same store and have no timer of their own for them.
        let keys = self.values.sweep(idempotency::PREFIX, now).await?;
        Ok(keys + self.values.sweep(PREFIX, now).await?)
    }
}

fn key(id: &Id) -> String {
    format!("{PREFIX}{id}")
}

fn encode(cart: &Cart) -> Value {
    let line = |line: &Line| json!([line.product_id.as_str(), line.quantity]);
    json!({
        "currency": cart.currency.code(),
        "lines": cart.lines.iter().map(line).collect::<Vec<_>>(),
        "order_id": cart.order_id.as_ref().map(Id::as_str),
        "version": cart.version,
        "updated_at": cart.updated_at.ms(),
        "expires_at": cart.expires_at.ms(),
    })
}

fn decode(id: &Id, value: &Value) -> Option<Cart> {
    let line = |line: &Value| {
        Some(Line {
            product_id: Id::parse(line.get(0)?.as_str()?)?,
            quantity: u32::try_from(line.get(1)?.as_u64()?).ok()?,
        })
    };
    let time = |name: &str| Some(Timestamp::from_ms(value.get(name)?.as_i64()?));
    Some(Cart {
        id: id.clone(),
        currency: Currency::parse(value.get("currency")?.as_str()?).ok()?,
        lines: value
            .get("lines")?
            .as_array()?
            .iter()
            .map(line)
            .collect::<Option<_>>()?,
        order_id: match value.get("order_id")? {
            Value::Null => None,
            id => Some(Id::parse(id.as_str()?)?),
        },
        version: value.get("version")?.as_u64()?,
        updated_at: time("updated_at")?,
        expires_at: time("expires_at")?,
    })
}
