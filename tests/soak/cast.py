"""Who takes part in the soak, who may see what, and what they own in the beginning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from random import Random

from config.ocpi import InterfaceRole
from hub.simulator import hosted_modules
from hub.simulator.objects import location, tariff, token
from tests.soak.model import Network, Owned

LOCATIONS_PER_CPO = 4
TARIFFS_PER_CPO = 2
TOKENS_PER_EMSP = 3

# OCPI 2.2.1, Broadcast Push: who is told what, by role; written here once more on purpose.
READERS: Mapping[str, frozenset[str]] = {
    "locations": frozenset({"EMSP", "NSP", "OTHER"}),
    "tariffs": frozenset({"EMSP", "NSP", "OTHER"}),
    "tokens": frozenset({"CPO"}),
}
OWNERS: Mapping[str, str] = {"locations": "CPO", "tariffs": "CPO", "tokens": "EMSP"}


@dataclass(frozen=True)
class Part:
    """One platform of the cast."""

    name: str
    roles: tuple[tuple[str, str], ...]
    """Parties and roles, like `("NL-C01", "CPO")`."""

    @property
    def modules(self) -> tuple[tuple[str, InterfaceRole], ...]:
        """What it publishes; everybody listens to HubClientInfo, and OTHER to what is for everybody."""
        roles = [role if role != "OTHER" else "NSP" for _, role in self.roles]
        return (*hosted_modules(*roles), ("hubclientinfo", "RECEIVER"))

    def parties(self, *roles: str) -> list[str]:
        """Give its parties in these roles."""
        return [party for party, role in self.roles if role in roles]


@dataclass(frozen=True)
class Denial:
    """A contract that forbids: between these two about this module, in both directions."""

    one: str
    """A party, or `*:ROLE`."""
    other: str
    module: str

    def is_about(self, one: tuple[str, str], other: tuple[str, str], module: str) -> bool:
        """Whether it forbids this to these two, given with their roles."""
        if self.module not in ("*", module):
            return False
        return any(_is(self.one, a) and _is(self.other, b) for a, b in ((one, other), (other, one)))


def _is(selector: str, who: tuple[str, str]) -> bool:
    return selector in (who[0], f"*:{who[1]}")


class Cast:
    """The platforms, the contracts, and what follows from both."""

    def __init__(self, platforms: int) -> None:
        self.parts = list(_parts(platforms))
        cpos = [party for part in self.parts for party in part.parties("CPO")]
        emsps = [party for part in self.parts for party in part.parties("EMSP")]
        self.denials = [
            Denial(cpos[0], emsps[0], "*"),
            Denial(cpos[1], emsps[1], "tokens"),
            Denial(cpos[1], "*:NSP", "tariffs"),
            Denial("*:CPO", emsps[-1], "tariffs"),
        ]
        self._roles: dict[str, set[str]] = {}
        self.holder: dict[str, Part] = {}
        for part in self.parts:
            for party, role in part.roles:
                self._roles.setdefault(party, set()).add(role)
                self.holder[party] = part

    def may_see(self, viewer: str, owner: str, module: str) -> bool:
        """Whether this party is told of that one's objects."""
        if self.holder[viewer] is self.holder[owner]:
            return False
        role = OWNERS[module]
        return any(
            not any(denial.is_about((owner, role), (viewer, reader), module) for denial in self.denials)
            for reader in self._roles[viewer] & READERS[module]
        )

    def may_talk(self, one: str, other: str, module: str) -> bool:
        """Whether no contract is between these two."""
        return not any(
            denial.is_about((one, a), (other, b), module)
            for denial in self.denials
            for a in self._roles[one]
            for b in self._roles[other]
        )

    def owners(self, module: str) -> list[str]:
        """Give the parties that own objects of a module."""
        return [party for party, roles in self._roles.items() if OWNERS[module] in roles]

    def viewers(self, module: str) -> list[str]:
        """Give the parties that are told of a module."""
        return [party for party, roles in self._roles.items() if roles & READERS[module]]

    def furnish(self, random: Random) -> Network:
        """Make the objects that everybody begins with. Ids are of mixed case, and some need percent-encoding."""
        network = Network()
        for cpo in self.owners("locations"):
            short = cpo[3:]
            for number in range(LOCATIONS_PER_CPO):
                body = location(cpo, f"{short}-Loc{number}")
                body["directions"] *= random.randint(1, 12)
                network.add(Owned("locations", cpo, body["id"], body))
            for number in range(TARIFFS_PER_CPO):
                id = f"{short} T/{number}"
                network.add(Owned("tariffs", cpo, id, tariff(cpo, id)))
        for emsp in self.owners("tokens"):
            for number in range(TOKENS_PER_EMSP):
                kind = "APP_USER" if number else "RFID"
                uid = f"{emsp[3:]}tok{number}"
                network.add(Owned("tokens", emsp, uid, token(emsp, uid, type=kind), type=kind))
        return network


def _parts(platforms: int) -> Iterator[Part]:
    """Give about a quarter CPOs, three fifths eMSPs and a few others; every fifth has a second party."""
    others = cycle(("BOTH", "NSP", "OTHER"))
    cpos, emsps = max(3, round(platforms * 0.24)), max(3, round(platforms * 0.6))
    kinds = ["CPO"] * cpos + ["EMSP"] * emsps
    kinds += [next(others) for _ in range(platforms - len(kinds))]
    for number, kind in enumerate(kinds, start=1):
        if kind == "BOTH":
            party = f"BE-B{number:02}"
            yield Part(f"Both {number}", ((party, "CPO"), (party, "EMSP")))
            continue
        country = {"CPO": "NL", "EMSP": "DE"}.get(kind, "FR")
        roles = [(f"{country}-{kind[0]}{number:02}", kind)]
        if number % 5 == 0 and kind in ("CPO", "EMSP"):
            roles.append((f"{country}-X{number:02}", kind))
        yield Part(f"{kind} {number}", tuple(roles))
