//! Outages: the shop works without a component or server where it can, answers 503 where it cannot, and recovers by itself.
//! These tests check the table in `docs/operations/degradation.md`.

use crate::common::{RECOVERY, until_up};
use crate::harness::{
    Reply, Shop, Stores, User, built, checkout, fresh_key, localmart, root, scratch,
};
use localmart_testkit::servers::Server;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Servers of one test, which the test may kill. `None` in test binaries with embedded stores and if the servers are not
/// installed.
struct Own {
    postgres: Server,
    redis: Server,
    state: std::path::PathBuf,
}

impl Own {
    fn servers() -> Option<Self> {
        if !crate::STORES.postgres {
            return None;
        }
        Some(Self {
            postgres: Server::postgres()?,
            redis: Server::redis()?,
            state: scratch("outage"),
        })
    }

    fn variables(&self) -> [String; 2] {
        [
            format!("database_url={}", self.postgres.url()),
            format!("redis_url={}", self.redis.url()),
        ]
    }

    fn shop(&self) -> Shop {
        self.shop_with(&[])
    }

    fn shop_with(&self, more: &[&str]) -> Shop {
        built();
        let [database, redis] = self.variables();
        let flags = ["--variable", &database, "--variable", &redis];
        let flags = [&flags[..], more].concat();
        Shop::start_on(Stores::EMBEDDED, &self.state, &flags)
    }

    /// Waits until all events are published, then checks that `localmart verify` finds no violation.
    fn verify(&self) {
        let mut command = localmart();
        command
            .arg("verify")
            .arg("-f")
            .arg(root().join("spin.toml"));
        command.arg("--state-dir").arg(&self.state);
        for variable in self.variables() {
            command.args(["--variable", &variable]);
        }
        let give_up = Instant::now() + RECOVERY;
        loop {
            let output = command.output().unwrap();
            if output.status.success() {
                return;
            }
            let said = crate::harness::printed(&output);
            let waiting = said.contains("events wait for the bus");
            assert!(waiting && Instant::now() < give_up, "{said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Stops the clients of a test when it is dropped, even if the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_down(reply: Reply) {
    let reply = reply.expect_code(503, "unavailable");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(
        !reply.text.contains("ostgres") && !reply.text.contains("edis"),
        "{reply:?}"
    );
}

#[test]
fn servers_that_are_killed_and_come_back_under_load_lose_nothing() {
    let Some(mut own) = Own::servers() else {
        return;
    };
    let shop = own.shop();
    let product = shop.product(1999, 100_000);
    let stop = AtomicBool::new(false);
    let orders = Mutex::new(BTreeSet::new());
    let answers = Mutex::new(BTreeMap::<(u16, String), u32>::new());
    let counted = |reply: Reply| {
        let code = reply.code();
        *answers
            .lock()
            .unwrap()
            .entry((reply.status, code))
            .or_default() += 1;
        reply
    };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let cart = until_up("carts", || {
                        counted(shop.send("POST", "/api/carts", &[], &[]))
                    });
                    let cart = cart.expect(201).json()["id"].as_str().unwrap().to_owned();
                    let items = format!("/api/carts/{cart}/items/{product}");
                    let one = json!({ "quantity": 1 });
                    until_up("items", || counted(shop.json("PUT", &items, &[], &one))).expect(200);
                    let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
                    let order = until_up("checkout", || counted(shop.order(&key, &body)));
                    let order = order.expect(201).json()["id"].to_string();
                    assert!(
                        orders.lock().unwrap().insert(order),
                        "two requests got the same order"
                    );
                }
            });
        }
        // Every outage causes refusals, and after each outage the shop takes orders again.
        let _ends = Ends(&stop);
        let sold = || orders.lock().unwrap().len();
        let refused = || {
            let answers = answers.lock().unwrap();
            let down = answers.iter().filter(|((status, _), _)| *status == 503);
            down.map(|(_, count)| *count).sum::<u32>()
        };
        let sells = || {
            let before = sold();
            shop.eventually("orders succeed", || sold() >= before + 6);
        };
        let falls = |server: &mut Server| {
            let before = refused();
            server.kill();
            shop.eventually("requests are refused during the outage", || {
                refused() >= before + 6
            });
            server.start();
            sells();
        };
        sells();
        for _ in 0..2 {
            falls(&mut own.postgres);
            falls(&mut own.redis);
        }
    });
    let sold = orders.lock().unwrap().len() as u64;
    assert_eq!(shop.stock(&product), (100_000 - sold, 0));
    let answers = answers.lock().unwrap();
    println!("{sold} orders; {answers:?}");
    for (status, code) in answers.keys() {
        let fine = *status < 300
            || (*status == 503 && code == "unavailable")
            || (*status == 409 && code == "idempotency_key_in_flight");
        assert!(fine, "{status} {code}");
    }
    assert!(
        answers.keys().any(|(status, _)| *status == 503),
        "no request was refused: {answers:?}"
    );
    own.verify();
}

#[test]
fn without_redis_users_can_buy_and_guest_carts_are_unavailable() {
    let Some(mut own) = Own::servers() else {
        return;
    };
    let shop = own.shop();
    let (user, product) = (User::register(&shop), shop.product(1999, 50));
    let guest = shop.cart_with(&product, 1);
    let mine = user
        .send(&shop, "GET", "/api/carts/mine", &Value::Null)
        .expect(200)
        .json();
    let mine = mine["id"].as_str().unwrap();
    own.redis.kill();
    let item = json!({ "product_id": product, "quantity": 2 });
    let items = format!("/api/carts/{mine}/items");
    user.send(&shop, "POST", &items, &item).expect(200);
    shop.get(&format!("/api/products/{product}")).expect(200);
    shop.get("/api/products").expect(200);
    let order = user
        .buy(&shop, mine, &fresh_key(), "tok_visa")
        .expect(201)
        .json();
    assert_eq!(order["status"], "paid");
    is_down(shop.get(&format!("/api/carts/{guest}")));
    is_down(shop.send("POST", "/api/carts", &[], &[]));
    own.redis.start();
    // The guest's cart is available again, and events from the outage are published.
    let cart = until_up("a guest's cart", || {
        shop.get(&format!("/api/carts/{guest}"))
    });
    assert_eq!(cart.expect(200).json()["item_count"], 1);
    shop.eventually("recommendation has handled the order", || {
        let found = shop.get("/api/recommendations").expect(200).json();
        found["items"][0]["product"]["id"] == product.as_str()
    });
    own.verify();
}

#[test]
fn without_postgres_every_request_is_answered_503_until_it_recovers() {
    let Some(mut own) = Own::servers() else {
        return;
    };
    let shop = own.shop();
    let (user, product) = (User::register(&shop), shop.product(1999, 50));
    let cart = shop.cart_with(&product, 1);
    let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
    own.postgres.kill();
    let login = json!({ "email": user.email, "password": user.password });
    is_down(shop.get(&format!("/api/products/{product}")));
    is_down(shop.get("/api/products"));
    is_down(shop.order(&key, &body));
    is_down(shop.post("/api/auth/login", &login));
    is_down(shop.get("/api/recommendations"));
    let ready = shop.send("GET", &format!("{}/healthz", shop.observe), &[], &[]);
    assert_eq!(ready.status, 200, "the host itself is ready");
    own.postgres.start();
    let order = until_up("checkout", || shop.order(&key, &body)).expect(201);
    assert_eq!(order.json()["status"], "paid");
    shop.get(&format!("/api/products/{product}")).expect(200);
    shop.post("/api/auth/login", &login).expect(200);
    assert_eq!(shop.stock(&product), (49, 0));
    own.verify();
}

#[test]
fn more_checkouts_than_connections_all_succeed() {
    let Some(own) = Own::servers() else {
        return;
    };
    let config = own.state.join("narrow.toml");
    std::fs::write(&config, "[outbound_pg]\nmax_connections = 3\n").unwrap();
    let shop = own.shop_with(&["--runtime-config-file", config.to_str().unwrap()]);
    let product = shop.product(1999, 500);
    let orders = crate::harness::at_once(40, |_| {
        let cart = until_up("carts", || shop.send("POST", "/api/carts", &[], &[]));
        let cart = cart.expect(201).json()["id"].as_str().unwrap().to_owned();
        let items = format!("/api/carts/{cart}/items/{product}");
        let one = json!({ "quantity": 1 });
        until_up("items", || shop.json("PUT", &items, &[], &one)).expect(200);
        let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
        until_up("checkout", || shop.order(&key, &body))
            .expect(201)
            .json()["id"]
            .to_string()
    });
    let orders: BTreeSet<String> = orders.into_iter().collect();
    assert_eq!((orders.len(), shop.stock(&product)), (40, (460, 0)));
    own.verify();
}

/// On Postgres a locked table also blocks readers; a locked SQLite file does not.
#[test]
fn a_service_without_its_database_affects_only_its_dependants() {
    if !crate::STORES.postgres {
        return;
    }
    let shop = Shop::start();
    let (user, product) = (User::register(&shop), shop.product(1999, 500));
    let guest = shop.cart_with(&product, 1);
    let bought = user
        .send(&shop, "GET", "/api/carts/mine", &Value::Null)
        .expect(200)
        .json();
    let bought = bought["id"].as_str().unwrap().to_owned();
    let items = format!("/api/carts/{bought}/items/{product}");
    user.send(&shop, "PUT", &items, &json!({ "quantity": 1 }))
        .expect(200);
    let order = user
        .buy(&shop, &bought, &fresh_key(), "tok_visa")
        .expect(201)
        .json();
    let browse = || shop.get(&format!("/api/products/{product}"));
    let cart = || shop.get(&format!("/api/carts/{guest}"));
    let log_in = || {
        shop.post(
            "/api/auth/login",
            &json!({ "email": user.email, "password": user.password }),
        )
    };
    let mine = || {
        user.send(
            &shop,
            "GET",
            &format!("/api/orders/{}", order["id"].as_str().unwrap()),
            &Value::Null,
        )
    };
    let recommended = || shop.get("/api/recommendations");
    let buy = || {
        shop.order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 1), "tok_visa"),
        )
    };
    for (noun, tables, works, down) in [
        (
            "recommendation",
            "popularity",
            vec![
                &browse as &(dyn Fn() -> Reply + Sync),
                &cart,
                &mine,
                &log_in,
            ],
            vec![&recommended as &(dyn Fn() -> Reply + Sync)],
        ),
        (
            "user",
            "users",
            vec![&browse, &cart, &mine, &recommended],
            vec![&log_in],
        ),
        (
            "inventory",
            "stock",
            vec![&browse, &mine, &log_in],
            vec![&cart],
        ),
        (
            "catalog",
            "products",
            vec![&mine, &log_in],
            vec![&browse, &cart],
        ),
    ] {
        let locked = lock(&shop, noun, tables);
        for (place, ask) in works.iter().enumerate() {
            let reply = ask();
            assert_eq!(
                reply.status, 200,
                "the database of {noun} is locked, and {place}: {reply:?}"
            );
        }
        if ["recommendation", "user"].contains(&noun) {
            assert_eq!(buy().status, 201, "the database of {noun} is locked");
        }
        for reply in crate::harness::at_once(down.len(), |place| down[place]()) {
            is_down(reply);
        }
        drop(locked);
        for ask in down {
            until_up(noun, ask).expect(200);
        }
    }
}

#[test]
fn browsing_and_checkout_work_without_recommendation() {
    built();
    let state = scratch("alone");
    let mut flags = Vec::new();
    for component in ["catalog", "inventory", "cart", "payment", "order", "user"] {
        flags.extend(["--component-id", component]);
    }
    let shop = Shop::start_in(&state, &flags);
    let product = shop.product(1999, 50);
    shop.get(&format!("/api/products/{product}")).expect(200);
    let order = shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(&product, 1), "tok_visa"),
    );
    assert_eq!(order.expect(201).json()["status"], "paid");
    shop.get("/api/recommendations")
        .expect_code(404, "not_found");
    drop(shop);
    // Recommendation handles missed events after its recovery.
    let shop = Shop::start_in(&state, &[]);
    shop.eventually("recommendation has caught up", || {
        let found = shop.get("/api/recommendations").expect(200).json();
        found["items"][0]["product"]["id"] == product.as_str()
    });
}

/// A lock on a store that blocks all writes until it is dropped. It may also block reads.
enum Locked {
    File(rusqlite::Connection),
    Table(localmart_stores::Postgres),
}

fn lock(shop: &Shop, noun: &str, tables: &str) -> Locked {
    let flags = crate::STORES.flags(&shop.state);
    let url = flags
        .iter()
        .find_map(|flag| flag.strip_prefix("database_url="));
    if let Some(url) = url {
        let database = localmart_stores::Postgres::open(url, noun).unwrap();
        database
            .batch(&format!(
                "BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"
            ))
            .unwrap();
        return Locked::Table(database);
    }
    let file: &Path = &shop.state.join(format!("{noun}.db"));
    let database = rusqlite::Connection::open(file).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    Locked::File(database)
}

impl Drop for Locked {
    fn drop(&mut self) {
        match self {
            Self::File(database) => database.execute_batch("ROLLBACK").unwrap(),
            Self::Table(database) => database.batch("ROLLBACK").unwrap(),
        }
    }
}

#[test]
fn a_payment_service_that_cannot_write_delays_only_checkouts() {
    let shop = Shop::start();
    let product = shop.product(1999, 50);
    let cart = shop.cart_with(&product, 2);
    let (key, body) = (fresh_key(), checkout(&cart, "tok_visa"));
    let locked = lock(&shop, "payment", "payments");
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| shop.order(&key, &body));
        // The checkout is blocked at the payment; other operations continue.
        shop.eventually("the stock is reserved", || shop.stock(&product) == (50, 2));
        shop.get(&format!("/api/products/{product}")).expect(200);
        shop.get("/api/products").expect(200);
        shop.cart_with(&product, 1);
        is_down(refused.join().unwrap());
    });
    assert_eq!(shop.stock(&product), (50, 2), "the stock is reserved");
    drop(locked);
    let order = until_up("checkout", || shop.order(&key, &body))
        .expect(201)
        .json();
    assert_eq!(
        (&order["status"], shop.stock(&product)),
        (&json!("paid"), (48, 0))
    );
}

#[test]
fn a_bus_that_cannot_be_written_delays_only_events() {
    if crate::STORES.redis {
        // There the bus is Redis; `without_redis_users_can_buy_and_guest_carts_are_unavailable` is this test.
        return;
    }
    let shop = Shop::start();
    let product = shop.product(1999, 50);
    let locked = lock(&shop, "bus", "");
    let order = shop.order(
        &fresh_key(),
        &checkout(&shop.cart_with(&product, 2), "tok_visa"),
    );
    assert_eq!(order.expect(201).json()["status"], "paid");
    shop.get("/api/products").expect(200);
    let seen = || {
        let found = shop.get("/api/recommendations").expect(200).json();
        found["items"][0]["score"].as_u64().unwrap_or_default() > 0
    };
    assert!(!seen(), "recommendation cannot know the order yet");
    drop(locked);
    shop.eventually("recommendation has handled the order", seen);
    let (content, said) = crate::common::verify(&shop, crate::STORES);
    assert!(content, "{said}");
}
