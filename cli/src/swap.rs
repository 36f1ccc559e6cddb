//! `localmart swap`: replaces a component of a running shop with another file.

use crate::contract;
use crate::control::{Facts, Which, short};
use anyhow::{Context as _, bail};
use clap::Args;
use localmart_host::control::client::Host;
use localmart_host::limits;
use localmart_host::limits::FULL_SHARE;
use localmart_host::serve::swap::{Phase, RollbackLimits, SwapReport, SwapRequest};
use std::path::PathBuf;
use std::time::Duration;

/// How often the shop is asked for the outcome.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Replaces a component of the running shop: runs the contract tests of its interface on the new file, checks, compiles and warms the
/// file, then gives it the calls. If the new file traps, fails or is too slow, the shop rolls back on its own.
#[derive(Args)]
pub(crate) struct Swap {
    /// The component to replace.
    component: String,
    /// The new file.
    file: PathBuf,
    /// Give the new file only this share of the calls on trial, for example 5%. All calls of one trace go the same way.
    #[arg(long, value_name = "PART", value_parser = part)]
    canary: Option<u32>,
    /// Give the new file only requests with this header on trial, for example x-canary=1, and the calls that follow from them.
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::app::pair)]
    header: Option<(String, String)>,
    /// Give the new file copies of calls that only read. Its answers are compared and discarded.
    #[arg(long)]
    shadow: bool,
    /// Wait this long for the outcome, for example 30s; a new file on trial that passes then gets all calls. Without this flag the verb returns at once, and the shop watches for 30s.
    #[arg(long, value_name = "TIME", value_parser = time)]
    watch: Option<Duration>,
    /// The share of its calls that may fail.
    #[arg(long, value_name = "PART", value_parser = part, default_value = "1%")]
    max_error_rate: u32,
    /// How many times the old 99th percentile of its latency may be.
    #[arg(long, value_name = "RATIO", default_value_t = limits::WATCH_P99_RATIO)]
    max_p99_ratio: f64,
    /// Do not run the contract tests of the interface first.
    #[arg(long)]
    no_test: bool,
    #[command(flatten)]
    which: Which,
}

impl Swap {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let host = self.which.host()?;
        let file = self.file.canonicalize();
        let file = file.with_context(|| format!("there is no {}", self.file.display()))?;
        if !(self.max_p99_ratio.is_finite() && self.max_p99_ratio >= 1.0) {
            bail!(
                "--max-p99-ratio is {}; it must be 1 or more",
                self.max_p99_ratio
            );
        }
        if !self.no_test {
            let facts: Facts = host.get("/about")?;
            contract::keeps(&facts, &self.component, &file)
                .context("not swapped; swap --no-test leaves out the contract tests")?;
        }
        let request = SwapRequest {
            component: self.component.clone(),
            file,
            share: self.canary,
            header: self.header.clone(),
            shadow: self.shadow,
            limits: RollbackLimits {
                watch: self.watch.unwrap_or(limits::WATCH_TIME),
                max_error_rate: f64::from(self.max_error_rate) / f64::from(FULL_SHARE),
                max_p99_ratio: self.max_p99_ratio,
            },
            promote: self.watch.is_some() && !self.shadow,
        };
        let report: SwapReport = host.post("/swap", &request)?;
        print(&report);
        match self.watch {
            None => {
                println!(
                    "the shop watches it for {} s; see localmart status",
                    limits::WATCH_TIME.as_secs()
                );
                Ok(())
            }
            Some(time) => {
                println!("watching it for {time:?}");
                outcome(&host, &self.component)
            }
        }
    }
}

fn print(report: &SwapReport) {
    for (component, old, new) in &report.replaced {
        let way = if report.on_trial {
            "on trial beside"
        } else {
            "in place of"
        };
        let digest = short(&report.digest);
        println!(
            "{component}: generation {new} {way} {old} ({} {digest})",
            report.component
        );
    }
    let stages = report.stages.iter();
    let stages =
        stages.map(|(stage, us)| format!("{stage} {}.{:01} ms", us / 1000, us % 1000 / 100));
    println!("{}", stages.collect::<Vec<_>>().join(", "));
}

/// Waits for the outcome of the swap.
fn outcome(host: &Host, component: &str) -> anyhow::Result<()> {
    loop {
        let report: Option<SwapReport> = host.get(&format!("/swap/{component}"))?;
        match report.map(|report| report.phase) {
            Some(Phase::Watched) => std::thread::sleep(ASK_EVERY),
            Some(Phase::Kept) => {
                println!("{component}: kept");
                return Ok(());
            }
            Some(Phase::Passed) => {
                println!(
                    "{component}: passed, still on trial; next: localmart promote {component} or localmart rollback {component}"
                );
                return Ok(());
            }
            Some(Phase::RolledBack { why }) => bail!("{component} was rolled back: {why}"),
            Some(Phase::Superseded) => {
                bail!("another swap replaced this one before its outcome was known")
            }
            None => bail!("the shop has not swapped {component} since it started"),
        }
    }
}

/// Parses a percentage such as `5%` or `0.5%`, in units of [`FULL_SHARE`].
pub(crate) fn part(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a percentage like 5%");
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, hundredths) = number.split_once('.').unwrap_or((number, ""));
    let digits = hundredths.len() <= 2 && !whole.is_empty() && hundredths != ".";
    let parsed: u32 = format!("{whole}{hundredths:0<2}")
        .parse()
        .map_err(|_| wrong())?;
    (digits && parsed <= FULL_SHARE)
        .then_some(parsed)
        .ok_or_else(wrong)
}

/// Parses a duration such as `30s`, `500ms` or `2m`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    localmart_host::app::parse_duration(text)
        .ok_or_else(|| format!("`{text}` is not a duration like 30s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_percentages() {
        for (text, parts) in [
            ("5%", Some(500)),
            ("0.5%", Some(50)),
            ("100%", Some(10_000)),
            ("0.05%", Some(5)),
            ("101%", None),
            ("5", None),
            ("-5%", None),
            ("0.001%", None),
            ("%", None),
        ] {
            assert_eq!(part(text).ok(), parts, "{text}");
        }
    }
}
