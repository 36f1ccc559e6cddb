//! The SQL of the catalog.

use crate::domain::{
    Category, Filter, MAX_CATEGORY_DEPTH, Prices, Product, ProductDraft, Sku, Slug, Sort,
};
use localmart_guest::events::{Event, outbox};
use localmart_guest::kernel::text::sort_key;
use localmart_guest::kernel::{Currency, Cursor, Id, Limit, Money};
use localmart_guest::params;
use localmart_guest::sql::{
    Connection, Database, Decoded, Row, SqlError, Value, decode_rows, transaction,
};

const COLUMNS: &str = "id, sku, name, slug, description, category, price, currency, compare_at_price, attributes, \
                       published, version, created_at, updated_at";

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
        let sql = format!("SELECT {COLUMNS} FROM products WHERE id = CAST($1 AS TEXT)");
        self.one(&sql, params![id]).await
    }

    pub(crate) async fn product_by_slug(&self, slug: &Slug) -> Result<Option<Product>, SqlError> {
        let sql = format!("SELECT {COLUMNS} FROM products WHERE slug = CAST($1 AS TEXT)");
        self.one(&sql, params![slug.as_str()]).await
    }

    async fn one(&self, sql: &str, params: &[Value]) -> Result<Option<Product>, SqlError> {
        let rows = self.database.open().await?.query(sql, params).await?;
        rows.first().map(product).transpose()
    }

    pub(crate) async fn products(&self, ids: &[String]) -> Result<Vec<Product>, SqlError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<String> = (1..=ids.len())
            .map(|n| format!("CAST(${n} AS TEXT)"))
            .collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM products WHERE id IN ({})",
            places.join(", ")
        );
        let params: Vec<Value> = ids.iter().map(Value::from).collect();
        let rows = self.database.open().await?.query(&sql, &params).await?;
        Ok(decode_rows("products", &rows, product).items)
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
        Ok(decode_rows("products", &rows, product))
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
            let sql = "INSERT INTO products (id, sku, name, name_key, slug, description, category, price, currency, \
                       compare_at_price, attributes, published, version, created_at, updated_at) VALUES \
                       (CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT), \
                       CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS BIGINT), CAST($9 AS TEXT), CAST($10 AS BIGINT), \
                       CAST($11 AS TEXT), CAST($12 AS BIGINT), CAST($13 AS BIGINT), CAST($14 AS BIGINT), \
                       CAST($15 AS BIGINT)) ON CONFLICT DO NOTHING";
            if connection.execute(sql, &columns(product)).await? == 1 {
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
            let sql = "UPDATE products SET sku = CAST($2 AS TEXT), name = CAST($3 AS TEXT), \
                       name_key = CAST($4 AS TEXT), slug = CAST($5 AS TEXT), description = CAST($6 AS TEXT), \
                       category = CAST($7 AS TEXT), price = CAST($8 AS BIGINT), currency = CAST($9 AS TEXT), \
                       compare_at_price = CAST($10 AS BIGINT), attributes = CAST($11 AS TEXT), \
                       published = CAST($12 AS BIGINT), version = CAST($13 AS BIGINT), \
                       updated_at = CAST($15 AS BIGINT) \
                       WHERE id = CAST($1 AS TEXT) AND created_at = CAST($14 AS BIGINT) \
                       AND version = CAST($13 AS BIGINT) - 1";
            if connection.execute(sql, &columns(product)).await? == 0 {
                return Ok(WriteOutcome::Changed);
            }
            outbox::record(connection, event, product.updated_at).await?;
            Ok(WriteOutcome::Done)
        })
        .await
    }

    pub(crate) async fn categories(&self) -> Result<Vec<Category>, SqlError> {
        let sql = "SELECT slug, name, parent FROM categories ORDER BY name_key, slug";
        let rows = self.database.open().await?.query(sql, params![]).await?;
        Ok(decode_rows("categories", &rows, category).items)
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
            let sql = "INSERT INTO categories (slug, name, name_key, parent) VALUES \
                       (CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT)) ON CONFLICT DO NOTHING";
            let inserted = connection.execute(sql, &category_columns(category)).await?;
            Ok(if inserted == 1 { WriteOutcome::Done } else { WriteOutcome::SlugTaken })
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
                let sql = "SELECT parent FROM categories WHERE slug = CAST($1 AS TEXT)";
                let rows = connection.query(sql, params![slug.as_str()]).await?;
                let parent = rows.first().map(|row| row.maybe_text(0)).transpose()?;
                ancestor = parent.flatten().map(Slug::stored);
            }
            let sql = "UPDATE categories SET name = CAST($2 AS TEXT), name_key = CAST($3 AS TEXT), \
                       parent = CAST($4 AS TEXT) WHERE slug = CAST($1 AS TEXT)";
            let changed = connection.execute(sql, &category_columns(category)).await?;
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
            let sql = "SELECT 1 FROM products WHERE category = CAST($1 AS TEXT) \
                       UNION ALL SELECT 1 FROM categories WHERE parent = CAST($1 AS TEXT) LIMIT 1";
            if !connection
                .query(sql, params![slug.as_str()])
                .await?
                .is_empty()
            {
                return Ok(WriteOutcome::InUse);
            }
            let sql = "DELETE FROM categories WHERE slug = CAST($1 AS TEXT)";
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
            "category = CAST(${} AS TEXT)",
            parameter(category.as_str().into())
        ));
    }
    // The unary plus keeps the planner from using an index on prices for the range and then sorting the whole range.
    let price = if key == "price" { "price" } else { "+price" };
    if let Some(min) = filter.min_price {
        conditions.push(format!(
            "{price} >= CAST(${} AS BIGINT)",
            parameter(min.into())
        ));
    }
    if let Some(max) = filter.max_price {
        conditions.push(format!(
            "{price} <= CAST(${} AS BIGINT)",
            parameter(max.into())
        ));
    }
    if let Some(after) = after {
        let value = match kind {
            "TEXT" => Value::from(&after.key),
            _ => Value::from(after.key.parse::<i64>().unwrap_or_default()),
        };
        let comparison = if direction == "DESC" { "<" } else { ">" };
        let (key_number, id_number) = (parameter(value), parameter(Value::from(&after.id)));
        conditions.push(format!(
            "({key}, id) {comparison} (CAST(${key_number} AS {kind}), CAST(${id_number} AS TEXT))"
        ));
    }
    let limit = parameter(limit.probe().into());
    let sql = format!(
        "SELECT {COLUMNS} FROM products WHERE {} ORDER BY {key} {direction}, id {direction} LIMIT CAST(${limit} AS BIGINT)",
        conditions.join(" AND ")
    );
    (sql, params)
}

/// Whether the category exists. The row is locked, so that it cannot be deleted before the end of the transaction.
async fn lock_category(connection: &impl Connection, slug: &Slug) -> Result<bool, SqlError> {
    let sql = "UPDATE categories SET name = name WHERE slug = CAST($1 AS TEXT)";
    Ok(connection.execute(sql, params![slug.as_str()]).await? == 1)
}

/// Which unique value of the product another product already has; `Changed` if none.
async fn conflict(
    connection: &impl Connection,
    product: &Product,
) -> Result<WriteOutcome, SqlError> {
    let sql = "SELECT sku FROM products WHERE (sku = CAST($2 AS TEXT) OR slug = CAST($3 AS TEXT)) AND id <> CAST($1 AS TEXT)";
    let params = params![
        &product.id,
        product.draft.sku.as_str(),
        product.slug.as_str()
    ];
    let rows = connection.query(sql, params).await?;
    let mut conflict = WriteOutcome::Changed;
    for row in &rows {
        if row.text(0)? == product.draft.sku.as_str() {
            return Ok(WriteOutcome::SkuTaken);
        }
        conflict = WriteOutcome::SlugTaken;
    }
    Ok(conflict)
}

fn columns(product: &Product) -> Vec<Value> {
    let draft = &product.draft;
    let attributes = serde_json::json!(draft.attributes).to_string();
    let columns: &[Value] = params![
        &product.id,
        draft.sku.as_str(),
        draft.name.as_str(),
        sort_key(&draft.name),
        product.slug.as_str(),
        draft.description.as_str(),
        draft.category.as_str(),
        draft.prices.price().amount(),
        draft.prices.price().currency().code(),
        draft.prices.compare_at().map(|money| money.amount()),
        attributes,
        draft.published,
        product.version,
        product.created_at,
        product.updated_at,
    ];
    columns.to_vec()
}

fn category_columns(category: &Category) -> Vec<Value> {
    let parent = category.parent.as_ref().map(Slug::as_str);
    let columns: &[Value] = params![
        category.slug.as_str(),
        category.name.as_str(),
        sort_key(&category.name),
        parent
    ];
    columns.to_vec()
}

fn product(row: &Row) -> Result<Product, SqlError> {
    let invalid = |what: &str| SqlError::Failed(format!("a product's {what} is not valid"));
    let currency = Currency::parse(&row.text(7)?).map_err(|_| invalid("currency"))?;
    let money = |amount| Money::new(amount, currency).map_err(|_| invalid("price"));
    let compare_at = row.maybe_unsigned(8)?.map(money).transpose()?;
    let draft = ProductDraft {
        sku: Sku::stored(row.text(1)?),
        name: row.text(2)?,
        slug: None,
        description: row.text(4)?,
        category: Slug::stored(row.text(5)?),
        prices: Prices::new(money(row.unsigned(6)?)?, compare_at)
            .map_err(|_| invalid("currency"))?,
        attributes: serde_json::from_str(&row.text(9)?).map_err(|_| invalid("attributes"))?,
        published: row.boolean(10)?,
    };
    Ok(Product {
        id: row.id(0)?,
        draft,
        slug: Slug::stored(row.text(3)?),
        version: row.unsigned(11)?,
        created_at: row.time(12)?,
        updated_at: row.time(13)?,
    })
}

fn category(row: &Row) -> Result<Category, SqlError> {
    Ok(Category {
        slug: Slug::stored(row.text(0)?),
        name: row.text(1)?,
        parent: row.maybe_text(2)?.map(Slug::stored),
    })
}
