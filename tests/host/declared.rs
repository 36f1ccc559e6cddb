//! A service is declared once: one can be removed or added, and the program that is there runs the shop.

use crate::harness::{Shop, User, built, checkout, fresh_key, localmart, printed, root, scratch};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a copy of the repository needs to build its components. The rest is for the program.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "spin.toml",
    "runtime-config.toml",
    "benches",
    "cli",
    "components",
    "crates",
    "docs",
    "host",
    "tests",
    "wit",
];

/// A copy of the sources, whose components are compiled into the same target folder. Files keep their times, so that cargo and
/// `localmart build` compile only what differs.
fn copy(name: &str) -> PathBuf {
    built();
    let folder = scratch(name);
    for source in SOURCES.iter().chain(&["dist"]) {
        let copied = Command::new("cp")
            .arg("-a")
            .arg(root().join(source))
            .arg(&folder)
            .status();
        assert!(copied.unwrap().success(), "{source}");
    }
    folder
}

#[track_caller]
fn run(folder: &Path, words: &[&str]) -> String {
    let output = localmart()
        .args(words)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

/// The lock file differs only in the crate that came or went, so nothing else must be compiled because of it.
fn settle(folder: &Path) {
    let before = root().join("Cargo.lock").metadata().unwrap();
    let lock = std::fs::File::options()
        .append(true)
        .open(folder.join("Cargo.lock"));
    lock.unwrap()
        .set_modified(before.modified().unwrap())
        .unwrap();
}

/// The target folder of the repository.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn buy(shop: &Shop) {
    let product = shop.product(1_000, 5);
    let cart = shop.cart_with(&product, 2);
    shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201);
}

#[test]
fn services_come_and_go_and_the_program_that_is_there_runs_the_shop() {
    let folder = copy("declared");
    let said = run(&folder, &["new", "service", "lantern"]);
    assert!(said.contains("components/lantern/src/domain.rs"), "{said}");
    assert!(said.contains("wrote spin.toml"), "{said}");
    let again = localmart()
        .args(["new", "service", "lantern"])
        .current_dir(&folder)
        .output();
    let again = printed(&again.unwrap());
    assert!(
        again.contains("is there already; nothing was written"),
        "{again}"
    );
    run(&folder, &["manifest", "--check"]);
    formatted(&folder.join("components/lantern"));
    run(&folder, &["build", "lantern"]);
    settle(&folder);
    let shown = run(&folder, &["explain", "lantern"]);
    assert!(shown.contains("routes: /api/lanterns/..."), "{shown}");

    for path in ["components/recommendation", "wit/recommendation"] {
        std::fs::remove_dir_all(folder.join(path)).unwrap();
    }
    run(&folder, &["manifest"]);
    let manifest = std::fs::read_to_string(folder.join("spin.toml")).unwrap();
    assert!(!manifest.contains("recommendation"), "{manifest}");
    run(&folder, &["build", "--force", "lantern"]);
    settle(&folder);

    let state = folder.join(".localmart");
    let shop = Shop::start_app(&folder.join("spin.toml"), &state, &[]);
    buy(&shop);
    shop.get("/api/recommendations").expect(404);
    let (author, stranger) = (User::register(&shop), User::register(&shop));
    let text = json!({ "text": "Good mug." });
    let made = author
        .send(&shop, "POST", "/api/lanterns", &text)
        .expect(201);
    let path = format!("/api/lanterns/{}", made.json()["id"].as_str().unwrap());
    let read = author.send(&shop, "GET", &path, &Value::Null).expect(200);
    assert_eq!(read.json()["text"], "Good mug.");
    let other = stranger.send(&shop, "GET", &path, &Value::Null);
    other.expect_code(404, "not_found");
    let verified = run(&folder, &["verify", "--shop", state.to_str().unwrap()]);
    assert!(verified.contains("clean: I1 to I7 hold"), "{verified}");
}

/// The sources of a component have the format of this repository.
#[track_caller]
fn formatted(component: &Path) {
    let checked = Command::new("rustfmt")
        .args(["--check", "--edition", "2024"])
        .arg(component.join("src/lib.rs"))
        .arg(component.join("contract.rs"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", printed(&checked));
}
