//! `localmart top`: the running shop in the terminal: components, generations, links, rates, latencies, memory.

use crate::control::Which;
use crate::swap::time;
use clap::Args;
use localmart_host::control::client::Host;
use localmart_host::control::status::{ComponentStatus, GenerationStatus, Status};
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Shows what goes on in the running shop, until it is interrupted.
#[derive(Args)]
pub(crate) struct Top {
    /// How often it looks, as 1s.
    #[arg(long, value_parser = time, default_value = "1s")]
    every: Duration,
    /// Look so many times, and end.
    #[arg(long)]
    times: Option<u32>,
    #[command(flatten)]
    which: Which,
}

impl Top {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let host = self.which.host()?;
        let (mut before, mut since) = (look(&host)?, Instant::now());
        let mut left = self.times;
        while left != Some(0) {
            std::thread::sleep(self.every);
            let (now, time) = (look(&host)?, since.elapsed());
            since = Instant::now();
            let mut out = std::io::stdout().lock();
            if out.is_terminal() {
                // Clears the screen, and goes to its beginning.
                write!(out, "\x1b[2J\x1b[H")?;
            }
            write!(out, "{}", drawn(&before, &now, time))?;
            out.flush()?;
            before = now;
            left = left.map(|left| left - 1);
        }
        Ok(())
    }
}

fn look(host: &Host) -> anyhow::Result<Status> {
    host.get("/status")
}

fn drawn(before: &Status, now: &Status, time: Duration) -> String {
    let mut text = format!("{}, process {}", now.application, now.process);
    if let Some(memory) = now.memory {
        // Writing to a String cannot fail.
        let _ = write!(text, ", {} MiB", memory / 1024 / 1024);
    }
    let _ = writeln!(
        text,
        "\n{:<18} {:>4} {:<7} {:>6} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "component",
        "gen",
        "role",
        "share",
        "instances",
        "MiB",
        "calls/s",
        "errors/s",
        "p50 ms",
        "p99 ms"
    );
    for component in &now.components {
        let earlier = before.components.iter().find(|one| one.id == component.id);
        for generation in &component.generations {
            let earlier = earlier.and_then(|earlier| of(earlier, generation.number));
            generation_line(&mut text, &component.id, generation, earlier, time);
        }
    }
    let _ = writeln!(
        text,
        "{:<34} {:<9} {:>9} {:>9} {:>9}",
        "link", "binding", "calls/s", "failed/s", "mean ms"
    );
    for component in &now.components {
        let earlier = before.components.iter().find(|one| one.id == component.id);
        for link in &component.links {
            let same =
                |one: &&localmart_host::control::status::LinkStatus| one.callee == link.callee;
            let earlier = earlier.and_then(|earlier| earlier.links.iter().find(same));
            let (calls, failed, seconds) = earlier.map_or((0, 0, 0.0), |earlier| {
                (earlier.calls, earlier.failed, earlier.seconds)
            });
            let calls = link.calls.saturating_sub(calls);
            let mean = if calls == 0 {
                0.0
            } else {
                (link.seconds - seconds) * 1000.0 / to_float(calls)
            };
            let _ = writeln!(
                text,
                "{:<34} {:<9} {:>9.1} {:>9.1} {mean:>9.3}",
                format!("{} -> {}", component.id, link.callee),
                link.binding,
                rate(calls, time),
                rate(link.failed.saturating_sub(failed), time)
            );
        }
    }
    text
}

fn of(component: &ComponentStatus, number: u64) -> Option<&GenerationStatus> {
    let mut generations = component.generations.iter();
    generations.find(|generation| generation.number == number)
}

fn generation_line(
    text: &mut String,
    component: &str,
    now: &GenerationStatus,
    before: Option<&GenerationStatus>,
    time: Duration,
) {
    let (calls, errors) = before.map_or((0, 0), |one| (one.health.calls, one.health.errors));
    let ms = |us: u64| to_float(us) / 1000.0;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{component:<18} {:>4} {:<7} {:>5}% {:>10} {:>9.1} {:>9.1} {:>9.1} {:>9.2} {:>9.2}",
        now.number,
        now.role,
        now.share / 100,
        now.instances,
        to_float(now.memory.unsigned_abs()) / 1024.0 / 1024.0,
        rate(now.health.calls.saturating_sub(calls), time),
        rate(now.health.errors.saturating_sub(errors), time),
        ms(now.health.p50_us),
        ms(now.health.p99_us)
    );
}

fn rate(count: u64, time: Duration) -> f64 {
    to_float(count) / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn to_float(number: u64) -> f64 {
    number as f64
}
