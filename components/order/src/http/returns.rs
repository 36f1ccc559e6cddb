//! The REST door of returns: asked for by the owner, decided by staff.

use super::{Door, encode, or_empty, owns};
use crate::domain::Order;
use crate::domain::links::Links;
use crate::domain::returns::{Pieces, Return, ReturnError};
use localmart_guest::door::decode::{id, integer, text};
use localmart_guest::door::idempotency::required_effect_name;
use localmart_guest::door::{Answer, FieldProblem, Fields, Problem, Request, Response};
use localmart_guest::sql::Database;
use serde_json::json;

/// Most lines that one return names.
const MAX_LINES: usize = 100;
/// Most pieces of one line.
const MAX_PIECES: i64 = 99;
/// Longest reason, in characters.
const MAX_REASON: usize = 500;

/// `POST /api/orders/{id}/returns`
pub(super) async fn request_return<D: Database, L: Links>(door: Door<D, L>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let items = fields.list("items", MAX_LINES, |item| {
        let product_id = item.required("product_id", id);
        let quantity = item.required("quantity", integer(1, MAX_PIECES));
        let quantity = quantity.and_then(|quantity| u32::try_from(quantity).ok());
        let (product_id, quantity) = product_id.zip(quantity)?;
        Some(Pieces {
            product_id,
            quantity,
        })
    });
    let reason = fields.required("reason", text(1, MAX_REASON));
    for place in items.as_deref().map(repeated).unwrap_or_default() {
        let field = format!("items[{place}].product_id");
        fields.report(&field, "duplicate", "is named twice".to_owned());
    }
    let (items, reason) = fields.finish(items.zip(reason))?;
    let order = door
        .orders
        .get(request.param("id"), |order| owns(&door, &request, order));
    let order = order.await?;
    // The return is known by its key, so that a crash between its writing and the key's does not make it two.
    let name = required_effect_name(&request, "return")?;
    let context = request.context();
    let asked = door
        .orders
        .request_return(&context, order, &name, items, reason);
    let (order, returned) = asked.await?;
    Ok(respond(201, &order, &returned))
}

/// `POST /api/orders/{id}/returns/{rid}/approve`
pub(super) async fn approve<D: Database, L: Links>(door: Door<D, L>, request: Request) -> Answer {
    Fields::of_body(or_empty(&request.body))?.finish(Some(()))?;
    let order = door.orders.get(request.param("id"), |_| true).await?;
    let context = request.context();
    let approved = door
        .orders
        .approve_return(&context, &order, request.param("rid"));
    let (order, returned) = approved.await?;
    Ok(respond(200, &order, &returned))
}

/// `POST /api/orders/{id}/returns/{rid}/reject`
pub(super) async fn reject<D: Database, L: Links>(door: Door<D, L>, request: Request) -> Answer {
    let mut fields = Fields::of_body(or_empty(&request.body))?;
    let reason = fields.optional("reason", text(0, MAX_REASON));
    let reason = fields.finish(Some(reason))?;
    let order = door.orders.get(request.param("id"), |_| true).await?;
    let (context, id) = (request.context(), request.param("rid"));
    let rejected = door
        .orders
        .reject_return(&context, &order, id, reason.as_deref());
    let (order, returned) = rejected.await?;
    Ok(respond(200, &order, &returned))
}

fn respond(status: u16, order: &Order, returned: &Return) -> Response {
    let mut body = encode::returned(order, returned);
    if let Some(object) = body.as_object_mut() {
        object.insert("order_status".into(), json!(order.status.name()));
    }
    Response::json(status, &body)
}

/// Places of lines whose product was named before.
fn repeated(items: &[Pieces]) -> Vec<usize> {
    let again = |place: &usize| {
        let mut before = items.iter().take(*place);
        items
            .get(*place)
            .is_some_and(|item| before.any(|other| other.product_id == item.product_id))
    };
    (0..items.len()).filter(again).collect()
}

/// `422 return_exceeds_order`: names the line.
pub(super) fn return_error(why: &ReturnError) -> Problem {
    let (field, code, detail) = match why {
        ReturnError::NotOrdered(place) => {
            let detail = "is not part of this order".to_owned();
            (format!("items[{place}].product_id"), "not_ordered", detail)
        }
        ReturnError::TooMany { place, left } => {
            let detail = format!("at most {left} can be given back");
            (format!("items[{place}].quantity"), "too_many", detail)
        }
    };
    let words = "More is given back than was bought.";
    let error = FieldProblem {
        field,
        code: code.to_owned(),
        detail,
    };
    Problem::business(422, "return_exceeds_order", words).with_errors(vec![error])
}
