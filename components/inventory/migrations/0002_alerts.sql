-- Grows with every change; with the product the key of its events.
ALTER TABLE stock ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
-- Whether its being low was told; told once until it is filled up.
ALTER TABLE stock ADD COLUMN alerted BIGINT NOT NULL DEFAULT 0;
