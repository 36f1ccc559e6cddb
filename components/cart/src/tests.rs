//! The rules of carts, on a short-lived store in memory and on SQLite and Postgres.

use crate::DECLARED;
use crate::domain::{Cart, LineError, LinkError, Links, Product};
use crate::service::{CartError, Carts, Settings};
use localmart_guest::kernel::{Currency, Id, Money, MoneyError, money::MAX_AMOUNT};
use localmart_guest::wit::Context;
use localmart_testkit::{MemoryStore, TestDatabase, TestEnvironment, now};

struct FakeLinks(Vec<Product>);

impl Links for FakeLinks {
    async fn products(&self, _: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkError> {
        Ok(self
            .0
            .iter()
            .filter(|product| ids.contains(&product.id))
            .cloned()
            .collect())
    }

    async fn available(&self, _: &Context, ids: &[Id]) -> Result<Vec<(Id, u64)>, LinkError> {
        Ok(ids.iter().map(|id| (id.clone(), 7)).collect())
    }
}

struct Shop {
    carts: Carts<TestDatabase, MemoryStore, FakeLinks>,
    environment: TestEnvironment,
    products: Vec<Id>,
}

fn shop(prices: &[(u64, &str, bool)]) -> Shop {
    let environment = TestEnvironment::new();
    let product = |(amount, currency, published): &(u64, &str, bool)| Product {
        id: environment.ports().new_id(),
        sku: "S".into(),
        name: "N".into(),
        price: Money::new(*amount, Currency::parse(currency).unwrap()).unwrap(),
        published: *published,
    };
    let sold: Vec<Product> = prices.iter().map(product).collect();
    let products = sold.iter().map(|product| product.id.clone()).collect();
    let carts = Carts::new(
        TestDatabase::new(&[include_str!("../migrations/0001_carts.sql")]),
        MemoryStore::default(),
        FakeLinks(sold),
        environment.ports(),
        Settings {
            ttl_ms: 60_000,
            currency: Currency::USD,
        },
    );
    Shop {
        carts,
        environment,
        products,
    }
}

impl Shop {
    fn cart(&self) -> Cart {
        now(self.carts.create(&Context::system(""), Currency::USD))
            .unwrap()
            .cart
    }

    fn add(&self, cart: &Cart, product: usize, quantity: u32) -> Result<u64, CartError> {
        let id = &self.products[product];
        let priced =
            now(self
                .carts
                .add(&Context::system(""), cart.id.as_str(), id, quantity, None))?;
        Ok(priced.subtotal.amount())
    }
}

#[test]
fn lines_are_summed_at_current_prices() {
    let shop = shop(&[(1999, "USD", true), (1, "USD", true)]);
    let cart = shop.cart();
    assert_eq!(shop.add(&cart, 0, 2), Ok(3998));
    assert_eq!(shop.add(&cart, 0, 1), Ok(5997));
    assert_eq!(shop.add(&cart, 1, 99), Ok(6096));
    let view = now(shop.carts.view(&Context::system(""), cart.id.as_str())).unwrap();
    assert_eq!(
        (view.lines.len(), view.cart.version, view.lines[0].available),
        (2, 4, 7)
    );
}

#[test]
fn limits_hold_over_several_additions() {
    let shop = shop(&[(1, "USD", true)]);
    let cart = shop.cart();
    assert_eq!(shop.add(&cart, 0, 60), Ok(60));
    assert_eq!(
        shop.add(&cart, 0, 40),
        Err(CartError::Line(LineError::QuantityLimit))
    );
    assert_eq!(shop.add(&cart, 0, 39), Ok(99));
}

#[test]
fn a_product_that_is_not_for_sale_here_is_refused() {
    let shop = shop(&[
        (1, "EUR", true),
        (1, "USD", false),
        (MAX_AMOUNT, "USD", true),
    ]);
    let cart = shop.cart();
    assert_eq!(
        shop.add(&cart, 0, 1),
        Err(CartError::CurrencyMismatch(Currency::USD))
    );
    assert_eq!(shop.add(&cart, 1, 1), Err(CartError::ProductNotFound));
    assert_eq!(shop.add(&cart, 2, 2), Err(CartError::Overflow));
    assert_eq!(shop.add(&cart, 2, 1), Ok(MAX_AMOUNT));
    let unknown = shop.environment.ports().new_id();
    let result = now(shop
        .carts
        .add(&Context::system(""), cart.id.as_str(), &unknown, 1, None));
    assert_eq!(result.err(), Some(CartError::ProductNotFound));
}

#[test]
fn an_ordered_cart_does_not_change_and_has_one_order() {
    let shop = shop(&[(1, "USD", true)]);
    let cart = shop.cart();
    shop.add(&cart, 0, 1).unwrap();
    let (first, second) = (
        shop.environment.ports().new_id(),
        shop.environment.ports().new_id(),
    );
    let id = cart.id.as_str();
    assert_eq!(
        now(shop.carts.complete(&Context::system(""), id, &first, 1)),
        Err(CartError::VersionConflict)
    );
    assert_eq!(
        now(shop.carts.complete(&Context::system(""), id, &first, 2)),
        Ok(())
    );
    assert_eq!(
        now(shop.carts.complete(&Context::system(""), id, &first, 2)),
        Ok(())
    );
    assert_eq!(
        now(shop.carts.complete(&Context::system(""), id, &second, 2)),
        Err(CartError::Completed(first.clone()))
    );
    assert_eq!(
        shop.add(&cart, 0, 1),
        Err(CartError::Completed(first.clone()))
    );
    assert_eq!(
        now(shop.carts.delete(&Context::system(""), id)),
        Err(CartError::Completed(first.clone()))
    );
    assert_eq!(
        now(shop.carts.reopen(&Context::system(""), id, &second)),
        Ok(())
    );
    assert_eq!(
        shop.add(&cart, 0, 1),
        Err(CartError::Completed(first.clone()))
    );
    assert_eq!(
        now(shop.carts.reopen(&Context::system(""), id, &first)),
        Ok(())
    );
    assert_eq!(shop.add(&cart, 0, 1), Ok(2));
}

#[test]
fn a_cart_expires_after_its_last_change() {
    let shop = shop(&[(1, "USD", true)]);
    let cart = shop.cart();
    shop.environment.advance_ms(59_000);
    shop.add(&cart, 0, 1).unwrap();
    shop.environment.advance_ms(59_000);
    assert!(now(shop.carts.read(&Context::system(""), cart.id.as_str())).is_ok());
    shop.environment.advance_ms(2_000);
    assert_eq!(
        now(shop.carts.read(&Context::system(""), cart.id.as_str())),
        Err(CartError::NotFound)
    );
    // The kit deletes what has expired under `DECLARED.expires`.
    let key = format!("cart/{}", cart.id);
    assert!(
        DECLARED
            .expires
            .iter()
            .any(|prefix| key.starts_with(prefix))
    );
}

#[test]
fn setting_to_zero_removes_and_a_stale_version_is_refused() {
    let shop = shop(&[(5, "USD", true)]);
    let cart = shop.cart();
    shop.add(&cart, 0, 3).unwrap();
    let set = |quantity, version| {
        let context = Context::system("");
        now(shop.carts.set(
            &context,
            cart.id.as_str(),
            &shop.products[0],
            quantity,
            version,
        ))
        .map(|cart| cart.subtotal.amount())
    };
    assert_eq!(set(1, Some(1.into())), Err(CartError::VersionConflict));
    assert_eq!(set(1, Some(2.into())), Ok(5));
    assert_eq!(set(0, None), Ok(0));
    assert_eq!(set(0, None), Ok(0));
}

fn user(id: &str) -> Context {
    Context {
        actor: localmart_guest::wit::Actor::Customer(id.into()),
        ..Context::system("")
    }
}

fn guest() -> Context {
    Context {
        actor: localmart_guest::wit::Actor::Anonymous,
        ..Context::system("")
    }
}

impl Shop {
    fn mine(&self, context: &Context) -> Cart {
        now(self.carts.mine(context, Currency::USD)).unwrap().cart
    }

    fn put(&self, context: &Context, cart: &Cart, product: usize, quantity: u32) {
        let id = &self.products[product];
        now(self
            .carts
            .add(context, cart.id.as_str(), id, quantity, None))
        .unwrap();
    }

    fn quantities(&self, cart: &Cart) -> Vec<u32> {
        cart.lines.iter().map(|line| line.quantity).collect()
    }
}

#[test]
fn a_user_has_one_current_cart_that_nobody_else_sees() {
    let shop = shop(&[(5, "USD", true)]);
    let (ada, bob) = (user("ada"), user("bob"));
    let mine = shop.mine(&ada);
    assert_eq!(shop.mine(&ada).id, mine.id);
    assert_ne!(shop.mine(&bob).id, mine.id);
    shop.put(&ada, &mine, 0, 2);
    for other in [&bob, &guest()] {
        assert_eq!(
            now(shop.carts.read(other, mine.id.as_str())),
            Err(CartError::NotFound)
        );
        assert_eq!(
            now(shop.carts.delete(other, mine.id.as_str())),
            Err(CartError::NotFound)
        );
    }
    let more = now(shop.carts.create(&ada, Currency::USD)).unwrap().cart;
    assert_ne!(more.id, mine.id);
    assert_eq!(shop.mine(&ada).id, mine.id, "a cart in use stays mine");
    let empty = shop.mine(&bob);
    let new_cart = now(shop.carts.create(&bob, Currency::USD)).unwrap().cart;
    assert!(
        new_cart.id != empty.id && shop.mine(&bob).id == new_cart.id,
        "a new cart replaces an empty one"
    );
}

#[test]
fn an_ordered_cart_is_no_longer_mine_until_it_is_reopened() {
    let shop = shop(&[(5, "USD", true)]);
    let (ada, system) = (user("ada"), Context::system(""));
    let mine = shop.mine(&ada);
    shop.put(&ada, &mine, 0, 2);
    let order = shop.environment.ports().new_id();
    now(shop.carts.complete(&system, mine.id.as_str(), &order, 2)).unwrap();
    let next = shop.mine(&ada);
    assert!(next.id != mine.id && next.lines.is_empty());
    now(shop.carts.reopen(&system, mine.id.as_str(), &order)).unwrap();
    assert_eq!(shop.mine(&ada).id, mine.id);
}

#[test]
fn merging_adds_and_caps_quantities_once() {
    let shop = shop(&[(5, "USD", true), (7, "USD", true)]);
    let (ada, bob) = (user("ada"), user("bob"));
    let mine = shop.mine(&ada);
    shop.put(&ada, &mine, 0, 1);
    shop.put(&ada, &mine, 1, 98);
    let guest_cart = now(shop.carts.create(&guest(), Currency::USD))
        .unwrap()
        .cart;
    shop.put(&guest(), &guest_cart, 0, 2);
    shop.put(&guest(), &guest_cart, 1, 9);
    for _ in 0..2 {
        let merged = now(shop.carts.merge(&ada, &guest_cart.id, Currency::USD))
            .unwrap()
            .cart;
        assert_eq!(
            (merged.id.clone(), shop.quantities(&merged)),
            (mine.id.clone(), vec![3, 99])
        );
    }
    assert_eq!(
        now(shop.carts.read(&guest(), guest_cart.id.as_str())),
        Err(CartError::NotFound)
    );
    assert_eq!(
        now(shop.carts.merge(&bob, &guest_cart.id, Currency::USD)).unwrap_err(),
        CartError::NotFound
    );
    assert_eq!(
        now(shop.carts.merge(&ada, &mine.id, Currency::USD)).unwrap_err(),
        CartError::NotFound,
        "only guests' carts can be merged"
    );
}

#[test]
fn a_merge_repeated_after_both_carts_expired_gives_a_cart_in_the_currency_of_the_shop() {
    let shop = shop(&[(5, "USD", true)]);
    let (ada, euros) = (user("ada"), Currency::parse("EUR").unwrap());
    let guest_cart = now(shop.carts.create(&guest(), Currency::USD))
        .unwrap()
        .cart;
    shop.put(&guest(), &guest_cart, 0, 1);
    let merge = || {
        now(shop.carts.merge(&ada, &guest_cart.id, euros))
            .unwrap()
            .cart
    };
    assert_eq!(merge().currency, Currency::USD);
    shop.environment.advance_ms(61_000);
    let fresh = merge();
    assert_eq!((fresh.currency, fresh.lines.len()), (euros, 0));
}

#[test]
fn a_calculation_that_fails_is_not_taken_for_a_concurrent_change() {
    let overflow: CartError = MoneyError::Overflow.into();
    assert_eq!(overflow, CartError::Overflow);
    let mismatch: CartError = MoneyError::CurrencyMismatch.into();
    assert_eq!(mismatch, CartError::Amounts(MoneyError::CurrencyMismatch));
}

#[test]
fn carts_of_two_currencies_do_not_merge_unless_one_is_empty() {
    let shop = shop(&[(5, "USD", true), (7, "EUR", true)]);
    let ada = user("ada");
    let euros = Currency::parse("EUR").unwrap();
    let guest_cart = now(shop.carts.create(&guest(), euros)).unwrap().cart;
    shop.put(&guest(), &guest_cart, 1, 1);
    let mine = shop.mine(&ada);
    shop.put(&ada, &mine, 0, 1);
    assert_eq!(
        now(shop.carts.merge(&ada, &guest_cart.id, Currency::USD)).unwrap_err(),
        CartError::CurrencyMismatch(Currency::USD)
    );
    assert!(
        now(shop.carts.read(&guest(), guest_cart.id.as_str())).is_ok(),
        "the guest's cart is unchanged"
    );
    now(shop
        .carts
        .set(&ada, mine.id.as_str(), &shop.products[0], 0, None))
    .unwrap();
    assert_eq!(
        now(shop.carts.merge(&ada, &guest_cart.id, Currency::USD))
            .unwrap()
            .cart
            .currency,
        euros
    );
}

#[test]
fn users_carts_expire_too() {
    let shop = shop(&[(5, "USD", true)]);
    let ada = user("ada");
    let mine = shop.mine(&ada);
    shop.environment.advance_ms(60_001);
    assert_eq!(
        now(shop.carts.read(&ada, mine.id.as_str())),
        Err(CartError::NotFound)
    );
    assert_ne!(shop.mine(&ada).id, mine.id);
    shop.environment.advance_ms(60_001);
    assert_eq!(now(shop.carts.sweep()), Ok(1));
}
