//! The operations on orders. [`saga`] has checkout and its compensation, [`returns`] has returns; this file has all other
//! operations.

mod returns;
pub(crate) mod saga;

use crate::DECLARED;
use crate::domain::links::{LinkError, Links, PaymentStatus};
use crate::domain::pricing::price;
use crate::domain::returns::ReturnError;
use crate::domain::status::Status;
use crate::domain::{Checkout, Failure, Order, PricingError, Step, itemise, number};
use crate::store::{Claim, Inserted, Scope, Store};
use localmart_events::PaymentChanged;
use localmart_guest::config::{self, ConfigError};
use localmart_guest::events::Event;
use localmart_guest::kernel::page::page;
use localmart_guest::kernel::{Asker, Cursor, Id, Limit, Money};
use localmart_guest::log::{self, Level};
use localmart_guest::point;
use localmart_guest::ports::Ports;
use localmart_guest::service::Wire;
use localmart_guest::sql::{Database, SqlError};
use localmart_guest::token::{capability, is_capability};
use localmart_guest::wit::Context;
use std::time::Duration;

/// How long a lease on an order lasts without renewal, in milliseconds. After that another run may take over.
pub(crate) const LEASE_MS: i64 = 5_000;
/// How often checkout reads a cart that changes concurrently.
const CART_ATTEMPTS: u32 = 5;
/// How long a cancellation or a return waits for the lease of the order.
const LEASE_WAIT: Duration = Duration::from_secs(4);
/// The pause between two attempts to get a lease.
const LEASE_POLL: Duration = Duration::from_millis(20);
/// The name of the sort order in cursors.
pub(crate) const LIST_ORDER: &str = "newest";
/// How many unfinished orders one sweep resumes.
const SWEEP_ORDERS: u32 = 50;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("there is no such order")]
    NotFound,
    #[error("there is no such return")]
    ReturnNotFound,
    #[error("these items cannot be returned")]
    Return(#[from] ReturnError),
    #[error("a guest must give an e-mail address")]
    NoEmail,
    #[error("there is no such cart")]
    CartNotFound,
    #[error("the cart was already ordered with order {0}")]
    CartCompleted(Id),
    #[error("the cart cannot be ordered")]
    Pricing(PricingError),
    #[error("the total is not what was expected")]
    PriceChanged { expected: Money, total: Money },
    #[error("the order failed")]
    Failed(Box<Failure>),
    #[error("an order with status {} cannot change to {}", .0.name(), .1.name())]
    IllegalTransition(Status, Status),
    #[error("the whole payment was refunded")]
    Refunded,
    #[error("another request is working on the order")]
    Busy,
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

type Result<T> = std::result::Result<T, OrderError>;

/// Durations and keys from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) reservation_ttl_ms: i64,
    pub(crate) reconcile_after_ms: i64,
    pub(crate) idempotency_ttl_ms: i64,
    pub(crate) order_token_key: String,
}

/// The operations on orders.
pub(crate) struct Orders<D, L> {
    store: Store<D>,
    links: L,
    ports: Ports,
    settings: Settings,
}

impl<D, L> Wire for Orders<D, L>
where
    D: Database + From<&'static str>,
    L: Links + Default + 'static,
{
    async fn wire(ports: Ports) -> std::result::Result<Self, ConfigError> {
        let settings = Settings {
            reservation_ttl_ms: config::milliseconds("reservation_ttl").await?,
            reconcile_after_ms: config::milliseconds("payment_reconcile_after").await?,
            idempotency_ttl_ms: config::milliseconds("idempotency_ttl").await?,
            order_token_key: config::text("order_token_key").await?,
        };
        Ok(Self::new(
            D::from(DECLARED.noun),
            L::default(),
            ports,
            settings,
        ))
    }
}

impl<D: Database, L: Links> Orders<D, L> {
    pub(crate) fn new(database: D, links: L, ports: Ports, settings: Settings) -> Self {
        Self {
            store: Store::new(database, ports.clone()),
            links,
            ports,
            settings,
        }
    }

    /// The store, for the contract, which reads without a token.
    pub(crate) fn store(&self) -> &Store<D> {
        &self.store
    }

    /// The order with this id, if it is open to this asker. `token` is the capability of a guest.
    pub(crate) async fn get(&self, id: &str, asker: &Asker, token: Option<&str>) -> Result<Order> {
        let id = Id::parse(id).ok_or(OrderError::NotFound)?;
        let order = self.store.order(&id).await?;
        let open = |order: &Order| {
            let holds_token = token.is_some_and(|token| self.is_guest_token(order, token));
            order.is_open_to(asker, holds_token)
        };
        order.filter(open).ok_or(OrderError::NotFound)
    }

    /// A page of orders, newest first, and the cursor of the next page.
    pub(crate) async fn list(
        &self,
        scope: &Scope,
        limit: Limit,
        after: Option<&Cursor>,
    ) -> Result<(Vec<Order>, Option<String>)> {
        let (orders, rows) = self.store.list(scope, limit, after).await?;
        Ok(page(orders, rows, limit, |last| Cursor {
            order: LIST_ORDER.to_owned(),
            key: last.created_at.ms().to_string(),
            id: last.id.to_string(),
        }))
    }

    /// Marks an order as shipped or delivered.
    pub(crate) async fn advance_to(
        &self,
        context: &Context,
        order: &Order,
        to: Status,
    ) -> Result<Order> {
        let refused = |from: Status| OrderError::IllegalTransition(from, to);
        let (now, from) = (self.ports.now(), order.status);
        // Only a decision about the return leads from `return_requested` back to `delivered`.
        if !from.may_become(to) || from == Status::ReturnRequested {
            return Err(refused(from));
        }
        if to == Status::Shipped && self.is_refunded(context, order).await {
            return Err(OrderError::Refunded);
        }
        let done = self.store.advance_to(context, &order.id, from, to, now);
        let done = done.await?;
        let stored = self.store.order(&order.id).await?;
        let stored = stored.ok_or(OrderError::NotFound)?;
        if done {
            Ok(stored)
        } else {
            Err(refused(stored.status))
        }
    }

    /// Whether the whole payment of an order was given back. The event about it may still be on its way, so the payment
    /// itself is asked; without the payment service, what the order knows counts.
    async fn is_refunded(&self, context: &Context, order: &Order) -> bool {
        let Some((payment, known)) = &order.payment else {
            return false;
        };
        match self.links.settle(&context.as_system(), payment).await {
            Ok(payment) => payment.status == PaymentStatus::Refunded,
            Err(LinkError::PaymentEnded) => true,
            Err(_) => *known == PaymentStatus::Refunded,
        }
    }

    /// Records that a payment was refunded.
    pub(crate) async fn refunded(&self, event: &Event, payment: &PaymentChanged) -> Result<()> {
        let now = self.ports.now();
        Ok(self.store.refunded(event, payment, now).await?)
    }

    /// Resumes an order whose payment was decided, if the order waits for it.
    pub(crate) async fn payment_decided(&self, context: &Context, id: &Id) -> Result<()> {
        if !self.store.waits_for_provider(id).await? || !self.lease(id).await? {
            return Ok(());
        }
        let Some(order) = self.store.order(id).await? else {
            return Ok(());
        };
        match self.advance(context, order).await {
            Ok(_) | Err(OrderError::Failed(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// The capability that a guest gets for an order.
    pub(crate) fn guest_token(&self, order: &Order) -> String {
        capability(&self.settings.order_token_key, order.id.as_str())
    }

    /// Whether a token is the capability for an order.
    fn is_guest_token(&self, order: &Order, token: &str) -> bool {
        is_capability(&self.settings.order_token_key, order.id.as_str(), token)
    }

    /// Claims an idempotency key, or returns what the key was used for.
    pub(crate) async fn claim(&self, name: &str, fingerprint: &str) -> Result<Claim> {
        let now = self.ports.now();
        let (lease, end) = (
            now.plus_ms(LEASE_MS),
            now.plus_ms(self.settings.idempotency_ttl_ms),
        );
        Ok(self
            .store
            .claim(name, fingerprint, &self.ports.new_id(), now, lease, end)
            .await?)
    }

    /// Stores the answer of a key, or releases the key if there is no answer to store.
    pub(crate) async fn conclude(
        &self,
        name: &str,
        order_id: &Id,
        answer: Option<String>,
    ) -> Result<()> {
        match answer {
            Some(answer) => Ok(self.store.store_answer(name, order_id, &answer).await?),
            None => Ok(self.store.release_key(name, order_id).await?),
        }
    }

    /// Creates the order with this id from a cart, or resumes it.
    pub(crate) async fn checkout(
        &self,
        context: &Context,
        id: &Id,
        checkout: &Checkout,
    ) -> Result<Order> {
        for _ in 0..CART_ATTEMPTS {
            // Most orders are new, so a cheap check precedes reading the whole order.
            let known = match self.store.exists(id).await? {
                true => self.store.order(id).await?,
                false => None,
            };
            let written = match known {
                Some(order) => self.lease_and_read(order).await,
                None => self.write_order(context, id, checkout).await,
            };
            let advanced = match written {
                Ok(order) => self.advance(context, order).await,
                Err(error) => Err(error),
            };
            match advanced {
                Err(OrderError::Link(LinkError::CartChanged)) => self.store.forget(id).await?,
                Err(OrderError::Link(LinkError::CartCompleted(other))) => {
                    self.store.forget(id).await?;
                    return Err(OrderError::CartCompleted(other));
                }
                other => return other,
            }
        }
        Err(OrderError::Busy)
    }

    /// Prices the cart and writes the order. Changes nothing outside the database of this service.
    async fn write_order(&self, context: &Context, id: &Id, checkout: &Checkout) -> Result<Order> {
        let cart =
            self.links
                .cart(context, &checkout.cart_id)
                .await
                .map_err(|error| match error {
                    LinkError::NotFound => OrderError::CartNotFound,
                    other => other.into(),
                })?;
        if let Some(other) = cart.order_id.as_ref().filter(|other| *other != id) {
            let alive = self
                .store
                .order(other)
                .await?
                .is_none_or(|order| order.status != Status::Failed);
            if alive {
                return Err(OrderError::CartCompleted(other.clone()));
            }
            // An earlier checkout failed and stopped before it reopened the cart.
            self.links
                .reopen_cart(&context.as_system(), &cart.id, other)
                .await?;
            return Err(OrderError::Link(LinkError::CartChanged));
        }
        let ids: Vec<Id> = cart
            .lines
            .iter()
            .map(|line| line.product_id.clone())
            .collect();
        let products = self.links.products(context, &ids).await?;
        let (items, categories) = itemise(&cart, &products).map_err(OrderError::Pricing)?;
        let customer = checkout.customer_id.as_deref();
        let order = (cart.currency, customer, &checkout.shipping_address);
        let priced = price(items, &categories, order, &self.links);
        let priced = priced.map_err(OrderError::Pricing)?;
        for (flag, reason) in priced.flags.iter().zip(&priced.reasons) {
            // The host counts the rejection as an error of the policy, which ends the watch of a bad one.
            let fields = [
                ("flag", flag.name()),
                ("rejected", flag.policy()),
                ("reason", reason.as_str()),
            ];
            log::write(
                Level::Warn,
                &context.trace_parent,
                "a policy gave no valid decision",
                &fields,
            );
        }
        if let Some(expected) = checkout
            .expected_total
            .filter(|expected| *expected != priced.totals.total)
        {
            return Err(OrderError::PriceChanged {
                expected,
                total: priced.totals.total,
            });
        }
        let email = match (&checkout.email, &checkout.customer_id) {
            (Some(email), _) => email.clone(),
            (None, Some(user)) => self.links.email(&context.as_system(), user).await?,
            (None, None) => return Err(OrderError::NoEmail),
        };
        let now = self.ports.now();
        let mut order = Order {
            id: id.clone(),
            number: number(id),
            cart_id: cart.id,
            cart_version: cart.version,
            customer_id: checkout.customer_id.clone(),
            status: Status::Pending,
            email,
            items: priced.items,
            totals: priced.totals,
            flags: priced.flags,
            shipping_address: checkout.shipping_address.clone(),
            billing_address: checkout.billing_address.clone(),
            payment: None,
            payment_token: Some(checkout.payment_token.clone()),
            failure: None,
            cancelling: false,
            cancel_reason: None,
            reserve_until: now.plus_ms(self.settings.reservation_ttl_ms),
            history: Vec::new(),
            returns: Vec::new(),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        match self.store.insert(&order, now.plus_ms(LEASE_MS)).await? {
            Inserted::Done => {}
            Inserted::CartTaken(other) => return Err(OrderError::CartCompleted(other)),
        }
        point("order.created").await;
        order.history.push(Step {
            status: Status::Pending,
            at: now,
            reason: None,
        });
        Ok(order)
    }

    /// Cancels an order: reverses the payment and returns the stock.
    pub(crate) async fn cancel(
        &self,
        context: &Context,
        order: Order,
        reason: Option<String>,
    ) -> Result<Order> {
        if !order.status.may_become(Status::Cancelled) {
            return Err(OrderError::IllegalTransition(
                order.status,
                Status::Cancelled,
            ));
        }
        self.wait_for_lease(&order.id).await?;
        let order = self
            .store
            .order(&order.id)
            .await?
            .ok_or(OrderError::NotFound)?;
        if !order.status.may_become(Status::Cancelled) {
            self.store.release_lease(&order.id).await?;
            return Err(OrderError::IllegalTransition(
                order.status,
                Status::Cancelled,
            ));
        }
        let requested = self
            .store
            .request_cancellation(&order.id, reason.as_deref(), self.ports.now())
            .await?;
        point("order.cancelling").await;
        let order = self
            .store
            .order(&order.id)
            .await?
            .ok_or(OrderError::NotFound)?;
        if !requested && !order.cancelling && order.status != Status::Cancelled {
            // The order was shipped concurrently.
            self.store.release_lease(&order.id).await?;
            return Err(OrderError::IllegalTransition(
                order.status,
                Status::Cancelled,
            ));
        }
        self.advance(context, order).await
    }

    /// Resumes unfinished orders and deletes expired keys; returns the number of orders.
    pub(crate) async fn sweep(&self, context: &Context) -> Result<usize> {
        let now = self.ports.now();
        self.store.forget_expired_keys(now).await?;
        let unfinished = self.store.unfinished(now, SWEEP_ORDERS).await?;
        for id in &unfinished {
            if !self.lease(id).await? {
                continue;
            }
            let Some(order) = self.store.order(id).await? else {
                continue;
            };
            let outcome = match self.advance(context, order.clone()).await {
                Err(OrderError::Link(LinkError::CartChanged | LinkError::CartCompleted(_))) => {
                    self.fail(context, order, Failure::CartChanged).await
                }
                other => other,
            };
            if let Err(OrderError::Link(_) | OrderError::Sql(_)) = outcome {
                // A later sweep tries again. The delay lets other orders come first.
                self.store.postpone(id, now.plus_ms(LEASE_MS)).await?;
            }
        }
        Ok(unfinished.len())
    }

    async fn lease(&self, id: &Id) -> Result<bool> {
        let now = self.ports.now();
        Ok(self.store.lease(id, now, now.plus_ms(LEASE_MS)).await?)
    }

    /// Gets the lease of an order; waits for at most [`LEASE_WAIT`].
    async fn wait_for_lease(&self, id: &Id) -> Result<()> {
        let wait = i64::try_from(LEASE_WAIT.as_millis()).unwrap_or(i64::MAX);
        let give_up = self.ports.now().plus_ms(wait);
        while !self.lease(id).await? {
            if self.ports.now() > give_up {
                return Err(OrderError::Busy);
            }
            self.ports.sleep(LEASE_POLL).await;
        }
        Ok(())
    }

    async fn lease_and_read(&self, order: Order) -> Result<Order> {
        if order.status != Status::Pending || self.lease(&order.id).await? {
            return self
                .store
                .order(&order.id)
                .await?
                .ok_or(OrderError::NotFound);
        }
        Err(OrderError::Busy)
    }
}
