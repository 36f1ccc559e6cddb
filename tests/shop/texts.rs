//! Texts of every kind in every field of every write: what was accepted can be read, listed, changed and deleted, and what was refused
//! is refused in words.

use crate::common::verify;
use crate::harness::{Reply, Shop, User, checkout, fresh_key};
use serde_json::{Value, json};

/// Scripts, forms, characters that nobody sees, control characters, and what other languages treat in a special way.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "-_-",
    "日本語",
    "水",
    "עברית",
    "ไทย",
    "Ελληνικά",
    "हिन्दी",
    "Cafe\u{301}",
    "Café",
    "İıßﬁ",
    "Z\u{351}\u{36b}\u{343}a",
    "\u{1f469}\u{200d}\u{1f4bb}",
    "\u{200b}",
    "a\u{200b}b",
    "\u{202e}abc",
    "\u{feff}a",
    "\u{ad}",
    "a\0b",
    "\u{1}",
    "\u{7f}",
    "\u{85}",
    "a\r\nb",
    "\n",
    "\t",
    "\u{2028}",
    "\u{ffff}",
    "\u{fdd0}",
    "\u{fffd}",
    "\u{e000}",
    "\u{10ffff}",
    "%00",
    "%",
    "_",
    "../..",
    "/",
    "?a=b#c",
    "'; --",
    "\"",
    "\\",
    "\\u0000",
    "{{a}}",
    "<script>",
    "=1+1",
    "null",
    "0",
    "-1",
    "1e3",
    "01939d5c-0000-7000-8000-000000000000",
    "mine",
    "a@b.example",
    "+49 30 1",
    "DE",
    "GB",
    "SW1A 1AA",
    "tok_visa",
];

/// How long the longest texts are, in characters: more than any field takes, and as many as some take.
const LONG: [usize; 2] = [10_000, 200];

fn texts() -> Vec<String> {
    let long = LONG
        .iter()
        .flat_map(|count| ["x", "\u{1d400}", "\u{301}"].map(|character| character.repeat(*count)));
    let short = TEXTS.iter().map(ToString::to_string);
    short.chain(long).collect()
}

/// Whether a write was accepted. One that was refused says so as a client's mistake.
#[track_caller]
fn accepted(what: &str, text: &str, reply: &Reply) -> bool {
    let excerpt: String = text.chars().take(20).collect();
    match reply.status {
        200..=299 => true,
        400 | 402 | 404 | 409 | 422 => {
            assert!(!reply.code().is_empty(), "{what} {excerpt:?}: {reply:?}");
            false
        }
        _ => panic!("{what} {excerpt:?}: {reply:?}"),
    }
}

/// The body with a text at a place.
fn with(mut body: Value, pointer: &str, text: &str) -> Value {
    *body.pointer_mut(pointer).unwrap() = json!(text);
    body
}

/// Reads all pages of a list.
#[track_caller]
fn listed(page: impl Fn(&str) -> Reply) -> usize {
    let (mut cursor, mut seen) = (String::new(), 0);
    loop {
        let page = page(&cursor).expect(200).json();
        seen += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
}

#[test]
fn products_with_texts_of_every_kind_can_be_read_listed_changed_and_deleted() {
    let shop = Shop::start();
    shop.product(100, 0);
    let price = json!({ "amount": 100, "currency": "USD" });
    let body = |number: usize| {
        json!({
            "sku": format!("text-{number}"), "slug": format!("text-{number}"), "name": "n", "description": "", "category": "things",
            "price": price, "published": true, "attributes": { "a": "b" },
        })
    };
    let fields = [
        "/sku",
        "/slug",
        "/name",
        "/description",
        "/category",
        "/attributes/a",
        "/price/currency",
    ];
    let (mut number, mut made, mut deleted) = (0, 0, 0);
    for text in texts() {
        let mut bodies: Vec<(&str, Value)> = Vec::new();
        for field in fields {
            number += 1;
            bodies.push((field, with(body(number), field, &text)));
        }
        number += 1;
        let mut keyed = body(number);
        keyed["attributes"] = json!({ text.as_str(): "b" });
        bodies.push(("a key of /attributes", keyed));
        for (what, body) in bodies {
            let reply = shop.staff("POST", "/api/products", &body);
            if !accepted(what, &text, &reply) {
                continue;
            }
            made += 1;
            let product = reply.json();
            let id = product["id"].as_str().unwrap();
            let path = format!("/api/products/{id}");
            shop.get(&path).expect(200);
            let slug = product["slug"].as_str().unwrap();
            assert_eq!(
                shop.get(&format!("/api/products/{slug}"))
                    .expect(200)
                    .json()["id"],
                id
            );
            shop.get(product["image_url"].as_str().unwrap()).expect(200);
            shop.staff("PATCH", &path, &json!({ "description": "changed" }))
                .expect(200);
            let changed = shop.staff("PATCH", &path, &json!({ "name": text }));
            accepted("PATCH /name", &text, &changed);
            if made % 2 == 0 {
                shop.staff("DELETE", &path, &Value::Null).expect(204);
                deleted += 1;
            }
        }
    }
    for sort in ["newest", "name", "price_asc", "price_desc"] {
        let seen =
            listed(|cursor| shop.get(&format!("/api/products?limit=100&sort={sort}{cursor}")));
        assert_eq!(seen, made - deleted + 1, "{sort}");
    }
    let (clean, said) = verify(&shop, crate::STORES);
    assert!(clean, "{said}");
}

#[test]
fn categories_with_texts_of_every_kind_can_be_read_changed_and_deleted() {
    let shop = Shop::shared();
    for (number, text) in texts().into_iter().enumerate() {
        let slug = format!("texts-{number}");
        for (what, body) in [
            ("slug", json!({ "slug": text, "name": "n" })),
            ("name", json!({ "name": text })),
            (
                "parent",
                json!({ "slug": slug, "name": "n", "parent": text }),
            ),
        ] {
            let reply = shop.staff("POST", "/api/categories", &body);
            if !accepted(what, &text, &reply) {
                continue;
            }
            let slug = reply.json()["slug"].as_str().unwrap().to_owned();
            let path = format!("/api/categories/{slug}");
            shop.staff("PUT", &path, &json!({ "name": "changed" }))
                .expect(200);
            let renamed = shop.staff("PUT", &path, &json!({ "name": text }));
            accepted("PUT name", &text, &renamed);
            shop.get("/api/categories").expect(200);
            shop.staff("DELETE", &path, &Value::Null).expect(204);
        }
    }
}

#[test]
fn orders_with_texts_of_every_kind_can_be_read_listed_and_cancelled() {
    let shop = Shop::shared();
    let product = shop.product(100, 10_000);
    let fields = [
        "name",
        "line1",
        "line2",
        "city",
        "region",
        "postal_code",
        "country",
    ]
    .map(|field| format!("/shipping_address/{field}"));
    let mut fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    fields.extend(["/email", "/payment/token", "/cart_id"]);
    for text in texts() {
        let reason = json!({ "delta": 1, "reason": text });
        let path = format!("/api/inventory/{product}/adjustments");
        accepted("reason", &text, &shop.staff("POST", &path, &reason));
        let currency = shop.post("/api/carts", &json!({ "currency": text }));
        accepted("currency", &text, &currency);
        let mut cart = shop.cart_with(&product, 1);
        for field in &fields {
            let mut body = checkout(&cart, "tok_visa");
            for optional in ["line2", "region"] {
                body["shipping_address"][optional] = json!("");
            }
            let reply = shop.order(&fresh_key(), &with(body, field, &text));
            if !accepted(field, &text, &reply) {
                continue;
            }
            cart = shop.cart_with(&product, 1);
            let path = format!("/api/orders/{}", reply.json()["id"].as_str().unwrap());
            shop.staff("GET", &path, &Value::Null).expect(200);
            let cancel = |reason: &str| {
                let body = json!({ "reason": reason });
                shop.staff("POST", &format!("{path}/cancel"), &body)
            };
            if !accepted("reason", &text, &cancel(&text)) {
                cancel("changed").expect(200);
            }
            shop.staff("GET", &path, &Value::Null).expect(200);
        }
    }
    let seen = listed(|cursor| {
        let path = format!("/api/orders?all=true&limit=100{cursor}");
        shop.staff("GET", &path, &Value::Null)
    });
    assert!(seen > TEXTS.len(), "{seen} orders");
}

#[test]
fn users_with_texts_of_every_kind_can_be_read_listed_changed_and_erased() {
    let shop = Shop::shared();
    let admin = User::admin(shop);
    let user = User::register(shop);
    let me = |method: &str, body: &Value| user.send(shop, method, "/api/users/me", body);
    let address = json!({
        "name": "n", "line1": "l", "city": "c", "postal_code": "10115", "country": "DE", "line2": "", "region": "",
    });
    let mut bodies = vec![
        ("/name".to_owned(), json!({ "name": "" })),
        ("/phone".to_owned(), json!({ "phone": "" })),
        (
            "/preferences/a".to_owned(),
            json!({ "preferences": { "a": "" } }),
        ),
    ];
    for field in address.as_object().unwrap().keys() {
        let body = json!({ "addresses": [address] });
        bodies.push((format!("/addresses/0/{field}"), body));
    }
    for text in texts() {
        for (pointer, body) in &bodies {
            let reply = me("PATCH", &with(body.clone(), pointer, &text));
            if accepted(pointer, &text, &reply) {
                me("GET", &Value::Null).expect(200);
                user.send(shop, "GET", "/api/users/me/export", &Value::Null)
                    .expect(200);
            }
        }
        let roles = json!({ "roles": [text] });
        let path = "/api/users/01939d5c-0000-7000-8000-000000000000";
        accepted("roles", &text, &admin.send(shop, "PATCH", path, &roles));
    }
    for text in ["日本語", "a\0b", "Ü", "\u{200b}", "a\"b", " "] {
        let fresh = User::fresh_email();
        let email = format!("{text}{fresh}");
        let body = json!({ "email": email, "password": "correct horse", "name": text });
        let registered = shop.post("/api/auth/register", &body);
        if accepted("email", text, &registered) {
            let login = json!({ "email": email, "password": "correct horse" });
            shop.post("/api/auth/login", &login).expect(200);
        }
    }
    let seen = listed(|cursor| {
        let path = format!("/api/users?limit=100{cursor}");
        admin.send(shop, "GET", &path, &Value::Null)
    });
    assert!(seen > 1);
    me("DELETE", &Value::Null).expect(204);
}
