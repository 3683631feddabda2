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


@lru_cache(maxsize=512)
def every_cell(
    categories: tuple[str, ...], labels: tuple[str, ...], sources: tuple[str, ...]
) -> tuple[Cell, ...]:
    """Return the cells of every combination. Most questions ask for such cells as others asked for."""
    return tuple(starmap(Cell, product(categories, labels, sources)))
