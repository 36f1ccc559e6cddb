//! What every ranking policy must do.

use super::Case;
use super::subject::Subject;
use anyhow::bail;
use std::collections::BTreeSet;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "each candidate is ranked at most once, and nothing else is",
        check: each_once,
    },
    Case {
        name: "the same input has the same result",
        check: the_same_answer,
    },
];

fn candidates(count: u32) -> String {
    let one = |number: u32| {
        let score = (number * 7) % 5;
        format!(
            "{{product-id: \"p{number}\", category: \"c\", price: {}, score: {score}, reason: \"popular\"}}",
            number * 100
        )
    };
    let all: Vec<String> = (0..count).map(one).collect();
    format!("[{}]", all.join(", "))
}

fn each_once(subject: &Subject) -> anyhow::Result<()> {
    for count in [0, 1, 5, 100] {
        let answer = subject.call("rank", &[&candidates(count)])?;
        let list = answer
            .strip_prefix("ok([")
            .and_then(|rest| rest.strip_suffix("])"));
        let Some(list) = list else {
            bail!("{count} candidates are answered with {answer}");
        };
        let numbers = list.split(", ").filter(|number| !number.is_empty());
        let places: Option<Vec<u32>> = numbers.map(|number| number.parse().ok()).collect();
        let places = places.unwrap_or_default();
        let different: BTreeSet<&u32> = places.iter().collect();
        if different.len() != places.len() || places.iter().any(|place| *place >= count) {
            bail!("{count} candidates are answered with {answer}");
        }
    }
    Ok(())
}

fn the_same_answer(subject: &Subject) -> anyhow::Result<()> {
    let first = subject.call("rank", &[&candidates(9)])?;
    subject.expect("rank", &[&candidates(9)], &first)
}
