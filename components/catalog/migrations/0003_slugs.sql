-- Some names had no letter for a slug. Such products get one from the random end of their id.
UPDATE products SET slug = 'product-' || substr(id, 25) WHERE slug = '';
