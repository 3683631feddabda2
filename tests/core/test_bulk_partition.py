"""Persons in bulk are those of the ordered rule, whatever stands between the records."""

import random
from collections.abc import Iterable
from dataclasses import replace

import duckdb
import numpy as np
import pytest

from mpi.bulk.partition import lenient, partition_records
from mpi.bulk.records import Records
from mpi.bulk.weigh import Weighed, Weigher
from mpi.matching import (
    Edge,
    Member,
    Model,
    NormalisedRecord,
    PairWeight,
    compare,
    may_join_alone,
    partition,
    score,
)
from mpi.matching.partition import DISAGREEMENT
from mpi.records import RecordKey
from tests.core.bulk_builders import odd_record, twisted
from tests.core.matching_builders import MODEL, a_normalised

KEYS = [RecordKey(f"R{number % 17:02}", "pas", f"{number:05}") for number in range(1_000)]


def persons_by_both(
    people: list[NormalisedRecord], model: Model = MODEL
) -> tuple[list[int], list[int], int, set[str]]:
    """Return every record's person by the ordered rule and in bulk, over all pairs; how many components were taken in order; and the
    vetoes that were met.
    """
    low, high = (side.astype(np.int64) for side in np.triu_indices(len(people), 1))
    with duckdb.connect() as connection:
        records = Records.of(people, model)
        weigher = Weigher(connection, records, model)
        weighed = weigher.weigh(low, high)
        edges = weighed.kept(weighed.is_edge(model))
        if model is not MODEL:
            edges = replace(
                edges, may_link=edges.weight >= model.thresholds.live
            )  # as `mpi link --cut balanced` has them
        found = partition_records(
            records, lambda rows: [KEYS[row] for row in rows.tolist()], edges, weigher, model
        )
    members = {row: Member.of(row, KEYS[row], person) for row, person in enumerate(people)}
    expected = partition(
        members,
        _edges(edges, people, model),
        (),
        model,
        lambda one, other: said(people[one], people[other], model),
    )
    person_of = {row: group[0] for group in expected.groups for row in group}
    assert {(one.low_id, one.high_id, one.veto) for one in found.refused} == {
        (one.low_id, one.high_id, one.veto) for one in expected.refused
    }
    vetoes = {one.veto for one in expected.refused}
    return [person_of[row] for row in range(len(people))], found.person.tolist(), found.ordered, vetoes


def said(one: NormalisedRecord, other: NormalisedRecord, model: Model) -> PairWeight:
    return PairWeight.of(score(compare(one, other, model), model))


def _edges(edges: Weighed, people: list[NormalisedRecord], model: Model) -> Iterable[Edge]:
    return (
        Edge(a, b, weight, may_link, may_join_alone(compare(people[a], people[b], model), model))
        for a, b, weight, may_link in zip(
            edges.a.tolist(), edges.b.tolist(), edges.weight.tolist(), edges.may_link.tolist(), strict=True
        )
    )


@pytest.mark.parametrize("cut", ["live", "balanced"])
def test_persons_are_those_of_the_ordered_rule(cut: str):
    expect_the_persons_of_the_ordered_rule(0, cut)


def expect_the_persons_of_the_ordered_rule(seed: int, cut: str) -> None:
    """Take people of a few families with everything between them. tests/long takes other seeds."""
    dice = random.Random(seed)
    first = [odd_record(dice, MODEL) for _ in range(40)]
    people = [
        twisted(one, dice.choice(first), dice) if dice.random() < 0.6 else one
        for one in first
        for _ in range(6)
    ]

    expected, found, ordered, vetoes = persons_by_both(people, MODEL if cut == "live" else lenient(MODEL))

    assert found == expected
    assert ordered > 0
    assert cut == "live" or DISAGREEMENT in vetoes


def test_what_is_left_over_joins_as_by_the_ordered_rule():
    """Homes with a named child and an unnamed record; in every other one a second child, and in some a further record of the first."""
    families = "Okafor Bello Smith Jones Zhang Novak Haddad Larsen Moreau Silva".split()
    people = []
    for home, family in enumerate(families):
        at_home = {
            "family": family,
            "line": f"{home + 1} {family} Road",
            "postcode": f"SE{home + 1} 8AZ",
            "phone": f"07700 9001{home:02}",
            "born_on": f"20{home + 10}-{home + 1:02}-{home + 10}",
        }
        people.append(a_normalised(given="Amara", **at_home))
        people.append(a_normalised(given="Baby", **at_home))
        if home % 2:
            people.append(a_normalised(given="Zoë", **at_home))
        if home % 3 == 0:
            people.append(a_normalised(given="Amara", **at_home))

    expected, found, ordered, _ = persons_by_both(people)

    assert found == expected
    assert ordered == 10
    assert len(set(found)) == 5 + 5 * 3


def test_a_component_without_a_veto_is_one_person_at_once():
    expected, found, ordered, _ = persons_by_both(
        [a_normalised(str(number), identifier="A123456") for number in range(5)]
    )

    assert found == expected == [0] * 5
    assert ordered == 0


def test_a_group_that_would_grow_too_large_is_taken_in_order():
    people = [a_normalised(str(number), identifier="A123456") for number in range(MODEL.group_limit + 3)]

    expected, found, ordered, _ = persons_by_both(people)

    assert found == expected
    assert len(set(found)) > 1
    assert ordered == 1


def test_no_edges_leave_everyone_apart():
    stranger = a_normalised(given="Chidi", family="Bello", born_on="1950-01-02", line=None, postcode=None)

    expected, found, *_ = persons_by_both([a_normalised(), stranger])

    assert found == expected == [0, 1]
