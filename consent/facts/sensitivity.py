"""The cell: the smallest part of a record that a decision tells apart."""

from functools import lru_cache
from itertools import product, starmap
from typing import NamedTuple


class Cell(NamedTuple):
    """One category of one source under one sensitivity label; the label is the provider's assertion.

    A named tuple, as one decision sorts and looks up dozens of them.
    """

    category: str
    label: str
    source: str  # ODS code of the organisation whose item it is


Places = tuple[tuple[tuple[str, str], tuple[str, ...]], ...]
"""Labels by category and source."""

_FEW = 200
"""Cells up to which it is worth the memory to keep what was made of them."""


def every_cell(
    categories: tuple[str, ...], labels: tuple[str, ...], sources: tuple[str, ...]
) -> tuple[Cell, ...]:
    """Return the cells of every combination. Most questions are of few cells, and ask for such as others asked for."""
    is_kept = len(categories) * len(labels) * len(sources) <= _FEW
    return (_combined if is_kept else _combine)(categories, labels, sources)


def by_place(cells: tuple[Cell, ...]) -> Places:
    """Return the labels of these cells, by category and source."""
    return (_placed if len(cells) <= _FEW else _place)(cells)


def _combine(*axes: tuple[str, ...]) -> tuple[Cell, ...]:
    return tuple(starmap(Cell, product(*axes)))


def _place(cells: tuple[Cell, ...]) -> Places:
    found: dict[tuple[str, str], dict[str, None]] = {}
    for category, label, source in cells:
        found.setdefault((category, source), {})[label] = None
    return tuple((place, tuple(labels)) for place, labels in found.items())


_combined = lru_cache(maxsize=512)(_combine)
_placed = lru_cache(maxsize=512)(_place)
