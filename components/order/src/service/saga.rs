//! The checkout saga and its compensation. Every step can be repeated: whoever finds an unfinished order runs all steps from
//! the start, and steps that were already done change nothing.

use super::{LEASE_MS, OrderError, Orders, Result};
use crate::domain::links::{Line, LinkError, Links, Payment, PaymentStatus};
use crate::domain::status::Status;
use crate::domain::{Failure, Order};
use localmart_guest::kernel::{Id, Timestamp};
use localmart_guest::log::{self, Level};
use localmart_guest::point;
use localmart_guest::sql::Database;
use localmart_guest::wit::Context;

/// The age at which a lease is renewed, in milliseconds.
const RENEW_AFTER_MS: i64 = 1_000;
/// How long stock stays reserved after the time of a reconciliation, so that the reconciliation can finish, in milliseconds.
const RECONCILE_TIME_MS: i64 = 60_000;

impl<D: Database, L: Links> Orders<D, L> {
    /// Runs a leased order as far as possible and releases the lease.
    pub(crate) async fn advance(&self, context: &Context, order: Order) -> Result<Order> {
        // Checkout changes stock, payment and cart with the authority of the system, not of the shopper.
        let context = context.as_system();
        let (id, was_pending) = (order.id.clone(), order.status == Status::Pending);
        let result = match (&order.failure, order.status, order.cancelling) {
            (_, Status::Pending | Status::Paid, true) => self.undo(&context, order).await,
            (None, Status::Pending, false) => self.check_out(&context, order).await,
            (_, Status::ReturnRequested, _) => self.take_back(&context, order).await,
            (Some(failure), Status::Failed, _) => {
                Err(OrderError::Failed(Box::new(failure.clone())))
            }
            _ => Ok(order),
        };
        // Marking an order as paid has already released its lease.
        let just_paid = matches!(&result, Ok(order) if was_pending && order.status == Status::Paid);
        if !just_paid {
            self.store.release_lease(&id).await?;
        }
        result
    }

    async fn check_out(&self, context: &Context, order: Order) -> Result<Order> {
        let id = &order.id;
        let mut since = self.ports.now();
        // A checkout that is resumed late gets the length of a lease for the remaining steps.
        let until = order.reserve_until.max(since.plus_ms(LEASE_MS));
        self.links
            .complete_cart(context, &order.cart_id, id, order.cart_version)
            .await?;
        point("order.completed").await;
        let line = |item: &crate::domain::Item| Line {
            product_id: item.product_id.clone(),
            quantity: item.quantity,
        };
        let lines: Vec<Line> = order.items.iter().map(line).collect();
        match self.links.reserve(context, id, &lines, until).await {
            Ok(()) => {}
            Err(LinkError::Insufficient(short)) => {
                return self
                    .fail(context, order, Failure::Insufficient(short))
                    .await;
            }
            Err(other) => return Err(other.into()),
        }
        point("order.reserved").await;
        self.renew(id, &mut since).await?;
        let payment = match self.authorize_payment(context, &order).await {
            Ok(payment) => payment,
            Err(LinkError::NoAnswer(payment)) => {
                return self
                    .wait_for_provider(context, order, payment, &lines)
                    .await;
            }
            Err(LinkError::Declined(words)) => {
                return self.fail(context, order, Failure::Declined(words)).await;
            }
            Err(LinkError::PaymentEnded) => {
                return self
                    .fail(
                        context,
                        order,
                        Failure::Declined("The payment was cancelled.".to_owned()),
                    )
                    .await;
            }
            Err(other) => return Err(other.into()),
        };
        point("order.authorized").await;
        self.renew(id, &mut since).await?;
        let payment = match self.links.capture(context, &payment.id).await {
            Err(LinkError::PaymentEnded) => {
                let words = "The payment was cancelled.".to_owned();
                return self.fail(context, order, Failure::Declined(words)).await;
            }
            captured => captured?,
        };
        point("order.captured").await;
        self.renew(id, &mut since).await?;
        match self.links.confirm(context, id).await {
            Ok(()) => {}
            Err(LinkError::ReservationLost) => {
                return self
                    .fail(context, order, Failure::Insufficient(Vec::new()))
                    .await;
            }
            Err(other) => return Err(other.into()),
        }
        point("order.confirmed").await;
        let paid = self
            .store
            .paid(context, id, &payment, self.ports.now())
            .await?;
        point("order.paid").await;
        if let Some(paid) = paid {
            log::write(
                Level::Info,
                &context.trace_parent,
                "order paid",
                &[("order_id", id.as_str())],
            );
            return Ok(paid);
        }
        let now_stored = self.store.order(id).await?.ok_or(OrderError::NotFound)?;
        // The order was cancelled concurrently: undo what was done.
        if now_stored.cancelling || now_stored.status == Status::Cancelled {
            return self.undo(context, now_stored).await;
        }
        Ok(now_stored)
    }

    /// Authorises the payment, or settles an earlier attempt that was not answered.
    async fn authorize_payment(
        &self,
        context: &Context,
        order: &Order,
    ) -> std::result::Result<Payment, LinkError> {
        if let Some((payment, _)) = order
            .payment
            .as_ref()
            .filter(|(_, status)| *status == PaymentStatus::Pending)
        {
            let settled = self.links.settle(context, payment).await?;
            return match settled.status {
                PaymentStatus::Authorized
                | PaymentStatus::Captured
                | PaymentStatus::PartiallyRefunded => Ok(settled),
                PaymentStatus::Pending => Err(LinkError::NoAnswer(settled)),
                PaymentStatus::Failed => {
                    Err(LinkError::Declined("The card was declined.".to_owned()))
                }
                PaymentStatus::Voided | PaymentStatus::Refunded => Err(LinkError::PaymentEnded),
            };
        }
        let token = order.payment_token.as_deref().unwrap_or_default();
        self.links
            .authorize(
                context,
                &order.id,
                order.customer_id.as_deref(),
                order.totals.total,
                token,
            )
            .await
    }

    /// Handles a provider that does not answer: the order stays `pending` and keeps its stock until the reconciliation.
    async fn wait_for_provider(
        &self,
        context: &Context,
        order: Order,
        payment: Payment,
        lines: &[Line],
    ) -> Result<Order> {
        let now = self.ports.now();
        let next = now.plus_ms(self.settings.reconcile_after_ms);
        let until = next.plus_ms(RECONCILE_TIME_MS);
        if until > order.reserve_until {
            self.links.reserve(context, &order.id, lines, until).await?;
        }
        self.store
            .wait_for_provider(context, &order.id, &payment, now, next)
            .await?;
        self.store
            .order(&order.id)
            .await?
            .ok_or(OrderError::NotFound)
    }

    /// Ends a failed order: reverses the payment, releases the stock and reopens the cart.
    pub(crate) async fn fail(
        &self,
        context: &Context,
        order: Order,
        failure: Failure,
    ) -> Result<Order> {
        let context = context.as_system();
        let payment = self.links.reverse(&context, &order.id).await?;
        self.links.release(&context, &order.id).await?;
        point("order.released").await;
        self.store
            .failed(
                &context,
                &order.id,
                &failure,
                payment.as_ref(),
                self.ports.now(),
            )
            .await?;
        self.links
            .reopen_cart(&context, &order.cart_id, &order.id)
            .await?;
        self.store.release_lease(&order.id).await?;
        Err(OrderError::Failed(Box::new(failure)))
    }

    /// Carries out a cancellation.
    async fn undo(&self, context: &Context, order: Order) -> Result<Order> {
        let id = &order.id;
        let payment = self.links.reverse(context, id).await?;
        point("order.reversed").await;
        self.links.release(context, id).await?;
        self.links.restock(context, id).await?;
        self.store
            .cancelled(context, id, payment.as_ref(), self.ports.now())
            .await?;
        log::write(
            Level::Info,
            &context.trace_parent,
            "order cancelled",
            &[("order_id", id.as_str())],
        );
        self.store.order(id).await?.ok_or(OrderError::NotFound)
    }

    /// Renews the lease of an order and of its key if it is older than [`RENEW_AFTER_MS`].
    async fn renew(&self, id: &Id, since: &mut Timestamp) -> Result<()> {
        let now = self.ports.now();
        if now > since.plus_ms(RENEW_AFTER_MS) {
            self.store.renew(id, now.plus_ms(LEASE_MS)).await?;
            *since = now;
        }
        Ok(())
    }
}
