-- Platforms, their parties, endpoints and credentials tokens; and the count of changes that hubs watch.
-- depends:

-- migrate: apply

CREATE TABLE platform (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL DEFAULT '',
    state           text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'registered', 'unregistered')),
    version         text,
    versions_url    text,
    details_url     text,
    outbound_token  bytea,
    token_base64    boolean NOT NULL DEFAULT true,
    switches        jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    changed_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN platform.outbound_token IS 'what the hub sends to it: AES-GCM, bound to the platform''s id';
COMMENT ON COLUMN platform.token_base64 IS 'whether it understands tokens in Base64, as learnt at registration';

CREATE TABLE endpoint (
    platform_id     integer NOT NULL REFERENCES platform ON DELETE CASCADE,
    module          text NOT NULL,
    role            text NOT NULL CHECK (role IN ('SENDER', 'RECEIVER')),
    url             text NOT NULL,
    PRIMARY KEY (platform_id, module, role)
);

CREATE TABLE party (
    platform_id       integer NOT NULL REFERENCES platform ON DELETE CASCADE,
    country_code      text NOT NULL,
    party_id          text NOT NULL,
    role              text NOT NULL,
    state             text NOT NULL CHECK (state IN ('invited', 'claimed', 'dropped')),
    suspended         boolean NOT NULL DEFAULT false,
    business_details  jsonb NOT NULL DEFAULT '{}'
);
-- One platform at most holds a party in a role, whatever the letters' case.
CREATE UNIQUE INDEX party_key ON party (upper(country_code), upper(party_id), role);
CREATE INDEX party_platform ON party (platform_id);

CREATE TABLE inbound_token (
    digest          bytea PRIMARY KEY,
    platform_id     integer NOT NULL REFERENCES platform ON DELETE CASCADE,
    kind            text NOT NULL CHECK (kind IN ('invitation', 'current', 'previous', 'offered')),
    expires_at      timestamptz
);
CREATE UNIQUE INDEX inbound_token_kind ON inbound_token (platform_id, kind);

CREATE TABLE stored_alias (
    id              uuid PRIMARY KEY,
    packed          bytea NOT NULL,
    expires_at      timestamptz
);
CREATE INDEX stored_alias_expiry ON stored_alias (expires_at);

CREATE TABLE routing_generation (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    number          bigint NOT NULL
);
INSERT INTO routing_generation (number) VALUES (1);

CREATE FUNCTION count_routing_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing_generation SET number = number + 1;
    NOTIFY ocpi_hub_routing;
    RETURN NULL;
END
$$;
CREATE TRIGGER platform_changed AFTER INSERT OR UPDATE OR DELETE ON platform
    FOR EACH STATEMENT EXECUTE FUNCTION count_routing_change();
CREATE TRIGGER endpoint_changed AFTER INSERT OR UPDATE OR DELETE ON endpoint
    FOR EACH STATEMENT EXECUTE FUNCTION count_routing_change();
CREATE TRIGGER party_changed AFTER INSERT OR UPDATE OR DELETE ON party
    FOR EACH STATEMENT EXECUTE FUNCTION count_routing_change();
CREATE TRIGGER inbound_token_changed AFTER INSERT OR UPDATE OR DELETE ON inbound_token
    FOR EACH STATEMENT EXECUTE FUNCTION count_routing_change();

-- migrate: rollback

DROP TABLE routing_generation, stored_alias, inbound_token, party, endpoint, platform;
DROP FUNCTION count_routing_change();
