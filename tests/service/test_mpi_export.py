"""Parts of the index as files: of one moment, whole or not there, for their owner alone, and nothing of people who must not be found."""

import csv
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.cli import cli
from mpi.service.context import Mpi
from mpi.service.review import decide_task
from mpi.store import export as export_store
from tests.service.mpi_world import ONE_NUMBER, READER, World, a_doubtful_record, a_source_record

HERS = a_source_record("1", nhs_number=ONE_NUMBER)
ALSO_HERS = a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER)
HIS = a_source_record(
    "3",
    given="Tunde",
    family="Bello",
    born_on="1951-01-01",
    gender="male",
    line="9 Mile End Road",
    postcode="E1 4NS",
)


@dataclass(frozen=True)
class Composed:
    settings: Settings
    mpi: Mpi


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def export(world: World, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Export, and read what was written."""
    composed = Composed(Settings.from_environment({}), world.mpi)

    def run(what: str, *words: str, name: str = "out.ndjson") -> list[dict[str, Any]]:
        path = tmp_path / name
        answer = CliRunner().invoke(cli, ["export", what, "--to", str(path), *words, "--json"], obj=composed)
        assert answer.exit_code == 0, answer.output
        if name.endswith(".csv"):
            with path.open(newline="") as file:
                return list(csv.DictReader(file))
        if name.endswith(".parquet"):
            found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
            return found
        return [json.loads(line) for line in path.read_text().splitlines()]

    return run


@pytest.fixture
def a_command(world: World) -> Callable[..., Result]:
    composed = Composed(Settings.from_environment({}), world.mpi)
    return lambda *words: CliRunner().invoke(cli, [str(word) for word in words], obj=composed)


def test_the_crosswalk_says_whose_each_record_is(world: World, export: Callable[..., list[dict[str, Any]]]):
    one, two, three = world.send_all([HERS, ALSO_HERS, HIS])

    whole, of_one = export("crosswalk"), export("crosswalk", "--organisation", "RV5")

    assert one.person_id == two.person_id
    assert {(row["organisation"], row["local_id"], row["person_id"]) for row in whole} == {
        ("RRV", "1", str(one.person_id)),
        ("RV5", "2", str(one.person_id)),
        ("RRV", "3", str(three.person_id)),
    }
    assert of_one == [
        {
            "organisation": "RV5",
            "system": "pas",
            "local_id": "2",
            "record_id": str(two.record_id),
            "person_id": str(two.person_id),
            "restricted": False,
        }
    ]


def test_persons_are_counted_by_their_records(world: World, export: Callable[..., list[dict[str, Any]]]):
    one, _, three = world.send_all([HERS, ALSO_HERS, HIS])

    whole, of_one = export("persons"), export("persons", "--organisation", "RV5")

    assert {(row["person_id"], row["records"]) for row in whole} == {
        (str(one.person_id), 2),
        (str(three.person_id), 1),
    }
    assert [(row["person_id"], row["records"], row["restricted"]) for row in of_one] == [
        (str(one.person_id), 1, False)
    ]
    assert of_one[0]["epoch"] == world.resolve(one.record_id).epoch


def test_links_are_edges_inside_persons_and_what_people_decided(
    world: World, export: Callable[..., list[dict[str, Any]]]
):
    one, two = world.send_all([a_source_record("1"), a_doubtful_record("2")])
    (task,) = world.tasks()
    before = export("links")
    outcome = decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")

    after = export("links")

    low, high = sorted((one.record_id, two.record_id))
    assert before == []
    assert [(row["low_record_id"], row["high_record_id"]) for row in after] == [(str(low), str(high))] * 2
    (edge,) = [row for row in after if row["decision_id"] is None]
    (decided,) = [row for row in after if row["decision_id"] is not None]
    assert world.rows("select weight from edge") == [(edge["weight_millibits"],)]
    assert (decided["decision_id"], decided["weight_millibits"]) == (str(outcome.decision_id), None)
    assert export("links", "--organisation", "RV5") == []


def test_of_the_whole_index_nobody_is_told_whose_location_is_protected(
    world: World, export: Callable[..., list[dict[str, Any]]]
):
    world.send_all([replace(HERS, restricted=True), ALSO_HERS, HIS])

    whole = {what: export(what) for what in ("crosswalk", "persons", "links")}
    own = {what: export(what, "--organisation", "RRV") for what in ("crosswalk", "persons", "links")}

    assert [row["local_id"] for row in whole["crosswalk"]] == ["3"]
    assert (len(whole["persons"]), whole["links"]) == (1, [])
    assert {(row["local_id"], row["restricted"]) for row in own["crosswalk"]} == {("1", True), ("3", False)}
    assert {row["restricted"] for row in own["persons"]} == {True, False}
    assert own["links"] == []


@pytest.mark.parametrize("name", ["out.csv", "out.ndjson", "out.parquet"])
def test_each_form_says_the_same(world: World, export: Callable[..., list[dict[str, Any]]], name: str):
    world.send_all([HERS, ALSO_HERS])

    rows = export("links", name=name)

    (told,) = rows
    weight = world.rows("select weight from edge")[0][0]
    assert str(told["weight_millibits"]) == str(weight)
    assert str(told["may_link"]).lower() == "true"
    assert (told["decision_id"] or None) is None
    assert list(told) == [
        "person_id",
        "low_record_id",
        "high_record_id",
        "weight_millibits",
        "may_link",
        "decision_id",
    ]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_a_cell_of_a_csv_is_never_a_formula(
    world: World, export: Callable[..., list[dict[str, Any]]], sign: str
):
    local_id = f"{sign}1+cmd|'/c calc'!A1"
    world.send(replace(HERS, key=replace(HERS.key, local_id=local_id)))

    assert [row["local_id"] for row in export("crosswalk", name="out.csv")] == [f"'{local_id}"]
    assert [row["local_id"] for row in export("crosswalk", name="out.ndjson")] == [local_id]


def test_a_file_is_for_its_owner_alone_and_its_digest_is_in_the_log(
    world: World, a_command: Callable[..., Result], tmp_path: Path
):
    world.send_all([HERS, ALSO_HERS])
    path = tmp_path / "out.csv"
    path.write_text("an older one")
    path.chmod(0o644)

    answer = a_command("export", "crosswalk", "--to", path, "--organisation", "RRV", "--json")

    told = json.loads(answer.stdout)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told["sha256"] == sha256(path.read_bytes()).hexdigest()
    (row,) = world.rows("select detail from audit_event where kind = 'index-exported'")
    assert json.loads(row[0]) == {"what": "crosswalk", "of": "RRV", "rows": 1, "sha256": told["sha256"]}
    assert [one.name for one in tmp_path.iterdir() if "part" in one.name] == []


def test_what_could_not_be_audited_or_written_whole_is_not_there(
    world: World, a_command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world.send_all([HERS, ALSO_HERS])
    path = tmp_path / "out.csv"
    path.write_text("an older one")

    def breaks(*_: Any) -> Any:
        yield ("RRV", "pas", "1", 1, 1, False)
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("mpi.service.trail.append_all", lambda *_: (_ for _ in ()).throw(RuntimeError))
        unaudited = a_command("export", "crosswalk", "--to", path)
    with monkeypatch.context() as patch:
        patch.setitem(__import__("mpi.service.export", fromlist=["_"])._STREAMS, "crosswalk", breaks)
        broken = a_command("export", "crosswalk", "--to", path)

    assert (unaudited.exit_code, broken.exit_code) == (1, 1)
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith((".out", "out"))] == ["out.csv"]
    assert path.read_text() == "an older one"
    assert world.rows("select count(*) from audit_event where kind = 'index-exported'") == [(0,)]


def test_a_file_is_of_one_moment(
    world: World, export: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
):
    """What comes while rows are read is in none of them."""
    monkeypatch.setattr(export_store, "_AT_ONCE", 1)
    world.send_all(
        [
            a_source_record(str(number), born_on=f"19{number}-02-14", given=f"Name{number}")
            for number in range(20, 26)
        ]
    )
    stream, met = export_store.stream_crosswalk, []

    def slowly(tx: Any, organisation: str | None) -> Any:
        for row in stream(tx, organisation):
            if not met:
                met.append(world.send(a_source_record("99", born_on="1999-02-14", given="Late")))
            yield row

    monkeypatch.setitem(__import__("mpi.service.export", fromlist=["_"])._STREAMS, "crosswalk", slowly)

    rows = export("crosswalk")

    assert len(met) == 1
    assert {row["local_id"] for row in rows} == {str(number) for number in range(20, 26)}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--organisation", "XX999"), "organisation-unknown"),
        (("--to", "/dev/null"), "file-not-plain"),
        (("--to", "/nowhere/out.csv"), "file-unwritable"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(
    a_command: Callable[..., Result], tmp_path: Path, words: tuple[str, ...], code: str
):
    answer = a_command("export", "persons", "--to", tmp_path / "out.csv", *words, "--json")

    assert (answer.exit_code, json.loads(answer.stdout)["error"]) == (1, code)
    assert list(tmp_path.glob("*out*")) == []
