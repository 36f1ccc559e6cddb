//! Races and crashes, forced at named points: the host dies there as by kill -9, or one client is held while a rival runs.

use crate::harness::{
    LEASES_EXPIRE, Shop, TEST_CLOCK, at_once, built_with_points, checkout, fresh_key, scratch,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What somebody wants when the host dies.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// To buy, with a good card.
    Buy,
    /// To buy, with a card that is refused.
    BuyInVain,
    /// To call an order off.
    CallOff,
}

/// Every named point on the way of a checkout, of its failing, of its being called off, and of the events that it makes. Those
/// of returns are in `returns.rs`.
const SCHEDULE: [(Want, &str); 16] = [
    (Want::Buy, "order.created"),
    (Want::Buy, "order.completed"),
    (Want::Buy, "order.reserved"),
    (Want::Buy, "order.authorized"),
    (Want::Buy, "payment.captured"),
    (Want::Buy, "order.captured"),
    (Want::Buy, "order.confirmed"),
    (Want::Buy, "order.paid"),
    (Want::Buy, "outbox.published"),
    (Want::Buy, "event.handled"),
    (Want::BuyInVain, "order.reserved"),
    (Want::BuyInVain, "order.released"),
    (Want::CallOff, "order.cancelling"),
    (Want::CallOff, "order.reversed"),
    (Want::CallOff, "outbox.published"),
    (Want::CallOff, "event.handled"),
];

#[test]
fn whoever_dies_anywhere_has_done_it_once_or_not_at_all() {
    built_with_points();
    // A few at a time: each starts three shops.
    for some in SCHEDULE.chunks(6) {
        at_once(some.len(), |number| dies(some[number].0, some[number].1));
    }
}

fn dies(want: Want, point: &str) {
    let state = scratch("crash");
    let (key, token) = match want {
        Want::BuyInVain => (fresh_key(), "tok_declined"),
        _ => (fresh_key(), "tok_visa"),
    };
    let (product, cart, bought) = {
        let shop = Shop::start_in(&state, &[]);
        let product = shop.product(1999, 5);
        let cart = shop.cart_with(&product, 2);
        let bought = matches!(want, Want::CallOff).then(|| {
            let order = shop.order(&key, &checkout(&cart, token)).expect(201);
            order.json()["id"].as_str().unwrap().to_owned()
        });
        // What was done before is told before.
        settled(&shop);
        (product, cart, bought)
    };
    let body = checkout(&cart, token);
    {
        let mut shop = Shop::start_in(&state, &["--point", &format!("{point}=kill")]);
        let bearer = format!("Bearer {}", shop.token("staff"));
        let url = |path: &str| format!("{}{path}", shop.base);
        // It dies before it answers, or soon after.
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
        assert_ne!(shop.wait(), Some(0), "{want:?} {point}");
    }
    let shop = Shop::start_in(&state, &[TEST_CLOCK]);
    let (stock, status, taken) = match want {
        Want::Buy => ((3, 0), "paid", (3998, 0)),
        Want::BuyInVain => ((5, 0), "failed", (0, 0)),
        Want::CallOff => ((5, 0), "cancelled", (3998, 3998)),
    };
    let order = bought.unwrap_or_else(|| again(&shop, &key, &body, want, point));
    // The lease of the killed checkout ends, and the sweep takes it over.
    shop.advance(LEASES_EXPIRE);
    let read = || {
        let path = format!("/api/orders/{order}");
        shop.staff("GET", &path, &Value::Null).expect(200).json()
    };
    shop.eventually("the order stands where it should", || {
        read()["status"] == status
    });
    shop.eventually("the stock is what it should be", || {
        shop.stock(&product) == stock
    });
    let payment = format!(
        "/api/payments/{}",
        read()["payment"]["id"].as_str().unwrap()
    );
    let payment = shop.staff("GET", &payment, &Value::Null).expect(200).json();
    let amount = |name: &str| payment[name]["amount"].as_u64().unwrap();
    assert_eq!(
        (amount("captured"), amount("refunded")),
        taken,
        "{want:?} {point}"
    );
    settled(&shop);
    let (content, said) = crate::common::verify(&shop, crate::STORES);
    assert!(content, "{want:?} {point}: {said}");
}

/// Waits until no event waits for the bus.
fn settled(shop: &Shop) {
    shop.eventually("all events are carried", || {
        !crate::common::verify(shop, crate::STORES)
            .1
            .contains("wait for the bus")
    });
}

/// Asks with the same key until it is answered for good; the order.
fn again(shop: &Shop, key: &str, body: &Value, want: Want, point: &str) -> String {
    // The key is in flight until the lease of the dead request has ended. Then this request gets it, or a sweep that runs
    // at this moment.
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
        assert!(Instant::now() < give_up, "{want:?} {point}: {reply:?}");
        std::thread::sleep(Duration::from_millis(200));
    };
    match want {
        Want::BuyInVain => {
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

/// Where the first to come to a point is held until it may go on.
struct Hold(PathBuf);

impl Hold {
    fn new(state: &Path) -> Self {
        Self(state.join("hold"))
    }

    fn flag(&self, point: &str) -> String {
        format!("{point}=hold-first:{}", self.0.display())
    }

    /// Waits until somebody is held.
    fn reached(&self) {
        let give_up = Instant::now() + Duration::from_secs(30);
        while !self.0.with_extension("reached").exists() {
            assert!(Instant::now() < give_up, "nobody comes to the point");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets it go on.
    fn go(&self) {
        std::fs::write(self.0.with_extension("go"), "").unwrap();
    }
}

#[test]
fn two_race_for_the_last_piece_with_one_held_before_it_reserves() {
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

/// The points at which a checkout may stand still so long that somebody else takes it for dead.
const STANDSTILLS: [&str; 7] = [
    "order.created",
    "order.completed",
    "order.reserved",
    "order.authorized",
    "payment.captured",
    "order.captured",
    "order.confirmed",
];

#[test]
fn a_checkout_that_stood_still_and_goes_on_after_another_finished_it_changes_nothing() {
    built_with_points();
    at_once(STANDSTILLS.len(), |number| {
        let (point, state) = (STANDSTILLS[number], scratch("still"));
        let hold = Hold::new(&state);
        let shop = Shop::start_in(&state, &["--point", &hold.flag(point), TEST_CLOCK]);
        let product = shop.product(1999, 5);
        let cart = shop.cart_with(&product, 2);
        let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
        std::thread::scope(|scope| {
            let first = scope.spawn(|| shop.order(&key, &body));
            hold.reached();
            let other = again(&shop, &key, &body, Want::Buy, point);
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
fn a_checkout_that_stood_still_and_was_called_off_meanwhile_takes_nothing() {
    built_with_points();
    // Before it is created there is nothing to call off; there is at the point itself.
    at_once(STANDSTILLS.len(), |number| {
        let (point, state) = (STANDSTILLS[number], scratch("off"));
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
            // The lease of the held checkout ends.
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

/// The one order's stock, and what was captured and refunded; and the shop verifies clean.
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
fn a_killed_host_keeps_what_it_answered() {
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
