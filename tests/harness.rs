//! The harness of the black-box tests: starts the real binary on a state folder of its own and sends HTTP requests to it.

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
#[path = "harness/hostile.rs"]
mod hostile;
#[path = "harness/terminal.rs"]
mod terminal;
#[path = "harness/user.rs"]
mod user;

pub use clock::{LEASES_EXPIRE, TEST_CLOCK};
pub use hostile::{Hostile, one_of_a_thousand};
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

/// How long a shop may take to start, including the compilation of its components.
const START: Duration = Duration::from_secs(180);

/// How long a token of a test is valid, in seconds.
const TOKEN_SECONDS: i64 = 900;

/// How long a test waits for the effect of an event.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// The root folder of the repository.
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
        fill_compile_cache(&[]);
    });
}

/// Builds the components with named points once per test binary.
pub fn built_with_points() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        built();
        build(&["--points"]);
        fill_compile_cache(&["--point", "nowhere=kill"]);
    });
}

/// Starts one shop, so that the others find the components compiled. Otherwise many shops would compile them at once.
fn fill_compile_cache(flags: &[&str]) {
    drop(Shop::start_on(
        Stores::EMBEDDED,
        &scratch("compile-cache"),
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
    assert!(status.unwrap().success(), "building the components failed");
}

/// A new folder for one test.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{number}", std::process::id()));
    // An earlier process with the same process id may have left the folder behind.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The stores of a shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stores {
    /// Postgres instead of SQLite files.
    pub postgres: bool,
    /// Redis instead of the key-value file and the SQL bus.
    pub redis: bool,
}

impl Stores {
    /// SQLite, key-value file, SQL bus.
    pub const EMBEDDED: Self = Self {
        postgres: false,
        redis: false,
    };
    /// Postgres, Redis, Redis Streams.
    pub const SERVERS: Self = Self {
        postgres: true,
        redis: true,
    };

    /// The flags of a shop on these stores. The same state folder always gets the same databases. If a server is not
    /// installed, the embedded store is used and `servers` prints a message.
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
    /// Kills the shop when this process ends in any way. Necessary because the shared shop is never dropped.
    watchdog: Child,
    /// The address of the shop: `http://127.0.0.1:PORT`.
    pub base: String,
    /// The observe address: `http://127.0.0.1:PORT`.
    pub observe: String,
    /// The state folder.
    pub state: PathBuf,
    /// The standard error of the shop so far.
    log: Arc<Mutex<String>>,
    /// The standard output of the shop so far.
    out: Arc<Mutex<String>>,
    agent: ureq::Agent,
}

/// An HTTP response.
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

    /// The errors of a 422 as `field:code`.
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
    /// Starts a shop on empty stores.
    pub fn start() -> Self {
        built();
        Self::start_in(&scratch("state"), &[])
    }

    /// Starts a shop on a state folder, with more flags. Named points need `built_with_points`.
    pub fn start_in(state: &Path, flags: &[&str]) -> Self {
        Self::start_on(crate::STORES, state, flags)
    }

    /// Starts a shop on other stores than the default of this test binary.
    pub fn start_on(stores: Stores, state: &Path, flags: &[&str]) -> Self {
        let stores = stores.flags(state);
        let stores = stores.iter().map(String::as_str);
        let binding = ["--binding", crate::BINDING];
        let flags: Vec<&str> = stores.chain(binding).chain(flags.iter().copied()).collect();
        Self::start_app(&root().join("spin.toml"), state, &flags)
    }

    /// Starts a shop with environment variables.
    pub fn start_observed(stores: Stores, state: &Path, environment: &[(&str, &str)]) -> Self {
        built();
        let stores = stores.flags(state);
        let mut flags: Vec<&str> = stores.iter().map(String::as_str).collect();
        flags.extend(["--binding", crate::BINDING]);
        Self::start_with(&root().join("spin.toml"), state, &flags, environment)
    }

    /// Starts any application.
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

    /// Starts a shop that seeds its empty stores, which is the default of `localmart up`.
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
            // An application in a registry has no folder.
            .current_dir(
                manifest
                    .parent()
                    .filter(|folder| folder.is_dir())
                    .unwrap_or(state),
            );
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
        let (lines, received) = std::sync::mpsc::channel();
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
            let line = received.recv_timeout(give_up.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| {
                panic!("the application did not start: {}", log.lock().unwrap())
            });
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

    /// The shop that tests share if they create their own products.
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

    /// Like `send`, for a shop that may die during the request.
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

    /// The metrics, in the Prometheus text format.
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

    /// Sends JSON with a staff token.
    pub fn staff(&self, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.token("staff"));
        self.json(method, path, &[("authorization", &bearer)], body)
    }

    /// A token like the one from `localmart token`, signed in this process.
    pub fn token(&self, role: &str) -> String {
        let secrets = std::fs::read_to_string(self.state.join("secrets.toml")).unwrap();
        let secrets: toml::Table = secrets.parse().unwrap();
        let Some(key) = secrets.get("jwt_private_key") else {
            return self.token_of_command(role);
        };
        let key = key.as_str().unwrap();
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

    /// A token that `localmart token` prints, for a shop whose keys are not in its state folder.
    fn token_of_command(&self, role: &str) -> String {
        let output = localmart()
            .args(["token", "--role", role, "--shop", &self.base])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", printed(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Creates a published product with stock; returns its id.
    pub fn product(&self, price: u64, stock: i64) -> String {
        self.product_in("USD", price, stock)
    }

    pub fn product_in(&self, currency: &str, price: u64, stock: i64) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let bearer = format!("Bearer {}", self.token("staff"));
        let auth = [("authorization", bearer.as_str())];
        // The first caller creates the category.
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

    /// Creates a cart with a product; returns its id.
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

    /// Places an order.
    pub fn order(&self, key: &str, body: &Value) -> Reply {
        self.json("POST", "/api/orders", &[("idempotency-key", key)], body)
    }

    /// The numbers of pieces on hand and reserved.
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

    /// Waits until a condition holds.
    #[track_caller]
    pub fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let give_up = Instant::now() + EVENTUALLY;
        while !condition() {
            assert!(
                Instant::now() < give_up,
                "timed out waiting for: {what}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The standard error of the shop so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The standard output of the shop so far.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process exits by itself; returns the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The watchdog must not kill an unrelated process that reuses the process id.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

/// What the start of a shop says that is refused.
#[track_caller]
pub fn refused_start(state: &Path, flags: &[&str]) -> String {
    let output = localmart()
        .args(["up", "--no-build", "--no-seed", "--listen", "127.0.0.1:0"])
        .args(["--observe-listen", "127.0.0.1:0", "-f"])
        .arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(state)
        .args(flags)
        .output()
        .unwrap();
    let said = unframed(&printed(&output));
    assert!(!output.status.success(), "{flags:?}: {said}");
    said
}

/// A new idempotency key.
pub fn fresh_key() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "key-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs many calls concurrently; returns their results in the order of their numbers.
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

/// An error message without the frame around it, on a single line, because the frame may break lines anywhere.
pub fn unframed(output: &str) -> String {
    let flat = output.replace(['│', '╰', '╭', '─', '·', '▶', '\n'], " ");
    flat.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The standard output and standard error of a finished command.
pub fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Sends raw bytes and reads the answer until the connection closes.
pub fn raw(base: &str, bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The server may answer and close before everything was sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
