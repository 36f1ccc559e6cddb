CREATE TABLE categories (
    slug TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    parent TEXT
);

CREATE TABLE products (
    id TEXT PRIMARY KEY,
    sku TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    category TEXT NOT NULL,
    price BIGINT NOT NULL,
    currency TEXT NOT NULL,
    compare_at_price BIGINT,
    attributes TEXT NOT NULL,
    published BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX products_newest ON products (published, created_at, id);
CREATE INDEX products_price ON products (published, price, id);
CREATE INDEX products_name ON products (published, name_key, id);
CREATE INDEX products_category_newest ON products (category, published, created_at, id);
CREATE INDEX products_category_price ON products (category, published, price, id);
CREATE INDEX products_category_name ON products (category, published, name_key, id);
