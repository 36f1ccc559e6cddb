//! `localmart seed`: fills a shop over its REST API, always with the same products.
//!
//! [`goods`] has the texts, [`variants`] makes many products out of few. Prices and stock are skewed as in real shops: many cheap
//! products and few expensive ones, and much stock of what sells often.

mod goods;
mod variants;

use crate::client::Client;
use crate::clock;
use crate::databases::{self, Depth};
use crate::progress::Progress;
use crate::shop::ShopOptions;
use crate::token::{self, Role};
use clap::{Args, ValueEnum};
use goods::{CATEGORIES, Category, Goods};
use serde_json::json;
use std::path::Path;

/// How long the token for filling a shop is valid, in seconds.
const TOKEN_SECONDS: u64 = 7_200;

/// The components that must run here to be filled.
pub(crate) const SERVICES: [&str; 2] = ["catalog", "inventory"];

/// Fills a running shop with products, categories and stock.
#[derive(Args)]
pub(crate) struct Seed {
    #[command(flatten)]
    shop: ShopOptions,
    /// The address of the shop, if the other flags do not find it. Default: the running shop, or http://127.0.0.1:3000.
    #[arg(long)]
    url: Option<String>,
    /// The number of products. A larger size adds to a smaller one.
    #[arg(long, default_value = "small")]
    size: Size,
}

/// The number of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// 120 products.
    Small,
    /// 10 000 products.
    Medium,
    /// 100 000 products.
    Large,
}

impl Size {
    fn products(self) -> usize {
        match self {
            Self::Small => 120,
            Self::Medium => 10_000,
            Self::Large => 100_000,
        }
    }
}

impl Seed {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let shop = self.shop.find_or_reach(self.url.as_deref())?;
        if shop.is_here() {
            databases::check_all(&shop.stores()?, &shop.state_dir, Depth::Quick)?;
        }
        let now = clock::now(&shop.state_dir)?;
        let token = token::make(&shop.secrets()?, Role::Staff, TOKEN_SECONDS, now)?;
        let client = Client::new(&self.url.unwrap_or_else(|| shop.url()), token);
        let progress = Progress::new(false);
        let filled = if_empty(&client, &shop.state_dir, &progress)?;
        progress.end();
        if self.size != Size::Small {
            return variants::fill(&client, self.size.products());
        }
        if !filled {
            println!("the shop already has products; nothing was added");
        }
        Ok(())
    }
}

/// Fills a shop that is empty or was filled only in part. Returns `false` if the shop is already filled.
pub(crate) fn if_empty(
    client: &Client,
    state_dir: &Path,
    progress: &Progress,
) -> anyhow::Result<bool> {
    let under_way = state_dir.join("seeding");
    let products = client.get("/api/products?limit=1")?;
    if products.pointer("/items/0").is_some() && !under_way.exists() {
        return Ok(false);
    }
    std::fs::write(&under_way, "")?;
    // Every request has its own idempotency key, so repeating it has no effect.
    fill(client, progress)?;
    std::fs::remove_file(&under_way)?;
    Ok(true)
}

fn fill(client: &Client, progress: &Progress) -> anyhow::Result<()> {
    let count = CATEGORIES.iter().map(|category| category.goods.len()).sum();
    let (step, mut made) = (progress.counted("seeding products", count), 0);
    // The first page of the catalog shows the newest products. Products are added in rounds, one of each category, best sellers last.
    for category in CATEGORIES {
        client.post(
            "/api/categories",
            &format!("seed-{}", category.slug),
            &json!({ "slug": category.slug, "name": category.name }),
        )?;
    }
    let most = CATEGORIES
        .iter()
        .map(|category| category.goods.len())
        .max()
        .unwrap_or_default();
    for round in (0..most).rev() {
        for (shelf, category) in CATEGORIES.iter().enumerate() {
            if let Some(goods) = category.goods.get(round) {
                put_on_shelf(client, category, goods, shelf, round)?;
                made += 1;
                step.at(made);
            }
        }
    }
    Ok(())
}

fn put_on_shelf(
    client: &Client,
    category: &Category,
    goods: &Goods,
    shelf: usize,
    round: usize,
) -> anyhow::Result<()> {
    let sku = format!("{}-{:03}", category.code, round + 1);
    let mut body = json!({
        "sku": sku,
        "name": goods.name,
        "description": format!("{} {}", goods.says, category.says),
        "category": category.slug,
        "price": { "amount": goods.price, "currency": "USD" },
        "attributes": { "material": goods.material },
        "published": true,
    });
    if (shelf + round) % 7 == 3
        && let Some(object) = body.as_object_mut()
    {
        // Some products are on sale: a fifth off, rounded down to .95 or .00.
        let before = goods.price + goods.price / 4;
        object.insert(
            "compare_at_price".into(),
            json!({ "amount": before - before % 5, "currency": "USD" }),
        );
    }
    let product = client.post("/api/products", &format!("seed-{sku}"), &body)?;
    let id = product
        .pointer("/id")
        .and_then(|id| id.as_str())
        .unwrap_or_default();
    let delta = stock(shelf, round, goods.price);
    client.post(
        &format!("/api/inventory/{id}/adjustments"),
        &format!("seed-stock-{sku}"),
        &json!({ "delta": delta, "reason": "opening stock" }),
    )?;
    Ok(())
}

/// Pieces in stock: many of what is cheap and sells often, few of what is expensive.
fn stock(shelf: usize, round: usize, price: u64) -> u64 {
    let popularity = 1200 / (round as u64 + 2);
    let dearness = 1 + price / 2500;
    12 + popularity / dearness + (shelf as u64 * 7 + round as u64 * 3) % 11
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_120_goods_with_names_of_their_own() {
        let names: BTreeSet<&str> = CATEGORIES
            .iter()
            .flat_map(|category| category.goods)
            .map(|goods| goods.name)
            .collect();
        assert_eq!((CATEGORIES.len(), names.len()), (10, 120));
    }

    #[test]
    fn most_goods_are_cheap_and_few_are_dear() {
        let mut prices: Vec<u64> = CATEGORIES
            .iter()
            .flat_map(|category| category.goods)
            .map(|goods| goods.price)
            .collect();
        prices.sort_unstable();
        let mean = prices.iter().sum::<u64>() / 120;
        let median = prices.get(60).copied().unwrap_or_default();
        assert!(
            median < mean,
            "the median {median} lies below the mean {mean}, as in a real shop"
        );
        assert!(prices.first() < Some(&500) && prices.last() > Some(&15_000));
    }
}
