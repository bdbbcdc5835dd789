"""Every row of the table: what is measured, what it may come to at most, and what is hoped for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; its value is the median of the rounds."""

    name: str
    measurement: str
    """The file that measures it, as `--only` names it."""
    title: str
    target: float
    hope: float
    unit: str = "x"
    """`x` is a ratio within a round."""
    tolerated: float | None = None
    """Where the hub does not meet its target yet: beyond what `make bench-quick` fails. Take it away once it does."""

    @property
    def ci_limit(self) -> float:
        """Beyond it something was grossly lost, whatever else a machine does meanwhile."""
        return self.tolerated if self.tolerated is not None else 1.5 * self.target

    def state(self, value: float) -> str:
        """Give how a value compares."""
        return "hoped for" if value <= self.hope else "met" if value <= self.target else "missed"


ROWS = (
    Row("get_proxy", "forward", "Forward, GET with a 1 kB answer / bare aiohttp proxy", 0.30, 0.25),
    Row("put_proxy", "forward", "Forward, PUT with a 1 kB body / bare aiohttp proxy", 0.30, 0.25),
    Row("get_nginx", "forward", "Forward, GET with a 1 kB answer / nginx", 2.4, 2.0),
    Row("put_nginx", "forward", "Forward, PUT with a 1 kB body / nginx", 2.4, 2.0),
    Row("64kb_nginx", "large", "Forward, 64 kB answer / nginx", 1.7, 1.4, tolerated=3.5),
    Row("5mb_nginx", "large", "Forward, 5 MB answer / nginx", 1.5, 1.1),
    Row("5mb_memory", "large", "Growth of memory while eight 5 MB answers stream", 16, 8, "MB"),
    Row("latency_nginx", "latency", "Latency added, one unloaded connection / nginx's", 1.5, 1.0),
    Row(
        "fan_out", "broadcast", "Broadcast of a 1 kB PUT to 1,000 / aiohttp's ClientSession", 0.25, 0.17, tolerated=0.6
    ),
    Row("fan_out_lag", "broadcast", "Event-loop lag while that goes on", 10, 5, "ms", tolerated=100),
    Row("page", "pages", "GET all, a page of 100 locations (200 kB) / psql", 2.0, 1.3),
    Row("idle_connection", "memory", "Memory for each idle inbound connection", 12, 6, "kB"),
    Row("worker", "memory", "Memory of a worker", 60, 45, "MB"),
    Row("two_workers", "workers", "CPU for each request, two workers / one", 1.1, 1.05),
    Row(
        "many_parties",
        "parties",
        "Forward, 1,000 platforms with 10,000 parties / 2 platforms",
        1.05,
        1.02,
    ),
    Row("write_behind", "write_behind", "Forward of a session, mirrored / not mirrored", 1.25, 1.15),
)
