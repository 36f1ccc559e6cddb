//! The HTTP API of payments. Staff read payments and make refunds. [`webhook`] receives notices from the provider.

use crate::DECLARED;
use crate::domain::{Excess, Payment};
use crate::service::{PaymentError, Payments};
use crate::webhook;
use localmart_guest::config;
use localmart_guest::http::decode::{money, money_json};
use localmart_guest::http::idempotency::required_effect_name;
use localmart_guest::http::{
    Access, Answer, FieldProblem, Fields, Problem, Request, Response, Routes,
};
use localmart_guest::kernel::{Id, Money};
use localmart_guest::service::{Declared, Service, count};
use localmart_guest::sql::Database;
use localmart_guest::token::{Role, is_capability};
use localmart_guest::wit::Context;
use serde_json::{Map, Value, json};
use std::rc::Rc;

impl<D: Database + From<&'static str>> Service for Payments<D> {
    const DECLARED: Declared = DECLARED;

    fn routes() -> Routes<Self> {
        let staff = Access::Only(Role::Staff);
        Routes::new()
            .on("GET", "/api/payments/{id}", Access::All, get)
            .on("POST", "/api/payments/{id}/refunds", staff, refund)
            .requires_key()
            .on(
                "POST",
                "/api/webhooks/payments",
                Access::All,
                webhook::receive,
            )
            .manages_keys()
    }

    async fn sweep(&self, _: &Context) -> Result<Map<String, Value>, Problem> {
        Ok(count("told", Payments::sweep(self).await?))
    }
}

pub(crate) type Api<D> = Rc<Payments<D>>;

async fn get<D: Database>(api: Api<D>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    let payment = api.get(&id(&request)?).await?;
    let order = payment.order_id.as_str();
    let key = config::once("order_token_key").await?;
    let holds_token = request
        .header("x-order-token")
        .is_some_and(|token| is_capability(&key, order, token));
    if !payment.is_open_to(&request.context().asker(), holds_token) {
        return Err(Problem::not_found("payment"));
    }
    Ok(Response::json(200, &encode(&payment)).with_version(payment.version))
}

async fn refund<D: Database>(api: Api<D>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let amount = fields.required("amount", money);
    let amount = fields.finish(amount)?;
    // The idempotency key names the refund, so that a crash before the key is stored cannot lead to a second refund.
    let name = required_effect_name(&request, "refund")?;
    let payments = api.on_behalf_of(&request.context());
    let id = id(&request)?;
    let refund = payments.refund(&id, &name, amount, Excess::Refused);
    let payment = refund.await?.payment;
    Ok(Response::json(201, &encode(&payment)).with_version(payment.version))
}

fn id(request: &Request) -> Result<Id, Problem> {
    Id::parse(request.param("id")).ok_or_else(|| Problem::not_found("payment"))
}

fn encode(payment: &Payment) -> Value {
    let currency = payment.amount.currency();
    let money = |amount| Money::new(amount, currency).map_or(Value::Null, money_json);
    json!({
        "id": payment.id.as_str(),
        "order_id": payment.order_id.as_str(),
        "status": payment.status.name(),
        "amount": money_json(payment.amount),
        "captured": money(payment.captured),
        "refunded": money(payment.refunded),
        "version": payment.version,
        "created_at": payment.created_at.to_string(),
        "updated_at": payment.updated_at.to_string(),
    })
}

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::Declined(words) => Self::business(402, "payment_declined", words),
            PaymentError::NotFound => Self::not_found("payment"),
            PaymentError::IllegalState(status) => Self::business(
                409,
                "illegal_transition",
                format!("The payment is {}.", status.name()),
            ),
            PaymentError::Exceeds(left) => Self::business(
                422,
                "refund_exceeds_capture",
                "A refund must be more than 0 and at most the refundable amount.",
            )
            .with("refundable", money_json(left)),
            PaymentError::CurrencyMismatch => Self::invalid(vec![FieldProblem {
                field: "amount.currency".into(),
                code: "currency_mismatch".into(),
                detail: "must be the currency of the payment".into(),
            }]),
            PaymentError::NoAnswer(_) | PaymentError::ProviderFailed | PaymentError::Contended => {
                Self::unavailable()
            }
            PaymentError::Sql(error) => error.into(),
        }
    }
}
