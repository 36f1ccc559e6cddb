//! Postgres, Redis, Mosquitto and a registry as child processes of a test, started on first use and stopped with the test process. If a
//! program is not installed, the test prints that it is skipped. With `CI=true` a missing program is a failure.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
/// The number of connections that the Postgres server accepts: enough for many shops at once.
const CONNECTIONS: u32 = 900;
/// The registry, as Debian names it.
const REGISTRY: &str = "docker-registry";
/// The number of databases of the Redis server.
const REDIS_DATABASES: u32 = 4096;

/// The address of the first database of the Postgres server.
pub fn postgres() -> Option<String> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(Server::postgres);
    server.as_ref().map(Server::url)
}

/// The address of a new database on the Postgres server.
pub fn postgres_database() -> Option<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = postgres()?;
    let name = format!("shop{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let connection = localmart_stores::Postgres::open(&server, "public").unwrap();
    connection
        .batch(&format!("CREATE DATABASE {name}"))
        .unwrap();
    Some(server.replace("/postgres", &format!("/{name}")))
}

/// The address of an unused database on the Redis server.
pub fn redis_database() -> Option<String> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(Server::redis).as_ref()?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed) % REDIS_DATABASES;
    Some(format!("redis://127.0.0.1:{}/{number}", server.port))
}

/// The port of the MQTT server.
pub fn mqtt() -> Option<u16> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(Server::mqtt);
    server.as_ref().map(|server| server.port)
}

/// Whether Postgres and Redis are installed; prints a message if not.
pub fn is_installed() -> bool {
    let redis = Command::new("redis-server").arg("--version").output();
    match (postgres_programs(), redis) {
        (Some(_), Ok(_)) => true,
        (None, _) => skip_without::<()>("Postgres").is_some(),
        (_, Err(_)) => skip_without::<()>("Redis").is_some(),
    }
}

/// The files of a server with TLS, in PEM.
#[derive(Clone, Copy, Debug)]
pub struct TlsFiles<'p> {
    /// The certificate of the server.
    pub certificate: &'p str,
    /// Its key.
    pub key: &'p str,
    /// The authority of the clients' certificates.
    pub authority: &'p str,
}

/// The files of a server with TLS, in its folder.
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
const AUTHORITY: &str = "clients.crt";

/// Whether a server has TLS.
fn has_tls(folder: &Path) -> bool {
    folder.join(CERTIFICATE).exists()
}

/// Makes a file readable for the user that the server runs as, and for nobody else.
fn own(file: &Path, folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let owner = folder.metadata().unwrap();
        chown(file, Some(owner.uid()), Some(owner.gid())).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = (file, folder);
}

/// A server that can be killed and started again, on its port and with its data.
pub struct Server {
    kind: Kind,
    folder: PathBuf,
    port: u16,
    child: Child,
    /// Stops the server when this process ends.
    watchdog: Child,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Whether a commit waits until the data is on disk.
    Postgres {
        durable: bool,
    },
    Redis,
    Mqtt,
    /// The reference implementation of the OCI distribution specification.
    Registry,
}

impl Server {
    /// Starts a separate Postgres; `None` if it is not installed.
    pub fn postgres() -> Option<Self> {
        Self::new_postgres(false)
    }

    /// Starts a separate Postgres whose commits wait until the data is on disk.
    pub fn durable_postgres() -> Option<Self> {
        Self::new_postgres(true)
    }

    fn new_postgres(durable: bool) -> Option<Self> {
        let Some(programs) = postgres_programs() else {
            return skip_without("Postgres");
        };
        let folder = folder("postgres");
        let mut initdb = as_owner(&programs.join("initdb"), &folder);
        initdb.args(["--no-sync", "-A", "trust", "-U", "localmart"]);
        initdb.args(["-E", "UTF8", "--locale=C", "-D"]);
        let made = initdb.arg(folder.join("data")).output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Some(Self::spawn(Kind::Postgres { durable }, folder))
    }

    /// Starts a separate Postgres that requires TLS and a client certificate; `None` if it is not installed.
    pub fn postgres_with_tls(pem: &TlsFiles<'_>) -> Option<Self> {
        let mut server = Self::new_postgres(false)?;
        server.kill();
        let hba = "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n";
        std::fs::write(server.folder.join("data/pg_hba.conf"), hba).unwrap();
        server.use_certificate(pem);
        server.start();
        Some(server)
    }

    /// Starts a separate Redis that requires TLS and a client certificate; `None` if it is not installed.
    pub fn redis_with_tls(pem: &TlsFiles<'_>) -> Option<Self> {
        let mut server = Self::redis()?;
        server.kill();
        server.use_certificate(pem);
        server.start();
        Some(server)
    }

    /// Starts a separate Mosquitto that requires TLS and a client certificate; `None` if it is not installed.
    pub fn mqtt_with_tls(pem: &TlsFiles<'_>) -> Option<Self> {
        let mut server = Self::mqtt()?;
        server.kill();
        server.use_certificate(pem);
        server.start();
        Some(server)
    }

    /// Replaces the files of a server with TLS, for its next start.
    pub fn use_certificate(&self, pem: &TlsFiles<'_>) {
        for (name, text) in [
            (CERTIFICATE, pem.certificate),
            (KEY, pem.key),
            (AUTHORITY, pem.authority),
        ] {
            let file = self.folder.join(name);
            std::fs::write(&file, text).unwrap();
            own(&file, &self.folder);
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts a separate Redis with an append-only file; `None` if it is not installed.
    pub fn redis() -> Option<Self> {
        let installed = Command::new("redis-server").arg("--version").output();
        if installed.is_err() {
            return skip_without("Redis");
        }
        Some(Self::spawn(Kind::Redis, folder("redis")))
    }

    /// Starts a separate Mosquitto; `None` if it is not installed.
    pub fn mqtt() -> Option<Self> {
        if mosquitto().is_none() {
            return skip_without("Mosquitto");
        }
        Some(Self::spawn(Kind::Mqtt, folder("mqtt")))
    }

    /// Starts a separate registry for OCI artifacts; `None` if it is not installed.
    pub fn registry() -> Option<Self> {
        let installed = Command::new(REGISTRY).arg("--version").output();
        if installed.is_err() {
            return skip_without("docker-registry");
        }
        Some(Self::spawn(Kind::Registry, folder("registry")))
    }

    /// The folder of the server's data and configuration.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address of the server, with its first database.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Postgres { .. } => {
                format!("postgres://localmart@127.0.0.1:{}/postgres", self.port)
            }
            Kind::Redis => format!("redis://127.0.0.1:{}/0", self.port),
            Kind::Mqtt => format!("mqtt://127.0.0.1:{}", self.port),
            Kind::Registry => format!("127.0.0.1:{}", self.port),
        }
    }

    /// Kills the server with SIGKILL: it closes no connection and flushes nothing.
    pub fn kill(&mut self) {
        let id = self.child.id().to_string();
        let run = |program: &str, arguments: &[&str]| {
            // The process may have ended already.
            let _ = Command::new(program).args(arguments).status();
        };
        // The watchdog must not kill an unrelated process that reuses the process id.
        let _ = self.watchdog.kill();
        self.watchdog.wait().unwrap();
        // Kill the children of Postgres first, so that the parent cannot react to their end.
        run("kill", &["-STOP", &id]);
        run("pkill", &["-KILL", "-P", &id]);
        run("kill", &["-KILL", &id]);
        self.child.wait().unwrap();
    }

    /// Starts the server again after [`Server::kill`].
    pub fn start(&mut self) {
        let give_up = Instant::now() + START;
        loop {
            self.child = self.kind.start(&self.folder, self.port);
            if self.kind.answers(&self.folder, self.port, &mut self.child) {
                break;
            }
            assert!(Instant::now() < give_up, "{:?} does not start", self.kind);
            self.child.wait().unwrap();
        }
        self.watchdog = watch(self.kind, &self.child, &self.folder);
    }

    fn spawn(kind: Kind, folder: PathBuf) -> Self {
        let port = free_port();
        let mut child = kind.start(&folder, port);
        assert!(
            kind.answers(&folder, port, &mut child),
            "{kind:?} ended at once"
        );
        let watchdog = watch(kind, &child, &folder);
        Self {
            kind,
            folder,
            port,
            child,
            watchdog,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // A folder that cannot be removed stays in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts a watchdog that stops the server and removes its folder when this process ends, even if it is killed.
fn watch(kind: Kind, server: &Child, folder: &Path) -> Child {
    let id = server.id();
    let signal = match kind {
        Kind::Postgres { .. } => "INT",
        Kind::Redis | Kind::Mqtt | Kind::Registry => "TERM",
    };
    let script = format!(
        "read line; kill -{signal} {id}; for i in 1 2 3 4 5 6 7 8 9; do kill -0 {id} 2>/dev/null || break; sleep 0.1; done; \
         kill -9 {id} 2>/dev/null; rm -rf '{}'",
        folder.display()
    );
    // The input of the watchdog closes when this process ends.
    Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Kind {
    fn start(self, folder: &Path, port: u16) -> Child {
        let mut command = match self {
            Self::Postgres { durable } => {
                let programs = postgres_programs().unwrap();
                let mut command = as_owner(&programs.join("postgres"), folder);
                command.arg("-D").arg(folder.join("data"));
                command.args(["-p", &port.to_string()]);
                let connections = format!("max_connections={CONNECTIONS}");
                for setting in [
                    "listen_addresses=127.0.0.1",
                    "unix_socket_directories=",
                    if durable { "fsync=on" } else { "fsync=off" },
                    "shared_buffers=64MB",
                    &connections,
                ] {
                    command.args(["-c", setting]);
                }
                if has_tls(folder) {
                    for (name, file) in [
                        ("ssl_cert_file", CERTIFICATE),
                        ("ssl_key_file", KEY),
                        ("ssl_ca_file", AUTHORITY),
                    ] {
                        let setting = format!("{name}={}", folder.join(file).display());
                        command.args(["-c", &setting]);
                    }
                    command.args(["-c", "ssl=on"]);
                }
                command
            }
            Self::Redis => {
                let mut command = Command::new("redis-server");
                let ports = match has_tls(folder) {
                    true => ["--port", "0", "--tls-port"],
                    false => ["--bind", "127.0.0.1", "--port"],
                };
                command.args(ports).arg(port.to_string());
                if has_tls(folder) {
                    for (flag, file) in [
                        ("--tls-cert-file", CERTIFICATE),
                        ("--tls-key-file", KEY),
                        ("--tls-ca-cert-file", AUTHORITY),
                    ] {
                        command.arg(flag).arg(folder.join(file));
                    }
                    command.args(["--bind", "127.0.0.1"]);
                }
                command.args(["--save", "", "--appendonly", "yes"]);
                command.args(["--databases", &REDIS_DATABASES.to_string(), "--dir"]);
                command.arg(folder).stdout(Stdio::null());
                command
            }
            Self::Registry => {
                let config = format!(
                    "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
                    folder.join("data").display()
                );
                std::fs::write(folder.join("config.yml"), config).unwrap();
                let mut command = Command::new(REGISTRY);
                command.arg("serve").arg(folder.join("config.yml"));
                command.stdout(Stdio::null());
                command
            }
            Self::Mqtt => {
                let mut command = Command::new(mosquitto().unwrap());
                // Without a configuration file Mosquitto listens only on this machine and stores nothing.
                if has_tls(folder) {
                    let file = |name: &str| folder.join(name).display().to_string();
                    let config = format!(
                        "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\n\
                         certfile {}\nkeyfile {}\ncafile {}\n",
                        file(CERTIFICATE),
                        file(KEY),
                        file(AUTHORITY)
                    );
                    std::fs::write(folder.join("mosquitto.conf"), config).unwrap();
                    command.arg("-c").arg(folder.join("mosquitto.conf"));
                } else {
                    command.args(["-p", &port.to_string()]);
                }
                command.stdout(Stdio::null());
                command
            }
        };
        command.stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until the server answers; `false` if it exited instead.
    fn answers(self, folder: &Path, port: u16, child: &mut Child) -> bool {
        let url = format!("postgres://localmart@127.0.0.1:{port}/postgres");
        let answers = || match self {
            _ if has_tls(folder) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
            Self::Postgres { .. } => localmart_stores::Postgres::open(&url, "public").is_ok(),
            Self::Redis => is_up(port),
            Self::Mqtt | Self::Registry => TcpStream::connect(("127.0.0.1", port)).is_ok(),
        };
        let give_up = Instant::now() + START;
        while !answers() {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < give_up, "{self:?} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

/// Whether a Redis server has loaded its file and accepts commands.
fn is_up(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    ask().unwrap_or(false)
}

/// A command that runs as the owner of the folder.
fn as_owner(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    #[cfg(unix)]
    if let Some((user, group)) = unprivileged(folder) {
        use std::os::unix::process::CommandExt as _;
        command.uid(user).gid(group);
    }
    command.current_dir(folder).stdout(Stdio::null());
    command
}

/// Prints that tests are skipped because a program is missing; with `CI=true` this panics.
pub fn skip_without<T>(server: &str) -> Option<T> {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{server} is not installed; with CI=true no test may be skipped"
    );
    eprintln!("skipped: {server} is not installed, so tests that need it do not run");
    None
}

fn postgres_programs() -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file())
    });
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| {
            versions
                .filter_map(Result::ok)
                .map(|one| one.path().join("bin"))
                .collect()
        })
        .unwrap_or_default();
    debian.sort();
    in_path.or_else(|| {
        debian
            .into_iter()
            .rfind(|folder| folder.join("initdb").is_file())
    })
}

/// Finds Mosquitto. Debian installs it in a folder that is only in the PATH of root.
fn mosquitto() -> Option<&'static str> {
    let programs = ["mosquitto", "/usr/sbin/mosquitto"];
    programs.into_iter().find(|program| {
        let known = Command::new(program)
            .arg("-h")
            .stdout(Stdio::null())
            .status();
        known.is_ok()
    })
}

/// A folder of this process that another user can read.
fn folder(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("localmart-{name}-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    // An earlier process with the same process id may have left the folder behind.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The user that Postgres runs as if this process is root, because Postgres refuses to run as root. The user becomes the
/// owner of the folder.
#[cfg(unix)]
fn unprivileged(folder: &Path) -> Option<(u32, u32)> {
    let id = |flag: &str, user: &[&str]| -> Option<u32> {
        let output = Command::new("id").arg(flag).args(user).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id("-u", &[]) != Some(0) {
        return None;
    }
    let closed_port = 65_534;
    let user = id("-u", &["postgres"]).unwrap_or(closed_port);
    let group = id("-g", &["postgres"]).unwrap_or(closed_port);
    std::os::unix::fs::chown(folder, Some(user), Some(group)).unwrap();
    Some((user, group))
}

#[cfg(not(unix))]
fn unprivileged(_: &Path) -> Option<(u32, u32)> {
    None
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A port without a listener, for tests of servers that are down.
pub fn closed_port() -> u16 {
    free_port()
}

/// The port of a listener that accepts connections and never answers, for tests of servers that hang.
pub fn silent_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut stream, mut buffer) = (stream, [0; 1024]);
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
            });
        }
    });
    port
}
