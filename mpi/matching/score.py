"""Step 4: the match weight of a comparison, in exact integer millibits, with the parts it is made of."""

from dataclasses import dataclass
from typing import NamedTuple

from mpi.matching.compare import Comparison
from mpi.matching.model import Model

Part = tuple[str, str, int]
"""Field, level, millibits. The first part of a score is the prior: ("prior", rival, millibits)."""

_MEMO_LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class Score:
    """The weight against the best rival explanation. ``weight`` is the sum of ``parts``; 1000 doubles the odds."""

    weight: int
    parts: tuple[Part, ...]
    rival: str

    @property
    def evidence(self) -> int:
        """What the fields say, without the starting odds: below zero they contradict one person, at zero they say nothing."""
        return self.weight - self.parts[0][2]

    @property
    def probability(self) -> float:
        """The chance of one person, by the model's own estimate."""
        odds = float(2.0 ** (max(-60_000, min(60_000, self.weight)) / 1000))
        return odds / (1.0 + odds)


def score(comparison: Comparison, model: Model) -> Score:
    """Weigh "one person" against every rival class of pair, and keep the least weight.

    For a rival r: prior(r) + sum of log2(m / u(r)) over the fields, and the frequency part of an agreeing name where the model
    says so. The classes of different people are rival explanations: a pair must beat the best of them.

    Source: Fellegi and Sunter (1969), with several classes of unmatched pair; frequencies after Winkler (2000).
    """
    known = _pattern(comparison, model)
    given = model.frequency["given"].part(comparison.given) if known.given else 0
    family = model.frequency["family"].part(comparison.family) if known.family else 0
    return score_pattern(known, given, family, model)


def weights(comparison: Comparison, model: Model) -> tuple[int, ...]:
    """Return the weight against every rival, in the model's order; ``score`` keeps the least."""
    known = _pattern(comparison, model)
    given = model.frequency["given"].part(comparison.given) if known.given else 0
    family = model.frequency["family"].part(comparison.family) if known.family else 0
    return tuple(
        total
        + (given if known.given and known.given[place] else 0)
        + (family if known.family and known.family[place] else 0)
        for place, total in enumerate(known.sums)
    )


def _pattern(comparison: Comparison, model: Model) -> "Pattern":
    known: Pattern | None = model.memo.get(comparison.levels)
    if known is None:
        known = pattern_of(comparison.levels, model)
        if len(model.memo) >= _MEMO_LIMIT:
            model.memo.clear()
        model.memo[comparison.levels] = known
    return known


def score_pattern(pattern: "Pattern", given: int, family: int, model: Model) -> Score:
    """Weigh a pattern of levels whose agreeing names are worth so much more or less than the average ones, in millibits."""
    sums, frequency_of_given, frequency_of_family, columns = pattern
    given = given if frequency_of_given else 0
    family = family if frequency_of_family else 0
    least = best = None
    for place, total in enumerate(sums):
        if given and frequency_of_given[place]:
            total += given
        if family and frequency_of_family[place]:
            total += family
        if least is None or total < least:
            least, best = total, place
    assert least is not None and best is not None
    parts = columns[best]
    if given and frequency_of_given[best]:
        parts = (*parts, ("given", "frequency", given))
    if family and frequency_of_family[best]:
        parts = (*parts, ("family", "frequency", family))
    return Score(least, parts, model.rivals[best])


class Pattern(NamedTuple):
    """Levels added up, each against every rival in the model's order: sums, whether a name's frequency counts, and the parts.

    ``given`` and ``family`` are empty where their frequency counts against no rival.
    """

    sums: tuple[int, ...]
    given: tuple[bool, ...]
    family: tuple[bool, ...]
    columns: tuple[tuple[Part, ...], ...]


def pattern_of(levels: tuple[str, ...], model: Model) -> Pattern:
    """Add up one pattern of levels against every rival."""
    weighed = _weighed(levels, model)
    columns = tuple(_column(weighed, place, model) for place in range(len(model.rivals)))
    return Pattern(
        tuple(sum(part[2] for part in column) for column in columns),
        _against("given", levels, model),
        _against("family", levels, model),
        columns,
    )


def column_of(levels: tuple[str, ...], rival: int, model: Model) -> tuple[Part, ...]:
    """Return the parts that a pattern has against one rival, by its place: those of ``pattern_of``."""
    return _column(_weighed(levels, model), rival, model)


def _weighed(levels: tuple[str, ...], model: Model) -> list[tuple[str, str, tuple[int, ...]]]:
    found = [(name, level) for name, level in zip(model.fields, levels, strict=True) if level != "missing"]
    return [(name, level, model.parts[name][level]) for name, level in found if level in model.parts[name]]


def _column(weighed: list[tuple[str, str, tuple[int, ...]]], place: int, model: Model) -> tuple[Part, ...]:
    return (
        ("prior", model.rivals[place], model.priors[place]),
        *((name, level, parts[place]) for name, level, parts in weighed if parts[place]),
    )


def _against(name: str, levels: tuple[str, ...], model: Model) -> tuple[bool, ...]:
    frequency = model.frequency.get(name)
    if frequency is None or name not in model.fields:
        return ()
    if levels[model.fields.index(name)] not in frequency.levels:
        return ()
    return tuple(rival in frequency.against for rival in model.rivals)
