"""Columns written to tables: what is read back is what was given, on both engines."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    select,
)

import mpi.bulk.copy as copy_module
from foundation.database import Database, Json, UtcDateTime
from mpi.bulk.copy import blobs, or_none, put_columns, texts, texts_of
from mpi.service import trail

THINGS = Table(
    "copied_thing",
    MetaData(),
    Column("number", BigInteger),
    Column("count", Integer),
    Column("other", BigInteger),
    Column("is_good", Boolean),
    Column("at", UtcDateTime),
    Column("name", String(40)),
    Column("note", Text),
    Column("told", Json),
    Column("bytes", LargeBinary),
    prefixes=["TEMPORARY"],
)

BIG = st.integers(-(2**63), 2**63 - 1)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
ROWS = st.lists(
    st.tuples(
        BIG,
        st.integers(-(2**31), 2**31 - 1),
        st.one_of(st.none(), st.integers(1, 2**62)),
        st.booleans(),
        st.integers(-(10**15), 4 * 10**15),
        WORDS,
        st.one_of(st.none(), WORDS),
        st.integers(),
        st.binary(max_size=20),
    ),
    max_size=12,
)


def written(db: Database, columns: dict[str, Any], size: int) -> list[tuple[Any, ...]]:
    with db.write() as tx:
        THINGS.create(tx, checkfirst=True)
        tx.execute(THINGS.delete())
        put_columns(tx, THINGS, columns, size)
        return [tuple(row) for row in tx.execute(select(THINGS))]


@given(rows=ROWS, at_once=st.integers(1, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read_back(
    db: Database, rows: list[tuple[Any, ...]], at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(copy_module, "ROWS_AT_ONCE", at_once)
    columns = list(zip(*rows, strict=True)) or [()] * 9
    given_columns = {
        "number": np.array(columns[0], np.int64),
        "count": np.array(columns[1], np.int64),
        "other": or_none(np.array([one or 0 for one in columns[2]], np.int64)),
        "is_good": pa.array(columns[3], pa.bool_()),
        "at": pa.array(columns[4], pa.int64()),
        "name": texts(columns[5]),
        "note": texts(columns[6]),
        "told": texts([f'{{"n":{one}}}' for one in columns[7]]),
        "bytes": blobs(columns[8]),
    }

    found = written(db, given_columns, len(rows))

    wanted = [
        (
            *row[:4],
            datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row[4]),
            *row[5:7],
            {"n": row[7]},
            row[8],
        )
        for row in rows
    ]
    # A table has no order: rows take the places of others that were deleted.
    assert sorted(found, key=_place) == sorted(wanted, key=_place)


def _place(row: tuple[Any, ...]) -> str:
    return repr((row[:4], row[4].timestamp(), row[5:]))


def test_one_value_stands_for_all_rows(db: Database):
    at = datetime(2026, 1, 31, 12, 30, 15, 250, tzinfo=UTC)
    same = {
        "number": -7, "count": 3, "other": None, "is_good": False, "at": at, "name": "é", "note": None, "told": '["a"]', "bytes": b"\xff",
    }  # fmt: skip

    assert written(db, same, 3) == [(-7, 3, None, False, at, "é", None, ["a"], b"\xff")] * 3
    assert written(db, {"number": np.arange(2)}, 2) == [(0, *[None] * 8), (1, *[None] * 8)]
    assert written(db, {**same, "name": texts(["x", "yz"])}, 2)[1][5] == "yz"
    assert written(db, {**same, "is_good": np.array([True, False])}, 2)[0][3] is True


def test_texts_of_many_rows_are_those_that_the_document_says():
    ids, epochs = np.array([5, 2**62], np.int64), np.array([1, 0], np.int64)

    found = texts_of(trail.linked_detail, ids, ids + 1, ids + 2, epochs)

    assert found.to_pylist() == [
        '{"record_id":"5","epoch":1,"from_person_id":"6"}',
        f'{{"record_id":"{2**62}","epoch":0,"from_person_id":"{2**62 + 1}"}}',
    ]
    assert texts_of(trail.received_payload, ids[:0], 1, "new").to_pylist() == []
    assert texts_of(trail.changed_payload, ids[:1], epochs[:1], "why").to_pylist() == [
        '{"person_id":"5","epoch":1,"cause":"why"}'
    ]


def test_rows_are_not_written_outside_a_transaction(db: Database):
    with db.engine.connect() as connection:
        with pytest.raises(RuntimeError, match="within a transaction"):
            put_columns(connection, THINGS, {"number": 1}, 1)
