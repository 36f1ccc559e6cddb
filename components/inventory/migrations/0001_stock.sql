CREATE TABLE stock (
    product_id TEXT PRIMARY KEY,
    on_hand BIGINT NOT NULL CHECK (on_hand >= 0),
    reserved BIGINT NOT NULL CHECK (reserved >= 0),
    CHECK (reserved <= on_hand)
);

CREATE TABLE adjustments (
    id TEXT PRIMARY KEY,
    product_id TEXT NOT NULL,
    delta BIGINT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX adjustments_product ON adjustments (product_id, created_at);

-- One row per order and product: held, then sold or released; a sale can be taken back (restocked).
CREATE TABLE reservations (
    order_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity > 0),
    status TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (order_id, product_id)
);

CREATE INDEX reservations_expiry ON reservations (status, expires_at);
