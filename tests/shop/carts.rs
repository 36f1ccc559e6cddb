//! Carts of guests.

use crate::harness::{Shop, TEST_CLOCK, at_once, checkout, fresh_key};
use serde_json::{Value, json};

const UNKNOWN_ID: &str = "00000000-0000-7000-8000-000000000000";

#[test]
fn a_cart_shows_current_prices_and_totals() {
    let shop = Shop::shared();
    let (a, b) = (shop.product(1999, 10), shop.product(333, 0));
    let cart = shop.cart_with(&a, 2);
    let reply = shop
        .post(
            &format!("/api/carts/{cart}/items"),
            &json!({ "product_id": b, "quantity": 3 }),
        )
        .expect(200);
    let body = reply.json();
    assert_eq!(body["total"], json!({ "amount": 4997, "currency": "USD" }));
    assert_eq!(
        (
            body["item_count"].as_u64(),
            body["version"].as_u64(),
            reply.header("etag")
        ),
        (Some(5), Some(3), Some("\"3\""))
    );
    assert_eq!(
        (
            body["items"][0]["available"].as_u64(),
            body["items"][1]["available"].as_u64()
        ),
        (Some(10), Some(0))
    );
    shop.staff(
        "PATCH",
        &format!("/api/products/{a}"),
        &json!({ "price": { "amount": 1, "currency": "USD" } }),
    )
    .expect(200);
    assert_eq!(
        shop.get(&format!("/api/carts/{cart}")).expect(200).json()["total"]["amount"],
        1001
    );
    let set = shop
        .json(
            "PUT",
            &format!("/api/carts/{cart}/items/{a}"),
            &[],
            &json!({ "quantity": 0 }),
        )
        .expect(200);
    assert_eq!(set.json()["total"]["amount"], 999);
    for _ in 0..2 {
        let gone = shop
            .send("DELETE", &format!("/api/carts/{cart}/items/{b}"), &[], &[])
            .expect(200);
        assert_eq!(gone.json()["items"], json!([]));
    }
    shop.send("DELETE", &format!("/api/carts/{cart}"), &[], &[])
        .expect(204);
    shop.get(&format!("/api/carts/{cart}"))
        .expect_code(404, "not_found");
}

#[test]
fn invalid_quantities_change_nothing() {
    let shop = Shop::shared();
    let product = shop.product(5, 10);
    let cart = shop.cart_with(&product, 1);
    let (add, set) = (
        format!("/api/carts/{cart}/items"),
        format!("/api/carts/{cart}/items/{product}"),
    );
    for bad in [
        "-1",
        "1.5",
        "1.0",
        "\"2\"",
        "1e3",
        "2147483648",
        "9223372036854775808",
        "null",
        "\"\"",
        "[]",
        "true",
        "{}",
    ] {
        let quantity: Value = serde_json::from_str(bad).unwrap();
        // serde_json would normalise 1e3 and 1.0, so the test writes the body as text.
        let body = format!("{{\"product_id\":\"{product}\",\"quantity\":{bad}}}");
        let reply = shop.send(
            "POST",
            &add,
            &[("content-type", "application/json")],
            body.as_bytes(),
        );
        assert_eq!(reply.expect(422).code(), "invalid", "{quantity}");
        let body = format!("{{\"quantity\":{bad}}}");
        shop.send(
            "PUT",
            &set,
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
        .expect_code(422, "invalid");
    }
    let twice = format!("{{\"product_id\":\"{product}\",\"quantity\":1,\"quantity\":2}}");
    let json_type = [("content-type", "application/json")];
    shop.send("POST", &add, &json_type, twice.as_bytes())
        .expect_code(400, "malformed_json");
    shop.post(&add, &json!({ "product_id": product, "quantity": 0 }))
        .expect_code(422, "invalid");
    assert_eq!(
        shop.get(&format!("/api/carts/{cart}")).expect(200).json()["item_count"],
        1
    );
}

#[test]
fn limits_of_a_cart_are_enforced() {
    let shop = Shop::shared();
    let product = shop.product(5, 10);
    let cart = shop.cart_with(&product, 60);
    let add = format!("/api/carts/{cart}/items");
    shop.post(&add, &json!({ "product_id": product, "quantity": 40 }))
        .expect_code(422, "quantity_limit");
    shop.post(&add, &json!({ "product_id": product, "quantity": 100 }))
        .expect_code(422, "quantity_limit");
    shop.post(&add, &json!({ "product_id": product, "quantity": 39 }))
        .expect(200);
    let dear = shop.product(9_007_199_254_740_991, 10);
    shop.post(&add, &json!({ "product_id": dear, "quantity": 1 }))
        .expect_code(422, "amount_overflow");
    let other = shop.cart_with(&dear, 1);
    assert_eq!(
        shop.get(&format!("/api/carts/{other}")).expect(200).json()["total"]["amount"],
        9_007_199_254_740_991_u64
    );
}

#[test]
fn a_product_that_is_not_for_sale_here_is_refused() {
    let shop = Shop::shared();
    let (usd, jpy) = (shop.product(5, 1), shop.product_in("JPY", 2235, 1));
    let cart = shop.cart_with(&usd, 1);
    let add = format!("/api/carts/{cart}/items");
    shop.post(&add, &json!({ "product_id": jpy, "quantity": 1 }))
        .expect_code(422, "currency_mismatch");
    shop.post(&add, &json!({ "product_id": UNKNOWN_ID, "quantity": 1 }))
        .expect_code(404, "product_not_found");
    let yen = shop
        .post("/api/carts", &json!({ "currency": "JPY" }))
        .expect(201)
        .json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let total = shop
        .post(
            &format!("/api/carts/{yen}/items"),
            &json!({ "product_id": jpy, "quantity": 2 }),
        )
        .expect(200)
        .json();
    assert_eq!(total["total"], json!({ "amount": 4470, "currency": "JPY" }));
    shop.post("/api/carts", &json!({ "currency": "usd" }))
        .expect_code(422, "invalid");
    shop.post("/api/carts", &json!({ "price": 1 }))
        .expect_code(422, "invalid");
    let priced = json!({ "product_id": usd, "quantity": 1, "price": 1, "user_id": "me" });
    let mut fields = shop
        .post(&add, &priced)
        .expect_code(422, "invalid")
        .fields();
    fields.sort();
    assert_eq!(fields, ["price:unknown_field", "user_id:unknown_field"]);
    for nobody in [UNKNOWN_ID, "x", "..%2f"] {
        shop.get(&format!("/api/carts/{nobody}"))
            .expect_code(404, "not_found");
    }
}

#[test]
fn concurrent_changes_do_not_overwrite_each_other() {
    let shop = Shop::shared();
    let products: Vec<String> = (0..10).map(|_| shop.product(5, 1)).collect();
    let cart = shop.cart_with(&products[0], 1);
    let add = format!("/api/carts/{cart}/items");
    at_once(50, |number| {
        shop.post(
            &add,
            &json!({ "product_id": products[number % 10], "quantity": 1 }),
        )
        .expect(200);
    });
    let body = shop.get(&format!("/api/carts/{cart}")).expect(200).json();
    assert_eq!(
        (body["item_count"].as_u64(), body["version"].as_u64()),
        (Some(51), Some(52))
    );
}

#[test]
fn a_stale_version_is_refused_and_a_key_adds_once() {
    let shop = Shop::shared();
    let product = shop.product(5, 1);
    let cart = shop.cart_with(&product, 1);
    let (add, body) = (
        format!("/api/carts/{cart}/items"),
        json!({ "product_id": product, "quantity": 1 }),
    );
    shop.json("POST", &add, &[("if-match", "\"1\"")], &body)
        .expect_code(412, "version_conflict");
    let key = fresh_key();
    for _ in 0..3 {
        shop.json(
            "POST",
            &add,
            &[("if-match", "\"2\""), ("idempotency-key", &key)],
            &body,
        )
        .expect(200);
    }
    assert_eq!(
        shop.get(&format!("/api/carts/{cart}")).expect(200).json()["item_count"],
        2
    );
}

#[test]
fn an_ordered_cart_cannot_be_changed() {
    let shop = Shop::shared();
    let product = shop.product(5, 3);
    let cart = shop.cart_with(&product, 1);
    let order = shop
        .order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201)
        .json()["id"]
        .clone();
    assert_eq!(
        shop.get(&format!("/api/carts/{cart}")).expect(200).json()["order_id"],
        order
    );
    let add = shop.post(
        &format!("/api/carts/{cart}/items"),
        &json!({ "product_id": product, "quantity": 1 }),
    );
    assert_eq!(
        add.expect_code(409, "cart_completed").json()["order_id"],
        order
    );
    shop.send("DELETE", &format!("/api/carts/{cart}"), &[], &[])
        .expect_code(409, "cart_completed");
}

#[test]
fn the_sweep_deletes_expired_values() {
    crate::harness::built();
    let shop = Shop::start_in(&crate::harness::scratch("expiry"), &[TEST_CLOCK]);
    let key = fresh_key();
    let make = || {
        shop.json(
            "POST",
            "/api/carts",
            &[
                ("idempotency-key", &key),
                ("cookie", "localmart-client=0123456789abcdef"),
            ],
            &json!({}),
        )
        .expect(201)
        .json()
    };
    let (first, again) = (make(), make());
    assert_eq!(first["id"], again["id"]);
    // An expired cart is gone even before the sweep.
    shop.advance_without_timers("31d");
    shop.get(&format!("/api/carts/{}", first["id"].as_str().unwrap()))
        .expect_code(404, "not_found");
    let secrets = std::fs::read_to_string(shop.state.join("secrets.toml")).unwrap();
    let token = secrets
        .lines()
        .find_map(|line| line.strip_prefix("sweep_token = "))
        .unwrap();
    let sweep = || {
        let token = [("x-sweep-token", token.trim_matches('"'))];
        shop.send("POST", "/internal/cart/sweep", &token, &[])
            .expect(200)
            .json()["expired"]["cart/"]
            .clone()
    };
    // A Redis server deletes expired values by its own clock, so the sweep finds none.
    let left = if crate::STORES.redis { 0 } else { 1 };
    // The keys were just looked through, so the second sweep leaves them alone.
    assert_eq!((sweep(), sweep()), (json!(left), Value::Null));
    assert_ne!(make()["id"], first["id"]);
}
