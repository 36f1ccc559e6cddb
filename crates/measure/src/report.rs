//! The report of a run: as Markdown tables, as JSON, and as a page with charts ([`crate::page`]).

use crate::load::Outcome;
use crate::machine::Machine;
use crate::spread::Spread;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// A report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The title.
    pub title: String,
    /// How the figures were measured, in one sentence.
    pub how: String,
    /// The machine and the time of the run.
    pub machine: Machine,
    /// The program under test. Ratios compare this program with the [`Report::references`].
    pub subject: String,
    /// The programs that the subject is compared with, each with the heading of its column of ratios.
    pub references: Vec<(String, String)>,
    /// The figures, grouped by kind.
    pub groups: Vec<Group>,
    /// The figures that could not be measured, with the reason.
    pub left_out: Vec<String>,
}

/// A group of figures of one kind.
#[derive(Debug, Serialize)]
pub struct Group {
    /// The name of the kind.
    pub name: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Higher is better.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Lower is better.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Lower is better.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Lower is better.
    #[serde(rename = "MiB")]
    Mebibytes,
}

/// One figure, measured for several programs.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The unit.
    pub unit: Unit,
    /// The target value, if there is one.
    pub goal: Option<String>,
    /// The value of each program.
    pub of: Vec<Measured>,
    /// The ratios of the subject to each reference that was measured.
    pub ratios: Vec<Ratio>,
}

impl Figure {
    /// A figure without a goal; [`Report::add`] computes its ratios.
    pub fn new(name: &str, unit: Unit, of: Vec<Measured>) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            goal: None,
            of,
            ratios: Vec::new(),
        }
    }
}

/// The ratio of the subject to a reference.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// The name of the reference.
    pub to: String,
    /// The rounds of the subject divided by those of the reference.
    #[serde(flatten)]
    pub ratio: Spread,
}

/// The measured value of one program.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The name of the program.
    pub program: String,
    /// The value over all rounds.
    #[serde(flatten)]
    pub value: Spread,
    /// The median time of an answer, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<Spread>,
    /// The 99th percentile of the times of answers, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<Spread>,
    /// The stages that add up to the value, in order and in the same unit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<(String, Spread)>,
}

impl Measured {
    /// From rounds of the load generator.
    pub fn load(program: &str, outcomes: &[Outcome]) -> Self {
        let spread = |of: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(of).collect());
        Self {
            p50_ms: Some(spread(|outcome| ms(outcome.p50))),
            p99_ms: Some(spread(|outcome| ms(outcome.p99))),
            ..Self::plain(program, outcomes.iter().map(|one| one.per_second).collect())
        }
    }

    /// From one number per round.
    pub fn plain(program: &str, rounds: Vec<f64>) -> Self {
        Self {
            program: program.to_owned(),
            value: Spread::of(rounds),
            p50_ms: None,
            p99_ms: None,
            stages: Vec::new(),
        }
    }

    /// From rounds with stages. Every round has all stages, in the same order.
    pub fn staged(program: &str, names: &[&str], rounds: &[Vec<f64>]) -> Self {
        let stage = |(place, name): (usize, &&str)| {
            let rounds = rounds.iter().filter_map(|round| round.get(place).copied());
            ((*name).to_owned(), Spread::of(rounds.collect()))
        };
        let sums = rounds.iter().map(|round| round.iter().sum()).collect();
        Self {
            stages: names.iter().enumerate().map(stage).collect(),
            ..Self::plain(program, sums)
        }
    }

    /// The value with its unit and its confidence interval.
    pub fn shown(&self, unit: Unit) -> String {
        let value = with_interval(&self.value, unit);
        match (&self.p50_ms, &self.p99_ms) {
            (Some(p50), Some(p99)) => format!(
                "{value}, p50 {}, p99 {}",
                with_interval(p50, Unit::Milliseconds),
                with_interval(p99, Unit::Milliseconds)
            ),
            _ => value,
        }
    }
}

/// A mean with its unit and its confidence interval.
fn with_interval(spread: &Spread, unit: Unit) -> String {
    let mean = unit.shown(spread.mean);
    if spread.rounds.len() < 2 {
        return mean;
    }
    let half = unit.shown(spread.high - spread.mean);
    format!("{mean} ± {half}")
}

impl Unit {
    /// Formats a value in this unit.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::PerSecond if value < 10.0 => format!("{value:.1}/s"),
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Nanoseconds if value < 1000.0 => format!("{value:.0} ns"),
            Self::Nanoseconds => format!("{:.1} µs", value / 1000.0),
            Self::Mebibytes => format!("{value:.0} MiB"),
        }
    }
}

impl Report {
    /// Adds a figure to a group and computes its ratios.
    pub fn add(&mut self, group: &str, mut figure: Figure) -> &Figure {
        let of = |name: &str| figure.of.iter().find(|one| one.program == name);
        let ratio = |(program, _): &(String, String)| {
            let ratio = of(&self.subject)?.value.ratio(&of(program)?.value)?;
            let to = program.clone();
            Some(Ratio { to, ratio })
        };
        figure.ratios = self.references.iter().filter_map(ratio).collect();
        let place = self.groups.iter().position(|known| known.name == group);
        let place = place.unwrap_or_else(|| {
            self.groups.push(Group {
                name: group.to_owned(),
                figures: Vec::new(),
            });
            self.groups.len() - 1
        });
        #[expect(
            clippy::indexing_slicing,
            reason = "the group was found or just pushed"
        )]
        let figures = &mut self.groups[place].figures;
        figures.push(figure);
        #[expect(clippy::indexing_slicing, reason = "the figure was just pushed")]
        &figures[figures.len() - 1]
    }

    /// The report as Markdown tables.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n{}\n", self.machine, self.how);
        for group in &self.groups {
            text += &format!("\n## {}\n\n", group.name);
            text += &match group.has_stages() {
                true => group.stages(),
                false => group.programs(self),
            };
        }
        if !self.left_out.is_empty() {
            text += "\nNot measured:\n\n";
            for reason in &self.left_out {
                text += &format!("- {reason}\n");
            }
        }
        text
    }

    /// Writes Markdown, JSON and HTML into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let place = |extension: &str| folder.join(format!("{name}.{extension}"));
        std::fs::write(place("json"), serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(place("md"), self.markdown())?;
        std::fs::write(place("html"), crate::page::page(self))?;
        eprintln!("written: {}, .json and .html", place("md").display());
        Ok(())
    }
}

impl Group {
    pub(crate) fn has_stages(&self) -> bool {
        let mut of = self.figures.iter().flat_map(|figure| &figure.of);
        of.any(|one| !one.stages.is_empty())
    }

    /// A table with a column for each program, one for each ratio, and one for the goal.
    fn programs(&self, report: &Report) -> String {
        let mut programs: Vec<&str> = Vec::new();
        for one in self.figures.iter().flat_map(|figure| &figure.of) {
            if !programs.contains(&&*one.program) {
                programs.push(&one.program);
            }
        }
        let ratios = || self.figures.iter().flat_map(|figure| &figure.ratios);
        let references = report.references.iter();
        let references = references.filter(|(to, _)| ratios().any(|ratio| ratio.to == *to));
        let references: Vec<_> = references.collect();
        let has_goals = self.figures.iter().any(|figure| figure.goal.is_some());
        let mut head = vec!["figure"];
        head.extend(&programs);
        head.extend(references.iter().map(|(_, words)| &**words));
        head.extend(has_goals.then_some("goal"));
        let rows = self.figures.iter().map(|figure| {
            let mut row = vec![figure.name.clone()];
            row.extend(programs.iter().map(|program| {
                let one = figure.of.iter().find(|one| one.program == *program);
                one.map(|one| one.shown(figure.unit)).unwrap_or_default()
            }));
            row.extend(references.iter().map(|(to, _)| {
                let ratio = figure.ratios.iter().find(|ratio| ratio.to == *to);
                ratio.map(|ratio| percent(&ratio.ratio)).unwrap_or_default()
            }));
            if has_goals {
                row.push(figure.goal.clone().unwrap_or_default());
            }
            row
        });
        table(&head, rows)
    }

    /// A table with a row for each figure and program and a column for each stage.
    fn stages(&self) -> String {
        let of = || self.figures.iter().flat_map(|figure| &figure.of);
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in of().flat_map(|one| &one.stages) {
            if !names.contains(&&**name) {
                names.push(name);
            }
        }
        let alone = of().all(|one| Some(&one.program) == of().next().map(|first| &first.program));
        let mut head = vec!["component"];
        head.extend((!alone).then_some("program"));
        head.extend(&names);
        head.extend(
            ["all", "of the first"]
                .iter()
                .take(if alone { 1 } else { 2 }),
        );
        let rows = self.figures.iter().flat_map(|figure| {
            figure.of.iter().map(|one| {
                let mut row = vec![figure.name.clone()];
                row.extend((!alone).then(|| one.program.clone()));
                row.extend(names.iter().map(|name| {
                    let stage = one.stages.iter().find(|(known, _)| known == name);
                    let shown = stage.map(|(_, spread)| figure.unit.shown(spread.mean));
                    shown.unwrap_or_default()
                }));
                row.push(with_interval(&one.value, figure.unit));
                if !alone {
                    let first = figure
                        .of
                        .first()
                        .filter(|first| first.program != one.program);
                    let ratio = first.and_then(|first| one.value.ratio(&first.value));
                    row.push(ratio.map(|ratio| percent(&ratio)).unwrap_or_default());
                }
                row
            })
        });
        table(&head, rows)
    }
}

/// A ratio in percent, with its confidence interval.
pub(crate) fn percent(ratio: &Spread) -> String {
    let (mean, low, high) = (ratio.mean * 100.0, ratio.low * 100.0, ratio.high * 100.0);
    match ratio.rounds.len() {
        0 | 1 => format!("{mean:.0} %"),
        _ => format!("{mean:.0} % ({low:.0}–{high:.0})"),
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

/// A time in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
