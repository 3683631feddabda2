"""Objections in bulk: previewed, checked whole before the first is written, each row whole, and known when the file comes again."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from app import Composition, consent_command
from consent.facts import Scope
from consent.service import directives as directive_service
from consent.service.directive_file import load_directives, read_directive_rows
from consent.service.directives import NewDirective, record_directive
from consent.store.tables import directive, directive_reference
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid, Unavailable
from foundation.settings import Settings
from tests.service.consent_world import FEED, PRACTICE, PRACTICE_CLERK, UCLH, World, a_record, a_world

HEADER = "reference,received_by,kind,scope,scope_code,emergency,person_id,given,family,birth_date,nhs_number"


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return a_world(db, clock)


@pytest.fixture
def run(world: World, tmp_path: Path) -> Callable[..., Result]:
    composition = Composition(Settings.from_environment({}), database=world.db, clock=world.clock)

    def run(rows: list[str], *words: str, header: str = HEADER) -> Result:
        path = tmp_path / "objections.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return CliRunner().invoke(consent_command, ["objections", "load", str(path), *words], obj=composition)

    return run


def hers(world: World, reference: str = "F-1", **changes: str) -> str:
    cells = {"kind": "objection", "scope": "everything", "code": "", "emergency": "", "received_by": PRACTICE}
    c = cells | changes
    return f"{reference},{c['received_by']},{c['kind']},{c['scope']},{c['code']},{c['emergency']},{world.she},,,,"


SOMEONE = f"F-9,{PRACTICE},objection,everything,,,,Odalys,Penhallow,1988-07-30,"
HER_FORM = f"F-8,{PRACTICE},objection,everything,,,,Rosalind,Applewhite,1984-03-07,9990000018"


def kept(world: World) -> int:
    with world.db.read() as tx:
        count = tx.execute(select(func.count()).select_from(directive)).scalar_one()
        assert count == tx.execute(select(func.count()).select_from(directive_reference)).scalar_one()
        return int(count)


def test_a_preview_says_what_would_happen_and_writes_nothing(world: World, run) -> None:
    done = run([hers(world), HER_FORM, SOMEONE], "--dry-run", "--json")

    told = json.loads(done.stdout)
    assert [(one["row"], one["state"]) for one in told["rows"]] == [(2, "binds"), (3, "binds"), (4, "waits")]
    assert told["rows"][1]["person_id"] == str(world.she)
    assert (told["written"], kept(world)) == (False, 0)
    assert world.ask().decision.outcome.is_permit


def test_what_was_foreseen_happens(world: World, run) -> None:
    rows = [hers(world), HER_FORM, SOMEONE]
    foreseen = json.loads(run(rows, "--dry-run", "--json").stdout)["rows"]

    done = run(rows, "--json")

    assert done.exit_code == 0 and json.loads(done.stdout)["counts"] == {"binds": 3}, (
        "a form links, and then binds its own"
    )
    assert foreseen[0]["state"] == "binds"
    assert kept(world) == 3
    assert not world.ask().decision.outcome.is_permit


def test_a_late_objection_that_a_permission_has_lifted_is_foreseen_and_told_as_that(
    world: World, run
) -> None:
    now = world.consent.clock.now()
    made = NewDirective("permission", Scope("everything"), PRACTICE, person_id=world.she)
    record_directive(world.consent, made, PRACTICE_CLERK)
    late = f"{hers(world)},{(now - timedelta(days=3)).isoformat()}"
    header = f"{HEADER},effective_at"

    foreseen = json.loads(run([late], "--dry-run", "--json", header=header).stdout)
    told = json.loads(run([late], "--json", header=header).stdout)

    assert [one["state"] for one in foreseen["rows"]] == ["lifted"]
    assert told["counts"] == {"lifted": 1}
    assert world.ask().decision.outcome.is_permit


def test_the_same_file_again_changes_nothing(world: World, run) -> None:
    rows = [hers(world), HER_FORM, SOMEONE]
    run(rows)
    epoch = world.ask().decision.epoch

    again = run(rows, "--json")

    assert json.loads(again.stdout)["counts"] == {"known": 3}
    assert (kept(world), world.ask().decision.epoch) == (3, epoch)


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("another scope", f"F-8,{PRACTICE},objection,category,letters,,,Rosalind,Applewhite,1984-03-07,9990000018"),
        ("another person", f"F-8,{PRACTICE},objection,everything,,,,Rosalind,Applewhite,1984-03-08,9990000018"),
        ("final now", f"F-8,{PRACTICE},objection,everything,,binds,,Rosalind,Applewhite,1984-03-07,9990000018"),
    ],
)  # fmt: skip
def test_another_directive_under_a_known_reference_is_rejected(
    world: World, run, change: str, row: str
) -> None:
    run([HER_FORM])

    done = run([row], "--json")

    assert done.exit_code == 3, change
    assert json.loads(done.stdout)["rows"] == [
        {"row": 2, "state": "rejected", "field": "reference", "code": "reference-differs"}
    ]
    assert kept(world) == 1


WRONG = [
    ("kind", "directive-kind-unknown", {"kind": "permission"}),
    ("scope", "scope-unknown", {"scope": "category", "code": "everything"}),
    ("emergency", "emergency-unknown", {"emergency": "yes"}),
    ("received_by", "organisation-unknown", {"received_by": "ZZZ99"}),
    ("received_by", "not-a-practice", {"kind": "type-1", "received_by": UCLH}),
    ("scope", "scope-not-a-source", {"kind": "dissent"}),
]


@pytest.mark.parametrize(("field", "code", "change"), WRONG)
def test_one_wrong_row_keeps_all_back_and_is_told_by_field(world: World, run, field, code, change) -> None:
    done = run([SOMEONE, hers(world, **change)], "--json")

    told = json.loads(done.stdout)
    assert told["rows"] == [{"row": 3, "state": "rejected", "field": field, "code": code}]
    assert (done.exit_code, told["written"], kept(world)) == (3, False, 0)


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        (f",{PRACTICE},,,,,,Odalys,Penhallow,1988-07-30,", "reference", "field-missing"),
        (f"a b,{PRACTICE},,,,,,Odalys,Penhallow,1988-07-30,", "reference", "reference-format"),
        (f"N-9990000018,{PRACTICE},,,,,,Odalys,Penhallow,1988-07-30,", "reference", "reference-identifies"),
        (f"F-1,{PRACTICE},,,,,,Odalys,Penhallow,1988-07-30,9990000019", "nhs_number", "nhs-number-check"),
        (f"F-1,{PRACTICE},,,,,,Odalys,,,", "form", "form-too-thin"),
        (f"F-1,{PRACTICE},,,,,,,,,", "person_id", "person-or-form-missing"),
        (f"F-1,{PRACTICE},,,,,12345,,,,", "person_id", "person-unknown"),
        (f"F-1,{PRACTICE},,,,,12345,Odalys,,,", "person_id", "person-and-form"),
        (f"F-1,{PRACTICE},,", "row", "column-count"),
    ],
)
def test_a_fault_names_row_and_field_and_never_the_value(world: World, run, row, field, code) -> None:
    done = run([row])

    assert f"row 2  rejected  {field}: {code}" in done.stdout
    for value in ("Odalys", "Penhallow", "1988", "9990000018", "9990000019"):
        assert value not in done.output
    assert kept(world) == 0


def test_rows_that_are_sound_are_written_when_the_others_may_be_skipped(world: World, run) -> None:
    done = run([SOMEONE, hers(world, emergency="no"), hers(world, "F-9")], "--skip-rejected", "--json")

    told = json.loads(done.stdout)
    assert [one["code"] for one in told["rows"]] == ["emergency-unknown", "reference-repeated"]
    assert (done.exit_code, kept(world)) == (3, 1)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("received_by,kind", "column-missing"),
        ("reference,received_by,kind,kind", "column-repeated"),
        ("reference,received_by,Rosalind Applewhite", "column-unknown"),
        ("reference,received_by,local_id", "column-unknown"),
    ],
)
def test_a_header_that_is_not_ours_is_refused_and_not_repeated(world: World, run, header, code) -> None:
    done = run([], header=header)

    assert done.exit_code == 1 and code in done.output
    assert "Rosalind" not in done.output


def test_a_run_that_ends_in_the_middle_leaves_whole_rows_and_the_next_one_does_the_others(
    world: World, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [hers(world), SOMEONE, hers(world, "F-2", scope="category", code="letters")]
    leave, calls = directive_service._leave, []

    def fails_at_the_second(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise Unavailable("audit-unavailable")
        return leave(*args, **kwargs)

    monkeypatch.setattr(directive_service, "_leave", fails_at_the_second)
    ended = run(rows)
    assert ended.exit_code == 1 and "audit-unavailable" in ended.output
    assert kept(world) == 1, "no audit, no directive, and nothing half of one"

    monkeypatch.undo()
    assert json.loads(run(rows, "--json").stdout)["counts"] == {"binds": 2, "known": 1}
    assert kept(world) == 3


def test_a_type_1_of_a_practice_and_an_objection_that_is_final_are_what_they_say(world: World, run) -> None:
    run([hers(world, "T-1", kind="type-1"), hers(world, "F-2", emergency="binds")])

    with world.db.read() as tx:
        told = tx.execute(
            select(directive.c.kind, directive.c.may_override).order_by(directive.c.directive_id)
        )
        assert [tuple(row) for row in told] == [("type-1", True), ("objection", False)]


def test_a_person_who_comes_after_the_form_is_bound(world: World, run) -> None:
    run([SOMEONE])
    names = (a_record(UCLH, "x").names[0].__class__("usual", None, ("Odalys",), "Penhallow"),)

    she = world.receive(
        a_record(
            UCLH,
            "new",
            nhs_number=None,
            nhs_number_status=None,
            names=names,
            birth_date="1988-07-30",
            addresses=(),
        )
    )

    assert kept(world) == 1 and she


def test_too_many_rows_are_refused_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent.service.directive_file.MOST_ROWS", 1)
    path = tmp_path / "many.csv"
    path.write_text(f"{HEADER}\n{hers(world)}\n{SOMEONE}\n")

    with pytest.raises(Invalid, match="too-many-rows"):
        load_directives(world.consent, read_directive_rows(path, world.consent), FEED)
    assert kept(world) == 0
