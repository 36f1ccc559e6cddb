//! The contract suites: all components of this repository pass them, and a component that breaks a contract is
//! reported.

use super::guests::guests_built;
use super::policies::taxing;
use crate::harness::{built, localmart, printed, root};
use std::path::Path;

pub(crate) fn test(file: &Path, component: &str) -> (bool, String) {
    let output = localmart()
        .arg("test")
        .arg(file)
        .args(["--as", component, "-f"])
        .arg(root().join("spin.toml"))
        .output()
        .unwrap();
    (output.status.success(), printed(&output))
}

#[test]
fn our_components_keep_their_contracts() {
    built();
    let mut all: Vec<String> = std::fs::read_dir(root().join("components"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    for component in all {
        let file = root().join(format!("dist/{component}.wasm"));
        let (kept, said) = test(&file, &component);
        assert!(kept && said.contains("ok     "), "{component}: {said}");
    }
}

#[test]
fn one_that_does_not_keep_its_contract_is_told_which_case_failed() {
    guests_built();
    assert!(test(&taxing("none"), "tax").0);
    let (kept, said) = test(&taxing("wrong"), "tax");
    let line = "FAILED there is an amount for each line, in their order";
    assert!(
        !kept && said.contains(line) && said.contains("1 of 3 cases failed"),
        "{said}"
    );
    let (kept, said) = test(&root().join("dist/tax.wasm"), "nobody");
    assert!(
        !kept && said.contains("there is no contract suite for `nobody`"),
        "{said}"
    );
    let (kept, said) = test(&root().join("dist/tax.wasm"), "catalog");
    assert!(!kept, "{said}");
}
