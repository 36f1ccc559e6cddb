//! Traces: the collector receives spans of every request, of its links, and of its events, in one trace.

use crate::harness::{Shop, Stores, built, checkout, fresh_key, scratch};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A span that the collector received: name, trace id, span id, parent id.
type Seen = (String, String, String, String);

/// Starts a collector that records spans; returns its address.
fn collector() -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let heard = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let heard = heard.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                loop {
                    let (mut length, mut line) = (0, String::new());
                    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                        if let Some(value) =
                            line.to_ascii_lowercase().strip_prefix("content-length:")
                        {
                            length = value.trim().parse().unwrap();
                        }
                        line.clear();
                    }
                    let mut body = vec![0; length];
                    if length == 0 || reader.read_exact(&mut body).is_err() {
                        return;
                    }
                    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
                    let spans = request
                        .resource_spans
                        .into_iter()
                        .flat_map(|resource| resource.scope_spans);
                    let hex = |bytes: &[u8]| {
                        bytes
                            .iter()
                            .map(|byte| format!("{byte:02x}"))
                            .collect::<String>()
                    };
                    for span in spans.flat_map(|scope| scope.spans) {
                        let ids = (
                            hex(&span.trace_id),
                            hex(&span.span_id),
                            hex(&span.parent_span_id),
                        );
                        heard.lock().unwrap().push((span.name, ids.0, ids.1, ids.2));
                    }
                    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    reader.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    (address, seen)
}

#[test]
fn a_checkout_is_one_trace_from_the_request_to_the_consumer() {
    built();
    let (address, seen) = collector();
    let shop = Shop::start_observed(
        crate::STORES,
        &scratch("traces"),
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)],
    );
    let product = shop.product(500, 10);
    let cart = shop.cart_with(&product, 1);
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let (parent, key) = (format!("00-{trace}-{caller}-01"), fresh_key());
    let headers = [
        ("idempotency-key", key.as_str()),
        ("traceparent", parent.as_str()),
    ];
    shop.json(
        "POST",
        "/api/orders",
        &headers,
        &checkout(&cart, "tok_visa"),
    )
    .expect(201);
    let mine = || {
        let seen = seen.lock().unwrap();
        seen.iter()
            .filter(|span| span.1 == trace)
            .cloned()
            .collect::<Vec<_>>()
    };
    let expected = [
        "POST /api/orders/...",
        "link cart.complete",
        "link inventory.reserve",
        "link payment.authorize",
        "link payment.capture",
        "link inventory.confirm",
        "publish order.paid",
        "process order.paid",
    ];
    shop.eventually("all spans have arrived", || {
        let mine = mine();
        expected
            .iter()
            .all(|name| mine.iter().any(|span| span.0 == *name))
    });
    let mine = mine();
    let find = |name: &str| mine.iter().find(|span| span.0 == name).unwrap();
    let request = find("POST /api/orders/...");
    assert_eq!(request.3, caller);
    assert_eq!(find("link inventory.reserve").3, request.2, "{mine:?}");
    let names: String = mine.iter().map(|span| span.0.clone()).collect();
    assert!(
        !names.contains("tok_visa") && !names.contains("ada@"),
        "{names}"
    );
    assert!(!shop.log().contains("\"span\""), "spans are not logged");
}

#[test]
fn a_shop_works_without_a_collector_and_with_one_that_is_down() {
    let shop = Shop::start_observed(
        Stores::EMBEDDED,
        &scratch("away"),
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")],
    );
    let product = shop.product(500, 10);
    shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(&product, 1), "tok_visa"),
    )
    .expect(201);
    let plain = Shop::start();
    let product = plain.product(500, 10);
    plain
        .order(
            &fresh_key(),
            &checkout(&plain.cart_with(&product, 1), "tok_visa"),
        )
        .expect(201);
    assert!(!plain.log().contains("\"span\""));
}
