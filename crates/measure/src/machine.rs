//! A description of the machine and the programs that a measurement was made with.

use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine and the programs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The model of the processor, as the operating system reports it.
    pub processor: String,
    /// The number of cores available to this process.
    pub cores: usize,
    /// The memory in MiB.
    pub memory_mib: u64,
    /// The operating system.
    pub system: String,
    /// The version of the compiler.
    pub rust: String,
    /// The version of wasmtime.
    pub wasmtime: String,
    /// The commit, followed by `+` if the working tree has uncommitted changes.
    pub commit: String,
    /// When the measurement began (RFC 3339, UTC).
    pub at: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, {} MiB; {}; {}; wasmtime {}; commit {}; {}",
            self.processor,
            self.cores,
            self.memory_mib,
            self.system,
            self.rust,
            self.wasmtime,
            self.commit,
            self.at
        )
    }
}

impl Machine {
    /// This machine now, with the repository under test.
    pub fn this(root: &Path) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, key: &str, between: char| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            let (_, value) = line.split_once(between)?;
            Some(value.trim().trim_matches('"').to_owned())
        };
        let unknown = || "unknown".to_owned();
        let memory = value(&file("/proc/meminfo"), "MemTotal", ':');
        let memory = memory.and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
        let wasmtime = lock
            .split("[[package]]")
            .find(|package| package.contains("\nname = \"wasmtime\"\n"));
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program)
                .args(arguments)
                .current_dir(root)
                .output()
                .ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| text.trim().to_owned())
        };
        let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]);
        let changed = if changed.is_some_and(|text| !text.is_empty()) {
            "+"
        } else {
            ""
        };
        let commit = said("git", &["rev-parse", "--short", "HEAD"]);
        Self {
            processor: value(&file("/proc/cpuinfo"), "model name", ':').unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.unwrap_or_default() / 1024,
            system: value(&file("/etc/os-release"), "PRETTY_NAME", '=')
                .unwrap_or_else(|| std::env::consts::OS.to_owned()),
            rust: said("rustc", &["--version"]).unwrap_or_else(unknown),
            wasmtime: wasmtime
                .and_then(|package| value(package, "version", '='))
                .unwrap_or_else(unknown),
            commit: commit.map_or_else(unknown, |commit| commit + changed),
            at: now(),
        }
    }
}

/// The current time (RFC 3339, UTC).
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
    localmart_kernel::Timestamp::from_ms(ms).to_string()
}
