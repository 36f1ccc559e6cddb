//! Returns: the customer requests a return, and staff approve or reject it. An approved return is carried out step by step.
//! Every step can be repeated, and the sweep finishes interrupted returns.

use super::{OrderError, Orders, Result};
use crate::domain::Order;
use crate::domain::links::{Line, Links};
use crate::domain::returns::{Pieces, Return, ReturnStatus, is_everything, refund_of};
use crate::domain::status::Status;
use localmart_guest::kernel::Id;
use localmart_guest::point;
use localmart_guest::sql::Database;
use localmart_guest::wit::Context;

impl<D: Database, L: Links> Orders<D, L> {
    /// Requests a return of pieces of an order, once per name.
    pub(crate) async fn request_return(
        &self,
        context: &Context,
        order: Order,
        name: &str,
        items: Vec<Pieces>,
        reason: String,
    ) -> Result<(Order, Return)> {
        if let Some(known) = order.returns.iter().find(|known| known.name == name) {
            let known = known.clone();
            return Ok((order, known));
        }
        let refused = |from| OrderError::IllegalTransition(from, Status::ReturnRequested);
        if !order.status.may_become(Status::ReturnRequested) {
            return Err(refused(order.status));
        }
        let now = self.ports.now();
        let returned = Return {
            id: self.ports.new_id(),
            name: name.to_owned(),
            status: ReturnStatus::Requested,
            refund: refund_of(&order, &items)?,
            items,
            reason,
            created_at: now,
            updated_at: now,
        };
        let written = self
            .store
            .request_return(context, &order.id, &returned)
            .await?;
        let order = self.stored(&order.id).await?;
        if written {
            Ok((order, returned))
        } else {
            Err(refused(order.status))
        }
    }

    /// Approves a return: refunds the amount and returns the pieces to stock.
    pub(crate) async fn approve_return(
        &self,
        context: &Context,
        order: &Order,
        id: &str,
    ) -> Result<(Order, Return)> {
        self.wait_for_lease(&order.id).await?;
        let order = self.stored(&order.id).await?;
        let decided = match find(&order, id) {
            Ok(returned) if returned.status == ReturnStatus::Approving => Ok(()),
            Ok(returned) => {
                let now = self.ports.now();
                let approving = self.store.approving(context, &order.id, &returned.id, now);
                match approving.await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(OrderError::IllegalTransition(
                        order.status,
                        Status::Returned,
                    )),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = decided {
            self.store.release_lease(&order.id).await?;
            return Err(error);
        }
        point("return.approving").await;
        let order = self.stored(&order.id).await?;
        let order = self.advance(context, order).await?;
        let returned = find(&order, id)?.clone();
        Ok((order, returned))
    }

    /// Rejects a return; the order is `delivered` again.
    pub(crate) async fn reject_return(
        &self,
        context: &Context,
        order: &Order,
        id: &str,
        reason: Option<&str>,
    ) -> Result<(Order, Return)> {
        let returned = find(order, id)?.id.clone();
        let now = self.ports.now();
        let rejected = self
            .store
            .rejected(context, &order.id, &returned, reason, now);
        let rejected = rejected.await?;
        let order = self.stored(&order.id).await?;
        if !rejected {
            return Err(OrderError::IllegalTransition(
                order.status,
                Status::Delivered,
            ));
        }
        let returned = find(&order, id)?.clone();
        Ok((order, returned))
    }

    /// Carries out an approved return.
    pub(super) async fn take_back(&self, context: &Context, order: Order) -> Result<Order> {
        let mut returns = order.returns.iter();
        let approving = returns.find(|returned| returned.status == ReturnStatus::Approving);
        let Some(returned) = approving else {
            return Ok(order);
        };
        let refund = match &order.payment {
            Some((payment, _)) if returned.refund.amount() > 0 => {
                let name = format!("return/{}", returned.id);
                let asked = self.links.refund(context, payment, &name, returned.refund);
                Some(asked.await?)
            }
            _ => None,
        };
        point("return.refunded").await;
        let line = |piece: &Pieces| Line {
            product_id: piece.product_id.clone(),
            quantity: piece.quantity,
        };
        let lines: Vec<Line> = returned.items.iter().map(line).collect();
        let taken = self
            .links
            .take_back(context, &order.id, &returned.id, &lines);
        taken.await?;
        point("return.restocked").await;
        let to = if is_everything(&order, &returned.items) {
            Status::Returned
        } else {
            Status::Delivered
        };
        let (id, now) = (&order.id, self.ports.now());
        let approved = self
            .store
            .approved(context, id, returned, refund.as_ref(), to, now);
        approved.await?;
        self.stored(id).await
    }

    async fn stored(&self, id: &Id) -> Result<Order> {
        self.store.order(id).await?.ok_or(OrderError::NotFound)
    }
}

fn find<'a>(order: &'a Order, id: &str) -> Result<&'a Return> {
    let found = order
        .returns
        .iter()
        .find(|returned| returned.id.as_str() == id);
    found.ok_or(OrderError::ReturnNotFound)
}
