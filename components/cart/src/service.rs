//! The operations on carts: one function each, independent of HTTP and storage.

use crate::DECLARED;
use crate::domain::{Cart, LineError, LinkError, Links, PricedCart, Product, price};
use crate::store::{StorageError, Store, StoredCart};
use localmart_guest::config::{self, ConfigError};
use localmart_guest::http::IfMatch;
use localmart_guest::kernel::{Currency, Id, MoneyError};
use localmart_guest::ports::Ports;
use localmart_guest::service::Wire;
use localmart_guest::short_lived::ShortLived;
use localmart_guest::sql::Database;
use localmart_guest::wit::{Actor, Context};
use std::time::Duration;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CartError {
    #[error("there is no such cart")]
    NotFound,
    #[error("the cart was already ordered")]
    Completed(Id),
    #[error("there is no such product")]
    ProductNotFound,
    #[error("the product is sold in another currency")]
    CurrencyMismatch(Currency),
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the amount is too large")]
    Overflow,
    /// A calculation with stored amounts failed for another reason, which is a fault of the shop.
    #[error("the cart has no total: {0}")]
    Amounts(MoneyError),
    #[error("the cart was changed in the meantime")]
    VersionConflict,
    #[error("too many concurrent changes to the cart")]
    Contended,
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Store(#[from] StorageError),
}

impl From<MoneyError> for CartError {
    fn from(error: MoneyError) -> Self {
        match error {
            MoneyError::Overflow => Self::Overflow,
            other => Self::Amounts(other),
        }
    }
}

type Result<T> = std::result::Result<T, CartError>;

/// How long a guest's cart without a line is kept, in milliseconds.
const EMPTY_CART_MS: i64 = 24 * 3_600_000;
/// How often a change is tried when concurrent changes win.
const ATTEMPTS: u32 = 100;
/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// The operations on carts.
pub(crate) struct Carts<D, K, L> {
    store: Store<D, K>,
    links: L,
    ports: Ports,
    settings: Settings,
}

/// What an operator decides about carts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long a cart lives after its last change, in milliseconds.
    pub(crate) ttl_ms: i64,
    /// The currency of a cart that names none.
    pub(crate) currency: Currency,
}

impl<D, K, L> Wire for Carts<D, K, L>
where
    D: Database + From<&'static str>,
    K: ShortLived + Default + 'static,
    L: Links + Default + 'static,
{
    async fn wire(ports: Ports) -> std::result::Result<Self, ConfigError> {
        let currency = Currency::parse(&config::text("default_currency").await?);
        let settings = Settings {
            ttl_ms: config::milliseconds("cart_ttl").await?,
            currency: currency
                .map_err(|_| ConfigError::Invalid("default_currency", "an ISO 4217 code"))?,
        };
        let (values, links) = (K::default(), L::default());
        Ok(Self::new(
            D::from(DECLARED.noun),
            values,
            links,
            ports,
            settings,
        ))
    }
}

impl<D: Database, K: ShortLived, L: Links> Carts<D, K, L> {
    pub(crate) fn new(database: D, values: K, links: L, ports: Ports, settings: Settings) -> Self {
        Self {
            store: Store::new(database, values),
            links,
            ports,
            settings,
        }
    }

    /// The currency of a cart that names none.
    pub(crate) fn default_currency(&self) -> Currency {
        self.settings.currency
    }

    /// Creates a cart for the user in the context, or for a guest.
    pub(crate) async fn create(&self, context: &Context, currency: Currency) -> Result<PricedCart> {
        let cart = self.new_cart(user_id(context), currency);
        if !self.store.create(&cart, self.ports.now()).await? {
            return Err(CartError::Contended);
        }
        Ok(price(cart, &[], &[])?)
    }

    fn new_cart(&self, owner: Option<&str>, currency: Currency) -> Cart {
        let now = self.ports.now();
        // Anybody may create carts, so one that stays empty goes early.
        let ttl_ms = match owner {
            Some(_) => self.settings.ttl_ms,
            None => self.settings.ttl_ms.min(EMPTY_CART_MS),
        };
        Cart {
            id: self.ports.new_id(),
            owner: owner.map(str::to_owned),
            currency,
            lines: Vec::new(),
            order_id: None,
            merged_by: None,
            version: 1,
            updated_at: now,
            expires_at: now.plus_ms(ttl_ms),
        }
    }

    /// The user's current cart, `mine`; created if there is none.
    pub(crate) async fn mine(&self, context: &Context, currency: Currency) -> Result<PricedCart> {
        let cart = self.own_cart(context, currency).await?;
        self.priced(context, cart).await
    }

    async fn own_cart(&self, context: &Context, currency: Currency) -> Result<Cart> {
        let owner = user_id(context).ok_or(CartError::NotFound)?;
        for _ in 0..ATTEMPTS {
            let now = self.ports.now();
            if let Some(cart) = self.store.mine(owner, now).await? {
                return Ok(cart);
            }
            // A concurrent request may create one too; the next iteration reads the one that became `mine`.
            self.store
                .create(&self.new_cart(Some(owner), currency), now)
                .await?;
        }
        Err(CartError::Contended)
    }

    /// Merges a guest's cart into the user's current cart, once. `currency` is that of a new cart, if the user has none
    /// and the guest's cart is gone.
    pub(crate) async fn merge(
        &self,
        context: &Context,
        guest_id: &Id,
        currency: Currency,
    ) -> Result<PricedCart> {
        let owner = user_id(context).ok_or(CartError::NotFound)?;
        let read = self.store.read_guests(guest_id, self.ports.now()).await?;
        let guest = match read {
            Some(read) => read.cart,
            None if self.store.is_merged(guest_id, owner).await? => {
                return self.mine(context, currency).await;
            }
            None => return Err(CartError::NotFound),
        };
        if guest.merged_by.as_deref().is_some_and(|by| by != owner) {
            return Err(CartError::NotFound);
        }
        // Checks that the carts can be merged before anything is changed.
        self.preview_merge(context, &guest).await?;
        self.mark_merged(guest_id, owner).await?;
        for _ in 0..ATTEMPTS {
            let (own_cart, mut merged) = self.preview_merge(context, &guest).await?;
            let now = self.ports.now();
            merged.version += 1;
            merged.updated_at = now;
            merged.expires_at = now.plus_ms(self.settings.ttl_ms);
            match self
                .store
                .merge(&merged, own_cart.version, guest_id, now)
                .await?
            {
                Some(true) => return self.priced(context, merged).await,
                // A concurrent request has merged the same guest's cart already.
                Some(false) => return self.mine(context, own_cart.currency).await,
                None => self.ports.sleep(RETRY_PAUSE).await,
            }
        }
        Err(CartError::Contended)
    }

    /// The user's current cart, before and after the merge.
    async fn preview_merge(&self, context: &Context, guest: &Cart) -> Result<(Cart, Cart)> {
        let own_cart = self.own_cart(context, guest.currency).await?;
        let mut merged = own_cart.clone();
        if merged.lines.is_empty() {
            merged.currency = guest.currency;
        }
        if merged.currency != guest.currency && !guest.lines.is_empty() {
            return Err(CartError::CurrencyMismatch(merged.currency));
        }
        merged.merge_lines(&guest.lines);
        let ids = merged.lines.iter().map(|line| line.product_id.clone());
        let ids: Vec<Id> = ids.collect();
        let products = self.links.products(context, &ids).await?;
        price(merged.clone(), &products, &[])?;
        Ok((own_cart, merged))
    }

    /// Marks a guest's cart as merged by this user, so that it cannot be used any more.
    async fn mark_merged(&self, guest_id: &Id, owner: &str) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let now = self.ports.now();
            let read = self.store.read_guests(guest_id, now).await?;
            let read = read.ok_or(CartError::NotFound)?;
            let mut cart = read.cart.clone();
            match (&cart.order_id, cart.merged_by.as_deref()) {
                (Some(order), _) => return Err(CartError::Completed(order.clone())),
                (None, Some(by)) if by == owner => return Ok(()),
                (None, Some(_)) => return Err(CartError::NotFound),
                (None, None) => {}
            }
            cart.merged_by = Some(owner.to_owned());
            cart.version += 1;
            if self.store.write(&cart, &read, now).await? {
                return Ok(());
            }
            self.ports.sleep(RETRY_PAUSE).await;
        }
        Err(CartError::Contended)
    }

    pub(crate) async fn read(&self, context: &Context, id: &str) -> Result<Cart> {
        let id = Id::parse(id).ok_or(CartError::NotFound)?;
        Ok(self.read_open(context, &id).await?.cart)
    }

    /// A cart that this actor may see. Requests of guests do not read the store of users' carts.
    async fn read_open(&self, context: &Context, id: &Id) -> Result<StoredCart> {
        let now = self.ports.now();
        let read = match context.actor {
            Actor::Anonymous => self.store.read_guests(id, now).await?,
            Actor::System => self.store.read(id, now).await?,
            _ => self.store.read_for_user(id, now).await?,
        };
        let asker = context.asker();
        let open = |read: &StoredCart| read.cart.is_open_to(&asker);
        read.filter(open).ok_or(CartError::NotFound)
    }

    /// The cart at current prices.
    pub(crate) async fn view(&self, context: &Context, id: &str) -> Result<PricedCart> {
        self.priced(context, self.read(context, id).await?).await
    }

    pub(crate) async fn delete(&self, context: &Context, id: &str) -> Result<()> {
        let cart = self.read(context, id).await?;
        match cart.order_id {
            Some(order_id) => Err(CartError::Completed(order_id)),
            None => Ok(self.store.delete(&cart).await?),
        }
    }

    pub(crate) async fn add(
        &self,
        context: &Context,
        id: &str,
        product: &Id,
        quantity: u32,
        if_match: Option<IfMatch>,
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
        if_match: Option<IfMatch>,
    ) -> Result<PricedCart> {
        self.change(context, id, product, if_match, |cart| {
            cart.set(product, quantity)
        })
        .await
    }

    /// Marks this version of the cart as ordered. Idempotent per order.
    pub(crate) async fn complete(
        &self,
        context: &Context,
        id: &str,
        order_id: &Id,
        version: u64,
    ) -> Result<()> {
        self.update(context, id, None, |cart| match &cart.order_id {
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
    pub(crate) async fn reopen(&self, context: &Context, id: &str, order_id: &Id) -> Result<()> {
        let result = self.update(context, id, None, |cart| {
            let mine = cart.order_id.as_ref() == Some(order_id);
            if mine {
                cart.order_id = None;
            }
            Ok(mine)
        });
        match result.await {
            // An expired cart need not be reopened.
            Ok(_) | Err(CartError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn sweep(&self) -> Result<u64> {
        let now = self.ports.now();
        Ok(self
            .store
            .sweep(now, now.plus_ms(-self.settings.ttl_ms))
            .await?)
    }

    /// Changes a line if the product is for sale in the cart's currency and the total stays below the limit.
    async fn change(
        &self,
        context: &Context,
        id: &str,
        product: &Id,
        if_match: Option<IfMatch>,
        change: impl Fn(&mut Cart) -> std::result::Result<(), LineError>,
    ) -> Result<PricedCart> {
        let known = self.read(context, id).await?;
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
            .update(context, id, if_match, |cart| {
                if let Some(order_id) = &cart.order_id {
                    return Err(CartError::Completed(order_id.clone()));
                }
                let before = cart.lines.clone();
                change(cart)?;
                if cart.quantity_of(product) > 0 {
                    require_sellable(cart, product, &products)?;
                }
                price(cart.clone(), &products, &[])?;
                Ok(cart.lines != before)
            })
            .await?;
        self.priced(context, cart).await
    }

    /// Reads, changes and writes a cart; repeats if a concurrent change wins. `change` returns whether there is anything to
    /// write.
    async fn update(
        &self,
        context: &Context,
        id: &str,
        if_match: Option<IfMatch>,
        change: impl Fn(&mut Cart) -> Result<bool>,
    ) -> Result<Cart> {
        let id = Id::parse(id).ok_or(CartError::NotFound)?;
        for _ in 0..ATTEMPTS {
            let read = self.read_open(context, &id).await?;
            let now = self.ports.now();
            let mut cart = read.cart.clone();
            if if_match.is_some_and(|versions| !versions.allows(cart.version)) {
                return Err(CartError::VersionConflict);
            }
            if !change(&mut cart)? {
                return Ok(cart);
            }
            cart.version += 1;
            cart.updated_at = now;
            cart.expires_at = now.plus_ms(self.settings.ttl_ms);
            if self.store.write(&cart, &read, now).await? {
                return Ok(cart);
            }
            self.ports.sleep(RETRY_PAUSE).await;
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

/// The user on whose behalf the call is made, if any.
fn user_id(context: &Context) -> Option<&str> {
    match &context.actor {
        Actor::Customer(id) | Actor::Staff(id) | Actor::Admin(id) => Some(id),
        Actor::Anonymous | Actor::System => None,
    }
}

fn require_sellable(cart: &Cart, product: &Id, products: &[Product]) -> Result<()> {
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
