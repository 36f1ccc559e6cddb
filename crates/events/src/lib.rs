//! The data of every event. A service tells an event with a type of this crate, a consumer gets the same type, and the schemas in
//! `docs/events/` are made of it. The envelope around the data is that of the guest kit.
//!
//! Readers ignore members that they do not know, so a type may gain optional members. A change that would break a reader is a new
//! kind of event. No event carries a password, a token, an e-mail address, a name or a postal address.

mod order;
mod payment;
mod product;
#[cfg(feature = "schema")]
mod schema;

pub use order::{OrderChanged, OrderLine, OrderReturned, OrderStatus, Pieces, Returned};
pub use payment::{PaymentChanged, PaymentStatus};
pub use product::{InventoryLow, Price, ProductUpdated, ProductViewed};
#[cfg(feature = "schema")]
pub use schema::schemas;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The data of some kinds of events.
pub trait EventData: Serialize + DeserializeOwned {
    /// The kinds, such as `order.paid`, each with a sentence for its schema.
    const KINDS: &'static [(&'static str, &'static str)];

    /// The data as JSON.
    fn to_value(&self) -> Value {
        // These types have no maps with other keys than texts, which is all that could fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Reads the data of an event.
    ///
    /// # Errors
    /// The data does not have this type. The text names the member.
    fn read(data: &Value) -> Result<Self, String> {
        Self::deserialize(data)
            .map_err(|error| format!("`data` does not match the schema of the event: {error}"))
    }
}

/// A user registered, or is another one than before. Other services ask for what they need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UserChanged {
    /// The id of the user.
    pub user_id: String,
    /// The version of the user.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub version: u64,
}

impl EventData for UserChanged {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("user.created", "Somebody registered."),
        (
            "user.updated",
            "A user, the roles or the profile changed, or the user was erased.",
        ),
    ];
}
