//! `localmart clock`: shows the time of a running shop, and moves it forwards where a test clock runs.

use crate::control::Which;
use clap::{Args, Subcommand};
use localmart_guest::kernel::Timestamp;
use localmart_guest::kernel::time::parse_duration_ms;
use localmart_guest::ports::Ports;
use localmart_host::clock::ahead_of;
use localmart_host::control::clock::{Advance, Advanced, ClockStatus};
use std::path::Path;

/// Shows the time of a running shop, and moves it.
#[derive(Args)]
pub(crate) struct ClockVerb {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Show the time of the shop, and how far its test clock is ahead.
    Show(Show),
    /// Move the test clock forwards. Every timer then has its turn at once.
    Advance(AdvanceBy),
}

#[derive(Args)]
struct Show {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct AdvanceBy {
    /// By how much: a whole number and ms, s, m, h or d, as 16m.
    #[arg(value_name = "DURATION", value_parser = forwards, allow_hyphen_values = true)]
    by_ms: i64,
    /// Only move the clock. Timers have their turn when it comes.
    #[arg(long)]
    without_timers: bool,
    #[command(flatten)]
    which: Which,
}

fn forwards(text: &str) -> Result<i64, String> {
    if text.starts_with('-') {
        return Err("a clock only moves forwards, so that no store sees time go back".to_owned());
    }
    parse_duration_ms(text).ok_or_else(|| {
        "expected a whole number and a unit, ms, s, m, h or d: 90s, 16m, 31d".to_owned()
    })
}

impl ClockVerb {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.act {
            Act::Show(show) => {
                let status: ClockStatus = show.which.host()?.get("/clock")?;
                println!("{}", line(&status));
                Ok(())
            }
            Act::Advance(advance) => advance.run(),
        }
    }
}

impl AdvanceBy {
    fn run(self) -> anyhow::Result<()> {
        let asked = Advance {
            by_ms: self.by_ms,
            fire: !self.without_timers,
        };
        let advanced: Advanced = self.which.host()?.post("/clock", &asked)?;
        println!("{}", line(&advanced.clock));
        for timer in &advanced.fired {
            match &timer.failed {
                None => println!("{}: {} done", timer.component, timer.path),
                // The clock has moved all the same, and the timer asks again when its turn comes.
                Some(why) => eprintln!("{}: {} failed: {why}", timer.component, timer.path),
            }
        }
        Ok(())
    }
}

/// The time of a shop in words.
pub(crate) fn line(clock: &ClockStatus) -> String {
    let now = Timestamp::from_ms(i64::try_from(clock.now_ms).unwrap_or(i64::MAX));
    match clock.ahead_ms {
        None => format!("{now}, the machine's clock"),
        Some(ahead_ms) => format!("{now}, a test clock, {} ahead", duration(ahead_ms)),
    }
}

/// A duration in the units that `clock advance` takes, the largest first: `1d 2h 5s`.
fn duration(ms: u64) -> String {
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let (mut left, mut parts) = (ms, Vec::new());
    for (unit, size) in units {
        let (count, rest) = (left / size, left % size);
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
        left = rest;
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

/// The time of the shop with this state folder, running or not.
pub(crate) fn now(state_dir: &Path) -> anyhow::Result<Timestamp> {
    let ahead_ms = i64::try_from(ahead_of(state_dir)?.as_millis())?;
    Ok(Ports::real().now().plus_ms(ahead_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit_and_never_backwards() {
        assert_eq!(forwards("16m"), Ok(960_000));
        assert_eq!(forwards("31d"), Ok(2_678_400_000));
        for wrong in ["", "16", "1.5h", "1w", "m"] {
            assert!(forwards(wrong).unwrap_err().contains("16m"), "{wrong}");
        }
        assert!(
            forwards("-16m")
                .unwrap_err()
                .contains("only moves forwards")
        );
    }

    #[test]
    fn durations_are_shown_in_the_units_that_they_are_given_in() {
        for (ms, text) in [
            (0, "0s"),
            (960_000, "16m"),
            (93_605_007, "1d 2h 5s 7ms"),
            (999, "999ms"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
