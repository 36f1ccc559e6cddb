//! Behaviour that all services share: the order of checks, request ids, traces, sizes, methods, and answers of the host itself.

use crate::harness::{Shop, raw};
use serde_json::json;

#[test]
fn requests_are_checked_in_the_documented_order() {
    let shop = Shop::shared();
    let (json_type, text_type) = (
        [("content-type", "application/json")],
        [("content-type", "text/plain")],
    );
    let staff = format!("Bearer {}", shop.token("staff"));
    let as_staff =
        |content: &'static str| [("content-type", content), ("authorization", staff.as_str())];
    shop.send("POST", "/api/nothing", &text_type, b"{")
        .expect_code(404, "not_found");
    let wrong = shop
        .send("DELETE", "/api/products", &text_type, &[])
        .expect_code(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("GET, POST, HEAD, OPTIONS"));
    shop.send("POST", "/api/products", &text_type, b"{")
        .expect_code(401, "unauthenticated");
    shop.send("POST", "/api/products", &as_staff("text/plain"), b"{")
        .expect_code(415, "unsupported_media_type");
    shop.send("POST", "/api/products", &as_staff("application/json"), b"{")
        .expect_code(400, "malformed_json");
    shop.send(
        "POST",
        "/api/products",
        &as_staff("application/json; charset=utf-8"),
        b"{}",
    )
    .expect_code(422, "invalid");
    shop.send(
        "PATCH",
        "/api/products/x",
        &as_staff("application/json"),
        b"{\"x\":1}",
    )
    .expect_code(422, "invalid");
    shop.send(
        "PATCH",
        "/api/products/x",
        &as_staff("application/json"),
        b"{}",
    )
    .expect_code(404, "not_found");
    let big = vec![b' '; 1024 * 1024 + 1];
    shop.send("POST", "/api/products", &json_type, &big)
        .expect_code(401, "unauthenticated");
    shop.send("POST", "/api/products", &as_staff("text/plain"), &big)
        .expect_code(413, "body_too_large");
}

#[test]
fn bodies_over_a_mebibyte_are_refused_and_the_client_sees_it() {
    let shop = Shop::shared();
    let fits = format!("{{\"x\":\"{}\"}}", "a".repeat(1024 * 1024 - 8));
    assert_eq!(fits.len(), 1024 * 1024);
    shop.send(
        "POST",
        "/api/carts",
        &[("content-type", "application/json")],
        fits.as_bytes(),
    )
    .expect_code(422, "invalid");
    let chunk = format!("{:x}\r\n{}\r\n", 65536, "a".repeat(65536));
    let head = "POST /api/carts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let answer = raw(
        &shop.base,
        format!("{head}{}0\r\n\r\n", chunk.repeat(40)).as_bytes(),
    );
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"),
        "{answer}"
    );
    let head = format!(
        "POST /api/carts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        4 << 20
    );
    let answer = raw(
        &shop.base,
        &[head.as_bytes(), &vec![b'a'; 4 << 20]].concat(),
    );
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"),
        "{answer}"
    );
}

#[test]
fn every_answer_has_a_request_id_and_belongs_to_the_trace() {
    let shop = Shop::shared();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let reply = shop
        .send(
            "GET",
            "/api/products/none",
            &[("traceparent", &parent)],
            &[],
        )
        .expect(404);
    assert_eq!(
        (
            reply.json()["trace_id"].as_str(),
            reply.header("x-request-id")
        ),
        (Some(trace), Some(trace))
    );
    let reply = shop
        .send("GET", "/api/products", &[("x-request-id", "mine-1")], &[])
        .expect(200);
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    let reply = shop
        .send(
            "GET",
            "/api/products",
            &[("x-request-id", "not mine"), ("traceparent", "nonsense")],
            &[],
        )
        .expect(200);
    assert_eq!(reply.header("x-request-id").unwrap().len(), 32);
    let unknown = shop
        .send("GET", "/nowhere", &[("accept", "application/json")], &[])
        .expect_code(404, "not_found");
    assert!(unknown.header("x-request-id").is_some());
}

#[test]
fn head_is_get_without_a_body() {
    let shop = Shop::shared();
    let reply = shop.send("HEAD", "/api/products", &[], &[]).expect(200);
    assert_eq!(
        (reply.text.as_str(), reply.header("content-type")),
        ("", Some("application/json"))
    );
}

#[test]
fn errors_reveal_no_internals() {
    let shop = Shop::shared();
    let inside = [
        "SELECT", "sqlite", "panicked", "src/", "catalog", "wasm", "Error(",
    ];
    for path in [
        "/api/products/' OR 1=1 --",
        "/api/products/%00",
        "/api/orders/x",
        "/api/carts/%f0%9f%9b%92",
        "/api/products/%ff",
    ] {
        let path = path.replace(' ', "%20");
        let reply = shop.get(&path).expect_code(404, "not_found");
        assert!(
            inside.iter().all(|word| !reply.text.contains(word)),
            "{reply:?}"
        );
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    shop.send(
        "POST",
        "/api/carts",
        &[("content-type", "application/json")],
        deep.as_bytes(),
    )
    .expect_code(400, "malformed_json");
}

#[test]
fn sweeps_require_their_token() {
    let shop = Shop::shared();
    for token in ["", "x"] {
        shop.json(
            "POST",
            "/internal/order/sweep",
            &[("x-sweep-token", token)],
            &json!({}),
        )
        .expect_code(404, "not_found");
    }
    shop.get("/internal/order/sweep")
        .expect_code(404, "not_found");
    let secrets = std::fs::read_to_string(shop.state.join("secrets.toml")).unwrap();
    let token = secrets
        .lines()
        .find_map(|line| line.strip_prefix("sweep_token = "))
        .unwrap()
        .trim_matches('"');
    shop.json(
        "POST",
        "/internal/order/sweep",
        &[("x-sweep-token", token)],
        &json!({}),
    )
    .expect(200);
}

#[test]
fn conditions_compare_lists_of_versions() {
    let shop = Shop::shared();
    let id = shop.product(100, 0);
    let path = format!("/api/products/{id}");
    let staff = format!("Bearer {}", shop.token("staff"));
    let change = |condition: &str, price: u64| {
        let headers = [("authorization", staff.as_str()), ("if-match", condition)];
        let price = json!({ "price": { "amount": price, "currency": "USD" } });
        shop.json("PATCH", &path, &headers, &price)
    };
    change("\"7\", \"8\"", 1).expect_code(412, "version_conflict");
    change("W/\"1\"", 1).expect_code(412, "version_conflict");
    change("nonsense", 1).expect_code(412, "version_conflict");
    change("\"99\", \"1\"", 101).expect(200);
    change("*", 102).expect(200);

    let first = shop.get(&path).expect(200);
    let etag = first.header("etag").unwrap();
    assert_eq!(etag, "\"3\"");
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    for known in [etag, "\"1\", \"3\"", "W/\"3\"", "*"] {
        let again = shop.send("GET", &path, &[("if-none-match", known)], &[]);
        let again = again.expect(304);
        assert_eq!(
            (again.text.as_str(), again.header("etag")),
            ("", Some(etag))
        );
    }
    let other = shop.send("GET", &path, &[("if-none-match", "\"1\"")], &[]);
    assert!(other.expect(200).text.contains(&id));
}

#[test]
fn options_lists_the_methods_of_an_address() {
    let shop = Shop::shared();
    let options = |path: &str| shop.send("OPTIONS", path, &[], &[]);
    let product = options("/api/products/x").expect(204);
    assert_eq!(
        product.header("allow"),
        Some("GET, PUT, PATCH, DELETE, HEAD, OPTIONS")
    );
    options("/api/products/x/y").expect_code(404, "not_found");
    options("/internal/catalog/sweep").expect_code(404, "not_found");
}

#[test]
fn schemes_codings_and_nulls_are_read_as_the_standards_say() {
    let shop = Shop::shared();
    let id = shop.product(100, 0);
    let path = format!("/api/products/{id}");
    let staff = format!("bearer {}", shop.token("staff"));
    let auth = [("authorization", staff.as_str())];
    shop.send("GET", "/api/orders?all=true", &auth, &[])
        .expect(200);
    for name in [
        "sku",
        "name",
        "slug",
        "description",
        "category",
        "price",
        "attributes",
        "published",
    ] {
        let refused = shop.json("PATCH", &path, &auth, &json!({ name: null }));
        let refused = refused.expect_code(422, "invalid");
        assert_eq!(refused.fields(), [format!("{name}:required")]);
    }
    let compare = json!({ "compare_at_price": null });
    shop.json("PATCH", &path, &auth, &compare).expect(200);
    let gzip = [
        auth[0],
        ("content-encoding", "gzip"),
        ("content-type", "application/json"),
    ];
    let refused = shop.send("PATCH", &path, &gzip, b"\x1f\x8b");
    let refused = refused.expect_code(415, "unsupported_media_type");
    assert_eq!(refused.header("accept-encoding"), Some("identity"));
    let identity = [
        auth[0],
        ("content-encoding", "identity"),
        ("content-type", "application/json"),
    ];
    shop.send("PATCH", &path, &identity, b"{}").expect(200);
}

#[test]
fn personal_answers_are_not_stored_and_pictures_are_only_pictures() {
    let shop = Shop::shared();
    let id = shop.product(100, 1);
    let product = shop.get(&format!("/api/products/{id}")).expect(200);
    let picture = product.json()["image_url"].as_str().unwrap().to_owned();
    let picture = shop.get(&picture).expect(200);
    assert_eq!(picture.header("x-content-type-options"), Some("nosniff"));
    let policy = picture.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let cart = shop.cart_with(&id, 1);
    let user = crate::harness::User::register(shop);
    let mine = user.send(shop, "GET", "/api/users/me", &serde_json::Value::Null);
    for personal in [
        shop.get(&format!("/api/carts/{cart}")),
        shop.get("/api/orders/nothing"),
        mine,
        shop.staff("GET", &format!("/api/products/{id}"), &json!({})),
    ] {
        assert_eq!(
            personal.header("cache-control"),
            Some("no-store"),
            "{personal:?}"
        );
    }
}

#[test]
fn a_head_that_is_not_valid_is_a_problem() {
    let shop = Shop::shared();
    for (what, head) in [
        (
            "no host",
            "GET /api/products HTTP/1.1\r\nconnection: close\r\n\r\n",
        ),
        (
            "two hosts",
            "GET /api/products HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        ),
        (
            "two lengths",
            "POST /api/carts HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        ),
        (
            "a length that is none",
            "POST /api/carts HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n{}",
        ),
        (
            "a broken line",
            "GET /api/products HTTP/1.1\r\nhost a\r\n\r\n",
        ),
    ] {
        let answer = raw(&shop.base, head.as_bytes());
        for part in [
            "HTTP/1.1 400 Bad Request\r\n",
            "content-type: application/problem+json\r\n",
            "\"code\":\"bad_request\"",
        ] {
            assert!(answer.contains(part), "{what}: {answer}");
        }
    }
    let old = raw(&shop.base, b"GET /api/products HTTP/1.0\r\n\r\n");
    assert!(
        old.starts_with("HTTP/1.0 200") || old.starts_with("HTTP/1.1 200"),
        "{old}"
    );
}
