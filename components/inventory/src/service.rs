//! The operations of inventory: one function each, independent of HTTP and SQL.

use crate::DECLARED;
use crate::domain::{Level, Line, LinkError, Links, Shortage};
use crate::store::{Adjustment, Reserved, StockChange, Store};
use localmart_guest::config::ConfigError;
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::ports::Ports;
use localmart_guest::service::Wire;
use localmart_guest::sql::{Database, SqlError};
use localmart_guest::wit::Context;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InventoryError {
    #[error("there is no such product")]
    ProductNotFound,
    #[error("not enough stock")]
    Insufficient(Vec<Shortage>),
    #[error("the reservation was released or has expired")]
    ReservationLost,
    #[error("the order does not contain that many pieces")]
    NotSold,
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

type Result<T> = std::result::Result<T, InventoryError>;

/// For how many orders one sweep releases expired reservations.
const SWEEP_ORDERS: u32 = 500;

/// The operations of inventory.
pub(crate) struct Inventory<D, L> {
    store: Store<D>,
    links: L,
    ports: Ports,
}

impl<D, L> Wire for Inventory<D, L>
where
    D: Database + From<&'static str>,
    L: Links + Default + 'static,
{
    async fn wire(ports: Ports) -> std::result::Result<Self, ConfigError> {
        Ok(Self::new(D::from(DECLARED.noun), L::default(), ports))
    }
}

impl<D: Database, L: Links> Inventory<D, L> {
    pub(crate) fn new(database: D, links: L, ports: Ports) -> Self {
        Self {
            store: Store::new(database),
            links,
            ports,
        }
    }

    /// The stock of a product; zeros for a product without stock.
    pub(crate) async fn level(&self, context: &Context, product_id: &str) -> Result<Level> {
        let id = Id::parse(product_id).ok_or(InventoryError::ProductNotFound)?;
        if let Some(level) = self.store.level(&id).await? {
            return Ok(level);
        }
        self.must_exist(context, &id).await?;
        Ok(Level::none(id))
    }

    /// The stock of these products; zeros for products without stock.
    pub(crate) async fn levels(&self, product_ids: &[Id]) -> Result<Vec<Level>> {
        Ok(self.store.levels(product_ids).await?)
    }

    /// Adds pieces to the stock or removes unreserved pieces. An adjustment with a name happens once per name.
    pub(crate) async fn adjust(
        &self,
        context: &Context,
        product_id: &str,
        delta: i64,
        reason: &str,
        name: Option<&str>,
    ) -> Result<Level> {
        let id = Id::parse(product_id).ok_or(InventoryError::ProductNotFound)?;
        if self.store.level(&id).await?.is_none() {
            self.must_exist(context, &id).await?;
        }
        let adjustment = Adjustment {
            product: &id,
            delta,
            reason,
            name: name.map(|name| format!("{product_id}/{name}")),
        };
        let adjusted = self
            .store
            .adjust(&adjustment, &self.change(context))
            .await?;
        match adjusted {
            Ok(level) => Ok(level),
            Err(level) => Err(InventoryError::Insufficient(vec![Shortage {
                product_id: id,
                requested: u32::try_from(delta.unsigned_abs()).unwrap_or(u32::MAX),
                available: level.available(),
            }])),
        }
    }

    /// Reserves all lines for an order, or none.
    pub(crate) async fn reserve(
        &self,
        context: &Context,
        order_id: &Id,
        lines: &[Line],
        expires_at: Timestamp,
    ) -> Result<()> {
        match self
            .store
            .reserve(
                order_id,
                &crate::domain::merged(lines),
                expires_at,
                &self.change(context),
            )
            .await?
        {
            Reserved::Done => Ok(()),
            Reserved::Short(shortages) => Err(InventoryError::Insufficient(shortages)),
        }
    }

    /// Makes a reservation a sale.
    pub(crate) async fn confirm(&self, context: &Context, order_id: &Id) -> Result<()> {
        if self.store.confirm(order_id, &self.change(context)).await? {
            Ok(())
        } else {
            Err(InventoryError::ReservationLost)
        }
    }

    /// Releases a reservation.
    pub(crate) async fn release(&self, order_id: &Id) -> Result<()> {
        Ok(self.store.release(order_id).await?)
    }

    /// Returns a whole sale to stock.
    pub(crate) async fn restock(&self, context: &Context, order_id: &Id) -> Result<()> {
        Ok(self.store.restock(order_id, &self.change(context)).await?)
    }

    /// Returns part of a sale to stock, once per return.
    pub(crate) async fn take_back(
        &self,
        context: &Context,
        order_id: &Id,
        return_id: &Id,
        lines: &[Line],
    ) -> Result<()> {
        let (lines, change) = (crate::domain::merged(lines), self.change(context));
        let taken = self.store.take_back(order_id, return_id, &lines, &change);
        if taken.await? {
            Ok(())
        } else {
            Err(InventoryError::NotSold)
        }
    }

    /// Releases expired reservations; returns the number of orders.
    pub(crate) async fn sweep(&self) -> Result<usize> {
        let expired = self.store.expired(self.ports.now(), SWEEP_ORDERS).await?;
        for order_id in &expired {
            self.store.release(order_id).await?;
        }
        Ok(expired.len())
    }

    fn change<'a>(&'a self, context: &'a Context) -> StockChange<'a> {
        StockChange {
            context,
            id: self.ports.new_id(),
            ports: &self.ports,
            at: self.ports.now(),
        }
    }

    async fn must_exist(&self, context: &Context, id: &Id) -> Result<()> {
        if self.links.exists(context, id).await? {
            Ok(())
        } else {
            Err(InventoryError::ProductNotFound)
        }
    }
}
