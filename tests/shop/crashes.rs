//! Races and crashes, forced at named points: the host is killed there, or one request is held while a competing one runs.

use crate::harness::{
    LEASES_EXPIRE, Shop, TEST_CLOCK, at_once, built_with_points, checkout, fresh_key, scratch,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a test does when the host dies.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// A checkout with a valid card.
    Checkout,
    /// A checkout with a card that is refused.
    RefusedCheckout,
    /// A cancellation.
    Cancel,
}

/// Every named point of a checkout, of a failing checkout, of a cancellation, and of the publication of events. The named
/// points of returns are in `returns.rs`.
const SCHEDULE: [(Operation, &str); 16] = [
    (Operation::Checkout, "order.created"),
    (Operation::Checkout, "order.completed"),
    (Operation::Checkout, "order.reserved"),
    (Operation::Checkout, "order.authorized"),
    (Operation::Checkout, "payment.captured"),
    (Operation::Checkout, "order.captured"),
    (Operation::Checkout, "order.confirmed"),
    (Operation::Checkout, "order.paid"),
    (Operation::Checkout, "outbox.published"),
    (Operation::Checkout, "event.handled"),
    (Operation::RefusedCheckout, "order.reserved"),
    (Operation::RefusedCheckout, "order.released"),
    (Operation::Cancel, "order.cancelling"),
    (Operation::Cancel, "order.reversed"),
    (Operation::Cancel, "outbox.published"),
    (Operation::Cancel, "event.handled"),
];

#[test]
fn an_operation_that_dies_at_any_point_takes_effect_once_or_not_at_all() {
    built_with_points();
    // Only a few run concurrently, because each starts three shops.
    for some in SCHEDULE.chunks(6) {
        at_once(some.len(), |number| dies(some[number].0, some[number].1));
    }
}

fn dies(operation: Operation, point: &str) {
    let state = scratch("crash");
    let (key, token) = match operation {
        Operation::RefusedCheckout => (fresh_key(), "tok_declined"),
        _ => (fresh_key(), "tok_visa"),
    };
    let (product, cart, bought) = {
        let shop = Shop::start_in(&state, &[]);
        let product = shop.product(1999, 5);
        let cart = shop.cart_with(&product, 2);
        let bought = matches!(operation, Operation::Cancel).then(|| {
            let order = shop.order(&key, &checkout(&cart, token)).expect(201);
            order.json()["id"].as_str().unwrap().to_owned()
        });
        // Earlier events must be published first.
        settled(&shop);
        (product, cart, bought)
    };
    let body = checkout(&cart, token);
    {
        let mut shop = Shop::start_in(&state, &["--point", &format!("{point}=kill")]);
        let bearer = format!("Bearer {}", shop.token("staff"));
        let url = |path: &str| format!("{}{path}", shop.base);
        // The shop dies before it answers or shortly after.
        let _ = match &bought {
            None => {
                let headers = [
                    ("content-type", "application/json"),
                    ("idempotency-key", key.as_str()),
                ];
                let body = body.to_string();
                shop.try_send("POST", &url("/api/orders"), &headers, body.as_bytes())
            }
            Some(order) => {
                let headers = [("authorization", bearer.as_str())];
                let cancel = url(&format!("/api/orders/{order}/cancel"));
                shop.try_send("POST", &cancel, &headers, b"")
            }
        };
        assert_ne!(shop.wait(), Some(0), "{operation:?} {point}");
    }
    let shop = Shop::start_in(&state, &[TEST_CLOCK]);
    let (stock, status, taken) = match operation {
        Operation::Checkout => ((3, 0), "paid", (3998, 0)),
        Operation::RefusedCheckout => ((5, 0), "failed", (0, 0)),
        Operation::Cancel => ((5, 0), "cancelled", (3998, 3998)),
    };
    let order = bought.unwrap_or_else(|| retry(&shop, &key, &body, operation, point));
    // The leases of the dead shop have expired.
    shop.advance(LEASES_EXPIRE);
    let read = || {
        let path = format!("/api/orders/{order}");
        shop.staff("GET", &path, &Value::Null).expect(200).json()
    };
    shop.eventually("the order has the expected status", || {
        read()["status"] == status
    });
    shop.eventually("the stock is as expected", || shop.stock(&product) == stock);
    let payment = format!(
        "/api/payments/{}",
        read()["payment"]["id"].as_str().unwrap()
    );
    let payment = shop.staff("GET", &payment, &Value::Null).expect(200).json();
    let amount = |name: &str| payment[name]["amount"].as_u64().unwrap();
    assert_eq!(
        (amount("captured"), amount("refunded")),
        taken,
        "{operation:?} {point}"
    );
    settled(&shop);
    let (content, said) = crate::common::verify(&shop, crate::STORES);
    assert!(content, "{operation:?} {point}: {said}");
}

/// Waits until all events are published.
fn settled(shop: &Shop) {
    shop.eventually("all events are published", || {
        !crate::common::verify(shop, crate::STORES)
            .1
            .contains("wait for the bus")
    });
}

/// Repeats a request with the same key until it gets a final answer; returns the order.
fn retry(shop: &Shop, key: &str, body: &Value, operation: Operation, point: &str) -> String {
    // The key is in flight until the lease of the dead request expires; then this request or a concurrent sweep takes over.
    let give_up = Instant::now() + Duration::from_secs(30);
    let first = shop.order(key, body);
    if first.code() == "idempotency_key_in_flight" {
        shop.advance_without_timers(LEASES_EXPIRE);
    }
    let reply = loop {
        let reply = shop.order(key, body);
        let waiting = ["idempotency_key_in_flight", "unavailable"];
        if !waiting.contains(&reply.code().as_str()) {
            break reply;
        }
        assert!(Instant::now() < give_up, "{operation:?} {point}: {reply:?}");
        std::thread::sleep(Duration::from_millis(200));
    };
    match operation {
        Operation::RefusedCheckout => {
            reply.expect_code(402, "payment_declined");
            let all = shop.staff("GET", "/api/orders?all=true", &Value::Null);
            let all = all.expect(200).json();
            assert_eq!(all["items"].as_array().unwrap().len(), 1, "{point}");
            all["items"][0]["id"].as_str().unwrap().to_owned()
        }
        _ => {
            let order = reply.expect(201).json();
            let another = shop.order(&fresh_key(), body);
            let another = another.expect_code(409, "cart_completed").json();
            assert_eq!(another["order_id"], order["id"], "{point}");
            order["id"].as_str().unwrap().to_owned()
        }
    }
}

/// Holds the first request that reaches a named point until the test lets it continue.
struct Hold(PathBuf);

impl Hold {
    fn new(state: &Path) -> Self {
        Self(state.join("hold"))
    }

    fn flag(&self, point: &str) -> String {
        format!("{point}=hold-first:{}", self.0.display())
    }

    /// Waits until a request is held.
    fn reached(&self) {
        let give_up = Instant::now() + Duration::from_secs(30);
        while !self.0.with_extension("reached").exists() {
            assert!(
                Instant::now() < give_up,
                "no request reached the named point"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets the request continue.
    fn go(&self) {
        std::fs::write(self.0.with_extension("go"), "").unwrap();
    }
}

#[test]
fn a_request_held_before_its_reservation_loses_the_last_piece() {
    built_with_points();
    let state = scratch("race");
    let hold = Hold::new(&state);
    let shop = Shop::start_in(&state, &["--point", &hold.flag("order.completed")]);
    let product = shop.product(5, 1);
    let carts = [shop.cart_with(&product, 1), shop.cart_with(&product, 1)];
    let buy = |cart: &str| shop.order(&fresh_key(), &checkout(cart, "tok_visa"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| buy(&carts[0]));
        hold.reached();
        assert_eq!(buy(&carts[1]).expect(201).json()["status"], "paid");
        hold.go();
        first.join().unwrap().expect_code(409, "insufficient_stock");
    });
    assert_eq!(shop.stock(&product), (0, 0));
}

/// The named points at which a checkout is held until its lease expires and another run takes over.
const STALL_POINTS: [&str; 7] = [
    "order.created",
    "order.completed",
    "order.reserved",
    "order.authorized",
    "payment.captured",
    "order.captured",
    "order.confirmed",
];

#[test]
fn a_stalled_checkout_that_continues_after_another_finished_it_changes_nothing() {
    built_with_points();
    at_once(STALL_POINTS.len(), |number| {
        let (point, state) = (STALL_POINTS[number], scratch("still"));
        let hold = Hold::new(&state);
        let shop = Shop::start_in(&state, &["--point", &hold.flag(point), TEST_CLOCK]);
        let product = shop.product(1999, 5);
        let cart = shop.cart_with(&product, 2);
        let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
        std::thread::scope(|scope| {
            let first = scope.spawn(|| shop.order(&key, &body));
            hold.reached();
            let other = retry(&shop, &key, &body, Operation::Checkout, point);
            hold.go();
            let first = first.join().unwrap().expect(201).json();
            assert_eq!(
                (first["id"].as_str(), &first["status"]),
                (Some(other.as_str()), &json!("paid")),
                "{point}"
            );
        });
        stands(&shop, &product, (3, 0), (3998, 0), point);
    });
}

#[test]
fn a_stalled_checkout_that_was_cancelled_meanwhile_charges_nothing() {
    built_with_points();
    // An order can be cancelled only after it was created, which is the case at this point.
    at_once(STALL_POINTS.len(), |number| {
        let (point, state) = (STALL_POINTS[number], scratch("off"));
        let hold = Hold::new(&state);
        let shop = Shop::start_in(&state, &["--point", &hold.flag(point), TEST_CLOCK]);
        let product = shop.product(1999, 5);
        let cart = shop.cart_with(&product, 2);
        let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
        let captured = std::thread::scope(|scope| {
            let first = scope.spawn(|| shop.order(&key, &body));
            hold.reached();
            let all = shop.staff("GET", "/api/orders?all=true", &Value::Null);
            let all = all.expect(200).json();
            let cancel = format!(
                "/api/orders/{}/cancel",
                all["items"][0]["id"].as_str().unwrap()
            );
            // The lease of the stalled checkout has expired.
            shop.advance_without_timers(LEASES_EXPIRE);
            let cancelled =
                crate::common::until_up("cancel", || shop.staff("POST", &cancel, &json!({})));
            assert_eq!(
                cancelled.expect(200).json()["status"],
                "cancelled",
                "{point}"
            );
            hold.go();
            let first = first.join().unwrap();
            assert!(
                [201, 402, 409].contains(&first.status),
                "{point}: {first:?}"
            );
            if first.status == 201 {
                assert_eq!(first.json()["status"], "cancelled", "{point}");
            }
            let order = only_order(&shop);
            order["payment"]["status"] == "refunded"
        });
        let taken = if captured { (3998, 3998) } else { (0, 0) };
        stands(&shop, &product, (5, 0), taken, point);
    });
}

fn only_order(shop: &Shop) -> Value {
    let all = shop.staff("GET", "/api/orders?all=true", &Value::Null);
    all.expect(200).json()["items"][0].clone()
}

/// Checks the stock, the captured and refunded amounts, and that `localmart verify` finds no violation.
fn stands(shop: &Shop, product: &str, stock: (u64, u64), taken: (u64, u64), point: &str) {
    settled(shop);
    assert_eq!(shop.stock(product), stock, "{point}");
    let order = only_order(shop);
    if let Some(payment) = order["payment"]["id"].as_str() {
        let payment = shop.staff("GET", &format!("/api/payments/{payment}"), &Value::Null);
        let payment = payment.expect(200).json();
        let amount = |name: &str| payment[name]["amount"].as_u64().unwrap();
        assert_eq!((amount("captured"), amount("refunded")), taken, "{point}");
    }
    let (content, said) = crate::common::verify(shop, crate::STORES);
    assert!(content, "{point}: {said}");
}

#[test]
fn everything_that_a_killed_host_answered_is_kept() {
    let state = scratch("kill");
    crate::harness::built();
    let mut shop = Shop::start_in(&state, &[]);
    let product = shop.product(1999, 5);
    let cart = shop.cart_with(&product, 2);
    let key = fresh_key();
    let order = shop.order(&key, &checkout(&cart, "tok_visa")).expect(201);
    shop.kill();
    let shop = Shop::start_in(&state, &[]);
    assert_eq!(
        shop.order(&key, &checkout(&cart, "tok_visa"))
            .expect(201)
            .text,
        order.text
    );
    assert_eq!(shop.stock(&product), (3, 0));
}
