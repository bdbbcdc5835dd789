-- What the hub shares: contracts, the mirror, broadcasts, hub processes and the work that one of them does at a time.
-- depends: 0001_members

-- migrate: apply

ALTER TABLE platform
    ADD COLUMN is_online boolean NOT NULL DEFAULT true,
    ADD COLUMN status_changed_at timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON COLUMN platform.is_online IS 'false: CONNECTED once, and silent now (OFFLINE)';
-- Not now(): a transaction that waited for another would be the older one, and ClientInfo is told by what is newer.
ALTER TABLE party
    ADD COLUMN status_changed_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- When a status changes, HubClientInfo's last_updated does too, whichever statement changed it.
CREATE FUNCTION note_platform_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.status_changed_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER platform_status BEFORE UPDATE ON platform FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.is_online IS DISTINCT FROM NEW.is_online)
    EXECUTE FUNCTION note_platform_status();
CREATE TRIGGER party_status BEFORE UPDATE ON party FOR EACH ROW
    WHEN (
        OLD.state IS DISTINCT FROM NEW.state OR OLD.suspended IS DISTINCT FROM NEW.suspended
        OR OLD.platform_id IS DISTINCT FROM NEW.platform_id
    )
    EXECUTE FUNCTION note_platform_status();

CREATE TABLE contract (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sender          text NOT NULL CHECK (sender ~ '^([*]|[A-Z]{2}-[A-Z0-9]{3})(:[A-Z0-9]+)?$'),
    receiver        text NOT NULL CHECK (receiver ~ '^([*]|[A-Z]{2}-[A-Z0-9]{3})(:[A-Z0-9]+)?$'),
    module          text NOT NULL DEFAULT '*',
    allowed         boolean NOT NULL,
    valid_from      timestamptz,
    valid_until     timestamptz,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at      timestamptz,
    CHECK (valid_from < valid_until AND isfinite(valid_from) AND isfinite(valid_until))
);
COMMENT ON COLUMN contract.sender IS 'who asks: *, *:CPO, NL-ABC or NL-ABC:CPO';
COMMENT ON COLUMN contract.removed_at IS 'kept a while, since what it changed has this time as last_updated';
CREATE TRIGGER contract_changed AFTER INSERT OR UPDATE OR DELETE ON contract
    FOR EACH STATEMENT EXECUTE FUNCTION count_routing_change();

CREATE TABLE hub_process (
    id              uuid PRIMARY KEY,
    host            text NOT NULL,
    pid             integer NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT now(),
    seen_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    generation      bigint NOT NULL DEFAULT -1
) WITH (fillfactor = 50);
COMMENT ON COLUMN hub_process.generation IS 'the routing table that is in force there';

CREATE TABLE platform_work (
    platform_id     integer PRIMARY KEY REFERENCES platform ON DELETE CASCADE,
    holder          uuid,
    progress        bigint,
    waiting         integer NOT NULL DEFAULT 0,
    oldest_at       timestamptz,
    delivered       bigint NOT NULL DEFAULT 0,
    failed          bigint NOT NULL DEFAULT 0,
    skipped         bigint NOT NULL DEFAULT 0,
    last_seen       timestamptz,
    suspected_at    timestamptz,
    told_until      timestamptz
) WITH (fillfactor = 50);
-- Those that registered before have work to be done for them too.
INSERT INTO platform_work (platform_id, progress)
SELECT id, 0
FROM platform
WHERE state = 'registered';
COMMENT ON TABLE platform_work IS 'what exactly one process does for a platform at a time, and how far it has come';
COMMENT ON COLUMN platform_work.holder IS 'the hub_process that does it; free when that one was not seen for seconds';
COMMENT ON COLUMN platform_work.progress IS 'the last broadcast that its lane is done with; NULL before the first';
COMMENT ON COLUMN platform_work.told_until IS 'it was told every change of ClientInfo up to here';

CREATE TABLE pull (
    platform_id     integer NOT NULL REFERENCES platform ON DELETE CASCADE,
    party           text NOT NULL,
    module          text NOT NULL,
    date_from       timestamptz,
    next_url        text,
    objects         bigint NOT NULL DEFAULT 0,
    total           bigint,
    highest         timestamptz,
    started_at      timestamptz,
    tried_at        timestamptz,
    finished_at     timestamptz,
    due_at          timestamptz NOT NULL DEFAULT now(),
    failures        integer NOT NULL DEFAULT 0,
    problem         text,
    is_whole        boolean NOT NULL DEFAULT false,
    whole_at        timestamptz,
    seen_from       timestamptz,
    PRIMARY KEY (platform_id, party, module)
);
COMMENT ON TABLE pull IS 'how far the hub has come in reading each Sender list';
COMMENT ON COLUMN pull.date_from IS 'what the next round asks for; NULL: everything';
COMMENT ON COLUMN pull.next_url IS 'the page to go on with after an interruption';
COMMENT ON COLUMN pull.tried_at IS 'when a round was last begun or resumed: who came back since is read at once';
COMMENT ON COLUMN pull.failures IS 'in a row; each makes the next try later';
COMMENT ON COLUMN pull.is_whole IS 'whether this round reads the whole list, to learn what is no longer in it';
COMMENT ON COLUMN pull.whole_at IS 'when such a round was last begun';
COMMENT ON COLUMN pull.seen_from IS 'when the last such round that was finished had begun';
COMMENT ON COLUMN pull.highest IS 'the latest last_updated of this round so far';

-- The mirror: client owned objects as their owners shared them.
CREATE SEQUENCE mirror_position;
CREATE TABLE mirror_object (
    module          text COLLATE "C" NOT NULL,
    owner           text COLLATE "C" NOT NULL,
    object_key      text COLLATE "C" NOT NULL,
    addressee       text COLLATE "C" NOT NULL DEFAULT '',
    position        bigint,
    platform_id     integer NOT NULL,
    version         text NOT NULL,
    path            text NOT NULL,
    query           text NOT NULL DEFAULT '',
    body            bytea,
    part_bytes      bigint NOT NULL DEFAULT 0,
    evse_uids       text[],
    last_updated    timestamptz,
    received_at     timestamptz NOT NULL,
    listed_at       timestamptz,
    checked_at      timestamptz,
    broadcast       bigint,
    deleted         boolean NOT NULL DEFAULT false,
    expires_at      timestamptz,
    PRIMARY KEY (module, object_key, owner, addressee)
);
COMMENT ON COLUMN mirror_object.owner IS 'folded party, like NL-ABC';
COMMENT ON COLUMN mirror_object.object_key IS 'folded id; of a token its uid, a blank and its type';
COMMENT ON COLUMN mirror_object.addressee IS 'folded party that it was for; empty: for the network';
COMMENT ON COLUMN mirror_object.position IS 'first seen: the order of GET all; NULL while it is not listed';
COMMENT ON COLUMN mirror_object.path IS 'raw, below the module''s Receiver interface, like NL/ABC/LOC1';
COMMENT ON COLUMN mirror_object.query IS 'raw: in a token''s pushes its type, like type=APP_USER';
COMMENT ON COLUMN mirror_object.body IS 'as the owner gave it, but for what mirror_part has; NULL: only known to exist';
COMMENT ON COLUMN mirror_object.part_bytes IS 'how large its parts are together, so that it can be bounded';
COMMENT ON COLUMN mirror_object.listed_at IS 'the later of last_updated and received_at: what date_from means in GET all';
COMMENT ON COLUMN mirror_object.checked_at IS 'last found unchanged in its owner''s whole list';
COMMENT ON COLUMN mirror_object.broadcast IS 'the last broadcast that changed it';
ALTER TABLE mirror_object ALTER COLUMN body SET STORAGE EXTERNAL;
-- With what a list is filtered by, so that a page passes over what does not belong to it without reading the rows.
CREATE INDEX mirror_object_page ON mirror_object (module, addressee, position) INCLUDE (owner, listed_at)
    WHERE position IS NOT NULL;
CREATE INDEX mirror_object_owner ON mirror_object (module, addressee, owner, position) WHERE position IS NOT NULL;
CREATE INDEX mirror_object_listed ON mirror_object (module, addressee, listed_at) INCLUDE (owner)
    WHERE position IS NOT NULL;
CREATE INDEX mirror_object_broadcast ON mirror_object (broadcast) WHERE broadcast IS NOT NULL;
CREATE INDEX mirror_object_deleted ON mirror_object (received_at) WHERE deleted;
CREATE INDEX mirror_object_expiry ON mirror_object (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE mirror_part (
    module          text COLLATE "C" NOT NULL,
    owner           text COLLATE "C" NOT NULL,
    object_key      text COLLATE "C" NOT NULL,
    addressee       text COLLATE "C" NOT NULL DEFAULT '',
    part_key        text COLLATE "C" NOT NULL,
    body            bytea NOT NULL,
    PRIMARY KEY (module, object_key, owner, addressee, part_key)
) WITH (fillfactor = 50);
COMMENT ON TABLE mirror_part IS 'EVSEs changed since their location was last put whole: small rows for frequent changes';

CREATE TABLE mirror_count (
    module          text NOT NULL,
    owner           text NOT NULL,
    addressee       text NOT NULL DEFAULT '',
    number          bigint NOT NULL,
    PRIMARY KEY (module, owner, addressee)
);
COMMENT ON TABLE mirror_count IS 'how many listed objects there are: X-Total-Count without counting';

CREATE SEQUENCE broadcast_id;
CREATE TABLE broadcast (
    id              bigint PRIMARY KEY DEFAULT nextval('broadcast_id'),
    accepted_at     timestamptz NOT NULL,
    platform_id     integer NOT NULL,
    sender          text NOT NULL,
    version         text NOT NULL,
    module          text NOT NULL,
    operation       text NOT NULL,
    method          text NOT NULL,
    path            text NOT NULL,
    query           text NOT NULL,
    content_type    text,
    body            bytea NOT NULL,
    correlation_id  text NOT NULL,
    owner           text NOT NULL,
    object_key      text NOT NULL,
    previous        bigint,
    is_complete     boolean NOT NULL,
    bytes_until     bigint NOT NULL
);
CREATE INDEX broadcast_incomplete ON broadcast (id) WHERE NOT is_complete;
COMMENT ON COLUMN broadcast.id IS 'in the order of commits: given under a lock that is held until then';
COMMENT ON COLUMN broadcast.previous IS 'the broadcast before this one of the same top-level object';
COMMENT ON COLUMN broadcast.bytes_until IS 'about how many bytes all up to this one have, those dropped included';
COMMENT ON COLUMN broadcast.is_complete IS 'whether the mirror had the whole object afterwards';

-- migrate: rollback

DROP TABLE broadcast, mirror_count, mirror_part, mirror_object, pull, platform_work, hub_process, contract;
DROP SEQUENCE mirror_position, broadcast_id;
DROP TRIGGER party_status ON party;
DROP TRIGGER platform_status ON platform;
DROP FUNCTION note_platform_status();
ALTER TABLE party DROP COLUMN status_changed_at;
ALTER TABLE platform DROP COLUMN is_online, DROP COLUMN status_changed_at;
