//! Events in a component: selects the bus, relays the outbox after commits and in sweeps, and runs the consumer when a
//! message wakes the component.

use super::bus::{Bus as _, BusError, Outgoing, RedisBus, SqlBus};
use super::consume::{self, Consumer, Report};
use super::{inbox, outbox};
use crate::config::EMBEDDED;
use crate::log::{self, Level};
use crate::ports::Ports;
use crate::redis::Server;
use crate::service::{Service, instance};
use crate::short_lived::{StoreError, server};
use crate::sql::ServiceDatabase;
use std::cell::Cell;
use std::time::Duration;

/// How long a relay waits after a commit for further commits, so that a burst is published together.
const GATHER: Duration = Duration::from_millis(5);

thread_local! {
    /// Whether an event was written since the last commit.
    static EVENT_WRITTEN: Cell<bool> = const { Cell::new(false) };
    /// Whether this instance is relaying its outbox.
    static RELAYING: Cell<bool> = const { Cell::new(false) };
    /// Whether an event was committed since the relay last read the outbox.
    static COMMITTED_SINCE: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn mark_event_written() {
    EVENT_WRITTEN.set(true);
}

/// Called after a commit: starts a relay if the transaction wrote an event.
pub(crate) fn committed(noun: &'static str) {
    if !EVENT_WRITTEN.replace(false) {
        return;
    }
    COMMITTED_SINCE.set(true);
    if RELAYING.replace(true) {
        return;
    }
    crate::wasip3::spawn(async move {
        let ports = Ports::real();
        while COMMITTED_SINCE.get() {
            ports.sleep(GATHER).await;
            COMMITTED_SINCE.set(false);
            if let Err(error) = relay(noun, &ports).await {
                // The next sweep tries again.
                let fields = [("service", noun), ("reason", &error.0)];
                log::write(Level::Warn, "", "events wait for the bus", &fields);
            }
        }
        RELAYING.set(false);
    });
}

/// Publishes the outbox of a service and wakes the consumers.
pub async fn relay(noun: &'static str, ports: &Ports) -> Result<(), BusError> {
    let database = ServiceDatabase::new(noun);
    let channels = match server().await? {
        Some(server) => {
            let bus = RedisBus(server);
            outbox::relay_under_lock(noun, &database, &bus, ports).await?
        }
        None => outbox::relay_under_lock(noun, &database, &sql_bus(), ports).await?,
    };
    for channel in channels {
        wake(&channel).await;
    }
    Ok(())
}

/// Publishes telemetry that may be lost.
pub(super) async fn publish(events: &[Outgoing], ports: &Ports) -> Result<(), BusError> {
    match server().await? {
        Some(server) => RedisBus(server).publish(events, ports.now()).await?,
        None => sql_bus().publish(events, ports.now()).await?,
    }
    if let Some(event) = events.first() {
        wake(&event.channel).await;
    }
    Ok(())
}

fn sql_bus() -> SqlBus<ServiceDatabase> {
    SqlBus(ServiceDatabase::new("bus"))
}

/// Wakes the consumers of a channel. If the message is lost, the next sweep reads the channel.
async fn wake(channel: &str) {
    let message = async {
        let message = server().await?.unwrap_or_else(|| Server::new(EMBEDDED));
        message.publish(channel, "wake").await
    };
    let sent: Result<(), StoreError> = message.await;
    if let Err(error) = sent {
        let fields = [("channel", channel), ("reason", &error.0)];
        log::write(Level::Warn, "", "a wake-up was lost", &fields);
    }
}

/// The part of a sweep that concerns published events: relays the outbox.
pub async fn sweep_events<S: Service>(ports: &Ports) -> Result<(), BusError> {
    if S::DECLARED.tells.is_empty() {
        return Ok(());
    }
    relay(S::NOUN, ports).await
}

/// The part of a sweep that concerns consumed events: handles new ones and deletes old ones.
pub async fn sweep_consumer<C: Consumer>(consumer: &C, ports: &Ports) -> Result<Report, BusError> {
    if C::CHANNELS.is_empty() {
        return Ok(Report::default());
    }
    let report = run(consumer, ports).await?;
    if consume::trim_is_due(ports) {
        match server().await? {
            Some(server) => consume::trim::<_, C>(&RedisBus(server), ports).await?,
            None => consume::trim::<_, C>(&sql_bus(), ports).await?,
        }
        inbox::forget(&ServiceDatabase::new(C::GROUP), ports.now()).await?;
    }
    Ok(report)
}

async fn run<C: Consumer>(consumer: &C, ports: &Ports) -> Result<Report, BusError> {
    match server().await? {
        Some(server) => consume::consume(&RedisBus(server), consumer, ports).await,
        None => consume::consume(&sql_bus(), consumer, ports).await,
    }
}

/// Handles a wake-up message: reads the channels of the consumer.
pub async fn on_wake_up<S: Service>() {
    let ports = Ports::real();
    let result = match instance::<S>().await {
        Ok(service) => run(&*service, &ports).await.map_err(|error| error.0),
        Err(error) => Err(error.to_string()),
    };
    if let Err(reason) = result {
        let fields = [("service", S::NOUN), ("reason", &reason)];
        log::write(
            Level::Warn,
            "",
            "cannot consume events; the next sweep tries again",
            &fields,
        );
    }
}
