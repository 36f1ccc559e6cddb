//! A harness that speaks like a user: it starts the real binary on a state folder of its own and talks HTTP to it.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once, and not every test binary uses all of it"
)]

#[path = "harness/clock.rs"]
mod clock;
#[path = "harness/terminal.rs"]
mod terminal;
#[path = "harness/user.rs"]
mod user;

pub use clock::{LEASES_EXPIRE, TEST_CLOCK};
pub use terminal::Terminal;
pub use user::{User, checkout};

use localmart_guest::token::{NewToken, TokenSigner};
use localmart_testkit::servers;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a shop may take until it serves; compiling the components comes first.
const START: Duration = Duration::from_secs(180);

/// How long a token of a test is valid, in seconds.
const TOKEN_SECONDS: i64 = 900;

/// How long a test waits for what events bring about.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The command under test.
pub fn localmart() -> Command {
    Command::new(env!("CARGO_BIN_EXE_localmart"))
}

/// Builds the components once per test binary.
pub fn built() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        build(&[]);
        compiled(&[]);
    });
}

/// Builds the components with named points once per test binary.
pub fn built_with_points() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        built();
        build(&["--points"]);
        compiled(&["--point", "nowhere=kill"]);
    });
}

/// Lets one shop compile what all the others then find compiled: many at once would all do it.
fn compiled(flags: &[&str]) {
    drop(Shop::start_on(
        Stores::EMBEDDED,
        &scratch("compiled"),
        flags,
    ));
}

fn build(flags: &[&str]) {
    let manifest = root().join("spin.toml");
    let status = localmart()
        .arg("build")
        .arg("-f")
        .arg(manifest)
        .args(flags)
        .status();
    assert!(status.unwrap().success(), "the components do not build");
}

/// A folder that is this test's alone.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{number}", std::process::id()));
    // Left from an earlier process with the same id, if it exists at all.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Where a shop keeps what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stores {
    /// A Postgres server instead of SQLite files.
    pub postgres: bool,
    /// A Redis server instead of the key-value file.
    pub redis: bool,
}

impl Stores {
    /// SQLite, key-value, SQL bus.
    pub const EMBEDDED: Self = Self {
        postgres: false,
        redis: false,
    };
    /// Postgres, Redis, Streams.
    pub const SERVERS: Self = Self {
        postgres: true,
        redis: true,
    };

    /// The flags of a shop on these stores; the same state folder always gets the same databases. A server that is not
    /// installed is replaced by the embedded store, which `servers` says aloud.
    pub fn flags(self, state: &Path) -> Vec<String> {
        static KNOWN: Mutex<Vec<(PathBuf, Vec<String>)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap();
        if let Some((_, flags)) = known.iter().find(|(folder, _)| folder == state) {
            return flags.clone();
        }
        let mut flags = Vec::new();
        let mut add = |name: &str, url: Option<String>| {
            if let Some(url) = url {
                flags.extend(["--variable".to_owned(), format!("{name}={url}")]);
            }
        };
        if self.postgres {
            add("database_url", servers::postgres_database());
        }
        if self.redis {
            add("redis_url", servers::redis_database());
        }
        known.push((state.to_owned(), flags.clone()));
        flags
    }
}

/// A running shop.
pub struct Shop {
    child: Child,
    /// Ends the shop when this process ends, however it does: a shared shop is never dropped.
    watchdog: Child,
    /// `http://127.0.0.1:PORT`.
    pub base: String,
    /// `http://127.0.0.1:PORT` of the observe address.
    pub observe: String,
    /// Its state folder.
    pub state: PathBuf,
    /// What it printed on stderr so far.
    log: Arc<Mutex<String>>,
    /// What it printed on stdout so far.
    out: Arc<Mutex<String>>,
    agent: ureq::Agent,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The `field:code` pairs of a 422.
    pub fn fields(&self) -> Vec<String> {
        let body = self.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = body["errors"].as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| format!("{}:{}", text(&entry["field"]), text(&entry["code"])))
            .collect()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub fn expect_code(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.code(), code, "{reply:?}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json")
        );
        reply
    }
}

impl Shop {
    /// A shop with an empty store.
    pub fn start() -> Self {
        built();
        Self::start_in(&scratch("state"), &[])
    }

    /// A shop on a state folder, with more flags. Named points need `built_with_points`.
    pub fn start_in(state: &Path, flags: &[&str]) -> Self {
        Self::start_on(crate::STORES, state, flags)
    }

    /// A shop on other stores than this binary's.
    pub fn start_on(stores: Stores, state: &Path, flags: &[&str]) -> Self {
        let stores = stores.flags(state);
        let stores = stores.iter().map(String::as_str);
        let binding = ["--binding", crate::BINDING];
        let flags: Vec<&str> = stores.chain(binding).chain(flags.iter().copied()).collect();
        Self::start_app(&root().join("spin.toml"), state, &flags)
    }

    /// A shop with variables in its environment.
    pub fn start_observed(stores: Stores, state: &Path, environment: &[(&str, &str)]) -> Self {
        built();
        let stores = stores.flags(state);
        let mut flags: Vec<&str> = stores.iter().map(String::as_str).collect();
        flags.extend(["--binding", crate::BINDING]);
        Self::start_with(&root().join("spin.toml"), state, &flags, environment)
    }

    /// Any application.
    pub fn start_app(manifest: &Path, state: &Path, flags: &[&str]) -> Self {
        Self::start_with(manifest, state, flags, &[])
    }

    pub fn start_with(
        manifest: &Path,
        state: &Path,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let flags = [&["--no-seed"], flags].concat();
        Self::spawn(manifest, state, &flags, environment)
    }

    /// A shop that fills its empty store, as shops do.
    pub fn start_seeded(state: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        built();
        Self::spawn(&root().join("spin.toml"), state, flags, environment)
    }

    fn spawn(manifest: &Path, state: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aot");
        let mut command = localmart();
        command
            .arg("up")
            .arg("-f")
            .arg(manifest)
            .arg("--state-dir")
            .arg(state)
            .arg("--cache-dir")
            .arg(cache);
        if !flags.contains(&"--watch") {
            command.arg("--no-build");
        }
        command
            .args(["--listen", "127.0.0.1:0", "--observe-listen", "127.0.0.1:0"])
            .args(flags)
            .envs(environment.iter().copied())
            .current_dir(manifest.parent().unwrap());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut watchdog = Command::new("sh");
        watchdog
            .arg("-c")
            .arg(format!("read line; kill -9 {} 2>/dev/null", child.id()));
        let watchdog = watchdog
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (copy, stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                copy.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let (lines, heard) = std::sync::mpsc::channel();
        let out = Arc::new(Mutex::new(String::new()));
        let (copy, stdout) = (out.clone(), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                copy.lock().unwrap().push_str(&format!("{line}\n"));
                let _ = lines.send(line);
            }
        });
        let (mut base, mut observe) = (None, None);
        let give_up = Instant::now() + START;
        while base.is_none() || observe.is_none() {
            let line = heard.recv_timeout(give_up.saturating_duration_since(Instant::now()));
            let line =
                line.unwrap_or_else(|_| panic!("it does not serve: {}", log.lock().unwrap()));
            base = base.or_else(|| line.strip_prefix("Serving ").map(str::to_owned));
            observe = observe.or_else(|| {
                Some(
                    line.strip_prefix("Observe: ")?
                        .strip_suffix("/metrics")?
                        .to_owned(),
                )
            });
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .allow_non_standard_methods(true)
            .max_idle_connections_per_host(64)
            .build();
        Self {
            child,
            watchdog,
            base: base.unwrap(),
            observe: observe.unwrap(),
            state: state.to_owned(),
            log,
            out,
            agent: config.into(),
        }
    }

    /// The shop that tests share when they bring their own products.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Shop> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        self.try_send(method, &url, headers, body)
            .unwrap_or_else(|error| panic!("{method} {url}: {error}"))
    }

    /// Like `send`, for a shop that may die meanwhile.
    pub fn try_send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            [] => self.agent.run(request.body(()).unwrap())?,
            body => self.agent.run(request.body(body).unwrap())?,
        };
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| {
                (
                    name.to_string(),
                    value.to_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        Ok(Reply {
            status: response.status().as_u16(),
            headers,
            text: response.body_mut().read_to_string()?,
        })
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], &[])
    }

    /// Its numbers, in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let path = format!("{}/metrics", self.observe);
        self.send("GET", &path, &[], &[]).expect(200).text
    }

    pub fn json(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.send(method, path, &headers, body.to_string().as_bytes())
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.json("POST", path, &[], body)
    }

    /// As staff.
    pub fn staff(&self, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.token("staff"));
        self.json(method, path, &[("authorization", &bearer)], body)
    }

    /// A token as `localmart token` makes it, without a process of its own.
    pub fn token(&self, role: &str) -> String {
        let secrets = std::fs::read_to_string(self.state.join("secrets.toml")).unwrap();
        let secrets: toml::Table = secrets.parse().unwrap();
        let key = secrets["jwt_private_key"].as_str().unwrap();
        let now = SystemTime::now() + localmart_host::clock::ahead_of(&self.state).unwrap();
        let now = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
        TokenSigner::parse(key).unwrap().sign(NewToken {
            subject: &format!("cli-{role}"),
            roles: &[role],
            session: None,
            id: &fresh_key(),
            issued_s: i64::try_from(now).unwrap(),
            seconds: TOKEN_SECONDS,
        })
    }

    /// A published product with stock; returns its id.
    pub fn product(&self, price: u64, stock: i64) -> String {
        self.product_in("USD", price, stock)
    }

    pub fn product_in(&self, currency: &str, price: u64, stock: i64) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let bearer = format!("Bearer {}", self.token("staff"));
        let auth = [("authorization", bearer.as_str())];
        // Whoever is first makes the category.
        self.json(
            "POST",
            "/api/categories",
            &auth,
            &json!({ "slug": "things", "name": "Things" }),
        );
        let product = json!({
            "sku": format!("T-{number}"), "name": format!("Thing {number}"), "description": "A thing.", "category": "things",
            "price": { "amount": price, "currency": currency }, "published": true,
        });
        let product = self
            .json("POST", "/api/products", &auth, &product)
            .expect(201);
        let id = product.json()["id"].as_str().unwrap().to_owned();
        if stock > 0 {
            let path = format!("/api/inventory/{id}/adjustments");
            self.json(
                "POST",
                &path,
                &auth,
                &json!({ "delta": stock, "reason": "test" }),
            )
            .expect(200);
        }
        id
    }

    /// A cart with so many of a product; returns its id.
    pub fn cart_with(&self, product: &str, quantity: u32) -> String {
        let cart = self.send("POST", "/api/carts", &[], &[]).expect(201).json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        self.post(
            &format!("/api/carts/{cart}/items"),
            &json!({ "product_id": product, "quantity": quantity }),
        )
        .expect(200);
        cart
    }

    /// Checks out; the body can be changed first.
    pub fn order(&self, key: &str, body: &Value) -> Reply {
        self.json("POST", "/api/orders", &[("idempotency-key", key)], body)
    }

    /// On hand, reserved.
    pub fn stock(&self, product: &str) -> (u64, u64) {
        let level = self
            .get(&format!("/api/inventory/{product}"))
            .expect(200)
            .json();
        (
            level["on_hand"].as_u64().unwrap(),
            level["reserved"].as_u64().unwrap(),
        )
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn eventually(&self, what: &str, is_so: impl Fn() -> bool) {
        let give_up = Instant::now() + EVENTUALLY;
        while !is_so() {
            assert!(Instant::now() < give_up, "never: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// What it printed on stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it printed on stdout so far.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself; the code it ends with.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its number may soon be somebody else's.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

/// A key that nobody used.
pub fn fresh_key() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "key-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs many at once; their results in the order of the numbers.
pub fn at_once<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                scope.spawn({
                    let act = &act;
                    move || act(number)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Everything a command printed, for commands that end.
/// An error without the frame that it is drawn in, which may break lines anywhere.
pub fn unframed(said: &str) -> String {
    let flat = said.replace(['│', '╰', '╭', '─', '·', '▶', '\n'], " ");
    flat.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Sends bytes as they are and reads the answer until the connection ends.
pub fn raw(base: &str, bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The other side may answer and close before everything was sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
