//! An event in its wire format: CloudEvents 1.0 in JSON, with a W3C `traceparent`.

use localmart_kernel::{Id, Timestamp};
use serde_json::{Value, json};

/// Something that happened to a subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The unique id of the event.
    pub id: String,
    /// `<noun>.<verb>`, for example `order.paid`.
    pub kind: String,
    /// The component that published the event, for example `/order`.
    pub source: String,
    /// The id of the thing that changed: the ordering key.
    pub subject: String,
    /// The version of the subject after the change. Subject and version are the key of the outbox.
    pub version: u64,
    /// When the change happened (RFC 3339).
    pub time: String,
    /// The W3C `traceparent` of the request that caused the event, or empty.
    pub trace_parent: String,
    /// The details. The schema of each kind is `docs/events/<kind>.json`.
    pub data: Value,
}

impl Event {
    /// An event that happens now, without details.
    pub fn new(
        id: &Id,
        kind: &str,
        source: &str,
        subject: &str,
        version: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            id: id.to_string(),
            kind: kind.to_owned(),
            source: format!("/{source}"),
            subject: subject.to_owned(),
            version,
            time: now.to_string(),
            trace_parent: String::new(),
            data: Value::Null,
        }
    }

    /// Sets the details.
    #[must_use]
    pub fn with(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// Sets the trace.
    #[must_use]
    pub fn in_trace(mut self, trace_parent: &str) -> Self {
        trace_parent.clone_into(&mut self.trace_parent);
        self
    }

    /// `<noun>.events`.
    pub fn channel(&self) -> String {
        let noun = self.kind.split('.').next().unwrap_or_default();
        format!("{noun}.events")
    }

    /// Encodes the event as CloudEvents JSON.
    pub fn encode(&self) -> String {
        let mut body = json!({
            "specversion": "1.0",
            "id": self.id,
            "type": self.kind,
            "source": self.source,
            "subject": self.subject,
            "subjectversion": self.version,
            "time": self.time,
            "datacontenttype": "application/json",
            "dataschema": format!("urn:localmart:event:{}:1", self.kind),
            "data": self.data,
        });
        if let Some(object) = body.as_object_mut()
            && !self.trace_parent.is_empty()
        {
            object.insert("traceparent".to_owned(), json!(self.trace_parent));
        }
        body.to_string()
    }

    /// Decodes CloudEvents JSON. Unknown members are ignored, so that events of later versions can be read. The error
    /// names the member that is missing.
    pub fn decode(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let maybe = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let field = |name: &str| {
            let found = maybe(name).filter(|text| !text.is_empty());
            found.ok_or_else(|| format!("`{name}` is missing"))
        };
        if maybe("specversion").as_deref() != Some("1.0") {
            return Err("`specversion` is not 1.0".to_owned());
        }
        Ok(Self {
            id: field("id")?,
            kind: field("type")?,
            source: field("source")?,
            subject: field("subject")?,
            version: value
                .get("subjectversion")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            time: field("time")?,
            trace_parent: maybe("traceparent").unwrap_or_default(),
            data: value.get("data").cloned().unwrap_or(Value::Null),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_round_trips_and_a_missing_member_is_an_error() {
        let id = Id::from_parts(1, &[1; 10]);
        let event = Event::new(&id, "order.paid", "order", "o-1", 3, Timestamp::from_ms(0))
            .with(json!({ "a": 1 }))
            .in_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(Event::decode(&event.encode()), Ok(event.clone()));
        assert_eq!(event.channel(), "order.events");
        let later = event.encode().replacen('{', "{\"somethingnew\":[1],", 1);
        assert_eq!(Event::decode(&later), Ok(event.clone()));
        for name in [
            "\"id\"",
            "\"type\"",
            "\"subject\"",
            "\"time\"",
            "\"specversion\"",
        ] {
            let without = event.encode().replacen(name, "\"other\"", 1);
            assert!(Event::decode(&without).is_err(), "{name}");
        }
        assert!(Event::decode("{").is_err());
    }
}
