//! A variant: the application with certain bindings and files. And a host that runs a variant.

use super::Run;
use super::requests::base;
use crate::client::Client;
use crate::progress::Progress;
use crate::token::{self, Role};
use crate::{clock, seed};
use anyhow::Context as _;
use localmart_host::app::App;
use localmart_host::control::client::Host;
use localmart_host::serve::swap::{RollbackLimits, SwapReport, SwapRequest};
use localmart_host::wiring::plan::standalone_file;
use localmart_measure::server::{Server, free_address};
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The name of the application in tables.
const OURS: &str = "localmart";
/// The stock of each product, which no run sells out.
const STOCK: u64 = 1_000_000_000;
/// How long a host that answers requests may take to create its control socket.
const CONTROL: Duration = Duration::from_secs(10);
/// Lines of a host's log in the error if the host does not start.
const LOG_LINES: usize = 20;
/// A measured swap is never rolled back.
const UNWATCHED: RollbackLimits = RollbackLimits {
    watch: Duration::from_millis(1),
    max_error_rate: 1.0,
    max_p99_ratio: f64::MAX,
};

/// A variant of the application.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    /// The name in tables.
    pub(super) name: String,
    flags: Vec<String>,
    /// A component, and the file that replaces its own.
    pub(super) replaced: Option<(String, PathBuf)>,
}

impl Variant {
    /// The application as it is.
    pub(super) fn plain() -> Self {
        Self {
            name: OURS.to_owned(),
            flags: Vec::new(),
            replaced: None,
        }
    }

    /// The application with this binding for all links.
    pub(super) fn bound(binding: &str) -> Self {
        Self {
            name: binding.to_owned(),
            flags: vec!["--binding".to_owned(), binding.to_owned()],
            replaced: None,
        }
    }

    /// The application with another file for a component.
    pub(super) fn replacing(component: &str, file: &Path) -> anyhow::Result<Self> {
        let name = file.file_name().context("a file without a name")?;
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            flags: Vec::new(),
            replaced: Some((component.to_owned(), file.canonicalize()?)),
        })
    }

    /// The file of a component in this variant: the replacement, or its own file without links.
    pub(super) fn file(&self, app: &App, component: &str) -> Option<PathBuf> {
        let replaced = self.replaced.as_ref();
        if let Some((_, file)) = replaced.filter(|(id, _)| id == component) {
            return Some(file.clone());
        }
        let wasm = &app.components.get(component)?.wasm;
        let part = standalone_file(wasm);
        Some(if part.is_file() { part } else { wasm.clone() })
    }
}

/// A host that runs a variant.
pub(super) struct Hosted {
    pub(super) server: Server,
    pub(super) state: PathBuf,
    control: Host,
}

impl Hosted {
    /// Swaps a component; returns the time of each stage in microseconds.
    pub(super) fn swap(&self, component: &str, file: &Path) -> anyhow::Result<Vec<(String, u64)>> {
        let request = SwapRequest {
            component: component.to_owned(),
            file: file.to_owned(),
            share: None,
            header: None,
            shadow: false,
            limits: UNWATCHED,
            promote: false,
        };
        let report: SwapReport = self.control.post("/swap", &request)?;
        Ok(report.stages)
    }
}

impl Run {
    /// Prepares a state folder: compiles, migrates and fills the stores.
    pub(super) fn prepare(&self) -> anyhow::Result<PathBuf> {
        eprintln!("preparing: compiling, migrating, filling");
        let (state, plain) = (self.scratch.0.join("state"), Variant::plain());
        let hosted = self.host_in(&state, &plain, &[])?;
        if self.is_a_shop() {
            let secrets = hosted.control.get("/variables")?;
            let base = format!("http://{}", hosted.server.address);
            let staff = Client::new(
                &base,
                token::make(&secrets, Role::Staff, 3600, clock::now(&state)?)?,
            );
            seed::if_empty(&staff, &state, &Progress::nowhere())?;
            let page = staff.get("/api/products?limit=100&sort=price_asc")?;
            let items = page.pointer("/items").and_then(|items| items.as_array());
            for item in items.into_iter().flatten() {
                let id = item
                    .get("id")
                    .and_then(|id| id.as_str())
                    .unwrap_or_default();
                let adjustment = json!({ "delta": STOCK, "reason": "bench" });
                let path = format!("/api/inventory/{id}/adjustments");
                staff.post(&path, &format!("bench-{id}"), &adjustment)?;
            }
        }
        Ok(state)
    }

    /// Whether the application has products, carts and orders to measure.
    pub(super) fn is_a_shop(&self) -> bool {
        let ours = self.app.tool.is_some();
        let parts = ["catalog", "cart", "inventory", "order"];
        ours && parts.iter().all(|id| self.app.components.contains_key(*id))
    }

    /// A path that a component answers, with any status.
    fn asked_first(&self) -> String {
        let answered = self
            .app
            .routes
            .iter()
            .filter(|route| route.component().is_some());
        // The routes of timers refuse other clients.
        let open = answered.filter(|route| !route.text.starts_with("/internal/"));
        let path = open.filter_map(|route| base(&route.text)).next();
        path.unwrap_or_else(|| "/".to_owned())
    }

    /// Runs a variant on a copy of the prepared folder.
    pub(super) fn host(
        &self,
        prepared: &Path,
        state: &Path,
        variant: &Variant,
        more: &[&str],
    ) -> anyhow::Result<Hosted> {
        copy(prepared, state).with_context(|| format!("copying to {}", state.display()))?;
        let hosted = self.host_in(state, variant, more)?;
        if let Some((component, file)) = &variant.replaced {
            hosted.swap(component, file)?;
        }
        Ok(hosted)
    }

    /// Runs a variant on a state folder.
    pub(super) fn host_in(
        &self,
        state: &Path,
        variant: &Variant,
        more: &[&str],
    ) -> anyhow::Result<Hosted> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--quiet", "--no-build", "--no-seed", "-f"]);
        command.arg(&self.bench.from).arg("--state-dir").arg(state);
        if self.app.tool.is_some() {
            command.args(["--observe-listen", "127.0.0.1:0"]);
        }
        if let Some(profile) = &self.bench.profile {
            command.args(["--profile", profile]);
        }
        for (name, value) in &self.bench.variables {
            command.arg("--variable").arg(format!("{name}={value}"));
        }
        command.args(["--listen", &address.to_string()]);
        command.args(&variant.flags).args(more);
        // The logs of components would slow down the measurement.
        let log = self.scratch.0.join("log");
        let writing = File::options().create(true).append(true).open(&log)?;
        command.stderr(writing);
        let server = Server::start(command, address, &self.asked_first());
        let server = server.with_context(|| last_lines(&log))?;
        let asked = Instant::now();
        let control = loop {
            match Host::find(address.port()) {
                Ok(control) => break control,
                Err(error) if asked.elapsed() > CONTROL => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Ok(Hosted {
            server,
            state: state.to_owned(),
            control,
        })
    }
}

/// The last lines of a log, oldest first.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(LOG_LINES);
    lines.get(last..).unwrap_or_default().join("\n")
}

/// Copies a folder with its content.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            std::fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
