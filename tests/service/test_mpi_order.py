"""Persons are a function of records, decisions and model: the same whatever the order, the batches, the engine or the number of hands."""

import json
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.errors import Conflict
from mpi.feeds.delimited import Row, read_rows
from mpi.matching import PairWeight, build_model, load_model
from mpi.records import RecordKey, SourceRecord
from mpi.sample import write_sample
from mpi.service import graph, link
from mpi.service.census import index_groups, verify_index
from mpi.service.context import Forms, Mpi
from mpi.service.evidence import tied, weigh_pair, weight_of
from mpi.service.graph import survey
from mpi.service.link import link_record, link_records, link_waiting
from mpi.service.load import load_records
from mpi.service.receive import receive_record
from mpi.service.renew import renew_index
from mpi.service.review import decide_task
from mpi.store import records as records_store
from mpi.store.graph import EdgeRow, read_around, read_edges
from tests.core.pure_pipeline import Population, linked
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    FEED,
    ONE_NUMBER,
    READER,
    World,
    a_source_record,
    at,
)
from tests.service.switch_world import switched

RECORDS = 2_000
PERMUTATIONS = 3
"""tests/long takes fifty, and more orders and batches of the index."""

Groups = frozenset[frozenset[RecordKey]]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[SourceRecord]:
    """2,000 records of a made-up region, with its errors, twins and namesakes."""
    folder = tmp_path_factory.mktemp("sample")
    summary = write_sample(folder, RECORDS, seed=7)
    rows = read_rows(Path(summary.records_path), date(2026, 11, 23))
    records = [row.record for row in rows if row.record is not None]
    assert len(records) > RECORDS * 0.95
    return records


@pytest.fixture(scope="module")
def expected(sample: list[SourceRecord]) -> Groups:
    """What the pure pipeline makes of the sample, in which some records join since they can be nobody else."""
    groups, model = in_memory(sample), load_model()
    assert groups != {
        frozenset(group) for group in linked(Population.of(sample, model), replace(model, sole=None))
    }
    return groups


def in_memory(records: Sequence[SourceRecord]) -> Groups:
    model = load_model()
    return frozenset(frozenset(group) for group in linked(Population.of(records, model), model))


def an_index(db: Database, clock: FixedClock, records: Sequence[SourceRecord]) -> Mpi:
    mpi = Mpi(db, clock, load_model())
    with db.write() as tx:
        for code in sorted({record.key.organisation for record in records}):
            put_organisation(tx, Organisation(code, code, "other"))
    return mpi


def joined(mpi: Mpi) -> Groups:
    return frozenset(frozenset(group) for group in index_groups(mpi) if len(group) > 1)


def load(mpi: Mpi, records: Sequence[SourceRecord], chunk: int) -> None:
    rows = (Row(place, record) for place, record in enumerate(records))
    report = load_records(mpi, rows, chunk=chunk)
    assert report.linked == len(records)


# Order and batches ---------------------------------------------------------------------------------------------------


def test_permutations_of_the_pure_pipeline_give_the_same_groups(
    sample: list[SourceRecord], expected: Groups
) -> None:
    expect_the_same_groups_of_permutations(sample, expected, PERMUTATIONS)


def expect_the_same_groups_of_permutations(
    sample: list[SourceRecord], expected: Groups, permutations: int
) -> None:
    shuffled = list(sample)
    for seed in range(permutations):
        random.Random(seed).shuffle(shuffled)

        assert in_memory(shuffled) == expected, f"seed {seed}"


def test_the_index_gives_the_groups_of_the_pure_pipeline_in_another_order_and_in_batches(
    db: Database, clock: FixedClock, sample: list[SourceRecord], expected: Groups
) -> None:
    expect_the_groups_of_the_pure_pipeline(db, clock, sample, expected, 3, 250)


def expect_the_groups_of_the_pure_pipeline(
    db: Database,
    clock: FixedClock,
    sample: list[SourceRecord],
    expected: Groups,
    seed: int | None,
    chunk: int,
) -> None:
    records = list(sample)
    if seed is not None:
        random.Random(seed).shuffle(records)
    mpi = an_index(db, clock, records)

    load(mpi, records, chunk)

    assert joined(mpi) == expected
    assert verify_index(mpi).is_sound


def test_records_sent_one_by_one_end_as_those_that_are_loaded(
    db: Database, clock: FixedClock, sample: list[SourceRecord]
) -> None:
    few = sample[:300]
    mpi = an_index(db, clock, few)
    load_records(mpi, (Row(place, record) for place, record in enumerate(few)), link=False)
    ids = [number for (number,) in _rows(mpi, "select record_id from source_record order by 1")]
    random.Random(5).shuffle(ids)

    for number in ids:
        link_record(mpi, number)

    assert joined(mpi) == in_memory(few)
    assert verify_index(mpi).is_sound


def test_a_second_run_of_the_same_records_changes_nothing(
    db: Database, clock: FixedClock, sample: list[SourceRecord]
) -> None:
    few = sample[:400]
    mpi = an_index(db, clock, few)
    load(mpi, few, 100)
    before = _everything(mpi)

    report = load_records(mpi, (Row(place, record) for place, record in enumerate(few)))

    assert report.states == {"unchanged": len(few)}
    assert report.linked == 0
    assert _everything(mpi) == before


def _everything(mpi: Mpi) -> list[Any]:
    tables = (
        "source_record",
        "record_version",
        "match_key",
        "edge",
        "person",
        "task",
        "audit_event",
        "outbox",
    )
    return [_rows(mpi, f"select * from {table} order by 1, 2") for table in tables]


def _rows(mpi: Mpi, statement: str) -> list[tuple[Any, ...]]:
    with mpi.db.read() as tx:
        return [tuple(row) for row in tx.exec_driver_sql(statement)]


def test_a_new_model_gives_the_groups_that_it_would_have_given_from_the_start(
    db: Database, clock: FixedClock, sample: list[SourceRecord]
) -> None:
    few = sample[:300]
    old = load_model()
    document = json.loads(json.dumps(dict(old.document)))
    document["thresholds"]["live"] += 20_000
    strict = build_model(document)
    mpi = an_index(db, clock, few)
    load(mpi, few, 100)
    before = joined(mpi)

    assert renew_index(replace(mpi, model=strict, forms=Forms())) == len(few)
    under_strict = joined(mpi)
    assert renew_index(replace(mpi, forms=Forms())) == len(few)

    assert under_strict != before
    assert joined(mpi) == before


# Cost ----------------------------------------------------------------------------------------------------------------


class Counter:
    """Counts the statements that an engine is given."""

    def __init__(self, db: Database) -> None:
        self.count = 0
        event.listen(db.engine, "before_cursor_execute", self._add)

    def _add(self, *_: Any) -> None:
        self.count += 1


MOST_STATEMENTS = 40


def test_statements_for_one_record_are_bounded_however_full_the_index_is(
    db: Database, clock: FixedClock, sample: list[SourceRecord]
) -> None:
    mpi = an_index(db, clock, sample)
    load(mpi, sample[:1_000], 500)
    counter = Counter(db)
    costs = []

    for record in sample[1_000:1_100]:
        before = counter.count
        receive_record(mpi, record, FEED)
        costs.append(counter.count - before)

    assert max(costs) <= MOST_STATEMENTS, sorted(costs)[-5:]


def test_statements_for_a_chunk_do_not_grow_with_its_records(
    db: Database, clock: FixedClock, sample: list[SourceRecord]
) -> None:
    mpi = an_index(db, clock, sample)
    load_records(mpi, (Row(place, record) for place, record in enumerate(sample[:600])), link=False)
    ids = [number for (number,) in _rows(mpi, "select record_id from source_record order by 1")]
    counter = Counter(db)

    link_records(mpi, ids[:50])
    few = counter.count
    link_records(mpi, ids[50:600])
    many = counter.count - few

    assert many <= few + 40


def test_a_stored_edge_says_what_weighing_its_pair_says(
    db: Database, clock: FixedClock, sample: list[SourceRecord]
) -> None:
    mpi = an_index(db, clock, sample)
    load(mpi, sample[:400], 200)
    with db.read() as tx:
        ids = [number for (number,) in tx.execute(text("select record_id from source_record"))]
        forms = mpi.forms_of(records_store.read_records(tx, ids).values())
        edges = read_edges(tx, ids)

    assert len(edges) > 50
    for (low, high), edge in edges.items():
        assert weight_of(edge, mpi.model) == PairWeight.of(
            weigh_pair(forms[low], forms[high], mpi.model).score
        )


def test_edges_that_are_read_to_partition_bring_their_parts_where_they_may_contradict_alone(
    db: Database, clock: FixedClock, sample: list[SourceRecord]
) -> None:
    mpi = an_index(db, clock, sample)
    load(mpi, sample[:400], 200)
    with db.read() as tx:
        ids = [number for (number,) in tx.execute(text("select record_id from source_record"))]
        whole = read_edges(tx, ids)
        limit = sorted(edge.weight_millibits for edge in whole.values())[len(whole) // 2]
        short = read_around(tx, ids, limit).edges
        found = survey(tx, mpi.model, ids, {}, ())

    assert any(edge.weight_millibits > limit for edge in whole.values())
    assert short == {
        pair: edge if edge.weight_millibits <= limit else edge._replace(parts="")
        for pair, edge in whole.items()
    }
    contradiction = mpi.model.thresholds.contradiction
    for pair, edge in found.edges.items():
        said, known = weight_of(whole[pair], mpi.model), weight_of(edge, mpi.model)
        assert known.weight == said.weight
        assert known.evidence <= said.evidence
        assert (known.evidence <= contradiction) == (said.evidence <= contradiction)


@pytest.mark.parametrize("has_sole", [True, False])
def test_pairs_that_tie_are_those_of_the_model_asked_one_by_one(has_sole: bool) -> None:
    shipped = load_model()
    model = shipped if has_sole else replace(shipped, sole=None)
    assert shipped.sole is not None
    limits = (shipped.sole.rival, model.thresholds.live)
    edges = {
        (place, 100): EdgeRow(place, 100, weight, may_link, None, "", model.revision, True)
        for place, (weight, may_link) in enumerate(
            (limit + by, may_link) for limit in limits for by in (-1, 0, 1) for may_link in (True, False)
        )
    }

    found = tied(edges, model)

    assert found == [pair for pair, edge in edges.items() if model.ties(edge.weight_millibits, edge.may_link)]
    assert 0 < len(found) < len(edges)


def test_what_pairs_said_in_one_transaction_is_not_believed_in_the_next(
    db: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(db, clock)
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(replace(ANOTHER_PERSON, nhs_number=ONE_NUMBER, key=RecordKey("RV5", "pas", "2")))
    (task,) = world.tasks("number-conflict")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    # Like the second, and so unlike the first that it may not join the two.
    apart = world.send(replace(ANOTHER_PERSON, key=RecordKey("RRU", "pas", "3")))
    assert world.person_of(apart) == apart.record_id
    asked: list[int] = []

    def weigh(*pair: Any) -> Any:
        asked[-1] += 1
        return weigh_pair(*pair)

    monkeypatch.setattr(graph, "weigh_pair", weigh)
    for _ in range(3):
        asked.append(0)
        link.taken_again(
            world.mpi, lambda tx: link.repartition(tx, world.mpi, [one.record_id], link.Change("measured"))
        )

    assert asked[0] == asked[1] == asked[2] > 0


def test_the_edges_of_a_component_that_is_held_are_read_once_whoever_is_beside_it(
    postgresql_url: str, clock: FixedClock
) -> None:
    world = World(Database(postgresql_url), clock)
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER))
    beside = world.send(replace(ANOTHER_PERSON, nhs_number=ONE_NUMBER, key=RecordKey("RRU", "pas", "3")))
    assert world.kinds() == ["number-conflict"]
    sent: list[str] = []
    event.listen(world.mpi.db.engine, "before_cursor_execute", lambda *told: sent.append(told[2]))

    link.taken_again(
        world.mpi, lambda tx: link.repartition(tx, world.mpi, [first.record_id], link.Change("measured"))
    )

    assert sum("FROM edge" in one for one in sent) == 1
    assert any("pg_try_advisory" in one for one in sent), "nobody beside it had to be held"
    assert world.person_of(beside) == beside.record_id
    world.mpi.db.close()


def test_an_edge_of_a_record_that_changed_since_it_was_searched_is_not_believed(
    db: Database, clock: FixedClock
) -> None:
    world = World(db, clock)
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))

    def stands() -> bool:
        with db.read() as tx:
            found = survey(tx, world.mpi.model, [one.record_id], {}, ())
        return found.stands(one.record_id, other.record_id)

    assert stands()
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, phone="07700900111"), at(2), link=False)
    assert not stands()
    link_waiting(world.mpi)
    assert stands()


# Many hands ----------------------------------------------------------------------------------------------------------


def eight_records_of_one_person() -> list[SourceRecord]:
    return [
        a_source_record(str(place), organisation=organisation, system=f"s{place}", nhs_number=ONE_NUMBER)
        for place, organisation in enumerate(("RRV", "RV5", "RRU", "G85001") * 2)
    ]


@pytest.mark.parametrize("attempt", range(3))
def test_eight_hands_sending_one_new_person_at_once_make_one_person(
    db: Database, clock: FixedClock, attempt: int
) -> None:
    world = World(db, clock)

    with ThreadPoolExecutor(8) as hands:
        answers = list(hands.map(world.send, eight_records_of_one_person()))

    assert {answer.state for answer in answers} == {"linked"}
    assert len({world.person_of(answer) for answer in answers}) == 1
    assert verify_index(world.mpi).is_sound


def test_eight_hands_sending_the_same_record_at_once_keep_it_once(db: Database, clock: FixedClock) -> None:
    world = World(db, clock)

    with ThreadPoolExecutor(8) as hands:
        answers = list(hands.map(world.send, [a_source_record("1")] * 8))

    assert len({answer.record_id for answer in answers}) == 1
    assert world.rows("select count(*) from source_record") == [(1,)]
    assert world.rows("select count(*) from record_version") == [(1,)]


def test_of_eight_hands_that_each_send_the_first_version_one_is_let_in(
    db: Database, clock: FixedClock
) -> None:
    world = World(db, clock)

    def send(place: int) -> str:
        try:
            return world.send(a_source_record("1", phone=f"0770090011{place}"), if_match=0).state
        except Conflict as refusal:
            return refusal.code

    with ThreadPoolExecutor(8) as hands:
        answers = sorted(hands.map(send, range(8)))

    assert answers == ["linked", *["version-stale"] * 7]
    assert world.rows("select count(*) from record_version") == [(1,)]


def test_a_first_version_that_was_overtaken_between_look_and_insert_is_refused(
    postgresql_url: str, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(postgresql_url)
    world = World(db, clock)
    insert, calls = records_store.insert_records, 0

    def insert_when_another_has(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            world.send(a_source_record("1", phone="07700900111"))
        return insert(tx, rows)

    monkeypatch.setattr(records_store, "insert_records", insert_when_another_has)
    with pytest.raises(Conflict, match="version-stale"):
        world.send(a_source_record("1"), if_match=0)

    assert world.rows("select count(*) from record_version") == [(1,)]
    db.close()


def test_an_edge_that_came_after_the_search_is_not_taken_for_stale(
    postgresql_url: str, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(postgresql_url)
    world = World(db, clock)
    search, calls = records_store.search_records, 0

    def search_and_be_overtaken(tx: Connection, keys: Collection[int]) -> dict[int, records_store.RecordRow]:
        nonlocal calls
        calls += 1
        found = search(tx, keys)
        if calls == 1:
            # Another writer keeps and links the same person's other record, whole, before this search is used.
            world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER))
        return found

    monkeypatch.setattr(records_store, "search_records", search_and_be_overtaken)
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    monkeypatch.undo()

    assert world.resolve(first.record_id).record_ids == tuple(
        number for (number,) in world.rows("select record_id from source_record order by 1")
    )
    assert len(world.rows("select 1 from edge")) == 1
    db.close()


class Overtaking:
    """Lets something happen between a T2's search and its first lock."""

    def __init__(self, url: str, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World(Database(url), clock)
        self.then: Callable[[], object] | None = None
        take = link.lock

        def lock(tx: Connection, space: int, ids: Collection[int], **how: Any) -> bool:
            happening, self.then = self.then, None
            if happening is not None:
                happening()
            return take(tx, space, ids, **how)

        monkeypatch.setattr(link, "lock", lock)


@pytest.fixture
def overtaking(
    postgresql_url: str, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Overtaking]:
    made = Overtaking(postgresql_url, clock, monkeypatch)
    yield made
    made.world.mpi.db.close()


MINIMAL = a_source_record("1", given="A", family=None, born_on=None, line=None, postcode=None)
FULL = a_source_record("1", nhs_number=ONE_NUMBER)


def test_a_version_that_came_after_the_search_is_searched_too(overtaking: Overtaking) -> None:
    world = overtaking.world
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER))
    first = world.send(MINIMAL, at(1), link=False)
    overtaking.then = lambda: world.send(FULL, at(2), link=False)

    link_record(world.mpi, first.record_id)
    link_waiting(world.mpi)

    assert world.person_of(first) == other.record_id


def test_an_update_that_was_held_after_the_search_is_asked_about(overtaking: Overtaking) -> None:
    world = overtaking.world
    first = world.send(FULL, at(1), link=False)
    stranger = a_source_record("1", given="Kevin", family="Blackwood", born_on="1951-07-30", gender="male")
    overtaking.then = lambda: world.send(stranger, at(2), link=False)

    link_record(world.mpi, first.record_id)
    link_waiting(world.mpi)

    assert world.resolve(first.record_id).held
    assert world.kinds() == ["overlay"]


def test_an_edge_is_of_the_versions_that_stand_when_it_is_written(overtaking: Overtaking) -> None:
    world = overtaking.world
    one = world.send(FULL, at(1))
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), link=False)
    moved = a_source_record("1", nhs_number=ONE_NUMBER, line="3 Essex Road", postcode="N1 9GU")
    overtaking.then = lambda: world.send(moved, at(2))

    link_record(world.mpi, other.record_id)

    assert world.person_of(other) == one.record_id
    ((parts,),) = world.rows("select parts from edge")
    assert '"address","same"' not in parts


def test_a_version_that_came_while_its_record_was_moved_waits_to_be_searched(
    postgresql_url: str, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(Database(postgresql_url), clock)
    early = world.send(a_source_record("1", nhs_number=ONE_NUMBER), link=False)
    other = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    assert world.person_of(other) == other.record_id
    moved = a_source_record(
        "2", organisation="RV5", nhs_number=ONE_NUMBER, line="3 Essex Road", postcode="N1 9GU"
    )
    take = link.lock_persons

    def lock_persons(*what: Any, **how: Any) -> None:
        monkeypatch.undo()
        # Surveyed and partitioned, and not written yet.
        world.send(moved, at(2), link=False)
        take(*what, **how)

    monkeypatch.setattr(link, "lock_persons", lock_persons)
    link_record(world.mpi, early.record_id)
    assert world.person_of(other) == early.record_id
    link_waiting(world.mpi)

    assert world.rows("select linked_version from source_record order by record_id") == [(1,), (2,)]
    ((parts,),) = world.rows("select parts from edge")
    assert '"address","same"' not in parts
    assert verify_index(world.mpi).is_sound
    world.mpi.db.close()


def test_a_record_that_stands_by_a_version_of_before_is_found_unsound_and_linked_by_a_switch(
    db: Database, clock: FixedClock, tmp_path: Path
) -> None:
    world = World(db, clock)
    first = world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, phone="07700900111"), at(2), link=False)
    with db.write() as tx:
        tx.execute(text("update source_record set linked_version = 1"))

    assert verify_index(world.mpi).misplaced == (first.record_id,)
    switched(world.mpi, tmp_path / "work")

    assert verify_index(world.mpi).is_sound
    assert world.rows("select linked_version from source_record") == [(2,)]


def test_many_hands_on_overlapping_families_give_the_groups_of_one(
    db: Database, clock: FixedClock, sample: list[SourceRecord]
) -> None:
    few = sample[:400]
    mpi = an_index(db, clock, few)
    parts = [few[place::4] for place in range(4)]

    def send(part: list[SourceRecord]) -> None:
        for record in part:
            receive_record(mpi, record, FEED)

    with ThreadPoolExecutor(4) as hands:
        list(hands.map(send, parts))
    link_waiting(mpi)

    assert joined(mpi) == in_memory(few)
    assert verify_index(mpi).is_sound
