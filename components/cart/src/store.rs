//! Storage of carts: guests' carts in the short-lived store ([`guests`]), users' carts in SQL ([`users`]). A cart is written
//! only over the version that was read.

mod guests;
mod users;

use crate::domain::Cart;
use guests::Guests;
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::short_lived::{ShortLived, StoreError};
use localmart_guest::sql::{Database, SqlError};
use users::Users;

/// Why a cart cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StorageError {
    #[error(transparent)]
    ShortLived(#[from] StoreError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

type Result<T> = std::result::Result<T, StorageError>;

pub(crate) struct Store<D, K> {
    guests: Guests<K>,
    users: Users<D>,
}

/// A cart as it was read, for a later write.
pub(crate) struct StoredCart {
    pub(crate) cart: Cart,
    /// The stored bytes of a guest's cart, for compare-and-swap. Empty for a user's cart, whose version serves.
    bytes: Vec<u8>,
}

impl<D: Database, K: ShortLived> Store<D, K> {
    pub(crate) fn new(database: D, values: K) -> Self {
        Self {
            guests: Guests::new(values),
            users: Users::new(database),
        }
    }

    /// Reads any cart. Guests' carts are tried first, because most carts are theirs. A user's cart is found even if the store
    /// of guests' carts is unavailable.
    pub(crate) async fn read(&self, id: &Id, now: Timestamp) -> Result<Option<StoredCart>> {
        let guests = match self.guests.read(id, now).await {
            Ok(Some(read)) => return Ok(Some(read)),
            other => other,
        };
        match self.read_users(id, now).await? {
            Some(read) => Ok(Some(read)),
            None => Ok(guests?),
        }
    }

    /// Reads any cart. Users' carts are tried first, so that a user's cart needs no access to the short-lived store.
    pub(crate) async fn read_for_user(
        &self,
        id: &Id,
        now: Timestamp,
    ) -> Result<Option<StoredCart>> {
        match self.read_users(id, now).await? {
            Some(read) => Ok(Some(read)),
            None => Ok(self.guests.read(id, now).await?),
        }
    }

    /// Reads a guest's cart.
    pub(crate) async fn read_guests(&self, id: &Id, now: Timestamp) -> Result<Option<StoredCart>> {
        Ok(self.guests.read(id, now).await?)
    }

    async fn read_users(&self, id: &Id, now: Timestamp) -> Result<Option<StoredCart>> {
        let found = self.users.read(id, now).await?;
        Ok(found.map(|cart| StoredCart {
            cart,
            bytes: Vec::new(),
        }))
    }

    /// Writes a new cart; `false` if a concurrent request created a conflicting one.
    pub(crate) async fn create(&self, cart: &Cart, now: Timestamp) -> Result<bool> {
        match &cart.owner {
            None => Ok(self.guests.write(cart, None, now).await?),
            Some(owner) => Ok(self.users.create(cart, owner, now).await?),
        }
    }

    /// Writes a changed cart; `false` if the stored cart has changed since it was read.
    pub(crate) async fn write(
        &self,
        cart: &Cart,
        previous: &StoredCart,
        now: Timestamp,
    ) -> Result<bool> {
        match &cart.owner {
            None => Ok(self.guests.write(cart, Some(&previous.bytes), now).await?),
            Some(owner) => Ok(self.users.write(cart, owner, previous.cart.version).await?),
        }
    }

    /// The user's current cart.
    pub(crate) async fn mine(&self, owner: &str, now: Timestamp) -> Result<Option<Cart>> {
        Ok(self.users.mine(owner, now).await?)
    }

    /// Whether this guest's cart was merged into a cart of the user.
    pub(crate) async fn is_merged(&self, guest: &Id, owner: &str) -> Result<bool> {
        Ok(self.users.is_merged(guest, owner).await?)
    }

    /// Writes a user's cart after a merge. `None` if the cart has changed since it was read, `false` if the guest's cart was
    /// merged before.
    pub(crate) async fn merge(
        &self,
        cart: &Cart,
        previous: u64,
        guest: &Id,
        now: Timestamp,
    ) -> Result<Option<bool>> {
        Ok(self.users.merge(cart, previous, guest, now).await?)
    }

    pub(crate) async fn delete(&self, cart: &Cart) -> Result<()> {
        match &cart.owner {
            None => Ok(self.guests.delete(&cart.id).await?),
            Some(_) => Ok(self.users.delete(&cart.id).await?),
        }
    }

    /// Deletes expired carts of users, and the records of merges older than `merged_before`. Guests' carts expire by themselves.
    pub(crate) async fn sweep(&self, now: Timestamp, merged_before: Timestamp) -> Result<u64> {
        Ok(self.users.sweep(now, merged_before).await?)
    }
}
