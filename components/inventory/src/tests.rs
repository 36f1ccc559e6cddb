//! The rules and SQL statements of inventory, on SQLite and Postgres.

use crate::domain::{Level, Line, LinkError, Links, Shortage};
use crate::service::{Inventory, InventoryError};
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::sql::Connection as _;
use localmart_guest::wit::Context;
use localmart_testkit::{TestDatabase, TestEnvironment, now};

struct FakeLinks;

impl Links for FakeLinks {
    async fn exists(&self, _: &Context, id: &Id) -> Result<bool, LinkError> {
        Ok(!id.as_str().ends_with("ff"))
    }
}

struct Shop {
    inventory: Inventory<TestDatabase, FakeLinks>,
    database: TestDatabase,
    environment: TestEnvironment,
    mug: Id,
    lamp: Id,
}

fn shop(mugs: i64, lamps: i64) -> Shop {
    let environment = TestEnvironment::new();
    let database = TestDatabase::new(&[
        include_str!("../migrations/0001_stock.sql"),
        include_str!("../migrations/0002_alerts.sql"),
        include_str!("../migrations/0003_returns.sql"),
    ]);
    let inventory = Inventory::new(database.clone(), FakeLinks, environment.ports());
    let (mug, lamp) = (environment.ports().new_id(), environment.ports().new_id());
    for (id, count) in [(&mug, mugs), (&lamp, lamps)] {
        if count > 0 {
            now(inventory.adjust(&Context::system(""), id.as_str(), count, "delivery", None))
                .unwrap();
        }
    }
    Shop {
        inventory,
        database,
        environment,
        mug,
        lamp,
    }
}

impl Shop {
    fn lines(&self, mugs: u32, lamps: u32) -> Vec<Line> {
        let line = |id: &Id, quantity| Line {
            product_id: id.clone(),
            quantity,
        };
        let mut lines = vec![line(&self.mug, mugs), line(&self.lamp, lamps)];
        lines.retain(|line| line.quantity > 0);
        lines
    }

    fn reserve(&self, order: &Id, mugs: u32, lamps: u32) -> Result<(), InventoryError> {
        let end = self.environment.now().plus_ms(1000);
        now(self
            .inventory
            .reserve(&Context::system(""), order, &self.lines(mugs, lamps), end))
    }

    fn level(&self, id: &Id) -> (u64, u64) {
        let Level {
            on_hand, reserved, ..
        } = now(self.inventory.level(&Context::system(""), id.as_str())).unwrap();
        (on_hand, reserved)
    }
}

#[test]
fn all_lines_are_reserved_or_none() {
    let shop = shop(5, 1);
    let order = shop.environment.ports().new_id();
    let short = Shortage {
        product_id: shop.lamp.clone(),
        requested: 2,
        available: 1,
    };
    assert_eq!(
        shop.reserve(&order, 3, 2),
        Err(InventoryError::Insufficient(vec![short]))
    );
    assert_eq!(
        (shop.level(&shop.mug), shop.level(&shop.lamp)),
        ((5, 0), (1, 0))
    );
    assert_eq!(shop.reserve(&order, 3, 1), Ok(()));
    assert_eq!(
        (shop.level(&shop.mug), shop.level(&shop.lamp)),
        ((5, 3), (1, 1))
    );
}

#[test]
fn the_same_product_on_two_lines_is_summed() {
    let shop = shop(10, 0);
    let lines = [shop.lines(6, 0), shop.lines(6, 0)].concat();
    let order = shop.environment.ports().new_id();
    let result = now(shop.inventory.reserve(
        &Context::system(""),
        &order,
        &lines,
        Timestamp::from_ms(i64::MAX),
    ));
    assert!(matches!(result, Err(InventoryError::Insufficient(short)) if short[0].requested == 12));
}

#[test]
fn every_step_can_be_repeated() {
    let shop = shop(5, 0);
    let order = shop.environment.ports().new_id();
    for _ in 0..2 {
        assert_eq!(shop.reserve(&order, 2, 0), Ok(()));
    }
    assert_eq!(shop.level(&shop.mug), (5, 2));
    for _ in 0..2 {
        assert_eq!(
            now(shop.inventory.confirm(&Context::system(""), &order)),
            Ok(())
        );
    }
    assert_eq!(shop.level(&shop.mug), (3, 0));
    assert_eq!(shop.reserve(&order, 2, 0), Ok(()));
    now(shop.inventory.release(&order)).unwrap();
    assert_eq!(shop.level(&shop.mug), (3, 0));
    for _ in 0..2 {
        now(shop.inventory.restock(&Context::system(""), &order)).unwrap();
    }
    assert_eq!(shop.level(&shop.mug), (5, 0));
    assert_eq!(
        now(shop.inventory.confirm(&Context::system(""), &order)),
        Err(InventoryError::ReservationLost)
    );
}

#[test]
fn an_expired_reservation_is_released_once_and_can_be_made_again() {
    let shop = shop(1, 0);
    let (first, second) = (
        shop.environment.ports().new_id(),
        shop.environment.ports().new_id(),
    );
    shop.reserve(&first, 1, 0).unwrap();
    assert_eq!(now(shop.inventory.sweep()), Ok(0));
    assert!(shop.reserve(&second, 1, 0).is_err());
    shop.environment.advance_ms(1001);
    assert_eq!(now(shop.inventory.sweep()), Ok(1));
    assert_eq!(now(shop.inventory.sweep()), Ok(0));
    assert_eq!(
        now(shop.inventory.confirm(&Context::system(""), &first)),
        Err(InventoryError::ReservationLost)
    );
    shop.reserve(&first, 1, 0).unwrap();
    assert_eq!(
        now(shop.inventory.confirm(&Context::system(""), &first)),
        Ok(())
    );
    assert!(shop.reserve(&second, 1, 0).is_err());
}

#[test]
fn a_change_with_a_name_happens_once() {
    let shop = shop(5, 0);
    let adjust = |delta, name| {
        let (mug, context) = (shop.mug.as_str(), Context::system(""));
        let adjusted = shop.inventory.adjust(&context, mug, delta, "count", name);
        now(adjusted).map(|level| level.on_hand)
    };
    assert_eq!(adjust(3, Some("a")), Ok(8));
    assert_eq!(adjust(3, Some("a")), Ok(8));
    assert!(
        adjust(-9, Some("b")).is_err(),
        "a refused change is not recorded under its name"
    );
    assert_eq!((adjust(-1, Some("b")), adjust(3, None)), (Ok(7), Ok(10)));
}

#[test]
fn a_reservation_can_be_extended() {
    let shop = shop(5, 0);
    let order = shop.environment.ports().new_id();
    shop.reserve(&order, 2, 0).unwrap();
    shop.environment.advance_ms(900);
    shop.reserve(&order, 2, 0).unwrap();
    shop.environment.advance_ms(900);
    assert_eq!(
        (now(shop.inventory.sweep()), shop.level(&shop.mug)),
        (Ok(0), (5, 2))
    );
    shop.environment.advance_ms(200);
    assert_eq!(
        (now(shop.inventory.sweep()), shop.level(&shop.mug)),
        (Ok(1), (5, 0))
    );
}

#[test]
fn stock_never_falls_below_the_reserved_pieces() {
    let shop = shop(5, 0);
    shop.reserve(&shop.environment.ports().new_id(), 3, 0)
        .unwrap();
    let adjust = |delta| {
        now(shop.inventory.adjust(
            &Context::system(""),
            shop.mug.as_str(),
            delta,
            "count",
            None,
        ))
    };
    assert!(matches!(adjust(-3), Err(InventoryError::Insufficient(_))));
    assert_eq!(adjust(-2).unwrap().available(), 0);
    assert_eq!(shop.level(&shop.mug), (3, 3));
}

#[test]
fn an_unknown_product_has_no_stock() {
    let shop = shop(0, 0);
    assert_eq!(shop.level(&shop.mug), (0, 0));
    let nobody = "00000000-0000-7000-8000-0000000000ff";
    let context = Context::system("");
    assert_eq!(
        now(shop.inventory.level(&context, nobody)),
        Err(InventoryError::ProductNotFound)
    );
    assert_eq!(
        now(shop.inventory.adjust(&context, nobody, 1, "x", None)),
        Err(InventoryError::ProductNotFound)
    );
}

#[test]
fn low_stock_is_reported_once_until_the_stock_is_replenished() {
    let shop = shop(8, 8);
    let events = || {
        let sql = "SELECT body FROM outbox ORDER BY subject, version";
        now(shop.database.query(sql, &[])).unwrap().len()
    };
    let reserve = |quantity| {
        let order = shop.environment.ports().new_id();
        shop.reserve(&order, quantity, 0).unwrap();
        order
    };
    reserve(2);
    assert_eq!(events(), 0);
    let order = reserve(1);
    assert_eq!(events(), 1);
    now(shop.inventory.release(&order)).unwrap();
    reserve(2);
    assert_eq!(events(), 1, "it is still low");
    let context = Context::system("");
    now(shop
        .inventory
        .adjust(&context, shop.mug.as_str(), 20, "delivery", None))
    .unwrap();
    reserve(20);
    assert_eq!(events(), 2);
}

#[test]
fn releasing_a_reservation_does_not_report_low_stock_again() {
    let shop = shop(6, 0);
    for _ in 0..3 {
        let order = shop.environment.ports().new_id();
        shop.reserve(&order, 1, 0).unwrap();
        now(shop.inventory.release(&order)).unwrap();
    }
    let events = now(shop.database.query("SELECT body FROM outbox", &[])).unwrap();
    assert_eq!(events.len(), 1);
}

#[test]
fn a_return_adds_stock_once_and_never_more_than_was_sold() {
    let shop = shop(9, 9);
    let (order, context) = (shop.environment.ports().new_id(), Context::system(""));
    let first = shop.environment.ports().new_id();
    let take_back =
        |id: &Id, lines: &[Line]| now(shop.inventory.take_back(&context, &order, id, lines));
    shop.reserve(&order, 3, 2).unwrap();
    let too_early = take_back(&first, &shop.lines(1, 0));
    assert_eq!(too_early, Err(InventoryError::NotSold));
    now(shop.inventory.confirm(&context, &order)).unwrap();
    for _ in 0..3 {
        take_back(&first, &shop.lines(2, 1)).unwrap();
    }
    assert_eq!(
        (shop.level(&shop.mug), shop.level(&shop.lamp)),
        ((8, 0), (8, 0))
    );
    let second = shop.environment.ports().new_id();
    let too_many = take_back(&second, &shop.lines(2, 1));
    assert_eq!(too_many, Err(InventoryError::NotSold));
    assert_eq!(
        (shop.level(&shop.mug), shop.level(&shop.lamp)),
        ((8, 0), (8, 0))
    );
    take_back(&second, &shop.lines(1, 1)).unwrap();
    assert_eq!(
        (shop.level(&shop.mug), shop.level(&shop.lamp)),
        ((9, 0), (9, 0))
    );
}

#[test]
fn every_change_of_stock_is_in_the_audit_log() {
    let shop = shop(0, 0);
    let context = Context {
        trace_parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        actor: localmart_guest::wit::Actor::Staff("me".into()),
        deadline: 0,
    };
    now(shop
        .inventory
        .adjust(&context, shop.mug.as_str(), 9, "delivery", None))
    .unwrap();
    let sql = "SELECT subject, action, actor, trace_id, detail FROM audit ORDER BY at, id";
    let rows = now(shop.database.query(sql, &[])).unwrap();
    let line = ["subject", "action", "actor", "trace_id", "detail"];
    let line = line.map(|column| rows[0].get::<String>(column).unwrap());
    assert_eq!(
        line,
        [
            shop.mug.as_str(),
            "stock.adjusted",
            "staff:me",
            "0af7651916cd43dd8448eb211c80319c",
            "9"
        ]
    );
}
