//! The SQL of the catalog.

use crate::domain::{
    Category, Filter, MAX_CATEGORY_DEPTH, Prices, Product, ProductDraft, Sku, Slug, Sort,
};
use localmart_guest::events::{Event, outbox};
use localmart_guest::kernel::text::sort_key;
use localmart_guest::kernel::{Cursor, Id, Limit, Money};
use localmart_guest::sql::{
    Connection, Database, Decoded, Part, Row, SqlError, Stored as _, Value, decode_rows, places,
    transaction,
};
use localmart_guest::{columns, params, text_column};

columns! {
    impl Product in "products" { id, draft, slug, version, created_at, updated_at }
}

columns! {
    impl ProductDraft {
        sku,
        name with "name_key" = sort_key,
        description,
        category,
        prices,
        attributes,
        published;
        slug
    }
}

columns! {
    impl Category in "categories" { slug, name with "name_key" = sort_key, parent }
}

/// The currency is stored once.
impl Part for Prices {
    fn names(_: &'static str, out: &mut Vec<&'static str>) {
        Money::names("price", out);
        out.push("compare_at_price");
    }

    fn read(row: &Row, _: &str) -> Result<Self, SqlError> {
        let invalid = || SqlError::Failed("a product's prices are not valid".to_owned());
        let price: Money = Part::read(row, "price")?;
        let compare_at: Option<u64> = row.get("compare_at_price")?;
        let money = |amount| Money::new(amount, price.currency()).map_err(|_| invalid());
        Self::new(price, compare_at.map(money).transpose()?).map_err(|_| invalid())
    }

    fn write(&self, out: &mut Vec<Value>) {
        let compare_at = self.compare_at().map(|money| money.amount());
        self.price().write(out);
        out.push(compare_at.into());
    }
}

text_column! {
    Sku: Sku::as_str, |text: &str| Some(Sku::stored(text.to_owned()));
    Slug: Slug::as_str, |text: &str| Some(Slug::stored(text.to_owned()));
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    Done,
    SkuTaken,
    SlugTaken,
    UnknownCategory,
    UnknownParent,
    /// The category would be among its own ancestors.
    Cycle,
    InUse,
    /// The row does not exist.
    Gone,
    /// The row has another version.
    Changed,
}

pub(crate) struct Store<D> {
    database: D,
}

impl<D: Database> Store<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database }
    }

    pub(crate) async fn product(&self, id: &Id) -> Result<Option<Product>, SqlError> {
        self.one("WHERE id = $1", params![id]).await
    }

    pub(crate) async fn product_by_slug(&self, slug: &Slug) -> Result<Option<Product>, SqlError> {
        self.one("WHERE slug = $1", params![slug.as_str()]).await
    }

    async fn one(&self, condition: &str, params: &[Value]) -> Result<Option<Product>, SqlError> {
        let sql = Product::select(condition);
        let rows = self.database.open().await?.query(&sql, params).await?;
        rows.first().map(Product::of_row).transpose()
    }

    pub(crate) async fn products(&self, ids: &[String]) -> Result<Vec<Product>, SqlError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = Product::select(&format!("WHERE id IN ({})", places(1..=ids.len())));
        let params: Vec<Value> = ids.iter().map(Value::from).collect();
        let rows = self.database.open().await?.query(&sql, &params).await?;
        Ok(decode_rows("products", &rows, Product::of_row).items)
    }

    pub(crate) async fn list(
        &self,
        filter: &Filter,
        sort: Sort,
        limit: Limit,
        after: Option<&Cursor>,
    ) -> Result<Decoded<Product>, SqlError> {
        let (sql, params) = list_statement(filter, sort, limit, after);
        let rows = self.database.open().await?.query(&sql, &params).await?;
        Ok(decode_rows("products", &rows, Product::of_row))
    }

    pub(crate) async fn insert(
        &self,
        product: &Product,
        event: &Event,
    ) -> Result<WriteOutcome, SqlError> {
        transaction(&self.database, async |connection| {
            if !lock_category(connection, &product.draft.category).await? {
                return Ok(WriteOutcome::UnknownCategory);
            }
            let sql = Product::insert("ON CONFLICT DO NOTHING");
            if connection.execute(&sql, &product.values()).await? == 1 {
                outbox::record(connection, event, product.updated_at).await?;
                return Ok(WriteOutcome::Done);
            }
            conflict(connection, product).await
        })
        .await
    }

    /// Writes a product over its previous version.
    pub(crate) async fn update(
        &self,
        product: &Product,
        event: &Event,
    ) -> Result<WriteOutcome, SqlError> {
        transaction(&self.database, async |connection| {
            if !lock_category(connection, &product.draft.category).await? {
                return Ok(WriteOutcome::UnknownCategory);
            }
            let conflict = conflict(connection, product).await?;
            if conflict != WriteOutcome::Changed {
                return Ok(conflict);
            }
            let sql = Product::update("id = :id AND version = :version - 1");
            if connection.execute(&sql, &product.values()).await? == 0 {
                return Ok(WriteOutcome::Changed);
            }
            outbox::record(connection, event, product.updated_at).await?;
            Ok(WriteOutcome::Done)
        })
        .await
    }

    pub(crate) async fn categories(&self) -> Result<Vec<Category>, SqlError> {
        let sql = Category::select("ORDER BY name_key, slug");
        let rows = self.database.open().await?.query(&sql, params![]).await?;
        Ok(decode_rows("categories", &rows, Category::of_row).items)
    }

    pub(crate) async fn insert_category(
        &self,
        category: &Category,
    ) -> Result<WriteOutcome, SqlError> {
        transaction(&self.database, async |connection| {
            if let Some(parent) = &category.parent
                && !lock_category(connection, parent).await?
            {
                return Ok(WriteOutcome::UnknownParent);
            }
            let sql = Category::insert("ON CONFLICT DO NOTHING");
            let inserted = connection.execute(&sql, &category.values()).await?;
            Ok(if inserted == 1 {
                WriteOutcome::Done
            } else {
                WriteOutcome::SlugTaken
            })
        })
        .await
    }

    pub(crate) async fn update_category(
        &self,
        category: &Category,
    ) -> Result<WriteOutcome, SqlError> {
        transaction(&self.database, async |connection| {
            // Two changes that would form a cycle together lock a category in common, so the later one sees the earlier.
            lock_category(connection, &category.slug).await?;
            let mut ancestor = category.parent.clone();
            let mut depth = 0;
            while let Some(slug) = ancestor {
                depth += 1;
                if slug == category.slug || depth > MAX_CATEGORY_DEPTH {
                    return Ok(WriteOutcome::Cycle);
                }
                if !lock_category(connection, &slug).await? {
                    return Ok(WriteOutcome::UnknownParent);
                }
                let sql = "SELECT parent FROM categories WHERE slug = $1";
                let rows = connection.query(sql, params![slug.as_str()]).await?;
                let parent = rows.first().map(|row| row.get("parent")).transpose()?;
                ancestor = parent.flatten();
            }
            let sql = Category::update("slug = :slug");
            let changed = connection.execute(&sql, &category.values()).await?;
            Ok(if changed == 1 {
                WriteOutcome::Done
            } else {
                WriteOutcome::Gone
            })
        })
        .await
    }

    pub(crate) async fn delete_category(&self, slug: &Slug) -> Result<WriteOutcome, SqlError> {
        transaction(&self.database, async |connection| {
            if !lock_category(connection, slug).await? {
                return Ok(WriteOutcome::Gone);
            }
            let sql = "SELECT 1 FROM products WHERE category = $1 \
                       UNION ALL SELECT 1 FROM categories WHERE parent = $1 LIMIT 1";
            if !connection
                .query(sql, params![slug.as_str()])
                .await?
                .is_empty()
            {
                return Ok(WriteOutcome::InUse);
            }
            let sql = "DELETE FROM categories WHERE slug = $1";
            let deleted = connection.execute(sql, params![slug.as_str()]).await?;
            Ok(if deleted == 1 {
                WriteOutcome::Done
            } else {
                WriteOutcome::Gone
            })
        })
        .await
    }
}

/// The query of a page. It continues after a key instead of an offset, so that page 1000 costs as much as page 1.
pub(crate) fn list_statement(
    filter: &Filter,
    sort: Sort,
    limit: Limit,
    after: Option<&Cursor>,
) -> (String, Vec<Value>) {
    let (key, kind, direction) = match sort {
        Sort::Newest => ("created_at", "BIGINT", "DESC"),
        Sort::PriceAscending => ("price", "BIGINT", "ASC"),
        Sort::PriceDescending => ("price", "BIGINT", "DESC"),
        Sort::Name => ("name_key", "TEXT", "ASC"),
    };
    let mut params: Vec<Value> = Vec::new();
    let mut conditions = vec!["published = 1".to_owned()];
    let mut parameter = |value: Value| {
        params.push(value);
        params.len()
    };
    if let Some(category) = &filter.category {
        conditions.push(format!(
            "category = ${}",
            parameter(category.as_str().into())
        ));
    }
    // The unary plus keeps the planner from using an index on prices for the range and then sorting the whole range.
    let price = if key == "price" { "price" } else { "+price" };
    if let Some(min) = filter.min_price {
        conditions.push(format!("{price} >= ${}", parameter(min.into())));
    }
    if let Some(max) = filter.max_price {
        conditions.push(format!("{price} <= ${}", parameter(max.into())));
    }
    if let Some(after) = after {
        let value = match kind {
            "TEXT" => Value::from(&after.key),
            _ => Value::from(after.key.parse::<i64>().unwrap_or_default()),
        };
        let comparison = if direction == "DESC" { "<" } else { ">" };
        let (key_number, id_number) = (parameter(value), parameter(Value::from(&after.id)));
        conditions.push(format!(
            "({key}, id) {comparison} (${key_number}, ${id_number})"
        ));
    }
    let limit = parameter(limit.probe().into());
    let sql = format!(
        "WHERE {} ORDER BY {key} {direction}, id {direction} LIMIT ${limit}",
        conditions.join(" AND ")
    );
    (Product::select(&sql), params)
}

/// Whether the category exists. The row is locked, so that it cannot be deleted before the end of the transaction.
async fn lock_category(connection: &impl Connection, slug: &Slug) -> Result<bool, SqlError> {
    let sql = "UPDATE categories SET name = name WHERE slug = $1";
    Ok(connection.execute(sql, params![slug.as_str()]).await? == 1)
}

/// Which unique value of the product another product already has; `Changed` if none.
async fn conflict(
    connection: &impl Connection,
    product: &Product,
) -> Result<WriteOutcome, SqlError> {
    let sql = "SELECT sku FROM products WHERE (sku = $2 OR slug = $3) AND id <> $1";
    let params = params![
        &product.id,
        product.draft.sku.as_str(),
        product.slug.as_str()
    ];
    let rows = connection.query(sql, params).await?;
    let mut conflict = WriteOutcome::Changed;
    for row in &rows {
        if row.get::<Sku>("sku")? == product.draft.sku {
            return Ok(WriteOutcome::SkuTaken);
        }
        conflict = WriteOutcome::SlugTaken;
    }
    Ok(conflict)
}
