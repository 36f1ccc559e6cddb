-- Decisions of an order's price that were not made, by name, with spaces between.
ALTER TABLE orders ADD COLUMN flags TEXT NOT NULL DEFAULT '';
