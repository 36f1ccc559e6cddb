//! What every payment service must do.

use super::Case;
use super::subject::{SYSTEM, Subject, text};
use anyhow::Context as _;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an unknown payment is not found",
        check: unknown,
    },
    Case {
        name: "an order that is authorised and captured repeatedly is charged once",
        check: captured_once,
    },
    Case {
        name: "a declined card is not charged",
        check: declined,
    },
    Case {
        name: "an authorisation that is reversed cannot be captured",
        check: voided,
    },
    Case {
        name: "a refund with one name is made once, and never exceeds the charge",
        check: refunded_once,
    },
];

fn authorize(subject: &Subject, order: &str, token: &str) -> anyhow::Result<String> {
    let amount = "{amount: 1999, currency: \"USD\"}";
    subject.call(
        "authorize",
        &[SYSTEM, &text(order), "none", amount, &text(token)],
    )
}

/// The id of the payment in an answer.
fn id(answer: &str) -> anyhow::Result<String> {
    let id = answer
        .split("id: \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    id.map(str::to_owned)
        .with_context(|| format!("no payment in {answer}"))
}

fn unknown(subject: &Subject) -> anyhow::Result<()> {
    let nobody = text(&subject.fresh_id());
    subject.expect("find", &[SYSTEM, &nobody], "err(not-found)")?;
    subject.expect("capture", &[SYSTEM, &nobody], "err(not-found)")
}

fn captured_once(subject: &Subject) -> anyhow::Result<()> {
    let order = subject.fresh_id();
    let payment = id(&authorize(subject, &order, "tok_visa")?)?;
    anyhow::ensure!(
        id(&authorize(subject, &order, "tok_visa")?)? == payment,
        "a second payment was made"
    );
    for _ in 0..2 {
        let captured = subject.expect_like("capture", &[SYSTEM, &text(&payment)], "ok({id: ")?;
        anyhow::ensure!(
            captured.contains("status: captured") && captured.contains("captured: 1999"),
            "{captured}"
        );
    }
    Ok(())
}

fn declined(subject: &Subject) -> anyhow::Result<()> {
    let order = subject.fresh_id();
    let said = authorize(subject, &order, "tok_declined")?;
    anyhow::ensure!(said.starts_with("err(declined("), "{said}");
    let found = subject.call("find", &[SYSTEM, &text(&order)])?;
    anyhow::ensure!(
        found == "err(not-found)"
            || (found.contains("status: failed") && found.contains("captured: 0")),
        "{found}"
    );
    Ok(())
}

fn voided(subject: &Subject) -> anyhow::Result<()> {
    let payment = id(&authorize(subject, &subject.fresh_id(), "tok_visa")?)?;
    let reversed = subject.expect_like("reverse", &[SYSTEM, &text(&payment)], "ok({id: ")?;
    anyhow::ensure!(reversed.contains("status: voided"), "{reversed}");
    subject
        .expect_like("capture", &[SYSTEM, &text(&payment)], "err(illegal-state(")
        .map(drop)
}

fn refunded_once(subject: &Subject) -> anyhow::Result<()> {
    let payment = id(&authorize(subject, &subject.fresh_id(), "tok_visa")?)?;
    subject.expect_like("capture", &[SYSTEM, &text(&payment)], "ok(")?;
    let give = |name: &str, amount: u64, given: u64| {
        let money = format!("{{amount: {amount}, currency: \"USD\"}}");
        let arguments = [SYSTEM, &text(&payment), &text(name), &money];
        subject.expect_like("give-back", &arguments, &format!("ok({{amount: {given}, "))
    };
    give("first", 500, 500)?;
    give("first", 500, 500)?;
    let rest = give("second", 5000, 1499)?;
    anyhow::ensure!(rest.contains("refunded: 1999"), "{rest}");
    Ok(())
}
