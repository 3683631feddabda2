"""How often each source writes a field wrong, learned from pairs that are likely one person. Nobody knows which side of a pair erred."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi.matching.compare import MISSING
from mpi.training.estimate import Patterns

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ERRORS = {
    "nhs_number": ("close", "differ", "differ-verified"),
    "given": ("typo", "close", "swapped", "loose", "differ"),
    "family": ("close", "swapped", "loose", "differ"),
    "birth_date": ("swapped", "close", "part", "year", "differ"),
    "gender": ("differ",),
}
"""Levels of which one side must be wrong. A surname that was changed, a short form, a part of a date or a new home is no error."""

ROUNDS = 100
PRETENDED = 25.0
"""So many pairs at the rate of all sources stand beside a source's own: one slip in three records is no rate."""


def error_rates(
    names: Sequence[str],
    source: Ints,
    low: NDArray[Any],
    high: NDArray[Any],
    patterns: Patterns,
    codes: Ints,
    chance: Floats,
) -> list[dict[str, Any]]:
    """Return for each source how often it errs, field by field, the source with most records first.

    In a pair of one person that disagrees one of the two sources erred. Expectation: each bears the blame in proportion to its present
    rate. Maximisation: its rate is its blame over its pairs. So a careful practice is not blamed for the ward with which it is compared.
    Pairs that no blocking key brings together are not seen, and a custom that no level knows counts as a slip: the rates are good for
    comparing sources, and not exact.

    Args:
        names: of sources, ``source`` the place in them of every row.
        low, high: rows of compared pairs; ``codes`` their places in ``patterns``.
        chance: of every pair that it is one person.

    Source: Dempster, Laird and Rubin (1977); the additive Poisson model.
    """
    one, other = source[low], source[high]
    cells, cell = np.unique(np.minimum(one, other) * len(names) + np.maximum(one, other), return_inverse=True)
    left, right = np.divmod(cells, len(names))
    records = np.bincount(source, minlength=len(names))
    rows: list[dict[str, Any]] = [
        {"source": name, "records": count, "errors": {}}
        for name, count in zip(names, records.tolist(), strict=True)
    ]
    for name, levels in ERRORS.items():
        is_told, is_wrong = ~patterns.has(name, (MISSING,))[codes], patterns.has(name, levels)[codes]
        told: Floats = np.bincount(cell, chance * is_told, len(cells)).astype(np.float64)
        wrong: Floats = np.bincount(cell, chance * is_wrong, len(cells)).astype(np.float64)
        rates, pairs = _rates(left, right, told, wrong, len(names))
        for row, rate, count in zip(rows, rates.tolist(), pairs.tolist(), strict=True):
            if count >= 1:
                row["errors"][name] = round(rate, 4)
    return sorted(rows, key=lambda row: (-row["records"], row["source"]))


def _rates(left: Ints, right: Ints, told: Floats, wrong: Floats, size: int) -> tuple[Floats, Floats]:
    """Fit ``wrong`` = ``told`` x (rate of one source + rate of the other); return the rates, and how many pairs each source has.

    A pair inside one source has both its sides there.
    """
    pairs: Floats = (np.bincount(left, told, size) + np.bincount(right, told, size)).astype(np.float64)
    usual = float(wrong.sum() / (2 * told.sum())) if told.any() else 0.0
    rates: Floats = np.full(size, usual)
    for _ in range(ROUNDS):
        both = rates[left] + rates[right]
        each = np.divide(wrong, both, out=np.zeros_like(wrong), where=both > 0)
        blame = np.bincount(left, each * rates[left], size) + np.bincount(right, each * rates[right], size)
        rates = (blame + PRETENDED * usual) / (pairs + PRETENDED)
    return rates, pairs
