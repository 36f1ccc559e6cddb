//! The binary format of Postgres' `numeric`: digits to the base of 10 000, and the values NaN and infinity. A decimal type with a
//! fixed number of bits cannot represent all of them.

use super::values::Failure;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// The number of decimal digits in one digit of the format.
const GROUP: usize = 4;
/// The most decimal digits before the point, and after it.
const MOST_DIGITS: [usize; 2] = [131_072, 16_383];

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// The value as text, with as many digits after the point as the server shows.
pub(super) fn text(raw: &[u8]) -> Result<String, Failure> {
    let mut numbers = raw.chunks_exact(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    });
    let mut head = || numbers.next().ok_or("a numeric value is too short");
    let (count, weight, sign, scale) = (head()?, head()?.cast_signed(), head()?, head()?);
    let digits: Vec<u16> = numbers.take(usize::from(count)).collect();
    match sign {
        0 | NEGATIVE => {}
        NAN => return Ok("NaN".to_owned()),
        INFINITY => return Ok("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Ok("-Infinity".to_owned()),
        _ => return Err("a numeric value has an unknown sign".into()),
    }
    let digit = |place: i32| {
        let place = usize::try_from(place).ok();
        place.and_then(|place| digits.get(place)).copied()
    };
    let (weight, scale) = (i32::from(weight), usize::from(scale));
    let whole: String = (0..=weight)
        .map(|place| format!("{:04}", digit(place).unwrap_or_default()))
        .collect();
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let groups = i32::try_from(scale.div_ceil(GROUP))?;
    let mut fraction: String = (weight + 1..=weight + groups)
        .map(|place| format!("{:04}", digit(place).unwrap_or_default()))
        .collect();
    fraction.truncate(scale);
    let sign = if sign == NEGATIVE { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    Ok(format!("{sign}{whole}{point}{fraction}"))
}

/// A parameter: the bytes of the format.
#[derive(Debug)]
pub(super) struct Numeric(Vec<u8>);

impl Numeric {
    /// Reads digits with an optional sign and point, `NaN`, `Infinity` or `-Infinity`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let special = |sign: u16| Ok(Self::encoded(&[], 0, sign, 0));
        match text.to_ascii_lowercase().as_str() {
            "nan" => return special(NAN),
            "infinity" | "inf" => return special(INFINITY),
            "-infinity" | "-inf" => return special(NEGATIVE_INFINITY),
            _ => {}
        }
        let (sign, bare) = match text.strip_prefix('-') {
            Some(bare) => (NEGATIVE, bare),
            None => (0, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = bare.split_once('.').unwrap_or((bare, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let too_long = whole.len() > MOST_DIGITS[0] || fraction.len() > MOST_DIGITS[1];
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(format!("`{text}` is not a decimal number"));
        }
        if too_long {
            return Err("a decimal number has too many digits".to_owned());
        }
        let whole_groups = whole.len().div_ceil(GROUP);
        let fraction_groups = fraction.len().div_ceil(GROUP);
        let padded = format!(
            "{whole:0>left$}{fraction:0<right$}",
            left = whole_groups * GROUP,
            right = fraction_groups * GROUP
        );
        let groups: Vec<u16> = padded
            .as_bytes()
            .chunks(GROUP)
            .map(|group| {
                group
                    .iter()
                    .fold(0, |sum, byte| sum * 10 + u16::from(byte - b'0'))
            })
            .collect();
        let leading = groups.iter().take_while(|group| **group == 0).count();
        let groups = groups.get(leading..).unwrap_or_default();
        let trailing = groups.iter().rev().take_while(|group| **group == 0).count();
        let groups = groups.get(..groups.len() - trailing).unwrap_or_default();
        let out_of_range = |_| "a decimal number is out of range".to_owned();
        let number = |size: usize| i32::try_from(size).map_err(out_of_range);
        let weight = number(whole_groups)? - 1 - number(leading)?;
        let weight = i16::try_from(weight).map_err(out_of_range)?;
        let scale = u16::try_from(fraction.len()).map_err(out_of_range)?;
        let (weight, sign) = match groups {
            [] => (0, 0),
            _ => (weight, sign),
        };
        Ok(Self::encoded(groups, weight, sign, scale))
    }

    fn encoded(groups: &[u16], weight: i16, sign: u16, scale: u16) -> Self {
        let count = u16::try_from(groups.len()).unwrap_or(u16::MAX);
        let head = [count, weight.cast_unsigned(), sign, scale];
        let numbers = head.iter().chain(groups);
        Self(numbers.flat_map(|number| number.to_be_bytes()).collect())
    }
}

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were() {
        for number in [
            "0",
            "0.00",
            "1",
            "-1",
            "9999",
            "10000",
            "12345.6789",
            "-0.000012",
            "100000000",
            "0.1",
            "123456789012345678901234567890.123456789012345678901234567890",
            "NaN",
            "Infinity",
            "-Infinity",
        ] {
            let Numeric(raw) = Numeric::parse(number).unwrap();
            assert_eq!(text(&raw).unwrap(), number);
        }
        for (number, back) in [("+1.50", "1.50"), ("007", "7"), (".5", "0.5"), ("-0", "0")] {
            let Numeric(raw) = Numeric::parse(number).unwrap();
            assert_eq!(text(&raw).unwrap(), back);
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in ["", ".", "-", "1e3", "1.2.3", "1,5", " 1", "٣"] {
            assert!(Numeric::parse(bad).is_err(), "{bad}");
        }
        assert!(Numeric::parse(&"1".repeat(200_000)).is_err());
        assert!(text(&[0, 1]).is_err());
    }
}
