//! Applications in a real registry: pushed, looked at, pulled and served, and refused if their content is not what was asked for.

use super::swaps::{swap, told};
use crate::harness::{Shop, built, checkout, fresh_key, localmart, printed, root, scratch};
use localmart_testkit::servers::{Server, closed_port};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The environment variable of the cache for what was pulled.
const CACHE: &str = "LOCALMART_CACHE_DIR";

fn oci(cache: &Path, words: &[&str]) -> (bool, String) {
    let output = localmart()
        .arg("oci")
        .args(words)
        .env(CACHE, cache)
        .output()
        .unwrap();
    (output.status.success(), printed(&output))
}

/// What the command prints to its standard output.
fn answered(cache: &Path, words: &[&str]) -> String {
    let mut command = localmart();
    let output = command
        .arg("oci")
        .args(words)
        .env(CACHE, cache)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Pushes the shop; returns its tag and its reference with the digest.
fn pushed(registry: &Server) -> (String, String) {
    built();
    let (tag, manifest) = (
        format!("{}/shop:1.0", registry.url()),
        root().join("spin.toml"),
    );
    let pinned = answered(
        &scratch("push"),
        &["push", &tag, "-f", manifest.to_str().unwrap()],
    );
    (tag, pinned)
}

/// The file in which a registry keeps a blob.
fn blob(registry: &Server, digest: &str) -> PathBuf {
    let digits = digest.strip_prefix("sha256:").unwrap();
    let blobs = registry
        .folder()
        .join("data/docker/registry/v2/blobs/sha256");
    blobs.join(&digits[..2]).join(digits).join("data")
}

#[test]
fn a_shop_from_a_registry_sells_is_swapped_and_needs_the_registry_only_once() {
    let Some(mut registry) = Server::registry() else {
        return;
    };
    let (tag, pinned) = pushed(&registry);
    // The same application is the same artifact.
    assert_eq!(pushed(&registry).1, pinned);
    let (cache, state) = (scratch("cache"), scratch("state"));
    let seen = answered(&cache, &["inspect", &tag]);
    for part in [
        "Name:       localmart",
        "http   /api/orders/...",
        pinned.split_once('@').unwrap().1,
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let all: Value = serde_json::from_str(&answered(&cache, &["inspect", &tag, "--json"])).unwrap();
    // The layout of Spin: layers by media type, the locked application last, its digest as a label of the configuration.
    let layers = all["manifest"]["layers"].as_array().unwrap();
    let last = &layers.last().unwrap()["mediaType"];
    assert_eq!(last, "application/vnd.fermyon.spin.application.v1+config");
    let config = std::fs::read(blob(
        &registry,
        all["manifest"]["config"]["digest"].as_str().unwrap(),
    ))
    .unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let label = &config["config"]["Labels"]["com.fermyon.spin.lockedAppDigest"];
    assert_eq!(label, &layers.last().unwrap()["digest"]);

    let serve = |reference: &str| {
        let environment = [(CACHE, cache.to_str().unwrap())];
        Shop::start_with(Path::new(reference), &state, &[], &environment)
    };
    let shop = serve(&pinned);
    let product = shop.product(1000, 10);
    // The links are calls between components, so each can be replaced.
    let words = swap("discount", &root().join("dist/discount.wasm"));
    told(&shop, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let cart = shop.cart_with(&product, 2);
    shop.order(&fresh_key(), &checkout(&cart, "tok_visa"))
        .expect(201);
    assert_eq!(shop.stock(&product).0, 8);
    drop(shop);

    // A digest always means the same, so nobody has to be asked. A tag may have moved.
    registry.kill();
    assert_eq!(serve(&pinned).stock(&product).0, 8);
    let (good, said) = oci(&cache, &["pull", &tag]);
    assert!(!good && said.contains(&format!("pulling {tag}")), "{said}");
    registry.start();
    let folder = answered(&cache, &["pull", &tag]);
    assert!(Path::new(&folder).join("spin.toml").is_file(), "{folder}");
}

#[test]
fn content_that_is_not_what_was_asked_for_is_refused() {
    let Some(registry) = Server::registry() else {
        return;
    };
    let (tag, pinned) = pushed(&registry);
    let cache = scratch("cache");
    let refused = |words: &[&str], why: &str| {
        let (good, said) = oci(&cache, words);
        assert!(!good && said.contains(why), "{words:?}: {said}");
        assert!(!cache.join("applications").exists(), "{words:?}");
    };
    let other = format!("{}@sha256:{:064}", tag.trim_end_matches(":1.0"), 0);
    refused(&["pull", &other], "is not known to the registry");
    refused(
        &["pull", &tag.replace("shop", "other")],
        "is not known to the registry",
    );
    refused(&["pull", "shop"], "names no registry");
    let manifest = root().join("spin.toml");
    refused(
        &["push", &pinned, "-f", manifest.to_str().unwrap()],
        "push to a tag",
    );
    let away = format!("127.0.0.1:{}/shop:1.0", closed_port());
    refused(&["pull", &away], "cannot be reached");

    let all: Value = serde_json::from_str(&answered(&cache, &["inspect", &tag, "--json"])).unwrap();
    let component = all["application"]["components"][0]["source"]["digest"]
        .as_str()
        .unwrap();
    let file = blob(&registry, component);
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    refused(&["pull", &tag], component);
    let manifest = blob(&registry, pinned.split_once('@').unwrap().1);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"localmart\"", "\"otherwise\"")).unwrap();
    refused(&["pull", &pinned], "digest");
}

#[test]
fn what_needs_the_sources_says_so() {
    let (cache, reference) = (
        scratch("cache"),
        format!("127.0.0.1:{}/shop:1.0", closed_port()),
    );
    for words in [
        ["build", "-f"].as_slice(),
        &["up", "--watch", "-f"],
        &["up", "--build", "-f"],
    ] {
        let mut command = localmart();
        let output = command
            .args(words)
            .arg(&reference)
            .env(CACHE, &cache)
            .current_dir(&cache)
            .output();
        let said = printed(&output.unwrap());
        assert!(said.contains("is in a registry"), "{words:?}: {said}");
    }
}

#[test]
fn spinkube_selects_components_and_names_a_configuration_that_need_not_exist() {
    built();
    let flags = ["--runtime-config-file", "/nowhere/runtime-config.toml"];
    let environment = [("SPIN_COMPONENTS_TO_RETAIN", "catalog,")];
    let manifest = root().join("spin.toml");
    let shop = Shop::start_with(&manifest, &scratch("retained"), &flags, &environment);
    shop.get("/api/products").expect(200);
    shop.get("/api/recommendations").expect(404);
    shop.eventually("the missing file is in the log", || {
        shop.log()
            .contains("there is no such runtime configuration")
    });
}
