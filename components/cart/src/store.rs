//! Where carts are: a guest's in the short-lived store ([`guests`]), a user's in SQL ([`users`]). Either is written only over
//! the version that was read.

mod guests;
mod users;

use crate::domain::Cart;
use guests::Guests;
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::short_lived::{ShortLived, StoreError};
use localmart_guest::sql::{Database, SqlError};
use users::Users;

/// Why carts cannot be read or written.
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

/// A cart and what it was read from.
pub(crate) struct StoredCart {
    pub(crate) cart: Cart,
    /// Of a guest's cart the bytes; a user's has its version.
    bytes: Vec<u8>,
}

impl<D: Database, K: ShortLived> Store<D, K> {
    pub(crate) fn new(database: D, values: K) -> Self {
        Self {
            guests: Guests::new(values),
            users: Users::new(database),
        }
    }

    /// Any cart; guests' are looked for first, as most are theirs. A user's is found although the guests' store is away.
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

    /// Any cart, a user's first: the guests' store is asked only for a guest's.
    pub(crate) async fn read_for_user(&self, id: &Id, now: Timestamp) -> Result<Option<StoredCart>> {
        match self.read_users(id, now).await? {
            Some(read) => Ok(Some(read)),
            None => Ok(self.guests.read(id, now).await?),
        }
    }

    /// A guest's cart.
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

    /// `false` if somebody was faster, or, of a user's, if another is `mine`.
    pub(crate) async fn create(&self, cart: &Cart, now: Timestamp) -> Result<bool> {
        match &cart.owner {
            None => Ok(self.guests.write(cart, None, now).await?),
            Some(owner) => Ok(self.users.create(cart, owner, now).await?),
        }
    }

    /// `false` if somebody was faster.
    pub(crate) async fn write(&self, cart: &Cart, previous: &StoredCart, now: Timestamp) -> Result<bool> {
        match &cart.owner {
            None => Ok(self.guests.write(cart, Some(&previous.bytes), now).await?),
            Some(owner) => Ok(self.users.write(cart, owner, previous.cart.version).await?),
        }
    }

    /// The cart that a user calls `mine`.
    pub(crate) async fn mine(&self, owner: &str, now: Timestamp) -> Result<Option<Cart>> {
        Ok(self.users.mine(owner, now).await?)
    }

    /// Whether this guest cart became part of the user's.
    pub(crate) async fn is_merged(&self, guest: &Id, owner: &str) -> Result<bool> {
        Ok(self.users.is_merged(guest, owner).await?)
    }

    /// Writes a user's cart with what came of a guest's; `None` if somebody changed it meanwhile, `false` if that guest's
    /// cart had come before.
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

    /// Removes what has expired; `merged_before` is when a merge is old enough to be forgotten.
    pub(crate) async fn sweep(&self, now: Timestamp, merged_before: Timestamp) -> Result<u64> {
        Ok(self.guests.sweep(now).await? + self.users.sweep(now, merged_before).await?)
    }
}
