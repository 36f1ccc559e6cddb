-- How much of a sale came back, piece by piece; a sale taken back whole is `restocked`.
ALTER TABLE reservations ADD COLUMN returned BIGINT NOT NULL DEFAULT 0;

-- What came back, under the id of the return: the same return changes stock once.
CREATE TABLE returned_lines (
    return_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (return_id, product_id)
);
