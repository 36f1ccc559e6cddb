//! What every tax policy must do.

use super::Case;
use super::subject::Subject;
use anyhow::bail;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "there is an amount for each line, in their order",
        check: an_amount_for_each_line,
    },
    Case {
        name: "there is a result or an error for every country and currency",
        check: every_country,
    },
    Case {
        name: "the same input has the same result",
        check: the_same_answer,
    },
];

fn question(country: &str, currency: &str, amounts: &[u64]) -> String {
    let line = |amount: &u64| {
        format!("{{product-id: \"p\", category: \"things\", quantity: 1, amount: {amount}}}")
    };
    let lines: Vec<String> = amounts.iter().map(line).collect();
    format!(
        "{{country: \"{country}\", region: none, postal-code: \"1\", currency: \"{currency}\", lines: [{}], shipping: 500}}",
        lines.join(", ")
    )
}

/// The amounts between the brackets of an assessment.
fn amounts(answer: &str) -> Option<Vec<u64>> {
    let list = answer.strip_prefix("ok({lines: [")?.split(']').next()?;
    let numbers = list.split(", ").filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().ok()).collect()
}

fn an_amount_for_each_line(subject: &Subject) -> anyhow::Result<()> {
    for lines in [&[1000][..], &[1, 333, 9_999_999], &[0, 0]] {
        let answer = subject.call("assess", &[&question("DE", "EUR", lines)])?;
        match amounts(&answer) {
            Some(taxes) if taxes.len() == lines.len() => {}
            _ => bail!("{} lines are answered with {answer}", lines.len()),
        }
    }
    Ok(())
}

fn every_country(subject: &Subject) -> anyhow::Result<()> {
    for (country, currency) in [
        ("GB", "GBP"),
        ("US", "USD"),
        ("JP", "JPY"),
        ("BH", "BHD"),
        ("ZZ", "XXX"),
    ] {
        let answer = subject.call("assess", &[&question(country, currency, &[100])])?;
        if amounts(&answer).is_none() && !answer.starts_with("err(") {
            bail!("{country}: {answer}");
        }
    }
    Ok(())
}

fn the_same_answer(subject: &Subject) -> anyhow::Result<()> {
    let question = question("GB", "GBP", &[1999, 5]);
    let first = subject.call("assess", &[&question])?;
    subject.expect("assess", &[&question], &first)
}
