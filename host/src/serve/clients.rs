//! What one client may use: the number of connections, in all and per address, and the memory of buffered request
//! bodies. [`transport`](super::transport) closes connections whose clients are silent; [`ClientLimits`] has the settings.

use crate::app::client_limits::ClientLimits;
use crate::limits::CROWDED_TIMEOUT;
use http::HeaderMap;
use ipnet::Ipv6Net;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// IPv6 addresses count by network, because one customer of a provider has at least a network of this size, in bits.
const IPV6_PREFIX: u8 = 64;

/// The header in which a proxy appends the address of its client.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The clients of a host.
#[derive(Debug)]
pub struct Clients {
    /// The limits.
    pub limits: ClientLimits,
    open: AtomicUsize,
    buffered: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    counts: Counts,
}

/// How often each limit was reached.
#[derive(Debug, Default)]
struct Counts {
    refused_in_all: AtomicU64,
    refused_by_address: AtomicU64,
    closed_silent: AtomicU64,
    bodies_too_slow: AtomicU64,
}

/// A limit that refuses a connection or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The host has as many connections as it may have.
    InAll,
    /// This address has as many connections as it may have.
    ByAddress,
}

impl Clients {
    /// No connections yet.
    pub fn new(limits: ClientLimits) -> Self {
        Self {
            limits,
            open: AtomicUsize::new(0),
            buffered: AtomicUsize::new(0),
            by_address: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// Counts a connection until the guard is dropped.
    pub fn connect(self: &Arc<Self>, peer: IpAddr) -> Result<Connected, Refused> {
        let peer = peer.to_canonical();
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limits.connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.counts.refused_in_all.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::InAll);
        }
        // From here on the guard gives back what was counted.
        let mut connected = Connected {
            clients: self.clone(),
            share: None,
        };
        connected.share = self.count(peer)?;
        Ok(connected)
    }

    /// Whether limits per address apply to a client.
    pub fn counts(&self, address: IpAddr) -> bool {
        let proxy = self.limits.trusts(address);
        !proxy && (self.limits.count_loopback || !address.is_loopback())
    }

    /// Counts one connection or request of an address; `None` if its address is not limited.
    fn count(self: &Arc<Self>, address: IpAddr) -> Result<Option<Share>, Refused> {
        if !self.counts(address) {
            return Ok(None);
        }
        let key = counted(address);
        let Ok(mut by_address) = self.by_address.lock() else {
            return Ok(None);
        };
        let used = by_address.entry(key).or_default();
        if *used >= self.limits.connections_per_address {
            self.counts
                .refused_by_address
                .fetch_add(1, Ordering::Relaxed);
            return Err(Refused::ByAddress);
        }
        *used += 1;
        Ok(Some(Share {
            clients: self.clone(),
            key,
        }))
    }

    /// Counts a request that a trusted proxy forwarded, as a connection of the client it forwards for.
    pub fn admit(self: &Arc<Self>, client: &ClientAddress) -> Result<Option<Share>, Refused> {
        match client.forwarded {
            true => self.count(client.address.ip()),
            false => Ok(None),
        }
    }

    /// The address of the client of a request. `X-Forwarded-For` counts only if the peer is a trusted proxy; the client
    /// is then the last address in it that is not a trusted proxy too.
    pub fn client_address(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientAddress {
        let direct = ClientAddress {
            address: peer,
            forwarded: false,
        };
        if self.limits.trusted_proxies.is_empty() || !self.limits.trusts(peer.ip().to_canonical()) {
            return direct;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let mut client = None;
        for hop in hops {
            // What stands before an invalid address was not written by a trusted proxy.
            let Some(address) = hop_address(hop) else {
                break;
            };
            client = Some(address);
            if !self.limits.trusts(address) {
                break;
            }
        }
        client.map_or(direct, |address| ClientAddress {
            address: SocketAddr::new(address, 0),
            forwarded: true,
        })
    }

    /// How long a client may be silent at most, whatever the timeouts say. Short if most connections are taken, so that
    /// silent clients make room for others.
    pub fn longest_silence(&self) -> Duration {
        let open = self.open.load(Ordering::Relaxed);
        let crowded = open >= self.limits.connections / 4 * 3;
        match crowded {
            true => CROWDED_TIMEOUT,
            false => Duration::MAX,
        }
    }

    /// Reserves memory for `bytes` of a request body. Returns whether there is enough.
    pub fn reserve(&self, bytes: usize) -> bool {
        let before = self.buffered.fetch_add(bytes, Ordering::Relaxed);
        let enough = before + bytes <= self.limits.buffered_bytes;
        if !enough {
            self.buffered.fetch_sub(bytes, Ordering::Relaxed);
        }
        enough
    }

    /// Gives back reserved memory.
    pub fn release(&self, bytes: usize) {
        self.buffered.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Records that a connection was closed because its client sent nothing or read nothing.
    pub fn closed_silent(&self) {
        self.counts.closed_silent.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a request whose body came too slowly.
    pub fn body_too_slow(&self) {
        self.counts.bodies_too_slow.fetch_add(1, Ordering::Relaxed);
    }

    /// The metrics in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        format!(
            "# HELP localmart_client_connections Open connections of clients.\n\
             # TYPE localmart_client_connections gauge\n\
             localmart_client_connections {}\n\
             # HELP localmart_buffered_body_bytes Bytes of request bodies that no guest has read yet.\n\
             # TYPE localmart_buffered_body_bytes gauge\n\
             localmart_buffered_body_bytes {}\n\
             # HELP localmart_client_limited_total How often a limit for clients was reached.\n\
             # TYPE localmart_client_limited_total counter\n\
             localmart_client_limited_total{{limit=\"connections\"}} {}\n\
             localmart_client_limited_total{{limit=\"connections_per_address\"}} {}\n\
             localmart_client_limited_total{{limit=\"silence\"}} {}\n\
             localmart_client_limited_total{{limit=\"body\"}} {}\n",
            self.open.load(Ordering::Relaxed),
            self.buffered.load(Ordering::Relaxed),
            load(&counts.refused_in_all),
            load(&counts.refused_by_address),
            load(&counts.closed_silent),
            load(&counts.bodies_too_slow),
        )
    }
}

/// The address under which a client is counted: an IPv4 address, or an IPv6 network.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = Ipv6Net::new(address, IPV6_PREFIX).map(|network| network.network());
            IpAddr::V6(network.unwrap_or(Ipv6Addr::UNSPECIFIED))
        }
    }
}

/// The address of one entry in `X-Forwarded-For`. Some proxies add a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

/// The address of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The address; its port is 0 if a proxy forwarded the request.
    pub address: SocketAddr,
    /// Whether a trusted proxy reported the address.
    pub forwarded: bool,
}

/// A counted connection. It belongs to a core until it is dropped, on whatever thread.
#[derive(Debug)]
pub struct Connected {
    clients: Arc<Clients>,
    share: Option<Share>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.clients.open.fetch_sub(1, Ordering::Relaxed);
        self.share = None;
    }
}

/// One counted connection or request of an address.
#[derive(Debug)]
pub struct Share {
    clients: Arc<Clients>,
    key: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let Ok(mut by_address) = self.clients.by_address.lock() else {
            return;
        };
        if let Some(used) = by_address.get_mut(&self.key) {
            *used -= 1;
            if *used == 0 {
                by_address.remove(&self.key);
            }
        }
    }
}

/// The response to a connection beyond a limit, written without reading its request.
pub const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\
    connection: close\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(change: impl FnOnce(&mut ClientLimits)) -> Arc<Clients> {
        let mut limits = ClientLimits::default();
        change(&mut limits);
        Arc::new(Clients::new(limits))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn forwarded(clients: &Clients, peer: &str, lines: &[&str]) -> ClientAddress {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        clients.client_address(SocketAddr::new(ip(peer), 1234), &headers)
    }

    #[test]
    fn connections_are_limited_per_address_and_in_all() {
        let clients = clients(|limits| {
            limits.connections = 4;
            limits.connections_per_address = 2;
        });
        let first = clients.connect(ip("192.0.2.1")).unwrap();
        let _second = clients.connect(ip("::ffff:192.0.2.1")).unwrap();
        let refused = clients.connect(ip("192.0.2.1")).unwrap_err();
        assert_eq!(refused, Refused::ByAddress);
        drop(first);
        let _again = clients.connect(ip("192.0.2.1")).unwrap();
        let _local: Vec<_> = (0..2)
            .map(|_| clients.connect(ip("127.0.0.1")).unwrap())
            .collect();
        let refused = clients.connect(ip("192.0.2.9")).unwrap_err();
        assert_eq!(refused, Refused::InAll);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_together() {
        let clients = clients(|limits| limits.connections_per_address = 1);
        let _first = clients.connect(ip("2001:db8:0:1::1")).unwrap();
        assert!(clients.connect(ip("2001:db8:0:1:ffff::2")).is_err());
        assert!(clients.connect(ip("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn a_refused_connection_gives_back_its_count() {
        let clients = clients(|limits| {
            limits.connections = 2;
            limits.connections_per_address = 1;
        });
        let _kept = clients.connect(ip("192.0.2.1")).unwrap();
        for _ in 0..5 {
            assert!(clients.connect(ip("192.0.2.1")).is_err());
        }
        assert!(clients.connect(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn only_a_trusted_proxy_reports_addresses() {
        let clients = clients(|limits| {
            limits.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        });
        let spoofed = forwarded(&clients, "192.0.2.1", &["198.51.100.7"]);
        assert_eq!(spoofed.address, "192.0.2.1:1234".parse().unwrap());
        assert!(!spoofed.forwarded);
        for (lines, expected) in [
            (&["198.51.100.7"][..], "198.51.100.7:0"),
            // The client wrote the first address itself.
            (&["203.0.113.1, 198.51.100.7"], "198.51.100.7:0"),
            (&["203.0.113.1", "198.51.100.7, 10.1.1.1"], "198.51.100.7:0"),
            (&["198.51.100.7:4711"], "198.51.100.7:0"),
            (&["[2001:db8::1]:4711"], "[2001:db8::1]:0"),
            (&["10.2.2.2"], "10.2.2.2:0"),
            (&["nonsense, 10.2.2.2"], "10.2.2.2:0"),
            (&["nonsense"], "10.0.0.1:1234"),
            (&[], "10.0.0.1:1234"),
        ] {
            let found = forwarded(&clients, "10.0.0.1", lines);
            assert_eq!(found.address, expected.parse().unwrap(), "{lines:?}");
        }
    }

    #[test]
    fn a_proxy_is_not_limited_but_its_clients_are() {
        let clients = clients(|limits| {
            limits.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
            limits.connections_per_address = 1;
        });
        let _proxy = clients.connect(ip("10.0.0.1")).unwrap();
        let _another = clients.connect(ip("10.0.0.1")).unwrap();
        let client = forwarded(&clients, "10.0.0.1", &["198.51.100.7"]);
        let _request = clients.admit(&client).unwrap();
        assert_eq!(clients.admit(&client).unwrap_err(), Refused::ByAddress);
    }

    #[test]
    fn buffered_bytes_are_limited_and_come_back() {
        let clients = clients(|limits| limits.buffered_bytes = 10);
        assert!(clients.reserve(8));
        assert!(!clients.reserve(3));
        clients.release(8);
        assert!(clients.reserve(10));
    }
}
