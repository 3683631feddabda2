"""Levels and keys are stated once, in a closed language: what it takes, what it refuses, and models that choose their fields."""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from mpi.matching import FIELDS, block, build_model, compare, decide, normalise, score
from mpi.matching.definition import COMPARATORS, KEY_RULES, PAIRWISES
from mpi.matching.explain import REASONS
from mpi.matching.language import Let, Step, choose, in_order, parse
from mpi.matching.model import DEFAULT_MODEL
from tests.core.matching_builders import MODEL, a_normalised, a_source_record, source_records

DOCUMENT: dict[str, Any] = json.loads(DEFAULT_MODEL.read_text(encoding="utf-8"))


def a_document(*fields: str, **changes: Any) -> dict[str, Any]:
    """The shipped model with these of its fields only."""
    document = deepcopy(DOCUMENT)
    document["fields"] = {name: document["fields"][name] for name in fields}
    document["frequency"] = {name: table for name, table in document["frequency"].items() if name in fields}
    return {**document, **changes}


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "a.given.__class__",
        "open('x')",
        "a._secret",
        "lambda: 1",
        "[x for x in a.given]",
        "a.given if a.given else b.given",
        "a.number - b.number",
        "min(a.given, key=len)",
        "a.number.upper()",
        "(x := a.given)",
        "a.given[",
    ],
)
def test_an_expression_outside_the_language_is_refused(expression: str):
    with pytest.raises(ValueError, match="language"):
        parse(expression)


def test_steps_stand_after_those_that_they_ask_for():
    steps = [
        Step("last", choose(("yes", "first == 'yes'"), otherwise="=first")),
        Step("first", choose(Let("here", "a.number != ''"), ("yes", "here"), otherwise="no")),
    ]

    assert [step.name for step in in_order(steps)] == ["first", "last"]


def test_steps_that_ask_for_each_other_are_refused():
    steps = [Step("one", choose(otherwise="=other")), Step("other", choose(otherwise="=one"))]

    with pytest.raises(ValueError, match="each other"):
        in_order(steps)


def test_every_level_has_words_for_its_reader():
    told = {level for levels in REASONS.values() for level in levels}

    assert {level for comparator in COMPARATORS.values() for level in comparator.levels} <= told


def test_a_rank_is_a_word_of_its_choice():
    for pairwise in PAIRWISES.values():
        assert set(pairwise.choice.words()) == set(pairwise.ranks)


def test_a_model_tells_its_fields_in_one_order_whatever_the_file_has():
    document = a_document(*reversed(FIELDS))

    assert build_model(document).fields == FIELDS


@given(a=source_records(), b=source_records())
def test_a_model_of_two_fields_sees_those_two_alone(a, b):
    model = build_model(a_document("family", "birth_date"))
    one, other = normalise(a, model), normalise(b, model)

    comparison = compare(one, other, model)

    assert comparison.fields == model.fields == ("family", "birth_date")
    assert comparison.level("birth_date") == compare(one, other, MODEL).level("birth_date")
    assert comparison.level("given") == "missing"
    assert {part[0] for part in score(comparison, model).parts} <= {"prior", "family", "birth_date"}
    assert decide(score(comparison, model), comparison, model).grade is not None


def test_a_model_may_add_a_field_that_a_comparator_of_ours_compares():
    levels = {
        "agree": DOCUMENT["fields"]["practice"]["agree"],
        "differ": DOCUMENT["fields"]["practice"]["differ"],
    }
    document = a_document("family", comparators={"died_on": {"comparator": "date-agrees", "column": "death"}})
    document["fields"]["died_on"] = levels
    model = build_model(document)
    one = replace(a_normalised(), death=(2024, 5, 1))

    assert model.fields == ("family", "died_on")
    assert compare(one, one, model).level("died_on") == "agree"
    assert compare(one, replace(one, death=(2023, 1, 9)), model).level("died_on") == "differ"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shoe_size", None),
        ("shoe_size", {"comparator": "guess"}),
        ("shoe_size", {"comparator": "equal", "column": "shoe"}),
        ("shoe_size", {"comparator": "equal", "column": "given"}),
        ("shoe_size", {"comparator": "date", "column": "birth"}),
        ("shoe size", {"comparator": "equal", "column": "practice"}),
        ("alike", {"comparator": "equal", "column": "practice"}),
    ],
)
def test_a_field_that_nothing_can_compare_makes_no_model(name: str, told: dict[str, str] | None):
    document = a_document("family", **({"comparators": {name: told}} if told else {}))
    document["fields"][name] = DOCUMENT["fields"]["practice"]

    with pytest.raises((ValueError, KeyError)):
        build_model(document)


@pytest.mark.parametrize("rule", sorted(KEY_RULES))
def test_a_model_of_one_blocking_rule_makes_keys_of_that_rule_alone(rule: str):
    model = build_model({**DOCUMENT, "blocking": {rule: {"cap": 60}}})
    record = normalise(
        a_source_record(
            nhs_number="9990000018",
            born_on="1990-02-04",
            phone="07700 900123",
            email="a@example.org",
            identifier="A123456",
            mother="9990000018",
        ),
        model,
    )

    assert {key.rule for key in block(record, model)} == {rule}


def test_a_blocking_rule_that_is_not_known_makes_no_model():
    with pytest.raises(KeyError):
        build_model({**DOCUMENT, "blocking": {"shoe-size": {"cap": 60}}})
