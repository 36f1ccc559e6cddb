//! The HTTP API of the catalog: products, categories, pictures.

use crate::DECLARED;
use crate::domain::{
    Category, DraftError, Filter, MAX_ATTRIBUTES, MAX_DESCRIPTION, MAX_NAME, Prices, Product,
    ProductDraft, ProductPatch, Sku, Slug, Sort,
};
use crate::picture;
use crate::service::{Catalog, CatalogError};
use localmart_events::{EventData as _, ProductViewed};
use localmart_guest::events::views;
use localmart_guest::http::decode::{boolean, money, money_json, text};
use localmart_guest::http::{
    Access, Answer, FieldProblem, Fields, Invalid, Problem, Request, Response, Routes,
};
use localmart_guest::kernel::{Cursor, Limit};
use localmart_guest::service::{Declared, Service};
use localmart_guest::sql::Database;
use localmart_guest::token::Role;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a picture may do if a browser opens it as a page: nothing but show its own shapes.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

impl<D: Database + From<&'static str>> Service for Catalog<D> {
    const DECLARED: Declared = DECLARED;

    fn routes() -> Routes<Self> {
        let staff = Access::Only(Role::Staff);
        Routes::new()
            .on("GET", "/api/products", Access::All, list)
            .on("POST", "/api/products", staff, create)
            .on("GET", "/api/products/{id}", Access::All, get)
            .on("PUT", "/api/products/{id}", staff, replace)
            .on("PATCH", "/api/products/{id}", staff, patch)
            .on("DELETE", "/api/products/{id}", staff, unpublish)
            .on("GET", "/api/categories", Access::All, categories)
            .on("POST", "/api/categories", staff, create_category)
            .on("PUT", "/api/categories/{slug}", staff, replace_category)
            .on("DELETE", "/api/categories/{slug}", staff, delete_category)
            .on("GET", "/images/{name}", Access::All, image)
    }
}

type Api<D> = Rc<Catalog<D>>;

async fn list<D: Database>(api: Api<D>, request: Request) -> Answer {
    let mut query = request.query(&[
        "category",
        "min_price",
        "max_price",
        "sort",
        "limit",
        "cursor",
    ])?;
    let price = "must be a whole amount of minor units";
    let filter = Filter {
        category: query.get("category", "must be a category's slug", Slug::parse),
        min_price: query.get("min_price", price, amount),
        max_price: query.get("max_price", price, amount),
    };
    let sort = query
        .get(
            "sort",
            "must be newest, price_asc, price_desc or name",
            Sort::parse,
        )
        .unwrap_or_default();
    let limit = query
        .get("limit", "must be 1 to 100", Limit::parse)
        .unwrap_or_default();
    let cursor = query.get(
        "cursor",
        "is not a cursor of this list",
        |text| match sort {
            Sort::Name => Cursor::decode(text, sort.name()),
            Sort::Newest | Sort::PriceAscending | Sort::PriceDescending => {
                Cursor::decode_number(text, sort.name())
            }
        },
    );
    query.finish()?;
    let (products, next) = api.products(&filter, sort, limit, cursor.as_ref()).await?;
    let page = Response::page(products.iter().map(encode).collect(), next);
    Ok(page.for_caches(&request))
}

async fn get<D: Database>(api: Api<D>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    let product = api
        .product(request.param("id"), request.has_role(Role::Staff))
        .await?;
    let viewer = request
        .claims
        .as_ref()
        .map(|claims| claims.subject.as_str());
    views::record_view(
        "product.viewed",
        "catalog",
        (product.id.as_str(), viewer),
        viewed,
    );
    Ok(Response::json(200, &encode(&product))
        .with_version(product.version)
        .for_caches(&request))
}

/// The data of the event that reports views.
fn viewed(product: &str, viewer: Option<&str>, views: u64) -> Value {
    let data = ProductViewed {
        product_id: product.to_owned(),
        customer_id: viewer.map(str::to_owned),
        views,
    };
    data.to_value()
}

async fn create<D: Database>(api: Api<D>, request: Request) -> Answer {
    let draft = decode_draft(&request.body)?;
    let product = api.create(&request.context(), draft).await?;
    let location = format!("/api/products/{}", product.id);
    Ok(Response::json(201, &encode(&product))
        .with_version(product.version)
        .with_header("location", location))
}

async fn replace<D: Database>(api: Api<D>, request: Request) -> Answer {
    let draft = decode_draft(&request.body)?;
    let product = api
        .replace(
            &request.context(),
            request.param("id"),
            draft,
            request.if_match(),
        )
        .await?;
    Ok(Response::json(200, &encode(&product)).with_version(product.version))
}

async fn patch<D: Database>(api: Api<D>, request: Request) -> Answer {
    let patch = decode_patch(&request.body)?;
    let product = api
        .patch(
            &request.context(),
            request.param("id"),
            patch,
            request.if_match(),
        )
        .await?;
    Ok(Response::json(200, &encode(&product)).with_version(product.version))
}

async fn unpublish<D: Database>(api: Api<D>, request: Request) -> Answer {
    let context = request.context();
    api.unpublish(&context, request.param("id"), request.if_match())
        .await?;
    Ok(Response::no_content())
}

async fn categories<D: Database>(api: Api<D>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    let categories = api.categories().await?;
    let page = Response::page(categories.iter().map(encode_category).collect(), None);
    Ok(page.for_caches(&request))
}

async fn create_category<D: Database>(api: Api<D>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let chosen = fields.optional("slug", slug);
    let name = fields.required("name", text(1, MAX_NAME));
    let parent = fields.optional("parent", slug);
    let name = fields.finish(name)?;
    let category = api.create_category(chosen, name, parent).await?;
    let location = format!("/api/categories/{}", category.slug.as_str());
    Ok(Response::json(201, &encode_category(&category)).with_header("location", location))
}

async fn replace_category<D: Database>(api: Api<D>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let name = fields.required("name", text(1, MAX_NAME));
    let parent = fields.optional("parent", slug);
    let name = fields.finish(name)?;
    let category = api
        .replace_category(request.param("slug"), name, parent)
        .await?;
    Ok(Response::json(200, &encode_category(&category)))
}

async fn delete_category<D: Database>(api: Api<D>, request: Request) -> Answer {
    api.delete_category(request.param("slug")).await?;
    Ok(Response::no_content())
}

async fn image<D: Database>(api: Api<D>, request: Request) -> Answer {
    let name = request.param("name");
    let id = name
        .strip_suffix(".svg")
        .and_then(|stem| stem.rsplit_once("-v"))
        .map(|(id, _)| id);
    let id = id.ok_or_else(|| Problem::not_found("picture"))?;
    // Pictures of unpublished products stay available, because orders show them.
    let product = api.product(id, true).await.map_err(|error| match error {
        CatalogError::ProductNotFound => Problem::not_found("picture"),
        other => other.into(),
    })?;
    let response = Response::bytes(200, "image/svg+xml", picture::draw(&product).into_bytes());
    Ok(response
        .with_header("cache-control", "public, max-age=31536000, immutable")
        .with_header("x-content-type-options", "nosniff")
        .with_header("content-security-policy", PICTURE_POLICY))
}

fn amount(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|amount| plain && *amount <= localmart_guest::kernel::money::MAX_AMOUNT)
}

fn slug(value: &Value) -> Result<Slug, Invalid> {
    let slug = value.as_str().and_then(Slug::parse);
    slug.ok_or_else(|| {
        Invalid::new("must be lower-case letters, digits and single hyphens, at most 100")
    })
}

fn sku(value: &Value) -> Result<Sku, Invalid> {
    let sku = value.as_str().and_then(Sku::parse);
    sku.ok_or_else(|| Invalid::new("must be 1 to 64 visible ASCII characters"))
}

fn attributes(value: &Value) -> Result<BTreeMap<String, String>, Invalid> {
    let shape = || {
        Invalid::new(format!(
            "must be an object of at most {MAX_ATTRIBUTES} texts"
        ))
    };
    let object = value
        .as_object()
        .filter(|object| object.len() <= MAX_ATTRIBUTES)
        .ok_or_else(shape)?;
    let entry = |(name, value): (&String, &Value)| {
        let fits = (1..=64).contains(&name.chars().count());
        let value = value
            .as_str()
            .filter(|value| fits && value.chars().count() <= 500)?;
        Some((name.clone(), value.to_owned()))
    };
    object
        .iter()
        .map(entry)
        .collect::<Option<_>>()
        .ok_or_else(shape)
}

fn decode_draft(body: &[u8]) -> Result<ProductDraft, Problem> {
    let mut fields = Fields::of_body(body)?;
    let sku = fields.required("sku", sku);
    let name = fields.required("name", text(1, MAX_NAME));
    let slug_text = fields.optional("slug", slug);
    let description = fields.required("description", text(0, MAX_DESCRIPTION));
    let category = fields.required("category", slug);
    let price = fields.required("price", money);
    let compare_at_price = fields.optional("compare_at_price", money);
    let attributes = fields.optional("attributes", attributes);
    let published = fields.optional("published", boolean);
    let prices = price.and_then(|price| {
        let prices = Prices::new(price, compare_at_price);
        prices
            .map_err(|why| {
                let (field, code, detail) = draft_error(why);
                fields.report(field, code, detail.to_owned());
            })
            .ok()
    });
    fields.finish(match (sku, name, description, category, prices) {
        (Some(sku), Some(name), Some(description), Some(category), Some(prices)) => {
            Some(ProductDraft {
                sku,
                name,
                slug: slug_text,
                description,
                category,
                prices,
                attributes: attributes.unwrap_or_default(),
                published: published.unwrap_or(false),
            })
        }
        _ => None,
    })
}

fn decode_patch(body: &[u8]) -> Result<ProductPatch, Problem> {
    let mut fields = Fields::of_body(body)?;
    let patch = ProductPatch {
        sku: fields.changed("sku", sku),
        name: fields.changed("name", text(1, MAX_NAME)),
        slug: fields.changed("slug", slug),
        description: fields.changed("description", text(0, MAX_DESCRIPTION)),
        category: fields.changed("category", slug),
        price: fields.changed("price", money),
        compare_at_price: fields.patch("compare_at_price", money),
        attributes: fields.changed("attributes", attributes),
        published: fields.changed("published", boolean),
    };
    fields.finish(Some(patch))
}

/// The field at fault, the code and the explanation.
fn draft_error(why: DraftError) -> (&'static str, &'static str, &'static str) {
    match why {
        DraftError::CurrencyMismatch => (
            "compare_at_price",
            "currency_mismatch",
            "must be in the currency of the price",
        ),
    }
}

fn encode(product: &Product) -> Value {
    let draft = &product.draft;
    let mut body = json!({
        "id": product.id.as_str(),
        "sku": draft.sku.as_str(),
        "name": draft.name,
        "slug": product.slug.as_str(),
        "description": draft.description,
        "category": draft.category.as_str(),
        "price": money_json(draft.prices.price()),
        "image_url": format!("/images/{}-v{}.svg", product.id, product.version),
        "attributes": draft.attributes,
        "rating": { "average": 0, "count": 0 },
        "published": draft.published,
        "version": product.version,
        "created_at": product.created_at.to_string(),
        "updated_at": product.updated_at.to_string(),
    });
    if let (Some(compare), Some(object)) = (draft.prices.compare_at(), body.as_object_mut()) {
        object.insert("compare_at_price".into(), money_json(compare));
    }
    body
}

fn encode_category(category: &Category) -> Value {
    let mut body = json!({ "slug": category.slug.as_str(), "name": category.name });
    if let (Some(parent), Some(object)) = (&category.parent, body.as_object_mut()) {
        object.insert("parent".into(), json!(parent.as_str()));
    }
    body
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        let with_code = |field: &str, code: &str, detail: &str| {
            Self::invalid(vec![FieldProblem {
                field: field.into(),
                code: code.into(),
                detail: detail.into(),
            }])
        };
        let field = |field: &str, detail: &str| with_code(field, "unknown", detail);
        match error {
            CatalogError::ProductNotFound => Self::not_found("product"),
            CatalogError::CategoryNotFound => Self::not_found("category"),
            CatalogError::SkuTaken => {
                Self::business(409, "sku_taken", "Another product has this sku.")
            }
            CatalogError::SlugTaken => Self::business(409, "slug_taken", "This slug is taken."),
            CatalogError::UnknownCategory => {
                field("category", "there is no category with this slug")
            }
            CatalogError::UnknownParent => field("parent", "there is no category with this slug"),
            CatalogError::CategoryCycle => with_code(
                "parent",
                "cycle",
                "the category would be among its own ancestors, or the tree too deep",
            ),
            CatalogError::Draft(why) => {
                let (field, code, detail) = draft_error(why);
                with_code(field, code, detail)
            }
            CatalogError::CategoryInUse => Self::business(
                409,
                "category_in_use",
                "The category still contains products or categories.",
            ),
            CatalogError::VersionConflict => Self::version_conflict(),
            CatalogError::Sql(error) => error.into(),
        }
    }
}
