//! Checks of the repository itself: paths in documents exist, source files begin with a description, dependencies follow the
//! architecture, vendored WIT is locked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

use localmart_declaration::{Declaration, Declarations};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
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

/// The modules of the host from the ground up. A module names only modules of lower floors, so the host has no circles and can
/// be read, and split, floor by floor.
const FLOORS: &[&[&str]] = &[
    &[
        "allowed_hosts",
        "clock",
        "guest_error",
        "limits",
        "manifest",
        "rename",
        "sections",
        "telemetry",
        "termination",
        "variables",
    ],
    &[
        "componentize",
        "connect",
        "engine",
        "fetch",
        "link",
        "log",
        "policy",
        "runtime_config",
        "tls",
        "trace",
    ],
    &["compose", "fault", "metrics", "record"],
    &["app", "recipe", "remote"],
    &["aot", "capability", "wiring"],
    &["serve"],
    &["control"],
];

#[test]
fn the_modules_of_the_host_stand_on_floors() {
    let host = root().join("host/src");
    let declared = std::fs::read_to_string(host.join("lib.rs")).unwrap();
    let mut modules: Vec<&str> = declared
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let mut floors: Vec<&str> = FLOORS.concat();
    modules.sort_unstable();
    floors.sort_unstable();
    assert_eq!(modules, floors, "every module of the host has a floor");
    let floor = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
    let mut wrong = Vec::new();
    for path in files(&host) {
        let place = path
            .strip_prefix(&host)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let module = place.split(['/', '.']).next().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        for (_, after) in text
            .match_indices("crate::")
            .map(|(at, name)| text.split_at(at + name.len()))
        {
            let named = after.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
            let named = named.into_iter().next().unwrap_or_default();
            assert!(
                !after.starts_with('{'),
                "{place}: one `use crate::…` for each module"
            );
            if named != module && floor(named).is_some_and(|at| Some(at) >= floor(&module)) {
                wrong.push(format!("{place}: {named}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these name a module of the same or a higher floor: {wrong:#?}"
    );
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

/// The functions and types of the interfaces in a WIT file, by interface and name, without comments and white space.
fn contract(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    let text: String = lines
        .filter(|line| !line.trim().starts_with('@'))
        .flat_map(|line| [line.trim(), " "])
        .collect();
    let mut found = BTreeMap::new();
    for interface in text.split("interface ").skip(1) {
        let (name, body) = interface.split_once('{').unwrap();
        let (mut depth, mut item) = (0, String::new());
        for character in body.chars() {
            item.push(character);
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth < 0 {
                break;
            }
            if depth == 0 && matches!(character, ';' | '}') {
                let head = item.split(['{', ':', ';', '=']).next().unwrap().trim();
                // A list of used types may grow.
                if !head.is_empty() && !head.starts_with("use ") {
                    let place = format!("{} / {head}", name.trim());
                    found.insert(place, item.split_whitespace().collect());
                }
                item.clear();
            }
        }
    }
    found
}

/// The version of the package in a WIT file.
fn package_version(text: &str) -> semver::Version {
    let package = text.lines().find(|line| line.starts_with("package "));
    let version = package.unwrap().split('@').nth(1).unwrap();
    version.trim_end_matches(';').parse().unwrap()
}

#[test]
fn a_contract_grows_and_never_changes() {
    let mut wrong = Vec::new();
    let released = files(&root().join("wit/released"));
    assert!(!released.is_empty());
    for path in released {
        let noun = path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = files(&root().join("wit").join(&noun));
        let current: String = folder
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        let before = std::fs::read_to_string(&path).unwrap();
        let (old, new) = (package_version(&before), package_version(&current));
        assert!(new >= old, "{noun}: {new} is older than {old}");
        if old.major != new.major {
            continue;
        }
        let (before, now) = (contract(&before), contract(&current));
        assert!(!before.is_empty(), "{noun} has no contract");
        for (place, item) in &before {
            if now.get(place) != Some(item) {
                wrong.push(format!("localmart:{noun}@{old}: {place}"));
            }
        }
        if now.len() > before.len() && new == old {
            wrong.push(format!(
                "localmart:{noun}@{old} has grown; it needs a later minor version"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "components that were built before would no longer link; add a function or a type instead: {wrong:#?}"
    );
}

#[test]
fn a_changed_contract_is_seen() {
    let text = "interface a {\n  /// A thing.\n  record b {\n    c: u32, // first\n  }\n  d: func(e: b) -> result<_, b>;\n}\nworld w { export a; }";
    let before = contract(text);
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    assert_eq!(names, ["a / d", "a / record b"]);
    for (from, to, place) in [
        ("c: u32", "c: u64", "a / record b"),
        ("c: u32,", "c: u32, f: u32,", "a / record b"),
        ("d: func(e: b)", "d: func(e: b, f: b)", "a / d"),
        ("d: func", "g: func", "a / d"),
    ] {
        let after = contract(&text.replace(from, to));
        assert_ne!(after.get(place), before.get(place), "{from}");
    }
    let commented = text.replace("A thing", "Something else");
    assert_eq!(contract(&commented), before);
}

/// `docs/events/` has the schema of each kind, made of its type. `BLESS=1` writes them.
#[test]
fn schemas_of_events_are_those_of_their_types() {
    let folder = root().join("docs/events");
    let schemas = localmart_events::schemas();
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for (kind, schema) in &schemas {
        let (file, text) = (
            folder.join(format!("{kind}.json")),
            format!("{:#}\n", schema),
        );
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        let committed = serde_json::from_str::<serde_json::Value>(&committed).ok();
        assert_eq!(
            committed.as_ref(),
            Some(schema),
            "{kind}: BLESS=1 writes the schema of its type"
        );
        let quoted = format!("`{kind}`");
        assert!(
            readme.contains(&quoted),
            "docs/events/README.md lacks {quoted}"
        );
    }
    let known = |path: &PathBuf| {
        let kind = path.file_stem().unwrap().to_string_lossy().into_owned();
        schemas.contains_key(kind.as_str()) || kind == "README"
    };
    let others: Vec<PathBuf> = files(&folder)
        .into_iter()
        .filter(|path| !known(path))
        .collect();
    assert!(others.is_empty(), "no type has these schemas: {others:?}");
}

#[test]
fn what_follows_from_the_declarations_is_up_to_date() {
    let manifest = std::process::Command::new(env!("CARGO_BIN_EXE_localmart"))
        .args(["manifest", "--check", "--from"])
        .arg(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&manifest.stderr);
    assert!(manifest.status.success(), "{said}");
}

#[test]
fn every_kind_of_event_is_told_by_one_service() {
    let all = Declarations::read(&root().join("components")).unwrap();
    let mut told: Vec<&str> = Vec::new();
    for one in all.0.values() {
        told.extend(one.tells.iter().map(String::as_str));
    }
    told.sort_unstable();
    let schemas = localmart_events::schemas();
    let kinds: Vec<&str> = schemas.keys().map(AsRef::as_ref).collect();
    assert_eq!(
        told, kinds,
        "declared in component.toml, and in crates/events"
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
        let declared = Declaration::read(&entry.path()).unwrap();
        let service = ["src/domain.rs", "src/service.rs", "src/http.rs"];
        let service = if declared.policy { &[][..] } else { &service };
        let parts = ["README.md", "Cargo.toml", "contract.rs", "src/lib.rs"];
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
    }
}
