"""What people decided in the review queue, as labels for training: what stands and nothing else."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.ids import new_id
from foundation.settings import Settings
from mpi.cli import cli
from mpi.records import RecordKey
from mpi.service.labels import decided_pairs
from mpi.service.review import Task, decide_task, undo_decision
from mpi.store import graph as graph_store
from mpi.training import train
from tests.core.training_builders import names_and_birth_date, records_of
from tests.service.mpi_world import (
    ANOTHER_PERSON,
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    SECOND,
    World,
    a_doubtful_record,
    a_source_record,
    at,
)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def key(local_id: str, organisation: str = "RRV") -> RecordKey:
    return replace(a_source_record(local_id).key, organisation=organisation)


HERS, DOUBTED = key("1"), key("2", "RV5")


@pytest.fixture
def task(world: World) -> Task:
    """A question about two records."""
    world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(a_doubtful_record("2"))
    (asked,) = world.tasks("possible-match")
    return asked


def decide(world: World, task: Task, verdict: Any, by: Any = READER) -> None:
    decide_task(world.mpi, task.task_id, by, verdict=verdict, reason="documents-seen")


@pytest.mark.parametrize(("verdict", "is_same"), [("same", True), ("different", False)])
def test_a_decision_that_stands_is_a_label(world: World, task: Task, verdict: str, is_same: bool):
    decide(world, task, verdict)

    found = decided_pairs(world.mpi)

    assert (found.same, found.decisions) == ({(HERS, DOUBTED): is_same}, 1)


def test_who_could_not_say_said_nothing(world: World, task: Task):
    decide(world, task, "not-enough")

    assert decided_pairs(world.mpi).same == {}


@pytest.mark.parametrize("verdict", ["same", "different"])
def test_a_decision_that_was_undone_is_no_label(world: World, task: Task, verdict: str):
    decide(world, task, verdict)
    undo_decision(world.mpi, task.task_id, READER)

    assert (decided_pairs(world.mpi).same, decided_pairs(world.mpi).decisions) == ({}, 0)


def test_the_last_word_on_a_pair_counts(world: World, task: Task):
    decide(world, task, "same")
    undo_decision(world.mpi, task.task_id, READER)
    (again,) = world.tasks("possible-match")

    decide(world, again, "different")

    assert decided_pairs(world.mpi).same == {(HERS, DOUBTED): False}


def test_of_two_decisions_that_stand_the_later_counts(world: World, task: Task):
    decide(world, task, "same")
    left, right = task.sides
    with world.mpi.db.write() as tx:
        graph_store.insert_decision(
            tx,
            {
                "decision_id": new_id(),
                "task_id": None,
                "kind": "same-source-duplicate",
                "verdict": "different",
                "state": "standing",
                "reason": "twins",
                "comment": None,
                "decided_by": "second",
                "decided_at": world.clock.now(),
                "evidence": [],
            },
            (right, left),
        )

    found = decided_pairs(world.mpi)

    assert (found.same, found.decisions) == ({(HERS, DOUBTED): False}, 1)


def test_a_proposal_is_no_label_until_a_second_reader_agrees(world: World):
    world.send(a_source_record("1", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER), at(1))
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"), at(2))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"), at(3))
    asked = world.tasks("split-by-new-evidence")[0]

    decide(world, asked, "same")
    proposed = decided_pairs(world.mpi).same
    decide(world, asked, "same", SECOND)

    assert proposed == {}
    assert decided_pairs(world.mpi).same == {(HERS, DOUBTED): True}


def test_of_records_inside_one_side_nothing_is_said(world: World):
    world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(a_source_record("1b", organisation="RRU", nhs_number=ONE_NUMBER))
    world.send(a_doubtful_record("2"))
    (asked,) = world.tasks("possible-match")

    decide(world, asked, "different")

    assert decided_pairs(world.mpi).same == {
        (HERS, DOUBTED): False,
        (key("1b", "RRU"), DOUBTED): False,
    }


def test_an_answer_about_a_held_update_is_of_versions_and_no_label(world: World):
    world.send(a_source_record("1"), at(1))
    world.send(replace(ANOTHER_PERSON, updated_at=None), at(2))
    (asked,) = world.tasks("overlay")

    decide(world, asked, "same")

    assert world.rows("select count(*) from link_decision where state = 'standing'") == [(1,)]
    assert decided_pairs(world.mpi).same == {}


def test_records_that_are_gone_have_no_label(world: World, task: Task):
    decide(world, task, "different")
    with world.mpi.db.write() as tx:
        tx.execute(text("update source_record set state = 'erased' where local_id = '2'"))

    assert (decided_pairs(world.mpi).same, decided_pairs(world.mpi).decisions) == ({}, 0)


# Training ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned() -> Iterator[Callable[..., Any]]:
    records, truth = records_of(names_and_birth_date(250, 7))

    def learn(**how: Any) -> Any:
        return train(
            records, name="small", seed=3, population=None, cross_check=False, chance_pairs=20_000, **how
        )

    learn.truth = truth  # type: ignore[attr-defined]
    yield learn


def some_pairs(
    truth: dict[RecordKey, str], *, is_same: bool, count: int
) -> list[tuple[RecordKey, RecordKey]]:
    keys = sorted(truth, key=lambda one: (one.organisation, one.local_id))
    found = [
        (one, other)
        for place, one in enumerate(keys)
        for other in keys[place + 1 :]
        if (truth[one] == truth[other]) is is_same
    ]
    return found[:count]


def test_what_people_decided_is_not_guessed_at(learned: Any):
    truth = learned.truth
    same = some_pairs(truth, is_same=True, count=60)

    plain, taught = learned(), learned(decided=dict.fromkeys(same, True))
    turned = learned(decided={(other, one): True for one, other in same})

    assert plain.report["labelled_pairs"] == 0 and "reviewed_pairs" not in plain.report
    assert 50 < taught.report["reviewed_pairs"] == taught.report["labelled_pairs"] <= 60
    assert taught.model.revision != plain.model.revision
    assert turned.document == taught.document
    # What is called different weighs against one person: the same pairs, told the other way.
    wrong = learned(decided=dict.fromkeys(same, False))
    assert wrong.report["pairs_of"]["person"] < taught.report["pairs_of"]["person"]


def test_labels_of_a_file_count_before_the_queue(learned: Any):
    truth = learned.truth
    (pair,) = some_pairs(truth, is_same=True, count=1)
    labels = {number: truth[number] for number in pair}

    told = learned(labels=labels)
    both = learned(labels=labels, decided={pair: False})

    assert told.report["labelled_pairs"] == both.report["labelled_pairs"] == 1
    assert both.report["reviewed_pairs"] == 0
    assert both.document["fields"] == told.document["fields"]


def test_pairs_of_records_that_are_not_there_are_passed_over(learned: Any):
    stranger = RecordKey("ORG0", "register", "nowhere")
    someone = next(iter(learned.truth))

    assert learned(decided={(stranger, someone): True}).report["reviewed_pairs"] == 0
    assert learned(decided={}).report["reviewed_pairs"] == 0


def test_the_command_takes_the_queues_answers(world: World, task: Task, tmp_path: Path):
    for place in range(30):
        world.send(
            a_source_record(
                f"x{place}",
                given=f"Na{'bcdfghklmn'[place % 10]}a",
                family=f"Ro{'bcdfghklmn'[place // 3]}o",
                born_on=f"19{50 + place}-03-0{1 + place % 9}",
            )
        )
    decide(world, task, "different")
    composed = SimpleNamespace(mpi=world.mpi, settings=Settings(tmp_path, "", ""))

    def run(*words: str) -> Any:
        out = tmp_path / f"{len(words)}.json"
        told = ("train", "--out", str(out), "--random-pairs", "1000", *words)
        return CliRunner().invoke(cli, told, obj=composed)

    spoken, answer = run("--labels-from-review"), run("--labels-from-review", "--json")

    assert spoken.exit_code == answer.exit_code == 0, spoken.output + answer.output
    told = json.loads(answer.stdout)
    assert (told["review_decisions"], told["review_pairs"], told["reviewed_pairs"]) == (1, 1, 1)
    assert "1 decisions of the review queue said something of 1 pairs; 1 of them" in spoken.stdout
    assert "| of these, decided in the review queue | 1 |" in (tmp_path / "1.md").read_text()
