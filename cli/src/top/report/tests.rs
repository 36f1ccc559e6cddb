//! Windows of several sizes.

use super::*;
use localmart_host::control::status::Status;
use serde_json::{Value, json};

fn generation(number: u64, role: &str, calls: u64) -> Value {
    json!({
        "number": number, "role": role, "share": 10_000, "digest": "", "file": "", "instances": 64, "memory": 1_u64 << 30,
        "calls": calls, "errors": calls / 2, "traps": 0, "differences": 0, "timed": 100, "p50_us": 1_500,
        "p99_us": 9_999_990,
    })
}

/// A shop with this many components, each of which links the one before.
fn shop(components: usize, calls: u64) -> Status {
    let component = |place: usize| {
        let links = match place.checked_sub(1) {
            None => json!([]),
            Some(callee) => json!([{
                "callee": format!("recommendation-{callee}"), "binding": "isolated", "calls": calls, "failed": 0,
                "seconds": 0.5,
            }]),
        };
        json!({
            "id": format!("recommendation-{place}"), "inside": [], "links": links, "swap": null,
            "generations": [generation(1, "serves", calls)],
        })
    };
    let components: Vec<Value> = (0..components).map(component).collect();
    let clock = json!({ "now_ms": 0, "ahead_ms": null });
    let status = json!({ "application": "shop", "process": 4711, "memory": 1_u64 << 30, "clock": clock, "components": components });
    serde_json::from_value(status).unwrap()
}

fn report(components: usize) -> Report {
    let (before, now) = (shop(components, 1_000), shop(components, 801_000));
    Report::new(&before, &now, Duration::from_secs(1))
}

/// The text of a window.
fn window(report: &Report, size: Size, top: usize) -> Vec<String> {
    let shown = report.window(size, top).into_iter();
    let lines: Vec<String> = shown
        .map(|line| match line {
            Shown::Heading(text) | Shown::Row(text) => text,
        })
        .collect();
    assert_eq!(lines.len(), size.lines);
    for line in &lines {
        assert!(line.chars().count() <= size.columns, "{line}");
    }
    lines
}

const SMALL: Size = Size {
    columns: 80,
    lines: 20,
};

#[test]
fn a_window_of_80_by_20_has_all_columns_and_scrolls_to_all_rows() {
    let report = report(11);
    let (mut top, mut seen) = (0, Vec::new());
    loop {
        let lines = window(&report, SMALL, top);
        assert_eq!(lines[0], "shop, process 4711, 1024 MiB");
        assert!(lines[19].starts_with("q quits"), "{lines:#?}");
        let heading = &lines[1];
        assert!(
            heading.starts_with("component") && heading.ends_with("p50 ms  p99 ms")
                || heading.starts_with("link") && heading.ends_with("mean ms"),
            "{heading}"
        );
        seen.extend(lines.into_iter().skip(2));
        let next = report.scrolled(SMALL, top, SMALL.page());
        if next == top {
            break;
        }
        top = next;
    }
    for place in 0..11 {
        let name = format!("recommendation-{place} ");
        assert!(seen.iter().any(|line| line.starts_with(&name)), "{name}");
    }
    for place in 1..11 {
        let name = format!("recommendation-{place} -> recommendation-{} ", place - 1);
        assert!(seen.iter().any(|line| line.starts_with(&name)), "{name}");
    }
    let row = seen.iter().find(|line| line.contains("serves")).unwrap();
    assert_eq!(
        row.split_whitespace().skip(1).collect::<Vec<_>>(),
        [
            "1", "serves", "100%", "64", "1024.0", "800000.0", "400000", "1.50", "9999.99"
        ]
    );
}

#[test]
fn a_large_window_shows_everything_without_scrolling() {
    let size = Size {
        columns: 200,
        lines: 60,
    };
    let lines = window(&report(11), size, 0);
    assert_eq!(lines.last().map(String::as_str), Some("q quits"));
    assert!(lines.iter().any(|line| line.starts_with("link")));
    assert_eq!(report(11).scrolled(size, 0, 5), 0);
}

#[test]
fn a_tiny_window_is_filled_and_not_exceeded() {
    for (columns, lines) in [(20, 3), (1, 3), (5, 10)] {
        window(&report(3), Size { columns, lines }, 0);
    }
}

#[test]
fn names_are_shortened_before_columns() {
    let size = Size {
        columns: 72,
        lines: 20,
    };
    let lines = window(&report(2), size, 0);
    assert!(lines[1].ends_with("p99 ms"), "{lines:#?}");
    assert!(lines[2].starts_with("recommend\u{2026}"), "{lines:#?}");
}

#[test]
fn a_pipe_gets_whole_names() {
    let text = report(2).to_string();
    assert!(
        text.contains("\nrecommendation-1 -> recommendation-0 isolated"),
        "{text}"
    );
    assert!(!text.contains('\u{2026}'), "{text}");
}

#[test]
fn numbers_lose_decimal_places_before_they_lose_their_column() {
    for (value, expected) in [
        (0.0, "0.00"),
        (9_999.99, "9999.99"),
        (12_345.67, "12345.7"),
        (1_234_567.8, "1234568"),
        (123_456_789.0, "1.2e8"),
    ] {
        assert_eq!(number(value, 2, 7), expected);
    }
}
