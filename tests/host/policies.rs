//! Policies: pure components that decide about money and order. A policy that misbehaves loses only the current
//! decision.

use super::guests::guests_built;
use super::swaps::{refused, replaced, status, swap, tell_all, told, verified, written};
use crate::harness::{Shop, built, checkout, fresh_key, printed, root, scratch, unframed};
use serde_json::Value;
use std::path::PathBuf;

/// A tax policy that adds 20 %, or misbehaves.
pub(crate) fn taxing(what: &str) -> PathBuf {
    guests_built();
    let wasm = root().join("target/wasm32-wasip2/component/taxing.wasm");
    let (before, after) = (
        format!("{:<24}", "hindrance:none"),
        format!("{:<24}", format!("hindrance:{what}")),
    );
    let wasm = std::fs::read(wasm).unwrap();
    written(what, &replaced(&wasm, before.as_bytes(), after.as_bytes()))
}

fn buy(shop: &Shop, product: &str) -> Value {
    let cart = shop.cart_with(product, 2);
    let bought = shop.order(&fresh_key(), &checkout(&cart, "tok_visa"));
    bought.expect(201).json()
}

fn amounts(order: &Value) -> (u64, u64, String) {
    let amount = |name: &str| order[name]["amount"].as_u64().unwrap();
    (
        amount("tax_total"),
        amount("total"),
        order["flags"].to_string(),
    )
}

fn a_policy_is_replaced_and_a_bad_one_costs_its_decision(binding: &str) {
    built();
    let shop = Shop::start_in(&scratch("state"), &["--binding", binding, "--threads", "1"]);
    let product = shop.product(1000, 100);
    assert_eq!(amounts(&buy(&shop, &product)), (0, 2000, "[]".into()));
    let put = |file: &PathBuf| {
        let words = [
            swap("tax", file),
            vec!["--max-error-rate".into(), "100%".into()],
        ]
        .concat();
        told(&shop, &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    put(&taxing("none"));
    let taxed = buy(&shop, &product);
    assert_eq!(amounts(&taxed), (400, 2400, "[]".into()));
    assert_eq!(taxed["items"][0]["tax"]["amount"], 400);
    for what in ["traps", "runs", "greedy", "wrong", "says no"] {
        put(&taxing(what));
        let flagged = "[\"tax_unavailable\"]".to_owned();
        let order = buy(&shop, &product);
        assert_eq!(amounts(&order), (0, 2000, flagged.clone()), "{what}");
        let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
        let bearer = format!("Bearer {}", shop.token("staff"));
        let stored = shop
            .send("GET", &path, &[("authorization", &bearer)], &[])
            .expect(200);
        assert_eq!(amounts(&stored.json()).2, flagged, "{what}");
    }
    let log = shop.log();
    assert!(
        log.contains("instructions") && log.contains("a policy made no decision"),
        "{log}"
    );
    put(&taxing("none"));
    assert_eq!(amounts(&buy(&shop, &product)).0, 400);
    verified(&shop);
}

#[test]
fn policies_are_replaced_beside_isolated_components() {
    a_policy_is_replaced_and_a_bad_one_costs_its_decision("isolated");
}

#[test]
fn policies_are_replaced_beside_fused_components() {
    a_policy_is_replaced_and_a_bad_one_costs_its_decision("fused");
}

#[test]
fn a_policy_that_misbehaves_goes_by_itself_and_one_with_capabilities_never_comes() {
    let shop = Shop::start();
    let product = shop.product(1000, 1000);
    let said = refused(
        &shop,
        &[
            "swap",
            "tax",
            root().join("dist/payment.wasm").to_str().unwrap(),
        ],
    );
    assert!(
        said.contains("it does not export `localmart:tax/tax@1.0.0`"),
        "{said}"
    );
    for what in ["traps", "wrong"] {
        let bad = taxing(what);
        told(&shop, &["swap", "tax", bad.to_str().unwrap()]);
        shop.eventually("it is rolled back", || {
            buy(&shop, &product);
            status(&shop, "tax")["generations"][0]["number"] == 1
        });
        assert_eq!(amounts(&buy(&shop, &product)).2, "[]", "{what}");
    }
    let graph = crate::harness::localmart()
        .args(["graph", "-f"])
        .arg(root().join("spin.toml"))
        .output()
        .unwrap();
    let graph = printed(&graph);
    assert!(
        graph.contains("-> tax (policy) localmart:tax/tax@1.0.0"),
        "{graph}"
    );
}

#[test]
fn minor_versions_link_in_both_directions() {
    let shop = Shop::start();
    let product = shop.product(1000, 100);
    let versioned = |name: &str, wasm: Vec<u8>, version: &str| {
        let interface = |version: &str| format!("localmart:tax/tax@{version}").into_bytes();
        let wasm = replaced(&wasm, &interface("1.0.0"), &interface(version));
        written(&format!("{name}-{version}"), &wasm)
    };
    let order = |version: &str| {
        let wasm = std::fs::read(root().join("dist/order.wasm")).unwrap();
        versioned("order", wasm, version)
    };
    let tax = |version: &str| {
        let wasm = std::fs::read(taxing("none")).unwrap();
        versioned("tax", wasm, version)
    };
    let put = |component: &str, file: PathBuf| {
        let words = swap(component, &file);
        told(&shop, &words.iter().map(String::as_str).collect::<Vec<_>>());
    };
    // A caller that was built for a later version than the policy, then a policy of a later version than its caller.
    put("order", order("1.1.0"));
    assert_eq!(amounts(&buy(&shop, &product)), (0, 2000, "[]".into()));
    put("tax", tax("1.0.0"));
    assert_eq!(amounts(&buy(&shop, &product)).0, 400);
    put("tax", tax("1.2.0"));
    assert_eq!(amounts(&buy(&shop, &product)).0, 400);
    put("order", root().join("dist/order.wasm"));
    assert_eq!(amounts(&buy(&shop, &product)).0, 400);
    let file = tax("2.0.0");
    let said = refused(&shop, &["swap", "tax", file.to_str().unwrap()]);
    assert!(said.contains("localmart:tax/tax@1"), "{said}");
    verified(&shop);
}

#[test]
fn a_swap_runs_the_contract_tests_first() {
    let shop = Shop::start();
    let swapped = |what: &str| {
        let file = taxing(what);
        let output = tell_all(&shop, &["swap", "tax", file.to_str().unwrap()]);
        (output.status.success(), unframed(&printed(&output)))
    };
    let generation = || status(&shop, "tax")["generations"][0]["number"].clone();
    let (done, said) = swapped("wrong");
    assert!(!done, "{said}");
    for part in ["contract tests of tax failed", "swap --no-test"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    assert_eq!(generation(), 1);
    let (done, said) = swapped("none");
    assert!(done && said.contains("keeps its contract"), "{said}");
    assert_eq!(generation(), 2);
    let product = shop.product(1000, 100);
    assert_eq!(amounts(&buy(&shop, &product)).0, 400);
}
