//! Ownership: carts and orders of users, which nobody else can see.

use crate::harness::{Shop, User, at_once, checkout, fresh_key};
use serde_json::{Value, json};

/// The id of a user's current cart.
fn mine(shop: &Shop, user: &User) -> String {
    let cart = user
        .send(shop, "GET", "/api/carts/mine", &Value::Null)
        .expect(200)
        .json();
    cart["id"].as_str().unwrap().to_owned()
}

fn put(shop: &Shop, user: &User, cart: &str, product: &str, quantity: u32) {
    let line = json!({ "product_id": product, "quantity": quantity });
    user.send(shop, "POST", &format!("/api/carts/{cart}/items"), &line)
        .expect(200);
}

fn quantities(cart: &Value) -> Vec<u64> {
    let items = cart["items"].as_array().unwrap();
    items
        .iter()
        .map(|line| line["quantity"].as_u64().unwrap())
        .collect()
}

#[test]
fn nobody_else_sees_the_cart_of_a_user() {
    let shop = Shop::shared();
    let (ada, bob, product) = (
        User::register(shop),
        User::register(shop),
        shop.product(500, 10),
    );
    let cart = mine(shop, &ada);
    put(shop, &ada, &cart, &product, 1);
    let (path, line) = (
        format!("/api/carts/{cart}"),
        json!({ "product_id": product, "quantity": 1 }),
    );
    let staff = User {
        token: shop.token("staff"),
        ..bob.clone()
    };
    for other in [&bob, &staff] {
        other
            .send(shop, "GET", &path, &Value::Null)
            .expect_code(404, "not_found");
        other
            .send(shop, "POST", &format!("{path}/items"), &line)
            .expect_code(404, "not_found");
        other
            .send(shop, "DELETE", &path, &Value::Null)
            .expect_code(404, "not_found");
        other
            .buy(shop, &cart, &fresh_key(), "tok_visa")
            .expect_code(404, "not_found");
    }
    shop.get(&path).expect_code(404, "not_found");
    shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect_code(404, "not_found");
    assert_eq!(mine(shop, &ada), cart);
}

#[test]
fn a_guests_cart_is_merged_into_the_users_cart_once() {
    let shop = Shop::shared();
    let (ada, a, b) = (
        User::register(shop),
        shop.product(500, 200),
        shop.product(700, 200),
    );
    let cart = mine(shop, &ada);
    put(shop, &ada, &cart, &a, 1);
    put(shop, &ada, &cart, &b, 98);
    let guest = shop.cart_with(&a, 2);
    shop.post(
        &format!("/api/carts/{guest}/items"),
        &json!({ "product_id": b, "quantity": 5 }),
    )
    .expect(200);
    let merge = || {
        ada.send(
            shop,
            "POST",
            "/api/carts/merge",
            &json!({ "guest_cart_id": guest }),
        )
    };
    let replies = at_once(6, |_| merge().expect(200).json());
    assert!(
        replies.iter().all(|cart| quantities(cart) == [3, 99]),
        "{replies:?}"
    );
    shop.get(&format!("/api/carts/{guest}"))
        .expect_code(404, "not_found");
    shop.order(&fresh_key(), &checkout(&guest, "tok_visa"))
        .expect_code(404, "not_found");
    let bob = User::register(shop);
    bob.send(
        shop,
        "POST",
        "/api/carts/merge",
        &json!({ "guest_cart_id": guest }),
    )
    .expect_code(404, "not_found");
    shop.post("/api/carts/merge", &json!({ "guest_cart_id": guest }))
        .expect_code(401, "unauthenticated");
    ada.send(
        shop,
        "POST",
        "/api/carts/merge",
        &json!({ "guest_cart_id": "x" }),
    )
    .expect_code(422, "invalid");
}

#[test]
fn concurrent_changes_to_a_users_cart_are_all_kept() {
    let shop = Shop::shared();
    let ada = User::register(shop);
    let products: Vec<String> = (0..20).map(|_| shop.product(1, 5)).collect();
    let cart = mine(shop, &ada);
    at_once(20, |number| put(shop, &ada, &cart, &products[number], 1));
    let cart = ada
        .send(shop, "GET", "/api/carts/mine", &Value::Null)
        .expect(200)
        .json();
    assert_eq!(cart["item_count"], 20);
}

#[test]
fn a_new_cart_replaces_an_empty_one() {
    let shop = Shop::shared();
    let (ada, product) = (User::register(shop), shop.product(500, 10));
    let empty = mine(shop, &ada);
    let make = || {
        let cart = ada
            .send(shop, "POST", "/api/carts", &json!({}))
            .expect(201)
            .json();
        cart["id"].as_str().unwrap().to_owned()
    };
    let second = make();
    assert!(second != empty && mine(shop, &ada) == second);
    put(shop, &ada, &second, &product, 1);
    let third = make();
    assert!(third != second && mine(shop, &ada) == second);
    put(shop, &ada, &third, &product, 1);
    ada.buy(shop, &third, &fresh_key(), "tok_visa").expect(201);
}

#[test]
fn only_the_user_and_staff_can_list_an_order() {
    let shop = Shop::shared();
    let (ada, bob, product) = (
        User::register(shop),
        User::register(shop),
        shop.product(500, 50),
    );
    let mut orders = Vec::new();
    for _ in 0..3 {
        let cart = mine(shop, &ada);
        put(shop, &ada, &cart, &product, 1);
        let order = ada
            .buy(shop, &cart, &fresh_key(), "tok_visa")
            .expect(201)
            .json();
        assert_eq!(
            (&order["customer_id"], &order["email"]),
            (&json!(ada.id), &json!(ada.email))
        );
        assert!(order.get("guest_token").is_none());
        orders.push(order["id"].as_str().unwrap().to_owned());
        assert_ne!(mine(shop, &ada), cart, "the next cart is a new one");
    }
    orders.reverse();
    let list = |user: &User, query: &str| {
        user.send(shop, "GET", &format!("/api/orders{query}"), &Value::Null)
            .expect(200)
            .json()
    };
    let ids = |page: &Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|order| order["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&list(&ada, "")), orders);
    assert!(ids(&list(&bob, "")).is_empty());
    let page = list(&ada, "?limit=2");
    assert_eq!(ids(&page), orders[..2]);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(
        ids(&list(&ada, &format!("?limit=2&cursor={cursor}"))),
        orders[2..]
    );
    shop.staff(
        "POST",
        &format!("/api/orders/{}/ship", orders[1]),
        &json!({}),
    )
    .expect(200);
    assert_eq!(ids(&list(&ada, "?status=shipped")), orders[1..2]);
    let all = shop
        .staff("GET", "/api/orders?all=true&limit=100", &Value::Null)
        .expect(200)
        .json();
    assert!(ids(&all).contains(&orders[0]));
    ada.send(shop, "GET", "/api/orders?all=true", &Value::Null)
        .expect_code(403, "forbidden");
    shop.get("/api/orders").expect_code(401, "unauthenticated");
    for bad in [
        "?limit=0",
        "?limit=101",
        "?status=lost",
        "?cursor=x",
        "?all=maybe",
        "?x=1",
    ] {
        ada.send(shop, "GET", &format!("/api/orders{bad}"), &Value::Null)
            .expect_code(422, "invalid");
    }
}

#[test]
fn the_order_of_another_user_is_not_found() {
    let shop = Shop::shared();
    let (ada, bob, product) = (
        User::register(shop),
        User::register(shop),
        shop.product(500, 10),
    );
    let cart = mine(shop, &ada);
    put(shop, &ada, &cart, &product, 1);
    let order = ada
        .buy(shop, &cart, &fresh_key(), "tok_visa")
        .expect(201)
        .json();
    let (path, payment) = (
        format!("/api/orders/{}", order["id"].as_str().unwrap()),
        format!("/api/payments/{}", order["payment"]["id"].as_str().unwrap()),
    );
    bob.send(shop, "GET", &path, &Value::Null)
        .expect_code(404, "not_found");
    bob.send(shop, "POST", &format!("{path}/cancel"), &json!({}))
        .expect_code(404, "not_found");
    bob.send(shop, "GET", &payment, &Value::Null)
        .expect_code(404, "not_found");
    shop.get(&path).expect_code(404, "not_found");
    for verb in ["ship", "deliver"] {
        ada.send(shop, "POST", &format!("{path}/{verb}"), &json!({}))
            .expect_code(403, "forbidden");
    }
    let refund = json!({ "amount": { "amount": 1, "currency": "USD" } });
    let bearer = format!("Bearer {}", ada.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
    shop.json("POST", &format!("{payment}/refunds"), &headers, &refund)
        .expect_code(403, "forbidden");
    assert_eq!(
        ada.send(shop, "GET", &payment, &Value::Null)
            .expect(200)
            .json()["captured"]["amount"],
        500
    );
    ada.send(shop, "POST", &format!("{path}/cancel"), &json!({}))
        .expect(200);
    assert_eq!(shop.stock(&product), (10, 0));
}

#[test]
fn an_order_follows_the_status_graph() {
    let shop = Shop::shared();
    let product = shop.product(500, 50);
    let paid = || {
        let order = shop
            .order(
                &fresh_key(),
                &checkout(&shop.cart_with(&product, 1), "tok_visa"),
            )
            .expect(201)
            .json();
        order["id"].as_str().unwrap().to_owned()
    };
    let act = |order: &str, verb: &str| {
        shop.staff("POST", &format!("/api/orders/{order}/{verb}"), &json!({}))
    };
    let failed = |reply: crate::harness::Reply| reply.expect_code(409, "illegal_transition");
    let order = paid();
    failed(act(&order, "deliver"));
    let shipped = act(&order, "ship").expect(200).json();
    assert_eq!(shipped["status"], "shipped");
    failed(act(&order, "ship"));
    failed(act(&order, "cancel"));
    let delivered = act(&order, "deliver").expect(200).json();
    let history: Vec<&str> = delivered["status_history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["status"].as_str().unwrap())
        .collect();
    assert_eq!(history, ["pending", "paid", "shipped", "delivered"]);
    for verb in ["ship", "deliver", "cancel"] {
        failed(act(&order, verb));
    }
    let cancelled = paid();
    act(&cancelled, "cancel").expect(200);
    for verb in ["ship", "deliver", "cancel"] {
        failed(act(&cancelled, verb));
    }
    let refused = shop
        .order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 1), "tok_declined"),
        )
        .expect(402);
    assert_eq!(refused.code(), "payment_declined");
    act("01939d5c-0000-7000-8000-000000000000", "ship").expect_code(404, "not_found");
}

#[test]
fn concurrent_shipping_and_cancelling_have_one_winner() {
    let shop = Shop::shared();
    let product = shop.product(500, 50);
    for _ in 0..5 {
        let order = shop
            .order(
                &fresh_key(),
                &checkout(&shop.cart_with(&product, 1), "tok_visa"),
            )
            .expect(201)
            .json();
        let id = order["id"].as_str().unwrap();
        let replies = at_once(2, |number| {
            let verb = if number == 0 { "ship" } else { "cancel" };
            shop.staff("POST", &format!("/api/orders/{id}/{verb}"), &json!({}))
                .status
        });
        assert!(
            replies == [200, 409] || replies == [409, 200],
            "{replies:?}"
        );
    }
}

#[test]
fn a_refund_by_staff_is_visible_in_the_order() {
    let shop = Shop::shared();
    let (ada, product) = (User::register(shop), shop.product(500, 10));
    let cart = mine(shop, &ada);
    put(shop, &ada, &cart, &product, 1);
    let order = ada
        .buy(shop, &cart, &fresh_key(), "tok_visa")
        .expect(201)
        .json();
    let payment = order["payment"]["id"].as_str().unwrap();
    let bearer = format!("Bearer {}", shop.token("staff"));
    let key = fresh_key();
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", key.as_str()),
    ];
    let refund = json!({ "amount": { "amount": 200, "currency": "USD" } });
    shop.json(
        "POST",
        &format!("/api/payments/{payment}/refunds"),
        &headers,
        &refund,
    )
    .expect(201);
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    shop.eventually("the order shows the refund", || {
        let order = ada
            .send(shop, "GET", &path, &Value::Null)
            .expect(200)
            .json();
        order["payment"]["status"] == "partially_refunded"
    });
}
