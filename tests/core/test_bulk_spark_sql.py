"""Spark's share of bulk linking that needs no Spark: translated SQL, levels of which Python works out a part, components by stars."""

import random
import re
from collections.abc import Iterable

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sqlglot import parse_one

from mpi.bulk.columns import SCHEMA
from mpi.bulk.records import Records
from mpi.bulk.spark.components import LARGE_STAR, SMALL_STAR, UNSETTLED
from mpi.bulk.spark.near import split, worked_out
from mpi.bulk.spark.translate import keys_on_spark, levels_on_spark
from mpi.bulk.sql import compare_statement
from mpi.matching import FIELDS, build_model
from mpi.matching.definition import KEY_RULES, program_of
from tests.core.matching_builders import MODEL
from tests.core.test_bulk_parity import odd_people
from tests.core.test_matching_definition import a_document

# What tests/long asks Spark for by name.
SPARKS_FUNCTIONS = frozenset(
    (
        "array_contains", "array_min", "ascii", "cast", "concat", "explode", "filter", "flatten", "get", "greatest", "least", "left",
        "length", "lpad", "named_struct", "size", "split", "startswith", "struct", "transform", "xxhash64", "zip_with",
    )
)  # fmt: skip

MODELS = {
    "shipped": MODEL,
    "two fields": build_model(a_document("family", "birth_date")),
    **{
        f"without {left_out}": build_model(a_document(*(name for name in FIELDS if name != left_out)))
        for left_out in ("given", "family", "birth_date")
    },
}


def functions_of(statement: str) -> set[str]:
    """Return the functions that a statement calls; the printer sets keywords apart from a bracket, and functions not."""
    return {name.lower() for name in re.findall(r"\b(\w+)\(", re.sub(r"'[^']*'", "''", statement))}


@pytest.mark.parametrize("rule", sorted(KEY_RULES))
@pytest.mark.parametrize("with_text", [False, True])
def test_the_keys_of_a_rule_are_said_in_words_that_spark_knows(rule: str, with_text: bool):
    statement = keys_on_spark(rule, "records", with_text=with_text)

    assert functions_of(statement) - SPARKS_FUNCTIONS == set()
    assert parse_one(statement, dialect="spark").named_selects[:2] == ["row", "key"]


@pytest.mark.parametrize("name", MODELS)
def test_the_levels_of_a_model_are_said_in_words_that_spark_knows(name: str):
    statement, nears = levels_on_spark(program_of(MODELS[name].specs), "pairs", ("low", "high"))

    ours = {f"mpi_{near.step.name}" for near in nears}
    assert functions_of(statement) - SPARKS_FUNCTIONS == ours
    assert parse_one(statement, dialect="spark").named_selects[:2] == ["low", "high"]


def test_no_function_in_python_stands_in_a_lambda():
    statement, _ = levels_on_spark(program_of(MODEL.specs), "pairs", ())

    # Spark would refuse it, but only when the statement is run.
    assert re.findall(r"-> [^,]*mpi_near", statement.lower()) == []


def pairs_of(people: list, count: int, seed: int) -> pa.Table:
    dice = np.random.default_rng(seed)
    a, b = (dice.integers(len(people), size=count) for _ in range(2))
    records = Records.of(people, MODEL)
    columns = {"pair": pa.array(np.arange(count))}
    for letter, rows in (("a", a), ("b", b)):
        columns |= {f"{letter}_{name}": column for name, column in records.taken(SCHEMA.names, rows).items()}
    return pa.table(columns)


@pytest.mark.parametrize("name", ["shipped", "two fields", "without given"])
def test_what_python_works_out_is_a_step_of_the_same_program(name: str):
    model = MODELS[name]
    program, nears = split(program_of(model.specs))
    people = [one for one in odd_people(21, 600) if _is_ascii(one)]
    pairs = pairs_of(people, 1_500, 22)
    steps = [f"step_{one}" for near in nears for one in (near.asked, near.step.name) if one]
    with duckdb.connect() as connection:
        connection.register("pairs", pairs)
        found = connection.sql(
            compare_statement(program, "pairs", ("pair", *steps)) + " ORDER BY pair"
        ).to_arrow_table()

    whole = compare_statement(program_of(model.specs), "pairs", ("pair",)) + " ORDER BY pair"
    with duckdb.connect() as connection:
        connection.register("pairs", pairs)
        assert connection.sql(whole).to_arrow_table().equals(found.drop_columns(steps))
    for near in nears:
        asked = [found.column(f"step_{near.asked}").combine_chunks()] if near.asked else []
        arrays = [*asked, *(pairs.column(one).combine_chunks() for one in near.arguments())]
        worked = worked_out(near, arrays).to_pylist()
        assert worked == found.column(f"step_{near.step.name}").to_pylist(), near.step.name


def _is_ascii(person) -> bool:
    texts = (*person.given, *person.middle, *person.family, *person.previous, *person.halves, person.number)
    return all(map(str.isascii, texts)) and all(place.words.isascii() for place in person.places)


# Components ------------------------------------------------------------------------------------------------------


def settled(links: Iterable[tuple[int, int]]) -> tuple[dict[int, int], int]:
    """Run the statements until nothing moves; return every row's least and the number of rounds."""
    with duckdb.connect() as connection:
        low, high = (pa.array(side) for side in zip(*links, strict=True))
        connection.register("links", pa.table({"row": high, "least": low}))
        connection.execute("CREATE TABLE arrows AS SELECT * FROM links")
        rounds = 0
        while rounds == 0 or connection.execute(UNSETTLED).fetchall()[0][0]:
            rounds += 1
            for statement in (LARGE_STAR, SMALL_STAR):
                connection.execute(f"CREATE OR REPLACE TABLE arrows AS {statement}")
        return dict(connection.execute("SELECT row, least FROM arrows").fetchall()), rounds


@pytest.mark.parametrize("seed", range(3))
def test_components_are_those_of_the_graph(seed: int):
    dice = random.Random(seed)
    size = 2_000
    links = {tuple(sorted(dice.sample(range(size), 2))) for _ in range(size // 2 + seed * 500)}
    low, high = zip(*links, strict=True)
    graph = coo_array((np.ones(len(links)), (low, high)), shape=(size, size))
    label = connected_components(graph, directed=False)[1]
    least = {one: int(np.flatnonzero(label == one)[0]) for one in set(label[list({*low, *high})].tolist())}

    found, _ = settled(links)

    assert {row: found.get(row, row) for row in {*low, *high}} == {
        row: least[int(label[row])] for row in {*low, *high}
    }


def test_a_long_chain_is_not_walked_link_by_link():
    order = list(range(2_000))
    random.Random(5).shuffle(order)

    found, rounds = settled(tuple(sorted(pair)) for pair in zip(order, order[1:], strict=False))

    assert set(found.values()) == {0}
    assert len(found) == 1_999
    assert rounds < 13
