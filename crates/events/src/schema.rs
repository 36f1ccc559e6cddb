//! The JSON schema of each kind of event: the CloudEvents envelope, and the data from its type.

use crate::{
    EventData, InventoryLow, OrderChanged, OrderReturned, PaymentChanged, ProductUpdated,
    ProductViewed, UserChanged,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The schemas by kind.
pub fn schemas() -> BTreeMap<&'static str, Value> {
    let mut all = BTreeMap::new();
    add::<InventoryLow>(&mut all);
    add::<OrderChanged>(&mut all);
    add::<OrderReturned>(&mut all);
    add::<PaymentChanged>(&mut all);
    add::<ProductUpdated>(&mut all);
    add::<ProductViewed>(&mut all);
    add::<UserChanged>(&mut all);
    all
}

fn add<T: EventData + JsonSchema>(all: &mut BTreeMap<&'static str, Value>) {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut data = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    tidy(&mut data);
    for (kind, title) in T::KINDS {
        all.insert(kind, envelope(kind, title, &data));
    }
}

/// Removes the names of Rust's types, and requires every member: an absent value is null.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // A member of these names would be an object.
            if object.get("title").is_some_and(Value::is_string) {
                object.remove("title");
            }
            if let Some(Value::String(format)) = object.get("format")
                && format != "date-time"
            {
                object.remove("format");
            }
            if let Some(Value::Object(properties)) = object.get("properties") {
                let names: Vec<&String> = properties.keys().collect();
                let names = json!(names);
                object.insert("required".to_owned(), names);
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn envelope(kind: &str, title: &str, data: &Value) -> Value {
    let id = format!("urn:localmart:event:{kind}:1");
    let text = json!({ "type": "string", "minLength": 1 });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": id,
        "title": title,
        "type": "object",
        "required": [
            "specversion", "id", "type", "source", "subject", "subjectversion", "time", "datacontenttype", "dataschema", "data",
        ],
        "properties": {
            "specversion": { "const": "1.0" },
            "id": { "type": "string", "minLength": 1, "description": "Unique." },
            "type": { "const": kind },
            "source": text,
            "subject": { "type": "string", "minLength": 1, "description": "The ordering key." },
            "subjectversion": { "type": "integer", "minimum": 0 },
            "time": { "type": "string", "format": "date-time" },
            "datacontenttype": { "const": "application/json" },
            "dataschema": { "const": id },
            "traceparent": { "type": "string" },
            "data": data,
        },
    })
}
