//! What every recommendation service must do.

use super::Case;
use super::subject::{SYSTEM, Subject, text};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "without any history the answer is a list",
        check: at_first,
    },
    Case {
        name: "there are no more recommendations than the limit",
        check: at_most,
    },
];

fn at_first(subject: &Subject) -> anyhow::Result<()> {
    subject
        .expect_like("recommend", &[SYSTEM, "none", "none", "10"], "ok([")
        .map(drop)
}

fn at_most(subject: &Subject) -> anyhow::Result<()> {
    let product = subject.product(5, 10)?;
    for limit in [1, 3, 100] {
        let product = format!("some({})", text(&product));
        let limited = limit.to_string();
        let said =
            subject.expect_like("recommend", &[SYSTEM, &product, "none", &limited], "ok([")?;
        let found = said.matches("{product-id: ").count();
        anyhow::ensure!(found <= limit, "{found} for a limit of {limit}");
    }
    Ok(())
}
