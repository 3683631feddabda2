"""How sure a measured rate is: Wilson's interval, and a bootstrap over people, since the pairs of one person are not independent."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from mpi.matching.agreement import Z95, wilson

__all__ = ["DRAWS", "Z95", "by_cluster", "wilson"]

DRAWS = 2_000


def by_cluster(clusters: Iterable[tuple[int, int]], seed: int = 0, draws: int = DRAWS) -> tuple[float, float]:
    """Return a 95 % interval of the share ``sum(right) / sum(total)`` over clusters that are drawn anew, with replacement.

    Args:
        clusters: of each cluster how many were right, and of how many. A cluster is all that hangs together: pairs of one person
            share their records, and one wrong record makes several wrong pairs.

    Where every cluster is all right (or all wrong), drawing anew shows no error; then Wilson's interval over clusters, not pairs, stands.

    Source: Efron and Tibshirani (1993), percentile interval; Field and Welsh (2007) for clusters.
    """
    rows = Counter((right, total) for right, total in clusters if total)
    if not rows:
        return 0.0, 1.0
    kinds = sorted(rows)
    counts = np.array([rows[kind] for kind in kinds], dtype=float)
    number = int(counts.sum())
    rights, totals = np.array(kinds, dtype=float).T
    if (rights == totals).all() or (rights == 0).all():
        return wilson(number if rights.any() else 0, number)
    dice = np.random.default_rng(seed)
    drawn = dice.multinomial(number, counts / number, size=draws)
    # A draw without any pair says nothing.
    there = drawn @ totals
    shares = (drawn @ rights)[there > 0] / there[there > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)
