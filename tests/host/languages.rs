//! Applications that were built in other languages, with the SDKs that their authors use.

use crate::harness::{Shop, built, localmart, printed, root, scratch};
use localmart_testkit::servers::skip_without;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether a program is installed and supports the arguments. Otherwise the test prints that it is skipped.
pub(crate) fn is_there(name: &str, program: &str, asked: &[&str]) -> bool {
    let there = Command::new(program).args(asked).output();
    there.is_ok_and(|output| output.status.success()) || skip_without::<()>(name).is_some()
}

/// Whether Node is recent enough, and npm is there.
pub(crate) fn has_node() -> bool {
    let recent = "process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)";
    is_there("Node 20", "node", &["-e", recent]) && is_there("npm", "npm", &["--version"])
}

/// A Python environment with packages; `None` without Python.
pub(crate) fn python_with(packages: &[&str]) -> Option<PathBuf> {
    let venv = ["-c", "import ensurepip, venv"];
    if !is_there("Python with venv", "python3", &venv) {
        return None;
    }
    let folder = scratch("python");
    run(&folder, "python3", &["-m", "venv", "."]);
    let install = [&["install", "--quiet"], packages].concat();
    run(&folder, folder.join("bin/pip"), &install);
    Some(folder)
}

pub(crate) fn run(folder: &Path, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) {
    let output = Command::new(program.as_ref())
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// Builds an application with its own commands and serves it.
fn served(name: &str, environment: &[(&str, &str)]) -> Shop {
    built();
    let manifest = root().join("tests/guests").join(name).join("spin.toml");
    let mut build = localmart();
    build.arg("build").arg("-f").arg(&manifest);
    let output = build.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    Shop::start_app(&manifest, &scratch(name), &[])
}

#[test]
fn an_application_in_javascript_is_served() {
    if !has_node() {
        return;
    }
    let shop = served("hello-js", &[]);
    for _ in 0..2 {
        let answer = shop.send("POST", "/a/b", &[], b"hello").expect(200);
        assert_eq!(answer.text, "Hello from JavaScript: POST /a/b hello");
    }
}

#[test]
fn an_application_in_python_is_served() {
    let Some(python) = python_with(&["componentize-py==0.25.1", "spin-sdk==5.0.0"]) else {
        return;
    };
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", python.join("bin").display());
    let environment = [
        ("PATH", path.as_str()),
        ("VIRTUAL_ENV", python.to_str().unwrap()),
    ];
    let shop = served("hello-py", &environment);
    for count in 1..3 {
        let answer = shop.send("POST", "/a/b", &[], b"hello").expect(200);
        let expected = format!("Hello from Python: POST /a/b hello {count}");
        assert_eq!(answer.text, expected);
    }
}
