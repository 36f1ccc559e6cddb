//! Verbs find a running shop by themselves, take a name for another, and ask which one is meant where several run.

use crate::harness::{Shop, Stores, User, built, localmart, printed, root, scratch};
use localmart_testkit::servers;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

/// A machine on which only the shops of one test run: control sockets are in a folder of their own.
struct Machine {
    sockets: PathBuf,
    /// A working directory without a manifest.
    elsewhere: PathBuf,
}

impl Machine {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        built();
        // The path of a socket must be short.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lm-{}-{number}", std::process::id());
        let sockets = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&sockets);
        std::fs::create_dir_all(&sockets).unwrap();
        Self {
            sockets,
            elsewhere: scratch("elsewhere"),
        }
    }

    fn shop(&self, flags: &[&str]) -> Shop {
        let runtime = self.sockets.to_str().unwrap();
        let environment = [("XDG_RUNTIME_DIR", runtime)];
        let manifest = root().join("spin.toml");
        Shop::start_with(&manifest, &scratch("shop"), flags, &environment)
    }

    /// Runs a verb in a folder.
    fn verb_in(&self, folder: &Path, words: &[&str]) -> Output {
        let mut verb = localmart();
        verb.args(words).current_dir(folder);
        verb.env("XDG_RUNTIME_DIR", &self.sockets).output().unwrap()
    }

    #[track_caller]
    fn does(&self, words: &[&str]) -> String {
        let output = self.verb_in(&self.elsewhere, words);
        assert!(output.status.success(), "{words:?}: {}", printed(&output));
        printed(&output)
    }

    #[track_caller]
    fn refuses(&self, words: &[&str]) -> String {
        let output = self.verb_in(&self.elsewhere, words);
        assert!(!output.status.success(), "{words:?}: {}", printed(&output));
        printed(&output)
    }

    /// What the control socket of a shop answers.
    fn asked(&self, shop: &Shop, path: &str) -> String {
        let port = shop.base.rsplit_once(':').unwrap().1;
        let socket = self.sockets.join(format!("localmart/{port}.sock"));
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut stream = UnixStream::connect(socket).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}

/// The verbs that are about a shop, each with what it needs.
const VERBS: &[&[&str]] = &[
    &["events", "list"],
    &["events", "lag"],
    &["verify"],
    &["token"],
    &["secrets"],
    &["status"],
    &["fault", "list"],
    &["top", "--times", "1", "--every", "10ms"],
];

#[test]
fn the_only_shop_that_runs_is_found_from_anywhere() {
    let machine = Machine::new();
    for words in VERBS {
        let said = machine.refuses(words);
        assert!(
            said.contains("no shop of yours is running") && said.contains("help"),
            "{said}"
        );
    }
    let shop = machine.shop(&["--variable", "admin_password=a-given-password"]);
    for words in VERBS {
        machine.does(words);
    }
    let token = machine.does(&["token", "--role", "admin"]);
    let bearer = format!("Bearer {}", token.trim());
    let users = |bearer: &str| shop.send("GET", "/api/users", &[("authorization", bearer)], &[]);
    users(&bearer).expect(200);
    assert!(
        machine
            .does(&["secrets"])
            .contains("admin_password = \"a-given-password\"")
    );
    machine.does(&["seed"]);
    let page = shop.get("/api/products?limit=1").expect(200).json();
    assert!(page["items"][0]["id"].is_string(), "{page}");
    let said = machine.does(&["status"]);
    for part in [
        shop.base.as_str(),
        shop.observe.as_str(),
        shop.state.to_str().unwrap(),
        "spin.toml",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    // What is not secret and what is are two questions.
    let about = machine.asked(&shop, "/about");
    assert!(about.contains(shop.state.to_str().unwrap()), "{about}");
    assert!(!about.contains("a-given-password"), "{about}");
    assert!(
        machine
            .asked(&shop, "/variables")
            .contains("a-given-password")
    );
}

#[test]
fn where_several_run_a_verb_asks_which() {
    let machine = Machine::new();
    let (one, other) = (machine.shop(&[]), machine.shop(&[]));
    for words in VERBS.iter().chain(&[&["seed"][..]]) {
        let said = machine.refuses(words);
        for shop in [&one, &other] {
            assert!(said.contains(&shop.base), "{said}");
            assert!(said.contains(shop.state.to_str().unwrap()), "{said}");
        }
        assert!(said.contains("--shop"), "{said}");
    }
    let user = User::register(&other);
    let address = other.base.trim_start_matches("http://");
    let port = address.rsplit_once(':').unwrap().1;
    let local = format!("localhost:{port}");
    for name in [
        &other.base,
        address,
        local.as_str(),
        other.state.to_str().unwrap(),
    ] {
        for words in VERBS {
            machine.does(&[words, &["--shop", name][..]].concat());
        }
        let said = machine.does(&["events", "list", "--shop", name]);
        assert!(said.contains(&user.id), "{said}");
        let said = machine.does(&["status", "--shop", name]);
        assert!(said.contains(&other.base), "{said}");
    }
    // The older flags mean what they meant.
    assert!(
        machine
            .does(&["status", "--listen", address])
            .contains(&other.base)
    );
    let manifest = root().join("spin.toml");
    let older = [
        "-f",
        manifest.to_str().unwrap(),
        "--state-dir",
        other.state.to_str().unwrap(),
    ];
    let said = machine.does(&[&["events", "list"], &older[..]].concat());
    assert!(said.contains(&user.id), "{said}");
    machine.does(&["seed", "--url", &other.base]);
    assert!(one.get("/api/products").expect(200).json()["items"][0].is_null());
    let said = machine.refuses(&["token", "-f", manifest.to_str().unwrap()]);
    assert!(said.contains("several shops are running"), "{said}");
    let nobody = format!("127.0.0.1:{}", servers::closed_port());
    for words in VERBS {
        let said = machine.refuses(&[words, &["--shop", &nobody][..]].concat());
        assert!(said.contains(&nobody) && said.contains(&one.base), "{said}");
    }
}

#[test]
fn a_stopped_shop_is_named_by_its_folder() {
    let machine = Machine::new();
    let mut shop = machine.shop(&[]);
    let user = User::register(&shop);
    shop.eventually("its event is published", || {
        machine.does(&["events", "list"]).contains(&user.id)
    });
    shop.kill();
    let manifest = root().join("spin.toml");
    let (manifest, folder) = (manifest.to_str().unwrap(), shop.state.to_str().unwrap());
    let said = machine.does(&["events", "list", "--shop", folder, "-f", manifest]);
    assert!(said.contains(&user.id), "{said}");
    machine.does(&["verify", "--shop", folder, "-f", manifest]);
    let said = machine.refuses(&["status", "--shop", folder]);
    assert!(said.contains(folder), "{said}");
    let said = machine.refuses(&["events", "list", "--shop", "/no/such/folder"]);
    assert!(said.contains("/no/such/folder"), "{said}");
}

#[test]
fn a_shop_that_runs_elsewhere_is_named_where_another_is_here() {
    let machine = Machine::new();
    let shop = machine.shop(&[]);
    let here = scratch("here");
    std::fs::create_dir_all(here.join(".localmart")).unwrap();
    let output = machine.verb_in(&here, &["events", "lag"]);
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{note}");
    assert!(
        note.contains(&shop.base) && note.contains("--shop .localmart"),
        "{note}"
    );
}

#[test]
fn verbs_use_the_servers_that_the_running_shop_uses() {
    let machine = Machine::new();
    let flags = Stores::SERVERS.flags(&machine.sockets);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let shop = machine.shop(&flags);
    let user = User::register(&shop);
    shop.eventually("its event is published", || {
        machine.does(&["events", "list"]).contains(&user.id)
    });
    let said = machine.does(&["verify"]);
    assert!(said.contains("clean"), "{said}");
}
