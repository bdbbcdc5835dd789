"""Link and Location of a receiver's answer, as URLs of the hub's."""

import time

import structlog

from config.ocpi import is_success
from hub import client as http
from hub.aliases import Aliases
from hub.database import DatabaseAway
from parties.model import origin_of
from routing.aliases import Alias, split_target
from routing.links import ALIAS_PARAMETER, next_url, read_location, read_next_page
from routing.message import Message
from routing.resolve import Direct

log = structlog.get_logger()

_DAY = 86400


class OwnLinks:
    """Puts the hub's URLs in place of a member's."""

    def __init__(self, aliases: Aliases, link_days: int) -> None:
        self._aliases = aliases
        self._link_days = link_days

    async def put(
        self,
        message: Message,
        route: Direct,
        url: str,
        answer: http.Response,
        status_code: int | None,
        fields: dict[str, str],
    ) -> None:
        """Put `Link` and `Location` of an answer into `fields`, leading to the hub."""
        operation, platform = message.operation, route.platform
        version, interface, module = message.target.version, operation.interface, operation.module
        endpoint = platform.endpoints.get((module, interface), url)
        if operation.paged:
            link = next_url(", ".join(answer.headers.get_all("Link")))
            page = read_next_page(link, endpoint, message.target.query, platform) if link else None
            if page is not None:
                days = self._link_days
                alias = self._alias_for_requester(message, route, "link", int((time.time() // _DAY + days + 1) * _DAY))
                if page.path:
                    alias = _at(alias, origin_of(endpoint) + page.path)
                text = await self._aliases.give_text(alias, 4096)
                ours = self._aliases.module_url(version, interface, module)
                query = "&".join(part for part in (page.query, f"{ALIAS_PARAMETER}={text}") if part)
                fields["Link"] = f'<{ours}?{query}>; rel="next"'
        location = answer.headers.get("Location") if operation.gives_location else None
        if location and is_success(status_code):
            target = read_location(location, url, endpoint, platform)
            if target is not None:
                alias = _at(self._alias_for_requester(message, route, "location", 0), target)
                try:
                    fields["Location"] = await self._aliases.give_url(alias, version, interface, module)
                except DatabaseAway:
                    log.warning("a Location was left out", action="location_dropped", platform=platform.id)

    def _alias_for_requester(self, message: Message, route: Direct, kind: str, expires: int) -> Alias:
        return Alias(
            kind="link" if kind == "link" else "location",
            user_platform=message.platform.id,
            user=message.sender,
            target_platform=route.platform.id,
            target=route.receiver,
            expires=expires,
        )


def _at(alias: Alias, url: str) -> Alias:
    origin, path = split_target(url)
    return Alias(
        alias.kind,
        alias.user_platform,
        alias.user,
        alias.target_platform,
        alias.target,
        expires=alias.expires,
        origin=origin,
        path=path,
    )
