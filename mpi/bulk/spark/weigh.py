"""Pairs of rows weighed on Spark: levels by SQL, each pattern of levels weighed once on the driver, integers joined back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.functions import arrow_udf

from mpi.bulk.spark.near import Near, worked_out
from mpi.bulk.spark.translate import function_of, levels_on_spark
from mpi.bulk.sql import code_of, columns_of, quoted, table_columns
from mpi.bulk.weigh import Patterns
from mpi.matching import Model
from mpi.matching.definition import program_of

PAIRS, NAMES = "bulk_pairs", "bulk_names"


class SparkWeigher:
    """Weighs pairs of one table of normalised records, which has a column ``row``."""

    def __init__(self, session: SparkSession, records: DataFrame, model: Model) -> None:
        self._session, self._model = session, model
        program = program_of(model.specs)
        asked = [one for name in sorted(columns_of(program)) for one in table_columns(name)]
        asked += [f"{name}_part" for name in ("given", "family") if name in model.frequency]
        self._columns = [name for name in dict.fromkeys(asked) if not name.endswith("_sounds")]
        self._records = records.select("row", *self._columns)
        self.patterns = Patterns(model)
        statement, nears = levels_on_spark(program, PAIRS, ("low", "high"))
        for near in nears:
            session.udf.register(function_of(near), arrow_udf(_function(near), "tinyint"))
        self._statement = self._coded(statement)

    def coded(self, pairs: DataFrame) -> DataFrame:
        """Return pairs (low, high) with the number of their pattern and how rare their agreeing names are."""
        both = pairs.select("low", "high")
        for letter, row in (("a", "low"), ("b", "high")):
            side = self._records.select(
                F.col("row").alias(row), *(F.col(name).alias(f"{letter}_{name}") for name in self._columns)
            )
            both = both.join(side, row)
        both.createOrReplaceTempView(PAIRS)
        self._frequencies().createOrReplaceTempView(NAMES)
        return self._session.sql(self._statement)

    def weighed(self, coded: DataFrame) -> DataFrame:
        """Score and grade coded pairs: weight, evidence, may_link, may_join_alone, conflict (a place in CONFLICTS), obstacles.

        It runs ``coded`` twice, which should therefore stand in a file.
        """
        model, rivals = self._model, range(len(self._model.rivals))
        totals = [f"sum_{one} + given_part * given_{one} + family_part * family_{one}" for one in rivals]
        # The first of equal rivals, as online: they stand in the order of their names.
        prior = " ".join(f"WHEN total_{one} = weight THEN {model.priors[one]}" for one in rivals)
        limits = model.thresholds
        scored = (
            coded.join(F.broadcast(self._learned(coded)), "code")
            .select(
                "low", "high", "has_obstacle", "is_answered", "same", "differ", "obstacles",
                *(F.expr(total).alias(f"total_{one}") for one, total in enumerate(totals)),
            )
            .withColumn("weight", F.expr(f"least({', '.join(f'total_{one}' for one in rivals)}, 9223372036854775807)"))
            .withColumn("evidence", F.expr(f"weight - CASE {prior} END"))
            .withColumn("may_link", F.expr(f"weight >= {limits.live} AND NOT has_obstacle"))
            .withColumn("may_join_alone", F.expr(self._alone()))
        )  # fmt: skip
        weak = f"weight < {limits.review}"
        conflict = (
            f"CASE WHEN may_link THEN 0 WHEN same AND ({weak} OR has_obstacle) THEN 1 "
            f"WHEN differ AND NOT {weak} THEN 2 ELSE 0 END"
        )
        return scored.select(
            "low", "high", "weight", "evidence", "may_link", "may_join_alone", F.expr(conflict).alias("conflict"), "obstacles"
        )  # fmt: skip

    def _alone(self) -> str:
        """Return when a pair is enough where nobody else can be meant: as ``mpi.matching.may_join_alone`` says."""
        sole = self._model.sole
        if sole is None:
            return "false"
        least = ", ".join(f"total_{one} + {more}" for one, more in enumerate(sole.allowance))
        return f"is_answered AND least({least}, 9223372036854775807) >= {self._model.thresholds.live}"

    def _learned(self, coded: DataFrame) -> DataFrame:
        """Weigh on the driver the patterns that were met, and return them as a table."""
        patterns = self.patterns
        codes = coded.select("code").distinct().toArrow().column("code").to_numpy()
        places = patterns.places(codes)
        columns: dict[str, Any] = {"code": pa.array(codes, pa.int64())}
        for one in range(len(self._model.rivals)):
            columns[f"sum_{one}"] = pa.array(patterns.sums[places, one])
            columns[f"given_{one}"] = pa.array(patterns.given[places, one].astype("int64"))
            columns[f"family_{one}"] = pa.array(patterns.family[places, one].astype("int64"))
        # No frequency lifts the others to where safety rules matter: most patterns need no grade.
        limits = self._model.thresholds
        most = patterns.sums[places].min(axis=1) + self._most_frequencies()
        graded = (most >= min(limits.live, limits.review)) | patterns.same_number[places]
        obstacles = np.full(len(places), "", object)
        obstacles[graded] = [" ".join(found) for found in patterns.obstacles(places[graded])]
        columns["obstacles"] = pa.array(obstacles, pa.string())
        columns["has_obstacle"] = pa.array(obstacles != "")
        answers = self._model.sole.answers if self._model.sole else frozenset()
        columns["is_answered"] = pa.array(
            [answers.issuperset(found.split()) for found in obstacles], pa.bool_()
        )
        columns["same"] = pa.array(patterns.same_number[places])
        columns["differ"] = pa.array(patterns.other_number[places])
        return self._session.createDataFrame(pa.table(columns))

    def _most_frequencies(self) -> int:
        """Return the most that the frequencies of two agreeing names can add to a weight."""
        tables = self._model.frequency.values()
        return sum(max(0, table.unlisted, *table.values.values()) for table in tables)

    def _coded(self, levels: str) -> str:
        """Put the number of the pattern (``Patterns.codes``) and the frequencies of the agreeing names to the levels."""
        model = self._model
        code = "CAST(is_placeholder AS BIGINT) * 2 + CAST(is_later_birth AS BIGINT)"
        for name, words in zip(model.fields, self.patterns.levels, strict=True):
            place = " ".join(f"WHEN {code_of(word)} THEN {number}" for number, word in enumerate(words))
            code = f"({code}) * {len(words)} + CASE level_{name} {place} END"
        parts, joins = [], []
        for name in ("given", "family"):
            table = model.frequency.get(name)
            if table is None or name not in model.fields:
                parts.append(f"CAST(0 AS BIGINT) AS {name}_part")
                continue
            asked = [f"{name}_n.part", f"CAST({table.unlisted} AS BIGINT)"]
            of = f"{name}_n.name = {quoted(name)} AND {name}_n.value = {name}_value"
            joins.append(f"LEFT JOIN {NAMES} AS {name}_n ON {of} AND {name}_n.decade IS NULL")
            if name == "given":
                of = "given_d.name = 'given' AND given_d.value = given_value"
                joins.append(f"LEFT JOIN {NAMES} AS given_d ON {of} AND given_d.decade = c.decade")
                asked.insert(0, "given_d.part")
            parts.append(f"coalesce({', '.join(asked)}) AS {name}_part")
        return f"SELECT low, high, {code} AS code, {', '.join(parts)} FROM ({levels}) AS c {' '.join(joins)}"

    def _frequencies(self) -> DataFrame:
        rows = [
            (name, value.partition("|")[0], int(value.partition("|")[2]) if "|" in value else None, part)
            for name in ("given", "family")
            if name in self._model.frequency
            for value, part in self._model.frequency[name].values.items()
        ]
        frame = self._session.createDataFrame(rows, "name string, value string, decade int, part bigint")
        return F.broadcast(frame)


def _function(near: Near) -> Callable[..., Any]:
    def work_out(*arrays: pa.Array) -> pa.Array:
        return worked_out(near, arrays)

    return work_out
