-- What is known of each product. The score is kept so that an index can order by it.
CREATE TABLE popularity (
    product_id TEXT PRIMARY KEY,
    sold BIGINT NOT NULL,
    views BIGINT NOT NULL,
    score BIGINT NOT NULL
);

CREATE INDEX popularity_score ON popularity (score, product_id);

-- How many orders have both; written in both directions.
CREATE TABLE pairs (
    product_id TEXT NOT NULL,
    other_id TEXT NOT NULL,
    orders BIGINT NOT NULL,
    PRIMARY KEY (product_id, other_id)
);

CREATE INDEX pairs_orders ON pairs (product_id, orders, other_id);

-- What each customer bought and looked at.
CREATE TABLE tastes (
    customer_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    bought BIGINT NOT NULL,
    views BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (customer_id, product_id)
);

CREATE INDEX tastes_recent ON tastes (customer_id, last_at);

-- Which orders count. Being paid and being cancelled may be heard of in either order.
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    paid BIGINT NOT NULL,
    cancelled BIGINT NOT NULL
);
