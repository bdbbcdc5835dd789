-- Every statement that reads the mirror for GET all. Listed is what has a position.

-- counts --
-- How many listed objects there are, by owner.
SELECT owner, number
FROM mirror_count
WHERE module = $1 AND addressee = $2 AND number > 0;

-- extremes --
-- Between which moments everything was listed: a date filter outside of them leaves nothing out.
SELECT min(listed_at) AS earliest, max(listed_at) AS latest
FROM mirror_object
WHERE module = $1 AND addressee = $2 AND position IS NOT NULL;

-- count_filtered --
-- How many listed objects a date filter lets through, counted up to $6.
SELECT count(*)
FROM (
    SELECT
    FROM mirror_object
    WHERE module = $1 AND addressee = $2 AND position IS NOT NULL
        AND ($3::text[] IS NULL OR owner = ANY ($3))
        AND ($4::timestamptz IS NULL OR listed_at >= $4)
        AND ($5::timestamptz IS NULL OR listed_at < $5)
    LIMIT $6
) AS found;

-- positions --
-- A page's positions, found by walking along them: when most of what is passed belongs to the list.
SELECT position
FROM mirror_object
WHERE module = $1 AND addressee = $2 AND position > $6
    AND ($3::text[] IS NULL OR owner = ANY ($3))
    AND ($4::timestamptz IS NULL OR listed_at >= $4)
    AND ($5::timestamptz IS NULL OR listed_at < $5)
ORDER BY position
OFFSET $7
LIMIT $8;

-- positions_of_few --
-- The same, found by gathering the list and sorting it: when it is a small part of the mirror.
WITH list AS MATERIALIZED (
    SELECT position
    FROM mirror_object
    WHERE module = $1 AND addressee = $2 AND position IS NOT NULL
        AND ($3::text[] IS NULL OR owner = ANY ($3))
        AND ($4::timestamptz IS NULL OR listed_at >= $4)
        AND ($5::timestamptz IS NULL OR listed_at < $5)
)
SELECT position
FROM list
WHERE position > $6
ORDER BY position
OFFSET $7
LIMIT $8;

-- page_of_all --
-- $5 of everybody's objects behind position $3, or from offset $4 on, with their changed parts. What comes behind that
-- many, or behind $6 bytes, has no body here: it is not read, and belongs to the next page.
WITH found AS (
    SELECT position, owner, object_key, body, part_bytes, least(octet_length(body) + part_bytes, $6)::integer AS bytes
    FROM mirror_object
    WHERE module = $1 AND addressee = $2 AND position > $3
    ORDER BY position
    OFFSET $4
    LIMIT $5 + 1
), page AS (
    SELECT *, row_number() OVER before <= $5 AND sum(bytes) OVER before - bytes < $6 AS is_here
    FROM found
    WINDOW before AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
)
SELECT position, owner, CASE WHEN is_here THEN body END AS body, part.keys AS part_keys, part.bodies AS part_bodies
FROM page
LEFT JOIN LATERAL (
    SELECT array_agg(part_key ORDER BY part_key) AS keys, array_agg(mirror_part.body ORDER BY part_key) AS bodies
    FROM mirror_part
    WHERE is_here AND part_bytes > 0 AND module = $1 AND addressee = $2 AND mirror_part.owner = page.owner
        AND mirror_part.object_key = page.object_key
) AS part ON true
ORDER BY position;

-- objects --
-- The objects at these positions with their changed parts, cut short behind $4 bytes. The bodies left out are not read.
WITH found AS MATERIALIZED (
    SELECT position, owner, object_key, body, part_bytes, least(octet_length(body) + part_bytes, $4)::integer AS bytes
    FROM mirror_object
    WHERE module = $1 AND addressee = $2 AND position = ANY ($3)
), page AS (
    SELECT *, sum(bytes) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before
    FROM found
)
SELECT position, owner, body, part.keys AS part_keys, part.bodies AS part_bodies
FROM page
LEFT JOIN LATERAL (
    SELECT array_agg(part_key ORDER BY part_key) AS keys, array_agg(mirror_part.body ORDER BY part_key) AS bodies
    FROM mirror_part
    WHERE page.part_bytes > 0 AND module = $1 AND addressee = $2 AND mirror_part.owner = page.owner
        AND mirror_part.object_key = page.object_key
) AS part ON true
WHERE bytes_before < $4
ORDER BY position;

-- same_id --
-- The listed network objects of one id and some owners, two at most, with their changed parts.
SELECT owner, body, part.keys AS part_keys, part.bodies AS part_bodies
FROM mirror_object
LEFT JOIN LATERAL (
    SELECT array_agg(part_key ORDER BY part_key) AS keys, array_agg(mirror_part.body ORDER BY part_key) AS bodies
    FROM mirror_part
    WHERE mirror_part.module = mirror_object.module AND mirror_part.owner = mirror_object.owner
        AND mirror_part.object_key = mirror_object.object_key AND mirror_part.addressee = ''
) AS part ON true
WHERE module = $1 AND object_key = $2 AND addressee = '' AND position IS NOT NULL AND owner = ANY ($3)
LIMIT 2;
