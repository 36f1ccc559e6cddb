//! Entries of `allowed_outbound_hosts`, `scheme://host[:port]`, as in Spin. Every other destination is forbidden.

use ipnet::IpNet;
use std::net::IpAddr;

/// The host suffix for service chaining, as in `http://greeter.spin.internal`.
pub const CHAINING_SUFFIX: &str = ".spin.internal";
/// The host name of the application itself, for URLs that need a host.
pub const SELF: &str = "self.alt";

/// One allowed destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    scheme: Option<String>,
    host: Host,
    ports: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Suffix(String),
    Network(IpNet),
    Literal(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ports {
    Any,
    /// From the first port up to, but not including, the second.
    Range(u16, u16),
    One(u16),
}

/// The default port of a scheme.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        "redis" | "rediss" => Some(6379),
        "mqtt" => Some(1883),
        _ => None,
    }
}

impl AllowedHost {
    /// Parses an entry. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("`{text}` has no scheme; write it as https://{text}"))?;
        let named = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphabetic());
        if scheme != "*" && !named {
            return Err(format!("`{scheme}` is not a scheme"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let network = rest.parse::<IpNet>().is_ok()
            || rest
                .rsplit_once(':')
                .is_some_and(|(net, _)| net.parse::<IpNet>().is_ok());
        if rest.contains('/') && !network {
            return Err(format!(
                "`{text}` has a path; only scheme, host and port can be allowed"
            ));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port))
                if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) =>
            {
                (host, Some(port))
            }
            _ => (rest, None),
        };
        let ports = match port {
            Some(port) => read_ports(port)
                .ok_or_else(|| format!("`{port}` is not a port, a range a..b, or *"))?,
            None if scheme == "*" => Ports::Any,
            None => Ports::One(default_port(scheme).ok_or_else(|| {
                format!("`{text}` needs a port: the scheme {scheme} has no default port")
            })?),
        };
        Ok(Self {
            scheme: (scheme != "*").then(|| scheme.to_owned()),
            host: read_host(host)?,
            ports,
        })
    }

    /// The component that the entry names through service chaining, if it names one.
    pub fn chained_component(&self) -> Option<&str> {
        match &self.host {
            Host::Literal(host) => host.strip_suffix(CHAINING_SUFFIX),
            _ => None,
        }
    }

    /// Whether requests to the application itself are allowed.
    pub fn allows_self(&self) -> bool {
        self.allows_inside("self") || self.allows_inside(SELF)
    }

    /// Whether requests to a host inside the application are allowed. Such requests use no network, so http and https
    /// are treated alike.
    pub fn allows_inside(&self, host: &str) -> bool {
        self.allows("http", host, 80) || self.allows("https", host, 443)
    }

    /// Whether a connection is allowed.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let scheme_fits = self
            .scheme
            .as_deref()
            .is_none_or(|allowed| allowed == scheme);
        let port_fits = match self.ports {
            Ports::Any => true,
            Ports::Range(from, to) => (from..to).contains(&port),
            Ports::One(one) => one == port,
        };
        let host_fits = match &self.host {
            Host::Any => true,
            Host::Suffix(suffix) => {
                host.len() > suffix.len() && host.to_ascii_lowercase().ends_with(suffix)
            }
            Host::Network(network) => host.parse::<IpAddr>().is_ok_and(|ip| network.contains(&ip)),
            Host::Literal(literal) => literal.eq_ignore_ascii_case(host),
        };
        scheme_fits && port_fits && host_fits
    }
}

impl std::fmt::Display for AllowedHost {
    /// The entry with its port, even if that is the default port of the scheme.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://", self.scheme.as_deref().unwrap_or("*"))?;
        match &self.host {
            Host::Any => f.write_str("*")?,
            Host::Suffix(suffix) => write!(f, "*{suffix}")?,
            Host::Network(network) => write!(f, "{network}")?,
            Host::Literal(host) if host.contains(':') => write!(f, "[{host}]")?,
            Host::Literal(host) => f.write_str(host)?,
        }
        match self.ports {
            Ports::Any => f.write_str(":*"),
            Ports::Range(from, to) => write!(f, ":{from}..{to}"),
            Ports::One(port) => write!(f, ":{port}"),
        }
    }
}

fn read_host(host: &str) -> Result<Host, String> {
    if host == "*" {
        Ok(Host::Any)
    } else if let Some(suffix) = host.strip_prefix("*.") {
        Ok(Host::Suffix(format!(".{}", suffix.to_ascii_lowercase())))
    } else if let Ok(network) = host.parse() {
        Ok(Host::Network(network))
    } else if host.is_empty() || host.contains('*') {
        Err(format!(
            "`{host}` is not a host: write a name, *, *.suffix or a network like 10.0.0.0/8"
        ))
    } else {
        Ok(Host::Literal(
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
        ))
    }
}

fn read_ports(text: &str) -> Option<Ports> {
    match text.split_once("..") {
        _ if text == "*" => Some(Ports::Any),
        Some((from, to)) => {
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from < to).then_some(Ports::Range(from, to))
        }
        None => text.parse().ok().map(Ports::One),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_shown_with_their_port() {
        for (entry, shown) in [
            ("https://example.com", "https://example.com:443"),
            ("http://*.example.com:80/", "http://*.example.com:80"),
            ("*://*", "*://*:*"),
            ("redis://10.0.0.0/8:1..9", "redis://10.0.0.0/8:1..9"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            let parsed = AllowedHost::parse(entry).unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(AllowedHost::parse(shown), Ok(parsed));
        }
    }

    #[test]
    fn entries_allow_exactly_what_they_name() {
        for (entry, scheme, host, port, allowed) in [
            ("https://example.com", "https", "example.com", 443, true),
            ("https://example.com", "https", "EXAMPLE.com", 443, true),
            ("https://example.com", "http", "example.com", 443, false),
            ("https://example.com", "https", "example.com", 8443, false),
            ("https://*.example.com", "https", "a.example.com", 443, true),
            ("https://*.example.com", "https", "example.com", 443, false),
            ("*://*:*", "tcp", "10.1.2.3", 9, true),
            ("tcp://10.0.0.0/8:80..90", "tcp", "10.9.9.9", 89, true),
            ("tcp://10.0.0.0/8:80..90", "tcp", "10.9.9.9", 90, false),
            ("tcp://10.0.0.0/8:*", "tcp", "11.0.0.1", 1, false),
            ("http://[::1]:8080", "http", "[::1]", 8080, true),
            ("http://127.0.0.1:*", "http", "127.0.0.1", 1234, true),
        ] {
            let parsed = AllowedHost::parse(entry).unwrap();
            assert_eq!(
                parsed.allows(scheme, host, port),
                allowed,
                "{entry} {scheme} {host} {port}"
            );
        }
    }

    #[test]
    fn invalid_entries_are_refused() {
        for bad in [
            "example.com",
            "https://",
            "https://a/b",
            "tcp://a",
            "https://a:x",
            "https://a*b",
            "ht1p://a",
            "https://a:9..2",
        ] {
            assert!(AllowedHost::parse(bad).is_err(), "{bad}");
        }
    }
}
