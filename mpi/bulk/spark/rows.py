"""From files to numbered records on Spark: each file read by one task, each part normalised by the functions of ``mpi.bulk``."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import IntegerType, LongType, StringType, StructField, StructType

from foundation.errors import Invalid
from mpi.bulk.columns import SCHEMA
from mpi.bulk.normalise import RowReader, normalise_rows, said_of
from mpi.bulk.read import NameColumns, Raw, Reject, open_files
from mpi.matching import Model, build_model

KEY = ("organisation", "system", "local_id")
_KEY_FIELDS = [(name, pa.string()) for name in KEY]
NORMALISED = pa.schema([*_KEY_FIELDS, *SCHEMA, ("told", pa.string())])
"""Normalised records with their keys; of every part one row more, in which only ``told`` stands: counts and rejects as JSON."""

RECORDS = pa.schema([("row", pa.int64()), *_KEY_FIELDS, *SCHEMA])


@lru_cache(maxsize=2)
def model_from(document: str) -> Model:
    """Return a model on an executor; its functions are compiled there, once in each process."""
    return build_model(json.loads(document))


def document_of(model: Model) -> str:
    return json.dumps(dict(model.document))


# Files -----------------------------------------------------------------------------------------------------------


def read_files(
    session: SparkSession, files: Sequence[Path], name_columns: NameColumns, folder: Path
) -> dict[str, Any]:
    """Write every file as Parquet, each by one task; return the columns, the number of rows, and the lines that were unreadable.

    Raises:
        Invalid: about the first file that is refused.
    """

    def read(numbered: tuple[int, Path]) -> tuple[str, ...] | dict[str, Any]:
        number, path = numbered
        place = folder / f"{number:05}"
        place.mkdir(parents=True, exist_ok=True)
        try:
            with duckdb.connect() as connection:
                connection.execute("SET threads = 1").fetchall()
                raw = open_files(connection, [path], name_columns, place)
                said = [(number, one.row, one.field, one.code) for one in raw.unreadable]
                return {"columns": raw.columns, "rows": raw.size, "unreadable": said}
        except Invalid as fault:
            return {"fault": (fault.code, fault.field, fault.row, fault.detail)}

    context = session.sparkContext
    found = context.parallelize(list(enumerate(files)), len(files)).map(read).collect()
    for one in found:
        if "fault" in one:
            code, field, row, detail = one["fault"]
            raise Invalid(code, field=field, row=row, detail=detail)
    return {
        "columns": list(dict.fromkeys(name for one in found for name in one["columns"])),
        "rows": sum(one["rows"] for one in found),
        "unreadable": [line for one in found for line in one["unreadable"]],
    }


def raw_rows(session: SparkSession, folder: Path, columns: Sequence[str]) -> DataFrame:
    """Return the rows of all files: our columns as text, and where each stood."""
    fields = [StructField(name, StringType()) for name in columns]
    schema = StructType([*fields, StructField("row_number", LongType())])
    number = F.regexp_extract(F.col("_metadata.file_path"), r"/(\d+)/raw\.parquet$", 1)
    frame = session.read.schema(schema).parquet(f"{folder.as_uri()}/*/raw.parquet")
    return frame.withColumn("file_number", number.cast(IntegerType()))


# Normalisation ---------------------------------------------------------------------------------------------------


def superseded(raw: DataFrame, columns: Sequence[str], read_row: RowReader) -> dict[str, list[str]]:
    """Return the NHS numbers that rows say were superseded, each with those in its place: few, and of all parts together."""
    if "nhs_number_superseded_by" not in columns:
        return {}
    visible = F.concat_ws("\x1f", *(_visible(name) for name in KEY))
    keyed = raw.withColumn("record_key", visible)
    telling = keyed.where(F.trim("nhs_number_superseded_by") != "").select("record_key").distinct()
    rows = keyed.join(F.broadcast(telling), "record_key").orderBy("file_number", "row_number").collect()
    read = (read_row(columns, [row[name] or "" for name in columns]) for row in rows)
    times = [row["updated_at"] if "updated_at" in columns else None for row in rows]
    return {old: sorted(new) for old, new in said_of(zip(times, read, strict=True)).items()}


def _visible(name: str) -> Column:
    return F.regexp_replace(F.coalesce(F.col(name), F.lit("")), "[^!-~]", "")


def normalised(
    raw: DataFrame,
    columns: Sequence[str],
    model: Model,
    today: date,
    read_row: RowReader,
    parts: int,
    said: Mapping[str, Sequence[str]],
) -> DataFrame:
    """Normalise rows part by part; all versions of a record are in one part, in the order in which they stood.

    Only the visible letters of ``local_id`` choose the part: whatever a reader strips, one key has one part.

    Args:
        said: as ``superseded`` returns it.
    """
    document = document_of(model)
    names = tuple(columns)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held = list(batches)
        if held:
            yield from _normalised(pa.Table.from_batches(held), names, document, today, read_row, said)

    together = raw.repartition(parts, _visible("local_id")).sortWithinPartitions("file_number", "row_number")
    return together.mapInArrow(work, from_arrow_schema(NORMALISED))


def _normalised(
    table: pa.Table,
    columns: tuple[str, ...],
    document: str,
    today: date,
    read_row: RowReader,
    superseding: Mapping[str, Sequence[str]],
) -> Iterator[pa.RecordBatch]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1").fetchall()
        connection.register("bulk_raw", table)
        raw = Raw(connection, "bulk_raw", columns, table.num_rows, ())
        found = normalise_rows(raw, model_from(document), today, read_row, superseding)
        records = found.records
        said = {
            "rows": found.rows,
            "older_versions": found.older_versions,
            "values": found.values,
            "rejects": [astuple(one) for one in found.rejects],
        }
        for start in range(0, records.size, 10_000):
            places = pa.array(range(start, min(records.size, start + 10_000)), pa.int64())
            some = records.taken(SCHEMA.names, places.to_numpy())
            keys = found.keys.take(places)
            yield from _batches(
                {
                    **{name: keys.column(name) for name in KEY},
                    **some,
                    "told": pa.nulls(len(places), pa.string()),
                },
                NORMALISED,
            )
    told = {name: pa.nulls(1, NORMALISED.field(name).type) for name in NORMALISED.names}
    yield from _batches({**told, "told": pa.array([json.dumps(said)])}, NORMALISED)


def _batches(columns: Mapping[str, Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    table = pa.table({name: columns[name] for name in schema.names}).cast(schema).combine_chunks()
    yield from table.to_batches()


def counted(frame: DataFrame, unreadable: Sequence[Sequence[Any]]) -> tuple[dict[str, Any], list[Reject]]:
    """Add up what the parts told, and return the rejects in order."""
    lines: dict[int, list[int]] = {}
    for file, row, *_ in unreadable:
        lines.setdefault(file, []).append(row)
    rejects = {Reject(*one) for one in unreadable}
    rows, older = len({(file, row) for file, row, *_ in unreadable}), 0
    values: dict[str, int] = {}
    for (text,) in frame.where("told IS NOT NULL").select("told").toLocalIterator():
        said = json.loads(text)
        rows += said["rows"]
        older += said["older_versions"]
        for name, count in said["values"].items():
            values[name] = values.get(name, 0) + count
        for file, row, field, code in said["rejects"]:
            rejects.add(Reject(file, _line(row, lines.get(file, ())), field, code))
    counts = {
        "rows": rows,
        "rejected": len({(one.file, one.row) for one in rejects}),
        "older_versions": older,
        "distinct_values": values,
    }
    return counts, sorted(rejects, key=lambda one: (one.file, one.row, one.field or "", one.code))


def _line(row: int, unreadable: Sequence[int]) -> int:
    """Count unreadable rows back in: the engine numbers only those that it could read."""
    for line in unreadable:
        if line > row:
            break
        row += 1
    return row


# Numbers ---------------------------------------------------------------------------------------------------------

_PLACES = 33
"""The bits of Spark's own ids that count within a partition."""

Keep = Callable[[str, DataFrame], DataFrame]


def numbered(frame: DataFrame, by: Sequence[str], name: str, start: int, keep: Keep) -> DataFrame:
    """Put rows in order over all partitions and give each its place in a first column; ``keep`` writes a frame and reads it back."""
    parts = int(frame.sparkSession.conf.get("spark.sql.shuffle.partitions") or 1)
    ordered = frame.repartitionByRange(parts, *by).sortWithinPartitions(*by)
    kept = keep(f"{name}-ordered", ordered.withColumn("place", F.monotonically_increasing_id()))
    part = F.shiftright("place", _PLACES)
    sizes = sorted(
        (row["part"], row["size"])
        for row in kept.groupBy(part.alias("part")).agg(F.count("*").alias("size")).collect()
    )
    offsets = []
    for number, size in sizes:
        offsets.append((number, start))
        start += size
    before = F.broadcast(frame.sparkSession.createDataFrame(offsets, "part long, before long"))
    return (
        kept.withColumn("part", part)
        .join(before, "part")
        .select(
            (F.col("before") + F.col("place") - F.shiftleft("part", _PLACES)).alias(name),
            *(one for one in kept.columns if one != "place"),
        )
    )
