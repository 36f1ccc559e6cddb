//! Events. A change and its event are written in one transaction, and the event is delivered afterwards.
//!
//! In reading order: [`Event`] (CloudEvents 1.0), [`outbox`] (events to publish), [`bus`] (channels, consumer groups,
//! acknowledgement, dead letters), [`consume`] (the loop of a consumer), [`inbox`] (events already handled), [`views`]
//! (telemetry, which may be lost). Delivery is at least once, in order per subject; each event takes effect exactly once.

pub mod bus;
#[cfg(feature = "component")]
pub mod consume;
mod event;
#[cfg(feature = "component")]
pub mod inbox;
#[cfg(feature = "component")]
pub mod outbox;
#[cfg(feature = "component")]
pub mod views;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasi;

#[cfg(target_arch = "wasm32")]
pub use wasi::{sweep_consumer, sweep_events};

#[cfg(all(feature = "component", not(target_arch = "wasm32")))]
pub use native::{sweep_consumer, sweep_events};

/// Native builds have no bus of the application: unit tests use their own.
#[cfg(all(feature = "component", not(target_arch = "wasm32")))]
mod native {
    use super::bus::BusError;
    use super::consume::{Consumer, Report};
    use crate::ports::Ports;
    use crate::service::Service;

    /// Does nothing: there is no bus.
    pub async fn sweep_events<S: Service>(_: &Ports) -> Result<(), BusError> {
        Ok(())
    }

    /// Does nothing: there is no bus.
    pub async fn sweep_consumer<C: Consumer>(_: &C, _: &Ports) -> Result<Report, BusError> {
        Ok(Report::default())
    }
}

#[cfg(feature = "component")]
pub use consume::{Consumer, Refusal};
pub use event::Event;

/// Exports a [`crate::service::Service`] as `spin:redis/inbound-redis@3.0.0`. A message only wakes it to read its channels; the
/// content is ignored.
#[macro_export]
macro_rules! export_messages {
    ($service:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod messages_export {
            use super::*;
            struct Inbound;
            $crate::wit::inbound::export!(Inbound with_types_in $crate::wit::inbound);
            impl $crate::wit::inbound::exports::spin::redis::inbound_redis::Guest for Inbound {
                async fn handle_message(
                    _: Vec<u8>,
                ) -> Result<(), $crate::wit::inbound::exports::spin::redis::inbound_redis::Error> {
                    $crate::events::wasi::on_wake_up::<$service>().await;
                    Ok(())
                }
            }
        }
    };
}
