//! `localmart replay`: plays the invoices of a file as orders through the shop's own doors, and compares the sums.
//!
//! In reading order: [`table`] (rows and why one is refused), [`plan`] (invoices as orders, cancellations as what they undo),
//! [`play`] (requests).

mod plan;
mod play;
mod table;
#[cfg(test)]
mod tests;

use crate::client::Client;
use crate::shop::ShopOptions;
use crate::token::{self, Role};
use crate::{clock, secrets};
use anyhow::{Context as _, bail};
use clap::Args;
use localmart_guest::kernel::{Currency, Money};
use plan::Plan;
use std::path::PathBuf;
use table::{Columns, Table};

/// How long the token of a replay holds, in seconds.
const TOKEN_SECONDS: u64 = 14_400;

/// Plays real invoices as orders.
///
/// A row is one line of an invoice. What the shop cannot sell is refused with a reason and counted. An invoice is one order, or
/// several where it has more than 99 of a thing or more than 100 lines. A row of a cancellation undoes what the same customer bought
/// before: an order that is undone whole is cancelled, of others the pieces are returned. At the end the sums in the shop are
/// compared with those of the file; they are the same or the verb fails.
#[derive(Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    shop: ShopOptions,
    /// A CSV file with a head line, plain or .gz.
    file: PathBuf,
    /// What the columns are called: field=column, for invoice, sku, name, quantity, price and customer.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "invoice=invoice,sku=stock_code,name=description,quantity=quantity,price=unit_price,customer=customer_id"
    )]
    columns: Vec<String>,
    /// How an invoice that cancels another begins.
    #[arg(long, default_value = "C")]
    cancels: String,
    /// What stands between two columns.
    #[arg(long, default_value_t = ',')]
    delimiter: char,
    /// The currency of the prices.
    #[arg(long, default_value = "GBP")]
    currency: String,
    /// How many invoices to play, from the top; cancellations count.
    #[arg(long)]
    limit: Option<usize>,
    /// The address of the shop, if it is not the one that the other flags find. Default: the running shop, or http://127.0.0.1:3000.
    #[arg(long)]
    url: Option<String>,
    /// Requests that are under way at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
}

impl Replay {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let currency = Currency::parse(&self.currency)
            .with_context(|| format!("--currency {}", self.currency))?;
        let columns = Columns::parse(&self.columns)?;
        let delimiter = u8::try_from(self.delimiter)
            .with_context(|| format!("--delimiter {:?} is not one byte", self.delimiter))?;
        let table = Table::open(&self.file, delimiter, &columns, currency, &self.cancels)?;
        let plan = Plan::of(table, self.limit)?;
        let shop = self.shop.find_or_reach(self.url.as_deref())?;
        let now = clock::now(&shop.state_dir)?;
        let token = token::make(&shop.secrets()?, Role::Staff, TOKEN_SECONDS, now)?;
        let url = self.url.unwrap_or_else(|| shop.url());
        let shop = play::Shop {
            staff: Client::new(&url, token),
            guest: Client::guest(&url),
            clients: usize::from(self.clients),
        };
        let played = shop.play(&plan)?;
        report(&plan, &played, currency);
        if played.sold != plan.sold() || played.given_back != plan.given_back() {
            bail!("the sums of the shop are not those of the file");
        }
        println!("exact: the sums of the shop are those of the file");
        Ok(())
    }
}

fn report(plan: &Plan, played: &play::Played, currency: Currency) {
    let refused: u64 = plan.refused.values().map(|refused| refused.count).sum();
    println!(
        "{} rows: {} played, {refused} refused",
        plan.rows,
        plan.rows - refused
    );
    for (reason, refused) in &plan.refused {
        println!(
            "  {:>9}  {reason} (first in line {})",
            refused.count, refused.first_line
        );
    }
    println!(
        "{} invoices as {} orders of {} products; {} orders cancelled, of {} something returned",
        plan.invoices,
        plan.orders.len(),
        plan.products.len(),
        played.cancelled,
        played.returned
    );
    let shown = |amount| show(amount, currency);
    println!("sold        {}", shown(played.sold));
    println!("given back  {}", shown(played.given_back));
}

/// A sum of many orders; it may be larger than any one amount.
fn show(amount: u128, currency: Currency) -> String {
    match u64::try_from(amount).map(|amount| Money::new(amount, currency)) {
        Ok(Ok(money)) => money.to_string(),
        _ => format!("{amount} minor units of {}", currency.code()),
    }
}
