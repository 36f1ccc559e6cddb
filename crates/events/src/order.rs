//! Events of orders.

use crate::EventData;
use serde::{Deserialize, Serialize};

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the API")]
pub enum OrderStatus {
    Pending,
    Paid,
    Failed,
    Cancelled,
    Shipped,
    Delivered,
    ReturnRequested,
    Returned,
}

/// An order after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderChanged {
    /// The id of the order.
    pub order_id: String,
    /// The number that people use.
    pub number: String,
    /// The status after the change.
    pub status: OrderStatus,
    /// Null for a guest.
    pub customer_id: Option<String>,
    /// ISO 4217.
    #[cfg_attr(feature = "schema", schemars(length(min = 3, max = 3)))]
    pub currency: String,
    /// In minor units.
    pub total: u64,
    /// The lines of the order.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub items: Vec<OrderLine>,
}

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderLine {
    /// The product.
    pub product_id: String,
    /// Pieces.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub quantity: u32,
    /// In minor units, before discounts.
    pub line_total: u64,
}

/// An order after an approved return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderReturned {
    /// The order. Its status says whether everything came back.
    #[serde(flatten)]
    pub order: OrderChanged,
    /// What came back this time.
    #[serde(rename = "return")]
    pub returned: Returned,
}

/// A return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Returned {
    /// The id of the return.
    pub id: String,
    /// What was paid back, in minor units.
    pub refund: u64,
    /// The pieces that came back.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub items: Vec<Pieces>,
}

/// Pieces of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pieces {
    /// The product.
    pub product_id: String,
    /// Pieces.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub quantity: u32,
}

impl EventData for OrderChanged {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("order.created", "An order was made; it is not paid yet."),
        (
            "order.paid",
            "An order is paid for, and its goods are taken from stock.",
        ),
        ("order.shipped", "An order is on its way."),
        ("order.delivered", "An order arrived."),
        (
            "order.cancelled",
            "An order was cancelled, or its payment failed; its goods are in stock again.",
        ),
    ];
}

impl EventData for OrderReturned {
    const KINDS: &'static [(&'static str, &'static str)] = &[(
        "order.returned",
        "Items of an order came back and were paid back; the status says whether that was everything.",
    )];
}
