//! The facts that the invariants are about, read service by service. The facts of one service are of one moment.

use crate::app::Stores;
use crate::bus::OpenBus;
use crate::{clock, databases};
use localmart_guest::events::Event;
use localmart_guest::events::bus::RETENTION_MS;
use localmart_guest::kernel::Currency;
use localmart_guest::kernel::money::MAX_AMOUNT;
use localmart_guest::params;
use localmart_guest::sql::{Connection as _, Row, SqlError};
use localmart_stores::{Chosen, now};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How many of the newest events of a channel are read.
const EVENTS: u32 = 200_000;

/// What the invariants need of an order.
pub(super) struct Order {
    pub(super) cart_id: String,
    pub(super) status: String,
    /// In Unix milliseconds.
    pub(super) created_at: i64,
    /// Subtotal, discount, shipping, tax, total.
    pub(super) totals: [i64; 5],
    pub(super) line_totals: i64,
    /// Product and quantity.
    pub(super) lines: Vec<(String, i64)>,
    pub(super) history: Vec<String>,
    /// Returns that were approved.
    pub(super) returns: usize,
}

/// What the invariants need of a payment, and what the provider has recorded.
pub(super) struct Payment {
    pub(super) order_id: String,
    pub(super) status: String,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    /// The sum of the payment's refunds.
    pub(super) refunds: i64,
    /// Sums captured and refunded according to the provider.
    pub(super) provider: Option<(i64, i64)>,
}

/// The stock of a product, and what it was used for.
#[derive(Default)]
pub(super) struct Stock {
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
    pub(super) adjusted: i64,
    pub(super) held: i64,
    pub(super) sold: i64,
}

/// All facts.
#[derive(Default)]
pub(super) struct Facts {
    /// By id.
    pub(super) orders: BTreeMap<String, Order>,
    /// By id.
    pub(super) payments: BTreeMap<String, Payment>,
    /// By product.
    pub(super) stock: BTreeMap<String, Stock>,
    /// The states of the reservations of each order.
    pub(super) reservations: BTreeMap<String, BTreeSet<String>>,
    /// Pieces sold to each order and not returned.
    pub(super) kept: BTreeMap<String, i64>,
    /// Kinds of events by subject, oldest first, as far back as the bus goes.
    pub(super) events: BTreeMap<String, Vec<String>>,
    /// Whether all events of the bus were read.
    pub(super) whole_history: bool,
    /// The bus may have dropped events from before this time, in Unix milliseconds.
    pub(super) bus_begins: i64,
    /// Events in the outbox of each service that are not published yet.
    pub(super) waiting: BTreeMap<String, i64>,
    /// Pieces of each product that recommendation has counted as sold; `None` in a shop without recommendations.
    pub(super) sold_signals: Option<BTreeMap<String, i64>>,
    /// Whether every consumer has read everything.
    pub(super) all_read: bool,
    /// Rows that no service can decode, each with the reason.
    pub(super) unreadable: Vec<String>,
}

impl Facts {
    pub(super) fn read(stores: &Stores, state_dir: &Path) -> anyhow::Result<Self> {
        let mut facts = Self {
            bus_begins: clock::now(state_dir)?.plus_ms(-RETENTION_MS).ms(),
            ..Self::default()
        };
        let open = |service: &str| databases::open(stores, state_dir, service);
        facts.read_products(&open("catalog")?)?;
        facts.read_stock(&open("inventory")?)?;
        facts.read_payments(&open("payment")?)?;
        facts.read_orders(&open("order")?)?;
        for service in databases::services_with(stores, state_dir, "outbox")? {
            let waiting = rows(&open(&service)?, "SELECT COUNT(*) AS waiting FROM outbox")?;
            let waiting = waiting.first().map_or(Ok(0), |row| row.get("waiting"))?;
            facts.waiting.insert(service, waiting);
        }
        facts.read_events(&OpenBus::open(stores, state_dir)?)?;
        for service in databases::services_with(stores, state_dir, "popularity")? {
            let signals = facts.sold_signals.get_or_insert_default();
            for row in rows(&open(&service)?, "SELECT product_id, sold FROM popularity")? {
                signals.insert(row.get("product_id")?, row.get("sold")?);
            }
        }
        Ok(facts)
    }

    /// Decodes the products as the catalog does, which leaves out those that it cannot decode.
    fn read_products(&mut self, database: &Chosen) -> anyhow::Result<()> {
        let sql = "SELECT id, currency, price, compare_at_price, attributes FROM products";
        for row in rows(database, sql)? {
            let amount =
                |amount: i64| u64::try_from(amount).is_ok_and(|amount| amount <= MAX_AMOUNT);
            let attributes =
                serde_json::from_str::<BTreeMap<String, String>>(&row.get::<String>("attributes")?);
            let wrong = if Currency::parse(&row.get::<String>("currency")?).is_err() {
                "currency"
            } else if !amount(row.get("price")?) {
                "price"
            } else if row.get::<Option<u64>>("compare_at_price").is_err() {
                "compare_at_price"
            } else if attributes.is_err() {
                "attributes"
            } else {
                continue;
            };
            let id: String = row.get("id")?;
            self.unreadable
                .push(format!("unreadable product {id}: its {wrong} is not valid"));
        }
        Ok(())
    }

    fn read_stock(&mut self, database: &Chosen) -> anyhow::Result<()> {
        snapshot(database, || {
            for row in rows(database, "SELECT product_id, on_hand, reserved FROM stock")? {
                let stock = self.stock.entry(row.get("product_id")?).or_default();
                (stock.on_hand, stock.reserved) = (row.get("on_hand")?, row.get("reserved")?);
            }
            let sql = "SELECT product_id, CAST(SUM(delta) AS BIGINT) AS adjusted FROM adjustments GROUP BY product_id";
            for row in rows(database, sql)? {
                let stock = self.stock.entry(row.get("product_id")?).or_default();
                stock.adjusted = row.get("adjusted")?;
            }
            for row in rows(
                database,
                "SELECT order_id, product_id, quantity - returned AS kept, status FROM reservations",
            )? {
                let (quantity, status): (i64, String) = (row.get("kept")?, row.get("status")?);
                let stock = self.stock.entry(row.get("product_id")?).or_default();
                match status.as_str() {
                    "held" => stock.held += quantity,
                    "sold" => {
                        stock.sold += quantity;
                        *self.kept.entry(row.get("order_id")?).or_default() += quantity;
                    }
                    _ => {}
                }
                self.reservations
                    .entry(row.get("order_id")?)
                    .or_default()
                    .insert(status);
            }
            Ok(())
        })
    }

    fn read_payments(&mut self, database: &Chosen) -> anyhow::Result<()> {
        let sql = "SELECT p.id, p.order_id, p.status, p.captured, p.refunded, c.captured AS taken, c.refunded AS given_back FROM payments p \
                   LEFT JOIN provider_charges c ON c.payment_id = p.id";
        for row in rows(database, sql)? {
            let provider = match row.get("taken")? {
                Some(taken) => Some((taken, row.get("given_back")?)),
                None => None,
            };
            let payment = Payment {
                order_id: row.get("order_id")?,
                status: row.get("status")?,
                captured: row.get("captured")?,
                refunded: row.get("refunded")?,
                refunds: 0,
                provider,
            };
            self.payments.insert(row.get("id")?, payment);
        }
        for row in rows(database, "SELECT payment_id, amount FROM refunds")? {
            if let Some(payment) = self.payments.get_mut(&row.get::<String>("payment_id")?) {
                payment.refunds += row.get::<i64>("amount")?;
            }
        }
        Ok(())
    }

    fn read_orders(&mut self, database: &Chosen) -> anyhow::Result<()> {
        snapshot(database, || {
            let sql = "SELECT id, cart_id, status, created_at, subtotal, discount_total, shipping_total, tax_total, total FROM orders";
            for row in rows(database, sql)? {
                let order = Order {
                    cart_id: row.get("cart_id")?,
                    status: row.get("status")?,
                    created_at: row.get("created_at")?,
                    totals: [
                        row.get("subtotal")?,
                        row.get("discount_total")?,
                        row.get("shipping_total")?,
                        row.get("tax_total")?,
                        row.get("total")?,
                    ],
                    line_totals: 0,
                    lines: Vec::new(),
                    history: Vec::new(),
                    returns: 0,
                };
                self.orders.insert(row.get("id")?, order);
            }
            for row in rows(
                database,
                "SELECT order_id, product_id, quantity, line_total FROM order_items",
            )? {
                if let Some(order) = self.orders.get_mut(&row.get::<String>("order_id")?) {
                    order.line_totals += row.get::<i64>("line_total")?;
                    order
                        .lines
                        .push((row.get("product_id")?, row.get("quantity")?));
                }
            }
            for row in rows(
                database,
                "SELECT order_id, status FROM order_history ORDER BY order_id, position",
            )? {
                if let Some(order) = self.orders.get_mut(&row.get::<String>("order_id")?) {
                    order.history.push(row.get("status")?);
                }
            }
            let sql = "SELECT order_id FROM returns WHERE status = 'approved'";
            for row in rows(database, sql)? {
                if let Some(order) = self.orders.get_mut(&row.get::<String>("order_id")?) {
                    order.returns += 1;
                }
            }
            Ok(())
        })
    }

    fn read_events(&mut self, bus: &OpenBus) -> anyhow::Result<()> {
        let lag = bus.lag()?;
        self.all_read = lag
            .iter()
            .all(|lag| lag.unread + lag.pending + lag.dead == 0);
        let events = bus.history("order.events", EVENTS)?;
        self.whole_history = events.len() < usize::try_from(EVENTS).unwrap_or(usize::MAX);
        let mut known = BTreeSet::new();
        for (_, body) in events {
            // Events that cannot be read become dead letters, which are counted above.
            if let Ok(event) = Event::decode(&body)
                && known.insert(event.id.clone())
            {
                self.events
                    .entry(event.subject)
                    .or_default()
                    .push(event.kind);
            }
        }
        Ok(())
    }
}

fn rows(database: &Chosen, sql: &str) -> anyhow::Result<Vec<Row>> {
    Ok(now(database.query(sql, params![]))??)
}

/// Reads several statements at one moment.
fn snapshot(database: &Chosen, read: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let begin = match database {
        Chosen::Sqlite(_) => "BEGIN",
        Chosen::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    };
    let whole = |result: Result<(), SqlError>| result.map_err(anyhow::Error::from);
    whole(database.batch(begin))?;
    let result = read();
    whole(database.batch("ROLLBACK"))?;
    result
}
