"""Tasks on Spark: the questions of ``mpi.bulk.questions`` over buckets of persons, each with all that its questions look at."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from mpi.bulk.partition import Persons
from mpi.bulk.questions import open_tasks
from mpi.bulk.records import Group, Records
from mpi.bulk.spark.persons import Found
from mpi.bulk.spark.rows import KEY, document_of, model_from
from mpi.bulk.weigh import Patterns, Weighed
from mpi.matching import Model, Refusal
from mpi.records import RecordKey

ASKED = pa.schema(
    [
        ("within", pa.bool_()), ("one", pa.int64()), ("two", pa.int64()), ("ordinal", pa.int32()),
        ("kind", pa.string()), ("reason", pa.string()), ("weight", pa.int64()), ("side", pa.int8()), ("place", pa.int32()),
        ("row", pa.int64()),
    ]
)  # fmt: skip
"""A row for each record of each side. The first four name the task, in the order in which tasks are numbered."""

_MARKS = ("number", "number_state", "birth_order")


def tasks_of(records: DataFrame, edges: DataFrame, found: Found, model: Model, parts: int) -> DataFrame:
    """Return all tasks, in the form of ASKED."""
    people = records.join(found.person, "row").select("row", "person", *KEY, *_MARKS)
    return _between(records, people, edges, found, model, parts).unionByName(_within(people, model, parts))


def _between(
    records: DataFrame, people: DataFrame, edges: DataFrame, found: Found, model: Model, parts: int
) -> DataFrame:
    """Ask about pairs of persons that edges join: a bucket holds all edges of a pair, and all members of its persons."""
    said = edges.select("low", "high", "weight", "conflict")
    for side, row in (("one", "low"), ("two", "high")):
        of = found.person.selectExpr(f"row AS {row}", f"person AS {side}")
        said = said.join(of, row, "left").withColumn(side, F.coalesce(side, row))
    apart = said.where("one <> two").join(found.refused, ["low", "high"], "left")
    bucket = F.expr(f"pmod(xxhash64(least(one, two), greatest(one, two)), {parts})")
    apart = apart.withColumn("bucket", bucket)
    asked = apart.selectExpr("bucket", "explode(array(one, two)) AS person").distinct()
    several = asked.join(people, "person")
    # A person of one record is not among those of several: it is its own row.
    alone = (
        asked.join(people.select("person").distinct(), "person", "left_anti")
        .join(records.select("row", *KEY, *_MARKS), F.expr("person = row"))
        .select(several.columns)
    )
    return _asked(several.unionByName(alone), apart, model)


def _within(people: DataFrame, model: Model, parts: int) -> DataFrame:
    """Ask about persons that have two numbers, several records of one source, or too many."""
    used = "CASE WHEN number_state IN ('v', 'c') THEN nullif(number, '') END"
    asked = (
        people.groupBy("person")
        .agg(
            F.expr(
                f"count(*) > {model.group_limit} OR coalesce(min({used}) <> max({used}), false) "
                "OR count(*) > count(DISTINCT organisation, system)"
            ).alias("is_asked")
        )
        .where("is_asked")
        .select("person")
    )
    members = people.join(asked, "person").withColumn("bucket", F.expr(f"pmod(xxhash64(person), {parts})"))
    none = members.sparkSession.createDataFrame(
        [], "bucket long, low long, high long, weight long, conflict int, veto string"
    )
    return _asked(members, none, model)


def _asked(members: DataFrame, edges: DataFrame, model: Model) -> DataFrame:
    document = document_of(model)
    ours = members.select("bucket", "person", "row", *KEY, *_MARKS)
    # Both come from the same edges: a name of its own tells Spark which side's bucket is meant.
    theirs = edges.select(F.col("bucket").alias("basket"), "low", "high", "weight", "conflict", "veto")

    def ask(persons: pa.Table, edges: pa.Table) -> pa.Table:
        columns: dict[str, list[Any]] = {name: [] for name in ASKED.names}
        for line in _lines(persons, edges, model_from(document)):
            for name, value in zip(ASKED.names, line, strict=True):
                columns[name].append(value)
        return pa.table(columns, schema=ASKED)

    return (
        ours.groupBy("bucket").cogroup(theirs.groupBy("basket")).applyInArrow(ask, from_arrow_schema(ASKED))
    )


def _lines(members: pa.Table, edges: pa.Table, model: Model) -> Iterable[tuple[Any, ...]]:
    """Let the bulk engine ask about one bucket, as if there were no other records."""
    members = members.sort_by("row")
    rows = members.column("row").to_numpy()
    person = np.searchsorted(rows, members.column("person").to_numpy())
    names = [RecordKey(*key) for key in zip(*(members.column(name).to_pylist() for name in KEY), strict=True)]
    sources: dict[tuple[str, str], int] = {}
    source = np.array([sources.setdefault((key.organisation, key.system), len(sources)) for key in names])
    low, high = (np.searchsorted(rows, edges.column(name).to_numpy()) for name in ("low", "high"))
    refused = tuple(
        Refusal(one, other, None, veto, (one, other))
        for one, other, veto in zip(
            low.tolist(), high.tolist(), edges.column("veto").to_pylist(), strict=True
        )
        if veto is not None
    )
    weight, conflict = (edges.column(name).to_numpy() for name in ("weight", "conflict"))
    nothing = np.zeros(len(low), np.int64)
    weighed = Weighed(
        low, high, weight, nothing, nothing > 0, conflict.astype(np.int8), nothing, Patterns(model)
    )
    tasks = open_tasks(
        Records((Group(members.select(list(_MARKS)).combine_chunks(), None),), len(rows)),
        source,
        lambda places: [names[place] for place in places.tolist()],
        weighed,
        Persons(person, refused, 0, 0, 0),
        model,
    )
    is_between = len(low) > 0
    ordinal: dict[int, int] = {}
    for task in tasks:
        if (task.weight is not None) != is_between:
            # Of persons of whom only a neighbour was asked here: their own bucket asks.
            continue
        whose = sorted({int(person[row]) for side in task.sides for row in side})
        one, two = rows[whose[0]], rows[whose[-1]]
        number = ordinal[whose[0]] = ordinal.get(whose[0], -1) + 1
        for side, together in enumerate(task.sides, start=1):
            for place, row in enumerate(together):
                yield (
                    not is_between, int(one), int(two), number, task.kind, task.reason, task.weight, side, place, int(rows[row]),
                )  # fmt: skip
