//! The mixed sets of stores: Postgres without Redis, and Redis without Postgres.

use crate::common::verify;
use crate::harness::{Shop, Stores, User, at_once, built, checkout, fresh_key, scratch};
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

/// The value of a metric without labels.
fn metric(shop: &Shop, name: &str) -> Option<u64> {
    let metrics = shop.metrics();
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    metrics.lines().find_map(value)
}

#[test]
fn a_crowd_shares_eight_connections_to_postgres() {
    built();
    let stores = Stores {
        postgres: true,
        redis: false,
    };
    let state = scratch("eight");
    let config = state.join("runtime-config.toml");
    std::fs::write(&config, "[outbound_pg]\nmax_connections = 8\n").unwrap();
    let flags = ["--runtime-config-file", config.to_str().unwrap()];
    let shop = Shop::start_on(stores, &state, &flags);
    let product = shop.product(100, 1000);
    // Every checkout goes through four services and their schemas.
    let statuses = at_once(48, |_| {
        let buy = || {
            let cart = shop.cart_with(&product, 1);
            shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
                .status
        };
        [buy(), buy()]
    });
    assert!(
        statuses.iter().all(|two| *two == [201, 201]),
        "{statuses:?} {}",
        shop.log()
    );
    if stores.flags(&state).is_empty() {
        return;
    }
    let sessions = metric(&shop, "localmart_postgres_sessions_opened_total");
    assert_eq!(sessions, Some(8), "no session is closed for another one");
    let waits = metric(&shop, "localmart_postgres_waits_total");
    assert!(waits.is_some_and(|waits| waits > 0), "{waits:?}");
    assert_eq!(metric(&shop, "localmart_postgres_waiting"), Some(0));
    let (content, said) = verify(&shop, stores);
    assert!(content, "{said}");
}
