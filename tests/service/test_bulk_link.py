"""Linking files by themselves: the index's persons, edges and tasks, and clear refusals."""

import csv
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mpi.bulk.memory
import mpi.cli
from mpi.feeds.delimited import read_rows
from tests.service.bulk_world import conflicted_sample, linked_in_bulk, linked_online, read_answers

COUNT = 1_200


class Bare:
    """A composition that has settings, and no index to touch."""

    class settings:
        model_path = None


def run(*arguments: str) -> Any:
    return CliRunner().invoke(mpi.cli.cli, ["link", *arguments], obj=Bare())


@pytest.fixture(scope="module")
def conflicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflicted_sample(tmp_path_factory.mktemp("conflicted"), COUNT, 5)


def test_a_file_links_to_the_persons_edges_and_tasks_of_the_index(conflicted: Path, tmp_path: Path):
    online = linked_online(conflicted, tmp_path)

    bulk = linked_in_bulk(conflicted, tmp_path / "out")

    assert bulk["persons"] == online["persons"]
    assert bulk["edges"] == online["edges"]
    assert bulk["tasks"] == online["tasks"]
    assert bulk["report"]["components_in_order"] > 0
    assert {kind for kind, *_ in online["tasks"]} >= {
        "possible-match",
        "number-conflict",
        "same-source-duplicate",
    }


def test_the_answer_does_not_hang_on_the_order_of_rows_or_the_number_of_threads(
    conflicted: Path, tmp_path: Path
):
    lines = conflicted.read_text(encoding="utf-8").splitlines(keepends=True)
    turned = tmp_path / "turned.csv"
    turned.write_text("".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")

    first = linked_in_bulk(conflicted, tmp_path / "first", threads=2)
    second = linked_in_bulk(turned, tmp_path / "second", threads=1, memory=256 << 20)

    assert first["persons"] == second["persons"]
    assert (tmp_path / "first" / "persons.csv").read_bytes() == (
        tmp_path / "second" / "persons.csv"
    ).read_bytes()
    assert first["tasks"] == second["tasks"]


def test_at_even_odds_more_is_linked(conflicted: Path, tmp_path: Path):
    live = linked_in_bulk(conflicted, tmp_path / "live")
    balanced = linked_in_bulk(conflicted, tmp_path / "balanced", cut="balanced")

    assert balanced["report"]["links"] > live["report"]["links"]
    assert len(balanced["persons"]) < len(live["persons"])


def test_the_command_needs_no_index_and_says_what_it_did(conflicted: Path, tmp_path: Path):
    out = tmp_path / "out"

    result = run(str(conflicted), "--out", str(out), "--json")

    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report == json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["records"] == COUNT
    assert sorted(path.name for path in out.iterdir()) == [
        "edges.csv",
        "persons.csv",
        "rejects.csv",
        "report.json",
        "tasks.csv",
    ]
    assert sum(len(person) for person in read_answers(out)["persons"]) == COUNT


def test_rows_set_aside_are_listed_without_their_values(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text(
        "organisation,system,local_id,nhs_number\nRRV,pas,1,\nRRV,pas,2,9990000011\n", encoding="utf-8"
    )

    result = run(str(path), "--out", str(tmp_path / "out"))

    assert result.exit_code == 3
    rejects = (tmp_path / "out" / "rejects.csv").read_text(encoding="utf-8")
    assert rejects == "file,row,field,code\nrows.csv,3,nhs_number,nhs-number-check\n"
    assert "9990000011" not in result.output + (tmp_path / "out" / "report.json").read_text(encoding="utf-8")


def test_an_empty_file_has_nobody(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("organisation,system,local_id\n", encoding="utf-8")

    result = run(str(path), "--out", str(tmp_path / "out"), "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["persons"] == 0


def test_parquet_may_go_in_and_out(conflicted: Path, tmp_path: Path):
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{conflicted}', all_varchar = true)) TO '{tmp_path}/rows.parquet' (FORMAT parquet)"
        ).fetchall()
        result = run(f"{tmp_path}/rows.parquet", "--out", f"{tmp_path}/out", "--format", "parquet")
        assert result.exit_code == 0, result.output
        found = connection.sql(
            f"SELECT count(*), count(DISTINCT person_id) FROM '{tmp_path}/out/persons.parquet'"
        ).fetchall()

    assert found == [(COUNT, len(linked_in_bulk(conflicted, tmp_path / "plain")["persons"]))]


def test_lines_of_json_may_go_in_as_rows_or_as_documents(conflicted: Path, tmp_path: Path):
    with conflicted.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    records = [row.record for row in read_rows(conflicted, datetime.now(UTC).date())]
    assert None not in records
    lines = [
        json.dumps(row if number % 2 else record.to_payload())
        for number, (row, record) in enumerate(zip(rows, records, strict=True))
    ]
    path = tmp_path / "rows.ndjson"
    path.write_text("\n".join(lines), encoding="utf-8")

    result = run(str(path), "--out", f"{tmp_path}/out")

    assert result.exit_code == 0, result.output
    linked_in_bulk(conflicted, tmp_path / "plain")
    for answer in ("persons.csv", "edges.csv", "tasks.csv"):
        assert (tmp_path / "out" / answer).read_bytes() == (tmp_path / "plain" / answer).read_bytes()


def test_a_budget_of_memory_that_could_not_be_kept_is_refused_before_the_work_begins(
    conflicted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mpi.bulk.memory, "_FEW", COUNT - 1)
    out = tmp_path / "out"

    refused = run(str(conflicted), "--out", str(out), "--memory", "256MB")
    done = run(str(conflicted), "--out", str(out), "--memory", "400MB")

    assert refused.exit_code == 1
    assert "memory-too-small" in refused.output and "1,200 rows need about" in refused.output
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("FILE",), "--out"),
        (("FILE", "--out", "OUT", "--memory", "10MB"), "at least 256MB"),
        (("FILE", "--out", "OUT", "--memory", "much"), "such as 900MB"),
        (("FILE", "--out", "OUT", "--engine", "abacus"), "abacus"),
        (("FILE", "--out", "OUT", "--engine", "spark"), "--master"),
        (("FILE", "--out", "OUT", "--master", "local[2]"), "--engine spark"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: tuple[str, ...], says: str):
    path = tmp_path / "rows.csv"
    path.write_text("organisation,system,local_id\n", encoding="utf-8")
    places = {"FILE": str(path), "OUT": str(tmp_path / "out")}

    result = run(*(places.get(one, one) for one in arguments))

    assert result.exit_code == 2
    assert says in result.output


def test_without_the_bulk_packages_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "rows.csv"
    path.write_text("organisation,system,local_id\n", encoding="utf-8")
    for name in [name for name in sys.modules if name.startswith("mpi.bulk")]:
        monkeypatch.delitem(sys.modules, name)
    # Imported again it is another module; the package has the one that was there back afterwards.
    monkeypatch.setattr(mpi, "bulk", mpi.bulk)
    monkeypatch.setitem(sys.modules, "duckdb", None)

    result = run(str(path), "--out", str(tmp_path / "out"))

    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "pip install" in result.output


def test_without_spark_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "rows.csv"
    path.write_text("organisation,system,local_id\n", encoding="utf-8")
    for name in [name for name in sys.modules if name.startswith("mpi.bulk.spark")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)

    result = run(str(path), "--out", str(tmp_path / "out"), "--engine", "spark", "--master", "local[2]")

    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "pip install 'mpi-consent[bulk,spark]'" in result.output


def test_what_another_run_left_is_not_taken_up(conflicted: Path, tmp_path: Path):
    work = tmp_path / "out" / ".work"
    work.mkdir(parents=True)
    (work / "stamp.json").write_text("[]", encoding="utf-8")
    (work / "normalised.json").write_text("not even JSON", encoding="utf-8")

    found = linked_in_bulk(conflicted, tmp_path / "out")

    assert sum(len(person) for person in found["persons"]) == COUNT
