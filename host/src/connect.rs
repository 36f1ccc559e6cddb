//! Connections to servers: each connection of the host to Postgres, Redis or MQTT is made here, with TLS as its address says
//! (`crates/connect`), within a time limit, and again after a growing pause where something must stay connected.

use crate::limits;
use localmart_connect::{Trust, mqtt, postgres::connector, redis as redis_address};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError};
use rumqttc::{AsyncClient, EventLoop, MqttOptions, NetworkOptions, TlsConfiguration, Transport};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client as PostgresClient, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum NoServer {
    /// It cannot be reached, or refuses.
    #[error("the server does not answer: {0}")]
    Unreachable(tokio_postgres::Error),
    /// It accepts and then stays silent.
    #[error("the server does not answer within {0:?}")]
    Silent(Duration),
    /// The settings for TLS cannot be used.
    #[error("{0}")]
    Untrusted(String),
}

/// What connects to Postgres, by whom it trusts. Files are read once.
#[derive(Default)]
pub struct PostgresConnectors(Mutex<HashMap<Option<Trust>, MakeRustlsConnect>>);

impl PostgresConnectors {
    /// What connects to a server that must prove this.
    ///
    /// # Errors
    /// The files cannot be read, or do not fit together.
    pub fn get(&self, trust: Option<&Trust>) -> Result<MakeRustlsConnect, NoServer> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trust = trust.cloned();
        if let Some(connector) = known.get(&trust) {
            return Ok(connector.clone());
        }
        let made = connector(trust.as_ref()).map_err(NoServer::Untrusted)?;
        known.insert(trust, made.clone());
        Ok(made)
    }
}

/// The part of a connection to Postgres that sends and receives.
pub type PostgresConnection =
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Connects to Postgres. The second value must be polled for the first one to work.
///
/// # Errors
/// The server cannot be reached, or does not answer in time.
pub async fn postgres(
    config: &Config,
    connector: MakeRustlsConnect,
) -> Result<(PostgresClient, PostgresConnection), NoServer> {
    let connecting = config.connect(connector);
    in_time(connecting).await?.map_err(NoServer::Unreachable)
}

/// Connects to Redis, for commands of several callers at once.
///
/// # Errors
/// The address is not valid, or the server does not answer in time.
pub async fn redis(address: &str) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limits::SERVER_CONNECT_TIMEOUT))
        .set_response_timeout(Some(limits::REDIS_COMMAND_TIMEOUT));
    let client = redis_client(address)?;
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Connects to Redis, to subscribe to channels.
///
/// # Errors
/// The address is not valid, or the server does not answer in time.
pub async fn redis_subscriber(address: &str) -> Result<PubSub, RedisError> {
    let client = redis_client(address)?;
    let silent =
        |error: NoServer| RedisError::from((ErrorKind::Io, "no connection", error.to_string()));
    in_time(client.get_async_pubsub()).await.map_err(silent)?
}

fn redis_client(address: &str) -> Result<Client, RedisError> {
    let made = redis_address::Address::parse(address).and_then(|address| address.client());
    made.map_err(|reason| RedisError::from((ErrorKind::InvalidClientConfig, "the address", reason)))
}

/// A client of an MQTT server. It connects when its events are polled first.
///
/// # Errors
/// The settings for TLS cannot be used.
pub fn mqtt(
    address: &mqtt::Address,
    (user, password): (String, String),
    keep_alive: Duration,
) -> Result<(AsyncClient, EventLoop), NoServer> {
    let new_name = || uuid::Uuid::now_v7().simple().to_string();
    let name = address.client.clone().unwrap_or_else(new_name);
    let mut options = MqttOptions::new(name, &address.host, address.port);
    options.set_keep_alive(keep_alive);
    if !user.is_empty() {
        options.set_credentials(user, password);
    }
    if let Some(trust) = &address.trust {
        let config = trust.config().map_err(NoServer::Untrusted)?;
        let tls = TlsConfiguration::Rustls(Arc::new(config));
        options.set_transport(Transport::Tls(tls));
    }
    let (client, mut events) = AsyncClient::new(options, 1);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(limits::SERVER_CONNECT_TIMEOUT.as_secs());
    events.set_network_options(network);
    Ok((client, events))
}

async fn in_time<T>(connecting: impl Future<Output = T>) -> Result<T, NoServer> {
    let timeout = limits::SERVER_CONNECT_TIMEOUT;
    let connected = tokio::time::timeout(timeout, connecting).await;
    connected.map_err(|_| NoServer::Silent(timeout))
}

/// The growing pause between attempts to stay connected.
#[derive(Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `least` to `most`; each is twice as long as the one before.
    pub fn new(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            next: least,
        }
    }

    /// Waits before the next attempt. A connection that lasted longer than the longest pause starts anew.
    pub async fn pause(&mut self, lasted: Duration) {
        tokio::time::sleep(self.after(lasted)).await;
    }

    fn after(&mut self, lasted: Duration) -> Duration {
        if lasted > self.most {
            self.next = self.least;
        }
        let pause = self.next;
        self.next = self.most.min(pause * 2);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_connection_lasts() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(5));
        let short: Vec<Duration> = (0..4).map(|_| backoff.after(seconds(1))).collect();
        assert_eq!(short, [1, 2, 4, 5].map(seconds));
        assert_eq!(backoff.after(seconds(6)), seconds(1));
        assert_eq!(backoff.after(seconds(0)), seconds(2));
    }
}
