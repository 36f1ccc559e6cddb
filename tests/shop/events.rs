//! Events: they arrive even if the shop dies, take effect once, and become dead letters if they are invalid. The consumer in
//! these tests is recommendation; `localmart events` reads the bus.

use crate::common::{events, history, verify};
use crate::harness::{
    LEASES_EXPIRE, Shop, TEST_CLOCK, User, built_with_points, checkout, fresh_key, localmart, root,
    scratch,
};
use serde_json::{Value, json};

fn bought(shop: &Shop, product: &str) -> Value {
    shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(product, 1), "tok_visa"),
    )
    .expect(201)
    .json()
}

fn recommended(shop: &Shop, query: &str) -> Vec<String> {
    let found = shop
        .get(&format!("/api/recommendations{query}"))
        .expect(200)
        .json();
    let id = |item: &Value| item["product"]["id"].as_str().unwrap().to_owned();
    found["items"].as_array().unwrap().iter().map(id).collect()
}

#[test]
fn verify_expects_no_events_that_the_bus_has_dropped() {
    let shop = Shop::start_in(&scratch("week"), &[TEST_CLOCK]);
    let product = shop.product(500, 20);
    let [_, shipped] = [(); 2].map(|()| bought(&shop, &product));
    let shipped = shipped["id"].as_str().unwrap();
    shop.eventually("the orders are announced", || {
        history(&shop, "order.events").len() == 4
    });
    shop.advance("6d");
    shop.staff("POST", &format!("/api/orders/{shipped}/ship"), &json!({}))
        .expect(200);
    shop.advance("2d");
    shop.eventually("the bus has only the last event", || {
        shop.advance("2h");
        history(&shop, "order.events").len() == 1
    });
    let (clean, said) = verify(&shop, crate::STORES);
    assert!(clean, "{said}");
}

#[test]
fn tail_shows_events_published_after_its_start() {
    use std::io::BufRead as _;
    let shop = Shop::start();
    let product = shop.product(500, 20);
    bought(&shop, &product);
    shop.eventually("an earlier event is on the bus", || {
        !history(&shop, "order.events").is_empty()
    });
    let mut command = localmart();
    command.args(["events", "tail", "order.events", "--json", "-f"]);
    command.arg(root().join("spin.toml")).arg("--state-dir");
    command
        .arg(&shop.state)
        .args(crate::STORES.flags(&shop.state));
    command.stdout(std::process::Stdio::piped());
    let mut tail = command.spawn().unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    let out = std::io::BufReader::new(tail.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut orders = Vec::new();
    // `tail` may need a moment to start; every later order is shown.
    let seen = loop {
        orders.push(bought(&shop, &product)["id"].clone());
        assert!(orders.len() < 60, "tail printed nothing");
        if let Ok(line) = lines.recv_timeout(std::time::Duration::from_secs(1)) {
            break serde_json::from_str::<Value>(&line).unwrap();
        }
    };
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert!(orders.contains(&seen["subject"]), "{seen}");
}

fn kinds(shop: &Shop, subject: &Value) -> Vec<String> {
    let mut all = history(shop, "order.events");
    all.retain(|event| event["subject"] == *subject);
    all.iter()
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_ordered_product_becomes_more_popular() {
    let shop = Shop::start();
    let (first, second) = (shop.product(500, 50), shop.product(700, 50));
    bought(&shop, &first);
    shop.eventually("the first is recommended", || {
        recommended(&shop, "") == [first.clone()]
    });
    for _ in 0..2 {
        bought(&shop, &second);
    }
    shop.eventually("the second is ahead of the first", || {
        recommended(&shop, "") == [second.clone(), first.clone()]
    });
    let cart = shop.cart_with(&first, 1);
    shop.post(
        &format!("/api/carts/{cart}/items"),
        &json!({ "product_id": second, "quantity": 1 }),
    )
    .expect(200);
    shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201);
    shop.eventually("the two are bought together", || {
        let reply = shop
            .get(&format!("/api/recommendations?product_id={first}"))
            .expect(200)
            .json();
        reply["strategy"] == "bought_together"
            && reply["items"][0]["product"]["id"] == json!(second)
    });
    shop.staff("DELETE", &format!("/api/products/{second}"), &Value::Null)
        .expect(204);
    assert_eq!(
        recommended(&shop, ""),
        std::slice::from_ref(&first),
        "an unpublished product is not recommended"
    );
    let (on_hand, _) = shop.stock(&first);
    shop.staff(
        "POST",
        &format!("/api/inventory/{first}/adjustments"),
        &json!({ "delta": -i64::try_from(on_hand).unwrap(), "reason": "fire" }),
    )
    .expect(200);
    assert!(
        recommended(&shop, "").is_empty(),
        "a sold-out product is not recommended"
    );
    for bad in ["?limit=0", "?limit=101", "?product_id=x", "?x=1"] {
        shop.get(&format!("/api/recommendations{bad}"))
            .expect_code(422, "invalid");
    }
}

#[test]
fn a_view_of_a_product_counts() {
    let shop = Shop::start();
    let product = shop.product(500, 50);
    shop.get(&format!("/api/products/{product}")).expect(200);
    shop.eventually("it is recommended", || {
        recommended(&shop, "") == [product.clone()]
    });
    let user = User::register(&shop);
    user.send(
        &shop,
        "GET",
        &format!("/api/products/{product}"),
        &Value::Null,
    )
    .expect(200);
    let path = format!("/api/recommendations?customer_id={}", user.id);
    shop.eventually("the product is recommended to its viewer", || {
        user.send(&shop, "GET", &path, &Value::Null)
            .expect(200)
            .json()["strategy"]
            == "viewed"
    });
    assert_eq!(
        shop.get(&path).expect(200).json()["strategy"],
        "popular",
        "personal recommendations are only for the customer"
    );
}

#[test]
fn every_change_has_its_events_in_order_and_in_its_trace() {
    let shop = Shop::start();
    let product = shop.product(500, 10);
    let cart = shop.cart_with(&product, 1);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let key = fresh_key();
    let headers = [
        ("idempotency-key", key.as_str()),
        ("traceparent", parent.as_str()),
    ];
    let order = shop
        .json(
            "POST",
            "/api/orders",
            &headers,
            &checkout(&cart, "tok_visa"),
        )
        .expect(201)
        .json();
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    shop.staff("POST", &format!("{path}/ship"), &json!({}))
        .expect(200);
    shop.staff("POST", &format!("{path}/deliver"), &json!({}))
        .expect(200);
    let expected = [
        "order.created",
        "order.paid",
        "order.shipped",
        "order.delivered",
    ];
    shop.eventually("all events are there", || {
        kinds(&shop, &order["id"]) == expected
    });
    let mut all = history(&shop, "order.events");
    all.extend(history(&shop, "payment.events"));
    let mine: Vec<&Value> = all
        .iter()
        .filter(|event| event["data"]["order_id"] == order["id"])
        .collect();
    assert!(mine.len() >= 5);
    for event in mine.iter().filter(|event| {
        !["order.shipped", "order.delivered"].contains(&event["type"].as_str().unwrap())
    }) {
        assert_eq!(
            event["traceparent"].as_str().unwrap().split('-').nth(1),
            Some(trace),
            "{event}"
        );
    }
    let text = all.iter().map(Value::to_string).collect::<String>();
    assert!(
        !text.contains("ada@example.com")
            && !text.contains("tok_visa")
            && !text.contains("Analytical"),
        "{text}"
    );
}

#[test]
fn an_event_that_was_not_published_before_a_crash_is_published_after_the_restart() {
    built_with_points();
    let state = scratch("outbox");
    let shop = Shop::start_in(&state, &[]);
    let product = shop.product(500, 10);
    let cart = shop.cart_with(&product, 1);
    shop.eventually("earlier events are published", || {
        events(&shop, &["lag"]).contains("catalog") || !history(&shop, "product.events").is_empty()
    });
    drop(shop);
    // The shop dies after the order is paid and committed, before its events are published.
    let mut shop = Shop::start_in(&state, &["--point", "order.paid=kill"]);
    let key = fresh_key();
    let body = checkout(&cart, "tok_visa").to_string();
    let url = format!("{}/api/orders", shop.base);
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key.as_str()),
    ];
    assert!(
        shop.try_send("POST", &url, &headers, body.as_bytes())
            .is_err()
    );
    shop.wait();
    let shop = Shop::start_in(&state, &[TEST_CLOCK]);
    shop.advance(LEASES_EXPIRE);
    let again = || shop.order(&key, &checkout(&cart, "tok_visa"));
    shop.eventually("the interrupted checkout continues", || {
        again().status == 201
    });
    let order = again().expect(201).json();
    shop.eventually("the events are published", || {
        kinds(&shop, &order["id"]) == ["order.created", "order.paid"]
    });
    shop.eventually("the events take effect", || {
        recommended(&shop, "") == [product.clone()]
    });
}

#[test]
fn an_event_that_was_published_or_handled_twice_counts_once() {
    built_with_points();
    for point in ["outbox.published", "event.handled"] {
        let state = scratch("twice");
        let shop = Shop::start_in(&state, &[]);
        let product = shop.product(500, 50);
        let cart = shop.cart_with(&product, 3);
        drop(shop);
        let mut shop = Shop::start_in(&state, &["--point", &format!("{point}=kill")]);
        let url = format!("{}/api/orders", shop.base);
        let (key, body) = (fresh_key(), checkout(&cart, "tok_visa").to_string());
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key.as_str()),
        ];
        // The answer may arrive before the shop dies.
        let _ = shop.try_send("POST", &url, &headers, body.as_bytes());
        shop.wait();
        let shop = Shop::start_in(&state, &[TEST_CLOCK]);
        shop.advance(LEASES_EXPIRE);
        let again = || shop.order(&key, &checkout(&cart, "tok_visa"));
        shop.eventually("the interrupted checkout continues", || {
            again().status == 201
        });
        shop.eventually("the order counts", || {
            recommended(&shop, "") == [product.clone()]
        });
        shop.eventually("nothing is pending", || {
            !events(&shop, &["lag"])
                .lines()
                .skip(1)
                .any(|line| line.split_whitespace().nth(3) != Some("0"))
        });
        let score =
            shop.get("/api/recommendations").expect(200).json()["items"][0]["score"].clone();
        assert_eq!(score, json!(30), "{point}");
    }
}

#[test]
fn an_invalid_event_becomes_a_dead_letter_and_can_be_replayed() {
    let shop = Shop::start();
    let product = shop.product(500, 50);
    events(
        &shop,
        &[
            "publish",
            "order.events",
            "{\"specversion\":\"1.0\",\"id\":\"poison\"}",
        ],
    );
    bought(&shop, &product);
    shop.eventually("the valid event is handled", || {
        recommended(&shop, "") == [product.clone()]
    });
    shop.eventually("the invalid event is a dead letter", || {
        events(&shop, &["dead"]).contains("`type` is missing")
    });
    let metrics = shop
        .send("GET", &format!("{}/metrics", shop.observe), &[], &[])
        .text;
    assert!(metrics.contains("localmart_bus_dead_letters"), "{metrics}");
    assert!(events(&shop, &["replay", "--all"]).contains("1 replayed"));
    shop.eventually("the invalid event is a dead letter again", || {
        events(&shop, &["dead"]).contains("`type` is missing")
    });
    let lag = events(&shop, &["lag"]);
    assert!(
        lag.contains("recommendation") && lag.contains("order.events"),
        "{lag}"
    );
}

#[test]
fn every_event_matches_its_schema() {
    let shop = Shop::start();
    let (product, user) = (shop.product(500, 20), User::register(&shop));
    user.send(&shop, "PATCH", "/api/users/me", &json!({ "name": "Ada" }))
        .expect(200);
    user.send(
        &shop,
        "GET",
        &format!("/api/products/{product}"),
        &Value::Null,
    )
    .expect(200);
    let order = bought(&shop, &product);
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    shop.staff("POST", &format!("{path}/ship"), &json!({}))
        .expect(200);
    shop.staff("POST", &format!("{path}/deliver"), &json!({}))
        .expect(200);
    let wanted =
        json!({ "items": [{ "product_id": product, "quantity": 1 }], "reason": "does not fit" });
    let token = order["guest_token"].as_str().unwrap();
    let headers = [("x-order-token", token), ("idempotency-key", "k")];
    let asked = shop.json("POST", &format!("{path}/returns"), &headers, &wanted);
    let asked = asked.expect(201).json();
    let approve = format!("{path}/returns/{}/approve", asked["id"].as_str().unwrap());
    shop.staff("POST", &approve, &json!({})).expect(200);
    let cancelled = bought(&shop, &product);
    let path = format!("/api/orders/{}", cancelled["id"].as_str().unwrap());
    shop.staff("POST", &format!("{path}/cancel"), &json!({}))
        .expect(200);
    shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(&product, 1), "tok_declined"),
    )
    .expect(402);
    shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(&product, 16), "tok_visa"),
    )
    .expect(201);
    let expected = [
        "inventory.low",
        "order.cancelled",
        "order.created",
        "order.delivered",
        "order.paid",
        "order.returned",
        "order.shipped",
        "payment.captured",
        "payment.failed",
        "payment.refunded",
        "product.updated",
        "product.viewed",
        "user.created",
        "user.updated",
    ];
    let all = || {
        let channels = [
            "inventory.events",
            "order.events",
            "payment.events",
            "product.events",
            "user.events",
        ];
        channels
            .iter()
            .flat_map(|channel| history(&shop, channel))
            .collect::<Vec<_>>()
    };
    let kinds = |events: &[Value]| {
        let kinds = events
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned());
        kinds.collect::<std::collections::BTreeSet<_>>()
    };
    shop.eventually("one event of each kind is on the bus", || {
        kinds(&all()).iter().eq(expected.iter())
    });
    for event in all() {
        let kind = event["type"].as_str().unwrap();
        let schema =
            std::fs::read_to_string(root().join(format!("docs/events/{kind}.json"))).unwrap();
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(&event)
            .map(|error| error.to_string())
            .collect();
        assert!(wrong.is_empty(), "{event} {wrong:?}");
    }
}

#[test]
fn a_consumer_reads_events_of_a_later_version() {
    let shop = Shop::start();
    let product = shop.product(500, 20);
    let later = json!({
        "specversion": "1.0", "id": "later", "type": "order.paid", "source": "/order", "subject": "o-1", "subjectversion": 2,
        "time": "2030-01-01T00:00:00.000Z", "datacontenttype": "application/json", "dataschema": "urn:localmart:event:order.paid:2",
        "partitionkey": "new", "data": {
            "order_id": "o-1", "number": "LM-1", "status": "paid", "customer_id": null, "currency": "USD", "total": 500, "gift": true,
            "items": [{ "product_id": product, "quantity": 3, "line_total": 500, "wrapped": { "in": "paper" } }],
        },
    });
    events(&shop, &["publish", "order.events", &later.to_string()]);
    shop.eventually("the order counts", || {
        recommended(&shop, "") == [product.clone()]
    });
}
