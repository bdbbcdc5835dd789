"""How many requests may be open at one platform, and who waits for a place."""

import asyncio
from collections import deque
from typing import Literal

Lane = Literal["ordinary", "urgent"]


class Places:
    """The places of one platform's requests: who has one, and who waits for one.

    `ordinary` places are for all; urgent requests have `share` further ones, which they fill first.
    """

    __slots__ = ("ordinary", "share", "taken_ordinary", "taken_urgent", "waiting")

    def __init__(self, ordinary: int, share: int) -> None:
        self.ordinary = ordinary
        self.share = share
        self.taken_ordinary = 0
        self.taken_urgent = 0
        self.waiting: deque[tuple[asyncio.Future[bool], Lane]] = deque()

    def try_enter(self, lane: Lane) -> bool:
        """Take a place, if one is free for this lane."""
        overflow = self.taken_urgent - self.share
        is_full = self.taken_ordinary + max(overflow, 0) >= self.ordinary
        if lane == "urgent" and (overflow < 0 or not is_full):
            self.taken_urgent += 1
            return True
        if lane == "ordinary" and not is_full:
            self.taken_ordinary += 1
            return True
        return False

    def leave(self, lane: Lane) -> None:
        """Give a place back, to the first of those who wait; urgent ones go before."""
        if lane == "urgent":
            self.taken_urgent -= 1
        else:
            self.taken_ordinary -= 1
        if not self.waiting:
            return
        for waiter, other in sorted(self.waiting, key=lambda waiting: waiting[1] == "ordinary"):
            if not waiter.done() and self.try_enter(other):
                waiter.set_result(True)

    @property
    def taken(self) -> int:
        """Requests that have a place."""
        return self.taken_ordinary + self.taken_urgent

    @property
    def is_empty(self) -> bool:
        """Whether nobody has or waits for one."""
        return not (self.taken_ordinary or self.taken_urgent or self.waiting)
