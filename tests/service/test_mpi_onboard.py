"""What a new organisation's file would come to: nothing is stored, and the load that follows comes to what was said."""

import json
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from foundation.clock import FixedClock
from foundation.database import Database, metadata
from foundation.settings import Settings
from mpi.cli import cli
from mpi.matching.questions import Kind
from mpi.records import SourceRecord
from mpi.service.context import Mpi
from mpi.service.onboard import MINUTES
from tests.service.mpi_world import ONE_NUMBER, OTHER_NUMBER, World, a_doubtful_record, a_source_record, at

HERS = a_source_record("1", nhs_number=ONE_NUMBER)
HIS = {
    "given": "Tunde",
    "family": "Bello",
    "born_on": "1951-01-01",
    "gender": "male",
    "line": "9 Mile End Road",
    "postcode": "E1 4NS",
}
OTHERS = {
    "given": "Wilma",
    "family": "Quist",
    "born_on": "1971-07-07",
    "line": "1 Larkspur Mews",
    "postcode": "NW5 2QT",
}


@dataclass(frozen=True)
class Composed:
    settings: Settings
    mpi: Mpi


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def a_command(world: World, tmp_path: Path) -> Callable[..., Result]:
    composed = Composed(Settings.from_environment({"MPI_HOME": str(tmp_path / "home")}), world.mpi)
    return lambda *words: CliRunner().invoke(cli, [str(word) for word in words], obj=composed)


def a_file(folder: Path, *records: SourceRecord | bytes, name: str = "load.ndjson") -> Path:
    path = folder / name
    parts = [one if isinstance(one, bytes) else json.dumps(one.to_payload()).encode() for one in records]
    path.write_bytes(b"\n".join(parts) + b"\n")
    return path


def theirs(local_id: str, **more: Any) -> SourceRecord:
    return replace(a_source_record(local_id, organisation="RV5", **more), updated_at=at(0))


def their_file(folder: Path) -> Path:
    """One who is known, in two records; one who may be; one who is new, in two versions; one with somebody's number; and faults."""
    return a_file(
        folder,
        theirs("1", nhs_number=ONE_NUMBER),
        theirs("2", nhs_number=ONE_NUMBER),
        replace(a_doubtful_record("3"), updated_at=at(0)),
        theirs("4", **OTHERS),
        replace(theirs("4", **OTHERS), updated_at=at(1)),
        theirs(
            "5",
            nhs_number=OTHER_NUMBER,
            given="Zelda",
            family="Marsh",
            born_on="1930-05-05",
            line="2 Elm Row",
            postcode="N1 9GU",
        ),
        theirs("6", nhs_number="9990000001", born_on="1990-02-31"),
        replace(theirs("7"), key=replace(theirs("7").key, organisation="RRU")),
        b"{",
    )


def counts(world: World) -> dict[str, int]:
    with world.mpi.db.read() as tx:
        return {
            name: tx.scalar(select(func.count()).select_from(one)) or 0
            for name, one in metadata.tables.items()
        }


@pytest.fixture
def known(world: World) -> World:
    world.send_all([HERS, a_source_record("8", nhs_number=OTHER_NUMBER, **HIS)])
    return world


def test_nothing_is_stored_and_the_load_comes_to_what_was_said(
    known: World, a_command: Callable[..., Result], tmp_path: Path
):
    path, before = their_file(tmp_path), counts(known)
    standing = known.standing()

    answer = a_command("onboard", path, "--organisation", "RV5", "--json")
    told = json.loads(answer.stdout)
    after = counts(known)
    a_command("load", path)

    assert answer.exit_code == 0, answer.output
    assert (after, "source_record" in after) == (before, True)
    assert not list((tmp_path / "home" / "bulk").glob("*"))
    opened = Counter(known.kinds())
    # A load goes on with further versions and other organisations' rows, which open no task here.
    assert {one["kind"]: one["tasks"] for one in told["tasks"]} == opened
    assert sum(opened.values()) >= 3
    persons = known.rows("select count(distinct person_id) from source_record where organisation = 'RV5'")[0][
        0
    ]
    assert told["linked_persons"] + told["new_persons"] == persons
    linked = known.rows(
        "select count(*) from source_record where organisation = 'RV5' and person_id in"
        " (select person_id from source_record where organisation = 'RRV')"
    )
    assert told["linked"] == linked[0][0] == 2
    assert len(standing[0]) == before["source_record"]


def test_what_is_counted_of_a_file(known: World, a_command: Callable[..., Result], tmp_path: Path):
    told = json.loads(a_command("onboard", their_file(tmp_path), "--organisation", "RV5", "--json").stdout)

    names = (
        "rows",
        "rejected",
        "records",
        "later",
        "apart",
        "weighed",
        "duplicates",
        "duplicated_persons",
        "index_records",
    )
    assert [told[name] for name in names] == [9, 3, 6, 1, 0, 5, 1, 1, 2]
    assert (told["joined"], told["parted"], told["is_in_directory"]) == (0, 0, True)
    assert told["items"]["nhs_number"] == 3
    assert told["items"]["family_name"] == 6
    assert {(one["field"], one["code"], one["count"]) for one in told["faults"]} == {
        ("nhs_number", "nhs-number-check", 1),
        ("birth_date", "date-impossible", 1),
        ("organisation", "organisation-other", 1),
        (None, "row-unreadable", 1),
    }


def test_what_the_index_has_already_is_a_further_version(
    known: World, a_command: Callable[..., Result], tmp_path: Path
):
    path = their_file(tmp_path)
    a_command("load", path)
    before = counts(known)

    told = json.loads(a_command("onboard", path, "--organisation", "RV5", "--json").stdout)

    assert [told[name] for name in ("records", "later", "weighed", "linked", "tasks")] == [6, 6, 0, 0, []]
    assert counts(known) == before


def test_hours_are_minutes_a_type_of_which_one_may_say_others(
    known: World, a_command: Callable[..., Result], tmp_path: Path
):
    words = ("onboard", their_file(tmp_path), "--organisation", "RV5", "--json")

    usual = json.loads(a_command(*words).stdout)
    slow = json.loads(
        a_command(*words, "--minutes", "number-conflict=90", "--minutes", "possible-match=0").stdout
    )

    assert usual["hours"] == round(sum(one["tasks"] * MINUTES[one["kind"]] for one in usual["tasks"]) / 60, 1)
    by_kind = {one["kind"]: one for one in slow["tasks"]}
    assert by_kind["number-conflict"]["hours"] == 1.5 * by_kind["number-conflict"]["tasks"]
    assert by_kind["possible-match"]["hours"] == 0
    assert set(MINUTES) == {kind.value for kind in Kind}


def test_an_index_that_is_empty_and_an_organisation_that_nobody_knows(
    world: World, a_command: Callable[..., Result], tmp_path: Path
):
    mine = [
        replace(one, key=replace(one.key, organisation="NEW01"))
        for one in (theirs("1"), theirs("2"), theirs("3", **OTHERS))
    ]
    path, before = a_file(tmp_path, *mine), counts(world)

    told = json.loads(a_command("onboard", path, "--organisation", "NEW01", "--json").stdout)

    assert (told["weighed"], told["duplicates"], told["new_persons"], told["linked"]) == (3, 1, 2, 0)
    assert (told["is_in_directory"], told["index_records"]) == (False, 0)
    assert counts(world) == before


@pytest.mark.parametrize("name", ["report.md", "report.html", "report.json"])
def test_a_report_tells_counts_and_nobody(
    known: World, a_command: Callable[..., Result], tmp_path: Path, name: str
):
    out = tmp_path / name

    answer = a_command("onboard", their_file(tmp_path), "--organisation", "RV5", "--out", out)

    text = out.read_text()
    assert answer.exit_code == 0, answer.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "number-conflict" in text and "organisation-other" in text
    for secret in (
        "Okafor",
        "Quist",
        "1990",
        ONE_NUMBER,
        "SE5",
        *(str(row[0]) for row in known.rows("select record_id from source_record")),
    ):
        assert secret not in text + answer.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--organisation", "rv5!"), "organisation-format"),
        (("--organisation", "RV5", "--minutes", "chat=4"), "minutes-unknown"),
        (("--organisation", "RV5", "--format", "csv"), "column-unknown"),
    ],
)
def test_what_cannot_be_reported_is_told_in_one_line(
    known: World, a_command: Callable[..., Result], tmp_path: Path, words: tuple[str, ...], code: str
):
    answer = a_command("onboard", their_file(tmp_path), *words, "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, code)
