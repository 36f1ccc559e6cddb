//! Links to components in another process: the same calls, even while one of the processes restarts.

use super::swaps::{told, verified};
use super::tls_stores::{Authority, written};
use crate::harness::{Shop, at_once, built, checkout, fresh_key, refused_start, scratch};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// An address that is currently free.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A host that runs only the catalog, for other hosts.
fn catalog(state: &Path, links: &str) -> Shop {
    Shop::start_in(
        state,
        &["--component-id", "catalog", "--link-listen", links],
    )
}

/// A shop that uses the catalog of another host.
fn shop(state: &Path, links: &str) -> Shop {
    let remote = format!("catalog=http://{links}");
    Shop::start_in(state, &["--remote", &remote])
}

#[test]
fn orders_are_made_with_the_catalog_of_another_process_also_while_that_starts_again() {
    built();
    let (state, links) = (scratch("state"), free());
    let mut there = catalog(&state, &links);
    let here = shop(&state, &links);
    let product = here.product(1999, 100);
    let buy = || {
        let cart = here.cart_with(&product, 1);
        here.order(&fresh_key(), &checkout(&cart, "tok_visa"))
            .status
    };
    assert_eq!(buy(), 201);
    let called = "localmart_link_calls_total{binding=\"remote\",callee=\"catalog\",caller=\"order\",generation=\"0\",outcome=\"answered\"} ";
    assert!(here.metrics().contains(called), "{}", here.metrics());
    let answered = "localmart_link_calls_total{binding=\"remote\",callee=\"catalog\",caller=\"order\",generation=\"1\",outcome=\"answered\"} ";
    assert!(there.metrics().contains(answered), "{}", there.metrics());

    // Reading products changes nothing, so the call is retried until the other process is back.
    there.kill();
    let (bought, again) = std::thread::scope(|scope| {
        let bought = scope.spawn(|| at_once(4, |_| buy()));
        let again = catalog(&state, &links);
        (bought.join().unwrap(), again)
    });
    assert!(
        bought.iter().all(|status| [201, 503].contains(status)),
        "{bought:?}"
    );
    let give_up = Instant::now() + Duration::from_secs(10);
    while buy() != 201 {
        assert!(Instant::now() < give_up, "{}", here.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(again);
    verified(&here);
}

#[test]
fn without_the_other_process_a_call_is_unavailable_and_nothing_is_lost() {
    built();
    let (state, links) = (scratch("state"), free());
    let mut there = catalog(&state, &links);
    let here = shop(&state, &links);
    let product = here.product(1999, 100);
    let cart = here.cart_with(&product, 1);
    there.kill();
    let key = fresh_key();
    here.order(&key, &checkout(&cart, "tok_visa"))
        .expect_code(503, "unavailable");
    let _again = catalog(&state, &links);
    here.eventually("the same key succeeds", || {
        here.order(&key, &checkout(&cart, "tok_visa")).status == 201
    });
    verified(&here);
}

#[test]
fn a_component_runs_alone_with_answers_from_a_file() {
    let whole = Shop::start();
    let product = whole.product(1999, 100);
    let folder = scratch("answers");
    let record = |callee: &str| {
        let file = folder.join(format!("{callee}.jsonl"));
        let (link, path) = (format!("cart->{callee}"), file.to_str().unwrap());
        told(
            &whole,
            &["traffic", "record", "--link", &link, "--to", path],
        );
        whole.cart_with(&product, 2);
        told(&whole, &["traffic", "stop"]);
        path.to_owned()
    };
    let (catalog, inventory) = (record("catalog"), record("inventory"));
    let alone = |catalog: &str| {
        let flags = ["--only", "cart", "--fake", catalog, "--fake", &inventory];
        Shop::start_in(&scratch("state"), &flags)
    };
    let shop = alone(&catalog);
    let cart = shop.cart_with(&product, 2);
    let shown = shop.get(&format!("/api/carts/{cart}")).expect(200).json();
    assert_eq!(shown["total"]["amount"], 3998, "{shown}");
    assert_eq!(shown["items"][0]["available"], 100);
    shop.get("/api/products").expect(404);
    drop(shop);

    // One that is written by hand answers any arguments.
    let recorded = std::fs::read_to_string(&catalog).unwrap();
    let line: Value = serde_json::from_str(recorded.lines().next().unwrap()).unwrap();
    let written = |answer: Value| {
        let line = json!({
            "callee": "catalog", "interface": line["interface"], "function": line["function"], "answer": answer,
        });
        let file = folder.join("written.jsonl");
        std::fs::write(&file, format!("{line}\n\n")).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let answer = line["answer"].as_str().unwrap().replace("1999", "777");
    let shop = alone(&written(json!(answer)));
    let cart = shop.cart_with(&product, 3);
    let shown = shop.get(&format!("/api/carts/{cart}")).expect(200).json();
    assert_eq!(shown["total"]["amount"], 3 * 777, "{shown}");
    drop(shop);
    let shop = alone(&written(Value::Null));
    let cart = shop.post("/api/carts", &json!({})).expect(201).json();
    let item = json!({ "product_id": product, "quantity": 1 });
    let path = format!("/api/carts/{}/items", cart["id"].as_str().unwrap());
    shop.post(&path, &item).expect_code(503, "unavailable");
    drop(shop);

    let wrong = written(json!("\"a text\""));
    for (flags, reason) in [
        (
            ["--only", "cart", "--fake", &wrong],
            "written.jsonl:1: the answer does not have the type of the function",
        ),
        (
            ["--only", "cart", "--fake", "nowhere.jsonl"],
            "reading nowhere.jsonl",
        ),
    ] {
        let said = refused_start(&scratch("state"), &flags);
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn processes_prove_to_each_other_who_they_are() {
    built();
    let (state, links) = (scratch("state"), free());
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let flags = |signer: &Authority, trusted: &Authority| {
        let folder = scratch("links");
        let made = signer.signs("127.0.0.1", false);
        [
            ("--link-tls-cert", "link.crt", made.certificate),
            ("--link-tls-key", "link.key", made.key),
            ("--link-tls-ca", "ca.pem", trusted.pem()),
        ]
        .map(|(flag, name, text)| [flag.to_owned(), written(&folder, name, &text)])
        .concat()
    };
    let with = |more: &[&str], tls: &[String]| -> Vec<String> {
        let more = more.iter().map(ToString::to_string);
        more.chain(tls.iter().cloned()).collect()
    };
    let start = |flags: &[String]| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Shop::start_in(&state, &flags)
    };
    let good = flags(&ours, &ours);
    let _there = start(&with(
        &["--only", "catalog", "--link-listen", &links],
        &good,
    ));
    let remote = format!("catalog=https://{links}");
    let here = start(&with(&["--remote", &remote], &good));
    let cart = here.cart_with(&here.product(1999, 10), 1);
    here.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201);
    verified(&here);
    drop(here);

    let plain = format!("catalog=http://{links}");
    for (what, remote, tls) in [
        ("a foreign certificate", &remote, flags(&foreign, &ours)),
        ("a foreign server", &remote, flags(&ours, &foreign)),
        ("no certificate", &remote, Vec::new()),
        ("no TLS", &plain, Vec::new()),
    ] {
        let flags = with(&["--remote", remote], &tls);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let said = refused_start(&state, &flags);
        assert!(said.contains("does not answer at"), "{what}: {said}");
    }
}

#[test]
fn what_is_not_there_or_not_allowed_is_refused_at_the_start() {
    built();
    let (state, links) = (scratch("state"), free());
    let there = catalog(&state, &links);
    let nobody = free();
    let address = |component: &str, links: &str| format!("{component}=http://{links}");
    for (state, remote, reason) in [
        (&state, address("catalog", &nobody), "does not answer at"),
        (
            &state,
            address("payment", &links),
            "`payment` does not run here",
        ),
        (&state, "catalog=here".to_owned(), "is not the address"),
        // Another state folder has another key.
        (
            &scratch("state"),
            address("catalog", &links),
            "the signature is wrong or expired",
        ),
    ] {
        let said = refused_start(state, &["--remote", &remote]);
        assert!(said.contains(reason), "{remote}: {said}");
    }
    let unsigned = there.send("GET", &format!("http://{links}/links/catalog"), &[], &[]);
    unsigned.expect(401);
    let status = told(&there, &["status"]);
    assert!(status.contains("catalog"), "{status}");
}
