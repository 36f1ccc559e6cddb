-- A list in another order than that of prices may still ask for a range of them: the index that gives the order answers that too.
DROP INDEX products_newest;
DROP INDEX products_name;
DROP INDEX products_category_newest;
DROP INDEX products_category_name;
CREATE INDEX products_newest ON products (published, created_at, id, price);
CREATE INDEX products_name ON products (published, name_key, id, price);
CREATE INDEX products_category_newest ON products (category, published, created_at, id, price);
CREATE INDEX products_category_name ON products (category, published, name_key, id, price);
