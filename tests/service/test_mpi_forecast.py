"""What another model would change is said beforehand, is what then happens, and changes nothing by being asked."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

import mpi.cli as mpi_cli
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.cli import load_organisations
from mpi.matching import build_model, load_model
from mpi.records import SourceRecord
from mpi.service.census import count_index
from mpi.service.context import Mpi
from mpi.service.forecast import Forecast, forecast_model
from mpi.service.receive import receive_record
from mpi.service.review import decide_task, list_tasks
from tests.service.bulk_world import conflicted_sample
from tests.service.mpi_world import FEED, READER, a_source_record, at
from tests.service.snapshots import filled
from tests.service.switch_world import everything, records_of, switched

COUNT = 200
Persons = Mapping[int, int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflicted_sample(tmp_path_factory.mktemp("forecast"), COUNT, 5).parent


@pytest.fixture(scope="module")
def sample(folder: Path) -> list[SourceRecord]:
    return records_of(folder / "conflicted.csv", FixedClock(at(72)).now().date())


@pytest.fixture
def index(db: Database, clock: FixedClock, folder: Path, sample: list[SourceRecord], tmp_path: Path) -> Mpi:
    """An index with some questions answered, *same* and *different* in turn."""
    mpi = Mpi(db, clock, load_model())

    def fill() -> None:
        load_organisations(db, folder / "organisations.csv")
        switched(mpi, tmp_path / "first", [sample])
        asked = [task for task in list_tasks(mpi, READER, limit=500).tasks if task.kind == "possible-match"]
        for place, task in enumerate(asked[:6]):
            verdict = ("same", "different")[place % 2]
            decide_task(mpi, task.task_id, READER, verdict=verdict, reason="documents-seen")

    filled(db, "the forecast's index", fill)
    return mpi


def a_model(live: int) -> Any:
    document = dict(load_model().document)
    limits = {**document["thresholds"], "live": document["thresholds"]["live"] + live}
    return build_model({**document, "name": "another", "thresholds": limits})


def forecast(mpi: Mpi, folder: Path, **how: Any) -> Forecast:
    folder.mkdir()
    return forecast_model(mpi, folder, memory=1 << 30, threads=1, **how)


def persons_of(mpi: Mpi) -> Persons:
    with mpi.db.read() as tx:
        rows = tx.execute(text("select record_id, person_id from source_record where person_id is not null"))
        return {row[0]: row[1] for row in rows}


def links(persons: Persons) -> set[tuple[int, int]]:
    groups: dict[int, list[int]] = {}
    for record, person in sorted(persons.items()):
        groups.setdefault(person, []).append(record)
    return {pair for group in groups.values() for pair in combinations(group, 2)}


def open_tasks(mpi: Mpi) -> Counter[str]:
    return Counter(task.kind for task in list_tasks(mpi, READER, limit=500).tasks)


@pytest.mark.parametrize(("now", "then"), [(0, 6_000), (6_000, 0)], ids=["stricter", "laxer"])
def test_what_is_said_is_what_linking_again_then_does(index: Mpi, tmp_path: Path, now: int, then: int):
    index, other = replace(index, model=a_model(now)), replace(index, model=a_model(then))
    switched(index, tmp_path / "now")
    before, stood, asked = persons_of(index), everything(index), open_tasks(index)

    said = forecast(other, tmp_path / "said")

    assert everything(index) == stood  # nothing is changed by asking, to the last row
    done = switched(other, tmp_path / "done")
    after = persons_of(index)
    gained, lost = links(after) - links(before), links(before) - links(after)
    assert (said.links_gained, said.links_lost) == (len(gained), len(lost))
    assert gained if then < now else lost
    assert said.links_before == len(links(before))
    assert (said.persons_before, said.persons_after) == (len({*before.values()}), len({*after.values()}))
    assert said.present == {index.model.revision: COUNT}
    assert said.revision == other.model.revision
    assert (said.records, said.waiting) == (COUNT, 0)
    assert sum(said.tasks_opened.values()) == done.tasks_opened
    assert sum(said.tasks_closed.values()) == done.tasks_closed
    assert open_tasks(index) == asked + Counter(said.tasks_opened) - Counter(said.tasks_closed)
    changed = {record for pair in gained | lost for record in pair}
    people = {number for one in said.most_changed for number in one.before}
    assert {str(before[record]) for record in changed} <= people
    assert {number for one in said.most_changed for number in one.after} >= {
        str(after[one]) for one in changed
    }
    assert said.persons_parted == sum(
        len({after[record] for record in before if before[record] == person}) > 1
        for person in {*before.values()}
    )
    assert said.persons_joined == sum(
        len({before[record] for record in after if after[record] == person}) > 1
        for person in {*after.values()}
    )


def test_subgroups_add_up_to_the_whole(index: Mpi, tmp_path: Path):
    said = forecast(replace(index, model=a_model(6_000)), tmp_path / "said")

    groups = {one.group for one in said.subgroups}
    assert groups == {"organisation", "age", "sex", "NHS number", "address"}
    for group in groups:
        of_it = [one for one in said.subgroups if one.group == group]
        assert sum(one.records for one in of_it) == said.records
        assert sum(one.touched for one in of_it) == said.records_touched
        assert sum(one.links_lost for one in of_it) == 2 * said.links_lost > 0
        assert sum(one.links_gained for one in of_it) == 2 * said.links_gained
        assert len({one.value for one in of_it}) == len(of_it)


def test_the_most_changed_come_first_and_no_more_than_asked_for(index: Mpi, tmp_path: Path):
    other = replace(index, model=a_model(6_000))
    whole = forecast(other, tmp_path / "whole").most_changed

    assert len(whole) > 1
    changed = [one.links_gained + one.links_lost for one in whole]
    assert changed == sorted(changed, reverse=True)
    assert min(changed) > 0
    assert forecast(other, tmp_path / "one", most=1).most_changed == whole[:1]


def test_under_the_model_of_the_index_nothing_would_change(index: Mpi, tmp_path: Path):
    said = forecast(index, tmp_path / "said")

    assert (said.links_gained, said.links_lost, said.records_touched) == (0, 0, 0)
    assert (said.persons_joined, said.persons_parted, said.most_changed) == (0, 0, ())
    assert (said.tasks_opened, said.tasks_closed) == ({}, {})
    assert said.persons_before == said.persons_after == count_index(index)["persons"]


def test_a_record_that_waits_is_no_change_of_anybodys(index: Mpi, tmp_path: Path):
    receive_record(index, a_source_record("waits", nhs_number=None), FEED, link=False)

    said = forecast(index, tmp_path / "said")

    assert (said.records, said.waiting) == (COUNT, 1)
    assert (said.links_gained, said.links_lost) == (0, 0)


def test_an_empty_index_has_nothing_to_change(db: Database, clock: FixedClock, tmp_path: Path):
    said = forecast(Mpi(db, clock, load_model()), tmp_path / "said")

    assert (said.records, said.persons_before, said.persons_after, said.subgroups) == (0, 0, 0, ())


def test_the_command_says_it_in_words_and_as_json(index: Mpi, tmp_path: Path):
    other = a_model(6_000)
    file = tmp_path / "another.json"
    file.write_text(json.dumps(dict(other.document)), encoding="utf-8")
    composition = SimpleNamespace(mpi=index, settings=Settings(tmp_path / "home", "", ""))

    spoken = CliRunner().invoke(mpi_cli.cli, ["forecast", str(file), "--most", "1"], obj=composition)
    told = CliRunner().invoke(mpi_cli.cli, ["forecast", str(file), "--json"], obj=composition)

    assert spoken.exit_code == told.exit_code == 0, spoken.output + told.output
    answer = json.loads(told.stdout)
    assert answer["model"] == {"name": "another", "revision": other.revision}
    assert answer["links_lost"] > 0
    lines = spoken.stdout.splitlines()
    assert (
        f"{answer['links_before']} now, {answer['links_gained']} gained, {answer['links_lost']} lost"
        in lines[3]
    )
    first = answer["most_changed"][0]
    assert lines[-1].startswith(f"{' '.join(first['before'])} -> {' '.join(first['after'])}: ")
    assert lines[-2] == "Most changed people, as they stand -> as they would"
    assert not (tmp_path / "home" / "bulk").exists()  # it held demographics
