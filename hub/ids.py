"""Message ids that the hub makes."""

import os
from collections.abc import Iterator

_AT_ONCE = 64
"""Asking the kernel costs as much as writing an id down."""


def new_id() -> str:
    """Make an id for X-Request-ID: a random UUID (R-170)."""
    return next(_ids)


def _make_ids() -> Iterator[str]:
    while True:
        values = os.urandom(16 * _AT_ONCE).hex()
        for start in range(0, len(values), 32):
            value = values[start : start + 32]
            yield f"{value[:8]}-{value[8:12]}-4{value[13:16]}-a{value[17:20]}-{value[20:]}"


def _begin() -> None:
    global _ids
    _ids = _make_ids()


_ids = _make_ids()
os.register_at_fork(after_in_child=_begin)  # else parent and child would give out the same ones
