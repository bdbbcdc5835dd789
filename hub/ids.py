"""Message ids that the hub makes."""

import os


def new_id() -> str:
    """Make an id for X-Request-ID: a random UUID (R-170)."""
    value = os.urandom(16).hex()
    return f"{value[:8]}-{value[8:12]}-4{value[13:16]}-a{value[17:20]}-{value[20:]}"
