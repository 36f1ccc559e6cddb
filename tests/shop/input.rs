//! Input of every kind: scripts, forms of text, currencies, trees, cursors, members. What is accepted can be read, listed and
//! changed; what is refused changes nothing.

use crate::harness::{Shop, User, at_once, checkout, fresh_key};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

#[test]
fn names_in_every_script_get_slugs_that_can_be_used() {
    let shop = Shop::shared();
    shop.product(100, 0);
    let create = |sku: &str, name: &str| {
        let body = json!({
            "sku": sku, "name": name, "description": "", "category": "things",
            "price": { "amount": 100, "currency": "USD" }, "published": true,
        });
        shop.staff("POST", "/api/products", &body)
    };
    let id_like = "01939d5c-0000-7000-8000-000000000000";
    for (number, name) in ["水", "日本語", "!!!", id_like, "Ü"]
        .into_iter()
        .enumerate()
    {
        let made = create(&"*".repeat(number + 1), name).expect(201).json();
        let (id, slug) = (made["id"].as_str().unwrap(), made["slug"].as_str().unwrap());
        assert!(!slug.is_empty() && slug != id_like, "{made}");
        for path in [id, slug] {
            let read = shop
                .get(&format!("/api/products/{path}"))
                .expect(200)
                .json();
            assert_eq!(read["id"], id);
        }
        let price = json!({ "price": { "amount": 200, "currency": "USD" } });
        shop.staff("PATCH", &format!("/api/products/{id}"), &price)
            .expect(200);
    }
    let slug = json!({ "slug": id_like, "sku": "slug", "name": "n", "description": "", "category": "things",
                       "price": { "amount": 1, "currency": "USD" } });
    let refused = shop.staff("POST", "/api/products", &slug);
    assert_eq!(
        refused.expect_code(422, "invalid").fields(),
        ["slug:invalid"]
    );
    for _ in 0..2 {
        shop.staff("POST", "/api/categories", &json!({ "name": "家具" }))
            .expect(201);
    }
    for sort in ["newest", "name", "price_asc", "price_desc"] {
        shop.get(&format!("/api/products?limit=100&sort={sort}"))
            .expect(200);
    }
    shop.get("/api/categories").expect(200);
}

#[test]
fn texts_are_stored_in_one_form() {
    let shop = Shop::shared();
    let id = shop.product(100, 0);
    let change = |body: &Value| shop.staff("PATCH", &format!("/api/products/{id}"), body);
    let changed = change(&json!({
        "name": " Cafe\u{301}\u{ffff} ", "description": "one\r\ntwo\u{feff}",
    }));
    let changed = changed.expect(200).json();
    assert_eq!(changed["name"], "Café");
    assert_eq!(changed["description"], "one\ntwo");
    for name in ["\u{200b}", "\u{202e}\u{ad}", "a\0b", "a\u{1}"] {
        let refused = change(&json!({ "name": name }));
        assert_eq!(
            refused.expect_code(422, "invalid").fields(),
            ["name:invalid"]
        );
    }
    let lone = shop.token("staff");
    let headers = [
        ("authorization", format!("Bearer {lone}")),
        ("content-type", "application/json".to_owned()),
    ];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    shop.send(
        "PATCH",
        &format!("/api/products/{id}"),
        &headers,
        br#"{"name":"\ud800"}"#,
    )
    .expect_code(400, "malformed_json");
    let picture = changed["image_url"].as_str().unwrap();
    assert!(shop.get(picture).expect(200).text.starts_with("<svg"));
}

#[test]
fn amounts_are_never_relabelled() {
    let shop = Shop::shared();
    let id = shop.product(100, 5);
    let path = format!("/api/products/{id}");
    let money = |amount: u64, currency: &str| json!({ "amount": amount, "currency": currency });
    let patch = |body: &Value| shop.staff("PATCH", &path, body);
    let refused = patch(&json!({ "compare_at_price": money(5000, "JPY") }));
    let mismatch = ["compare_at_price:currency_mismatch"];
    assert_eq!(refused.expect_code(422, "invalid").fields(), mismatch);
    patch(&json!({ "compare_at_price": money(150, "USD") })).expect(200);
    let refused = patch(&json!({ "price": money(5000, "JPY") }));
    assert_eq!(refused.expect_code(422, "invalid").fields(), mismatch);
    let kept = shop.get(&path).expect(200).json();
    assert_eq!(kept["price"], money(100, "USD"));
    assert_eq!(kept["compare_at_price"], money(150, "USD"));

    let (cart, other) = (shop.cart_with(&id, 2), shop.product(300, 5));
    let both = json!({ "price": money(5000, "JPY"), "compare_at_price": null });
    patch(&both).expect(200);
    let cart_path = format!("/api/carts/{cart}");
    let added = shop.post(
        &format!("{cart_path}/items"),
        &json!({ "product_id": other, "quantity": 1 }),
    );
    for shown in [added, shop.get(&cart_path)] {
        let shown = shown.expect(200).json();
        assert_eq!(shown["items"][0]["for_sale"], false, "{shown}");
        assert_eq!(shown["items"][0]["available"], 0);
        assert_eq!(shown["items"][1]["for_sale"], true);
        assert_eq!(shown["total"], money(300, "USD"));
        assert_eq!(shown["item_count"], 1);
    }
    let order = || shop.order(&fresh_key(), &checkout(&cart, "tok_visa"));
    assert_eq!(order().status, 422);
    let user = User::register(shop);
    user.send(
        shop,
        "POST",
        "/api/carts/merge",
        &json!({ "guest_cart_id": cart }),
    )
    .expect(200);
    let mine = user.send(shop, "GET", "/api/carts/mine", &Value::Null);
    let mine = mine.expect(200).json();
    let path = format!("/api/carts/{}/items/{id}", mine["id"].as_str().unwrap());
    let left = user.send(shop, "DELETE", &path, &Value::Null).expect(200);
    assert_eq!(left.json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn categories_form_no_cycle() {
    let shop = Shop::shared();
    let made = |slug: &str, parent: Option<&str>| {
        let body = json!({ "slug": slug, "name": slug, "parent": parent });
        shop.staff("POST", "/api/categories", &body).expect(201);
    };
    made("cycle-a", None);
    made("cycle-b", Some("cycle-a"));
    made("cycle-c", Some("cycle-b"));
    let moved = |slug: &str, parent: Option<&str>| {
        let body = json!({ "name": slug, "parent": parent });
        shop.staff("PUT", &format!("/api/categories/{slug}"), &body)
    };
    for parent in ["cycle-a", "cycle-b", "cycle-c"] {
        let refused = moved("cycle-a", Some(parent)).expect_code(422, "invalid");
        assert_eq!(refused.fields(), ["parent:cycle"]);
    }
    // Of two changes at once that would form a cycle together, at most one succeeds.
    for _ in 0..10 {
        moved("cycle-b", None).expect(200);
        moved("cycle-c", None).expect(200);
        let statuses = at_once(2, |number| {
            let (slug, parent) = [("cycle-b", "cycle-c"), ("cycle-c", "cycle-b")][number];
            moved(slug, Some(parent)).status
        });
        let done = statuses.iter().filter(|status| **status == 200).count();
        assert!(done <= 1, "{statuses:?}");
    }
    shop.get("/api/categories").expect(200);
}

#[test]
fn a_list_takes_its_own_cursors_and_no_others() {
    let shop = Shop::shared();
    let encode = |parts: Value| URL_SAFE_NO_PAD.encode(parts.to_string());
    let id = "01939d5c-0000-7000-8000-000000000000";
    for (sort, forged) in [
        ("name", json!(["name", "a\0b", id])),
        ("name", json!(["name", "a", "x"])),
        ("name", json!(["name", 5, id])),
        ("name", json!(["newest", "5", id])),
        ("newest", json!(["newest", "five", id])),
        ("price_asc", json!(["price_asc", "1e3", id])),
        (
            "price_asc",
            json!(["price_asc", "99999999999999999999", id]),
        ),
    ] {
        let path = format!("/api/products?sort={sort}&cursor={}", encode(forged));
        let refused = shop.get(&path).expect_code(422, "invalid");
        assert_eq!(refused.fields(), ["cursor:invalid"], "{path}");
    }
    let long = shop.product(100, 0);
    let name = json!({ "name": "\u{1d400}".repeat(200) });
    shop.staff("PATCH", &format!("/api/products/{long}"), &name)
        .expect(200);
    let (mut cursor, mut seen) = (String::new(), 0);
    loop {
        let page = shop.get(&format!("/api/products?sort=name&limit=1{cursor}"));
        let page = page.expect(200).json();
        seen += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(seen > 1);
}

#[test]
fn a_member_named_like_a_path_is_an_unknown_member_and_errors_are_few() {
    let shop = Shop::shared();
    let body = json!({ "name": "a", "items[0]": {}, "price.amount": 1 });
    let refused = shop.staff("POST", "/api/categories", &body);
    let mut fields = refused.expect_code(422, "invalid").fields();
    fields.sort();
    assert_eq!(
        fields,
        ["items[0]:unknown_field", "price.amount:unknown_field"]
    );
    let many: serde_json::Map<String, Value> = (0..5000)
        .map(|number| (format!("{number}{}", "x".repeat(100)), json!(1)))
        .collect();
    let refused = shop.staff("POST", "/api/categories", &Value::Object(many));
    let refused = refused.expect_code(422, "invalid");
    assert!(
        refused.text.len() < 16 * 1024,
        "{} bytes",
        refused.text.len()
    );
    let body = refused.json();
    assert_eq!(body["errors"].as_array().unwrap().len(), 20);
    assert_eq!(body["errors_left_out"], 4981);
}

#[test]
fn strangers_with_the_same_key_get_their_own_answers() {
    let shop = Shop::shared();
    let key = fresh_key();
    let keyed =
        |path: &str, body: &Value| shop.json("POST", path, &[("idempotency-key", &key)], body);
    let carts: Vec<Value> = (0..2)
        .map(|_| keyed("/api/carts", &json!({})).expect(201).json())
        .collect();
    assert_ne!(carts[0]["id"], carts[1]["id"]);
    let register = |email: &str| {
        let body = json!({ "email": email, "password": "correct horse" });
        keyed("/api/auth/register", &body).expect(201).json()
    };
    let (one, other) = (User::fresh_email(), User::fresh_email());
    let (first, second) = (register(&one), register(&other));
    assert_eq!(
        (&first["user"]["email"], &second["user"]["email"]),
        (&json!(one), &json!(other))
    );
    // A guest's key stands for one cart if the guest has a cookie.
    let cart_of = |client: &str| {
        let cookie = format!("a=b; localmart-client={client}");
        let headers = [("cookie", cookie.as_str()), ("idempotency-key", &key)];
        let made = shop.json("POST", "/api/carts", &headers, &json!({}));
        made.expect(201).json()["id"].clone()
    };
    let cart = cart_of("0123456789abcdef");
    assert_eq!(cart_of("0123456789abcdef"), cart);
    assert_ne!(cart_of("0123456789abcdeg"), cart);
    assert_ne!(cart_of("short"), cart_of("short"));
    // A user's key still stands for one cart.
    let user = User::of(&first);
    let bearer = format!("Bearer {}", user.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", &key),
    ];
    let made = || {
        shop.json("POST", "/api/carts", &headers, &json!({}))
            .expect(201)
    };
    assert_eq!(made().json()["id"], made().json()["id"]);
}
