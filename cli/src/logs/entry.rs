//! One line of the log: a JSON object of the host or of a guest. Guests choose their own fields, and a line may be
//! anything if it was cut off.

use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Fields that a readable line shows in another way, or not at all.
const SHOWN_APART: [&str; 9] = [
    "timestamp",
    "ts",
    "level",
    "message",
    "component",
    "generation",
    "stack",
    "target",
    "error",
];

/// Control sequences of terminals.
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// A line.
pub(super) struct Entry<'l> {
    /// The line as it was written.
    pub(super) line: &'l str,
    /// Its fields; none if it is not a JSON object.
    fields: Map<String, Value>,
}

impl<'l> Entry<'l> {
    pub(super) fn parse(line: &'l str) -> Self {
        Self {
            line,
            fields: serde_json::from_str(line).unwrap_or_default(),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// When it was written. The host and the guest kit name the field differently.
    pub(super) fn time(&self) -> Option<Timestamp> {
        let time = self.text("timestamp").or_else(|| self.text("ts"));
        time?.parse().ok()
    }

    /// The component that it is about.
    pub(super) fn component(&self) -> Option<&str> {
        self.text("component")
    }

    /// Whether it is about a component, with or without middleware.
    pub(super) fn is_of(&self, component: &str) -> bool {
        self.component().is_some_and(|known| {
            let rest = known.strip_prefix(component);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" behind "))
        })
    }

    /// Whether it belongs to a trace, given by the beginning of its id.
    pub(super) fn is_in(&self, trace: &str) -> bool {
        let one = self.text("trace_id").into_iter();
        let several = self.text("trace_ids").into_iter();
        let mut ids = one.chain(several.flat_map(|ids| ids.split(',')));
        ids.any(|id| id.starts_with(trace))
    }

    /// The line for people: time, level, component, message, the other fields, and the stack below.
    pub(super) fn readable(&self, colour: bool) -> String {
        if self.fields.is_empty() {
            return printable(self.line);
        }
        let paint = |style: &str, text: &str| match colour {
            true => format!("{style}{text}{PLAIN}"),
            false => text.to_owned(),
        };
        let time = self
            .time()
            .map_or_else(String::new, |time| format!("{time:.3}"));
        let level = self.text("level").unwrap_or_default();
        let style = match level {
            "ERROR" => RED,
            "WARN" => YELLOW,
            _ => PLAIN,
        };
        let component = self.component().unwrap_or("-");
        let level = paint(style, &format!("{:<5}", printable(level)));
        let component = paint(BOLD, &format!("{:<15}", printable(component)));
        let message = self.text("message").unwrap_or_default();
        let mut line = format!(
            "{} {level} {component} {}",
            paint(DIM, &time),
            printable(message)
        );
        let generation = self.fields.get("generation").and_then(Value::as_u64);
        if let Some(generation) = generation.filter(|generation| *generation > 1) {
            // Writing to a String cannot fail.
            let _ = write!(line, " generation={generation}");
        }
        for (name, value) in &self.fields {
            if SHOWN_APART.contains(&name.as_str()) {
                continue;
            }
            let value = match value {
                Value::String(text) if is_one_word(text) => text.clone(),
                other => other.to_string(),
            };
            let _ = write!(
                line,
                " {}",
                paint(DIM, &format!("{}={}", printable(name), printable(&value)))
            );
        }
        if let Some(error) = self.fields.get("error") {
            let error = error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned);
            for part in error.lines() {
                let _ = write!(line, "\n    {}", printable(part));
            }
        }
        for function in self.text("stack").into_iter().flat_map(str::lines) {
            let _ = write!(line, "\n      at {}", printable(function));
        }
        line
    }
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"')
}

/// Text without control characters, which could change what a terminal shows.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.push(character),
            control if control.is_control() => shown.extend(control.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_readable() {
        let trap = r#"{"timestamp":"2026-11-26T10:00:00.123456Z","level":"ERROR","message":"an instance trapped","component":"order","generation":2,"trace_id":"0af76519","error":"wasm trap: unreachable","stack":"order.wasm!abort\norder.wasm!main","target":"host"}"#;
        let guest = r#"{"generation":1,"component":"order","ts":"2026-11-26T10:00:00.000Z","level":"INFO","message":"order paid","order":"x y","sum":5}"#;
        for (line, readable) in [
            (
                trap,
                "2026-11-26T10:00:00.123Z ERROR order           an instance trapped generation=2 trace_id=0af76519\n    wasm trap: unreachable\n      at order.wasm!abort\n      at order.wasm!main",
            ),
            (
                guest,
                "2026-11-26T10:00:00.000Z INFO  order           order paid order=\"x y\" sum=5",
            ),
            ("{\"cut off", "{\"cut off"),
            ("\u{1b}[2Jevil", "\\u{1b}[2Jevil"),
        ] {
            assert_eq!(Entry::parse(line).readable(false), readable);
        }
        let coloured = Entry::parse(trap).readable(true);
        assert!(coloured.contains("\x1b[31mERROR\x1b[0m"), "{coloured}");
        let forged = r#"{"message":"\u001b[31m","component":"\u001b]0;x\u0007"}"#;
        assert!(!Entry::parse(forged).readable(false).contains('\u{1b}'));
    }

    #[test]
    fn a_line_belongs_to_a_component_and_to_traces() {
        let line = r#"{"component":"order behind guard","trace_ids":"0af76519aa,b7ad6b71bb"}"#;
        let entry = Entry::parse(line);
        assert!(entry.is_of("order") && entry.is_of("order behind guard") && !entry.is_of("ord"));
        assert!(entry.is_in("b7ad6b71") && entry.is_in("0af76519aa") && !entry.is_in("aa"));
        assert!(!Entry::parse("{}").is_in("") && !Entry::parse("nonsense").is_of(""));
    }
}
