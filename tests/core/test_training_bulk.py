"""Training and evaluation over columns: what is counted, compared and judged there is what one record after another gives."""

import csv
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from mpi.bulk.columns import family_parts, given_parts
from mpi.bulk.gather import Files, Gathered, gather, some_of
from mpi.bulk.learn import Shared, count_names, has_place, is_constant, says, shared_values, with_lists
from mpi.bulk.records import Records
from mpi.bulk.weigh import Weigher
from mpi.feeds.delimited import columns_of, read_rows, row_reader
from mpi.matching import FIELDS, Model, NormalisedRecord, build_model, compare, normalise
from mpi.matching.model import fingerprint
from mpi.records import Address, SourceRecord
from mpi.training import Evaluation, evaluate, evaluate_groups, train
from mpi.training.estimate import compare_pairs
from mpi.training.pairs import newest, newest_of
from mpi.training.subgroups import NO_ABODE, subgroups_of
from tests.core.bulk_builders import odd_record, odd_source, twisted
from tests.core.matching_builders import MODEL, a_source_record
from tests.core.pure_pipeline import Population, linked, weighed_pairs
from tests.core.test_bulk_files import HEADINGS, odd_rows
from tests.core.training_builders import names_and_birth_date, records_of, with_a_card_number

TODAY = date(2026, 1, 31)
NOTHING_SHARED = build_model({**MODEL.document, "shared": []})
LIMITS = {"phone": 12, "email": 6, "place": 24, "postcode": 150}


def odd_sources(seed: int, count: int) -> list[SourceRecord]:
    dice = random.Random(seed)
    return [odd_source(dice, str(number)) for number in range(count)]


def columns(people: Iterable[NormalisedRecord], model: Model) -> Records:
    return Records.of(list(people), model)


def one_by_one(records: Records) -> list[NormalisedRecord]:
    return records.forms(np.arange(records.size))


# What is learned by counting -----------------------------------------------------------------------------------


def values_of(record: NormalisedRecord) -> list[str]:
    return [
        *(f"phone:{phone}" for phone in record.phones),
        *(f"email:{email}" for email in record.emails),
        *(f"place:{place.postcode}:{place.numbers}:{place.words}" for place in record.places if place.words),
        *(f"postcode:{place.postcode}" for place in record.places if place.postcode),
    ]


def test_a_value_is_shared_when_more_people_have_it_than_its_limit_says():
    people = [normalise(record, NOTHING_SHARED) for record in odd_sources(1, 1_500)]
    holders: dict[str, set[Any]] = {}
    for record in people:
        for value in values_of(record):
            holders.setdefault(value, set()).add((record.given[:1], record.birth))
    limits = {
        kind: sorted(len(who) for value, who in holders.items() if value.startswith(kind))[-2]
        for kind in LIMITS
    }

    found = shared_values(columns(people, NOTHING_SHARED), limits)

    expected = {value for value, who in holders.items() if len(who) > limits[value.partition(":")[0]]}
    assert {value.partition(":")[0] for value in expected} == set(LIMITS)
    assert found.fingerprints() == sorted(map(fingerprint, expected))


def test_the_same_person_in_many_records_shares_nothing():
    people = [normalise(a_source_record(str(one), phone="07700 900123"), NOTHING_SHARED) for one in range(40)]

    assert shared_values(columns(people, NOTHING_SHARED), LIMITS).fingerprints() == []


def test_lists_put_into_columns_give_what_normalising_with_them_gives():
    sources = odd_sources(2, 1_200)
    plain = columns((normalise(record, NOTHING_SHARED) for record in sources), NOTHING_SHARED)
    shared = shared_values(plain, {"phone": 100, "email": 100, "place": 30, "postcode": 200})
    assert all(shared.texts.values())
    frequency = {
        name: {**table, "unlisted": 1_234, "values": {"amara": -700, "okafor": -800, "chidi|199": 300}}
        for name, table in MODEL.document["frequency"].items()
    }
    model = build_model({**MODEL.document, "shared": shared.fingerprints(), "frequency": frequency})

    found = with_lists(plain, shared, model)

    expected = [normalise(record, model) for record in sources]
    assert one_by_one(found) == expected != one_by_one(plain)
    given = given_parts([one.given for one in expected], model)
    family = family_parts([one.family + one.previous for one in expected], model)
    assert found.numbers("given_part").tolist() == given.to_pylist()
    assert found.numbers("family_part").tolist() == family.to_pylist()


def test_no_shared_values_change_no_record():
    people = [normalise(record, NOTHING_SHARED) for record in odd_sources(3, 200)]
    nothing = Shared(dict.fromkeys(LIMITS, ()))

    assert one_by_one(with_lists(columns(people, NOTHING_SHARED), nothing, NOTHING_SHARED)) == people


@pytest.mark.parametrize("name", ["given", "family"])
def test_first_names_are_counted_for_all_and_by_decade_of_birth(name: str):
    people = [normalise(record, MODEL) for record in odd_sources(4, 800)]

    found = count_names(columns(people, MODEL), name)

    firsts = [(getattr(one, name)[0], one.birth[0] // 10) for one in people if getattr(one, name)]
    counted = dict(zip(found.names, found.counts.tolist(), strict=True))
    assert {value: count for value, count in counted.items() if count} == Counter(
        first for first, _ in firsts
    )
    by_decade = zip(found.decades.tolist(), found.places.tolist(), found.by_decade.tolist(), strict=True)
    assert {(found.names[place], decade): count for decade, place, count in by_decade} == Counter(
        one for one in firsts if one[1]
    )


def test_what_a_record_says_is_known_column_by_column():
    people = [normalise(record, MODEL) for record in odd_sources(5, 400)]
    records = columns(people, MODEL)
    said: dict[str, Callable[[NormalisedRecord], Any]] = {
        "number": lambda one: one.number,
        "given": lambda one: one.given,
        "birth": lambda one: one.birth[0],
        "places": lambda one: one.places,
        "birth_order": lambda one: one.birth_order,
        "death": lambda one: one.death[0],
    }

    for column, value in said.items():
        expected = [bool(value(one)) for one in people]
        assert says(records, column).tolist() == expected
        assert 0 < sum(expected) < len(people)
    assert has_place(records).tolist() == [
        any(place.postcode or place.words for place in one.places) for one in people
    ]


def test_a_column_is_constant_where_several_records_say_one_thing():
    people = [
        normalise(a_source_record(str(one), given=given, family=family, previous_family=before), MODEL)
        for one, (given, family, before) in enumerate(
            [("Amara", "Okafor", None), ("", None, "Okafor"), ("Chidi", "Okafor", "Jones")]
        )
    ]
    records = columns(people, MODEL)

    # The second record's only family name is the one of before.
    assert is_constant(records, ("family", "previous"))
    assert (
        is_constant(records, ("gender",))
        and is_constant(records, ("birth",))
        and is_constant(records, ("places",))
    )
    assert not is_constant(records, ("given",))
    assert not is_constant(records, ("mother",))
    assert not is_constant(some_of(records, np.array([0])), ("gender",))


# Patterns ------------------------------------------------------------------------------------------------------


def test_patterns_counted_in_bulk_are_those_of_the_online_comparison():
    dice = random.Random(6)
    people = [odd_record(dice, MODEL) for _ in range(900)]
    people += [twisted(dice.choice(people), dice.choice(people), dice) for _ in range(600)]
    low, high = (np.array([dice.randrange(len(people)) for _ in range(8_000)]) for _ in range(2))
    with duckdb.connect() as connection:
        records = columns(people, MODEL)
        portions = [(low[:5_000], high[:5_000]), (low[5_000:], high[5_000:])]
        found = compare_pairs(Weigher(connection, records, MODEL), records, MODEL, portions)

    expected: Counter[tuple[Any, ...]] = Counter()
    for a, b in zip(low, high, strict=True):
        one, other = people[a], people[b]
        comparison = compare(one, other, MODEL)
        women = {one.gender, other.gender} == {"f"}
        women &= comparison.level("given") in ("exact", "nickname", "typo", "close", "middle", "reordered")
        part = sum(
            MODEL.frequency[name].part(value)
            for name, value in (("given", comparison.given), ("family", comparison.family))
            if comparison.level(name) in MODEL.frequency[name].levels
        )
        expected[comparison.levels, women, round(part / 1000)] += 1
    patterns = found.patterns
    shown = [
        (patterns.levels_of(place), bool(patterns.women[place]), int(patterns.bits[place]))
        for place in range(len(patterns))
    ]
    assert dict(zip(shown, found.counts().tolist(), strict=True)) == expected
    assert len({women for _, women, _ in expected}) == 2 and len({bits for _, _, bits in expected}) > 5
    assert found.counts(found.codes == 0).tolist() == [found.counts()[0], *[0] * (len(patterns) - 1)]
    is_exact = patterns.has("given", ("exact", "nickname"))
    assert is_exact.tolist() == [
        levels[FIELDS.index("given")] in ("exact", "nickname") for levels, _, _ in shown
    ]


def test_no_pairs_make_no_patterns():
    with duckdb.connect() as connection:
        records = columns([normalise(a_source_record(), MODEL)], MODEL)
        found = compare_pairs(Weigher(connection, records, MODEL), records, MODEL, [])

    assert (len(found.patterns), len(found.codes)) == (0, 0)


# Files and records in memory -----------------------------------------------------------------------------------


def files(*paths: Path) -> Files:
    return Files(paths, lambda header: columns_of(header, None), row_reader(TODAY), TODAY, threads=1)


def told(found: Gathered) -> dict[str, Any]:
    return {
        "keys": found.record_keys(),
        "records": one_by_one(found.records),
        "no abode": found.no_abode.tolist(),
        "days": found.days,
        "subgroups": {
            name: [column.names[code] for code in column.codes.tolist()]
            for name, column in subgroups_of(found).items()
        },
        "as sent": found.read(np.arange(found.records.size)),
    }


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADINGS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_files_are_gathered_as_their_records_are_one_by_one(tmp_path: Path):
    rows = odd_rows(7, 900)
    for row, address in zip(
        rows, ("Homeless", "c/o Rough Sleepers Team", "1 NFA Road", "No Fixed\nAbode"), strict=False
    ):
        row |= {
            "organisation": "RRV",
            "system": "pas",
            "address": address,
            "nhs_number": "",
            "local_id": f"abode{address[:2]}",
        }
        row |= {
            "family": "Okafor",
            "given": "Amara",
            "birth_date": "1990",
            "gender": "f",
            "death_date": "",
            "gp_practice": "",
        }
    path = written(tmp_path / "rows.csv", rows)
    one_at_a_time = [row.record for row in read_rows(path, TODAY) if row.record]

    with gather(files(path), MODEL, newest_of, NO_ABODE) as found:
        from_file = told(found)
    with gather(one_at_a_time, MODEL, newest_of, NO_ABODE) as found:
        from_memory = told(found)

    assert len(one_at_a_time) > 100
    for name, value in from_memory.items():
        assert from_file[name] == value, name
    assert 1 < sum(from_file["no abode"]) < len(one_at_a_time)
    assert all(len(set(values)) > 1 for values in from_file["subgroups"].values())


def test_a_row_of_any_form_of_file_is_the_same_record(tmp_path: Path):
    rows = odd_rows(8, 500)
    path = written(tmp_path / "rows.csv", rows)
    with duckdb.connect() as connection:
        source = f"read_csv('{path}', all_varchar = true)"
        for form, ending in (("parquet", "parquet"), ("json", "ndjson")):
            connection.execute(
                f"COPY (SELECT * FROM {source}) TO '{tmp_path}/rows.{ending}' (FORMAT {form})"
            ).fetchall()

    answers = []
    for ending in ("csv", "parquet", "ndjson"):
        with gather(files(tmp_path / f"rows.{ending}"), MODEL, newest_of, NO_ABODE) as found:
            answers.append(told(found))

    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]["keys"]) > 50


def versions(seed: int) -> list[dict[str, str]]:
    """Rows of few keys: with times that are equal, absent, told in another zone, or out of reach because the newest row is at fault."""
    dice = random.Random(seed)
    times = (
        "",
        "2024-05-01T10:00:00Z",
        "2024-05-01T11:00:00+01:00",
        "2024-05-02",
        "2025-01-01T00:00:00Z",
        "2023-01-01T00:00:00Z",
    )
    return [
        {
            "organisation": "RRV", "system": "pas", "local_id": dice.choice((f"k{number % 23}", f" k{number % 23} ")),
            "family": dice.choice(("Okafor", "Bello", "Jones", "Smith")), "given": dice.choice(("Amara", "Chidi", "Zoë")),
            "birth_date": dice.choice(("1990-02-14", "1990-02-15", "1990-13-45")), "updated_at": dice.choice(times),
        }
        for number in range(120)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_the_newest_version_counts_and_content_settles_what_time_does_not(seed: int, tmp_path: Path):
    rows = versions(seed)
    path, other = tmp_path / "rows.csv", tmp_path / "other.csv"
    expected = newest(row.record for row in read_rows(written(path, rows), TODAY) if row.record)
    refused: list[Any] = []

    answers = []
    for number in range(3):
        random.Random(number).shuffle(rows)
        written(path, rows[:70]), written(other, rows[70:])
        source = replace(files(path, other), set_aside=refused.extend)
        with gather(source, MODEL, newest_of, NO_ABODE) as found:
            answers.append(told(found))

    assert answers[0] == answers[1] == answers[2]
    assert dict(zip(answers[0]["keys"], answers[0]["as sent"], strict=True)) == expected
    assert {one.code for one in refused} == {"date-impossible"}


def test_the_temporary_copies_of_records_are_gone_at_the_end(tmp_path: Path):
    path = written(tmp_path / "rows.csv", versions(1))

    with gather(files(path), MODEL, newest_of, NO_ABODE) as found:
        folder = found.folder
        assert folder.exists() and not folder.is_relative_to(tmp_path / "rows.csv")

    assert not folder.exists()


def test_labels_find_their_rows():
    records = [a_source_record(str(one)) for one in range(5)]
    with gather(records, MODEL, newest_of, NO_ABODE) as found:
        rows = found.rows_of(
            [("RRV", "pas", "3"), ("RRV", "pas", "9"), ("RRV", "gp", "1"), ("RRV", "pas", "0")]
        )

    assert rows.tolist() == [3, -1, -1, 0]


def test_ages_are_those_on_the_day_of_the_newest_change():
    changed = datetime(2020, 6, 15, 12, tzinfo=UTC)
    born = ("2018-06-16", "2018-06-15", "2002-06", "1955", "2021-01-01", None)
    records = [
        replace(a_source_record(str(place), born_on=day), updated_at=changed - timedelta(days=place))
        for place, day in enumerate(born)
    ]
    with gather(records, MODEL, newest_of, NO_ABODE) as found:
        column = subgroups_of(found)["age"]
        days = found.days

    assert [column.names[code] for code in column.codes] == [
        "0-1",
        "2-17",
        "18-39",
        "65+",
        "not known",
        "not known",
    ]
    assert days == (date(2020, 6, 10), date(2020, 6, 15))


def test_rare_groups_are_told_together():
    records = [a_source_record(str(one), organisation=f"R{one % 7}A", line="1 A Road") for one in range(20)]
    records.append(replace(records[0], addresses=(Address("home", ("Nowhere",), None, "ZZ99 3VZ"),)))
    with gather(records, MODEL, newest_of, NO_ABODE) as found:
        names, codes = subgroups_of(found)["source"].commonest(3)
        abode = subgroups_of(found)["no fixed abode"].commonest(3)

    assert names == ["R0A pas", "R1A pas", "R2A pas", "others"]
    assert Counter(names[code] for code in codes.tolist())["others"] == 11
    assert abode[0] in (["no"], ["no", "yes"])


def test_of_very_many_candidate_pairs_an_even_part_stands_for_all(monkeypatch: pytest.MonkeyPatch):
    records, _ = records_of(names_and_birth_date(300, 3))
    whole = train(records, name="whole", chance_pairs=5_000, cross_check=False).report

    monkeypatch.setattr(
        sys.modules["mpi.training.train"], "MOST_BLOCKED_PAIRS", whole["candidate_pairs"] // 2 - 1
    )
    part = train(records, name="part", chance_pairs=5_000, cross_check=False).report

    assert part["candidate_pairs"] == whole["candidate_pairs"]
    assert part["pairs_of"]["person"] != whole["pairs_of"]["person"]
    assert part["pairs_of"]["person"] == pytest.approx(whole["pairs_of"]["person"], rel=0.2)


# Evaluation ----------------------------------------------------------------------------------------------------


def judged_one_by_one(records: list[SourceRecord], truth: dict[Any, str]) -> dict[str, Any]:
    """Return what an evaluation tells, by the steps of matching on one record and one pair after another."""
    people = Population.of(records, MODEL)
    labels = [truth[key] for key in people.keys]
    weighed = [
        (weight, free, labels[low] == labels[high])
        for (low, high), weight, free in weighed_pairs(people, MODEL)
    ]
    limits = MODEL.thresholds
    shown = [
        right
        for weight, free, right in weighed
        if weight >= limits.review and not (free and weight >= limits.live)
    ]
    known = {key: truth[key] for key in people.keys}
    return {
        "candidate_pairs": len(weighed),
        "right": sum(right for _, _, right in weighed),
        "review": (len(shown), sum(shown)),
        "live": evaluate_groups(linked(people, MODEL), known),
        "balanced": evaluate_groups(linked(people, MODEL, balanced=True), known),
        "by_threshold": [
            (at, Counter(right for weight, _, right in weighed if weight >= at))
            for at in range(-10_000, 30_001, 2_000)
        ],
    }


@pytest.mark.parametrize("world", [names_and_birth_date, with_a_card_number])
def test_evaluation_in_bulk_is_that_of_one_pair_after_another(world: Any):
    records, truth = records_of(world(150, 11))
    # Restricted people have location keys of their own online; the receiving path reads both, as bulk does. Here nobody is.
    odd = [replace(record, restricted=False) for record in odd_sources(12, 40)]
    records += odd
    truth |= {record.key: f"odd {number % 12}" for number, record in enumerate(odd)}

    found: Evaluation = evaluate(records, truth, MODEL)

    expected = judged_one_by_one(records, truth)
    assert (found.candidate_pairs, found.blocking.right) == (expected["candidate_pairs"], expected["right"])
    assert (found.review_pairs, found.review_right) == expected["review"]
    assert found.live == expected["live"] and found.balanced == expected["balanced"]
    assert found.live.pairs.right > 50
    for (at, quality), (other, counts) in zip(found.by_threshold, expected["by_threshold"], strict=True):
        assert (at, quality.right, quality.wrong) == (other, counts[True], counts[False])


def test_an_evaluation_is_written_as_json_and_lines():
    records, truth = records_of(names_and_birth_date(60, 3))

    found = evaluate(records, truth, MODEL)

    assert json.loads(json.dumps(found.as_json()))["candidate_pairs"] == found.candidate_pairs
