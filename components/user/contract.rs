//! What every user service must do.

use super::Case;
use super::subject::{SYSTEM, Subject, text};
use anyhow::Context as _;
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an unknown user is not found",
        check: unknown,
    },
    Case {
        name: "a user is visible to the shop and to that user, and to nobody else",
        check: told_to_some,
    },
];

fn actor(actor: &str) -> String {
    format!("{{trace-parent: \"\", actor: {actor}, deadline: 0}}")
}

fn unknown(subject: &Subject) -> anyhow::Result<()> {
    for id in [subject.fresh_id().as_str(), "", "nonsense"] {
        subject.expect("get", &[SYSTEM, &text(id)], "err(not-found)")?;
    }
    Ok(())
}

fn told_to_some(subject: &Subject) -> anyhow::Result<()> {
    let email = format!("contract{}@example.com", subject.fresh());
    let body = json!({ "email": email, "password": "correct horse" });
    let registered = subject.post("/api/auth/register", &body)?;
    let id = registered
        .pointer("/user/id")
        .and_then(Value::as_str)
        .context("a user without an id")?;
    let known = format!("ok({{id: {id:?}, email: {email:?}}})");
    subject.expect("get", &[SYSTEM, &text(id)], &known)?;
    let myself = actor(&format!("customer({id:?})"));
    subject.expect("get", &[&myself, &text(id)], &known)?;
    for other in [
        "anonymous".to_owned(),
        format!("customer({:?})", subject.fresh_id()),
    ] {
        subject.expect("get", &[&actor(&other), &text(id)], "err(not-found)")?;
    }
    Ok(())
}
