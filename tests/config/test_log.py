"""What is logged, and in which form."""

import sys
from typing import Literal

import pytest

from config.log import wants_json


@pytest.mark.parametrize(
    ("log_format", "someone_reads", "as_json"),
    [
        ("json", True, True),
        ("json", False, True),
        ("console", True, False),
        ("console", False, False),
        ("auto", True, False),
        ("auto", False, True),
    ],
)
def test_lines_are_json_unless_someone_is_reading(
    monkeypatch: pytest.MonkeyPatch,
    log_format: Literal["auto", "json", "console"],
    someone_reads: bool,
    as_json: bool,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: someone_reads)

    assert wants_json(log_format) is as_json
