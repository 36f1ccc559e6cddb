//! The bus and the loop of a consumer. The same tests run on SQL (SQLite and Postgres side by side) and on Redis Streams.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

use localmart_guest::events::bus::{Bus, Delivery, Lag, Outgoing, RETENTION_MS, RedisBus, SqlBus};
use localmart_guest::events::consume::{ATTEMPTS, Report, consume};
use localmart_guest::events::{Consumer, Event, Refusal, outbox};
use localmart_guest::kernel::Timestamp;
use localmart_guest::redis::{Argument, Redis as _, Reply};
use localmart_guest::short_lived::{RedisStore, ShortLived};
use localmart_guest::sql::transaction;
use localmart_stores::RedisServer;
use localmart_testkit::{MemoryStore, TestDatabase, TestEnvironment, now, servers};
use std::cell::{Cell, RefCell};

fn redis() -> Option<RedisServer> {
    servers::redis_database().map(|address| RedisServer::open(&address).unwrap())
}

/// Makes one test per backend from each function.
macro_rules! on_every_bus {
    ($($name:ident,)*) => {
        mod on_sql {
            use super::*;
            $(#[test] fn $name() { super::$name(&SqlBus(TestDatabase::bus())) })*
        }
        mod on_redis {
            use super::*;
            $(#[test] fn $name() { if let Some(server) = redis() { super::$name(&RedisBus(server)) } })*
        }
    };
}

on_every_bus! {
    unacknowledged_events_are_redelivered_in_order,
    one_consumer_of_a_group_works_at_a_time,
    an_invalid_event_becomes_a_dead_letter_and_can_be_replayed,
    a_failed_event_is_retried_and_only_its_subject_waits,
    an_event_that_keeps_failing_becomes_a_dead_letter,
    an_outbox_is_relayed_exactly_once_in_effect,
    an_old_event_that_all_groups_have_read_is_trimmed,
    the_age_of_events_is_measured_by_the_callers_clock,
    every_group_reads_everything,
    history_is_complete_at_any_length,
}

fn event(environment: &TestEnvironment, subject: &str, version: u64) -> Event {
    Event::new(
        &environment.ports().new_id(),
        "order.paid",
        "order",
        subject,
        version,
        environment.now(),
    )
}

fn outgoing(event: &Event) -> Outgoing {
    Outgoing {
        channel: event.channel(),
        subject: event.subject.clone(),
        id: event.id.clone(),
        body: event.encode(),
    }
}

fn publish(bus: &impl Bus, environment: &TestEnvironment, subject: &str, version: u64) -> Event {
    let event = event(environment, subject, version);
    now(bus.publish(&[outgoing(&event)], environment.now())).unwrap();
    event
}

fn history_is_complete_at_any_length(bus: &impl Bus) {
    let environment = TestEnvironment::new();
    let events: Vec<Event> = (0..1_203)
        .map(|number| event(&environment, "o", number))
        .collect();
    for some in events.chunks(100) {
        let some: Vec<Outgoing> = some.iter().map(outgoing).collect();
        now(bus.publish(&some, environment.now())).unwrap();
    }
    let bodies: Vec<String> = events.iter().map(Event::encode).collect();
    for (most, from) in [(5_000, 0), (1_203, 0), (1_000, 203), (7, 1_196)] {
        let history = now(bus.history("order.events", most)).unwrap();
        let seen: Vec<&String> = history.iter().map(|(_, body)| body).collect();
        assert!(seen.iter().copied().eq(&bodies[from..]), "the last {most}");
    }
}

const CHANNELS: &[&str] = &["order.events"];

fn claim(bus: &impl Bus, group: &str) -> Vec<Delivery> {
    now(bus.claim(group, CHANNELS, 100)).unwrap()
}

/// A consumer that records the events it handles and refuses events of chosen subjects.
#[derive(Default)]
struct Reader {
    seen: RefCell<Vec<String>>,
    refuses: RefCell<Vec<String>>,
    calls: Cell<u32>,
}

impl Consumer for Reader {
    const GROUP: &'static str = "reader";
    const CHANNELS: &'static [&'static str] = CHANNELS;

    async fn handle(&self, event: &Event) -> Result<(), Refusal> {
        self.calls.set(self.calls.get() + 1);
        if self.refuses.borrow().contains(&event.subject) {
            return Err(Refusal::Retryable("refused by the test".into()));
        }
        self.seen
            .borrow_mut()
            .push(format!("{}{}", event.subject, event.version));
        Ok(())
    }
}

fn read(bus: &impl Bus, reader: &Reader, environment: &TestEnvironment) -> Report {
    now(consume(bus, reader, &environment.ports())).unwrap()
}

fn unacknowledged_events_are_redelivered_in_order(bus: &impl Bus) {
    let environment = TestEnvironment::new();
    for version in 1..=5 {
        publish(bus, &environment, "a", version);
    }
    let first = claim(bus, "reader");
    assert_eq!(first.len(), 5);
    let version = |delivery: &Delivery| Event::decode(&delivery.body).unwrap().version;
    assert_eq!(
        first.iter().map(version).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    now(bus.acknowledge("reader", &first[0])).unwrap();
    publish(bus, &environment, "a", 6);
    // The consumer that claimed the events died. They are delivered again, before new ones.
    assert_eq!(
        claim(bus, "reader").iter().map(version).collect::<Vec<_>>(),
        [2, 3, 4, 5, 6]
    );
    assert_eq!(
        now(bus.lag()).unwrap(),
        [Lag {
            group: "reader".into(),
            channel: "order.events".into(),
            unread: 0,
            pending: 5,
            dead: 0
        }]
    );
    assert_eq!(now(bus.channels()).unwrap(), ["order.events"]);
    let history = now(bus.history("order.events", 2)).unwrap();
    assert_eq!(
        history
            .iter()
            .map(|(_, body)| Event::decode(body).unwrap().version)
            .collect::<Vec<_>>(),
        [5, 6]
    );
}

fn one_consumer_of_a_group_works_at_a_time(bus: &impl Bus) {
    let environment = TestEnvironment::new();
    let lock = |owner: &str, at: i64| {
        let at = Timestamp::from_ms(at);
        now(bus.lock("g", owner, at, at.plus_ms(100))).unwrap()
    };
    assert!(lock("one", 0) && lock("one", 50) && !lock("two", 60));
    assert!(lock("two", 151), "a lock that is not renewed expires");
    now(bus.unlock("g", "one")).unwrap();
    assert!(!lock("three", 160), "only the holder releases a lock");
    now(bus.unlock("g", "two")).unwrap();
    assert!(lock("three", 170));
    publish(bus, &environment, "a", 1);
    let reader = Reader::default();
    assert!(
        now(bus.lock(
            "reader",
            "other",
            environment.now(),
            environment.now().plus_ms(1_000)
        ))
        .unwrap()
    );
    assert_eq!(read(bus, &reader, &environment), Report::default());
    environment.advance_ms(1_001);
    assert_eq!(read(bus, &reader, &environment).handled, 1);
}

fn an_invalid_event_becomes_a_dead_letter_and_can_be_replayed(bus: &impl Bus) {
    let environment = TestEnvironment::new();
    let poison = Outgoing {
        channel: "order.events".into(),
        subject: "s7".into(),
        id: "poison".into(),
        body: "{\"specversion\":\"1.0\"}".into(),
    };
    for number in 0..100 {
        if number == 50 {
            now(bus.publish(std::slice::from_ref(&poison), environment.now())).unwrap();
        }
        publish(bus, &environment, &format!("s{}", number % 10), number);
    }
    let reader = Reader::default();
    let report = read(bus, &reader, &environment);
    assert_eq!((report.handled, report.given_up), (100, 1));
    let dead = now(bus.dead()).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (
            dead[0].id.as_str(),
            dead[0].group.as_str(),
            dead[0].reason.as_str()
        ),
        ("poison", "reader", "`id` is missing")
    );
    assert_eq!(now(bus.lag()).unwrap()[0].dead, 1);
    assert!(now(bus.replay(&dead[0], environment.now())).unwrap());
    assert!(
        !now(bus.replay(&dead[0], environment.now())).unwrap(),
        "it is not a dead letter any more"
    );
    assert_eq!(read(bus, &reader, &environment).given_up, 1);
    assert_eq!(now(bus.dead()).unwrap().len(), 1);
}

fn a_failed_event_is_retried_and_only_its_subject_waits(bus: &impl Bus) {
    let environment = TestEnvironment::new();
    for (subject, version) in [("a", 1), ("b", 1), ("a", 2), ("b", 2)] {
        publish(bus, &environment, subject, version);
    }
    let reader = Reader::default();
    reader.refuses.borrow_mut().push("a".into());
    let report = read(bus, &reader, &environment);
    assert_eq!((report.handled, report.postponed), (2, 1));
    assert_eq!(*reader.seen.borrow(), ["b1", "b2"]);
    let calls = reader.calls.get();
    assert_eq!(
        read(bus, &reader, &environment),
        Report::default(),
        "the pause has not passed yet"
    );
    assert_eq!(reader.calls.get(), calls);
    reader.refuses.borrow_mut().clear();
    environment.advance_ms(1_000);
    assert_eq!(read(bus, &reader, &environment).handled, 2);
    assert_eq!(*reader.seen.borrow(), ["b1", "b2", "a1", "a2"]);
    assert_eq!(now(bus.lag()).unwrap()[0].pending, 0);
}

fn an_event_that_keeps_failing_becomes_a_dead_letter(bus: &impl Bus) {
    let environment = TestEnvironment::new();
    publish(bus, &environment, "a", 1);
    publish(bus, &environment, "a", 2);
    let reader = Reader::default();
    reader.refuses.borrow_mut().push("a".into());
    for _ in 0..ATTEMPTS {
        assert_eq!(now(bus.dead()).unwrap().len(), 0);
        read(bus, &reader, &environment);
        environment.advance_ms(100_000);
    }
    let dead = now(bus.dead()).unwrap();
    assert_eq!(
        (dead.len(), dead[0].attempts, dead[0].reason.as_str()),
        (1, ATTEMPTS, "refused by the test")
    );
    reader.refuses.borrow_mut().clear();
    read(bus, &reader, &environment);
    assert_eq!(
        *reader.seen.borrow(),
        ["a2"],
        "later events of the subject are handled"
    );
    assert!(now(bus.replay(&dead[0], environment.now())).unwrap());
    read(bus, &reader, &environment);
    assert_eq!(*reader.seen.borrow(), ["a2", "a1"]);
}

fn an_outbox_is_relayed_exactly_once_in_effect(bus: &impl Bus) {
    let (environment, database) = (TestEnvironment::new(), TestDatabase::new(&[]));
    let write = |subject: &str, version: u64| {
        let event = event(&environment, subject, version);
        let written: Result<(), localmart_guest::sql::SqlError> =
            now(transaction(&database, async |connection| {
                outbox::record(connection, &event, environment.now()).await
            }));
        written.unwrap();
    };
    for version in 1..=250 {
        write("a", version);
        write("b", version);
    }
    // An event that two relays publish at the same time is on the bus once.
    let again = event(&environment, "c", 1);
    for _ in 0..2 {
        now(bus.publish(&[outgoing(&again)], environment.now())).unwrap();
    }
    write("a", 7);
    assert_eq!(
        now(outbox::relay(&database, bus, environment.now())).unwrap(),
        ["order.events"]
    );
    assert!(
        now(outbox::relay(&database, bus, environment.now()))
            .unwrap()
            .is_empty()
    );
    let reader = Reader::default();
    assert_eq!(read(bus, &reader, &environment).handled, 501);
    let of = |subject: char| {
        reader
            .seen
            .borrow()
            .iter()
            .filter(|seen| seen.starts_with(subject))
            .cloned()
            .collect::<Vec<_>>()
    };
    let expected = |subject: char| {
        (1..=250)
            .map(|version| format!("{subject}{version}"))
            .collect::<Vec<_>>()
    };
    assert_eq!((of('a'), of('b')), (expected('a'), expected('b')));
}

fn an_old_event_that_all_groups_have_read_is_trimmed(bus: &impl Bus) {
    let environment = TestEnvironment::new();
    publish(bus, &environment, "a", 1);
    let (reader, far) = (Reader::default(), Timestamp::from_ms(4_000_000_000_000));
    claim(bus, "other");
    assert_eq!(
        now(bus.trim("order.events", far)).unwrap(),
        0,
        "one group has not acknowledged it"
    );
    for delivery in claim(bus, "other") {
        now(bus.acknowledge("other", &delivery)).unwrap();
    }
    read(bus, &reader, &environment);
    publish(bus, &environment, "a", 2);
    assert_eq!(
        now(bus.trim("order.events", Timestamp::from_ms(0))).unwrap(),
        0,
        "the event is not old"
    );
    now(bus.trim("order.events", far)).unwrap();
    assert_eq!(
        read(bus, &reader, &environment).handled,
        1,
        "an unread event is not trimmed"
    );
    assert_eq!(*reader.seen.borrow(), ["a1", "a2"]);
}

/// The age of an event is measured by the clock of the publisher, which tests can move, not by the clock of the server.
fn the_age_of_events_is_measured_by_the_callers_clock(bus: &impl Bus) {
    let (environment, reader) = (TestEnvironment::new(), Reader::default());
    publish(bus, &environment, "a", 1);
    assert_eq!(read(bus, &reader, &environment).handled, 1);
    environment.advance_ms(RETENTION_MS + 1);
    publish(bus, &environment, "a", 2);
    assert_eq!(read(bus, &reader, &environment).handled, 1);
    let kept = || now(bus.history("order.events", 10)).unwrap().len();
    // Reading may have trimmed the channel already.
    now(bus.trim("order.events", environment.now().plus_ms(-RETENTION_MS))).unwrap();
    assert_eq!(
        kept(),
        1,
        "the first event is older than the retention time"
    );
    now(bus.trim("order.events", environment.now())).unwrap();
    assert_eq!(
        kept(),
        1,
        "the second event is not older than the current time"
    );
    // A publisher whose clock is behind can still publish.
    environment.advance_ms(-86_400_000);
    publish(bus, &environment, "a", 3);
    assert_eq!((kept(), read(bus, &reader, &environment).handled), (2, 1));
    assert_eq!(*reader.seen.borrow(), ["a1", "a2", "a3"]);
}

fn every_group_reads_everything(bus: &impl Bus) {
    let environment = TestEnvironment::new();
    publish(bus, &environment, "a", 1);
    assert_eq!((claim(bus, "one").len(), claim(bus, "two").len()), (1, 1));
    assert_eq!(now(bus.lag()).unwrap().len(), 2);
}

/// The short-lived store behaves the same in memory and on a server.
#[test]
fn a_value_is_swapped_only_if_it_is_the_expected_one() {
    fn check(store: &impl ShortLived) {
        let clock = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let (at, end) = (
            Timestamp::from_ms(i64::try_from(clock.as_millis()).unwrap()),
            Timestamp::from_ms(i64::try_from(clock.as_millis()).unwrap() + 60_000),
        );
        let swap = |expected: Option<&[u8]>, value: &[u8]| {
            now(store.swap("k", expected, value, end, at)).unwrap()
        };
        assert!(
            swap(None, b"1")
                && !swap(None, b"2")
                && !swap(Some(b"2"), b"3")
                && swap(Some(b"1"), b"\0\xff")
        );
        assert_eq!(
            now(store.get("k", at)).unwrap().as_deref(),
            Some(&b"\0\xff"[..])
        );
        assert_eq!(now(store.get("k", end)).unwrap(), None);
        assert!(
            now(store.swap("k", None, b"4", end.plus_ms(60_000), end)).unwrap(),
            "an expired value counts as no value"
        );
        now(store.delete("k")).unwrap();
        assert_eq!(now(store.get("k", at)).unwrap(), None);
    }
    check(&MemoryStore::default());
    if let Some(server) = redis() {
        check(&RedisStore(server));
    }
}

#[test]
fn nested_answers_of_a_server_are_flattened() {
    let Some(server) = redis() else { return };
    let send =
        |command: &str, arguments: Vec<Argument>| now(server.send(command, arguments)).unwrap();
    send("RPUSH", vec!["l".into(), "a".into(), Argument::Number(2)]);
    let script = "return {1, {redis.call('LRANGE', 'l', 0, -1), false}, 'x'}";
    let answer = send("EVAL", vec![script.into(), Argument::Number(0)]);
    let bytes = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
    assert_eq!(
        answer,
        [
            Reply::Number(1),
            bytes("a"),
            bytes("2"),
            Reply::Nil,
            bytes("x")
        ]
    );
}
