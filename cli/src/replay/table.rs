//! The rows of an invoice file, each with the line on which it begins, and the reasons why a row is refused.

use super::text::Text;
use anyhow::{Context as _, bail};
use localmart_guest::kernel::{Currency, Money, MoneyError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The fields that a row must have, in the order of [`Columns`].
const FIELDS: [&str; 6] = ["invoice", "sku", "name", "quantity", "price", "customer"];
/// Longest stock code in characters, so that it fits into a SKU together with its price.
const MAX_CODE: usize = 40;
/// Largest quantity of a row, so that no row becomes a million orders.
const MAX_PIECES: u64 = 1_000_000;

/// The name of the file's column for each field.
pub(super) struct Columns([String; 6]);

impl Columns {
    /// Reads the `field=column` words of `--columns`.
    pub(super) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for word in words {
            let Some((field, column)) = word.split_once('=') else {
                bail!("--columns: `{word}` must be written as field=column");
            };
            if !FIELDS.contains(&field) {
                bail!(
                    "--columns: there is no field `{field}`; the fields are {}",
                    FIELDS.join(", ")
                );
            }
            names.insert(field, column);
        }
        let mut columns: [String; 6] = Default::default();
        for (column, field) in columns.iter_mut().zip(FIELDS) {
            let name = names.get(field);
            let name = name.with_context(|| format!("--columns names no column for `{field}`"))?;
            (*name).clone_into(column);
        }
        Ok(Self(columns))
    }
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Where the row begins in the file.
    pub(super) line: u64,
    pub(super) invoice: String,
    pub(super) code: String,
    /// Printable, never empty.
    pub(super) name: String,
    /// Pieces bought, or pieces returned in a cancellation.
    pub(super) quantity: u64,
    pub(super) price: Money,
    pub(super) customer: Option<String>,
    pub(super) cancels: bool,
}

/// Why a row is not played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the row has too few columns")]
    Ragged,
    #[error("there is no invoice number")]
    NoInvoice,
    #[error("there is no stock code, or it is longer than {MAX_CODE} characters")]
    NoCode,
    #[error("the quantity is not a whole number")]
    Quantity,
    #[error("the quantity is 0")]
    NoQuantity,
    #[error("the quantity is negative outside of a cancellation")]
    Negative,
    #[error("the quantity is positive in a cancellation")]
    Positive,
    #[error("the quantity is larger than {MAX_PIECES}")]
    TooMany,
    #[error("the price is not an amount")]
    Price,
    #[error("the price has more decimal places than the currency")]
    Digits,
    #[error("the price is negative")]
    NegativePrice,
    #[error("the price is 0")]
    Free,
    #[error("the cancellation names no customer")]
    Anonymous,
    #[error("it cancels more than this customer bought at this price")]
    Unmatched,
    #[error("the amount is larger than any order can be")]
    Overflow,
}

/// The rows of a file.
pub(super) struct Table {
    path: PathBuf,
    reader: csv::Reader<Text>,
    /// The column of each field.
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
        let reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .has_headers(false)
            .from_reader(Text::new(input, delimiter));
        let mut table = Self {
            path: path.to_owned(),
            reader,
            places: [0; 6],
            currency,
            cancels: cancels.to_owned(),
        };
        let Some((_, head)) = table.record()? else {
            bail!("{shown} is empty; its first line must name the columns");
        };
        for (place, column) in table.places.iter_mut().zip(&columns.0) {
            let mut names = head.iter();
            *place = names
                .position(|name| name == column.as_bytes())
                .with_context(|| {
                    let names: Vec<_> = head.iter().map(String::from_utf8_lossy).collect();
                    format!(
                        "{shown} has no column `{column}`; it has {}\n  help: name the columns of the file with --columns",
                        names.join(", ")
                    )
                })?;
        }
        Ok(table)
    }

    /// A name for what the file contains, whatever the file is called. Reads the rest of it.
    pub(super) fn fingerprint(mut self) -> anyhow::Result<String> {
        let fingerprint = self.reader.get_mut().fingerprint();
        self.checked(fingerprint)
    }

    /// The next row with its line, or the reason for refusing it; `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<(u64, Result<Row, Refusal>)>> {
        let record = self.record()?;
        Ok(record.map(|(line, record)| (line, self.row(line, &record))))
    }

    /// The next record and the line on which it begins; `None` at the end.
    fn record(&mut self) -> anyhow::Result<Option<(u64, csv::ByteRecord)>> {
        let mut record = csv::ByteRecord::new();
        if !self.read(&mut record)? {
            return Ok(None);
        }
        // The parser stands on the line after the record.
        let next_line = self.reader.position().line();
        let length = 1 + line_breaks(record.iter());
        Ok(Some((next_line.saturating_sub(length), record)))
    }

    fn read(&mut self, record: &mut csv::ByteRecord) -> anyhow::Result<bool> {
        let read = self.reader.read_byte_record(record);
        self.checked(read)
    }

    /// A result of reading, whose error names the file and the line of an open quote.
    fn checked<T, E>(&self, read: Result<T, E>) -> anyhow::Result<T>
    where
        Result<T, E>: anyhow::Context<T, E>,
    {
        let path = self.path.display();
        match self.reader.get_ref().open_quote() {
            Some(line) => bail!(
                "{path}:{line}: the quote that opens on this line is never closed; close it, or write a quote inside quotes as \"\""
            ),
            None => read.with_context(|| format!("reading {path}")),
        }
    }

    fn row(&self, line: u64, record: &csv::ByteRecord) -> Result<Row, Refusal> {
        let mut fields: [String; 6] = Default::default();
        for (field, place) in fields.iter_mut().zip(self.places) {
            let bytes = record.get(place).ok_or(Refusal::Ragged)?;
            decoded(bytes).trim().clone_into(field);
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
            _ if quantity.unsigned_abs() > MAX_PIECES => return Err(Refusal::TooMany),
            _ => {}
        }
        let customer = (!customer.is_empty()).then_some(customer);
        if cancels && customer.is_none() {
            return Err(Refusal::Anonymous);
        }
        let names = [printable(&name), printable(&code)];
        let name = names.into_iter().find(|name| !name.is_empty());
        Ok(Row {
            line,
            name: name.unwrap_or_else(|| "Product without a name".to_owned()),
            invoice,
            code,
            quantity: quantity.unsigned_abs(),
            price: amount(&price, self.currency)?,
            customer,
            cancels,
        })
    }
}

fn line_breaks<'a>(fields: impl Iterator<Item = &'a [u8]>) -> u64 {
    let breaks = fields.flatten().filter(|byte| **byte == b'\n');
    breaks.map(|_| 1).sum()
}

/// Text of a file that does not say its encoding: UTF-8, or else Latin-1, in which every byte is a letter, so that different codes
/// stay different.
fn decoded(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// A name on one line, without the characters that a shop does not accept or nobody sees.
fn printable(text: &str) -> String {
    let invisible = |letter: char| {
        matches!(u32::from(letter), 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfdd0..=0xfdef | 0xfeff | 0xfff9..=0xfffb)
            || u32::from(letter) & 0xfffe == 0xfffe
    };
    let visible = text.chars().filter(|letter| !invisible(*letter));
    let spaced = visible.map(|letter| if letter.is_control() { ' ' } else { letter });
    let spaced: String = spaced.collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
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
