//! The bus and the loop of a consumer: the same bodies on SQL (SQLite and Postgres at once) and on Redis Streams.

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
use localmart_testkit::{MemoryStore, TestDatabase, TestWorld, now, servers};
use std::cell::{Cell, RefCell};

fn redis() -> Option<RedisServer> {
    servers::redis_database().map(|address| RedisServer::open(&address).unwrap())
}

/// Runs a body on every backend.
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
    events_come_in_order_until_they_are_acknowledged,
    one_consumer_of_a_group_works_at_a_time,
    a_poisoned_event_is_set_aside_and_can_be_replayed,
    what_fails_is_tried_again_later_and_only_its_subject_waits,
    what_keeps_failing_is_given_up,
    an_outbox_is_carried_once_in_effect,
    what_was_read_by_all_is_trimmed_when_it_is_old,
    events_are_as_old_as_the_callers_clock_says,
    every_group_reads_everything,
    history_is_whole_however_long,
}

fn event(world: &TestWorld, subject: &str, version: u64) -> Event {
    Event::new(
        &world.ports().new_id(),
        "order.paid",
        "order",
        subject,
        version,
        world.now(),
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

fn publish(bus: &impl Bus, world: &TestWorld, subject: &str, version: u64) -> Event {
    let event = event(world, subject, version);
    now(bus.publish(&[outgoing(&event)], world.now())).unwrap();
    event
}

fn history_is_whole_however_long(bus: &impl Bus) {
    let world = TestWorld::new();
    let events: Vec<Event> = (0..1_203)
        .map(|number| event(&world, "o", number))
        .collect();
    for some in events.chunks(100) {
        let some: Vec<Outgoing> = some.iter().map(outgoing).collect();
        now(bus.publish(&some, world.now())).unwrap();
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

/// Writes down what it saw; refuses what it is told to.
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
            return Err(Refusal::Retryable("told to".into()));
        }
        self.seen
            .borrow_mut()
            .push(format!("{}{}", event.subject, event.version));
        Ok(())
    }
}

fn read(bus: &impl Bus, reader: &Reader, world: &TestWorld) -> Report {
    now(consume(bus, reader, &world.ports())).unwrap()
}

fn events_come_in_order_until_they_are_acknowledged(bus: &impl Bus) {
    let world = TestWorld::new();
    for version in 1..=5 {
        publish(bus, &world, "a", version);
    }
    let first = claim(bus, "reader");
    assert_eq!(first.len(), 5);
    let version = |delivery: &Delivery| Event::decode(&delivery.body).unwrap().version;
    assert_eq!(
        first.iter().map(version).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    now(bus.acknowledge("reader", &first[0])).unwrap();
    publish(bus, &world, "a", 6);
    // Whoever claimed them died: they come again, before what is new.
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
    let world = TestWorld::new();
    let lock = |owner: &str, at: i64| {
        let at = Timestamp::from_ms(at);
        now(bus.lock("g", owner, at, at.plus_ms(100))).unwrap()
    };
    assert!(lock("one", 0) && lock("one", 50) && !lock("two", 60));
    assert!(lock("two", 151), "a silent consumer loses its place");
    now(bus.unlock("g", "one")).unwrap();
    assert!(
        !lock("three", 160),
        "a place that was lost cannot be given back"
    );
    now(bus.unlock("g", "two")).unwrap();
    assert!(lock("three", 170));
    publish(bus, &world, "a", 1);
    let reader = Reader::default();
    assert!(now(bus.lock("reader", "other", world.now(), world.now().plus_ms(1_000))).unwrap());
    assert_eq!(read(bus, &reader, &world), Report::default());
    world.advance_ms(1_001);
    assert_eq!(read(bus, &reader, &world).handled, 1);
}

fn a_poisoned_event_is_set_aside_and_can_be_replayed(bus: &impl Bus) {
    let world = TestWorld::new();
    let poison = Outgoing {
        channel: "order.events".into(),
        subject: "s7".into(),
        id: "poison".into(),
        body: "{\"specversion\":\"1.0\"}".into(),
    };
    for number in 0..100 {
        if number == 50 {
            now(bus.publish(std::slice::from_ref(&poison), world.now())).unwrap();
        }
        publish(bus, &world, &format!("s{}", number % 10), number);
    }
    let reader = Reader::default();
    let report = read(bus, &reader, &world);
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
    assert!(now(bus.replay(&dead[0], world.now())).unwrap());
    assert!(
        !now(bus.replay(&dead[0], world.now())).unwrap(),
        "it is no dead letter any more"
    );
    assert_eq!(read(bus, &reader, &world).given_up, 1);
    assert_eq!(now(bus.dead()).unwrap().len(), 1);
}

fn what_fails_is_tried_again_later_and_only_its_subject_waits(bus: &impl Bus) {
    let world = TestWorld::new();
    for (subject, version) in [("a", 1), ("b", 1), ("a", 2), ("b", 2)] {
        publish(bus, &world, subject, version);
    }
    let reader = Reader::default();
    reader.refuses.borrow_mut().push("a".into());
    let report = read(bus, &reader, &world);
    assert_eq!((report.handled, report.postponed), (2, 1));
    assert_eq!(*reader.seen.borrow(), ["b1", "b2"]);
    let calls = reader.calls.get();
    assert_eq!(
        read(bus, &reader, &world),
        Report::default(),
        "it is not its time yet"
    );
    assert_eq!(reader.calls.get(), calls);
    reader.refuses.borrow_mut().clear();
    world.advance_ms(1_000);
    assert_eq!(read(bus, &reader, &world).handled, 2);
    assert_eq!(*reader.seen.borrow(), ["b1", "b2", "a1", "a2"]);
    assert_eq!(now(bus.lag()).unwrap()[0].pending, 0);
}

fn what_keeps_failing_is_given_up(bus: &impl Bus) {
    let world = TestWorld::new();
    publish(bus, &world, "a", 1);
    publish(bus, &world, "a", 2);
    let reader = Reader::default();
    reader.refuses.borrow_mut().push("a".into());
    for _ in 0..ATTEMPTS {
        assert_eq!(now(bus.dead()).unwrap().len(), 0);
        read(bus, &reader, &world);
        world.advance_ms(100_000);
    }
    let dead = now(bus.dead()).unwrap();
    assert_eq!(
        (dead.len(), dead[0].attempts, dead[0].reason.as_str()),
        (1, ATTEMPTS, "told to")
    );
    reader.refuses.borrow_mut().clear();
    read(bus, &reader, &world);
    assert_eq!(
        *reader.seen.borrow(),
        ["a2"],
        "the subject goes on without it"
    );
    assert!(now(bus.replay(&dead[0], world.now())).unwrap());
    read(bus, &reader, &world);
    assert_eq!(*reader.seen.borrow(), ["a2", "a1"]);
}

fn an_outbox_is_carried_once_in_effect(bus: &impl Bus) {
    let (world, database) = (TestWorld::new(), TestDatabase::new(&[]));
    let write = |subject: &str, version: u64| {
        let event = event(&world, subject, version);
        let written: Result<(), localmart_guest::sql::SqlError> =
            now(transaction(&database, async |connection| {
                outbox::record(connection, &event, world.now()).await
            }));
        written.unwrap();
    };
    for version in 1..=250 {
        write("a", version);
        write("b", version);
    }
    // Carried twice, as by two relays at once, it is on the bus once.
    let again = event(&world, "c", 1);
    for _ in 0..2 {
        now(bus.publish(&[outgoing(&again)], world.now())).unwrap();
    }
    write("a", 7);
    assert_eq!(
        now(outbox::relay(&database, bus, world.now())).unwrap(),
        ["order.events"]
    );
    assert!(
        now(outbox::relay(&database, bus, world.now()))
            .unwrap()
            .is_empty()
    );
    let reader = Reader::default();
    assert_eq!(read(bus, &reader, &world).handled, 501);
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

fn what_was_read_by_all_is_trimmed_when_it_is_old(bus: &impl Bus) {
    let world = TestWorld::new();
    publish(bus, &world, "a", 1);
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
    read(bus, &reader, &world);
    publish(bus, &world, "a", 2);
    assert_eq!(
        now(bus.trim("order.events", Timestamp::from_ms(0))).unwrap(),
        0,
        "it is not old"
    );
    now(bus.trim("order.events", far)).unwrap();
    assert_eq!(
        read(bus, &reader, &world).handled,
        1,
        "what nobody has read stays"
    );
    assert_eq!(*reader.seen.borrow(), ["a1", "a2"]);
}

/// A test may move the clock of those who publish, and never moves that of a server.
fn events_are_as_old_as_the_callers_clock_says(bus: &impl Bus) {
    let (world, reader) = (TestWorld::new(), Reader::default());
    publish(bus, &world, "a", 1);
    assert_eq!(read(bus, &reader, &world).handled, 1);
    world.advance_ms(RETENTION_MS + 1);
    publish(bus, &world, "a", 2);
    assert_eq!(read(bus, &reader, &world).handled, 1);
    let kept = || now(bus.history("order.events", 10)).unwrap().len();
    // Reading may have done it already.
    now(bus.trim("order.events", world.now().plus_ms(-RETENTION_MS))).unwrap();
    assert_eq!(kept(), 1, "the first is older than events are kept");
    now(bus.trim("order.events", world.now())).unwrap();
    assert_eq!(kept(), 1, "the second is not older than this moment");
    // Somebody whose clock is behind is not turned away.
    world.advance_ms(-86_400_000);
    publish(bus, &world, "a", 3);
    assert_eq!((kept(), read(bus, &reader, &world).handled), (2, 1));
    assert_eq!(*reader.seen.borrow(), ["a1", "a2", "a3"]);
}

fn every_group_reads_everything(bus: &impl Bus) {
    let world = TestWorld::new();
    publish(bus, &world, "a", 1);
    assert_eq!((claim(bus, "one").len(), claim(bus, "two").len()), (1, 1));
    assert_eq!(now(bus.lag()).unwrap().len(), 2);
}

/// The short-lived store behaves the same in memory and on a server.
#[test]
fn values_are_swapped_only_against_what_was_read() {
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
            "what has expired counts as nothing"
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
fn nested_answers_of_a_server_come_flat() {
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
