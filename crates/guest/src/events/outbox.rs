//! The outbox: an event is written in the transaction of its change and published to the bus after the commit, by the
//! instance that committed, or by the next sweep if that instance died.

use super::Event;
use super::bus::{Bus, BusError, Outgoing};
use crate::params;
use crate::ports::Ports;
use crate::span::Span;
use crate::sql::{Connection, Database, Row, SqlError, Value, power_of_two_chunks, transaction};
use localmart_kernel::Timestamp;

/// How many events one step of a relay publishes.
const BATCH: u32 = 100;
/// How long a relay holds its lock, in milliseconds. After that another relay may begin.
const LOCK_MS: i64 = 5_000;
/// How many steps one call of [`relay`] takes at most.
const STEPS: u32 = 100;

/// Writes an event in the transaction of its change. Does nothing if the outbox has an event for this version of the
/// subject already.
pub async fn record(
    connection: &impl Connection,
    event: &Event,
    now: Timestamp,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO outbox (subject, version, channel, id, body, created_at) VALUES ($1, $2, \
               $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let (channel, body) = (event.channel(), event.encode());
    let params = params![
        event.subject.as_str(),
        event.version,
        channel,
        event.id.as_str(),
        body,
        now
    ];
    connection.queue(sql, params).await?;
    #[cfg(target_arch = "wasm32")]
    super::wasi::mark_event_written();
    Ok(())
}

/// Publishes the outbox of a service unless another relay holds the lock; returns the channels that got events. When the
/// holder of the lock returns, it has published everything that was committed before another relay found the lock taken.
pub async fn relay_under_lock<D: Database, B: Bus>(
    noun: &str,
    database: &D,
    bus: &B,
    ports: &Ports,
) -> Result<Vec<String>, BusError> {
    let (group, owner) = (format!("relay/{noun}"), ports.new_id());
    let mut channels = Vec::new();
    loop {
        let now = ports.now();
        let until = now.plus_ms(LOCK_MS);
        if !bus.lock(&group, owner.as_str(), now, until).await? {
            return Ok(channels);
        }
        let relayed = relay(database, bus, now).await;
        bus.unlock(&group, owner.as_str()).await?;
        channels.extend(relayed?);
        // An instance that committed meanwhile and found the lock taken relies on this check.
        let sql = "SELECT version FROM outbox LIMIT 1";
        let left = database.open().await?.query(sql, params![]).await?;
        if left.is_empty() {
            return Ok(channels);
        }
    }
}

async fn delete<D: Database>(database: &D, rows: &[Row]) -> Result<(), SqlError> {
    transaction(database, async |connection| {
        for rows in power_of_two_chunks(rows) {
            let one = |place: usize| {
                let (subject, version) = (2 * place + 1, 2 * place + 2);
                format!("subject = ${subject} AND version = ${version}")
            };
            let all: Vec<String> = (0..rows.len()).map(one).collect();
            let sql = format!("DELETE FROM outbox WHERE {}", all.join(" OR "));
            let mut values = Vec::with_capacity(2 * rows.len());
            for row in rows {
                values.push(Value::from(row.get::<String>("subject")?));
                values.push(Value::from(row.get::<i64>("version")?));
            }
            connection.execute(&sql, &values).await?;
        }
        Ok(())
    })
    .await
}

/// Publishes the outbox; returns the channels that got events. Two relays may run at the same time: an event may then be
/// published twice, and takes effect once.
pub async fn relay<D: Database, B: Bus>(
    database: &D,
    bus: &B,
    now: Timestamp,
) -> Result<Vec<String>, BusError> {
    let mut channels = Vec::new();
    for _ in 0..STEPS {
        let connection = database.open().await?;
        let sql = "SELECT subject, version, channel, id, body FROM outbox ORDER BY created_at, subject, version LIMIT $1";
        let rows = connection.query(sql, params![BATCH]).await?;
        // The connection returns to its pool before the slow call to the bus.
        drop(connection);
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(Outgoing {
                subject: row.get("subject")?,
                channel: row.get("channel")?,
                id: row.get("id")?,
                body: row.get("body")?,
            });
        }
        if events.is_empty() {
            break;
        }
        let spans = events.iter().filter_map(|event| {
            let event = Event::decode(&event.body).ok()?;
            let name = format!("publish {}", event.kind);
            Some(Span::begin(&event.trace_parent, &name, "producer"))
        });
        let spans: Vec<Span> = spans.collect();
        bus.publish(&events, now).await?;
        drop(spans);
        crate::point("outbox.published").await;
        delete(database, &rows).await?;
        for event in events {
            if !channels.contains(&event.channel) {
                channels.push(event.channel);
            }
        }
        if rows.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            break;
        }
    }
    Ok(channels)
}
