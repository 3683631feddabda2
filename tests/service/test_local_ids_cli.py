"""``mpi local-id``: both local ids on standard input, what came of it on one line, and a status of its own for what waits."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from app import mpi_command
from foundation.clock import FixedClock
from foundation.database import Database
from mpi.records import RecordKey
from tests.service.mpi_world import ANOTHER_PERSON, World, a_source_record
from tests.service.purge_world import composed

Run = Callable[..., Result]


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    made = World(db, clock)
    made.send(a_source_record("PAS-0001"))
    made.send(a_source_record("PAS-0002"))
    made.send(replace(ANOTHER_PERSON, key=RecordKey("RRV", "pas", "PAS-0003")))
    return made


@pytest.fixture
def run(world: World, clock: FixedClock) -> Run:
    composition = composed(world.mpi.db, clock)

    def invoke(*words: str, ids: tuple[str, ...] = ()) -> Result:
        given = "".join(f"{one}\n" for one in ids)
        return CliRunner().invoke(mpi_command, ["local-id", *words], obj=composition, input=given)

    return invoke


def test_a_merge_is_done_shown_and_undone(run: Run):
    done = run("merge", "RRV", "pas", ids=("PAS-0001", "PAS-0002"))

    change_id = done.output.split(":")[0]
    shown = json.loads(run("show", change_id, "--json").output)
    undone = run("undo", change_id)
    again = run("undo", change_id)

    assert (done.exit_code, done.output.rstrip().endswith(": done")) == (0, True)
    assert "PAS-" not in done.output
    assert (shown["act"], shown["state"]) == ("merge", "done")
    assert (undone.exit_code, undone.output.rstrip().endswith(": undone")) == (0, True)
    assert (again.exit_code, again.output.startswith("mpi: change-over")) == (1, True)


def test_what_reads_like_two_people_waits_with_a_status_of_its_own(run: Run, world: World):
    held = run("merge", "RRV", "pas", ids=("PAS-0001", "PAS-0003"))

    (task,) = world.tasks("asked-by-hand")
    assert held.exit_code == 3
    assert f"Two readers answer task {task.task_id}" in held.output
    assert "held" in run("list", "--state", "held").output
    assert run("list", "--state", "rejected").output == "No source merged or renumbered anything.\n"


def test_a_record_is_renumbered_and_listed(run: Run):
    done = json.loads(run("renumber", "RRV", "pas", "--json", ids=("PAS-0001", "PAS-0009")).output)

    listed = json.loads(run("list", "--json").output)

    assert (done["act"], done["state"], done["into_record_id"]) == ("renumber", "done", None)
    assert listed == {"changes": [done]}


def test_refusals_are_one_line(run: Run):
    taken = run("renumber", "RRV", "pas", ids=("PAS-0001", "PAS-0002"))
    unknown = run("merge", "RRV", "pas", ids=("PAS-0001", "PAS-0404"))

    assert (taken.exit_code, taken.output.startswith("mpi: local-id-taken")) == (1, True)
    assert (unknown.exit_code, unknown.output.startswith("mpi: record-unknown")) == (1, True)
    assert "PAS-0404" not in unknown.output
