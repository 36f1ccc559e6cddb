//! Plans of small files, and the sums of a real one.

use super::plan::Plan;
use super::table::{Columns, Refusal, Table};
use localmart_guest::kernel::{Currency, Money};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const HEAD: &str = "no,code,what,count,price,who";

fn columns() -> Columns {
    let words = [
        "invoice=no",
        "sku=code",
        "name=what",
        "quantity=count",
        "price=price",
        "customer=who",
    ];
    Columns::parse(&words.map(str::to_owned)).unwrap()
}

fn plan_of(rows: &[&str]) -> Plan {
    let file = format!("{HEAD}\n{}\n", rows.join("\n"));
    plan_of_file(file.as_bytes()).unwrap()
}

fn plan_of_file(bytes: &[u8]) -> anyhow::Result<Plan> {
    let path = std::env::temp_dir().join(format!(
        "replay-{}-{:?}.csv",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&path, bytes).unwrap();
    let gbp = Currency::parse("GBP").unwrap();
    let table = Table::open(&path, b',', &columns(), gbp, "C");
    let plan = table.and_then(|table| Plan::of(table, None));
    std::fs::remove_file(&path).unwrap();
    plan
}

/// A file of these lines after the head, with these line breaks.
fn lines(rows: &[&[u8]], line_break: &str) -> Vec<u8> {
    let mut file = HEAD.as_bytes().to_vec();
    for row in rows {
        file.extend_from_slice(line_break.as_bytes());
        file.extend_from_slice(row);
    }
    file
}

/// Orders with the pieces of their lines and how many come back.
fn seen(plan: &Plan) -> Vec<(&str, Vec<(u64, u64)>)> {
    let lines = |order: &super::plan::Order| {
        order
            .lines
            .iter()
            .map(|line| (line.quantity, line.back))
            .collect()
    };
    plan.orders
        .iter()
        .map(|order| (order.name.as_str(), lines(order)))
        .collect()
}

#[test]
fn an_invoice_is_an_order_and_a_long_one_several() {
    let plan = plan_of(&[
        "1,A,Mug,6,2.55,ada",
        "1,B,Lamp,250,3.39,ada",
        "1,A,Mug,4,2.55,ada",
        "1,A,Mug,1,2.50,ada",
        "2,A,,1,2.55,",
    ]);
    assert_eq!(
        seen(&plan),
        [
            ("1-1", vec![(10, 0), (99, 0), (1, 0)]),
            ("1-2", vec![(99, 0)]),
            ("1-3", vec![(52, 0)]),
            ("2-1", vec![(1, 0)]),
        ]
    );
    assert_eq!(plan.sold(), 11 * 255 + 250 * 339 + 250);
    let skus: Vec<&str> = plan
        .products
        .iter()
        .map(|product| product.sku.as_str())
        .collect();
    assert_eq!(skus, ["A-255GBP", "B-339GBP", "A-250GBP"]);
}

#[test]
fn an_invoice_whose_rows_stand_apart_has_orders_of_different_names() {
    let plan = plan_of(&[
        "1,A,Mug,1,2.55,ada",
        "2,A,Mug,2,2.55,ada",
        "1,B,Lamp,3,3.39,ada",
    ]);
    let names: Vec<&str> = plan
        .orders
        .iter()
        .map(|order| order.name.as_str())
        .collect();
    assert_eq!((names, plan.invoices), (vec!["1-1", "2-1", "1-2"], 2));
}

#[test]
fn what_cannot_be_played_is_refused_with_its_reason() {
    let plan = plan_of(&[
        "1,A,Mug,6,2.555,ada",
        "1,A,Mug,-6,2.55,ada",
        "1,A,Mug,0,2.55,ada",
        "1,A,Mug,1.5,2.55,ada",
        "1,A,Mug,6,0.00,ada",
        "1,A,Mug,6,-2.55,ada",
        "1,A,Mug,6,much,ada",
        "1,,Mug,6,2.55,ada",
        ",A,Mug,6,2.55,ada",
        "1,A,Mug",
        "C1,A,Mug,6,2.55,ada",
        "C1,A,Mug,-6,2.55,",
        "C1,A,Mug,-6,2.55,ada",
        "1,A,Mug,6,99999999999999,ada",
    ]);
    let refused: Vec<(Refusal, u64)> = plan
        .refused
        .iter()
        .map(|(why, refused)| (*why, refused.first_line))
        .collect();
    let expected = [
        (Refusal::Ragged, 11),
        (Refusal::NoInvoice, 10),
        (Refusal::NoCode, 9),
        (Refusal::Quantity, 5),
        (Refusal::NoQuantity, 4),
        (Refusal::Negative, 3),
        (Refusal::Positive, 12),
        (Refusal::Price, 8),
        (Refusal::Digits, 2),
        (Refusal::NegativePrice, 7),
        (Refusal::Free, 6),
        (Refusal::Anonymous, 13),
        (Refusal::Unmatched, 14),
        (Refusal::Overflow, 15),
    ];
    assert_eq!(refused, expected);
    assert_eq!((plan.rows, plan.orders.len()), (14, 0));
}

#[test]
fn a_cancellation_undoes_what_was_bought_last() {
    let plan = plan_of(&[
        "1,A,Mug,6,2.55,ada",
        "2,A,Mug,4,2.55,ada",
        "2,B,Lamp,1,3.39,ada",
        "3,A,Mug,4,2.55,bob",
        "C4,A,Mug,-5,2.55,ada",
        "C5,A,Mug,-6,2.55,ada",
        "C6,B,Lamp,-1,3.39,ada",
    ]);
    assert_eq!(
        seen(&plan),
        [
            ("1-1", vec![(6, 1)]),
            ("2-1", vec![(4, 4), (1, 1)]),
            ("3-1", vec![(4, 0)]),
        ]
    );
    assert_eq!(plan.refused[&Refusal::Unmatched].first_line, 7);
    assert_eq!(plan.given_back(), 5 * 255 + 339);
}

#[test]
fn codes_that_differ_only_outside_ascii_are_different_products() {
    // UTF-8, Latin-1, and a code that looks like the hashed one of another.
    let encodings: [(&[u8], &[u8]); 3] = [
        ("Ä1".as_bytes(), "Ö1".as_bytes()),
        (b"\xc41", b"\xd61"),
        (b"A 1", b"A_1"),
    ];
    for (one, other) in encodings {
        let rows: [Vec<u8>; 3] = [
            [b"1,", one, b",Mug,6,2.55,ada"].concat(),
            [b"1,", other, b",Mug,2,2.55,ada"].concat(),
            [b"C2,", other, b",Mug,-3,2.55,ada"].concat(),
        ];
        let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let plan = plan_of_file(&lines(&rows, "\n")).unwrap();
        assert_eq!(seen(&plan), [("1-1", vec![(6, 0), (2, 0)])]);
        assert_eq!(plan.refused[&Refusal::Unmatched].first_line, 4);
        let skus: BTreeSet<&str> = plan.products.iter().map(|one| one.sku.as_str()).collect();
        assert_eq!(skus.len(), 2, "{skus:?}");
        let printable = |sku: &&str| sku.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(skus.iter().all(printable), "{skus:?}");
    }
}

#[test]
fn line_breaks_and_invisible_characters_inside_quotes_become_spaces() {
    for line_break in ["\n", "\r\n"] {
        let rows: [&[u8]; 3] = [
            b"1,\"A\r\n1\",\"Mug,\r\n\"\"large\"\"\",6,2.55,ada",
            b"1,\"B\x001\",\"Lamp\x00\xe2\x80\x8b\",1,3.39,ada",
            b"2,C,\"\r\n\",1,1.00,ada",
        ];
        let plan = plan_of_file(&lines(&rows, line_break)).unwrap();
        let names: Vec<&str> = plan.products.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["Mug, \"large\"", "Lamp", "C"]);
        assert!(plan.refused.is_empty());
        let printable = |sku: &str| sku.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(plan.products.iter().all(|one| printable(&one.sku)));
    }
}

#[test]
fn a_refused_row_has_the_line_on_which_it_begins() {
    for line_break in ["\n", "\r\n", "\r"] {
        // The first row takes three lines, an empty line follows.
        let name = format!("1,A,\"Mug{line_break}{line_break}\",6,2.55,ada");
        let rows: [&[u8]; 4] = [
            name.as_bytes(),
            b"",
            b"1,\"A\",Mug,0,2.55,ada",
            b"1,A,Mug,much,2.55,ada",
        ];
        let plan = plan_of_file(&lines(&rows, line_break)).unwrap();
        let first = |refusal| plan.refused[&refusal].first_line;
        assert_eq!(
            (first(Refusal::NoQuantity), first(Refusal::Quantity)),
            (6, 7),
            "{line_break:?}"
        );
    }
}

#[test]
fn an_open_quote_is_reported_where_it_opens() {
    for line_break in ["\n", "\r\n", "\r"] {
        let rows: [&[u8]; 4] = [
            b"1,A,Mug,6,2.55,ada",
            b"1,B,\"Lamp,1,3.39,ada",
            b"1,C,Wool,1,0.99,ada",
            b"1,D,\"Hat\"\"",
        ];
        let error = plan_of_file(&lines(&rows, line_break)).err().unwrap();
        let said = error.to_string();
        assert!(
            said.contains(".csv:3: the quote that opens on this line is never closed"),
            "{line_break:?}: {said}"
        );
    }
}

#[test]
fn files_with_different_contents_have_different_names() {
    let row: &[u8] = b"1,A,Mug,6,2.55,ada";
    let other: &[u8] = b"1,A,Mug,7,2.55,ada";
    let name = |row: &[u8]| plan_of_file(&lines(&[row], "\n")).unwrap().file;
    assert_eq!(name(row), name(row));
    assert_ne!(name(row), name(other));
}

#[test]
fn columns_that_are_not_there_are_named() {
    let wrong = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Columns::parse(&words).err().unwrap().to_string()
    };
    assert_eq!(
        wrong(&["invoice"]),
        "--columns: `invoice` must be written as field=column"
    );
    assert!(wrong(&["total=x"]).contains("there is no field `total`; the fields are invoice"));
    assert!(wrong(&["invoice=no"]).contains("names no column for `sku`"));
}

/// The invoices of a real shop, where they are at hand.
fn real() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/online-retail.csv.gz");
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

fn real_table(path: &Path, currency: &str) -> Table {
    let words = [
        "invoice=invoice",
        "sku=stock_code",
        "name=description",
        "quantity=quantity",
        "price=unit_price",
        "customer=customer_id",
    ];
    let columns = Columns::parse(&words.map(str::to_owned)).unwrap();
    Table::open(
        path,
        b',',
        &columns,
        Currency::parse(currency).unwrap(),
        "C",
    )
    .unwrap()
}

#[test]
fn real_invoices_come_to_their_exact_sum() {
    let Some(path) = real() else {
        return;
    };
    // Four prices have three digits, so all are read in a currency with three: the sum is known to be 9 747 747.934.
    let currency = Currency::parse("KWD").unwrap();
    let mut reader = csv::Reader::from_reader(flate2::read::MultiGzDecoder::new(
        std::fs::File::open(path).unwrap(),
    ));
    let (mut plus, mut minus) = (Money::zero(currency), Money::zero(currency));
    for record in reader.records() {
        let record = record.unwrap();
        let (quantity, price) = (record[3].parse::<i64>().unwrap(), &record[5]);
        let amount = Money::parse(price.trim_start_matches('-'), currency).unwrap();
        let line = amount
            .times(u32::try_from(quantity.unsigned_abs()).unwrap())
            .unwrap();
        let side = if (quantity < 0) == price.starts_with('-') {
            &mut plus
        } else {
            &mut minus
        };
        *side = side.plus(line).unwrap();
    }
    assert_eq!(plus.minus(minus).unwrap().to_string(), "9747747.934 KWD");
}

#[test]
fn a_plan_of_real_invoices_loses_no_row() {
    let Some(path) = real() else {
        return;
    };
    let plan = Plan::of(real_table(&path, "GBP"), None).unwrap();
    assert_eq!(plan.rows, 541_909);
    let refused: u64 = plan.refused.values().map(|refused| refused.count).sum();
    assert_eq!(plan.refused[&Refusal::Digits].count, 4);
    let names: BTreeSet<&str> = plan
        .orders
        .iter()
        .map(|order| order.name.as_str())
        .collect();
    assert_eq!(
        names.len(),
        plan.orders.len(),
        "an order has a name of its own"
    );
    // Every row that was not refused is in an order, or undoes something; the sums say so.
    let mut table = real_table(&path, "GBP");
    let (mut bought, mut undone, mut read) = (0_u128, 0_u128, 0);
    while let Some((_, row)) = table.next().unwrap() {
        read += 1;
        if let Ok(row) = row {
            let amount = u128::from(row.price.amount()) * u128::from(row.quantity);
            *(if row.cancels {
                &mut undone
            } else {
                &mut bought
            }) += amount;
        }
    }
    assert_eq!((read, plan.sold()), (plan.rows, bought));
    assert!(plan.given_back() <= undone && refused < plan.rows / 20);
}
