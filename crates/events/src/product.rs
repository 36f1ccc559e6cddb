//! Events of products and their stock.

use crate::EventData;
use serde::{Deserialize, Serialize};

/// A product after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProductUpdated {
    /// The id of the product.
    pub product_id: String,
    /// The merchant's own code.
    pub sku: String,
    /// The name.
    pub name: String,
    /// The part of the address.
    pub slug: String,
    /// The description.
    pub description: String,
    /// The slug of the category.
    pub category: String,
    /// The price.
    pub price: Price,
    /// Whether it is for sale.
    pub published: bool,
    /// The version of the product.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub version: u64,
    /// RFC 3339.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub updated_at: String,
}

/// A price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Price {
    /// In minor units.
    pub amount: u64,
    /// ISO 4217.
    #[cfg_attr(feature = "schema", schemars(length(min = 3, max = 3)))]
    pub currency: String,
}

/// Views of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProductViewed {
    /// The id of the product.
    pub product_id: String,
    /// Null for a guest.
    pub customer_id: Option<String>,
    /// How often this viewer looked at the product.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub views: u64,
}

/// Little of a product is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InventoryLow {
    /// The id of the product.
    pub product_id: String,
    /// Pieces that can be sold.
    pub available: u64,
    /// The number below which it is told.
    pub threshold: u64,
}

impl EventData for ProductUpdated {
    const KINDS: &'static [(&'static str, &'static str)] =
        &[("product.updated", "A product is new or changed.")];
}

impl EventData for ProductViewed {
    const KINDS: &'static [(&'static str, &'static str)] = &[(
        "product.viewed",
        "Somebody looked at a product. Telemetry: gathered in memory, may be lost.",
    )];
}

impl EventData for InventoryLow {
    const KINDS: &'static [(&'static str, &'static str)] = &[(
        "inventory.low",
        "No more than the threshold of a product can be sold; told once until it is filled up.",
    )];
}
