//! `localmart replay`: a file of invoices becomes orders with the same totals.

use crate::harness::{Shop, localmart, printed, root, scratch};
use serde_json::Value;
use std::path::Path;

fn replay(shop: &Shop, file: &Path, more: &[&str]) -> (bool, String) {
    let mut command = localmart();
    command
        .arg("replay")
        .arg(file)
        .args(["--url", &shop.base, "-f"]);
    command
        .arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(&shop.state);
    let output = command.args(more).output().unwrap();
    (output.status.success(), printed(&output))
}

#[test]
fn invoices_become_orders_and_cancellations_undo_them() {
    let shop = Shop::start();
    let file = scratch("replay").join("invoices.csv");
    let rows = [
        "nr;artikel;text;menge;preis;kunde",
        "1;A 1;Mug;6;2.55;ada",
        "1;B;Lamp;120;3.39;ada",
        "2;A 1;Mug;1;2.50;",
        "3;C;Wool;3;0.99;bob",
        "4;A 1;Mug;-3;2.55;ada",
        "S1;B;Lamp;-100;3.39;ada",
        "S3;C;Wool;-3;0.99;bob",
        "S9;C;Wool;-3;0.99;eve",
    ];
    std::fs::write(&file, rows.join("\n")).unwrap();
    let columns = "invoice=nr,sku=artikel,name=text,quantity=menge,price=preis,customer=kunde";
    let flags = [
        "--columns",
        columns,
        "--delimiter",
        ";",
        "--cancels",
        "S",
        "--currency",
        "EUR",
    ];
    let (exact, said) = replay(&shop, &file, &flags);
    assert!(exact, "{said}");
    for line in [
        "8 rows: 6 played, 2 refused",
        "1  the quantity is negative outside of a cancellation (first in line 6)",
        "1  it cancels more than this customer bought at this price (first in line 9)",
        "as 4 orders of 4 products; 2 orders cancelled, 1 returned in part",
        "sold        427.57 EUR",
        "given back  341.97 EUR",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    // Run again, it finds its own orders.
    let (exact, again) = replay(&shop, &file, &flags);
    assert!(exact && again == said, "{again}");
    let bearer = format!("Bearer {}", shop.token("staff"));
    let all = shop.send(
        "GET",
        "/api/orders?all=true",
        &[("authorization", &bearer)],
        &[],
    );
    let all = all.expect(200).json();
    let mut statuses: Vec<&str> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order: &Value| order["status"].as_str().unwrap())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, ["cancelled", "cancelled", "delivered", "paid"]);
    let (content, said) = crate::common::verify(&shop, crate::STORES);
    assert!(content, "{said}");
}

#[test]
fn a_second_file_may_share_codes_and_invoices() {
    let shop = Shop::start();
    let folder = scratch("replay");
    let head = "invoice,stock_code,description,quantity,unit_price,customer_id";
    let (first, second) = (folder.join("first.csv"), folder.join("second.csv"));
    let rows = [head, "1,\u{c4}1,Mug,6,2.55,ada", "2,\u{d6}1,Cup,1,2.55,ada"];
    std::fs::write(&first, rows.join("\n")).unwrap();
    let rows = [
        head,
        "1,\u{c4}1,Mug,9,2.55,bob",
        "2,\u{d6}1,\"Cup,",
        "blue\",1,2.55,bob",
        "C3,\u{c4}1,Mug,-9,2.55,bob",
        "C4,\u{d6}1,Cup,-2,2.55,bob",
    ];
    std::fs::write(&second, rows.join("\r\n")).unwrap();
    let (exact, said) = replay(&shop, &first, &[]);
    assert!(exact && said.contains("sold        17.85 GBP"), "{said}");
    for _ in 0..2 {
        let (exact, said) = replay(&shop, &second, &[]);
        for line in [
            "1  it cancels more than this customer bought at this price (first in line 6)",
            "sold        25.50 GBP",
            "given back  22.95 GBP",
        ] {
            assert!(exact && said.contains(line), "{line}\n{said}");
        }
    }
    let bearer = format!("Bearer {}", shop.token("staff"));
    let headers = [("authorization", bearer.as_str())];
    let count = |path: &str| {
        let list = shop.send("GET", path, &headers, &[]).expect(200).json();
        list["items"].as_array().unwrap().len()
    };
    assert_eq!(count("/api/orders?all=true"), 4);
    assert_eq!(count("/api/products?category=replay"), 2);
}

#[test]
fn a_file_that_does_not_fit_is_named() {
    let shop = Shop::shared();
    let file = scratch("replay").join("invoices.csv");
    std::fs::write(&file, "a,b\n1,2\n").unwrap();
    let (exact, said) = replay(shop, &file, &[]);
    assert!(
        !exact && said.contains("has no column `invoice`; it has a, b"),
        "{said}"
    );
    let (exact, said) = replay(shop, &file.with_extension("none"), &[]);
    assert!(!exact && said.contains("opening"), "{said}");
    let (exact, said) = replay(shop, &file, &["--currency", "QQQ"]);
    assert!(!exact && said.contains("ISO 4217"), "{said}");
}

#[test]
fn real_invoices_are_played_to_the_penny() {
    let file = root().join("../shared/data/online-retail.csv.gz");
    if !file.exists() {
        eprintln!("skipped: there is no {}", file.display());
        return;
    }
    let shop = Shop::start();
    let (exact, said) = replay(&shop, &file, &["--limit", "40"]);
    assert!(exact, "{said}");
    let (content, said) = crate::common::verify(&shop, crate::STORES);
    assert!(content, "{said}");
}
