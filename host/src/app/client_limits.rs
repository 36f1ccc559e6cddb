//! The limits for clients: `[application.tool.localmart.clients]` in the manifest, and the defaults.

use crate::app::parse_duration;
use crate::limits;
use crate::manifest::schema::ClientsTable;
use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};
use std::net::IpAddr;
use std::time::Duration;

/// The limits for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one address. Behind a trusted proxy: requests in flight of one client.
    pub connections_per_address: usize,
    /// Whether connections from loopback count per address.
    pub count_loopback: bool,
    /// The networks of the proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// From the connection, or from the first byte of a later request, to the end of the request's head.
    pub head_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// The longest pause between two parts of a body, and the time for the whole of a small body.
    pub body_timeout: Duration,
    /// The least rate of a large body, in bytes per second.
    pub min_body_rate: u64,
    /// How long a client may read nothing of its response.
    pub write_timeout: Duration,
    /// The memory for request bodies that wait for an instance, in bytes.
    pub buffered_bytes: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: limits::CLIENT_CONNECTIONS,
            connections_per_address: limits::CLIENT_CONNECTIONS_PER_ADDRESS,
            count_loopback: false,
            trusted_proxies: Vec::new(),
            head_timeout: limits::HEAD_TIMEOUT,
            idle_timeout: limits::CLIENT_IDLE_TIMEOUT,
            body_timeout: limits::BODY_TIMEOUT,
            min_body_rate: limits::MIN_BODY_RATE,
            write_timeout: limits::CLIENT_WRITE_TIMEOUT,
            buffered_bytes: limits::BUFFERED_BYTES,
        }
    }
}

impl ClientLimits {
    /// Reads the table, whose templates are already expanded. The error names the key.
    pub fn parse(table: &ClientsTable) -> Result<Self, String> {
        let mut parsed = Self::default();
        if let Some(text) = &table.connections {
            parsed.connections = count("connections", text)?;
        }
        if let Some(text) = &table.connections_per_address {
            parsed.connections_per_address = count("connections_per_address", text)?;
        }
        if let Some(text) = &table.count_loopback {
            parsed.count_loopback = match text.as_str() {
                "true" => true,
                "false" => false,
                _ => {
                    return Err(format!(
                        "count_loopback = `{text}` is neither true nor false"
                    ));
                }
            };
        }
        if let Some(text) = &table.trusted_proxies {
            parsed.trusted_proxies = networks(text)?;
        }
        let durations = [
            (
                "head_timeout",
                &table.head_timeout,
                &mut parsed.head_timeout,
            ),
            (
                "idle_timeout",
                &table.idle_timeout,
                &mut parsed.idle_timeout,
            ),
            (
                "body_timeout",
                &table.body_timeout,
                &mut parsed.body_timeout,
            ),
            (
                "write_timeout",
                &table.write_timeout,
                &mut parsed.write_timeout,
            ),
        ];
        for (key, text, duration) in durations {
            if let Some(text) = text {
                let read = parse_duration(text).filter(|duration| !duration.is_zero());
                *duration =
                    read.ok_or_else(|| format!("{key} = `{text}` is not a duration such as 15s"))?;
            }
        }
        if let Some(text) = &table.min_body_rate {
            let read = text.parse();
            parsed.min_body_rate = read.map_err(|_| {
                format!("min_body_rate = `{text}` is not a number of bytes per second")
            })?;
        }
        Ok(parsed)
    }

    /// Lowers the number of connections to half of the files that this process may have open, so that databases,
    /// caches and logs always find one.
    pub fn fit_to_open_files(mut self) -> Self {
        let open_files = getrlimit(Resource::Nofile).current;
        let Some(most) = open_files.and_then(|files| usize::try_from(files / 2).ok()) else {
            return self;
        };
        if self.connections > most {
            tracing::warn!(
                wanted = self.connections,
                connections = most,
                "fewer client connections are accepted, because this process may open few files (ulimit -n)"
            );
            self.connections = most.max(1);
        }
        self
    }

    /// Whether an address belongs to a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let contains = |network: &IpNet| network.contains(&address);
        self.trusted_proxies.iter().any(contains)
    }
}

fn count(key: &str, text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("{key} = `{text}` is not a number of connections"))
}

/// Networks or addresses, separated by commas or spaces.
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let entries = text.split([',', ' ']).filter(|entry| !entry.is_empty());
    let network = |entry: &str| {
        let network = entry.parse::<IpNet>().ok();
        let network = network.or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
        network.ok_or_else(|| {
            format!(
                "trusted_proxies: `{entry}` is neither a network such as 10.0.0.0/8 nor an address"
            )
        })
    };
    entries.map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let text = |text: &str| Some(text.to_owned());
        let table = ClientsTable {
            connections: text("100"),
            trusted_proxies: text("10.0.0.0/8, 192.0.2.1"),
            head_timeout: text("2s"),
            count_loopback: text("true"),
            ..ClientsTable::default()
        };
        let parsed = ClientLimits::parse(&table).unwrap();
        assert_eq!(parsed.connections, 100);
        assert_eq!(parsed.head_timeout, Duration::from_secs(2));
        assert!(parsed.count_loopback);
        assert!(parsed.trusts("10.1.2.3".parse().unwrap()));
        assert!(parsed.trusts("192.0.2.1".parse().unwrap()));
        assert!(!parsed.trusts("192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn invalid_values_are_named() {
        let refused = |change: fn(&mut ClientsTable)| {
            let mut table = ClientsTable::default();
            change(&mut table);
            ClientLimits::parse(&table).unwrap_err()
        };
        assert!(refused(|table| table.connections = Some("0".into())).contains("connections"));
        assert!(
            refused(|table| table.trusted_proxies = Some("all".into())).contains("trusted_proxies")
        );
        assert!(refused(|table| table.idle_timeout = Some("0s".into())).contains("idle_timeout"));
    }
}
