//! Large shops: the goods of the small one in many finishes and sizes, always the same ones.

use super::goods::{CATEGORIES, Category, Goods};
use super::stock;
use crate::client::Client;
use crate::workers::at_once;
use anyhow::Context as _;
use serde_json::json;

/// Requests that are under way at once.
const WORKERS: usize = 8;
const FINISHES: &[&str] = &[
    "Ash", "Birch", "Black", "Blue", "Brass", "Chalk", "Clay", "Copper", "Cream", "Graphite",
    "Green", "Indigo", "Moss", "Oak", "Ochre", "Plum", "Red", "Rose", "Sand", "Slate", "Stone",
    "Teal", "Walnut", "White", "Yellow",
];
const SIZES: &[&str] = &["XS", "S", "M", "L", "XL"];

/// Adds variants until there are so many products in all. What is there already is left as it is.
pub(super) fn fill(client: &Client, products: usize) -> anyhow::Result<()> {
    let shelves: Vec<(usize, &Category, usize, &Goods)> = CATEGORIES
        .iter()
        .enumerate()
        .flat_map(|(shelf, category)| {
            let goods = category.goods.iter().enumerate();
            goods.map(move |(round, goods)| (shelf, category, round, goods))
        })
        .collect();
    let wanted = products.saturating_sub(shelves.len());
    at_once("variants", wanted, WORKERS, |number| {
        let at = number.checked_rem(shelves.len()).unwrap_or_default();
        match shelves.get(at) {
            Some((shelf, category, round, goods)) => {
                let variant = number / shelves.len();
                put_on_shelf(client, category, goods, *shelf, *round, variant)
            }
            None => Ok(()),
        }
    })?;
    println!("{products} products");
    Ok(())
}

fn put_on_shelf(
    client: &Client,
    category: &Category,
    goods: &Goods,
    shelf: usize,
    round: usize,
    variant: usize,
) -> anyhow::Result<()> {
    let pick = |words: &[&'static str], place: usize| {
        let at = place.checked_rem(words.len()).unwrap_or_default();
        words.get(at).copied().unwrap_or_default()
    };
    let (finish, size) = (
        pick(FINISHES, variant),
        pick(SIZES, variant / FINISHES.len()),
    );
    let series = variant / (FINISHES.len() * SIZES.len());
    let sku = format!("{}-{:03}-{:04}", category.code, round + 1, variant);
    let slug = format!("{}-{}", category.slug, sku.to_ascii_lowercase());
    let suffix = if series == 0 {
        String::new()
    } else {
        format!(" No. {}", series + 1)
    };
    // A step dearer or cheaper with every variant, never free.
    let price = goods.price + (variant as u64 * 37) % (goods.price / 2 + 1);
    let body = json!({
        "sku": sku,
        "slug": slug,
        "name": format!("{} in {finish}, {size}{suffix}", goods.name),
        "description": format!("{} {}", goods.says, category.says),
        "category": category.slug,
        "price": { "amount": price, "currency": "USD" },
        "attributes": { "material": goods.material, "finish": finish, "size": size },
        "published": true,
    });
    let made = client.make("/api/products", &body)?;
    let product = match made {
        Some(product) => product,
        None => client.get(&format!("/api/products/{slug}"))?,
    };
    let id = product.pointer("/id").and_then(|id| id.as_str());
    let id = id.with_context(|| format!("{sku} has no id"))?;
    client.post(
        &format!("/api/inventory/{id}/adjustments"),
        &format!("seed-stock-{sku}"),
        &json!({ "delta": stock(shelf, round, price), "reason": "opening stock" }),
    )?;
    Ok(())
}
