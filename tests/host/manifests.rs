//! Every invalid manifest produces one readable error with file, line and help, and an exit code other than 0.

use crate::harness::{built, localmart, printed, root, scratch, unframed};
use std::path::Path;

const HEAD: &str =
    "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.localmart]\n";

/// Starts an application that must be refused. Returns the output.
fn refused(manifest: &str, flags: &[&str]) -> String {
    let folder = scratch("manifest");
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    for (name, wasm) in [
        ("catalog.wasm", "dist/catalog.wasm"),
        ("order.wasm", "dist/order.wasm"),
    ] {
        if root().join(wasm).is_file() {
            std::fs::copy(root().join(wasm), folder.join(name)).unwrap();
        }
    }
    std::fs::write(folder.join("text.wasm"), "not wasm").unwrap();
    std::fs::write(folder.join("empty.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    refused_in(&folder, flags)
}

fn refused_in(folder: &Path, flags: &[&str]) -> String {
    let mut up = localmart();
    up.arg("up")
        .args(["--listen", "127.0.0.1:0", "--observe-listen", "127.0.0.1:0"])
        .args(flags)
        .current_dir(folder);
    let output = up.output().unwrap();
    let said = printed(&output);
    assert!(!output.status.success(), "it serves: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[track_caller]
fn check(manifest: &str, expected: &[&str]) {
    let said = refused(manifest, &[]);
    let flat = unframed(&said);
    for words in expected {
        assert!(flat.contains(words), "`{words}` is missing in:\n{said}");
    }
}

fn component(id: &str, wasm: &str, more: &str) -> String {
    format!("[component.{id}]\nsource = \"{wasm}\"\n{more}\n")
}

fn http(route: &str, id: &str) -> String {
    format!("[[trigger.http]]\nroute = {route}\ncomponent = \"{id}\"\n")
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    let body = format!(
        "{HEAD}{}{}",
        http("\"/a\"", "a"),
        component("a", "catalog.wasm", "sources = \"x\"")
    );
    check(&body, &["unknown field `sources`", "spin.toml:10", "help"]);
    check(
        &format!("{HEAD}[applications]\n{}", http("\"/a\"", "a")),
        &["unknown field `applications`", "spin.toml:5"],
    );
    let tool = "[component.a.tool.localmart]\nlink = [\"b\"]";
    check(
        &format!(
            "{HEAD}{}{}",
            http("\"/a\"", "a"),
            component("a", "catalog.wasm", tool)
        ),
        &["unknown field `link`", "spin.toml:10"],
    );
    let trigger = "[[trigger.http]]\nroute = \"/a\"\ncomponent = \"a\"\nrout = 1\n";
    check(
        &format!("{HEAD}{trigger}{}", component("a", "catalog.wasm", "")),
        &["unknown field `rout`", "spin.toml:5"],
    );
}

#[test]
fn broken_toml_and_other_versions_are_refused() {
    check(
        "spin_manifest_version = 2\n[application\n",
        &["spin.toml:2"],
    );
    check(&HEAD.replace("= 2", "= 3"), &["manifest"]);
    let three = format!(
        "{}{}{}",
        HEAD.replace("= 2", "= 3"),
        http("\"/a\"", "a"),
        component("a", "catalog.wasm", "")
    );
    check(
        &three,
        &["manifest version 3 is not supported", "spin.toml:1"],
    );
}

#[test]
fn missing_files_are_named() {
    built();
    let body = format!(
        "{HEAD}{}{}",
        http("\"/a\"", "a"),
        component("a", "nowhere.wasm", "")
    );
    check(
        &body,
        &[
            "`a` has no file",
            "nowhere.wasm",
            "spin.toml:9",
            "localmart build",
        ],
    );
    let files = component("a", "catalog.wasm", "files = [\"../*.png\"]");
    check(
        &format!("{HEAD}{}{files}", http("\"/a\"", "a")),
        &["outside of the application's folder", "spin.toml:10"],
    );
    let said = refused_in(&scratch("empty"), &[]);
    assert!(
        said.contains("spin.toml") && said.contains("help"),
        "{said}"
    );
}

#[test]
fn what_is_no_component_is_refused() {
    let body = |wasm| format!("{HEAD}{}{}", http("\"/a\"", "a"), component("a", wasm, ""));
    check(&body("text.wasm"), &["spin.toml:9", "no component"]);
    check(
        &body("empty.wasm"),
        &[
            "has an HTTP trigger or a timer but does not export wasi:http",
            "spin.toml:9",
        ],
    );
}

#[test]
fn routes_that_clash_are_refused() {
    let components = component("a", "catalog.wasm", "") + &component("b", "catalog.wasm", "");
    for (one, other) in [
        ("\"/a\"", "\"/a/\""),
        ("\"/a/:x\"", "\"/a/:y\""),
        ("\"/a/...\"", "\"/a/*\""),
    ] {
        let body = format!("{HEAD}{}{}{components}", http(one, "a"), http(other, "b"));
        check(
            &body,
            &[
                "match the same paths",
                "`a` already answers here",
                "spin.toml:8",
            ],
        );
    }
    check(
        &format!("{HEAD}{}{components}", http("\"a\"", "a")),
        &["is not a route", "spin.toml:5"],
    );
    check(
        &format!("{HEAD}{}{components}", http("\"/a\"", "nobody")),
        &["there is no component `nobody`", "name one of: a, b"],
    );
}

#[test]
fn an_import_that_nobody_offers_is_named() {
    built();
    let body = format!(
        "{HEAD}{}{}",
        http("\"/a\"", "order"),
        component("order", "order.wasm", "")
    );
    check(
        &body,
        &[
            "`order` imports `localmart:",
            "which neither the host nor a link provides",
            "links =",
            "spin.toml:9",
        ],
    );
}

#[test]
fn links_form_no_cycle_and_name_components() {
    let linked = |id: &str, to: &str| {
        component(
            id,
            "catalog.wasm",
            &format!("[component.{id}.tool.localmart]\nlinks = [\"{to}\"]"),
        )
    };
    let cycle = format!(
        "{HEAD}{}{}{}{}",
        http("\"/a\"", "a"),
        linked("a", "b"),
        linked("b", "c"),
        linked("c", "a")
    );
    check(
        &cycle,
        &["the links form a cycle: a → b → c → a", "spin.toml:10"],
    );
    let lost = format!("{HEAD}{}{}", http("\"/a\"", "a"), linked("a", "nobody"));
    check(
        &lost,
        &[
            "`a` links `nobody`, which is not a component",
            "spin.toml:10",
        ],
    );
}

#[test]
fn variables_need_values_and_names() {
    let with = |variables: &str, more: &str| {
        format!(
            "{HEAD}[variables]\n{variables}\n{}{}",
            http("\"/a\"", "a"),
            component("a", "catalog.wasm", more)
        )
    };
    check(
        &with("x = { required = true }", ""),
        &[
            "variable `x` is required and has no value",
            "--variable x=",
            "spin.toml:6",
        ],
    );
    check(
        &with("x = { }", ""),
        &["must have either a default or required = true"],
    );
    check(
        &with("X = { default = \"1\" }", ""),
        &["`X` is not a valid variable name"],
    );
    check(
        &with("x = { default = \"1\" }", "variables = { y = \"{{ z }}\" }"),
        &["there is no application variable `z`"],
    );
    let said = refused(&with("x = { default = \"1\" }", ""), &["--variable", "z=1"]);
    assert!(said.contains("has no variable of this name"), "{said}");
}

#[test]
fn a_file_beside_the_start_has_variables_too() {
    let folder = scratch("dotenv");
    let manifest = format!(
        "{HEAD}[variables]\nx = {{ required = true }}\n{}{}",
        http("\"/a\"", "a"),
        component("a", "catalog.wasm", "variables = { y = \"{{ x }}\" }")
    );
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    let routes = || {
        let output = localmart()
            .arg("routes")
            .current_dir(&folder)
            .output()
            .unwrap();
        (output.status.success(), printed(&output))
    };
    let (fine, said) = routes();
    assert!(
        !fine && said.contains("`x` is required and has no value"),
        "{said}"
    );
    std::fs::write(folder.join(".env"), "# ours\nSPIN_VARIABLE_X='1'\n").unwrap();
    let (fine, said) = routes();
    assert!(fine && said.contains("a: /a"), "{said}");
}

#[test]
fn hosts_must_be_destinations() {
    let with = |host: &str| {
        format!(
            "{HEAD}{}{}",
            http("\"/a\"", "a"),
            component(
                "a",
                "catalog.wasm",
                &format!("allowed_outbound_hosts = [\"{host}\"]")
            )
        )
    };
    check(&with("example.com"), &["has no scheme", "spin.toml:10"]);
    check(&with("https://example.com/path"), &["has a path"]);
    check(&with("tcp://example.com"), &["needs a port"]);
    check(
        &with("https://{{ api"),
        &[
            "`https://{{ api` has a `{{` that no `}}` closes",
            "help: write a variable as {{ name }}",
        ],
    );
    let empty = with("https://{{ api }}").replace(
        "[[trigger",
        "[variables]\napi = { default = \"\" }\n[[trigger",
    );
    check(
        &empty,
        &[
            "the variable `api` in `https://{{ api }}` is empty",
            "help: give it a value",
        ],
    );
}

#[test]
fn a_url_needs_a_digest() {
    let url = "{ url = \"https://example.com/a.wasm\" }";
    let source = format!(
        "{HEAD}{}[component.a]\nsource = {url}\n",
        http("\"/a\"", "a")
    );
    check(&source, &["`url` needs `digest`", "sha256sum"]);
    let dependency = format!("[component.a.dependencies]\n\"a:b/c\" = {url}\n");
    let body = component("a", "catalog.wasm", &dependency);
    check(
        &format!("{HEAD}{}{body}", http("\"/a\"", "a")),
        &["`a:b/c` has a `url` without `digest`"],
    );
}

#[test]
fn what_is_not_there_yet_says_so() {
    let body = |trigger: &str, more: &str| {
        format!("{HEAD}{trigger}{}", component("a", "catalog.wasm", more))
    };
    let redis = "[[trigger.redis]]\nchannel = \"x\"\ncomponent = \"a\"\n";
    check(
        &body(&redis.replace("redis", "sqs"), ""),
        &["does not support triggers of type `sqs`", "spin.toml:5"],
    );
    check(
        &body(redis, ""),
        &["this trigger has no server", "spin.toml:5"],
    );
    let at = |address: &str| redis.replace("channel", &format!("address = \"{address}\"\nchannel"));
    check(
        &body(&at("nowhere"), ""),
        &["the address of this trigger is not the address of a Redis server"],
    );
    check(
        &body(&at("redis://127.0.0.1:1"), ""),
        &["`a` has a Redis trigger but does not export spin:redis/inbound-redis@3.0.0"],
    );
    check(
        &body(&http("\"/a\"", "a"), "ai_models = [\"m\"]"),
        &["`ai_models` is not supported", "spin.toml:10"],
    );
    let fixed = "[[trigger.http]]\nroute = \"/a\"\nstatic_response = { status_code = 204 }\n";
    let both = format!("{fixed}component = \"a\"\n");
    check(
        &body(&both, ""),
        &["a component or a static_response, not both", "spin.toml:5"],
    );
    check(
        &body(&fixed.replace("204", "99"), ""),
        &["the static_response is invalid", "spin.toml:5"],
    );
    let plain = body(&http("\"/a\"", "a"), "sqlite_databases = [\"x\"]")
        .replace("[application.tool.localmart]\n", "");
    check(&plain, &["uses the database `x`, which is not configured"]);
}

#[test]
fn a_port_in_use_is_told_before_anything_is_done() {
    built();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let state = scratch("port");
    let manifest = root().join("spin.toml");
    for flag in ["--listen", "--observe-listen"] {
        let other = if flag == "--listen" {
            "--observe-listen"
        } else {
            "--listen"
        };
        let mut up = localmart();
        up.arg("up")
            .arg("-f")
            .arg(&manifest)
            .arg("--state-dir")
            .arg(&state)
            .arg("--no-build");
        let output = up
            .args([flag, &address, other, "127.0.0.1:0"])
            .output()
            .unwrap();
        let said = printed(&output);
        assert!(
            !output.status.success() && said.contains(&format!("cannot listen on {address}")),
            "{said}"
        );
        assert!(said.contains("help") && said.contains(flag), "{said}");
        assert!(!state.join("catalog.db").exists(), "nothing was made");
    }
}
