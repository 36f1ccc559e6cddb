//! The stress run, short: on the embedded stores, and on servers where they are installed. Ten minutes of it are
//! `cargo run --release -p localmart-benches -- stress`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at once")]

use localmart_testkit::servers;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

fn stress(flags: &[&str]) {
    // One after the other: each takes what two cores can give.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Path::new(env!("CARGO_BIN_EXE_localmart-benches"));
    let localmart = bench.with_file_name("localmart");
    if !localmart.exists() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "there is no {}",
            localmart.display()
        );
        eprintln!("skipped: `cargo test --workspace` builds the command line that this needs");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let built = Command::new(&localmart)
        .arg("build")
        .current_dir(root)
        .status()
        .unwrap();
    assert!(built.success());
    let mut run = Command::new(bench);
    run.args(["stress", "--clients", "12", "--kill-every", "4"]);
    let output = run.args(flags).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    println!("{said}");
}

#[test]
fn shoppers_lose_nothing_while_the_host_is_killed() {
    stress(&["--seconds", "12", "--embedded"]);
}

#[test]
fn shoppers_lose_nothing_while_the_host_and_its_servers_are_killed() {
    if servers::is_installed() {
        stress(&["--seconds", "26"]);
    }
}
