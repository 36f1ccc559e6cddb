//! `localmart events`: shows the event bus of a shop, running or stopped: events, consumers that lag behind, dead letters.

use crate::bus::OpenBus;
use crate::clock;
use crate::shop::ShopOptions;
use anyhow::bail;
use clap::{Args, Subcommand};
use localmart_guest::events::Event;
use localmart_guest::events::bus::{DeadLetter, Outgoing};
use localmart_guest::kernel::Timestamp;
use std::time::Duration;

/// How often `tail` reads the bus.
const LOOK: Duration = Duration::from_millis(500);
/// How many events of a channel `tail` reads at most each time.
const LOOK_EVENTS: u32 = 1_000;

/// Shows the event bus.
#[derive(Args)]
pub(crate) struct Events {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the newest events of one channel or of all channels.
    List(List),
    /// Show events as they are published, until interrupted.
    Tail(Tail),
    /// Show the events that consumers have given up, and why.
    Dead(Dead),
    /// Deliver dead letters to their consumers again.
    Replay(Replay),
    /// Show how many events each consumer has not read yet.
    Lag(Dead),
    /// Publish a body without any check, for tests.
    #[command(hide = true)]
    Publish(Publish),
}

#[derive(Args)]
struct List {
    /// The channel, for example order.events. Default: all channels.
    channel: Option<String>,
    /// How many events of each channel.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Print whole events, one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    shop: ShopOptions,
}

#[derive(Args)]
struct Tail {
    /// The channel, for example order.events. Default: all channels.
    channel: Option<String>,
    /// Print whole events, one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    shop: ShopOptions,
}

#[derive(Args)]
struct Dead {
    #[command(flatten)]
    shop: ShopOptions,
}

#[derive(Args)]
struct Replay {
    /// The id of the event, as localmart events dead shows it.
    #[arg(required_unless_present = "all")]
    id: Option<String>,
    /// Replay all dead letters.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Only the dead letters of this consumer.
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    shop: ShopOptions,
}

#[derive(Args)]
struct Publish {
    channel: String,
    body: String,
    #[command(flatten)]
    shop: ShopOptions,
}

impl Events {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::List(list) => list.run(),
            Verb::Tail(tail) => tail.run(),
            Verb::Dead(dead) => show_dead(&open(&dead.shop)?.0.dead()?),
            Verb::Replay(replay) => replay.run(),
            Verb::Lag(lag) => show_lag(&open(&lag.shop)?.0),
            Verb::Publish(publish) => publish.run(),
        }
    }
}

impl Publish {
    fn run(self) -> anyhow::Result<()> {
        let (bus, now) = open(&self.shop)?;
        let event = Outgoing {
            channel: self.channel,
            subject: "by hand".to_owned(),
            id: format!("by-hand-{}", now.ms()),
            body: self.body,
        };
        bus.publish(event, now)
    }
}

/// The bus of a shop, and the time of its clock.
fn open(options: &ShopOptions) -> anyhow::Result<(OpenBus, Timestamp)> {
    let shop = options.find()?;
    let bus = OpenBus::open(&shop.stores()?, &shop.state_dir)?;
    Ok((bus, clock::now(&shop.state_dir)?))
}

fn channels(bus: &OpenBus, wanted: Option<&String>) -> anyhow::Result<Vec<String>> {
    match wanted {
        Some(channel) => Ok(vec![channel.clone()]),
        None => bus.channels(),
    }
}

fn show(channel: &str, body: &str, json: bool) {
    match Event::decode(body) {
        _ if json => println!("{body}"),
        Ok(event) => println!(
            "{}  {:<20} {}  {}",
            event.time, event.kind, event.subject, event.id
        ),
        Err(reason) => println!("{channel}: an event that cannot be read: {reason}"),
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let (bus, _) = open(&self.shop)?;
        for channel in channels(&bus, self.channel.as_ref())? {
            for (_, body) in bus.history(&channel, self.limit)? {
                show(&channel, &body, self.json);
            }
        }
        Ok(())
    }
}

impl Tail {
    fn run(self) -> anyhow::Result<()> {
        let (bus, _) = open(&self.shop)?;
        let mut last: std::collections::BTreeMap<String, String> =
            std::collections::BTreeMap::new();
        for channel in channels(&bus, self.channel.as_ref())? {
            if let Some((place, _)) = bus.history(&channel, 1)?.pop() {
                last.insert(channel, place);
            }
        }
        loop {
            for channel in channels(&bus, self.channel.as_ref())? {
                let events = bus.history(&channel, LOOK_EVENTS)?;
                let known = last.get(&channel);
                let fresh = events
                    .iter()
                    .position(|(place, _)| Some(place) == known)
                    .map_or(0, |at| at + 1);
                for (place, body) in events.get(fresh..).unwrap_or_default() {
                    show(&channel, body, self.json);
                    last.insert(channel.clone(), place.clone());
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Replay {
    fn run(self) -> anyhow::Result<()> {
        let (bus, now) = open(&self.shop)?;
        let wanted = |letter: &&DeadLetter| {
            self.id.as_ref().is_none_or(|id| *id == letter.id)
                && self
                    .group
                    .as_ref()
                    .is_none_or(|group| *group == letter.group)
        };
        let letters = bus.dead()?;
        let mut replayed = 0;
        for letter in letters.iter().filter(wanted) {
            replayed += u32::from(bus.replay(letter, now)?);
        }
        if let Some(id) = self.id.filter(|_| replayed == 0) {
            bail!("there is no dead letter {id}; see localmart events dead");
        }
        println!("{replayed} replayed; a running shop delivers them within seconds");
        Ok(())
    }
}

fn show_dead(letters: &[DeadLetter]) -> anyhow::Result<()> {
    if letters.is_empty() {
        println!("no dead letters");
    }
    for letter in letters {
        println!(
            "{}  {} gave up {} of {} after {} attempts: {}",
            letter.died_at, letter.group, letter.id, letter.channel, letter.attempts, letter.reason
        );
    }
    Ok(())
}

fn show_lag(bus: &OpenBus) -> anyhow::Result<()> {
    println!(
        "{:<20} {:<20} {:>8} {:>8} {:>8}",
        "CONSUMER", "CHANNEL", "UNREAD", "PENDING", "DEAD"
    );
    for lag in bus.lag()? {
        println!(
            "{:<20} {:<20} {:>8} {:>8} {:>8}",
            lag.group, lag.channel, lag.unread, lag.pending, lag.dead
        );
    }
    Ok(())
}

/// The metrics of the bus, in the Prometheus text format.
pub(crate) fn metrics(bus: &OpenBus) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let lags = bus.lag()?;
    let mut out = String::new();
    for (name, help, number) in [
        ("unread_events", "Events that a consumer has not read.", 0),
        (
            "pending_events",
            "Events that a consumer has read and not acknowledged.",
            1,
        ),
        ("dead_letters", "Events that a consumer has given up.", 2),
    ] {
        writeln!(
            out,
            "# HELP localmart_bus_{name} {help}\n# TYPE localmart_bus_{name} gauge"
        )?;
        for lag in &lags {
            let value = [lag.unread, lag.pending, lag.dead]
                .get(number)
                .copied()
                .unwrap_or_default();
            writeln!(
                out,
                "localmart_bus_{name}{{consumer=\"{}\",channel=\"{}\"}} {value}",
                lag.group, lag.channel
            )?;
        }
    }
    Ok(out)
}
