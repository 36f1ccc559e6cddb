//! Telemetry that may be lost: counted in memory, published in batches after the answer.

#[cfg(target_arch = "wasm32")]
pub use gathering::seen;

/// Natively nobody listens.
#[cfg(not(target_arch = "wasm32"))]
pub fn seen(_kind: &'static str, _source: &'static str, _subject: &str, _viewer: Option<&str>) {}

#[cfg(target_arch = "wasm32")]
mod gathering {
    use crate::events::Event;
    use crate::events::bus::Outgoing;
    use crate::events::wasi::publish;
    use crate::log::{self, Level};
    use crate::ports::Ports;
    use serde_json::json;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// How long views are gathered.
    const GATHER: Duration = Duration::from_millis(500);
    /// How many different views are gathered; what comes beyond is lost.
    const MOST: usize = 1_000;

    thread_local! {
        /// How often each subject was seen, by whom.
        static SEEN: RefCell<BTreeMap<(String, Option<String>), u64>> = const { RefCell::new(BTreeMap::new()) };
        static FLUSHING: Cell<bool> = const { Cell::new(false) };
    }

    /// Somebody saw a subject: an event of this kind, as `product.viewed`, will say so.
    pub fn seen(kind: &'static str, source: &'static str, subject: &str, viewer: Option<&str>) {
        SEEN.with_borrow_mut(|seen| {
            let place = (subject.to_owned(), viewer.map(str::to_owned));
            if seen.len() < MOST || seen.contains_key(&place) {
                *seen.entry(place).or_default() += 1;
            }
        });
        if FLUSHING.replace(true) {
            return;
        }
        crate::wasip3::spawn(async move {
            let ports = Ports::real();
            ports.sleep(GATHER).await;
            FLUSHING.set(false);
            let seen = SEEN.take();
            let events: Vec<Outgoing> = seen
                .into_iter()
                .map(|((subject, viewer), views)| {
                    let data =
                        json!({ "product_id": subject, "customer_id": viewer, "views": views });
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
