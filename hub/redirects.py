"""Redirects that the hub follows, once: to the same origin, so that a credentials token goes nowhere else."""

from hub import client as http
from hub.addresses import split_url
from parties.model import origin_of
from routing.links import resolve_reference

_AFTER_GET = (301, 302, 307, 308)


def keeping(method: str) -> tuple[int, ...]:
    """Give the redirects that keep this method: after a GET, 301 and 302 do so too."""
    return _AFTER_GET if method == "GET" else (307, 308)


def redirected_to(answer: http.Response, url: str, codes: tuple[int, ...] = (307, 308)) -> str | None:
    """Give where to send a held request again: one of these redirects, to the same origin (R-118)."""
    location = answer.headers.get("Location")
    if answer.status not in codes or not location:
        return None
    target = (resolve_reference(url, location) or "").partition("#")[0]
    try:
        split_url(target)  # what cannot be called is no redirect
        return target if origin_of(target) == origin_of(url) else None
    except ValueError:
        return None
