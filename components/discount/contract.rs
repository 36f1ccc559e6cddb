//! What every discount policy must do.

use super::Case;
use super::subject::Subject;
use anyhow::bail;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "there is a discount for each line, and none is more than its line",
        check: no_more_than_the_line,
    },
    Case {
        name: "the same input has the same result",
        check: the_same_answer,
    },
];

fn question(amounts: &[u64]) -> String {
    let line = |amount: &u64| {
        format!(
            "{{product-id: \"p\", category: \"things\", quantity: 1, unit-price: {amount}, amount: {amount}}}"
        )
    };
    let lines: Vec<String> = amounts.iter().map(line).collect();
    format!(
        "{{currency: \"USD\", customer-id: none, lines: [{}]}}",
        lines.join(", ")
    )
}

fn no_more_than_the_line(subject: &Subject) -> anyhow::Result<()> {
    for lines in [&[1000][..], &[1, 333, 9_999_999], &[0]] {
        let answer = subject.call("reduce", &[&question(lines)])?;
        let list = answer
            .strip_prefix("ok([")
            .and_then(|rest| rest.strip_suffix("])"));
        let cuts: Option<Vec<u64>> = list
            .map(|list| list.split(", ").map(|number| number.parse().ok()).collect())
            .unwrap_or_default();
        let Some(cuts) = cuts.filter(|cuts| cuts.len() == lines.len()) else {
            bail!("{} lines are answered with {answer}", lines.len());
        };
        if cuts.iter().zip(lines).any(|(cut, line)| cut > line) {
            bail!("more is taken off than {lines:?} cost: {answer}");
        }
    }
    Ok(())
}

fn the_same_answer(subject: &Subject) -> anyhow::Result<()> {
    let question = question(&[1999, 5]);
    let first = subject.call("reduce", &[&question])?;
    subject.expect("reduce", &[&question], &first)
}
