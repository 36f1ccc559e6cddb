//! Ids: UUIDv7 (RFC 9562) in lower case. The caller provides time and random bytes.

use std::fmt;

/// A unique id. Ids sort by the time they were created.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// Creates an id from a time in Unix milliseconds and ten random bytes.
    pub fn from_parts(unix_ms: u64, random: &[u8; 10]) -> Self {
        Self(
            uuid::Builder::from_unix_timestamp_millis(unix_ms, random)
                .into_uuid()
                .to_string(),
        )
    }

    /// Parses an id: hyphenated and in lower case. No other form is accepted, so that an id has one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase());
        if well_formed && uuid::Uuid::try_parse(text).is_ok() {
            Some(Self(text.to_owned()))
        } else {
            None
        }
    }

    /// The id as hyphenated text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hyphenated_uuids_are_ids() {
        let id = Id::from_parts(1_790_000_000_000, &[7; 10]);
        assert_eq!(Id::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.as_str().as_bytes()[14], b'7');
        let simple = id.as_str().replace('-', "");
        for bad in [
            "",
            "1",
            "' OR 1=1 --",
            &id.as_str().to_uppercase(),
            &simple,
            "{}",
        ] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        assert!(Id::from_parts(1000, &[255; 10]) < Id::from_parts(1001, &[0; 10]));
    }
}
