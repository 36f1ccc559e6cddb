//! `spin:mqtt@3` and `fermyon:spin/mqtt@2`: publishes messages to allowed MQTT servers over TCP. A handle is one
//! connection, which is established for the first message. A message counts as sent when the server has confirmed it
//! according to its quality of service.

use super::older::bindings::fermyon::spin::mqtt as older;
use super::{Capabilities, Interface, interfaces};
use crate::capability::state::HostState;
use crate::connect;
use crate::limits;
use bindings::spin::mqtt::mqtt as wit;
use localmart_connect::Trust;
use localmart_connect::mqtt::Address;
use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, QoS};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use wasmtime::component::{Accessor, Resource};

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capability {
                import spin:mqtt/mqtt@3.0.0;
            }
        ",
        path: ["../wit/deps/spin-mqtt@3.0.0"],
        imports: { default: async | trappable },
        with: {
            "spin:mqtt/mqtt.connection": super::Connection,
        },
        require_store_data_send: true,
    });
}

interfaces! {
    "spin:mqtt/mqtt@3.0.0": bindings::spin::mqtt::mqtt,
}

/// A guest's handle to a server.
#[derive(Clone)]
pub struct Connection {
    client: AsyncClient,
    /// Locked while a message is sent: one at a time.
    events: Arc<Mutex<EventLoop>>,
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
        login: (String, String),
        keep_alive_s: u64,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let Ok(server) = Address::parse(address) else {
            return Ok(Err(wit::Error::InvalidAddress));
        };
        let (host, port) = (&server.host, server.port);
        let hosts = &self.component.allowed_hosts;
        let allows = |scheme: &str| hosts.iter().any(|one| one.allows(scheme, host, port));
        if !(allows("mqtt") || allows("mqtts")) {
            self.log_refused(&format!("mqtt://{host}:{port}"));
            let refused = format!("address {address} is not permitted");
            return Ok(Err(wit::Error::ConnectionFailed(refused)));
        }
        if let Err(reason) = self.check_files(server.trust.iter().flat_map(Trust::files)) {
            return Ok(Err(wit::Error::ConnectionFailed(reason)));
        }
        if self.mqtt_handles >= limits::MQTT_HANDLES {
            return Ok(Err(wit::Error::TooManyConnections));
        }
        let keep_alive = Duration::from_secs(keep_alive_s.min(limits::MQTT_KEEP_ALIVE_S));
        let (client, events) = match connect::mqtt(&server, login, keep_alive) {
            Ok(made) => made,
            Err(error) => return Ok(Err(wit::Error::ConnectionFailed(error.to_string()))),
        };
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
