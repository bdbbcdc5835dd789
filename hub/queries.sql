-- Every statement about the hub's processes and the work that they share.

-- live_process --
-- This process lives, and has this routing table.
INSERT INTO hub_process (id, host, pid, generation)
VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE
SET seen_at = clock_timestamp(), generation = excluded.generation;

-- live_processes --
-- How many processes are alive.
SELECT count(*)
FROM hub_process
WHERE seen_at > clock_timestamp() - $1::interval;

-- behind_processes --
-- How many live processes have an older routing table than this.
SELECT count(*)
FROM hub_process
WHERE seen_at > clock_timestamp() - $1::interval AND generation < $2;

-- forget_process --
-- This process ends; its work is free.
WITH freed AS (
    UPDATE platform_work
    SET holder = NULL
    WHERE holder = $1
)
DELETE FROM hub_process
WHERE id = $1;

-- forget_processes --
-- Those that ended long ago without saying so.
DELETE FROM hub_process
WHERE seen_at < clock_timestamp() - interval '1 hour';

-- held_work --
-- The platforms whose work is this process's, and how many there are in all.
SELECT count(*) AS registered, array_agg(work.platform_id) FILTER (WHERE work.holder = $1) AS held
FROM platform_work AS work
JOIN platform ON platform.id = work.platform_id
WHERE platform.state = 'registered';

-- take_work --
-- Some of the work that nobody alive does.
UPDATE platform_work
SET holder = $1
WHERE platform_id IN (
    SELECT work.platform_id
    FROM platform_work AS work
    JOIN platform ON platform.id = work.platform_id
    WHERE platform.state = 'registered' AND work.holder IS DISTINCT FROM $1 AND NOT EXISTS (
        SELECT
        FROM hub_process AS process
        WHERE process.id = work.holder AND process.seen_at > clock_timestamp() - $2::interval
    )
    ORDER BY work.platform_id
    LIMIT $3
    FOR UPDATE OF work SKIP LOCKED
)
RETURNING platform_id;

-- free_work --
-- A platform whose work another process may take.
UPDATE platform_work
SET holder = NULL
WHERE platform_id = $2 AND holder = $1;

-- lane_progress --
-- How far a platform's lane had come when it was last saved.
SELECT progress
FROM platform_work
WHERE platform_id = $1;

-- save_lanes --
-- How far this process's lanes have come, and what they did since the last time; rows in one order as well.
UPDATE platform_work AS work
SET progress = saved.progress, waiting = saved.waiting, oldest_at = saved.oldest_at,
    delivered = work.delivered + saved.delivered, failed = work.failed + saved.failed,
    skipped = work.skipped + saved.skipped
FROM (
    SELECT given.*
    FROM unnest(
        $2::integer[], $3::bigint[], $4::integer[], $5::timestamptz[], $6::bigint[], $7::bigint[], $8::bigint[]
    ) AS given (platform_id, progress, waiting, oldest_at, delivered, failed, skipped)
    JOIN platform_work AS locked ON locked.platform_id = given.platform_id AND locked.holder = $1
    ORDER BY given.platform_id
    FOR UPDATE OF locked
) AS saved
WHERE work.platform_id = saved.platform_id AND work.holder = $1;

-- work --
-- What is done for a platform, as `party show` tells it.
SELECT process.host, process.pid, work.progress, work.waiting, work.oldest_at, work.delivered, work.failed,
    work.skipped, work.last_seen, work.told_until
FROM platform_work AS work
LEFT JOIN hub_process AS process ON process.id = work.holder
WHERE work.platform_id = $1;

-- save_signs --
-- How many seconds ago platforms were last seen, and last suspected to be gone; in one order of
-- rows, lest two processes wait for each other.
UPDATE platform_work AS work
SET last_seen = greatest(work.last_seen, clock_timestamp() - make_interval(secs => saved.seen)),
    suspected_at = greatest(work.suspected_at, clock_timestamp() - make_interval(secs => saved.suspected))
FROM (
    SELECT given.platform_id, given.seen, given.suspected
    FROM unnest($1::integer[], $2::float8[], $3::float8[]) AS given (platform_id, seen, suspected)
    JOIN platform_work AS locked ON locked.platform_id = given.platform_id
    ORDER BY given.platform_id
    FOR UPDATE OF locked
) AS saved
WHERE work.platform_id = saved.platform_id;

-- signs --
-- How many seconds ago each of these platforms was last seen, and last suspected to be gone, wherever that was.
SELECT platform_id, extract(epoch FROM clock_timestamp() - last_seen)::float8 AS seen,
    extract(epoch FROM clock_timestamp() - suspected_at)::float8 AS suspected
FROM platform_work
WHERE platform_id = ANY ($1::integer[]);

-- told_until --
-- Up to which change of ClientInfo a platform was told.
SELECT told_until
FROM platform_work
WHERE platform_id = $1;

-- save_told --
-- How far telling platforms of changes of ClientInfo has come; rows in one order as well.
UPDATE platform_work AS work
SET told_until = saved.told_until
FROM (
    SELECT given.platform_id, given.told_until
    FROM unnest($1::integer[], $2::timestamptz[]) AS given (platform_id, told_until)
    JOIN platform_work AS locked ON locked.platform_id = given.platform_id
    ORDER BY given.platform_id
    FOR UPDATE OF locked
) AS saved
WHERE work.platform_id = saved.platform_id
    AND (work.told_until IS NULL OR work.told_until < saved.told_until);
