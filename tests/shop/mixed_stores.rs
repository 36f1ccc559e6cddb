//! The mixed sets of stores: Postgres without Redis, and Redis without Postgres.

use crate::common::verify;
use crate::harness::{Shop, Stores, User, built, checkout, fresh_key, scratch};
use serde_json::{Value, json};

/// A journey through every service.
fn journey(shop: &Shop) {
    let (user, product) = (User::register(shop), shop.product(500, 50));
    let cart = user
        .send(shop, "GET", "/api/carts/mine", &Value::Null)
        .expect(200)
        .json();
    let cart = cart["id"].as_str().unwrap();
    let guest = shop.cart_with(&product, 2);
    user.send(
        shop,
        "POST",
        "/api/carts/merge",
        &json!({ "guest_cart_id": guest }),
    )
    .expect(200);
    let order = user
        .buy(shop, cart, &fresh_key(), "tok_visa")
        .expect(201)
        .json();
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    user.send(shop, "POST", &format!("{path}/cancel"), &json!({}))
        .expect(200);
    shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(&product, 1), "tok_visa"),
    )
    .expect(201);
    shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(&product, 1), "tok_declined"),
    )
    .expect(402);
    shop.eventually("recommendation has handled the order", || {
        let found = shop.get("/api/recommendations").expect(200).json();
        found["items"][0]["score"]
            .as_u64()
            .is_some_and(|score| score >= 10)
    });
    user.send(
        shop,
        "POST",
        "/api/auth/logout",
        &json!({ "refresh_token": user.refresh }),
    )
    .expect(204);
    user.send(shop, "GET", "/api/users/me", &Value::Null)
        .expect_code(401, "unauthenticated");
    assert_eq!(shop.stock(&product), (49, 0));
}

#[test]
fn both_mixed_sets_of_stores_work() {
    built();
    for stores in [
        Stores {
            postgres: true,
            redis: false,
        },
        Stores {
            postgres: false,
            redis: true,
        },
    ] {
        let shop = Shop::start_on(stores, &scratch("mixed"), &[]);
        journey(&shop);
        let (content, said) = verify(&shop, stores);
        assert!(content, "{stores:?} {said}");
    }
}
