//! The price of an order: the items at their prices, then the decisions of the policies `discount`, `shipping-rate` and `tax`,
//! in this order. If a policy gives no decision or an impossible one, its amount is 0 and the order gets a flag.

use super::{Item, PricingError, Totals};
use localmart_guest::kernel::{Address, Currency, Money, MoneyError, named};

named! {
    /// A policy that gave no valid decision.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Flag {
        Discount = "discount_unavailable",
        Shipping = "shipping_unavailable",
        Tax = "tax_unavailable",
    }
}

impl Flag {
    /// The policy that decides.
    pub(crate) fn policy(self) -> &'static str {
        match self {
            Self::Discount => "discount",
            Self::Shipping => "shipping-rate",
            Self::Tax => "tax",
        }
    }
}

/// The input of the policies: an order that is not priced yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PricingInput<'a> {
    pub(crate) currency: Currency,
    pub(crate) customer: Option<&'a str>,
    pub(crate) destination: &'a Address,
    pub(crate) items: &'a [Item],
    /// The categories of the items, in the same order.
    pub(crate) categories: &'a [String],
    /// The price of shipping. 0 until the shipping policy has decided; the tax policy needs it.
    pub(crate) shipping: u64,
}

impl<'a> PricingInput<'a> {
    /// The same input with these items.
    fn with_items<'i>(&self, items: &'i [Item]) -> PricingInput<'i>
    where
        'a: 'i,
    {
        PricingInput {
            items,
            ..self.clone()
        }
    }
}

/// The tax on the items, in the same order, and on shipping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tax {
    pub(crate) items: Vec<u64>,
    pub(crate) shipping: u64,
}

/// The policies. An error is the reason why there is no decision.
pub(crate) trait Policies {
    /// The discount on each item.
    fn discount(&self, order: &PricingInput<'_>) -> Result<Vec<u64>, String>;
    /// The price of shipping.
    fn shipping(&self, order: &PricingInput<'_>) -> Result<u64, String>;
    /// The tax to add.
    fn tax(&self, order: &PricingInput<'_>) -> Result<Tax, String>;
}

/// A priced order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) items: Vec<Item>,
    pub(crate) totals: Totals,
    pub(crate) flags: Vec<Flag>,
    /// Why decisions are missing, for the log.
    pub(crate) reasons: Vec<String>,
}

/// Prices items, whose discount and tax must be zero.
pub(crate) fn price(
    items: Vec<Item>,
    categories: &[String],
    (currency, customer, destination): (Currency, Option<&str>, &Address),
    policies: &impl Policies,
) -> Result<Priced, PricingError> {
    let mut priced = Priced {
        totals: total(&items, Money::zero(currency), Money::zero(currency))?,
        items,
        flags: Vec::new(),
        reasons: Vec::new(),
    };
    let input = PricingInput {
        currency,
        customer,
        destination,
        items: &[],
        categories,
        shipping: 0,
    };
    let decided = policies.discount(&input.with_items(&priced.items));
    let decided = decided.and_then(|discounts| discounted(&priced.items, &discounts, currency));
    priced.decide(Flag::Discount, decided, |priced, items| {
        priced.items = items
    });
    let mut shipping = Money::zero(currency);
    let decided = policies.shipping(&input.with_items(&priced.items));
    let decided = decided.and_then(|amount| {
        let amount = money(amount, currency)?;
        fits(&priced.items, amount, Money::zero(currency)).map(|()| amount)
    });
    priced.decide(Flag::Shipping, decided, |_, amount| shipping = amount);
    let mut on_shipping = Money::zero(currency);
    let input = PricingInput {
        shipping: shipping.amount(),
        ..input
    };
    let decided = policies.tax(&input.with_items(&priced.items));
    let decided = decided.and_then(|tax| {
        let amount = money(tax.shipping, currency)?;
        let items = taxed(&priced.items, &tax.items, currency)?;
        fits(&items, shipping, amount).map(|()| (items, amount))
    });
    priced.decide(Flag::Tax, decided, |priced, (items, amount)| {
        priced.items = items;
        on_shipping = amount;
    });
    priced.totals = total(&priced.items, shipping, on_shipping)?;
    Ok(priced)
}

impl Priced {
    /// Applies a decision, or adds a flag if there is none.
    fn decide<T>(
        &mut self,
        flag: Flag,
        decided: Result<T, String>,
        take: impl FnOnce(&mut Self, T),
    ) {
        match decided {
            Ok(decision) => take(self, decision),
            Err(reason) => {
                self.flags.push(flag);
                self.reasons.push(reason);
            }
        }
    }
}

fn money(amount: u64, currency: Currency) -> Result<Money, String> {
    Money::new(amount, currency).map_err(|error| error.to_string())
}

/// The items with discounts. A discount must not be larger than the line total.
fn discounted(items: &[Item], discounts: &[u64], currency: Currency) -> Result<Vec<Item>, String> {
    let mut reduced = same_length(items, discounts)?;
    for (item, discount) in reduced.iter_mut().zip(discounts) {
        if *discount > item.line_total.amount() {
            return Err(format!(
                "the discount {discount} is larger than the line total {}",
                item.line_total.amount()
            ));
        }
        item.discount = money(*discount, currency)?;
    }
    Ok(reduced)
}

fn taxed(items: &[Item], taxes: &[u64], currency: Currency) -> Result<Vec<Item>, String> {
    let mut taxed = same_length(items, taxes)?;
    for (item, tax) in taxed.iter_mut().zip(taxes) {
        item.tax = money(*tax, currency)?;
    }
    Ok(taxed)
}

/// Checks that the total is a valid amount. If it is not, the decision of the policy is at fault, not the cart.
fn fits(items: &[Item], shipping: Money, on_shipping: Money) -> Result<(), String> {
    let sum = total(items, shipping, on_shipping);
    sum.map(drop).map_err(|error| error.to_string())
}

fn same_length(items: &[Item], amounts: &[u64]) -> Result<Vec<Item>, String> {
    if items.len() == amounts.len() {
        return Ok(items.to_vec());
    }
    Err(format!(
        "{} amounts for {} lines",
        amounts.len(),
        items.len()
    ))
}

/// Adds up the amounts of an order. This is the only place that computes a total; `localmart verify` checks it as invariant
/// I5.
fn total(items: &[Item], shipping: Money, on_shipping: Money) -> Result<Totals, MoneyError> {
    let zero = Money::zero(shipping.currency());
    let sum = |amount: fn(&Item) -> Money| {
        let mut amounts = items.iter().map(amount);
        amounts.try_fold(zero, Money::plus)
    };
    let subtotal = sum(|item| item.line_total)?;
    let discount = sum(|item| item.discount)?;
    let tax = sum(|item| item.tax)?.plus(on_shipping)?;
    let total = subtotal.minus(discount)?.plus(tax)?.plus(shipping)?;
    Ok(Totals {
        subtotal,
        discount,
        shipping,
        tax,
        total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use localmart_guest::kernel::Id;

    struct FixedPolicies {
        discount: Result<Vec<u64>, String>,
        shipping: Result<u64, String>,
        tax: Result<Tax, String>,
    }

    impl Policies for FixedPolicies {
        fn discount(&self, _: &PricingInput<'_>) -> Result<Vec<u64>, String> {
            self.discount.clone()
        }

        fn shipping(&self, _: &PricingInput<'_>) -> Result<u64, String> {
            self.shipping.clone()
        }

        fn tax(&self, _: &PricingInput<'_>) -> Result<Tax, String> {
            self.tax.clone()
        }
    }

    fn items() -> Vec<Item> {
        let usd = |amount| Money::new(amount, Currency::USD).unwrap();
        let item = |price| Item {
            product_id: Id::parse("01920000-0000-7000-8000-000000000001").unwrap(),
            sku: "S".into(),
            name: "N".into(),
            unit_price: usd(price),
            quantity: 2,
            line_total: usd(price * 2),
            discount: usd(0),
            tax: usd(0),
        };
        vec![item(1000), item(500)]
    }

    fn address() -> Address {
        Address::from_json(&serde_json::json!({
            "name": "A", "line1": "B", "city": "C", "postal_code": "D", "country": "GB",
        }))
        .unwrap()
    }

    fn priced(policies: &FixedPolicies) -> (u64, u64, u64, u64, Vec<&'static str>) {
        let (address, categories) = (address(), [String::new(), String::new()]);
        let order = (Currency::USD, None, &address);
        let priced = price(items(), &categories, order, policies).unwrap();
        let totals = priced.totals;
        let flags = priced.flags.iter().map(|flag| flag.name()).collect();
        (
            totals.discount.amount(),
            totals.shipping.amount(),
            totals.tax.amount(),
            totals.total.amount(),
            flags,
        )
    }

    #[test]
    fn the_decisions_of_the_policies_are_in_the_total() {
        let policies = FixedPolicies {
            discount: Ok(vec![200, 0]),
            shipping: Ok(499),
            tax: Ok(Tax {
                items: vec![360, 200],
                shipping: 100,
            }),
        };
        assert_eq!(
            priced(&policies),
            (200, 499, 660, 3000 - 200 + 499 + 660, vec![])
        );
    }

    #[test]
    fn a_missing_or_impossible_decision_is_flagged_and_changes_nothing_else() {
        fn undecided<T>() -> Result<T, String> {
            Err("down".to_owned())
        }
        let nothing = FixedPolicies {
            discount: undecided(),
            shipping: undecided(),
            tax: undecided(),
        };
        let flags = vec![
            "discount_unavailable",
            "shipping_unavailable",
            "tax_unavailable",
        ];
        assert_eq!(priced(&nothing), (0, 0, 0, 3000, flags));
        let tax = |items: &[u64], shipping| {
            Ok(Tax {
                items: items.to_vec(),
                shipping,
            })
        };
        for (discount, shipping, tax, flag) in [
            (vec![1], 0, tax(&[0, 0], 0), "discount_unavailable"),
            (vec![2001, 0], 0, tax(&[0, 0], 0), "discount_unavailable"),
            (
                vec![0, 0],
                u64::MAX,
                tax(&[0, 0], 0),
                "shipping_unavailable",
            ),
            (
                vec![0, 0],
                (1 << 53) - 1,
                tax(&[0, 0], 0),
                "shipping_unavailable",
            ),
            (
                vec![0, 0],
                0,
                tax(&[0, 0], (1 << 53) - 1),
                "tax_unavailable",
            ),
            (vec![0, 0], 0, tax(&[0], 0), "tax_unavailable"),
            (vec![0, 0], 0, tax(&[u64::MAX, 0], 0), "tax_unavailable"),
            (
                vec![0, 0],
                0,
                tax(&[1 << 52, 1 << 52], 0),
                "tax_unavailable",
            ),
        ] {
            let wrong = FixedPolicies {
                discount: Ok(discount),
                shipping: Ok(shipping),
                tax,
            };
            assert_eq!(priced(&wrong), (0, 0, 0, 3000, vec![flag]));
        }
    }
}
