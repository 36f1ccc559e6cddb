//! The HTTP API of orders: checkout, reading, cancellation, shipping and delivery.

pub(crate) mod decode;
pub(crate) mod encode;
mod returns;

use crate::domain::links::Links;
use crate::domain::status::Status;
use crate::domain::{Order, PricingError};
use crate::service::{LIST_ORDER, OrderError, Orders};
use crate::store::{Claim, Scope};
use crate::{DECLARED, events};
use localmart_guest::events::{Event, Refusal};
use localmart_guest::http::decode::text;
use localmart_guest::http::idempotency::{
    fingerprint, in_flight, replayed, required_key_of, response_from_text, response_to_text, reused,
};
use localmart_guest::http::{
    Access, Answer, FieldProblem, Fields, Problem, Request, Response, Routes,
};
use localmart_guest::kernel::{Cursor, Limit};
use localmart_guest::service::{Declared, Service, count};
use localmart_guest::sql::Database;
use localmart_guest::token::{Role, capability};
use localmart_guest::wit::Context;
use serde_json::{Map, Value};
use std::rc::Rc;

impl<D, L> Service for Orders<D, L>
where
    D: Database + From<&'static str>,
    L: Links + Default + 'static,
{
    const DECLARED: Declared = DECLARED;

    fn routes() -> Routes<Self> {
        Routes::new()
            .on("POST", "/api/orders", Access::All, create)
            .manages_keys()
            .on("GET", "/api/orders", Access::Only(Role::Customer), list)
            .on("GET", "/api/orders/{id}", Access::All, get)
            .on(
                "POST",
                "/api/orders/{id}/ship",
                Access::Only(Role::Staff),
                ship,
            )
            .on(
                "POST",
                "/api/orders/{id}/deliver",
                Access::Only(Role::Staff),
                deliver,
            )
            .on("POST", "/api/orders/{id}/cancel", Access::All, cancel)
            .on(
                "POST",
                "/api/orders/{id}/returns",
                Access::All,
                returns::request_return,
            )
            .requires_key()
            .on(
                "POST",
                "/api/orders/{id}/returns/{rid}/approve",
                Access::Only(Role::Staff),
                returns::approve,
            )
            .on(
                "POST",
                "/api/orders/{id}/returns/{rid}/reject",
                Access::Only(Role::Staff),
                returns::reject,
            )
    }

    async fn handle(&self, event: &Event) -> Result<(), Refusal> {
        events::handle(self, event).await
    }

    async fn sweep(&self, context: &Context) -> Result<Map<String, Value>, Problem> {
        Ok(count("looked_at", Orders::sweep(self, context).await?))
    }
}

type Api<D, L> = Rc<Orders<D, L>>;

/// `POST /api/orders`. The idempotency key is stored in the database of the service, in the transaction of the order.
async fn create<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    let key = required_key_of(&request.incoming)?;
    let customer = request.claims.as_ref().map(|claims| claims.subject.clone());
    let checkout = decode::checkout(&request.body, customer)?;
    let caller = request
        .claims
        .as_ref()
        .map_or(checkout.cart_id.as_str(), |claims| claims.subject.as_str());
    let name = capability("checkout", &format!("{caller}\n{key}"));
    let order_id = match api.claim(&name, &fingerprint(&request.body)).await? {
        Claim::Run(order_id) => order_id,
        Claim::Reused => return Err(reused()),
        Claim::InFlight => return Err(in_flight()),
        Claim::Answered(answer) => {
            return response_from_text(&answer)
                .map(replayed)
                .ok_or_else(Problem::internal);
        }
    };
    let response = match api.checkout(&request.context(), &order_id, &checkout).await {
        Ok(order) => {
            let guest = order.customer_id.is_none();
            let body = encode::order(&order, guest.then(|| api.guest_token(&order)));
            let location = format!("/api/orders/{}", order.id);
            Response::json(201, &body)
                .with_version(order.version)
                .with_header("location", location)
        }
        Err(error) => Problem::from(error).into_response(request.trace_parent()),
    };
    let answer = response
        .stored_with_key
        .then(|| response_to_text(&response));
    api.conclude(&name, &order_id, answer).await?;
    Ok(response)
}

async fn list<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    let mut query = request.query(&["status", "limit", "cursor", "all"])?;
    let status = query.get("status", "must be the status of an order", Status::parse);
    let limit = query.get("limit", "must be 1 to 100", Limit::parse);
    let cursor = query.get("cursor", "is not a cursor of this list", |text| {
        Cursor::decode_number(text, LIST_ORDER)
    });
    let all = query.get("all", "must be true or false", |text| text.parse().ok());
    query.finish()?;
    let all = all.unwrap_or(false);
    if all && !request.has_role(Role::Staff) {
        return Err(Problem::new(
            403,
            "forbidden",
            "Your role does not allow this.",
        ));
    }
    let mine = request.claims.as_ref().map(|claims| claims.subject.clone());
    let scope = Scope {
        customer_id: mine.filter(|_| !all),
        status,
    };
    let limit = limit.unwrap_or_default();
    let (orders, next) = api.list(&scope, limit, cursor.as_ref()).await?;
    let orders = orders.iter().map(|order| encode::order(order, None));
    Ok(Response::page(orders.collect(), next))
}

async fn ship<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    advance_to(&api, &request, Status::Shipped).await
}

async fn deliver<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    advance_to(&api, &request, Status::Delivered).await
}

async fn advance_to<D: Database, L: Links>(
    api: &Api<D, L>,
    request: &Request,
    to: Status,
) -> Answer {
    Fields::of_body(or_empty(&request.body))?.finish(Some(()))?;
    let order = requested(api, request).await?;
    must_match(request, &order)?;
    let context = request.context();
    Ok(respond(&api.advance_to(&context, &order, to).await?))
}

/// The body, or an empty object for a POST without a body.
fn or_empty(body: &[u8]) -> &[u8] {
    if body.is_empty() { b"{}" } else { body }
}

fn must_match(request: &Request, order: &Order) -> Result<(), Problem> {
    match request.if_match() {
        Some(versions) if !versions.allows(order.version) => Err(Problem::version_conflict()),
        _ => Ok(()),
    }
}

async fn get<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    let order = requested(&api, &request).await?;
    Ok(respond(&order))
}

async fn cancel<D: Database, L: Links>(api: Api<D, L>, request: Request) -> Answer {
    let mut fields = Fields::of_body(or_empty(&request.body))?;
    let reason = fields.optional("reason", text(0, 500));
    let reason = fields.finish(Some(reason))?;
    let order = requested(&api, &request).await?;
    must_match(&request, &order)?;
    Ok(respond(
        &api.cancel(&request.context(), order, reason).await?,
    ))
}

/// The order in the path, if it is open to the caller.
async fn requested<D: Database, L: Links>(
    api: &Api<D, L>,
    request: &Request,
) -> Result<Order, OrderError> {
    let (id, asker) = (request.param("id"), request.context().asker());
    let token = request.header("x-order-token");
    api.get(id, &asker, token).await
}

fn respond(order: &Order) -> Response {
    Response::json(200, &encode::order(order, None)).with_version(order.version)
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let cart_line = |index: usize, code: &str, detail: &str| {
            vec![FieldProblem {
                field: format!("cart.items[{index}]"),
                code: code.into(),
                detail: detail.into(),
            }]
        };
        match error {
            OrderError::NotFound => Self::not_found("order"),
            OrderError::ReturnNotFound => Self::not_found("return"),
            OrderError::Return(why) => returns::return_error(&why),
            OrderError::NoEmail => Self::invalid(vec![FieldProblem {
                field: "email".into(),
                code: "required".into(),
                detail: "is required".into(),
            }]),
            OrderError::CartNotFound => Self::not_found("cart"),
            OrderError::CartCompleted(order) => {
                Self::business(409, "cart_completed", "This cart was already ordered.")
                    .with("order_id", order.as_str())
            }
            OrderError::Pricing(PricingError::Empty) => Self::invalid(vec![FieldProblem {
                field: "cart_id".into(),
                code: "empty_cart".into(),
                detail: "the cart is empty".into(),
            }]),
            OrderError::Pricing(PricingError::NotSold(index)) => Self::invalid(cart_line(
                index,
                "not_sold",
                "this product is no longer sold",
            )),
            OrderError::Pricing(PricingError::OtherCurrency(index)) => Self::invalid(cart_line(
                index,
                "currency_mismatch",
                "this product is now sold in another currency",
            )),
            OrderError::Pricing(PricingError::Overflow) => Self::business(
                422,
                "amount_overflow",
                "The total would be larger than the largest possible amount.",
            ),
            OrderError::PriceChanged { expected, total } => Self::business(
                409,
                "price_changed",
                "A price has changed since the cart was shown.",
            )
            .with(
                "expected_total",
                localmart_guest::http::decode::money_json(expected),
            )
            .with("total", localmart_guest::http::decode::money_json(total)),
            OrderError::Failed(failure) => encode::failure(&failure),
            OrderError::IllegalTransition(from, to) => Self::business(
                409,
                "illegal_transition",
                format!(
                    "An order with status {} cannot change to {}.",
                    from.name(),
                    Status::name(to)
                ),
            ),
            OrderError::Refunded => Self::business(
                409,
                "order_refunded",
                "The whole payment was given back, so the order cannot be shipped.",
            ),
            OrderError::Busy => Self::unavailable(),
            OrderError::Link(error) => Self::unavailable().caused_by(&error),
            OrderError::Sql(error) => error.into(),
        }
    }
}
