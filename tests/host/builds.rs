//! `localmart build`: builds only what it is asked for, and keeps builds with named points apart from ordinary ones.

use crate::harness::{localmart, printed, scratch};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A workspace of two components without dependencies, which say whether they have named points.
fn workspace() -> PathBuf {
    let folder = scratch("builds");
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(long_ago).unwrap();
    };
    write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"components/*\"]\n[profile.component]\ninherits = \"dev\"\nstrip = true\n",
    );
    write(
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"alpha\"\nversion = \"0.0.0\"\n\n[[package]]\nname = \"beta\"\nversion = \"0.0.0\"\n",
    );
    let mut manifest =
        "spin_manifest_version = 2\n[application]\nname = \"two\"\n[trigger]\n".to_owned();
    for id in ["alpha", "beta"] {
        write(
            &format!("components/{id}/Cargo.toml"),
            &format!("[package]\nname = \"{id}\"\nedition = \"2024\"\n[features]\npoints = []\n"),
        );
        write(
            &format!("components/{id}/src/main.rs"),
            "fn main() {\n    println!(\"{}\", if cfg!(feature = \"points\") { \"WITH POINTS\" } else { \"ORDINARY\" });\n}\n",
        );
        manifest.push_str(&format!("[component.{id}]\nsource = \"dist/{id}.wasm\"\n"));
    }
    write("spin.toml", &manifest);
    folder
}

#[track_caller]
fn build(folder: &Path, words: &[&str]) -> String {
    let output = localmart()
        .arg("build")
        .args(words)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(output.status.success(), "{said}");
    said
}

fn modified(path: &Path) -> SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

fn contains(path: &Path, text: &str) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes
        .windows(text.len())
        .any(|some| some == text.as_bytes())
}

#[test]
fn only_named_components_are_built_and_points_share_the_target_folder() {
    let folder = workspace();
    let file = |path: &str| folder.join(path);
    let said = build(&folder, &["alpha"]);
    assert!(
        said.contains("building alpha (1 of 2 components)") && said.contains("built alpha in"),
        "{said}"
    );
    assert!(file("dist/alpha.wasm").is_file() && !file("dist/beta.wasm").exists());
    let said = build(&folder, &[]);
    assert!(said.contains("building beta (1 of 2 components)"), "{said}");
    assert!(build(&folder, &[]).contains("all 2 components are up to date"));

    // A change in both is built only where it is asked for.
    let before = modified(&file("dist/alpha.wasm"));
    for id in ["alpha", "beta"] {
        let source = std::fs::File::options()
            .append(true)
            .open(file(&format!("components/{id}/src/main.rs")))
            .unwrap();
        source.set_modified(SystemTime::now()).unwrap();
    }
    let said = build(&folder, &["beta"]);
    assert!(!said.contains("alpha"), "{said}");
    assert_eq!(modified(&file("dist/alpha.wasm")), before);

    // With and without points cargo writes files of the same names.
    build(&folder, &["--points"]);
    build(&folder, &["--force"]);
    for id in ["alpha", "beta"] {
        assert!(contains(&file(&format!("dist/{id}.wasm")), "ORDINARY"));
        let points = file(&format!("dist/points/{id}.wasm"));
        assert!(contains(&points, "WITH POINTS"));
    }
    assert!(!file("target/points").exists());
    let output = localmart()
        .args(["build", "gamma"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(
        !output.status.success()
            && said.contains("there is no component `gamma`; name one of: alpha, beta"),
        "{said}"
    );
}
