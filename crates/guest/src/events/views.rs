//! Views: telemetry that may be lost. Views are counted in memory and published in batches after the answer.

#[cfg(target_arch = "wasm32")]
pub use pending::record_view;

/// The data of an event for a subject, its viewer and the number of views.
pub type ViewData = fn(&str, Option<&str>, u64) -> serde_json::Value;

/// Does nothing: native builds have no bus.
#[cfg(not(target_arch = "wasm32"))]
pub fn record_view(
    _kind: &'static str,
    _source: &'static str,
    _seen: (&str, Option<&str>),
    _data: ViewData,
) {
}

#[cfg(target_arch = "wasm32")]
mod pending {
    use super::ViewData;
    use crate::events::Event;
    use crate::events::bus::Outgoing;
    use crate::events::wasi::publish;
    use crate::log::{self, Level};
    use crate::ports::Ports;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// How long views are collected before they are published.
    const FLUSH_AFTER: Duration = Duration::from_millis(500);
    /// How many different views are collected. Further views are dropped.
    const MAX_PENDING: usize = 1_000;

    thread_local! {
        /// How often each viewer has seen each subject.
        static VIEWS: RefCell<BTreeMap<(String, Option<String>), u64>> = const { RefCell::new(BTreeMap::new()) };
        static FLUSHING: Cell<bool> = const { Cell::new(false) };
    }

    /// Counts a view of a subject by a viewer. An event of this kind, for example `product.viewed`, will report it with this
    /// data.
    pub fn record_view(
        kind: &'static str,
        source: &'static str,
        (subject, viewer): (&str, Option<&str>),
        data: ViewData,
    ) {
        VIEWS.with_borrow_mut(|views| {
            let key = (subject.to_owned(), viewer.map(str::to_owned));
            if views.len() < MAX_PENDING || views.contains_key(&key) {
                *views.entry(key).or_default() += 1;
            }
        });
        if FLUSHING.replace(true) {
            return;
        }
        crate::wasip3::spawn(async move {
            let ports = Ports::real();
            ports.sleep(FLUSH_AFTER).await;
            FLUSHING.set(false);
            let views = VIEWS.take();
            let events: Vec<Outgoing> = views
                .into_iter()
                .map(|((subject, viewer), views)| {
                    let data = data(&subject, viewer.as_deref(), views);
                    let event = Event::new(&ports.new_id(), kind, source, &subject, 0, ports.now());
                    let event = event.with(data);
                    Outgoing {
                        channel: event.channel(),
                        subject,
                        id: event.id.clone(),
                        body: event.encode(),
                    }
                })
                .collect();
            if let Err(error) = publish(&events, &ports).await {
                let fields = [("kind", kind), ("reason", &error.0)];
                log::write(Level::Warn, "", "views were lost", &fields);
            }
        });
    }
}
