//! Parts of amounts: percentages, taxes, amounts divided among lines. All arithmetic is on integers, every result is rounded
//! once, and parts always add up to the whole.

use super::{Currency, MAX_AMOUNT, Money, MoneyError};

/// 100 % in basis points, the unit of rates. 1900 basis points are 19 %.
pub const WHOLE_RATE: u32 = 10_000;

/// How a fraction of a minor unit is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Rounds down.
    Down,
    /// Rounds half a unit up, as on receipts.
    HalfUp,
    /// Rounds half a unit to the even neighbour (IEEE 754, roundTiesToEven), so that many roundings do not drift.
    HalfEven,
}

impl Money {
    /// This amount times `numerator / denominator`. A denominator of 0 is an error.
    pub fn fraction(
        self,
        numerator: u64,
        denominator: u64,
        rounding: Rounding,
    ) -> Result<Self, MoneyError> {
        if denominator == 0 {
            return Err(MoneyError::NothingToDivideBy);
        }
        let product = u128::from(self.amount) * u128::from(numerator);
        let (whole, rest) = (
            product / u128::from(denominator),
            product % u128::from(denominator),
        );
        let twice = rest * 2;
        let up = match rounding {
            Rounding::Down => false,
            Rounding::HalfUp => twice >= u128::from(denominator),
            Rounding::HalfEven => {
                twice > u128::from(denominator)
                    || (twice == u128::from(denominator) && whole % 2 == 1)
            }
        };
        let part = u64::try_from(whole + u128::from(up)).map_err(|_| MoneyError::Overflow)?;
        Self::new(part, self.currency)
    }

    /// This amount times a rate in basis points.
    pub fn at_rate(self, rate: u32, rounding: Rounding) -> Result<Self, MoneyError> {
        self.fraction(u64::from(rate), u64::from(WHOLE_RATE), rounding)
    }

    /// Splits a gross amount into net amount and included tax, at a rate in basis points. Both add up to the gross amount.
    pub fn without_tax(self, rate: u32) -> Result<(Self, Self), MoneyError> {
        let (whole, gross) = (
            u64::from(WHOLE_RATE),
            u64::from(WHOLE_RATE) + u64::from(rate),
        );
        let net = self.fraction(whole, gross, Rounding::HalfUp)?;
        Ok((net, self.minus(net)?))
    }

    /// Divides the amount in proportion to weights, by the largest-remainder method; among equal remainders the first weight
    /// wins. The parts add up to the amount. If all weights are 0, only an amount of 0 can be divided.
    pub fn divide(self, weights: &[u64]) -> Result<Vec<Self>, MoneyError> {
        let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        if sum == 0 {
            let nothing = vec![Self::zero(self.currency); weights.len()];
            return if self.amount == 0 {
                Ok(nothing)
            } else {
                Err(MoneyError::NothingToDivideBy)
            };
        }
        let mut parts = Vec::with_capacity(weights.len());
        let mut remainders = Vec::with_capacity(weights.len());
        let mut left = self.amount;
        for (place, weight) in weights.iter().enumerate() {
            let product = u128::from(self.amount) * u128::from(*weight);
            let part = u64::try_from(product / sum).map_err(|_| MoneyError::Overflow)?;
            left -= part;
            parts.push(part);
            remainders.push((std::cmp::Reverse(product % sum), place));
        }
        // A stable sort, so that the order of the weights breaks ties.
        remainders.sort_unstable();
        for (_, place) in remainders {
            if left == 0 {
                break;
            }
            if let Some(part) = parts.get_mut(place) {
                *part += 1;
                left -= 1;
            }
        }
        parts
            .into_iter()
            .map(|part| Self::new(part, self.currency))
            .collect()
    }

    /// Parses an amount as people write it, for example `19.99`. Decimal digits beyond those of the currency must be zeros.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = usize::from(currency.digits());
        let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (part, rest) = part.split_at_checked(digits).unwrap_or((part, ""));
        let exact = rest.bytes().all(|byte| byte == b'0');
        if whole.is_empty() || !digits_only(whole) || !digits_only(part) || !exact {
            return Err(MoneyError::NotAnAmount);
        }
        let padded = format!("{whole}{part:0<digits$}");
        let amount = padded.parse::<u64>().map_err(|_| MoneyError::Overflow)?;
        if amount > MAX_AMOUNT {
            return Err(MoneyError::Overflow);
        }
        Self::new(amount, currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn money(amount: u64, code: &str) -> Money {
        Money::new(amount, Currency::parse(code).unwrap()).unwrap()
    }

    fn amounts(parts: &[Money]) -> Vec<u64> {
        parts.iter().map(Money::amount).collect()
    }

    #[test]
    fn a_discount_is_divided_by_the_largest_remainder() {
        for (amount, weights, expected) in [
            (100, vec![333, 333, 334], vec![33, 33, 34]),
            (100, vec![1, 1, 1], vec![34, 33, 33]),
            (2, vec![1, 1, 1], vec![1, 1, 0]),
            (5, vec![0, 3, 2], vec![0, 3, 2]),
            (0, vec![0, 0], vec![0, 0]),
            (7, vec![5], vec![7]),
            (
                MAX_AMOUNT,
                vec![u64::MAX, u64::MAX],
                vec![MAX_AMOUNT.div_ceil(2), MAX_AMOUNT / 2],
            ),
        ] {
            let parts = money(amount, "USD").divide(&weights).unwrap();
            assert_eq!(amounts(&parts), expected, "{amount} by {weights:?}");
        }
        assert!(money(5, "USD").divide(&[]).is_err());
        assert!(money(5, "USD").divide(&[0, 0]).is_err());
    }

    #[test]
    fn included_tax_and_net_add_up_to_the_gross() {
        for (gross, rate, net, tax) in [
            (1999, 1900, 1680, 319),
            (3, 2000, 3, 0),
            (1, 700, 1, 0),
            (0, 1900, 0, 0),
        ] {
            let (n, t) = money(gross, "EUR").without_tax(rate).unwrap();
            assert_eq!((n.amount(), t.amount()), (net, tax), "{gross} at {rate}");
        }
    }

    #[test]
    fn rates_are_rounded_by_the_given_mode() {
        for (amount, rate, down, half_up, half_even) in [
            (1, 2000, 0, 0, 0),
            (25, 1000, 2, 3, 2),
            (35, 1000, 3, 4, 4),
            (1000, 1000, 100, 100, 100),
            (2235, 850, 189, 190, 190),
        ] {
            let of = |rounding| {
                money(amount, "JPY")
                    .at_rate(rate, rounding)
                    .unwrap()
                    .amount()
            };
            assert_eq!(
                (
                    of(Rounding::Down),
                    of(Rounding::HalfUp),
                    of(Rounding::HalfEven)
                ),
                (down, half_up, half_even),
                "{amount} at {rate}"
            );
        }
        assert!(money(1, "USD").fraction(1, 0, Rounding::Down).is_err());
    }

    #[test]
    fn amounts_are_parsed_with_the_digits_of_their_currency() {
        for (text, code, amount) in [
            ("2.55", "GBP", 255),
            ("2.5", "GBP", 250),
            ("2", "GBP", 200),
            ("2.", "GBP", 200),
            ("0.050", "GBP", 5),
            ("2235", "JPY", 2235),
            ("2235.00", "JPY", 2235),
            ("1.999", "BHD", 1999),
            ("90071992547409.91", "USD", MAX_AMOUNT),
        ] {
            assert_eq!(
                Money::parse(text, Currency::parse(code).unwrap()),
                Ok(money(amount, code)),
                "{text}"
            );
        }
        for text in [
            "",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,5",
            "0.001",
            "1.2.3",
            " 1",
            "90071992547409.92",
            "99999999999999999999",
        ] {
            assert!(
                Money::parse(text, Currency::parse("GBP").unwrap()).is_err(),
                "{text}"
            );
        }
    }

    fn currencies() -> impl Strategy<Value = Currency> {
        // 0, 2 and 3 digits.
        prop::sample::select(vec!["JPY", "KRW", "USD", "EUR", "BHD", "KWD"])
            .prop_map(|code| Currency::parse(code).unwrap())
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(
            amount in 0..=MAX_AMOUNT,
            currency in currencies(),
            weights in prop::collection::vec(0..=MAX_AMOUNT, 1..40),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let whole = Money::new(amount, currency).unwrap();
            let parts = whole.divide(&weights).unwrap();
            let mut sum = Money::zero(currency);
            let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            for (part, weight) in parts.iter().zip(&weights) {
                sum = sum.plus(*part).unwrap();
                // Every part is the exact share, rounded up or down.
                let share = u128::from(amount) * u128::from(*weight) / total;
                prop_assert!((share..=share + 1).contains(&u128::from(part.amount())));
            }
            prop_assert_eq!(sum, whole);
        }

        #[test]
        fn net_and_tax_add_up_to_the_gross(amount in 0..=MAX_AMOUNT, currency in currencies(), rate in 0..=WHOLE_RATE * 2) {
            let gross = Money::new(amount, currency).unwrap();
            let (net, tax) = gross.without_tax(rate).unwrap();
            prop_assert_eq!(net.plus(tax).unwrap(), gross);
            // Computing the tax from the net gives the same tax, up to the rounding of one unit.
            let again = net.at_rate(rate, Rounding::HalfUp);
            if let Ok(again) = again {
                let unit = u64::from(rate / WHOLE_RATE) + 1;
                prop_assert!(again.amount().abs_diff(tax.amount()) <= unit);
            }
        }

        #[test]
        fn a_fraction_is_within_half_a_unit(amount in 0..=MAX_AMOUNT, rate in 0..=WHOLE_RATE, currency in currencies()) {
            let whole = Money::new(amount, currency).unwrap();
            for rounding in [Rounding::HalfUp, Rounding::HalfEven] {
                let part = u128::from(whole.at_rate(rate, rounding).unwrap().amount());
                let exact = u128::from(amount) * u128::from(rate);
                prop_assert!((part * u128::from(WHOLE_RATE)).abs_diff(exact) * 2 <= u128::from(WHOLE_RATE));
            }
            let down = whole.at_rate(rate, Rounding::Down).unwrap();
            prop_assert!(down.amount() <= whole.amount());
        }

        #[test]
        fn sums_are_exact_or_an_error(a in 0..=MAX_AMOUNT, b in 0..=MAX_AMOUNT, times in any::<u32>(), currency in currencies()) {
            let (x, y) = (Money::new(a, currency).unwrap(), Money::new(b, currency).unwrap());
            prop_assert_eq!(x.plus(y).ok().map(|sum| sum.amount()), a.checked_add(b).filter(|sum| *sum <= MAX_AMOUNT));
            prop_assert_eq!(x.minus(y).ok().map(|rest| rest.amount()), a.checked_sub(b));
            let product = u128::from(a) * u128::from(times);
            prop_assert_eq!(x.times(times).ok().map(|all| u128::from(all.amount())), (product <= u128::from(MAX_AMOUNT)).then_some(product));
        }

        #[test]
        fn a_formatted_amount_can_be_parsed(amount in 0..=MAX_AMOUNT, currency in currencies()) {
            let money = Money::new(amount, currency).unwrap();
            let shown = money.to_string();
            let number = shown.split(' ').next().unwrap();
            prop_assert_eq!(Money::parse(number, currency), Ok(money));
        }
    }
}
