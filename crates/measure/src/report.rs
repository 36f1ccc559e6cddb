//! What was measured: as a table in Markdown, as JSON, and as a page with charts ([`crate::page`]).

use crate::load::Outcome;
use crate::machine::Machine;
use crate::spread::Spread;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What it is called.
    pub title: String,
    /// How it was measured, in a sentence.
    pub how: String,
    /// Where and when.
    pub machine: Machine,
    /// Ratios are of this program to the [`Report::references`].
    pub subject: String,
    /// Whom the subject is compared with: the program, and how the table calls the ratio.
    pub references: Vec<(String, String)>,
    /// What came out, by kind.
    pub groups: Vec<Group>,
    /// What could not be measured, and why.
    pub left_out: Vec<String>,
}

/// Figures of a kind.
#[derive(Debug, Serialize)]
pub struct Group {
    /// What kind.
    pub name: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// What is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// More is better.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Less is better.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Less is better.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Less is better.
    #[serde(rename = "MiB")]
    Mebibytes,
}

/// One figure: the same of several programs.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What is measured.
    pub name: String,
    /// In what.
    pub unit: Unit,
    /// What the design asks for, if it does.
    pub goal: Option<String>,
    /// Of whom.
    pub of: Vec<Measured>,
    /// How many times as much the subject has as each reference that is in this figure.
    pub ratios: Vec<Ratio>,
}

impl Figure {
    /// Without a goal; its ratios come with [`Report::add`].
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

/// How two programs compare.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// The reference.
    pub to: String,
    /// The subject's turns by those of the reference.
    #[serde(flatten)]
    pub ratio: Spread,
}

/// What one program reached.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Which one.
    pub program: String,
    /// Its turns.
    #[serde(flatten)]
    pub value: Spread,
    /// Half of the answers take longer, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<Spread>,
    /// One in a hundred answers takes longer, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<Spread>,
    /// What the value is the sum of, in its unit and in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<(String, Spread)>,
}

impl Measured {
    /// From turns of load.
    pub fn load(program: &str, outcomes: &[Outcome]) -> Self {
        let spread = |of: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(of).collect());
        Self {
            p50_ms: Some(spread(|outcome| ms(outcome.p50))),
            p99_ms: Some(spread(|outcome| ms(outcome.p99))),
            ..Self::plain(program, outcomes.iter().map(|one| one.per_second).collect())
        }
    }

    /// From plain numbers.
    pub fn plain(program: &str, turns: Vec<f64>) -> Self {
        Self {
            program: program.to_owned(),
            value: Spread::of(turns),
            p50_ms: None,
            p99_ms: None,
            stages: Vec::new(),
        }
    }

    /// From turns that have stages: each turn has all of them, in the same order.
    pub fn staged(program: &str, names: &[&str], turns: &[Vec<f64>]) -> Self {
        let stage = |(place, name): (usize, &&str)| {
            let turns = turns.iter().filter_map(|turn| turn.get(place).copied());
            ((*name).to_owned(), Spread::of(turns.collect()))
        };
        let sums = turns.iter().map(|turn| turn.iter().sum()).collect();
        Self {
            stages: names.iter().enumerate().map(stage).collect(),
            ..Self::plain(program, sums)
        }
    }

    /// Its value with its unit, and how sure that is.
    pub fn shown(&self, unit: Unit) -> String {
        let value = sure(&self.value, unit);
        match (&self.p50_ms, &self.p99_ms) {
            (Some(p50), Some(p99)) => format!(
                "{value}, p50 {}, p99 {}",
                sure(p50, Unit::Milliseconds),
                sure(p99, Unit::Milliseconds)
            ),
            _ => value,
        }
    }
}

/// A mean with its unit and its confidence interval.
fn sure(spread: &Spread, unit: Unit) -> String {
    let mean = unit.shown(spread.mean);
    if spread.turns.len() < 2 {
        return mean;
    }
    let half = unit.shown(spread.high - spread.mean);
    format!("{mean} ± {half}")
}

impl Unit {
    /// A value in it.
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
    /// Adds a figure to a group, with the ratios that its programs allow.
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
        #[expect(clippy::indexing_slicing, reason = "it was found, or pushed just now")]
        let figures = &mut self.groups[place].figures;
        figures.push(figure);
        #[expect(clippy::indexing_slicing, reason = "it was pushed just now")]
        &figures[figures.len() - 1]
    }

    /// The tables.
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

    /// Writes table, JSON and page into a folder.
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

    /// A column for each program, one for each ratio, and the goal.
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

    /// A row for each figure and program, a column for each stage.
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
                row.push(sure(&one.value, figure.unit));
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
    match ratio.turns.len() {
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

/// In milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
