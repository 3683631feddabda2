"""A model comes into force by two people and one switch, for every process at once, and goes the same way."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Connection, text, update
from sqlalchemy.exc import IntegrityError

import mpi.cli as mpi_cli
from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import LOCK_COMPONENT, Database, lock_space
from foundation.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from foundation.principal import Principal
from foundation.settings import Settings
from mpi.cli import load_organisations
from mpi.matching import Model, build_model, load_model
from mpi.records import SourceRecord
from mpi.service.activate import activate_model
from mpi.service.census import count_index, verify_index
from mpi.service.context import NO_LINKS, Forms, ModelInForce, Mpi
from mpi.service.forecast import forecast_model
from mpi.service.link import ARRIVAL, link_in, link_record, link_waiting, taken_again
from mpi.service.match import match_person
from mpi.service.models import (
    ModelChange,
    approve_model,
    list_models,
    propose_model,
    propose_roll_back,
    read_model,
    withdraw_model,
)
from mpi.service.receive import receive_record
from mpi.service.review import decide_task, list_tasks
from mpi.service.switch import Switched, relink_index
from mpi.store.records import read_records
from mpi.store.tables import model_change
from tests.service.bulk_world import conflicted_sample
from tests.service.mpi_world import FEED, READER, World, a_source_record, at
from tests.service.snapshots import filled
from tests.service.switch_world import everything, records_of, switched, told

COUNT = 200
STEPS = ("read", "link", "stage", "switch", "locked", "settled", "inserted", "moved", "commit")
TYPICAL = ("locked", "commit")
"""Under the lock before anything is written, and with everything written; tests/long takes the other steps."""
ANNE = Principal("person", "anne", "RRV", frozenset({"tasks:read", "tasks:work"}), role="R5110")
BELA = replace(ANNE, id="bela")
OPERATOR = Principal("system", "mpi-cli", "MPI", frozenset(), client_id="mpi-cli")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflicted_sample(tmp_path_factory.mktemp("models"), COUNT, 5).parent


@pytest.fixture(scope="module")
def sample(folder: Path) -> list[SourceRecord]:
    return records_of(folder / "conflicted.csv", FixedClock(at(72)).now().date())


def an_index(
    db: Database,
    clock: FixedClock,
    folder: Path,
    sample: list[SourceRecord],
    work: Path,
    model: ModelInForce | None = None,
) -> Mpi:
    """An index as one process has it, under the shipped model if no other is given, with some questions answered."""
    load_organisations(db, folder / "organisations.csv")
    mpi = Mpi(db, clock, model or ModelInForce(db))
    switched(mpi, work, [sample])
    asked = [task for task in list_tasks(mpi, READER, limit=500).tasks if task.kind == "possible-match"]
    key = {
        row[0]: row[1:]
        for row in _rows(mpi, "select record_id, organisation, system, local_id from source_record")
    }
    asked.sort(key=lambda task: sorted(key[number] for side in task.sides for number in side))
    for place, task in enumerate(asked[:6]):
        verdict = ("same", "different")[place % 2]
        decide_task(mpi, task.task_id, READER, verdict=verdict, reason="documents-seen")
    return mpi


def the_index(db: Database, clock: FixedClock, folder: Path, sample: list[SourceRecord], work: Path) -> Mpi:
    """The index under the shipped model: made once for each engine, and copied afterwards."""

    def fill() -> None:
        an_index(db, clock, folder, sample, work)

    filled(db, "the models' index", fill)
    return Mpi(db, clock, ModelInForce(db))


@pytest.fixture
def index(db: Database, clock: FixedClock, folder: Path, sample: list[SourceRecord], tmp_path: Path) -> Mpi:
    return the_index(db, clock, folder, sample, tmp_path / "first")


@pytest.fixture
def beside(
    tmp_path: Path, sqlite_template: Path, clock: FixedClock, folder: Path, sample: list[SourceRecord]
) -> Iterator[Mpi]:
    """Another index of the same records and decisions."""
    path = tmp_path / "beside.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    yield the_index(database, clock, folder, sample, tmp_path / "beside")
    database.close()


def another_process(mpi: Mpi) -> Mpi:
    """The same index as a process has it that was started before whatever comes now."""
    return replace(mpi, model=ModelInForce(mpi.db), forms=Forms())


def a_model(live: int = 6_000, name: str = "another") -> Model:
    document = dict(load_model().document)
    limits = {**document["thresholds"], "live": document["thresholds"]["live"] + live}
    return build_model({**document, "name": name, "thresholds": limits})


def a_forecast(mpi: Mpi, model: Model, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True)
    said = forecast_model(replace(mpi, model=model), folder, memory=1 << 30, threads=1)
    return json.loads(json.dumps(said.as_json()))


def approved(mpi: Mpi, model: Model) -> ModelChange:
    propose_model(mpi, model, ANNE)
    return approve_model(mpi, model.revision, BELA)


def activated(mpi: Mpi, revision: str, folder: Path, **how: Any) -> Switched:
    folder.mkdir(parents=True)
    return activate_model(mpi, revision, folder, OPERATOR, memory=1 << 30, threads=1, **how)


def rolled_back(mpi: Mpi, folder: Path) -> str:
    change = propose_roll_back(mpi, BELA)
    approve_model(mpi, change.revision, ANNE)
    activated(mpi, change.revision, folder)
    return change.revision


def in_force(mpi: Mpi) -> str:
    return mpi.present().model.revision


def _rows(mpi: Mpi, statement: str) -> list[tuple[Any, ...]]:
    with mpi.db.read() as tx:
        return [tuple(row) for row in tx.execute(text(statement))]


def persons(mpi: Mpi) -> list[tuple[Any, ...]]:
    return _rows(mpi, "select record_id, person_id, component_id from source_record order by 1")


def open_tasks(mpi: Mpi) -> list[tuple[Any, ...]]:
    return _rows(
        mpi,
        "select t.task_id, t.kind, t.subject, t.reason, t.is_binding, t.weight, t.evidence, m.record_id, m.side from task t "
        "join task_member m on m.task_id = t.task_id where t.state = 'open' order by 1, 8",
    )


# What it does --------------------------------------------------------------------------------------------------------


def test_activating_a_model_does_what_linking_again_by_it_does(index: Mpi, beside: Mpi, tmp_path: Path):
    model = a_model()
    approved(index, model)
    before = told(index)

    done = activated(index, model.revision, tmp_path / "activate")
    relinked = relink_index(
        replace(beside, model=model), _made(tmp_path / "relink"), memory=1 << 30, threads=1
    )

    assert told(index) == told(beside) != before
    counts = {name: value for name, value in done.as_json().items() if name != "stages"}
    assert counts == {name: value for name, value in relinked.as_json().items() if name != "stages"}
    assert done.moved > 0
    assert in_force(index) == model.revision
    assert verify_index(index).is_sound


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_rolling_back_gives_the_persons_links_and_tasks_of_before_to_the_row(index: Mpi, tmp_path: Path):
    model = a_model()
    stood = persons(index), open_tasks(index), told(index)["edges"], told(index)["keys"]
    approved(index, model)
    activated(index, model.revision, tmp_path / "activate")
    assert (persons(index), open_tasks(index)) != stood[:2]

    back = rolled_back(index, tmp_path / "back")

    assert back == load_model().revision == in_force(index)
    assert (persons(index), open_tasks(index), told(index)["edges"], told(index)["keys"]) == stood
    assert verify_index(index).is_sound


def test_people_whom_a_model_joined_are_asked_about_when_it_is_taken_back(
    db: Database, clock: FixedClock, folder: Path, sample: list[SourceRecord], tmp_path: Path
):
    stricter = written(a_model(), tmp_path / "stricter.json")
    index = an_index(db, clock, folder, sample, tmp_path / "strict", ModelInForce(db, stricter))
    stood = persons(index), open_tasks(index)
    approved(index, load_model())
    joined = activated(index, load_model().revision, tmp_path / "activate").joined

    rolled_back(index, tmp_path / "back")

    assert joined > 0
    assert persons(index) == stood[0]
    # Directives may have been given for the joined person: both sides keep them until someone says whose they are.
    fresh = [task for task in open_tasks(index) if task[1] == "split-by-new-evidence"]
    assert len({task[0] for task in fresh}) == joined
    assert [task for task in open_tasks(index) if task not in fresh] == stood[1]


@pytest.mark.parametrize("step", TYPICAL)
def test_a_run_that_ends_early_has_changed_neither_persons_nor_the_model(
    index: Mpi, tmp_path: Path, step: str
):
    expect_that_a_run_that_ends_early_has_changed_nothing(index, tmp_path, step)


def expect_that_a_run_that_ends_early_has_changed_nothing(index: Mpi, folder: Path, step: str) -> None:
    """End an activation at a step; persons and model stand as before, and the next one does it all."""
    model = a_model()
    approved(index, model)
    before = everything(index), _rows(index, "select * from model_change")

    def stop(name: str) -> None:
        if name == step:
            raise Stop

    with pytest.raises(Stop):
        activated(index, model.revision, folder / "ends", at_step=stop)

    assert (everything(index), _rows(index, "select * from model_change")) == before
    assert in_force(index) == in_force(another_process(index)) == load_model().revision
    activated(index, model.revision, folder / "again")
    assert in_force(another_process(index)) == model.revision
    assert verify_index(index).is_sound


class Stop(Exception):
    pass


# Everyone who works meanwhile ----------------------------------------------------------------------------------------


def test_a_process_that_was_there_before_goes_on_by_the_new_model(index: Mpi, tmp_path: Path):
    other = another_process(index)
    assert in_force(other) == load_model().revision
    receive_record(other, a_source_record("before"), FEED)
    model = a_model()
    approved(index, model)

    activated(index, model.revision, tmp_path / "activate")
    received = receive_record(other, a_source_record("after", organisation="RV5"), FEED)

    assert received.state == "linked"
    assert _rows(index, "select distinct model_revision from source_record") == [(model.revision,)]
    assert _rows(index, "select distinct model_revision from edge") == [(model.revision,)]
    found = match_person(other, a_source_record(), FEED).candidates
    assert found and found[0].person_id == received.person_id
    assert verify_index(other).is_sound


@pytest.mark.parametrize("step", ["link", "locked", "moved"])
def test_what_came_under_the_old_model_during_the_switch_is_read_again_by_the_new_one(
    index: Mpi, tmp_path: Path, step: str
):
    if index.db.is_sqlite and step != "link":
        step = "stage"  # SQLite has one writer: nobody comes while the switch writes
    other, model = another_process(index), a_model()
    twin = receive_record(other, a_source_record("early"), FEED)
    approved(index, model)
    kept: list[str] = []

    def send(name: str) -> None:
        if name == step:
            receive_record(other, a_source_record("late", organisation="RV5"), FEED, link=False)
            kept.extend(one for (one,) in _rows(other, _REVISION_OF_LATE))

    activated(index, model.revision, tmp_path / "activate", at_step=send)
    link_waiting(other)

    assert kept == [load_model().revision]
    assert _rows(index, _REVISION_OF_LATE) == [(model.revision,)]
    assert _rows(index, "select distinct model_revision from source_record") == [(model.revision,)]
    late = _rows(index, "select person_id from source_record where local_id = 'late'")
    assert late == _rows(index, f"select person_id from source_record where record_id = {twin.record_id}")
    assert verify_index(index).is_sound


_REVISION_OF_LATE = "select model_revision from source_record where local_id = 'late'"


class Overtaken(ModelInForce):
    """A model in force that a switch replaces between the look and the lock, once."""

    looks = 0

    def of_revision(self, tx: Connection, revision: str | None) -> Model:
        self.looks += 1
        return load_model() if self.looks == 1 else super().of_revision(tx, revision)


def test_linking_that_a_switch_overtook_begins_again_by_the_new_model(
    postgresql_url: str, clock: FixedClock, tmp_path: Path
):
    db = Database(postgresql_url)
    world = World(db, clock)
    world.mpi = replace(world.mpi, model=ModelInForce(db))
    first = world.send(a_source_record("1"))
    model = a_model()
    approved(world.mpi, model)
    activated(world.mpi, model.revision, tmp_path / "activate")
    late = world.send(a_source_record("2", organisation="RV5"), link=False)
    behind = Overtaken(db)
    overtaken = replace(world.mpi, model=behind)

    def take(tx: Connection) -> object:
        return link_in(tx, overtaken.at(tx), read_records(tx, [late.record_id]), ARRIVAL)

    taken_again(overtaken, take)

    assert behind.looks > 1
    assert world.person_of(late) == first.record_id
    assert world.rows("select distinct model_revision from edge") == [(model.revision,)]
    assert world.rows("select distinct model_revision from source_record") == [(model.revision,)]
    db.close()


class Looking(ModelInForce):
    """A model in force that tries, whenever somebody asks for it, whether a switch could begin then."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.could_switch: list[bool] = []

    def of_revision(self, tx: Connection, revision: str | None) -> Model:
        with self._db.write() as other:
            self.could_switch.append(lock_space(other, LOCK_COMPONENT, wait=False))
        return super().of_revision(tx, revision)


def test_no_switch_begins_between_linking_s_look_at_the_model_and_its_end(
    postgresql_url: str, clock: FixedClock
):
    db = Database(postgresql_url)
    world = World(db, clock)
    record = world.send(a_source_record("1"), link=False)
    looking = Looking(db)

    link_record(replace(world.mpi, model=looking), record.record_id)

    assert looking.could_switch == [False]
    assert world.person_of(record) == record.record_id
    with db.write() as tx:
        assert lock_space(tx, LOCK_COMPONENT, wait=False)
    db.close()


def test_whoever_was_given_another_model_for_good_is_refused(index: Mpi, tmp_path: Path):
    model = a_model()
    approved(index, model)
    activated(index, model.revision, tmp_path / "activate")
    stood = everything(index)
    fixed = replace(index, model=load_model())

    for act in (
        lambda: receive_record(fixed, a_source_record("1"), FEED),
        lambda: link_record(fixed, stood["source_record"][0][0]),
        lambda: relink_index(fixed, _made(tmp_path / "relink"), memory=1 << 30, threads=1),
        lambda: match_person(fixed, a_source_record(), FEED),
    ):
        with pytest.raises(Conflict, match="model-not-in-force"):
            act()

    assert everything(index) == stood
    assert switched(replace(index, model=model), tmp_path / "same").moved == 0


def test_a_relink_that_an_activation_overtakes_changes_nothing(index: Mpi, tmp_path: Path):
    other, model = another_process(index), a_model()
    approved(index, model)

    def overtake(name: str) -> None:
        if name == "switch":
            activated(index, model.revision, tmp_path / "activate")

    with pytest.raises(Conflict, match="model-not-in-force"):
        relink_index(other, _made(tmp_path / "relink"), memory=1 << 30, threads=1, at_step=overtake)

    assert in_force(other) == model.revision
    assert verify_index(index).is_sound


def test_a_model_in_force_that_cannot_be_read_keeps_records_waiting_and_nothing_else(
    index: Mpi, tmp_path: Path
):
    model = a_model()
    approved(index, model)
    activated(index, model.revision, tmp_path / "activate")
    with index.db.write() as tx:
        tx.execute(
            text("update match_model set document = '{}' where revision = :one"), {"one": model.revision}
        )
    other = another_process(index)

    received = receive_record(other, a_source_record("1"), FEED)

    assert received.state == "waiting"
    with pytest.raises(Unavailable, match="match-model-unreadable"):
        link_record(other, received.record_id)
    with pytest.raises(Unavailable, match="match-model-unreadable"):
        match_person(other, a_source_record(), FEED)


# Two people ----------------------------------------------------------------------------------------------------------


def test_whoever_proposed_a_model_cannot_approve_it(index: Mpi, tmp_path: Path):
    model = a_model()
    change = propose_model(index, model, ANNE)

    with pytest.raises(Conflict, match="second-person-same"):
        approve_model(index, model.revision, ANNE)
    with pytest.raises(Conflict, match="model-not-approved"):
        activated(index, model.revision, tmp_path / "activate")
    with pytest.raises(IntegrityError, match="two_people"), index.db.write() as tx:
        tx.execute(
            update(model_change)
            .where(model_change.c.change_id == change.change_id)
            .values(state="approved", approved_by="anne", approved_at=change.proposed_at)
        )

    assert in_force(index) == load_model().revision
    assert [one.state for one in list_models(index).changes] == ["proposed"]


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (OPERATOR, "approver-not-a-person"),
        (replace(ANNE, id="carl", scopes=frozenset({"tasks:read"})), "scope-missing"),
    ],
)
def test_a_system_is_nobody_and_not_everybody_may(index: Mpi, by: Principal, code: str):
    model = a_model()
    with pytest.raises(Forbidden, match=code):
        propose_model(index, model, by)
    with pytest.raises(Forbidden, match=code):
        propose_roll_back(index, by)
    propose_model(index, model, ANNE)

    for act in (approve_model, withdraw_model):
        with pytest.raises(Forbidden, match=code):
            act(index, model.revision, by)

    assert [one.state for one in list_models(index).changes] == ["proposed"]


def test_every_act_is_audited_with_whose_it_was(index: Mpi, tmp_path: Path):
    model, other = a_model(), a_model(4_000)
    approved(index, model)
    activated(index, model.revision, tmp_path / "activate")
    rolled_back(index, tmp_path / "back")
    propose_model(index, other, BELA)
    withdraw_model(index, other.revision, ANNE)

    rows = _rows(
        index, "select kind, actor_id, detail from audit_event where kind like 'model-%' order by event_id"
    )
    assert [row[:2] for row in rows] == [
        ("model-proposed", "anne"),
        ("model-approved", "bela"),
        ("model-activated", "mpi-cli"),
        ("model-proposed", "bela"),
        ("model-approved", "anne"),
        ("model-rolled-back", "mpi-cli"),
        ("model-proposed", "bela"),
        ("model-withdrawn", "anne"),
    ]
    detail = rows[2][2] if isinstance(rows[2][2], dict) else json.loads(rows[2][2])
    assert detail == {
        "kind": "activation",
        "model_revision": model.revision,
        "from_revision": load_model().revision,
        "proposed_by": "anne",
        "approved_by": "bela",
    }


def test_what_is_open_is_open_once_and_can_be_taken_back(index: Mpi, tmp_path: Path):
    model = a_model()
    with pytest.raises(NotFound, match="model-not-proposed"):
        approve_model(index, model.revision, BELA)
    propose_model(index, model, ANNE, comment="fewer doubts")
    with pytest.raises(Conflict, match="model-proposed-already"):
        propose_model(index, model, BELA)
    approve_model(index, model.revision, BELA)
    with pytest.raises(Conflict, match="model-approved-already"):
        approve_model(index, model.revision, BELA)

    assert withdraw_model(index, model.revision, BELA).state == "withdrawn"

    with pytest.raises(NotFound, match="model-not-proposed"):
        activated(index, model.revision, tmp_path / "activate")
    approved(index, model)
    activated(index, model.revision, tmp_path / "again")
    with pytest.raises(Conflict, match="model-in-force"):
        propose_model(index, model, ANNE)


def test_what_was_approved_over_another_model_is_proposed_again(index: Mpi, tmp_path: Path):
    first, second, third = a_model(2_000), a_model(4_000), a_model(6_000)
    approved(index, first)
    approved(index, second)
    propose_model(index, third, ANNE)
    activated(index, first.revision, tmp_path / "activate")

    with pytest.raises(Conflict, match="model-moved"):
        activated(index, second.revision, tmp_path / "second")
    with pytest.raises(Conflict, match="model-moved"):
        approve_model(index, third.revision, BELA)

    assert in_force(index) == first.revision


def test_an_activation_that_another_overtakes_changes_nothing(index: Mpi, tmp_path: Path):
    first, second = a_model(2_000), a_model(4_000)
    approved(index, first)
    approved(index, second)

    def overtake(name: str) -> None:
        if name == "switch":
            activated(another_process(index), second.revision, tmp_path / "second")

    with pytest.raises(Conflict, match="model-moved"):
        activated(index, first.revision, tmp_path / "overtaken", at_step=overtake)

    assert in_force(index) == second.revision
    assert _rows(index, "select distinct model_revision from source_record") == [(second.revision,)]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"format": 2},
        {**load_model().document, "rivals": {}},
        "a model",
        {"format": 1, "fields": []},
        {**load_model().document, "name": "two\nlines"},
        {**load_model().document, "name": 7},
        {**load_model().document, "group_limit": float("inf")},
        {**load_model().document, "blocking": {"no-such-rule": {"cap": 1}}},
    ],
    ids=[
        "null",
        "list",
        "empty",
        "format",
        "no-rivals",
        "text",
        "fields",
        "lines",
        "number",
        "infinite",
        "rule",
    ],
)
def test_what_does_not_compile_is_no_model(document: Any):
    with pytest.raises(Invalid, match="model-format"):
        read_model(document)


# Forecasts -----------------------------------------------------------------------------------------------------------


def test_a_forecast_is_kept_in_figures_and_says_when_it_is_stale(
    index: Mpi, clock: FixedClock, tmp_path: Path
):
    model = a_model()
    said = a_forecast(index, model, tmp_path / "said")

    change = propose_model(index, model, ANNE, forecast=said)

    assert change.forecast is not None and change.staleness is not None
    assert change.forecast["links_lost"] == said["links_lost"] > 0
    assert "most_changed" not in change.forecast  # ids of people
    assert not change.staleness.is_stale
    clock.advance(timedelta(minutes=1))
    for place in range(COUNT // 100):
        receive_record(index, a_source_record(str(place)), FEED)
    assert not waiting_change(index).staleness.is_stale
    receive_record(index, a_source_record("one more"), FEED)
    staleness = approve_model(index, model.revision, BELA).staleness
    assert staleness is not None
    assert (staleness.changed, staleness.because) == (3, "index-changed")
    audited = _rows(index, "select detail from audit_event where kind = 'model-approved'")[0][0]
    assert "index-changed" in (audited if isinstance(audited, str) else json.dumps(audited))


def waiting_change(mpi: Mpi) -> Any:
    return next(one for one in list_models(mpi).changes if one.state in ("proposed", "approved"))


def test_a_forecast_grows_old(index: Mpi, clock: FixedClock, tmp_path: Path):
    model = a_model()
    propose_model(index, model, ANNE, forecast=a_forecast(index, model, tmp_path / "said"))

    clock.advance(timedelta(days=31))

    assert waiting_change(index).staleness.because == "old"


def test_a_forecast_made_under_another_model_is_stale(index: Mpi, clock: FixedClock, tmp_path: Path):
    first, second = a_model(2_000), a_model(4_000)
    said = a_forecast(index, second, tmp_path / "said")
    approved(index, first)
    clock.advance(timedelta(minutes=1))
    activated(index, first.revision, tmp_path / "activate")

    change = propose_model(index, second, ANNE, forecast=said)

    assert change.staleness is not None
    assert change.staleness.because == "model-moved"


def _forecast(**other: Any) -> dict[str, Any]:
    names = (
        "records waiting persons_before persons_after persons_joined persons_parted links_before links_gained links_lost "
        "records_touched"
    ).split()
    subgroup = {
        "group": "age",
        "value": "0-1",
        "records": 1,
        "touched": 0,
        "links_gained": 0,
        "links_lost": 0,
    }
    return {
        "model": {"name": "another", "revision": a_model().revision},
        "made_at": "2026-11-23T08:00:00+00:00",
        **dict.fromkeys(names, 0),
        **{name: {} for name in ("present", "tasks_opened", "tasks_closed")},
        "subgroups": [subgroup],
        **other,
    }


@pytest.mark.parametrize(
    ("forecast", "code"),
    [
        (_forecast(model={"revision": "another"}), "forecast-of-another-model"),
        ({}, "forecast-format"),
        ([], "forecast-format"),
        ("", "forecast-format"),
        (_forecast(model=None), "forecast-format"),
        (_forecast(links_lost=-1), "forecast-format"),
        (_forecast(links_lost=True), "forecast-format"),
        (_forecast(links_lost="1"), "forecast-format"),
        (_forecast(tasks_opened=[1]), "forecast-format"),
        (_forecast(tasks_opened={"x": 1 << 70}), "forecast-format"),
        (_forecast(subgroups={"a": 1}), "forecast-format"),
        (_forecast(subgroups=[{"group": "age"}]), "forecast-format"),
        (_forecast(made_at="yesterday"), "forecast-format"),
        (_forecast(made_at="2026-11-23T08:00:00"), "forecast-format"),
        (_forecast(made_at="2026-12-23T08:00:00+00:00"), "forecast-format"),
    ],
)
def test_a_forecast_that_is_none_is_refused_and_nothing_is_kept(
    db: Database, clock: FixedClock, forecast: Any, code: str
):
    mpi = Mpi(db, clock, ModelInForce(db))

    with pytest.raises(Invalid, match=code):
        propose_model(mpi, a_model(), ANNE, forecast=forecast)

    assert _rows(mpi, "select 1 from match_model") == []


def test_the_one_that_is_right_is_taken(db: Database, clock: FixedClock):
    mpi = Mpi(db, clock, ModelInForce(db))

    assert propose_model(mpi, a_model(), ANNE, forecast=_forecast()).forecast is not None


# Production ----------------------------------------------------------------------------------------------------------


def test_on_a_production_index_an_unapproved_model_asks_and_links_nobody(
    db: Database, clock: FixedClock, tmp_path: Path
):
    world = World(db, clock)
    world.mpi = replace(world.mpi, model=ModelInForce(db, is_production=True))
    records = [
        a_source_record("1", nhs_number=None),
        a_source_record("2", organisation="RV5", nhs_number=None),
        a_source_record("3", organisation="RRU", nhs_number=None),
    ]

    world.send_all(records)

    assert {len(group) for group in world.groups()} == {1}
    assert world.kinds() == ["possible-match"] * 3
    assert match_person(world.mpi, records[0], FEED).candidates[0].grade.value != "certain"
    assert world.mpi.present().model.thresholds.live == NO_LINKS
    assert verify_index(world.mpi).is_sound

    shipped = load_model()
    propose_model(world.mpi, shipped, ANNE)
    with pytest.raises(Conflict, match="forecast-missing"):
        approve_model(world.mpi, shipped.revision, BELA)
    withdraw_model(world.mpi, shipped.revision, ANNE)
    said = a_forecast(world.mpi, shipped, tmp_path / "said")
    assert said["links_gained"] == 3
    propose_model(world.mpi, shipped, ANNE, forecast=said)
    approve_model(world.mpi, shipped.revision, BELA)
    activated(world.mpi, shipped.revision, tmp_path / "activate")

    assert {len(group) for group in world.groups()} == {3}
    assert world.kinds() == []
    again = replace(world.mpi, model=ModelInForce(db, is_production=True))
    receive_record(again, a_source_record("4", organisation="VM9001", nhs_number=None), FEED)
    assert {len(group) for group in world.groups()} == {4}
    assert verify_index(again).is_sound


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(index: Mpi, tmp_path: Path) -> Callable[..., Result]:
    with index.db.write() as tx:
        for name in ("anne", "bela"):
            create_user(tx, index.clock.now(), name, "a rather long pass phrase", "RRV", "R5110")
    composed = SimpleNamespace(mpi=index, settings=Settings(tmp_path / "home", "", ""))
    return lambda *words: CliRunner().invoke(mpi_cli.cli, words, obj=composed)


def written(model: Model, path: Path) -> Path:
    path.write_text(json.dumps(dict(model.document)), encoding="utf-8")
    return path


def test_the_commands_lead_from_a_file_to_a_model_in_force_and_back(
    index: Mpi, run: Callable[..., Result], tmp_path: Path
):
    model = a_model()
    file = written(model, tmp_path / "another.json")
    said = tmp_path / "said.json"
    said.write_text(run("forecast", str(file), "--json").stdout, encoding="utf-8")

    first = run("model", "list").stdout
    proposed = run(
        "model", "propose", str(file), "--forecast", str(said), "--by", "anne", "--comment", "why not"
    )
    refused = run("model", "approve", model.revision, "--by", "anne", "--json")
    early = run("model", "activate", model.revision, "--json")
    approval = run("model", "approve", model.revision, "--by", "bela")
    done = run("model", "activate", model.revision, "--memory", "1GB", "--threads", "1")
    listed = run("model", "list", "--json")
    back = run("model", "roll-back", "--by", "bela", "--json")
    run("model", "approve", json.loads(back.stdout)["revision"], "--by", "anne")
    gone = run("model", "activate", load_model().revision, "--memory", "1GB", "--threads", "1", "--json")

    assert "by settings; nobody has approved it" in first
    assert proposed.exit_code == 0, proposed.output
    lost = json.loads(said.read_text())["links_lost"]
    assert f"0 links gained, {lost} lost" in proposed.stdout
    assert "Comment: why not" in proposed.stdout
    assert f"0 of {COUNT} records and 0 decisions came or changed since" in proposed.stdout
    assert json.loads(refused.stdout)["error"] == "second-person-same"
    assert json.loads(early.stdout)["error"] == "model-not-approved"
    assert "approved by bela" in approval.stdout
    assert f"In force: model another, revision {model.revision}" in done.stdout, done.output
    answer = json.loads(listed.stdout)
    assert answer["in_force"] == model.revision
    assert {one["revision"]: one["state"] for one in answer["models"]} == {
        model.revision: "in-force",
        load_model().revision: "past",
    }
    assert json.loads(gone.stdout)["model"]["revision"] == load_model().revision
    words = run("model", "list").stdout
    assert (
        f"{load_model().revision}  in-force  {load_model().name}  since 2026-11-23 09:00, proposed by bela"
        in words
    )
    assert count_index(index)["waiting"] == 0


def test_a_stale_forecast_is_told_in_words(
    index: Mpi, clock: FixedClock, run: Callable[..., Result], tmp_path: Path
):
    model = a_model()
    propose_model(index, model, ANNE, forecast=a_forecast(index, model, tmp_path / "said"))
    clock.advance(timedelta(days=40))

    assert "STALE FORECAST (it was made more than 30 days ago)" in run("model", "list").stdout
    assert "STALE FORECAST" in run("model", "approve", model.revision, "--by", "bela").stdout


@pytest.mark.parametrize(
    ("content", "code"),
    [("no json", "json-unreadable"), ("[" * 100_000, "json-unreadable"), ("{}", "model-format")],
)
def test_a_file_that_is_no_model_is_refused(
    index: Mpi, run: Callable[..., Result], tmp_path: Path, content: str, code: str
):
    file = tmp_path / "model.json"
    file.write_text(content)

    answer = run("model", "propose", str(file), "--by", "anne", "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, code)
    assert _rows(index, "select 1 from match_model") == []


def test_on_a_production_index_a_relink_takes_no_model_from_a_file(index: Mpi, tmp_path: Path):
    composed = SimpleNamespace(mpi=index, settings=Settings(tmp_path / "home", "", "", is_production=True))
    file = written(a_model(), tmp_path / "another.json")

    answer = CliRunner().invoke(mpi_cli.cli, ["relink", "--model", str(file), "--json"], obj=composed)

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "model-not-approved")


def test_what_is_listed_is_the_same_for_people_and_machines(index: Mpi) -> None:
    model = a_model()
    change = propose_model(index, model, ANNE, comment="fewer doubts")

    told_as: Mapping[str, Any] = change.as_json()

    assert json.loads(json.dumps(told_as)) == told_as
    assert (told_as["change_id"], told_as["revision"]) == (str(change.change_id), model.revision)
