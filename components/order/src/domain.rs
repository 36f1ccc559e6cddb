//! An order. [`pricing`] says what it comes to, [`status`] has its graph, [`returns`] what can be given back, [`links`] what
//! checkout needs of others. No clock, no I/O.

pub(crate) mod links;
pub(crate) mod pricing;
pub(crate) mod returns;
pub(crate) mod status;

use localmart_guest::kernel::{Address, Id, Money, MoneyError, Timestamp};
use links::{CartSnapshot, Product};
use pricing::Flag;
use returns::Return;
use status::Status;

/// What somebody asks for at checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkout {
    pub(crate) cart_id: Id,
    /// The user who buys; a guest is nobody.
    pub(crate) customer_id: Option<String>,
    /// A guest says it; of a user it is known.
    pub(crate) email: Option<String>,
    pub(crate) shipping_address: Address,
    pub(crate) billing_address: Address,
    pub(crate) payment_token: String,
    pub(crate) expected_total: Option<Money>,
}

/// A bought line. It keeps what was true when it was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) product_id: Id,
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) unit_price: Money,
    pub(crate) quantity: u32,
    pub(crate) line_total: Money,
    /// Its part of the order's discount.
    pub(crate) discount: Money,
    /// Its part of the order's tax.
    pub(crate) tax: Money,
}

/// What an order comes to; every field in its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) subtotal: Money,
    pub(crate) discount: Money,
    pub(crate) shipping: Money,
    pub(crate) tax: Money,
    pub(crate) total: Money,
}

/// A step of an order's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) status: Status,
    pub(crate) at: Timestamp,
    pub(crate) reason: Option<String>,
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The card was refused, in the provider's words.
    Declined(String),
    /// Not enough stock; what was short, for the shopper.
    Insufficient(Vec<ShortLine>),
    /// The cart is not what it was.
    CartChanged,
}

/// A line there was not enough of.
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
    /// Decisions of its price that were not made.
    pub(crate) flags: Vec<Flag>,
    pub(crate) shipping_address: Address,
    pub(crate) billing_address: Address,
    pub(crate) payment: Option<(Id, String)>,
    /// Kept until the payment is decided, so that the checkout can be resumed.
    pub(crate) payment_token: Option<String>,
    pub(crate) failure: Option<Failure>,
    /// Somebody asked for it to be called off; the undoing may still be under way.
    pub(crate) cancelling: bool,
    pub(crate) cancel_reason: Option<String>,
    pub(crate) reserve_until: Timestamp,
    pub(crate) history: Vec<Step>,
    /// In the order in which they were asked for.
    pub(crate) returns: Vec<Return>,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Why a cart cannot become an order as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PricingError {
    /// Nothing in it.
    Empty,
    /// A line is no longer sold; its place in the cart.
    NotSold(usize),
    /// A line is now sold in another currency; its place in the cart.
    OtherCurrency(usize),
    /// The sum does not fit.
    Overflow,
}

impl From<MoneyError> for PricingError {
    fn from(_: MoneyError) -> Self {
        Self::Overflow
    }
}

/// Turns the lines of a cart into items at current prices, and says what category each is of.
pub(crate) fn itemise(
    cart: &CartSnapshot,
    products: &[Product],
) -> Result<(Vec<Item>, Vec<String>), PricingError> {
    if cart.lines.is_empty() {
        return Err(PricingError::Empty);
    }
    let (mut items, mut categories) = (Vec::new(), Vec::new());
    for (place, line) in cart.lines.iter().enumerate() {
        let product = products
            .iter()
            .find(|product| product.id == line.product_id && product.published);
        let product = product.ok_or(PricingError::NotSold(place))?;
        if product.price.currency() != cart.currency {
            return Err(PricingError::OtherCurrency(place));
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

/// The number people read out: `LM-` and ten characters of Crockford's base 32, from the random end of the id.
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
