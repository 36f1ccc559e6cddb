//! Returns: customers request them, staff decide, and refund and restocking happen once despite crashes.

use crate::harness::{
    LEASES_EXPIRE, Reply, Shop, TEST_CLOCK, at_once, built_with_points, checkout, fresh_key,
    scratch,
};
use serde_json::{Value, json};

/// A delivered order of a guest with a quantity of each product.
fn delivered(shop: &Shop, lines: &[(&str, u32)]) -> Value {
    let cart = shop.cart_with(lines[0].0, lines[0].1);
    for (product, quantity) in &lines[1..] {
        let line = json!({ "product_id": product, "quantity": quantity });
        shop.post(&format!("/api/carts/{cart}/items"), &line)
            .expect(200);
    }
    let order = shop.order(&fresh_key(), &checkout(&cart, "tok_visa"));
    let order = order.expect(201).json();
    for verb in ["ship", "deliver"] {
        let path = format!("{}/{verb}", path(&order));
        shop.staff("POST", &path, &json!({})).expect(200);
    }
    order
}

fn path(order: &Value) -> String {
    format!("/api/orders/{}", order["id"].as_str().unwrap())
}

fn ask(shop: &Shop, order: &Value, key: &str, body: &Value) -> Reply {
    let token = order["guest_token"].as_str().unwrap();
    let headers = [("x-order-token", token), ("idempotency-key", key)];
    shop.json("POST", &format!("{}/returns", path(order)), &headers, body)
}

fn wanted(lines: &[(&str, u32)]) -> Value {
    let line =
        |(product, quantity): &(&str, u32)| json!({ "product_id": product, "quantity": quantity });
    json!({ "items": lines.iter().map(line).collect::<Vec<_>>(), "reason": "does not fit" })
}

fn decide(shop: &Shop, order: &Value, returned: &Value, verb: &str) -> Reply {
    let id = returned["id"].as_str().unwrap();
    let path = format!("{}/returns/{id}/{verb}", path(order));
    shop.staff("POST", &path, &json!({}))
}

fn read(shop: &Shop, order: &Value) -> Value {
    shop.staff("GET", &path(order), &Value::Null)
        .expect(200)
        .json()
}

/// The captured and refunded amounts.
fn money(shop: &Shop, order: &Value) -> (u64, u64) {
    let payment = format!("/api/payments/{}", order["payment"]["id"].as_str().unwrap());
    let payment = shop.staff("GET", &payment, &Value::Null).expect(200).json();
    let amount = |name: &str| payment[name]["amount"].as_u64().unwrap();
    (amount("captured"), amount("refunded"))
}

#[test]
fn part_of_an_order_is_returned_and_then_the_rest() {
    let shop = Shop::shared();
    let (mug, lamp) = (shop.product(1999, 10), shop.product(333, 10));
    let order = delivered(shop, &[(&mug, 2), (&lamp, 3)]);
    let (key, body) = (fresh_key(), wanted(&[(&mug, 1), (&lamp, 2)]));
    let asked = ask(shop, &order, &key, &body).expect(201);
    let replayed = ask(shop, &order, &key, &body).expect(201);
    assert_eq!(
        (&replayed.text, replayed.header("idempotent-replayed")),
        (&asked.text, Some("true"))
    );
    let asked = asked.json();
    assert_eq!(
        (asked["status"].as_str(), asked["refund"]["amount"].as_u64()),
        (Some("requested"), Some(1999 + 666))
    );
    assert_eq!(read(shop, &order)["status"], "return_requested");
    assert_eq!((shop.stock(&mug), money(shop, &order)), ((8, 0), (4997, 0)));
    let approved = decide(shop, &order, &asked, "approve").expect(200).json();
    assert_eq!(
        (
            approved["status"].as_str(),
            approved["order_status"].as_str()
        ),
        (Some("approved"), Some("delivered"))
    );
    assert_eq!((shop.stock(&mug), shop.stock(&lamp)), ((9, 0), (9, 0)));
    assert_eq!(money(shop, &order), (4997, 2665));
    let seen = read(shop, &order);
    assert_eq!(
        (
            seen["payment"]["status"].as_str(),
            seen["total"]["amount"].as_u64()
        ),
        (Some("partially_refunded"), Some(4997)),
        "the remaining items are unchanged"
    );
    let rest = wanted(&[(&mug, 1), (&lamp, 1)]);
    let rest = ask(shop, &order, &fresh_key(), &rest).expect(201).json();
    let done = decide(shop, &order, &rest, "approve").expect(200).json();
    assert_eq!(done["order_status"], "returned");
    assert_eq!(money(shop, &order), (4997, 4997));
    assert_eq!((shop.stock(&mug), shop.stock(&lamp)), ((10, 0), (10, 0)));
    let statuses: Vec<Value> = read(shop, &order)["status_history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["status"].clone())
        .collect();
    assert_eq!(
        statuses,
        [
            "pending",
            "paid",
            "shipped",
            "delivered",
            "return_requested",
            "delivered",
            "return_requested",
            "returned"
        ]
    );
    ask(shop, &order, &fresh_key(), &wanted(&[(&mug, 1)])).expect_code(409, "illegal_transition");
}

#[test]
fn a_rejected_return_changes_nothing() {
    let shop = Shop::shared();
    let mug = shop.product(1999, 10);
    let order = delivered(shop, &[(&mug, 2)]);
    let asked = ask(shop, &order, &fresh_key(), &wanted(&[(&mug, 2)]));
    let asked = asked.expect(201).json();
    let rejected = decide(shop, &order, &asked, "reject").expect(200).json();
    assert_eq!(
        (
            rejected["status"].as_str(),
            rejected["order_status"].as_str()
        ),
        (Some("rejected"), Some("delivered"))
    );
    assert_eq!((shop.stock(&mug), money(shop, &order)), ((8, 0), (3998, 0)));
    for verb in ["approve", "reject"] {
        decide(shop, &order, &asked, verb).expect_code(409, "illegal_transition");
    }
}

#[test]
fn an_impossible_return_names_the_line() {
    let shop = Shop::shared();
    let (mug, other) = (shop.product(1999, 10), shop.product(5, 10));
    let paid = shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(&mug, 1), "tok_visa"),
    );
    let paid = paid.expect(201).json();
    ask(shop, &paid, &fresh_key(), &wanted(&[(&mug, 1)])).expect_code(409, "illegal_transition");
    let order = delivered(shop, &[(&mug, 2)]);
    let refused = |body: &Value, code: &str| {
        let reply = ask(shop, &order, &fresh_key(), body);
        reply.expect_code(422, code).fields()
    };
    let many = refused(&wanted(&[(&mug, 3)]), "return_exceeds_order");
    assert_eq!(many, ["items[0].quantity:too_many"]);
    let others = refused(&wanted(&[(&mug, 1), (&other, 1)]), "return_exceeds_order");
    assert_eq!(others, ["items[1].product_id:not_ordered"]);
    let twice = refused(&wanted(&[(&mug, 1), (&mug, 1)]), "invalid");
    assert_eq!(twice, ["items[1].product_id:duplicate"]);
    for quantity in [
        json!(-1),
        json!(0),
        json!(1.5),
        json!("2"),
        json!(null),
        json!(2_147_483_648_u64),
    ] {
        let mut body = wanted(&[(&mug, 1)]);
        body["items"][0]["quantity"] = quantity;
        let field = refused(&body, "invalid").remove(0);
        assert!(field.starts_with("items[0].quantity:"), "{field}");
    }
    let mut body = wanted(&[(&mug, 1)]);
    body["items"][0]["refund"] = json!(5);
    assert_eq!(refused(&body, "invalid"), ["items[0].refund:unknown_field"]);
    assert_eq!(refused(&json!({ "items": [] }), "invalid").len(), 2);
    let token = order["guest_token"].as_str().unwrap();
    let url = format!("{}/returns", path(&order));
    let body = wanted(&[(&mug, 1)]);
    shop.json("POST", &url, &[("x-order-token", token)], &body)
        .expect_code(400, "idempotency_key_missing");
    shop.json("POST", &url, &[("idempotency-key", "k")], &body)
        .expect_code(404, "not_found");
    let asked = ask(shop, &order, &fresh_key(), &body).expect(201).json();
    let id = asked["id"].as_str().unwrap();
    let guest = [("x-order-token", token)];
    shop.json("POST", &format!("{url}/{id}/approve"), &guest, &json!({}))
        .expect_code(401, "unauthenticated");
    let unknown = json!({ "id": "01939d5c-0000-7000-8000-000000000000" });
    decide(shop, &order, &unknown, "approve").expect_code(404, "not_found");
    decide(shop, &order, &unknown, "reject").expect_code(404, "not_found");
}

#[test]
fn of_many_concurrent_decisions_one_wins() {
    let shop = Shop::shared();
    let mug = shop.product(1999, 10);
    let order = delivered(shop, &[(&mug, 2)]);
    let asked = ask(shop, &order, &fresh_key(), &wanted(&[(&mug, 1)]));
    let asked = asked.expect(201).json();
    let replies = at_once(8, |number| {
        let verb = if number % 2 == 0 { "approve" } else { "reject" };
        (verb, decide(shop, &order, &asked, verb))
    });
    let stands: Vec<_> = replies
        .iter()
        .filter(|(_, reply)| reply.status == 200)
        .collect();
    assert_eq!(stands.len(), 1, "{replies:?}");
    for (_, reply) in replies.iter().filter(|(_, reply)| reply.status != 200) {
        reply.clone().expect_code(409, "illegal_transition");
    }
    let given = if stands[0].0 == "approve" { 1 } else { 0 };
    assert_eq!(
        (shop.stock(&mug), money(shop, &order)),
        ((8 + given, 0), (3998, 1999 * given))
    );
}

#[test]
fn a_return_does_not_refund_an_amount_that_staff_refunded_before() {
    let shop = Shop::shared();
    let mug = shop.product(1000, 10);
    let order = delivered(shop, &[(&mug, 1)]);
    let refund = format!(
        "/api/payments/{}/refunds",
        order["payment"]["id"].as_str().unwrap()
    );
    let bearer = format!("Bearer {}", shop.token("staff"));
    let key = fresh_key();
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", key.as_str()),
    ];
    let amount = json!({ "amount": { "amount": 400, "currency": "USD" } });
    shop.json("POST", &refund, &headers, &amount).expect(201);
    let asked = ask(shop, &order, &fresh_key(), &wanted(&[(&mug, 1)]));
    let approved = decide(shop, &order, &asked.expect(201).json(), "approve");
    let approved = approved.expect(200).json();
    assert_eq!(
        (
            approved["refund"]["amount"].as_u64(),
            approved["order_status"].as_str()
        ),
        (Some(600), Some("returned"))
    );
    assert_eq!(money(shop, &order), (1000, 1000));
}

#[test]
fn a_return_that_dies_at_any_point_is_carried_out_once() {
    built_with_points();
    for point in [
        "return.approving",
        "payment.refunded",
        "return.refunded",
        "return.restocked",
    ] {
        let state = scratch("return");
        let (mug, order, asked) = {
            let shop = Shop::start_in(&state, &[]);
            let mug = shop.product(1999, 10);
            let order = delivered(&shop, &[(&mug, 2)]);
            let asked = ask(&shop, &order, &fresh_key(), &wanted(&[(&mug, 1)]));
            (mug, order, asked.expect(201).json())
        };
        let mut shop = Shop::start_in(&state, &["--point", &format!("{point}=kill")]);
        let url = format!(
            "{}{}/returns/{}/approve",
            shop.base,
            path(&order),
            asked["id"].as_str().unwrap()
        );
        let bearer = format!("Bearer {}", shop.token("staff"));
        let headers = [("authorization", bearer.as_str())];
        let died = shop.try_send("POST", &url, &headers, b"");
        assert!(died.is_err(), "{point}: {died:?}");
        assert_ne!(shop.wait(), Some(0));
        let shop = Shop::start_in(&state, &[TEST_CLOCK]);
        shop.advance(LEASES_EXPIRE);
        shop.eventually("the sweep finishes the return", || {
            read(&shop, &order)["status"] == "delivered"
        });
        assert_eq!(
            (shop.stock(&mug), money(&shop, &order)),
            ((9, 0), (3998, 1999)),
            "{point}"
        );
        let (content, said) = crate::common::verify(&shop, crate::STORES);
        assert!(content, "{point}: {said}");
    }
}
