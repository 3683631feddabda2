"""Blocking keys that the index has outgrown: listed by rule without a value, and retired by a model revision that two people made."""

import errno
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from foundation.auth.users import create_user, set_user_active
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.cli import cli
from mpi.matching import build_model, load_model
from mpi.service.census import verify_index
from mpi.service.context import Mpi
from mpi.service.overfull import find_overfull
from tests.service.mpi_world import World, a_source_record

PASSWORD = "a rather long pass phrase"
HOLDERS = 9


@dataclass(frozen=True)
class Composed:
    """What the command is given by ``app.py``."""

    settings: Settings
    mpi: Mpi


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    """An index of nine people of one surname and birth date, one of them protected, under rules that bear two records a key."""
    world = World(db, clock)
    document = dict(load_model().document)
    document["blocking"] = {rule: {**of, "cap": 2} for rule, of in document["blocking"].items()}
    world.mpi = replace(world.mpi, model=build_model(document))
    given = ("Amara", "Kofi", "Zoe", "Liam", "Noor", "Ivo", "Petra", "Sven", "Una")
    for place in range(HOLDERS):
        record = a_source_record(
            str(place),
            given=given[place],
            gender=None,
            line=f"{place + 1} Denmark Hill",
            postcode="SE5 8AZ",
            restricted=place == 0,
        )
        world.send(record, link=False)
    with db.write() as tx:
        for name in ("anne", "bela", "carl"):
            create_user(tx, clock.now(), name, PASSWORD, "RRV", "R5110")
        set_user_active(tx, "carl", is_active=False)
    return world


@pytest.fixture
def run(world: World) -> Callable[..., Result]:
    composed = Composed(Settings.from_environment({}), world.mpi)
    return lambda *words: CliRunner().invoke(cli, ("model", *words), obj=composed)


def test_keys_past_four_caps_are_listed_by_rule_and_no_value_is_told(
    world: World, run: Callable[..., Result]
) -> None:
    answer = run("overfull", "--json")

    assert answer.exit_code == 0
    told = json.loads(answer.stdout)
    assert told["rules"]
    for row in told["rules"]:
        assert (row["cap"], row["largest"], row["pairs"]) == (2, HOLDERS, row["keys"] * 36)
    words = run("overfull").stdout
    assert "past 4 x 2 records" in words
    for value in (
        "SE5",
        "Okafor",
        "OKAFOR",
        "okafor",
        "1990",
        *(str(key) for one in find_overfull(world.mpi) for key in one.keys),
    ):
        assert value not in words + answer.stdout


def test_a_protected_holder_counts_with_the_others_and_both_spaces_are_retired(world: World) -> None:
    located = [one for one in find_overfull(world.mpi) if len(one.keys) == 2]

    assert located
    assert {one.records for one in located} == {HOLDERS}


def test_a_retired_key_is_listed_by_the_new_model_and_finds_nobody(
    world: World, run: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "new.json"
    before = find_overfull(world.mpi)

    answer = run("retire", "--out", str(out), "--by", "anne", "--approved-by", "bela", "--json")

    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    model = load_model(out)
    assert told["model_revision"] == model.revision != world.mpi.model.revision == told["from_revision"]
    assert model.overfull == {key for one in before for key in one.keys}
    assert sum(told["retired"].values()) == len(before)
    unlike = {name for name, value in model.document.items() if world.mpi.model.document.get(name) != value}
    assert unlike == {"overfull", "retired_from"}
    assert find_overfull(replace(world.mpi, model=model)) == ()


def test_the_index_is_linked_again_under_the_new_model(
    world: World, run: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "new.json"
    retired = {key for one in find_overfull(world.mpi) for key in one.keys}
    words = run("retire", "--out", str(out), "--by", "anne", "--approved-by", "bela").stdout
    assert f"set MPI_MODEL={out}" in words and "`mpi relink`" in words and f"all {HOLDERS} records" in words

    composed = Composed(Settings.from_environment({"MPI_HOME": str(tmp_path / "home")}), world.mpi)
    again = CliRunner().invoke(cli, ("relink", "--model", str(out)), obj=composed)

    assert again.exit_code == 0, again.output
    assert retired.isdisjoint(key for (key,) in world.rows("select key from match_key"))
    assert verify_index(replace(world.mpi, model=load_model(out))).is_sound


def test_both_people_are_audited(world: World, run: Callable[..., Result], tmp_path: Path) -> None:
    run("retire", "--out", str(tmp_path / "new.json"), "--by", "anne", "--approved-by", "bela")

    rows = world.rows(
        "select kind, actor_kind, actor_id from audit_event where kind like 'keys-%' order by event_id"
    )
    assert rows == [
        ("keys-retired", "person", "anne"),
        ("keys-retirement-approved", "person", "bela"),
    ]


@pytest.mark.parametrize(
    ("by", "approved_by", "code"),
    [
        ("anne", "anne", "second-person-same"),
        ("anne", "carl", "user-unknown"),
        ("nobody", "anne", "user-unknown"),
    ],
)
def test_two_people_with_open_accounts_are_needed(
    world: World, run: Callable[..., Result], tmp_path: Path, by: str, approved_by: str, code: str
) -> None:
    out = tmp_path / "new.json"

    answer = run("retire", "--out", str(out), "--by", by, "--approved-by", approved_by, "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, code)
    assert not out.exists()
    assert world.rows("select 1 from audit_event where kind like 'keys-%'") == []


def test_a_model_is_not_written_over_nor_half_recorded_where_it_cannot_be_written(
    world: World, run: Callable[..., Result], tmp_path: Path
) -> None:
    there = tmp_path / "there.json"
    there.write_text("{}")

    codes = [
        json.loads(
            run("retire", "--out", str(out), "--by", "anne", "--approved-by", "bela", "--json").stdout
        )["error"]
        for out in (there, tmp_path / "no" / "such" / "folder.json")
    ]

    assert codes == ["file-exists", "file-not-writable"]
    assert there.read_text() == "{}"
    assert world.rows("select 1 from audit_event where kind like 'keys-%'") == []


def test_an_index_without_overfull_keys_has_nothing_to_retire(
    world: World, run: Callable[..., Result], tmp_path: Path
) -> None:
    with world.mpi.db.write() as tx:
        tx.exec_driver_sql("delete from match_key")
    out = tmp_path / "new.json"

    assert run("overfull").stdout == "No key is overfull\n"
    answer = run("retire", "--out", str(out), "--by", "anne", "--approved-by", "bela", "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, "keys-not-overfull")
    assert not out.exists()


def test_a_disk_that_is_full_leaves_no_half_of_a_model_and_no_trace(
    world: World, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def write_half(path: Path, text: str, **how: Any) -> int:
        write(path, text[: len(text) // 2], **how)
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "write_text", write_half)
    done = run(
        "retire", "--out", str(tmp_path / "new.json"), "--by", "anne", "--approved-by", "bela", "--json"
    )

    assert json.loads(done.stdout)["error"] == "file-not-writable"
    assert list(tmp_path.glob("new*")) == []
    assert world.rows("select 1 from audit_event where kind like 'keys-%'") == []
