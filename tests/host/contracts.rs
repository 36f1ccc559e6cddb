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
    let output = localmart()
        .args(["test", "-f"])
        .arg(root().join("spin.toml"))
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(output.status.success(), "{said}");
    let folders = std::fs::read_dir(root().join("components")).unwrap();
    let folders = folders
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").is_file());
    for folder in folders {
        let line = format!("ok     {}: ", folder.file_name().to_string_lossy());
        assert!(said.contains(&line), "{line} is missing in {said}");
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
