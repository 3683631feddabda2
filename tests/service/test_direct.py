"""Statements in the driver's own words: they write and read what SQLAlchemy would, on both databases, and fail as it would."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    event,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

import foundation.database
from foundation.audit import written
from foundation.database import LOCK_PERSON, Database, Id, Json, UtcDateTime, is_retryable, lock, lock_space
from foundation.direct import Statement, Writes, write_rows
from foundation.errors import Unavailable
from tests.engines import APPLICATION, MIGRATOR

_shapes = MetaData()
SHAPES = Table(
    "direct_shape",
    _shapes,
    Column("number", Id, primary_key=True, autoincrement=False),
    Column("small", Integer),
    Column("flag", Boolean),
    Column("word", String(20)),
    Column("words", Text),
    Column("json", Json),
    Column("bytes", LargeBinary),
    Column("at", UtcDateTime),
)
OTHERS = Table("direct_other", _shapes, Column("number", Id, primary_key=True, autoincrement=False))
NUMBERS = Statement.alike("SELECT number, words FROM direct_shape WHERE number {among} ORDER BY number")


@pytest.fixture
def shapes(db: Database, migrator_url: str) -> Iterator[Database]:
    owner = Database(migrator_url)
    with owner.write() as tx:
        _shapes.create_all(tx)
        if not db.is_sqlite:
            for table in _shapes.tables:
                tx.execute(text(f"grant all on {table} to {APPLICATION}"))
    yield db
    with owner.write() as tx:
        _shapes.drop_all(tx)
    owner.close()


def rows(db: Database) -> list[dict[str, Any]]:
    with db.read() as tx:
        return [dict(row) for row in tx.execute(select(SHAPES).order_by(SHAPES.c.number)).mappings()]


# No NUL: PostgreSQL keeps none in text, and records that hold one are refused before.
_texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=20)
_instants = st.integers(-(10**15), 10**15).map(
    lambda microseconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
_shape = st.fixed_dictionaries(
    {
        "small": st.none() | st.integers(-(2**31), 2**31 - 1),
        "flag": st.none() | st.booleans(),
        "word": st.none() | _texts,
        "words": st.none()
        | _texts
        | st.sampled_from(["", "NULL", "null", '"', "\\", "\\\\x00", "{a,b}", "%s", " "]),
        "json": st.none() | st.dictionaries(_texts, st.none() | st.integers() | _texts, max_size=3),
        "bytes": st.none() | st.binary(max_size=8),
        "at": st.none() | _instants,
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_rows=st.lists(_shape, min_size=1, max_size=4))
def test_what_is_written_reads_back_whatever_it_is(
    shapes: Database, given_rows: list[dict[str, Any]]
) -> None:
    numbered = [{"number": -(2**62) + place, **row} for place, row in enumerate(given_rows)]
    with shapes.write() as tx:
        tx.execute(SHAPES.delete())

    with shapes.write() as tx:
        write_rows(tx, lambda writes: writes.insert(SHAPES, numbered))

    assert rows(shapes) == numbered


def test_an_instant_keeps_its_place_in_time_and_needs_a_zone(shapes: Database) -> None:
    at = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    with shapes.write() as tx:
        write_rows(tx, lambda writes: writes.insert(SHAPES, [{"number": 1, "at": at}]))

    assert rows(shapes)[0]["at"] == datetime(2026, 7, 1, 11, tzinfo=UTC)
    with pytest.raises((ValueError, StatementError), match="zone"), shapes.write() as tx:
        bare = {"number": 2, "at": at.replace(tzinfo=None)}
        write_rows(tx, lambda writes: writes.insert(SHAPES, [bare]))


def test_rows_that_are_there_stay_or_change_as_they_are_told_to(shapes: Database) -> None:
    first = [{"number": number, "word": "old", "words": "old"} for number in (1, 2)]
    again = [{"number": number, "word": "new", "words": "new"} for number in (2, 3)]
    with shapes.write() as tx:
        write_rows(tx, lambda writes: writes.insert(SHAPES, first))

    with shapes.write() as tx:
        writes = Writes(tx)
        writes.insert_ignore(SHAPES, again, ("number",))
        count = writes.flush()
    kept = [(row["number"], row["word"]) for row in rows(shapes)]
    with shapes.write() as tx:
        write_rows(tx, lambda writes: writes.upsert(SHAPES, again, ("number",), ("word",)))
    put = [(row["number"], row["word"], row["words"]) for row in rows(shapes)]
    with shapes.write() as tx:
        changes = [{"words": "last", "number": number} for number in (1, 3, 4)]
        write_rows(tx, lambda writes: writes.update(SHAPES, changes, "number"))
    changed = [(row["number"], row["words"]) for row in rows(shapes)]

    assert count == 1
    assert kept == [(1, "old"), (2, "old"), (3, "new")]
    assert put == [(1, "old", "old"), (2, "new", "old"), (3, "new", "new")]
    assert changed == [(1, "last"), (2, "old"), (3, "last")]


def test_rows_that_are_named_go_and_the_others_stay(shapes: Database) -> None:
    with shapes.write() as tx:
        write_rows(
            tx,
            lambda writes: writes.insert(
                SHAPES, [{"number": number, "small": number % 2, "word": "one"} for number in range(6)]
            ),
        )
    named = [{"number": number, "small": small} for number, small in ((1, 1), (2, 0), (3, 0), (9, 1))]
    with shapes.write() as tx:
        writes = Writes(tx)
        writes.delete(SHAPES, named)
        writes.delete(SHAPES, [])
        writes.insert(SHAPES, [{"number": 7, "word": "two"}])
        writes.flush()

    assert [row["number"] for row in rows(shapes)] == [0, 3, 4, 5, 7]


def test_a_statement_that_gives_no_rows_does_what_it_says(shapes: Database) -> None:
    mark = Statement.alike("UPDATE direct_shape SET word = 'marked' WHERE number {among}")
    with shapes.write() as tx:
        write_rows(tx, lambda writes: writes.insert(SHAPES, [{"number": n, "word": "old"} for n in range(3)]))
        for _ in range(4):
            mark.act(tx, [0, 2])

    assert [row["word"] for row in rows(shapes)] == ["marked", "old", "marked"]


def test_rows_of_several_tables_are_one_statement_on_postgresql(shapes: Database) -> None:
    sent: list[str] = []
    with shapes.write() as tx:
        event.listen(tx, "before_cursor_execute", lambda *told: sent.append(told[2]))
        writes = Writes(tx)
        writes.insert(SHAPES, [{"number": number} for number in range(50)])
        writes.insert(OTHERS, [{"number": number} for number in range(50)])
        writes.insert(OTHERS, [])
        writes.flush()

    assert len(sent) == (2 if shapes.is_sqlite else 1)
    with shapes.read() as tx:
        assert tx.execute(text("select count(*) from direct_other")).scalar_one() == len(rows(shapes)) == 50


def test_nothing_to_write_is_no_statement(shapes: Database) -> None:
    with shapes.write() as tx:
        event.listen(tx, "before_cursor_execute", lambda *_: pytest.fail("a statement was sent"))
        write_rows(tx, lambda writes: writes.update(SHAPES, [], "number"))


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_statement_reads_the_same_whether_or_not_somebody_watches(
    shapes: Database, is_watched: bool
) -> None:
    with shapes.write() as tx:
        write_rows(
            tx, lambda writes: writes.insert(SHAPES, [{"number": n, "words": f"{n}"} for n in range(5)])
        )

    with shapes.read() as tx:
        if is_watched:
            event.listen(tx, "before_cursor_execute", lambda *_: None)
        found = [tuple(row) for row in NUMBERS.rows(tx, {4, 2, 9})]
        none = NUMBERS.rows(tx, [])

    assert found == [(2, "2"), (4, "4")]
    assert none == []


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_statement_that_fails_raises_what_sqlalchemy_would_and_leaves_nothing(
    shapes: Database, is_watched: bool
) -> None:
    with pytest.raises(IntegrityError) as refused, shapes.write() as tx:
        if is_watched:
            event.listen(tx, "before_cursor_execute", lambda *_: None)
        write_rows(tx, lambda writes: writes.insert(SHAPES, [{"number": 1, "words": "a secret"}]))
        write_rows(tx, lambda writes: writes.insert(SHAPES, [{"number": 1, "words": "a secret"}]))

    assert "a secret" not in str(refused.value)
    assert not is_retryable(refused.value)
    assert rows(shapes) == []


def test_of_several_writes_only_a_failing_audit_row_is_called_one(shapes: Database) -> None:
    with pytest.raises(IntegrityError), shapes.write() as tx:
        with written():
            write_rows(tx, lambda writes: writes.insert(OTHERS, [{"number": 1}, {"number": 1}]))
    with pytest.raises(Unavailable, match="audit-unavailable"), shapes.write() as tx:
        with written():
            tx.execute(text("insert into audit_event (event_id) values (1)"))


# Connections and locks -----------------------------------------------------------------------------------------------


def test_a_connection_that_was_lost_while_it_rested_is_made_anew(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, other = Database(postgresql_url, pool_size=1), Database(postgresql_url)
    with db.read() as tx:
        lost = tx.execute(text("select pg_backend_pid()")).scalar_one()
    with other.write() as tx:
        assert tx.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": lost}).scalar_one()
    monkeypatch.setattr(foundation.database, "_RESTED_SECONDS", 0.0)

    with db.read() as tx:
        fresh = tx.execute(text("select pg_backend_pid()")).scalar_one()

    assert fresh != lost
    db.close()
    other.close()


@pytest.mark.parametrize("told", [1, 5])
def test_a_connection_that_is_lost_in_use_may_be_taken_again(postgresql_url: str, told: int) -> None:
    db, other = Database(postgresql_url, pool_size=1), Database(postgresql_url)
    one = Statement.alike("SELECT pg_backend_pid()")
    with pytest.raises(DBAPIError) as lost, db.write() as tx:
        for _ in range(told):
            pid = one.rows(tx)[0][0]
        with other.write() as killing:
            killing.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        one.rows(tx)

    assert lost.value.connection_invalidated
    assert is_retryable(lost.value)
    with db.write() as tx:
        assert one.rows(tx)[0][0] != pid
    db.close()
    other.close()


def test_a_lock_that_is_not_waited_for_says_whether_all_are_held(postgresql_url: str) -> None:
    db = Database(postgresql_url)
    with db.write() as one, db.write() as other:
        assert lock(one, LOCK_PERSON, [3, 1])

        assert lock(other, LOCK_PERSON, [2, 4], wait=False)
        assert not lock(other, LOCK_PERSON, [5, 3], wait=False)
        assert not lock(other, LOCK_PERSON, [1], shared=True, wait=False)
    with db.write() as other:
        assert lock(other, LOCK_PERSON, [1, 3], wait=False)
    db.close()


@pytest.mark.parametrize("whole", [False, True], ids=["one", "the-space"])
def test_a_shared_lock_is_waited_for_and_overtakes_nobody_who_waits_for_it_alone(
    postgresql_url: str, whole: bool
) -> None:
    db, had = Database(postgresql_url), []

    def hold(name: str, *, alone: bool) -> None:
        with db.write() as tx:
            if alone and whole:
                lock_space(tx, LOCK_PERSON)
            else:
                lock(tx, LOCK_PERSON, [1], shared=not alone)
            had.append(name)

    with db.write() as first, ThreadPoolExecutor(2) as hands:
        lock(first, LOCK_PERSON, [1], shared=True)
        with db.write() as beside:
            lock(beside, LOCK_PERSON, [1], shared=True)  # shared by all who decide
        alone = hands.submit(hold, "alone", alone=True)
        waiting(db, 1)
        later = hands.submit(hold, "later", alone=False)
        waiting(db, 2)
        assert had == []
        first.rollback()
        alone.result(60)
        later.result(60)

    assert had == ["alone", "later"]
    db.close()


def waiting(db: Database, count: int) -> None:
    """Wait until so many wait for an advisory lock."""
    until = time.monotonic() + 60
    question = text("select count(*) from pg_locks where locktype = 'advisory' and not granted")
    while time.monotonic() < until:
        with db.read() as tx:
            if tx.execute(question).scalar_one() == count:
                return
        time.sleep(0.01)
    raise AssertionError(f"{count} should wait for a lock")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A process that Ctrl-C interrupts, even where it was started in the background, which is deaf to it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("told", [0, 5])
def test_who_waits_for_a_lock_hears_an_interruption(postgresql_url: str, told: int) -> None:
    db = Database(postgresql_url, pool_size=2)
    with db.write() as holder, db.held() as connection:
        lock(holder, LOCK_PERSON, [1])
        for _ in range(told):  # the line prepares it
            with connection.write() as tx:
                lock(tx, LOCK_PERSON, [2])
        interrupting = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
        interrupting.start()
        with pytest.raises(KeyboardInterrupt), connection.write() as tx:
            lock(tx, LOCK_PERSON, [1])
        interrupting.join()

        with connection.write() as tx:
            assert not lock(tx, LOCK_PERSON, [1], wait=False)
    db.close()


def test_transactions_of_one_act_share_a_connection_and_a_lost_one_is_made_anew(postgresql_url: str) -> None:
    db, other = Database(postgresql_url, pool_size=1), Database(postgresql_url)
    one = Statement.alike("SELECT pg_backend_pid()")
    with db.held() as connection:
        with connection.write(plan_once=True) as tx:
            first = one.rows(tx)[0][0]
        with connection.write() as tx:
            same = one.rows(tx)[0][0]
        with pytest.raises(DBAPIError), connection.write() as tx:
            with other.write() as killing:
                killing.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": same})
            one.rows(tx)
        with connection.write() as tx:
            again = one.rows(tx)[0][0]
    with db.write() as tx:  # it is in the pool again
        assert one.rows(tx)[0][0] == again
    db.close()
    other.close()

    assert first == same != again


def test_a_long_answer_is_read_whole_and_in_order(one_line: Database) -> None:
    counted = Statement("SELECT n, n::text FROM generate_series(1, %s::integer) AS n", "")
    for count in (0, 1, 199, 200, 201, 400, 1_001):
        with one_line.read() as tx:
            assert counted.rows(tx, count) == [(number, f"{number}") for number in range(1, count + 1)]


def test_a_connection_keeps_what_it_has_prepared_when_a_transaction_that_only_read_ends(shapes: Database):
    if shapes.is_sqlite:
        return  # prepares nothing
    database = Database(shapes.url.render_as_string(hide_password=False), pool_size=1)
    for _ in range(8):  # the driver prepares what it is told often enough
        with database.read() as tx:
            NUMBERS.rows(tx, [1])

    with database.read() as tx:
        prepared = tx.execute(text("select statement from pg_prepared_statements")).scalars().all()
    database.close()

    assert any("direct_shape" in one for one in prepared)


# Prepared here ------------------------------------------------------------------------------------------------------


OFTEN = 5
"""Times after which a statement is prepared under the driver."""


@pytest.fixture
def one_line(postgresql_url: str) -> Iterator[Database]:
    """A database with a single connection, which has been told often of the numbers 1 and 2."""
    database = Database(postgresql_url.replace(f"//{APPLICATION}@", f"//{MIGRATOR}@"), pool_size=1)
    with database.write() as tx:
        _shapes.create_all(tx)
    with database.write() as tx:
        write_rows(tx, lambda writes: writes.insert(SHAPES, [{"number": n, "words": f"{n}"} for n in (1, 2)]))
    for _ in range(OFTEN):
        with database.read() as tx:
            NUMBERS.rows(tx, [1])
    yield database
    with database.write() as tx:
        _shapes.drop_all(tx)
    database.close()


def prepared_here(tx: Connection) -> int:
    found = tx.execute(text("select count(*) from pg_prepared_statements where name like 'told_%'"))
    return int(found.scalar_one())


def test_what_is_told_often_is_prepared_once_and_reads_the_same(one_line: Database) -> None:
    with one_line.read() as tx:
        found = [NUMBERS.rows(tx, asked) for asked in ([2, 1], [], [9], [2])]
        prepared = prepared_here(tx)

    assert found == [[(1, "1"), (2, "2")], [], [], [(2, "2")]]
    assert prepared == 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=_shape)
def test_what_is_written_by_a_prepared_statement_reads_back_whatever_it_is(
    one_line: Database, row: dict[str, Any]
) -> None:
    for _ in range(OFTEN):
        with one_line.write() as tx:
            tx.execute(SHAPES.delete())
            write_rows(tx, lambda writes: writes.insert(SHAPES, [{"number": 3, **row}]))

        assert rows(one_line) == [{"number": 3, **row}]


@pytest.mark.parametrize("plan_once", [False, True])
def test_a_prepared_statement_is_of_the_transaction_that_it_is_told_in(
    one_line: Database, plan_once: bool
) -> None:
    with pytest.raises(ValueError), one_line.write(plan_once=plan_once) as tx:
        for _ in range(OFTEN):
            tx.execute(SHAPES.delete())
            write_rows(tx, lambda writes: writes.insert(SHAPES, [{"number": 3}]))
        assert [row[0] for row in NUMBERS.rows(tx, [1, 3])] == [3]
        raise ValueError
    with one_line.write(plan_once=plan_once) as tx:
        mode = tx.execute(text("show plan_cache_mode")).scalar_one()
        write_rows(tx, lambda writes: writes.insert(OTHERS, [{"number": 3}]))
    with one_line.read() as tx:
        after = tx.execute(text("show plan_cache_mode")).scalar_one()
        found = NUMBERS.rows(tx, [1, 3])
        others = tx.execute(select(OTHERS.c.number)).scalars().all()

    assert (mode, after) == ("force_generic_plan" if plan_once else "auto", "auto")
    assert (found, others) == ([(1, "1")], [3])


def test_a_prepared_statement_that_fails_raises_what_the_driver_would(one_line: Database) -> None:
    def put(number: int) -> None:
        with one_line.write() as tx:
            write_rows(tx, lambda writes: writes.insert(SHAPES, [{"number": number, "words": "a secret"}]))

    for number in range(3, 3 + OFTEN):
        put(number)
    with pytest.raises(IntegrityError) as refused:
        put(3)
    put(3 + OFTEN)

    assert "a secret" not in str(refused.value)
    assert not is_retryable(refused.value)
    assert len(rows(one_line)) == 2 + OFTEN + 1


def test_a_text_that_would_end_at_a_nul_is_refused_by_a_prepared_statement_too(one_line: Database) -> None:
    for words in [*"abcde", "before\0after"]:
        with one_line.write() as tx:
            write = [{"number": 3, "words": words}]
            if "\0" in words:
                with pytest.raises(DBAPIError):
                    write_rows(
                        tx, lambda writes, put=write: writes.upsert(SHAPES, put, ["number"], ["words"])
                    )
            else:
                write_rows(tx, lambda writes, put=write: writes.upsert(SHAPES, put, ["number"], ["words"]))

    assert rows(one_line)[2]["words"] == "e"


def test_what_the_driver_lets_a_connection_forget_is_prepared_again(one_line: Database) -> None:
    def ask_often(tx: Connection) -> None:
        for _ in range(OFTEN + 3):  # so that the driver has something to forget
            tx.exec_driver_sql("select words from direct_shape where number = %s", (1,))
        assert NUMBERS.rows(tx, [1]) == [(1, "1")]

    with one_line.engine.connect() as tx:  # by the pool, as it takes back an open transaction
        ask_often(tx)
    with one_line.write() as tx:
        ask_often(tx)
        with pytest.raises(IntegrityError), tx.begin_nested():  # by a savepoint
            tx.execute(SHAPES.insert(), {"number": 1})
        ask_often(tx)
        tx.rollback()  # by SQLAlchemy
    with one_line.read() as tx:
        ask_often(tx)
        prepared = prepared_here(tx)

    assert prepared == 1


def test_who_listens_for_a_commit_is_told_before_there_is_one(one_line: Database) -> None:
    def refuse(_tx: Connection) -> None:
        raise ValueError

    event.listen(one_line.engine, "commit", refuse)
    with pytest.raises(ValueError), one_line.write() as tx:
        write_rows(tx, lambda writes: writes.insert(OTHERS, [{"number": 9}]))
    event.remove(one_line.engine, "commit", refuse)

    with one_line.read() as tx:
        assert tx.execute(select(OTHERS.c.number)).all() == []


def test_a_session_that_a_fault_ends_is_closed_without_another(
    one_line: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError), one_line.session() as session:
        tx = session._connection  # a transaction that is still open when the session ends
        for _ in range(OFTEN):
            NUMBERS.rows(tx, [1])
        raise ValueError

    assert caplog.records == []
    with one_line.read() as tx:
        assert NUMBERS.rows(tx, [1]) == [(1, "1")]


def test_a_commit_that_is_refused_leaves_nothing_and_gives_the_connection_up(one_line: Database) -> None:
    with pytest.raises(IntegrityError), one_line.write() as tx:
        tx.execute(
            text("create temp table once (number bigint unique deferrable initially deferred) on commit drop")
        )
        tx.execute(OTHERS.insert(), {"number": 5})
        tx.execute(text("insert into once values (1), (1)"))

    with one_line.read() as tx:
        assert NUMBERS.rows(tx, [1]) == [(1, "1")]
        assert tx.execute(select(OTHERS.c.number)).all() == []


def test_a_commit_after_a_fault_that_somebody_kept_to_himself_is_told(one_line: Database) -> None:
    """PostgreSQL answers it by rolling back, and calls that no error: what was written would be lost without a word."""
    with pytest.raises(DBAPIError, match="nothing was committed"), one_line.write() as tx:
        tx.execute(SHAPES.insert(), [{"number": 5}])
        with suppress(DBAPIError):
            tx.exec_driver_sql("SELECT nothing FROM nowhere")

    assert [row["number"] for row in rows(one_line)] == [1, 2]


def test_numbers_that_are_left_out_are_looked_up_and_not_gone_through(postgresql_url: str) -> None:
    """In a plan that is made before the numbers are known, ``<> ALL`` takes seconds for a component of a thousand records."""
    statement = Statement.alike("SELECT number FROM generate_series(1, 9) AS number WHERE number {beside}")
    db = Database(postgresql_url)
    try:
        with db.read() as tx:
            assert [row[0] for row in statement.rows(tx, [2, 4, 9, 9])] == [1, 3, 5, 6, 7, 8]
            assert len(statement.rows(tx, [])) == 9
            tx.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
            tx.exec_driver_sql(f"PREPARE left_out (text) AS {statement.postgresql.replace('%s', '$1')}")
            plan = tx.exec_driver_sql("EXPLAIN EXECUTE left_out ('{2,4}')").scalars().all()
    finally:
        db.close()

    assert any("hashed SubPlan" in line for line in plan), plan


def test_a_transaction_that_only_reads_leaves_nothing_behind_even_where_it_wrote(shapes: Database):
    with shapes.read() as tx:
        tx.execute(OTHERS.insert(), {"number": 7})

    with shapes.read() as tx:
        assert tx.execute(select(OTHERS.c.number)).all() == []
