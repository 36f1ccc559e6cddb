//! The HTTP API of returns: the owner of an order requests a return, and staff decide.

use super::{Api, encode, or_empty, requested};
use crate::domain::Order;
use crate::domain::links::Links;
use crate::domain::returns::{Pieces, Return, ReturnError};
use localmart_guest::http::decode::{id, integer, text};
use localmart_guest::http::idempotency::required_effect_name;
use localmart_guest::http::{Answer, FieldProblem, Fields, Problem, Request, Response};
use localmart_guest::sql::Database;
use serde_json::json;

/// The largest number of lines in a return.
const MAX_LINES: usize = 100;
/// The largest number of pieces in a line. The domain compares it with what was bought.
const MAX_PIECES: i64 = 1_000_000;
/// The longest reason, in characters.
const MAX_REASON: usize = 500;

/// `POST /api/orders/{id}/returns`
pub(super) async fn request_return<D: Database, L: Links>(
    api: Api<D, L>,
    request: Request,
) -> Answer {
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
    for index in items.as_deref().map(repeated).unwrap_or_default() {
        let field = format!("items[{index}].product_id");
        fields.report(&field, "duplicate", "is listed twice".to_owned());
    }
    let (items, reason) = fields.finish(items.zip(reason))?;
    let order = requested(&api, &request).await?;
    // The idempotency key names the return, so that a crash before the key is stored cannot lead to a second return.
    let name = required_effect_name(&request, "return")?;
    let context = request.context();
    let asked = api.request_return(&context, order, &name, items, reason);
    let (order, returned) = asked.await?;
    Ok(respond(201, &order, &returned))
}

/// `POST /api/orders/{id}/returns/{rid}/approve`
pub(super) async fn approve<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    Fields::of_body(or_empty(&request.body))?.finish(Some(()))?;
    let order = requested(&api, &request).await?;
    let context = request.context();
    let approved = api.approve_return(&context, &order, request.param("rid"));
    let (order, returned) = approved.await?;
    Ok(respond(200, &order, &returned))
}

/// `POST /api/orders/{id}/returns/{rid}/reject`
pub(super) async fn reject<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    let mut fields = Fields::of_body(or_empty(&request.body))?;
    let reason = fields.optional("reason", text(0, MAX_REASON));
    let reason = fields.finish(Some(reason))?;
    let order = requested(&api, &request).await?;
    let (context, id) = (request.context(), request.param("rid"));
    let rejected = api.reject_return(&context, &order, id, reason.as_deref());
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

/// The indexes of lines whose product is in an earlier line.
fn repeated(items: &[Pieces]) -> Vec<usize> {
    let again = |index: &usize| {
        let mut before = items.iter().take(*index);
        items
            .get(*index)
            .is_some_and(|item| before.any(|other| other.product_id == item.product_id))
    };
    (0..items.len()).filter(again).collect()
}

/// `422 return_exceeds_order` with the line at fault, or 500 if the stored order is.
pub(super) fn return_error(why: &ReturnError) -> Problem {
    let (field, code, detail) = match why {
        ReturnError::NotOrdered(index) => {
            let detail = "is not part of this order".to_owned();
            (format!("items[{index}].product_id"), "not_ordered", detail)
        }
        ReturnError::TooMany { index, left } => {
            let detail = format!("at most {left} can be returned");
            (format!("items[{index}].quantity"), "too_many", detail)
        }
        ReturnError::Amounts(_) => return Problem::internal().caused_by(why),
    };
    let words = "The return contains more than was bought.";
    let error = FieldProblem {
        field,
        code: code.to_owned(),
        detail,
    };
    Problem::business(422, "return_exceeds_order", words).with_errors(vec![error])
}
