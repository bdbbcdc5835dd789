"""Contracts as CSV and JSON: read as operators and spreadsheets write them; what cannot be read is named."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given

from config.ocpi import PartyID
from parties.contract_files import (
    ContractFileError,
    Form,
    compare,
    fields_of,
    form_of,
    read_rules,
    require_all,
    shown,
    write_csv,
)
from parties.contracts import Rule, Selector
from tests.parties.cast import a_rule
from tests.parties.test_contracts import NOW, rules_

HUB = PartyID("NL", "HUB")


def read(content: str, form: Form = "csv") -> list[Rule]:
    return require_all(read_rules(content, form, HUB))


CSV = """\
from,to,module,allowed,valid_from,valid_until
*:CPO,*:EMSP,*,true,,
nl-abc:emsp,DE-XYZ,locations,false,2026-01-01,2026-12-31T18:00:00+01:00
"""
JSON = """[
  {"from": "*:CPO", "to": "*:EMSP", "allowed": true},
  {"from": "nl-abc:emsp", "to": "DE-XYZ", "module": "locations", "allowed": false,
   "valid_from": "2026-01-01", "valid_until": "2026-12-31T17:00:00Z"}
]"""
RULES = [
    Rule(Selector(None, "CPO"), Selector(None, "EMSP"), "*", True),
    Rule(
        Selector(("NL", "ABC"), "EMSP"),
        Selector(("DE", "XYZ")),
        "locations",
        False,
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 12, 31, 17, tzinfo=UTC),
    ),
]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (CSV, "csv"),
        (CSV.replace(",", ";"), "csv"),  # a spreadsheet where 1,5 is a number
        (CSV.replace("\n", "\r\n") + "\r\n", "csv"),
        (CSV.replace("true", "Yes").replace("false", "no").replace("from,", "From ,"), "csv"),
        (JSON, "json"),
    ],
)
def test_contracts_are_read_from_csv_and_json(content: str, form: Form) -> None:
    assert read(content, form) == RULES


def test_a_file_needs_no_more_than_who_whom_and_whether() -> None:
    assert read("allowed,to,from\ndeny,*,BE-BEC\n") == [a_rule("BE-BEC > * no")]


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.JSON", "from,to", "json"),
        ("a.csv", "[]", "csv"),
        ("-", " \n[]", "json"),
        ("a.txt", '{"a": 1}', "json"),
        ("a", "from,to", "csv"),
        ("a", "", "csv"),
    ],
)
def test_a_files_form_is_told_by_its_ending_else_by_its_beginning(name: str, content: str, form: Form) -> None:
    assert form_of(name, content) == form


HEAD = "from,to,module,allowed,valid_from,valid_until\n"


@pytest.mark.parametrize(
    ("content", "form", "said"),
    [
        (HEAD + "*,*,*,true,,\nNL,*,*,true,,\n", "csv", ["line 3, from: 'NL' is no party", "NL-ABC:CPO is expected"]),
        (HEAD + "*,*:C PO,*,true,,\n", "csv", ["line 2, to: '*:C PO'"]),
        (HEAD + "*,*,a b,true,,\n", "csv", ["line 2, module: 'a b' is no module"]),
        (HEAD + "*,*,*,maybe,,\n", "csv", ["line 2, allowed: 'maybe' is neither true nor false"]),
        (HEAD + "*,*,*,,,\n", "csv", ["line 2, allowed: missing"]),
        (HEAD + "*,*,*,true,1.5.2026,\n", "csv", ["line 2, valid_from: '1.5.2026' is no date", "2026-12-31"]),
        (HEAD + "*,*,*,true,,0001-01-01T00:00:00+05:00\n", "csv", ["line 2, valid_until: "]),
        (HEAD + "*,*,*,true,2026-02-01,2026-02-01\n", "csv", ["line 2, valid_until: is not after valid_from"]),
        (HEAD + "nl-hub,*,*,true,,\n", "csv", ["line 2, from: NL-HUB is this hub itself"]),
        (HEAD + "*,*,*,true\n", "csv", ["line 2: has 4 fields, the heading 6"]),
        (HEAD + '*,*,"*,true,,\n', "csv", ["line 2: not CSV"]),
        ("from,to\n*,*\n", "csv", ["line 1: the heading lacks allowed"]),
        ("from,to,allowed,modul\n*,*,true,x\n", "csv", ["line 2, modul: no field of a contract"]),
        ("", "csv", ["empty"]),
        ("{}", "json", ["a list of rules is expected"]),
        ("[\n{]", "json", ["line 2: not JSON"]),
        ('[{"from": "*", "to": "*", "allowed": true}, 7]', "json", ["rule 2: is no object"]),
        ('[{"from": "*", "to": 7, "allowed": true}]', "json", ["rule 1, to: '7' is no party"]),
        ('[{"from": "*", "allowed": true}]', "json", ["rule 1, to: missing"]),
        ('[{"from": "*", "to": "*", "allowed": 1}]', "json", ["rule 1, allowed: 1 is neither"]),
        ('[{"from": "*", "to": "*", "allowed": true, "module": {"a": 1}}]', "json", ["rule 1, module: "]),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(content: str, form: Form, said: list[str]) -> None:
    with pytest.raises(ContractFileError) as caught:
        read(content, form)
    for words in said:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_named_at_once_if_it_is_not_too_much() -> None:
    with pytest.raises(ContractFileError) as caught:
        read(HEAD + "NL,*,*,true,,\n" * 8)
    message = str(caught.value)
    assert [f"line {number}, from" in message for number in range(2, 10)] == [True] * 5 + [False] * 3
    assert message.endswith("; and 3 more")


@given(rules_())
def test_what_is_written_is_read_again(rule: Rule) -> None:
    if rule.valid_from and rule.valid_until and rule.valid_from >= rule.valid_until:
        return
    assert [each.terms for each in read(write_csv([rule]))] == [rule.terms]
    for fields in (fields_of(rule), shown(rule, NOW)):
        assert [each.terms for each in read(json.dumps([fields]), "json")] == [rule.terms]


def test_importing_adds_what_is_new_and_keeps_the_age_of_what_is_there() -> None:
    here = [a_rule("* > *", id=1), a_rule("BE-BEC > *", id=2), a_rule("DE-TNM > *", id=3, removed_at=NOW)]
    wanted = [a_rule("BE-BEC > *"), a_rule("DE-TNM > *"), a_rule("DE-TNM > *"), a_rule("BE-BEC > * no")]

    added = compare(here, wanted, replace=False)
    assert (added.added, added.removed, added.kept) == ((wanted[1], wanted[3]), (), (here[1],))

    replaced = compare(here, wanted, replace=True)
    assert (replaced.added, replaced.removed, replaced.kept) == ((wanted[1], wanted[3]), (here[0],), (here[1],))
