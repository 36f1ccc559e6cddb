//! Postal addresses, for delivery and for invoices.

use serde_json::{Value, json};

/// A postal address. The HTTP layer has validated its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The name of the recipient.
    pub name: String,
    /// Street and house number.
    pub line1: String,
    /// Further delivery details, for example an apartment number.
    pub line2: Option<String>,
    /// The city.
    pub city: String,
    /// State, county or canton.
    pub region: Option<String>,
    /// ZIP or postal code.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

impl Address {
    /// The JSON form, both in the database and in the HTTP API.
    #[deny(unused_variables, reason = "a part that is left out would be lost")]
    pub fn to_json(&self) -> Value {
        let Self {
            name,
            line1,
            line2,
            city,
            region,
            postal_code,
            country,
        } = self;
        let mut value = json!({
            "name": name,
            "line1": line1,
            "city": city,
            "postal_code": postal_code,
            "country": country,
        });
        if let Some(object) = value.as_object_mut() {
            for (name, text) in [("line2", line2), ("region", region)] {
                if let Some(text) = text {
                    object.insert(name.to_owned(), json!(text));
                }
            }
        }
        value
    }

    /// The inverse of [`Self::to_json`].
    pub fn from_json(value: &Value) -> Option<Self> {
        let maybe = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        Some(Self {
            name: maybe("name")?,
            line1: maybe("line1")?,
            line2: maybe("line2"),
            city: maybe("city")?,
            region: maybe("region"),
            postal_code: maybe("postal_code")?,
            country: maybe("country")?,
        })
    }
}
