-- Every statement about the mirror and the broadcasts. Objects come as one array per column.

-- lock_objects --
-- Wait for the right to change these objects, until the transaction ends; whoever wants several sorts them.
SELECT pg_advisory_xact_lock(lock.number)
FROM unnest($1::bigint[]) AS lock (number);

-- read_objects --
-- What is stored of these objects; the body where it is needed.
SELECT wanted.number, stored.platform_id, stored.version, stored.path, stored.query,
    stored.position IS NOT NULL AS is_listed, stored.body IS NOT NULL AS has_body,
    CASE WHEN wanted.whole THEN stored.body END AS body,
    coalesce(octet_length(stored.body), 0) AS body_bytes, stored.part_bytes,
    stored.evse_uids, stored.last_updated, stored.received_at, stored.broadcast, stored.deleted, stored.expires_at
FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[])
    AS wanted (number, module, owner, object_key, addressee, whole)
JOIN mirror_object AS stored USING (module, object_key, owner, addressee);

-- read_parts --
-- These EVSEs, as far as they are stored by themselves.
SELECT wanted.number, stored.part_key, stored.body
FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS wanted (number, module, owner, object_key, addressee, part_key)
JOIN mirror_part AS stored USING (module, object_key, owner, addressee, part_key);

-- read_all_parts --
-- All EVSEs that are stored by themselves of these locations.
SELECT wanted.number, stored.part_key, stored.body
FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[])
    AS wanted (number, module, owner, object_key, addressee)
JOIN mirror_part AS stored USING (module, object_key, owner, addressee);

-- take_order --
-- Wait for and hold the right to give ids and positions until the transaction ends, so that they are seen in their
-- order; give NULL and so many ids.
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(78257205))
SELECT CASE WHEN step.number > 0 THEN nextval('broadcast_id') END
FROM turn, generate_series(0, $1::integer) AS step (number);

-- insert_objects --
-- Objects not known before.
INSERT INTO mirror_object (
    module, owner, object_key, addressee, platform_id, version, path, query, position, body, evse_uids,
    last_updated, received_at, listed_at, broadcast, deleted, expires_at, part_bytes
)
SELECT module, owner, object_key, addressee, platform_id, version, path, query,
    CASE WHEN is_listed THEN nextval('mirror_position') END, body, string_to_array(evse_uids, E'\n'),
    last_updated, received_at, CASE WHEN is_listed THEN greatest(last_updated, received_at) END,
    broadcast, deleted, expires_at, part_bytes
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::boolean[],
    $10::text[], $11::timestamptz[], $12::timestamptz[], $13::bigint[], $14::boolean[], $15::timestamptz[],
    $16::bigint[], $17::bytea[]
) AS taken (
    module, owner, object_key, addressee, platform_id, version, path, query, is_listed,
    evse_uids, last_updated, received_at, broadcast, deleted, expires_at, part_bytes, body
);

-- update_objects --
-- What has changed of objects but for their bodies, which stay where they are; so do the uids where they are NULL here.
UPDATE mirror_object AS stored
SET platform_id = taken.platform_id,
    version = taken.version,
    path = taken.path,
    query = taken.query,
    position = CASE WHEN taken.is_listed THEN coalesce(stored.position, nextval('mirror_position')) END,
    evse_uids = coalesce(string_to_array(taken.evse_uids, E'\n'), stored.evse_uids),
    last_updated = taken.last_updated,
    received_at = taken.received_at,
    listed_at = CASE WHEN taken.is_listed THEN greatest(taken.last_updated, taken.received_at) END,
    broadcast = taken.broadcast,
    deleted = taken.deleted,
    expires_at = taken.expires_at,
    part_bytes = taken.part_bytes
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::boolean[],
    $10::text[], $11::timestamptz[], $12::timestamptz[], $13::bigint[], $14::boolean[], $15::timestamptz[],
    $16::bigint[]
) AS taken (
    module, owner, object_key, addressee, platform_id, version, path, query, is_listed,
    evse_uids, last_updated, received_at, broadcast, deleted, expires_at, part_bytes
)
WHERE (stored.module, stored.object_key, stored.owner, stored.addressee)
    = (taken.module, taken.object_key, taken.owner, taken.addressee);

-- replace_objects --
-- Objects with new bodies.
UPDATE mirror_object AS stored
SET platform_id = taken.platform_id,
    version = taken.version,
    path = taken.path,
    query = taken.query,
    position = CASE WHEN taken.is_listed THEN coalesce(stored.position, nextval('mirror_position')) END,
    evse_uids = coalesce(string_to_array(taken.evse_uids, E'\n'), stored.evse_uids),
    last_updated = taken.last_updated,
    received_at = taken.received_at,
    listed_at = CASE WHEN taken.is_listed THEN greatest(taken.last_updated, taken.received_at) END,
    broadcast = taken.broadcast,
    deleted = taken.deleted,
    expires_at = taken.expires_at,
    part_bytes = taken.part_bytes,
    body = taken.body
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::boolean[],
    $10::text[], $11::timestamptz[], $12::timestamptz[], $13::bigint[], $14::boolean[], $15::timestamptz[],
    $16::bigint[], $17::bytea[]
) AS taken (
    module, owner, object_key, addressee, platform_id, version, path, query, is_listed,
    evse_uids, last_updated, received_at, broadcast, deleted, expires_at, part_bytes, body
)
WHERE (stored.module, stored.object_key, stored.owner, stored.addressee)
    = (taken.module, taken.object_key, taken.owner, taken.addressee);

-- put_again --
-- New bodies, none with an earlier last_updated, of objects that are listed and have no parts; gives the numbers of those
-- that are not so, where nothing has changed. All comes as lines, times in microseconds, and the bodies in one piece:
-- arrays cost the hub ten times as much.
WITH held AS MATERIALIZED (
    SELECT count(pg_advisory_xact_lock(lock.number)) AS locks
    FROM unnest(string_to_array($1::text, E'\n')::bigint[]) AS lock (number)
), given AS (
    SELECT given.*, sum(size) OVER (ORDER BY number) AS until
    FROM unnest(
        string_to_array($2::text, E'\n'), string_to_array($3::text, E'\n'), string_to_array($4::text, E'\n'),
        string_to_array($5::text, E'\n'), string_to_array($6::text, E'\n'), string_to_array($7::text, E'\n'),
        string_to_array($8::text, E'\n')::integer[], string_to_array($9::text, E'\n')::bigint[],
        string_to_array($10::text, E'\n')::bigint[], string_to_array($11::text, E'\n')::integer[]
    ) WITH ORDINALITY AS given (
        module, owner, object_key, addressee, version, path, platform_id, updated, received, size, number
    )
), taken AS MATERIALIZED (
    SELECT given.*, timestamptz 'epoch' + updated * interval '1 microsecond' AS last_updated,
        timestamptz 'epoch' + received * interval '1 microsecond' AS received_at,
        substring($12::bytea FROM (until - size + 1)::integer FOR size) AS body
    FROM held, given
    WHERE held.locks IS NOT NULL
), changed AS (
    UPDATE mirror_object AS stored
    SET platform_id = taken.platform_id,
        version = taken.version,
        path = taken.path,
        last_updated = taken.last_updated,
        received_at = taken.received_at,
        listed_at = greatest(taken.last_updated, taken.received_at),
        body = taken.body
    FROM taken
    WHERE (stored.module, stored.object_key, stored.owner, stored.addressee)
            = (taken.module, taken.object_key, taken.owner, taken.addressee)
        AND stored.listed_at IS NOT NULL  -- not position: the primary key shall find them, not an index of what is listed
        AND (stored.last_updated IS NULL OR stored.last_updated <= taken.last_updated)
    RETURNING taken.number
)
SELECT number - 1
FROM taken
WHERE number NOT IN (SELECT number FROM changed);

-- check_objects --
-- Objects found unchanged in their owners' lists.
UPDATE mirror_object AS stored
SET checked_at = found.checked_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    AS found (module, owner, object_key, addressee, checked_at)
WHERE (stored.module, stored.object_key, stored.owner, stored.addressee)
    = (found.module, found.object_key, found.owner, found.addressee);

-- drop_parts --
-- Forget the EVSEs of locations that came whole.
DELETE FROM mirror_part AS stored
USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS gone (module, owner, object_key, addressee)
WHERE (stored.module, stored.object_key, stored.owner, stored.addressee)
    = (gone.module, gone.object_key, gone.owner, gone.addressee);

-- put_parts --
-- EVSEs that changed.
INSERT INTO mirror_part (module, owner, object_key, addressee, part_key, body)
SELECT *
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])
ON CONFLICT (module, object_key, owner, addressee, part_key) DO UPDATE
SET body = excluded.body;

-- count_objects --
-- How many listed objects there are more, or fewer.
INSERT INTO mirror_count AS counted (module, owner, addressee, number)
SELECT *
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (module, owner, addressee) DO UPDATE
SET number = counted.number + excluded.number;

-- listed_objects --
-- How many objects of each module lists can show.
SELECT module, sum(number)::bigint AS number
FROM mirror_count
GROUP BY module;

-- add_broadcasts --
-- Accepted broadcasts, with ids that take_order gave; whoever has these is the only one who adds any.
WITH before AS (
    SELECT coalesce(max(bytes_until), 0) AS bytes
    FROM broadcast
    WHERE id = (SELECT max(id) FROM broadcast)
)
INSERT INTO broadcast (
    id, accepted_at, platform_id, sender, version, module, operation, method, path, query, content_type, body,
    correlation_id, owner, object_key, previous, is_complete, bytes_until
)
SELECT added.*, before.bytes + sum(octet_length(body) + octet_length(path) + octet_length(query) + 300) OVER (ORDER BY id)
FROM before, unnest(
    $1::bigint[], $2::timestamptz[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::bytea[], $13::text[], $14::text[], $15::text[], $16::bigint[],
    $17::boolean[]
) AS added (
    id, accepted_at, platform_id, sender, version, module, operation, method, path, query, content_type, body,
    correlation_id, owner, object_key, previous, is_complete
);

-- current --
-- One network object with its changed EVSEs.
SELECT module, owner, object_key, addressee, path, query, body, broadcast, deleted, platform_id, version,
    parts.keys AS part_keys, parts.bodies AS part_bodies
FROM mirror_object AS stored
CROSS JOIN LATERAL (
    SELECT array_agg(part_key) AS keys, array_agg(body) AS bodies
    FROM mirror_part AS part
    WHERE (part.module, part.object_key, part.owner, part.addressee)
        = (stored.module, stored.object_key, stored.owner, stored.addressee)
) AS parts
WHERE module = $1 AND owner = $2 AND object_key = $3 AND addressee = $4;

-- changed_since --
-- Network objects by their last broadcast, with their changed EVSEs.
SELECT module, owner, object_key, addressee, path, query, body, broadcast, deleted, platform_id, version,
    parts.keys AS part_keys, parts.bodies AS part_bodies
FROM (
    SELECT *
    FROM mirror_object
    WHERE broadcast > $1 AND addressee = ''
    ORDER BY broadcast
    LIMIT $2
) AS stored
CROSS JOIN LATERAL (
    SELECT array_agg(part_key) AS keys, array_agg(body) AS bodies
    FROM mirror_part AS part
    WHERE (part.module, part.object_key, part.owner, part.addressee)
        = (stored.module, stored.object_key, stored.owner, stored.addressee)
) AS parts
ORDER BY broadcast;

-- broadcasts_after --
-- Accepted broadcasts in their order, but for some.
SELECT id, accepted_at, platform_id, sender, version, module, operation, method, path, query, content_type, body,
    correlation_id, owner, object_key, previous, is_complete
FROM broadcast
WHERE id > $1 AND id <> ALL ($3::bigint[])
ORDER BY id
LIMIT $2;

-- incomplete_between --
-- Accepted broadcasts that their objects do not contain, since the mirror has not the whole of them.
SELECT id, accepted_at, platform_id, sender, version, module, operation, method, path, query, content_type, body,
    correlation_id, owner, object_key, previous, is_complete
FROM broadcast
WHERE id > $1 AND id <= $2 AND NOT is_complete
ORDER BY id
LIMIT $3;

-- last_broadcast --
-- The last accepted broadcast; it is never dropped.
SELECT coalesce(max(id), 0)
FROM broadcast;

-- known --
-- Every object of this id that is not deleted and whose time is not over, the one last heard of first.
SELECT module, owner, object_key, addressee, evse_uids, platform_id
FROM mirror_object
WHERE module = $1 AND object_key = $2 AND NOT deleted AND (expires_at IS NULL OR expires_at > $3)
ORDER BY received_at DESC;

-- find_old --
-- Objects of a module that were last received before a time.
SELECT module, owner, object_key, addressee, received_at
FROM mirror_object
WHERE module = $1 AND received_at < $2
LIMIT $3;

-- find_expired --
-- Objects whose time is over.
SELECT module, owner, object_key, addressee, received_at
FROM mirror_object
WHERE expires_at < $1
LIMIT $2;

-- find_deleted --
-- Objects that their owners deleted before a time.
SELECT module, owner, object_key, addressee, received_at
FROM mirror_object
WHERE deleted AND received_at < $1
LIMIT $2;

-- find_gone --
-- Listed network objects of one owner and platform that came from its list only, and were not in it since a time.
SELECT module, owner, object_key, addressee, received_at
FROM mirror_object
WHERE module = $1 AND addressee = '' AND owner = $2 AND position IS NOT NULL AND broadcast IS NULL
    AND platform_id = $3 AND received_at < $4 AND (checked_at IS NULL OR checked_at < $4)
LIMIT $5;

-- find_left --
-- Objects of platforms that left before a time.
SELECT module, owner, object_key, addressee, received_at
FROM mirror_object
WHERE platform_id IN (SELECT id FROM platform WHERE state = 'unregistered' AND changed_at < $1)
LIMIT $2;

-- forget_objects --
-- Drop these objects, but for those of which something came meanwhile; gives whose they were.
DELETE FROM mirror_object AS stored
USING unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    AS gone (module, owner, object_key, addressee, received_at)
WHERE (stored.module, stored.object_key, stored.owner, stored.addressee, stored.received_at)
    = (gone.module, gone.object_key, gone.owner, gone.addressee, gone.received_at)
RETURNING stored.module, stored.owner, stored.object_key, stored.addressee, stored.position IS NOT NULL AS is_listed;

-- drop_broadcasts --
-- Drop so many of the oldest broadcasts, but never the last; gives their ids: those accepted before a time, those with
-- more than $3 bytes behind them that the lane of every platform online is done with, and any with more than $4.
WITH last AS (
    SELECT id, bytes_until
    FROM broadcast
    ORDER BY id DESC
    LIMIT 1
), done AS (
    SELECT min(work.progress) AS id
    FROM platform_work AS work
    JOIN platform ON platform.id = work.platform_id
    WHERE platform.state = 'registered' AND platform.is_online
)
DELETE FROM broadcast
USING last, done
WHERE broadcast.id IN (SELECT id FROM broadcast ORDER BY id LIMIT $2)
    AND broadcast.id < last.id
    AND (
        broadcast.accepted_at < $1
        OR (broadcast.id <= coalesce(done.id, last.id) AND broadcast.bytes_until < last.bytes_until - $3::bigint)
        OR broadcast.bytes_until < last.bytes_until - $4::bigint
    )
RETURNING broadcast.id;
