"""One model, two executions: levels, weights, grades and keys by SQL are those of Python, pair by pair."""

import random
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mpi.bulk.columns import SCHEMA, is_odd, records_of, table_of
from mpi.bulk.foresee import Disjoint, Equal, Values
from mpi.bulk.records import Records
from mpi.bulk.sql import key_statement
from mpi.bulk.table import read_forms, write_forms
from mpi.bulk.weigh import CONFLICTS, Weigher
from mpi.matching import FIELDS, NormalisedRecord, build_model, compare, conflict_of, decide, score
from mpi.matching.definition import COMPARATORS, KEY_RULES
from mpi.records import RecordKey
from tests.core.bulk_builders import odd_record, twisted
from tests.core.matching_builders import MODEL
from tests.core.test_matching_definition import a_document

PAIRS = 15_000
"""tests/long takes many more."""


def odd_people(seed: int, count: int) -> list[NormalisedRecord]:
    dice = random.Random(seed)
    people = [odd_record(dice, MODEL) for _ in range(count)]
    return people + [twisted(dice.choice(people), dice.choice(people), dice) for _ in range(count // 2)]


def unequal_pairs(
    people: list[NormalisedRecord], seed: int, count: int, model=MODEL
) -> tuple[list[int], dict[str, set[str]]]:
    """Return which of some random pairs came out otherwise in bulk than one by one, and the levels that were met."""
    dice = random.Random(seed)
    a = np.array([dice.randrange(len(people)) for _ in range(count)])
    b = np.array([dice.randrange(len(people)) for _ in range(count)])
    with duckdb.connect() as connection:
        weighed = Weigher(connection, Records.of(people, model), model).weigh(a, b)
    comparisons = weighed.patterns.comparisons(weighed.pattern)
    obstacles = weighed.patterns.obstacles(weighed.pattern)
    met: dict[str, set[str]] = {name: set() for name in model.fields}
    unequal = []
    for place in range(count):
        comparison = compare(people[a[place]], people[b[place]], model)
        scored = score(comparison, model)
        grading = decide(scored, comparison, model)
        found = comparisons[place]
        for name, level in zip(model.fields, comparison.levels, strict=True):
            met[name].add(level)
        if (
            found.levels,
            found.is_placeholder,
            found.is_later_birth,
            obstacles[place],
            weighed.weight[place],
            weighed.evidence[place],
            weighed.may_link[place],
            CONFLICTS[weighed.conflict[place]],
        ) != (
            comparison.levels,
            comparison.is_placeholder,
            comparison.is_later_birth,
            grading.obstacles,
            scored.weight,
            scored.evidence,
            grading.may_link,
            conflict_of(comparison, grading, scored, model),
        ):
            unequal.append(place)
    return unequal, met


def test_every_level_weight_and_grade_is_the_same_in_bulk():
    unequal, met = unequal_pairs(odd_people(1, 2_000), 2, PAIRS)

    assert unequal == []
    levels = {name: set(COMPARATORS[comparator].levels) for name, comparator, _ in MODEL.specs}
    assert met == levels


def test_a_model_of_two_fields_is_the_same_in_bulk():
    model = build_model(a_document("family", "birth_date"))

    unequal, _ = unequal_pairs(odd_people(3, 500), 4, 4_000, model)

    assert unequal == []


@pytest.mark.parametrize("left_out", ["given", "family", "birth_date"])
def test_a_model_without_a_field_that_others_ask_for_is_the_same_in_bulk(left_out: str):
    model = build_model(a_document(*(name for name in FIELDS if name != left_out)))

    unequal, _ = unequal_pairs(odd_people(5, 500), 6, 3_000, model)

    assert unequal == []


@pytest.mark.parametrize(
    "fields", [FIELDS, ("family", "birth_date"), FIELDS[:1] + FIELDS[2:], FIELDS[:3] + FIELDS[4:]]
)
def test_what_facts_foretell_is_what_the_texts_come_to(
    fields: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    people, model = odd_people(13, 1_500), build_model(a_document(*fields))
    dice = np.random.default_rng(14)
    a, b = dice.integers(len(people), size=(2, 15_000))
    records = Records.of(people, model)
    found = []
    for least in (0, len(a) + 1):
        monkeypatch.setattr("mpi.bulk.steps.FACTS_FROM", least)
        with duckdb.connect() as connection:
            found.append(Weigher(connection, records, model).compare(a, b))

    assert all((one == other).all() for one, other in zip(*found, strict=True))


def test_records_come_back_from_their_columns():
    people = odd_people(7, 500)

    assert records_of(table_of(people, MODEL)) == people


def test_no_pairs_weigh_nothing():
    nothing = np.empty(0, np.int64)
    with duckdb.connect() as connection:
        weighed = Weigher(connection, Records.of(odd_people(8, 10), MODEL), MODEL).weigh(nothing, nothing)

    assert len(weighed) == 0


@pytest.mark.parametrize("rule", sorted(KEY_RULES))
def test_the_keys_of_a_rule_are_the_same_in_bulk(rule: str):
    people = odd_people(9, 600)
    model = build_model({**dict(MODEL.document), "blocking": {rule: {"cap": 60}}})
    records = Records.of(people, model)
    rows = np.arange(len(people))
    with duckdb.connect() as connection:
        connection.register("people", pa.table({"row": rows, **records.taken(SCHEMA.names, rows)}))
        found = connection.sql(key_statement(rule, KEY_RULES[rule], "people", with_text=True)).fetchall()

    assert {(row, text) for row, _, text in found} == {
        (row, text) for row, record in enumerate(people) for _, text in model.blocker(record)
    }
    texts_of: dict[int, set[str]] = {}
    for _, key, text in found:
        texts_of.setdefault(key, set()).add(text)
    assert len(texts_of) == len({text for _, _, text in found})
    assert all(len(texts) == 1 for texts in texts_of.values())


def test_patterns_and_rare_names_are_told_without_weights():
    people = odd_people(11, 800)
    dice = random.Random(12)
    a = np.array([dice.randrange(len(people)) for _ in range(6_000)])
    b = np.array([dice.randrange(len(people)) for _ in range(6_000)])
    with duckdb.connect() as connection:
        weigher = Weigher(connection, Records.of(people, MODEL), MODEL)
        compared = weigher.compare(a, b)
        levels = weigher.patterns.levels_of(compared.codes)

    one_by_one = [compare(people[low], people[high], MODEL) for low, high in zip(a, b, strict=True)]
    words = [
        tuple(names[place] for names, place in zip(weigher.patterns.levels, row, strict=True))
        for row in levels.tolist()
    ]
    assert words == [one.levels for one in one_by_one]
    assert not len(weigher.patterns)
    for name, parts in (("given", compared.given), ("family", compared.family)):
        counted = [one.level(name) in MODEL.frequency[name].levels for one in one_by_one]
        assert sum(counted) > 100
        assert parts[counted].tolist() == [
            MODEL.frequency[name].part(getattr(one, name))
            for one, counts in zip(one_by_one, counted, strict=True)
            if counts
        ]


def test_forms_at_hand_come_back_and_compare_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mpi.bulk.table._Distinct.MOST", 50)
    people = odd_people(13, 400)
    keys = [RecordKey("RRV", "pas", f"{number:04}") for number in dice_order(14, len(people))]

    assert write_forms([(keys[:250], people[:250]), (keys[250:], people[250:])], MODEL, tmp_path) == len(
        people
    )

    as_given, named = read_forms(tmp_path)
    assert as_given.forms(np.arange(len(people))) == people
    assert named.column("local_id").to_pylist() == [key.local_id for key in keys]
    assert as_given.numbers("is_odd").tolist() == [is_odd(one) for one in people]
    by_key, named = read_forms(tmp_path, by_key=True)
    order = sorted(range(len(people)), key=lambda place: keys[place])
    assert by_key.forms(np.arange(len(people))) == [people[place] for place in order]
    assert named.column("local_id").to_pylist() == sorted(key.local_id for key in keys)
    a, b = np.array(order[:-1]), np.array(order[1:])
    with duckdb.connect() as connection:
        one = Weigher(connection, as_given, MODEL).weigh(a, b)
        other = Weigher(connection, Records.of(people, MODEL), MODEL).weigh(a, b)
    assert one.weight.tolist() == other.weight.tolist()
    assert one.may_link.tolist() == other.may_link.tolist()


def test_no_forms_are_no_records(tmp_path: Path):
    assert write_forms([], MODEL, tmp_path) == 0

    records, keys = read_forms(tmp_path, by_key=True)

    assert (records.size, keys.num_rows) == (0, 0)


def dice_order(seed: int, count: int) -> list[int]:
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    return numbers


def test_what_is_not_there_equals_nothing_and_shares_nothing():
    people = [replace(record, given=(), birth=(0, 0, 0)) for record in odd_people(15, 2)] + odd_people(16, 2)
    records = Records.of(people, MODEL)
    rows = np.arange(len(people), dtype=np.int32)
    with duckdb.connect() as connection:
        values = Values(connection, records)
        equal = values.are(Equal((0, 0), ("given[1]", "given[1]")), rows, rows)
        apart = values.are(Disjoint((0, 0), ("given", "given"), False), rows, rows)

    has_name = [bool(record.given) for record in people]
    assert not all(has_name) and any(has_name)
    assert equal.tolist() == has_name
    assert apart.tolist() == [not one for one in has_name]
