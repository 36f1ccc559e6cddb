//! `spin:mqtt@3` and `fermyon:spin/mqtt@2`: publishes messages to allowed MQTT servers over TCP. A handle is one
//! connection, which is established for the first message. A message counts as sent when the server has confirmed it
//! according to its quality of service.

use super::Capabilities;
use super::bindings::spin::mqtt::mqtt as wit;
use super::older::bindings::fermyon::spin::mqtt as older;
use crate::capability::state::HostState;
use crate::limits;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use wasmtime::component::{Accessor, Resource};

/// A guest's handle to a server.
#[derive(Clone)]
pub struct Connection {
    client: AsyncClient,
    /// Locked while a message is sent: one at a time.
    events: Arc<Mutex<EventLoop>>,
}

/// The parsed URL of an MQTT server.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
    client: Option<String>,
}

impl Address {
    /// Parses `mqtt://host[:port][?client_id=name]`.
    fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let client = uri.query().and_then(|query| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == "client_id")
        });
        (uri.scheme_str() == Some("mqtt")).then_some(())?;
        Some(Self {
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(1883),
            client: client.map(|(_, name)| name.to_owned()),
        })
    }
}

impl Connection {
    async fn publish(self, topic: String, payload: Vec<u8>, qos: QoS) -> Result<(), wit::Error> {
        let sending = async {
            let mut events = self.events.lock().await;
            let queued = self.client.publish(topic, qos, false, payload).await;
            queued.map_err(|error| wit::Error::Other(error.to_string()))?;
            loop {
                let event = events.poll().await;
                let event =
                    event.map_err(|error| wit::Error::ConnectionFailed(error.to_string()))?;
                let done = match qos {
                    QoS::AtMostOnce => matches!(event, Event::Outgoing(Outgoing::Publish(_))),
                    QoS::AtLeastOnce => matches!(event, Event::Incoming(Packet::PubAck(_))),
                    QoS::ExactlyOnce => matches!(event, Event::Incoming(Packet::PubComp(_))),
                };
                if done {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(limits::MQTT_PUBLISH_TIMEOUT, sending)
            .await
            .unwrap_or_else(|_| {
                Err(wit::Error::Other(
                    "the server did not confirm the message in time".to_owned(),
                ))
            })
    }
}

impl HostState {
    fn open_mqtt(
        &mut self,
        address: &str,
        (user, password): (String, String),
        keep_alive_s: u64,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let Some(Address { host, port, client }) = Address::parse(address) else {
            return Ok(Err(wit::Error::InvalidAddress));
        };
        let hosts = &self.component.allowed_hosts;
        if !hosts.iter().any(|one| one.allows("mqtt", &host, port)) {
            self.log_refused(&format!("mqtt://{host}:{port}"));
            let refused = format!("address {address} is not permitted");
            return Ok(Err(wit::Error::ConnectionFailed(refused)));
        }
        if self.mqtt_handles >= limits::MQTT_HANDLES {
            return Ok(Err(wit::Error::TooManyConnections));
        }
        let client = client.unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
        let mut options = MqttOptions::new(client, host, port);
        options.set_keep_alive(Duration::from_secs(
            keep_alive_s.min(limits::MQTT_KEEP_ALIVE_S),
        ));
        if !user.is_empty() {
            options.set_credentials(user, password);
        }
        let (client, events) = AsyncClient::new(options, 1);
        self.mqtt_handles += 1;
        let events = Arc::new(Mutex::new(events));
        Ok(Ok(self.table.push(Connection { client, events })?))
    }

    fn close_mqtt(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.mqtt_handles = self.mqtt_handles.saturating_sub(1);
        Ok(())
    }
}

impl wit::Host for HostState {}

impl wit::HostConnection for HostState {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_mqtt(connection)
    }
}

impl<T: Send + 'static> wit::HostConnectionWithStore<T> for Capabilities {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
        user: String,
        password: String,
        keep_alive_s: u64,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        accessor.with(|mut access| {
            access
                .get()
                .open_mqtt(&address, (user, password), keep_alive_s)
        })
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        topic: String,
        payload: Vec<u8>,
        qos: wit::Qos,
    ) -> wasmtime::Result<Result<(), wit::Error>> {
        let connection = accessor
            .with(|mut access| wasmtime::error::Ok(access.get().table.get(&connection)?.clone()))?;
        let qos = match qos {
            wit::Qos::AtMostOnce => QoS::AtMostOnce,
            wit::Qos::AtLeastOnce => QoS::AtLeastOnce,
            wit::Qos::ExactlyOnce => QoS::ExactlyOnce,
        };
        Ok(connection.publish(topic, payload, qos).await)
    }
}

fn failed(error: wit::Error) -> older::Error {
    match error {
        wit::Error::InvalidAddress => older::Error::InvalidAddress,
        wit::Error::TooManyConnections => older::Error::TooManyConnections,
        wit::Error::ConnectionFailed(reason) => older::Error::ConnectionFailed(reason),
        wit::Error::Other(reason) => older::Error::Other(reason),
    }
}

impl older::Host for HostState {}

impl older::HostConnection for HostState {
    async fn open(
        &mut self,
        address: String,
        user: String,
        password: String,
        keep_alive_s: u64,
    ) -> wasmtime::Result<Result<Resource<Connection>, older::Error>> {
        let opened = self.open_mqtt(&address, (user, password), keep_alive_s)?;
        Ok(opened.map_err(failed))
    }

    async fn publish(
        &mut self,
        connection: Resource<Connection>,
        topic: String,
        payload: Vec<u8>,
        qos: older::Qos,
    ) -> wasmtime::Result<Result<(), older::Error>> {
        let connection = self.table.get(&connection)?.clone();
        let qos = match qos {
            older::Qos::AtMostOnce => QoS::AtMostOnce,
            older::Qos::AtLeastOnce => QoS::AtLeastOnce,
            older::Qos::ExactlyOnce => QoS::ExactlyOnce,
        };
        Ok(connection
            .publish(topic, payload, qos)
            .await
            .map_err(failed))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_mqtt(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let address = |host: &str, port, client: Option<&str>| Address {
            host: host.to_owned(),
            port,
            client: client.map(str::to_owned),
        };
        for (text, read) in [
            (
                "mqtt://localhost:1884?client_id=a",
                Some(address("localhost", 1884, Some("a"))),
            ),
            (
                "mqtt://localhost/?x=y&client_id=b",
                Some(address("localhost", 1883, Some("b"))),
            ),
            ("mqtt://[::1]:1", Some(address("::1", 1, None))),
            ("mqtts://localhost", None),
            ("localhost", None),
        ] {
            assert_eq!(Address::parse(text), read, "{text}");
        }
    }
}
