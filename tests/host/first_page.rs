//! What somebody sees who opens the address of an application: the routes, as text, as a page and as JSON; and the
//! commands that `up` suggests.

use crate::harness::{Reply, Shop, built, localmart, raw, root, scratch};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What Firefox and Chromium send.
const BROWSER: &str =
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

fn accepting(shop: &Shop, method: &str, path: &str, accept: &str) -> Reply {
    shop.send(method, path, &[("accept", accept)], &[])
}

/// An application of static responses, which needs no component.
fn fixed(application: &str, routes: &[&str]) -> PathBuf {
    let mut manifest = format!("spin_manifest_version = 2\n{application}\n");
    for route in routes {
        manifest += &format!(
            "[[trigger.http]]\nroute = \"{route}\"\nstatic_response = {{ body = \"fixed\" }}\n"
        );
    }
    let path = scratch("fixed").join("spin.toml");
    std::fs::write(&path, manifest).unwrap();
    path
}

const OURS: &str = "[application]\nname = \"<small>\"\ndescription = \"Two & \\\"one\\\"\"\n[application.tool.localmart]";

#[test]
fn the_first_page_lists_components_and_routes() {
    let shop = Shop::start();
    let plain = accepting(&shop, "GET", "/", "*/*").expect(200);
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(plain.header("vary"), Some("accept"));
    for part in [
        "localmart: A real shop of WebAssembly components\n",
        "\ncatalog: Products and categories\n  /api/categories/...\n  /api/products/...\n  /images/...\n",
        "\nuser: Users, their sessions and tokens\n  /api/auth/...\n",
    ] {
        assert!(
            plain.text.contains(part),
            "{part} is missing in:\n{}",
            plain.text
        );
    }
    // The host calls these itself.
    assert!(!plain.text.contains("sweep"), "{}", plain.text);

    let page = accepting(&shop, "GET", "/", BROWSER).expect(200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(page.text.starts_with("<!doctype html>"));
    assert!(
        page.text
            .contains("<a href=\"/api/products\"><code>/api/products/...</code></a>")
    );
    assert!(
        !page.text.contains("http://") && !page.text.contains("https://"),
        "no resources"
    );

    let json = accepting(&shop, "GET", "/", "application/json").expect(200);
    assert_eq!(json.header("content-type"), Some("application/json"));
    let json = json.json();
    assert_eq!(json["name"], "localmart");
    let components = json["components"].as_array().unwrap();
    let order = components.iter().find(|one| one["id"] == "order").unwrap();
    assert_eq!(order["routes"], serde_json::json!(["/api/orders/..."]));

    for (accept, length) in [("*/*", plain.text.len()), (BROWSER, page.text.len())] {
        let head = accepting(&shop, "HEAD", "/", accept).expect(200);
        let length = length.to_string();
        assert_eq!(
            (head.text.as_str(), head.header("content-length")),
            ("", Some(&*length))
        );
    }
    let posted = shop
        .send("POST", "/", &[], &[])
        .expect_code(405, "method_not_allowed");
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
}

#[test]
fn an_unknown_address_is_404_with_the_routes_and_the_nearest_one() {
    let shop = Shop::start();
    let plain = accepting(&shop, "GET", "/nowhere", "*/*").expect(404);
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(
        plain
            .text
            .starts_with("404 Not Found: there is nothing at /nowhere\n\nlocalmart: ")
    );
    assert!(plain.text.contains("\n  /api/orders/...\n") && plain.header("x-request-id").is_some());
    let near = accepting(&shop, "GET", "/product/7", "text/plain").expect(404);
    assert!(
        near.text.contains("\nDid you mean /api/products/7?\n"),
        "{}",
        near.text
    );

    let page = accepting(&shop, "GET", "/product/%3Cb%3E?x=%3Cb%3E", BROWSER).expect(404);
    assert!(page.text.contains("<h1>404 Not Found</h1>") && !page.text.contains("<b>"));
    assert!(
        page.text.contains("<a href=\"/api/products/%3Cb%3E\">"),
        "{}",
        page.text
    );
    let bytes =
        b"GET /a\"><b>'& HTTP/1.1\r\nhost: x\r\naccept: text/html\r\nconnection: close\r\n\r\n";
    let answer = raw(&shop.base, bytes);
    assert!(
        !answer.contains("<b>") && !answer.contains("a\">"),
        "{answer}"
    );

    let problem = accepting(&shop, "GET", "/api/product", "application/json");
    let problem = problem.expect_code(404, "not_found").json();
    assert_eq!(
        problem["detail"],
        "There is nothing at this address. Did you mean /api/products?"
    );
    // A client that misses an address of an API reads errors in the form of this API, whatever it accepts.
    shop.get("/api/nothing").expect_code(404, "not_found");
    shop.send("POST", "/nowhere", &[], &[])
        .expect_code(404, "not_found");
    let head = accepting(&shop, "HEAD", "/nowhere", "*/*").expect(404);
    assert_eq!(head.text, "");
    assert!(shop.get(&format!("/{}", "é%2F".repeat(10_000))).status >= 400);
}

#[test]
fn components_keep_the_addresses_that_are_theirs() {
    let state = scratch("state");
    let mine = Shop::start_app(&fixed(OURS, &["/", "/one"]), &state, &[]);
    assert_eq!(
        accepting(&mine, "GET", "/", BROWSER).expect(200).text,
        "fixed"
    );
    let missing = accepting(&mine, "GET", "/other", BROWSER).expect(404).text;
    assert!(missing.contains("&lt;small&gt;") && missing.contains("Two &amp; &quot;one&quot;"));
    let everything = Shop::start_app(&fixed(OURS, &["/..."]), &scratch("state"), &[]);
    assert_eq!(
        accepting(&everything, "GET", "/other", BROWSER)
            .expect(200)
            .text,
        "fixed"
    );
    // Applications for Spin get the answers that Spin gives.
    let spin = fixed("[application]\nname = \"small\"", &["/one"]);
    let spin = Shop::start_app(&spin, &scratch("state"), &[]);
    assert_eq!(accepting(&spin, "GET", "/", BROWSER).expect(404).text, "");
}

/// The commands that `up` suggests.
fn suggestions(manifest: &Path) -> (Vec<String>, impl Drop + use<>) {
    struct Stopped(std::process::Child);
    impl Drop for Stopped {
        fn drop(&mut self) {
            // It may have ended already.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut up = localmart();
    up.arg("up").arg("-f").arg(manifest);
    up.arg("--state-dir").arg(scratch("state"));
    up.arg("--cache-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("aot"));
    up.args([
        "--no-build",
        "--no-seed",
        "--listen",
        "127.0.0.1:0",
        "--observe-listen",
        "127.0.0.1:0",
    ]);
    let mut up = up
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let up = Stopped(up);
    let mut lines = lines.skip_while(|line| !line.contains("try these commands"));
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("Open http://127.0.0.1:"))
    );
    (
        lines.take(3).map(|line| line.trim().to_owned()).collect(),
        up,
    )
}

#[test]
fn up_suggests_three_commands_that_work() {
    built();
    let program = env!("CARGO_BIN_EXE_localmart");
    let (commands, _up) = suggestions(&root().join("spin.toml"));
    let output = Command::new("sh")
        .args(["-c", &commands[0]])
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(commands[0].ends_with("/api/products?limit=3'") && answer["items"].is_array());
    assert_eq!(commands[1], format!("{program} top"));
    let token = format!("-H \"authorization: Bearer $({program} token --role staff)\"");
    assert!(
        commands[2].starts_with("curl ") && commands[2].ends_with(&token),
        "{commands:?}"
    );

    let (commands, _up) = suggestions(&fixed(OURS, &["/one/:two"]));
    let output = Command::new("sh")
        .args(["-c", &commands[0]])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("<small>: "),
        "{commands:?}"
    );
    assert_eq!(commands[2], format!("{program} status"));
}
