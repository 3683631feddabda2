"""Proofs from the kept tree: that a row is in it, and that one checkpoint's tree is the beginning of another's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from foundation.auth import keys
from foundation.errors import Invalid, NotFound, Unavailable
from foundation.sealing.merkle import Edge, consistency_ranges, extend, fold, inclusion_ranges, subtrees
from foundation.sealing.tables import KEPT_EVERY, audit_checkpoint, audit_leaf, audit_node

_TILE = 1 << KEPT_EVERY


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint as it is handed on. ``public_key`` is the signing key's public half as a JWK, None where it is not ours any more."""

    tree_size: int
    root: str
    at: Any
    key_id: str
    public_key: dict[str, str] | None
    note: str


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """The hashes (hex, nearest first) that lead from a row's leaf to the root of a signed checkpoint."""

    event_id: int
    leaf_index: int
    leaf_hash: str
    path: tuple[str, ...]
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """The hashes (hex) that show the tree of ``first`` leaves to be the beginning of that of ``second``."""

    first: int
    second: int
    first_root: str
    second_root: str
    path: tuple[str, ...]


def list_checkpoints(tx: Connection, *, below: int | None = None, limit: int = 50) -> list[SignedCheckpoint]:
    """Return checkpoints, the newest first; those of fewer leaves than ``below``."""
    statement = select(audit_checkpoint).order_by(audit_checkpoint.c.tree_size.desc()).limit(limit)
    if below is not None:
        statement = statement.where(audit_checkpoint.c.tree_size < below)
    return [_signed(tx, row) for row in tx.execute(statement)]


def prove_inclusion(
    tx: Connection, event_id: int, *, leaf_hash: str | None = None, tree_size: int | None = None
) -> InclusionProof:
    """Prove that a row is in the tree of a checkpoint, the newest unless ``tree_size`` names another.

    Args:
        leaf_hash: what the asker holds of the row; with another than the row's it is as if there were no row.

    Raises:
        NotFound: ``audit-event-unknown``, also for a row that waits to be sealed; ``checkpoint-unknown``.
        Invalid: ``tree-size-smaller``: the row came after that checkpoint.
        Unavailable: ``audit-tree-broken``: leaves or nodes that the proof needs are gone.
    """
    leaf = tx.execute(select(audit_leaf).where(audit_leaf.c.event_id == event_id)).first()
    if leaf is None or (leaf_hash is not None and leaf_hash != leaf.leaf_hash.hex()):
        raise NotFound("audit-event-unknown", detail="A new row is sealed within a minute.")
    statement = select(audit_checkpoint).order_by(audit_checkpoint.c.tree_size.desc()).limit(1)
    if tree_size is not None:
        statement = statement.where(audit_checkpoint.c.tree_size == tree_size)
    checkpoint = tx.execute(statement).first()
    if checkpoint is None:
        raise NotFound("checkpoint-unknown")
    if leaf.leaf_index >= checkpoint.tree_size:
        raise Invalid("tree-size-smaller", field="tree_size")
    tree = _Tree(tx)
    path = [tree.root_of(*one) for one in inclusion_ranges(leaf.leaf_index, checkpoint.tree_size)]
    return InclusionProof(
        event_id,
        leaf.leaf_index,
        leaf.leaf_hash.hex(),
        tuple(part.hex() for part in path),
        _signed(tx, checkpoint),
    )


def prove_consistency(tx: Connection, first: int, second: int) -> ConsistencyProof:
    """Prove that the tree of ``first`` leaves is the beginning of that of ``second``.

    Raises:
        Invalid: ``tree-size-order``: not 0 < first <= second. ``tree-size-unknown``: there is no tree of so many leaves yet.
        Unavailable: ``audit-tree-broken``.
    """
    if not 0 < first <= second:
        raise Invalid("tree-size-order", field="first")
    newest = tx.execute(
        select(audit_checkpoint.c.tree_size).order_by(audit_checkpoint.c.tree_size.desc()).limit(1)
    ).scalar()
    if newest is None or second > newest:
        raise Invalid("tree-size-unknown", field="second")
    tree = _Tree(tx)
    return ConsistencyProof(
        first,
        second,
        tree.root_of(0, first).hex(),
        tree.root_of(0, second).hex(),
        tuple(tree.root_of(*one).hex() for one in consistency_ranges(first, second)),
    )


class _Tree:
    """The kept hashes, read 256 at a time and each once: a proof lies in few of them."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx
        self._tiles: dict[tuple[int, int], Sequence[bytes]] = {}

    def root_of(self, start: int, end: int) -> bytes:
        return fold([self._subtree(level, place) for level, place in subtrees(start, end)])

    def _subtree(self, level: int, place: int) -> bytes:
        kept = level - level % KEPT_EVERY
        width = 1 << (level - kept)
        tile, begin = divmod(place * width, _TILE)
        hashes = self._tile(kept, tile)[begin : begin + width]
        if len(hashes) != width:
            raise Unavailable("audit-tree-broken")
        return extend(Edge(), hashes).root()

    def _tile(self, level: int, tile: int) -> Sequence[bytes]:
        if (level, tile) not in self._tiles:
            first = tile * _TILE
            if level == 0:
                place, column = audit_leaf.c.leaf_index, audit_leaf.c.leaf_hash
                statement = select(place, column)
            else:
                place, column = audit_node.c.place, audit_node.c.node_hash
                statement = select(place, column).where(audit_node.c.level == level)
            rows = self._tx.execute(
                statement.where(place >= first, place < first + _TILE).order_by(place)
            ).all()
            if [number for number, _ in rows] != list(range(first, first + len(rows))):
                raise Unavailable("audit-tree-broken")
            self._tiles[level, tile] = [bytes(made) for _, made in rows]
        return self._tiles[level, tile]


def _signed(tx: Connection, row: Row[Any]) -> SignedCheckpoint:
    held = keys.find_key(tx, row.kid)
    return SignedCheckpoint(
        row.tree_size,
        bytes(row.root).hex(),
        row.at,
        row.kid,
        None if held is None else held.public_jwk(),
        row.note,
    )
