//! The test clock moves only the wall clock of guests, only forwards, and only in a shop that was started with it.

use super::guests::guests_built;
use crate::harness::{Shop, TEST_CLOCK, built, localmart, printed, root, scratch, unframed};
use serde_json::Value;
use std::path::Path;

/// A minute, in milliseconds.
const MINUTE_MS: i64 = 60_000;

/// Why a shop with these flags does not start.
fn refused_to_start(state: &Path, flags: &[&str]) -> String {
    let mut up = localmart();
    up.args(["up", "--no-build", "--no-seed", "--listen", "127.0.0.1:0"]);
    up.args(["--observe-listen", "127.0.0.1:0", "-f"]);
    up.arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(state);
    let output = up.args(flags).output().unwrap();
    assert!(!output.status.success(), "{}", printed(&output));
    unframed(&printed(&output))
}

#[test]
fn both_wall_clocks_of_guests_move_and_the_monotonic_one_does_not() {
    guests_built();
    let manifest = root().join("tests/guests/spin.toml");
    // One core: the same instance answers.
    let flags = [TEST_CLOCK, "--threads", "1"];
    let shop = Shop::start_app(&manifest, &scratch("clocks"), &flags);
    let clocks = || {
        let text = shop.get("/clock").expect(200).text;
        let numbers = text.split(' ').map(|number| number.parse::<i64>().unwrap());
        let [older, newer, lived] = numbers.collect::<Vec<_>>().try_into().unwrap();
        (older, newer, lived)
    };
    let (before, _, _) = clocks();
    shop.advance("16m");
    let (older, newer, lived) = clocks();
    let moved = before + 16 * MINUTE_MS;
    assert!(older >= moved && newer >= moved, "{before} {older} {newer}");
    assert!(
        older < moved + 10 * MINUTE_MS && lived < 10 * MINUTE_MS,
        "{before} {older} {lived}"
    );
    let bare = shop.get("/narrow/clock").expect(200).text;
    let bare: i64 = bare.split(' ').next().unwrap().parse().unwrap();
    assert!(bare >= older, "{bare} {older}");
}

#[test]
fn the_shop_says_everywhere_that_a_test_clock_runs() {
    built();
    let shop = Shop::start_in(&scratch("said"), &[TEST_CLOCK]);
    assert!(
        shop.log().contains("the shop has a test clock"),
        "{}",
        shop.log()
    );
    let listen = shop.base.trim_start_matches("http://").to_owned();
    let plain = || {
        let status = localmart().args(["status", "--listen", &listen]).output();
        printed(&status.unwrap())
    };
    assert!(plain().contains("test clock, 0s ahead"), "{}", plain());
    let said = printed(&shop.clock(&["advance", "90m"]));
    assert!(said.contains("test clock, 1h 30m ahead"), "{said}");
    // Each service was swept, and answered.
    for noun in ["cart", "catalog", "inventory", "order", "payment", "user"] {
        let line = format!("{noun}: /internal/{noun}/sweep done");
        assert!(said.contains(&line), "{line} is missing in {said}");
    }
    let shown = printed(&shop.clock(&["show"]));
    assert!(shown.contains("1h 30m ahead"), "{shown}");
    assert!(plain().contains("1h 30m ahead"), "{}", plain());
    assert_eq!(shop.status()["clock"]["ahead_ms"], 90 * MINUTE_MS);
    let metric = "localmart_test_clock_ahead_seconds 5400\n";
    assert!(shop.metrics().contains(metric), "{}", shop.metrics());
    let quiet = printed(&shop.clock(&["advance", "1m", "--without-timers"]));
    assert!(!quiet.contains("sweep"), "{quiet}");
}

#[test]
fn a_shop_without_a_test_clock_shows_its_time_and_refuses_to_move() {
    let shop = Shop::start();
    let before = shop.now_ms();
    let output = shop.clock(&["advance", "16m"]);
    let said = unframed(&printed(&output));
    assert!(
        !output.status.success() && said.contains("uses the clock of this machine"),
        "{said}"
    );
    assert!(said.contains("localmart up --test-clock"), "{said}");
    assert!(shop.now_ms() < before + 16 * MINUTE_MS);
    let shown = printed(&shop.clock(&["show"]));
    assert!(shown.contains("the clock of this machine"), "{shown}");
    assert_eq!(shop.status()["clock"]["ahead_ms"], Value::Null);
    assert!(!shop.metrics().contains("test_clock"));
    assert!(!shop.state.join("test-clock.toml").exists());
}

#[test]
fn time_never_goes_back() {
    built();
    let shop = Shop::start_in(&scratch("back"), &[TEST_CLOCK]);
    shop.advance("16m");
    for (by, reason) in [
        ("-16m", "moves only forwards"),
        ("0s", "moves only forwards"),
        ("16", "90s, 16m, 31d"),
        ("1.5h", "90s, 16m, 31d"),
        ("99999d", "at most 36500 days ahead"),
    ] {
        let output = shop.clock(&["advance", by]);
        let said = unframed(&printed(&output));
        assert!(
            !output.status.success() && said.contains(reason),
            "{by}: {said}"
        );
        assert_eq!(shop.status()["clock"]["ahead_ms"], 16 * MINUTE_MS, "{by}");
    }
}

#[test]
fn a_moved_clock_stays_moved_when_the_shop_starts_again() {
    built();
    let state = scratch("again");
    let mut shop = Shop::start_in(&state, &[TEST_CLOCK]);
    shop.advance("31d");
    let before = shop.now_ms();
    shop.kill();
    // The machine's clock is refused: to the stores it would be a month ago.
    let said = refused_to_start(&state, &[]);
    assert!(
        said.contains("test-clock.toml") && said.contains("start with --test-clock"),
        "{said}"
    );
    let shop = Shop::start_in(&state, &[TEST_CLOCK]);
    assert!(shop.now_ms() >= before);
    // Tokens of the command line are of the shop's time.
    shop.staff("GET", "/api/orders?all=true", &Value::Null)
        .expect(200);
}

#[test]
fn a_second_shop_on_the_folder_of_a_test_clock_is_refused() {
    built();
    let state = scratch("shared");
    let shop = Shop::start_in(&state, &[TEST_CLOCK]);
    for flags in [&[][..], &[TEST_CLOCK]] {
        let said = refused_to_start(&state, flags);
        assert!(
            said.contains("another shop runs on the state folder"),
            "{said}"
        );
    }
    shop.advance("16m");
}

#[test]
fn a_clock_that_only_one_of_several_processes_would_see_is_refused() {
    built();
    let state = scratch("several");
    for flags in [
        ["--remote", "catalog=http://127.0.0.1:1"],
        ["--link-listen", "127.0.0.1:0"],
    ] {
        let said = refused_to_start(&state, &[&flags[..], &[TEST_CLOCK]].concat());
        assert!(said.contains("cannot be used with"), "{said}");
    }
}
