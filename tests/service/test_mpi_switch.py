"""The bulk switch: the outcome of linking one by one, whatever people decided and whoever came meanwhile; all of it or nothing."""

import csv
import io
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import mpi.cli as mpi_cli
from foundation.audit import verify_rows
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Unavailable
from foundation.settings import Settings
from mpi.bulk import memory as bulk_memory
from mpi.cli import load_organisations
from mpi.feeds.delimited import read_rows
from mpi.matching import build_model, load_model
from mpi.records import SourceRecord
from mpi.service.census import count_index, verify_index
from mpi.service.context import Mpi
from mpi.service.link import link_record, link_waiting
from mpi.service.load import LoadReport, load_records
from mpi.service.match import match_person
from mpi.service.receive import receive_record
from mpi.service.renew import renew_index
from mpi.service.review import decide_task, list_tasks
from mpi.service.switch import working_folder
from mpi.service.withdraw import withdraw_feed
from tests.service.bulk_world import conflicted_sample, linked_in_bulk, read_answers
from tests.service.mpi_world import FEED, READER, World, a_doubtful_record, a_source_record, at
from tests.service.snapshots import filled
from tests.service.switch_world import everything, everything_by_key, records_of, switched, told

COUNT = 200
STEPS = ("link", "locked", "inserted", "commit")
"""Where runs are broken: after linking, under the lock, among the writes, and before the commit."""
TYPICAL = ("locked", "commit")
"""Those of `make test`; tests/long takes the others."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflicted_sample(tmp_path_factory.mktemp("switch"), COUNT, 5).parent


@pytest.fixture(scope="module")
def sample(folder: Path) -> list[SourceRecord]:
    return records_of(folder / "conflicted.csv", FixedClock(at(72)).now().date())


def an_index(db: Database, clock: FixedClock, folder: Path) -> Mpi:
    load_organisations(db, folder / "organisations.csv")
    return Mpi(db, clock, load_model())


@pytest.fixture
def switched_at_once(
    clock: FixedClock, folder: Path, sample: list[SourceRecord], tmp_path: Path
) -> Callable[[Database], Mpi]:
    """The index of the sample after one switch, made once for each engine and copied afterwards."""

    def make(db: Database) -> Mpi:
        mpi = Mpi(db, clock, load_model())

        def fill() -> None:
            switched(an_index(db, clock, folder), tmp_path / "first", [sample])

        filled(db, "the switch's sample, at once", fill)
        return mpi

    return make


@pytest.fixture
def sent(clock: FixedClock, folder: Path, sample: list[SourceRecord]) -> Callable[[Database, int], Mpi]:
    """The index of the first records of the sample, sent one by one, made once for each engine and copied afterwards."""

    def make(db: Database, count: int) -> Mpi:
        mpi = Mpi(db, clock, load_model())

        def fill() -> None:
            load_organisations(db, folder / "organisations.csv")
            for record in sample[:count]:
                receive_record(mpi, record, FEED)

        filled(db, f"the first {count} of the switch's sample, one by one", fill)
        return mpi

    return make


@pytest.fixture
def beside(tmp_path: Path, sqlite_template: Path) -> Iterator[Callable[[str], Database]]:
    """A database beside the one under test."""
    opened: list[Database] = []

    def make(name: str) -> Database:
        path = tmp_path / f"{name}.sqlite3"
        path.write_bytes(sqlite_template.read_bytes())
        opened.append(Database(f"sqlite:///{path}"))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def live(beside: Callable[[str], Database], clock: FixedClock, folder: Path) -> Callable[[str], Mpi]:
    """Another index beside the one under test, to be filled one by one."""
    return lambda name: an_index(beside(name), clock, folder)


def some_decided(mpi: Mpi, every: int = 3) -> int:
    """Answer some open tasks in each way; return how many."""
    done = 0
    tasks = list_tasks(mpi, READER, limit=500).tasks
    for place, task in enumerate(sorted(tasks, key=lambda one: (one.kind, one.task_id))):
        if place % every or task.kind in ("same-source-duplicate", "outsized-person"):
            continue
        verdict = ("same", "different", "not-enough")[done % 3]
        decide_task(mpi, task.task_id, READER, verdict=verdict, reason="documents-seen")
        done += 1
    return done


# A first load --------------------------------------------------------------------------------------------------------


def test_a_first_load_gives_what_sending_the_records_one_by_one_gives(
    db: Database,
    clock: FixedClock,
    folder: Path,
    sample: list[SourceRecord],
    beside: Callable[[str], Database],
    sent: Callable[[Database, int], Mpi],
    tmp_path: Path,
):
    slow, fast = sent(beside("live"), COUNT), an_index(db, clock, folder)

    done = switched(fast, tmp_path / "work", [sample[:100], sample[100:]])

    one, other = told(fast), told(slow)
    assert one | {"tasks": None} == other | {"tasks": None}
    # Sent one by one, a record may have been left over and joined somebody, until whom it is came.
    assert one["tasks"] == without_splits(other["tasks"])
    assert done.records == done.new == done.linked == COUNT
    assert done.persons == count_index(fast)["persons"]
    assert verify_index(fast).is_sound
    assert {kind for kind, _ in told(fast)["tasks"]} >= {
        "number-conflict",
        "same-source-duplicate",
    }


def test_a_first_load_leaves_the_history_the_trail_and_the_events_that_others_follow(
    db: Database, clock: FixedClock, folder: Path, sample: list[SourceRecord], tmp_path: Path
):
    mpi = an_index(db, clock, folder)

    done = switched(mpi, tmp_path / "work", [sample])

    rows = World.rows.__get__(type("Of", (), {"mpi": mpi})())
    assert rows("select count(*) from membership_change where from_person_id is null") == [(COUNT,)]
    assert dict(rows("select kind, count(*) from audit_event group by kind")) == {
        "record-received": COUNT,
        "record-linked": COUNT,
        "index-switched": 1,
    }
    assert dict(rows("select topic, count(*) from outbox group by topic")) == {
        "record.received": COUNT,
        "person.changed": done.persons,
        "task.opened": done.tasks_opened,
        "index.switched": 1,
    }
    assert rows(
        "select count(*) from source_record r join person p on p.person_id = r.person_id where p.epoch > 0"
    ) == [(COUNT,)]
    with db.read() as tx:
        assert verify_rows(tx).faulty == ()


def test_records_come_to_those_that_are_there_as_if_they_had_been_sent(
    db: Database,
    sample: list[SourceRecord],
    beside: Callable[[str], Database],
    sent: Callable[[Database, int], Mpi],
    tmp_path: Path,
):
    slow, fast = sent(beside("live"), COUNT), sent(db, 90)

    switched(fast, tmp_path / "work", [sample[90:]])

    assert told(fast)["records"] == told(slow)["records"]
    assert told(fast)["edges"] == told(slow)["edges"]
    assert told(fast)["keys"] == told(slow)["keys"]
    # A split that a later record mends again is asked in passing only where records come one by one.
    assert without_splits(told(fast)["tasks"]) == without_splits(told(slow)["tasks"])
    assert verify_index(fast).is_sound


def without_splits(tasks: dict[Any, Any]) -> dict[Any, Any]:
    return {name: task for name, task in tasks.items() if name[0] != "split-by-new-evidence"}


# Linking again -------------------------------------------------------------------------------------------------------


def test_linking_again_changes_nothing_where_nothing_has_changed(
    db: Database, switched_at_once: Callable[[Database], Mpi], tmp_path: Path
):
    mpi = switched_at_once(db)
    some_decided(mpi)
    before = everything(mpi)

    done = switched(mpi, tmp_path / "again")

    after = everything(mpi)
    assert (done.moved, done.linked, done.tasks_opened, done.tasks_closed) == (0, 0, 0, 0)
    assert {name for name in before if before[name] != after[name]} == {"audit_event"}
    assert len(after["audit_event"]) == len(before["audit_event"]) + 1


def test_decisions_of_people_stand_after_linking_again_and_what_was_lost_comes_back(
    db: Database, switched_at_once: Callable[[Database], Mpi], tmp_path: Path
):
    mpi = switched_at_once(db)
    assert some_decided(mpi) >= 6
    before = told(mpi)
    with db.write() as tx:
        tx.exec_driver_sql("update source_record set person_id = record_id, component_id = record_id")
        tx.exec_driver_sql("delete from edge where weight > 3000")

    done = switched(mpi, tmp_path / "again")

    assert told(mpi) | {"tasks": None} == before | {"tasks": None}
    assert told(mpi)["tasks"] == before["tasks"]
    assert done.moved > 0
    assert verify_index(mpi).is_sound


def test_a_held_update_stays_held_and_a_never_keeps_apart(db: Database, clock: FixedClock, tmp_path: Path):
    world = World(db, clock)
    one = world.send(a_source_record("1"), at(1))
    other = world.send(a_doubtful_record("2"), at(1))
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, task.task_id, READER, verdict="different", reason="documents-seen")
    world.send(
        a_source_record("1", given="Mikhail", family="Zhukov", born_on="1961-07-30", nhs_number=None), at(2)
    )
    assert world.kinds() == ["overlay"]
    before = world.standing()

    switched(world.mpi, tmp_path / "work")

    assert world.standing() == before
    assert world.person_of(one) != world.person_of(other)
    assert world.kinds() == ["overlay"]


def a_wider_model() -> Any:
    document = dict(load_model().document)
    limits = {**document["thresholds"], "live": document["thresholds"]["live"] + 6_000}
    return build_model({**document, "name": "wider", "thresholds": limits})


def test_another_model_is_put_in_place_as_renewing_record_by_record_would(
    db: Database,
    beside: Callable[[str], Database],
    switched_at_once: Callable[[Database], Mpi],
    tmp_path: Path,
):
    slow, fast = switched_at_once(beside("live")), switched_at_once(db)
    for mpi in (slow, fast):
        some_decided(mpi)
    other = a_wider_model()
    renew_index(replace(slow, model=other))

    done = switched(replace(fast, model=other), tmp_path / "again")

    assert done.renewed == COUNT
    assert told(fast)["records"] == told(slow)["records"]
    assert told(fast)["edges"] == told(slow)["edges"]
    assert told(fast)["keys"] == told(slow)["keys"]
    assert without_splits(told(fast)["tasks"]) == without_splits(told(slow)["tasks"])
    assert done.parted > 0
    assert [kind for kind, _ in told(fast)["tasks"]].count("split-by-new-evidence") >= 1
    assert verify_index(replace(fast, model=other)).is_sound


# What happens meanwhile ----------------------------------------------------------------------------------------------


def at_the(step: str, act: Callable[[], Any]) -> Callable[[str], None]:
    """Do something once, as a step begins."""
    waiting = [act]

    def told_step(name: str) -> None:
        if name == step and waiting:
            waiting.pop()()

    return told_step


def test_who_comes_while_a_switch_reads_and_links_is_neither_lost_nor_mislinked(
    db: Database,
    clock: FixedClock,
    folder: Path,
    sample: list[SourceRecord],
    beside: Callable[[str], Database],
    tmp_path: Path,
):
    arriving, changing, brought = sample[:60:6], sample[60:120:6], sample[130:]
    moved = [replace(record, birth_date="1931-01-09", updated_at=at(40)) for record in changing[:5]]
    stored = [record for record in sample[:130] if record not in arriving]
    slow, fast = (Mpi(one, clock, load_model()) for one in (beside("live"), db))

    def store(mpi: Mpi) -> None:
        load_organisations(mpi.db, folder / "organisations.csv")
        for record in stored:
            receive_record(mpi, replace(record, updated_at=at(1)), FEED)

    def send_all() -> None:
        filled(slow.db, "what stood before others came", lambda: store(slow))
        for record in (*(replace(one, updated_at=at(1)) for one in (*brought, *arriving)), *moved):
            receive_record(slow, record, FEED)

    filled(slow.db, "what stands after others came", send_all)
    filled(fast.db, "what stood before others came", lambda: store(fast))

    def meanwhile() -> None:
        for record in (*(replace(one, updated_at=at(1)) for one in arriving), *moved):
            assert receive_record(fast, record, FEED).state in ("linked", "held")

    new = [replace(record, updated_at=at(1)) for record in brought]
    switched(fast, tmp_path / "work", [new], at_the("switch", meanwhile))
    assert verify_index(fast).is_sound
    assert count_index(fast)["waiting"] >= len(arriving)
    link_waiting(fast)

    one, other = told(fast), told(slow)
    assert verify_index(fast).is_sound
    # Who came first differs: the same groups bear another record's id.
    assert groups_of(one) == groups_of(other)
    assert {frozenset(pair): edge[:2] for pair, edge in one["edges"].items()} == {
        frozenset(pair): edge[:2] for pair, edge in other["edges"].items()
    }
    assert one["keys"] == other["keys"]
    assert count_index(fast)["waiting"] == 0


def groups_of(answer: dict[str, Any]) -> set[frozenset[Any]]:
    groups: dict[Any, set[Any]] = {}
    for key, row in answer["records"].items():
        groups.setdefault(row[0], set()).add(key)
    return {frozenset(group) for group in groups.values()}


def test_a_decision_made_while_a_switch_links_stands_after_it(
    db: Database, clock: FixedClock, tmp_path: Path
):
    world = World(db, clock)
    one, other = world.send(a_source_record("1")), world.send(a_doubtful_record("2"))
    (task,) = world.tasks("possible-match")

    def decide() -> None:
        decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")

    switched(world.mpi, tmp_path / "work", at_step=at_the("switch", decide))

    assert world.person_of(one) == world.person_of(other) == one.record_id
    assert world.kinds() == []
    assert verify_index(world.mpi).is_sound


def test_a_key_that_a_sender_brings_first_is_left_to_what_the_sender_brought(
    db: Database, clock: FixedClock, tmp_path: Path
):
    world = World(db, clock)
    records = [
        a_source_record("1"),
        a_source_record("2", organisation="RV5"),
        a_source_record("3", organisation="RRU"),
    ]
    sent = []

    def send() -> None:
        sent.append(world.send(replace(records[1], gender="male")))

    done = switched(world.mpi, tmp_path / "work", [records], at_the("switch", send))
    link_waiting(world.mpi)

    assert done.left_out == (1,)
    assert done.new == 2
    assert world.rows("select count(*) from record_version") == [(3,)]
    assert world.resolve(sent[0].record_id).is_current
    assert verify_index(world.mpi).is_sound
    assert {len(group) for group in world.groups()} == {3}


def test_a_key_that_a_sender_brings_after_the_look_makes_the_switch_look_again(
    postgresql_url: str, clock: FixedClock, tmp_path: Path
):
    db = Database(postgresql_url)
    world = World(db, clock)
    records = [a_source_record("1"), a_source_record("2", organisation="RV5")]
    brought = replace(records[1], gender="male")
    send = at_the("settled", lambda: receive_record(world.mpi, brought, FEED, link=False))

    done = switched(world.mpi, tmp_path / "work", [records], send)
    link_waiting(world.mpi)

    assert done.left_out == (1,)
    assert done.new == 1
    assert world.rows("select count(*) from record_version") == [(2,)]
    assert {len(group) for group in world.groups()} == {2}
    assert verify_index(world.mpi).is_sound
    db.close()


def test_linking_waits_for_a_switch_and_keeping_a_record_does_not(
    postgresql_url: str, clock: FixedClock, tmp_path: Path
):
    db = Database(postgresql_url)
    world = World(db, clock)
    first = world.send(a_source_record("1"))
    late = []

    def send() -> None:
        late.append(world.send(a_source_record("2", organisation="RV5")))
        with pytest.raises(Unavailable, match="linking-busy"):
            link_record(world.mpi, late[0].record_id)

    switched(
        world.mpi, tmp_path / "work", [[a_source_record("3", organisation="RRU")]], at_the("moved", send)
    )

    assert late[0].state == "waiting"
    assert world.resolve(late[0].record_id).state == "unlinked"
    link_waiting(world.mpi)
    assert world.person_of(late[0]) == world.person_of(first) == first.record_id
    assert {len(group) for group in world.groups()} == {3}
    db.close()


def test_a_load_that_meets_a_switch_goes_on_after_it(postgresql_url: str, clock: FixedClock, tmp_path: Path):
    db = Database(postgresql_url)
    world = World(db, clock)
    first = world.send(a_source_record("1"))
    reports: list[LoadReport] = []
    row = SimpleNamespace(number=1, record=a_source_record("2", organisation="RV5"), faults=())
    loading = threading.Thread(target=lambda: reports.append(load_records(world.mpi, [row])))

    def load() -> None:
        loading.start()
        for _ in range(600):
            if world.rows("select count(*) from source_record") == [(2,)]:
                break
            time.sleep(0.1)
        # It is kept, and cannot be linked yet.
        loading.join(0.5)
        assert loading.is_alive() and not reports

    switched(world.mpi, tmp_path / "work", at_step=at_the("moved", load))
    loading.join(60)

    assert [report.linked for report in reports] == [1]
    assert {len(group) for group in world.groups()} == {2}
    assert world.resolve(first.record_id).is_current
    db.close()


def test_matches_are_answered_while_a_switch_writes(db: Database, clock: FixedClock, tmp_path: Path):
    world = World(db, clock)
    one = world.send(a_source_record("1"))
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(match_person(world.mpi, a_source_record("?"), READER))
    )

    def ask() -> None:
        # Nothing of the switch is seen yet.
        assert world.resolve(one.record_id).record_ids == (one.record_id,)
        asking.start()
        if not db.is_sqlite:
            # Where there is one writer, the audit row of the answer waits for it.
            asking.join()
            assert len(answers) == 1

    switched(world.mpi, tmp_path / "work", [[a_source_record("2", organisation="RV5")]], at_the("moved", ask))
    asking.join()

    assert [one.person_id for one in answers[0].candidates] == [one.record_id]
    assert len(world.resolve(one.record_id).members) == 2


# All or nothing ------------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", TYPICAL)
def test_a_run_that_ends_early_has_changed_nothing_and_the_next_one_does_it_all(
    db: Database, clock: FixedClock, tmp_path: Path, step: str
):
    expect_that_a_run_that_ends_early_has_changed_nothing(db, clock, tmp_path, step)


def expect_that_a_run_that_ends_early_has_changed_nothing(
    db: Database, clock: FixedClock, folder: Path, step: str
) -> None:
    """End a switch at a step; nothing has changed, and the next one does it all."""
    world = World(db, clock)
    world.send_all([a_source_record("1"), a_doubtful_record("2")])
    new = [a_source_record("3", organisation="RRU")]
    before = everything(world.mpi)

    def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        switched(world.mpi, folder / "broken", [new], at_the(step, stop))
    assert everything(world.mpi) == before
    with db.read() as tx:
        assert "staged_place" not in {row[0] for row in tx.exec_driver_sql(_TEMPORARY[db.is_sqlite])}

    done = switched(world.mpi, folder / "whole", [new])

    assert done.new == 1
    assert verify_index(world.mpi).is_sound


@pytest.mark.parametrize("command", ["link", "relink"])
def test_a_budget_of_memory_that_could_not_be_kept_is_refused_and_nothing_has_changed(
    db: Database, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    monkeypatch.setattr(bulk_memory, "_FEW", 1)
    world = World(db, clock)
    file = a_csv(
        tmp_path / "new.csv",
        "organisation,system,local_id,family,given,birth_date,postcode",
        "RRU,pas,3,Okafor,Amara,1990-02-14,SE5 8AZ",
        "RRU,pas,4,Bell,Ada,1951-12-03,E2 8AA",
    )
    words = ("link", str(file), "--into-index")
    if command == "relink":
        # What is there already counts alone, as what the file brings does otherwise.
        words = ("relink",)
        world.send_all([a_source_record("1"), a_doubtful_record("2")])
    before = everything(world.mpi)

    refused = run(world.mpi, tmp_path / "home", *words, "--memory", "300MB")
    unchanged = everything(world.mpi)
    done = run(world.mpi, tmp_path / "home", *words, "--memory", "700MB")

    assert refused.exit_code == 1
    assert "memory-too-small" in refused.output and "2 rows need about" in refused.output
    assert unchanged == before
    assert done.exit_code == 0, done.output


_TEMPORARY = {
    True: "select name from temp.sqlite_master",
    False: "select relname from pg_class where relpersistence = 't'",
}


def test_an_index_without_records_is_linked_to_nothing(db: Database, clock: FixedClock, tmp_path: Path):
    world = World(db, clock)

    done = switched(world.mpi, tmp_path / "work")

    assert (done.records, done.persons) == (0, 0)


# Commands ------------------------------------------------------------------------------------------------------------


class Composed:
    """What the command is given: settings, and the index under test."""

    def __init__(self, mpi: Mpi, home: Path) -> None:
        self.mpi = mpi
        self.settings = Settings(home, "", "")


def run(mpi: Mpi, home: Path, *arguments: str) -> Any:
    return CliRunner().invoke(mpi_cli.cli, list(arguments), obj=Composed(mpi, home))


def test_files_with_further_versions_and_bad_rows_come_into_the_index_as_loading_them_would(
    db: Database, clock: FixedClock, beside: Callable[[str], Database], tmp_path: Path
):
    head = "organisation,system,local_id,family,given,birth_date,postcode,updated_at"
    first = a_csv(
        tmp_path / "first.csv",
        head,
        "RRV,pas,1,Okafor,Amara,1990-02-14,SE5 8AZ,2026-01-01T00:00:00Z",
        "RRV,pas,2,Okafor,Amara,1990-02-14,SE5 8AZ,2026-01-01T00:00:00Z",
        "RRV,pas,1,Okafor,Amara,1990-02-14,N1 9GU,2026-02-01T00:00:00Z",
        "RRV,pas,3,Bell,Ada,1990-02-31,SE5 8AZ,2026-01-01T00:00:00Z",
        "NOWHERE,pas,4,Bell,Ada,1990-02-14,SE5 8AZ,2026-01-01T00:00:00Z",
        "RRV,pas,5,Bell,Ada,1951-12-03,E2 8AA,",
        "RRV,pas,5,Bell,Adah,1951-12-03,E2 8AA,",
    )
    second = a_csv(
        tmp_path / "second.csv",
        head,
        "RRV,pas,2,Zhukov,Mikhail,1961-07-30,SE5 8AZ,2026-03-01T00:00:00Z",
        "RV5,pas,9,Okafor,Amara,1990-02-14,N1 9GU,2026-03-01T00:00:00Z",
    )
    slow, fast = World(beside("live"), clock).mpi, World(db, clock).mpi
    for path in (first, second):
        mpi_cli.load_file(slow, path)

    result = run(fast, tmp_path / "home", "link", str(first), str(second), "--into-index", "--json")

    assert result.exit_code == mpi_cli.WITH_REJECTS, result.output
    answer = json.loads(result.output)
    assert answer["load"] == {
        "rows": 9, "new": 4, "changed": 1, "unchanged": 0, "late": 0, "held": 1, "rejected": 3, "linked": 6,
    }  # fmt: skip
    assert told(fast) == told(slow)
    assert (tmp_path / "first.csv.rejects.csv").read_text(encoding="utf-8").splitlines() == [
        "file,row,field,code",
        "first.csv,5,birth_date,date-impossible",
        "first.csv,8,updated_at,updated-at-missing",
        "first.csv,6,organisation,organisation-unknown",
    ]
    assert answer["waiting"] == 0
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["bulk.lock"]


def test_rows_of_a_withdrawn_feed_are_set_aside_and_the_file_goes_in_without_them(
    db: Database, clock: FixedClock, tmp_path: Path
):
    mpi = World(db, clock).mpi
    everywhere = replace(FEED, scopes=frozenset({"records:withdraw"}))
    withdraw_feed(mpi, "RRV", "pas", everywhere, reason="feed-fault", comment="Until it is mended.")
    path = a_csv(
        tmp_path / "some.csv",
        "organisation,system,local_id,family,given,birth_date,postcode,updated_at",
        "RRV,pas,1,Okafor,Amara,1990-02-14,SE5 8AZ,2026-01-01T00:00:00Z",
        "RRV,wards,1,Okafor,Amara,1990-02-14,SE5 8AZ,2026-01-01T00:00:00Z",
        "RV5,pas,1,Okafor,Amara,1990-02-14,SE5 8AZ,2026-01-01T00:00:00Z",
    )

    result = run(mpi, tmp_path / "home", "link", str(path), "--into-index", "--json")

    assert result.exit_code == mpi_cli.WITH_REJECTS, result.output
    assert (tmp_path / "some.csv.rejects.csv").read_text(encoding="utf-8").splitlines() == [
        "file,row,field,code",
        "some.csv,2,system,feed-withdrawn",
    ]
    with db.read() as tx:
        held = tx.exec_driver_sql("select organisation, system, state from source_record order by 1, 2").all()
    assert [tuple(row) for row in held] == [("RRV", "wards", "active"), ("RV5", "pas", "active")]


def test_a_file_read_by_the_column_leaves_every_row_of_every_table_that_its_records_leave_one_by_one(
    db: Database, clock: FixedClock, live: Callable[[str], Mpi], folder: Path, tmp_path: Path
):
    path = tmp_path / "mixed.csv"
    path.write_text(
        with_faults((folder / "conflicted.csv").read_text(encoding="utf-8"), 11), encoding="utf-8", newline=""
    )
    slow, fast = live("live"), an_index(db, clock, folder)
    today = fast.today()
    records = records_of(path, today)
    faulty = [row for row in read_rows(path, today) if row.faults]
    switched(slow, tmp_path / "slow", [records])

    answer = mpi_cli.link_files_into_index(fast, tmp_path / "home", (path,), None, tmp_path / "rejects.csv")

    assert answer["load"]["rejected"] == len(faulty) > 8
    assert answer["load"]["new"] == len(records) > 150
    one, other = everything_by_key(fast), everything_by_key(slow)
    assert {name: len(rows) for name, rows in one.items()} == {
        name: len(rows) for name, rows in other.items()
    }
    assert one == other
    assert (tmp_path / "rejects.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        f"mixed.csv,{row.number},{fault.field or ''},{fault.code}" for row in faulty for fault in row.faults
    ]


def with_faults(text: str, every: int) -> str:
    """Spoil some rows of a file, each in a way of its own, and give others an unusual shape."""
    head, *rows = text.splitlines()
    names = head.split(",")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    spoilt = itertools.cycle(
        (
            {"birth_date": "1990-02-31"},
            {"given": "Zo\u00eb (known as Zo)", "family": "Zaj\u0105c"},
            {"nhs_number": "9990000011", "gender": "sideways"},
            {"address": "Flat 3\n12 Denmark Hill", "identifier": '7\\"', "identifier_system": "card"},
            {"family_2": "Bell", "given_2": "Ada"},
            {"organisation": "rrv", "phone": "x" * 300},
        )
    )
    for place, row in enumerate(csv.DictReader(text.splitlines())):
        if place % every == 0:
            row |= next(spoilt)
        writer.writerow([row[name] for name in names])
    lines = out.getvalue().splitlines(keepends=True)
    lines[20] = lines[20].replace(",", ',"', 1)
    return "".join((*lines[:40], "\n", ",".join([""] * len(names)) + "\n", *lines[40:], "too,few\n"))


def a_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_records_of_an_index_link_by_themselves_to_what_their_file_links_to(
    db: Database, folder: Path, switched_at_once: Callable[[Database], Mpi], tmp_path: Path
):
    mpi = switched_at_once(db)
    before = everything(mpi)

    result = run(mpi, tmp_path / "home", "link", "--store", "--out", str(tmp_path / "out"), "--json")

    assert result.exit_code == 0, result.output
    assert everything(mpi) == before
    from_file = linked_in_bulk(folder / "conflicted.csv", tmp_path / "file")
    answers = read_answers(tmp_path / "out")
    assert answers == {name: from_file[name] for name in answers}
    for name in ("persons.csv", "edges.csv", "tasks.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "file" / name).read_bytes()
    assert json.loads(result.output)["records"] == COUNT


def test_an_index_is_linked_again_by_a_command_under_another_model(
    db: Database, switched_at_once: Callable[[Database], Mpi], tmp_path: Path
):
    mpi = switched_at_once(db)
    model = tmp_path / "wider.json"
    model.write_text(json.dumps(a_wider_model().document), encoding="utf-8")

    result = run(mpi, tmp_path / "home", "relink", "--model", str(model), "--json")
    again = run(replace(mpi, model=load_model(model)), tmp_path / "home", "relink")

    assert result.exit_code == again.exit_code == 0, result.output + again.output
    answer = json.loads(result.output)
    assert answer["renewed"] == answer["records"] == COUNT
    assert answer["persons"] > answer["persons_before"]
    assert answer["model"]["name"] == "wider"
    assert (
        f"{COUNT} records, 0 of them new: {answer['persons']} persons, {answer['persons']} before"
        in again.output
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--store"], "--store needs --out"),
        (["--store", "--into-index"], "--store reads the index"),
        (["--into-index"], "--into-index needs FILES"),
        (["--store", "--out", "answers", "--engine", "spark"], "run on one machine"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    db: Database, clock: FixedClock, tmp_path: Path, arguments: list[str], words: str
):
    result = run(World(db, clock).mpi, tmp_path, "link", *arguments)

    assert result.exit_code == 2
    assert words in result.output


def test_two_bulk_runs_of_one_home_take_turns_and_a_killed_one_leaves_its_folder_to_the_next(tmp_path: Path):
    (tmp_path / "bulk").mkdir()
    (tmp_path / "bulk" / "keys.arrow").write_bytes(b"left behind")

    with working_folder(tmp_path) as folder:
        assert list(folder.iterdir()) == []
        with pytest.raises(Unavailable, match="bulk-running"), working_folder(tmp_path):
            pass

    assert not (tmp_path / "bulk").exists()
