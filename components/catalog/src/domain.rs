//! Products and categories. No clock, no I/O, no JSON.

use localmart_guest::kernel::text::{is_slug, slugify};
use localmart_guest::kernel::{Id, Money, Timestamp, named};
use std::collections::BTreeMap;

/// The longest SKU, in characters.
pub(crate) const MAX_SKU: usize = 64;
/// The longest name, in characters.
pub(crate) const MAX_NAME: usize = 200;
/// The longest description, in characters.
pub(crate) const MAX_DESCRIPTION: usize = 10_000;
/// The longest chain of a category and its ancestors.
pub(crate) const MAX_CATEGORY_DEPTH: usize = 32;
/// The largest number of attributes of a product.
pub(crate) const MAX_ATTRIBUTES: usize = 50;

/// The merchant's article number: visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sku(String);

impl Sku {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits =
            (1..=MAX_SKU).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The SKU of a stored product, whatever rules held when it was stored.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part of an address that names a product or category. It never looks like an id, because an address takes either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slug(String);

impl Slug {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let valid = is_slug(text) && Id::parse(text).is_none();
        valid.then(|| Self(text.to_owned()))
    }

    /// The slug of a stored product or category, whatever rules held when it was stored.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// A slug from the first of these texts with Latin letters or digits. Without any, `noun` and the random end of the id,
    /// as `product-7c3a5e9d1b20`.
    pub(crate) fn from_texts(texts: &[&str], noun: &str, id: &Id) -> Self {
        let short = |text: &&str| {
            let mut slug = slugify(text);
            slug.truncate(80);
            slug.truncate(slug.trim_end_matches('-').len());
            Self::parse(&slug)
        };
        let slug = texts.iter().find_map(short);
        slug.unwrap_or_else(|| Self(noun.to_owned()).with_suffix_of(id))
    }

    /// The slug followed by the random end of an id, for a second product with the same name.
    pub(crate) fn with_suffix_of(self, id: &Id) -> Self {
        let tail = id.as_str().rsplit('-').next().unwrap_or_default();
        Self(format!("{}-{tail}", self.0))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why the fields of a product do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DraftError {
    #[error("the price before the reduction has another currency than the price")]
    CurrencyMismatch,
}

/// The amounts of a product, all in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prices {
    price: Money,
    compare_at: Option<Money>,
}

impl Prices {
    /// Refuses amounts in different currencies, because the currency is stored once.
    pub(crate) fn new(price: Money, compare_at: Option<Money>) -> Result<Self, DraftError> {
        if compare_at.is_some_and(|compare_at| compare_at.currency() != price.currency()) {
            return Err(DraftError::CurrencyMismatch);
        }
        Ok(Self { price, compare_at })
    }

    pub(crate) fn price(&self) -> Money {
        self.price
    }

    /// The price before a reduction.
    pub(crate) fn compare_at(&self) -> Option<Money> {
        self.compare_at
    }
}

/// The fields of a product that staff edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProductDraft {
    pub(crate) sku: Sku,
    pub(crate) name: String,
    pub(crate) slug: Option<Slug>,
    pub(crate) description: String,
    pub(crate) category: Slug,
    pub(crate) prices: Prices,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) published: bool,
}

/// A product as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: Id,
    pub(crate) draft: ProductDraft,
    pub(crate) slug: Slug,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// A category; `parent` arranges categories in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Category {
    pub(crate) slug: Slug,
    pub(crate) name: String,
    pub(crate) parent: Option<Slug>,
}

named! {
    /// The sort order of a list of products, with its name in queries and cursors.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) enum Sort {
        #[default]
        Newest = "newest",
        PriceAscending = "price_asc",
        PriceDescending = "price_desc",
        Name = "name",
    }
}

/// The filter, sort order and position of a list of products.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) category: Option<Slug>,
    pub(crate) min_price: Option<u64>,
    pub(crate) max_price: Option<u64>,
}
