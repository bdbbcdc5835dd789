"""One soak from beginning to end: register, disturb, heal, compare."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from config.ocpi import format_time
from hub.database import Database
from hub.keys import load_secret_keys
from hub.members import Members
from hub.server import make_guard
from parties.model import Role
from tests.commands import environment, run
from tests.hubs import settings_for
from tests.soak import checks
from tests.soak.arrivals import Arrivals
from tests.soak.cast import Cast
from tests.soak.checks import Check
from tests.soak.events import Changes, Conversations, Disturbances, plan
from tests.soak.hubs import Hubs
from tests.soak.member import HUB, Member
from tests.soak.model import Owned

HUB_SETTINGS = {
    "lane_queue": 300,
    "broadcast_timeout": 5,
    "breaker_time": 1,
    "silence": 5,
    "forward_timeout": 5,
    "connect_timeout": 2,
    "lane_drain_timeout": 5,
    "drain_timeout": 3,
    "pull_interval": 20,
}
_SAMPLE_SECONDS = 2.0
_SETTLE_SECONDS = 60.0
_REGISTER_AT_ONCE = 4
_CONVERSATIONS_PER_SECOND = 2.0
_WHO_CRAWLS = 6


@dataclass(frozen=True)
class Wish:
    """How a soak is to be."""

    seconds: float
    platforms: int
    seed: int
    rate: float
    """Changes a second, of all owners together."""
    settings: dict[str, object] = field(default_factory=dict)
    """The hubs', beside those of every soak."""


@dataclass
class Soak:
    """Everything that takes part, and what came of it."""

    wish: Wish
    database_url: str
    tell: Callable[[str], None]
    """Told how far it is."""
    cast: Cast = field(init=False)
    checks: list[Check] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cast = Cast(self.wish.platforms)
        self.network = self.cast.furnish(Random(f"{self.wish.seed}/furnish"))  # noqa: S311
        self.arrivals = Arrivals(self.cast, self.network, HUB)
        self.members = [Member(part, self.network, self.arrivals) for part in self.cast.parts]
        self.by_party = {party: member for member in self.members for party, _ in member.part.roles}
        self.hubs = Hubs(self.database_url, **HUB_SETTINGS | self.wish.settings)
        events = plan(self.wish.seed, self.wish.seconds, self.wish.platforms)
        self.disturbances = Disturbances(events, self.members, self.hubs)
        self.changes = Changes(self.wish.seed, self.network, self.by_party, self.wish.rate)
        self.conversations = Conversations(
            self.wish.seed, self.network, self.by_party, min(_CONVERSATIONS_PER_SECOND, self.wish.rate / 5)
        )
        self.settings = settings_for(self.database_url, public_url=self.hubs.public_url)
        self.takeovers = 0
        self.skipped: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        """How long each stage took."""

    async def run(self) -> None:
        """Do it all. What is wrong afterwards is in `checks`."""
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(Database(self.settings))
            await self._make_contracts()
            await stack.enter_async_context(self.hubs)
            for member in self.members:
                stack.push_async_callback(member.stop)
                await member.start()
                member.via = self.hubs.via
                member.publish()
            async with self._stage("registered"):
                await self._register(Members(self.settings, load_secret_keys(self.settings), database))
            async with self._stage("furnished"):
                await self._furnish()
                await self._settle(database, self.members)
            began = datetime.now(UTC)
            async with self._watching(database), self._stage("disturbed"):
                await self._disturb()
            async with self._stage("healed"):
                await self._heal(database, began)
            async with self._stage("compared"):
                await self._compare()

    @asynccontextmanager
    async def _stage(self, name: str) -> AsyncIterator[None]:
        begin = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - begin
        self.tell(f"{name} in {self.seconds[name]:.1f} s")

    async def _make_contracts(self) -> None:
        """Forbid, as an operator does, what the cast says; either may be the one who asks."""
        env = environment(self.database_url, public_url=self.hubs.public_url)
        for denial in self.cast.denials:
            about = () if denial.module == "*" else ("--module", denial.module)
            done = await run("contract", "add", denial.one, denial.other, *about, "--deny", "--both", env=env)
            assert done.code == 0, done

    async def _register(self, members: Members) -> None:
        turn = asyncio.Semaphore(_REGISTER_AT_ONCE)
        guard = make_guard(self.settings)
        away = {event.target for event in plan(self.wish.seed, self.wish.seconds, self.wish.platforms)}

        async def register(number: int, member: Member) -> None:
            async with turn:
                roles = [Role.parse(f"{party}:{role}") for party, role in member.part.roles]
                invitation = await members.invite(roles, member.name)
                answer = await member.register_at(self.settings.versions_url, invitation.token.reveal())
                assert answer.status_code == 1000, answer.body
                if number in away and number % 2:
                    member.catches_up = True
                    platform = await members.platform_of(roles[0].party)
                    await members.set_switches(platform, ["catch_up=on"], guard)

        await asyncio.gather(*(register(number, member) for number, member in enumerate(self.members)))

    async def _furnish(self) -> None:
        """Let every owner broadcast what it begins with."""

        async def furnish(member: Member) -> None:
            for party in (str(each) for each in member.parties):
                for owned in [each for each in self.network.objects.values() if each.owner == party]:
                    assert owned.body is not None
                    await member.push(owned, owned.put(owned.body))
                    await member.repair(owned)

        await asyncio.gather(*(furnish(member) for member in self.members))

    async def _disturb(self) -> None:
        seconds = self.wish.seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self.disturbances.run())
            group.create_task(self.changes.run(seconds))
            group.create_task(self.conversations.run(seconds))

    @asynccontextmanager
    async def _watching(self, database: Database) -> AsyncIterator[None]:
        """Sample what the hubs use, count takeovers and say how far it is."""
        watch = asyncio.create_task(self._watch(database))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, database: Database) -> None:
        loop = asyncio.get_running_loop()
        begin = said = loop.time()
        holders: dict[int, object] = {}
        while True:
            for hub in self.hubs.processes:
                hub.sample()
                await hub.read_metrics()
            async with database.connection() as connection:
                rows = await connection.fetch("SELECT platform_id, holder FROM platform_work WHERE holder IS NOT NULL")
            self.takeovers += sum(holders.get(row[0], row[1]) != row[1] for row in rows)
            holders.update({row[0]: row[1] for row in rows})
            if loop.time() >= said + 10:
                said = loop.time()
                self.tell(
                    f"{said - begin:.0f} of {self.wish.seconds:.0f} s: {sum(self.changes.made.values())} changes, "
                    f"{sum(self.arrivals.by_module.values())} pushes received, "
                    f"{sum(each.count for each in (self.arrivals.backwards, self.arrivals.forbidden))} wrong; "
                    f"hubs {', '.join(hub.name for hub in self.hubs.processes if hub.is_up)}"
                )
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _heal(self, database: Database, began: datetime) -> None:
        """Make everybody healthy, wait until the lanes are empty, and let them catch up who must themselves."""
        await asyncio.gather(*(self._repair(member) for member in self.members))
        await self._settle(database, [each for each in self.members if not each.was_away or each.catches_up])
        since = format_time(began - timedelta(minutes=1))
        for member in self.members:
            if member.was_away and not member.catches_up:
                await member.resync(since)

    async def _repair(self, member: Member) -> None:
        if not member.is_running:
            await member.start()
        for owned in self._owned_by(member):
            await member.repair(owned)

    def _owned_by(self, member: Member) -> list[Owned]:
        return [each for each in self.network.objects.values() if self.by_party[each.owner] is member]

    async def _settle(self, database: Database, members: Sequence[Member]) -> None:
        """Wait until all are CONNECTED, no lane has anything to do and these members have every object as it is.

        Goes on all the same when that takes too long; the checks tell what is missing.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SETTLE_SECONDS
        while True:
            async with database.connection() as connection:
                offline = await connection.fetchval("SELECT count(*) FROM platform WHERE NOT is_online")
            for hub in self.hubs.processes:
                await hub.read_metrics()
            depth = sum(hub.gauge("ocpi_hub_lane_depth") for hub in self.hubs.processes)
            copies = checks.copies_are_true(members, self.network, self.cast)
            infos = checks.client_info_is_true(self.members, self.cast)
            wrong = [*copies.problems, *infos.problems]
            if not offline and not depth and not wrong:
                return
            if loop.time() > deadline:
                left = (
                    f"{offline} platforms OFFLINE, {depth:.0f} pushes wait, {len(wrong)} copies or ClientInfos differ"
                )
                self.tell(f"not settled: {left}")
                return
            await asyncio.sleep(0.3)

    async def _compare(self) -> None:
        loop_members, network, arrivals, cast = self.members, self.network, self.arrivals, self.cast
        crawlers = Random(f"{self.wish.seed}/crawl").sample(self.members, min(_WHO_CRAWLS, len(self.members)))  # noqa: S311
        self.checks = [
            checks.pushes_were_acknowledged(network),
            checks.copies_are_true(loop_members, network, cast),
            checks.order_was_kept(arrivals),
            checks.nothing_was_lost(loop_members, network, arrivals, cast),
            checks.repeats_had_a_reason(loop_members, arrivals, self.disturbances.restarted),
            checks.nobody_saw_too_much(arrivals),
            await checks.get_all_is_whole(crawlers, network, cast),
            checks.client_info_is_true(loop_members, cast),
            checks.usage_is_flat(self.hubs),
            checks.logs_are_quiet(self.hubs),
        ]
