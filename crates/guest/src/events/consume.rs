//! The loop of a consumer: claim events, handle them, acknowledge them. An event that fails is retried with increasing
//! pauses and becomes a dead letter in the end. While an event waits for its retry, later events of the same subject wait
//! too; other subjects continue.

use super::Event;
use super::bus::{Bus, BusError, Delivery, RETENTION_MS};
use crate::log::{self, Level};
use crate::ports::Ports;
use crate::span::Span;
use localmart_kernel::Timestamp;
use std::time::Duration;

/// How many events one claim returns at most.
const BATCH: u32 = 200;
/// How long a consumer holds the lock of its group without renewing it, in milliseconds.
const LOCK_MS: i64 = 5_000;
/// How long one run lasts at most before it makes room for other calls, in milliseconds.
const RUN_MS: i64 = 10_000;
/// How often an event may fail before it becomes a dead letter.
pub const ATTEMPTS: u32 = 8;
/// The pause after the first failure, in milliseconds. It doubles with every failure and varies by ± 50 %.
const BACKOFF_MS: i64 = 200;
/// The longest pause before jitter, in milliseconds.
const MAX_BACKOFF_MS: i64 = 60_000;
/// How often an instance trims the bus.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// Why an event could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The event can never be handled, for example because it does not match its schema. It becomes a dead letter at once.
    Permanent(String),
    /// The event cannot be handled now. It is retried.
    Retryable(String),
}

/// A component that reads events.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Consumer {
    /// The consumer group: the noun of the service.
    const GROUP: &'static str;
    /// The channels that the component reads.
    const CHANNELS: &'static [&'static str];

    /// Handles an event. The same event may arrive several times; it must take effect once.
    async fn handle(&self, event: &Event) -> Result<(), Refusal>;
}

/// The result of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that were handled.
    pub handled: u64,
    /// Events that will be retried.
    pub postponed: u64,
    /// Events that became dead letters.
    pub given_up: u64,
}

/// Handles all available events, unless another consumer of the group is active.
pub async fn consume<B: Bus, C: Consumer>(
    bus: &B,
    consumer: &C,
    ports: &Ports,
) -> Result<Report, BusError> {
    let owner = ports.new_id();
    let mut report = Report::default();
    let begin = ports.now();
    loop {
        let now = ports.now();
        if !bus
            .lock(C::GROUP, owner.as_str(), now, now.plus_ms(LOCK_MS))
            .await?
        {
            return Ok(report);
        }
        let deliveries = bus.claim(C::GROUP, C::CHANNELS, BATCH).await?;
        let before = report;
        let lock = Lock {
            owner: owner.as_str(),
            renewed_at: now,
        };
        let result = handle_all(bus, consumer, ports, deliveries, lock, &mut report).await;
        let moved = report.handled + report.given_up > before.handled + before.given_up;
        let late = ports.now() > begin.plus_ms(RUN_MS);
        if result.is_err() || !moved || late {
            bus.unlock(C::GROUP, owner.as_str()).await?;
            result?;
            return Ok(report);
        }
    }
}

/// The lock that this consumer holds for its group.
struct Lock<'a> {
    owner: &'a str,
    renewed_at: Timestamp,
}

async fn handle_all<B: Bus, C: Consumer>(
    bus: &B,
    consumer: &C,
    ports: &Ports,
    deliveries: Vec<Delivery>,
    mut lock: Lock<'_>,
    report: &mut Report,
) -> Result<(), BusError> {
    let mut waiting: Vec<String> = Vec::new();
    for mut delivery in deliveries {
        let now = ports.now();
        if now > lock.renewed_at.plus_ms(LOCK_MS / 3) {
            let until = now.plus_ms(LOCK_MS);
            if !bus.lock(C::GROUP, lock.owner, now, until).await? {
                // The lock expired and another consumer continues from here.
                return Ok(());
            }
            lock.renewed_at = now;
        }
        if waiting.contains(&delivery.subject) {
            continue;
        }
        if delivery.next_try_at > now {
            waiting.push(delivery.subject);
            continue;
        }
        let outcome = match Event::decode(&delivery.body) {
            Ok(event) => {
                let name = format!("process {}", event.kind);
                let _span = Span::begin(&event.trace_parent, &name, "consumer");
                consumer.handle(&event).await
            }
            Err(reason) => Err(Refusal::Permanent(reason)),
        };
        let (reason, given_up) = match outcome {
            Ok(()) => {
                crate::point("event.handled").await;
                bus.acknowledge(C::GROUP, &delivery).await?;
                report.handled += 1;
                continue;
            }
            Err(Refusal::Permanent(reason)) => (reason, true),
            Err(Refusal::Retryable(reason)) => (reason, delivery.attempts + 1 >= ATTEMPTS),
        };
        delivery.attempts += 1;
        let fields = [
            ("group", C::GROUP),
            ("event", &delivery.id),
            ("reason", &reason),
        ];
        if given_up {
            log::write(Level::Error, "", "an event was given up", &fields);
            bus.give_up(C::GROUP, &delivery, &reason, now).await?;
            report.given_up += 1;
        } else {
            log::write(
                Level::Warn,
                "",
                "an event failed and will be retried",
                &fields,
            );
            delivery.next_try_at = now.plus_ms(pause_ms(delivery.attempts, ports));
            bus.postpone(C::GROUP, &delivery, &reason).await?;
            report.postponed += 1;
            waiting.push(delivery.subject);
        }
    }
    Ok(())
}

/// The pause before the next attempt: exponential, with jitter of ± 50 %.
fn pause_ms(attempts: u32, ports: &Ports) -> i64 {
    let doubled = BACKOFF_MS.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let pause = doubled.min(MAX_BACKOFF_MS);
    pause / 2 + i64::from(ports.random_byte()) * pause / 256
}

/// Whether [`TRIM_EVERY`] has passed since this function last returned `true` in this instance.
pub fn trim_is_due(ports: &Ports) -> bool {
    use std::cell::Cell;
    thread_local! {
        static LAST_MS: Cell<i64> = const { Cell::new(0) };
    }
    let now = ports.now().ms();
    let every = i64::try_from(TRIM_EVERY.as_millis()).unwrap_or(i64::MAX);
    let due = now >= LAST_MS.get().saturating_add(every);
    if due {
        LAST_MS.set(now);
    }
    due
}

/// Deletes old events that every group has read from the channels of the consumer.
pub async fn trim<B: Bus, C: Consumer>(bus: &B, ports: &Ports) -> Result<(), BusError> {
    for channel in C::CHANNELS {
        bus.trim(channel, ports.now().plus_ms(-RETENTION_MS))
            .await?;
    }
    Ok(())
}
