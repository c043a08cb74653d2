-- The purchases as a table, one row each. No extension is needed for this. Run from the root of the checkout.
CREATE TEMP TABLE packed (customer text, purchases text);
\copy packed FROM 'examples/cdnow/purchases.csv' WITH (FORMAT csv, HEADER)

CREATE TEMP TABLE purchases AS
SELECT customer, number, day, cds::integer AS cds, cents::numeric(12) AS cents,
    '1997-01-01 00:00:00+00'::timestamptz + day::integer * interval '24 hours' AS at
FROM packed
CROSS JOIN LATERAL unnest(string_to_array(purchases, ' ')) WITH ORDINALITY AS one (purchase, number)
CROSS JOIN LATERAL (SELECT split_part(purchase, ':', 1), split_part(purchase, ':', 2), split_part(purchase, ':', 3)) AS parts (day, cds, cents);
ANALYZE purchases;
