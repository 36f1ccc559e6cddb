//! How many files and connections a process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a shop with the default limits for clients needs: twice the number of their connections.
pub(crate) const NEEDED: u64 = 8192;
/// The limit that a shop asks for.
const WANTED: u64 = 65_536;

/// Raises the limit of this process as far as the system allows without privileges. Most systems start programs with 1024 or fewer.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current else {
        return;
    };
    let wanted = allowed().min(WANTED);
    if wanted > current {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays at {current}");
        }
    }
}

/// The limit up to which a process can raise its own.
pub(crate) fn allowed() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}
