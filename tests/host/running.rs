//! A running host: its metrics, its shutdown, and the isolation of failures.

use crate::harness::{Shop, at_once, built, checkout, fresh_key, raw, scratch};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn the_observe_address_tells_health_and_numbers() {
    let shop = Shop::start();
    shop.product(5, 1);
    shop.get("/api/products").expect(200);
    shop.get("/api/products/none").expect(404);
    let observe = |path: &str| shop.send("GET", &format!("{}{path}", shop.observe), &[], &[]);
    assert_eq!(observe("/healthz").expect(200).text, "ok\n");
    assert_eq!(observe("/readyz").expect(200).text, "ready\n");
    observe("/nothing").expect(404);
    let metrics = observe("/metrics").expect(200).text;
    for line in [
        "localmart_http_requests_total{component=\"catalog\",generation=\"1\",route=\"/api/products/...\",status=\"2xx\"}",
        "localmart_http_requests_total{component=\"catalog\",generation=\"1\",route=\"/api/products/...\",status=\"4xx\"}",
        "localmart_http_request_duration_seconds_bucket{component=\"catalog\",generation=\"1\",route=\"/api/products/...\",le=\"0.001\"}",
        "localmart_instances{component=\"catalog\",generation=\"1\"}",
        "localmart_cold_start_seconds_count{component=\"catalog\",generation=\"1\"}",
        "localmart_failed_calls_total{component=\"order\",generation=\"1\",reason=\"trap\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing in:\n{metrics}");
    }
}

#[test]
fn logs_are_json_with_the_trace() {
    let shop = Shop::start();
    let product = shop.product(5, 1);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let key = fresh_key();
    let headers = [("traceparent", parent), ("idempotency-key", key.as_str())];
    shop.json(
        "POST",
        "/api/orders",
        &headers,
        &checkout(&shop.cart_with(&product, 1), "tok_visa"),
    )
    .expect(201);
    let give_up = Instant::now() + Duration::from_secs(10);
    while !shop.log().contains("order paid") && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = shop.log();
    // Before that come plain lines that say how the start goes.
    let (_, events) = log.split_once("ready after ").unwrap();
    for line in events.lines().skip(1) {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
    let paid = log
        .lines()
        .find(|line| line.contains("order paid"))
        .unwrap();
    assert!(paid.contains("0af7651916cd43dd8448eb211c80319c"), "{paid}");
}

#[test]
fn sigterm_lets_requests_end_and_takes_no_more() {
    built();
    let mut shop = Shop::start_in(&scratch("drain"), &[]);
    let product = shop.product(5, 3);
    let body = checkout(&shop.cart_with(&product, 1), "tok_timeout");
    let key = fresh_key();
    let pid = shop.pid().to_string();
    let answered = AtomicBool::new(false);
    let replies = at_once(2, |number| {
        if number == 0 {
            // It takes two seconds because the payment provider does not answer.
            let status = shop.order(&key, &body).status;
            answered.store(true, Ordering::Relaxed);
            return status;
        }
        shop.eventually("the order is under way", || shop.stock(&product) == (3, 1));
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args(["-TERM", &pid]).status().unwrap().success());
        let address = shop.base.trim_start_matches("http://");
        shop.eventually("a new connection is refused", || {
            std::net::TcpStream::connect(address).is_err()
        });
        assert!(!answered.load(Ordering::Relaxed), "it is draining still");
        0
    });
    assert_eq!(replies[0], 201);
    assert_eq!(shop.wait(), Some(0));
}

#[test]
fn clients_that_misbehave_hurt_nobody() {
    let shop = Shop::start();
    assert!(raw(&shop.base, b"NONSENSE\r\n\r\n").starts_with("HTTP/1.1 400"));
    let slow = std::net::TcpStream::connect(shop.base.trim_start_matches("http://")).unwrap();
    at_once(16, |_| {
        let mut half =
            std::net::TcpStream::connect(shop.base.trim_start_matches("http://")).unwrap();
        use std::io::Write as _;
        half.write_all(b"POST /api/carts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{").unwrap();
    });
    for _ in 0..20 {
        shop.post("/api/carts", &json!({})).expect(201);
    }
    drop(slow);
    let forged = shop.send(
        "GET",
        "/api/products",
        &[("spin-client-addr", "1.2.3.4")],
        &[],
    );
    forged.expect(200);
}
