-- Every statement about platforms, their parties, endpoints and credentials tokens.

-- generation --
-- How often anything that routing needs has changed.
SELECT number
FROM routing_generation;

-- platforms --
-- Every platform.
SELECT id, name, state, version, versions_url, details_url, outbound_token, token_base64, switches, is_online,
    status_changed_at
FROM platform
ORDER BY id;

-- endpoints --
-- Every endpoint of every platform.
SELECT platform_id, module, role, url
FROM endpoint;

-- parties --
-- Every party in every role, in the order they were first named.
SELECT platform_id, country_code, party_id, role, state, suspended, business_details, status_changed_at
FROM party
ORDER BY platform_id, upper(country_code), upper(party_id), role;

-- tokens --
-- What each presented token opens, expired invitations left out.
SELECT digest, platform_id, kind, expires_at
FROM inbound_token
WHERE expires_at IS NULL OR expires_at > now();

-- knows_token --
-- Whether one of these digests is known.
SELECT EXISTS (
    SELECT
    FROM inbound_token
    WHERE digest = ANY ($1::bytea[]) AND (expires_at IS NULL OR expires_at > now())
);

-- lock_members --
-- Wait until no other transaction changes members: who holds what is decided by one at a time.
SELECT pg_advisory_xact_lock(78257204);

-- add_platform --
-- A new platform, planned.
INSERT INTO platform (name)
VALUES ($1)
RETURNING id;

-- delete_platform --
-- A platform and all that belongs to it.
DELETE FROM platform
WHERE id = $1;

-- set_state --
-- A platform's state; the rest stays.
UPDATE platform
SET state = $2, changed_at = now()
WHERE id = $1;

-- set_online --
-- Whether a registered platform answers; nothing changes, and nobody is told, when that is known already.
UPDATE platform
SET is_online = $2
WHERE id = $1 AND is_online <> $2
RETURNING id;

-- set_name --
-- What the operator calls a platform.
UPDATE platform
SET name = $2, changed_at = now()
WHERE id = $1;

-- register_platform --
-- A finished handshake: where the platform is and how to speak to it.
UPDATE platform
SET state = 'registered', is_online = true, version = $2, versions_url = $3, details_url = $4, outbound_token = $5, token_base64 = $6,
    changed_at = now()
WHERE id = $1;

-- begin_work --
-- What the hub does for a platform from its registration on: broadcasts so far are not for it.
INSERT INTO platform_work (platform_id, progress)
SELECT $1, coalesce(max(id), 0)
FROM broadcast
ON CONFLICT (platform_id) DO NOTHING;

-- end_work --
-- Nothing is done for a platform that has left.
DELETE FROM platform_work
WHERE platform_id = $1;

-- unregister_platform --
-- After DELETE credentials or removal: nothing is left to call it with, and its lists are read anew if it comes back.
WITH forgotten AS (
    DELETE FROM pull
    WHERE platform_id = $1
)
UPDATE platform
SET state = 'unregistered', outbound_token = NULL, changed_at = now()
WHERE id = $1;

-- reseal_token --
-- The same outbound token, sealed with the current key.
UPDATE platform
SET outbound_token = $2
WHERE id = $1;

-- set_switches --
-- How one platform deviates.
UPDATE platform
SET switches = $2, changed_at = now()
WHERE id = $1;

-- drop_endpoints --
-- All endpoints of one platform.
DELETE FROM endpoint
WHERE platform_id = $1;

-- add_endpoint --
-- One endpoint of a platform's version details.
INSERT INTO endpoint (platform_id, module, role, url)
VALUES ($1, $2, $3, $4)
ON CONFLICT (platform_id, module, role) DO NOTHING;

-- put_party --
-- A party in a role, new or again; a suspension by the operator stays.
INSERT INTO party (platform_id, country_code, party_id, role, state, business_details)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (upper(country_code), upper(party_id), role) DO UPDATE
SET platform_id = excluded.platform_id, country_code = excluded.country_code, party_id = excluded.party_id,
    state = excluded.state, business_details = excluded.business_details;

-- drop_party --
-- A role that the platform's credentials no longer have; the party's lists are read anew if it comes back.
WITH forgotten AS (
    DELETE FROM pull
    WHERE platform_id = $1 AND party = upper($2) || '-' || upper($3)
)
UPDATE party
SET state = 'dropped'
WHERE platform_id = $1 AND upper(country_code) = upper($2) AND upper(party_id) = upper($3) AND role = $4;

-- suspend_party --
-- Whether the operator lets a party take part.
UPDATE party
SET suspended = $4
WHERE upper(country_code) = upper($1) AND upper(party_id) = upper($2) AND ($3::text IS NULL OR role = $3)
RETURNING platform_id, country_code, party_id, role;

-- add_token --
-- A token by which a platform is recognised, in place of one of the same kind.
INSERT INTO inbound_token (platform_id, kind, digest, expires_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (platform_id, kind) DO UPDATE
SET digest = excluded.digest, expires_at = excluded.expires_at;

-- drop_tokens --
-- Some kinds of a platform's tokens.
DELETE FROM inbound_token
WHERE platform_id = $1 AND kind = ANY ($2::text[]);

-- drop_superseded --
-- The previous token, now that the current one (one of these digests) is in use.
DELETE FROM inbound_token
WHERE platform_id = $1 AND kind = 'previous' AND EXISTS (
    SELECT
    FROM inbound_token AS newer
    WHERE newer.platform_id = $1 AND newer.kind = 'current' AND newer.digest = ANY ($2::bytea[])
);

-- demote_token --
-- The token just presented, as the previous one.
UPDATE inbound_token
SET kind = 'previous'
WHERE platform_id = $1 AND digest = ANY ($2::bytea[]);

-- promote_offered --
-- The token that the other side has accepted, as the current one.
UPDATE inbound_token
SET kind = 'current'
WHERE platform_id = $1 AND kind = 'offered';

-- current_to_previous --
-- The current token, as the previous one.
UPDATE inbound_token
SET kind = 'previous'
WHERE platform_id = $1 AND kind = 'current';

-- token_kind --
-- What one of these digests opens at this platform, if anything.
SELECT kind
FROM inbound_token
WHERE platform_id = $1 AND digest = ANY ($2::bytea[]) AND (expires_at IS NULL OR expires_at > now());

-- contracts --
-- Every rule about who may talk to whom, those removed lately included.
SELECT id, sender, receiver, module, allowed, valid_from, valid_until, changed_at, removed_at
FROM contract
ORDER BY id;

-- add_contracts --
-- Rules about who may talk to whom, in one statement, so that all of them are one change.
INSERT INTO contract (sender, receiver, module, allowed, valid_from, valid_until)
SELECT sender, receiver, module, allowed, valid_from, valid_until
FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[], $6::timestamptz[])
    WITH ORDINALITY AS given (sender, receiver, module, allowed, valid_from, valid_until, place)
ORDER BY place
RETURNING id, sender, receiver, module, allowed, valid_from, valid_until, changed_at, removed_at;

-- remove_contracts --
-- Rules that decide nothing from now on.
UPDATE contract
SET removed_at = clock_timestamp()
WHERE id = ANY ($1::integer[]) AND removed_at IS NULL
RETURNING id, sender, receiver, module, allowed, valid_from, valid_until, changed_at, removed_at;

-- contracts_to_forget --
-- Rules removed so long ago that nobody asks any more when that was.
SELECT id
FROM contract
WHERE removed_at < now() - interval '30 days';

-- forget_contracts --
-- Those rules, for good.
DELETE FROM contract
WHERE id = ANY ($1::integer[]);

-- pulls --
-- How far each Sender list of a platform was read.
SELECT party, module, date_from, next_url, objects, total, highest, started_at, tried_at, finished_at, due_at, failures,
    problem, is_whole, whole_at, seen_from, extract(epoch FROM due_at - clock_timestamp())::float8 AS due_in
FROM pull
WHERE platform_id = $1
ORDER BY party, module;

-- begin_pull --
-- A new round of one list.
INSERT INTO pull (platform_id, party, module, next_url, is_whole, whole_at, started_at, tried_at, due_at)
SELECT $1, $2, $3, $4, $5, CASE WHEN $5 THEN moment END, moment, moment, moment
FROM clock_timestamp() AS moment
ON CONFLICT (platform_id, party, module) DO UPDATE
SET is_whole = excluded.is_whole, whole_at = coalesce(excluded.whole_at, pull.whole_at), next_url = excluded.next_url, objects = 0, total = NULL, highest = NULL, started_at = excluded.started_at,
    tried_at = excluded.tried_at, due_at = excluded.due_at
RETURNING *, 0.0::float8 AS due_in;

-- resume_pull --
-- A round that is gone on with.
UPDATE pull
SET tried_at = clock_timestamp(), due_at = clock_timestamp()
WHERE platform_id = $1 AND party = $2 AND module = $3;

-- save_page --
-- How far a round has come.
UPDATE pull
SET next_url = $4, objects = $5, total = $6, highest = $7, failures = $8, is_whole = $9, problem = NULL
WHERE platform_id = $1 AND party = $2 AND module = $3;

-- finish_pull --
-- A round that came to its end, and the seconds to the next.
UPDATE pull
SET next_url = NULL, objects = $4, total = $5, highest = $6, date_from = $7, finished_at = clock_timestamp(),
    seen_from = CASE WHEN $8 THEN started_at ELSE seen_from END, is_whole = false,
    due_at = clock_timestamp() + $9::float8 * interval '1 second', failures = 0, problem = NULL
WHERE platform_id = $1 AND party = $2 AND module = $3;

-- fail_pull --
-- A round that cannot go on, and the seconds to the next try; one begun anew asks for what changed, lest a list that
-- cannot be read as a whole is not read at all.
UPDATE pull
SET next_url = $4, is_whole = is_whole AND $4::text IS NOT NULL, failures = $5, problem = $6, due_at = clock_timestamp() + $7::float8 * interval '1 second'
WHERE platform_id = $1 AND party = $2 AND module = $3;

-- put_alias --
-- A URL of a party that was too long to be sealed into one of ours.
INSERT INTO stored_alias (id, packed, expires_at)
VALUES ($1, $2, $3);

-- get_alias --
-- What such a URL stands for.
SELECT packed
FROM stored_alias
WHERE id = $1 AND (expires_at IS NULL OR expires_at > now());

-- drop_expired_aliases --
-- Those whose time is over.
DELETE FROM stored_alias
WHERE expires_at < now();
