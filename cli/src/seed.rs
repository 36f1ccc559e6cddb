//! `localmart seed`: fills a shop through its own doors, always with the same goods.
//!
//! [`goods`] has the words, [`variants`] makes many of few. Prices and stock follow the skew of real shops: many small
//! things, few dear ones; plenty of what sells often.

mod goods;
mod variants;

use crate::app::AppOptions;
use crate::client::Client;
use crate::token::{self, Role};
use crate::{clock, secrets};
use clap::{Args, ValueEnum};
use goods::{CATEGORIES, Category, Goods};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::Path;

/// How long the token of a filling holds, in seconds.
const TOKEN_SECONDS: u64 = 7_200;

/// Fills a running shop.
#[derive(Args)]
pub(crate) struct Seed {
    #[command(flatten)]
    app: AppOptions,
    /// The shop to fill.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    url: String,
    /// How many products; a larger size adds to a smaller one.
    #[arg(long, default_value = "small")]
    size: Size,
}

/// How full a shop is.
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
        let source = self.app.source()?;
        let state_dir = self.app.state_dir(&source);
        let (secrets, now) = (secrets::load(&state_dir)?, clock::now(&state_dir)?);
        let client = Client::new(
            &self.url,
            token::make(&secrets, Role::Staff, TOKEN_SECONDS, now)?,
        );
        let filled = if_empty(&client, &state_dir, false)?;
        if self.size != Size::Small {
            return variants::fill(&client, self.size.products());
        }
        if !filled {
            println!("the shop has products already; nothing was added");
        }
        Ok(())
    }
}

/// Fills a shop that has no products, or whose filling was interrupted; `false` if it was full.
pub(crate) fn if_empty(client: &Client, state_dir: &Path, quiet: bool) -> anyhow::Result<bool> {
    let under_way = state_dir.join("seeding");
    let products = client.get("/api/products?limit=1")?;
    if products.pointer("/items/0").is_some() && !under_way.exists() {
        return Ok(false);
    }
    std::fs::write(&under_way, "")?;
    // Every step has a key of its own, so what was done is not done again.
    fill(client, quiet)?;
    std::fs::remove_file(&under_way)?;
    Ok(true)
}

fn fill(client: &Client, quiet: bool) -> anyhow::Result<()> {
    let count = CATEGORIES
        .iter()
        .map(|category| category.goods.len() as u64)
        .sum();
    let bar = if quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(count)
    };
    bar.set_style(ProgressStyle::with_template(
        "seeding {bar:30} {pos}/{len} products",
    )?);
    // Those that sell best are newest, so that the first page is a good one: made in rounds, one of each category.
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
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
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
        // Some things are on sale: a fifth off, rounded down to .95 or .00 as shops do.
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

/// Pieces in the warehouse: many of what sells often and is cheap, a handful of what is dear.
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
