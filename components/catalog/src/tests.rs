//! The rules and SQL statements of the catalog, on SQLite and Postgres.

use crate::domain::{DraftError, Filter, Prices, Product, ProductDraft, Sku, Slug, Sort};
use crate::service::{Catalog, CatalogError};
use crate::store::list_statement;
use localmart_guest::kernel::{Currency, Cursor, Limit, Money};
use localmart_guest::wit::Context;
use localmart_testkit::{TestDatabase, TestEnvironment, now};

const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/0001_products.sql"),
    include_str!("../migrations/0002_prices_in_lists.sql"),
    include_str!("../migrations/0003_slugs.sql"),
];

fn catalog() -> (Catalog<TestDatabase>, TestEnvironment) {
    let environment = TestEnvironment::new();
    let catalog = Catalog::new(TestDatabase::new(&MIGRATIONS), environment.ports());
    for slug in ["cups", "lamps"] {
        let slug = Slug::parse(slug).unwrap();
        let name = slug.as_str().to_owned();
        now(catalog.create_category(Some(slug), name, None)).unwrap();
    }
    (catalog, environment)
}

fn draft(sku: &str, name: &str, price: u64) -> ProductDraft {
    ProductDraft {
        sku: Sku::parse(sku).unwrap(),
        name: name.to_owned(),
        slug: None,
        description: String::new(),
        category: Slug::parse("cups").unwrap(),
        prices: Prices::new(Money::new(price, Currency::USD).unwrap(), None).unwrap(),
        attributes: [("colour".to_owned(), "blue".to_owned())].into(),
        published: true,
    }
}

#[test]
fn a_product_is_found_by_id_and_by_slug() {
    let (catalog, _) = catalog();
    let made =
        now(catalog.create(&Context::system(""), draft("A1", "Träume & Co.", 1999))).unwrap();
    assert_eq!(made.slug.as_str(), "traume-co");
    let stored = |product: Product| Product {
        draft: ProductDraft {
            slug: None,
            ..product.draft
        },
        ..product
    };
    assert_eq!(
        now(catalog.product(made.id.as_str(), false)).unwrap(),
        stored(made.clone())
    );
    assert_eq!(
        now(catalog.product("traume-co", false)).unwrap().id,
        made.id
    );
    for nobody in [
        "",
        "x",
        "' OR 1=1 --",
        "00000000-0000-7000-8000-000000000000",
    ] {
        assert_eq!(
            now(catalog.product(nobody, true)),
            Err(CatalogError::ProductNotFound),
            "{nobody}"
        );
    }
}

#[test]
fn skus_and_slugs_are_unique() {
    let (catalog, _) = catalog();
    now(catalog.create(&Context::system(""), draft("A1", "One", 1))).unwrap();
    let second = now(catalog.create(&Context::system(""), draft("A2", "Two", 1))).unwrap();
    assert_eq!(
        now(catalog.create(&Context::system(""), draft("A1", "Other", 1))),
        Err(CatalogError::SkuTaken)
    );
    let same_name = now(catalog.create(&Context::system(""), draft("A3", "One", 1))).unwrap();
    let slug = same_name.slug.as_str();
    assert!(slug.starts_with("one-") && slug != "one", "{slug}");
    let asked_for = ProductDraft {
        slug: Slug::parse("one"),
        ..draft("A5", "One", 1)
    };
    assert_eq!(
        now(catalog.create(&Context::system(""), asked_for)),
        Err(CatalogError::SlugTaken)
    );
    let steal = |draft: ProductDraft| {
        Ok::<_, CatalogError>(ProductDraft {
            sku: Sku::parse("A1").unwrap(),
            ..draft
        })
    };
    assert_eq!(
        now(catalog.change(&Context::system(""), second.id.as_str(), None, steal)),
        Err(CatalogError::SkuTaken)
    );
    let lost = ProductDraft {
        category: Slug::parse("nowhere").unwrap(),
        ..draft("A4", "Four", 1)
    };
    assert_eq!(
        now(catalog.create(&Context::system(""), lost)),
        Err(CatalogError::UnknownCategory)
    );
}

#[test]
fn a_stale_version_changes_nothing() {
    let (catalog, environment) = catalog();
    let made = now(catalog.create(&Context::system(""), draft("A1", "One", 1999))).unwrap();
    environment.advance_ms(1000);
    let system = Context::system("");
    let change = |amount: u64| {
        let edit = |draft: ProductDraft| {
            let price = Money::new(amount, Currency::USD).unwrap();
            let prices = Prices::new(price, None).unwrap();
            Ok::<_, CatalogError>(ProductDraft { prices, ..draft })
        };
        now(catalog.change(&system, made.id.as_str(), Some(1.into()), edit))
    };
    let changed = change(2499).unwrap();
    assert_eq!(
        (changed.version, changed.draft.prices.price().amount()),
        (2, 2499)
    );
    assert!(changed.updated_at > changed.created_at);
    assert_eq!(change(1), Err(CatalogError::VersionConflict));
    assert_eq!(
        now(catalog.product(made.id.as_str(), false))
            .unwrap()
            .draft
            .prices
            .price()
            .amount(),
        2499
    );
}

#[test]
fn no_write_leaves_amounts_in_two_currencies() {
    let money = |amount, code| Money::new(amount, Currency::parse(code).unwrap()).unwrap();
    let mismatch = DraftError::CurrencyMismatch;
    assert_eq!(
        Prices::new(money(100, "USD"), Some(money(150, "EUR"))),
        Err(mismatch)
    );
}

#[test]
fn only_staff_see_an_unpublished_product() {
    let (catalog, _) = catalog();
    let made = now(catalog.create(&Context::system(""), draft("A1", "One", 1))).unwrap();
    now(catalog.unpublish(&Context::system(""), made.id.as_str(), None)).unwrap();
    assert_eq!(
        now(catalog.product(made.id.as_str(), false)),
        Err(CatalogError::ProductNotFound)
    );
    assert!(now(catalog.product(made.id.as_str(), true)).is_ok());
    let (page, _) =
        now(catalog.products(&Filter::default(), Sort::Newest, Limit::default(), None)).unwrap();
    assert!(page.is_empty());
}

#[test]
fn paging_visits_every_product_once_in_every_sort_order() {
    let (catalog, environment) = catalog();
    for n in 0..23_u64 {
        // Some prices, names and times are equal, so that ties must be broken.
        now(catalog.create(
            &Context::system(""),
            ProductDraft {
                slug: Slug::parse(&format!("p-{n}")),
                ..draft(&format!("S{n}"), "Same", n / 3)
            },
        ))
        .unwrap();
        environment.advance_ms(i64::from(n % 2 == 0));
    }
    for sort in Sort::ALL {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let limit = Limit::parse("5").unwrap();
            let (page, next) =
                now(catalog.products(&Filter::default(), sort, limit, cursor.as_ref())).unwrap();
            seen.extend(page);
            match next {
                Some(next) => cursor = Some(Cursor::decode(&next, sort.name()).unwrap()),
                None => break,
            }
        }
        let mut ids: Vec<_> = seen.iter().map(|product| product.id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!((seen.len(), ids.len()), (23, 23), "{sort:?}");
        let prices: Vec<u64> = seen
            .iter()
            .map(|product| product.draft.prices.price().amount())
            .collect();
        match sort {
            Sort::PriceAscending => assert!(prices.is_sorted()),
            Sort::PriceDescending => assert!(prices.iter().rev().is_sorted()),
            _ => {}
        }
    }
}

#[test]
fn no_list_reads_the_whole_table() {
    let database = TestDatabase::new(&MIGRATIONS);
    let after = |sort: Sort| Cursor {
        order: sort.name().into(),
        key: "5".into(),
        id: "x".into(),
    };
    for sort in Sort::ALL {
        for category in [None, Slug::parse("cups")] {
            let filter = Filter {
                category,
                min_price: Some(1),
                max_price: Some(9),
            };
            for after in [None, Some(after(sort))] {
                let (sql, params) = list_statement(&filter, sort, Limit::default(), after.as_ref());
                let plan = database.plan(&sql, &params).join("; ");
                assert!(
                    plan.contains("USING INDEX") && !plan.contains("TEMP B-TREE"),
                    "{sort:?}: {plan}"
                );
            }
        }
    }
}

#[test]
fn a_category_that_is_not_empty_cannot_be_deleted() {
    let (catalog, _) = catalog();
    now(catalog.create(&Context::system(""), draft("A1", "One", 1))).unwrap();
    assert_eq!(
        now(catalog.delete_category("cups")),
        Err(CatalogError::CategoryInUse)
    );
    assert_eq!(now(catalog.delete_category("lamps")), Ok(()));
    assert_eq!(
        now(catalog.delete_category("lamps")),
        Err(CatalogError::CategoryNotFound)
    );
    let own = now(catalog.replace_category("cups", "Cups".into(), Slug::parse("cups")));
    assert_eq!(own, Err(CatalogError::CategoryCycle));
}
