//! Notices from the card provider: signed, repeated, late, out of order.

use crate::harness::{Reply, Shop, at_once, built, checkout, fresh_key, scratch};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn secret(shop: &Shop) -> String {
    let secrets = std::fs::read_to_string(shop.state.join("secrets.toml")).unwrap();
    let secrets: toml::Table = secrets.parse().unwrap();
    secrets["payment_webhook_secret"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// The signature `t=…,v1=…` of a body at a time.
pub(crate) fn signature(secret: &str, time: i64, body: &str) -> String {
    let mac = localmart_guest::token::capability(secret, &format!("{time}.{body}"));
    let hex: String = URL_SAFE_NO_PAD
        .decode(mac)
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={time},v1={hex}")
}

pub(crate) fn send(shop: &Shop, signature: &str, body: &str) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("localmart-signature", signature),
    ];
    shop.send("POST", "/api/webhooks/payments", &headers, body.as_bytes())
}

pub(crate) fn notice(id: &str, kind: &str, payment: &Value, amount: u64) -> String {
    json!({ "id": id, "type": kind, "payment_id": payment, "amount": { "amount": amount, "currency": "USD" } }).to_string()
}

fn tell(shop: &Shop, body: &str) -> Reply {
    send(shop, &signature(&secret(shop), seconds(), body), body)
}

fn silent_shop() -> Shop {
    built();
    // Reconciliation must not settle the payment during the test.
    Shop::start_in(
        &scratch("webhooks"),
        &["--variable", "payment_reconcile_after=1h"],
    )
}

fn order(shop: &Shop, product: &str, token: &str) -> Value {
    let cart = shop.cart_with(product, 2);
    shop.order(&fresh_key(), &checkout(&cart, token))
        .expect(201)
        .json()
}

fn read(shop: &Shop, order: &Value) -> Value {
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    shop.staff("GET", &path, &Value::Null).expect(200).json()
}

fn payment(shop: &Shop, order: &Value) -> (String, u64, u64) {
    let path = format!("/api/payments/{}", order["payment"]["id"].as_str().unwrap());
    let payment = shop.staff("GET", &path, &Value::Null).expect(200).json();
    let amount = |name: &str| payment[name]["amount"].as_u64().unwrap();
    (
        payment["status"].as_str().unwrap().to_owned(),
        amount("captured"),
        amount("refunded"),
    )
}

#[test]
fn a_notice_of_success_completes_a_pending_order_at_once() {
    let shop = silent_shop();
    let product = shop.product(1999, 5);
    let order = order(&shop, &product, "tok_timeout");
    assert_eq!(
        (&order["status"], shop.stock(&product)),
        (&json!("pending"), (5, 2))
    );
    let body = notice("evt_1", "payment.succeeded", &order["payment"]["id"], 3998);
    for reply in at_once(5, |_| tell(&shop, &body)) {
        reply.expect(200);
    }
    shop.eventually("the order is paid", || {
        read(&shop, &order)["status"] == "paid"
    });
    assert_eq!(shop.stock(&product), (3, 0));
    assert_eq!(payment(&shop, &order), ("captured".to_owned(), 3998, 0));
    // A late notice changes nothing.
    let failed = notice("evt_2", "payment.failed", &order["payment"]["id"], 3998);
    tell(&shop, &failed).expect(200);
    assert_eq!(payment(&shop, &order), ("captured".to_owned(), 3998, 0));
    let (content, said) = crate::common::verify(&shop, crate::STORES);
    assert!(content, "{said}");
}

#[test]
fn a_notice_of_failure_releases_cart_and_stock() {
    let shop = silent_shop();
    let product = shop.product(1999, 2);
    let cart = shop.cart_with(&product, 2);
    let order = shop.order(&fresh_key(), &checkout(&cart, "tok_timeout"));
    let order = order.expect(201).json();
    let failed = notice("evt_1", "payment.failed", &order["payment"]["id"], 3998);
    tell(&shop, &failed).expect(200);
    shop.eventually("the order failed", || {
        read(&shop, &order)["status"] == "failed"
    });
    assert_eq!(shop.stock(&product), (2, 0));
    assert_eq!(payment(&shop, &order), ("failed".to_owned(), 0, 0));
    let succeeded = notice("evt_0", "payment.succeeded", &order["payment"]["id"], 3998);
    tell(&shop, &succeeded).expect(200);
    assert_eq!(payment(&shop, &order), ("failed".to_owned(), 0, 0));
    // The failed attempt does not block a new one.
    shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201);
    assert_eq!(shop.stock(&product), (0, 0));
}

#[test]
fn a_notice_during_the_checkout_makes_one_payment_and_one_order() {
    let shop = silent_shop();
    let product = shop.product(1999, 50);
    for token in ["tok_visa", "tok_timeout"] {
        let cart = shop.cart_with(&product, 2);
        let (key, body) = (fresh_key(), checkout(&cart, token));
        let order_of =
            || shop.get(&format!("/api/carts/{cart}")).expect(200).json()["order_id"].clone();
        let replies = at_once(2, |number| {
            if number == 0 {
                return shop.order(&key, &body);
            }
            // Send the notice as soon as the payment exists.
            let mut told = None;
            for _ in 0..2_000 {
                let order = order_of();
                let payment = order.as_str().and_then(|order| payment_of(&shop, order));
                if let Some(payment) = payment {
                    let body = notice("evt", "payment.succeeded", &json!(payment), 3998);
                    told = Some(tell(&shop, &body));
                    break;
                }
            }
            told.expect("there is a payment")
        });
        replies[1].clone().expect(200);
        let order = replies[0].clone().expect(201).json();
        shop.eventually("the order is paid", || {
            read(&shop, &order)["status"] == "paid"
        });
        assert_eq!(payment(&shop, &order).1, 3998, "{token}");
    }
    assert_eq!(shop.stock(&product), (46, 0));
    let (content, said) = crate::common::verify(&shop, crate::STORES);
    assert!(content, "{said}");
}

/// The payment of an order, from the events or from the order.
fn payment_of(shop: &Shop, order: &str) -> Option<String> {
    let order = shop.staff("GET", &format!("/api/orders/{order}"), &Value::Null);
    let order = order.json();
    order["payment"]["id"].as_str().map(str::to_owned)
}

#[test]
fn a_refund_by_the_provider_is_counted_once() {
    let shop = Shop::shared();
    let product = shop.product(1999, 50);
    let order = order(shop, &product, "tok_visa");
    let id = &order["payment"]["id"];
    for (event, amount, known) in [
        ("a", 1000, 1000),
        ("a", 1000, 1000),
        ("b", 1500, 1500),
        ("c", 1200, 1500),
    ] {
        tell(shop, &notice(event, "payment.refunded", id, amount)).expect(200);
        assert_eq!(payment(shop, &order).2, known, "{event}");
    }
    let reply = tell(shop, &notice("d", "payment.refunded", id, 3999));
    assert_eq!(
        reply.expect_code(422, "invalid").fields(),
        ["amount:amount_mismatch"]
    );
    shop.eventually("the order shows the refund", || {
        read(shop, &order)["payment"]["status"] == "partially_refunded"
    });
}

#[test]
fn a_notice_without_a_valid_signature_has_no_effect() {
    let shop = Shop::shared();
    let product = shop.product(1999, 50);
    let order = order(shop, &product, "tok_visa");
    let body = notice("evt", "payment.refunded", &order["payment"]["id"], 1000);
    let (secret, now) = (secret(shop), seconds());
    let good = signature(&secret, now, &body);
    let changed = body.replace("1000", "2000");
    for (header, body) in [
        (String::new(), &body),
        ("t=1,v1=00".to_owned(), &body),
        (signature("another secret", now, &body), &body),
        (signature(&secret, now - 301, &body), &body),
        (signature(&secret, now + 400, &body), &body),
        (
            good.replace(&format!("t={now}"), &format!("t={}", now + 1)),
            &body,
        ),
        (good.clone(), &changed),
    ] {
        send(shop, &header, body).expect_code(401, "invalid_signature");
    }
    assert_eq!(payment(shop, &order).2, 0);
    let unknown = notice(
        "evt",
        "payment.succeeded",
        &json!("01939d5c-0000-7000-8000-000000000000"),
        1,
    );
    tell(shop, &unknown).expect_code(409, "payment_unknown");
    let wrong = json!({ "id": "x", "type": "payment.refunded", "payment_id": 5 }).to_string();
    let mut fields = tell(shop, &wrong).expect_code(422, "invalid").fields();
    fields.sort();
    assert_eq!(fields, ["amount:required", "payment_id:invalid"]);
    tell(shop, "{").expect_code(400, "malformed_json");
    send(shop, &good, &body).expect(200);
    assert_eq!(payment(shop, &order).2, 1000);
    assert!(!shop.log().contains(&secret), "no secret in the log");
}

#[test]
fn a_notice_may_have_types_and_members_of_later_versions() {
    let shop = Shop::shared();
    let product = shop.product(1999, 50);
    let order = order(shop, &product, "tok_visa");
    let id = &order["payment"]["id"];
    let later = json!({ "id": "later", "type": "payment.disputed", "payment": { "id": id }, "reason": "?" });
    let answer = tell(shop, &later.to_string()).expect(200).json();
    assert_eq!(answer, json!({ "status": "ignored" }));
    let more = notice("more", "payment.refunded", id, 1000);
    let more = more.replacen('{', "{\"livemode\":true,\"object\":{\"a\":[1]},", 1);
    tell(shop, &more).expect(200);
    assert_eq!(payment(shop, &order).2, 1000);
}

#[test]
fn a_notice_has_at_most_eight_signatures() {
    let shop = Shop::shared();
    let product = shop.product(1999, 50);
    let order = order(shop, &product, "tok_visa");
    let body = notice("many", "payment.refunded", &order["payment"]["id"], 1000);
    let good = signature(&secret(shop), seconds(), &body);
    let with = |others: usize| format!("{good}{}", ",v1=00".repeat(others));
    send(shop, &with(8), &body).expect_code(401, "invalid_signature");
    send(shop, &with(7), &body).expect(200);
}
