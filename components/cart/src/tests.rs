//! Cart's rules, on the store in memory.

use crate::domain::{Cart, LineError, LinkDown, Links, Product};
use crate::service::{CartError, Carts};
use localmart_guest::kernel::{Currency, Id, Money, money::MAX_AMOUNT};
use localmart_guest::wit::Context;
use localmart_testkit::{MemoryStore, TestWorld, now};
use std::time::Duration;

struct Shelf(Vec<Product>);

impl Links for Shelf {
    async fn products(&self, _: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkDown> {
        Ok(self
            .0
            .iter()
            .filter(|product| ids.contains(&product.id))
            .cloned()
            .collect())
    }

    async fn available(&self, _: &Context, ids: &[Id]) -> Result<Vec<(Id, u64)>, LinkDown> {
        Ok(ids.iter().map(|id| (id.clone(), 7)).collect())
    }
}

struct Shop {
    carts: Carts<MemoryStore, Shelf>,
    world: TestWorld,
    products: Vec<Id>,
}

fn shop(prices: &[(u64, &str, bool)]) -> Shop {
    let world = TestWorld::new();
    let product = |(amount, currency, published): &(u64, &str, bool)| Product {
        id: world.ports().new_id(),
        sku: "S".into(),
        name: "N".into(),
        price: Money::new(*amount, Currency::parse(currency).unwrap()).unwrap(),
        published: *published,
    };
    let shelf: Vec<Product> = prices.iter().map(product).collect();
    let products = shelf.iter().map(|product| product.id.clone()).collect();
    let carts = Carts::new(
        MemoryStore::default(),
        Shelf(shelf),
        world.ports(),
        Duration::from_secs(60),
    );
    Shop {
        carts,
        world,
        products,
    }
}

impl Shop {
    fn cart(&self) -> Cart {
        now(self.carts.create(Currency::USD)).unwrap().cart
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
fn what_cannot_be_sold_here_is_refused() {
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
    let nobody = shop.world.ports().new_id();
    let result = now(shop
        .carts
        .add(&Context::system(""), cart.id.as_str(), &nobody, 1, None));
    assert_eq!(result.err(), Some(CartError::ProductNotFound));
}

#[test]
fn an_ordered_cart_does_not_change_and_has_one_order() {
    let shop = shop(&[(1, "USD", true)]);
    let cart = shop.cart();
    shop.add(&cart, 0, 1).unwrap();
    let (first, second) = (shop.world.ports().new_id(), shop.world.ports().new_id());
    let id = cart.id.as_str();
    assert_eq!(
        now(shop.carts.complete(id, &first, 1)),
        Err(CartError::VersionConflict)
    );
    assert_eq!(now(shop.carts.complete(id, &first, 2)), Ok(()));
    assert_eq!(now(shop.carts.complete(id, &first, 2)), Ok(()));
    assert_eq!(
        now(shop.carts.complete(id, &second, 2)),
        Err(CartError::Completed(first.clone()))
    );
    assert_eq!(
        shop.add(&cart, 0, 1),
        Err(CartError::Completed(first.clone()))
    );
    assert_eq!(
        now(shop.carts.delete(id)),
        Err(CartError::Completed(first.clone()))
    );
    assert_eq!(now(shop.carts.reopen(id, &second)), Ok(()));
    assert_eq!(
        shop.add(&cart, 0, 1),
        Err(CartError::Completed(first.clone()))
    );
    assert_eq!(now(shop.carts.reopen(id, &first)), Ok(()));
    assert_eq!(shop.add(&cart, 0, 1), Ok(2));
}

#[test]
fn a_cart_ends_after_its_last_change() {
    let shop = shop(&[(1, "USD", true)]);
    let cart = shop.cart();
    shop.world.advance_ms(59_000);
    shop.add(&cart, 0, 1).unwrap();
    shop.world.advance_ms(59_000);
    assert!(now(shop.carts.read(cart.id.as_str())).is_ok());
    shop.world.advance_ms(2_000);
    assert_eq!(
        now(shop.carts.read(cart.id.as_str())),
        Err(CartError::NotFound)
    );
    assert_eq!(now(shop.carts.sweep()), Ok(1));
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
    assert_eq!(set(1, Some(1)), Err(CartError::VersionConflict));
    assert_eq!(set(1, Some(2)), Ok(5));
    assert_eq!(set(0, None), Ok(0));
    assert_eq!(set(0, None), Ok(0));
}
