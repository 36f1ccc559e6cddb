//! Link calls can be recorded and replayed, and `localmart top` shows a running shop.

use super::swaps::{refused, swap, told};
use crate::harness::{Shop, checkout, fresh_key, scratch};
use serde_json::Value;

#[test]
fn the_calls_of_a_link_are_recorded_and_made_again() {
    let shop = Shop::start();
    let product = shop.product(1999, 100);
    let file = scratch("traffic").join("calls.jsonl");
    let path = file.to_str().unwrap();
    told(
        &shop,
        &[
            "traffic",
            "record",
            "--link",
            "order->catalog",
            "--to",
            path,
        ],
    );
    let said = refused(
        &shop,
        &["traffic", "record", "--link", "cart->catalog", "--to", path],
    );
    assert!(
        said.contains("order->catalog is already being recorded"),
        "{said}"
    );
    for _ in 0..3 {
        let cart = shop.cart_with(&product, 1);
        shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
            .expect(201);
    }
    assert_eq!(told(&shop, &["traffic", "stop"]), "3 calls recorded\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "recorded calls contain personal data");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["function"], "get-products");
    assert!(
        first["answer"].as_str().unwrap().contains(&product),
        "{first}"
    );

    let said = told(&shop, &["traffic", "replay", path]);
    assert!(said.ends_with("3 calls, 0 answers differ\n"), "{said}");
    let body = serde_json::json!({ "price": { "amount": 5, "currency": "USD" } });
    let known = shop.get(&format!("/api/products/{product}")).expect(200);
    let bearer = format!("Bearer {}", shop.token("staff"));
    let tag = known.header("etag").unwrap().to_owned();
    let headers = [
        ("authorization", bearer.as_str()),
        ("if-match", tag.as_str()),
    ];
    shop.json(
        "PATCH",
        &format!("/api/products/{product}"),
        &headers,
        &body,
    )
    .expect(200);
    let said = refused(&shop, &["traffic", "replay", path]);
    assert!(
        said.contains("3 of 3 answers differ") && said.contains("get-products("),
        "{said}"
    );

    let said = refused(&shop, &["traffic", "stop"]);
    assert!(said.contains("no recording is running"), "{said}");
    let said = refused(
        &shop,
        &[
            "traffic",
            "record",
            "--link",
            "order->catalog",
            "--to",
            path,
        ],
    );
    assert!(said.contains("calls.jsonl"), "{said}");
    let said = refused(
        &shop,
        &["traffic", "record", "--link", "order->nobody", "--to", "x"],
    );
    assert!(said.contains("does not call `nobody`"), "{said}");
}

#[test]
fn the_running_shop_can_be_watched() {
    let shop = Shop::start();
    let product = shop.product(1999, 100);
    let cart = shop.cart_with(&product, 1);
    shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201);
    let words = swap("catalog", &crate::harness::root().join("dist/catalog.wasm"));
    told(&shop, &words.iter().map(String::as_str).collect::<Vec<_>>());
    shop.get(&format!("/api/products/{product}")).expect(200);
    let seen = told(&shop, &["top", "--every", "100ms", "--times", "1"]);
    for part in [
        "MiB",
        "order -> catalog",
        "isolated",
        "order -> tax",
        "policy",
        "calls/s",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let catalog = seen.lines().find(|line| line.starts_with("catalog"));
    assert!(
        catalog.is_some_and(|line| line.contains(" 2 serves")),
        "{seen}"
    );
    let metrics = shop.metrics();
    for line in [
        "localmart_link_binding{binding=\"isolated\",callee=\"catalog\",caller=\"order\"} 1",
        "localmart_link_binding{binding=\"policy\",callee=\"tax\",caller=\"order\"} 1",
        "localmart_link_call_duration_seconds_count{binding=\"isolated\",callee=\"catalog\",caller=\"order\",generation=\"1\"}",
        "localmart_memory_bytes{component=\"catalog\",generation=\"2\"}",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
}
