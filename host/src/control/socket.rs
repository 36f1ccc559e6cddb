//! The location of control sockets: `$XDG_RUNTIME_DIR/localmart/<port>.sock`, or `/tmp/localmart-<uid>/<port>.sock` if
//! the variable is not set. Only this user can open the folder.

use anyhow::{Context as _, bail};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The folder for this user's control sockets.
pub fn folder() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    match runtime {
        Some(folder) => PathBuf::from(folder).join("localmart"),
        None => {
            let user = rustix::process::getuid().as_raw();
            PathBuf::from(format!("/tmp/localmart-{user}"))
        }
    }
}

fn socket(port: u16) -> PathBuf {
    folder().join(format!("{port}.sock"))
}

/// Binds the control socket of a port. A socket file that a killed host has left behind is replaced.
pub(super) fn bind(port: u16) -> anyhow::Result<(PathBuf, UnixListener)> {
    let folder = folder();
    private(&folder)?;
    let path = socket(port);
    let listener = match UnixListener::bind(&path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if UnixStream::connect(&path).is_ok() {
                bail!("another host uses the control socket {}", path.display());
            }
            std::fs::remove_file(&path)?;
            UnixListener::bind(&path)
        }
        bound => bound,
    };
    let listener = listener.with_context(|| format!("making {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok((path, listener))
}

/// Creates the folder, or refuses one that other users can open: anybody can create folders in `/tmp`.
fn private(folder: &Path) -> anyhow::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("making {}", folder.display()));
        }
        _ => {}
    }
    if !is_private(folder)? {
        bail!(
            "{} is not a folder that only you can open; remove it",
            folder.display()
        );
    }
    Ok(())
}

fn is_private(folder: &Path) -> std::io::Result<bool> {
    let found = std::fs::symlink_metadata(folder)?;
    let mine = found.uid() == rustix::process::getuid().as_raw();
    Ok(found.is_dir() && mine && found.mode() & 0o077 == 0)
}

/// The ports of this user's running hosts.
pub fn running() -> Vec<u16> {
    let mut ports = Vec::new();
    // What answers in a folder that somebody else can change is not to be trusted.
    if !is_private(&folder()).unwrap_or_default() {
        return ports;
    }
    for entry in std::fs::read_dir(folder()).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let port = name.and_then(|name| name.strip_suffix(".sock")?.parse().ok());
        if let Some(port) = port
            && UnixStream::connect(&path).is_ok()
        {
            ports.push(port);
        }
    }
    ports.sort_unstable();
    ports
}

/// The socket of the host that serves a port.
pub fn find(port: u16) -> anyhow::Result<PathBuf> {
    let path = socket(port);
    if UnixStream::connect(&path).is_err() {
        bail!(
            "none of your hosts answers on port {port}\n  help: start it with localmart up --listen 127.0.0.1:{port}"
        );
    }
    Ok(path)
}
