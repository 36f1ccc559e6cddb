//! A cart, its rules, and the links that the service needs. No clock, no I/O.

use localmart_guest::kernel::{Asker, Currency, Id, Money, MoneyError, Timestamp};
use localmart_guest::wit::Context;

/// The largest quantity of a line.
pub(crate) const MAX_QUANTITY: u32 = 99;
/// The largest number of lines in a cart.
pub(crate) const MAX_LINES: usize = 100;

/// A line: a product and a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) product_id: Id,
    pub(crate) quantity: u32,
}

/// A cart as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cart {
    pub(crate) id: Id,
    /// The user who owns the cart; `None` for a guest's cart, which whoever knows its id may use.
    pub(crate) owner: Option<String>,
    pub(crate) currency: Currency,
    pub(crate) lines: Vec<Line>,
    pub(crate) order_id: Option<Id>,
    /// The user into whose cart this guest's cart was merged. A merged cart is visible to nobody.
    pub(crate) merged_by: Option<String>,
    pub(crate) version: u64,
    pub(crate) updated_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Why a change to the lines is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("at most {MAX_QUANTITY} of one product")]
    QuantityLimit,
    #[error("at most {MAX_LINES} products")]
    CartFull,
}

impl Cart {
    /// Adds pieces to the line of a product, or adds a line.
    pub(crate) fn add(&mut self, product_id: &Id, quantity: u32) -> Result<(), LineError> {
        let known = self
            .lines
            .iter()
            .find(|line| line.product_id == *product_id);
        let sum = known
            .map_or(0, |line| line.quantity)
            .saturating_add(quantity);
        self.set(product_id, sum)
    }

    /// Sets the quantity of a product; 0 removes the line.
    pub(crate) fn set(&mut self, product_id: &Id, quantity: u32) -> Result<(), LineError> {
        if quantity == 0 {
            self.lines.retain(|line| line.product_id != *product_id);
            return Ok(());
        }
        if quantity > MAX_QUANTITY {
            return Err(LineError::QuantityLimit);
        }
        let full = self.lines.len() >= MAX_LINES;
        match self
            .lines
            .iter_mut()
            .find(|line| line.product_id == *product_id)
        {
            Some(line) => line.quantity = quantity,
            None if full => return Err(LineError::CartFull),
            None => self.lines.push(Line {
                product_id: product_id.clone(),
                quantity,
            }),
        }
        Ok(())
    }

    /// Adds the lines of another cart, capped at [`MAX_QUANTITY`] and [`MAX_LINES`].
    pub(crate) fn merge_lines(&mut self, lines: &[Line]) {
        for line in lines {
            let sum = self
                .quantity_of(&line.product_id)
                .saturating_add(line.quantity);
            // If the cart is full, further products are dropped.
            let _ = self.set(&line.product_id, sum.min(MAX_QUANTITY));
        }
    }

    /// Whether this asker may read and change the cart. A guest's cart is open to everybody who knows its id, a user's cart
    /// to the user, and all carts to the system.
    pub(crate) fn is_open_to(&self, asker: &Asker) -> bool {
        match &self.owner {
            _ if self.merged_by.is_some() => false,
            None => true,
            Some(owner) => *asker == Asker::System || asker.is_user(owner),
        }
    }

    pub(crate) fn quantity_of(&self, product_id: &Id) -> u32 {
        let line = self
            .lines
            .iter()
            .find(|line| line.product_id == *product_id);
        line.map_or(0, |line| line.quantity)
    }
}

/// A product as the catalog describes it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: Id,
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) price: Money,
    pub(crate) published: bool,
}

/// A line at the current price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PricedLine {
    pub(crate) product: Product,
    pub(crate) quantity: u32,
    pub(crate) line_total: Money,
    pub(crate) available: u64,
    /// Whether the line can be ordered: the product is published, and sold in the currency of the cart.
    pub(crate) for_sale: bool,
}

/// A cart at current prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PricedCart {
    pub(crate) cart: Cart,
    pub(crate) lines: Vec<PricedLine>,
    pub(crate) subtotal: Money,
}

/// Prices a cart. A line that can no longer be ordered stays visible, so that it can be removed, and does not count. A line
/// whose product is missing from the catalog is left out.
pub(crate) fn price(
    cart: Cart,
    products: &[Product],
    available: &[(Id, u64)],
) -> Result<PricedCart, MoneyError> {
    let mut subtotal = Money::zero(cart.currency);
    let mut lines = Vec::with_capacity(cart.lines.len());
    for line in &cart.lines {
        let Some(product) = products
            .iter()
            .find(|product| product.id == line.product_id)
        else {
            continue;
        };
        let line_total = product.price.times(line.quantity)?;
        let for_sale = product.published && product.price.currency() == cart.currency;
        if for_sale {
            subtotal = subtotal.plus(line_total)?;
        }
        let stock = available
            .iter()
            .find(|(id, _)| *id == line.product_id)
            .map_or(0, |(_, available)| *available);
        lines.push(PricedLine {
            product: product.clone(),
            quantity: line.quantity,
            line_total,
            available: if for_sale { stock } else { 0 },
            for_sale,
        });
    }
    Ok(PricedCart {
        cart,
        lines,
        subtotal,
    })
}

/// A linked service failed or is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a linked service is not available: {0}")]
pub(crate) struct LinkError(pub(crate) String);

/// The links of the cart service.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub(crate) trait Links {
    /// The products with these ids, published or not.
    async fn products(&self, context: &Context, ids: &[Id]) -> Result<Vec<Product>, LinkError>;
    /// The number of unreserved pieces of each product.
    async fn available(&self, context: &Context, ids: &[Id]) -> Result<Vec<(Id, u64)>, LinkError>;
}
