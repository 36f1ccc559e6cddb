//! `localmart events`: looks into the bus, running shop or not: what happened, who is behind, what was given up.

use crate::app::{AppOptions, Stores};
use crate::bus::OpenBus;
use crate::clock;
use anyhow::bail;
use clap::{Args, Subcommand};
use localmart_guest::events::Event;
use localmart_guest::events::bus::{DeadLetter, Outgoing};
use localmart_guest::kernel::Timestamp;
use std::time::Duration;

/// How often a followed bus is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How many events one look of a follower sees.
const LOOK_EVENTS: u32 = 1_000;

/// Looks into the bus.
#[derive(Args)]
pub(crate) struct Events {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the newest events of a channel, or of all.
    List(List),
    /// Show events as they come.
    Tail(Tail),
    /// Show what consumers have given up, and why.
    Dead(Dead),
    /// Hand dead letters to their consumers once more.
    Replay(Replay),
    /// Show how far every consumer is behind.
    Lag(Dead),
    /// Publish a body as it is, for tests.
    #[command(hide = true)]
    Publish(Publish),
}

#[derive(Args)]
struct List {
    /// As order.events; all if absent.
    channel: Option<String>,
    /// How many of each channel.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Whole events, one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOptions,
}

#[derive(Args)]
struct Tail {
    /// As order.events; all if absent.
    channel: Option<String>,
    /// Whole events, one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOptions,
}

#[derive(Args)]
struct Dead {
    #[command(flatten)]
    app: AppOptions,
}

#[derive(Args)]
struct Replay {
    /// The id of an event; see localmart events dead.
    #[arg(required_unless_present = "all")]
    id: Option<String>,
    /// All dead letters.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Only those of this consumer.
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    app: AppOptions,
}

#[derive(Args)]
struct Publish {
    channel: String,
    body: String,
    #[command(flatten)]
    app: AppOptions,
}

impl Events {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::List(list) => list.run(),
            Verb::Tail(tail) => tail.run(),
            Verb::Dead(dead) => show_dead(&open(&dead.app)?.dead()?),
            Verb::Replay(replay) => replay.run(),
            Verb::Lag(lag) => show_lag(&open(&lag.app)?),
            Verb::Publish(publish) => publish.run(),
        }
    }
}

impl Publish {
    fn run(self) -> anyhow::Result<()> {
        let now = now(&self.app)?;
        let event = Outgoing {
            channel: self.channel,
            subject: "by hand".to_owned(),
            id: format!("by-hand-{}", now.ms()),
            body: self.body,
        };
        open(&self.app)?.publish(event, now)
    }
}

fn open(options: &AppOptions) -> anyhow::Result<OpenBus> {
    let app = options.app(Vec::new(), Vec::new())?;
    OpenBus::open(&Stores::of(&app), &options.state_dir(&app.source))
}

/// The time of the shop whose bus this is.
fn now(options: &AppOptions) -> anyhow::Result<Timestamp> {
    clock::now(&options.state_dir(&options.source()?))
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
        let bus = open(&self.app)?;
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
        let bus = open(&self.app)?;
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
        let (bus, now) = (open(&self.app)?, now(&self.app)?);
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
        println!("{replayed} replayed; their consumers read them within seconds if the shop runs");
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

/// The numbers of the bus at `/metrics`, in the Prometheus text format.
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
