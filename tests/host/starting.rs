//! How a shop starts: it says what it is doing, and is ready only when everything is there.

use crate::harness::{Shop, Terminal, built, localmart, root, scratch};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take.
const START: Duration = Duration::from_secs(180);
/// What `localmart seed` and a first start make.
const PRODUCTS: usize = 120;

/// An address that is free now.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("aot")
}

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_shop_is_ready_when_its_store_is_filled() {
    built();
    let (listen, observe) = (free(), free());
    let mut up = localmart();
    up.args(["up", "--no-build", "--quiet", "-f"])
        .arg(root().join("spin.toml"));
    up.arg("--state-dir")
        .arg(scratch("ready"))
        .arg("--cache-dir")
        .arg(cache());
    up.args(["--listen", &listen, "--observe-listen", &observe]);
    let log = scratch("log").join("stderr");
    up.stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap());
    let _shop = Ends(up.spawn().unwrap());
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .new_agent();
    let get = |url: String| {
        let mut answer = agent.get(url).call().ok()?;
        Some((
            answer.status().as_u16(),
            answer.body_mut().read_to_string().ok()?,
        ))
    };
    let (give_up, mut before) = (Instant::now() + START, Vec::new());
    loop {
        assert!(Instant::now() < give_up, "it is never ready: {before:?}");
        match get(format!("http://{observe}/readyz")) {
            Some((200, _)) => break,
            Some(answer) => before.push(answer),
            None => {}
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!before.is_empty(), "it was ready while it was filled");
    assert!(
        before
            .iter()
            .all(|answer| *answer == (503, "starting\n".to_owned())),
        "{before:?}"
    );
    let (mut found, mut path) = (0, "/api/products?limit=100".to_owned());
    loop {
        let (_, page) = get(format!("http://{listen}{path}")).unwrap();
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        found += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/products?limit=100&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(found, PRODUCTS);
    let said = std::fs::read_to_string(log).unwrap();
    assert!(
        STEPS.iter().all(|step| !said.contains(step)),
        "--quiet: {said}"
    );
}

/// The steps that a start goes through, as lines.
const STEPS: [&str; 4] = [
    "migrating the databases",
    "compiling components",
    "seeding products: 120",
    "ready after ",
];

#[test]
fn a_start_says_what_it_is_doing_in_plain_lines() {
    let shop = Shop::start_seeded(&scratch("steps"), &[], &[]);
    let [.., last] = STEPS;
    shop.eventually(last, || shop.log().contains(last));
    let log = shop.log();
    let mut lines = log.lines();
    for step in STEPS {
        assert!(
            lines.any(|line| line.starts_with(step)),
            "{step} is missing in:\n{log}"
        );
    }
}

#[test]
fn a_start_on_a_terminal_has_a_progress_bar() {
    built();
    let (state, manifest, cache) = (scratch("bar"), root().join("spin.toml"), cache());
    let words = [
        &["up", "--no-build", "-f", manifest.to_str().unwrap()][..],
        &[
            "--state-dir",
            state.to_str().unwrap(),
            "--cache-dir",
            cache.to_str().unwrap(),
        ],
        &["--listen", "127.0.0.1:0", "--observe-listen", "127.0.0.1:0"],
    ];
    let terminal = Terminal::run(&words.concat());
    let shown = terminal.until("Administrator");
    assert!(
        shown.contains("seeding products ") && shown.contains("/120"),
        "{shown}"
    );
    assert!(
        shown.contains("Serving http://") && shown.contains("Available Routes:"),
        "{shown}"
    );
}
