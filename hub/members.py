"""What an operator does with members: invite, connect, allow, suspend, resume, remove, rotate, set.

Works on the database, whether a hub runs or not; running hubs follow by themselves.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import asyncpg
import orjson

from config.ocpi import AUTHORIZATION, EndpointsMissing, InvalidParameters, OCPIError, PartnerUnusable, PartyID
from config.settings import Settings
from hub import client as http
from hub.addresses import AddressGuard
from hub.credentials import store_registration
from hub.database import Database
from hub.handshake import Caller, Discovery, OutcomeUnknown
from hub.switches import read_switches
from parties import store
from parties.model import Platform, Role, Switches
from parties.pulls import Pull, read_pulls
from parties.registration import check_roles, credentials_object, read_credentials, require_endpoints
from parties.tokens import Secret, SecretKeys, make_token
from routing.pulling import SenderList, lists_of


class MemberError(Exception):
    """An operator's command that cannot be done; the message says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a platform needs to register at the hub."""

    platform_id: int
    versions_url: str
    token: Secret
    """The CREDENTIALS_TOKEN_A, shown once."""
    expires_at: datetime


Tell = Callable[[str], None]
"""Told about each step of something that takes several."""


class Members:
    """The operator's commands."""

    def __init__(self, settings: Settings, keys: SecretKeys, database: Database) -> None:
        self.settings = settings
        self._keys = keys
        self._database = database
        self._hub = PartyID(settings.country_code, settings.party_id)

    async def platforms(self) -> list[Platform]:
        """Give every platform known."""
        async with self._database.connection() as connection:
            return (await store.read_members_at_once(connection, self._keys)).platforms

    async def platform_of(self, party: PartyID, role: str | None = None) -> Platform:
        """Give the platform that holds this party. Raises MemberError when none or several do."""
        found = [
            platform
            for platform in await self.platforms()
            if any(each.party.key == party.key and role in (None, each.role) for each in platform.roles)
        ]
        if not found:
            raise MemberError(
                f"{party}{':' + role if role else ''} is not known here; `ocpi-hub party list` shows all."
            )
        if len(found) > 1:
            raise MemberError(f"{party} is on {len(found)} platforms; name the role too, like {party}:CPO.")
        return found[0]

    async def pulls(self, platform: Platform) -> list[tuple[SenderList, Pull]]:
        """Give each Sender list that the hub reads of a platform, and how far it has come."""
        async with self._database.connection() as connection:
            known = await read_pulls(connection, platform.id)
        listed = lists_of(platform, lambda module: self.settings.retention.get(module) != 0)
        return [(each, known.get(each.key, Pull())) for each in listed]

    async def work(self, platform: Platform) -> asyncpg.Record | None:
        """Give what the hub does for a platform and how far it is; None before its registration."""
        async with self._database.connection() as connection:
            return await connection.fetchrow(store.queries("hub")["work"], platform.id)

    async def invite(self, roles: Sequence[Role], name: str | None = None) -> Invitation:
        """Make a CREDENTIALS_TOKEN_A for these parties and roles, and for no others (R-061)."""
        token = make_token()
        expires_at = datetime.now(UTC) + timedelta(days=self.settings.invitation_days)
        async with self._database.changing() as connection:
            platform_id = await self._plan(connection, roles, name)
            await store.add_token(connection, platform_id, "invitation", token, self._keys, expires_at)
        return Invitation(platform_id, self.settings.versions_url, token, expires_at)

    async def _plan(
        self, connection: store.Connection, roles: Sequence[Role], name: str | None, platform_id: int | None = None
    ) -> int:
        """Give the planned platform of these roles: the one named, else one known or new. Raises as _find_holder."""
        holder = await self._find_holder(connection, roles)
        if platform_id is None:
            platform_id = holder.id if holder else await store.add_platform(connection, name or "")
        if name is not None:
            await store.set_name(connection, platform_id, name)
        await store.set_state(connection, platform_id, "planned")
        wanted = {role.key for role in roles}
        if holder is not None and holder.id == platform_id:
            for role in holder.roles:
                if role.key not in wanted:
                    await store.drop_role(connection, holder.id, role)
        await store.put_roles(connection, platform_id, roles, "invited")
        return platform_id

    async def _find_holder(self, connection: store.Connection, roles: Sequence[Role]) -> Platform | None:
        """Give the platform that has one of these roles, if any. Raises MemberError when one is registered."""
        wanted = {role.key for role in roles}
        if any(role.party.key == self._hub.key for role in roles):
            raise MemberError(f"{self._hub} is this hub itself.")
        platforms = (await store.read_members(connection, self._keys)).platforms
        holders = [
            platform
            for platform in platforms
            if any(role.key in wanted and role.state != "dropped" for role in platform.roles)
        ]
        for platform in holders:
            if platform.state == "registered":
                held = ", ".join(str(role) for role in platform.roles if role.key in wanted)
                raise MemberError(
                    f"{held} is registered already. `ocpi-hub party remove` ends that registration; "
                    "`ocpi-hub party allow` adds a role to it."
                )
        return holders[0] if holders else None

    async def allow(self, role: Role, platform: Platform) -> None:
        """Let a platform add a role with its next PUT."""
        async with self._database.changing() as connection:
            platforms = (await store.read_members(connection, self._keys)).platforms
            for other in platforms:
                for held in other.roles:
                    if held.key == role.key and held.state != "dropped":
                        where = "allowed here already" if other.id == platform.id else f"held by {other}"
                        raise MemberError(f"{role} is {where}.")
            await store.put_roles(connection, platform.id, [role], "invited")

    async def suspend(self, party: PartyID, role: str | None, *, suspended: bool) -> None:
        """Let a party take part no more, or again."""
        async with self._database.changing() as connection:
            if not await store.suspend(connection, party, role, suspended=suspended):
                raise MemberError(
                    f"{party}{':' + role if role else ''} is not known here; `ocpi-hub party list` shows all."
                )

    async def remove(self, platform: Platform, caller: Caller, tell: Tell) -> None:
        """End a registration, and tell the other side with DELETE credentials if it answers."""
        url = platform.endpoints.get(("credentials", "SENDER"))
        if platform.state == "registered" and platform.token is not None and url is not None:
            try:
                await caller.call(
                    "DELETE", url, platform.token, token_base64=platform.sends_base64, key=("remove", platform.id)
                )
                tell(f"{platform} was told with DELETE credentials.")
            except OCPIError as exc:
                tell(f"{platform} could not be told: {exc.message}")
        async with self._database.changing() as connection:
            await store.unregister(connection, platform.id)

    async def set_switches(self, platform: Platform, assignments: Iterable[str], guard: AddressGuard) -> Switches:
        """Change how one platform is dealt with: `token=raw`, `foreign_owner=on`, and so on. Raises MemberError."""
        try:
            switches = read_switches(platform.switches, assignments, guard)
        except ValueError as exc:
            raise MemberError(str(exc)) from exc
        async with self._database.changing() as connection:
            await store.set_switches(connection, platform.id, switches)
        return switches

    async def set_name(self, platform: Platform, name: str) -> None:
        """Store what the operator calls a platform."""
        async with self._database.changing() as connection:
            await store.set_name(connection, platform.id, name)

    # -- the hub as the one that starts

    async def check_public_url(self) -> None:
        """Make sure that a hub answers at the public URL: the other side will call it back. Raises MemberError.

        The hub's own address may be one that members may not have, such as a private one behind a proxy.
        """
        everywhere = AddressGuard((ip_network("0.0.0.0/0"), ip_network("::/0")), allow_http=True)
        client = http.Client(everywhere, connect_timeout=5, idle_timeout=10)
        try:
            await self._check_public_url(client)
        finally:
            await client.close()

    async def _check_public_url(self, client: http.Client) -> None:
        url = self.settings.versions_url
        request = http.Request("GET", url, [(AUTHORIZATION, "Token none"), ("Accept", "application/json")])
        try:
            async with client.send(request, key="self", lane="urgent", timeout=10) as answer:
                body = await answer.read(64 * 1024)
                is_hub = answer.status == 401 and type(orjson.loads(body).get("status_code")) is int
        except (http.ClientError, orjson.JSONDecodeError, AttributeError) as exc:
            raise MemberError(
                f"No hub answers at {url} ({exc}). The other side will call back there: "
                "start `ocpi-hub serve` first, or correct OCPI_HUB_PUBLIC_URL."
            ) from exc
        if not is_hub:
            raise MemberError(f"What answers at {url} is no OCPI hub; correct OCPI_HUB_PUBLIC_URL.")

    async def discover(self, versions_url: str, token: Secret, caller: Caller, tell: Tell) -> Discovery:
        """Read a platform's versions and details with the CREDENTIALS_TOKEN_A it gave us."""
        found = await caller.discover(versions_url, token, token_base64=True, key=("connect", versions_url))
        form = "in Base64" if found.token_base64 else "as it is: it does not understand Base64"
        modules = ", ".join(f"{module} {role}" for module, role in sorted(found.endpoints))
        tell(f"Versions read; OCPI {found.version} is the latest that both sides speak. The token is sent {form}.")
        tell(f"Version details read: {modules}.")
        if ("credentials", "SENDER") not in found.endpoints:
            raise EndpointsMissing("Its version details list no credentials endpoint.")
        return found

    async def claimed_roles(self, found: Discovery, token: Secret, caller: Caller) -> tuple[Role, ...]:
        """Ask a platform for whom it speaks, with GET credentials."""
        data = await caller.get(
            found.endpoints[("credentials", "SENDER")], token, token_base64=found.token_base64, key="connect"
        )
        return read_credentials(dict(data) | {"token": "unused"} if isinstance(data, dict) else data, self._hub).roles

    async def connect(
        self,
        found: Discovery,
        token: Secret,
        roles: Sequence[Role],
        caller: Caller,
        tell: Tell,
        name: str | None = None,
    ) -> Platform:
        """Register the hub at a platform (R-078 to R-080). A failure leaves everything as it was.

        Raises EndpointsMissing before anything is sent when its modules do not serve the roles; OCPIError, MemberError.
        """
        require_endpoints(found.endpoints, roles)
        ours = make_token()
        async with self._database.changing() as connection:
            holder = await self._find_holder(connection, roles)
            platform_id = holder.id if holder else await store.add_platform(connection, name or "")
            await store.add_token(connection, platform_id, "offered", ours, self._keys)
        tell("A token for it is in force; sending POST credentials, during which it calls the hub back.")
        try:
            data = await caller.call(
                "POST",
                found.endpoints[("credentials", "SENDER")],
                token,
                token_base64=found.token_base64,
                key=("connect", platform_id),
                content=self._own_credentials(ours),
            )
            theirs = read_credentials(data, self._hub)
            agreed = {role.key for role in roles}
            claimed = tuple(role for role in theirs.roles if role.key in agreed)
            if not claimed:
                raise PartnerUnusable(f"It registered as {_list(theirs.roles)}, not as {_list(roles)}.")
            caller.check(theirs.url, "the url of its credentials")
            async with self._database.changing() as connection:
                await self._plan(connection, roles, name, platform_id)
                platforms = (await store.read_members(connection, self._keys)).platforms
                platform = next(each for each in platforms if each.id == platform_id)
                check_roles(claimed, platform, platforms)
                await store_registration(
                    connection,
                    self._keys,
                    platform,
                    replace(theirs, roles=claimed),
                    replace(found, versions_url=theirs.url),
                )
                await store.accept_offered(connection, platform_id)
        except BaseException as exc:
            async with self._database.changing() as connection:
                await store.drop_tokens(connection, platform_id, "offered")
                if holder is None:
                    await store.delete_platform(connection, platform_id)
            if isinstance(exc, OutcomeUnknown | InvalidParameters):
                raise MemberError(
                    f"{exc.message} It may hold the registration as done all the same: ask its operator to reset it "
                    "and for a new token, then connect again."
                ) from exc
            raise
        tell(f"It answered with its own token. {_list(claimed)} can be reached now.")
        further = [role for role in theirs.roles if role.key not in agreed]
        if further:
            tell(f"It also speaks for {_list(further)}, which was not agreed; `ocpi-hub party allow` would.")
        return await self.platform_of(claimed[0].party, claimed[0].role)

    async def rotate(self, platform: Platform, caller: Caller, tell: Tell) -> None:
        """Exchange both tokens with PUT credentials. A refusal leaves the old ones in force."""
        url = platform.endpoints.get(("credentials", "SENDER"))
        if platform.state != "registered" or platform.token is None or url is None or platform.version is None:
            raise MemberError(f"{platform} is not registered, so there are no tokens to rotate.")
        ours = make_token()
        async with self._database.changing() as connection:
            await store.add_token(connection, platform.id, "offered", ours, self._keys)
        tell("A new token for it is in force; sending PUT credentials, during which it calls the hub back.")
        try:
            data = await caller.call(
                "PUT",
                url,
                platform.token,
                token_base64=platform.sends_base64,
                key=("rotate", platform.id),
                content=self._own_credentials(ours),
            )
            theirs = read_credentials(data, self._hub)
        except (OutcomeUnknown, InvalidParameters) as exc:
            raise MemberError(
                f"{exc.message} It may have changed its tokens all the same: the new one for the hub stays valid. "
                "If calls to it fail from now on, remove it and invite it again."
            ) from exc
        except OCPIError:
            async with self._database.changing() as connection:
                await store.drop_tokens(connection, platform.id, "offered")
            raise
        found = Discovery(
            platform.version,
            platform.versions_url or theirs.url,
            platform.details_url or theirs.url,
            dict(platform.published),
            platform.token_base64,
        )
        try:
            found = await caller.discover(
                theirs.url,
                theirs.token,
                token_base64=platform.sends_base64,
                version=platform.version,
                key=("rotate", platform.id),
            )
        except OCPIError as exc:
            tell(f"Its version details could not be read again, so the known ones stay: {exc.message}")
        known = {role.key for role in platform.roles if role.state != "dropped"}
        roles = tuple(role for role in theirs.roles if role.key in known)
        async with self._database.changing() as connection:
            if await store.token_kind(connection, platform.id, self._keys.digests(ours.reveal())) is None:
                raise MemberError(f"{platform} changed its credentials meanwhile, so there was nothing left to rotate.")
            await store_registration(connection, self._keys, platform, replace(theirs, roles=roles), found)
            await store.accept_offered(connection, platform.id)
        tell("Both sides have new tokens; the old one for the hub ends when the new one is first used.")

    def _own_credentials(self, token: Secret) -> dict[str, Any]:
        settings = self.settings
        return credentials_object(token, settings.versions_url, self._hub, settings.name, settings.website)


def _list(roles: Iterable[Role]) -> str:
    return ", ".join(str(role) for role in roles)
