//! Files that are named by mistake: an error names the file and shows nothing of it, as it may be a key.

use crate::harness::{localmart, printed, scratch};
use std::path::Path;

/// What must never be shown.
const SECRET: &str = "hunter2";

fn said(words: &[&str], folder: &Path) -> String {
    let output = localmart()
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(!output.status.success(), "{words:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!said.contains(SECRET), "{words:?} shows the file: {said}");
    said
}

#[test]
fn a_file_that_is_no_manifest_is_never_shown() {
    let folder = scratch("mistaken");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n");
    write("key.pem", pem.as_bytes());
    write(
        ".env",
        format!("PASSWORD={SECRET}\nTOKEN = {SECRET}\n").as_bytes(),
    );
    write(
        "other.toml",
        format!("[database]\npassword = \"{SECRET}\"\n").as_bytes(),
    );
    write("broken.toml", format!("password = \"{SECRET}\n").as_bytes());
    write(
        "key.der",
        &[&[0xff, 0xfe, 0][..], SECRET.as_bytes()].concat(),
    );
    write("empty", b"");
    std::fs::create_dir(folder.join("inside")).unwrap();
    for name in [
        "key.pem",
        ".env",
        "other.toml",
        "broken.toml",
        "key.der",
        "empty",
    ] {
        for verb in ["up", "build", "routes", "doctor", "migrate", "graph"] {
            let said = said(&[verb, "-f", name], &folder);
            assert!(
                said.contains(&format!("{name} is not a Spin manifest")),
                "{said}"
            );
            assert!(said.contains("help"), "{said}");
        }
    }
    for verb in ["up", "routes"] {
        let said = said(&[verb, "-f", "inside"], &folder);
        assert!(said.contains("inside/spin.toml"), "{said}");
        let said = self::said(&[verb, "-f", "nowhere.toml"], &folder);
        assert!(said.contains("nowhere.toml"), "{said}");
    }
    // In the place of the manifest, and where the folder is named.
    write("spin.toml", pem.as_bytes());
    assert!(said(&["routes"], &folder).contains("is not a Spin manifest"));
    assert!(said(&["routes", "-f", "."], &folder).contains("is not a Spin manifest"));
}

#[test]
fn a_manifest_with_a_wrong_line_shows_it() {
    let folder = scratch("wrong-line");
    let text = "spin_manifest_version = 2\n[application\nname = \"t\"\n";
    std::fs::write(folder.join("spin.toml"), text).unwrap();
    let said = said(&["routes"], &folder);
    assert!(
        said.contains("spin.toml:2") && said.contains("[application"),
        "{said}"
    );
}

#[test]
fn other_files_are_not_shown_either() {
    let folder = scratch("not-shown");
    let manifest =
        "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.localmart]\n";
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    let pem = format!("-----BEGIN {SECRET} KEY-----\n{SECRET}\n");
    std::fs::write(folder.join("key.pem"), &pem).unwrap();
    let said = |words: &[&str]| said(words, &folder);
    let wrong = said(&["routes", "--runtime-config-file", "key.pem"]);
    assert!(wrong.contains("key.pem: line 1 is not TOML"), "{wrong}");
    std::fs::create_dir(folder.join(".localmart")).unwrap();
    for text in [
        pem,
        format!("sweep_token = \"a\"\nadmin_password = {SECRET}\n"),
    ] {
        std::fs::write(folder.join(".localmart/secrets.toml"), text).unwrap();
        let wrong = said(&["token", "-f", "spin.toml"]);
        assert!(
            wrong.contains("secrets.toml:") && wrong.contains("help"),
            "{wrong}"
        );
    }
}
