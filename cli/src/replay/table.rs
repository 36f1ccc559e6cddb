//! Rows of a file of invoices, and why one is refused.

use anyhow::{Context as _, bail};
use localmart_guest::kernel::{Currency, Money, MoneyError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// The fields that a row must have, in the order of [`Columns`].
const FIELDS: [&str; 6] = ["invoice", "sku", "name", "quantity", "price", "customer"];
/// Longest stock code, so that with its price it is a SKU.
const MAX_CODE: usize = 40;

/// What the file calls each field.
pub(super) struct Columns([String; 6]);

impl Columns {
    /// Reads `field=column` for each field.
    pub(super) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for word in words {
            let Some((field, column)) = word.split_once('=') else {
                bail!("--columns: `{word}` is not field=column");
            };
            if !FIELDS.contains(&field) {
                bail!("--columns: `{field}` is none of {}", FIELDS.join(", "));
            }
            names.insert(field, column);
        }
        let mut columns: [String; 6] = Default::default();
        for (column, field) in columns.iter_mut().zip(FIELDS) {
            let name = names.get(field);
            let name =
                name.with_context(|| format!("--columns does not say which is `{field}`"))?;
            (*name).clone_into(column);
        }
        Ok(Self(columns))
    }
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) invoice: String,
    pub(super) code: String,
    pub(super) name: String,
    /// Pieces; of a cancellation those that come back.
    pub(super) quantity: u64,
    pub(super) price: Money,
    pub(super) customer: Option<String>,
    pub(super) cancels: bool,
}

/// Why a row is not played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the row has another number of columns")]
    Ragged,
    #[error("there is no invoice number")]
    NoInvoice,
    #[error("there is no stock code, or it is longer than 40 characters")]
    NoCode,
    #[error("the quantity is not a whole number")]
    Quantity,
    #[error("the quantity is 0")]
    NoQuantity,
    #[error("the quantity is negative outside of a cancellation")]
    Negative,
    #[error("the quantity is positive in a cancellation")]
    Positive,
    #[error("the price is not an amount")]
    Price,
    #[error("the price has more digits than the currency")]
    Digits,
    #[error("the price is negative")]
    NegativePrice,
    #[error("the price is 0")]
    Free,
    #[error("a cancellation that names no customer")]
    Anonymous,
    #[error("it cancels more than this customer bought at this price")]
    Unmatched,
    #[error("the amount is larger than any order can be")]
    Overflow,
}

/// The rows of a file.
pub(super) struct Table {
    reader: csv::Reader<Box<dyn Read>>,
    /// Places of the fields.
    places: [usize; 6],
    currency: Currency,
    cancels: String,
}

impl Table {
    pub(super) fn open(
        path: &Path,
        delimiter: u8,
        columns: &Columns,
        currency: Currency,
        cancels: &str,
    ) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("opening {shown}"))?;
        let zipped = path.extension().is_some_and(|extension| extension == "gz");
        let input: Box<dyn Read> = if zipped {
            Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file)))
        } else {
            Box::new(file)
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .from_reader(input);
        let head = reader
            .byte_headers()
            .with_context(|| format!("reading the head line of {shown}"))?
            .clone();
        let mut places = [0; 6];
        for (place, column) in places.iter_mut().zip(&columns.0) {
            let mut names = head.iter();
            *place = names
                .position(|name| name == column.as_bytes())
                .with_context(|| {
                    let names: Vec<_> = head.iter().map(String::from_utf8_lossy).collect();
                    format!(
                        "{shown} has no column `{column}`; it has {}",
                        names.join(", ")
                    )
                })?;
        }
        Ok(Self {
            reader,
            places,
            currency,
            cancels: cancels.to_owned(),
        })
    }

    /// The next row, or why it is refused, with its line; `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<(u64, Result<Row, Refusal>)>> {
        let mut record = csv::ByteRecord::new();
        if !self.reader.read_byte_record(&mut record)? {
            return Ok(None);
        }
        let line = record.position().map_or(0, csv::Position::line);
        Ok(Some((line, self.row(line, &record))))
    }

    fn row(&self, line: u64, record: &csv::ByteRecord) -> Result<Row, Refusal> {
        let mut fields: [String; 6] = Default::default();
        for (field, place) in fields.iter_mut().zip(self.places) {
            let bytes = record.get(place).ok_or(Refusal::Ragged)?;
            *field = String::from_utf8_lossy(bytes).trim().to_owned();
        }
        let [invoice, code, name, quantity, price, customer] = fields;
        if invoice.is_empty() {
            return Err(Refusal::NoInvoice);
        }
        if code.is_empty() || code.chars().count() > MAX_CODE {
            return Err(Refusal::NoCode);
        }
        let cancels = !self.cancels.is_empty() && invoice.starts_with(&self.cancels);
        let quantity: i64 = quantity.parse().map_err(|_| Refusal::Quantity)?;
        match quantity {
            0 => return Err(Refusal::NoQuantity),
            1.. if cancels => return Err(Refusal::Positive),
            ..0 if !cancels => return Err(Refusal::Negative),
            _ => {}
        }
        let customer = (!customer.is_empty()).then_some(customer);
        if cancels && customer.is_none() {
            return Err(Refusal::Anonymous);
        }
        Ok(Row {
            line,
            name: if name.is_empty() { code.clone() } else { name },
            invoice,
            code,
            quantity: quantity.unsigned_abs(),
            price: amount(&price, self.currency)?,
            customer,
            cancels,
        })
    }
}

fn amount(text: &str, currency: Currency) -> Result<Money, Refusal> {
    if text.starts_with('-') {
        return Err(Refusal::NegativePrice);
    }
    let price = Money::parse(text, currency).map_err(|error| match error {
        MoneyError::Overflow => Refusal::Overflow,
        _ if is_number(text) => Refusal::Digits,
        _ => Refusal::Price,
    })?;
    if price.amount() == 0 {
        return Err(Refusal::Free);
    }
    Ok(price)
}

fn is_number(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !whole.is_empty() && digits(whole) && digits(part)
}
