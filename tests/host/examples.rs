//! Policies in other languages: they can be built as their README says, pass the contracts of the default policies, and
//! can replace them in a running shop.

use super::contracts::test;
use super::languages::{has_node, python_with, run};
use super::swaps::{swap, told};
use crate::harness::{Shop, built, checkout, fresh_key, root};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn example(name: &str) -> (PathBuf, PathBuf) {
    built();
    (
        root().join("components/examples").join(name),
        root().join("dist/examples").join(format!("{name}.wasm")),
    )
}

/// An order of two pieces at 10.00 each, placed in a shop with this file as one of its policies.
fn bought_with(component: &str, file: &Path) -> Value {
    let shop = Shop::start();
    let product = shop.product(1000, 10);
    let words = swap(component, file);
    told(&shop, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let cart = shop.cart_with(&product, 2);
    shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201)
        .json()
}

#[test]
fn a_tax_policy_in_javascript_takes_the_place_of_ours() {
    if !has_node() {
        return;
    }
    let (folder, file) = example("tax-js");
    run(
        &folder,
        "npm",
        &["install", "--no-audit", "--no-fund", "--no-package-lock"],
    );
    run(&folder, "npm", &["run", "build"]);
    let (kept, said) = test(&file, "tax");
    assert!(kept, "{said}");
    let order = bought_with("tax", &file);
    assert_eq!(
        (&order["tax_total"]["amount"], &order["total"]["amount"]),
        (&400.into(), &2400.into()),
        "{order}"
    );
}

#[test]
fn a_shipping_policy_in_python_takes_the_place_of_ours() {
    let Some(python) = python_with(&["componentize-py==0.25.1"]) else {
        return;
    };
    let (folder, file) = example("shipping-rate-py");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let out = file.to_str().unwrap();
    let words = [
        "-d",
        "../../../wit/shipping-rate",
        "-w",
        "component",
        "componentize",
        "policy",
        "-o",
        out,
    ];
    run(&folder, python.join("bin/componentize-py"), &words);
    let (kept, said) = test(&file, "shipping-rate");
    assert!(kept, "{said}");
    let order = bought_with("shipping-rate", &file);
    assert_eq!(
        (
            &order["shipping_total"]["amount"],
            &order["total"]["amount"]
        ),
        (&400.into(), &2400.into()),
        "{order}"
    );
    assert_eq!(order["flags"].to_string(), "[]");
}
