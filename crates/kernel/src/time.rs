//! Times: Unix milliseconds in code and databases, RFC 3339 in UTC with milliseconds in APIs.

use std::fmt;

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From Unix milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Unix milliseconds, as SQL stores them.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Unix milliseconds for WIT interfaces, which have no negative times.
    pub fn unsigned_ms(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default()
    }

    /// This time plus a number of milliseconds, which may be negative.
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Timestamp {
    /// Formats as RFC 3339 in UTC with milliseconds: `2026-11-20T18:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{moment:.3}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses a duration, an integer with the unit `ms`, `s`, `m`, `h` or `d`. Returns milliseconds.
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(
            Timestamp::from_ms(1_795_197_600_000).to_string(),
            "2026-11-20T18:00:00.000Z"
        );
        assert_eq!(
            Timestamp::from_ms(7).to_string(),
            "1970-01-01T00:00:00.007Z"
        );
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in [
            ("15m", 900_000),
            ("30d", 2_592_000_000),
            ("60s", 60_000),
            ("5ms", 5),
        ] {
            assert_eq!(parse_duration_ms(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "15",
            "m",
            "-1s",
            "1.5s",
            "9999999999999999999d",
            "1w",
            "ü",
        ] {
            assert_eq!(parse_duration_ms(text), None, "{text}");
        }
    }
}
