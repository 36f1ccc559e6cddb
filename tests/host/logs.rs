//! `localmart logs`: what a running or killed host has logged, by component, request and time; stacks of guests by
//! function.

use super::guests::guests;
use crate::harness::{Shop, built, checkout, fresh_key, localmart, printed, root, scratch};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// How long a followed log may take to show a line.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// Runs the command; returns whether it succeeded and what it printed.
fn logs(state: &Path, words: &[&str]) -> (bool, String) {
    let mut verb = localmart();
    verb.arg("logs").args(words).arg("--state-dir").arg(state);
    let output = verb.current_dir(root()).output().unwrap();
    (output.status.success(), printed(&output))
}

/// A log that is followed.
struct Followed {
    child: Child,
    text: Arc<Mutex<String>>,
}

impl Followed {
    fn start(state: &Path, words: &[&str]) -> Self {
        let mut verb = localmart();
        verb.args(["logs", "-f"]).args(words);
        verb.arg("--state-dir").arg(state).current_dir(state);
        let mut child = verb.stdout(Stdio::piped()).spawn().unwrap();
        let text = Arc::<Mutex<String>>::default();
        let (copy, out) = (text.clone(), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                copy.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, text }
    }

    #[track_caller]
    fn shows(&self, part: &str) -> String {
        let give_up = Instant::now() + EVENTUALLY;
        loop {
            let text = self.text.lock().unwrap().clone();
            if text.contains(part) {
                return text;
            }
            assert!(Instant::now() < give_up, "{part} is missing in:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_log_is_kept_and_selected_by_component_request_and_time() {
    built();
    let state = scratch("logs");
    let mut shop = Shop::start_in(&state, &[]);
    let product = shop.product(5, 3);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    for headers in [vec![("traceparent", parent.as_str())], vec![]] {
        let key = fresh_key();
        let headers = [&[("idempotency-key", key.as_str())], headers.as_slice()].concat();
        let body = checkout(&shop.cart_with(&product, 1), "tok_visa");
        shop.json("POST", "/api/orders", &headers, &body)
            .expect(201);
    }
    shop.eventually("both orders are logged", || {
        shop.log().matches("order paid").count() == 2
    });
    // A killed process loses no line.
    shop.kill();
    let (_, all) = logs(&state, &[]);
    assert!(
        all.contains(" INFO  -               serving address="),
        "{all}"
    );
    assert_eq!(
        all.matches(" INFO  order           order paid ").count(),
        2,
        "{all}"
    );
    let (_, one) = logs(&state, &["order", "--trace", TRACE]);
    assert!(
        one.lines().count() == 1 && one.contains("order paid"),
        "{one}"
    );
    let (_, last) = logs(&state, &["-n", "1", "order", "--trace", &TRACE[..8]]);
    assert_eq!(last, one);
    let (_, json) = logs(&state, &["--json", "order"]);
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["component"], "order", "{line}");
    }
    assert_eq!(logs(&state, &["--since", "10m"]).1, all);
    for none in [
        ["tax", "--since", "1h"],
        ["order", "--since", "2100-01-01T00:00:00Z"],
    ] {
        assert_eq!(logs(&state, &none), (true, String::new()), "{none:?}");
    }
    let (ok, said) = logs(&state, &["oder"]);
    let known = "there is no component `oder`; known components: cart, catalog, discount, ";
    assert!(!ok && said.contains(known), "{said}");
    let (ok, said) = logs(&scratch("empty"), &[]);
    assert!(
        !ok && said.contains("there is no log in") && said.contains("localmart up"),
        "{said}"
    );
    use std::os::unix::fs::PermissionsExt as _;
    let file = state.join("logs/00000001.jsonl").metadata().unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_trap_is_logged_with_its_trace_and_the_functions_of_the_guest() {
    let shop = guests(&[]);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    shop.send("GET", "/trap", &[("traceparent", &parent)], &[])
        .expect(500);
    let of_trace = || logs(&shop.state, &["probe", "--trace", TRACE]).1;
    shop.eventually("the trap is logged", || {
        of_trace().contains("an instance trapped")
    });
    let said = of_trace();
    let error = said.split("an instance trapped").nth(1).unwrap();
    assert!(error.contains("\n    wasm trap: "), "{said}");
    assert!(
        error.contains("\n      at ") && error.contains("abort"),
        "{said}"
    );
    // The function of the guest that trapped, by the name that it has in its source.
    assert!(error.contains("probe::answer"), "{said}");
    assert!(!error.contains("<wasm function"), "{said}");
}

#[test]
fn a_log_is_followed_into_the_next_file_and_past_a_restart() {
    let state = scratch("followed");
    let folder = state.join("logs");
    std::fs::create_dir(&folder).unwrap();
    let append = |number: u32, text: &str| {
        let path = folder.join(format!("{number:08}.jsonl"));
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let line = |name: &str| {
        format!("{{\"level\":\"INFO\",\"component\":\"{name}\",\"message\":\"of {name}\"}}\n")
    };
    for number in 0..20 {
        append(1, &line(&format!("old-{number}")));
    }
    let followed = Followed::start(&state, &[]);
    let first = followed.shows("of old-19");
    assert!(
        !first.contains("of old-9\n") && first.contains("of old-10"),
        "{first}"
    );
    let (head, tail) = ("{\"level\":\"INFO\",\"mess", "age\":\"of two halves\"}\n");
    append(1, head);
    append(1, &format!("{tail}{}", line("a")));
    followed.shows("of two halves");
    followed.shows("of a\n");
    append(1, &line("b"));
    append(2, &line("c"));
    append(3, &line("d"));
    followed.shows("of d\n");
    std::fs::remove_file(folder.join("00000001.jsonl")).unwrap();
    append(3, &line("e"));
    followed.shows("of e\n");
    // Somebody deletes the state folder and begins anew.
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    append(1, &line("f"));
    let text = followed.shows("of f\n");
    let order = ["of a\n", "of b\n", "of c\n", "of d\n", "of e\n", "of f\n"];
    let places: Vec<_> = order.iter().map(|part| text.find(part)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{text}");
}

#[test]
fn a_restarted_shop_is_still_followed() {
    built();
    let state = scratch("restarted");
    let first = Shop::start_in(&state, &[]);
    let followed = Followed::start(&state, &["--since", "1h"]);
    followed.shows(&format!(
        "serving address={}",
        first.base.trim_start_matches("http://")
    ));
    drop(first);
    let second = Shop::start_in(&state, &[]);
    followed.shows(&format!(
        "serving address={}",
        second.base.trim_start_matches("http://")
    ));
}

#[test]
fn the_log_of_a_running_shop_is_found_by_its_address() {
    let shop = Shop::start();
    let elsewhere = scratch("elsewhere");
    let run = |named: &str| {
        let mut verb = localmart();
        verb.args(["logs", "--json", "--shop", named]);
        let output = verb.current_dir(&elsewhere).output().unwrap();
        assert!(output.status.success(), "{}", printed(&output));
        printed(&output)
    };
    for named in [shop.base.as_str(), shop.state.to_str().unwrap()] {
        let log = run(named);
        assert!(log.contains("\"message\":\"serving\""), "{log}");
    }
}
