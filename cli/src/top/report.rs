//! What `localmart top` shows: a title, a table of components and a table of links, and the part of them that a window has room
//! for. It knows no terminal.

use localmart_host::control::status::{ComponentStatus, GenerationStatus, LinkStatus, Status};
use std::time::Duration;

/// The columns of components after the name, with their widths.
const COMPONENT_COLUMNS: [(&str, usize); 9] = [
    ("gen", 4),
    ("role", 7),
    ("share", 6),
    ("inst", 5),
    ("MiB", 7),
    ("calls/s", 9),
    ("err/s", 8),
    ("p50 ms", 8),
    ("p99 ms", 8),
];
/// The columns of links after the name, with their widths.
const LINK_COLUMNS: [(&str, usize); 4] = [
    ("binding", 9),
    ("calls/s", 10),
    ("failed/s", 10),
    ("mean ms", 10),
];
/// The shortest part of a name that is shown in a narrow window, in characters.
const MIN_NAME: usize = 9;
/// The lines of a window that are not lines of a table: the title and the line with the keys.
const FRAME_LINES: usize = 2;

/// The size of a window in characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Size {
    /// The lines for tables.
    fn room(self) -> usize {
        self.lines.saturating_sub(FRAME_LINES).max(1)
    }

    /// The lines by which a page moves; the heading and one line stay.
    pub(super) fn page(self) -> isize {
        isize::try_from(self.room().saturating_sub(2).max(1)).unwrap_or(isize::MAX)
    }
}

/// The numbers of a shop over some time.
pub(super) struct Report {
    title: String,
    lines: Vec<Line>,
    longest_component: usize,
    longest_link: usize,
}

/// A line of a table.
enum Line {
    Components,
    Links,
    Component(String, [String; 9]),
    Link(String, [String; 4]),
}

/// A line of the window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Heading(String),
    Row(String),
}

impl Report {
    /// Compares two states of a shop that are `time` apart.
    pub(super) fn new(before: &Status, now: &Status, time: Duration) -> Self {
        let memory = now.memory.map(|bytes| format!(", {} MiB", bytes >> 20));
        let memory = memory.unwrap_or_default();
        let mut lines = vec![Line::Components];
        for component in &now.components {
            let earlier = before.components.iter().find(|one| one.id == component.id);
            for generation in &component.generations {
                let earlier = earlier.and_then(|earlier| numbered(earlier, generation.number));
                let cells = component_cells(generation, earlier, time);
                lines.push(Line::Component(component.id.clone(), cells));
            }
        }
        lines.push(Line::Links);
        for component in &now.components {
            let earlier = before.components.iter().find(|one| one.id == component.id);
            for link in &component.links {
                let same = |one: &&LinkStatus| one.callee == link.callee;
                let earlier = earlier.and_then(|earlier| earlier.links.iter().find(same));
                let name = format!("{} -> {}", component.id, link.callee);
                lines.push(Line::Link(name, link_cells(link, earlier, time)));
            }
        }
        let longest = |is_link: bool| {
            let names = lines.iter().filter_map(|line| match line {
                Line::Component(name, _) if !is_link => Some(name),
                Line::Link(name, _) if is_link => Some(name),
                _ => None,
            });
            names.map(|name| name.chars().count()).max()
        };
        Self {
            title: format!("{}, process {}{memory}", now.application, now.process),
            longest_component: longest(false).unwrap_or_default().max(MIN_NAME),
            longest_link: longest(true).unwrap_or_default().max(MIN_NAME),
            lines,
        }
    }

    /// The first visible line after moving it by some lines.
    pub(super) fn scrolled(&self, size: Size, top: usize, by: isize) -> usize {
        let last = self.lines.len().saturating_sub(size.room());
        top.saturating_add_signed(by).min(last)
    }

    /// A window whose first line of a table is `top`, with the title above and the keys below. The heading of the first visible
    /// table is always on top. In a narrow window names are shortened, so that all columns are visible.
    pub(super) fn window(&self, size: Size, top: usize) -> Vec<Shown> {
        let cut = |text: &str| shortened(text, size.columns);
        let mut shown = vec![Shown::Row(cut(&self.title))];
        let end = top.saturating_add(size.room()).min(self.lines.len());
        for (place, line) in self.lines.iter().enumerate().take(end).skip(top) {
            let line = match line {
                Line::Component(..) if place == top => &Line::Components,
                Line::Link(..) if place == top => &Line::Links,
                other => other,
            };
            let text = cut(&self.text(line, Some(size.columns)));
            shown.push(match line {
                Line::Components | Line::Links => Shown::Heading(text),
                _ => Shown::Row(text),
            });
        }
        while shown.len() < size.lines.saturating_sub(1) {
            shown.push(Shown::Row(String::new()));
        }
        let keys = if self.lines.len() > size.room() {
            format!(
                "q quits, \u{2191} \u{2193} PgUp PgDn scroll; lines {} to {end} of {}",
                top + 1,
                self.lines.len()
            )
        } else {
            "q quits".to_owned()
        };
        shown.push(Shown::Row(cut(&keys)));
        shown
    }

    fn text(&self, line: &Line, columns: Option<usize>) -> String {
        let name_width = |longest: usize, table: &[(&str, usize)]| {
            let others: usize = table.iter().map(|(_, width)| width).sum();
            let left = columns.map(|columns| columns.saturating_sub(others).max(MIN_NAME));
            left.map_or(longest, |left| longest.min(left))
        };
        let component = name_width(self.longest_component, &COMPONENT_COLUMNS);
        let link = name_width(self.longest_link, &LINK_COLUMNS);
        match line {
            Line::Components => row(
                "component",
                component,
                &COMPONENT_COLUMNS.map(|(name, _)| name.to_owned()),
                &COMPONENT_COLUMNS,
            ),
            Line::Links => row(
                "link",
                link,
                &LINK_COLUMNS.map(|(name, _)| name.to_owned()),
                &LINK_COLUMNS,
            ),
            Line::Component(name, cells) => row(name, component, cells, &COMPONENT_COLUMNS),
            Line::Link(name, cells) => row(name, link, cells, &LINK_COLUMNS),
        }
    }
}

impl std::fmt::Display for Report {
    /// All lines, as wide as they are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.title)?;
        for line in &self.lines {
            writeln!(f, "{}", self.text(line, None))?;
        }
        Ok(())
    }
}

/// A line of a table. Words are to the left, numbers to the right; a word has a space before it.
fn row(name: &str, name_width: usize, cells: &[String], columns: &[(&str, usize)]) -> String {
    let mut text = format!("{:<name_width$}", shortened(name, name_width));
    for (cell, (column, width)) in cells.iter().zip(columns) {
        let is_word = matches!(*column, "role" | "binding");
        let cell = match is_word {
            true => format!(" {cell:<rest$}", rest = width - 1),
            false => format!("{cell:>width$}"),
        };
        text.push_str(&cell);
    }
    text
}

/// The beginning of a text, with an ellipsis if something is missing.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start: String = text.chars().take(width.saturating_sub(1)).collect();
    let ellipsis = if width == 0 { "" } else { "\u{2026}" };
    format!("{start}{ellipsis}")
}

fn numbered(component: &ComponentStatus, number: u64) -> Option<&GenerationStatus> {
    let mut generations = component.generations.iter();
    generations.find(|generation| generation.number == number)
}

fn component_cells(
    now: &GenerationStatus,
    before: Option<&GenerationStatus>,
    time: Duration,
) -> [String; 9] {
    let (calls, errors) = before.map_or((0, 0), |one| (one.health.calls, one.health.errors));
    let ms = |us: u64| number(to_float(us) / 1000.0, 2, 7);
    let mib = to_float(now.memory.unsigned_abs()) / 1024.0 / 1024.0;
    [
        now.number.to_string(),
        now.role.clone(),
        format!("{}%", now.share / 100),
        now.instances.to_string(),
        number(mib, 1, 6),
        number(rate(now.health.calls.saturating_sub(calls), time), 1, 8),
        number(rate(now.health.errors.saturating_sub(errors), time), 1, 7),
        ms(now.health.p50_us),
        ms(now.health.p99_us),
    ]
}

fn link_cells(now: &LinkStatus, before: Option<&LinkStatus>, time: Duration) -> [String; 4] {
    let (calls, failed, seconds) =
        before.map_or((0, 0, 0.0), |one| (one.calls, one.failed, one.seconds));
    let calls = now.calls.saturating_sub(calls);
    let mean_ms = match calls {
        0 => 0.0,
        calls => (now.seconds - seconds) * 1000.0 / to_float(calls),
    };
    [
        now.binding.clone(),
        number(rate(calls, time), 1, 9),
        number(rate(now.failed.saturating_sub(failed), time), 1, 9),
        number(mean_ms, 3, 9),
    ]
}

/// A number with as many decimal places as there is room for, up to `places`.
fn number(value: f64, places: usize, width: usize) -> String {
    let mut texts = (0..=places).rev().map(|places| format!("{value:.places$}"));
    let fitting = texts.find(|text| text.len() <= width);
    fitting.unwrap_or_else(|| format!("{value:.1e}"))
}

fn rate(count: u64, time: Duration) -> f64 {
    match time.as_secs_f64() {
        0.0 => 0.0,
        seconds => to_float(count) / seconds,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn to_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
