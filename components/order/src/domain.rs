//! An order. [`pricing`] computes its price, [`status`] has the status graph, [`returns`] computes refunds, [`links`] declares
//! the calls to other services. No clock, no I/O.

pub(crate) mod links;
pub(crate) mod pricing;
pub(crate) mod returns;
pub(crate) mod status;

use links::{CartSnapshot, PaymentStatus, Product};
use localmart_guest::kernel::{Address, Asker, Id, Money, MoneyError, Timestamp};
use pricing::Flag;
use returns::Return;
use status::Status;

/// A request for a checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkout {
    pub(crate) cart_id: Id,
    /// The user who buys; `None` for a guest.
    pub(crate) customer_id: Option<String>,
    /// Required for a guest. For a user the default is the address of the account.
    pub(crate) email: Option<String>,
    pub(crate) shipping_address: Address,
    pub(crate) billing_address: Address,
    pub(crate) payment_token: String,
    pub(crate) expected_total: Option<Money>,
}

/// A line of an order. It keeps name and price from the time of the purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) product_id: Id,
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) unit_price: Money,
    pub(crate) quantity: u32,
    pub(crate) line_total: Money,
    /// The discount on this line.
    pub(crate) discount: Money,
    /// The tax on this line.
    pub(crate) tax: Money,
}

/// The amounts of an order, all in its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) subtotal: Money,
    pub(crate) discount: Money,
    pub(crate) shipping: Money,
    pub(crate) tax: Money,
    pub(crate) total: Money,
}

/// An entry in the status history of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) status: Status,
    pub(crate) at: Timestamp,
    pub(crate) reason: Option<String>,
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The card was refused, with the provider's explanation.
    Declined(String),
    /// There was not enough stock; the lines that are short, for the shopper.
    Insufficient(Vec<ShortLine>),
    /// The cart was changed during checkout.
    CartChanged,
}

/// A line without enough stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShortLine {
    pub(crate) product_id: Id,
    pub(crate) requested: u32,
    pub(crate) available: u64,
}

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: Id,
    pub(crate) number: String,
    pub(crate) cart_id: Id,
    pub(crate) cart_version: u64,
    pub(crate) customer_id: Option<String>,
    pub(crate) status: Status,
    pub(crate) email: String,
    pub(crate) items: Vec<Item>,
    pub(crate) totals: Totals,
    /// The policies that gave no valid decision about the price.
    pub(crate) flags: Vec<Flag>,
    pub(crate) shipping_address: Address,
    pub(crate) billing_address: Address,
    pub(crate) payment: Option<(Id, PaymentStatus)>,
    /// The token of the payment provider, kept until the payment is decided, so that the checkout can be resumed.
    pub(crate) payment_token: Option<String>,
    pub(crate) failure: Option<Failure>,
    /// Whether a cancellation was requested. It may still be in progress.
    pub(crate) cancelling: bool,
    pub(crate) cancel_reason: Option<String>,
    pub(crate) reserve_until: Timestamp,
    pub(crate) history: Vec<Step>,
    /// The returns, in the order in which they were requested.
    pub(crate) returns: Vec<Return>,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl Order {
    /// Whether somebody may see and change the order: those who run the shop, its user, and whoever holds its token, which
    /// the guest got who ordered.
    pub(crate) fn is_open_to(&self, asker: &Asker, holds_token: bool) -> bool {
        let owner = self.customer_id.as_deref();
        asker.runs_the_shop() || holds_token || owner.is_some_and(|owner| asker.is_user(owner))
    }
}

/// Why a cart cannot be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PricingError {
    /// The cart is empty.
    Empty,
    /// A product is no longer sold; the index of its line.
    NotSold(usize),
    /// A product is now sold in another currency; the index of its line.
    OtherCurrency(usize),
    /// The total is larger than the largest amount.
    Overflow,
}

impl From<MoneyError> for PricingError {
    fn from(_: MoneyError) -> Self {
        Self::Overflow
    }
}

/// Converts the lines of a cart to items at current prices; also returns the category of each item.
pub(crate) fn itemise(
    cart: &CartSnapshot,
    products: &[Product],
) -> Result<(Vec<Item>, Vec<String>), PricingError> {
    if cart.lines.is_empty() {
        return Err(PricingError::Empty);
    }
    let (mut items, mut categories) = (Vec::new(), Vec::new());
    for (index, line) in cart.lines.iter().enumerate() {
        let product = products
            .iter()
            .find(|product| product.id == line.product_id && product.published);
        let product = product.ok_or(PricingError::NotSold(index))?;
        if product.price.currency() != cart.currency {
            return Err(PricingError::OtherCurrency(index));
        }
        categories.push(product.category.clone());
        items.push(Item {
            product_id: product.id.clone(),
            sku: product.sku.clone(),
            name: product.name.clone(),
            unit_price: product.price,
            quantity: line.quantity,
            line_total: product.price.times(line.quantity)?,
            discount: Money::zero(cart.currency),
            tax: Money::zero(cart.currency),
        });
    }
    Ok((items, categories))
}

/// The order number for people: `LM-` and ten characters of Crockford's base 32, from the random end of the id.
pub(crate) fn number(id: &Id) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let tail = id.as_str().rsplit('-').next().unwrap_or_default();
    let mut bits = u64::from_str_radix(tail, 16).unwrap_or_default();
    let mut letters = [b'0'; 10];
    for letter in letters.iter_mut().rev() {
        *letter = usize::try_from(bits % 32)
            .ok()
            .and_then(|at| ALPHABET.get(at))
            .copied()
            .unwrap_or(b'0');
        bits /= 32;
    }
    format!("LM-{}", String::from_utf8_lossy(&letters))
}
