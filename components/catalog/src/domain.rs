//! Products and categories. No clock, no I/O, no JSON.

use localmart_guest::kernel::text::{is_slug, slugify};
use localmart_guest::kernel::{Id, Money, Timestamp};
use std::collections::BTreeMap;

/// The longest SKU, in characters.
pub(crate) const MAX_SKU: usize = 64;
/// The longest name, in characters.
pub(crate) const MAX_NAME: usize = 200;
/// The longest description, in characters.
pub(crate) const MAX_DESCRIPTION: usize = 10_000;
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

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part of an address that names a product or category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slug(String);

impl Slug {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        is_slug(text).then(|| Self(text.to_owned()))
    }

    /// A slug from a name, or `fallback` if the name has no Latin letters or digits.
    pub(crate) fn from_name(name: &str, fallback: &str) -> Self {
        let mut slug = slugify(name);
        slug.truncate(80);
        slug.truncate(slug.trim_end_matches('-').len());
        Self(if slug.is_empty() {
            slugify(fallback)
        } else {
            slug
        })
    }

    /// The slug followed by the random end of an id, for a second product with the same name.
    pub(crate) fn with_suffix_of(self, id: &Id) -> Self {
        let tail = id.as_str().rsplit('-').next().unwrap_or_default();
        Self(format!("{}-{tail}", self.0).trim_matches('-').to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
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
    pub(crate) price: Money,
    /// The price before a reduction, in the currency of the price.
    pub(crate) compare_at_price: Option<Money>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) published: bool,
}

/// A partial change to a product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProductPatch {
    pub(crate) sku: Option<Sku>,
    pub(crate) name: Option<String>,
    pub(crate) slug: Option<Slug>,
    pub(crate) description: Option<String>,
    pub(crate) category: Option<Slug>,
    pub(crate) price: Option<Money>,
    pub(crate) compare_at_price: Option<Option<Money>>,
    pub(crate) attributes: Option<BTreeMap<String, String>>,
    pub(crate) published: Option<bool>,
}

impl ProductPatch {
    /// Applies the change to a draft.
    pub(crate) fn onto(self, draft: ProductDraft) -> ProductDraft {
        ProductDraft {
            sku: self.sku.unwrap_or(draft.sku),
            name: self.name.unwrap_or(draft.name),
            slug: self.slug.or(draft.slug),
            description: self.description.unwrap_or(draft.description),
            category: self.category.unwrap_or(draft.category),
            price: self.price.unwrap_or(draft.price),
            compare_at_price: self.compare_at_price.unwrap_or(draft.compare_at_price),
            attributes: self.attributes.unwrap_or(draft.attributes),
            published: self.published.unwrap_or(draft.published),
        }
    }
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

/// The sort order of a list of products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Newest,
    PriceAscending,
    PriceDescending,
    Name,
}

impl Sort {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "newest" => Some(Self::Newest),
            "price_asc" => Some(Self::PriceAscending),
            "price_desc" => Some(Self::PriceDescending),
            "name" => Some(Self::Name),
            _ => None,
        }
    }

    /// The name of the sort order in queries and cursors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::PriceAscending => "price_asc",
            Self::PriceDescending => "price_desc",
            Self::Name => "name",
        }
    }
}

/// The filter, sort order and position of a list of products.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) category: Option<Slug>,
    pub(crate) min_price: Option<u64>,
    pub(crate) max_price: Option<u64>,
}
