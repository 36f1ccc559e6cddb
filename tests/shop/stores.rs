//! The stores: servers that are down, and `localmart verify`.

use crate::common::verify;
use crate::harness::{
    Shop, at_once, built, checkout, fresh_key, localmart, printed, root, scratch,
};
use localmart_testkit::servers;
use serde_json::json;

#[test]
fn a_busy_shop_verifies_clean() {
    let shop = Shop::start();
    let products: Vec<String> = (0..3).map(|_| shop.product(500, 12)).collect();
    let tokens = ["tok_visa", "tok_declined", "tok_flaky", "tok_visa"];
    at_once(24, |number| {
        let cart = shop.cart_with(
            &products[number % 3],
            1 + u32::try_from(number % 2).unwrap(),
        );
        let order = shop.order(&fresh_key(), &checkout(&cart, tokens[number % 4]));
        assert!([201, 402, 409].contains(&order.status), "{order:?}");
        if number % 5 == 0 && order.status == 201 {
            let id = order.json()["id"].as_str().unwrap().to_owned();
            shop.staff("POST", &format!("/api/orders/{id}/cancel"), &json!({}))
                .expect(200);
        }
    });
    let (content, said) = verify(&shop, crate::STORES);
    assert!(content && said.contains("clean"), "{said}");
}

/// A relay also holds the write lock. A checkout that waits for the lock must not block its instance, because the holder may
/// be another call in the same instance.
#[test]
fn waiting_for_the_write_lock_does_not_deadlock() {
    built();
    let shop = Shop::start_in(&scratch("write-lock"), &["--threads", "1"]);
    let product = shop.product(500, 1_000);
    at_once(16, |_| {
        for _ in 0..6 {
            let cart = shop.cart_with(&product, 1);
            shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
                .expect(201);
        }
    });
    assert_eq!(shop.stock(&product), (904, 0));
}

#[test]
fn verify_names_every_violation() {
    if crate::STORES.postgres {
        // The checks are the same on every store, and embedded stores are easier to damage.
        return;
    }
    let shop = Shop::start();
    let product = shop.product(500, 10);
    let order = shop
        .order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 1), "tok_visa"),
        )
        .expect(201)
        .json();
    shop.eventually("the shop verifies clean at first", || {
        verify(&shop, crate::STORES).0
    });
    let id = order["id"].as_str().unwrap();
    let run = |noun: &str, sql: &str| {
        let database = rusqlite::Connection::open(shop.state.join(format!("{noun}.db"))).unwrap();
        database
            .busy_timeout(std::time::Duration::from_secs(5))
            .unwrap();
        database.execute_batch(sql).unwrap();
    };
    run("inventory", "UPDATE stock SET on_hand = on_hand + 1");
    run(
        "payment",
        "UPDATE payments SET refunded = captured, status = 'refunded'",
    );
    run(
        "order",
        "UPDATE orders SET total = total + 1; UPDATE order_history SET status = 'delivered' WHERE position = 1",
    );
    run("recommendation", "UPDATE popularity SET sold = 7");
    let (content, said) = verify(&shop, crate::STORES);
    assert!(!content, "{said}");
    for violation in [
        "I1 product",
        "I3 payment",
        "I3 order",
        "I5 order",
        "I6 product",
        "I7 order",
    ] {
        assert!(said.contains(violation), "{violation} is missing in {said}");
    }
    assert!(said.contains(id), "{said}");
}

#[test]
fn a_server_that_is_down_gives_one_clear_error() {
    built();
    let started = |name: &str, url: &str| {
        let mut command = localmart();
        command
            .arg("up")
            .arg("-f")
            .arg(root().join("spin.toml"))
            .arg("--state-dir")
            .arg(scratch("away"));
        command.args([
            "--no-build",
            "--no-seed",
            "--listen",
            "127.0.0.1:0",
            "--observe-listen",
            "127.0.0.1:0",
        ]);
        let output = command
            .args(["--variable", &format!("{name}={url}")])
            .output()
            .unwrap();
        assert!(!output.status.success());
        printed(&output)
    };
    let port = servers::closed_port();
    let said = started(
        "database_url",
        &format!("postgres://user:secret@127.0.0.1:{port}/shop"),
    );
    assert!(
        said.contains(&format!(
            "the Postgres server at 127.0.0.1:{port} does not answer"
        )) && said.contains("help"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
    let said = started("redis_url", &format!("redis://:secret@127.0.0.1:{port}/0"));
    assert!(
        said.contains(&format!(
            "the Redis server at 127.0.0.1:{port} does not answer"
        )) && said.contains("help"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
    for (name, url) in [
        ("database_url", "mysql://x"),
        ("redis_url", "http://x"),
        ("redis_url", "nonsense"),
    ] {
        let said = started(name, url);
        assert!(said.contains(name) && said.contains("error"), "{said}");
    }
    let port = servers::silent_port();
    let said = started(
        "database_url",
        &format!("postgres://127.0.0.1:{port}/shop?connect_timeout=1"),
    );
    assert!(said.contains("does not answer"), "{said}");
}

#[test]
fn a_row_that_cannot_be_read_costs_that_row_only() {
    if crate::STORES.postgres {
        // The code is the same on every store, and embedded stores are easier to damage.
        return;
    }
    let shop = Shop::start();
    let (damaged, whole) = (shop.product(500, 10), shop.product(600, 10));
    let database = rusqlite::Connection::open(shop.state.join("catalog.db")).unwrap();
    database
        .busy_timeout(std::time::Duration::from_secs(5))
        .unwrap();
    let sql = "UPDATE products SET currency = 'XXX?' WHERE id = ?1";
    assert_eq!(database.execute(sql, [&damaged]).unwrap(), 1);
    for sort in ["newest", "name", "price_asc"] {
        let list = shop
            .get(&format!("/api/products?sort={sort}"))
            .expect(200)
            .json();
        let ids: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|product| product["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, [whole.as_str()]);
    }
    assert!(
        shop.log().contains(&damaged),
        "the key of the row is logged"
    );
    let (content, said) = verify(&shop, crate::STORES);
    let violation = format!("unreadable product {damaged}: its currency is not valid");
    assert!(!content && said.contains(&violation), "{said}");
}
