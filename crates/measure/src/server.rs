//! Starts a server and waits for its first answer.

use anyhow::{Context as _, bail};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to give its first answer.
const START: Duration = Duration::from_secs(120);

/// A running server.
pub struct Server {
    child: Child,
    /// The address of the server.
    pub address: SocketAddr,
    /// The time from the start of the process to the first answer.
    pub first_answer: Duration,
}

impl Server {
    /// Starts the host on an application.
    pub fn host(
        binary: &Path,
        manifest: &Path,
        state: &Path,
        path: &str,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        Self::host_at(free_address()?, binary, manifest, state, path, flags)
    }

    /// Starts the host at an address, without a log.
    pub fn host_at(
        address: SocketAddr,
        binary: &Path,
        manifest: &Path,
        state: &Path,
        path: &str,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.stderr(Stdio::null());
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

    /// Starts a program that answers at this address.
    pub fn start(mut command: Command, address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut child = command
            .stdout(Stdio::null())
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
                bail!("{command:?} did not answer within {START:?}");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The resident memory in MiB, on systems that report it.
    pub fn memory_mib(&self) -> anyhow::Result<f64> {
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
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A local address that is not in use.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The time from the start of the connection to the first byte of the answer, with any status.
pub fn first_byte(address: SocketAddr, path: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request(path).as_bytes())?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    Ok(begun.elapsed())
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")
}

fn answers(address: SocketAddr, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let mut answer = String::new();
    stream.write_all(request(path).as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 ")
        && !answer.starts_with("HTTP/1.1 5")
}
