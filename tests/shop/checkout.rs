//! Checkout, its refusals, its races, and the cancellation of orders.

use crate::harness::{Shop, TEST_CLOCK, at_once, checkout, fresh_key};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn get_order(shop: &Shop, order: &Value) -> crate::harness::Reply {
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    shop.send(
        "GET",
        &path,
        &[("x-order-token", order["guest_token"].as_str().unwrap())],
        &[],
    )
}

#[test]
fn a_guest_places_an_order() {
    let shop = Shop::shared();
    let product = shop.product(1999, 5);
    let cart = shop.cart_with(&product, 2);
    let reply = shop
        .order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201);
    let order = reply.json();
    let id = order["id"].as_str().unwrap();
    assert_eq!(
        reply.header("location"),
        Some(format!("/api/orders/{id}").as_str())
    );
    assert_eq!(
        (
            order["status"].as_str(),
            order["payment"]["status"].as_str()
        ),
        (Some("paid"), Some("captured"))
    );
    assert_eq!(order["total"], json!({ "amount": 3998, "currency": "USD" }));
    assert_eq!(
        (
            order["items"][0]["quantity"].as_u64(),
            order["items"][0]["line_total"]["amount"].as_u64()
        ),
        (Some(2), Some(3998))
    );
    assert_eq!(order["billing_address"], order["shipping_address"]);
    let statuses: Vec<&str> = order["status_history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["pending", "paid"]);
    assert_eq!(shop.stock(&product), (3, 0));
    let seen = get_order(shop, &order).expect(200).json();
    assert_eq!(
        (seen["number"].clone(), seen.get("guest_token")),
        (order["number"].clone(), None)
    );
}

#[test]
fn only_the_guest_and_staff_see_an_order() {
    let shop = Shop::shared();
    let product = shop.product(5, 5);
    let mine = shop
        .order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 1), "tok_visa"),
        )
        .expect(201)
        .json();
    let other = shop
        .order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 1), "tok_visa"),
        )
        .expect(201)
        .json();
    let path = format!("/api/orders/{}", mine["id"].as_str().unwrap());
    shop.get(&path).expect_code(404, "not_found");
    for token in ["", "x", other["guest_token"].as_str().unwrap()] {
        shop.send("GET", &path, &[("x-order-token", token)], &[])
            .expect_code(404, "not_found");
        shop.send(
            "POST",
            &format!("{path}/cancel"),
            &[("x-order-token", token)],
            &[],
        )
        .expect_code(404, "not_found");
    }
    let customer = format!("Bearer {}", shop.token("customer"));
    shop.send("GET", &path, &[("authorization", &customer)], &[])
        .expect_code(404, "not_found");
    let staff = format!("Bearer {}", shop.token("staff"));
    shop.send("GET", &path, &[("authorization", &staff)], &[])
        .expect(200);
    get_order(shop, &mine).expect(200);
}

#[test]
fn a_refused_card_is_not_charged_and_another_can_be_used() {
    let shop = Shop::shared();
    let product = shop.product(1999, 5);
    let cart = shop.cart_with(&product, 2);
    for token in ["tok_declined", "tok_insufficient_funds", "tok_nobody_knows"] {
        let key = fresh_key();
        let refused = shop
            .order(&key, &checkout(&cart, token))
            .expect_code(402, "payment_declined");
        let again = shop
            .order(&key, &checkout(&cart, token))
            .expect_code(402, "payment_declined");
        assert_eq!(
            (
                again.header("idempotent-replayed"),
                again.json()["detail"].clone()
            ),
            (Some("true"), refused.json()["detail"].clone())
        );
        assert_eq!(shop.stock(&product), (5, 0));
    }
    assert_eq!(
        shop.get(&format!("/api/carts/{cart}"))
            .expect(200)
            .json()
            .get("order_id"),
        None
    );
    shop.order(&fresh_key(), &checkout(&cart, "tok_flaky"))
        .expect(201);
    assert_eq!(shop.stock(&product), (3, 0));
}

#[test]
fn insufficient_stock_names_the_lines_and_charges_nothing() {
    let shop = Shop::shared();
    let (scarce, plenty) = (shop.product(5, 1), shop.product(7, 50));
    let cart = shop.cart_with(&scarce, 2);
    shop.post(
        &format!("/api/carts/{cart}/items"),
        &json!({ "product_id": plenty, "quantity": 2 }),
    )
    .expect(200);
    let reply = shop
        .order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect_code(409, "insufficient_stock");
    assert_eq!(
        reply.fields(),
        [format!("items.{scarce}:insufficient_stock")]
    );
    assert_eq!(
        (shop.stock(&scarce), shop.stock(&plenty)),
        ((1, 0), (50, 0))
    );
}

#[test]
fn a_key_is_required_and_belongs_to_one_body() {
    let shop = Shop::shared();
    let product = shop.product(5, 9);
    let cart = shop.cart_with(&product, 1);
    let body = checkout(&cart, "tok_visa");
    shop.post("/api/orders", &body)
        .expect_code(400, "idempotency_key_missing");
    for bad in ["", &"k".repeat(256), "with space"] {
        shop.order(bad, &body)
            .expect_code(400, "idempotency_key_invalid");
    }
    let key = "k".repeat(255);
    let first = shop.order(&key, &body).expect(201);
    let reordered = format!(
        "{{\"payment\":{{\"token\":\"tok_visa\"}}, \"cart_id\": \"{cart}\",\"shipping_address\":{},\"email\":\"ada@example.com\"}}",
        body["shipping_address"]
    );
    let again = shop
        .send(
            "POST",
            "/api/orders",
            &[
                ("content-type", "application/json"),
                ("idempotency-key", &key),
            ],
            reordered.as_bytes(),
        )
        .expect(201);
    assert_eq!(
        (
            &again.text,
            again.header("idempotent-replayed"),
            again.header("location")
        ),
        (&first.text, Some("true"), first.header("location"))
    );
    let mut other = body.clone();
    other["email"] = json!("grace@example.com");
    shop.order(&key, &other)
        .expect_code(422, "idempotency_key_reused");
    let completed = shop
        .order(&fresh_key(), &body)
        .expect_code(409, "cart_completed");
    assert_eq!(completed.json()["order_id"], first.json()["id"]);
    assert_eq!(shop.stock(&product), (8, 0));
}

#[test]
fn missing_and_unknown_fields_are_named() {
    let shop = Shop::shared();
    let empty = shop.send("POST", "/api/carts", &[], &[]).expect(201).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let reply = shop
        .order(&fresh_key(), &checkout(&empty, "tok_visa"))
        .expect_code(422, "invalid");
    assert_eq!(reply.fields(), ["cart_id:empty_cart"]);
    let mut fields = shop
        .order(
            &fresh_key(),
            &json!({ "cart_id": empty, "total": 1, "status": "paid" }),
        )
        .expect_code(422, "invalid")
        .fields();
    fields.sort();
    assert_eq!(
        fields,
        [
            "email:required",
            "payment:required",
            "shipping_address:required",
            "status:unknown_field",
            "total:unknown_field"
        ]
    );
    let mut body = checkout(&empty, "4242424242424242");
    body["email"] = json!("nobody");
    body["shipping_address"]["country"] = json!("Britain");
    body["shipping_address"]["planet"] = json!("Mars");
    let mut fields = shop
        .order(&fresh_key(), &body)
        .expect_code(422, "invalid")
        .fields();
    fields.sort();
    assert_eq!(
        fields,
        [
            "email:invalid",
            "payment.token:invalid",
            "shipping_address.country:invalid",
            "shipping_address.planet:unknown_field"
        ]
    );
    let nobody = checkout("00000000-0000-7000-8000-000000000000", "tok_visa");
    shop.order(&fresh_key(), &nobody)
        .expect_code(404, "not_found");
    assert!(!shop.log().contains("4242"), "no card number in the log");
    assert!(
        !shop.log().contains("ada@example.com"),
        "no e-mail address in the log"
    );
}

#[test]
fn prices_come_from_the_catalog_and_a_changed_total_is_an_error() {
    let shop = Shop::shared();
    let product = shop.product(1999, 5);
    let cart = shop.cart_with(&product, 1);
    let mut body = checkout(&cart, "tok_visa");
    body["expected_total"] = json!({ "amount": 1999, "currency": "USD" });
    shop.staff(
        "PATCH",
        &format!("/api/products/{product}"),
        &json!({ "price": { "amount": 2499, "currency": "USD" } }),
    )
    .expect(200);
    let moved = shop
        .order(&fresh_key(), &body)
        .expect_code(409, "price_changed")
        .json();
    assert_eq!(
        (
            moved["expected_total"]["amount"].as_u64(),
            moved["total"]["amount"].as_u64()
        ),
        (Some(1999), Some(2499))
    );
    body["expected_total"]["amount"] = json!(2499);
    assert_eq!(
        shop.order(&fresh_key(), &body).expect(201).json()["total"]["amount"],
        2499
    );
    let gone = shop.product(5, 5);
    let cart = shop.cart_with(&gone, 1);
    let staff = format!("Bearer {}", shop.token("staff"));
    shop.send(
        "DELETE",
        &format!("/api/products/{gone}"),
        &[("authorization", &staff)],
        &[],
    )
    .expect(204);
    let reply = shop
        .order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect_code(422, "invalid");
    assert_eq!(reply.fields(), ["cart.items[0]:not_sold"]);
}

#[test]
fn of_many_concurrent_orders_one_gets_the_last_piece() {
    let shop = Shop::shared();
    let product = shop.product(5, 1);
    let carts: Vec<String> = (0..200).map(|_| shop.cart_with(&product, 1)).collect();
    let replies = at_once(200, |number| {
        shop.order(&fresh_key(), &checkout(&carts[number], "tok_visa"))
    });
    let won = replies.iter().filter(|reply| reply.status == 201).count();
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!(
            (reply.status, reply.code()),
            (409, "insufficient_stock".to_owned()),
            "{reply:?}"
        );
    }
    assert_eq!((won, shop.stock(&product)), (1, (0, 0)));
}

#[test]
fn concurrent_requests_with_one_key_make_one_order() {
    let shop = Shop::shared();
    let product = shop.product(5, 9);
    let cart = shop.cart_with(&product, 1);
    let (key, body) = (fresh_key(), checkout(&cart, "tok_flaky"));
    let replies = at_once(20, |_| shop.order(&key, &body));
    let mut bodies = BTreeSet::new();
    for reply in &replies {
        match reply.status {
            201 => drop(bodies.insert(reply.text.clone())),
            _ => assert_eq!(
                (reply.status, reply.code()),
                (409, "idempotency_key_in_flight".to_owned()),
                "{reply:?}"
            ),
        }
    }
    assert_eq!((bodies.len(), shop.stock(&product)), (1, (8, 0)));
    assert_eq!(
        shop.order(&key, &body)
            .expect(201)
            .header("idempotent-replayed"),
        Some("true")
    );
}

#[test]
fn concurrent_requests_with_different_keys_for_one_cart_make_one_order() {
    let shop = Shop::shared();
    let product = shop.product(5, 9);
    let cart = shop.cart_with(&product, 1);
    let body = checkout(&cart, "tok_visa");
    let replies = at_once(20, |_| shop.order(&fresh_key(), &body));
    let won: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!((won.len(), shop.stock(&product)), (1, (8, 0)));
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        let reply = reply.clone().expect_code(409, "cart_completed");
        assert_eq!(reply.json()["order_id"], won[0].json()["id"]);
    }
}

#[test]
fn cancelling_returns_money_and_stock_once() {
    let shop = Shop::shared();
    let product = shop.product(1999, 5);
    let order = shop
        .order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 2), "tok_visa"),
        )
        .expect(201)
        .json();
    let path = format!("/api/orders/{}/cancel", order["id"].as_str().unwrap());
    let token = [("x-order-token", order["guest_token"].as_str().unwrap())];
    let replies = at_once(8, |_| {
        shop.json(
            "POST",
            &path,
            &token,
            &json!({ "reason": "changed my mind" }),
        )
    });
    let done: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!(
            (reply.status, reply.code()),
            (409, "illegal_transition".to_owned()),
            "{reply:?}"
        );
    }
    let cancelled = done[0].json();
    assert_eq!(
        (
            done.len(),
            cancelled["status"].as_str(),
            cancelled["payment"]["status"].as_str()
        ),
        (1, Some("cancelled"), Some("refunded"))
    );
    assert_eq!(cancelled["status_history"][2]["reason"], "changed my mind");
    assert_eq!(shop.stock(&product), (5, 0));
    let staff = format!("Bearer {}", shop.token("staff"));
    let payment = format!("/api/payments/{}", order["payment"]["id"].as_str().unwrap());
    let payment = shop
        .send("GET", &payment, &[("authorization", &staff)], &[])
        .expect(200)
        .json();
    assert_eq!(
        (
            payment["captured"]["amount"].as_u64(),
            payment["refunded"]["amount"].as_u64()
        ),
        (Some(3998), Some(3998))
    );
}

#[test]
fn staff_refund_at_most_the_captured_amount() {
    let shop = Shop::shared();
    let product = shop.product(1000, 5);
    let order = shop
        .order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 1), "tok_visa"),
        )
        .expect(201)
        .json();
    let path = format!(
        "/api/payments/{}/refunds",
        order["payment"]["id"].as_str().unwrap()
    );
    let staff = format!("Bearer {}", shop.token("staff"));
    let refund = |key: Option<&str>, amount: u64| {
        let mut headers = vec![("authorization", staff.as_str())];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        shop.json(
            "POST",
            &path,
            &headers,
            &json!({ "amount": { "amount": amount, "currency": "USD" } }),
        )
    };
    refund(None, 1).expect_code(400, "idempotency_key_missing");
    let key = fresh_key();
    for _ in 0..3 {
        assert_eq!(
            refund(Some(&key), 600).expect(201).json()["refunded"]["amount"],
            600
        );
    }
    refund(Some(&fresh_key()), 401).expect_code(422, "refund_exceeds_capture");
    let replies = at_once(10, |_| refund(Some(&fresh_key()), 400).status);
    assert_eq!(
        replies.iter().filter(|status| **status == 201).count(),
        1,
        "{replies:?}"
    );
}

#[test]
fn an_order_whose_whole_payment_was_refunded_is_not_shipped() {
    let shop = Shop::shared();
    let cart = shop.cart_with(&shop.product(1000, 5), 1);
    let order = shop
        .order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201)
        .json();
    let payment = order["payment"]["id"].as_str().unwrap();
    let staff = format!("Bearer {}", shop.token("staff"));
    let refund = |amount: u64| {
        let key = fresh_key();
        let headers = [("authorization", staff.as_str()), ("idempotency-key", &key)];
        let amount = json!({ "amount": { "amount": amount, "currency": "USD" } });
        let path = format!("/api/payments/{payment}/refunds");
        shop.json("POST", &path, &headers, &amount).expect(201);
    };
    refund(400);
    refund(600);
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    let ship = shop.staff("POST", &format!("{path}/ship"), &json!({}));
    ship.expect_code(409, "order_refunded");
    shop.staff("POST", &format!("{path}/cancel"), &json!({}))
        .expect(200);
}

#[test]
fn a_payment_without_an_answer_is_settled_later() {
    crate::harness::built();
    let shop = Shop::start_in(&crate::harness::scratch("silent"), &[TEST_CLOCK]);
    let product = shop.product(1999, 5);
    let start = Instant::now();
    let order = shop
        .order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 2), "tok_timeout"),
        )
        .expect(201)
        .json();
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(
        (
            order["status"].as_str(),
            order["payment"]["status"].as_str()
        ),
        (Some("pending"), Some("pending"))
    );
    assert_eq!(shop.stock(&product), (5, 2));
    let status = || get_order(&shop, &order).expect(200).json()["status"].clone();
    shop.advance("50s");
    assert_eq!(status(), "pending", "it is asked again after a minute");
    shop.advance("15s");
    assert_eq!(status(), "paid");
    assert_eq!(shop.stock(&product), (3, 0));
}
