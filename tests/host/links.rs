//! Checks of links when components are fused: missing links, unused links, and types that do not fit.

use crate::harness::{Shop, built, localmart, printed, root, scratch};

/// Fuses `cart` with these links, from the components of this repository. Returns whether it succeeded, and the output.
fn fuse(links: &str, replace: &[(&str, &str)]) -> (bool, String) {
    built();
    let folder = scratch("links");
    std::fs::create_dir_all(folder.join("dist")).unwrap();
    for noun in ["catalog", "inventory", "cart", "payment"] {
        let from = replace
            .iter()
            .find(|(name, _)| *name == noun)
            .map_or(noun, |(_, other)| *other);
        std::fs::copy(
            root().join(format!("dist/{from}.wasm")),
            folder.join(format!("dist/{noun}.wasm")),
        )
        .unwrap();
    }
    let component = |noun: &str, links: &str| {
        format!(
            "[component.{noun}]\nsource = \"dist/{noun}.wasm\"\n[component.{noun}.tool.localmart]\nlinks = [{links}]\n"
        )
    };
    let manifest = [
        "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.localmart]\n[trigger]\n".to_owned(),
        component("catalog", ""),
        component("payment", ""),
        component("inventory", "\"catalog\""),
        component("cart", links),
    ];
    std::fs::write(folder.join("spin.toml"), manifest.concat()).unwrap();
    let output = localmart()
        .arg("build")
        .current_dir(&folder)
        .output()
        .unwrap();
    let flat = printed(&output).replace(['│', '\n'], " ");
    (
        output.status.success(),
        flat.split_whitespace().collect::<Vec<_>>().join(" "),
    )
}

#[test]
fn a_diamond_is_fused_with_each_component_once() {
    let (fused, said) = fuse("\"catalog\", \"inventory\"", &[]);
    assert!(fused, "{said}");
}

#[test]
fn a_missing_link_names_the_import() {
    let (fused, said) = fuse("\"catalog\"", &[]);
    assert!(!fused && said.contains("`cart` imports `localmart:inventory/inventory@1.0.0`, which none of its links exports"), "{said}");
    assert!(said.contains("spin.toml:"), "{said}");
}

#[test]
fn a_link_that_answers_nothing_is_refused() {
    let (fused, said) = fuse("\"catalog\", \"inventory\", \"payment\"", &[]);
    assert!(
        !fused && said.contains("`cart` links `payment` but imports nothing that it exports"),
        "{said}"
    );
}

#[test]
fn another_component_under_the_same_name_does_not_fit() {
    let (fused, said) = fuse("\"catalog\", \"inventory\"", &[("inventory", "payment")]);
    assert!(!fused && said.contains("inventory"), "{said}");
}

#[test]
fn an_instance_with_fused_links_is_replaced_after_some_hundred_calls() {
    built();
    let shop = Shop::start_in(&scratch("state"), &["--binding", "fused", "--threads", "1"]);
    let cart = shop.send("POST", "/api/carts", &[], &[]).expect(201).json();
    let path = format!("/api/carts/{}", cart["id"].as_str().unwrap());
    // wasmtime's records of calls between fused components are freed with the instance.
    for _ in 0..600 {
        shop.get(&path).expect(200);
    }
    let metrics = shop.metrics();
    let line = "localmart_cold_start_seconds_count{component=\"cart\",generation=\"1\"} ";
    let made = metrics.lines().find_map(|text| text.strip_prefix(line));
    let made = made.unwrap_or_else(|| panic!("{line} is missing in:\n{metrics}"));
    assert_eq!(made, "2");
}
