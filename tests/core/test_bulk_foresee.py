"""Facts about pairs, told by whole numbers: they say what the texts themselves say."""

from collections.abc import Sequence
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mpi.bulk.foresee import Disjoint, Equal, OneSided, Values
from mpi.bulk.records import Group, Records
from mpi.bulk.sql import expression_of
from mpi.matching.language import parse
from mpi.matching.text import count_words

NUMBERS = st.text("0129", min_size=8, max_size=18)
"""Texts of digits, some of which begin with noughts and some of which are too long to be one number."""

TEXTS = st.one_of(st.none(), st.just(""), NUMBERS, st.sampled_from(("07", "7", "+447", "٣٣", "7 ", "smith")))


def values_of(
    columns: dict[str, Sequence[object]], facts: Sequence[Equal | Disjoint | OneSided] = (), connection=None
):
    """Return facts over a table of such values."""
    size = len(next(iter(columns.values())))
    kinds = {"texts": pa.list_(pa.string()), "number": pa.int16()}
    table = pa.table({name: pa.array(told, kinds.get(name, pa.string())) for name, told in columns.items()})
    return Values(connection or engine(), Records((Group(table, None),), size), facts)


@cache
def engine() -> duckdb.DuckDBPyConnection:
    """Return one engine for all tests: to open one costs more than most of them."""
    return duckdb.connect()


def every_pair(size: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.divmod(np.arange(size * size, dtype=np.int32), size)
    return low, high


@given(st.lists(TEXTS, min_size=1, max_size=12), st.data())
def test_numbers_are_equal_where_texts_are(mine: list[str | None], data):
    theirs = data.draw(
        st.lists(st.one_of(st.sampled_from(mine), TEXTS), min_size=len(mine), max_size=len(mine))
    )
    one, other = every_pair(len(mine))
    values = values_of({"mine": mine, "theirs": theirs})
    both = values.are(Equal((0, 0), ("mine", "theirs")), one, other)
    own = values.are(Equal((0, 0), ("mine", "mine")), one, other)

    assert both.tolist() == [
        mine[a] is not None and mine[a] == theirs[b] for a, b in zip(one, other, strict=True)
    ]
    assert own.tolist() == [
        mine[a] is not None and mine[a] == mine[b] for a, b in zip(one, other, strict=True)
    ]


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=1, max_size=12))
def test_numbers_are_equal_where_they_are(told: list[int | None]):
    told = [None if one is None else abs(one) for one in told]
    one, other = every_pair(len(told))
    found = values_of({"number": told}).are(Equal((0, 0), ("number", "number")), one, other)

    assert found.tolist() == [
        told[a] is not None and told[a] == told[b] for a, b in zip(one, other, strict=True)
    ]


@given(st.lists(st.one_of(st.none(), st.lists(TEXTS.filter(bool), max_size=4)), min_size=1, max_size=8))
def test_what_shares_something_is_never_called_disjoint(lists: list[list[str] | None]):
    one, other = every_pair(len(lists))
    fact = Disjoint((0, 0), ("texts", "texts"), False)
    apart = values_of({"texts": lists}).are(fact, one, other).tolist()

    share = [bool(set(lists[a] or ()) & set(lists[b] or ())) for a, b in zip(one, other, strict=True)]
    assert not any(is_apart and shared for is_apart, shared in zip(apart, share, strict=True))
    is_none = [not lists[a] or not lists[b] for a, b in zip(one, other, strict=True)]
    assert all(is_apart for is_apart, none in zip(apart, is_none, strict=True) if none)


def test_most_of_what_shares_nothing_is_called_disjoint():
    lists = [[f"name {number}"] for number in range(12)]
    one, other = every_pair(len(lists))

    apart = values_of({"texts": lists}).are(Disjoint((0, 0), ("texts", "texts"), False), one, other)

    assert apart.sum() > 100
    assert not apart[one == other].any()


def test_what_is_expected_of_a_group_is_read_together_and_let_go_when_it_is_numbered():
    facts = (
        Equal((0, 0), ("mine", "mine")),
        Disjoint((0, 0), ("mine", "mine"), True),
        OneSided(0, 0, "mine = '7'"),
        Equal((0, 0), ("mine", "theirs")),
    )
    one, other = every_pair(3)
    with duckdb.connect() as connection:
        values = values_of({"mine": ["7", "8 7", ""], "theirs": ["8", "7", "7"]}, facts, connection)
        is_seven = values.holds(0, ["mine = '7'"])
    # The connection is closed: what follows was read with the first.
    assert [flags.tolist() for flags in is_seven] == [[True, False, False]]
    assert values.are(facts[0], one, other).tolist() == [a == b for a, b in zip(one, other, strict=True)]
    assert values.are(facts[3], one, other).tolist() == [False, True, True] + [False] * 6
    assert values.are(facts[1], one, other).tolist()[:3] == [False, False, True]
    assert values.are(facts[0], one, other).tolist() == [a == b for a, b in zip(one, other, strict=True)]


@given(st.text("ab ", max_size=8).map(lambda text: " ".join(text.split())))
def test_words_are_counted_alike(text: str):
    statement = expression_of(parse("count_words(a.gender)"))
    found = engine().execute(f"SELECT {statement} FROM (SELECT $1 AS gender)", [text]).fetchone()

    assert found == (count_words(text),)
