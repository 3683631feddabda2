"""Candidate pairs on Spark: keys by the generated SQL; an overfull key is taken out before it is asked which rule owns a pair."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.functions import arrow_udf

from mpi.bulk.block import Dropped
from mpi.bulk.spark.translate import keys_on_spark
from mpi.bulk.sql import columns_asked
from mpi.matching import Model
from mpi.matching.definition import KEY_RULES
from mpi.matching.model import OVER_CAP, fingerprint

RECORDS = "bulk_records"


def keys_of(session: SparkSession, records: DataFrame, model: Model) -> DataFrame:
    """Return the keys of all records: rule (its place in the model), key, row; none comes twice."""
    found: DataFrame | None = None
    for place, rule in enumerate(model.rules):
        keys = _asked(session, records, rule, with_text=False).withColumn("rule", F.lit(place))
        found = keys if found is None else found.unionByName(keys)
    if found is None:
        return session.createDataFrame([], "rule int, key long, row long")
    # By the key alone: those who hold it then lie together for what follows.
    return found.repartition("key").dropDuplicates(["key", "row"]).select("rule", "key", "row")


def _asked(session: SparkSession, records: DataFrame, rule: str, *, with_text: bool) -> DataFrame:
    records.select("row", *columns_asked(KEY_RULES[rule])).createOrReplaceTempView(RECORDS)
    return session.sql(keys_on_spark(rule, RECORDS, with_text=with_text))


def sizes_of(keys: DataFrame) -> DataFrame:
    """Return how many records hold each key that several hold, with one of them."""
    found = keys.groupBy("key").agg(
        F.count("*").alias("size"), F.min("rule").alias("rule"), F.min("row").alias("holder")
    )
    return found.where("size > 1")


def dropped_keys(
    session: SparkSession, records: DataFrame, sizes: DataFrame, model: Model
) -> tuple[list[Dropped], DataFrame]:
    """Return the keys that are not used, told as in a report, and as a table.

    The index's own fingerprint is of a key's text; it is worked out for the large ones, and for all only where the model lists any.
    """
    limit = F.element_at(
        F.array(*(F.lit(OVER_CAP * model.caps[rule]) for rule in model.rules)), F.col("rule") + 1
    )
    marked = sizes.withColumn("is_large", F.col("size") > limit)
    asked = marked if model.overfull else marked.where("is_large")
    rules = sorted(row["rule"] for row in asked.select("rule").distinct().collect())
    listed = session.createDataFrame([(one,) for one in sorted(model.overfull)], "print long")
    told: list[Any] = []
    for place in rules:
        rule = model.rules[place]
        here = asked.where(F.col("rule") == place)
        holders = records.join(here.select(F.col("holder").alias("row")).distinct(), "row", "left_semi")
        texts = _asked(session, holders, rule, with_text=True).dropDuplicates(["key"])
        found = here.join(texts.drop("row"), "key").withColumn("print", _fingerprints(rule)("text"))
        is_listed = F.broadcast(listed.withColumn("is_listed", F.lit(True)))
        told += (
            found.join(is_listed, "print", "left")
            .where("is_large OR is_listed")
            .selectExpr("rule", "key", "print", "size", "coalesce(is_listed, false) AS is_listed")
            .orderBy("key")
            .collect()
        )
    out = session.createDataFrame([(row["key"],) for row in told], "key long")
    return [
        Dropped(model.rules[row["rule"]], row["print"], row["size"], row["is_listed"]) for row in told
    ], out


def _fingerprints(rule: str) -> Callable[..., Any]:
    def prints(texts: pa.Array) -> pa.Array:
        return pa.array([fingerprint(f"{rule}\x1f{text}") for text in texts.to_pylist()], pa.int64())

    made: Callable[..., Any] = arrow_udf(prints, "bigint")
    return made


def pairs_of(keys: DataFrame, sizes: DataFrame, dropped: DataFrame) -> DataFrame:
    """Return every pair of records that share a key in use, once: by the first such key of theirs, in the order of rules.

    Each holder of a key brings those of its keys that come before it; a pair that shares one of them belongs there.
    """
    used = sizes.select("key").join(F.broadcast(dropped), "key", "left_anti")
    held = (
        keys.join(used, "key", "left_semi")
        .groupBy("row")
        .agg(F.array_sort(F.collect_list(F.struct("rule", "key"))).alias("held"))
        .selectExpr("row", "transform(held, one -> one.key) AS held")
        .selectExpr("row", "held", "posexplode(held) AS (place, key)")
        .selectExpr("row", "key", "slice(held, 1, place) AS before")
    )
    one, other = held.alias("one"), held.alias("other")
    return one.join(
        other, F.expr("one.key = other.key AND one.row < other.row AND NOT arrays_overlap(one.before, other.before)")
    ).selectExpr("one.row AS low", "other.row AS high")  # fmt: skip
