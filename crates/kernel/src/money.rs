//! Exact money: integer minor units and an ISO 4217 currency. Amounts are never converted to floating-point numbers. `parts`
//! divides amounts.

#![deny(clippy::float_arithmetic)]

mod parts;

pub use parts::{Rounding, WHOLE_RATE};

use std::fmt;

/// The largest amount, 2^53−1: the largest integer that every JSON parser represents exactly (RFC 7493).
pub const MAX_AMOUNT: u64 = (1 << 53) - 1;

/// The ISO 4217 codes whose minor unit does not have two digits, with the number of digits.
const OTHER_DIGITS: &[(&str, u8)] = &[
    ("BHD", 3),
    ("BIF", 0),
    ("CLF", 4),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("IQD", 3),
    ("ISK", 0),
    ("JOD", 3),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("PYG", 0),
    ("RWF", 0),
    ("TND", 3),
    ("UGX", 0),
    ("UYI", 0),
    ("UYW", 4),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
    ("XPF", 0),
];

/// The ISO 4217 codes whose minor unit has two digits, sorted and without separators.
const TWO_DIGITS: &str = "AEDAFNALLAMDANGAOAARSAUDAWGAZNBAMBBDBDTBGNBMDBNDBOBBOVBRLBSDBTNBWPBYNBZDCADCDFCHECHFCHWCNYCOPCOUCRCCUPCVECZKDKKDOPDZDEGPERNETBEURFJDFKPGBPGELGHSGIPGMDGTQGYDHKDHNLHTGHUFIDRILSINRIRRJMDKESKGSKHRKPWKYDKZTLAKLBPLKRLRDLSLMADMDLMGAMKDMMKMNTMOPMRUMURMVRMWKMXNMXVMYRMZNNADNGNNIONOKNPRNZDPABPENPGKPHPPKRPLNQARRONRSDRUBSARSBDSCRSDGSEKSGDSHPSLESOSSRDSSPSTNSVCSYPSZLTHBTJSTMTTOPTRYTTDTWDTZSUAHUSDUSNUYUUZSVEDVESWSTXCDYERZARZMWZWG";

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// US dollars.
    pub const USD: Self = Self(*b"USD");

    /// Parses an ISO 4217 code in upper case.
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        let known = OTHER_DIGITS.iter().any(|(other, _)| *other == code)
            || (code.len() == 3
                && TWO_DIGITS
                    .as_bytes()
                    .chunks(3)
                    .any(|two| two == code.as_bytes()));
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(bytes) if known => Ok(Self(bytes)),
            _ => Err(MoneyError::UnknownCurrency),
        }
    }

    /// The code, for example `USD`.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The number of digits of the minor unit: 2 for USD, 0 for JPY, 3 for BHD.
    pub fn digits(&self) -> u8 {
        OTHER_DIGITS
            .iter()
            .find(|(code, _)| *code == self.code())
            .map_or(2, |(_, digits)| *digits)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why an amount is invalid or a calculation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The code is not an ISO 4217 currency.
    #[error("not an ISO 4217 currency code")]
    UnknownCurrency,
    /// The amount is larger than [`MAX_AMOUNT`].
    #[error("the amount is larger than 9007199254740991 minor units")]
    Overflow,
    /// The result would be negative.
    #[error("the amount would be negative")]
    Negative,
    /// The operands have different currencies.
    #[error("the currencies differ")]
    CurrencyMismatch,
    /// A denominator is 0, or all weights are 0.
    #[error("there is nothing to divide by")]
    NothingToDivideBy,
    /// The text is not an amount, or has more decimal digits than the currency.
    #[error("not an amount of this currency")]
    NotAnAmount,
}

/// An amount in the minor unit of a currency, from 0 to [`MAX_AMOUNT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    amount: u64,
    currency: Currency,
}

impl Money {
    /// Creates money from an amount in minor units.
    pub fn new(amount: u64, currency: Currency) -> Result<Self, MoneyError> {
        if amount > MAX_AMOUNT {
            return Err(MoneyError::Overflow);
        }
        Ok(Self { amount, currency })
    }

    /// Zero in a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self {
            amount: 0,
            currency,
        }
    }

    /// The amount in minor units.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// The currency.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        let sum = self.amount.checked_add(other.amount);
        Self::new(sum.ok_or(MoneyError::Overflow)?, self.currency)
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        let difference = self.amount.checked_sub(other.amount);
        Self::new(difference.ok_or(MoneyError::Negative)?, self.currency)
    }

    /// The product with an integer.
    pub fn times(self, quantity: u32) -> Result<Self, MoneyError> {
        let product = self.amount.checked_mul(u64::from(quantity));
        Self::new(product.ok_or(MoneyError::Overflow)?, self.currency)
    }

    fn same(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch)
        }
    }
}

impl fmt::Display for Money {
    /// Formats for people: `19.99 USD`, `1999 JPY`, `1.999 BHD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.currency.digits());
        let unit = 10_u64.pow(u32::from(self.currency.digits()));
        if digits == 0 {
            write!(f, "{} {}", self.amount, self.currency)
        } else {
            let (whole, rest) = (self.amount / unit, self.amount % unit);
            write!(f, "{whole}.{rest:0digits$} {}", self.currency)
        }
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: u64, code: &str) -> Money {
        Money::new(amount, Currency::parse(code).unwrap()).unwrap()
    }

    #[test]
    fn currencies_are_known_with_their_digits() {
        for (code, digits) in [
            ("USD", 2),
            ("EUR", 2),
            ("JPY", 0),
            ("KRW", 0),
            ("BHD", 3),
            ("KWD", 3),
            ("ZWG", 2),
        ] {
            assert_eq!(Currency::parse(code).unwrap().digits(), digits, "{code}");
        }
        for code in ["", "US", "usd", "XXX", "USDX", "SDU", "ÄÖ"] {
            assert_eq!(
                Currency::parse(code),
                Err(MoneyError::UnknownCurrency),
                "{code}"
            );
        }
    }

    #[test]
    fn arithmetic_is_exact_up_to_the_largest_amount() {
        let most = money(MAX_AMOUNT, "USD");
        assert_eq!(most.plus(money(0, "USD")), Ok(most));
        assert_eq!(most.plus(money(1, "USD")), Err(MoneyError::Overflow));
        assert_eq!(most.times(2), Err(MoneyError::Overflow));
        assert_eq!(money(333, "USD").times(3), Ok(money(999, "USD")));
        assert_eq!(
            money(1, "USD").minus(money(2, "USD")),
            Err(MoneyError::Negative)
        );
        assert_eq!(
            money(1, "USD").plus(money(1, "EUR")),
            Err(MoneyError::CurrencyMismatch)
        );
        assert_eq!(
            Money::new(MAX_AMOUNT + 1, Currency::USD),
            Err(MoneyError::Overflow)
        );
    }

    #[test]
    fn amounts_are_shown_with_the_digits_of_their_currency() {
        assert_eq!(money(1999, "USD").to_string(), "19.99 USD");
        assert_eq!(money(5, "USD").to_string(), "0.05 USD");
        assert_eq!(money(2235, "JPY").to_string(), "2235 JPY");
        assert_eq!(money(1999, "BHD").to_string(), "1.999 BHD");
    }
}
