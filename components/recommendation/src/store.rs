//! The SQL of recommendation. Every signal is written in one transaction with the inbox entry of its event.

use crate::domain::{Candidate, MAX_PAIRED, OrderChange, OrderSignal, Reason, SOLD_WEIGHT};
use localmart_guest::events::inbox;
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::params;
use localmart_guest::sql::{Connection, Database, Row, SqlError, Value, transaction};

/// How many recent products of a customer are used to find related products.
const RECENT: u32 = 20;

pub(crate) struct Store<D> {
    database: D,
}

impl<D: Database> Store<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database }
    }

    /// Starts or stops to count an order, once, in whichever order the events arrive.
    pub(crate) async fn order_changed(
        &self,
        event_id: &str,
        signal: &OrderSignal,
        change: OrderChange,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            if !inbox::first_time(connection, event_id, now).await? {
                return Ok(());
            }
            let sql = "INSERT INTO orders (order_id, paid, cancelled) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
            let order = signal.order_id.as_str();
            connection.execute(sql, params![order]).await?;
            let (sql, counts_if, sign) = match change {
                OrderChange::Paid => {
                    let sql = "UPDATE orders SET paid = 1 WHERE order_id = $1 AND paid = 0 RETURNING cancelled AS other";
                    (sql, 0, 1)
                }
                OrderChange::Cancelled => {
                    let sql = "UPDATE orders SET cancelled = 1 WHERE order_id = $1 AND cancelled = 0 RETURNING paid AS other";
                    (sql, 1, -1)
                }
            };
            let rows = connection.query(sql, params![order]).await?;
            match rows.first() {
                Some(row) if row.get::<i64>("other")? == counts_if => count(connection, signal, sign, now).await,
                _ => Ok(()),
            }
        })
        .await
    }

    /// Counts views of a product.
    pub(crate) async fn viewed(
        &self,
        event_id: &str,
        product: &Id,
        customer: Option<&str>,
        views: i64,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            if !inbox::first_time(connection, event_id, now).await? {
                return Ok(());
            }
            popularity(connection, product, 0, views).await?;
            match customer {
                Some(customer) => taste(connection, customer, product, 0, views, now).await,
                None => Ok(()),
            }
        })
        .await
    }

    /// The most popular products after a position.
    pub(crate) async fn popular(
        &self,
        after: Option<&(u64, Id)>,
        max: usize,
    ) -> Result<Vec<Candidate>, SqlError> {
        let (sql, params) = popular_statement(after, max);
        let rows = self.database.open().await?.query(sql, &params).await?;
        rows.iter()
            .map(|row| candidate(row, Reason::Popular))
            .collect()
    }

    /// Products that were bought together with a product.
    pub(crate) async fn bought_together(
        &self,
        product: &Id,
        max: usize,
    ) -> Result<Vec<Candidate>, SqlError> {
        let params = params![product, limit(max)];
        let rows = self
            .database
            .open()
            .await?
            .query(BOUGHT_TOGETHER, params)
            .await?;
        rows.iter()
            .map(|row| candidate(row, Reason::BoughtTogether))
            .collect()
    }

    /// Products related to the history of a customer, then products that the customer viewed and did not buy.
    pub(crate) async fn for_customer(
        &self,
        customer: &str,
        max: usize,
    ) -> Result<Vec<Candidate>, SqlError> {
        let connection = self.database.open().await?;
        let rows = connection
            .query(FOR_CUSTOMER, params![customer, RECENT, limit(max)])
            .await?;
        let mut found = rows
            .iter()
            .map(|row| candidate(row, Reason::ForYou))
            .collect::<Result<Vec<_>, _>>()?;
        let rows = connection
            .query(VIEWED, params![customer, limit(max)])
            .await?;
        for row in &rows {
            found.push(candidate(row, Reason::Viewed)?);
        }
        Ok(found)
    }
}

pub(crate) const BOUGHT_TOGETHER: &str = "SELECT other_id AS product_id, orders AS score FROM pairs WHERE product_id = $1 AND orders > 0 \
     ORDER BY orders DESC, other_id DESC LIMIT $2";

pub(crate) const FOR_CUSTOMER: &str = "SELECT p.other_id AS product_id, CAST(SUM(p.orders) AS BIGINT) AS score FROM \
     (SELECT product_id FROM tastes WHERE customer_id = $1 ORDER BY last_at DESC LIMIT $2) t \
     JOIN pairs p ON p.product_id = t.product_id WHERE p.orders > 0 AND NOT EXISTS (SELECT 1 FROM tastes b \
     WHERE b.customer_id = $1 AND b.product_id = p.other_id AND b.bought > 0) \
     GROUP BY p.other_id ORDER BY 2 DESC, 1 DESC LIMIT $3";

pub(crate) const VIEWED: &str = "SELECT product_id, views AS score FROM tastes WHERE customer_id = $1 AND bought <= 0 AND views > 0 \
     ORDER BY last_at DESC, product_id DESC LIMIT $2";

/// The query of a batch of popular products.
pub(crate) fn popular_statement(
    after: Option<&(u64, Id)>,
    max: usize,
) -> (&'static str, Vec<Value>) {
    match after {
        None => (
            "SELECT product_id, score FROM popularity WHERE score > 0 ORDER BY score DESC, product_id DESC LIMIT $1",
            vec![limit(max).into()],
        ),
        Some((score, id)) => (
            "SELECT product_id, score FROM popularity WHERE score > 0 AND (score, product_id) < ($2, $3) \
             ORDER BY score DESC, product_id DESC LIMIT $1",
            vec![limit(max).into(), (*score).into(), id.into()],
        ),
    }
}

fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

async fn count(
    connection: &impl Connection,
    signal: &OrderSignal,
    sign: i64,
    now: Timestamp,
) -> Result<(), SqlError> {
    for (product, quantity) in &signal.items {
        popularity(connection, product, sign * quantity, 0).await?;
        if let Some(customer) = &signal.customer_id {
            taste(connection, customer, product, sign * quantity, 0, now).await?;
        }
    }
    let paired = signal.items.get(..MAX_PAIRED).unwrap_or(&signal.items);
    for (product, _) in paired {
        for (other, _) in paired.iter().filter(|(other, _)| other != product) {
            let sql = "INSERT INTO pairs (product_id, other_id, orders) VALUES ($1, $2, $3) \
                       ON CONFLICT (product_id, other_id) DO UPDATE SET orders = pairs.orders + excluded.orders";
            connection
                .execute(sql, params![product, other, sign])
                .await?;
        }
    }
    Ok(())
}

async fn popularity(
    connection: &impl Connection,
    product: &Id,
    sold: i64,
    views: i64,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO popularity (product_id, sold, views, score) VALUES ($1, $2, $3, \
               $4) ON CONFLICT (product_id) DO UPDATE SET sold = popularity.sold + excluded.sold, \
               views = popularity.views + excluded.views, score = popularity.score + excluded.score";
    let score = sold * SOLD_WEIGHT + views;
    connection
        .execute(sql, params![product, sold, views, score])
        .await
        .map(drop)
}

async fn taste(
    connection: &impl Connection,
    customer: &str,
    product: &Id,
    bought: i64,
    views: i64,
    now: Timestamp,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO tastes (customer_id, product_id, bought, views, last_at) VALUES ($1, $2, \
               $3, $4, $5) ON CONFLICT (customer_id, product_id) DO UPDATE SET \
               bought = tastes.bought + excluded.bought, views = tastes.views + excluded.views, last_at = excluded.last_at";
    connection
        .execute(sql, params![customer, product, bought, views, now])
        .await
        .map(drop)
}

fn candidate(row: &Row, reason: Reason) -> Result<Candidate, SqlError> {
    Ok(Candidate {
        product_id: row.get("product_id")?,
        score: row.get("score")?,
        reason,
    })
}
