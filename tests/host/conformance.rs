//! Runs `tests/conformance`: one folder per case, with an application as users write them, and the expected result. The
//! README there describes the format.

use crate::guests::guests;
use crate::harness::{Shop, localmart, printed, root, scratch, unframed};
use localmart_testkit::servers;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long a refused application may take to exit.
const REFUSAL: Duration = Duration::from_secs(60);

/// The content of `expect.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the case shows.
    about: String,
    /// Servers that the application needs: `tcp`, `postgres`, `redis`, `mqtt`. Each sets the variable `<name>_port`.
    #[serde(default)]
    servers: Vec<String>,
    /// Options of `up`.
    #[serde(default)]
    flags: Vec<String>,
    /// The environment of `up`.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Parts of the error message, if the application is refused.
    #[serde(default)]
    refused: Vec<String>,
    /// Requests to the application.
    #[serde(default)]
    request: Vec<Asked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default = "get")]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    #[serde(default = "ok")]
    status: u16,
    /// The whole body.
    answer: Option<String>,
    /// Parts of the body.
    #[serde(default)]
    contains: Vec<String>,
    /// All headers except `content-length` and `date`.
    #[serde(default)]
    answer_headers: BTreeMap<String, String>,
}

fn get() -> String {
    "GET".to_owned()
}

fn ok() -> u16 {
    200
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// The port of a server that a case needs.
fn port_of(server: &str) -> Option<u16> {
    let port = |url: String| {
        let (_, rest) = url.rsplit_once(':').unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    };
    match server {
        "tcp" => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            // Accepts every connection and sends nothing.
            std::thread::spawn(move || listener.incoming().for_each(drop));
            Some(port)
        }
        "postgres" => servers::postgres().map(port),
        "redis" => servers::redis_database().map(port),
        "mqtt" => servers::mqtt(),
        _ => panic!("there is no server `{server}`"),
    }
}

fn check(folder: &Path) {
    let text = std::fs::read_to_string(folder.join("expect.toml")).unwrap();
    let case: Case = toml::from_str(&text).unwrap();
    assert!(!case.about.is_empty());
    let (mut flags, mut ports) = (case.flags.clone(), Vec::new());
    for server in &case.servers {
        // A missing server has been reported as skipped.
        let Some(port) = port_of(server) else { return };
        flags.extend(["--variable".to_owned(), format!("{server}_port={port}")]);
        ports.push((format!("%{{{server}_port}}"), port.to_string()));
    }
    let filled = |text: &str| {
        let fill = |text: String, (name, port): &(String, String)| text.replace(name, port);
        ports.iter().fold(text.to_owned(), fill)
    };
    if !case.refused.is_empty() {
        return check_refusal(folder, &flags, &case.refused);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let environment = pairs(&case.environment);
    let app = Shop::start_with(
        &folder.join("spin.toml"),
        &scratch("case"),
        &flags,
        &environment,
    );
    for asked in &case.request {
        let headers = pairs(&asked.headers);
        let path = filled(&asked.path);
        let reply = app.send(&asked.method, &path, &headers, asked.body.as_bytes());
        let place = format!("{}: {} {path}", folder.display(), asked.method);
        assert_eq!(
            reply.status,
            asked.status,
            "{place}: {}\n{}",
            reply.text,
            app.log()
        );
        if let Some(answer) = &asked.answer {
            assert_eq!(reply.text, filled(answer), "{place}");
        }
        for part in &asked.contains {
            assert!(
                reply.text.contains(&filled(part)),
                "{place}: `{part}` is missing in {}",
                reply.text
            );
        }
        let own = |name: &&(String, String)| {
            name.0 != "content-length" && name.0 != "date" && name.0 != "transfer-encoding"
        };
        let given: BTreeMap<String, String> = reply.headers.iter().filter(own).cloned().collect();
        assert_eq!(given, asked.answer_headers, "{place}: headers");
    }
}

fn check_refusal(folder: &Path, flags: &[String], words: &[String]) {
    let mut up = localmart();
    up.args(["up", "--listen", "127.0.0.1:0", "--state-dir"]);
    up.arg(scratch("refused")).args(flags).current_dir(folder);
    let mut child = up
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let give_up = Instant::now() + REFUSAL;
    while child.try_wait().unwrap().is_none() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(10));
    }
    // If it serves by mistake, it would never exit.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = printed(&output);
    assert!(
        !output.status.success(),
        "{}: it serves: {said}",
        folder.display()
    );
    let flat = unframed(&said);
    for words in words {
        assert!(
            flat.contains(words),
            "{}: `{words}` is missing in:\n{said}",
            folder.display()
        );
    }
}

#[test]
fn other_peoples_applications_run_as_they_expect() {
    // Builds the guests.
    drop(guests(&[]));
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root().join("tests/conformance"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() > 30, "{} cases", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|folder| {
            let checked = std::panic::catch_unwind(|| check(folder));
            let reason = checked.err()?;
            let reason = reason.downcast_ref::<String>().cloned();
            Some(format!(
                "{}: {}",
                folder.file_name()?.display(),
                reason.unwrap_or_default()
            ))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// Serves a file for every request. Returns the port.
fn serve(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; 4096];
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                bytes.len()
            );
            // A client that has disconnected needs no response.
            let _ = stream.read(&mut asked);
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&bytes));
        }
    });
    port
}

#[test]
fn a_component_can_come_from_a_url_if_it_is_the_right_one() {
    drop(guests(&[]));
    let wasm = std::fs::read(root().join("target/wasm32-wasip2/component/probe.wasm")).unwrap();
    let digest: String = Sha256::digest(&wasm)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let port = serve(wasm);
    let manifest = |digest: &str| {
        format!(
            "spin_manifest_version = 2\n[application]\nname = \"far\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"guest\"\n\
             [component.guest]\nsource = {{ url = \"http://127.0.0.1:{port}/guest.wasm\", digest = \"sha256:{digest}\" }}\n"
        )
    };
    let folder = scratch("far");
    std::fs::write(folder.join("spin.toml"), manifest(&digest)).unwrap();
    let state = scratch("far-state");
    for _ in 0..2 {
        let app = Shop::start_app(&folder.join("spin.toml"), &state, &[]);
        assert_eq!(app.get("/x").expect(200).text, "probe");
    }
    std::fs::write(folder.join("spin.toml"), manifest(&"0".repeat(64))).unwrap();
    let words = ["differs from the manifest", "spin.toml:8"].map(str::to_owned);
    check_refusal(&folder, &[], &words);
}
