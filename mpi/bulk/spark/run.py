"""Linking files on Spark: the stages of ``mpi.bulk.run``, each written to the work folder; a run that was killed goes on after the last."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.functions import arrow_udf

from foundation.errors import Unavailable
from mpi.bulk.normalise import RowReader
from mpi.bulk.read import NameColumns
from mpi.bulk.run import Job, Say, person_id, told_dropped, write_rows, write_whole
from mpi.bulk.spark.block import dropped_keys, keys_of, pairs_of, sizes_of
from mpi.bulk.spark.persons import Found, partition_records
from mpi.bulk.spark.rows import KEY, RECORDS, counted, normalised, numbered, raw_rows, read_files, superseded
from mpi.bulk.spark.session import spark_session
from mpi.bulk.spark.tasks import tasks_of
from mpi.bulk.spark.weigh import SparkWeigher
from mpi.bulk.sql import quoted
from mpi.bulk.weigh import CONFLICTS
from mpi.matching import Grade
from mpi.records import RecordKey

LAYOUT = 2
"""Of the files of a run that was not finished; another layout begins anew."""

ROWS_A_PART = 50_000
"""Rows that one Python process normalises at once: some 300 MB with their columns."""


def link_files(
    job: Job,
    master: str,
    name_columns: NameColumns,
    read_row: RowReader,
    today: date,
    say: Say = lambda *_: None,
) -> dict[str, Any]:
    """Link the records of files on Spark; write persons, edges, tasks, rejects and a report, and return the report.

    The files and the folder of the answers must be where the driver and every executor see them under the same path.

    Raises:
        Invalid: about the files' form or headings.
        Unavailable: ``java-missing``, ``spark-not-started``, ``spark-failed``.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    log = job.out / "spark.log"
    with spark_session(master, log) as session:
        run = _Run(session, job, name_columns, read_row, today, say)
        try:
            report = run.run()
        except PySparkException as fault:
            # Spark's own message may repeat values: it stays in the log.
            raise Unavailable("spark-failed", detail=f"Spark failed at {run.at}; {log} says why.") from fault
    log.unlink(missing_ok=True)
    return report


class _Run:
    def __init__(
        self,
        session: SparkSession,
        job: Job,
        name_columns: NameColumns,
        read_row: RowReader,
        today: date,
        say: Say,
    ) -> None:
        self._session, self._job, self._name_columns = session, job, name_columns
        self._read_row, self._today, self._say = read_row, today, say
        self._stages: dict[str, dict[str, float]] = {}
        self._work = (job.out / ".work").resolve()
        self._parts = 1
        self.at = "start"

    def run(self) -> dict[str, Any]:
        self._begin()
        told: dict[str, Any] = {"rows": self._once("read", self._read)}
        self._choose_parts(told["rows"]["rows"])
        told["counted"] = self._once("normalise", lambda: self._normalise(told["rows"]))
        told["blocked"] = self._once("block", self._block)
        told["scored"] = self._once("score", self._score)
        found = self._partitioned()
        told["asked"] = self._once("tasks", lambda: self._ask(found))
        told["written"] = self._once("write", lambda: self._write(found))
        job = self._job
        report = {
            "engine": "spark",
            "model": {"name": job.model.name, "revision": job.model.revision, "cut": job.cut},
            **{name: value for name, value in told["counted"].items() if name != "size"},
            "records": told["counted"]["size"],
            **told["blocked"],
            **told["scored"],
            **told["written"],
            "components": found.components,
            "components_in_order": found.ordered,
            "joins_refused": found.refused.count(),
            "tasks": told["asked"],
            "stages": self._stages,
            "partitions": self._parts,
        }
        write_whole(job.out / "report.json", json.dumps(report, indent=1) + "\n")
        shutil.rmtree(self._work)
        return report

    # Stages and what they leave

    def _begin(self) -> None:
        """Throw away what another run left here."""
        stamp = self._work / "stamp.json"
        wanted = json.dumps(["spark", LAYOUT, self._job.stamp(), self._job.cut])
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(self._work, ignore_errors=True)
            self._work.mkdir(parents=True)
            write_whole(stamp, wanted)

    def _choose_parts(self, rows: int) -> None:
        self._parts = max(self._session.sparkContext.defaultParallelism, -(-rows // ROWS_A_PART))
        self._session.conf.set("spark.sql.shuffle.partitions", str(self._parts))

    def _once(self, name: str, work: Any) -> Any:
        """Run a stage unless it was finished before; what it told is kept beside what it wrote."""
        done = self._work / f"{name}.json"
        if not done.exists():
            with self._stage(name):
                told = work()
            write_whole(done, json.dumps({"told": told, "stage": self._stages[name]}))
        kept = json.loads(done.read_text(encoding="utf-8"))
        self._stages[name] = kept["stage"]
        return kept["told"]

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.at = name
        self._say(_DOING[name], list(_DOING).index(name), len(_DOING))
        start = time.perf_counter()
        yield
        self._stages[name] = {"wall_s": round(time.perf_counter() - start, 2)}

    def _keep(self, name: str, frame: DataFrame) -> DataFrame:
        """Write a frame and read it back, unless it was written before: what follows starts from files."""
        path = self._work / name
        if not (path / "_SUCCESS").exists():
            frame.write.mode("overwrite").parquet(path.as_uri())
        return self._session.read.schema(frame.schema).parquet(path.as_uri())

    def _kept(self, name: str) -> DataFrame:
        return self._session.read.parquet((self._work / name).as_uri())

    @cached_property
    def _records(self) -> DataFrame:
        return self._kept("records")

    @cached_property
    def _weigher(self) -> SparkWeigher:
        return SparkWeigher(self._session, self._records, self._job.model)

    # Rows and pairs

    def _read(self) -> dict[str, Any]:
        return read_files(
            self._session,
            [path.resolve() for path in self._job.files],
            self._name_columns,
            self._work / "raw",
        )

    def _normalise(self, read: dict[str, Any]) -> dict[str, Any]:
        job = self._job
        raw = raw_rows(self._session, self._work / "raw", read["columns"])
        said = superseded(raw, read["columns"], self._read_row)
        frame = normalised(raw, read["columns"], job.model, self._today, self._read_row, self._parts, said)
        kept = self._keep("normalised", frame)
        told, rejects = counted(kept, read["unreadable"])
        write_rows(
            job.out / "rejects.csv",
            ("file", "row", "field", "code"),
            ((job.files[one.file].name, one.row, one.field or "", one.code) for one in rejects),
        )
        known = kept.where("told IS NULL").drop("told")
        ordered = numbered(known, KEY, "row", 0, self._keep).select(*RECORDS.names)
        size = self._keep("records", ordered).count()
        return {**told, "size": size}

    def _block(self) -> dict[str, Any]:
        model, session = self._job.model, self._session
        keys = self._keep("keys", keys_of(session, self._records, model))
        sizes = self._keep("sizes", sizes_of(keys))
        dropped, out = dropped_keys(session, self._records, sizes, model)
        used = sizes.join(F.broadcast(out), "key", "left_anti")
        by_rule = dict.fromkeys(model.rules, 0)
        for row in used.groupBy("rule").agg(F.expr("sum(size * (size - 1) div 2)").alias("pairs")).collect():
            by_rule[model.rules[row["rule"]]] = row["pairs"]
        pairs = self._keep("pairs", pairs_of(keys, sizes, out))
        return {"keys_dropped": told_dropped(dropped), "pairs": pairs.count(), "pairs_by_rule": by_rule}

    def _score(self) -> dict[str, Any]:
        coded = self._keep("coded", self._weigher.coded(self._kept("pairs")))
        limit = self._job.model.thresholds.review
        weighed = self._weigher.weighed(coded).where(f"weight >= {limit} OR conflict > 0")
        self._keep("edges", weighed)
        edges = self._edges()
        linking = edges.where(f"may_link AND weight >= {self._job.linking.thresholds.live}")
        return {"edges": edges.count(), "links": linking.count()}

    def _edges(self) -> DataFrame:
        edges = self._kept("edges")
        if self._job.cut == "balanced":
            # At even odds the safety rules of pairs stand aside; the vetoes of the partition do not.
            return edges.withColumn("may_link", F.expr(f"weight >= {self._job.model.thresholds.balanced}"))
        return edges

    # Persons, tasks and answers

    def _partitioned(self) -> Found:
        found: list[Found] = []

        def work() -> None:
            found.append(
                partition_records(
                    self._session,
                    self._records,
                    self._edges(),
                    self._weigher,
                    self._job.linking,
                    self._parts,
                    self._keep,
                )
            )

        self._once("partition", work)
        if not found:
            work()  # Finished before: every frame of it is there already.
        return found[0]

    def _ask(self, found: Found) -> dict[str, int]:
        tasks = self._keep(
            "asked", tasks_of(self._records, self._edges(), found, self._job.linking, self._parts)
        )
        kinds = tasks.select("within", "one", "two", "ordinal", "kind").distinct().groupBy("kind").count()
        return {row["kind"]: row["count"] for row in kinds.orderBy("kind").collect()}

    def _write(self, found: Found) -> dict[str, Any]:
        keys = self._records.select("row", *KEY)
        person = keys.join(found.person, "row", "left").withColumn("person", F.coalesce("person", "row"))
        named = (
            person.where("person = row")
            .select("person", _person_ids()(*KEY).alias("person_id"))
        )  # fmt: skip
        persons = self._keep("persons", person.join(named, "person").select("row", *KEY, "person_id"))
        self._answer("persons", persons, ("row",), (*KEY, "person_id"))
        self._answer("edges", _told_edges(self._edges(), keys, self._job), ("low", "high"), _EDGE)
        self._answer("tasks", self._told_tasks(persons), ("task", "side", "place"), _TASK)
        sizes = found.person.groupBy("person").agg(F.count("*").alias("size"))
        largest = [row["size"] for row in sizes.orderBy(F.desc("size")).limit(10).collect()]
        count = named.count()
        largest += [1] * min(10 - len(largest), count - sizes.count())
        return {"persons": count, "largest_persons": largest}

    def _told_tasks(self, persons: DataFrame) -> DataFrame:
        name = ("within", "one", "two", "ordinal")
        asked = self._kept("asked")
        numbers = numbered(asked.select(*name).distinct(), name, "task", 1, self._keep)
        said = asked.join(numbers, list(name)).withColumnRenamed("weight", "weight_millibits")
        return said.join(persons, "row").select("place", *_TASK)

    def _answer(self, name: str, frame: DataFrame, order: Sequence[str], columns: Sequence[str]) -> None:
        """Write an answer in order: as one CSV file by the driver, or as a folder of Parquet files by the executors."""
        job = self._job
        folder = self._work / f"answer-{name}"
        frame.orderBy(*order).select(*columns).write.mode("overwrite").parquet(folder.as_uri())
        if job.format == "parquet":
            path = job.out / f"{name}.parquet"
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
            folder.rename(path)
            return
        path = job.out / f"{name}.csv"
        part = path.with_name(path.name + ".part")
        with duckdb.connect() as connection:
            connection.execute("SET preserve_insertion_order = true").fetchall()
            files = quoted(str(folder / "*.parquet"))
            connection.execute(
                f"COPY (SELECT * FROM read_parquet({files})) TO {quoted(str(part))} (FORMAT csv, HEADER)"
            ).fetchall()
        part.replace(path)


_DOING = {
    "read": "Reading",
    "normalise": "Normalising",
    "block": "Blocking",
    "score": "Weighing",
    "partition": "Partitioning",
    "tasks": "Asking",
    "write": "Writing",
}
_EDGE = (
    *(f"{name}_{letter}" for letter in "ab" for name in KEY), "weight_millibits", "grade", "links", "obstacles", "conflict",
)  # fmt: skip
_TASK = ("task", "kind", "reason", "weight_millibits", "side", *KEY, "person_id")


def _person_ids() -> Any:
    def names(*keys: pa.Array) -> pa.Array:
        rows = zip(*(column.to_pylist() for column in keys), strict=True)
        return pa.array([person_id(RecordKey(*key)) for key in rows], pa.string())

    return arrow_udf(names, "string")


def _told_edges(edges: DataFrame, keys: DataFrame, job: Job) -> DataFrame:
    limits = job.model.thresholds
    grade = (
        f"CASE WHEN may_link AND weight >= {limits.live} THEN '{Grade.CERTAIN.value}' "
        f"WHEN weight >= {limits.balanced} THEN '{Grade.PROBABLE.value}' "
        f"WHEN weight >= {limits.review} THEN '{Grade.POSSIBLE.value}' ELSE '{Grade.CERTAINLY_NOT.value}' END"
    )
    conflict = " ".join(f"WHEN {place} THEN '{word}'" for place, word in enumerate(CONFLICTS) if word)
    told = edges
    for letter, row in (("a", "low"), ("b", "high")):
        named = (F.col(name).alias(f"{name}_{letter}") for name in KEY)
        told = told.join(keys.select(F.col("row").alias(row), *named), row)
    return told.select(
        "low", "high",
        *_EDGE[:6],
        F.col("weight").alias("weight_millibits"),
        F.expr(grade).alias("grade"),
        F.col("may_link").alias("links"),
        "obstacles",
        F.expr(f"CASE conflict {conflict} ELSE '' END").alias("conflict"),
    )  # fmt: skip
