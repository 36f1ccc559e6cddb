//! Fault injection: faults take effect where they are configured, and the data stays consistent.

use super::swaps::{refused, told, verified};
use crate::harness::{Shop, checkout, fresh_key, scratch};
use serde_json::json;
use std::time::{Duration, Instant};

/// Adds a product to a new cart. Returns the reply.
fn put(shop: &Shop, product: &str) -> crate::harness::Reply {
    let cart = shop.send("POST", "/api/carts", &[], &[]).expect(201).json();
    let items = format!("/api/carts/{}/items", cart["id"].as_str().unwrap());
    shop.post(&items, &json!({ "product_id": product, "quantity": 1 }))
}

#[test]
fn a_link_fails_waits_or_breaks_and_the_caller_lives_on() {
    let shop = Shop::start();
    let product = shop.product(5, 100);
    let buy = || {
        shop.order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 1), "tok_visa"),
        )
    };
    buy().expect(201);

    told(
        &shop,
        &[
            "fault",
            "add",
            "--link",
            "order->payment",
            "--error",
            "100%",
        ],
    );
    let before = shop.stock(&product).0;
    assert!(buy().status >= 500);
    told(&shop, &["fault", "clear"]);
    buy().expect(201);
    assert_eq!(shop.stock(&product).0, before - 1);

    told(
        &shop,
        &["fault", "add", "--link", "cart->catalog", "--trap", "100%"],
    );
    put(&shop, &product).expect_code(503, "unavailable");
    let list = told(&shop, &["fault", "list"]);
    assert!(
        list.contains("cart->catalog: trap, 100.00 %, struck"),
        "{list}"
    );
    // Other calls use another instance, or a new one.
    shop.get(&format!("/api/products/{product}")).expect(200);
    let failed =
        "localmart_failed_calls_total{component=\"catalog\",generation=\"1\",reason=\"trap\"} ";
    assert!(!shop.metrics().contains(&format!("{failed}0")));
    told(&shop, &["fault", "clear"]);
    put(&shop, &product).expect(200);

    told(
        &shop,
        &[
            "fault",
            "add",
            "--link",
            "cart->catalog",
            "--delay",
            "300ms",
        ],
    );
    let begun = Instant::now();
    put(&shop, &product).expect(200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    told(&shop, &["fault", "clear", "3"]);
    verified(&shop);
}

#[test]
fn after_failures_in_a_row_the_callee_is_left_alone_for_a_while() {
    let shop = Shop::start_in(&scratch("state"), &["--threads", "1"]);
    let product = shop.product(5, 100);
    told(
        &shop,
        &["fault", "add", "--link", "cart->catalog", "--error", "100%"],
    );
    for _ in 0..12 {
        put(&shop, &product).expect_code(503, "unavailable");
    }
    let kept_away = "localmart_link_calls_total{binding=\"isolated\",callee=\"catalog\",caller=\"cart\",generation=\"1\",outcome=\"circuit_open\"} ";
    let metrics = shop.metrics();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(kept_away));
    assert!(line.is_some_and(|count| count != "0"), "{metrics}");
    told(&shop, &["fault", "clear"]);
    shop.eventually("one call tries it again", || {
        put(&shop, &product).status == 200
    });
}

#[test]
fn a_capability_fails_for_whom_it_is_put_on() {
    let shop = Shop::start();
    let product = shop.product(5, 100);
    let see = || shop.get(&format!("/api/products/{product}"));
    told(
        &shop,
        &[
            "fault",
            "add",
            "--on",
            "sqlite",
            "--component",
            "catalog",
            "--error",
            "100%",
        ],
    );
    assert!(see().status >= 500);
    shop.get(&format!("/api/inventory/{product}")).expect(200);
    told(&shop, &["fault", "clear"]);
    see().expect(200);
    told(
        &shop,
        &[
            "fault",
            "add",
            "--on",
            "sqlite",
            "--component",
            "catalog",
            "--trap",
            "100%",
        ],
    );
    assert!(see().status >= 500);
    told(&shop, &["fault", "clear"]);
    see().expect(200);
    told(
        &shop,
        &["fault", "add", "--on", "key-value", "--delay", "5ms"],
    );
    put(&shop, &product).expect(200);
    let list = told(&shop, &["fault", "list"]);
    assert!(
        list.contains("key-value: delay of 5ms") && !list.contains("struck 0 times"),
        "{list}"
    );
}

#[test]
fn a_fault_that_cannot_strike_is_refused() {
    let shop = Shop::start_in(&scratch("state"), &["--binding", "order->payment=fused"]);
    for (words, reason) in [
        (
            &["--link", "order->payment", "--error", "1%"][..],
            "is fused",
        ),
        (
            &["--link", "order->nobody", "--error", "1%"],
            "does not call `nobody`",
        ),
        (
            &["--link", "nobody->order", "--error", "1%"],
            "no component `nobody`",
        ),
        (&["--link", "order", "--error", "1%"], "caller->callee"),
        (&["--on", "sqlite"], "say what the fault does"),
        (
            &["--on", "disk", "--error", "1%"],
            "`disk` is not a capability",
        ),
        (
            &["--on", "sqlite", "--component", "nobody", "--error", "1%"],
            "no component `nobody`",
        ),
        (
            &["--on", "sqlite", "--error", "101%"],
            "`101%` is not a percentage",
        ),
        (&["--error", "1%"], "--link"),
    ] {
        let said = refused(&shop, &[&["fault", "add"], words].concat());
        assert!(said.contains(reason), "{words:?}: {said}");
    }
    let said = refused(&shop, &["fault", "clear", "7"]);
    assert!(said.contains("there is no fault 7"), "{said}");
    assert_eq!(told(&shop, &["fault", "list"]), "no faults\n");
}
