//! `localmart replay`: plays the invoices of a CSV file as orders through the shop's REST API, and compares the totals.
//!
//! In reading order: [`text`] (line breaks and open quotes), [`table`] (rows and why one is refused), [`plan`] (invoices
//! as orders, cancellations as returns), [`play`] (requests).

mod plan;
mod play;
mod table;
#[cfg(test)]
mod tests;
mod text;

use crate::client::Client;
use crate::clock;
use crate::shop::ShopOptions;
use crate::token::{self, Role};
use anyhow::{Context as _, bail};
use clap::Args;
use localmart_guest::kernel::{Currency, Money};
use plan::Plan;
use std::path::PathBuf;
use table::{Columns, Table};

/// How long the token of a replay is valid, in seconds.
const TOKEN_SECONDS: u64 = 14_400;

/// Plays the invoices of a CSV file as orders.
///
/// Each row is one line of an invoice. Rows that the shop cannot sell are refused, counted and listed with their reason. An invoice
/// becomes one order, or several if it has more than 99 pieces of a product or more than 100 lines. A row of a cancellation returns
/// pieces that the same customer bought earlier in the file: an order of which everything is returned is cancelled, any other is
/// shipped, delivered and returned in part. At the end the totals of the shop are compared with those of the file; a difference is
/// an error.
///
/// The same file can be played again after an interruption: orders that exist are found, not repeated. A file with other contents
/// makes new orders, even if it has the same invoice numbers; products with the same stock code and price are shared.
#[derive(Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    shop: ShopOptions,
    /// A CSV file whose first line names the columns; it may be compressed (.gz). UTF-8 or Latin-1.
    file: PathBuf,
    /// The names of the columns, as field=column for each of the fields invoice, sku, name, quantity, price and customer.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "invoice=invoice,sku=stock_code,name=description,quantity=quantity,price=unit_price,customer=customer_id"
    )]
    columns: Vec<String>,
    /// The prefix of invoice numbers that are cancellations.
    #[arg(long, default_value = "C")]
    cancels: String,
    /// The character between two columns.
    #[arg(long, default_value_t = ',')]
    delimiter: char,
    /// The currency of the prices.
    #[arg(long, default_value = "GBP")]
    currency: String,
    /// Play only this many invoices, from the top of the file; cancellations count too.
    #[arg(long)]
    limit: Option<usize>,
    /// The address of the shop, if the other flags do not find it [default: the running shop, or http://127.0.0.1:3000].
    #[arg(long)]
    url: Option<String>,
    /// The number of concurrent requests.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
}

impl Replay {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let currency = Currency::parse(&self.currency)
            .with_context(|| format!("--currency {}", self.currency))?;
        let columns = Columns::parse(&self.columns)?;
        let delimiter = u8::try_from(self.delimiter)
            .with_context(|| format!("--delimiter {:?} must be a single byte", self.delimiter))?;
        let table = Table::open(&self.file, delimiter, &columns, currency, &self.cancels)?;
        let mut plan = Plan::of(table, self.limit)?;
        // Read with other options, the same file is other invoices.
        let options = (&self.columns, &self.cancels, self.delimiter, &self.currency);
        plan.file = format!("{} {options:?}", plan.file);
        let shop = self.shop.find_or_reach(self.url.as_deref())?;
        let now = clock::now(&shop.state_dir)?;
        let token = token::make(&shop.secrets()?, Role::Staff, TOKEN_SECONDS, now)?;
        let url = self.url.unwrap_or_else(|| shop.url());
        let shop = play::Shop {
            staff: Client::new(&url, token),
            guest: Client::guest(&url, &play::client_of(&plan)),
            clients: usize::from(self.clients),
        };
        let played = shop.play(&plan)?;
        report(&plan, &played, currency);
        if played.sold != plan.sold() || played.given_back != plan.given_back() {
            bail!(
                "the totals of the shop differ from those of the file: {} sold and {} given back in the file",
                show(plan.sold(), currency),
                show(plan.given_back(), currency)
            );
        }
        println!("exact: the totals of the shop are those of the file");
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
        "{} invoices as {} orders of {} products; {} orders cancelled, {} returned in part",
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

/// The total of many orders; it may be larger than a single amount can be.
fn show(amount: u128, currency: Currency) -> String {
    match u64::try_from(amount).map(|amount| Money::new(amount, currency)) {
        Ok(Ok(money)) => money.to_string(),
        _ => format!("{amount} minor units of {}", currency.code()),
    }
}
