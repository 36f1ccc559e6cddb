//! Calls to the linked services and policies over WIT, converted to the types of this component.

use crate::bindings::localmart::{
    cart::cart, catalog::catalog, discount::discount, inventory::inventory, payment::payment,
    shipping_rate::shipping_rate, tax::tax, user::user,
};
use crate::domain::links::{
    CartSnapshot, Line, LinkError, LinkResult, Links, Payment, PaymentStatus, Product, Refund,
};
use crate::domain::pricing::{Policies, PricingInput, Tax};
use crate::domain::{Item, ShortLine};
use localmart_guest::kernel::{Currency, Id, Money, Timestamp};
use localmart_guest::wit::Context;

/// The links to the other services and policies.
#[derive(Default)]
pub(crate) struct Linked;

impl Links for Linked {
    async fn products(&self, context: &Context, ids: &[Id]) -> LinkResult<Vec<Product>> {
        let (linked, _span) = context.linked("catalog.get-products");
        let ids = ids.iter().map(Id::to_string).collect();
        let products = catalog::get_products(linked, ids).await?;
        products.into_iter().map(product).collect()
    }

    async fn cart(&self, context: &Context, id: &Id) -> LinkResult<CartSnapshot> {
        let (linked, _span) = context.linked("cart.get");
        snapshot(cart::get(linked, id.to_string()).await?)
    }

    async fn complete_cart(
        &self,
        context: &Context,
        id: &Id,
        order: &Id,
        version: u64,
    ) -> LinkResult<()> {
        let (linked, _span) = context.linked("cart.complete");
        Ok(cart::complete(linked, id.to_string(), order.to_string(), version).await?)
    }

    async fn reopen_cart(&self, context: &Context, id: &Id, order: &Id) -> LinkResult<()> {
        let (linked, _span) = context.linked("cart.reopen");
        Ok(cart::reopen(linked, id.to_string(), order.to_string()).await?)
    }

    async fn reserve(
        &self,
        context: &Context,
        order: &Id,
        lines: &[Line],
        until: Timestamp,
    ) -> LinkResult<()> {
        let (linked, _span) = context.linked("inventory.reserve");
        let (order, until) = (order.to_string(), until.unsigned_ms());
        Ok(inventory::reserve(linked, order, to_wit(lines), until).await?)
    }

    async fn confirm(&self, context: &Context, order: &Id) -> LinkResult<()> {
        let (linked, _span) = context.linked("inventory.confirm");
        Ok(inventory::confirm(linked, order.to_string()).await?)
    }

    async fn release(&self, context: &Context, order: &Id) -> LinkResult<()> {
        let (linked, _span) = context.linked("inventory.release");
        Ok(inventory::release(linked, order.to_string()).await?)
    }

    async fn restock(&self, context: &Context, order: &Id) -> LinkResult<()> {
        let (linked, _span) = context.linked("inventory.restock");
        Ok(inventory::restock(linked, order.to_string()).await?)
    }

    async fn take_back(
        &self,
        context: &Context,
        order: &Id,
        return_id: &Id,
        lines: &[Line],
    ) -> LinkResult<()> {
        let (linked, _span) = context.linked("inventory.take-back");
        let (order, id) = (order.to_string(), return_id.to_string());
        Ok(inventory::take_back(linked, order, id, to_wit(lines)).await?)
    }

    async fn email(&self, context: &Context, id: &str) -> LinkResult<String> {
        let (linked, _span) = context.linked("user.get");
        Ok(user::get(linked, id.to_owned()).await?.email)
    }

    async fn authorize(
        &self,
        context: &Context,
        order: &Id,
        customer: Option<&str>,
        amount: Money,
        token: &str,
    ) -> LinkResult<Payment> {
        let (linked, _span) = context.linked("payment.authorize");
        paid(
            payment::authorize(
                linked,
                order.to_string(),
                customer.map(str::to_owned),
                amount.into(),
                token.to_owned(),
            )
            .await?,
        )
    }

    async fn capture(&self, context: &Context, id: &Id) -> LinkResult<Payment> {
        let (linked, _span) = context.linked("payment.capture");
        paid(payment::capture(linked, id.to_string()).await?)
    }

    async fn settle(&self, context: &Context, id: &Id) -> LinkResult<Payment> {
        let (linked, _span) = context.linked("payment.settle");
        paid(payment::settle(linked, id.to_string()).await?)
    }

    async fn refund(
        &self,
        context: &Context,
        id: &Id,
        name: &str,
        at_most: Money,
    ) -> LinkResult<Refund> {
        let (linked, _span) = context.linked("payment.give-back");
        let (id, name) = (id.to_string(), name.to_owned());
        let refund = payment::give_back(linked, id, name, at_most.into()).await?;
        let amount = Money::new(refund.amount, at_most.currency()).map_err(|_| invalid_answer())?;
        let payment = paid(refund.payment)?;
        Ok(Refund { amount, payment })
    }

    async fn reverse(&self, context: &Context, order: &Id) -> LinkResult<Option<Payment>> {
        let (linked, _find) = context.linked("payment.find");
        let (again, _span) = context.linked("payment.reverse");
        let found = match payment::find(linked, order.to_string()).await {
            Err(payment::Error::NotFound) => return Ok(None),
            found => found?,
        };
        paid(payment::reverse(again, found.id).await?).map(Some)
    }
}

impl Policies for Linked {
    fn discount(&self, order: &PricingInput<'_>) -> Result<Vec<u64>, String> {
        let lines = order.items.iter().zip(order.categories);
        let lines = lines.map(|(item, category)| discount::Line {
            product_id: item.product_id.to_string(),
            category: category.clone(),
            quantity: item.quantity,
            unit_price: item.unit_price.amount(),
            amount: item.line_total.amount(),
        });
        let question = discount::Question {
            currency: order.currency.code().to_owned(),
            customer_id: order.customer.map(str::to_owned),
            lines: lines.collect(),
        };
        discount::reduce(&question).map_err(|error| match error {
            discount::Error::Unavailable(reason) | discount::Error::Other(reason) => reason,
        })
    }

    fn shipping(&self, order: &PricingInput<'_>) -> Result<u64, String> {
        let question = shipping_rate::Question {
            country: order.destination.country.clone(),
            region: order.destination.region.clone(),
            postal_code: order.destination.postal_code.clone(),
            currency: order.currency.code().to_owned(),
            pieces: order.items.iter().map(|item| item.quantity).sum(),
            amount: order.items.iter().map(paid_for).sum(),
        };
        let methods = shipping_rate::methods(&question).map_err(|error| match error {
            shipping_rate::Error::Unavailable(reason) | shipping_rate::Error::Other(reason) => {
                reason
            }
        })?;
        let first = methods.first().map(|method| method.amount);
        first.ok_or_else(|| "the policy returned no shipping method".to_owned())
    }

    fn tax(&self, order: &PricingInput<'_>) -> Result<Tax, String> {
        let lines = order.items.iter().zip(order.categories);
        let lines = lines.map(|(item, category)| tax::Line {
            product_id: item.product_id.to_string(),
            category: category.clone(),
            quantity: item.quantity,
            amount: paid_for(item),
        });
        let question = tax::Question {
            country: order.destination.country.clone(),
            region: order.destination.region.clone(),
            postal_code: order.destination.postal_code.clone(),
            currency: order.currency.code().to_owned(),
            lines: lines.collect(),
            shipping: order.shipping,
        };
        let assessed = tax::assess(&question).map_err(|error| match error {
            tax::Error::Unavailable(reason) | tax::Error::Other(reason) => reason,
        })?;
        Ok(Tax {
            items: assessed.lines,
            shipping: assessed.shipping,
        })
    }
}

/// The price of an item after its discount.
fn paid_for(item: &Item) -> u64 {
    let (whole, off) = (item.line_total.amount(), item.discount.amount());
    whole.saturating_sub(off)
}

fn to_wit(lines: &[Line]) -> Vec<inventory::Line> {
    let line = |line: &Line| inventory::Line {
        product_id: line.product_id.to_string(),
        quantity: line.quantity,
    };
    lines.iter().map(line).collect()
}

fn invalid_answer() -> LinkError {
    LinkError::Unavailable("a linked service returned an invalid answer".to_owned())
}

fn id(text: &str) -> LinkResult<Id> {
    Id::parse(text).ok_or_else(invalid_answer)
}

fn product(product: catalog::Product) -> LinkResult<Product> {
    Ok(Product {
        id: id(&product.id)?,
        sku: product.sku,
        name: product.name,
        category: product.category,
        price: Money::try_from(product.price).map_err(|_| invalid_answer())?,
        published: product.published,
    })
}

fn snapshot(cart: cart::Cart) -> LinkResult<CartSnapshot> {
    let line = |line: cart::Line| {
        Ok(Line {
            product_id: id(&line.product_id)?,
            quantity: line.quantity,
        })
    };
    Ok(CartSnapshot {
        id: id(&cart.id)?,
        currency: Currency::parse(&cart.currency).map_err(|_| invalid_answer())?,
        lines: cart
            .lines
            .into_iter()
            .map(line)
            .collect::<LinkResult<_>>()?,
        order_id: cart.order_id.as_deref().map(id).transpose()?,
        version: cart.version,
    })
}

fn paid(payment: payment::Payment) -> LinkResult<Payment> {
    let status = match payment.status {
        payment::Status::Pending => PaymentStatus::Pending,
        payment::Status::Authorized => PaymentStatus::Authorized,
        payment::Status::Captured => PaymentStatus::Captured,
        payment::Status::PartiallyRefunded => PaymentStatus::PartiallyRefunded,
        payment::Status::Refunded => PaymentStatus::Refunded,
        payment::Status::Voided => PaymentStatus::Voided,
        payment::Status::Failed => PaymentStatus::Failed,
    };
    Ok(Payment {
        id: id(&payment.id)?,
        status,
        version: payment.version,
    })
}

impl From<catalog::Error> for LinkError {
    fn from(error: catalog::Error) -> Self {
        match error {
            catalog::Error::NotFound => Self::NotFound,
            catalog::Error::Unavailable(reason) | catalog::Error::Other(reason) => {
                Self::Unavailable(reason)
            }
        }
    }
}

impl From<cart::Error> for LinkError {
    fn from(error: cart::Error) -> Self {
        match error {
            cart::Error::NotFound => Self::NotFound,
            cart::Error::Completed(order) => {
                Id::parse(&order).map_or_else(invalid_answer, Self::CartCompleted)
            }
            cart::Error::Changed => Self::CartChanged,
            cart::Error::Unavailable(reason) | cart::Error::Other(reason) => {
                Self::Unavailable(reason)
            }
        }
    }
}

impl From<inventory::Error> for LinkError {
    fn from(error: inventory::Error) -> Self {
        let line = |short: inventory::Shortage| {
            Some(ShortLine {
                product_id: Id::parse(&short.product_id)?,
                requested: short.requested,
                available: short.available,
            })
        };
        match error {
            inventory::Error::Insufficient(short) => {
                Self::Insufficient(short.into_iter().filter_map(line).collect())
            }
            inventory::Error::ReservationLost => Self::ReservationLost,
            inventory::Error::NotSold => Self::Unavailable("inventory has no such sale".to_owned()),
            inventory::Error::Unavailable(reason) | inventory::Error::Other(reason) => {
                Self::Unavailable(reason)
            }
        }
    }
}

impl From<user::Error> for LinkError {
    fn from(error: user::Error) -> Self {
        match error {
            user::Error::NotFound => Self::NotFound,
            user::Error::Unavailable(reason) | user::Error::Other(reason) => {
                Self::Unavailable(reason)
            }
        }
    }
}

impl From<payment::Error> for LinkError {
    fn from(error: payment::Error) -> Self {
        match error {
            payment::Error::Declined(words) => Self::Declined(words),
            payment::Error::NoAnswer(pending) => {
                paid(pending).map_or_else(|error| error, Self::NoAnswer)
            }
            payment::Error::NotFound => Self::NotFound,
            payment::Error::IllegalState(_) => Self::PaymentEnded,
            payment::Error::Exceeds(_) => {
                Self::Unavailable("the payment has a different amount".to_owned())
            }
            payment::Error::Unavailable(reason) | payment::Error::Other(reason) => {
                Self::Unavailable(reason)
            }
        }
    }
}
