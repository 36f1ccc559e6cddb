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
    let path = std::env::temp_dir().join(format!("replay-{:?}.csv", std::thread::current().id()));
    std::fs::write(&path, format!("{HEAD}\n{}\n", rows.join("\n"))).unwrap();
    let gbp = Currency::parse("GBP").unwrap();
    let table = Table::open(&path, b',', &columns(), gbp, "C").unwrap();
    let plan = Plan::of(table, None).unwrap();
    std::fs::remove_file(&path).unwrap();
    plan
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
    assert_eq!(skus, ["A-255", "B-339", "A-250"]);
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
fn columns_that_are_not_there_are_named() {
    let wrong = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Columns::parse(&words).err().unwrap().to_string()
    };
    assert_eq!(
        wrong(&["invoice"]),
        "--columns: `invoice` is not field=column"
    );
    assert!(wrong(&["total=x"]).contains("`total` is none of invoice"));
    assert!(wrong(&["invoice=no"]).contains("does not say which is `sku`"));
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
