"""Hold an answer to what is expected of it, and to what holds for every answer. Problems name codes and kinds, never a value."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from consent.conformance.speak import Answer

OUTCOMES = ("PERMIT", "PERMIT_FILTERED", "DENY", "DENY_OVERRIDABLE", "NOT_FOUND")
OBLIGATIONS = frozenset(
    {
        "WITHHOLD", "MASK_LOCATION", "WITHHELD_NOTICE", "HIDE_EXISTENCE", "ASK_PERMISSION", "RECORD_REASON", "ALERT_PRIVACY_OFFICER",
        "NOTIFY_PATIENT", "SHOW_IDENTITY_WARNING", "EXPIRES", "SINGLE_USE", "NO_STORE", "NO_EXPORT", "REAUTH", "REPORT_ITEMS_RELEASED",
    }
)  # fmt: skip
"""The closed list: a receiver refuses what stands under another."""

_OF_THE_MOMENT = ("decision_id", "evaluated_at", "leaf_hash", "proof", "event_id")


def decision_problems(
    decision: Mapping[str, Any],
    expected: Mapping[str, Any],
    asked: Mapping[str, Any],
    parts: Mapping[str, str],
) -> Iterator[str]:
    """Say what is wrong with a decision.

    Args:
        decision: as the service wrote it.
        expected: the words of the case.
        asked: the body of the question.
        parts: the part that each ODS code plays.
    """
    yield from _always(decision, asked)
    outcome = decision.get("outcome")
    if "outcome" in expected and outcome != expected["outcome"]:
        yield f"outcome: {expected['outcome']} expected, {outcome} answered"
    cells = {
        f"{cell['category']}/{cell['label']}/{parts.get(cell['source'], 'somewhere else')}"
        for cell in decision.get("permitted", ())
    }
    if "permitted" in expected:
        for cell in sorted(cells - set(expected["permitted"])):
            yield f"permitted: {cell} must not be"
        for cell in sorted(set(expected["permitted"]) - cells):
            yield f"permitted: {cell} is missing"
    reasons = {one.get("reason") for one in decision.get("determining", ())}
    for reason in expected.get("reasons", ()):
        if reason not in reasons:
            yield f"reasons: {reason} is missing"
    yield from _obligation_problems(decision.get("obligations", ()), expected)
    if (
        "override" in expected
        and (decision.get("override") or {}).get("is_possible") is not expected["override"]
    ):
        yield f"override: {'possible' if expected['override'] else 'impossible'} expected"


def _obligation_problems(given: Any, expected: Mapping[str, Any]) -> Iterator[str]:
    found = {one.get("code"): one.get("parameters", {}) for one in given}
    for code, parameters in expected.get("obligations", {}).items():
        if code not in found:
            yield f"obligations: {code} is missing"
            continue
        for name, value in parameters.items():
            if found[code].get(name) != value:
                yield f"obligations: {code}: {name} is not {value}"
    for code in expected.get("no_obligations", ()):
        if code in found:
            yield f"obligations: {code} must not be"


def _always(decision: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    outcome, permitted = decision.get("outcome"), decision.get("permitted", ())
    if outcome not in OUTCOMES:
        yield "outcome: not on the closed list"
    if bool(permitted) != (outcome in ("PERMIT", "PERMIT_FILTERED")):
        yield f"permitted: does not go with {outcome}"
    for cell in permitted:
        for axis, asked_for in (("category", "categories"), ("label", "labels"), ("source", "sources")):
            if asked.get(asked_for) and cell.get(axis) not in asked[asked_for]:
                yield f"permitted: a {axis} that was not asked for"
    for one in decision.get("obligations", ()):
        if one.get("code") not in OBLIGATIONS:
            yield "obligations: one that is not on the closed list"
    if outcome != "NOT_FOUND" and not isinstance(decision.get("epoch"), int):
        yield "epoch: not stated"
    if not decision.get("leaf_hash"):
        yield "leaf_hash: no evidence of the audit row"
    if outcome == "PERMIT_FILTERED" or outcome == "PERMIT":
        codes = {one.get("code") for one in decision.get("obligations", ())}
        # Without either a screen does not know whether it may say that something is withheld.
        if len(codes & {"WITHHELD_NOTICE", "HIDE_EXISTENCE"}) != 1:
            yield "obligations: one of WITHHELD_NOTICE and HIDE_EXISTENCE is needed"


def redemption_problems(
    body: Mapping[str, Any], expected: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Say what is wrong with the answer to a redemption of these items."""
    released, withheld = body.get("released", ()), body.get("withheld", ())
    if sorted([*released, *withheld]) != sorted(item["id"] for item in items):
        yield "released: with what is withheld it is not what was offered"
    if bool(released) != (body.get("outcome") in ("PERMIT", "PERMIT_FILTERED")):
        yield f"released: does not go with {body.get('outcome')}"
    if any(one.get("code") not in OBLIGATIONS for one in body.get("obligations", ())):
        yield "obligations: one that is not on the closed list"
    if "outcome" in expected and body.get("outcome") != expected["outcome"]:
        yield f"outcome: {expected['outcome']} expected, {body.get('outcome')} answered"
    if "released" in expected and sorted(body.get("released", ())) != sorted(expected["released"]):
        yield f"released: {len(expected['released'])} items expected, {len(body.get('released', ()))} answered, or others"
    yield from _obligation_problems(body.get("obligations", ()), expected)


def grant_problems(body: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the answer to a request for emergency access, beside its decision."""
    grant = body.get("grant")
    if "granted" in expected and (grant is not None) is not expected["granted"]:
        yield f"emergency access: {'opened' if expected['granted'] else 'refused'} expected"
    if grant is not None and "at_most_hours" in expected:
        opened, ends = (datetime.fromisoformat(grant[name]) for name in ("opened_at", "expires_at"))
        if (ends - opened).total_seconds() > expected["at_most_hours"] * 3600:
            yield f"emergency access: longer than {expected['at_most_hours']} hours"


def told_problems(answer: Answer, values: Mapping[str, str], never: tuple[str, ...]) -> Iterator[str]:
    """Say which personal values, and which words of the case, an answer tells that must not be in it."""
    text = json.dumps(answer.body, ensure_ascii=False).casefold()
    for what, value in values.items():
        if value.casefold() in text:
            yield f"never: the {what} stands in the answer"
    for word in never:
        if f'"{word.casefold()}"' in text:
            yield f"never: {word} stands in the answer"


def without_the_moment(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision without what two equal answers differ in."""
    return {name: value for name, value in decision.items() if name not in _OF_THE_MOMENT}
