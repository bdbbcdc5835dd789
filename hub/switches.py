"""A platform's switches as the operator writes and sees them: `token=raw`, `pull=off`, and so on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from hub.addresses import AddressGuard, URLRefused
from parties.model import Switches, origin_of

_ON_OFF: Mapping[str, Callable[[Switches, bool], Switches]] = {
    "foreign_owner": lambda switches, is_on: replace(switches, foreign_owner=is_on),
    "pull": lambda switches, is_on: replace(switches, pull=is_on),
    "catch_up": lambda switches, is_on: replace(switches, catch_up=is_on),
    "owner_as_sender": lambda switches, is_on: replace(switches, owner_as_sender=is_on),
}


def read_switches(switches: Switches, assignments: Iterable[str], guard: AddressGuard) -> Switches:
    """Give switches changed by assignments, one after the other. Raises ValueError with what is expected."""
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} is no NAME=VALUE, like token=raw.")
        switches = _switch(switches, name.strip(), value.strip(), guard)
    return switches


def written(switches: Switches) -> dict[str, str]:
    """Give every switch by its name, as `read_switches` reads it."""
    return {
        "token": switches.token,
        **{name: "on" if getattr(switches, name) else "off" for name in _ON_OFF},
        "origins": ",".join(switches.origins),
        **{f"endpoint.{name.replace(':', '.')}": url for name, url in switches.endpoints.items()},
    }


def _switch(switches: Switches, name: str, value: str, guard: AddressGuard) -> Switches:
    if name == "token":
        if value == "auto":
            return replace(switches, token="auto")  # noqa: S106
        if value == "base64":
            return replace(switches, token="base64")  # noqa: S106
        if value == "raw":
            return replace(switches, token="raw")  # noqa: S106
        raise ValueError("token is auto (as learnt), base64 or raw.")
    if name in _ON_OFF:
        if value not in ("on", "off"):
            raise ValueError(f"{name} is on or off.")
        return _ON_OFF[name](switches, value == "on")
    if name == "origins":
        urls = [part.strip() for part in value.split(",") if part.strip()]
        try:
            for url in urls:
                guard.check_url(url)
            return replace(switches, origins=tuple(origin_of(url) for url in urls))
        except ValueError as exc:
            raise ValueError(f"origins: {exc}") from exc
    if name.startswith("endpoint."):
        module, _, interface = name.removeprefix("endpoint.").rpartition(".")
        if not module or interface not in ("SENDER", "RECEIVER"):
            raise ValueError("An endpoint is named like endpoint.commands.RECEIVER=https://...")
        endpoints = dict(switches.endpoints)
        endpoints.pop(f"{module}:{interface}", None)
        if value:
            try:
                guard.check_url(value)
            except URLRefused as exc:
                raise ValueError(f"{name}: {exc}") from exc
            endpoints[f"{module}:{interface}"] = value
        return replace(switches, endpoints=endpoints)
    raise ValueError(
        f"{name!r} cannot be set; these can: name, token, {', '.join(_ON_OFF)}, origins, endpoint.MODULE.SENDER, "
        "endpoint.MODULE.RECEIVER."
    )
