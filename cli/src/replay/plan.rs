//! Invoices as orders: which products are bought at which prices, and which pieces are returned later. It makes no requests.

use super::table::{Refusal, Row, Table};
use localmart_guest::kernel::Money;
use localmart_guest::kernel::money::MAX_AMOUNT;
use localmart_guest::token::capability;
use std::collections::{BTreeMap, BTreeSet};

/// Most pieces in one line of a cart.
const MAX_QUANTITY: u64 = 99;
/// Most lines of a cart.
const MAX_LINES: usize = 100;
/// How much of a code that is not plain ASCII is kept in its SKU, in characters; a hash follows.
const READABLE: usize = 24;
/// Characters of that hash.
const HASH: usize = 10;

/// A stock code at a price. A product of the shop has one price, so a code that was sold at two prices becomes two products.
pub(super) struct Product {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) price: Money,
    /// Pieces that are sold in total.
    pub(super) needed: u64,
}

/// A line of an order: the index of its product, its pieces, and how many of them are returned.
pub(super) struct Line {
    pub(super) product: usize,
    pub(super) quantity: u64,
    pub(super) back: u64,
}

/// An order.
pub(super) struct Order {
    /// Unique: the invoice, and which part of it.
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// Rows that were refused for one reason.
pub(super) struct Refused {
    pub(super) count: u64,
    pub(super) first_line: u64,
}

/// Everything that is to be played.
#[derive(Default)]
pub(super) struct Plan {
    /// Differs between files with different contents, so that they may share invoice numbers.
    pub(super) file: String,
    pub(super) rows: u64,
    pub(super) refused: BTreeMap<Refusal, Refused>,
    pub(super) invoices: usize,
    pub(super) products: Vec<Product>,
    pub(super) orders: Vec<Order>,
    /// The index of a product by its stock code and price, in minor units.
    places: BTreeMap<(String, u64), usize>,
    known: BTreeSet<String>,
    /// How many orders each invoice was split into.
    parts: BTreeMap<String, usize>,
    /// The orders and lines in which a customer bought a product, oldest first.
    bought: BTreeMap<(String, usize), Vec<(usize, usize)>>,
}

impl Plan {
    /// Reads the whole table, or its first invoices.
    pub(super) fn of(mut table: Table, limit: Option<usize>) -> anyhow::Result<Self> {
        let mut plan = Self::read(&mut table, limit)?;
        plan.file = table.fingerprint()?;
        Ok(plan)
    }

    fn read(table: &mut Table, limit: Option<usize>) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        let mut invoice: Vec<Row> = Vec::new();
        while let Some((line, row)) = table.next()? {
            let row = match row {
                Ok(row) => row,
                Err(refusal) => {
                    plan.rows += 1;
                    plan.refuse(refusal, line);
                    continue;
                }
            };
            if invoice
                .first()
                .is_none_or(|first| first.invoice != row.invoice)
            {
                plan.take(std::mem::take(&mut invoice));
                if limit.is_some_and(|limit| plan.invoices >= limit) {
                    return Ok(plan);
                }
            }
            plan.rows += 1;
            invoice.push(row);
        }
        plan.take(invoice);
        Ok(plan)
    }

    /// The total of all orders, in minor units.
    pub(super) fn sold(&self) -> u128 {
        let mut orders = self.orders.iter();
        let order = |order: &Order| self.sum(order, |line| line.quantity);
        orders.by_ref().map(order).sum()
    }

    /// The total of all refunds, in minor units.
    pub(super) fn given_back(&self) -> u128 {
        let order = |order: &Order| self.sum(order, |line| line.back);
        self.orders.iter().map(order).sum()
    }

    /// The total of an order, in minor units.
    pub(super) fn total(&self, order: &Order) -> u128 {
        self.sum(order, |line| line.quantity)
    }

    fn sum(&self, order: &Order, pieces: impl Fn(&Line) -> u64) -> u128 {
        let price = |line: &Line| {
            self.products
                .get(line.product)
                .map_or(0, |it| it.price.amount())
        };
        let line = |line: &Line| u128::from(price(line)) * u128::from(pieces(line));
        order.lines.iter().map(line).sum()
    }

    fn refuse(&mut self, refusal: Refusal, line: u64) {
        let fresh = Refused {
            count: 0,
            first_line: line,
        };
        self.refused.entry(refusal).or_insert(fresh).count += 1;
    }

    fn take(&mut self, invoice: Vec<Row>) {
        let Some(first) = invoice.first() else {
            return;
        };
        if self.known.insert(first.invoice.clone()) {
            self.invoices += 1;
        }
        if first.cancels {
            for row in invoice {
                if !self.undo(&row) {
                    self.refuse(Refusal::Unmatched, row.line);
                }
            }
        } else {
            self.buy(invoice);
        }
    }

    /// One order, or several where a line or the list is too long for a cart.
    fn buy(&mut self, invoice: Vec<Row>) {
        let mut wanted: Vec<(usize, u64)> = Vec::new();
        let (mut name, mut customer) = (String::new(), None);
        for row in invoice {
            let amount =
                u128::from(row.price.amount()) * u128::from(row.quantity.min(MAX_QUANTITY));
            if amount > u128::from(MAX_AMOUNT) / MAX_LINES as u128 {
                self.refuse(Refusal::Overflow, row.line);
                continue;
            }
            let product = self.product(&row);
            if let Some(known) = self.products.get_mut(product) {
                known.needed += row.quantity;
            }
            match wanted.iter_mut().find(|(known, _)| *known == product) {
                Some((_, quantity)) => *quantity += row.quantity,
                None => wanted.push((product, row.quantity)),
            }
            name = row.invoice;
            customer = customer.or(row.customer);
        }
        while !wanted.is_empty() {
            // An invoice may appear in several places of the file; every part needs a name of its own.
            let part = self.parts.entry(name.clone()).or_default();
            *part += 1;
            let part = *part;
            let lines: Vec<Line> = wanted.iter_mut().take(MAX_LINES).map(take_some).collect();
            wanted.retain(|(_, left)| *left > 0);
            for (place, line) in lines.iter().enumerate() {
                if let Some(customer) = &customer {
                    let bought = self.bought.entry((customer.clone(), line.product));
                    bought.or_default().push((self.orders.len(), place));
                }
            }
            self.orders.push(Order {
                name: format!("{name}-{part}"),
                lines,
            });
        }
    }

    fn product(&mut self, row: &Row) -> usize {
        let key = (row.code.clone(), row.price.amount());
        *self.places.entry(key).or_insert_with(|| {
            self.products.push(Product {
                sku: sku(row),
                name: row.name.clone(),
                price: row.price,
                needed: 0,
            });
            self.products.len() - 1
        })
    }

    /// Returns the pieces of a cancellation, those that the customer bought last first; all of them or none.
    fn undo(&mut self, row: &Row) -> bool {
        let product = self.places.get(&(row.code.clone(), row.price.amount()));
        let (Some(product), Some(customer)) = (product, &row.customer) else {
            return false;
        };
        let bought = self.bought.get(&(customer.clone(), *product));
        let (mut left, mut takes) = (row.quantity, Vec::new());
        for (order, line) in bought.into_iter().flatten().rev() {
            let known = self
                .orders
                .get(*order)
                .and_then(|order| order.lines.get(*line));
            let some = known.map_or(0, |line| (line.quantity - line.back).min(left));
            left -= some;
            takes.push((*order, *line, some));
        }
        if left > 0 {
            return false;
        }
        for (order, line, some) in takes {
            let known = self
                .orders
                .get_mut(order)
                .and_then(|order| order.lines.get_mut(line));
            if let Some(line) = known {
                line.back += some;
            }
        }
        true
    }
}

/// A SKU for a stock code at a price: visible ASCII characters, and different for different codes.
fn sku(row: &Row) -> String {
    let visible = |letter: char| {
        if letter.is_ascii_graphic() {
            letter
        } else {
            '_'
        }
    };
    let mut code: String = row.code.chars().map(visible).collect();
    // Codes that only differ in replaced letters differ in the hash; a code with `~` might look like one with a hash.
    if code != row.code || code.contains('~') {
        let readable: String = code.chars().take(READABLE).collect();
        let hash: String = capability("sku", &row.code).chars().take(HASH).collect();
        code = format!("{readable}~{hash}");
    }
    format!(
        "{code}-{}{}",
        row.price.amount(),
        row.price.currency().code()
    )
}

fn take_some((product, left): &mut (usize, u64)) -> Line {
    let quantity = (*left).min(MAX_QUANTITY);
    *left -= quantity;
    Line {
        product: *product,
        quantity,
        back: 0,
    }
}
