//! Checks of the repository itself: paths in documents exist, source files begin with a description, dependencies follow the
//! architecture, vendored WIT is locked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// All files below a folder, except build output.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !matches!(
                name.as_ref(),
                "target" | "dist" | ".git" | ".localmart" | "node_modules"
            ) {
                found.extend(files(&path));
            }
        } else {
            found.push(path);
        }
    }
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn documents_name_only_paths_that_exist() {
    let folders = [
        "wit/",
        "crates/",
        "components/",
        "host/",
        "cli/",
        "tests/",
        "benches/",
        "infra/",
        "docs/",
        ".ci/",
        ".github/",
    ];
    let mut wrong = Vec::new();
    for document in files(&root())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        let text = std::fs::read_to_string(&document).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split(['#', ' ']).next().unwrap_or_default();
            let pattern = path.contains(['<', '*', '{', 'N']);
            if folders.iter().any(|folder| path.starts_with(folder))
                && !pattern
                && !root().join(path).exists()
            {
                wrong.push(format!("{}: {path}", relative(&document)));
            }
        }
    }
    assert!(wrong.is_empty(), "these paths do not exist: {wrong:#?}");
}

#[test]
fn every_source_file_begins_with_a_description() {
    let sources = files(&root())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let headless: Vec<String> = sources
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| relative(&path))
        .collect();
    assert!(
        headless.is_empty(),
        "these files do not begin with //!: {headless:#?}"
    );
}

#[test]
fn dependencies_follow_the_architecture() {
    let mut wrong = Vec::new();
    for path in files(&root())
        .into_iter()
        .filter(|path| path.ends_with("Cargo.toml"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let folder = relative(&path);
        let allowed = ["host/", "Cargo.toml"]
            .iter()
            .any(|allowed| folder.starts_with(allowed))
            || folder.starts_with("benches/");
        if text.lines().any(|line| line.starts_with("wasmtime")) && !allowed {
            wrong.push(format!(
                "{folder} depends on wasmtime; only host/ and benches/ may"
            ));
        }
        if folder.starts_with("components/") && text.contains("path = \"../") {
            wrong.push(format!(
                "{folder} depends on another component; use a link instead"
            ));
        }
    }
    for path in files(&root().join("host/src")) {
        let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
        for noun in [
            "catalog",
            "inventory",
            "cart",
            "checkout",
            "shopper's",
            "localmart:order",
        ] {
            if text.contains(noun) {
                wrong.push(format!(
                    "{} contains `{noun}`; the host must not contain nouns of the shop",
                    relative(&path)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `wit/deps.lock` has a SHA-256 per vendored file. `BLESS=1` updates it.
#[test]
fn vendored_wit_is_locked() {
    let mut lock = String::new();
    let mut vendored = files(&root().join("wit/deps"));
    vendored.sort();
    for path in vendored {
        let digest: String = Sha256::digest(std::fs::read(&path).unwrap())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        lock.push_str(&format!("{digest}  {}\n", relative(&path)));
    }
    let locked = root().join("wit/deps.lock");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&locked, &lock).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(locked).unwrap(),
        lock,
        "vendored WIT differs from wit/deps.lock"
    );
}

#[test]
fn every_component_has_its_files() {
    for entry in std::fs::read_dir(root().join("components"))
        .unwrap()
        .map(Result::unwrap)
    {
        let noun = entry.file_name().to_string_lossy().into_owned();
        // The examples are in other languages and have other files.
        if noun == "examples" {
            continue;
        }
        let manifest = std::fs::read_to_string(root().join("spin.toml")).unwrap();
        let table = format!("[component.{noun}.tool.localmart]\n");
        let is_policy = manifest.contains(&(table + "policy = "));
        let service = ["src/domain.rs", "src/service.rs", "src/http.rs"];
        let service = if is_policy { &[][..] } else { &service };
        let parts = ["README.md", "Cargo.toml", "src/lib.rs"];
        for part in parts.iter().chain(service) {
            assert!(
                entry.path().join(part).is_file(),
                "components/{noun}/{part} is missing"
            );
        }
        assert!(
            root().join(format!("wit/{noun}/{noun}.wit")).is_file(),
            "wit/{noun}/{noun}.wit is missing"
        );
        assert!(
            manifest.contains(&format!("[component.{noun}]")),
            "spin.toml has no component {noun}"
        );
    }
}
