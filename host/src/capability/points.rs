//! Test points: what `--point name=action` does when a component reaches the point. Offered only to tests.

use super::{Capabilities, Interface, interfaces};
use crate::capability::state::HostState;
use bindings::localmart::testing::points as wit;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wasmtime::component::Accessor;

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capability {
                import localmart:testing/points@1.0.0;
            }
        ",
        path: ["../wit/testing"],
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
}

interfaces! {
    "localmart:testing/points@1.0.0": bindings::localmart::testing::points,
}

/// How often a held call checks whether it may continue.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The action at a test point.
#[derive(Debug)]
pub enum Action {
    /// Kills the whole process at once, like `kill -9`.
    Kill,
    /// The first call creates the file `<path>.reached` and waits for the file `<path>.go`; all other calls pass. This
    /// lets a test do something exactly at this point.
    HoldFirst(PathBuf, AtomicBool),
}

impl Action {
    /// The same action in its initial state.
    pub fn unused_copy(&self) -> Self {
        match self {
            Self::Kill => Self::Kill,
            Self::HoldFirst(path, _) => Self::HoldFirst(path.clone(), AtomicBool::new(false)),
        }
    }
}

/// Actions by the name of the test point.
pub type Points = BTreeMap<String, Action>;

/// Parses `name=kill` or `name=hold-first:PATH`.
pub fn parse(text: &str) -> Result<(String, Action), String> {
    let usage = || format!("`{text}` is not name=kill or name=hold-first:PATH");
    let (name, action) = text.split_once('=').ok_or_else(usage)?;
    let action = match action.split_once(':') {
        None if action == "kill" => Action::Kill,
        Some(("hold-first", path)) if !path.is_empty() => {
            Action::HoldFirst(path.into(), AtomicBool::new(false))
        }
        _ => return Err(usage()),
    };
    Ok((name.to_owned(), action))
}

impl wit::Host for HostState {}

impl<T: Send + 'static> wit::HostWithStore<T> for Capabilities {
    async fn hit(accessor: &Accessor<T, Self>, name: String) -> wasmtime::Result<()> {
        let points = accessor.with(|mut access| access.get().component.points.clone());
        match points.get(&name) {
            Some(Action::Kill) => {
                eprintln!("point {name}: kill");
                kill_process();
            }
            Some(Action::HoldFirst(path, used)) if !used.swap(true, Ordering::Relaxed) => {
                std::fs::write(path_with_ending(path, "reached"), "")?;
                let go = path_with_ending(path, "go");
                while !go.exists() {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
            Some(Action::HoldFirst(..)) | None => {}
        }
        Ok(())
    }
}

fn path_with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Ends this process like `kill -9`: nothing is flushed or cleaned up.
fn kill_process() -> ! {
    let id = std::process::id().to_string();
    // Aborting is the closest alternative if there is no such program.
    if Command::new("kill").args(["-9", &id]).status().is_ok() {
        std::thread::sleep(Duration::from_secs(1));
    }
    std::process::abort();
}
