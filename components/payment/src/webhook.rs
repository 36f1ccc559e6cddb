//! `POST /api/webhooks/payments`: signed notices from the card provider. The provider repeats a notice until it is answered
//! with 200, so notices may arrive repeatedly, late and out of order.

use super::http::Api;
use crate::service::{Notice, PaymentError};
use localmart_guest::config;
use localmart_guest::http::decode::{id, money, text};
use localmart_guest::http::{Answer, FieldProblem, Fields, Invalid, Problem, Request, Response};
use localmart_guest::kernel::{Id, Money, Timestamp};
use localmart_guest::sql::Database;
use localmart_guest::token::is_signature;
use serde_json::{Value, json};

/// How far the time of a signature may differ from the current time, in seconds. Prevents replays of old requests.
const TOLERANCE_S: i64 = 300;
/// The most signatures of one notice. While a secret is rotated there are two.
const MAX_SIGNATURES: usize = 8;
/// The longest id of a notice, in characters.
const MAX_ID: usize = 255;

/// Applies a notice that has a valid signature.
pub(crate) async fn receive<D: Database>(api: Api<D>, request: Request) -> Answer {
    let header = request.header("localmart-signature").unwrap_or_default();
    let body = String::from_utf8_lossy(&request.body);
    let secret = config::once("payment_webhook_secret").await?;
    if !is_signed(&secret, header, &body, request.at) {
        let words = "The signature is missing, wrong or older than five minutes.";
        return Err(Problem::new(401, "invalid_signature", words));
    }
    let Some((name, payment, notice)) = decode(&request.body)? else {
        return Ok(Response::json(200, &json!({ "status": "ignored" })));
    };
    let payments = api.on_behalf_of(&request.context().as_system());
    match payments.notice(&payment, &name, notice).await {
        Ok(payment) => {
            let (id, status) = (payment.id.as_str(), payment.status.name());
            Ok(Response::json(
                200,
                &json!({ "payment_id": id, "status": status }),
            ))
        }
        Err(PaymentError::NotFound) => Err(Problem::new(
            409,
            "payment_unknown",
            "There is no such payment yet; send the notice again later.",
        )),
        Err(PaymentError::Exceeds(_)) => Err(Problem::invalid(vec![FieldProblem {
            field: "amount".into(),
            code: "amount_mismatch".into(),
            detail: "does not match the amount of the payment".into(),
        }])),
        Err(other) => Err(other.into()),
    }
}

/// Checks a signature `t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`. Of several `v1` one must match, so that the secret
/// can be rotated.
pub(crate) fn is_signed(secret: &str, header: &str, body: &str, now: Timestamp) -> bool {
    let parts = || {
        header
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
    };
    let mut times = parts().filter(|(name, _)| *name == "t");
    let (Some((_, time)), None) = (times.next(), times.next()) else {
        return false;
    };
    let fresh = time
        .parse::<i64>()
        .is_ok_and(|time| (now.ms() / 1000).abs_diff(time) <= TOLERANCE_S.unsigned_abs());
    let signatures = parts().filter(|(name, _)| *name == "v1");
    let signatures: Vec<&str> = signatures.map(|(_, signature)| signature).collect();
    let plausible = (1..=MAX_SIGNATURES).contains(&signatures.len());
    // The MAC over the body is computed once, and only for a request that can be valid.
    fresh && plausible && is_signature(secret, &format!("{time}.{body}"), &signatures)
}

/// Decodes a notice; `None` if its type is unknown. The provider may add types and members at any time.
fn decode(body: &[u8]) -> Result<Option<(String, Id, Notice)>, Problem> {
    let mut fields = Fields::of_body(body)?;
    let name = fields.required("id", text(1, MAX_ID));
    let kind = fields.required("type", kind);
    if let (Some(_), Some(None)) = (&name, &kind) {
        return fields.finish_ignoring_others(Some(None));
    }
    let kind = kind.flatten();
    let payment = fields.required("payment_id", id);
    let amount = fields.required("amount", money);
    let notice = kind.zip(amount).map(|(kind, amount)| kind(amount));
    let parts = name.zip(payment).zip(notice);
    fields.finish_ignoring_others(
        parts.map(|((name, payment), notice)| Some((name, payment, notice))),
    )
}

type Kind = fn(Money) -> Notice;

fn kind(value: &Value) -> Result<Option<Kind>, Invalid> {
    match value.as_str() {
        Some("payment.succeeded") => Ok(Some(Notice::Succeeded)),
        Some("payment.failed") => Ok(Some(|_| Notice::Failed)),
        Some("payment.refunded") => Ok(Some(Notice::Refunded)),
        Some(_) => Ok(None),
        None => Err(Invalid::new("must be a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use localmart_testkit::fuzz;

    #[test]
    fn no_header_but_a_signature_passes() {
        let now = Timestamp::from_ms(1_790_000_000_000);
        let other =
            "t=1790000000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd";
        let examples: [&[u8]; 4] = [
            other.as_bytes(),
            b"t=1790000000",
            b"v1=00,v1=,t=-1",
            b"t=1,t=1,v1=0",
        ];
        fuzz(&examples, |bytes| {
            let header = String::from_utf8_lossy(bytes);
            assert!(!is_signed("secret", &header, "{}", now), "{header}");
        });
    }
}
