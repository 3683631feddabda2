"""The estimate: how often each level is met among pairs of one person and among each kind of pair of two."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpi.matching import FIELDS, Comparison, Model, NormalisedRecord, compare
from mpi.training.pairs import Pair, Population
from mpi.training.starting import CLASSES

Floats = NDArray[np.float64]
Probabilities = dict[str, dict[str, dict[str, float]]]
"""Class, field, level: probability."""

PERSON, STRANGER = CLASSES.index("person"), CLASSES.index("stranger")

# What makes each class what it is stays as first guessed: left free, the classes change places or flow together.
ANCHORS = frozenset(
    [
        *((kind, name) for kind in ("relative", "twin", "namesake") for name in ("given", "birth_date")),
        *((kind, "nhs_number") for kind in ("relative", "twin", "namesake", "neighbour")),
        *((kind, "identifier") for kind in ("relative", "twin", "namesake", "neighbour")),
        ("namesake", "family"),
        ("twin", "birth_order"),
        ("twin", "family"),
    ]
)
LIKE_STRANGERS = frozenset(
    (("neighbour", "given"), ("neighbour", "family"), ("neighbour", "birth_date"), ("neighbour", "middle"))
)
KEPT_LEVELS = frozenset(
    [
        ("nhs_number", "close"),
        ("gender", "implied"),
        ("identifier", "differ"),
        ("birth_order", "agree"),
        ("birth_order", "differ"),
    ]
)
"""Levels whose first guess stands: few pairs reach them, and unnamed twins look like one newborn but for their order."""

REACHED_BY_FEW = frozenset(
    [
        *(("given", level) for level in ("initial", "middle", "reordered", "swapped")),
        *(("family", level) for level in ("previous", "swapped")),
        *(("birth_date", level) for level in ("january", "partial")),
    ]
)
"""Levels that only some pairs can reach; an anchored class keeps its first ratio to one person there."""

LEAST_SHARE = 3.0
"""Made-up people err less than real ones: no level of one person falls below this part of its first guess."""

SELDOM = 30.0
"""A level met in fewer pairs than this keeps its first guess against every rival."""

PSEUDO_PERSON, PSEUDO_RIVAL, PSEUDO_EVENTS = 30.0, 200.0, 5.0
ENOUGH_EVENTS = 20
"""A level met in so many random pairs speaks for itself: its share is known to a third of a bit."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of compared pair: its levels, whether both are women of one given name, and the frequency part in whole bits."""

    levels: tuple[str, ...]
    women: bool
    frequency_bits: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Fitted probabilities, and how many pairs of each class there are among the records learned from."""

    probabilities: Probabilities = field(repr=False)
    pairs_of: dict[str, float]
    rounds: int
    patterns: int
    posterior: tuple[tuple[Pattern, int, float], ...] = field(repr=False)
    """Every pattern with its count and the chance that it is one person."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Compared pairs: the different patterns, in order, and for every pair which of them it shows."""

    patterns: tuple[Pattern, ...] = field(repr=False)
    codes: NDArray[np.int64] = field(repr=False)

    def counts(self, chosen: NDArray[np.bool_] | None = None) -> dict[Pattern, int]:
        """Count the pairs of each pattern, of the chosen pairs only if given."""
        codes = self.codes if chosen is None else self.codes[chosen]
        numbers = np.bincount(codes, minlength=len(self.patterns)).tolist()
        return {pattern: count for pattern, count in zip(self.patterns, numbers, strict=True) if count}


def compare_pairs(population: Population, pairs: Iterable[Pair], model: Model) -> Compared:
    """Compare pairs."""
    records = population.records
    numbers: dict[Pattern, int] = {}
    codes = array("q")
    for low, high in pairs:
        codes.append(numbers.setdefault(pattern_of(records[low], records[high], model), len(numbers)))
    found = np.frombuffer(codes, dtype=np.int64) if codes else np.zeros(0, dtype=np.int64)
    ordered = sorted(numbers, key=_order)
    place = np.zeros(len(numbers), dtype=np.int64)
    for new, pattern in enumerate(ordered):
        place[numbers[pattern]] = new
    return Compared(tuple(ordered), place[found])


def _order(pattern: Pattern) -> tuple[tuple[str, ...], bool, int]:
    return pattern.levels, pattern.women, pattern.frequency_bits


def count_patterns(population: Population, pairs: Iterable[Pair], model: Model) -> dict[Pattern, int]:
    """Compare pairs and count equal patterns."""
    return compare_pairs(population, pairs, model).counts()


def pattern_of(a: NormalisedRecord, b: NormalisedRecord, model: Model) -> Pattern:
    comparison = compare(a, b, model)
    women = a.gender == "f" and b.gender == "f" and comparison.level("given") in _SAME_GIVEN
    return Pattern(comparison.levels, women, round(_frequency(comparison, model) / 1000))


_SAME_GIVEN = frozenset(("exact", "nickname", "typo", "close", "middle", "reordered"))


def _frequency(comparison: Comparison, model: Model) -> int:
    total = 0
    for name, value in (("given", comparison.given), ("family", comparison.family)):
        table = model.frequency[name]
        if comparison.level(name) in table.levels:
            total += table.part(value)
    return total


def probabilities_of(document: Mapping[str, object]) -> Probabilities:
    """Read the probabilities back from a model document."""
    fields = document["fields"]
    assert isinstance(fields, dict)
    return {
        kind: {
            name: {level: 2.0 ** (logs[kind] / 1000) for level, logs in levels.items()}
            for name, levels in fields.items()
        }
        for kind in CLASSES
    }


def stranger_probabilities(
    patterns: Mapping[Pattern, int], first: Probabilities
) -> dict[str, dict[str, float]]:
    """Return u: how often each level is met among random pairs; see ``_rate`` for those that were met seldom.

    By chance some random pairs are no strangers: of a small file a good part of all agreements on a birth date. Left out are pairs that
    look like one person (birth date and a name), and for each field those that another field shows to be of one home or family. So
    what is shared is learned too: a postcode of a whole district is met among strangers and tells little.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in FIELDS}
    for pattern, count in patterns.items():
        levels = dict(zip(FIELDS, pattern.levels, strict=True))
        if levels["birth_date"] == "exact" and (
            levels["given"] in _SAME_GIVEN or levels["family"] in _SAME_FAMILY
        ):
            continue
        shared = {name for name, found in _SHARED.items() if levels[name] in found}
        is_family = levels["family"] in _SAME_FAMILY
        for name, level in levels.items():
            if shared - {name} or (name in shared and is_family):
                continue
            if level != "missing":
                counts[name]["differ" if (name, level) == ("family", "changed") else level] += count
    fitted: dict[str, dict[str, float]] = {}
    del counts["gender"]["implied"]
    for name, guesses in first["stranger"].items():
        total = sum(counts[name].values())
        fitted[name] = {
            level: guess if (name, level) in KEPT_LEVELS else _rate(counts[name][level], total, guess)
            for level, guess in guesses.items()
        }
    fitted["family"]["changed"] = fitted["family"]["differ"]
    return fitted


def _rate(met: int, total: int, guess: float) -> float:
    """Return a share as met, or where it was met seldom, held up by a few events at the first guess's rate.

    The few events stand for ``PSEUDO_EVENTS / guess`` pairs, which of a rare level is more than all that were drawn: what was met
    often enough must not be outvoted by them.
    """
    if met >= ENOUGH_EVENTS:
        return met / total
    return min(1.0, (met + PSEUDO_EVENTS) / (total + PSEUDO_EVENTS / guess))


_SAME_FAMILY = frozenset(("exact", "previous", "half", "swapped", "close"))
_SHARED: Mapping[str, tuple[str, ...]] = {
    "nhs_number": ("verified", "claimed"),
    "address": ("same", "postcode"),
    "phone": ("mobile", "landline"),
    "email": ("agree",),
    "identifier": ("agree",),
    "mother": ("agree",),
}
"""What strangers share seldom, and people of one home or family often."""


def out_of_reach(patterns: Mapping[Pattern, int]) -> frozenset[tuple[str, str]]:
    """Return the levels of REACHED_BY_FEW that random pairs hardly met, so that their u could not be learned."""
    met: Counter[tuple[str, str]] = Counter()
    for pattern, count in patterns.items():
        for level in zip(FIELDS, pattern.levels, strict=True):
            met[level] += count
    return frozenset(level for level in REACHED_BY_FEW if met[level] < PSEUDO_EVENTS)


def fit(
    patterns: Mapping[Pattern, int],
    records: int,
    first: Probabilities,
    pairs_per_record: Mapping[str, float],
    *,
    same: Mapping[Pattern, int] | None = None,
    different: Mapping[Pattern, int] | None = None,
    guesses: Probabilities | None = None,
    unreached: frozenset[tuple[str, str]] = frozenset(),
    rounds: int = 60,
) -> Estimate:
    """Fit the classes to pattern counts by expectation and maximisation, strangers held fixed.

    Args:
        patterns: counts of pairs of which nobody said what they are.
        first: where to start; its strangers are held fixed.
        same, different: counts of pairs that were labelled. Their class is not guessed: one person, or any of the others. A label
            may be given because of how a pair looks (the queue shows doubtful ones) and biases nothing, since all that was looked at
            is in the pattern; the labelled and the unlabelled pairs together are all pairs.
        guesses: the first guesses, which hold levels too rare to be learned; ``first`` if not given.
        unreached: levels whose u keeps its guessed ratio to m, see ``out_of_reach``.

    Strangers are not guessed at: there are ``records`` squared over two pairs, nearly all of strangers, so the count to expect of
    a pattern among strangers is known from their fixed probabilities. The other classes share what is above it.

    Source: Dempster, Laird and Rubin (1977); Winkler (1988) for linkage; several classes after Larsen and Rubin (2001).
    """
    ordered = [
        (pattern, count, verdict)
        for found, verdict in ((patterns, None), (same or {}, True), (different or {}, False))
        for pattern, count in sorted(found.items(), key=lambda one: _order(one[0]))
    ]
    counts: Floats = np.array([count for _, count, _ in ordered], dtype=float)
    is_same = np.array([verdict is True for _, _, verdict in ordered], dtype=bool)
    is_different = np.array([verdict is False for _, _, verdict in ordered], dtype=bool)
    coded = _Coded.of([pattern for pattern, _, _ in ordered], first)
    known = guesses or first
    tables, held_up = _tables(first, coded), _tables(known, coded)
    gender = FIELDS.index("gender")
    shares = [table / table.sum(axis=1, keepdims=True) for table in held_up]
    shares[gender] = held_up[gender] / (held_up[gender].sum(axis=1, keepdims=True) - 1)  # without "implied"
    mass = np.array([pairs_per_record[kind] * records for kind in CLASSES])
    mass[STRANGER] = records * (records - 1) / 2
    responsibility: Floats = np.zeros((len(CLASSES), len(counts)))
    done = 0
    for done in range(1, rounds + 1):
        logs = np.log(np.maximum(mass, 1e-9))[:, None] + coded.log_likelihood(tables)
        logs[PERSON, is_different] = -np.inf
        logs -= logs.max(axis=0)
        responsibility = np.exp(logs)
        responsibility /= responsibility.sum(axis=0)
        responsibility[:, is_same] = 0.0
        responsibility[PERSON, is_same] = 1.0
        weights = responsibility * counts
        held = weights.sum(axis=1)
        moved = float(np.abs(np.log((held + 1) / (mass + 1)))[_FREE].max())
        mass[_FREE] = np.maximum(held[_FREE], records * 1e-4)
        _maximise(tables, shares, weights, coded, unreached)
        if moved < 1e-4 and done > 5:
            break
    seldom = _seldom(counts, coded)
    return Estimate(
        probabilities={
            kind: {
                name: {
                    level: known[kind][name][level] if (f, place) in seldom else float(tables[f][c, place])
                    for place, level in enumerate(coded.levels[f])
                }
                for f, name in enumerate(FIELDS)
            }
            for c, kind in enumerate(CLASSES)
        },
        pairs_of={kind: float(mass[c]) for c, kind in enumerate(CLASSES)},
        rounds=done,
        patterns=len(counts),
        posterior=tuple(
            (pattern, count, float(chance))
            for (pattern, count, _), chance in zip(ordered, responsibility[PERSON], strict=True)
        ),
    )


def _seldom(counts: Floats, coded: "_Coded") -> set[tuple[int, int]]:
    """Return the (field, level) places that were met too seldom among candidate pairs to be learned."""
    found: set[tuple[int, int]] = set()
    for f, names in enumerate(coded.levels):
        column = coded.columns[f]
        met = np.bincount(column[column >= 0], counts[column >= 0], len(names))
        found.update((f, place) for place in range(len(names)) if met[place] < SELDOM)
    return found


_FREE = np.array([kind != "stranger" for kind in CLASSES])


@dataclass(frozen=True, slots=True)
class _Coded:
    """Patterns as numbers: for each field a column of level places, -1 where missing."""

    levels: tuple[tuple[str, ...], ...]
    columns: tuple[NDArray[np.int64], ...]
    women: NDArray[np.bool_]
    frequency: Floats

    @classmethod
    def of(cls, patterns: list[Pattern], first: Probabilities) -> "_Coded":
        levels = tuple(tuple(first["person"][name]) for name in FIELDS)
        place = [{level: number for number, level in enumerate(names)} for names in levels]
        return cls(
            levels,
            tuple(
                np.array([place[f].get(pattern.levels[f], -1) for pattern in patterns], dtype=np.int64)
                for f in range(len(FIELDS))
            ),
            np.array([pattern.women for pattern in patterns], dtype=bool),
            np.array([pattern.frequency_bits for pattern in patterns], dtype=float),
        )

    def log_likelihood(self, tables: list[Floats]) -> Floats:
        total: Floats = np.zeros((len(CLASSES), len(self.women)))
        # A rarer name than usual is met less often among strangers; the unit is bits.
        total[STRANGER] -= self.frequency * np.log(2)
        total[CLASSES.index("neighbour")] -= self.frequency * np.log(2)
        for table, column in zip(tables, self.columns, strict=True):
            there = column >= 0
            total[:, there] += np.log(table[:, column[there]])
        return total


def _tables(first: Probabilities, coded: _Coded) -> list[Floats]:
    return [
        np.array([[first[kind][name][level] for level in coded.levels[f]] for kind in CLASSES])
        for f, name in enumerate(FIELDS)
    ]


def _maximise(
    tables: list[Floats],
    guesses: list[Floats],
    weights: Floats,
    coded: _Coded,
    unreached: frozenset[tuple[str, str]],
) -> None:
    pseudo = np.full(len(CLASSES), PSEUDO_RIVAL)
    pseudo[PERSON] = PSEUDO_PERSON
    for f, name in enumerate(FIELDS):
        column, table = coded.columns[f], tables[f]
        size = table.shape[1]
        there = column >= 0
        if name == "gender":  # what a given name implies is no observation of gender
            there &= column != coded.levels[f].index("implied")
        held = np.stack([np.bincount(column[there], row[there], size) for row in weights])
        fitted = (held + pseudo[:, None] * guesses[f]) / (held.sum(axis=1) + pseudo)[:, None]
        if name == "family":
            _split_by_women(fitted, weights, column, coded)
        for c, kind in enumerate(CLASSES):
            if (kind, name) in ANCHORS or kind == "stranger":
                keep = unreached if kind == "stranger" else REACHED_BY_FEW
                for place, level in enumerate(coded.levels[f]):
                    if (name, level) in keep:
                        ratio = guesses[f][c, place] / guesses[f][PERSON, place]
                        table[c, place] = min(1.0, ratio * table[PERSON, place])
            if kind == "stranger" or (kind, name) in ANCHORS:
                continue
            source = table[STRANGER] if (kind, name) in LIKE_STRANGERS else fitted[c]
            for place, level in enumerate(coded.levels[f]):
                if (name, level) not in KEPT_LEVELS:
                    is_held = c == PERSON and (name, level) not in REACHED_BY_FEW
                    least = guesses[f][c, place] / LEAST_SHARE if is_held else 1e-9
                    table[c, place] = max(source[place], least)


def _split_by_women(fitted: Floats, weights: Floats, column: NDArray[np.int64], coded: _Coded) -> None:
    """A changed surname is judged among women of one given name, a different one among all others."""
    levels = coded.levels[FIELDS.index("family")]
    changed, differ = levels.index("changed"), levels.index("differ")
    there = column >= 0
    for place, group in ((changed, coded.women & there), (differ, ~coded.women & there)):
        held = weights[:, group & (column == place)].sum(axis=1)
        total = weights[:, group].sum(axis=1)
        guess = fitted[:, place]
        fitted[:, place] = (held + 20 * np.clip(guess, 1e-4, 1)) / (total + 20)
