"""Message ids that the hub makes."""

import os
from collections.abc import Iterator

_AT_ONCE = 64


def _ids() -> Iterator[str]:
    while True:
        digits = os.urandom(16 * _AT_ONCE).hex()  # the system is asked once for many
        for at in range(0, len(digits), 32):
            yield (
                f"{digits[at : at + 8]}-{digits[at + 8 : at + 12]}-4{digits[at + 13 : at + 16]}"
                f"-a{digits[at + 17 : at + 20]}-{digits[at + 20 : at + 32]}"
            )


_made = _ids()


def new_id() -> str:
    """Make an id for X-Request-ID: a random UUID (R-170)."""
    return next(_made)
