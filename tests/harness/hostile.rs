//! Clients that do not behave: raw connections, from any loopback address.

use super::Shop;
use socket2::{Domain, Socket, Type};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a test waits for the host to close a connection or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A raw connection.
pub struct Hostile(pub TcpStream);

impl Hostile {
    /// Connects to `http://ADDRESS:PORT`, from this address.
    pub fn connect_from(from: &str, base: &str) -> Self {
        let to: SocketAddr = base.strip_prefix("http://").unwrap().parse().unwrap();
        let from: IpAddr = from.parse().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket.into())
    }

    /// Connects from 127.0.0.1 and sends this.
    pub fn sends(base: &str, bytes: &[u8]) -> Self {
        Self::connect_from("127.0.0.1", base).send(bytes)
    }

    /// Sends more. A connection that the host has closed takes nothing.
    pub fn send(mut self, bytes: &[u8]) -> Self {
        let _ = self.0.write_all(bytes);
        self
    }

    /// What arrives until the host closes the connection; `None` if it stays open.
    pub fn until_closed(mut self) -> Option<String> {
        let (mut received, mut buffer) = (Vec::new(), [0; 65_536]);
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => received.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(_) => return None,
            }
        }
        Some(String::from_utf8_lossy(&received).into_owned())
    }

    /// The status of the first response; `None` if the host closes the connection instead.
    pub fn status(mut self) -> Option<u16> {
        let mut line = [0; 12];
        self.0.read_exact(&mut line).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        line.strip_prefix("HTTP/1.1 ")?.parse().ok()
    }

    /// Waits for the first bytes of an answer.
    pub fn answered(mut self) -> Self {
        self.0.read_exact(&mut [0; 12]).unwrap();
        self
    }

    /// Whether the connection is open and nothing has arrived on it, without waiting.
    pub fn is_unanswered(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let nothing = self
            .0
            .peek(&mut [0])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        self.0.set_nonblocking(false).unwrap();
        nothing
    }
}

/// The head of a request that announces a body of 1000 bytes, and one byte of it.
pub fn one_of_a_thousand(path: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
    )
    .into_bytes()
}

impl Shop {
    /// Asks the system to end the shop, as `kill` does.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}
