"""Who joins whom where pairs alone do not say it: newborns, twins, kin of one name, newcomers, numbers that were copied wrong."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest

from mpi.matching import (
    Edge,
    Member,
    Model,
    PairWeight,
    compare,
    decide,
    may_join_alone,
    normalise,
    partition,
    safety_obstacles,
    score,
)
from mpi.matching.partition import SOLE
from mpi.matching.score import weights
from mpi.records import SourceRecord
from tests.core.matching_builders import MODEL, ONE_NUMBER, OTHER_NUMBER, a_source_record

CHILD = {
    "given": "Amara",
    "family": "Okafor",
    "born_on": "2024-02-14",
    "nhs_number": ONE_NUMBER,
    "phone": "07700 900123",
}
TWIN = {**CHILD, "given": "Zoë", "nhs_number": OTHER_NUMBER}
UNNAMED = {**CHILD, "given": "Baby", "nhs_number": None}


def a_record(name: str, organisation: str, **what: object) -> SourceRecord:
    return a_source_record(name, organisation=organisation, **what)  # type: ignore[arg-type]


def persons(records: Sequence[SourceRecord], model: Model = MODEL) -> tuple[set[str], set[tuple[str, str]]]:
    """Return the persons, each as the ids of its records in a row, and the joins that the rule of the sole candidate made."""
    forms = {number: normalise(record, model) for number, record in enumerate(records)}
    edges = []
    for low, high in combinations(forms, 2):
        comparison = compare(forms[low], forms[high], model)
        scored = score(comparison, model)
        grading = decide(scored, comparison, model)
        if scored.weight >= model.thresholds.review:
            alone = may_join_alone(comparison, model)
            edges.append(Edge(low, high, scored.weight, grading.may_link, alone))

    def weigh(low: int, high: int) -> PairWeight:
        return PairWeight.of(score(compare(forms[low], forms[high], model), model))

    members = {number: Member.of(number, record.key, forms[number]) for number, record in enumerate(records)}
    found = partition(members, edges, (), model, weigh)
    name = {number: record.key.local_id for number, record in enumerate(records)}
    groups = {"".join(sorted(name[number] for number in group)) for group in found.groups}
    return groups, {(name[one.low_id], name[one.high_id]) for one in found.joins if one.rule == SOLE}


PRACTICE, HOSPITAL, CLINIC, WARD = "G85001", "RRV", "RQM", "RJ1"

CASES = {
    "an unnamed newborn and the only child of that home and day": (
        [a_record("a", PRACTICE, **CHILD), a_record("b", HOSPITAL, **UNNAMED)],
        {"ab"},
    ),
    "an unnamed newborn and two twins": (
        [
            a_record("a", PRACTICE, **CHILD),
            a_record("b", PRACTICE, **TWIN),
            a_record("c", HOSPITAL, **UNNAMED),
        ],
        {"a", "b", "c"},
    ),
    "the second-born, unnamed, and the only child that is known": (
        [a_record("a", PRACTICE, **CHILD), a_record("b", HOSPITAL, **{**UNNAMED, "birth_order": "2"})],
        {"a", "b"},
    ),
    "a child whose twin is told of, and an unnamed newborn": (
        [
            a_record("a", PRACTICE, **CHILD),
            a_record("c", CLINIC, **{**CHILD, "birth_order": "2"}),
            a_record("b", HOSPITAL, **UNNAMED),
        ],
        {"ac", "b"},
    ),
    "an unnamed newborn at the hospital that knows the child by name": (
        [a_record("a", HOSPITAL, **CHILD), a_record("b", HOSPITAL, **UNNAMED)],
        {"a", "b"},
    ),
    "twins": (
        [a_record("a", PRACTICE, **CHILD), a_record("b", HOSPITAL, **{**TWIN, "nhs_number": None})],
        {"a", "b"},
    ),
    "twins whom one hospital has with their names in each other's place": (
        [
            a_record("a", PRACTICE, **{**CHILD, "nhs_number": None}),
            a_record("b", PRACTICE, **{**TWIN, "nhs_number": None}),
            a_record("c", HOSPITAL, **{**CHILD, "nhs_number": None, "given": "Okafor", "family": "Amara"}),
            a_record("d", HOSPITAL, **{**TWIN, "nhs_number": None, "given": "Okafor", "family": "Zoë"}),
        ],
        {"ac", "bd"},
    ),
    "a father and a son of one name, and a record without a birth date": (
        [
            a_record("a", PRACTICE, born_on="1962-07-30"),
            a_record("b", PRACTICE, born_on="1990-02-14"),
            a_record("c", HOSPITAL, born_on=None),
        ],
        {"a", "b", "c"},
    ),
    "a record without a birth date, and the only one of that name and home": (
        [a_record("a", PRACTICE, born_on="1990-02-14"), a_record("b", HOSPITAL, born_on=None)],
        {"ab"},
    ),
    "a woman who has another surname, at the same address and without a number": (
        [a_record("a", PRACTICE, given="Amara"), a_record("b", HOSPITAL, given="Amara", family="Bello")],
        {"ab"},
    ),
    "a twin under the other's number, who has records of her own": (
        [
            a_record("a", PRACTICE, **CHILD),
            a_record("b", PRACTICE, **TWIN),
            a_record("c", HOSPITAL, **TWIN),
            a_record("d", CLINIC, **{**TWIN, "nhs_number": ONE_NUMBER}),
        ],
        {"a", "bc", "d"},
    ),
    "a child under another first name with her own number": (
        [a_record("a", PRACTICE, **CHILD), a_record("b", HOSPITAL, **{**CHILD, "given": "Grace"})],
        {"ab"},
    ),
    "a number and a birth date, and nothing else": (
        [
            a_record("a", PRACTICE, **CHILD),
            a_record(
                "b", HOSPITAL, given=(), family="Bello", born_on="2024-02-14", nhs_number=ONE_NUMBER, line=None, postcode=None,
            ),
        ],
        {"a", "b"},
    ),
    "a number that both verified, a birth date and the sex": (
        [
            a_record("a", PRACTICE, **CHILD, status="01"),
            a_record(
                "b", HOSPITAL, given=(), family=None, born_on="2024-02-14", nhs_number=ONE_NUMBER, status="01", line=None, postcode=None,
            ),
        ],
        {"a", "b"},
    ),
    "a number, a birth date and the home": (
        [
            a_record("a", PRACTICE, **CHILD),
            a_record("b", HOSPITAL, **{**CHILD, "given": (), "family": "Bello", "phone": None}),
        ],
        {"a", "b"},
    ),
    "father and son of one name": (
        [
            a_record("a", PRACTICE, given="John", family="Okafor", gender="male", born_on="1960-05-09"),
            a_record("b", HOSPITAL, given="John", family="Okafor", gender="male", born_on="1990-02-14"),
        ],
        {"a", "b"},
    ),
    "a newcomer of the same name, born the next day": (
        [
            a_record("a", PRACTICE, given="Mary", family="Smith", line="1 Mill Road", postcode="CR0 2AB"),
            a_record("b", HOSPITAL, given="Mary", family="Smith", born_on="1990-02-15", line="9 Church Lane", postcode="EN1 1AA"),
        ],
        {"a", "b"},
    ),
    "two claimed numbers on one woman": (
        [
            a_record("a", PRACTICE, nhs_number=ONE_NUMBER, phone="07700 900123"),
            a_record("b", HOSPITAL, nhs_number=OTHER_NUMBER, phone="07700 900123"),
        ],
        {"a", "b"},
    ),
    "two verified numbers on one woman": (
        [
            a_record("a", PRACTICE, nhs_number=ONE_NUMBER, status="01", phone="07700 900123"),
            a_record("b", HOSPITAL, nhs_number=OTHER_NUMBER, status="01", phone="07700 900123"),
        ],
        {"a", "b"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("records", "expected"), CASES.values(), ids=CASES)
def test_who_is_joined(records: list[SourceRecord], expected: set[str]) -> None:
    for seed in range(3):
        random.Random(seed).shuffle(records)

        assert persons(records)[0] == expected


def test_a_twin_that_is_registered_takes_an_unnamed_record_back() -> None:
    child, unnamed = a_record("a", PRACTICE, **CHILD), a_record("b", HOSPITAL, **UNNAMED)

    before, by_rule = persons([child, unnamed])
    after, _ = persons([child, unnamed, a_record("c", CLINIC, **TWIN)])

    assert (before, by_rule) == ({"ab"}, {("a", "b")})
    assert after == {"a", "b", "c"}


def test_without_the_rule_pairs_alone_join() -> None:
    records = [a_record("a", PRACTICE, **CHILD), a_record("b", HOSPITAL, **UNNAMED)]

    assert persons(records, replace(MODEL, sole=None)) == ({"a", "b"}, set())


def test_the_weights_against_all_rivals_have_the_score_as_their_least() -> None:
    records = [normalise(a_record("a", PRACTICE, **one), MODEL) for one in (CHILD, TWIN, UNNAMED)]
    for low, high in combinations(records, 2):
        comparison = compare(low, high, MODEL)

        assert min(weights(comparison, MODEL)) == score(comparison, MODEL).weight


def test_an_absence_never_makes_up_for_a_rule_that_the_model_does_not_list() -> None:
    copied = normalise(
        a_record("b", HOSPITAL, given=(), family="Bello", born_on="2024-02-14", nhs_number=ONE_NUMBER, line=None, postcode=None),
        MODEL,
    )  # fmt: skip
    comparison = compare(normalise(a_record("a", PRACTICE, **CHILD), MODEL), copied, MODEL)

    assert safety_obstacles(comparison) == ["number-and-birth-date-alone"]
    assert score(comparison, MODEL).weight > MODEL.thresholds.live
    assert not may_join_alone(comparison, MODEL)
