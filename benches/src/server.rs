//! Starting a server and waiting for its first answer.

use anyhow::{Context as _, bail};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(120);

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// From its start to its first answer.
    pub(crate) first_answer: Duration,
}

impl Server {
    /// Starts the host on an application.
    pub(crate) fn host(
        binary: &Path,
        manifest: &Path,
        state: &Path,
        path: &str,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        Self::host_at(free_address()?, binary, manifest, state, path, flags)
    }

    /// Starts the host at an address.
    pub(crate) fn host_at(
        address: SocketAddr,
        binary: &Path,
        manifest: &Path,
        state: &Path,
        path: &str,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command
            .arg("up")
            .arg("-f")
            .arg(manifest)
            .arg("--state-dir")
            .arg(state)
            .args(["--no-build", "--no-seed"])
            .args(flags);
        command.args([
            "--observe-listen",
            "127.0.0.1:0",
            "--listen",
            &address.to_string(),
        ]);
        Self::start(command, address, path)
    }

    /// Starts the native counterpart on the databases of a state folder, or on a Postgres server.
    pub(crate) fn native(
        state: &Path,
        database_url: Option<&str>,
        path: &str,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["native", "--listen", &address.to_string(), "--state"])
            .arg(state);
        if let Some(url) = database_url {
            command.args(["--database-url", url]);
        }
        Self::start(command, address, path)
    }

    /// Starts the ceiling on an application.
    pub(crate) fn bare(manifest: &Path, state: &Path, path: &str) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", "--listen", &address.to_string(), "--manifest"]);
        command.arg(manifest).arg("--state").arg(state);
        Self::start(command, address, path)
    }

    fn start(mut command: Command, address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting a server")?;
        loop {
            if answers(address, path) {
                return Ok(Self {
                    child,
                    address,
                    first_answer: begun.elapsed(),
                });
            }
            if let Some(status) = child.try_wait()? {
                bail!("{command:?} ended with {status}");
            }
            if begun.elapsed() > START {
                bail!("{command:?} does not answer");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Resident memory in MiB, where the system tells.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        Ok((line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0).round())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody uses now.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn answers(address: SocketAddr, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
