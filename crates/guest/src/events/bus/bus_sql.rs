//! The bus in a SQL database. A counter numbers the events and is locked until the commit, so that no reader can pass an
//! event that is still uncommitted.

use super::{Bus, BusError, DeadLetter, Delivery, Lag, Outgoing};
use crate::params;
use crate::sql::{
    Connection, Database, Row, SqlError, Value, power_of_two_chunks, row_places, transaction,
};
use localmart_kernel::Timestamp;

/// The bus in a database.
#[derive(Clone)]
pub struct SqlBus<D>(pub D);

const DELIVERY: &str = "consumers = $1 AND seq = $2";

impl<D: Database> Bus for SqlBus<D> {
    async fn publish(&self, events: &[Outgoing], now: Timestamp) -> Result<(), BusError> {
        let published: Result<(), SqlError> = transaction(&self.0, async |connection| {
            append(connection, events, now).await
        })
        .await;
        Ok(published?)
    }

    async fn lock(
        &self,
        group: &str,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, BusError> {
        let sql = "INSERT INTO leases (consumers, owner, until) VALUES ($1, $2, $3) \
                   ON CONFLICT (consumers) DO UPDATE SET owner = excluded.owner, until = excluded.until \
                   WHERE leases.owner = excluded.owner OR leases.until <= $4";
        let connection = self.0.open().await?;
        // Reads first: a lock that is held needs no write.
        let taken = "SELECT 1 FROM leases WHERE consumers = $1 AND owner <> $2 \
                     AND until > $3";
        let taken = connection.query(taken, params![group, owner, now]).await?;
        if !taken.is_empty() {
            return Ok(false);
        }
        let params = params![group, owner, until, now];
        Ok(connection.execute(sql, params).await? == 1)
    }

    async fn unlock(&self, group: &str, owner: &str) -> Result<(), BusError> {
        let sql = "DELETE FROM leases WHERE consumers = $1 AND owner = $2";
        self.0
            .open()
            .await?
            .execute(sql, params![group, owner])
            .await?;
        Ok(())
    }

    async fn claim(
        &self,
        group: &str,
        channels: &[&str],
        max: u32,
    ) -> Result<Vec<Delivery>, BusError> {
        // Reads first: most wake-ups find no new events, and reading takes no write lock.
        let connection = self.0.open().await?;
        let mut fresh = false;
        for channel in channels {
            let sql = "SELECT 1 FROM events WHERE channel = $2 AND seq > COALESCE((SELECT position \
                       FROM positions WHERE consumers = $1 AND channel = $2), -1) LIMIT 1";
            fresh |= !connection
                .query(sql, params![group, *channel])
                .await?
                .is_empty();
        }
        drop(connection);
        if fresh {
            let read: Result<(), SqlError> = transaction(&self.0, async |connection| {
                for channel in channels {
                    advance(connection, group, channel, max).await?;
                }
                Ok(())
            })
            .await;
            read?;
        }
        let sql = "SELECT d.seq, d.channel, e.subject, e.id, e.body, d.attempts, d.next_try_at FROM deliveries d \
                   JOIN events e ON e.seq = d.seq WHERE d.consumers = $1 ORDER BY d.seq LIMIT $2";
        let rows = self.0.open().await?.query(sql, params![group, max]).await?;
        Ok(rows.iter().map(delivery).collect::<Result<_, _>>()?)
    }

    async fn acknowledge(&self, group: &str, delivery: &Delivery) -> Result<(), BusError> {
        let sql = format!("DELETE FROM deliveries WHERE {DELIVERY}");
        let connection = self.0.open().await?;
        connection
            .execute(&sql, params![group, sequence(delivery)])
            .await?;
        Ok(())
    }

    async fn postpone(
        &self,
        group: &str,
        delivery: &Delivery,
        reason: &str,
    ) -> Result<(), BusError> {
        let sql = format!(
            "UPDATE deliveries SET attempts = $3, next_try_at = $4, reason = $5 WHERE {DELIVERY}"
        );
        let params = params![
            group,
            sequence(delivery),
            delivery.attempts,
            delivery.next_try_at,
            reason
        ];
        self.0.open().await?.execute(&sql, params).await?;
        Ok(())
    }

    async fn give_up(
        &self,
        group: &str,
        delivery: &Delivery,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), BusError> {
        let given_up: Result<(), SqlError> = transaction(&self.0, async |connection| {
            let sql = "INSERT INTO dead (consumers, id, channel, subject, body, attempts, reason, died_at) VALUES ($1, \
                       $2, $3, $4, $5, $6, $7, \
                       $8) ON CONFLICT (consumers, id) DO UPDATE SET attempts = excluded.attempts, \
                       reason = excluded.reason, died_at = excluded.died_at";
            let params = params![
                group,
                delivery.id.as_str(),
                delivery.channel.as_str(),
                delivery.subject.as_str(),
                delivery.body.as_str(),
                delivery.attempts,
                reason,
                now
            ];
            connection.execute(sql, params).await?;
            let sql = format!("DELETE FROM deliveries WHERE {DELIVERY}");
            connection.execute(&sql, params![group, sequence(delivery)]).await?;
            Ok(())
        })
        .await;
        Ok(given_up?)
    }

    async fn dead(&self) -> Result<Vec<DeadLetter>, BusError> {
        let sql = "SELECT consumers, id, channel, subject, body, attempts, reason, died_at FROM dead ORDER BY died_at, consumers, id";
        let rows = self.0.open().await?.query(sql, params![]).await?;
        let letter = |row: &Row| {
            Ok::<_, SqlError>(DeadLetter {
                group: row.get("consumers")?,
                id: row.get("id")?,
                channel: row.get("channel")?,
                subject: row.get("subject")?,
                body: row.get("body")?,
                attempts: row.get("attempts")?,
                reason: row.get("reason")?,
                died_at: row.get("died_at")?,
            })
        };
        Ok(rows.iter().map(letter).collect::<Result<_, _>>()?)
    }

    async fn replay(&self, letter: &DeadLetter, now: Timestamp) -> Result<bool, BusError> {
        let replayed: Result<bool, SqlError> = transaction(&self.0, async |connection| {
            let sql = "DELETE FROM dead WHERE consumers = $1 AND id = $2";
            let params = params![letter.group.as_str(), letter.id.as_str()];
            if connection.execute(sql, params).await? == 0 {
                return Ok(false);
            }
            // The event may have been trimmed by now; then it is appended again.
            let event = Outgoing {
                channel: letter.channel.clone(),
                subject: letter.subject.clone(),
                id: letter.id.clone(),
                body: letter.body.clone(),
            };
            let seq = match find(connection, &letter.id).await? {
                Some(seq) => seq,
                None => {
                    append(connection, std::slice::from_ref(&event), now).await?;
                    find(connection, &letter.id).await?.unwrap_or_default()
                }
            };
            let sql = "INSERT INTO deliveries (consumers, seq, channel, attempts, next_try_at, reason) VALUES ($1, \
                       $2, $3, 0, 0, '') ON CONFLICT DO NOTHING";
            let params = params![letter.group.as_str(), seq, letter.channel.as_str()];
            connection.execute(sql, params).await?;
            Ok(true)
        })
        .await;
        Ok(replayed?)
    }

    async fn lag(&self) -> Result<Vec<Lag>, BusError> {
        let sql = "SELECT p.consumers, p.channel, \
                   (SELECT COUNT(*) FROM events e WHERE e.channel = p.channel AND e.seq > p.position) AS unread, \
                   (SELECT COUNT(*) FROM deliveries d WHERE d.consumers = p.consumers AND d.channel = p.channel) AS pending, \
                   (SELECT COUNT(*) FROM dead x WHERE x.consumers = p.consumers AND x.channel = p.channel) AS dead \
                   FROM positions p ORDER BY p.consumers, p.channel";
        let rows = self.0.open().await?.query(sql, params![]).await?;
        let lag = |row: &Row| {
            Ok::<_, SqlError>(Lag {
                group: row.get("consumers")?,
                channel: row.get("channel")?,
                unread: row.get("unread")?,
                pending: row.get("pending")?,
                dead: row.get("dead")?,
            })
        };
        Ok(rows.iter().map(lag).collect::<Result<_, _>>()?)
    }

    async fn history(&self, channel: &str, max: u32) -> Result<Vec<(String, String)>, BusError> {
        let sql = "SELECT seq, body FROM (SELECT seq, body FROM events WHERE channel = $1 ORDER BY seq DESC \
                   LIMIT $2) newest ORDER BY seq";
        let rows = self
            .0
            .open()
            .await?
            .query(sql, params![channel, max])
            .await?;
        let event =
            |row: &Row| Ok::<_, SqlError>((row.get::<i64>("seq")?.to_string(), row.get("body")?));
        Ok(rows.iter().map(event).collect::<Result<_, _>>()?)
    }

    async fn channels(&self) -> Result<Vec<String>, BusError> {
        let sql = "SELECT DISTINCT channel FROM events ORDER BY channel";
        let rows = self.0.open().await?.query(sql, params![]).await?;
        Ok(rows
            .iter()
            .map(|row| row.get("channel"))
            .collect::<Result<_, _>>()?)
    }

    async fn trim(&self, channel: &str, older_than: Timestamp) -> Result<u64, BusError> {
        let sql = "DELETE FROM events WHERE channel = $1 AND published_at < $2 \
                   AND seq <= COALESCE((SELECT MIN(p.position) FROM positions p WHERE p.channel = $1), seq) \
                   AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = events.seq)";
        let connection = self.0.open().await?;
        Ok(connection
            .execute(sql, params![channel, older_than])
            .await?)
    }
}

/// Appends the events that are not on the bus yet, in this order.
async fn append(
    connection: &impl Connection,
    events: &[Outgoing],
    now: Timestamp,
) -> Result<(), SqlError> {
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let sql = "UPDATE counters SET value = value + $1 WHERE name = 'events' RETURNING value";
    let rows = connection.query(sql, params![count]).await?;
    let missing = || SqlError::Failed("the bus has no counter".to_owned());
    let mut seq = rows.first().ok_or_else(missing)?.get::<i64>("value")? - count;
    for events in power_of_two_chunks(events) {
        const WIDTH: usize = 6;
        let sql = format!(
            "INSERT INTO events (seq, id, channel, subject, body, published_at) VALUES {} ON CONFLICT DO NOTHING",
            row_places(events.len(), WIDTH)
        );
        let mut values = Vec::with_capacity(events.len() * WIDTH);
        for event in events {
            seq += 1;
            let texts = [&event.id, &event.channel, &event.subject, &event.body];
            values.push(Value::from(seq));
            values.extend(texts.map(Value::from));
            values.push(Value::from(now));
        }
        connection.execute(&sql, &values).await?;
    }
    Ok(())
}

/// Moves the position of a group forward in a channel; the events passed become deliveries of the group.
async fn advance(
    connection: &impl Connection,
    group: &str,
    channel: &str,
    max: u32,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO positions (consumers, channel, position) VALUES ($1, $2, -1) ON CONFLICT DO NOTHING";
    connection.execute(sql, params![group, channel]).await?;
    let sql = "INSERT INTO deliveries (consumers, seq, channel, attempts, next_try_at, reason) \
               SELECT $1, e.seq, e.channel, 0, 0, '' FROM events e WHERE e.channel = $2 \
               AND e.seq > (SELECT p.position FROM positions p WHERE p.consumers = $1 AND p.channel = $2) \
               ORDER BY e.seq LIMIT $3 ON CONFLICT DO NOTHING";
    connection
        .execute(sql, params![group, channel, max])
        .await?;
    let sql = "UPDATE positions SET position = COALESCE((SELECT MAX(d.seq) FROM deliveries d WHERE d.consumers = $1 \
               AND d.channel = $2 AND d.seq > positions.position), position) \
               WHERE consumers = $1 AND channel = $2";
    connection
        .execute(sql, params![group, channel])
        .await
        .map(drop)
}

async fn find(connection: &impl Connection, id: &str) -> Result<Option<i64>, SqlError> {
    let sql = "SELECT seq FROM events WHERE id = $1";
    let rows = connection.query(sql, params![id]).await?;
    rows.first().map(|row| row.get("seq")).transpose()
}

fn sequence(delivery: &Delivery) -> i64 {
    delivery.token.parse().unwrap_or(-1)
}

fn delivery(row: &Row) -> Result<Delivery, SqlError> {
    Ok(Delivery {
        token: row.get::<i64>("seq")?.to_string(),
        channel: row.get("channel")?,
        subject: row.get("subject")?,
        id: row.get("id")?,
        body: row.get("body")?,
        attempts: row.get("attempts")?,
        next_try_at: row.get("next_try_at")?,
    })
}
