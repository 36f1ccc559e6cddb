//! `localmart bench`: the report contains every measurement in every format, and says what could not be measured.

use super::guests::guests_built;
use super::swaps::replaced;
use crate::harness::{Shop, built, localmart, printed, root, scratch, unframed};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The smallest component, with another text of the same length.
pub(crate) fn hello(text: &str) -> PathBuf {
    guests_built();
    let wasm = std::fs::read(root().join("target/wasm32-wasip2/component/hello.wasm")).unwrap();
    let path = scratch("hello").join(format!("{}.wasm", text.replace(' ', "-")));
    std::fs::write(&path, replaced(&wasm, b"Hello, world!", text.as_bytes())).unwrap();
    path
}

/// An application with a single component.
fn small(file: &Path) -> PathBuf {
    let manifest = scratch("small").join("spin.toml");
    let text = format!(
        "spin_manifest_version = 2\n[application]\nname = \"small\"\n[[trigger.http]]\nroute = \"/hi/...\"\ncomponent = \"hello\"\n\
         [[trigger.http]]\nroute = \"/of/:name\"\ncomponent = \"hello\"\n[component.hello]\nsource = \"{}\"\n",
        file.display()
    );
    std::fs::write(&manifest, text).unwrap();
    manifest
}

/// Runs the bench. Returns whether it succeeded, its standard output, and its whole output.
fn bench(manifest: &Path, words: &[&str]) -> (bool, String, String) {
    let mut verb = localmart();
    verb.args(["bench", "--rounds", "2", "--connections", "4"]);
    if !words.contains(&"--duration") {
        verb.args(["--duration", "100ms"]);
    }
    let output = verb.arg("-f").arg(manifest).args(words).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    (output.status.success(), said, unframed(&printed(&output)))
}

/// The figures of a group, by name.
fn group<'r>(report: &'r Value, name: &str) -> Vec<(&'r str, &'r Vec<Value>)> {
    let groups = report["groups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["name"] == name);
    let group = group.unwrap_or_else(|| panic!("there is no {name} in {report:#}"));
    let figures = group["figures"].as_array().unwrap().iter();
    figures
        .map(|figure| {
            (
                figure["name"].as_str().unwrap(),
                figure["of"].as_array().unwrap(),
            )
        })
        .collect()
}

/// Checks that every figure has as many rounds as requested, and a mean between its bounds.
fn is_sound(report: &Value) {
    for group in report["groups"].as_array().unwrap() {
        for figure in group["figures"].as_array().unwrap() {
            for one in figure["of"].as_array().unwrap() {
                let number = |name: &str| one[name].as_f64().unwrap();
                assert!(number("mean") > 0.0, "{figure:#}");
                assert!(number("low") <= number("mean") && number("mean") <= number("high"));
                let turns = if group["name"] == "Memory" { 1 } else { 2 };
                assert_eq!(one["turns"].as_array().unwrap().len(), turns, "{figure:#}");
            }
        }
    }
}

#[test]
fn the_shop_is_measured_in_starts_calls_and_requests() {
    built();
    let out = scratch("bench");
    let words = [
        "--format",
        "json",
        "--out",
        out.to_str().unwrap(),
        "tax",
        "cart",
    ];
    let (ended, said, all) = bench(&root().join("spin.toml"), &words);
    assert!(ended, "{all}");
    let report: Value = serde_json::from_str(&said).unwrap();
    is_sound(&report);
    for (start, load) in [
        ("its machine code kept", "load"),
        ("nothing compiled", "compile"),
    ] {
        let figures = group(&report, &format!("Cold start of a component, {start}"));
        let stages = |of: &Vec<Value>| {
            let stages = of[0]["stages"].as_array().unwrap().iter();
            let names = stages.map(|stage| stage[0].as_str().unwrap().to_owned());
            names.collect::<Vec<String>>()
        };
        assert_eq!(figures[0].0, "tax");
        assert_eq!(stages(figures[0].1), ["read", load, "link", "instantiate"]);
        assert_eq!(figures[1].0, "cart");
        assert_eq!(
            stages(figures[1].1),
            ["read", load, "link", "instantiate", "first byte"]
        );
    }
    for (_, of) in group(&report, "One call over a link") {
        let bindings: Vec<&str> = of
            .iter()
            .map(|one| one["program"].as_str().unwrap())
            .collect();
        assert_eq!(bindings, ["fused", "isolated", "remote"]);
    }
    let requests = group(&report, "Requests");
    for name in [
        "GET /api/products",
        "GET /api/products/{id}",
        "a cart with an item",
        "cart, item and checkout",
    ] {
        let figure = requests.iter().find(|(known, _)| *known == name);
        let (_, of) = figure.unwrap_or_else(|| panic!("{name}: {report:#}"));
        assert!(of[0]["p50_ms"]["mean"].as_f64() <= of[0]["p99_ms"]["mean"].as_f64());
    }
    assert!(
        report["left_out"].to_string().contains("/api/orders (401)"),
        "{report:#}"
    );
    let page = std::fs::read_to_string(out.join("bench.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("cart, item and checkout"));
    let table = std::fs::read_to_string(out.join("bench.md")).unwrap();
    assert!(
        table.contains("| component | read | load | link | instantiate | first byte | all |"),
        "{table}"
    );
}

#[test]
fn two_files_and_another_server_are_measured_in_turns() {
    let (first, second) = (hello("Hello, world!"), hello("Hello, again!"));
    let manifest = small(&first);
    let other = Shop::start_app(&manifest, &scratch("state"), &[]);
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    let words = [
        "--compare",
        first,
        second,
        "--against",
        &other.base,
        "--format",
        "json",
    ];
    let (ended, said, all) = bench(&manifest, &words);
    assert!(ended, "{all}");
    let report: Value = serde_json::from_str(&said).unwrap();
    is_sound(&report);
    let of = |of: &Vec<Value>| {
        let names = of
            .iter()
            .map(|one| one["program"].as_str().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    let (one, two) = ("Hello,-world!.wasm", "Hello,-again!.wasm");
    assert_eq!(of(group(&report, "Requests")[0].1), [one, two, &other.base]);
    let start = group(&report, "Cold start of a component, nothing compiled");
    assert_eq!(
        (start[0].0, of(start[0].1)),
        ("hello", vec![one.to_owned(), two.to_owned()])
    );
    let ratios = &report["groups"].as_array().unwrap().last().unwrap()["figures"][0]["ratios"];
    assert_eq!(ratios[0]["to"], one, "{report:#}");
    // What cannot be measured is reported, not left out silently.
    let left_out = report["left_out"].to_string();
    assert!(
        left_out.contains("/of/:name") && left_out.contains("calls by binding"),
        "{left_out}"
    );
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_reason() {
    let (file, policy) = (hello("Hello, world!"), root().join("dist/tax.wasm"));
    let manifest = small(&file);
    let (file, policy) = (file.to_str().unwrap(), policy.to_str().unwrap());
    for (words, reason) in [
        (
            vec!["other"],
            "there is no component `other`; name one of: hello",
        ),
        (vec!["--duration", "0s"], "a turn must last some time"),
        (
            vec!["--compare", "none.wasm", file],
            "there is no file none.wasm",
        ),
        (
            vec!["--compare", file, file, "--as", "other"],
            "there is no component `other`",
        ),
        (
            vec!["--request", "get /hi"],
            "`get /hi` is not a request like",
        ),
        (
            vec!["--request", "GET /none"],
            "GET /none at localmart: it answers 404",
        ),
        (
            vec!["--against", "https://127.0.0.1:1"],
            "it must be an address like http://",
        ),
    ] {
        let only = ["--only", "requests"];
        let (ended, _, said) = bench(&manifest, &[&only[..], &words].concat());
        assert!(!ended && said.contains(reason), "{words:?}: {said}");
    }
    let shop = root().join("spin.toml");
    let (ended, _, said) = bench(
        &shop,
        &["--variable", "database_url=postgres://127.0.0.1:1/shop"],
    );
    assert!(
        !ended && said.contains("a bench writes into its stores"),
        "{said}"
    );
    let (ended, _, said) = bench(&shop, &["--compare", policy, policy, "--as", "discount"]);
    assert!(
        !ended && said.contains("the files cannot both be `discount`"),
        "{said}"
    );
}
