//! A report as one page that needs nothing else: a chart for each figure, all turns as dots, light and dark.

use crate::report::{BARE, Figure, Measured, NATIVE, OURS, Report, Unit};

/// Width of the bars in a chart's own units.
const WIDTH: f64 = 560.0;
/// Height of one bar with its space.
const ROW: f64 = 30.0;
/// Where the bars begin.
const LEFT: f64 = 110.0;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1f23; --dim: #667080; --line: #d9dee5; --ground: #fbfcfd; --ours: #0f766e; --native: #8a94a3; --bare: #b7bfca; --other: #b45309 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebef; --dim: #9aa4b2; --line: #2c333c; --ground: #14171b; --ours: #2dd4bf; --native: #77818f; --bare: #4b5563; --other: #f59e0b } }
body { margin: 2.5rem auto; max-width: 54rem; padding: 0 1.25rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground) }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.05rem; margin: 0 } p { margin: .25rem 0; color: var(--dim) }
section { border-top: 1px solid var(--line); padding: 1.1rem 0 } svg { width: 100%; height: auto; margin-top: .5rem }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink) } svg .dim { fill: var(--dim) } svg circle { fill: var(--ink); opacity: .45 }
.ours { fill: var(--ours) } .native { fill: var(--native) } .bare { fill: var(--bare) } .other { fill: var(--other) }
";

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let head = format!("{}.", report.machine);
    let how = format!(
        "Each program {} times {} s in turns, {} connections in a closed loop on the same cores. The bar is the median turn, the dots are all of them. \
         Ratios are what to look at: absolute rates share the machine with the load.",
        report.settings.rounds, report.settings.seconds, report.settings.connections,
    );
    let figures: String = report.figures.iter().map(section).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>LocalMart: what it costs</title>\n<style>{STYLE}</style>\n<h1>What it costs</h1>\n<p>{}</p>\n<p>{}</p>\n{figures}</html>\n",
        escaped(&head),
        escaped(&how),
    )
}

fn section(figure: &Figure) -> String {
    let mut facts = Vec::new();
    for (program, words) in [(NATIVE, "of the native program"), (BARE, "of the ceiling")] {
        if let Some(ratio) = figure.ratio(program) {
            facts.push(format!("{ratio:.0} % {words}"));
        }
    }
    if let Some(goal) = figure.goal {
        facts.push(format!("goal: {goal}"));
    }
    format!(
        "<section>\n<h2>{}</h2>\n<p>{}</p>\n{}</section>\n",
        escaped(&figure.name),
        escaped(&facts.join(" · ")),
        chart(figure)
    )
}

fn chart(figure: &Figure) -> String {
    let all = figure
        .of
        .iter()
        .flat_map(|one| one.turns.iter().copied().chain([one.median]));
    let most = all.fold(0.0_f64, f64::max).max(f64::MIN_POSITIVE);
    let height = ROW * figure.of.len() as f64;
    let bars: String = figure
        .of
        .iter()
        .enumerate()
        .map(|(row, one)| bar(one, row, most, figure.unit))
        .collect();
    let label = figure
        .of
        .iter()
        .map(|one| format!("{} {}", one.program, one.shown(figure.unit)));
    let label = label.collect::<Vec<_>>().join("; ");
    format!(
        "<svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"{}\">\n{bars}</svg>\n",
        LEFT + WIDTH + 250.0,
        escaped(&label)
    )
}

fn bar(one: &Measured, row: usize, most: f64, unit: Unit) -> String {
    let top = ROW * row as f64;
    let length = |value: f64| WIDTH * value / most;
    let class = match one.program.as_str() {
        OURS => "ours",
        NATIVE => "native",
        BARE => "bare",
        _ => "other",
    };
    let furthest = one.turns.iter().copied().fold(one.median, f64::max);
    let dots: String = one
        .turns
        .iter()
        .map(|turn| {
            format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>",
                LEFT + length(*turn),
                top + 14.0
            )
        })
        .collect();
    format!(
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" class=\"dim\">{}</text><rect x=\"{LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"18\" rx=\"2\" class=\"{class}\"/>{dots}\
         <text x=\"{:.1}\" y=\"{:.0}\">{}</text>\n",
        LEFT - 8.0,
        top + 18.0,
        escaped(&one.program),
        top + 5.0,
        length(one.median),
        LEFT + length(furthest) + 8.0,
        top + 18.0,
        escaped(&one.shown(unit)),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
