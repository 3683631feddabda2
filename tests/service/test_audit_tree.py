"""The audit log's tree: what is sealed and when, what a look at it must find, and a sealer that dies at any statement."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import pytest
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import DBAPIError

from foundation import audit
from foundation.audit import audit_event, entry_by
from foundation.auth import keys
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Invalid, NotFound, Unavailable
from foundation.migrations import is_current, upgrade
from foundation.principal import Principal
from foundation.sealing import seal as sealer
from foundation.sealing.checkpoint import (
    Checkpoint,
    is_signed,
    origin_of,
    read_checkpoint,
    sign_checkpoint,
)
from foundation.sealing.merkle import Edge, extend, proves_consistency, proves_inclusion
from foundation.sealing.prove import list_checkpoints, prove_consistency, prove_inclusion
from foundation.sealing.seal import count_waiting, seal, seal_waiting
from foundation.sealing.tables import TREE_TABLES, audit_checkpoint, audit_leaf
from foundation.sealing.verify import Fault, Verdict, verify_log
from tests.engines import APPLICATION, MIGRATOR
from tests.service.audit_world import wait_until_settled
from tests.service.snapshots import filled

ORIGIN = "mpi.example.nhs.uk/audit"
CLERK = Principal("person", "clerk.zoë", "RRV", frozenset(), role="R8010", client_id="uclh-portal")


@dataclass
class Log:
    """An audit log with its sealer, its owner who may change what nobody should, and those who look at it."""

    db: Database
    owner: Database
    clock: FixedClock

    def write(self, count: int = 1) -> None:
        """Add rows, each in a transaction of its own."""
        for _ in range(count):
            with self.db.write() as tx:
                audit.append(tx, self.entry())

    def write_at_once(self, count: int) -> None:
        with self.db.write() as tx:
            audit.append_all(tx, [self.entry() for _ in range(count)])

    def entry(self) -> audit.AuditEntry:
        return entry_by(
            CLERK,
            self.clock.now(),
            "person-read",
            person_id=7,
            purpose="TREAT",
            reasons=["relationship"],
            detail={"decision_id": "5", "items": [["a", "é"]]},
            request_id="r-1",
        )

    def seal(self, limit: int = 10_000, *, at_once: bool = False) -> int:
        """Seal what is committed. ``at_once``: without waiting for whatever transactions are open."""
        self.clock.advance(timedelta(seconds=20))
        if not at_once:
            wait_until_settled(self.db)
        return seal(self.db, self.clock, ORIGIN, limit=limit)

    def look(self, **more) -> tuple[Verdict, list[Fault]]:
        found: list[Fault] = []
        return verify_log(self.db, found.append, **more), found

    def codes(self, **more) -> list[str]:
        return [fault.code for fault in self.look(**more)[1]]

    def leaves(self) -> list[tuple[int, int]]:
        with self.db.read() as tx:
            return [
                (row.leaf_index, row.event_id)
                for row in tx.execute(select(audit_leaf).order_by(audit_leaf.c.leaf_index))
            ]

    def notes(self) -> list[str]:
        with self.db.read() as tx:
            return [one.note for one in reversed(list_checkpoints(tx, limit=1000))]

    @contextmanager
    def behind_our_back(self) -> Iterator[Connection]:
        """A transaction of someone whom no trigger stops, and on SQLite no check."""
        with self._unbound.engine.connect() as tx:
            if self.db.is_sqlite:
                tx.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
                for name in tx.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
                    tx.execute(text(f"DROP TRIGGER {name}"))
                tx.exec_driver_sql("PRAGMA synchronous = OFF")
            else:
                # Triggers stay as they are, so that the database need not be made anew for the next test.
                tx.execute(text("SET session_replication_role = replica"))
            yield tx
            tx.commit()

    @cached_property
    def _unbound(self) -> Database:
        if self.db.is_sqlite:
            return self.owner
        return Database(self.owner.url.set(username="postgres").render_as_string())

    def let_any_outcome_be_written(self) -> None:
        if not self.db.is_sqlite:
            with self.owner.write() as tx:
                tx.execute(text("ALTER TABLE audit_event DROP CONSTRAINT ck_audit_event_outcome_is_known"))

    def close(self) -> None:
        self.owner.close()
        if "_unbound" in vars(self):
            self._unbound.close()

    def change(self, *statements: str, **values) -> None:
        with self.behind_our_back() as tx:
            for statement in statements:
                done = tx.execute(text(statement), values)
                assert done.rowcount > 0


@pytest.fixture
def log(db: Database, migrator_url: str, clock: FixedClock) -> Iterator[Log]:
    owner = Database(migrator_url)
    made = Log(db, owner, clock)
    yield made
    made.close()


@pytest.fixture
def migrator_url_of_postgresql(postgresql_url: str) -> str:
    return postgresql_url.replace(f"//{APPLICATION}@", f"//{MIGRATOR}@")


@pytest.fixture
def sealed(log: Log) -> Log:
    """Seven rows under three checkpoints, of 2, 5 and 7, and one row that waits."""

    def make() -> timedelta:
        begun = log.clock.now()
        for count in (2, 3, 2):
            log.write(count)
            assert log.seal() == count
        log.write()
        assert log.look()[1] == []
        return log.clock.now() - begun

    return _as_made(log, "seven sealed rows", make)


@pytest.fixture
def tall(log: Log) -> Log:
    """600 rows under checkpoints of 300 and 600: two nodes are kept above them."""

    def make() -> timedelta:
        begun = log.clock.now()
        log.write_at_once(600)
        assert (log.seal(300), log.seal(300)) == (300, 300)
        assert log.look()[1] == []
        return log.clock.now() - begun

    return _as_made(log, "six hundred sealed rows", make)


def _as_made(log: Log, name: str, make: Callable[[], timedelta]) -> Log:
    """Fill the log, by a copy where it was made before, and let its clock show when it was made."""
    begun = log.clock.now()
    log.clock.advance(begun + filled(log.db, name, make) - log.clock.now())
    return log


# -- sealing ----------------------------------------------------------------------------------------------------------


def test_rows_are_sealed_in_order_without_gaps_and_each_once(log: Log):
    log.write(3)
    first = log.seal()
    log.write_at_once(600)
    second, third, fourth = log.seal(256), log.seal(256), log.seal()

    assert (first, second, third, fourth, log.seal()) == (3, 256, 256, 88, 0)
    leaves = log.leaves()
    assert [index for index, _ in leaves] == list(range(603))
    assert [number for _, number in leaves] == sorted(number for _, number in leaves)
    verdict, found = log.look()
    assert found == []
    assert (verdict.rows, verdict.leaves, verdict.checkpoints, verdict.nodes) == (603, 603, 4, 2)


def test_what_waits_is_sealed_batch_by_batch_until_nothing_waits(log: Log, clock: FixedClock):
    log.write(5)
    written_at = clock.now()
    clock.advance(timedelta(minutes=3))
    with log.db.read() as tx:
        before = count_waiting(tx)

    wait_until_settled(log.db)
    sealed = seal_waiting(log.db, clock, ORIGIN)

    with log.db.read() as tx:
        after = count_waiting(tx)
    assert (before.sealed, before.rows, before.oldest_at) == (0, 5, written_at)
    assert (sealed, after.sealed, after.rows, after.oldest_at) == (5, 5, 0, None)


def test_nothing_new_needs_no_checkpoint(log: Log):
    assert log.seal() == 0
    log.write()
    log.seal()

    assert (log.seal(), len(log.notes())) == (0, 1)


def test_a_tree_without_leaves_has_nothing_wrong(log: Log):
    verdict, found = log.look()

    assert (found, verdict.rows, verdict.root) == ([], 0, None)


def test_a_checkpoint_is_a_note_that_anyone_can_check(sealed: Log, clock: FixedClock):
    with sealed.db.read() as tx:
        newest, *older = list_checkpoints(tx)
        key = keys.find_key(tx, newest.key_id)
        leaves = [
            bytes(one) for one in tx.scalars(select(audit_leaf.c.leaf_hash).order_by(audit_leaf.c.leaf_index))
        ]

    assert [one.tree_size for one in (newest, *older)] == [7, 5, 2]
    lines = newest.note.split("\n")
    assert lines[:2] == [ORIGIN, "7"]
    assert lines[6] == ""
    assert lines[7].startswith(f"\u2014 {ORIGIN} ")
    said = read_checkpoint(newest.note)
    assert said.root == extend(Edge(), leaves).root() == bytes.fromhex(newest.root)
    assert (said.at, said.kid) == (clock.now(), newest.key_id)
    assert newest.public_key is not None and newest.public_key["kid"] == newest.key_id
    assert "d" not in newest.public_key
    assert is_signed(newest.note, key)
    for place in range(len(newest.note)):
        wrong = newest.note[:place] + chr(ord(newest.note[place]) ^ 1) + newest.note[place + 1 :]
        assert not is_signed(wrong, key)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://mpi.example.nhs.uk", "mpi.example.nhs.uk/audit"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080/audit"),
    ],
)
def test_the_log_is_named_after_where_it_is_served(url: str, origin: str):
    assert origin_of(url) == origin


@pytest.mark.parametrize("as_owner", [False, True])
@pytest.mark.parametrize("act", ["update", "delete"])
@pytest.mark.parametrize("table", TREE_TABLES, ids=lambda table: table.name)
def test_what_was_sealed_can_be_neither_changed_nor_removed(tall: Log, table, act: str, as_owner: bool):
    with tall.db.read() as tx:
        before = tx.execute(select(table)).all()
    column = list(table.columns)[-1]
    statement = table.delete() if act == "delete" else table.update().values({column.name: column})

    with pytest.raises(DBAPIError), (tall.owner if as_owner else tall.db).write() as tx:
        tx.execute(statement)

    with tall.db.read() as tx:
        assert tx.execute(select(table)).all() == before != []


# -- what is settled: transactions that are still open ----------------------------------------------------------------


def test_a_row_waits_while_an_earlier_transaction_is_open(postgresql_url: str, clock: FixedClock):
    db = Database(postgresql_url)
    log = Log(db, db, clock)
    with db.write() as early:
        audit.append(early, log.entry())  # has the lower number and transaction, and is not committed
        log.write(2)

        while_open = log.seal(at_once=True)
    after = log.seal()

    assert (while_open, after) == (0, 3)
    assert [number for _, number in log.leaves()] == [1, 2, 3]
    assert log.codes() == []
    db.close()


def test_a_lower_number_that_commits_later_stands_later(postgresql_url: str, clock: FixedClock):
    """Numbers are given before commit: an order by number alone would have sealed past the row that is still to come."""
    db = Database(postgresql_url)
    log = Log(db, db, clock)
    log.write()
    with db.write() as early:
        taken = early.execute(
            text("SELECT nextval('audit_event_event_id_seq')")
        ).scalar_one()  # no transaction yet
        log.write(2)
        before = log.seal()
        early.execute(audit_event.insert(), audit._row(log.entry()) | {"event_id": taken})
    after = log.seal()

    assert (taken, before, after) == (2, 3, 1)
    assert log.leaves() == [(0, 1), (1, 3), (2, 4), (3, 2)]
    assert log.codes() == []
    db.close()


def test_what_is_next_is_read_off_the_index_however_much_waits(postgresql_url: str, clock: FixedClock):
    db = Database(postgresql_url)
    log = Log(db, db, clock)
    log.write(3)

    with db.read() as tx:
        # A small table is sooner read and sorted; this asks whether there is another way.
        for way in ("seqscan", "bitmapscan", "sort"):
            tx.execute(text(f"SET LOCAL enable_{way} = off"))
        plan = tx.scalars(
            text(f"EXPLAIN {sealer._POSTGRESQL_SETTLED}"), {"txid": 0, "event_id": 0, "limit": 2}
        ).all()

    assert "Sort" not in "\n".join(plan)
    assert "Index Scan using ix_audit_event_txid" in "\n".join(plan)
    db.close()


def test_a_transaction_that_was_undone_leaves_no_gap_among_leaves(log: Log):
    log.write()
    with pytest.raises(RuntimeError), log.db.write() as tx:
        audit.append(tx, log.entry())
        raise RuntimeError
    log.write()

    assert log.seal() == 2
    verdict, found = log.look()
    assert found == []
    assert [index for index, _ in log.leaves()] == [0, 1]
    assert verdict.unused == (0 if log.db.is_sqlite else 1)


def test_many_sealers_and_writers_at_once_make_one_tree(log: Log):
    sealed: list[int] = []
    faults: list[BaseException] = []

    def run(act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as fault:
            faults.append(fault)

    def write() -> None:
        for _ in range(8):
            log.write()

    def seal_often() -> None:
        for _ in range(12):
            sealed.append(seal(log.db, log.clock, ORIGIN, limit=3))

    threads = [threading.Thread(target=run, args=(act,)) for act in (write, write, seal_often, seal_often)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until_settled(log.db)
    rest = seal_waiting(log.db, log.clock, ORIGIN)

    assert faults == []
    assert sum(sealed) + rest == 16
    assert [index for index, _ in log.leaves()] == list(range(16))
    assert log.codes() == []


def test_a_log_that_was_restored_into_another_cluster_goes_on_in_order(
    postgresql_url: str, migrator_url_of_postgresql: str, clock: FixedClock
):
    """There transactions have lower numbers. Made so here by an offset that is taken away again."""
    db, owner = Database(postgresql_url), Database(migrator_url_of_postgresql)
    log = Log(db, owner, clock)

    def set_offset(offset: int) -> None:
        with owner.write() as tx:
            tx.execute(
                text(
                    "CREATE OR REPLACE FUNCTION audit_txid_offset() RETURNS bigint LANGUAGE sql IMMUTABLE "
                    f"AS 'SELECT {offset}::bigint'"
                )
            )

    set_offset(10**9)
    log.write(2)
    log.seal()
    log.write()  # not sealed when the backup was taken
    set_offset(0)
    with db.read() as tx:
        was_current = is_current(tx)
    with pytest.raises(Conflict, match="audit-order-lost"):
        log.seal(at_once=True)

    upgrade(owner)

    with db.read() as tx:
        assert (was_current, is_current(tx)) == (False, True)
    log.write(2)
    assert log.seal() == 3
    assert log.leaves() == [(index, index + 1) for index in range(5)]
    assert log.codes() == []
    upgrade(owner)
    log.write()
    assert log.seal() == 1
    assert log.codes() == []
    db.close()
    owner.close()


# -- a sealer that dies -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


def test_a_sealer_that_dies_at_any_statement_has_sealed_nothing_and_is_followed_by_another(log: Log):
    """Each statement of a round in turn is its last: the one before it was done, it was not."""
    log.write_at_once(300)
    log.seal(200)
    log.write(2)
    before = log.leaves()
    deaths = 0
    while True:
        count = 0

        def die(*_, at: int = deaths) -> None:
            nonlocal count
            count += 1
            if count > at:
                raise Killed

        event.listen(log.db.engine, "before_cursor_execute", die)
        event.listen(log.db.engine, "commit", die)
        try:
            assert log.seal() == 102
            break
        except Killed:
            deaths += 1
        finally:
            event.remove(log.db.engine, "before_cursor_execute", die)
            event.remove(log.db.engine, "commit", die)
        assert log.leaves() == before
        assert log.codes() == []

    assert deaths >= 8
    assert [index for index, _ in log.leaves()] == list(range(302))
    verdict, found = log.look()
    assert (found, verdict.leaves, verdict.waiting, verdict.nodes) == ([], 302, 0, 1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_checkpoint SET edge = root WHERE tree_size = 7",
        "UPDATE audit_checkpoint SET root = numbers WHERE tree_size = 7",
        "DELETE FROM audit_checkpoint WHERE tree_size = 7",
        "DELETE FROM audit_leaf WHERE leaf_index = 6",
        "DELETE FROM audit_leaf",
    ],
)
def test_nothing_is_built_on_a_broken_tree(sealed: Log, change: str):
    sealed.change(change)
    before = sealed.leaves()

    with pytest.raises(Conflict, match="audit-tree-broken"):
        sealed.seal()

    assert sealed.leaves() == before


# -- what must be found -----------------------------------------------------------------------------------------------


def flipped(value: object) -> list[object]:
    """The value with one bit of one byte turned, for each of its bytes; a neighbour for what has no bytes of its own."""
    if isinstance(value, str):
        return [
            value[:place] + chr(ord(value[place]) ^ 1) + value[place + 1 :] for place in range(len(value))
        ]
    if isinstance(value, bytes):
        return [value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :] for place in range(len(value))]
    if isinstance(value, int):
        return [value + 1000, value ^ (1 << 40)]
    return [value + timedelta(microseconds=1), value + timedelta(days=1)]


@pytest.mark.parametrize("column", [column.name for column in audit_event.columns])
def test_a_flipped_byte_in_any_column_of_a_row_is_found_and_its_row_named(sealed: Log, column: str):
    if sealed.db.is_sqlite and column == "txid":
        turned: list[object] = [1]
        was: object = None
        kind = ""
    else:
        shown = "txid::text::bigint" if column == "txid" else column
        with sealed.db.read() as tx:
            was = tx.execute(text(f"SELECT {shown} FROM audit_event WHERE event_id = 4")).scalar_one()
        turned = flipped(was)
        kind = "xid8" if column == "txid" else ""
    assert turned
    if column == "outcome":
        sealed.let_any_outcome_be_written()
    given = f"CAST(CAST(:value AS text) AS {kind})" if kind else ":value"
    change = f"UPDATE audit_event SET {column} = {given} WHERE event_id = :number"

    for value in turned:
        number = value if column == "event_id" else 4
        sealed.change(change, value=value, number=4)
        found = sealed.look()[1]
        sealed.change(change, value=was, number=number)

        assert 4 in {fault.event_id for fault in found}
    assert sealed.look()[1] == []


def test_what_is_no_text_no_json_and_no_instant_is_found_and_stops_nothing(
    sqlite_url: str, clock: FixedClock
):
    db = Database(sqlite_url)
    log = Log(db, db, clock)
    log.write(8)
    log.seal()

    log.change(
        "UPDATE audit_event SET kind = CAST(X'ff00' AS TEXT) WHERE event_id = 1",
        "UPDATE audit_event SET detail = '{' WHERE event_id = 2",
        "UPDATE audit_event SET at = 'yesterday' WHERE event_id = 3",
        "UPDATE audit_event SET salt = 'text' WHERE event_id = 4",
        "UPDATE audit_event SET person_id = 'seven' WHERE event_id = 5",
        "UPDATE audit_event SET reasons = 5 WHERE event_id = 6",
        "UPDATE audit_event SET detail = replace(detail, ':', ': ') WHERE event_id = 7",
        "UPDATE audit_event SET at = replace(at, ' ', 'T') WHERE event_id = 8",
    )

    assert log.look()[1] == [
        Fault("row-changed", event_id=number, leaf_index=number - 1) for number in range(1, 9)
    ]
    db.close()


def test_a_row_that_is_removed_in_the_middle_is_found(sealed: Log):
    sealed.change("DELETE FROM audit_event WHERE event_id = 4")

    found = sealed.look()[1]

    assert Fault("row-missing", event_id=4, leaf_index=3) in found
    assert {fault.event_id for fault in found} == {4}


def test_a_row_that_is_removed_at_the_end_is_found(sealed: Log):
    sealed.change("DELETE FROM audit_event WHERE event_id >= 7")

    assert Fault("row-missing", event_id=7, leaf_index=6) in sealed.look()[1]


def test_a_row_that_is_removed_with_its_leaf_is_found(sealed: Log):
    sealed.change(
        "DELETE FROM audit_event WHERE event_id = 7",
        "DELETE FROM audit_leaf WHERE event_id = 7",
    )

    assert Fault("leaf-missing", leaf_index=6, until=6) in sealed.look()[1]


def test_a_leaf_in_the_middle_that_is_removed_is_found(sealed: Log):
    sealed.change("DELETE FROM audit_leaf WHERE event_id = 3")

    found = sealed.look()[1]

    assert Fault("leaf-missing", leaf_index=2, until=2) in found
    assert Fault("row-unsealed", event_id=3) in found


def test_an_end_that_is_cut_off_with_all_that_speaks_of_it_is_found_by_who_kept_a_checkpoint(sealed: Log):
    kept = sealed.notes()[-1]
    sealed.change(
        "DELETE FROM audit_event WHERE event_id > 5",
        "DELETE FROM audit_leaf WHERE event_id > 5",
        "DELETE FROM audit_checkpoint WHERE tree_size > 5",
    )
    if sealed.db.is_sqlite:
        sealed.change("UPDATE sqlite_sequence SET seq = 5 WHERE name = 'audit_event'")

    assert sealed.codes() == []
    assert sealed.look(told=[kept])[1] == [Fault("checkpoint-lost", tree_size=7)]


def test_a_log_that_was_written_anew_is_found_by_who_kept_a_checkpoint(sealed: Log):
    kept = sealed.notes()[1]
    assert sealed.codes(told=sealed.notes()) == []
    for table in ("audit_leaf", "audit_checkpoint"):
        sealed.change(f"DELETE FROM {table}")
    with sealed.behind_our_back() as tx:
        row = tx.execute(select(audit_event).where(audit_event.c.event_id == 2)).one()
        leaf = audit._leaf_hash(dict(row._mapping) | {"outcome": "denied"}, row.personal_digest)
        tx.execute(
            audit_event.update().where(audit_event.c.event_id == 2).values(outcome="denied", leaf_hash=leaf)
        )
    sealed.seal()

    assert sealed.codes() == []
    assert sealed.codes(told=[kept]) == ["checkpoint-lost"]


def test_a_number_that_is_gone_before_it_was_sealed_is_found_on_sqlite(sqlite_url: str, clock: FixedClock):
    db = Database(sqlite_url)
    log = Log(db, db, clock)
    log.write(5)
    log.change("DELETE FROM audit_event WHERE event_id IN (2, 3, 5)")

    found = log.look()[1]

    assert found == [
        Fault("number-missing", event_id=2, until=3),
        Fault("number-missing", event_id=5, until=5),
    ]
    assert str(found[0]) == "row 2 to 3: these row numbers are gone (number-missing)"
    db.close()


def test_two_rows_that_change_places_are_found(sealed: Log):
    swap = "UPDATE audit_event SET event_id = :new WHERE event_id = :old"
    for old, new in ((3, 999), (4, 3), (999, 4)):
        sealed.change(swap, old=old, new=new)

    found = sealed.look()[1]

    assert {fault.event_id for fault in found} == {3, 4}
    assert {"leaf-differs"} <= {fault.code for fault in found}


def test_two_rows_that_change_places_with_their_leaves_are_found(sealed: Log):
    for table in ("audit_event", "audit_leaf"):
        swap = f"UPDATE {table} SET event_id = :new WHERE event_id = :old"
        for old, new in ((3, 999), (4, 3), (999, 4)):
            sealed.change(swap, old=old, new=new)

    found = sealed.look()[1]

    assert Fault("checkpoint-numbers", tree_size=5) in found


def test_two_leaves_that_change_places_are_found(sealed: Log):
    swap = "UPDATE audit_leaf SET leaf_index = :new WHERE leaf_index = :old"
    for old, new in ((2, 999), (3, 2), (999, 3)):
        sealed.change(swap, old=old, new=new)

    assert {"order-broken", "checkpoint-root"} <= set(sealed.codes())


def test_a_row_that_is_slipped_in_between_is_found(log: Log):
    log.write(5)
    log.seal()
    log.change("DELETE FROM audit_leaf WHERE event_id = 3", "DELETE FROM audit_event WHERE event_id = 3")
    with log.behind_our_back() as tx:
        row = audit._row(log.entry())
        tx.execute(audit_event.insert(), row | {"event_id": 3})

    found = log.look()[1]

    assert Fault("leaf-missing", leaf_index=2, until=2) in found
    if log.db.is_sqlite:
        assert Fault("row-unsealed", event_id=3) in found


def test_a_checkpoint_of_a_wrong_key_is_found(sealed: Log, clock: FixedClock):
    forged = keys.SigningKey("x", keys.OKPKey.generate_key("Ed25519"), clock.now(), None)
    said = read_checkpoint(sealed.notes()[2])
    named = Checkpoint(said.origin, 7, said.root, said.at, forged.key.thumbprint(), said.numbers)

    sealed.change(
        "UPDATE audit_checkpoint SET note = :note WHERE tree_size = 7", note=sign_checkpoint(said, forged)
    )
    as_ours = sealed.look()[1]
    sealed.change(
        "UPDATE audit_checkpoint SET note = :note, kid = :kid WHERE tree_size = 7",
        note=sign_checkpoint(named, forged),
        kid=named.kid,
    )
    as_its_own = sealed.look()[1]

    assert as_ours == [Fault("checkpoint-signature", tree_size=7)]
    assert as_its_own == [Fault("checkpoint-key", tree_size=7)]


def test_a_key_that_is_slipped_in_is_found_by_who_knows_the_right_ones(sealed: Log, clock: FixedClock):
    right = read_checkpoint(sealed.notes()[2]).kid
    with sealed.db.write() as tx:
        slipped_in = keys._add_key(tx, clock.now())
        said = read_checkpoint(sealed.notes()[2])
    forged = Checkpoint(said.origin, 7, said.root, said.at, slipped_in.kid, said.numbers)
    sealed.change(
        "UPDATE audit_checkpoint SET note = :note, kid = :kid WHERE tree_size = 7",
        note=sign_checkpoint(forged, slipped_in),
        kid=forged.kid,
    )

    assert sealed.codes() == []
    assert sealed.look(trusted=frozenset({right}))[1] == [Fault("checkpoint-key", tree_size=7)]


def test_a_checkpoint_of_the_right_key_and_a_wrong_root_is_found(sealed: Log):
    said = read_checkpoint(sealed.notes()[1])
    wrong = Checkpoint(said.origin, 5, bytes(32), said.at, said.kid, said.numbers)
    with sealed.db.read() as tx:
        key = keys.find_key(tx, said.kid)

    sealed.change(
        "UPDATE audit_checkpoint SET note = :note, root = :root WHERE tree_size = 5",
        note=sign_checkpoint(wrong, key),
        root=wrong.root,
    )

    assert sealed.look()[1] == [Fault("checkpoint-root", tree_size=5)]


def test_a_retired_key_signs_no_later_checkpoint(sealed: Log, clock: FixedClock):
    retired = read_checkpoint(sealed.notes()[0]).kid
    with sealed.db.write() as tx:
        keys.rotate_keys(tx, clock.now())
    sealed.seal()
    with_the_new_key = sealed.codes()
    newest = read_checkpoint(sealed.notes()[3])
    with sealed.db.read() as tx:
        key = keys.find_key(tx, retired)
    later = Checkpoint(
        newest.origin, 8, newest.root, clock.now() + timedelta(hours=1), retired, newest.numbers
    )
    sealed.change(
        "UPDATE audit_checkpoint SET note = :note, kid = :kid WHERE tree_size = 8",
        note=sign_checkpoint(later, key),
        kid=retired,
    )

    assert with_the_new_key == []
    assert newest.kid != retired
    assert set(sealed.codes()) == {"checkpoint-key", "checkpoint-text"}


def test_the_checkpoints_of_a_key_that_leaked_still_hold(sealed: Log, clock: FixedClock):
    with sealed.db.write() as tx:
        keys.rotate_keys(tx, clock.now(), distrust_old=True)

    assert sealed.codes() == []


@pytest.mark.parametrize("column", [column.name for column in audit_checkpoint.columns])
def test_a_flipped_byte_in_any_column_of_a_checkpoint_is_found(sealed: Log, column: str):
    with sealed.db.read() as tx:
        was = tx.execute(text(f"SELECT {column} FROM audit_checkpoint WHERE tree_size = 5")).scalar_one()

    for value in flipped(was)[::9]:
        sealed.change(f"UPDATE audit_checkpoint SET {column} = :value WHERE tree_size = 5", value=value)
        found = sealed.codes()
        size = value if column == "tree_size" else 5
        sealed.change(
            f"UPDATE audit_checkpoint SET {column} = :was WHERE tree_size = :size", was=was, size=size
        )

        assert found, column
    assert sealed.codes() == []


@pytest.mark.parametrize("column", [column.name for column in audit_leaf.columns])
def test_a_flipped_byte_in_any_column_of_a_leaf_is_found(sealed: Log, column: str):
    with sealed.db.read() as tx:
        was = tx.execute(text(f"SELECT {column} FROM audit_leaf WHERE leaf_index = 3")).scalar_one()

    for value in [1] if was is None else flipped(was):
        sealed.change(f"UPDATE audit_leaf SET {column} = :value WHERE leaf_index = 3", value=value)
        found = sealed.codes()
        index = value if column == "leaf_index" else 3
        sealed.change(
            f"UPDATE audit_leaf SET {column} = :was WHERE leaf_index = :number", was=was, number=index
        )

        assert found, column
    assert sealed.codes() == []


def test_a_checkpoint_that_is_removed_is_found(sealed: Log):
    sealed.change("DELETE FROM audit_checkpoint WHERE tree_size = 5")

    assert sealed.look()[1] == [Fault("checkpoint-numbers", tree_size=7)]


def test_the_last_checkpoint_that_is_removed_is_found(sealed: Log):
    sealed.change("DELETE FROM audit_checkpoint WHERE tree_size = 7")

    assert Fault("leaf-beyond", leaf_index=5) in sealed.look()[1]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "UPDATE audit_node SET node_hash = (SELECT root FROM audit_checkpoint WHERE tree_size = 300) WHERE place = 1",
            Fault("node-differs", node=(8, 1)),
        ),
        ("DELETE FROM audit_node WHERE place = 0", Fault("node-missing", node=(8, 0))),
        ("UPDATE audit_node SET place = 2 WHERE place = 1", Fault("node-missing", node=(8, 1))),
        ("UPDATE audit_node SET place = 2 WHERE place = 1", Fault("node-beyond", node=(8, 2))),
        ("UPDATE audit_node SET level = 9 WHERE place = 1", Fault("node-beyond", node=(9, 1))),
    ],
)
def test_a_node_that_is_replaced_is_found(tall: Log, change: str, found: Fault):
    tall.change(change)

    assert found in tall.look()[1]


def test_a_fault_says_where_in_words():
    assert str(Fault("node-differs", node=(8, 1))) == (
        "node 1 of level 8, leaves 256 to 511: the node is not the hash of what is below it (node-differs)"
    )
    assert str(Fault("row-missing", event_id=4, leaf_index=3)) == (
        "row 4, leaf 3: the row of this leaf is gone (row-missing)"
    )


# -- what must not be found -------------------------------------------------------------------------------------------


def erased(log: Log, *numbers: int) -> None:
    with log.db.write() as tx:
        audit.erase_rows(tx, entry_by(CLERK, log.clock.now(), audit.ERASING), numbers)


def test_a_lawful_erasure_leaves_everything_green(sealed: Log):
    erased(sealed, 4, 8)

    verdict, found = sealed.look()
    sealed.seal()
    later, still = sealed.look()

    assert (found, verdict.erased, verdict.waiting) == ([], 2, 2)
    assert (still, later.erased, later.waiting) == ([], 2, 0)
    with sealed.db.read() as tx:
        proof = prove_inclusion(tx, 4)
        leaf = tx.execute(select(audit_event.c.leaf_hash).where(audit_event.c.event_id == 4)).scalar_one()
    assert proof.leaf_hash == bytes(leaf).hex()


GONE = (
    "UPDATE audit_event SET actor_id = NULL, person_id = NULL, detail = NULL, salt = NULL WHERE event_id IN "
)


@pytest.mark.parametrize("number", [4, 8])
def test_personal_parts_that_no_act_erased_are_found(sealed: Log, number: int):
    """In a sealed row and in one that waits."""
    sealed.change(f"{GONE} ({number})")

    assert sealed.look()[1] == [Fault("erasure-unknown", event_id=number)]


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO audit_erasure (event_id, act_event_id) VALUES (5, 9)",
        "DELETE FROM audit_erasure WHERE event_id = 4",
        "UPDATE audit_erasure SET event_id = 5 WHERE event_id = 4",
        "UPDATE audit_erasure SET act_event_id = 1",
        "UPDATE audit_erasure SET act_event_id = 99",
    ],
)
def test_an_act_vouches_for_the_rows_that_it_erased_and_no_others(sealed: Log, change: str):
    erased(sealed, 4, 8)

    sealed.change(f"{GONE} (5)")
    sealed.change(change)

    assert {fault.code for fault in sealed.look()[1]} == {"erasure-unknown"}
    assert Fault("erasure-unknown", event_id=5) in sealed.look()[1]


def test_an_act_whose_own_row_was_changed_vouches_for_nothing(sealed: Log):
    erased(sealed, 4)

    sealed.change("UPDATE audit_event SET detail = 'x' WHERE event_id = 9")

    assert sealed.look()[1] == [
        Fault("erasure-unknown", event_id=4),
        Fault("row-changed", event_id=9),
    ]


@pytest.mark.parametrize("column", ["actor_id", "person_id", "detail", "salt"])
def test_half_an_erasure_is_found(sealed: Log, column: str):
    sealed.change(f"UPDATE audit_event SET {column} = NULL WHERE event_id = 4")

    assert sealed.look()[1] == [Fault("row-changed", event_id=4, leaf_index=3)]


def test_a_look_may_be_taken_while_rows_are_written_and_sealed(log: Log):
    log.write_at_once(300)
    log.seal(100)
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        log.write()
        log.seal()

    verdict, found = log.look(progress=progress)

    assert found == []
    assert verdict.leaves == 100
    assert told[0] == (100, 300)


# -- proofs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 256, 257, 300, 301, 600])
def test_a_row_is_proved_under_every_checkpoint_that_covers_it(tall: Log, number: int):
    with tall.db.read() as tx:
        for size in (300, 600):
            if number > size:
                with pytest.raises(Invalid, match="tree-size-smaller"):
                    prove_inclusion(tx, number, tree_size=size)
                continue
            proof = prove_inclusion(tx, number, tree_size=size)

            said = read_checkpoint(proof.checkpoint.note)
            assert (proof.leaf_index, said.tree_size) == (number - 1, size)
            path = [bytes.fromhex(part) for part in proof.path]
            leaf = bytes.fromhex(proof.leaf_hash)
            assert proves_inclusion(leaf, proof.leaf_index, size, path, said.root)
        assert prove_inclusion(tx, number).checkpoint.tree_size == 600


@pytest.mark.parametrize(("first", "second"), [(1, 600), (255, 257), (256, 512), (300, 600), (600, 600)])
def test_an_earlier_tree_is_proved_to_be_the_beginning_of_a_later(tall: Log, first: int, second: int):
    with tall.db.read() as tx:
        proof = prove_consistency(tx, first, second)
        leaves = [
            bytes(one) for one in tx.scalars(select(audit_leaf.c.leaf_hash).order_by(audit_leaf.c.leaf_index))
        ]

    old, new = extend(Edge(), leaves[:first]).root(), extend(Edge(), leaves[:second]).root()
    assert (proof.first_root, proof.second_root) == (old.hex(), new.hex())
    assert proves_consistency(first, second, [bytes.fromhex(part) for part in proof.path], old, new)


def test_what_is_not_there_is_not_proved(sealed: Log):
    with sealed.db.read() as tx:
        right = prove_inclusion(tx, 1).leaf_hash
        assert prove_inclusion(tx, 1, leaf_hash=right).leaf_hash == right
        for number, leaf_hash in ((8, None), (99, None), (2, right)):
            with pytest.raises(NotFound, match="audit-event-unknown"):
                prove_inclusion(tx, number, leaf_hash=leaf_hash)
        with pytest.raises(NotFound, match="checkpoint-unknown"):
            prove_inclusion(tx, 1, tree_size=6)
        with pytest.raises(Invalid, match="tree-size-unknown"):
            prove_consistency(tx, 1, 8)
        with pytest.raises(Invalid, match="tree-size-order"):
            prove_consistency(tx, 0, 7)


def test_nothing_is_proved_from_a_tree_with_holes(tall: Log):
    tall.change("DELETE FROM audit_leaf WHERE leaf_index = 1")

    with tall.db.read() as tx, pytest.raises(Unavailable, match="audit-tree-broken"):
        prove_inclusion(tx, 1)
    with tall.db.read() as tx:
        assert prove_inclusion(tx, 600).leaf_index == 599  # where the hole is not, there is a proof


def test_no_proof_of_a_replaced_node_holds(tall: Log):
    tall.change(
        "UPDATE audit_node SET node_hash = (SELECT root FROM audit_checkpoint WHERE tree_size = 300) WHERE place = 0"
    )

    with tall.db.read() as tx:
        proof = prove_inclusion(tx, 600)

    path = [bytes.fromhex(part) for part in proof.path]
    root = read_checkpoint(proof.checkpoint.note).root
    assert not proves_inclusion(bytes.fromhex(proof.leaf_hash), 599, 600, path, root)
    assert tall.look()[1] == [Fault("node-differs", node=(8, 0))]
