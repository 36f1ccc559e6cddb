//! What was measured: as a table in Markdown, as JSON, and as a page with charts ([`crate::page`]).

use crate::load::Outcome;
use crate::machine::Machine;
use anyhow::Context as _;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where and when.
    pub(crate) machine: Machine,
    /// How it was measured.
    pub(crate) settings: Settings,
    /// What came out.
    pub(crate) figures: Vec<Figure>,
}

/// How long and how often.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// Seconds that each turn lasts.
    pub(crate) seconds: u64,
    /// Turns of each program; the median counts.
    pub(crate) rounds: usize,
    /// Connections that ask at once, each as soon as it was answered.
    pub(crate) connections: usize,
}

/// What is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// More is better.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Less is better.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Less is better.
    #[serde(rename = "MiB")]
    Mebibytes,
}

/// One figure: the same of several programs.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// What the design asks for, if it does.
    pub(crate) goal: Option<&'static str>,
    pub(crate) of: Vec<Measured>,
}

/// What one program reached.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) program: String,
    /// The median of its turns.
    pub(crate) median: f64,
    /// Every turn, in order.
    pub(crate) turns: Vec<f64>,
    /// The middle answer of the median turn, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    /// The answer that one in a hundred exceeds, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
}

impl Measured {
    /// From turns of load.
    pub(crate) fn load(program: &str, outcomes: &[Outcome]) -> anyhow::Result<Self> {
        let turns = outcomes.iter().map(|outcome| outcome.per_second).collect();
        let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
        sorted.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        let middle = sorted.get(sorted.len() / 2).context("no turn was made")?;
        Ok(Self {
            program: program.to_owned(),
            median: middle.per_second,
            turns,
            p50_ms: Some(ms(middle.p50)),
            p99_ms: Some(ms(middle.p99)),
        })
    }

    /// From plain numbers.
    pub(crate) fn plain(program: &str, turns: Vec<f64>) -> Self {
        let mut sorted = turns.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        Self {
            program: program.to_owned(),
            median,
            turns,
            p50_ms: None,
            p99_ms: None,
        }
    }

    /// Its value with its unit.
    pub(crate) fn shown(&self, unit: Unit) -> String {
        let value = match unit {
            Unit::PerSecond => format!("{:.0}/s", self.median),
            Unit::Milliseconds => format!("{:.1} ms", self.median),
            Unit::Mebibytes => format!("{:.0} MiB", self.median),
        };
        match (self.p50_ms, self.p99_ms) {
            (Some(p50), Some(p99)) => format!("{value}, p50 {p50:.2} ms, p99 {p99:.2} ms"),
            _ => value,
        }
    }
}

impl Figure {
    /// What our host reaches of another program, in percent.
    pub(crate) fn ratio(&self, program: &str) -> Option<f64> {
        let of = |name: &str| self.of.iter().find(|one| one.program == name);
        let (ours, theirs) = (of(OURS)?.median, of(program)?.median);
        (self.unit == Unit::PerSecond && theirs > 0.0).then(|| 100.0 * ours / theirs)
    }
}

/// The programs, by the names in every table.
pub(crate) const OURS: &str = "localmart";
/// axum.
pub(crate) const NATIVE: &str = "native axum";
/// hyper and wasmtime.
pub(crate) const BARE: &str = "bare host";
/// A server that somebody named.
pub(crate) const OTHER: &str = "other server";

impl Report {
    /// The table.
    pub(crate) fn markdown(&self) -> String {
        let Settings {
            seconds,
            rounds,
            connections,
        } = self.settings;
        let mut text = format!(
            "{}; {seconds} s × {rounds} turns, {connections} connections.\n\n",
            self.machine
        );
        let others = self
            .figures
            .iter()
            .any(|figure| figure.of.iter().any(|one| one.program == OTHER));
        let programs = if others {
            vec![OURS, NATIVE, BARE, OTHER]
        } else {
            vec![OURS, NATIVE, BARE]
        };
        text += &format!(
            "| figure | {} | of native | of the ceiling | goal |\n",
            programs.join(" | ")
        );
        text += &format!("|---|{}---|---|---|\n", "---|".repeat(programs.len()));
        for figure in &self.figures {
            let shown = programs.iter().map(|program| {
                let one = figure.of.iter().find(|one| one.program == *program);
                one.map(|one| one.shown(figure.unit)).unwrap_or_default()
            });
            let ratio = |program| {
                figure
                    .ratio(program)
                    .map(|ratio| format!("{ratio:.0} %"))
                    .unwrap_or_default()
            };
            text += &format!(
                "| {} | {} | {} | {} | {} |\n",
                figure.name,
                shown.collect::<Vec<_>>().join(" | "),
                ratio(NATIVE),
                ratio(BARE),
                figure.goal.unwrap_or_default(),
            );
        }
        text
    }

    /// Writes table, JSON and page into a folder, named by day and commit.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let day = self.machine.at.get(..10).unwrap_or_default();
        let name = format!("{day}-{}", self.machine.commit.trim_end_matches('+'));
        let place = |extension: &str| folder.join(format!("{name}.{extension}"));
        std::fs::write(place("json"), serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(place("md"), self.markdown())?;
        std::fs::write(place("html"), crate::page::page(self))?;
        println!("\nwritten: {}, .json and .html", place("md").display());
        Ok(())
    }
}

/// In milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
