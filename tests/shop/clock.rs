//! Expiry of keys, carts, tokens, sessions, lockouts and signatures, with the test clock. It also works with Postgres and
//! Redis, which keep the time of the machine, because the shop uses only its own clock.

use super::webhooks::{notice, secret, send, signature};
use crate::harness::{Shop, TEST_CLOCK, User, built, checkout, fresh_key, scratch};
use serde_json::{Value, json};

/// A shop with a test clock.
fn shop(name: &str) -> Shop {
    built();
    Shop::start_in(&scratch(name), &[TEST_CLOCK])
}

#[test]
fn keys_expire_after_a_day_and_carts_after_a_month() {
    let shop = shop("expiry");
    let (product, user) = (shop.product(500, 10), User::register(&shop));
    let mine = || {
        let again = json!({ "email": user.email, "password": user.password });
        let user = User::of(&shop.post("/api/auth/login", &again).expect(200).json());
        let mine = user.send(&shop, "GET", "/api/carts/mine", &Value::Null);
        (user, mine.expect(200).json())
    };
    let (known, cart) = mine();
    let items = format!("/api/carts/{}/items", cart["id"].as_str().unwrap());
    let one = json!({ "product_id": product, "quantity": 1 });
    known.send(&shop, "POST", &items, &one).expect(200);
    let key = fresh_key();
    let make = || {
        let headers = [
            ("idempotency-key", key.as_str()),
            ("cookie", "localmart-client=0123456789abcdef"),
        ];
        let made = shop.json("POST", "/api/carts", &headers, &json!({}));
        made.expect(201).json()["id"].as_str().unwrap().to_owned()
    };
    let guests = make();
    let fill = |cart: &str| {
        shop.post(&format!("/api/carts/{cart}/items"), &one)
            .expect(200)
    };
    fill(&guests);
    let body = checkout(&shop.cart_with(&product, 1), "tok_visa");
    let order = shop.order(&key, &body).expect(201).json();
    shop.advance("23h");
    assert_eq!(make(), guests);
    assert_eq!(
        shop.order(&key, &body).expect(201).json()["id"],
        order["id"]
    );
    shop.advance("1h");
    let later = make();
    assert_ne!(later, guests, "the key can be used again");
    fill(&later);
    shop.order(&key, &body).expect_code(409, "cart_completed");
    // A cart expires 30 days after its last change, a guest's empty one after a day.
    let read = |id: &str| shop.get(&format!("/api/carts/{id}"));
    let empty = shop.send("POST", "/api/carts", &[], &[]).expect(201).json();
    shop.advance("28d");
    read(empty["id"].as_str().unwrap()).expect_code(404, "not_found");
    read(&guests).expect(200);
    assert_eq!(mine().1["item_count"], 1);
    shop.advance("1d");
    read(&guests).expect_code(404, "not_found");
    assert_eq!(mine().1["item_count"], 0, "a user's cart is a new one");
    read(&later).expect(200);
    shop.advance("1d");
    read(&later).expect_code(404, "not_found");
}

#[test]
fn an_access_token_expires_after_fifteen_minutes_and_a_session_after_a_month() {
    let shop = shop("sessions");
    let user = User::register(&shop);
    let me = |user: &User| user.send(&shop, "GET", "/api/users/me", &Value::Null);
    let refresh = |user: &User| {
        let body = json!({ "refresh_token": user.refresh });
        shop.post("/api/auth/refresh", &body)
    };
    me(&user).expect(200);
    shop.advance("14m");
    me(&user).expect(200);
    shop.advance("2m");
    // Every service checks the expiry itself.
    for path in ["/api/users/me", "/api/carts/mine", "/api/orders"] {
        let refused = user.send(&shop, "GET", path, &Value::Null);
        refused.expect_code(401, "unauthenticated");
    }
    let user = User::of(&refresh(&user).expect(200).json());
    me(&user).expect(200);
    // Each refresh extends the session by a month.
    shop.advance("29d");
    let user = User::of(&refresh(&user).expect(200).json());
    shop.advance("29d");
    let user = User::of(&refresh(&user).expect(200).json());
    me(&user).expect(200);
    shop.advance("31d");
    refresh(&user).expect_code(401, "invalid_token");
    let login = json!({ "email": user.email, "password": user.password });
    shop.post("/api/auth/login", &login).expect(200);
}

#[test]
fn a_locked_address_is_unlocked_again() {
    let shop = shop("locked");
    let user = User::register(&shop);
    let log_in = |password: &str| {
        let body = json!({ "email": user.email, "password": password });
        shop.post("/api/auth/login", &body)
    };
    let lock = || {
        for _ in 0..5 {
            log_in("wrong password").expect_code(401, "invalid_credentials");
        }
        log_in(&user.password).expect_code(429, "too_many_attempts");
    };
    lock();
    shop.advance("59s");
    log_in(&user.password).expect_code(429, "too_many_attempts");
    shop.advance("2s");
    log_in(&user.password).expect(200);
}

#[test]
fn a_signature_of_the_card_provider_is_valid_for_five_minutes() {
    let shop = shop("signed");
    let product = shop.product(1999, 50);
    let body = checkout(&shop.cart_with(&product, 2), "tok_visa");
    let order = shop.order(&fresh_key(), &body).expect(201).json();
    let told = notice("evt", "payment.refunded", &order["payment"]["id"], 1000);
    let signed = signature(&secret(&shop), shop.now_ms() / 1000, &told);
    shop.advance("6m");
    send(&shop, &signed, &told).expect_code(401, "invalid_signature");
    let signed = signature(&secret(&shop), shop.now_ms() / 1000, &told);
    send(&shop, &signed, &told).expect(200);
}

#[test]
fn events_that_were_read_are_trimmed_after_a_week() {
    let shop = shop("retention");
    let product = shop.product(500, 50);
    let buy = || {
        let body = checkout(&shop.cart_with(&product, 1), "tok_visa");
        let order = shop.order(&fresh_key(), &body).expect(201).json();
        order["id"].clone()
    };
    let told = || {
        let events = crate::common::history(&shop, "order.events");
        let subjects = events.iter().map(|event| event["subject"].clone());
        subjects.collect::<Vec<_>>()
    };
    let first = buy();
    shop.eventually("the first event is on the bus", || told().contains(&first));
    shop.advance("6d");
    assert!(told().contains(&first));
    let second = buy();
    shop.eventually("the second event is on the bus", || {
        told().contains(&second)
    });
    // Consumers trim the bus from time to time.
    shop.advance("1d");
    shop.eventually("the first event is trimmed, the second is not", || {
        shop.advance("1h");
        let told = told();
        assert!(told.contains(&second));
        !told.contains(&first)
    });
}
