"""Data quality by organisation, on both databases: the same as counted by hand, a row a day, and told to whom it may be told."""

import json
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Forbidden, Invalid
from foundation.principal import Principal
from mpi.matching.quality import items_of
from mpi.records import SourceRecord
from mpi.service import quality
from mpi.service.quality import csv_of, measure_now, measure_waiting, read_quality
from mpi.store.quality import Source
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    ONE_NUMBER,
    OTHER_NUMBER,
    THIRD_NUMBER,
    World,
    a_source_record,
    at,
)
from tests.service.queue_world import a_doubt, a_link, of_person

EVERYWHERE = Principal("person", "region", "QMJ", frozenset({"quality:read", "quality:all"}), role="R5110")
OWN = Principal("person", "own", "RV5", frozenset({"quality:read"}), role="R1984")
OPERATOR = Principal("system", "cli", "MPI", frozenset({"quality:read"}), organisations=frozenset({"*"}))

Counts = dict[tuple[str, str], Counter[str]]


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def fill(world: World) -> None:
    """Send records with every sort of trouble, to several organisations and systems."""
    a_link(world, 0)
    a_link(world, 1, ("RRV", "RRV"))  # one system's duplicate
    a_link(world, 1, ("RRU", "RRU"), restricted=True)
    a_doubt(world, 2)
    # An overlay: its update is held.
    world.send(a_source_record(nhs_number=ONE_NUMBER, status="01"), at(0))
    assert world.send(ANOTHER_PERSON, at(1)).state == "held"
    # One number on two unlike people.
    unlike = replace(ANOTHER_PERSON, key=replace(ANOTHER_PERSON.key, organisation="RRU", local_id="n"))
    world.send(replace(unlike, nhs_number=ONE_NUMBER))
    # A late version, and one in time.
    late = of_person(3, "late", "RV5", phone="07700 900123")
    world.send(late, at(5))
    world.send(replace(late, gender="unknown"), at(2))
    world.send(replace(late, gp_practice="G85001"), at(6))
    # A number that another record says was superseded.
    world.send(of_person(4, "old", "RV5", nhs_number=OTHER_NUMBER, status="01"))
    world.send(
        replace(
            of_person(4, "new", "RRU", nhs_number=OTHER_NUMBER, status="01"),
            nhs_number_superseded_by=THIRD_NUMBER,
        )
    )
    # Poor ones, one of them in another system of the same organisation.
    world.send(a_source_record("p1", organisation="RV5", given="Baby of", born_on="1990", postcode="SE5 OAZ"))
    world.send(
        a_source_record(
            "p2", organisation="RV5", system="ris", given=(), born_on=None, postcode="ZZ99 3VZ", line=None
        )
    )
    world.send(of_person(5, "w", "RV5"), link=False)


def by_hand(world: World) -> Counts:
    """Count everything from the rows of whole tables, record by record."""
    records = world.rows(
        "select record_id, organisation, system, person_id, linked_version, current_version from source_record "
        "where state = 'active' order by record_id"
    )
    versions = world.rows(
        "select record_id, version, state, payload, source_at from record_version order by 1, 2"
    )
    named = world.rows(
        "select m.record_id, t.kind, m.side from task t join task_member m on m.task_id = t.task_id where t.state = 'open'"
    )
    replaced = {
        f"{old:010}": f"{new:010}"
        for old, new in world.rows("select old_number, new_number from superseded_number")
    }
    counts: Counts = {}
    for number, organisation, system, person, linked, current in records:
        found = counts.setdefault((organisation, system), Counter())
        own = [row for row in versions if row[0] == number]
        (payload,) = [row[3] for row in own if row[1] == current]
        record = SourceRecord.from_payload(json.loads(payload))
        found["records"] += 1
        found.update(items_of(record, world.mpi.model, world.mpi.today(), replaced))
        found["waiting"] += linked is None
        others = [row for row in records if person is not None and row[3] == person and row[0] != number]
        found["duplicates"] += any(row[1:3] == (organisation, system) and row[0] < number for row in others)
        found["linked_elsewhere"] += any(row[1:3] != (organisation, system) for row in others)
        kinds = {(kind, side) for one, kind, side in named if one == number}
        found["overlays"] += ("overlay", 0) in kinds
        found["number_conflicts"] += any(kind == "number-conflict" for kind, _ in kinds)
        found["versions"] += len(own)
        found["versions_held"] += sum(row[2] == "held" for row in own)
        found["versions_late"] += sum(
            any(earlier[1] < row[1] and earlier[4] > row[4] for earlier in own) for row in own
        )
    return counts


def measured(world: World, by: Principal = OPERATOR) -> Counts:
    return {
        (one.organisation, one.system): Counter(
            {code: told.count for code, told in one.latest.figures.items() if told.count}
        )
        for one in read_quality(world.mpi, by).sources
    }


# -- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 3, 500])
def test_figures_are_what_is_counted_by_hand(world: World, monkeypatch: pytest.MonkeyPatch, page: int):
    fill(world)
    monkeypatch.setattr(quality, "PAGE", page)

    done = measure_waiting(world.mpi)

    found, expected = measured(world), by_hand(world)
    assert done == len(expected) == 4
    assert found == {source: +counts for source, counts in expected.items()}
    # So that nothing above is a comparison of zeros.
    total = sum(found.values(), Counter())
    seen = {code for code, count in total.items() if count}
    assert {"duplicates", "overlays", "number_conflicts", "linked_elsewhere", "waiting"} <= seen
    assert {"versions_held", "versions_late", "number_superseded", "number_verified"} <= seen
    assert {"placeholder_name", "postcode_repaired", "postcode_pseudo", "birth_date_partial"} <= seen


def test_two_records_of_one_patient_are_one_duplicate_and_forms_are_none(world: World):
    number = {"nhs_number": ONE_NUMBER}
    world.send_all(a_source_record(str(place), **number) for place in range(3))
    world.send_all(a_source_record(str(place), system="consent", **number) for place in range(2))
    assert len(world.groups()) == 1

    measure_waiting(world.mpi)

    found = measured(world)
    assert found["RRV", "pas"]["duplicates"] == 2
    assert found["RRV", "consent"]["duplicates"] == 0
    assert found["RRV", "pas"]["linked_elsewhere"] == 3


def test_protected_people_are_counted_like_all_others(world: World):
    record = a_source_record(nhs_number=ONE_NUMBER, status="01")
    world.send(record)
    world.send(replace(record, key=replace(record.key, organisation="RV5"), restricted=True))

    measure_waiting(world.mpi)

    found = measured(world)
    assert found["RRV", "pas"] == found["RV5", "pas"]
    assert found["RV5", "pas"]["postcode_valid"] == 1


def test_what_is_kept_of_a_day_holds_codes_and_counts_alone(world: World):
    fill(world)

    measure_waiting(world.mpi)

    for (text,) in world.rows("select counts from quality_day"):
        kept = json.loads(text)
        assert all(isinstance(count, int) and count > 0 for count in kept.values())
        assert set(kept) <= set(quality.tell({}, is_exact=True))


# -- days -------------------------------------------------------------------------------------------------------------


def test_a_day_is_measured_once_and_stands(world: World):
    world.send(a_source_record())
    assert measure_waiting(world.mpi) == 1
    before = world.rows("select * from quality_day")

    world.send(a_source_record("2"))
    again = measure_waiting(world.mpi)

    assert again == 0
    assert world.rows("select * from quality_day") == before


def test_the_next_day_has_a_row_of_its_own(world: World):
    world.send(a_source_record())
    measure_waiting(world.mpi)
    first = world.clock.now().date()

    world.clock.advance(timedelta(days=1))
    world.send(of_person(1, "x"))
    measure_waiting(world.mpi)

    (source,) = read_quality(world.mpi, OPERATOR, organisation="RRV").sources
    assert [(day.measured_on, day.figures["records"].count) for day in source.series] == [
        (first, 1),
        (first + timedelta(days=1), 2),
    ]
    assert source.latest == source.series[1]


def test_who_measures_the_same_source_at_once_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch):
    world.send(a_source_record())
    measure = quality._measure
    others: list[int] = []

    def meanwhile(*args, **how):
        found = measure(*args, **how)
        if not others:
            others.append(0)
            others[0] = measure_waiting(world.mpi)
            world.send(a_source_record("2"))
        return found

    monkeypatch.setattr(quality, "_measure", meanwhile)

    assert measure_waiting(world.mpi) == 0
    assert others == [1]
    assert len(world.rows("select * from quality_day")) == 1


def test_what_was_cut_short_is_begun_again(world: World, monkeypatch: pytest.MonkeyPatch):
    world.send_all(of_person(place, "x", code) for code in ("RRV", "RV5") for place in range(3))
    monkeypatch.setattr(quality, "PAGE", 1)
    left = iter([True] * 7)

    stopped = measure_waiting(world.mpi, lambda: next(left, False))

    assert stopped == 1
    assert measured(world).keys() == {("RRV", "pas")}
    assert measure_waiting(world.mpi) == 1
    assert measured(world)["RV5", "pas"]["records"] == 3


def test_a_failure_keeps_nothing_of_the_source_that_it_met(world: World, monkeypatch: pytest.MonkeyPatch):
    world.send_all(of_person(place, "x", code) for code in ("RRV", "RV5") for place in range(3))
    monkeypatch.setattr(quality, "PAGE", 2)
    page_of, calls = quality.quality_store.page_of, []

    def failing(tx, source: Source, *how):
        calls.append(source)
        if calls.count(Source("RV5", "pas")) == 2:
            raise OSError("gone")
        return page_of(tx, source, *how)

    with monkeypatch.context() as broken:
        broken.setattr(quality.quality_store, "page_of", failing)
        with pytest.raises(OSError, match="gone"):
            measure_waiting(world.mpi)

    assert measured(world).keys() == {("RRV", "pas")}
    assert measure_waiting(world.mpi) == 1
    assert measured(world)["RV5", "pas"]["records"] == 3


def test_one_organisation_is_measured_at_once(world: World):
    world.send_all([a_source_record(), a_source_record(organisation="RV5", system="ris")])
    measure_waiting(world.mpi)
    world.send_all([of_person(1, "x"), of_person(1, "x", "RV5")])

    done = measure_now(world.mpi, "RV5")

    found = measured(world)
    assert done == 2
    assert found["RV5", "pas"]["records"] == found["RV5", "ris"]["records"] == 1
    assert found["RRV", "pas"]["records"] == 1


def test_an_index_of_nothing_has_no_figures(world: World):
    assert measure_waiting(world.mpi) == measure_now(world.mpi, "RRV") == 0
    assert read_quality(world.mpi, OPERATOR).sources == ()


# -- reading ----------------------------------------------------------------------------------------------------------


def test_an_organisation_is_told_of_itself_alone(world: World):
    fill(world)
    measure_waiting(world.mpi)

    own = read_quality(world.mpi, OWN).sources

    assert {one.organisation for one in own} == {"RV5"}
    assert all(one.is_exact for one in own)
    with pytest.raises(Forbidden, match="organisation-not-yours"):
        read_quality(world.mpi, OWN, organisation="RRV")


def test_the_region_is_told_of_all_in_rounded_counts(world: World):
    world.send_all(a_source_record(str(place), given=f"Ama{chr(97 + place)}") for place in range(8))
    world.send_all([of_person(1, "x", "RV5", status="01", nhs_number=ONE_NUMBER)])
    measure_waiting(world.mpi)

    few, many = sorted(read_quality(world.mpi, EVERYWHERE).sources, key=lambda one: one.organisation == "RRV")

    assert (few.is_exact, many.is_exact) == (False, False)
    assert {told.count for told in few.latest.figures.values()} == {None}
    assert many.latest.figures["records"].count == 10
    assert many.latest.figures["given_name"].count == 10


def test_pages_follow_each_other(world: World):
    fill(world)
    measure_waiting(world.mpi)
    whole = [(one.organisation, one.system) for one in read_quality(world.mpi, OPERATOR).sources]

    found, after = [], None
    while True:
        page = read_quality(world.mpi, OPERATOR, after=after, limit=1)
        found += [(one.organisation, one.system) for one in page.sources]
        if (after := page.next) is None:
            break

    assert found == whole == sorted(whole)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"first": date(2026, 1, 1)}, "organisation-needed"),
        ({"organisation": "RRV", "first": date(2026, 2, 1), "last": date(2026, 1, 1)}, "period-order"),
        ({"organisation": "RRV", "first": date(2024, 2, 1), "last": date(2026, 1, 1)}, "period-range"),
    ],
)
def test_a_period_that_cannot_be_told_is_refused(world: World, asked: dict[str, object], code: str):
    with pytest.raises(Invalid, match=code):
        read_quality(world.mpi, OPERATOR, **asked)  # type: ignore[arg-type]


def test_a_period_may_end_on_the_first_day_that_there_is(world: World):
    assert read_quality(world.mpi, OPERATOR, organisation="RRV", last=date.min).sources == ()


def test_csv_has_a_row_a_figure_of_every_day(world: World):
    world.send(a_source_record())
    measure_waiting(world.mpi)
    day = world.clock.now().date().isoformat()

    lines = csv_of(read_quality(world.mpi, OPERATOR).sources).splitlines()
    hidden = csv_of(read_quality(world.mpi, EVERYWHERE, organisation="RRV").sources).splitlines()

    assert lines[:2] == [
        "organisation,system,measured_on,figure,count,out_of,per_mille",
        f"RRV,pas,{day},records,1,1,1000.0",
    ]
    assert len(lines) == len(hidden) == 1 + len(quality.tell({}, is_exact=True))
    assert hidden[1] == f"RRV,pas,{day},records,,,"
