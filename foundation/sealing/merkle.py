"""Merkle trees as RFC 6962 hashes them: a right edge that grows without old leaves, proofs, and their check. Plain functions of hashes."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
"""The root of a tree without leaves (RFC 6962, 2.1)."""

Subtree = tuple[int, int]
"""A complete subtree: its level, and its place among those of its level. It covers 2^level leaves from place * 2^level on."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Edge:
    """A tree's right edge: how many leaves it has, and the roots of the complete subtrees that they make up, the largest first.

    It is all that is needed to add leaves and to tell the root.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def as_bytes(self) -> bytes:
        return b"".join(self.peaks)

    @staticmethod
    def from_bytes(size: int, kept: bytes) -> "Edge":
        """Read what ``as_bytes`` wrote.

        Raises:
            ValueError: it is not as long as the edge of a tree of this size.
        """
        if size < 0 or len(kept) != HASH_BYTES * size.bit_count():
            raise ValueError("not the edge of a tree of this size")
        return Edge(
            size, tuple(kept[place : place + HASH_BYTES] for place in range(0, len(kept), HASH_BYTES))
        )


def extend(
    edge: Edge, leaves: Iterable[bytes], note: Callable[[int, int, bytes], None] = lambda *_: None
) -> Edge:
    """Return the edge with these leaf hashes added, in order.

    Args:
        note: is told of each inner node that becomes complete: level, place, hash.
    """
    size, peaks = edge.size, list(edge.peaks)
    sha256 = hashlib.sha256
    for leaf in leaves:
        level, place, made = 0, size, leaf
        while place & 1:
            made = sha256(b"\x01" + peaks.pop() + made).digest()
            level += 1
            place >>= 1
            note(level, place, made)
        peaks.append(made)
        size += 1
    return Edge(size, tuple(peaks))


def subtrees(start: int, end: int) -> list[Subtree]:
    """Return the complete subtrees that leaves ``start`` to ``end`` (left out) fall into, from the left, as RFC 6962 cuts them.

    ``start`` must be where a subtree of this width may begin, as it is for every range that a proof names.
    """
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        found.append((level, start >> level))
        start += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over neighbouring subtrees, the larger first."""
    return Edge(0, tuple(hashes)).root()


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the ranges of leaves whose roots prove that leaf ``index`` is in the tree of ``size`` leaves, the nearest first.

    Source: RFC 6962, 2.1.1.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError("no such leaf")
    found: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return found[::-1]


def consistency_ranges(first: int, second: int) -> list[tuple[int, int]]:
    """Return the ranges of leaves whose roots prove that the tree of ``first`` leaves is the beginning of that of ``second``.

    Source: RFC 6962, 2.1.2.

    Raises:
        ValueError: not 0 < first <= second.
    """
    if not 0 < first <= second:
        raise ValueError("not the sizes of two trees, the smaller first")
    found: list[tuple[int, int]] = []
    start, end, is_whole = 0, second, True
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start, is_whole = middle, False
    if not is_whole:
        found.append((start, end))
    return found[::-1]


def _split(width: int) -> int:
    """The largest power of two below ``width``: how many leaves go to the left."""
    return 1 << ((width - 1).bit_length() - 1)


def proves_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether this path leads from the leaf at ``index`` to the root of the tree of ``size`` leaves.

    Source: RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    place, last, made = index, size - 1, leaf
    for part in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            made = node_hash(part, made)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            made = node_hash(made, part)
        place >>= 1
        last >>= 1
    return last == 0 and made == root


def proves_consistency(
    first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes
) -> bool:
    """Whether this path shows that the tree of ``first`` leaves is the beginning of that of ``second``.

    Source: RFC 9162, 2.1.4.2.
    """
    if not 0 < first <= second:
        return False
    if first == second:
        return not path and first_root == second_root
    parts = list(path)
    if first & (first - 1) == 0:
        parts.insert(0, first_root)  # a complete tree is its own first part
    if not parts:
        return False
    place, last = first - 1, second - 1
    while place & 1:
        place >>= 1
        last >>= 1
    old = new = parts[0]
    for part in parts[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(part, old), node_hash(part, new)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            new = node_hash(new, part)
        place >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == second_root
