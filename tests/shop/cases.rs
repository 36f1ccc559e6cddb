//! Adversarial cases across services: forbidden transitions, races for stock, currencies, keys after a refusal, expired
//! reservations.

use crate::harness::{
    Reply, Shop, TEST_CLOCK, at_once, built, built_with_points, checkout, fresh_key, scratch,
};
use serde_json::{Value, json};

fn read(shop: &Shop, order: &Value) -> Value {
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    shop.staff("GET", &path, &Value::Null).expect(200).json()
}

fn buy(shop: &Shop, product: &str, token: &str) -> Value {
    let cart = shop.cart_with(product, 2);
    let order = shop.order(&fresh_key(), &checkout(&cart, token));
    if order.status == 402 {
        let all = shop.staff("GET", "/api/orders?all=true&status=failed", &Value::Null);
        return all.expect(200).json()["items"][0].clone();
    }
    order.expect(201).json()
}

/// Tries an action on an order. An approval needs a return, so a return is requested first.
fn act(shop: &Shop, order: &Value, verb: &str) -> Reply {
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    if verb != "returns" {
        return shop.staff("POST", &format!("{path}/{verb}"), &json!({}));
    }
    let item = json!({ "product_id": order["items"][0]["product_id"], "quantity": 2 });
    let bearer = format!("Bearer {}", shop.token("staff"));
    let key = fresh_key();
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", key.as_str()),
    ];
    let body = json!({ "items": [item], "reason": "does not fit" });
    shop.json("POST", &format!("{path}/returns"), &headers, &body)
}

/// Creates an order with a status.
fn at(shop: &Shop, product: &str, status: &str) -> Value {
    let order = match status {
        "pending" => return buy(shop, product, "tok_timeout"),
        "failed" => return buy(shop, product, "tok_declined"),
        _ => buy(shop, product, "tok_visa"),
    };
    let steps: &[&str] = match status {
        "cancelled" => &["cancel"],
        "shipped" => &["ship"],
        "delivered" => &["ship", "deliver"],
        "return_requested" | "returned" => &["ship", "deliver", "returns"],
        _ => &[],
    };
    let mut last = None;
    for verb in steps {
        let reply = act(shop, &order, verb);
        assert!(reply.status < 300, "{status}: {reply:?}");
        last = Some(reply.json());
    }
    if status == "returned" {
        let id = last.unwrap()["id"].as_str().unwrap().to_owned();
        act(shop, &order, &format!("returns/{id}/approve")).expect(200);
    }
    order
}

fn events_of(shop: &Shop, order: &Value) -> usize {
    let events = crate::common::history(shop, "order.events");
    let mine = events
        .iter()
        .filter(|event| event["subject"] == order["id"]);
    mine.count()
}

#[test]
fn every_transition_outside_the_graph_is_refused_without_an_event() {
    built();
    let shop = Shop::start_in(
        &scratch("graph"),
        &["--variable", "payment_reconcile_after=1h"],
    );
    let product = shop.product(500, 100);
    let legal = [
        ("pending", "cancel"),
        ("paid", "ship"),
        ("paid", "cancel"),
        ("shipped", "deliver"),
        ("delivered", "returns"),
    ];
    for status in [
        "pending",
        "paid",
        "failed",
        "cancelled",
        "shipped",
        "delivered",
        "return_requested",
        "returned",
    ] {
        let order = at(&shop, &product, status);
        assert_eq!(read(&shop, &order)["status"], status);
        let settled = |shop: &Shop| {
            // All earlier events are published.
            shop.eventually("all events are published", || {
                !crate::common::verify(shop, crate::STORES)
                    .1
                    .contains("wait for the bus")
            });
            events_of(shop, &order)
        };
        let before = settled(&shop);
        for verb in ["ship", "deliver", "cancel", "returns"] {
            if !legal.contains(&(status, verb)) {
                act(&shop, &order, verb).expect_code(409, "illegal_transition");
            }
        }
        assert_eq!(
            (read(&shop, &order)["status"].as_str(), settled(&shop)),
            (Some(status), before)
        );
    }
    let (content, said) = crate::common::verify(&shop, crate::STORES);
    assert!(content, "{said}");
}

#[test]
fn concurrent_requests_cannot_exceed_the_stock_together() {
    let shop = Shop::shared();
    let product = shop.product(500, 10);
    let cart = shop.send("POST", "/api/carts", &[], &[]).expect(201).json();
    let cart = cart["id"].as_str().unwrap();
    let items = format!("/api/carts/{cart}/items");
    let six = json!({ "product_id": product, "quantity": 6 });
    for reply in at_once(2, |_| shop.post(&items, &six)) {
        reply.expect(200);
    }
    let refused = shop.order(&fresh_key(), &checkout(cart, "tok_visa"));
    let refused = refused.expect_code(409, "insufficient_stock");
    assert_eq!(
        refused.fields(),
        [format!("items.{product}:insufficient_stock")]
    );
    assert_eq!(shop.stock(&product), (10, 0));
    shop.json(
        "PUT",
        &format!("{items}/{product}"),
        &[],
        &json!({ "quantity": 6 }),
    )
    .expect(200);
    shop.order(&fresh_key(), &checkout(cart, "tok_visa"))
        .expect(201);
    assert_eq!(shop.stock(&product), (4, 0));
}

#[test]
fn every_currency_is_charged_with_its_own_digits() {
    let shop = Shop::shared();
    for (currency, price) in [
        ("JPY", 2235),
        ("KRW", 99),
        ("BHD", 1999),
        ("KWD", 1),
        ("EUR", 333),
    ] {
        let product = shop.product_in(currency, price, 10);
        let cart = shop
            .post("/api/carts", &json!({ "currency": currency }))
            .expect(201)
            .json();
        let cart = cart["id"].as_str().unwrap();
        let line = json!({ "product_id": product, "quantity": 3 });
        shop.post(&format!("/api/carts/{cart}/items"), &line)
            .expect(200);
        let mut body = checkout(cart, "tok_visa");
        let total = json!({ "amount": price * 3, "currency": currency });
        body["expected_total"] = total.clone();
        let order = shop.order(&fresh_key(), &body).expect(201).json();
        assert_eq!(
            (&order["total"], order["currency"].as_str()),
            (&total, Some(currency))
        );
        let payment = format!("/api/payments/{}", order["payment"]["id"].as_str().unwrap());
        let payment = shop.staff("GET", &payment, &Value::Null).expect(200).json();
        assert_eq!(payment["captured"], total);
    }
}

#[test]
fn a_refusal_is_replayed_and_another_key_tries_again() {
    let shop = Shop::shared();
    let product = shop.product(500, 1);
    let cart = shop.cart_with(&product, 2);
    let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
    let refused = shop
        .order(&key, &body)
        .expect_code(409, "insufficient_stock");
    let path = format!("/api/inventory/{product}/adjustments");
    shop.staff("POST", &path, &json!({ "delta": 5, "reason": "delivery" }))
        .expect(200);
    let again = shop
        .order(&key, &body)
        .expect_code(409, "insufficient_stock");
    assert_eq!(
        (
            again.header("idempotent-replayed"),
            again.text == refused.text
        ),
        (Some("true"), true)
    );
    shop.order(&fresh_key(), &body).expect(201);
    assert_eq!(shop.stock(&product), (4, 0));
}

#[test]
fn an_invalid_request_is_not_stored_under_its_key() {
    let shop = Shop::shared();
    let product = shop.product(500, 9);
    let cart = shop.cart_with(&product, 1);
    let (key, good) = (fresh_key(), checkout(&cart, "tok_visa"));
    let mut bad = good.clone();
    bad["shipping_address"]["country"] = json!("Britain");
    shop.order(&key, &bad).expect_code(422, "invalid");
    let order = shop.order(&key, &good).expect(201);
    assert_eq!(order.header("idempotent-replayed"), None);
    // The same holds for a stale version, because the same request may succeed later.
    let id = order.json()["id"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {}", shop.token("staff"));
    let key = fresh_key();
    let ship = |version: &str| {
        let headers = [
            ("authorization", bearer.as_str()),
            ("idempotency-key", key.as_str()),
            ("if-match", version),
        ];
        shop.json(
            "POST",
            &format!("/api/orders/{id}/ship"),
            &headers,
            &json!({}),
        )
    };
    ship("\"999\"").expect_code(412, "version_conflict");
    let version = format!("\"{}\"", order.json()["version"]);
    assert_eq!(ship(&version).expect(200).json()["status"], "shipped");
    assert_eq!(
        ship(&version).expect(200).header("idempotent-replayed"),
        Some("true")
    );
}

#[test]
fn the_stock_of_an_expired_reservation_is_free_and_can_be_reserved_again() {
    built_with_points();
    for another_was_faster in [false, true] {
        let state = scratch("expired");
        let (product, cart) = {
            let shop = Shop::start_in(&state, &[]);
            let product = shop.product(500, 2);
            let cart = shop.cart_with(&product, 2);
            (product, cart)
        };
        let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
        {
            let mut shop = Shop::start_in(&state, &["--point", "order.reserved=kill"]);
            let headers = [
                ("content-type", "application/json"),
                ("idempotency-key", key.as_str()),
            ];
            let url = format!("{}/api/orders", shop.base);
            assert!(
                shop.try_send("POST", &url, &headers, body.to_string().as_bytes())
                    .is_err()
            );
            shop.wait();
        }
        {
            // Only inventory runs, so that nothing can finish the order. Its stock is reserved until the reservation ends.
            let alone = ["--component-id", "inventory", "--component-id", "catalog"];
            let shop = Shop::start_in(&state, &[&alone[..], &[TEST_CLOCK]].concat());
            shop.advance("14m");
            assert_eq!(shop.stock(&product), (2, 2));
            shop.advance("2m");
            assert_eq!(shop.stock(&product), (2, 0), "the reservation has expired");
            if another_was_faster {
                let path = format!("/api/inventory/{product}/adjustments");
                shop.staff("POST", &path, &json!({ "delta": -1, "reason": "broken" }))
                    .expect(200);
            }
        }
        let shop = Shop::start_in(&state, &[TEST_CLOCK]);
        let answer = crate::common::until_up("checkout", || shop.order(&key, &body));
        if another_was_faster {
            answer.expect_code(409, "insufficient_stock");
            assert_eq!(shop.stock(&product), (1, 0));
            shop.json(
                "PUT",
                &format!("/api/carts/{cart}/items/{product}"),
                &[],
                &json!({ "quantity": 1 }),
            )
            .expect(200);
            shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
                .expect(201);
        } else {
            assert_eq!(answer.expect(201).json()["status"], "paid");
        }
        assert_eq!(shop.stock(&product), (0, 0));
        let (content, said) = crate::common::verify(&shop, crate::STORES);
        assert!(content, "{said}");
    }
}
