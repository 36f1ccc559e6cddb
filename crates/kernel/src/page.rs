//! Pages of lists: limits and cursors. A cursor is opaque to clients.

use crate::Id;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The page size if the request has no limit.
pub const DEFAULT_LIMIT: u32 = 20;
/// The largest page size.
pub const MAX_LIMIT: u32 = 100;
/// The longest cursor that is decoded, in bytes: a key of 200 characters, each of which may take six bytes in JSON twice
/// over, in base64, with room to spare.
const MAX_CURSOR_BYTES: usize = 8 * 1024;

/// A page size from 1 to [`MAX_LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u32);

impl Limit {
    /// Parses the query parameter `limit`.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let limit = text.parse::<u32>().ok().filter(|_| well_formed)?;
        (1..=MAX_LIMIT).contains(&limit).then_some(Self(limit))
    }

    /// The number of items.
    pub fn get(self) -> usize {
        self.0 as usize
    }

    /// The number of items to read: one more than the page has, to find out whether there is a next page.
    pub fn probe(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

/// The position after which the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The name of the sort order, so that a cursor of another list is refused.
    pub order: String,
    /// The sort key of the last item, as text.
    pub key: String,
    /// The id of the last item, which breaks ties.
    pub id: String,
}

impl Cursor {
    /// The opaque text of `next_cursor`.
    pub fn encode(&self) -> String {
        let parts = serde_json::json!([self.order, self.key, self.id]);
        URL_SAFE_NO_PAD.encode(parts.to_string())
    }

    /// Parses the query parameter `cursor` of a list whose sort key is a number; `None` if it is not a cursor of this sort
    /// order.
    pub fn decode_number(text: &str, order: &str) -> Option<Self> {
        Self::decode(text, order).filter(|cursor| cursor.key.parse::<i64>().is_ok())
    }

    /// Parses the query parameter `cursor` of a list whose sort key is a text; `None` if it is not a cursor of this sort
    /// order.
    pub fn decode(text: &str, order: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let [made_for, key, id] = serde_json::from_slice::<[String; 3]>(&bytes).ok()?;
        // Postgres refuses a NUL in a text.
        let possible = made_for == order && !key.contains('\0') && Id::parse(&id).is_some();
        possible.then_some(Self {
            order: made_for,
            key,
            id,
        })
    }
}

/// Cuts the items that were read with [`Limit::probe`] to one page; returns the page and the cursor of the next page, if
/// there is one. `rows` counts what was read, including rows that could not be decoded.
pub fn page<T>(
    mut items: Vec<T>,
    rows: usize,
    limit: Limit,
    after: impl FnOnce(&T) -> Cursor,
) -> (Vec<T>, Option<String>) {
    let more = rows > limit.get();
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

    const ID: &str = "01939d5c-0000-7000-8000-000000000000";

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
    fn a_cursor_is_accepted_only_for_its_own_sort_order() {
        let cursor = Cursor {
            order: "name".into(),
            key: "smörgås'--".into(),
            id: ID.into(),
        };
        let text = cursor.encode();
        assert_eq!(Cursor::decode_number(&text, "name"), None);
        assert_eq!(Cursor::decode(&text, "name"), Some(cursor));
        assert_eq!(Cursor::decode(&text, "newest"), None);
        for (key, id) in [("a\0b", ID), ("a", "x"), ("a", "' OR 1")] {
            let (order, key, id) = ("name".into(), key.into(), id.into());
            let text = Cursor { order, key, id }.encode();
            assert_eq!(Cursor::decode(&text, "name"), None, "{text}");
        }
        let longest = Cursor {
            order: "name".into(),
            key: "\u{1d400}".repeat(200),
            id: ID.into(),
        };
        assert_eq!(Cursor::decode(&longest.encode(), "name"), Some(longest));
        let number = Cursor {
            order: "newest".into(),
            key: "-5".into(),
            id: ID.into(),
        };
        assert_eq!(
            Cursor::decode_number(&number.encode(), "newest"),
            Some(number)
        );
        for bad in ["", "!!", "bnVsbA", &"A".repeat(9000)] {
            assert_eq!(Cursor::decode(bad, "name"), None, "{bad}");
        }
    }
}
