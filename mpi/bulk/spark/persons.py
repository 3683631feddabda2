"""Persons on Spark: components by label propagation, and the ordered rule for those that a veto could touch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from mpi.bulk.columns import SCHEMA, records_of
from mpi.bulk.partition import LARGE
from mpi.bulk.spark.components import LARGE_STAR, SMALL_STAR, UNSETTLED
from mpi.bulk.spark.rows import KEY, Keep, document_of, model_from
from mpi.bulk.spark.weigh import SparkWeigher
from mpi.matching import Edge, Member, Model, PairWeight, compare, partition, score
from mpi.matching.model import Quorum, Sole
from mpi.records import RecordKey

SETTLED = pa.schema(
    [("row", pa.int64()), ("person", pa.int64()), ("other", pa.int64()), ("veto", pa.string())]
)
"""Of the ordered rule: the person of a row; or, where ``veto`` stands, two rows whose join was refused."""

_EDGE = ("low", "high", "weight", "may_link", "may_join_alone")

ROUNDS = 60
"""Stars settle in about the square of the logarithm of the longest chain at worst; more rounds than this are a fault."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows with the persons that they are of (those of several records only), refused joins, and what is told of components."""

    person: DataFrame
    refused: DataFrame
    components: int
    ordered: int


def components_of(session: SparkSession, links: DataFrame, keep: Keep) -> DataFrame:
    """Return (row, label) of every row that links to another: the label is the least row of its component.

    Every half round is written and read back, so that no plan grows.
    """
    arrows = keep("arrows-00", links.selectExpr("high AS row", "low AS least").distinct())
    for number in range(1, ROUNDS):
        for half, statement in (("large", LARGE_STAR), ("small", SMALL_STAR)):
            arrows.createOrReplaceTempView("arrows")
            arrows = keep(f"arrows-{number:02}-{half}", session.sql(statement))
        arrows.createOrReplaceTempView("arrows")
        if not session.sql(UNSETTLED).collect()[0]["found"]:
            break
    else:
        raise RuntimeError("components did not settle")
    roots = arrows.select(F.col("least").alias("row")).distinct().selectExpr("row", "row AS label")
    return arrows.selectExpr("row", "least AS label").unionByName(roots)


def partition_records(
    session: SparkSession,
    records: DataFrame,
    edges: DataFrame,
    weigher: SparkWeigher,
    model: Model,
    parts: int,
    keep: Keep,
) -> Found:
    """Group rows into persons, as ``mpi.bulk.partition`` does.

    Only what a veto could touch, or what a record that is left over might join, is taken edge by edge.
    """
    found = _linked(session, records, edges, weigher, model, parts, keep)
    if model.sole is None:
        return found
    return _joined_alone(session, records, edges, model, model.sole, found, parts, keep)


def _linked(
    session: SparkSession,
    records: DataFrame,
    edges: DataFrame,
    weigher: SparkWeigher,
    model: Model,
    parts: int,
    keep: Keep,
) -> Found:
    """Group rows by the edges that link by themselves."""
    links = edges.where(f"may_link AND weight >= {model.thresholds.live}")
    labels = keep("labels", components_of(session, links, keep))
    # What may be taken whole unless one of its other pairs contradicts.
    vetoed = _vetoed(records, labels, edges, model)
    if model.quorum is not None:
        vetoed = vetoed.union(_held_unsurely(session, labels, links, model.quorum, keep)).distinct()
    vetoed = keep("vetoed", vetoed)
    against = keep("contradicted", _contradicted(labels, vetoed, edges, weigher, model, keep))
    vetoed = vetoed.unionByName(against)
    settled = keep("settled", _ordered(records, labels, vetoed, edges, replace(model, sole=None), parts))
    whole = labels.join(vetoed, "label", "left_anti").selectExpr("row", "label AS person")
    person = whole.unionByName(settled.where("veto IS NULL").select("row", "person"))
    refused = settled.where("veto IS NOT NULL").selectExpr("row AS low", "other AS high", "veto")
    components = labels.select("label").distinct().count()
    return Found(keep("persons-of-several", person), refused, components, vetoed.count())


def _joined_alone(
    session: SparkSession,
    records: DataFrame,
    edges: DataFrame,
    model: Model,
    sole: Sole,
    found: Found,
    parts: int,
    keep: Keep,
) -> Found:
    """Take again, by the rule itself, every component in which a record that joined nobody has a pair that may join it alone."""
    sized = keep(
        "persons-sized",
        found.person.join(found.person.groupBy("person").agg(F.count("*").alias("size")), "person"),
    )
    said = edges.where(f"weight >= {sole.rival}").select("low", "high", "may_join_alone")
    for row, person, size in (("low", "one", "one_size"), ("high", "two", "two_size")):
        of = sized.selectExpr(f"row AS {row}", f"person AS {person}", f"size AS {size}")
        said = said.join(of, row, "left").withColumn(person, F.coalesce(person, row))
    alone = "may_join_alone AND (coalesce(one_size, 1) = 1 OR coalesce(two_size, 1) = 1)"
    apart = keep("apart", said.where("one <> two").select("one", "two", F.expr(alone).alias("is_asked")))
    links = apart.selectExpr("least(one, two) AS low", "greatest(one, two) AS high")
    whose = components_of(session, links, lambda name, frame: keep(f"persons-{name}", frame))
    asked = apart.where("is_asked").selectExpr("one AS row").join(whose, "row").select("label").distinct()
    wanted = keep("left-over", asked)
    persons = keep("left-over-persons", whose.join(wanted, "label").selectExpr("row AS person", "label"))
    several = found.person.join(persons, "person").select("row", "label")
    single = persons.join(found.person, "person", "left_anti").selectExpr("person AS row", "label")
    labels = keep("left-over-labels", several.unionByName(single))
    settled = keep("left-over-settled", _ordered(records, labels, wanted, edges, model, parts))
    person = found.person.join(labels, "row", "left_anti").unionByName(
        settled.where("veto IS NULL").select("row", "person")
    )
    refused = found.refused.join(labels.select(F.col("row").alias("low")), "low", "left_anti").unionByName(
        settled.where("veto IS NOT NULL").selectExpr("row AS low", "other AS high", "veto")
    )
    return Found(keep("persons-left-over", person), refused, found.components, found.ordered + wanted.count())


def _inside(edges: DataFrame, labels: DataFrame) -> DataFrame:
    """Return those edges whose two rows are of one component, with its label."""
    low = labels.selectExpr("row AS low", "label")
    high = labels.selectExpr("row AS high", "label AS other_label")
    return edges.join(low, "low").join(high, "high").where("label = other_label").drop("other_label")


def _vetoed(records: DataFrame, labels: DataFrame, edges: DataFrame, model: Model) -> DataFrame:
    """Return the components that cannot be taken whole, by what is known of their records and edges."""
    verified = "CASE WHEN number_state = 'v' THEN nullif(number, '') END"
    born = "nullif(birth_order, 0)"
    two = " OR ".join(f"min({one}) <> max({one})" for one in (verified, born))
    by_records = (
        labels.join(records.select("row", "number", "number_state", "birth_order"), "row")
        .groupBy("label")
        .agg(F.expr(f"count(*) > {min(model.group_limit, LARGE)} OR coalesce({two}, false)").alias("has"))
        .where("has")
        .select("label")
    )
    told = f"evidence <= {model.thresholds.contradiction}"
    near = _inside(edges.where(told), labels).select("label")
    return by_records.union(near).distinct()


def _held_unsurely(
    session: SparkSession, labels: DataFrame, links: DataFrame, quorum: Quorum, keep: Keep
) -> DataFrame:
    """Return the components of two groups of two, at the least, that the pairs which are sure by themselves leave in parts."""
    sure = links.where(f"weight >= {quorum.sure}")
    parts = keep("parts", components_of(session, sure, lambda name, frame: keep(f"parts-{name}", frame)))
    low, high = (parts.selectExpr(f"row AS {row}", f"label AS {row}_part") for row in ("low", "high"))
    several = labels.groupBy("label").agg(F.count("*").alias("size")).where("size >= 4").select("label")
    unsure = links.where(f"weight < {quorum.sure}").join(low, "low", "left").join(high, "high", "left")
    apart = unsure.where("coalesce(low_part, low) <> coalesce(high_part, high)").select("low", "high")
    return _inside(apart, labels).select("label").join(several, "label").distinct()


def _contradicted(
    labels: DataFrame, vetoed: DataFrame, edges: DataFrame, weigher: SparkWeigher, model: Model, keep: Keep
) -> DataFrame:
    """Weigh the pairs inside other components that are no edges, and return those components that one of them contradicts."""
    several = labels.groupBy("label").agg(F.count("*").alias("size")).where("size > 2").select("label")
    open_ = labels.join(several, "label").join(vetoed, "label", "left_anti")
    low, high = open_.alias("low"), open_.alias("high")
    missed = (
        low.join(high, F.expr("low.label = high.label AND low.row < high.row"))
        .selectExpr("low.row AS low", "high.row AS high")
        .join(edges.select("low", "high"), ["low", "high"], "left_anti")
    )
    coded = keep("missed", weigher.coded(missed))
    against = weigher.weighed(coded).where(f"evidence <= {model.thresholds.contradiction}")
    return against.join(labels, F.expr("row = low")).select("label").distinct()


def _ordered(
    records: DataFrame,
    labels: DataFrame,
    vetoed: DataFrame,
    edges: DataFrame,
    model: Model,
    parts: int,
) -> DataFrame:
    """Take components edge by edge, each whole in one bucket, by the rule itself."""
    document, limit = document_of(model), model.thresholds.live
    said = {"is_sole": model.sole is not None, "is_lenient": model.is_lenient}
    bucket = F.expr(f"pmod(xxhash64(label), {parts})")
    chosen = labels.join(vetoed, "label")
    members = chosen.join(records, "row").select(bucket.alias("bucket"), "label", *records.columns)
    # Both come from the same labels: names of its own tell Spark which side's are meant.
    claims = _inside(edges, chosen).select(bucket.alias("basket"), F.col("label").alias("of"), *_EDGE)

    def take(ours: pa.Table, theirs: pa.Table) -> pa.Table:
        return pa.table(_taken(ours, theirs, document, limit, **said), schema=SETTLED)

    return (
        members.groupBy("bucket")
        .cogroup(claims.groupBy("basket"))
        .applyInArrow(take, from_arrow_schema(SETTLED))
    )


def _taken(
    members: pa.Table, claims: pa.Table, document: str, live: int, *, is_sole: bool, is_lenient: bool
) -> dict[str, list[Any]]:
    model = model_from(document)
    thresholds = replace(model.thresholds, live=live)
    sole = model.sole if is_sole else None
    model = replace(model, thresholds=thresholds, sole=sole, is_lenient=is_lenient)
    edges_of: dict[int, list[Edge]] = {}
    columns = (claims.column(name).to_pylist() for name in ("of", *_EDGE))
    for label, *edge in zip(*columns, strict=True):
        edges_of.setdefault(label, []).append(Edge(*edge))
    found: dict[str, list[Any]] = {name: [] for name in SETTLED.names}
    for label, some in _by_label(members):
        rows = some.column("row").to_pylist()
        forms = dict(zip(rows, records_of(some.select(SCHEMA.names)), strict=True))
        keys = zip(*(some.column(name).to_pylist() for name in KEY), strict=True)
        people = {
            row: Member.of(row, RecordKey(*key), forms[row]) for row, key in zip(rows, keys, strict=True)
        }
        known: dict[tuple[int, int], PairWeight] = {}

        def weigh(low: int, high: int, forms: Any = forms, known: Any = known) -> PairWeight:
            said: PairWeight | None = known.get((low, high))
            if said is None:
                pair = compare(forms[low], forms[high], model)
                said = known[low, high] = PairWeight.of(score(pair, model))
            return said

        made = partition(people, edges_of.get(label, ()), (), model, weigh)
        told: list[tuple[Any, ...]] = [(row, group[0], None, None) for group in made.groups for row in group]
        told += [(one.low_id, None, one.high_id, one.veto) for one in made.refused]
        for line in told:
            for name, value in zip(SETTLED.names, line, strict=True):
                found[name].append(value)
    return found


def _by_label(members: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    ordered = members.sort_by([("label", "ascending"), ("row", "ascending")])
    counts = pc.value_counts(ordered.column("label").combine_chunks()).to_pylist()
    start = 0
    for one in counts:
        yield one["values"], ordered.slice(start, one["counts"])
        start += one["counts"]
