//! The loop of a consumer: claim, handle, acknowledge; back off from what fails, give up what keeps failing. While an event
//! of a subject waits, the later ones of that subject wait too; all others go on.

use super::Event;
use super::bus::{Bus, BusError, Delivery, RETENTION_MS};
use crate::log::{self, Level};
use crate::ports::Ports;
use crate::span::Span;
use localmart_kernel::Timestamp;
use std::time::Duration;

/// How many events are claimed at once.
const BATCH: u32 = 200;
/// How long a consumer may be silent before another may begin, in milliseconds.
const LOCK_MS: i64 = 5_000;
/// How long one run goes on before it makes room for other calls, in milliseconds.
const RUN_MS: i64 = 10_000;
/// How often an event may fail before it is given up.
pub const ATTEMPTS: u32 = 8;
/// The pause after the first failure; it doubles, and varies by half.
const BACKOFF_MS: i64 = 200;
/// The longest pause.
const MAX_BACKOFF_MS: i64 = 60_000;
/// How often the bus is trimmed.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// Why an event had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It will never have one: it is not what its schema says. It is given up at once.
    Permanent(String),
    /// Not now.
    Retryable(String),
}

/// What reads events.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Consumer {
    /// The group: the noun of the service.
    const GROUP: &'static str;
    /// The channels that it reads.
    const CHANNELS: &'static [&'static str];

    /// Lets an event have its effect, once, however often it comes and in whatever order.
    async fn handle(&self, event: &Event) -> Result<(), Refusal>;
}

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that had their effect.
    pub handled: u64,
    /// Events that will be tried again.
    pub postponed: u64,
    /// Events that were given up.
    pub given_up: u64,
}

/// Reads what there is, if nobody else of the group does.
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

/// The consumer's place in its group.
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
                // It was silent for too long; another goes on where it stopped.
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
            log::write(Level::Warn, "", "an event had no effect yet", &fields);
            delivery.next_try_at = now.plus_ms(pause_ms(delivery.attempts, ports));
            bus.postpone(C::GROUP, &delivery, &reason).await?;
            report.postponed += 1;
            waiting.push(delivery.subject);
        }
    }
    Ok(())
}

/// Exponential, with jitter: between half of it and one and a half.
fn pause_ms(attempts: u32, ports: &Ports) -> i64 {
    let doubled = BACKOFF_MS.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let pause = doubled.min(MAX_BACKOFF_MS);
    pause / 2 + i64::from(ports.random_byte()) * pause / 256
}

/// Whether this instance has not forgotten anything for a while; asking begins the next while.
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

/// Forgets events of the consumer's channels that are old and read.
pub async fn trim<B: Bus, C: Consumer>(bus: &B, ports: &Ports) -> Result<(), BusError> {
    for channel in C::CHANNELS {
        bus.trim(channel, ports.now().plus_ms(-RETENTION_MS))
            .await?;
    }
    Ok(())
}
