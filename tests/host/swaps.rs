//! Live swaps: a component is replaced while orders come in. A bad generation is refused or rolled back automatically.

use super::guests::{guests, guests_built};
use crate::harness::{
    Shop, built, checkout, fresh_key, localmart, printed, root, scratch, unframed,
};
use localmart_host::link::fuse::{Part, fuse};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A catalog with a disturbance: `none`, `slow`, `slow-start`, `fails` or `traps`.
fn catalog(what: &str) -> PathBuf {
    guests_built();
    let wasm = root().join("target/wasm32-wasip2/component/hindrance.wasm");
    let (before, after) = (
        format!("{:<24}", "hindrance:none"),
        format!("{:<24}", format!("hindrance:{what}")),
    );
    let wasm = replaced(
        &std::fs::read(wasm).unwrap(),
        before.as_bytes(),
        after.as_bytes(),
    );
    let part = |id: &str, wasm: Vec<u8>, links: &[&str]| Part {
        id: id.into(),
        wasm,
        links: links.iter().map(ToString::to_string).collect(),
        unfused: Vec::new(),
    };
    let catalog = std::fs::read(root().join("dist/catalog.wasm")).unwrap();
    let parts = [
        part("hindrance", wasm, &["catalog"]),
        part("catalog", catalog, &[]),
    ];
    written(what, &fuse("hindrance", &parts).unwrap())
}

/// The catalog of this repository with every occurrence of a name replaced.
fn renamed(before: &str, after: &str) -> PathBuf {
    let catalog = std::fs::read(root().join("dist/catalog.wasm")).unwrap();
    written(
        after,
        &replaced(&catalog, before.as_bytes(), after.as_bytes()),
    )
}

pub(crate) fn written(name: &str, wasm: &[u8]) -> PathBuf {
    let path = scratch("swaps").join(format!("{name}.wasm"));
    std::fs::write(&path, wasm).unwrap();
    path
}

pub(crate) fn replaced(bytes: &[u8], before: &[u8], after: &[u8]) -> Vec<u8> {
    assert_eq!(before.len(), after.len());
    let mut bytes = bytes.to_vec();
    let mut places: Vec<usize> = Vec::new();
    for (place, window) in bytes.windows(before.len()).enumerate() {
        if window == before {
            places.push(place);
        }
    }
    assert!(!places.is_empty());
    for place in places {
        bytes[place..place + after.len()].copy_from_slice(after);
    }
    bytes
}

/// Runs a command against a running shop. A swap comes without contract tests, so that the running shop is the one that judges.
fn tell(shop: &Shop, words: &[&str]) -> Output {
    let untested: &[&str] = match words {
        ["swap", ..] => &["--no-test"],
        _ => &[],
    };
    tell_all(shop, &[words, untested].concat())
}

/// Runs a command against a running shop.
pub(crate) fn tell_all(shop: &Shop, words: &[&str]) -> Output {
    let listen = shop.base.trim_start_matches("http://");
    let verb = localmart().args(words).args(["--listen", listen]).output();
    verb.unwrap()
}

#[track_caller]
pub(crate) fn told(shop: &Shop, words: &[&str]) -> String {
    let output = tell(shop, words);
    assert!(output.status.success(), "{words:?}: {}", printed(&output));
    printed(&output)
}

#[track_caller]
pub(crate) fn refused(shop: &Shop, words: &[&str]) -> String {
    let output = tell(shop, words);
    assert!(!output.status.success(), "{words:?}: {}", printed(&output));
    unframed(&printed(&output))
}

pub(crate) fn swap(component: &str, file: &std::path::Path) -> Vec<String> {
    ["swap", component, file.to_str().unwrap()]
        .map(str::to_owned)
        .to_vec()
}

pub(crate) fn status(shop: &Shop, component: &str) -> Value {
    let status: Value = serde_json::from_str(&told(shop, &["status", "--json"])).unwrap();
    let components = status["components"].as_array().unwrap();
    components
        .iter()
        .find(|one| one["id"] == component)
        .unwrap()
        .clone()
}

/// Browses and buys with several clients until it is stopped. Returns the replies that were not as expected.
fn crowd(shop: &Shop, clients: usize, stop: &AtomicBool, done: &AtomicUsize) -> Vec<String> {
    let product = shop.product(5, 100_000);
    let wrong = |what: &str, reply: &crate::harness::Reply| {
        format!("{what}: {} {}", reply.status, reply.text)
    };
    let client = |number: usize| {
        let mut failed = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let seen = shop.get(&format!("/api/products/{product}"));
            if seen.status != 200 {
                failed.push(wrong("product", &seen));
            }
            let listed = shop.get("/api/recommendations");
            if listed.status != 200 {
                failed.push(wrong("recommendations", &listed));
            }
            if number.is_multiple_of(2) {
                let cart = shop.send("POST", "/api/carts", &[], &[]);
                let id = cart.json()["id"].as_str().unwrap_or_default().to_owned();
                let item = serde_json::json!({ "product_id": product, "quantity": 1 });
                let added = shop.post(&format!("/api/carts/{id}/items"), &item);
                let bought = shop.order(&fresh_key(), &checkout(&id, "tok_visa"));
                for (what, reply, status) in [
                    ("cart", &cart, 201),
                    ("item", &added, 200),
                    ("order", &bought, 201),
                ] {
                    if reply.status != status {
                        failed.push(wrong(what, reply));
                    }
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        failed
    };
    let mut all = crate::harness::at_once(clients, client);
    all.drain(..).flatten().collect()
}

/// Runs an action while clients browse and buy. Returns their complaints.
fn meanwhile(shop: &Shop, act: impl FnOnce(&dyn Fn())) -> Vec<String> {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd(shop, 6, &stop, &done));
        let some_more = || {
            let (from, give_up) = (
                done.load(Ordering::Relaxed),
                Instant::now() + Duration::from_secs(30),
            );
            while done.load(Ordering::Relaxed) < from + 40 && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        some_more();
        act(&some_more);
        some_more();
        stop.store(true, Ordering::Relaxed);
        crowd.join().unwrap()
    })
}

fn nothing_is_lost_by_good_swaps(binding: &str) {
    built();
    let shop = Shop::start_in(&scratch("state"), &["--binding", binding]);
    let hindered = catalog("none");
    let complaints = meanwhile(&shop, |some_more| {
        for (component, file) in [
            ("catalog", hindered),
            ("order", root().join("dist/order.wasm")),
            ("recommendation", root().join("dist/recommendation.wasm")),
            ("catalog", root().join("dist/catalog.wasm")),
        ] {
            let words = swap(component, &file);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            told(&shop, &words);
            some_more();
        }
    });
    assert_eq!(complaints, Vec::<String>::new());
    let generations = &status(&shop, "catalog")["generations"];
    assert_eq!(generations[0]["number"], 3, "{generations}");
    assert!(generations[0]["calls"].as_u64().unwrap() > 0);
    let catalog = status(&shop, "order")["generations"][0]["number"].as_u64();
    // The components that contain the catalog got a new generation with each swap.
    assert_eq!(catalog, Some(if binding == "fused" { 4 } else { 2 }));
    verified(&shop);
}

pub(crate) fn verified(shop: &Shop) {
    let output = localmart()
        .args(["verify", "-f"])
        .arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(&shop.state)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", printed(&output));
}

#[test]
fn good_swaps_of_isolated_components_lose_nothing() {
    nothing_is_lost_by_good_swaps("isolated");
}

#[test]
fn good_swaps_of_fused_components_lose_nothing() {
    nothing_is_lost_by_good_swaps("fused");
}

#[test]
fn what_breaks_the_interface_is_refused_with_the_reason() {
    let shop = Shop::start();
    for (file, reason) in [
        (renamed("get-products", "get-prodacts"), "get-products"),
        (renamed("published", "publishad"), "published"),
        (
            root().join("dist/payment.wasm"),
            "localmart:catalog/catalog",
        ),
        (written("nonsense", b"nonsense"), "nonsense.wasm"),
        (
            PathBuf::from("/nowhere/x.wasm"),
            "there is no /nowhere/x.wasm",
        ),
    ] {
        let words = swap("catalog", &file);
        let said = refused(&shop, &words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(said.contains(reason), "{reason}: {said}");
    }
    let good = root().join("dist/catalog.wasm");
    let words = ["swap", "catalog", good.to_str().unwrap()];
    let said = refused(&shop, &[&words[..], &["--header", "no name=1"]].concat());
    assert!(said.contains("the name of the header"), "{said}");
    let said = refused(&shop, &["swap", "nobody", "x.wasm"]);
    assert!(said.contains("there is no"), "{said}");
    assert_eq!(status(&shop, "catalog")["generations"][0]["number"], 1);
    let said = refused(&shop, &["promote", "catalog"]);
    assert!(said.contains("was not swapped"), "{said}");
    let said = refused(&shop, &["rollback", "catalog"]);
    assert!(said.contains("was not swapped"), "{said}");
}

#[test]
fn one_that_traps_fails_or_slows_goes_by_itself_and_says_why() {
    let shop = Shop::start();
    let product = shop.product(5, 100_000);
    let see = || shop.get(&format!("/api/products/{product}"));
    for (what, why) in [
        ("traps", "trapped"),
        ("fails", "failed"),
        ("slow", "times the"),
    ] {
        for _ in 0..150 {
            see().expect(200);
        }
        let file = catalog(what);
        let stop = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    see();
                }
            });
            let file = file.to_str().unwrap();
            let output = tell(&shop, &["swap", "catalog", file, "--watch", "30s"]);
            stop.store(true, Ordering::Relaxed);
            output
        });
        let said = unframed(&printed(&output));
        assert!(!output.status.success(), "{what}: {said}");
        assert!(
            said.contains("was rolled back: generation") && said.contains(why),
            "{what}: {said}"
        );
        see().expect(200);
        assert_eq!(status(&shop, "catalog")["generations"][0]["number"], 1);
    }
    let metrics = shop.metrics();
    assert!(
        metrics.contains("component=\"catalog\",generation=\"2\",reason=\"trap\""),
        "{metrics}"
    );
}

#[test]
fn a_busy_moment_is_not_a_reason_to_roll_back() {
    let shop = Shop::start();
    let product = shop.product(5, 100_000);
    let see = || shop.get(&format!("/api/products/{product}")).expect(200);
    for _ in 0..150 {
        see();
    }
    // Only the first calls are slow, but the 99th percentile of a few hundred calls shows them.
    let file = catalog("slow-start");
    let watched = tell(&shop, &["swap", "catalog", file.to_str().unwrap()]);
    assert!(watched.status.success(), "{}", printed(&watched));
    for _ in 0..600 {
        see();
    }
    // A watch looks every 50 ms; a verdict on these calls has fallen before the next swap is accepted.
    let serving = &status(&shop, "catalog")["generations"][0];
    assert_eq!(serving["number"], 2, "{serving}");
    assert!(serving["calls"].as_u64().unwrap() >= 600, "{serving}");
}

#[test]
fn on_trial_a_share_a_header_or_a_shadow_decides_who_sees_it() {
    let shop = Shop::start();
    let product = shop.product(5, 100_000);
    let path = format!("/api/products/{product}");
    let fails = catalog("fails");
    let file = fails.to_str().unwrap();
    let lenient = ["--max-error-rate", "100%"];

    told(
        &shop,
        &[
            &["swap", "catalog", file, "--header", "x-canary=1"],
            &lenient[..],
        ]
        .concat(),
    );
    shop.get(&path).expect(200);
    shop.send("GET", &path, &[("x-canary", "2")], &[])
        .expect(200);
    shop.send("GET", &path, &[("x-canary", "1")], &[])
        .expect(500);
    // The header also applies to calls that the request causes: the cart calls the catalog.
    let cart = shop.send("POST", "/api/carts", &[], &[]).expect(201).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let item = serde_json::json!({ "product_id": product, "quantity": 1 });
    let items = format!("/api/carts/{cart}/items");
    shop.json("POST", &items, &[("x-canary", "1")], &item)
        .expect(503);
    shop.post(&items, &item).expect(200);
    let said = refused(&shop, &["swap", "catalog", file]);
    assert!(said.contains("is on trial"), "{said}");
    told(&shop, &["rollback", "catalog"]);
    shop.send("GET", &path, &[("x-canary", "1")], &[])
        .expect(200);

    told(
        &shop,
        &[&["swap", "catalog", file, "--canary", "20%"], &lenient[..]].concat(),
    );
    let failed = (0..400).filter(|_| shop.get(&path).status == 500).count();
    assert!((40..130).contains(&failed), "{failed} of 400");
    told(&shop, &["rollback", "catalog"]);

    told(
        &shop,
        &[&["swap", "catalog", file, "--shadow"], &lenient[..]].concat(),
    );
    for _ in 0..20 {
        shop.get(&path).expect(200);
    }
    shop.eventually("the shadow differs", || {
        let shadow = &status(&shop, "catalog")["generations"][1];
        shadow["role"] == "shadow" && shadow["differences"].as_u64() >= Some(20)
    });
    told(&shop, &["rollback", "catalog"]);

    let good = catalog("none");
    told(
        &shop,
        &["swap", "catalog", good.to_str().unwrap(), "--canary", "50%"],
    );
    told(&shop, &["promote", "catalog"]);
    shop.get(&path).expect(200);
    let generations = &status(&shop, "catalog")["generations"];
    assert_eq!(
        (generations[0]["number"].as_u64(), generations[1].is_null()),
        (Some(5), true),
        "{generations}"
    );
    told(&shop, &["rollback", "catalog"]);
    assert_eq!(status(&shop, "catalog")["generations"][0]["number"], 1);
}

#[test]
fn a_consumer_of_events_is_swapped_and_hears_all_of_them() {
    let shop = Shop::start();
    let product = shop.product(5, 100);
    let file = root().join("dist/recommendation.wasm");
    for _ in 0..3 {
        let words = swap("recommendation", &file);
        told(&shop, &words.iter().map(String::as_str).collect::<Vec<_>>());
        shop.order(
            &fresh_key(),
            &checkout(&shop.cart_with(&product, 1), "tok_visa"),
        )
        .expect(201);
    }
    shop.eventually("all orders are heard of", || {
        let items = shop.get("/api/recommendations").json();
        items["items"].as_array().is_some_and(|items| {
            items
                .iter()
                .any(|item| item["product"]["id"] == product.as_str())
        })
    });
    let log = shop.log();
    assert!(log.contains("\"generation\":"), "{log}");
}

#[test]
fn files_are_those_of_the_start_for_every_generation() {
    use std::os::unix::fs::MetadataExt as _;
    let shop = guests(&[]);
    let note = shop.state.join("files/probe/data/note.txt");
    let before = note.metadata().unwrap().ino();
    let file = root().join("target/wasm32-wasip2/component/probe.wasm");
    let words = swap("probe", &file);
    told(&shop, &words.iter().map(String::as_str).collect::<Vec<_>>());
    // The previous generation still has them open.
    assert_eq!(note.metadata().unwrap().ino(), before);
    let read = shop.get("/file?/data/note.txt").expect(200);
    assert_eq!(read.text, "hello from a file\n");
}
