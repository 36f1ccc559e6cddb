//! What can be asked of carts: one verb per function, free of HTTP and storage.

use crate::domain::{Cart, LineError, LinkDown, Links, PricedCart, Product, price};
use crate::store::Store;
use localmart_guest::kernel::{Currency, Id, MoneyError};
use localmart_guest::ports::Ports;
use localmart_guest::short_lived::{ShortLived, StoreError};
use localmart_guest::wit::Context;
use std::time::Duration;

/// Why a verb was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CartError {
    #[error("there is no such cart")]
    NotFound,
    #[error("the cart already is an order")]
    Completed(Id),
    #[error("there is no such product")]
    ProductNotFound,
    #[error("the product is sold in another currency")]
    CurrencyMismatch(Currency),
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the amount is too large")]
    Overflow,
    #[error("somebody changed the cart in the meantime")]
    VersionConflict,
    #[error("too many change the cart at once")]
    Contended,
    #[error(transparent)]
    LinkDown(#[from] LinkDown),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<MoneyError> for CartError {
    fn from(error: MoneyError) -> Self {
        match error {
            MoneyError::CurrencyMismatch => Self::Contended,
            _ => Self::Overflow,
        }
    }
}

type Result<T> = std::result::Result<T, CartError>;

/// How often a change is tried again when somebody else was faster.
const ATTEMPTS: u32 = 100;
/// How long to step back then.
const STEP_BACK: Duration = Duration::from_millis(1);

/// Carts.
pub(crate) struct Carts<K, L> {
    store: Store<K>,
    links: L,
    ports: Ports,
    ttl_ms: i64,
}

impl<K: ShortLived, L: Links> Carts<K, L> {
    pub(crate) fn new(values: K, links: L, ports: Ports, ttl: Duration) -> Self {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        Self {
            store: Store::new(values),
            links,
            ports,
            ttl_ms,
        }
    }

    pub(crate) async fn create(&self, currency: Currency) -> Result<PricedCart> {
        let now = self.ports.now();
        let cart = Cart {
            id: self.ports.new_id(),
            currency,
            lines: Vec::new(),
            order_id: None,
            version: 1,
            updated_at: now,
            expires_at: now.plus_ms(self.ttl_ms),
        };
        if !self.store.write(&cart, None, now).await? {
            return Err(CartError::Contended);
        }
        Ok(price(cart, &[], &[])?)
    }

    pub(crate) async fn read(&self, id: &str) -> Result<Cart> {
        let id = Id::parse(id).ok_or(CartError::NotFound)?;
        let read = self.store.read(&id, self.ports.now()).await?;
        read.map(|read| read.cart).ok_or(CartError::NotFound)
    }

    /// The cart at current prices.
    pub(crate) async fn view(&self, context: &Context, id: &str) -> Result<PricedCart> {
        self.priced(context, self.read(id).await?).await
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<()> {
        let cart = self.read(id).await?;
        match cart.order_id {
            Some(order_id) => Err(CartError::Completed(order_id)),
            None => Ok(self.store.delete(&cart.id).await?),
        }
    }

    pub(crate) async fn add(
        &self,
        context: &Context,
        id: &str,
        product: &Id,
        quantity: u32,
        if_match: Option<u64>,
    ) -> Result<PricedCart> {
        self.change(context, id, product, if_match, |cart| {
            cart.add(product, quantity)
        })
        .await
    }

    pub(crate) async fn set(
        &self,
        context: &Context,
        id: &str,
        product: &Id,
        quantity: u32,
        if_match: Option<u64>,
    ) -> Result<PricedCart> {
        self.change(context, id, product, if_match, |cart| {
            cart.set(product, quantity)
        })
        .await
    }

    /// Marks this version of the cart as ordered.
    pub(crate) async fn complete(&self, id: &str, order_id: &Id, version: u64) -> Result<()> {
        self.update(id, None, |cart| match &cart.order_id {
            Some(known) if known == order_id => Ok(false),
            Some(known) => Err(CartError::Completed(known.clone())),
            None if cart.version != version => Err(CartError::VersionConflict),
            None => {
                cart.order_id = Some(order_id.clone());
                Ok(true)
            }
        })
        .await
        .map(drop)
    }

    /// Undoes [`Self::complete`] for this order.
    pub(crate) async fn reopen(&self, id: &str, order_id: &Id) -> Result<()> {
        let result = self.update(id, None, |cart| {
            let mine = cart.order_id.as_ref() == Some(order_id);
            if mine {
                cart.order_id = None;
            }
            Ok(mine)
        });
        match result.await {
            // An expired cart needs no reopening.
            Ok(_) | Err(CartError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn sweep(&self) -> Result<u64> {
        Ok(self.store.sweep(self.ports.now()).await?)
    }

    /// Changes a line, if the product can be sold here and the sum still fits.
    async fn change(
        &self,
        context: &Context,
        id: &str,
        product: &Id,
        if_match: Option<u64>,
        change: impl Fn(&mut Cart) -> std::result::Result<(), LineError>,
    ) -> Result<PricedCart> {
        let known = self.read(id).await?;
        if let Some(order_id) = known.order_id {
            return Err(CartError::Completed(order_id));
        }
        let mut ids: Vec<Id> = known
            .lines
            .into_iter()
            .map(|line| line.product_id)
            .collect();
        if !ids.contains(product) {
            ids.push(product.clone());
        }
        let products = self.links.products(context, &ids).await?;
        let cart = self
            .update(id, if_match, |cart| {
                if let Some(order_id) = &cart.order_id {
                    return Err(CartError::Completed(order_id.clone()));
                }
                let before = cart.lines.clone();
                change(cart)?;
                if cart.quantity_of(product) > 0 {
                    sellable(cart, product, &products)?;
                }
                price(cart.clone(), &products, &[])?;
                Ok(cart.lines != before)
            })
            .await?;
        self.priced(context, cart).await
    }

    /// Reads, changes and swaps, again if somebody was faster. `change` says whether there is anything to write.
    async fn update(
        &self,
        id: &str,
        if_match: Option<u64>,
        change: impl Fn(&mut Cart) -> Result<bool>,
    ) -> Result<Cart> {
        let id = Id::parse(id).ok_or(CartError::NotFound)?;
        for _ in 0..ATTEMPTS {
            let now = self.ports.now();
            let read = self
                .store
                .read(&id, now)
                .await?
                .ok_or(CartError::NotFound)?;
            let mut cart = read.cart.clone();
            if if_match.is_some_and(|version| version != cart.version) {
                return Err(CartError::VersionConflict);
            }
            if !change(&mut cart)? {
                return Ok(cart);
            }
            cart.version += 1;
            cart.updated_at = now;
            cart.expires_at = now.plus_ms(self.ttl_ms);
            if self.store.write(&cart, Some(&read), now).await? {
                return Ok(cart);
            }
            self.ports.sleep(STEP_BACK).await;
        }
        Err(CartError::Contended)
    }

    async fn priced(&self, context: &Context, cart: Cart) -> Result<PricedCart> {
        let ids: Vec<Id> = cart
            .lines
            .iter()
            .map(|line| line.product_id.clone())
            .collect();
        if ids.is_empty() {
            return Ok(price(cart, &[], &[])?);
        }
        let products = self.links.products(context, &ids).await?;
        let available = self.links.available(context, &ids).await?;
        Ok(price(cart, &products, &available)?)
    }
}

fn sellable(cart: &Cart, product: &Id, products: &[Product]) -> Result<()> {
    let found = products
        .iter()
        .find(|found| found.id == *product && found.published);
    let found = found.ok_or(CartError::ProductNotFound)?;
    if found.price.currency() == cart.currency {
        Ok(())
    } else {
        Err(CartError::CurrencyMismatch(cart.currency))
    }
}
