//! A report as one self-contained HTML page: a bar chart for each figure, rounds as dots, the confidence interval as a
//! bracket, stages side by side; light and dark.

use crate::report::{Figure, Group, Measured, Report, percent};
use crate::spread::Spread;

/// Width of the longest bar, in units of the chart.
const WIDTH: f64 = 520.0;
/// Height of a row: a bar and the space around it.
const ROW: f64 = 30.0;
/// Width of the column of labels, left of the bars.
const LEFT: f64 = 150.0;
/// Width of the column of values, right of the bars.
const RIGHT: f64 = 330.0;
/// Height of the legend below a chart.
const KEY: f64 = 26.0;
/// The estimated width of a letter.
const LETTER: f64 = 6.6;
/// The number of colours for programs and stages.
const COLOURS: usize = 6;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1f23; --dim: #667080; --line: #d9dee5; --ground: #fbfcfd; --c0: #0f766e; --c1: #8a94a3; --c2: #b7bfca; --c3: #b45309; --c4: #4f6db5; --c5: #9d4b78 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebef; --dim: #9aa4b2; --line: #2c333c; --ground: #14171b; --c0: #2dd4bf; --c1: #77818f; --c2: #4b5563; --c3: #f59e0b; --c4: #7d9bea; --c5: #d07aa8 } }
body { margin: 2.5rem auto; max-width: 62rem; padding: 0 1.25rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground) }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem } h3 { font-size: 1rem; margin: 0 } p, li { margin: .25rem 0; color: var(--dim) }
section { border-top: 1px solid var(--line); padding: 1rem 0 } svg { width: 100%; height: auto; margin-top: .5rem }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink) } svg .dim { fill: var(--dim) } svg circle { fill: var(--ink); opacity: .4 } svg path { stroke: var(--ink); fill: none }
.c0 { fill: var(--c0) } .c1 { fill: var(--c1) } .c2 { fill: var(--c2) } .c3 { fill: var(--c3) } .c4 { fill: var(--c4) } .c5 { fill: var(--c5) }
";

/// Renders a report.
pub fn page(report: &Report) -> String {
    let groups: String = report.groups.iter().map(|one| group(report, one)).collect();
    let title = escaped(&report.title);
    let left_out = report.left_out.iter();
    let left_out: String = left_out
        .map(|reason| format!("<li>{}</li>\n", escaped(reason)))
        .collect();
    let left_out = match left_out.is_empty() {
        true => left_out,
        false => format!("<h2>Not measured</h2>\n<ul>\n{left_out}</ul>\n"),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{}.</p>\n<p>{} The bar is the mean, the bracket its 95 % confidence \
         interval, the dots are all rounds. Ratios are what to look at: absolute figures share the machine with the load.</p>\n{groups}{left_out}</html>\n",
        escaped(&report.machine.to_string()),
        escaped(&report.how),
    )
}

fn group(report: &Report, group: &Group) -> String {
    // Cold starts share one scale, so that components can be compared; every other figure has its own scale.
    let reaches = group.figures.iter().map(Figure::max_value);
    let whole = group.has_stages().then(|| reaches.fold(0.0, f64::max));
    let figures: String = group
        .figures
        .iter()
        .map(|one| section(report, one, whole.unwrap_or_else(|| one.max_value())))
        .collect();
    format!("<h2>{}</h2>\n{figures}", escaped(&group.name))
}

fn section(report: &Report, figure: &Figure, most: f64) -> String {
    let mut facts = Vec::new();
    for ratio in &figure.ratios {
        let known = report.references.iter().find(|(to, _)| *to == ratio.to);
        let words = known.map(|(_, words)| words.as_str()).unwrap_or_default();
        facts.push(format!("{} {words}", percent(&ratio.ratio)));
    }
    if let Some(goal) = &figure.goal {
        facts.push(format!("goal: {goal}"));
    }
    format!(
        "<section>\n<h3>{}</h3>\n<p>{}</p>\n{}</section>\n",
        escaped(&figure.name),
        escaped(&facts.join(" · ")),
        chart(figure, most)
    )
}

impl Figure {
    /// The largest value that the chart shows: a round or the bound of a confidence interval.
    fn max_value(&self) -> f64 {
        let of = self.of.iter().map(|one| max_value(&one.value));
        of.fold(f64::MIN_POSITIVE, f64::max)
    }
}

/// The highest round, or the upper bound of the confidence interval if that is higher.
fn max_value(value: &Spread) -> f64 {
    value.rounds.iter().copied().fold(value.high, f64::max)
}

fn chart(figure: &Figure, most: f64) -> String {
    let rows = figure.of.iter().enumerate();
    let bars: String = rows.map(|(row, one)| bar(one, row, most, figure)).collect();
    let stages = figure.of.first().map_or(&[][..], |one| &one.stages);
    let (height, key) = (ROW * figure.of.len() as f64, key(stages, figure));
    let below = if key.is_empty() { 0.0 } else { KEY };
    let label = figure.of.iter();
    let label = label.map(|one| format!("{} {}", one.program, one.shown(figure.unit)));
    format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n{bars}{key}</svg>\n",
        LEFT + WIDTH + RIGHT,
        height + below,
        escaped(&label.collect::<Vec<_>>().join("; "))
    )
}

fn bar(one: &Measured, row: usize, most: f64, figure: &Figure) -> String {
    let top = ROW * row as f64;
    let at = |value: f64| LEFT + WIDTH * value.max(0.0) / most;
    let part = |from: f64, to: f64, colour: usize| {
        let (x, width) = (at(from), at(to) - at(from));
        format!(
            "<rect x=\"{x:.1}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"18\" class=\"c{}\"/>",
            top + 5.0,
            colour % COLOURS
        )
    };
    let bars = if one.stages.is_empty() {
        part(0.0, one.value.mean, row)
    } else {
        let (mut bars, mut from) = (String::new(), 0.0);
        for (colour, (_, stage)) in one.stages.iter().enumerate() {
            bars += &part(from, from + stage.mean, colour);
            from += stage.mean;
        }
        bars
    };
    let middle = top + 14.0;
    let dots = one.value.rounds.iter();
    let dots: String = dots
        .map(|round| {
            format!(
                "<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"2\"/>",
                at(*round)
            )
        })
        .collect();
    format!(
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" class=\"dim\">{}</text>{bars}{}{dots}<text x=\"{:.1}\" y=\"{:.0}\">{}</text>\n",
        LEFT - 8.0,
        top + 18.0,
        escaped(&one.program),
        bracket(&one.value, middle, at),
        at(max_value(&one.value)) + 8.0,
        top + 18.0,
        escaped(&one.shown(figure.unit)),
    )
}

/// Draws the confidence interval.
fn bracket(value: &Spread, y: f64, at: impl Fn(f64) -> f64) -> String {
    if value.rounds.len() < 2 {
        return String::new();
    }
    let (low, high) = (at(value.low), at(value.high));
    let (above, below) = (y - 4.0, y + 4.0);
    format!(
        "<path d=\"M{low:.1} {above:.1}V{below:.1}M{low:.1} {y:.1}H{high:.1}M{high:.1} {above:.1}V{below:.1}\"/>"
    )
}

/// Draws the legend: the colours of the stages.
fn key(stages: &[(String, Spread)], figure: &Figure) -> String {
    let (mut x, y) = (LEFT, ROW * figure.of.len() as f64);
    let mut text = String::new();
    for (colour, (name, stage)) in stages.iter().enumerate() {
        let words = format!("{name} {}", figure.unit.shown(stage.mean));
        text += &format!(
            "<rect x=\"{x:.0}\" y=\"{:.0}\" width=\"10\" height=\"10\" class=\"c{}\"/><text x=\"{:.0}\" y=\"{:.0}\" class=\"dim\">{}</text>",
            y + 6.0,
            colour % COLOURS,
            x + 14.0,
            y + 15.0,
            escaped(&words)
        );
        x += 34.0 + LETTER * words.chars().count() as f64;
    }
    text
}

/// Escapes a text for HTML and SVG, including attributes.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
