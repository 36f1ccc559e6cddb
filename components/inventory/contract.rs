//! What every inventory must do.

use super::Case;
use super::subject::{SYSTEM, Subject, text};

/// A time that does not come while the suite runs, in Unix milliseconds.
const LATER: &str = "9999999999999";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a reservation that is repeated keeps stock once",
        check: reserved_once,
    },
    Case {
        name: "where stock is too low, the line is named and nothing is kept",
        check: too_little,
    },
    Case {
        name: "a confirmed reservation is a sale, and a released one returns its stock",
        check: confirmed_or_released,
    },
    Case {
        name: "a sale that is restocked twice returns once",
        check: restocked,
    },
];

fn levels(subject: &Subject, product: &str, on_hand: u64, reserved: u64) -> anyhow::Result<()> {
    let ids = format!("[{product:?}]");
    let level =
        format!("ok([{{product-id: {product:?}, on-hand: {on_hand}, reserved: {reserved}}}])");
    subject.expect("get-levels", &[SYSTEM, &ids], &level)
}

fn lines(product: &str, quantity: u32) -> String {
    format!("[{{product-id: {product:?}, quantity: {quantity}}}]")
}

fn reserve(subject: &Subject, order: &str, lines: &str, answer: &str) -> anyhow::Result<()> {
    subject
        .expect_like("reserve", &[SYSTEM, &text(order), lines, LATER], answer)
        .map(drop)
}

fn reserved_once(subject: &Subject) -> anyhow::Result<()> {
    let (product, order) = (subject.product(5, 10)?, subject.fresh_id());
    for _ in 0..3 {
        reserve(subject, &order, &lines(&product, 4), "ok")?;
        levels(subject, &product, 10, 4)?;
    }
    Ok(())
}

fn too_little(subject: &Subject) -> anyhow::Result<()> {
    let (product, order) = (subject.product(5, 3)?, subject.fresh_id());
    let short =
        format!("err(insufficient([{{product-id: {product:?}, requested: 4, available: 3}}]))");
    reserve(subject, &order, &lines(&product, 4), &short)?;
    levels(subject, &product, 3, 0)
}

fn confirmed_or_released(subject: &Subject) -> anyhow::Result<()> {
    let product = subject.product(5, 10)?;
    let (sold, left) = (subject.fresh_id(), subject.fresh_id());
    reserve(subject, &sold, &lines(&product, 4), "ok")?;
    reserve(subject, &left, &lines(&product, 2), "ok")?;
    for _ in 0..2 {
        subject.expect("confirm", &[SYSTEM, &text(&sold)], "ok")?;
        subject.expect("release", &[SYSTEM, &text(&left)], "ok")?;
        levels(subject, &product, 6, 0)?;
    }
    subject.expect("confirm", &[SYSTEM, &text(&left)], "err(reservation-lost)")
}

fn restocked(subject: &Subject) -> anyhow::Result<()> {
    let (product, order) = (subject.product(5, 10)?, subject.fresh_id());
    reserve(subject, &order, &lines(&product, 4), "ok")?;
    subject.expect("confirm", &[SYSTEM, &text(&order)], "ok")?;
    for _ in 0..2 {
        subject.expect("restock", &[SYSTEM, &text(&order)], "ok")?;
        levels(subject, &product, 10, 0)?;
    }
    subject.expect("restock", &[SYSTEM, &text(&subject.fresh_id())], "ok")
}
