//! A damaged database is named by every verb that needs it, with what is wrong and what to do.

use crate::harness::{Shop, Stores, built, localmart, printed, root, scratch};
use std::path::Path;

/// Runs a verb about the shop of a state folder.
fn said(words: &[&str], state: &Path) -> (bool, String) {
    let mut verb = localmart();
    verb.args(words).arg("-f").arg(root().join("spin.toml"));
    let output = verb.arg("--state-dir").arg(state).output().unwrap();
    (output.status.success(), printed(&output))
}

#[track_caller]
fn names(words: &[&str], state: &Path, file: &str, reason: &str) {
    let (success, said) = said(words, state);
    let path = state.join(file).display().to_string();
    assert!(!success, "{words:?}: {said}");
    assert!(
        said.contains(&format!("{path} is damaged")),
        "{words:?}: {said}"
    );
    assert!(
        said.contains(reason) && said.contains("help"),
        "{words:?}: {said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn each_damage_of_a_database_is_named_before_anything_is_written() {
    built();
    let state = scratch("damage");
    assert!(said(&["migrate"], &state).0);
    let up = [
        "up",
        "--no-build",
        "--no-seed",
        "--listen",
        "127.0.0.1:0",
        "--observe-listen",
        "127.0.0.1:0",
    ];
    for (file, verbs) in [
        ("order.db", &[&up[..], &["migrate"], &["verify"]][..]),
        (
            "bus.db",
            &[
                &up[..],
                &["migrate"],
                &["verify"],
                &["events", "list"],
                &["events", "lag"],
            ],
        ),
    ] {
        let path = state.join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut scribbled = whole.clone();
        scribbled[4096..].fill(0x5a);
        for (bytes, reason) in [
            (&b"garbage, and more garbage"[..], "not an SQLite file"),
            (&whole[..whole.len() / 2], "cut off"),
            (b"", "it is empty"),
            (&scribbled, "damaged"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            for words in verbs {
                names(words, &state, file, reason);
            }
            assert_eq!(
                std::fs::read(&path).unwrap(),
                bytes,
                "it is as it was found"
            );
        }
        std::fs::write(&path, whole).unwrap();
        assert!(said(&["verify"], &state).0);
    }
    std::fs::write(state.join("key-value.db"), "garbage").unwrap();
    names(&up, &state, "key-value.db", "not an SQLite file");
}

#[test]
fn a_database_that_is_damaged_while_the_shop_runs_is_named_too() {
    built();
    let state = scratch("running");
    let shop = Shop::start_on(Stores::EMBEDDED, &state, &[]);
    std::fs::write(state.join("cart.db"), "garbage").unwrap();
    names(&["seed"], &state, "cart.db", "not an SQLite file");
    names(&["verify"], &state, "cart.db", "not an SQLite file");
    drop(shop);
}

#[test]
fn an_application_of_somebody_else_has_its_database_checked() {
    let folder = scratch("somebody");
    let manifest = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n\
                    [component.a]\nsource = \"a.wasm\"\nsqlite_databases = [\"default\"]\n";
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    std::fs::create_dir(folder.join(".localmart")).unwrap();
    std::fs::write(folder.join(".localmart/sqlite_db.db"), "garbage").unwrap();
    let mut up = localmart();
    let output = up
        .args(["up", "--listen", "127.0.0.1:0"])
        .current_dir(&folder)
        .output();
    let said = printed(&output.unwrap());
    assert!(said.contains("sqlite_db.db is damaged"), "{said}");
}
