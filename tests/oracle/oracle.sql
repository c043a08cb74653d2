-- A naive oracle: what every expression means, written over the raw events in plain SQL. Slow, obvious, and made
-- of nothing that the engine is made of.
CREATE SCHEMA oracle;

-- What counts as an event of a person, with the person it belongs to now. A page's or screen's name and category
-- are properties unless the properties have their own.
CREATE VIEW oracle.events AS
SELECT namespace, profile_id, event, "timestamp" AS at,
    jsonb_strip_nulls(jsonb_build_object('name', name, 'category', category)) || coalesce(properties, '{}') AS properties
FROM cdp.events
WHERE type IN ('track', 'page', 'screen');

-- The leaves of nested objects: their path and value.
CREATE FUNCTION oracle.leaves(object jsonb) RETURNS TABLE (path text[], value jsonb)
LANGUAGE sql IMMUTABLE AS $$
    WITH RECURSIVE tree AS (
        SELECT ARRAY[key] AS path, value FROM jsonb_each(object)
        UNION ALL
        SELECT tree.path || child.key, child.value FROM tree, jsonb_each(tree.value) AS child
        WHERE jsonb_typeof(tree.value) = 'object'
    )
    SELECT path, value FROM tree WHERE jsonb_typeof(value) <> 'object'
$$;

-- Traits of people: of each leaf the newest value; null removed it.
CREATE VIEW oracle.profiles AS
SELECT DISTINCT ON (e.namespace, e.profile_id, l.path) e.namespace, e.profile_id, l.path, nullif(l.value, 'null') AS value
FROM cdp.events AS e, oracle.leaves(e.traits) AS l
WHERE e.type = 'identify'
ORDER BY e.namespace, e.profile_id, l.path, e."timestamp" DESC;

-- Traits of the group that each person joined last.
CREATE VIEW oracle.groups AS
WITH latest AS (
    SELECT DISTINCT ON (namespace, profile_id) namespace, profile_id, group_id
    FROM cdp.events WHERE type = 'group'
    ORDER BY namespace, profile_id, "timestamp" DESC
), newest AS (
    SELECT DISTINCT ON (e.namespace, e.group_id, l.path) e.namespace, e.group_id, l.path, nullif(l.value, 'null') AS value
    FROM cdp.events AS e, oracle.leaves(e.traits) AS l
    WHERE e.type = 'group'
    ORDER BY e.namespace, e.group_id, l.path, e."timestamp" DESC
)
SELECT latest.namespace, latest.profile_id, newest.path, newest.value
FROM latest JOIN newest USING (namespace, group_id);

-- The number, if it is one.
CREATE FUNCTION oracle.number(value jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric END $$;

-- The text, if it is one.
CREATE FUNCTION oracle.text(value jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN jsonb_typeof(value) = 'string' THEN value #>> '{}' END $$;

-- Where values of different types stand in a sorted list.
CREATE FUNCTION oracle.rank(value jsonb) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'boolean' THEN 1 WHEN 'number' THEN 2 WHEN 'string' THEN 3 WHEN 'array' THEN 4 ELSE 5 END
$$;

-- Nothing equals null, and values of different types are neither equal nor unequal.
CREATE FUNCTION oracle.equal(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(jsonb_typeof(a) = jsonb_typeof(b) AND a <> 'null' AND a = b, false) $$;

CREATE FUNCTION oracle.unequal(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(jsonb_typeof(a) = jsonb_typeof(b) AND a <> 'null' AND a <> b, false) $$;

-- Only numbers and texts have an order.
CREATE FUNCTION oracle.less(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        CASE WHEN jsonb_typeof(a) = 'number' AND jsonb_typeof(b) = 'number' THEN oracle.number(a) < oracle.number(b)
             WHEN jsonb_typeof(a) = 'string' AND jsonb_typeof(b) = 'string' THEN oracle.text(a) < oracle.text(b) COLLATE "C" END,
        false)
$$;

CREATE FUNCTION oracle.less_or_equal(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT oracle.less(a, b) OR (oracle.rank(a) IN (2, 3) AND oracle.equal(a, b))
$$;

-- Whole units of so many seconds that have passed.
CREATE FUNCTION oracle.ago(since timestamptz, at timestamptz, seconds numeric) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$ SELECT to_jsonb(floor(extract(epoch FROM at - since) / seconds)) $$;

-- A percentile as the definition says: interpolated between the two numbers next to its rank.
CREATE FUNCTION oracle.percentile(numbers numeric[], percent integer) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb(numbers[1 + place / 100]
        + (numbers[1 + (place + 99) / 100] - numbers[1 + place / 100]) * (place % 100) * 0.01)
    FROM (SELECT percent * (cardinality(numbers) - 1) AS place) AS rank
    WHERE cardinality(numbers) > 0
$$;

CREATE FUNCTION oracle.contains(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        CASE jsonb_typeof(a)
            WHEN 'string' THEN strpos(oracle.text(a), oracle.text(b)) > 0
            WHEN 'array' THEN EXISTS (SELECT FROM jsonb_array_elements(a) AS item WHERE oracle.equal(item, b)) END,
        false)
$$;

CREATE FUNCTION oracle.starts_with(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(starts_with(oracle.text(a), oracle.text(b)), false) $$;

CREATE FUNCTION oracle.ends_with(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(starts_with(reverse(oracle.text(a)), reverse(oracle.text(b))), false) $$;

CREATE FUNCTION oracle.length(a jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT to_jsonb(CASE jsonb_typeof(a) WHEN 'string' THEN char_length(oracle.text(a)) WHEN 'array' THEN jsonb_array_length(a) END)
$$;
