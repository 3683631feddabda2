"""The National Data Opt-out from list to decision, on both engines: what goes, what comes back, and who may be released for research."""

import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import event, select

from app import Composition, consent_command
from consent.facts import Scope
from consent.facts.opt_out_file import REFUSED
from consent.rules import Outcome
from consent.service.agreements import record_agreement
from consent.service.asking import User
from consent.service.directives import NewDirective, record_directive
from consent.service.opt_out import (
    Preparation,
    abandon_list,
    count_records,
    count_waiting,
    list_lists,
    prepare_lists,
    receive_answer,
    record_opt_out_evidence,
)
from consent.store.tables import opt_out_asked
from foundation.audit import audit_event
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Invalid, NotFound
from foundation.settings import Settings
from mpi.records import RecordKey
from tests.service.consent_world import (
    AMBULANCE,
    FEED,
    PRACTICE,
    PRACTICE_CLERK,
    UCLH,
    World,
    a_record,
    a_world,
    the_agreement,
)
from tests.service.purge_world import composed, purged, where_found

HERS, HIS, HIS_OLD = "9990000018", "9990000026", "9990000034"
MAILBOX = "8HQ50OT001"
DAY = timedelta(days=1)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    world = a_world(db, clock)
    wanted = replace(
        the_agreement(clock.now()),
        name="research",
        role_classes=frozenset({"analyst", "paramedic", "system"}),
        purposes=frozenset({"HRESCH"}),
        legal_basis="section-251",
    )
    record_agreement(world.consent, wanted, FEED)
    return world


def prepared(world: World, **changes) -> Preparation:
    return prepare_lists(world.consent, MAILBOX, FEED, **{"takes_reserved": True, **changes})


def him(world: World, local_id: str = "he", **changes) -> int:
    other = {
        "nhs_number": HIS,
        "names": (replace(a_record(UCLH, "x").names[0], given=("Barnaby",), family="Thistlewood"),),
        "birth_date": "1951-11-30",
        "addresses": (),
        "gender": "male",
    }
    return world.receive(a_record(UCLH, local_id, **other | changes))


def research(world: World, person_id: int | None = None) -> tuple[str, str]:
    """Ask for research about a person: the outcome, and which rule of tier 2 decided."""
    decision = world.ask(
        person_id=person_id or world.she,
        purpose="HRESCH",
        sources=(UCLH,),
        labels=("N",),
        categories=("letters",),
        action="export",
        user=User("analyst-1", "R8012", AMBULANCE, assurance=2),
    ).decision
    return decision.outcome.value, next((one.rule_id for one in decision.determining if one.tier == 2), "")


NOT_EVIDENCED = (Outcome.DENY.value, "national-opt-out-not-evidenced")
OPTED_OUT = (Outcome.DENY.value, "national-opt-out")


# -- from list to decision --------------------------------------------------------------------------------------------


def test_who_comes_back_may_be_released_and_who_does_not_is_left_out(world: World) -> None:
    he = him(world)
    assert research(world) == research(world, he) == NOT_EVIDENCED

    (made,) = prepared(world).lists
    assert made.text == f"{HERS},\n{HIS},\n", "each number once, though three of her records bear hers"
    assert research(world) == NOT_EVIDENCED, "asked is not answered"
    closed = receive_answer(world.consent, made.name, f"{HIS},\n", FEED)

    assert (closed.clear, closed.opted_out, closed.state) == (1, 1, "answered")
    assert research(world) == OPTED_OUT
    assert research(world, he)[0] == Outcome.PERMIT.value
    assert world.ask().decision.outcome.is_permit, "it does not touch direct care"


def test_an_answer_grows_old_from_when_the_list_was_prepared(world: World) -> None:
    (made,) = prepared(world).lists
    world.clock.advance(5 * DAY)
    receive_answer(world.consent, made.name, f"{HERS},\n", FEED)

    world.clock.advance(16 * DAY)
    assert research(world)[0] == Outcome.PERMIT.value
    world.clock.advance(timedelta(seconds=1))
    assert research(world) == NOT_EVIDENCED


def test_a_choice_that_was_changed_is_followed_both_ways(world: World) -> None:
    for returned, expected in (
        (HERS, Outcome.PERMIT.value),
        (HIS, Outcome.DENY.value),
        (HERS, Outcome.PERMIT.value),
    ):
        him(world)
        (made,) = prepared(world).lists
        receive_answer(world.consent, made.name, f"{returned},\n", FEED)
        assert research(world)[0] == expected
        world.clock.advance(DAY)


def test_a_corrected_number_must_be_asked_about_anew(world: World) -> None:
    he = him(world)
    (made,) = prepared(world).lists
    receive_answer(world.consent, made.name, f"{HERS},\n{HIS},\n", FEED)
    assert research(world, he)[0] == Outcome.PERMIT.value

    world.clock.advance(DAY)
    him(world, nhs_number=HIS_OLD)

    assert research(world, he) == NOT_EVIDENCED, "what the other number is clear of may be another's choice"


def test_a_number_that_nobody_verified_clears_nobody_and_opts_out_all_the_same(world: World) -> None:
    he = him(world, nhs_number_status="02")
    (made,) = prepared(world).lists
    receive_answer(world.consent, made.name, f"{HERS},\n{HIS},\n", FEED)
    assert research(world, he) == NOT_EVIDENCED

    world.clock.advance(DAY)
    (made,) = prepared(world).lists
    receive_answer(world.consent, made.name, f"{HERS},\n", FEED)
    assert research(world, he) == OPTED_OUT


def test_type_1_of_a_practice_keeps_its_own_records_back(world: World) -> None:
    (made,) = prepared(world).lists
    receive_answer(world.consent, made.name, f"{HERS},\n", FEED)
    record_directive(
        world.consent,
        NewDirective("type-1", Scope("everything"), PRACTICE, person_id=world.she, capacity="practice"),
        PRACTICE_CLERK,
    )

    permitted = world.ask(
        purpose="HRESCH",
        sources=(UCLH, PRACTICE),
        labels=("N",),
        categories=("letters",),
        user=User("analyst-1", "R8012", AMBULANCE, assurance=2),
    ).decision.permitted
    assert {cell.source for cell in permitted} == {UCLH}


def test_one_answer_about_one_person_is_kept_by_its_word(world: World) -> None:
    record_opt_out_evidence(world.consent, world.she, "opted-out", world.clock.now(), FEED)
    assert research(world) == OPTED_OUT

    with pytest.raises(Invalid, match="opt-out-state-unknown"):
        record_opt_out_evidence(world.consent, world.she, "false", world.clock.now(), FEED)
    with pytest.raises(Invalid, match="checked-at-future"):
        record_opt_out_evidence(world.consent, world.she, "clear", world.clock.now() + DAY, FEED)
    with pytest.raises(NotFound):
        record_opt_out_evidence(world.consent, 12345, "clear", world.clock.now(), FEED)
    assert research(world) == OPTED_OUT


# -- answers that are not believed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "answer-empty"),
        (f"{HERS},\n{HIS}", "answer-format"),
        (f"{HERS},\n{HIS_OLD},\n", "answer-not-of-list"),
        (f"{HERS},\n{HERS},\n", "number-repeated"),
    ],
)
def test_an_answer_that_is_refused_changes_nothing(world: World, text: str, code: str) -> None:
    him(world)
    (made,) = prepared(world).lists

    with pytest.raises(Invalid, match=code):
        receive_answer(world.consent, made.name, text, FEED)

    assert research(world) == NOT_EVIDENCED
    assert [one.state for one in list_lists(world.consent)] == ["waiting"]
    receive_answer(world.consent, made.name, f"{HERS},\n{HIS},\n", FEED)
    assert research(world)[0] == Outcome.PERMIT.value


def test_an_empty_answer_that_is_meant_opts_everyone_out(world: World) -> None:
    (made,) = prepared(world).lists

    receive_answer(world.consent, made.name, "", FEED, may_be_empty=True)

    assert research(world) == OPTED_OUT


def test_a_list_that_the_service_refused_is_closed_and_evidence_of_nothing(world: World) -> None:
    (made,) = prepared(world).lists

    with pytest.raises(Invalid, match="list-refused"):
        receive_answer(world.consent, made.name, f"{REFUSED}\n", FEED)

    assert [one.state for one in list_lists(world.consent)] == ["refused"]
    assert research(world) == NOT_EVIDENCED
    with pytest.raises(Conflict, match="opt-out-list-closed"):
        receive_answer(world.consent, made.name, f"{HERS},\n", FEED)


def test_an_answer_is_read_once(world: World) -> None:
    (made,) = prepared(world).lists
    receive_answer(world.consent, made.name, "", FEED, may_be_empty=True)

    with pytest.raises(Conflict, match="opt-out-list-closed"):
        receive_answer(world.consent, made.name, f"{HERS},\n", FEED)
    assert research(world) == OPTED_OUT


# -- lists ------------------------------------------------------------------------------------------------------------


def test_a_second_list_waits_for_the_first_to_be_answered_or_given_up(world: World) -> None:
    (made,) = prepared(world).lists
    with pytest.raises(Conflict, match="opt-out-list-waiting"):
        prepared(world)

    abandon_list(world.consent, made.name, FEED)
    (again,) = prepared(world).lists

    assert again.name != made.name and again.text == made.text
    with pytest.raises(Conflict, match="opt-out-list-closed"):
        receive_answer(world.consent, made.name, f"{HERS},\n", FEED)


def test_many_numbers_are_divided_and_none_is_lost_or_sent_twice(world: World) -> None:
    he = him(world)
    him(world, "other", nhs_number=HIS_OLD, birth_date="1977-05-05", names=a_record(UCLH, "x").names)

    lists = prepared(world, most=1).lists

    assert [one.text for one in lists] == [f"{HERS},\n", f"{HIS},\n", f"{HIS_OLD},\n"]
    assert [one.name[-4:] for one in lists] == ["0001", "0002", "0003"]
    receive_answer(world.consent, lists[1].name, "", FEED, may_be_empty=True)
    receive_answer(world.consent, lists[0].name, f"{HERS},\n", FEED)
    assert (research(world)[0], research(world, he)) == (Outcome.PERMIT.value, OPTED_OUT)


def test_a_number_goes_to_another_list_once_however_many_lists_there_are(world: World) -> None:
    him(world)
    him(world, "other", nhs_number=HIS_OLD, birth_date="1977-05-05", names=a_record(UCLH, "x").names)
    moved: list[int] = []

    def note(_connection, cursor, statement: str, *_) -> None:
        if statement.startswith("UPDATE opt_out_asked"):
            moved.append(cursor.rowcount)

    event.listen(world.db.engine, "after_cursor_execute", note)
    try:
        lists = prepared(world, most=1).lists
    finally:
        event.remove(world.db.engine, "after_cursor_execute", note)

    assert (len(lists), moved) == (3, [1, 1])


def test_a_fresh_answer_is_not_asked_for_again_and_an_old_one_is(world: World) -> None:
    (made,) = prepared(world).lists
    receive_answer(world.consent, made.name, f"{HERS},\n", FEED)
    world.clock.advance(DAY)

    none = prepared(world, older_than=7 * DAY)
    world.clock.advance(7 * DAY)
    some = prepared(world, older_than=7 * DAY)

    assert (none.lists, none.fresh) == ((), 3)
    assert [one.numbers for one in some.lists] == [1]


def test_numbers_of_test_ranges_are_not_sent_unless_they_are_asked_for(world: World) -> None:
    made = prepared(world, takes_reserved=False)

    assert (made.lists, made.reserved) == ((), 3)
    assert prepared(world).lists[0].numbers == 1, "what found nothing leaves no list that waits"


def test_a_mailbox_that_is_none_is_refused_before_anything_is_read(world: World) -> None:
    with pytest.raises(Invalid, match="mailbox-format"):
        prepare_lists(world.consent, "../out", FEED)
    assert list_lists(world.consent) == []


# -- what is left of the numbers --------------------------------------------------------------------------------------


def test_no_number_stays_with_a_list_and_none_is_told(world: World) -> None:
    (made,) = prepared(world).lists
    with world.db.read() as tx:
        assert len(tx.execute(select(opt_out_asked)).all()) == 3

    receive_answer(world.consent, made.name, f"{HERS},\n", FEED)

    with world.db.read() as tx:
        assert tx.execute(select(opt_out_asked)).all() == []
        told = tx.execute(select(audit_event.c.detail).where(audit_event.c.kind.startswith("opt-out")))
        assert HERS not in json.dumps([row[0] for row in told])
    tables = {table for table, _, _ in where_found(world.db, [HERS])}
    assert not {one for one in tables if one.startswith("opt_out")}
    assert HERS not in repr(made)


def test_a_record_that_is_erased_while_a_list_waits_leaves_nothing_with_it(
    db: Database, clock: FixedClock
) -> None:
    world = a_world(db, clock)
    him(world)
    (made,) = prepared(world).lists
    index = composed(db, clock).mpi

    purged(index, RecordKey(UCLH, "main", "he"))

    assert where_found(db, [HIS]) == set()
    closed = receive_answer(world.consent, made.name, f"{HERS},\n{HIS},\n", FEED)
    assert (closed.clear, closed.opted_out, closed.taken_back) == (1, 0, 1)
    assert where_found(db, [HIS]) == set()


# -- the folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(world: World) -> Callable[..., Result]:
    composition = Composition(Settings.from_environment({}), database=world.db, clock=world.clock)
    return lambda *words: CliRunner().invoke(consent_command, ["opt-out", *words], obj=composition)


def arrives(folder: Path, world: World, name: str, text: str, *, seconds_ago: float = 60) -> Path:
    path = folder / "in" / name
    path.write_text(text)
    at = world.clock.now().timestamp() - seconds_ago
    os.utime(path, (at, at))
    return path


def test_the_exchange_through_a_folder(world: World, run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("prepare", str(tmp_path), "--mailbox", MAILBOX, "--test-numbers", "--json")
    told = json.loads(done.stdout)
    (name,) = [one["name"] for one in told["lists"]]
    out = tmp_path / "out" / f"{name}.dat"
    assert (told["workflow"], told["to"]) == ("SPINE_NTT_UPHOLDING", "X26HC065")
    assert out.read_bytes() == f"{HERS},\n".encode() and out.stat().st_mode & 0o077 == 0
    assert [one.name for one in (tmp_path / "out").iterdir()] == [out.name]

    arrives(tmp_path, world, f"{name}-answer.dat", f"{HERS},\n")
    arrives(tmp_path, world, "stray.dat", f"{HERS},\n")
    received = run("receive", str(tmp_path))

    assert received.exit_code == 3
    assert f"{name}-answer.dat  {name}  1 clear, 0 opted out" in received.stdout
    assert "stray.dat  refused: answer-of-unknown-list" in received.stdout
    assert [one.name for one in (tmp_path / "done").iterdir()] == [f"{name}-answer.dat"]
    assert research(world)[0] == Outcome.PERMIT.value
    assert "answered  1 numbers  1 clear, 0 opted out" in run("list").stdout
    assert HERS not in done.stdout + received.stdout + run("list", "--json").stdout


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_whoever_waits_at_a_terminal_sees_how_far_lists_and_answers_are(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    composition = Composition(Settings.from_environment({}), database=world.db, clock=world.clock)
    folder = str(tmp_path)

    def shown(*words: str) -> str:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        consent_command.main(["opt-out", *words], obj=composition, standalone_mode=False)
        return terminal.getvalue()

    assert shown("prepare", folder, "--mailbox", MAILBOX, "--test-numbers", "--json") == ""
    (name,) = [one["name"] for one in json.loads(capsys.readouterr().out)["lists"]]
    abandon_list(world.consent, name, FEED)
    gathering = shown("prepare", folder, "--mailbox", MAILBOX, "--test-numbers")
    (path,) = [one for one in (tmp_path / "out").iterdir() if one.stem != name]
    arrives(tmp_path, world, path.name, f"{HERS},\n")
    answering = shown("receive", folder)

    assert "Gathering" in gathering and "100%" in gathering
    assert "Answering" in answering and "100%" in answering
    assert HERS not in gathering + answering


def test_progress_tells_of_each_record_that_is_looked_at_or_answered_once(world: World) -> None:
    looked_at: list[int] = []
    answered: list[int] = []

    made = prepare_lists(world.consent, MAILBOX, FEED, takes_reserved=True, progress=looked_at.append)
    waiting = count_waiting(world.consent)
    receive_answer(world.consent, made.lists[0].name, f"{HERS},\n", FEED, progress=answered.append)

    assert sum(looked_at) == count_records(world.consent) == 3
    assert sum(answered) == waiting == 3
    assert count_waiting(world.consent) == 0


def test_an_answer_that_may_still_be_arriving_is_left_alone(world: World, run, tmp_path: Path) -> None:
    name = json.loads(run("prepare", str(tmp_path), "--mailbox", MAILBOX, "--test-numbers", "--json").stdout)[
        "lists"
    ][0]["name"]
    path = arrives(tmp_path, world, f"{name}.dat", f"{HERS},\n", seconds_ago=2)

    received = run("receive", str(tmp_path), "--json")

    assert json.loads(received.stdout) == [{"file": path.name, "state": "arriving"}]
    assert path.exists() and research(world) == NOT_EVIDENCED


def test_a_control_file_says_which_list_is_answered(world: World, run, tmp_path: Path) -> None:
    name = json.loads(run("prepare", str(tmp_path), "--mailbox", MAILBOX, "--test-numbers", "--json").stdout)[
        "lists"
    ][0]["name"]
    arrives(tmp_path, world, "20261123-a.dat", f"{HERS},\n")
    arrives(tmp_path, world, "20261123-a.ctl", f"<LocalId>{name}</LocalId>")

    assert run("receive", str(tmp_path)).exit_code == 0
    assert research(world)[0] == Outcome.PERMIT.value


def test_one_answer_is_named_by_hand_and_recorded_by_hand(world: World, run, tmp_path: Path) -> None:
    name = json.loads(run("prepare", str(tmp_path), "--mailbox", MAILBOX, "--test-numbers", "--json").stdout)[
        "lists"
    ][0]["name"]
    arrives(tmp_path, world, "unnamed.dat", "")

    assert run("receive", str(tmp_path), "--list", name).exit_code == 3
    assert run("receive", str(tmp_path), "--list", name, "--all-opted-out").exit_code == 0
    assert research(world) == OPTED_OUT

    world.clock.advance(DAY)
    at = world.clock.now().strftime("%Y-%m-%dT%H:%M:%S")
    assert run("record", str(world.she), "clear", "--checked-at", at).exit_code == 0
    assert research(world)[0] == Outcome.PERMIT.value
    assert run("record", str(world.she), "true", "--checked-at", at).exit_code == 2
