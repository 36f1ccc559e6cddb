CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    number TEXT NOT NULL UNIQUE,
    cart_id TEXT NOT NULL,
    cart_version BIGINT NOT NULL,
    status TEXT NOT NULL,
    email TEXT NOT NULL,
    currency TEXT NOT NULL,
    subtotal BIGINT NOT NULL,
    discount_total BIGINT NOT NULL,
    shipping_total BIGINT NOT NULL,
    tax_total BIGINT NOT NULL,
    total BIGINT NOT NULL,
    shipping_address TEXT NOT NULL,
    billing_address TEXT NOT NULL,
    payment_id TEXT,
    payment_status TEXT,
    payment_token TEXT,
    failure TEXT,
    failure_detail TEXT,
    cancelling BIGINT NOT NULL,
    cancel_reason TEXT,
    reserve_until BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- One cart is never two live orders, whatever keys its checkouts had.
CREATE UNIQUE INDEX orders_cart ON orders (cart_id) WHERE status <> 'failed';
CREATE INDEX orders_unfinished ON orders (status, next_try_at);
CREATE INDEX orders_cancelling ON orders (cancelling, next_try_at);

CREATE TABLE order_items (
    order_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    product_id TEXT NOT NULL,
    sku TEXT NOT NULL,
    name TEXT NOT NULL,
    unit_price BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    line_total BIGINT NOT NULL,
    PRIMARY KEY (order_id, position)
);

CREATE TABLE order_history (
    order_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    status TEXT NOT NULL,
    at BIGINT NOT NULL,
    reason TEXT,
    PRIMARY KEY (order_id, position)
);

CREATE TABLE checkout_keys (
    name TEXT PRIMARY KEY,
    print TEXT NOT NULL,
    order_id TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    answer TEXT,
    expires_at BIGINT NOT NULL
);

CREATE INDEX checkout_keys_expiry ON checkout_keys (expires_at);
