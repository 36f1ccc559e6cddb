//! `localmart clock`: shows the time of a running shop, and moves its test clock.

use crate::control::Which;
use clap::{Args, Subcommand};
use localmart_guest::kernel::Timestamp;
use localmart_guest::kernel::time::parse_duration_ms;
use localmart_guest::ports::Ports;
use localmart_host::clock::ahead_of;
use localmart_host::control::clock::{Advance, Advanced, ClockStatus};
use std::path::Path;

/// Shows the time of a running shop, and moves its test clock.
#[derive(Args)]
pub(crate) struct ClockVerb {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the time of the shop, and how far its test clock is ahead.
    Show(Show),
    /// Move the test clock forwards, fire every timer once, and wait until their requests have ended.
    Advance(AdvanceBy),
}

#[derive(Args)]
struct Show {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct AdvanceBy {
    /// How far: a whole number and a unit, ms, s, m, h or d, such as 16m.
    #[arg(value_name = "DURATION", value_parser = positive, allow_hyphen_values = true)]
    by_ms: i64,
    /// Move the clock only. Timers fire at their usual intervals.
    #[arg(long)]
    without_timers: bool,
    #[command(flatten)]
    which: Which,
}

fn positive(text: &str) -> Result<i64, String> {
    if text.starts_with('-') {
        return Err(
            "a clock moves only forwards, because the stores must not see time go back".to_owned(),
        );
    }
    parse_duration_ms(text).ok_or_else(|| {
        "expected a whole number and a unit, ms, s, m, h or d: 90s, 16m, 31d".to_owned()
    })
}

impl ClockVerb {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.action {
            Action::Show(show) => {
                let status: ClockStatus = show.which.host()?.get("/clock")?;
                println!("{}", line(&status));
                Ok(())
            }
            Action::Advance(advance) => advance.run(),
        }
    }
}

impl AdvanceBy {
    fn run(self) -> anyhow::Result<()> {
        let request = Advance {
            by_ms: self.by_ms,
            fire: !self.without_timers,
        };
        let advanced: Advanced = self.which.host()?.post("/clock", &request)?;
        println!("{}", line(&advanced.clock));
        for timer in &advanced.fired {
            match &timer.failed {
                None => println!("{}: {} done", timer.component, timer.path),
                // Not an error of this command: the clock has moved, and the timer fires again after its interval.
                Some(why) => eprintln!("{}: {} failed: {why}", timer.component, timer.path),
            }
        }
        Ok(())
    }
}

/// The time of a shop, and which clock it has.
pub(crate) fn line(clock: &ClockStatus) -> String {
    let now = Timestamp::from_ms(i64::try_from(clock.now_ms).unwrap_or(i64::MAX));
    match clock.ahead_ms {
        None => format!("{now} (the clock of this machine)"),
        Some(ahead_ms) => format!("{now} (test clock, {} ahead)", duration(ahead_ms)),
    }
}

/// A duration in the units of `clock advance`, the largest first: `1d 2h 5s`.
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

/// The time of the shop with this state folder, even if it does not run.
pub(crate) fn now(state_dir: &Path) -> anyhow::Result<Timestamp> {
    let ahead_ms = i64::try_from(ahead_of(state_dir)?.as_millis())?;
    Ok(Ports::real().now().plus_ms(ahead_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_positive_whole_number_with_a_unit() {
        assert_eq!(positive("16m"), Ok(960_000));
        assert_eq!(positive("31d"), Ok(2_678_400_000));
        for wrong in ["", "16", "1.5h", "1w", "m"] {
            assert!(positive(wrong).unwrap_err().contains("16m"), "{wrong}");
        }
        let error = positive("-16m").unwrap_err();
        assert!(error.contains("moves only forwards"), "{error}");
    }

    #[test]
    fn a_duration_is_shown_in_the_units_of_the_argument() {
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
