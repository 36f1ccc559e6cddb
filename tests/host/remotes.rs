//! Links to components in another process: the same calls, even while one of the processes restarts.

use super::swaps::{told, verified};
use crate::harness::{Shop, at_once, built, checkout, fresh_key, root, scratch};
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
fn what_is_not_there_or_not_allowed_is_refused_at_the_start() {
    built();
    let (state, links) = (scratch("state"), free());
    let there = catalog(&state, &links);
    let start = |state: &Path, flags: &[&str]| {
        let output = crate::harness::localmart()
            .args(["up", "--no-build", "--no-seed", "--listen", "127.0.0.1:0"])
            .args(["--observe-listen", "127.0.0.1:0", "-f"])
            .arg(root().join("spin.toml"))
            .arg("--state-dir")
            .arg(state)
            .args(flags)
            .output()
            .unwrap();
        assert!(!output.status.success());
        crate::harness::unframed(&crate::harness::printed(&output))
    };
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
        let said = start(state, &["--remote", &remote]);
        assert!(said.contains(reason), "{remote}: {said}");
    }
    let unsigned = there.send("GET", &format!("http://{links}/links/catalog"), &[], &[]);
    unsigned.expect(401);
    let status = told(&there, &["status"]);
    assert!(status.contains("catalog"), "{status}");
}
