"""How fast audit rows are sealed into the tree and the whole log is verified, on SQLite or PostgreSQL, and what that finds.

    python benchmarks/audit.py --rows 1000000
    python benchmarks/audit.py --rows 1000000 --engine postgresql

The rows look like decisions, and are written in bulk, fifty thousand a transaction. When all is sealed and verified, faults are planted
behind the service's back, each in a place of its own: a bit turned in each stored column of each table of the log, a row deleted, two
that change places, with their leaves and without, leaves that do, and checkpoints forged. Then all is verified again. The exit status is 1
where an intact log is told of, or a planted fault is not. PostgreSQL is started from Debian's binaries on a free port and stopped again.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
import pyarrow as pa  # noqa: E402
from sqlalchemy import Connection, Table, select, text  # noqa: E402

from benchmarks.watch import Watch, a_database, machine  # noqa: E402
from foundation import audit  # noqa: E402
from foundation.audit import audit_erasure, audit_event, bulk_columns, entry_by  # noqa: E402
from foundation.auth import keys  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from foundation.database import Database, kept_json, metadata  # noqa: E402
from foundation.principal import Principal  # noqa: E402
from foundation.sealing.checkpoint import Checkpoint, read_checkpoint, sign_checkpoint  # noqa: E402
from foundation.sealing.prove import prove_inclusion  # noqa: E402
from foundation.sealing.seal import BATCH, seal  # noqa: E402
from foundation.sealing.tables import audit_checkpoint, audit_leaf, audit_node  # noqa: E402
from foundation.sealing.verify import Fault, Verdict, verify_log  # noqa: E402
from mpi.bulk.copy import blobs, put_columns, texts  # noqa: E402

ORIGIN = "benchmark.example/audit"
LEAST = 20_000
"""Fewer rows have not enough nodes and checkpoints for every fault to have its own."""
_AT_ONCE = 50_000
_PROOFS = 1_000
_BY = Principal("person", "dr-1", "RRV", frozenset(), role="R8000", client_id="uclh-portal")
DETAIL = {
    "decision_id": "7421938201934823424",
    "outcome": "PERMIT_FILTERED",
    "policy": ["london", 3, "5d1c7c1a2f0b4f5e"],
    "epoch": 4,
    "determining": ["agreement-in-force", "relationship-current", "label-normal"],
    "permitted": {"RRV": {"N": ["encounters", "medications", "results"]}},
    "obligations": ["NO_STORE", "REPORT_ITEMS_RELEASED"],
    "facts": {"subject": {"person": "7421938201934823424", "epoch": 4}, "agreements": [["7421938201934800000", 2]]},
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--rows", type=int, default=1_000_000, help=f"{LEAST} or more")
    options.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    chosen = options.parse_args()
    if chosen.rows < LEAST:
        options.error(f"--rows must be {LEAST} or more")
    with (
        tempfile.TemporaryDirectory() as name,
        a_database(chosen.engine, Path(name)) as (database, server),
    ):
        is_right = measure(database, server, chosen.rows, chosen.engine)
    sys.exit(0 if is_right else 1)


def measure(db: Database, server: int | None, rows: int, engine: str) -> bool:
    """Write, seal, prove, verify, plant and verify again; return whether the looks told what they had to."""
    clock = SystemClock()
    print(f"{machine()}; {engine}; {rows} rows", flush=True)
    watch = Watch(server=server)
    write(db, rows)
    rows += erase_some(db)
    say("write", rows, watch)
    refresh(db)
    watch = Watch(server=server)
    with bar(rows, "Sealing") as told:
        sealed = 0
        while part := seal(db, clock, ORIGIN, limit=min(BATCH, rows // 50)):
            sealed += part
            told(sealed)
    say("seal", sealed, watch)
    refresh(db)
    watch = Watch(server=server)
    with db.read() as tx:
        for place in range(_PROOFS):
            prove_inclusion(tx, 1 + place * (rows - 1) // _PROOFS)
    say("prove", _PROOFS, watch)
    intact, faults = look(db, server, rows)
    print(
        f"{intact.leaves} leaves, {intact.nodes} nodes, {intact.checkpoints} checkpoints, {intact.erased} rows erased "
        f"lawfully; intact: {len(faults)} faults"
    )
    planted = Planting(db, rows).all()
    _, found = look(db, server, rows)
    missed = [one for one in planted if not one.is_among(found)]
    beside = Counter(one.code for one in found if not any(plant.is_among([one]) for plant in planted))
    for one in planted:
        codes = sorted({fault.code for fault in found if one.is_among([fault])})
        print(f"  {one.words:<58}{', '.join(codes) or 'NOT FOUND'}")
    print(f"planted: {len(planted)} faults, {len(planted) - len(missed)} of them found and their place told")
    print(f"told of other places: {dict(beside) or 'nothing'}")
    return sealed == rows and not faults and not missed


def look(db: Database, server: int | None, rows: int) -> tuple[Verdict, list[Fault]]:
    faults: list[Fault] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = Watch(server=server)
    with bar(rows, "Verifying") as told:
        verdict = verify_log(db, faults.append, progress=lambda done, _: told(done))
    say("verify", verdict.rows, watch)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"most memory before verifying {before / 1024:.0f} MB, {more / 1024:.0f} MB more while it ran",
        flush=True,
    )
    return verdict, faults


@contextmanager
def bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; it is told how many are done."""
    with click.progressbar(length=length, label=label, file=sys.stderr) as shown:
        yield lambda done: shown.update(done - shown.pos)


def write(db: Database, rows: int) -> None:
    with db.write() as tx:
        metadata.create_all(tx)
    act = entry_by(
        _BY, SystemClock().now(), "decision", purpose="TREAT", reasons=["permit"], request_id="r-1"
    )
    detail = kept_json(json.loads(json.dumps(DETAIL, sort_keys=True)))
    with bar(rows, "Writing") as told:
        for start in range(0, rows, _AT_ONCE):
            count = min(_AT_ONCE, rows - start)
            persons = [7421938201934823424 + number % 999 for number in range(count)]
            columns = bulk_columns(act, persons, [detail] * count)
            for name in ("salt", "personal_digest", "leaf_hash"):
                columns[name] = blobs(columns[name])
            columns |= {"person_id": pa.array(persons, pa.int64()), "detail": texts([detail] * count)}
            with db.write() as tx:
                put_columns(tx, audit_event, columns, count)
            told(start + count)


ERASED = {"no fault": 11, "event_id": 12, "act_event_id": 13}
"""Rows whose personal parts are erased lawfully, each by an act of its own: of two, what vouches for it will be changed."""


def erase_some(db: Database) -> int:
    """Erase the personal parts of some rows lawfully; return how many rows that adds."""
    for number in ERASED.values():
        with db.write() as tx:
            audit.erase_rows(tx, entry_by(_BY, SystemClock().now(), audit.ERASING), [number])
    return len(ERASED)


def refresh(db: Database) -> None:
    """Let PostgreSQL know what its tables hold by now, as its autovacuum would."""
    if not db.is_sqlite:
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
            plain.execute(text("vacuum analyze"))


# Faults ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """A fault that was put in, and the places of which any tells of it: as ``Fault`` names them."""

    words: str
    places: tuple[tuple[str, Any], ...]

    def is_among(self, faults: Sequence[Fault]) -> bool:
        return any(getattr(fault, name) == value for fault in faults for name, value in self.places)


class Planting:
    """Changes what is stored, as someone may whom no trigger stops, each time in another place.

    What a change of a leaf does to every root after it would hide other faults. So leaves are changed behind most checkpoints.
    """

    def __init__(self, db: Database, rows: int) -> None:
        self._db = db
        with db.read() as tx:
            self._sizes = list(
                tx.scalars(select(audit_checkpoint.c.tree_size).order_by(audit_checkpoint.c.tree_size))
            )
        until = max(size for size in self._sizes if size < rows - 100)
        changes = len(audit_event.columns) + 6
        # Rows of the first checkpoints are left alone, so that a row's fault and a checkpoint's stay apart.
        self._rows = iter(range(until // (changes + 1), until, until // (changes + 1)))
        self._checkpoints = iter([size for size in self._sizes if size < until][1::2])
        self._nodes = iter(range(1, until // 256, 4))
        self._leaves = iter(range(until + 10, rows, 20))

    def all(self) -> list[Planted]:
        with self._db.engine.connect() as tx:
            _let_go(tx)
            planted = [
                *(self._row(tx, column.name) for column in audit_event.columns),
                self._deleted(tx),
                self._changed_places(tx, "two rows that changed places", "audit_event"),
                self._changed_places(
                    tx, "two rows that changed places with their leaves", "audit_event", "audit_leaf"
                ),
                *(self._erasure(tx, column.name) for column in audit_erasure.columns),
                *(self._checkpoint(tx, column.name) for column in audit_checkpoint.columns),
                self._forged(tx, "a checkpoint of another's key under our name", is_ours=False),
                self._forged(tx, "a checkpoint of our key over another root", is_ours=True),
                *(self._node(tx, column.name) for column in audit_node.columns),
                *(self._leaf(tx, column.name) for column in reversed(list(audit_leaf.columns))),
            ]
            tx.commit()
        return planted

    def _row(self, tx: Connection, column: str) -> Planted:
        number = next(self._rows)
        _turn_a_bit(tx, audit_event, column, {"event_id": number})
        return Planted(f"a bit of a row's {column}", (("event_id", number),))

    def _deleted(self, tx: Connection) -> Planted:
        number = next(self._rows)
        tx.execute(text("DELETE FROM audit_event WHERE event_id = :number"), {"number": number})
        return Planted("a row deleted", (("event_id", number),))

    def _changed_places(self, tx: Connection, words: str, *tables: str) -> Planted:
        first = next(self._rows)
        for table in tables:
            for old, new in ((first, -1), (first + 1, first), (-1, first + 1)):
                tx.execute(
                    text(f"UPDATE {table} SET event_id = :new WHERE event_id = :old"),
                    {"old": old, "new": new},
                )
        size = next(size for size in self._sizes if size > first)
        places: list[tuple[str, Any]] = [("event_id", first), ("event_id", first + 1)]
        return Planted(words, (*places, ("tree_size", size)) if len(tables) > 1 else tuple(places))

    def _erasure(self, tx: Connection, column: str) -> Planted:
        _turn_a_bit(tx, audit_erasure, column, {"event_id": ERASED[column]})
        return Planted(f"a bit of an erasure's {column}", (("event_id", ERASED[column]),))

    def _checkpoint(self, tx: Connection, column: str) -> Planted:
        size = next(self._checkpoints)
        places = [size, _turned(size, column)] if column == "tree_size" else [size]
        _turn_a_bit(tx, audit_checkpoint, column, {"tree_size": size})
        return Planted(f"a bit of a checkpoint's {column}", tuple(("tree_size", place) for place in places))

    def _forged(self, tx: Connection, words: str, *, is_ours: bool) -> Planted:
        size = next(self._checkpoints)
        note = tx.execute(
            select(audit_checkpoint.c.note).where(audit_checkpoint.c.tree_size == size)
        ).scalar_one()
        said = read_checkpoint(note)
        key = keys.find_key(tx, said.kid)
        if is_ours:
            said = Checkpoint(said.origin, size, bytes(32), said.at, said.kid, said.numbers)
        else:
            key = keys.SigningKey("x", keys.OKPKey.generate_key("Ed25519"), said.at, None)
        tx.execute(
            text("UPDATE audit_checkpoint SET note = :note, root = :root WHERE tree_size = :size"),
            {"note": sign_checkpoint(said, key), "root": said.root, "size": size},
        )
        return Planted(words, (("tree_size", size),))

    def _node(self, tx: Connection, column: str) -> Planted:
        place = next(self._nodes)
        _turn_a_bit(tx, audit_node, column, {"level": 8, "place": place})
        return Planted(f"a bit of a node's {column}", (("node", (8, place)),))

    def _leaf(self, tx: Connection, column: str) -> Planted:
        index = next(self._leaves)
        _turn_a_bit(tx, audit_leaf, column, {"leaf_index": index})
        return Planted(f"a bit of a leaf's {column}", (("leaf_index", index),))


def _let_go(tx: Connection) -> None:
    """Do away with what would refuse a change, for this connection or, where that cannot be, for all."""
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        for name in tx.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            tx.execute(text(f"DROP TRIGGER {name}"))
    else:
        tx.execute(text("SET session_replication_role = replica"))
        tx.execute(text("ALTER TABLE audit_event DROP CONSTRAINT ck_audit_event_outcome_is_known"))


def _turn_a_bit(tx: Connection, table: Table, column: str, where: dict[str, int]) -> None:
    """Turn one bit of what is stored in a column of one row; where there was nothing, something is."""
    condition = " AND ".join(f"{name} = :{name}_was" for name in where)
    keys_of_row = {f"{name}_was": value for name, value in where.items()}
    is_transaction = table is audit_event and column == "txid" and tx.dialect.name == "postgresql"
    shown = "txid::text::bigint" if is_transaction else column
    (was,) = tx.execute(text(f"SELECT {shown} FROM {table.name} WHERE {condition}"), keys_of_row).one()
    given = "CAST(CAST(:turned AS text) AS xid8)" if is_transaction else ":turned"
    done = tx.execute(
        text(f"UPDATE {table.name} SET {column} = {given} WHERE {condition}"),
        {"turned": _turned(was, column), **keys_of_row},
    )
    assert done.rowcount == 1, (table.name, column)


_SMALL = ("level", "tree_size")
"""Numbers of which the lowest bit is turned; of others one so high that the new number is nobody's."""


def _turned(value: Any, column: str) -> Any:
    if isinstance(value, str):
        middle = len(value) // 2
        return value[:middle] + chr(ord(value[middle]) ^ 1) + value[middle + 1 :]
    if isinstance(value, bytes | memoryview):
        middle = len(value) // 2
        return bytes(value[:middle]) + bytes([value[middle] ^ 1]) + bytes(value[middle + 1 :])
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, int):
        return value ^ (1 if column in _SMALL else 1 << 40)
    assert value is None
    return 1


def say(what: str, count: int, watch: Watch) -> None:
    seconds = watch.read()
    spent = seconds["client"] + seconds["server"]
    print(
        f"{what:<7} {count:>9}  {spent:8.1f} CPU s (client {seconds['client']:.1f}, server {seconds['server']:.1f})  "
        f"wall {seconds['wall']:.1f} s  {spent / max(1, count) * 1e6:.1f} µs CPU each",
        flush=True,
    )


if __name__ == "__main__":
    main()
