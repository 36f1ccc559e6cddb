//! What a cart comes to: the goods at their prices, then what the policies decide, discount, shipping and tax, in this order. A
//! policy that decides nothing, or something that cannot be, costs its decision and no more: nothing is taken off, sending is
//! free, no tax is added, and the order is flagged with it.

use super::{Item, Totals, PricingError};
use localmart_guest::kernel::{Address, Currency, Money, MoneyError};

/// A decision that was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Discount,
    Shipping,
    Tax,
}

impl Flag {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Discount, "discount_unavailable"),
        (Self::Shipping, "shipping_unavailable"),
        (Self::Tax, "tax_unavailable"),
    ];

    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(flag, _)| *flag == self);
        found.map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(flag, _)| *flag)
    }
}

/// What policies are asked about: an order that is not priced yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PricingInput<'a> {
    pub(crate) currency: Currency,
    pub(crate) customer: Option<&'a str>,
    pub(crate) destination: &'a Address,
    pub(crate) items: &'a [Item],
    /// The categories of the items, in their order.
    pub(crate) categories: &'a [String],
    /// What sending costs; known when tax is asked about.
    pub(crate) shipping: u64,
}

impl<'a> PricingInput<'a> {
    /// The same with its items.
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

/// The tax of the items, in their order, and of sending them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tax {
    pub(crate) items: Vec<u64>,
    pub(crate) shipping: u64,
}

/// Who decides. The error is why nothing was decided.
pub(crate) trait Policies {
    /// What is taken off each item.
    fn discount(&self, order: &PricingInput<'_>) -> Result<Vec<u64>, String>;
    /// What sending costs.
    fn shipping(&self, order: &PricingInput<'_>) -> Result<u64, String>;
    /// The tax that is added.
    fn tax(&self, order: &PricingInput<'_>) -> Result<Tax, String>;
}

/// An order with its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) items: Vec<Item>,
    pub(crate) totals: Totals,
    pub(crate) flags: Vec<Flag>,
    /// Why decisions were not made, for the log.
    pub(crate) reasons: Vec<String>,
}

/// Prices items. Discount and tax of each are zero before.
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
    let decided = decided.and_then(|cuts| cut(&priced.items, &cuts, currency));
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
    /// Takes a decision, or flags that there was none.
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

/// The items with what is taken off them: of each no more than it costs.
fn cut(items: &[Item], cuts: &[u64], currency: Currency) -> Result<Vec<Item>, String> {
    let mut reduced = same_length(items, cuts)?;
    for (item, cut) in reduced.iter_mut().zip(cuts) {
        if *cut > item.line_total.amount() {
            return Err(format!(
                "{cut} is more than the line's {}",
                item.line_total.amount()
            ));
        }
        item.discount = money(*cut, currency)?;
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

/// Whether there is such a total. Where there is none it is the policy's fault, not the cart's.
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

/// I5: total = Σ line totals − discount + tax + shipping.
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
    fn what_policies_decide_is_in_the_total() {
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
    fn what_is_not_decided_or_cannot_be_is_flagged_and_costs_nothing_else() {
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
