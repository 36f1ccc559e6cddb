//! What a measurement was made on: nothing is worth much without it.

use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine and the programs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The model, as the system calls it.
    pub processor: String,
    /// Cores that may be used.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The operating system.
    pub system: String,
    /// The compiler.
    pub rust: String,
    /// The runtime's version.
    pub wasmtime: String,
    /// The commit, with `+` behind it if files were changed since.
    pub commit: String,
    /// When it began, in UTC, RFC 3339.
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
    /// This one, now, with the repository that is measured.
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

/// In UTC, RFC 3339.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
    localmart_kernel::Timestamp::from_ms(ms).to_string()
}
