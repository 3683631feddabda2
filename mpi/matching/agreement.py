"""How sure a share is, and how well two judgements agree: the statistics of reviewing, in plain numbers."""

from collections.abc import Mapping
from math import sqrt

Z95 = 1.959964


def wilson(right: float, total: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share; (0, 1) where nothing was seen.

    Source: Wilson (1927); Brown, Cai and DasGupta (2001) for its behaviour near 0 and 1.
    """
    if total <= 0:
        return 0.0, 1.0
    share = right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def kappa(counts: Mapping[tuple[str, str], int]) -> float | None:
    """Return Cohen's kappa of two judges: agreement beyond what chance would give; 1 is full, 0 is chance.

    None where nothing was judged, or where chance alone would agree always, as when both only ever say one thing.

    Args:
        counts: how often the one said the first and the other the second.

    Source: Cohen (1960).
    """
    total = sum(counts.values())
    if not total:
        return None
    words = {word for pair in counts for word in pair}
    observed = sum(counts.get((word, word), 0) for word in words) / total
    first = {word: sum(count for (one, _), count in counts.items() if one == word) for word in words}
    second = {word: sum(count for (_, one), count in counts.items() if one == word) for word in words}
    chance = sum(first[word] * second[word] for word in words) / (total * total)
    return None if chance >= 1 else (observed - chance) / (1 - chance)
