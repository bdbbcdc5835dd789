"""What the README claims, it shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PARTY_COMMANDS = ("invite", "connect", "list", "show", "allow", "suspend", "resume", "remove", "rotate", "set")
CONTRACT_COMMANDS = ("add", "remove", "list", "export", "import", "check")
COMMANDS = (
    *("serve", "demo", "config show", "routes"),
    *(f"party {name}" for name in PARTY_COMMANDS),
    *(f"contract {name}" for name in CONTRACT_COMMANDS),
)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_readme_with_its_description(name: str) -> None:
    row = re.search(rf"^\| `OCPI_HUB_{name.upper()}` \|.*$", README, re.MULTILINE)
    assert row is not None
    assert (Settings.model_fields[name].description or "?") in row[0]


def test_the_readme_names_no_setting_that_there_is_not() -> None:
    named = set(re.findall(r"\bOCPI_HUB_([A-Z_]+)\b", README)) - {"CONFIG"}
    assert named <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "hub", *command.split(), "--help"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "Usage" in run.stdout


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b", README))))
def test_every_make_target_named_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
