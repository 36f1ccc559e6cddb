//! Policies in other languages: they can be built as their README says, pass the contracts of the default policies, and
//! can replace them in a running shop.

use super::contracts::test;
use super::swaps::{swap, told};
use crate::harness::{Shop, built, checkout, fresh_key, root, scratch};
use localmart_testkit::servers::skip_without;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether a program is installed and supports the arguments. Otherwise the test prints that it is skipped.
fn is_there(name: &str, program: &str, asked: &[&str]) -> bool {
    let there = Command::new(program).args(asked).output();
    there.is_ok_and(|output| output.status.success()) || skip_without::<()>(name).is_some()
}

fn run(folder: &Path, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) {
    let output = Command::new(program.as_ref())
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = crate::harness::printed(&output);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

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
    let recent = "process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)";
    if !is_there("Node 20", "node", &["-e", recent]) || !is_there("npm", "npm", &["--version"]) {
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
    if !is_there(
        "Python with venv",
        "python3",
        &["-c", "import ensurepip, venv"],
    ) {
        return;
    }
    let (folder, file) = example("shipping-rate-py");
    let environment = scratch("python");
    run(
        &folder,
        "python3",
        &["-m", "venv", environment.to_str().unwrap()],
    );
    let program = |name: &str| environment.join("bin").join(name);
    run(
        &folder,
        program("pip"),
        &["install", "--quiet", "componentize-py==0.25.1"],
    );
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
    run(&folder, program("componentize-py"), &words);
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
