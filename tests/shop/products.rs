//! Products, categories, stock and pictures.

use crate::harness::{Shop, fresh_key};
use serde_json::{Value, json};

fn draft(sku: &str) -> Value {
    json!({
        "sku": sku, "name": format!("Name of {sku}"), "description": "Reads well.", "category": "things",
        "price": { "amount": 1999, "currency": "USD" },
    })
}

#[test]
fn a_seeded_shop_can_be_browsed() {
    crate::harness::built();
    let shop = Shop::start();
    let manifest = crate::harness::root().join("spin.toml");
    let mut seed = crate::harness::localmart();
    seed.arg("seed")
        .arg("-f")
        .arg(manifest)
        .arg("--state-dir")
        .arg(&shop.state)
        .args(["--url", &shop.base]);
    assert!(seed.status().unwrap().success());
    let categories = shop.get("/api/categories").expect(200).json();
    assert_eq!(categories["items"].as_array().unwrap().len(), 10);
    let (mut seen, mut path) = (Vec::new(), "/api/products?limit=50&sort=name".to_owned());
    loop {
        let page = shop.get(&path).expect(200).json();
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/products?limit=50&sort=name&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 120);
    let names: Vec<String> = seen
        .iter()
        .map(|product| product["name"].as_str().unwrap().to_lowercase())
        .collect();
    assert!(names.is_sorted());
    let kitchen = shop
        .get("/api/products?category=kitchen&max_price=1000&sort=price_asc")
        .expect(200)
        .json();
    let prices: Vec<u64> = kitchen["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["price"]["amount"].as_u64().unwrap())
        .collect();
    assert!(!prices.is_empty() && prices.is_sorted() && prices.iter().all(|price| *price <= 1000));
    let first = &seen[0];
    let by_slug = shop
        .get(&format!(
            "/api/products/{}",
            first["slug"].as_str().unwrap()
        ))
        .expect(200);
    assert_eq!(by_slug.json()["id"], first["id"]);
    let picture = shop.get(first["image_url"].as_str().unwrap()).expect(200);
    assert_eq!(picture.header("content-type"), Some("image/svg+xml"));
    assert!(
        picture.text.starts_with("<svg")
            && picture
                .header("cache-control")
                .unwrap()
                .contains("immutable")
    );
    let level = shop
        .get(&format!("/api/inventory/{}", first["id"].as_str().unwrap()))
        .expect(200)
        .json();
    assert!(level["available"].as_u64().unwrap() > 0);
    assert!(
        seed.status().unwrap().success(),
        "seeding twice changes nothing"
    );
    assert_eq!(
        shop.get("/api/products?limit=100").expect(200).json()["items"]
            .as_array()
            .unwrap()
            .len(),
        100
    );
}

#[test]
fn staff_create_change_and_unpublish_a_product() {
    let shop = Shop::shared();
    shop.product(1, 0);
    let made = shop
        .staff("POST", "/api/products", &draft("P-1"))
        .expect(201);
    let product = made.json();
    let id = product["id"].as_str().unwrap();
    assert_eq!(
        made.header("location"),
        Some(format!("/api/products/{id}").as_str())
    );
    assert_eq!(made.header("etag"), Some("\"1\""));
    assert_eq!(
        (product["published"].clone(), product["slug"].as_str()),
        (json!(false), Some("name-of-p-1"))
    );
    let path = format!("/api/products/{id}");
    shop.get(&path).expect_code(404, "not_found");
    let changed = shop
        .staff(
            "PATCH",
            &path,
            &json!({ "published": true, "price": { "amount": 2499, "currency": "USD" } }),
        )
        .expect(200);
    assert_eq!(
        (
            changed.header("etag"),
            changed.json()["price"]["amount"].as_u64()
        ),
        (Some("\"2\""), Some(2499))
    );
    let bearer = format!("Bearer {}", shop.token("staff"));
    let stale = [("authorization", bearer.as_str()), ("if-match", "\"1\"")];
    shop.json("PATCH", &path, &stale, &json!({ "name": "Too late" }))
        .expect_code(412, "version_conflict");
    assert_eq!(shop.get(&path).expect(200).json()["name"], "Name of P-1");
    shop.staff(
        "PUT",
        &path,
        &json!({ "sku": "P-1", "name": "New", "description": "d", "category": "things",
        "price": { "amount": 5, "currency": "USD" }, "published": true }),
    )
    .expect(200);
    shop.send("DELETE", &path, &[("authorization", &bearer)], &[])
        .expect(204);
    shop.get(&path).expect_code(404, "not_found");
    let hidden = shop
        .send("GET", &path, &[("authorization", &bearer)], &[])
        .expect(200)
        .json();
    assert_eq!(
        (hidden["published"].clone(), hidden["name"].as_str()),
        (json!(false), Some("New"))
    );
}

#[test]
fn only_staff_write() {
    let shop = Shop::shared();
    shop.product(1, 0);
    shop.post("/api/products", &draft("P-2"))
        .expect_code(401, "unauthenticated");
    let customer = format!("Bearer {}", shop.token("customer"));
    shop.json(
        "POST",
        "/api/products",
        &[("authorization", &customer)],
        &draft("P-2"),
    )
    .expect_code(403, "forbidden");
    let admin = format!("Bearer {}", shop.token("admin"));
    shop.json(
        "POST",
        "/api/products",
        &[("authorization", &admin)],
        &draft("P-2"),
    )
    .expect(201);
    let forged = format!("{}x", shop.token("staff"));
    for bad in [
        "Bearer x",
        "Bearer ",
        "Basic abc",
        &format!("Bearer {forged}"),
    ] {
        let reply = shop.json(
            "POST",
            "/api/products",
            &[("authorization", bad)],
            &draft("P-3"),
        );
        assert_eq!(
            reply
                .expect_code(401, "unauthenticated")
                .header("www-authenticate"),
            Some("Bearer"),
            "{bad}"
        );
    }
}

#[test]
fn every_invalid_field_is_named() {
    let shop = Shop::shared();
    shop.product(1, 0);
    let reply = shop.staff("POST", "/api/products", &json!({
        "sku": "has space", "name": "", "category": "No Slug", "price": { "amount": 1.5, "currency": "USD" },
        "status": "free", "compare_at_price": { "amount": 1, "currency": "XXX" }, "published": "yes",
    }));
    let mut fields = reply.expect_code(422, "invalid").fields();
    fields.sort();
    assert_eq!(
        fields,
        [
            "category:invalid",
            "compare_at_price:invalid",
            "description:required",
            "name:invalid",
            "price:invalid",
            "published:invalid",
            "sku:invalid",
            "status:unknown_field"
        ]
    );
    let unknown = shop.staff(
        "POST",
        "/api/products",
        &json!({ "sku": "P-9", "name": "N", "description": "",
        "category": "nowhere", "price": { "amount": 1, "currency": "USD" } }),
    );
    assert_eq!(
        unknown.expect_code(422, "invalid").fields(),
        ["category:unknown"]
    );
    let huge = shop.staff("POST", "/api/products", &json!({ "sku": "P-9", "name": "N", "description": "",
        "category": "things", "price": { "amount": 9_007_199_254_740_992_u64, "currency": "USD" } }));
    assert_eq!(
        huge.expect_code(422, "invalid").fields(),
        ["price:amount_overflow"]
    );
}

#[test]
fn a_sku_is_unique() {
    let shop = Shop::shared();
    shop.product(1, 0);
    shop.staff("POST", "/api/products", &draft("P-4"))
        .expect(201);
    shop.staff("POST", "/api/products", &draft("P-4"))
        .expect_code(409, "sku_taken");
}

#[test]
fn a_post_with_a_key_takes_effect_once() {
    let shop = Shop::shared();
    shop.product(1, 0);
    let (bearer, key) = (format!("Bearer {}", shop.token("staff")), fresh_key());
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", key.as_str()),
    ];
    let first = shop
        .json("POST", "/api/products", &headers, &draft("P-5"))
        .expect(201);
    let again = shop
        .json("POST", "/api/products", &headers, &draft("P-5"))
        .expect(201);
    assert_eq!(
        (again.header("idempotent-replayed"), &again.text),
        (Some("true"), &first.text)
    );
    assert_eq!(first.header("idempotent-replayed"), None);
    shop.json("POST", "/api/products", &headers, &draft("P-6"))
        .expect_code(422, "idempotency_key_reused");
}

#[test]
fn lists_refuse_invalid_parameters() {
    let shop = Shop::shared();
    shop.product(1, 0);
    for (query, field) in [
        ("limit=0", "limit:invalid"),
        ("limit=101", "limit:invalid"),
        ("limit=1000000000", "limit:invalid"),
        ("limit=-1", "limit:invalid"),
        ("limit=abc", "limit:invalid"),
        ("limit=1&limit=2", "limit:repeated"),
        ("cursor=nonsense", "cursor:invalid"),
        ("sort=price", "sort:invalid"),
        ("min_price=-5", "min_price:invalid"),
        ("min_price=1.5", "min_price:invalid"),
        ("max_price=99999999999999999999", "max_price:invalid"),
        ("category=%27%20OR%201%3D1%20--", "category:invalid"),
        ("page=2", "page:unknown_field"),
        ("sort=%ff", "sort=%ff:invalid"),
    ] {
        let reply = shop.get(&format!("/api/products?{query}"));
        assert_eq!(
            reply.expect_code(422, "invalid").fields(),
            [field],
            "{query}"
        );
    }
    let page = shop.get("/api/products?limit=1").expect(200).json();
    if let Some(cursor) = page["next_cursor"].as_str() {
        let other = shop.get(&format!("/api/products?sort=name&cursor={cursor}"));
        assert_eq!(
            other.expect_code(422, "invalid").fields(),
            ["cursor:invalid"]
        );
    }
}

#[test]
fn categories_form_a_tree_and_only_unused_ones_are_deleted() {
    let shop = Shop::shared();
    shop.product(1, 0);
    shop.staff(
        "POST",
        "/api/categories",
        &json!({ "name": "Äpfel & Birnen" }),
    )
    .expect(201);
    let child = shop
        .staff(
            "POST",
            "/api/categories",
            &json!({ "slug": "pears", "name": "Pears", "parent": "apfel-birnen" }),
        )
        .expect(201);
    assert_eq!(child.header("location"), Some("/api/categories/pears"));
    shop.staff(
        "POST",
        "/api/categories",
        &json!({ "slug": "pears", "name": "P" }),
    )
    .expect_code(409, "slug_taken");
    shop.staff(
        "POST",
        "/api/categories",
        &json!({ "name": "Lost", "parent": "nowhere" }),
    )
    .expect_code(422, "invalid");
    let bearer = format!("Bearer {}", shop.token("staff"));
    let auth = [("authorization", bearer.as_str())];
    shop.send("DELETE", "/api/categories/apfel-birnen", &auth, &[])
        .expect_code(409, "category_in_use");
    shop.send("DELETE", "/api/categories/pears", &auth, &[])
        .expect(204);
    shop.send("DELETE", "/api/categories/apfel-birnen", &auth, &[])
        .expect(204);
    shop.send("DELETE", "/api/categories/apfel-birnen", &auth, &[])
        .expect_code(404, "not_found");
}

#[test]
fn stock_changes_are_visible_at_once_and_never_negative() {
    let shop = Shop::shared();
    let product = shop.product(1, 0);
    assert_eq!(shop.stock(&product), (0, 0));
    let path = format!("/api/inventory/{product}/adjustments");
    shop.staff("POST", &path, &json!({ "delta": 5, "reason": "delivery" }))
        .expect(200);
    shop.staff("POST", &path, &json!({ "delta": -6, "reason": "theft" }))
        .expect_code(409, "insufficient_stock");
    shop.staff("POST", &path, &json!({ "delta": -5, "reason": "sale" }))
        .expect(200);
    assert_eq!(shop.stock(&product), (0, 0));
    for bad in [
        json!(0),
        json!(1.5),
        json!("1"),
        json!(null),
        json!(9_223_372_036_854_775_807_i64),
    ] {
        let reply = shop.staff("POST", &path, &json!({ "delta": bad, "reason": "x" }));
        assert_eq!(reply.expect(422).code(), "invalid", "{bad}");
    }
    shop.post(&path, &json!({ "delta": 1, "reason": "x" }))
        .expect_code(401, "unauthenticated");
    for nobody in ["00000000-0000-7000-8000-000000000000", "x", "%27"] {
        shop.get(&format!("/api/inventory/{nobody}"))
            .expect_code(404, "not_found");
    }
}

#[test]
fn many_concurrent_writes_all_finish() {
    let shop = Shop::shared();
    let product = shop.product(1, 1);
    let bearer = format!("Bearer {}", shop.token("staff"));
    let auth = [("authorization", bearer.as_str())];
    crate::harness::at_once(40, |number| {
        shop.json(
            "POST",
            "/api/products",
            &auth,
            &draft(&format!("MANY-{number}")),
        )
        .expect(201);
        let path = format!("/api/inventory/{product}/adjustments");
        shop.json(
            "POST",
            &path,
            &auth,
            &json!({ "delta": 1, "reason": "one more" }),
        )
        .expect(200);
    });
    assert_eq!(shop.stock(&product), (41, 0));
}
