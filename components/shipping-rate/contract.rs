//! What every shipping rate policy must do.

use super::Case;
use super::subject::Subject;
use anyhow::bail;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "there is a shipping method or an error for every country",
        check: a_way,
    },
    Case {
        name: "the same input has the same result",
        check: the_same_answer,
    },
];

fn question(country: &str, pieces: u32) -> String {
    format!(
        "{{country: \"{country}\", region: none, postal-code: \"1\", currency: \"USD\", pieces: {pieces}, amount: 1999}}"
    )
}

fn a_way(subject: &Subject) -> anyhow::Result<()> {
    for (country, pieces) in [("GB", 1), ("US", 99), ("JP", 1_000_000), ("ZZ", 1)] {
        let answer = subject.call("methods", &[&question(country, pieces)])?;
        if !answer.starts_with("ok([{code: ") && !answer.starts_with("err(") {
            bail!("{country}: {answer}");
        }
    }
    Ok(())
}

fn the_same_answer(subject: &Subject) -> anyhow::Result<()> {
    let first = subject.call("methods", &[&question("GB", 3)])?;
    subject.expect("methods", &[&question("GB", 3)], &first)
}
