//! The invariants I1 to I7 of a shop. I8, that no user reads the data of another, is a matter of tests.

use super::facts::{Facts, Order};
use std::collections::BTreeMap;

/// Every legal step of an order's status. It is written down here again on purpose: a check must not share its rules with what it checks.
const GRAPH: &[(&str, &str)] = &[
    ("pending", "paid"),
    ("pending", "failed"),
    ("pending", "cancelled"),
    ("paid", "shipped"),
    ("paid", "cancelled"),
    ("shipped", "delivered"),
    ("delivered", "return_requested"),
    ("return_requested", "returned"),
    ("return_requested", "delivered"),
];

/// All violations, one line each.
pub(super) fn violations(facts: &Facts) -> Vec<String> {
    let mut wrong = facts.unreadable.clone();
    stock(facts, &mut wrong);
    money(facts, &mut wrong);
    carts(facts, &mut wrong);
    for (id, order) in &facts.orders {
        sums(id, order, &mut wrong);
        history(id, order, &mut wrong);
        goods(id, order, facts, &mut wrong);
        announced(id, order, facts, &mut wrong);
    }
    effects(facts, &mut wrong);
    wrong
}

/// I1: stock is what came in less what was sold, and reserved is what orders hold. I2: neither is ever negative or too large.
fn stock(facts: &Facts, wrong: &mut Vec<String>) {
    for (product, stock) in &facts.stock {
        if stock.on_hand != stock.adjusted - stock.sold {
            wrong.push(format!(
                "I1 product {product}: {} on hand, but {} came in and {} were sold",
                stock.on_hand, stock.adjusted, stock.sold
            ));
        }
        if stock.reserved != stock.held {
            wrong.push(format!(
                "I1 product {product}: {} reserved, but orders hold {}",
                stock.reserved, stock.held
            ));
        }
        if stock.on_hand < 0 || stock.reserved < 0 || stock.reserved > stock.on_hand {
            wrong.push(format!(
                "I2 product {product}: {} on hand and {} reserved",
                stock.on_hand, stock.reserved
            ));
        }
    }
}

/// I3: the money that was captured and not refunded fits the order's status, here and at the provider.
fn money(facts: &Facts, wrong: &mut Vec<String>) {
    let mut by_order = BTreeMap::new();
    for (id, payment) in &facts.payments {
        by_order.insert(payment.order_id.as_str(), payment);
        if payment.refunded < 0 || payment.refunded > payment.captured {
            wrong.push(format!(
                "I3 payment {id}: {} refunded of {} captured",
                payment.refunded, payment.captured
            ));
        }
        if payment.refunds != payment.refunded {
            wrong.push(format!(
                "I3 payment {id}: {} refunded, but its refunds add up to {}",
                payment.refunded, payment.refunds
            ));
        }
        let settled = !matches!(payment.status.as_str(), "pending" | "authorized");
        if settled
            && payment
                .provider
                .is_some_and(|known| known != (payment.captured, payment.refunded))
        {
            wrong.push(format!(
                "I3 payment {id}: the provider has recorded other sums"
            ));
        }
    }
    for (id, order) in &facts.orders {
        let payment = by_order.get(id.as_str());
        let captured = payment.map_or(0, |payment| payment.captured);
        let kept = captured - payment.map_or(0, |payment| payment.refunded);
        match order.status.as_str() {
            "failed" | "cancelled" | "returned" if kept != 0 => {
                wrong.push(format!(
                    "I3 order {id}: it is {}, but {kept} was not refunded",
                    order.status
                ));
            }
            "paid" | "shipped" | "delivered" | "return_requested"
                if captured != order.totals[4] =>
            {
                wrong.push(format!(
                    "I3 order {id}: it is {}, but {captured} was captured of {}",
                    order.status, order.totals[4]
                ));
            }
            _ => {}
        }
    }
}

/// I4: a cart becomes one order at most.
fn carts(facts: &Facts, wrong: &mut Vec<String>) {
    let mut live: BTreeMap<&str, u32> = BTreeMap::new();
    for order in facts
        .orders
        .values()
        .filter(|order| order.status != "failed")
    {
        *live.entry(&order.cart_id).or_default() += 1;
    }
    for (cart, orders) in live.into_iter().filter(|(_, orders)| *orders > 1) {
        wrong.push(format!("I4 cart {cart}: it became {orders} orders"));
    }
}

/// I5: the total of an order is the sum of its parts.
fn sums(id: &str, order: &Order, wrong: &mut Vec<String>) {
    let [subtotal, discount, shipping, tax, total] = order.totals;
    if total != order.line_totals - discount + tax + shipping || subtotal != order.line_totals {
        wrong.push(format!(
            "I5 order {id}: its total of {total} is not the sum of its parts"
        ));
    }
}

/// I6: each step of an order was published once, in the right sequence.
fn announced(id: &str, order: &Order, facts: &Facts, wrong: &mut Vec<String>) {
    if facts
        .waiting
        .get("order")
        .is_some_and(|waiting| *waiting > 0)
        || !facts.whole_history
    {
        return;
    }
    let mut expected: Vec<String> = Vec::new();
    for status in &order.history {
        match status.as_str() {
            "pending" => expected.push("order.created".to_owned()),
            // After it there are only returns, and each of those is an event of its own.
            "failed" | "return_requested" => break,
            other => expected.push(format!("order.{other}")),
        }
    }
    expected.extend((0..order.returns).map(|_| "order.returned".to_owned()));
    let heard = facts.events.get(id).cloned().unwrap_or_default();
    let dropped = order.created_at < facts.bus_begins && expected.ends_with(&heard);
    let pending = order.status == "pending" && heard.is_empty();
    if dropped || pending || heard == expected {
        return;
    }
    wrong.push(match heard.is_empty() {
        true => format!("I6 order {id}: it has no events"),
        false => format!("I6 order {id}: its events should be {expected:?}, but are {heard:?}"),
    });
}

/// I6: consumers have counted what happened.
fn effects(facts: &Facts, wrong: &mut Vec<String>) {
    for (service, waiting) in &facts.waiting {
        if *waiting > 0 {
            wrong.push(format!("I6 {service}: {waiting} events wait for the bus"));
        }
    }
    let Some(signals) = facts.sold_signals.as_ref().filter(|_| facts.all_read) else {
        return;
    };
    let mut sold: BTreeMap<&str, i64> = BTreeMap::new();
    let counts = |order: &&Order| {
        order.history.iter().any(|status| status == "paid") && order.status != "cancelled"
    };
    for order in facts.orders.values().filter(counts) {
        for (product, quantity) in &order.lines {
            *sold.entry(product).or_default() += quantity;
        }
    }
    for (product, signals) in signals {
        let truly = sold.remove(product.as_str()).unwrap_or_default();
        if truly != *signals {
            wrong.push(format!(
                "I6 product {product}: {truly} were sold, but recommendation has counted {signals}"
            ));
        }
    }
    for (product, quantity) in sold {
        wrong.push(format!(
            "I6 product {product}: {quantity} were sold, but recommendation has counted none"
        ));
    }
}

/// I7: an order went only legal steps.
fn history(id: &str, order: &Order, wrong: &mut Vec<String>) {
    let steps = order.history.iter().zip(order.history.iter().skip(1));
    for (from, to) in steps {
        if !GRAPH.contains(&(from.as_str(), to.as_str())) {
            wrong.push(format!("I7 order {id}: it went from {from} to {to}"));
        }
    }
    if order.history.first().is_none_or(|first| first != "pending")
        || order.history.last() != Some(&order.status)
    {
        wrong.push(format!(
            "I7 order {id}: its history does not end with {}",
            order.status
        ));
    }
}

/// I1: an order has its goods exactly if it is paid.
fn goods(id: &str, order: &Order, facts: &Facts, wrong: &mut Vec<String>) {
    let Some(states) = facts.reservations.get(id) else {
        if matches!(order.status.as_str(), "paid" | "shipped" | "delivered") {
            wrong.push(format!(
                "I1 order {id}: it is {} without any goods",
                order.status
            ));
        }
        return;
    };
    let sold = states.contains("sold");
    let kept = facts.kept.get(id).copied().unwrap_or_default();
    if order.status == "returned" && kept != 0 {
        wrong.push(format!(
            "I1 order {id}: it is returned, but {kept} pieces did not come back"
        ));
    }
    match order.status.as_str() {
        "paid" | "shipped" | "delivered" | "return_requested" if !sold => {
            wrong.push(format!(
                "I1 order {id}: it is {}, but its goods are {states:?}",
                order.status
            ));
        }
        "failed" | "cancelled" if sold || states.contains("held") => {
            wrong.push(format!(
                "I1 order {id}: it is {}, but its goods are {states:?}",
                order.status
            ));
        }
        _ => {}
    }
}
