//! What every catalog must do.

use super::Case;
use super::subject::{SYSTEM, Subject, text};
use anyhow::bail;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an unknown product is not found",
        check: unknown,
    },
    Case {
        name: "a product has the values that were written",
        check: a_product,
    },
    Case {
        name: "several products are read at once, and unknown ids are left out",
        check: several,
    },
    Case {
        name: "more than 200 ids are refused",
        check: too_many,
    },
];

fn unknown(subject: &Subject) -> anyhow::Result<()> {
    for id in [subject.fresh_id().as_str(), "", "nonsense", "' OR 1=1 --"] {
        subject.expect("get-product", &[SYSTEM, &text(id)], "err(not-found)")?;
    }
    subject.expect("get-products", &[SYSTEM, "[]"], "ok([])")
}

fn a_product(subject: &Subject) -> anyhow::Result<()> {
    let id = subject.product(1999, 0)?;
    let said = subject.expect_like("get-product", &[SYSTEM, &text(&id)], "ok({id: ")?;
    for part in [
        id.as_str(),
        "price: {amount: 1999, currency: \"USD\"}",
        "published: true",
    ] {
        if !said.contains(part) {
            bail!("{part} is not in {said}");
        }
    }
    Ok(())
}

fn several(subject: &Subject) -> anyhow::Result<()> {
    let (one, two) = (subject.product(1, 0)?, subject.product(2, 0)?);
    let ids = format!("[{:?}, {:?}, {:?}]", one, subject.fresh_id(), two);
    let said = subject.expect_like("get-products", &[SYSTEM, &ids], "ok([{id: ")?;
    if said.matches("{id: ").count() != 2 || !said.contains(&one) || !said.contains(&two) {
        bail!("{ids} is answered with {said}");
    }
    Ok(())
}

fn too_many(subject: &Subject) -> anyhow::Result<()> {
    let ids: Vec<String> = (0..201).map(|_| text(&subject.fresh_id())).collect();
    let ids = format!("[{}]", ids.join(", "));
    subject
        .expect_like("get-products", &[SYSTEM, &ids], "err(other(")
        .map(drop)
}
