//! The HTTP API of the catalog: products, categories, pictures.

use crate::DECLARED;
use crate::domain::{
    Category, DraftError, Filter, MAX_ATTRIBUTES, MAX_DESCRIPTION, MAX_NAME, Prices, Product,
    ProductDraft, Sku, Slug, Sort,
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
    // What is wrong with the body itself is told before what is wrong with the product.
    let mut fields = Fields::of_patch(&request.body)?;
    decode(&mut fields, None);
    fields.finish(Some(()))?;
    let edit = |before: ProductDraft| {
        let mut fields = Fields::of_patch(&request.body)?;
        let draft = decode(&mut fields, Some(&before));
        fields.finish(draft)
    };
    let (context, id) = (request.context(), request.param("id"));
    let product = api.change(&context, id, request.if_match(), edit).await?;
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
    let draft = decode(&mut fields, None);
    fields.finish(draft)
}

/// The fields of a product. In a PATCH, what is absent is as before.
fn decode(fields: &mut Fields, old: Option<&ProductDraft>) -> Option<ProductDraft> {
    let sku = fields.value("sku", old.map(|old| old.sku.clone()), sku);
    let name = fields.value("name", old.map(|old| old.name.clone()), text(1, MAX_NAME));
    let chosen = fields.value_or("slug", None, None, |value| slug(value).map(Some));
    let description = old.map(|old| old.description.clone());
    let description = fields.value("description", description, text(0, MAX_DESCRIPTION));
    let category = fields.value("category", old.map(|old| old.category.clone()), slug);
    let price = fields.value("price", old.map(|old| old.prices.price()), money);
    let compare_at = old.and_then(|old| old.prices.compare_at());
    let compare_at = fields.maybe("compare_at_price", compare_at, money);
    let attributes = {
        let before = old.map(|old| old.attributes.clone());
        fields.value_or("attributes", before, BTreeMap::new(), attributes)
    };
    let published = old.map(|old| old.published);
    let published = fields.value_or("published", published, false, boolean);
    let prices = Prices::new(price?, compare_at);
    let prices = prices.map_err(|DraftError::CurrencyMismatch| {
        let detail = "must be in the currency of the price".to_owned();
        fields.report("compare_at_price", "currency_mismatch", detail);
    });
    Some(ProductDraft {
        sku: sku?,
        name: name?,
        slug: chosen,
        description: description?,
        category: category?,
        prices: prices.ok()?,
        attributes,
        published,
    })
}

// Without `..` in the patterns, so that a new field is not forgotten here.
#[deny(unused_variables)]
fn encode(product: &Product) -> Value {
    let Product {
        id,
        draft,
        slug,
        version,
        created_at,
        updated_at,
    } = product;
    let ProductDraft {
        sku,
        name,
        slug: _,
        description,
        category,
        prices,
        attributes,
        published,
    } = draft;
    let mut body = json!({
        "id": id.as_str(),
        "sku": sku.as_str(),
        "name": name,
        "slug": slug.as_str(),
        "description": description,
        "category": category.as_str(),
        "price": money_json(prices.price()),
        "image_url": format!("/images/{id}-v{version}.svg"),
        "attributes": attributes,
        "rating": { "average": 0, "count": 0 },
        "published": published,
        "version": version,
        "created_at": created_at.to_string(),
        "updated_at": updated_at.to_string(),
    });
    if let (Some(compare), Some(object)) = (prices.compare_at(), body.as_object_mut()) {
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
