//! The HTTP API of carts, for guests and users.

use crate::DECLARED;
use crate::domain::{LineError, Links, PricedCart, PricedLine};
use crate::service::{CartError, Carts};
use crate::store::StorageError;
use localmart_guest::http::decode::{currency, id, integer, money_json};
use localmart_guest::http::{
    Access, Answer, FieldProblem, Fields, Invalid, Problem, Request, Response, Routes,
};
use localmart_guest::kernel::Id;
use localmart_guest::service::{Declared, Service, count};
use localmart_guest::short_lived::ShortLived;
use localmart_guest::sql::Database;
use localmart_guest::token::Role;
use localmart_guest::wit::Context;
use serde_json::{Map, Value, json};
use std::rc::Rc;

impl<D, K, L> Service for Carts<D, K, L>
where
    D: Database + From<&'static str>,
    K: ShortLived + Default + 'static,
    L: Links + Default + 'static,
{
    const DECLARED: Declared = DECLARED;

    fn routes() -> Routes<Self> {
        let (all, user) = (Access::All, Access::Only(Role::Customer));
        Routes::new()
            .on("POST", "/api/carts", all, create)
            .keys_of_known_clients()
            .on("GET", "/api/carts/mine", user, mine)
            .on("POST", "/api/carts/merge", user, merge)
            .on("GET", "/api/carts/{id}", all, get)
            .on("DELETE", "/api/carts/{id}", all, delete)
            .on("POST", "/api/carts/{id}/items", all, add)
            .on("PUT", "/api/carts/{id}/items/{product_id}", all, set)
            .on("DELETE", "/api/carts/{id}/items/{product_id}", all, remove)
    }

    async fn sweep(&self, _: &Context) -> Result<Map<String, Value>, Problem> {
        Ok(count("removed", Carts::sweep(self).await?))
    }
}

type Api<D, K, L> = Rc<Carts<D, K, L>>;

async fn create<D: Database, K: ShortLived, L: Links>(
    api: Api<D, K, L>,
    request: Request,
) -> Answer {
    let body = if request.body.is_empty() {
        b"{}"
    } else {
        request.body.as_slice()
    };
    let mut fields = Fields::of_body(body)?;
    let currency = fields.optional("currency", currency);
    let currency = fields
        .finish(Some(currency))?
        .unwrap_or(api.default_currency());
    let cart = api.create(&request.context(), currency).await?;
    let location = format!("/api/carts/{}", cart.cart.id);
    Ok(respond(201, &cart).with_header("location", location))
}

async fn mine<D: Database, K: ShortLived, L: Links>(api: Api<D, K, L>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    let cart = api.mine(&request.context(), api.default_currency()).await?;
    Ok(respond(200, &cart))
}

async fn merge<D: Database, K: ShortLived, L: Links>(
    api: Api<D, K, L>,
    request: Request,
) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let guest = fields.required("guest_cart_id", id);
    let guest = fields.finish(guest)?;
    let cart = api
        .merge(&request.context(), &guest, api.default_currency())
        .await?;
    Ok(respond(200, &cart))
}

async fn get<D: Database, K: ShortLived, L: Links>(api: Api<D, K, L>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    Ok(respond(
        200,
        &api.view(&request.context(), request.param("id")).await?,
    ))
}

async fn delete<D: Database, K: ShortLived, L: Links>(
    api: Api<D, K, L>,
    request: Request,
) -> Answer {
    let context = request.context();
    api.delete(&context, request.param("id")).await?;
    Ok(Response::no_content())
}

async fn add<D: Database, K: ShortLived, L: Links>(api: Api<D, K, L>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let product = fields.required("product_id", id);
    let quantity = fields.required("quantity", quantity(1));
    let (product, quantity) = fields.finish(product.zip(quantity))?;
    let cart = api
        .add(
            &request.context(),
            request.param("id"),
            &product,
            quantity,
            request.if_match(),
        )
        .await?;
    Ok(respond(200, &cart))
}

async fn set<D: Database, K: ShortLived, L: Links>(api: Api<D, K, L>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let quantity = fields.required("quantity", quantity(0));
    let quantity = fields.finish(quantity)?;
    change(&api, &request, quantity).await
}

async fn remove<D: Database, K: ShortLived, L: Links>(
    api: Api<D, K, L>,
    request: Request,
) -> Answer {
    change(&api, &request, 0).await
}

async fn change<D: Database, K: ShortLived, L: Links>(
    api: &Api<D, K, L>,
    request: &Request,
    quantity: u32,
) -> Answer {
    let Some(product) = Id::parse(request.param("product_id")) else {
        // The product id is invalid: removing it changes nothing, and adding it is an error.
        let cart = api.view(&request.context(), request.param("id")).await?;
        return if quantity == 0 {
            Ok(respond(200, &cart))
        } else {
            Err(CartError::ProductNotFound.into())
        };
    };
    let cart = api
        .set(
            &request.context(),
            request.param("id"),
            &product,
            quantity,
            request.if_match(),
        )
        .await?;
    Ok(respond(200, &cart))
}

/// Decodes a quantity. The domain checks the upper limit.
fn quantity(least: i64) -> impl Fn(&Value) -> Result<u32, Invalid> {
    move |value| {
        let quantity = integer(least, i64::from(i32::MAX))(value)?;
        u32::try_from(quantity).map_err(|_| Invalid::new("must be a whole number"))
    }
}

fn respond(status: u16, cart: &PricedCart) -> Response {
    Response::json(status, &encode(cart)).with_version(cart.cart.version)
}

fn encode(priced: &PricedCart) -> Value {
    let cart = &priced.cart;
    let counted = priced.lines.iter().filter(|line| line.for_sale);
    let count: u64 = counted.map(|line| u64::from(line.quantity)).sum();
    let mut body = json!({
        "id": cart.id.as_str(),
        "currency": cart.currency.code(),
        "items": priced.lines.iter().map(encode_line).collect::<Vec<_>>(),
        "item_count": count,
        "subtotal": money_json(priced.subtotal),
        "discounts": [],
        "total": money_json(priced.subtotal),
        "version": cart.version,
        "updated_at": cart.updated_at.to_string(),
        "expires_at": cart.expires_at.to_string(),
    });
    if let (Some(order_id), Some(object)) = (&cart.order_id, body.as_object_mut()) {
        object.insert("order_id".into(), json!(order_id.as_str()));
    }
    body
}

fn encode_line(line: &PricedLine) -> Value {
    json!({
        "product_id": line.product.id.as_str(),
        "sku": line.product.sku,
        "name": line.product.name,
        "unit_price": money_json(line.product.price),
        "quantity": line.quantity,
        "line_total": money_json(line.line_total),
        "available": line.available,
        "for_sale": line.for_sale,
    })
}

impl From<CartError> for Problem {
    fn from(error: CartError) -> Self {
        let field = |field: &str, detail: String| {
            vec![FieldProblem {
                field: field.into(),
                code: "invalid".into(),
                detail,
            }]
        };
        match error {
            CartError::NotFound => Self::not_found("cart"),
            CartError::Completed(order_id) => {
                Self::business(409, "cart_completed", "This cart was already ordered.")
                    .with("order_id", order_id.as_str())
            }
            CartError::ProductNotFound => Self::business(
                404,
                "product_not_found",
                "No product with this id is for sale.",
            ),
            CartError::CurrencyMismatch(currency) => Self::business(
                422,
                "currency_mismatch",
                format!("The cart is in {currency}; the product has another currency."),
            ),
            CartError::Line(LineError::QuantityLimit) => {
                let detail = LineError::QuantityLimit.to_string();
                Self::business(
                    422,
                    "quantity_limit",
                    "A cart cannot hold that many pieces of one product.",
                )
                .with_errors(field("quantity", detail))
            }
            CartError::Line(LineError::CartFull) => Self::business(
                422,
                "cart_full",
                "The cart already has the maximum number of products.",
            ),
            CartError::Overflow => Self::business(
                422,
                "amount_overflow",
                "The total would be larger than the largest possible amount.",
            ),
            CartError::Amounts(_) => Self::internal().caused_by(&error),
            CartError::VersionConflict => Self::version_conflict(),
            CartError::Contended | CartError::Link(_) => Self::unavailable(),
            CartError::Store(StorageError::ShortLived(error)) => error.into(),
            CartError::Store(StorageError::Sql(error)) => error.into(),
        }
    }
}
