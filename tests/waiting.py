"""Waiting for a thing to be so, and never longer than it takes."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def until(condition: Callable[[], Any], what: str = "", *, seconds: float = 20.0) -> Any:
    """Wait until a condition, plain or asynchronous, gives something true, and give that."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s in vain{' until ' + what if what else ''}") from None
