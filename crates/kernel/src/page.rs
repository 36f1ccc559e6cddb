//! Lists: how many, and from where on. A cursor is opaque to clients and worthless when altered.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Page size when the client names none.
pub const DEFAULT_LIMIT: u32 = 20;
/// Largest page size.
pub const MAX_LIMIT: u32 = 100;
/// Longest cursor that is looked at, in bytes.
const MAX_CURSOR_BYTES: usize = 1024;

/// A page size, 1 to [`MAX_LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u32);

impl Limit {
    /// Reads `?limit=`.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let limit = text.parse::<u32>().ok().filter(|_| well_formed)?;
        (1..=MAX_LIMIT).contains(&limit).then_some(Self(limit))
    }

    /// The number of items.
    pub fn get(self) -> usize {
        self.0 as usize
    }

    /// One more than asked for, to see whether there is a next page.
    pub fn probe(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

/// The place after which the next page begins: which order the list was in, the sort key of the last item, and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The name of the order, so that a cursor of another list is refused.
    pub order: String,
    /// The sort key of the last item, as text.
    pub key: String,
    /// The id of the last item, which breaks ties.
    pub id: String,
}

impl Cursor {
    /// The opaque text that goes into `next_cursor`.
    pub fn encode(&self) -> String {
        let parts = serde_json::json!([self.order, self.key, self.id]);
        URL_SAFE_NO_PAD.encode(parts.to_string())
    }

    /// Reads `?cursor=`; `None` for anything this shop did not make for this order.
    pub fn decode(text: &str, order: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let [made_for, key, id] = serde_json::from_slice::<[String; 3]>(&bytes).ok()?;
        (made_for == order).then_some(Self {
            order: made_for,
            key,
            id,
        })
    }
}

/// Cuts what was read with [`Limit::probe`] down to a page; with the opaque cursor of the next, if there is one.
pub fn page<T>(
    mut items: Vec<T>,
    limit: Limit,
    after: impl FnOnce(&T) -> Cursor,
) -> (Vec<T>, Option<String>) {
    let more = items.len() > limit.get();
    items.truncate(limit.get());
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| after(last).encode());
    (items, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_one_to_a_hundred() {
        assert_eq!(Limit::parse("1").map(Limit::get), Some(1));
        assert_eq!(Limit::parse("100").map(Limit::get), Some(100));
        for bad in [
            "0",
            "101",
            "-1",
            "1.5",
            "1e1",
            "",
            "+5",
            " 5",
            "1000000000",
            "99999999999999999999",
        ] {
            assert_eq!(Limit::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cursor_comes_back_only_for_its_own_order() {
        let cursor = Cursor {
            order: "name".into(),
            key: "smörgås'--".into(),
            id: "x".into(),
        };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text, "name"), Some(cursor));
        assert_eq!(Cursor::decode(&text, "newest"), None);
        for bad in ["", "!!", "bnVsbA", &"A".repeat(5000)] {
            assert_eq!(Cursor::decode(bad, "name"), None, "{bad}");
        }
    }
}
