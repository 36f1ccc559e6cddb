//! The operations of the catalog: one function each, independent of HTTP and SQL.

use crate::DECLARED;
use crate::domain::{Category, Filter, Product, ProductDraft, Slug, Sort};
use crate::store::{Store, WriteOutcome};
use localmart_events::{EventData as _, Price, ProductUpdated};
use localmart_guest::config::ConfigError;
use localmart_guest::events::Event;
use localmart_guest::http::IfMatch;
use localmart_guest::kernel::page::page;
use localmart_guest::kernel::{Cursor, Id, Limit};
use localmart_guest::ports::Ports;
use localmart_guest::service::Wire;
use localmart_guest::sql::{Database, SqlError};
use localmart_guest::wit::Context;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("there is no such product")]
    ProductNotFound,
    #[error("there is no such category")]
    CategoryNotFound,
    #[error("another product has this sku")]
    SkuTaken,
    #[error("another product or category has this slug")]
    SlugTaken,
    #[error("the category does not exist")]
    UnknownCategory,
    #[error("the parent category does not exist")]
    UnknownParent,
    #[error("the category would be among its own ancestors")]
    CategoryCycle,
    #[error("the category still contains products or categories")]
    CategoryInUse,
    #[error("it was changed in the meantime")]
    VersionConflict,
    #[error(transparent)]
    Sql(#[from] SqlError),
}

type Result<T> = std::result::Result<T, CatalogError>;

/// The operations of the catalog.
pub(crate) struct Catalog<D> {
    store: Store<D>,
    ports: Ports,
}

/// A page of products, and the cursor of the next page.
pub(crate) type ProductPage = (Vec<Product>, Option<String>);

impl<D: Database + From<&'static str>> Wire for Catalog<D> {
    async fn wire(ports: Ports) -> std::result::Result<Self, ConfigError> {
        Ok(Self::new(D::from(DECLARED.noun), ports))
    }
}

impl<D: Database> Catalog<D> {
    pub(crate) fn new(database: D, ports: Ports) -> Self {
        Self {
            store: Store::new(database),
            ports,
        }
    }

    /// The product with this id or slug. Only staff see unpublished products.
    pub(crate) async fn product(&self, id_or_slug: &str, staff: bool) -> Result<Product> {
        let found = match Id::parse(id_or_slug) {
            Some(id) => self.store.product(&id).await?,
            None => match Slug::parse(id_or_slug) {
                Some(slug) => self.store.product_by_slug(&slug).await?,
                None => None,
            },
        };
        found
            .filter(|product| staff || product.draft.published)
            .ok_or(CatalogError::ProductNotFound)
    }

    /// The products with these ids, published or not; unknown ones are left out.
    pub(crate) async fn products_by_id(&self, ids: &[String]) -> Result<Vec<Product>> {
        Ok(self.store.products(ids).await?)
    }

    /// A page of published products.
    pub(crate) async fn products(
        &self,
        filter: &Filter,
        sort: Sort,
        limit: Limit,
        after: Option<&Cursor>,
    ) -> Result<ProductPage> {
        let found = self.store.list(filter, sort, limit, after).await?;
        let after = |last: &Product| cursor(sort, last);
        Ok(page(found.items, found.rows, limit, after))
    }

    pub(crate) async fn create(&self, context: &Context, draft: ProductDraft) -> Result<Product> {
        let (now, id) = (self.ports.now(), self.ports.new_id());
        let slug = draft.slug.clone().unwrap_or_else(|| {
            let texts = [draft.name.as_str(), draft.sku.as_str()];
            Slug::from_texts(&texts, "product", &id)
        });
        let mut product = Product {
            id,
            draft,
            slug,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let mut outcome = self.insert(context, &product).await?;
        if matches!(outcome, WriteOutcome::SlugTaken) && product.draft.slug.is_none() {
            // The slug was derived from the name, and several products may have the same name.
            product.slug = product.slug.with_suffix_of(&product.id);
            outcome = self.insert(context, &product).await?;
        }
        match outcome {
            WriteOutcome::Done => Ok(product),
            refused => Err(refusal(refused)),
        }
    }

    async fn insert(&self, context: &Context, product: &Product) -> Result<WriteOutcome> {
        let event = self.updated(context, product);
        Ok(self.store.insert(product, &event).await?)
    }

    /// Replaces a product. Without a slug in the draft, the product keeps its slug.
    pub(crate) async fn replace(
        &self,
        context: &Context,
        id: &str,
        draft: ProductDraft,
        if_match: Option<IfMatch>,
    ) -> Result<Product> {
        self.change(context, id, if_match, |_| Ok(draft)).await
    }

    /// Changes a product. `edit` makes the new fields of the present ones, or refuses.
    pub(crate) async fn change<E: From<CatalogError>>(
        &self,
        context: &Context,
        id: &str,
        if_match: Option<IfMatch>,
        edit: impl FnOnce(ProductDraft) -> std::result::Result<ProductDraft, E>,
    ) -> std::result::Result<Product, E> {
        let known = self.changeable(id, if_match).await?;
        let draft = edit(known.draft)?;
        let product = Product {
            slug: draft.slug.clone().unwrap_or(known.slug),
            draft,
            id: known.id,
            version: known.version + 1,
            created_at: known.created_at,
            updated_at: self.ports.now(),
        };
        let event = self.updated(context, &product);
        let written = self.store.update(&product, &event).await;
        match written.map_err(CatalogError::from)? {
            WriteOutcome::Done => Ok(product),
            refused => Err(refusal(refused).into()),
        }
    }

    async fn changeable(&self, id: &str, if_match: Option<IfMatch>) -> Result<Product> {
        let id = Id::parse(id).ok_or(CatalogError::ProductNotFound)?;
        let known = self.store.product(&id).await?;
        let known = known.ok_or(CatalogError::ProductNotFound)?;
        match if_match {
            Some(versions) if !versions.allows(known.version) => Err(CatalogError::VersionConflict),
            _ => Ok(known),
        }
    }

    /// Unpublishes a product. Orders that contain it stay valid.
    pub(crate) async fn unpublish(
        &self,
        context: &Context,
        id: &str,
        if_match: Option<IfMatch>,
    ) -> Result<()> {
        let hidden = |draft| {
            Ok(ProductDraft {
                published: false,
                ..draft
            })
        };
        let changed: Result<Product> = self.change(context, id, if_match, hidden).await;
        changed.map(drop)
    }

    /// The event `product.updated` for a product.
    fn updated(&self, context: &Context, product: &Product) -> Event {
        let (draft, id) = (&product.draft, product.id.as_str());
        let event = Event::new(
            &self.ports.new_id(),
            "product.updated",
            "catalog",
            id,
            product.version,
            product.updated_at,
        );
        let data = ProductUpdated {
            product_id: id.to_owned(),
            sku: draft.sku.as_str().to_owned(),
            name: draft.name.clone(),
            slug: product.slug.as_str().to_owned(),
            description: draft.description.clone(),
            category: draft.category.as_str().to_owned(),
            price: Price {
                amount: draft.prices.price().amount(),
                currency: draft.prices.price().currency().code().to_owned(),
            },
            published: draft.published,
            version: product.version,
            updated_at: product.updated_at.to_string(),
        };
        event.with(data.to_value()).in_trace(&context.trace_parent)
    }

    pub(crate) async fn categories(&self) -> Result<Vec<Category>> {
        Ok(self.store.categories().await?)
    }

    /// Creates a category. Without a slug it gets one from its name.
    pub(crate) async fn create_category(
        &self,
        slug: Option<Slug>,
        name: String,
        parent: Option<Slug>,
    ) -> Result<Category> {
        let id = self.ports.new_id();
        let slug = slug.unwrap_or_else(|| Slug::from_texts(&[&name], "category", &id));
        let category = Category { slug, name, parent };
        match self.store.insert_category(&category).await? {
            WriteOutcome::Done => Ok(category),
            refused => Err(refusal(refused)),
        }
    }

    pub(crate) async fn replace_category(
        &self,
        slug: &str,
        name: String,
        parent: Option<Slug>,
    ) -> Result<Category> {
        let slug = Slug::parse(slug).ok_or(CatalogError::CategoryNotFound)?;
        let category = Category { slug, name, parent };
        match self.store.update_category(&category).await? {
            WriteOutcome::Done => Ok(category),
            refused => Err(refusal(refused)),
        }
    }

    pub(crate) async fn delete_category(&self, slug: &str) -> Result<()> {
        let slug = Slug::parse(slug).ok_or(CatalogError::CategoryNotFound)?;
        match self.store.delete_category(&slug).await? {
            WriteOutcome::Done => Ok(()),
            refused => Err(refusal(refused)),
        }
    }
}

/// The cursor of the page after this product.
fn cursor(sort: Sort, last: &Product) -> Cursor {
    use localmart_guest::kernel::text::sort_key;
    let key = match sort {
        Sort::Newest => last.created_at.ms().to_string(),
        Sort::PriceAscending | Sort::PriceDescending => {
            last.draft.prices.price().amount().to_string()
        }
        Sort::Name => sort_key(&last.draft.name),
    };
    Cursor {
        order: sort.name().to_owned(),
        key,
        id: last.id.to_string(),
    }
}

fn refusal(refused: WriteOutcome) -> CatalogError {
    match refused {
        WriteOutcome::SkuTaken => CatalogError::SkuTaken,
        WriteOutcome::SlugTaken => CatalogError::SlugTaken,
        WriteOutcome::UnknownCategory => CatalogError::UnknownCategory,
        WriteOutcome::UnknownParent => CatalogError::UnknownParent,
        WriteOutcome::Cycle => CatalogError::CategoryCycle,
        WriteOutcome::InUse => CatalogError::CategoryInUse,
        WriteOutcome::Gone => CatalogError::CategoryNotFound,
        WriteOutcome::Done | WriteOutcome::Changed => CatalogError::VersionConflict,
    }
}
