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

-- objects --
-- The objects at these positions with their changed parts, cut short behind $4 bytes. The bodies left out are not read.
WITH found AS MATERIALIZED (
    SELECT position, owner, object_key, body, octet_length(body) + (
        SELECT coalesce(sum(octet_length(mirror_part.body)), 0)
        FROM mirror_part
        WHERE mirror_part.module = $1 AND mirror_part.addressee = $2 AND mirror_part.owner = mirror_object.owner
            AND mirror_part.object_key = mirror_object.object_key
    ) AS bytes
    FROM mirror_object
    WHERE module = $1 AND addressee = $2 AND position = ANY ($3)
), page AS (
    SELECT position, owner, object_key, body, sum(bytes) OVER (ORDER BY position) - bytes AS bytes_before
    FROM found
)
SELECT position, owner, body, part.keys AS part_keys, part.bodies AS part_bodies
FROM page
LEFT JOIN LATERAL (
    SELECT array_agg(part_key ORDER BY part_key) AS keys, array_agg(mirror_part.body ORDER BY part_key) AS bodies
    FROM mirror_part
    WHERE module = $1 AND addressee = $2 AND mirror_part.owner = page.owner
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
