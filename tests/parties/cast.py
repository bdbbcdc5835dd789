"""Rules as tests write them."""

from typing import Any

from parties.contracts import ANY, Rule, Selector


def a_rule(text: str, **fields: Any) -> Rule:
    """A rule written `BE-BEC > *:EMSP locations`, or with `no` at its end a refusal."""
    sender, _, receiver, *words = text.split()
    module = next((word for word in words if word != "no"), ANY)
    return Rule(Selector.parse(sender), Selector.parse(receiver), module, words[-1:] != ["no"], **fields)
