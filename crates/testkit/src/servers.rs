//! Postgres and Redis as children of a test process, started when first asked for, ended with it. Where they are not
//! installed a test says that it goes without, but not with `CI=true`: there they must be.

#![expect(
    clippy::zombie_processes,
    reason = "servers live as long as the test process, which nobody waits beyond"
)]

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(60);
/// Connections that the Postgres server takes, for many shops at once.
const CONNECTIONS: u32 = 900;
/// Databases of the Redis server.
const REDIS_DATABASES: u32 = 4096;

/// The address of the Postgres server's first database.
pub fn postgres() -> Option<String> {
    static SERVER: OnceLock<Option<String>> = OnceLock::new();
    SERVER.get_or_init(start_postgres).clone()
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
    static SERVER: OnceLock<Option<u16>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let port = (*SERVER.get_or_init(start_redis))?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed) % REDIS_DATABASES;
    Some(format!("redis://127.0.0.1:{port}/{number}"))
}

fn start_postgres() -> Option<String> {
    let Some(programs) = postgres_programs() else {
        return without("Postgres");
    };
    let folder = folder("postgres");
    let owner = unprivileged(&folder);
    let as_owner = |program: &str| {
        let mut command = Command::new(programs.join(program));
        #[cfg(unix)]
        if let Some((user, group)) = owner {
            use std::os::unix::process::CommandExt as _;
            command.uid(user).gid(group);
        }
        command.current_dir(&folder).stdout(Stdio::null());
        command
    };
    let made = as_owner("initdb")
        .args([
            "--no-sync",
            "-A",
            "trust",
            "-U",
            "localmart",
            "-E",
            "UTF8",
            "--locale=C",
            "-D",
        ])
        .arg(folder.join("data"))
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let port = free_port();
    let server = as_owner("postgres")
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string()])
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
        ])
        .args([
            "-c",
            &format!("max_connections={CONNECTIONS}"),
            "-c",
            "shared_buffers=64MB",
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    watch(&server, "INT", &folder);
    let url = format!("postgres://localmart@127.0.0.1:{port}/postgres");
    until("Postgres", || {
        localmart_stores::Postgres::open(&url, "public").is_ok()
    });
    Some(url)
}

fn start_redis() -> Option<u16> {
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_err()
    {
        return without("Redis");
    }
    let (folder, port) = (folder("redis"), free_port());
    let server = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
        ])
        .args(["--databases", &REDIS_DATABASES.to_string(), "--dir"])
        .arg(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    watch(&server, "TERM", &folder);
    until("Redis", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(port)
}

fn without<T>(server: &str) -> Option<T> {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{server} is not installed, and with CI=true nothing is skipped"
    );
    eprintln!("skipped: {server} is not installed, so what needs it is not tested");
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

/// A folder of this process alone, that another user can reach.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("localmart-{name}-{}", std::process::id()));
    // Left from an earlier process with the same id, if it exists at all.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Postgres refuses to be root: the user that it then is, who gets the folder.
#[cfg(unix)]
fn unprivileged(folder: &Path) -> Option<(u32, u32)> {
    let id = |flag: &str, user: &[&str]| -> Option<u32> {
        let output = Command::new("id").arg(flag).args(user).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id("-u", &[]) != Some(0) {
        return None;
    }
    let nobody = 65_534;
    let user = id("-u", &["postgres"]).unwrap_or(nobody);
    let group = id("-g", &["postgres"]).unwrap_or(nobody);
    std::os::unix::fs::chown(folder, Some(user), Some(group)).unwrap();
    Some((user, group))
}

#[cfg(not(unix))]
fn unprivileged(_: &Path) -> Option<(u32, u32)> {
    None
}

/// Ends a server and removes its folder when this process ends, however it does.
fn watch(server: &Child, signal: &str, folder: &Path) {
    let id = server.id();
    let script = format!(
        "read line; kill -{signal} {id}; for i in 1 2 3 4 5 6 7 8 9; do kill -0 {id} 2>/dev/null || break; sleep 0.1; done; \
         kill -9 {id} 2>/dev/null; rm -rf '{}'",
        folder.display()
    );
    let watchdog = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its input closes when this process ends.
    std::mem::forget(watchdog.stdin);
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn until(server: &str, answers: impl Fn() -> bool) {
    let give_up = Instant::now() + START;
    while !answers() {
        assert!(Instant::now() < give_up, "{server} does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port on which nobody answers, for tests of servers that are away.
pub fn nobody() -> u16 {
    free_port()
}

/// Takes a connection and never answers, for tests of servers that are silent; gives its port.
pub fn silent() -> u16 {
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
