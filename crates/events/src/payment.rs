//! Events of payments.

use crate::EventData;
use serde::{Deserialize, Serialize};

/// The status of a payment of which an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the API")]
pub enum PaymentStatus {
    Captured,
    Failed,
    PartiallyRefunded,
    Refunded,
}

impl PaymentStatus {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
        }
    }

    /// The kind of the event that tells of the change to this status.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Captured => "payment.captured",
            Self::Failed => "payment.failed",
            Self::PartiallyRefunded | Self::Refunded => "payment.refunded",
        }
    }
}

/// A payment after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PaymentChanged {
    /// The id of the payment.
    pub payment_id: String,
    /// The order that it pays.
    pub order_id: String,
    /// Null for a guest.
    pub customer_id: Option<String>,
    /// The status after the change.
    pub status: PaymentStatus,
    /// ISO 4217.
    #[cfg_attr(feature = "schema", schemars(length(min = 3, max = 3)))]
    pub currency: String,
    /// What is to be paid, in minor units.
    pub amount: u64,
    /// What was taken so far, in minor units.
    pub captured: u64,
    /// What was paid back so far, in minor units.
    pub refunded: u64,
}

impl EventData for PaymentChanged {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("payment.captured", "The money of an order was taken."),
        ("payment.failed", "A payment failed; nothing was taken."),
        (
            "payment.refunded",
            "Money was paid back; the status says whether that was all of it.",
        ),
    ];
}
