"""The look at the whole log: rows against their leaves, leaves against the tree, the tree against every signed checkpoint.

It reads in parts and keeps none, so its memory does not grow with the log; it may run beside the service.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, text

from foundation.audit import (
    as_stored,
    audit_erasure,
    audit_event,
    gives_its_leaf,
    instant_as_stored,
    rows_erased_by,
    text_as_stored,
)
from foundation.auth import keys
from foundation.database import Database
from foundation.sealing.checkpoint import Checkpoint, Numbers, is_signed, read_checkpoint
from foundation.sealing.merkle import Edge, extend
from foundation.sealing.tables import KEPT_EVERY, audit_checkpoint, audit_leaf, audit_node

_AT_ONCE = 5_000
_CLOCKS_DIFFER_BY = timedelta(minutes=15)  # who made or retired the key may not be who signed

FAULTS = {
    "row-changed": "the row does not give its leaf",
    "row-missing": "the row of this leaf is gone",
    "row-unsealed": "rows that came later were sealed, this one never",
    "erasure-unknown": "the row's personal parts are gone, and no act of the log says so",
    "leaf-differs": "the row has another leaf than the tree",
    "transaction-differs": "the row names another transaction than its leaf",
    "leaf-missing": "the leaf is gone",
    "leaf-beyond": "leaves that no checkpoint covers",
    "order-broken": "the leaf stands before one that it must follow",
    "node-differs": "the node is not the hash of what is below it",
    "node-missing": "the node is gone",
    "node-beyond": "nodes above leaves that are not there",
    "checkpoint-text": "the checkpoint's row does not say what was signed",
    "checkpoint-key": "the checkpoint is signed by a key that was not ours at the time, or not one of those to be believed",
    "checkpoint-signature": "the checkpoint's signature is wrong",
    "checkpoint-root": "the tree does not have the checkpoint's root",
    "checkpoint-edge": "the checkpoint's edge is not the tree's",
    "checkpoint-numbers": "row numbers or transactions since the last checkpoint are not those that were signed, or that one is gone",
    "checkpoint-beyond": "the checkpoint is over leaves that are not there",
    "checkpoint-lost": "a checkpoint that was kept elsewhere is of a tree that this is not",
    "number-missing": "these row numbers are gone",
}
"""What can be found, in words."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was written, and where: a row number, a leaf, a node, or the size of a checkpoint's tree."""

    code: str
    event_id: int | None = None
    leaf_index: int | None = None
    node: tuple[int, int] | None = None
    tree_size: int | None = None
    until: int | None = None

    def __str__(self) -> str:
        first = self.event_id if self.event_id is not None else self.leaf_index
        until = "" if self.until in (None, first) else f" to {self.until}"
        where = [
            f"row {self.event_id}{until}" if self.event_id is not None else "",
            f"leaf {self.leaf_index}{'' if self.event_id is not None else until}"
            if self.leaf_index is not None
            else "",
            f"node {self.node[1]} of level {self.node[0]}, leaves {self.node[1] << self.node[0]} to "
            f"{((self.node[1] + 1) << self.node[0]) - 1}"
            if self.node is not None
            else "",
            f"checkpoint {self.tree_size}" if self.tree_size is not None else "",
        ]
        return f"{', '.join(part for part in where if part)}: {FAULTS[self.code]} ({self.code})"


@dataclass(slots=True)
class Verdict:
    """What was looked at. ``waiting`` rows are not sealed yet; ``unused`` numbers were never kept (PostgreSQL: acts that were undone)."""

    rows: int = 0
    erased: int = 0
    leaves: int = 0
    nodes: int = 0
    checkpoints: int = 0
    waiting: int = 0
    unused: int = 0
    faults: int = 0
    root: str | None = None


@dataclass(slots=True)
class _Look:
    """The state of one look, carried from part to part."""

    db: Database
    found: Callable[[Fault], None]
    trusted: frozenset[str] | None
    told: dict[int, list[str]]
    verdict: Verdict = field(default_factory=Verdict)
    edge: Edge = field(default_factory=Edge)
    numbers: Numbers = field(default_factory=lambda: Numbers(Numbers.START))
    last: tuple[int, int] = (-1, 0)
    is_whole: bool = True  # no leaf is missing so far: roots can be told
    known_keys: dict[str, keys.SigningKey | None] = field(default_factory=dict)
    known_acts: dict[int, bool] = field(default_factory=dict)

    def say(self, fault: Fault) -> None:
        self.verdict.faults += 1
        self.found(fault)


def verify_log(
    db: Database,
    found: Callable[[Fault], None],
    *,
    trusted: frozenset[str] | None = None,
    told: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Verdict:
    """Look at every row, leaf, node and checkpoint, and tell ``found`` of each fault.

    Args:
        trusted: ids of the keys to be believed; None for all that the database holds as ours.
        told: notes of checkpoints that were kept elsewhere. Each must be of a tree that this one continues.
        progress: is told how many rows were looked at, and how many there are to be.
    """
    look = _Look(db, found, trusted, _by_size(told))
    with db.read() as tx:
        # In this order: a sealer at work may add behind us, and then what we read first is covered by what we read last.
        leaves = _leaves(tx)
        nodes = tx.execute(
            select(audit_node.c.level, func.max(audit_node.c.place)).group_by(audit_node.c.level)
        ).all()
        size = int(tx.execute(select(func.max(audit_checkpoint.c.tree_size))).scalar() or 0)
        leaves_behind_us = _leaves(tx)
        rows = int(tx.execute(select(func.count()).select_from(audit_event)).scalar_one())
    if leaves > size:
        look.say(Fault("leaf-beyond", leaf_index=size))
    for level, place in nodes:
        if level % KEPT_EVERY or level < KEPT_EVERY or place >= size >> level:
            look.say(Fault("node-beyond", node=(level, place)))
    end = min(
        size, leaves_behind_us
    )  # a checkpoint's size may be what was changed: it leads nowhere by itself
    _look_at_leaves(look, end, lambda: progress(look.verdict.rows, rows))
    if end < size:
        _miss_leaves(look, end, size)
        _look_at_checkpoints_beyond(look, end)
    for lost in sorted(kept for kept in look.told if kept > size):
        look.say(Fault("checkpoint-lost", tree_size=lost))
    _look_at_unsealed(look, lambda: progress(look.verdict.rows, rows))
    _look_for_numbers(look)
    if look.is_whole and size:
        look.verdict.root = look.edge.root().hex()
    return look.verdict


def _leaves(tx: Connection) -> int:
    return int(tx.execute(select(func.coalesce(func.max(audit_leaf.c.leaf_index), -1))).scalar_one()) + 1


def _by_size(told: Sequence[str]) -> dict[int, list[str]]:
    by_size: dict[int, list[str]] = {}
    for note in told:
        by_size.setdefault(read_checkpoint(note).tree_size, []).append(note)
    return by_size


# Leaves, with their rows, the nodes above them and the checkpoints over them ---------------------------------------------


def _look_at_leaves(look: _Look, size: int, told: Callable[[], None]) -> None:
    while look.verdict.leaves < size:
        with look.db.read() as tx:
            _look_at_part(look, tx, look.verdict.leaves, size)
        told()


def _look_at_part(look: _Look, tx: Connection, start: int, size: int) -> None:
    leaf = audit_leaf.c
    rows = tx.execute(
        select(
            leaf.leaf_index,
            leaf.event_id.label("leaf_event_id"),
            leaf.txid.label("leaf_txid"),
            leaf.leaf_hash.label("sealed_hash"),
            *_event_as_stored(tx),
        )
        .select_from(
            audit_leaf.outerjoin(audit_event, leaf.event_id == audit_event.c.event_id).outerjoin(
                audit_erasure, leaf.event_id == audit_erasure.c.event_id
            )
        )
        .where(leaf.leaf_index >= start, leaf.leaf_index < size)
        .order_by(leaf.leaf_index)
        .limit(_AT_ONCE)
    ).all()
    end = rows[-1].leaf_index + 1 if rows else size
    checkpoints = tx.execute(
        select(*as_stored(audit_checkpoint, tx))
        .where(audit_checkpoint.c.tree_size > start, audit_checkpoint.c.tree_size <= end)
        .order_by(audit_checkpoint.c.tree_size)
    ).all()
    by_size = {one.tree_size: one for one in checkpoints}
    stops = sorted({end, *by_size, *(one for one in look.told if start < one < end)})
    made: dict[tuple[int, int], bytes] = {}

    def note(level: int, place: int, digest: bytes) -> None:
        if level % KEPT_EVERY == 0:
            made[level, place] = digest

    place = 0
    for stop in stops:
        segment: list[bytes] = []
        while place < len(rows) and rows[place].leaf_index < stop:
            row = rows[place]
            place += 1
            _miss_leaves(look, look.verdict.leaves, row.leaf_index)
            look.verdict.leaves = row.leaf_index + 1
            _look_at_row(look, tx, row)
            segment.append(bytes(row.sealed_hash))
        _miss_leaves(look, look.verdict.leaves, stop)
        look.verdict.leaves = stop
        if look.is_whole:
            look.edge = extend(look.edge, segment, note)
        if stop in by_size:
            _look_at_checkpoint(look, tx, by_size[stop])
        for kept in look.told.get(stop, ()):
            _look_at_told(look, tx, stop, kept)
    if look.is_whole:
        _look_at_nodes(look, tx, made)


def _miss_leaves(look: _Look, first: int, until: int) -> None:
    if first < until:
        look.say(Fault("leaf-missing", leaf_index=first, until=until - 1))
        look.is_whole = False


def _look_at_row(look: _Look, tx: Connection, row: Row[Any]) -> None:
    event_id, txid = row.leaf_event_id, row.leaf_txid
    if not isinstance(event_id, int) or not isinstance(txid, int | None):  # SQLite keeps anything anywhere
        look.say(Fault("leaf-differs", leaf_index=row.leaf_index))
        return
    look.numbers.add(event_id, txid)
    here = (-1 if txid is None else txid, event_id)
    if here <= look.last:
        look.say(Fault("order-broken", event_id=event_id, leaf_index=row.leaf_index))
    look.last = here
    if row.event_id is None:
        look.say(Fault("row-missing", event_id=event_id, leaf_index=row.leaf_index))
        return
    look.verdict.rows += 1
    _look_at_erasure(look, tx, row)
    if not gives_its_leaf(row):
        look.say(Fault("row-changed", event_id=event_id, leaf_index=row.leaf_index))
    elif bytes(row.leaf_hash) != bytes(row.sealed_hash):
        look.say(Fault("leaf-differs", event_id=event_id, leaf_index=row.leaf_index))
    if (None if row.txid is None else int(row.txid)) != txid:
        look.say(Fault("transaction-differs", event_id=event_id, leaf_index=row.leaf_index))


def _event_as_stored(tx: Connection) -> list[ColumnElement[Any]]:
    """Return an audit row's columns, and the act that erased its personal parts, if one did."""
    return [*as_stored(audit_event, tx), audit_erasure.c.act_event_id]


def _look_at_erasure(look: _Look, tx: Connection, row: Row[Any]) -> None:
    """Count a row that was lawfully erased; one that is half erased no longer gives its leaf, which is told elsewhere."""
    if row.salt is not None:
        return
    act = row.act_event_id
    if isinstance(act, int) and act not in look.known_acts:
        look.known_acts[act] = rows_erased_by(tx, act)
    if act is not None and look.known_acts.get(act, False):
        look.verdict.erased += 1
    elif row.actor_id is None and row.person_id is None and row.detail is None:
        look.say(Fault("erasure-unknown", event_id=row.event_id))


def _look_at_nodes(look: _Look, tx: Connection, kept: dict[tuple[int, int], bytes]) -> None:
    for level in sorted({level for level, _ in kept}):
        places = [place for one, place in kept if one == level]
        rows = tx.execute(
            select(audit_node.c.place, audit_node.c.node_hash).where(
                audit_node.c.level == level,
                audit_node.c.place >= min(places),
                audit_node.c.place <= max(places),
            )
        )
        stored = {row.place: row.node_hash for row in rows}
        for place in places:
            look.verdict.nodes += 1
            if place not in stored:
                look.say(Fault("node-missing", node=(level, place)))
            elif bytes(stored[place]) != kept[level, place]:
                look.say(Fault("node-differs", node=(level, place)))


# Checkpoints -------------------------------------------------------------------------------------------------------------


def _look_at_checkpoint(look: _Look, tx: Connection, row: Row[Any]) -> None:
    look.verdict.checkpoints += 1
    numbers = look.numbers.digest()
    look.numbers = Numbers(bytes(row.numbers))  # as the sealer went on, so that one fault is told once
    for code in _faults_of(look, tx, row, numbers):
        look.say(Fault(code, tree_size=row.tree_size))


def _look_at_checkpoints_beyond(look: _Look, size: int) -> None:
    """Tell of those over leaves that are not there; their signatures are not asked for."""
    with look.db.read() as tx:
        for beyond in tx.scalars(
            select(audit_checkpoint.c.tree_size)
            .where(audit_checkpoint.c.tree_size > size)
            .order_by(audit_checkpoint.c.tree_size),
            execution_options={"yield_per": 1000},
        ):
            look.say(Fault("checkpoint-beyond", tree_size=beyond))


def _faults_of(look: _Look, tx: Connection, row: Row[Any], numbers: bytes) -> Iterator[str]:
    try:
        note = text_as_stored(row.note)
        said = read_checkpoint(note)
        kept = Checkpoint(
            said.origin,
            row.tree_size,
            bytes(row.root),
            instant_as_stored(row.at),
            text_as_stored(row.kid),
            bytes(row.numbers),
        )
    except (ValueError, TypeError, AttributeError):
        yield "checkpoint-text"
        return
    if kept != said:
        yield "checkpoint-text"
    yield from _faults_of_signature(look, tx, said, note)
    if look.is_whole:
        if look.edge.root() != said.root:
            yield "checkpoint-root"
        if look.edge.as_bytes() != bytes(row.edge):
            yield "checkpoint-edge"
        if said.numbers != numbers:
            yield "checkpoint-numbers"


def _faults_of_signature(look: _Look, tx: Connection, said: Checkpoint, note: str) -> Iterator[str]:
    if said.kid not in look.known_keys:
        look.known_keys[said.kid] = keys.find_key(tx, said.kid)
    key = look.known_keys[said.kid]
    if (
        key is None
        or (look.trusted is not None and said.kid not in look.trusted)
        or not _was_ours(key, said.at)
    ):
        yield "checkpoint-key"
    elif not is_signed(note, key):
        yield "checkpoint-signature"


def _was_ours(key: keys.SigningKey, at: datetime) -> bool:
    # Of a key that leaked it stands that it was retired when its last tokens were signed.
    until = None if key.retired_at is None else key.retired_at + keys.BELIEVED_AFTER_RETIREMENT
    return key.created_at - _CLOCKS_DIFFER_BY <= at and (until is None or at <= until + _CLOCKS_DIFFER_BY)


def _look_at_told(look: _Look, tx: Connection, size: int, note: str) -> None:
    said = read_checkpoint(note)
    for code in _faults_of_signature(look, tx, said, note):
        look.say(Fault(code, tree_size=size))
    if not look.is_whole or look.edge.root() != said.root:
        look.say(Fault("checkpoint-lost", tree_size=size))


# Rows without a leaf, and numbers without a row --------------------------------------------------------------------------


def _look_at_unsealed(look: _Look, told: Callable[[], None]) -> None:
    after, is_more = -1, True
    while is_more:
        with look.db.read() as tx:
            rows = tx.execute(
                select(*_event_as_stored(tx))
                .select_from(
                    audit_event.outerjoin(audit_erasure, audit_erasure.c.event_id == audit_event.c.event_id)
                )
                .where(
                    audit_event.c.event_id > after,
                    ~select(audit_leaf.c.leaf_index)
                    .where(audit_leaf.c.event_id == audit_event.c.event_id)
                    .exists(),
                )
                .order_by(audit_event.c.event_id)
                .limit(_AT_ONCE)
            ).all()
            for row in rows:
                _look_at_erasure(look, tx, row)
        is_sqlite = look.db.is_sqlite
        for row in rows:
            look.verdict.rows += 1
            txid = -1 if row.txid is None else int(row.txid)
            if not gives_its_leaf(row):
                look.say(Fault("row-changed", event_id=row.event_id))
            if (txid, row.event_id) <= look.last or (txid == -1) is not is_sqlite:
                look.say(Fault("row-unsealed", event_id=row.event_id))
            else:
                look.verdict.waiting += 1
        is_more = len(rows) == _AT_ONCE
        after = rows[-1].event_id if rows else after
        told()


_GAPS = """
    SELECT before + 1 AS first, event_id - 1 AS until FROM (
        SELECT event_id, lag(event_id, 1, 0) OVER (ORDER BY event_id) AS before FROM audit_event
    ) AS numbered WHERE event_id > before + 1 ORDER BY event_id
"""


def _look_for_numbers(look: _Look) -> None:
    """On SQLite a number is used with its row or not at all: one that is gone was removed. PostgreSQL leaves out those of undone acts."""
    with look.db.read() as tx:
        for gap in tx.execute(text(_GAPS), execution_options={"yield_per": 1000}):
            if look.db.is_sqlite:
                look.say(Fault("number-missing", event_id=gap.first, until=gap.until))
            else:
                look.verdict.unused += gap.until - gap.first + 1
        if look.db.is_sqlite:
            newest = int(tx.execute(select(func.coalesce(func.max(audit_event.c.event_id), 0))).scalar_one())
            given = tx.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'audit_event'")).scalar()
            if given is not None and given > newest:
                look.say(Fault("number-missing", event_id=newest + 1, until=given))
