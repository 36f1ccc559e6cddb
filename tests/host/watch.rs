//! `localmart up --watch`: changed sources are rebuilt, and the result replaces the running component.

use super::bench::hello;
use crate::harness::{Shop, scratch};
use std::time::{Duration, Instant};

#[test]
fn what_changes_is_built_and_swapped_and_what_does_not_build_changes_nothing() {
    let folder = scratch("watched");
    std::fs::copy(hello("Hello, world!"), folder.join("source.wasm")).unwrap();
    let manifest = r#"
spin_manifest_version = 2
[application]
name = "watched"
[[trigger.http]]
route = "/..."
component = "hello"
[component.hello]
source = "hello.wasm"
[component.hello.build]
command = "test -s source.wasm && cp source.wasm hello.wasm"
watch = ["source.wasm"]
"#;
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    let flags = ["--watch", "--build"];
    let shop = Shop::start_app(&folder.join("spin.toml"), &scratch("state"), &flags);
    assert_eq!(shop.get("/").expect(200).text, "Hello, world!");
    let until = |seen: &dyn Fn() -> bool| {
        let give_up = Instant::now() + Duration::from_secs(60);
        while !seen() {
            assert!(Instant::now() < give_up, "{}", shop.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::fs::copy(hello("Hello, again!"), folder.join("source.wasm")).unwrap();
    until(&|| shop.get("/").expect(200).text == "Hello, again!");
    std::fs::write(folder.join("source.wasm"), "").unwrap();
    until(&|| shop.log().contains("`hello`"));
    assert_eq!(shop.get("/").expect(200).text, "Hello, again!");
    // The next change that builds is served.
    std::fs::copy(hello("Hello, there!"), folder.join("source.wasm")).unwrap();
    until(&|| shop.get("/").expect(200).text == "Hello, there!");
}
