//! Clients that say little or nothing: none of them holds an instance, and all of them are disconnected.

use crate::harness::{
    Hostile, Shop, built, checkout, fresh_key, localmart, one_of_a_thousand, printed, root, scratch,
};

/// A shop with these variables.
fn shop(variables: &[&str]) -> Shop {
    built();
    let flags: Vec<&str> = variables
        .iter()
        .flat_map(|variable| ["--variable", variable])
        .collect();
    Shop::start_in(&scratch("hostile"), &flags)
}

/// A request whose connection stays open.
const KEPT_ALIVE: &[u8] = b"GET /api/products HTTP/1.1\r\nhost: shop\r\n\r\n";

/// Buys something.
fn buys(shop: &Shop) {
    let cart = shop.cart_with(&shop.product(100, 10), 1);
    shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201);
}

#[test]
fn silent_clients_are_disconnected() {
    let shop = shop(&["client_head_timeout=500ms", "client_idle_timeout=500ms"]);
    let silent = [
        ("nothing", &b""[..]),
        ("half a head", b"GET / HTTP/1.1\r\nhost: sh"),
        ("half an HTTP/2 preface", b"PRI * HTTP/2.0\r\n"),
        (
            "a preface without a request",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
    ];
    for (what, bytes) in silent {
        let received = Hostile::sends(&shop.base, bytes).until_closed();
        assert!(received.is_some(), "{what} keeps a connection open");
    }
    let after = Hostile::sends(
        &shop.base,
        b"GET /api/products HTTP/1.1\r\nhost: shop\r\n\r\n",
    );
    let received = after.until_closed().expect("an idle connection stays open");
    assert!(received.starts_with("HTTP/1.1 200"), "{received}");
    let half = Hostile::sends(
        &shop.base,
        b"GET /api/products HTTP/1.1\r\nhost: shop\r\n\r\nGET /",
    );
    assert!(half.until_closed().is_some(), "half a second head");
    buys(&shop);
}

#[test]
fn a_body_that_does_not_arrive_holds_no_instance() {
    let shop = shop(&["client_body_timeout=20s"]);
    buys(&shop);
    let slow = |path: &str| Hostile::sends(&shop.base, &one_of_a_thousand(path));
    let slow: Vec<_> = (0..200)
        .flat_map(|_| [slow("/api/orders"), slow("/api/auth/login")])
        .collect();
    for _ in 0..5 {
        buys(&shop);
    }
    let open = slow.iter().filter(|client| client.is_unanswered()).count();
    assert_eq!(open, slow.len(), "the slow clients were still waiting");
}

#[test]
fn a_body_that_does_not_arrive_is_answered_with_408() {
    let shop = shop(&["client_body_timeout=300ms"]);
    let slow = Hostile::sends(&shop.base, &one_of_a_thousand("/api/orders"));
    let answer = slow.until_closed().expect("the connection stays open");
    for part in [
        "HTTP/1.1 408 Request Timeout\r\n",
        "connection: close\r\n",
        "content-type: application/problem+json\r\n",
        "\"code\":\"request_timeout\"",
    ] {
        assert!(answer.contains(part), "{part} is missing in {answer}");
    }
    // Too large to be received before the guest runs.
    let mut large = b"POST /api/orders HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\nidempotency-key: k\r\n\
        content-length: 100000\r\n\r\n{"
        .to_vec();
    large.extend([b' '; 5000]);
    let answer = Hostile::sends(&shop.base, &large).until_closed();
    let answer = answer.expect("the connection stays open");
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(
        shop.metrics()
            .contains("localmart_client_limited_total{limit=\"body\"} 1\n")
            || shop
                .metrics()
                .contains("localmart_client_limited_total{limit=\"body\"} 2\n"),
        "{}",
        shop.metrics()
    );
    buys(&shop);
}

#[test]
fn a_client_that_reads_nothing_is_disconnected() {
    let shop = shop(&["client_write_timeout=300ms"]);
    let request = b"GET /api/products?limit=100 HTTP/1.1\r\nhost: shop\r\n\r\n";
    for _ in 0..60 {
        shop.product(100, 0);
    }
    let client = Hostile::sends(&shop.base, b"");
    client
        .0
        .set_write_timeout(Some(std::time::Duration::from_millis(200)))
        .unwrap();
    let mut client = client;
    for _ in 0..2000 {
        client = client.send(request);
    }
    shop.eventually("the connection is closed", || {
        shop.metrics()
            .contains("localmart_client_limited_total{limit=\"silence\"} 1\n")
    });
    buys(&shop);
}

#[test]
fn connections_are_limited_per_address_and_in_all() {
    let shop = shop(&[
        "client_connections_per_address=3",
        "client_connections=12",
        "client_count_loopback=true",
        "client_head_timeout=60s",
    ]);
    let request = b"GET /api/products HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
    let from = |address: &str| Hostile::connect_from(address, &shop.base);
    // A connection that was answered is counted.
    let served = |address: &str| from(address).send(KEPT_ALIVE).answered();
    let _held: Vec<_> = (0..3).map(|_| served("127.0.0.2")).collect();
    let refused = from("127.0.0.2").send(request).status();
    assert!([None, Some(503)].contains(&refused), "{refused:?}");
    assert_eq!(from("127.0.0.3").send(request).status(), Some(200));

    // Three quarters of all connections: silent clients make room.
    let _crowd: Vec<_> = (4..7)
        .flat_map(|last| [(); 3].map(|()| from(&format!("127.0.0.{last}"))))
        .collect();
    shop.eventually("silent clients make room", || {
        from("127.0.0.9").send(request).status() == Some(200)
    });
    let metrics = shop.metrics();
    assert!(
        metrics.contains("localmart_client_limited_total{limit=\"connections_per_address\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn only_a_trusted_proxy_names_the_client() {
    let shop = shop(&[
        "client_connections_per_address=1",
        "client_body_timeout=60s",
        "trusted_proxies=127.0.0.3/32, 127.0.0.4",
        "client_count_loopback=true",
    ]);
    let request = |address: &str| {
        format!(
            "GET /api/products HTTP/1.1\r\nhost: shop\r\nconnection: close\r\nx-forwarded-for: {address}\r\n\r\n"
        )
    };
    let from = |from: &str, client: &str| {
        Hostile::connect_from(from, &shop.base)
            .send(request(client).as_bytes())
            .status()
    };
    let mut slow = one_of_a_thousand("/api/orders");
    let line = b"x-forwarded-for: 198.51.100.7\r\n";
    slow.splice(27..27, line.iter().copied());
    let hold = || Hostile::connect_from("127.0.0.3", &shop.base).send(&slow);
    let held = std::cell::RefCell::new(hold());
    // The next request of the same client, through whichever proxy, is beyond its limit. If it came first, the slow one was
    // refused instead.
    shop.eventually("one of two requests is beyond the limit", || {
        if !held.borrow().is_unanswered() {
            held.replace(hold());
            return false;
        }
        from("127.0.0.4", "198.51.100.7") == Some(503)
    });
    assert_eq!(from("127.0.0.3", "198.51.100.8"), Some(200));
    assert_eq!(from("127.0.0.3", "198.51.100.7, 198.51.100.9"), Some(200));
    // Somebody else cannot use up the client's limit, nor escape the own one.
    assert_eq!(from("127.0.0.5", "198.51.100.7"), Some(200));
    drop(held);
}

#[test]
fn silent_clients_of_the_observe_address_make_room() {
    let shop = shop(&[]);
    let _silent: Vec<_> = (0..700)
        .map(|_| Hostile::sends(&shop.observe, b""))
        .collect();
    let request = b"GET /readyz HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
    shop.eventually("the observe address answers", || {
        Hostile::sends(&shop.observe, request).status() == Some(200)
    });
}

#[test]
fn silent_clients_do_not_delay_a_shutdown() {
    let mut shop = shop(&[]);
    buys(&shop);
    let _waiting = [
        Hostile::sends(&shop.base, b""),
        Hostile::sends(&shop.base, b"GET / HTTP/1.1\r\n"),
        Hostile::sends(&shop.base, b"PRI * HTTP/2.0\r\n"),
        Hostile::sends(&shop.base, &one_of_a_thousand("/api/orders")),
        Hostile::sends(&shop.observe, b""),
    ];
    shop.terminate();
    assert_eq!(shop.wait(), Some(0), "{}", shop.log());
}

#[test]
fn limits_that_are_no_limits_are_refused() {
    for (variable, part) in [
        ("client_connections=0", "connections"),
        ("trusted_proxies=everybody", "`everybody`"),
        ("client_head_timeout=soon", "head_timeout"),
        ("client_min_body_rate=fast", "min_body_rate"),
    ] {
        let output = localmart()
            .args(["up", "--no-build", "--variable", variable, "-f"])
            .arg(root().join("spin.toml"))
            .arg("--state-dir")
            .arg(scratch("limits"))
            .output()
            .unwrap();
        assert!(!output.status.success(), "{variable}");
        let printed = printed(&output);
        assert!(printed.contains(part), "{variable}: {printed}");
    }
}

#[test]
fn carts_and_logins_have_a_rate_per_address() {
    let shop = shop(&["cart_rate=3/1h", "login_rate=2/1h"]);
    let cart = b"POST /api/carts HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
    let body = "{\"email\":\"a@b.cc\",\"password\":\"wrong horse\"}";
    let login = format!(
        "POST /api/auth/login HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let send =
        |from: &str, bytes: &[u8]| Hostile::connect_from(from, &shop.base).send(bytes).status();
    for _ in 0..5 {
        assert_eq!(
            send("127.0.0.1", cart),
            Some(201),
            "loopback does not count"
        );
    }
    let shop = self::shop(&[
        "cart_rate=3/1h",
        "login_rate=2/1h",
        "client_count_loopback=true",
    ]);
    let answer = |from: &str, bytes: &[u8]| {
        let client = Hostile::connect_from(from, &shop.base).send(bytes);
        client.until_closed().unwrap()
    };
    for _ in 0..3 {
        assert!(answer("127.0.0.2", cart).starts_with("HTTP/1.1 201"));
    }
    let refused = answer("127.0.0.2", cart);
    for part in [
        "HTTP/1.1 429",
        "\r\nretry-after: 1",
        "\"code\":\"too_many_requests\"",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(answer("127.0.0.3", cart).starts_with("HTTP/1.1 201"));
    for expected in ["HTTP/1.1 401", "HTTP/1.1 401", "HTTP/1.1 429"] {
        let answer = answer("127.0.0.4", login.as_bytes());
        assert!(answer.starts_with(expected), "{answer}");
    }
}

#[test]
fn an_address_has_so_many_requests_in_a_minute() {
    let shop = shop(&["rate_limit_per_minute=100"]);
    let send = |client: usize| {
        let spoofed = format!("198.51.100.{client}");
        let headers = [("x-forwarded-for", spoofed.as_str())];
        shop.send("GET", "/api/categories", &headers, &[])
    };
    // More may pass, because the rate lets one through every 600 ms.
    let mut answers = (0..400).map(|client| send(client % 250));
    let passed = answers.by_ref().take_while(|answer| answer.status == 200);
    let passed = passed.count();
    assert!((100..390).contains(&passed), "{passed} requests passed");
    let refused = answers.find(|answer| answer.status != 200).unwrap();
    let refused = refused.expect_code(429, "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("1"));
}
