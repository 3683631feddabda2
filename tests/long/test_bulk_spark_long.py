"""Bulk linking on Spark, on a cluster of two executors: the levels, weights, keys, persons, edges and tasks of the other engines."""

import csv
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import mpi.bulk.spark.run
import mpi.cli
from mpi.bulk.block import block_records
from mpi.bulk.columns import table_of
from mpi.bulk.records import Records
from mpi.bulk.spark.block import dropped_keys, keys_of, pairs_of, sizes_of
from mpi.bulk.spark.session import spark_session
from mpi.bulk.spark.translate import keys_on_spark
from mpi.bulk.spark.weigh import SparkWeigher
from mpi.bulk.sql import columns_asked
from mpi.bulk.weigh import CONFLICTS
from mpi.matching import NormalisedRecord, build_model, compare, conflict_of, decide, score
from mpi.matching.definition import KEY_RULES
from mpi.matching.model import fingerprint
from tests.core.matching_builders import MODEL
from tests.core.test_bulk_parity import odd_people
from tests.core.test_bulk_spark_sql import SPARKS_FUNCTIONS
from tests.service.bulk_world import conflicted_sample

MASTER = "local-cluster[2,1,1024]"
# Short runs: the machines of Java spend less on making themselves fast than that would save.
DEFAULTS = """
spark.driver.extraJavaOptions   -XX:TieredStopAtLevel=1
spark.executor.extraJavaOptions -XX:TieredStopAtLevel=1
"""
ANSWERS = ("persons.csv", "edges.csv", "tasks.csv", "rejects.csv")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """One cluster for all tests: it takes longer to start than they take to run. What is linked below finds it running."""
    folder = tmp_path_factory.mktemp("spark")
    (folder / "spark-defaults.conf").write_text(DEFAULTS, encoding="utf-8")
    os.environ["SPARK_CONF_DIR"] = str(folder)
    with spark_session(MASTER, folder / "spark.log") as session:
        session.conf.set("spark.sql.shuffle.partitions", "2")
        yield session
    del os.environ["SPARK_CONF_DIR"]


def rows_of(session, people: list[NormalisedRecord], model):
    table = table_of(people, model).append_column("row", pa.array(np.arange(len(people))))
    return session.createDataFrame(table)


def test_without_java_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Before the first session: a running one needs no Java to be started.
    path = tmp_path / "rows.csv"
    path.write_text("organisation,system,local_id\n", encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    arguments = ["link", str(path), "--out", str(tmp_path / "out"), "--engine", "spark", "--master", MASTER]

    result = CliRunner().invoke(mpi.cli.cli, arguments, obj=_Bare())

    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "apt-get install -y openjdk-17-jre-headless" in result.output


def test_two_executors_do_the_work(session):
    where = session.sparkContext.parallelize(range(8), 8).map(lambda _: os.environ["SPARK_EXECUTOR_DIRS"])

    assert len(set(where.collect())) == 2


def test_spark_knows_the_words_that_we_use(session):
    known = {row[0] for row in session.sql("SHOW FUNCTIONS").collect()}

    # "get" and the rest are functions; a struct and a cast are part of the grammar.
    assert SPARKS_FUNCTIONS - known - {"cast"} == set()


def test_every_level_weight_and_grade_is_the_same_on_spark(session):
    people = odd_people(31, 1_500)
    dice = random.Random(32)
    pairs = [(dice.randrange(len(people)), dice.randrange(len(people))) for _ in range(30_000)]
    weigher = SparkWeigher(session, rows_of(session, people, MODEL), MODEL)

    drawn = session.createDataFrame(pa.table({"low": [a for a, _ in pairs], "high": [b for _, b in pairs]}))
    coded = weigher.coded(drawn).localCheckpoint()
    codes = {(row["low"], row["high"]): row["code"] for row in coded.select("low", "high", "code").collect()}
    found = {(row["low"], row["high"]): row for row in weigher.weighed(coded).collect()}

    unequal = []
    for pair in pairs:
        a, b = (people[row] for row in pair)
        comparison = compare(a, b, MODEL)
        scored = score(comparison, MODEL)
        grading = decide(scored, comparison, MODEL)
        told = found[pair]
        is_edge = scored.weight >= MODEL.thresholds.review or told["conflict"] > 0
        obstacles = " ".join(grading.obstacles) if is_edge else told["obstacles"]
        if (
            codes[pair],
            told["weight"],
            told["evidence"],
            told["may_link"],
            CONFLICTS[told["conflict"]],
            told["obstacles"],
        ) != (
            weigher.patterns.code_of(comparison),
            scored.weight,
            scored.evidence,
            grading.may_link,
            conflict_of(comparison, grading, scored, MODEL),
            obstacles,
        ):
            unequal.append(pair)
    assert unequal == []
    assert any(not name.isascii() for person in people for name in person.given)


def test_the_keys_of_every_rule_are_the_same_on_spark(session):
    people = odd_people(33, 400)
    records = rows_of(session, people, MODEL)
    found = None
    for rule in sorted(KEY_RULES):
        records.select("row", *columns_asked(KEY_RULES[rule])).createOrReplaceTempView("people")
        keys = session.sql(keys_on_spark(rule, "people", with_text=True)).selectExpr(
            f"'{rule}' AS rule", "row", "key", "text"
        )
        found = keys if found is None else found.union(keys)
    told = found.collect()

    model = build_model({**dict(MODEL.document), "blocking": {rule: {"cap": 60} for rule in KEY_RULES}})
    assert {(row["rule"], row["row"], row["text"]) for row in told} == {
        (rule, row, text) for row, record in enumerate(people) for rule, text in model.blocker(record)
    }
    assert len({row["key"] for row in told}) == len({(row["rule"], row["text"]) for row in told})


def test_overfull_and_listed_keys_are_dropped_before_pairs_are_made(session, tmp_path: Path):
    people = odd_people(34, 300)
    phones = build_model({**dict(MODEL.document), "blocking": {"phone": {"cap": 60}}})
    texts = sorted({text for one in people for _, text in phones.blocker(one)})
    model = build_model(
        {
            **dict(MODEL.document),
            "blocking": {
                "names-district": {"cap": 1},
                "phone": {"cap": 60},
                "number": {"cap": 60},
                "swapped-birth-date": {"cap": 1},
            },
            "overfull": [fingerprint(f"phone\x1f{texts[0]}")],
        }
    )
    with duckdb.connect() as connection:
        expected = block_records(connection, Records.of(people, model), model, tmp_path, 1)

    keys = keys_of(session, rows_of(session, people, model), model).localCheckpoint()
    sizes = sizes_of(keys)
    dropped, out = dropped_keys(session, rows_of(session, people, model), sizes, model)
    pairs = [(row["low"], row["high"]) for row in pairs_of(keys, sizes, out).collect()]

    low, high = expected.pairs(0)
    assert len(pairs) == len(set(pairs)) > 1_000
    assert set(pairs) == set(zip(low.tolist(), high.tolist(), strict=True))
    assert set(dropped) == set(expected.dropped)
    assert {one.is_listed for one in dropped} == {True, False}


def bad_files(folder: Path, count: int) -> tuple[Path, Path]:
    """Write a sample with many conflicts as two files, with rows that are refused, lines that cannot be read, and second versions."""
    with conflicted_sample(folder, count, 6).open(encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file)
    place = {name: number for number, name in enumerate(heading)}
    one, other = folder / "one.csv", folder / "other.csv"
    again = [list(row) for row in rows[:50]]
    for number, row in enumerate(again):
        row[place["updated_at"]] = f"20{30 if number % 2 else 10}-01-01T00:00:00Z"
        row[place["city"]] = "Ély"
    refused = [list(row) for row in rows[50:60]]
    for row in refused:
        row[place["local_id"]] += "-x"
        row[place["birth_date"]] = "1990-02-31"
    for path, some in ((one, rows[: count // 2] + refused), (other, [*again, *rows[count // 2 :]])):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(heading)
            writer.writerows(some[:7])
            file.write("RRV,pas\n")
            writer.writerows(some[7:])
    return one, other


def test_eight_thousand_records_come_out_the_same_on_spark_after_a_failure_too(
    session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = bad_files(tmp_path / "sample", 8_000)
    here, there = tmp_path / "here", tmp_path / "there"
    arguments = ["link", *map(str, files), "--out", str(there), "--engine", "spark", "--master", MASTER]
    bulk = mpi.cli.link_plain_files(files, here, MODEL)

    with monkeypatch.context() as patched:
        patched.setattr(mpi.bulk.spark.run, "tasks_of", _fails)
        stopped = CliRunner().invoke(mpi.cli.cli, arguments, obj=_Bare())
    for finished in ("read_files", "normalised", "keys_of", "pairs_of"):
        monkeypatch.setattr(mpi.bulk.spark.run, finished, _fails)
    result = CliRunner().invoke(mpi.cli.cli, [*arguments, "--json"], obj=_Bare())

    assert isinstance(stopped.exception, InterruptedError)
    assert result.exit_code == mpi.cli.WITH_REJECTS, result.output
    for name in ANSWERS:
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    report = json.loads(result.output)
    same = bulk.keys() - {"stages", "memory", "distinct_values"}
    assert {name: report[name] for name in same} == {name: bulk[name] for name in same}
    assert bulk["components_in_order"] > 20
    assert sorted(path.name for path in there.iterdir()) == sorted([*ANSWERS, "report.json"])


def test_superseded_numbers_are_read_the_same_on_spark_whatever_part_says_so(session, tmp_path: Path):
    path = conflicted_sample(tmp_path / "sample", 300, 9)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        heading, rows = list(reader.fieldnames or ()), list(reader)
    numbered = [row for row in rows if row["nhs_number"]]
    for place, row in enumerate(numbered[: len(numbered) // 4 * 2 : 2]):
        row["nhs_number_status"] = ("01", "01", "02")[place % 3]
        row["nhs_number_superseded_by"] = numbered[2 * place + 1]["nhs_number"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*heading, "nhs_number_superseded_by"], restval="")
        writer.writeheader()
        writer.writerows(rows)
    here, there = tmp_path / "here", tmp_path / "there"
    arguments = ["link", str(path), "--out", str(there), "--engine", "spark", "--master", MASTER, "--json"]
    bulk = mpi.cli.link_plain_files((path,), here, MODEL)

    result = CliRunner().invoke(mpi.cli.cli, arguments, obj=_Bare())

    assert result.exit_code == (mpi.cli.WITH_REJECTS if bulk["rejected"] else 0), result.output
    for name in ANSWERS:
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    assert bulk["rejected"] < 40


class _Bare:
    """A composition that has settings, and no index to touch."""

    class settings:
        model_path = None


def _fails(*_):
    raise InterruptedError
