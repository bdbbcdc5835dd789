"""Heads of messages like earlier ones: what varies from message to message is read anew, the rest only compared.

A head is read strictly once, line by line. One that has the same lines at the same places is as well-formed as that
one if those that vary have a plain value again, and means the same but for them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

LENGTH = re.compile(r"0|[1-9][0-9]{0,8}").fullmatch
"""A Content-Length that is plain."""
_VALUE = r"[!-~](?:[ -~]*[!-~])?"
FIELD = rf"([A-Za-z0-9!#$%&'*+.^_`|~-]+): ({_VALUE})"
"""The pattern of a line that is plain: a name and a value."""
VALUE = re.compile(_VALUE).fullmatch
"""A value of a field that is plain."""
WORD = re.compile(r"[!-~]+").fullmatch
"""A value that is plain and has no spaces."""
HEAD_MAX = 8000
"""Longest head read here, in bytes: shorter than what aiohttp takes for one line of it."""
KNOWN_MAX = 2048
"""How many heads are remembered."""
_REMEMBERED_MAX = 2000
"""Longest head that is remembered, in bytes."""
_LINES_MAX = 32
_VALUES_MAX, _NAMES_MAX = 8, 256

_VARIES = "\0"
"""In place of a value that varies: no line that is plain has it, so that none is taken for one without a value."""

Check = Callable[[str], object]


class Layout(NamedTuple):
    """Where in a head the lines are whose values vary."""

    number: int
    """Of all its lines."""
    varying: tuple[tuple[int, int, str, int, Check], ...]
    """Of each: which line it is, where its value goes, how it begins and how long that is, what its value must be."""


class Learned(NamedTuple, Generic[T]):
    """What the strict reader says of a head."""

    meaning: T
    fields: Sequence[tuple[str, str]]
    """Names in lower case, in the order of the lines, and values."""


UNKNOWN = Layout(0, ())
"""The layout of a connection from which nothing was read yet."""


class Heads(Generic[T]):
    """The heads that were read lately."""

    def __init__(
        self,
        learn: Callable[[bytes, int], Learned[T] | None],
        *,
        wanted: Mapping[str, Check],
        fixed: Callable[[str], bool],
        first_varies: bool,
    ) -> None:
        """`learn` reads strictly; `wanted` fields are given with each head; `fixed` ones are part of its meaning.

        All others vary as soon as they were seen with some different values.
        """
        self._learn = learn
        self._wanted = {name: (slot, check) for slot, (name, check) in enumerate(wanted.items())}
        self._fixed = fixed
        self._first_varies = first_varies
        self._no_values: list[str | None] = [None] * (len(wanted) + 1)  # the last is for what nobody asks for
        self._known: dict[tuple[str, ...], T] = {}
        self._seen: dict[str, set[int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def clear(self) -> None:
        """Forget what the heads mean, and what was seen to vary."""
        self._known.clear()
        self._seen.clear()

    def read(self, data: bytes, end: int, layout: Layout) -> tuple[T, str, list[str | None], Layout] | None:
        """Read the head of which the last line ends at `end`; `layout` is that of the head before it.

        Gives its meaning, its first line, the values of the wanted fields, and its layout; None when it is not plain. A
        first line that varies is not looked at.
        """
        if end > HEAD_MAX:
            return None
        try:
            lines = data[:end].decode("ascii").split("\r\n")
        except UnicodeDecodeError:
            return None
        first = lines[0]
        if len(lines) == layout.number:
            values = self._no_values[:]
            for place, slot, prefix, size, check in layout.varying:
                line = lines[place]
                value = line[size:]
                if not (line.startswith(prefix) and check(value)):
                    break
                values[slot] = value
                lines[place] = prefix + _VARIES
            else:
                if self._first_varies:
                    lines[0] = ""
                meaning = self._known.get(tuple(lines))
                if meaning is not None:
                    return meaning, first, values, layout
        return self._read_anew(data, end, first)

    def _read_anew(self, data: bytes, end: int, first: str) -> tuple[T, str, list[str | None], Layout] | None:
        learned = self._learn(data, end)
        if learned is None:
            return None
        lines = data[:end].decode("ascii").split("\r\n")
        values = self._no_values[:]
        varying = []
        for place, (name, value) in enumerate(learned.fields, 1):
            slot, check = self._wanted.get(name, (len(self._wanted), VALUE))
            if name in self._wanted or self._varies(name, value):
                prefix = lines[place][: len(lines[place]) - len(value)]
                varying.append((place, slot, prefix, len(prefix), check))
                values[slot] = value
                lines[place] = prefix + _VARIES
        if self._first_varies:
            lines[0] = ""
        meaning = learned.meaning
        if end <= _REMEMBERED_MAX and len(lines) <= _LINES_MAX:
            if len(self._known) >= KNOWN_MAX:
                self.clear()
            meaning = self._known.setdefault(tuple(lines), meaning)
        return meaning, first, values, Layout(len(lines), tuple(varying))

    def _varies(self, name: str, value: str) -> bool:
        """Whether a field that means nothing here is seen with ever other values, such as Date."""
        if self._fixed(name):
            return False
        seen = self._seen.get(name)
        if seen is None:
            if len(self._seen) >= _NAMES_MAX:
                self._seen.clear()  # somebody makes names up
            seen = self._seen[name] = set()
        if len(seen) < _VALUES_MAX:
            seen.add(hash(value))
        return len(seen) >= _VALUES_MAX
