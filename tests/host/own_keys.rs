//! Keys and passwords that somebody gives win over generated ones, for every verb; those that cannot be used are refused at the start.

use crate::harness::{Shop, Stores, Terminal, User, built, localmart, printed, root, scratch};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use localmart_guest::ports::Ports;
use localmart_guest::token::TokenKey;
use serde_json::json;
use std::path::Path;
use std::process::Output;

/// A password that nobody would generate.
const PASSWORD: &str = "a-given-password";

/// A pair of keys: the private, the public.
fn pair(seed: u8) -> (String, String) {
    let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let text = |bytes: [u8; 32]| URL_SAFE_NO_PAD.encode(bytes);
    (text(key.to_bytes()), text(key.verifying_key().to_bytes()))
}

/// Runs a verb about the shop of a state folder.
fn verb(words: &[&str], state: &Path, environment: &[(&str, &str)]) -> Output {
    let mut verb = localmart();
    verb.args(words).arg("-f").arg(root().join("spin.toml"));
    verb.arg("--state-dir").arg(state);
    verb.envs(environment.iter().copied()).output().unwrap()
}

fn logs_in(shop: &Shop, password: &str) -> bool {
    let body = json!({ "email": "admin@localmart.test", "password": password });
    shop.post("/api/auth/login", &body).status == 200
}

#[test]
fn a_given_password_is_the_administrators_for_every_verb() {
    built();
    let state = scratch("password");
    let given = format!("admin_password={PASSWORD}");
    let start = |flags: &[&str]| Shop::start_on(Stores::EMBEDDED, &state, flags);
    let shop = start(&["--variable", &given]);
    assert!(logs_in(&shop, PASSWORD));
    // This is a pipe.
    assert!(!shop.out().contains(PASSWORD), "{}", shop.out());
    shop.eventually("it says who is the administrator", || {
        let line = "Administrator: admin@localmart.test, with the admin_password that was given";
        shop.out().contains(line)
    });
    let shown = printed(&verb(&["secrets"], &state, &[]));
    assert!(
        shown.contains(&format!("admin_password = {PASSWORD:?}")),
        "{shown}"
    );
    let file = std::fs::read_to_string(state.join("secrets.toml")).unwrap();
    assert!(
        !file.contains("admin_password"),
        "it is nobody's business: {file}"
    );
    drop(shop);
    // Started again without it, the store still has that administrator, and no verb says otherwise.
    let shop = start(&[]);
    assert!(logs_in(&shop, PASSWORD));
    for _ in 0..2 {
        let shown = printed(&verb(&["secrets"], &state, &[]));
        assert!(
            !shown.contains("admin_password = ") && shown.contains("admin_password was given"),
            "{shown}"
        );
    }
    assert!(!shop.out().contains("Administrator"), "{}", shop.out());
}

#[test]
fn a_generated_password_is_replaced_by_one_that_is_given_in_time() {
    built();
    let state = scratch("in-time");
    // It makes secrets before there is any store.
    let generated = printed(&verb(&["secrets"], &state, &[]));
    assert!(generated.contains("admin_password = "), "{generated}");
    let environment = [("SPIN_VARIABLE_ADMIN_PASSWORD", PASSWORD)];
    let shop = Shop::start_observed(Stores::EMBEDDED, &state, &environment);
    assert!(logs_in(&shop, PASSWORD));
    drop(shop);
    let shown = printed(&verb(&["secrets"], &state, &[]));
    assert!(!shown.contains("admin_password = "), "{shown}");
    let shown = printed(&verb(&["secrets"], &state, &environment));
    assert!(shown.contains(PASSWORD), "{shown}");
}

#[test]
fn a_password_is_shown_on_a_terminal_only() {
    built();
    let manifest = root().join("spin.toml");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aot");
    let started = |state: &Path, more: &[&str]| {
        let words = [
            &[
                "up",
                "--no-build",
                "--no-seed",
                "-f",
                manifest.to_str().unwrap(),
            ][..],
            &["--state-dir", state.to_str().unwrap()],
            &["--cache-dir", cache.to_str().unwrap()],
            &["--listen", "127.0.0.1:0", "--observe-listen", "127.0.0.1:0"],
            more,
        ];
        Terminal::run(&words.concat())
    };
    let state = scratch("terminal");
    let shown = started(&state, &[]).until("shows it again");
    let file = std::fs::read_to_string(state.join("secrets.toml")).unwrap();
    let password = file
        .lines()
        .find_map(|line| line.strip_prefix("admin_password = "));
    let password = password.unwrap().trim_matches('"');
    assert!(shown.contains(&format!("password {password} ")), "{shown}");
    let given = format!("admin_password={PASSWORD}");
    let terminal = started(&scratch("terminal"), &["--variable", &given]);
    terminal.until(&format!(
        "Administrator: admin@localmart.test, password {PASSWORD}"
    ));
    // A pipe gets the way to it.
    let shop = Shop::start_in(&scratch("pipe"), &[]);
    shop.eventually("it says how to get the password", || {
        let way = format!("localmart secrets --state-dir {}", shop.state.display());
        shop.out().contains(&way)
    });
    let file = std::fs::read_to_string(shop.state.join("secrets.toml")).unwrap();
    let password = file
        .lines()
        .find_map(|line| line.strip_prefix("admin_password = "));
    let password = password.unwrap().trim_matches('"');
    assert!(!shop.out().contains(password) && !shop.log().contains(password));
}

#[test]
fn own_keys_work_from_the_first_start_with_an_empty_store() {
    let (private, public) = pair(7);
    let both = [
        ("SPIN_VARIABLE_JWT_PRIVATE_KEY", private.as_str()),
        ("SPIN_VARIABLE_JWT_PUBLIC_KEY", public.as_str()),
    ];
    // The public key follows from the private one.
    for environment in [&both[..], &both[..1]] {
        let state = scratch("keys");
        let shop = Shop::start_seeded(&state, &[], environment);
        let page = shop.get("/api/products?limit=1").expect(200).json();
        assert!(page["items"][0]["id"].is_string(), "{page}");
        // The verb knows the key from the running shop, not from its own environment.
        let category = json!({ "slug": "own", "name": "Own" });
        shop.staff("POST", "/api/categories", &category).expect(201);
        let user = User::register(&shop);
        user.send(&shop, "GET", "/api/users/me", &json!(null))
            .expect(200);
        let shown = printed(&verb(&["secrets"], &state, &[]));
        assert!(
            shown.contains(&private) && shown.contains(&public),
            "{shown}"
        );
        let file = std::fs::read_to_string(state.join("secrets.toml")).unwrap();
        assert!(!file.contains(&private), "it is never written down: {file}");
    }
}

#[test]
fn tokens_of_a_stopped_shop_are_made_with_the_given_key() {
    let (private, public) = pair(9);
    let key = TokenKey::parse(&public).unwrap();
    let now = Ports::real().now();
    let state = scratch("stopped");
    let flag = format!("jwt_private_key={private}");
    let variable = [("SPIN_VARIABLE_JWT_PRIVATE_KEY", private.as_str())];
    for output in [
        verb(&["token", "--variable", &flag], &state, &[]),
        verb(&["token"], &state, &variable),
    ] {
        assert!(output.status.success(), "{}", printed(&output));
        assert!(key.verify(printed(&output).trim(), now).is_some());
    }
    let other = printed(&verb(&["token"], &state, &[]));
    assert!(
        key.verify(other.trim(), now).is_none(),
        "the generated key is another"
    );
}

#[test]
fn keys_that_are_no_keys_are_refused_before_anything_is_made() {
    built();
    let ((private, _), (_, other)) = (pair(1), pair(2));
    let variable = |name: &str, value: &str| vec![format!("{name}={value}")];
    let two = [
        format!("jwt_private_key={private}"),
        format!("jwt_public_key={other}"),
    ];
    for (variables, named) in [
        (
            variable("jwt_public_key", "zzz"),
            "jwt_public_key is not an Ed25519 public key",
        ),
        (
            variable("jwt_public_key", ""),
            "jwt_public_key is not an Ed25519 public key",
        ),
        (
            variable("jwt_private_key", "zzz"),
            "jwt_private_key is not an Ed25519 private key",
        ),
        (
            two.to_vec(),
            "jwt_public_key is not the public key of jwt_private_key",
        ),
        (variable("sweep_token", "zzz y"), "sweep_token must be"),
        (variable("order_token_key", ""), "order_token_key is empty"),
        (
            variable("payment_webhook_secret", " "),
            "payment_webhook_secret is empty",
        ),
        (variable("admin_password", ""), "admin_password must have"),
    ] {
        let state = scratch("refused");
        let mut words = vec!["up", "--no-build", "--listen", "127.0.0.1:0"];
        words.extend(["--observe-listen", "127.0.0.1:0"]);
        words.extend(
            variables
                .iter()
                .flat_map(|one| ["--variable", one.as_str()]),
        );
        let output = verb(&words, &state, &[]);
        let said = printed(&output);
        assert!(
            !output.status.success() && said.contains(named),
            "{variables:?}: {said}"
        );
        assert!(said.contains("help") && !said.contains("zzz"), "{said}");
        assert!(!state.join("order.db").exists(), "{variables:?}");
    }
    let state = scratch("refused");
    let environment = [("SPIN_VARIABLE_JWT_PUBLIC_KEY", "zzz")];
    let said = printed(&verb(&["up", "--no-build"], &state, &environment));
    assert!(said.contains("SPIN_VARIABLE_JWT_PUBLIC_KEY"), "{said}");
}

#[test]
fn exported_secrets_are_words_of_a_shell() {
    let state = scratch("export");
    let given = "admin_password=it's $HOME";
    let output = verb(&["secrets", "--export", "--variable", given], &state, &[]);
    let shell = format!(
        "{}\nprintf %s \"$SPIN_VARIABLE_ADMIN_PASSWORD\"",
        printed(&output)
    );
    let said = std::process::Command::new("sh")
        .args(["-c", &shell])
        .output();
    assert_eq!(printed(&said.unwrap()), "it's $HOME");
}
