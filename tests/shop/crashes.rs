//! Races and crashes, forced at named points: the host dies there as by kill -9, or one client is held while a rival runs.

use crate::harness::{Shop, at_once, built_with_points, checkout, fresh_key, scratch};
use serde_json::json;
use std::time::{Duration, Instant};

/// The points of the saga, in order.
const POINTS: [&str; 7] = [
    "order.created",
    "order.completed",
    "order.reserved",
    "order.authorized",
    "payment.captured",
    "order.captured",
    "order.confirmed",
];

#[test]
fn a_checkout_that_died_anywhere_becomes_one_order() {
    built_with_points();
    for point in POINTS {
        let state = scratch("crash");
        let (product, cart) = {
            let shop = Shop::start_in(&state, &[]);
            let product = shop.product(1999, 5);
            let cart = shop.cart_with(&product, 2);
            (product, cart)
        };
        let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
        let mut shop = Shop::start_in(&state, &["--point", &format!("{point}=kill")]);
        let url = format!("{}/api/orders", shop.base);
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key.as_str()),
        ];
        let died = shop.try_send("POST", &url, &headers, body.to_string().as_bytes());
        assert!(died.is_err(), "{point}: {died:?}");
        assert_ne!(shop.wait(), Some(0));
        let shop = Shop::start_in(&state, &[]);
        // Until the dead one's lease has lapsed the key is in flight; then it is this request's, or the sweep was faster.
        let give_up = Instant::now() + Duration::from_secs(30);
        let order = loop {
            let reply = shop.order(&key, &body);
            if reply.status == 201 {
                break reply.json();
            }
            let waiting = matches!(
                reply.code().as_str(),
                "idempotency_key_in_flight" | "unavailable"
            );
            assert!(waiting && Instant::now() < give_up, "{point}: {reply:?}");
            std::thread::sleep(Duration::from_millis(200));
        };
        assert_eq!(
            (order["status"].as_str(), shop.stock(&product)),
            (Some("paid"), (3, 0)),
            "{point}"
        );
        let payment = format!("/api/payments/{}", order["payment"]["id"].as_str().unwrap());
        let staff = format!("Bearer {}", shop.token("staff"));
        let payment = shop
            .send("GET", &payment, &[("authorization", &staff)], &[])
            .expect(200)
            .json();
        assert_eq!(payment["captured"]["amount"], 3998, "{point}");
        let again = shop
            .order(&fresh_key(), &body)
            .expect_code(409, "cart_completed");
        assert_eq!(again.json()["order_id"], order["id"], "{point}");
    }
}

#[test]
fn two_race_for_the_last_piece_with_one_held_before_it_reserves() {
    built_with_points();
    let shop = Shop::start_in(
        &scratch("race"),
        &["--point", "order.completed=delay-first:1500"],
    );
    let product = shop.product(5, 1);
    let carts = [shop.cart_with(&product, 1), shop.cart_with(&product, 1)];
    let replies = at_once(2, |number| {
        // The first comes to the point first and is held there; the second runs past it.
        std::thread::sleep(Duration::from_millis(500 * number as u64));
        shop.order(&fresh_key(), &checkout(&carts[number], "tok_visa"))
    });
    assert_eq!(replies[1].clone().expect(201).json()["status"], "paid");
    replies[0].clone().expect_code(409, "insufficient_stock");
    assert_eq!(shop.stock(&product), (0, 0));
}

#[test]
fn a_cancellation_during_checkout_ends_in_nothing_owed() {
    built_with_points();
    let shop = Shop::start_in(
        &scratch("cancel"),
        &["--point", "order.authorized=delay-first:1000"],
    );
    let product = shop.product(1999, 5);
    let cart = shop.cart_with(&product, 2);
    let key = fresh_key();
    let staff = format!("Bearer {}", shop.token("staff"));
    let replies = at_once(2, |number| {
        if number == 0 {
            return shop.order(&key, &checkout(&cart, "tok_visa"));
        }
        std::thread::sleep(Duration::from_millis(400));
        let order = shop.get(&format!("/api/carts/{cart}")).expect(200).json()["order_id"]
            .as_str()
            .unwrap()
            .to_owned();
        shop.json(
            "POST",
            &format!("/api/orders/{order}/cancel"),
            &[("authorization", &staff)],
            &json!({}),
        )
    });
    let (order, cancelled) = (
        replies[0].clone().expect(201).json(),
        replies[1].clone().expect(200).json(),
    );
    assert_eq!(
        (order["id"].clone(), cancelled["status"].as_str()),
        (cancelled["id"].clone(), Some("cancelled"))
    );
    assert_eq!(shop.stock(&product), (5, 0));
    let payment = format!(
        "/api/payments/{}",
        cancelled["payment"]["id"].as_str().unwrap()
    );
    let payment = shop
        .send("GET", &payment, &[("authorization", &staff)], &[])
        .expect(200)
        .json();
    assert_eq!(payment["captured"], payment["refunded"]);
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
