"""The estimate: how often each level is met among pairs of one person and among each kind of pair of two."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpi.bulk.records import Records
from mpi.bulk.weigh import Weigher
from mpi.matching import FIELDS, Model
from mpi.training.starting import CLASSES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
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
class Patterns:
    """Kinds of compared pairs, a row each, in an order that is always the same: what a pair shows, and nothing of its values.

    ``levels`` holds a column a field: places in ``words``, 0 where one side says nothing. ``women``: both are women of one given name.
    ``bits``: the frequency part of agreeing names, in whole bits.
    """

    words: tuple[tuple[str, ...], ...]
    levels: NDArray[np.uint8] = field(repr=False)
    women: Flags = field(repr=False)
    bits: Ints = field(repr=False)

    def __len__(self) -> int:
        return len(self.women)

    def has(self, name: str, levels: Iterable[str]) -> Flags:
        """Say which patterns show one of some levels of a field."""
        place = FIELDS.index(name)
        wanted = np.isin(self.words[place], list(levels))
        found: Flags = wanted[self.levels[:, place]]
        return found

    def levels_of(self, pattern: int) -> tuple[str, ...]:
        return tuple(
            words[place] for words, place in zip(self.words, self.levels[pattern].tolist(), strict=True)
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """Compared pairs: the patterns met, and for every pair which of them it shows."""

    patterns: Patterns = field(repr=False)
    codes: Ints = field(repr=False)

    def counts(self, chosen: Flags | None = None) -> Ints:
        """Count the pairs of each pattern, of the chosen pairs only if given."""
        codes = self.codes if chosen is None else self.codes[chosen]
        return np.bincount(codes, minlength=len(self.patterns))


_MOST_BITS = 64
"""Beyond the frequency part of any name: a name that one in 2^64 has."""


def compare_pairs(
    weigher: Weigher, records: Records, model: Model, portions: Iterable[tuple[Ints, Ints]]
) -> Compared:
    """Compare pairs of rows, portion by portion."""
    is_woman = records.codes("gender") == records.code_in("gender", "f")
    words = tuple(weigher.patterns.levels)
    given, family = FIELDS.index("given"), FIELDS.index("family")
    same_given = np.isin(words[given], list(_SAME_GIVEN))
    counted = [
        np.isin(words[place], list(model.frequency[name].levels))
        for place, name in ((given, "given"), (family, "family"))
    ]
    whole = int(np.prod([len(one) for one in words]))
    found = [np.zeros(0, np.int64)]
    for low, high in portions:
        compared = weigher.compare(low, high)
        # What stands above the levels in a code, a placeholder or a later birth, is nothing to learn from.
        distinct, inverse = np.unique(compared.codes % whole, return_inverse=True)
        levels = weigher.patterns.levels_of(distinct)
        women = is_woman[low] & is_woman[high] & same_given[levels[:, given]][inverse]
        parts = compared.given * counted[0][levels[:, given]][inverse]
        parts += compared.family * counted[1][levels[:, family]][inverse]
        bits = np.clip(np.rint(parts / 1000), -_MOST_BITS, _MOST_BITS - 1).astype(np.int64)
        found.append(((distinct[inverse] * 2 + women) * 2 * _MOST_BITS) + bits + _MOST_BITS)
    codes, pairs = np.unique(np.concatenate(found), return_inverse=True)
    kinds, bits = np.divmod(codes, 2 * _MOST_BITS)
    patterns = Patterns(words, weigher.patterns.levels_of(kinds // 2), kinds % 2 == 1, bits - _MOST_BITS)
    return Compared(patterns, pairs)


_SAME_GIVEN = frozenset(("exact", "nickname", "typo", "close", "middle", "reordered"))


@dataclass(frozen=True, slots=True)
class Estimate:
    """Fitted probabilities, and how many pairs of each class there are among the records learned from.

    ``pattern``, ``counts`` and ``chances`` are of the patterns met, once for each verdict: which, how often, and the chance of one person.
    """

    probabilities: Probabilities = field(repr=False)
    pairs_of: dict[str, float]
    rounds: int
    patterns: Patterns = field(repr=False)
    pattern: Ints = field(repr=False)
    counts: Ints = field(repr=False)
    chances: Floats = field(repr=False)


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
    patterns: Patterns, counts: Ints, first: Probabilities
) -> dict[str, dict[str, float]]:
    """Return u: how often each level is met among random pairs; see ``_rate`` for those that were met seldom.

    By chance some random pairs are no strangers: of a small file a good part of all agreements on a birth date. Left out are pairs that
    look like one person (birth date and a name), and for each field those that another field shows to be of one home or family. So
    what is shared is learned too: a postcode of a whole district is met among strangers and tells little.
    """
    is_family = patterns.has("family", _SAME_FAMILY)
    strange = ~(patterns.has("birth_date", ("exact",)) & (patterns.has("given", _SAME_GIVEN) | is_family))
    shared = {name: patterns.has(name, levels) for name, levels in _SHARED.items()}
    fitted: dict[str, dict[str, float]] = {}
    for name, guesses in first["stranger"].items():
        left_out = np.zeros(len(patterns), np.bool_)
        for other, is_shared in shared.items():
            left_out |= is_shared & is_family if other == name else is_shared
        met = _met(patterns, counts * (strange & ~left_out), name)
        met.pop("missing")
        if name == "family":
            met["differ"] += met.pop("changed")
        met.pop("implied", None)
        total = sum(met.values())
        fitted[name] = {
            level: guess if (name, level) in KEPT_LEVELS else _rate(met.get(level, 0), total, guess)
            for level, guess in guesses.items()
        }
    fitted["family"]["changed"] = fitted["family"]["differ"]
    return fitted


def _met(patterns: Patterns, counts: Ints, name: str) -> dict[str, int]:
    """Return in how many pairs each level of a field was met."""
    place = FIELDS.index(name)
    words = patterns.words[place]
    numbers = np.zeros(len(words), np.int64)
    np.add.at(numbers, patterns.levels[:, place], counts)
    return dict(zip(words, numbers.tolist(), strict=True))


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


def out_of_reach(patterns: Patterns, counts: Ints) -> frozenset[tuple[str, str]]:
    """Return the levels of REACHED_BY_FEW that random pairs hardly met, so that their u could not be learned."""
    met = {name: _met(patterns, counts, name) for name, _ in REACHED_BY_FEW}
    return frozenset((name, level) for name, level in REACHED_BY_FEW if met[name][level] < PSEUDO_EVENTS)


def fit(
    patterns: Patterns,
    unlabelled: Ints,
    records: int,
    first: Probabilities,
    pairs_per_record: Mapping[str, float],
    *,
    same: Ints | None = None,
    different: Ints | None = None,
    guesses: Probabilities | None = None,
    unreached: frozenset[tuple[str, str]] = frozenset(),
    rounds: int = 60,
) -> Estimate:
    """Fit the classes to pattern counts by expectation and maximisation, strangers held fixed.

    Args:
        unlabelled: counts of pairs of which nobody said what they are, one for each pattern.
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
    told = [
        np.zeros(len(patterns), np.int64) if one is None else one for one in (unlabelled, same, different)
    ]
    met = [np.flatnonzero(one) for one in told]
    pattern = np.concatenate(met)
    counts = np.concatenate([one[places] for one, places in zip(told, met, strict=True)])
    verdict = np.repeat(np.arange(3), [len(places) for places in met])
    is_same, is_different = verdict == 1, verdict == 2
    coded = _Coded.of(patterns, pattern, first)
    known = guesses or first
    tables, held_up = _tables(first, coded), _tables(known, coded)
    gender = FIELDS.index("gender")
    shares = [table / table.sum(axis=1, keepdims=True) for table in held_up]
    shares[gender] = held_up[gender] / (held_up[gender].sum(axis=1, keepdims=True) - 1)  # without "implied"
    mass = np.array([pairs_per_record[kind] * records for kind in CLASSES])
    mass[STRANGER] = records * (records - 1) / 2
    responsibility: Floats = np.zeros((len(counts), len(CLASSES)))
    done = 0
    for done in range(1, rounds + 1):
        logs = coded.log_likelihood(tables)
        logs += np.log(np.maximum(mass, 1e-9))
        logs[is_different, PERSON] = -np.inf
        logs -= logs.max(axis=1, keepdims=True)
        responsibility = np.exp(logs, out=logs)
        responsibility /= responsibility.sum(axis=1, keepdims=True)
        responsibility[is_same] = 0.0
        responsibility[is_same, PERSON] = 1.0
        weights = coded.by_kind(responsibility * counts[:, None])
        held = weights.sum(axis=0)
        moved = float(np.abs(np.log((held + 1) / (mass + 1)))[_FREE].max())
        mass[_FREE] = np.maximum(held[_FREE], records * 1e-4)
        mass[_KIN] = np.minimum(mass[_KIN], np.maximum(mass[_RELATIVE] * KIN_OF_RELATIVES, records * 1e-4))
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
        patterns=patterns,
        pattern=pattern,
        counts=counts,
        chances=responsibility[:, PERSON].copy(),
    )


def _seldom(counts: Ints, coded: "_Coded") -> set[tuple[int, int]]:
    """Return the (field, level) places that were met too seldom among candidate pairs to be learned."""
    found: set[tuple[int, int]] = set()
    sizes = coded.by_kind(counts[:, None].astype(float))[:, 0]
    for f, names in enumerate(coded.levels):
        met = np.bincount(coded.columns[f], sizes, len(names) + 1)
        found.update((f, place) for place in range(len(names)) if met[place] < SELDOM)
    return found


_FREE = np.array([kind != "stranger" for kind in CLASSES])
_KIN = [CLASSES.index("namesake"), CLASSES.index("twin")]
_RELATIVE = CLASSES.index("relative")

KIN_OF_RELATIVES = 0.25
"""For every pair of relatives found, no more pairs of twins, or of kin of one name, than this.

Whoever has a father of the same name has other relatives too. Where none are found, one name and home with two birth dates is a wrong
birth date: the pairs by themselves could as well be kin. Keys find kin of one name rather than other relatives: the priors of the shipped
model, learned from a sample with both, stand as 0.1 to one.
"""


@dataclass(frozen=True, slots=True)
class _Coded:
    """Patterns as numbers. A *kind* is a pattern whatever the frequency of its names: much fewer, and all that levels are counted in.

    ``columns``: of each kind and field the place of its level, one past the last where missing. ``kind``: of each pattern its kind;
    ``order`` puts patterns of one kind together, and ``starts`` says where each kind begins in it.
    """

    levels: tuple[tuple[str, ...], ...]
    columns: tuple[Ints, ...]
    together: tuple["_Together", ...]
    women: Flags
    kind: Ints
    order: Ints
    starts: Ints
    frequency: Floats

    @classmethod
    def of(cls, patterns: Patterns, pattern: Ints, first: Probabilities) -> "_Coded":
        levels = tuple(tuple(first["person"][name]) for name in FIELDS)
        # Patterns that differ by the frequency of their names alone are neighbours.
        is_new = np.ones(len(patterns), np.bool_)
        is_new[1:] = (patterns.levels[1:] != patterns.levels[:-1]).any(axis=1)
        is_new[1:] |= patterns.women[1:] != patterns.women[:-1]
        kind = (np.cumsum(is_new) - 1)[pattern]
        order = np.argsort(kind, kind="stable")
        starts = np.flatnonzero(np.diff(kind[order], prepend=-1))
        columns = []
        for f, names in enumerate(levels):
            place = {level: number for number, level in enumerate(names)}
            at = np.array([place.get(word, len(names)) for word in patterns.words[f]], np.int64)
            columns.append(at[patterns.levels[pattern[order[starts]], f]])
        return cls(
            levels,
            tuple(columns),
            tuple(
                _Together.of(range(f, min(f + FIELDS_TOGETHER, len(columns))), columns, levels)
                for f in range(0, len(columns), FIELDS_TOGETHER)
            ),
            patterns.women[pattern[order[starts]]],
            np.searchsorted(kind[order[starts]], kind),
            order,
            starts,
            patterns.bits[pattern].astype(float),
        )

    def by_kind(self, values: Floats) -> Floats:
        """Add up what patterns have, a row each, to what kinds have."""
        if not len(values):
            return values
        added: Floats = np.add.reduceat(values[self.order], self.starts, axis=0)
        return added

    def held(self, weights: Floats) -> list[Floats]:
        """Add up what kinds have, a row each, by level: of each field a row a class, a column a level."""
        found: list[Floats] = []
        for one in self.together:
            size = len(one.columns[0])
            sums = [np.bincount(one.kind, row, size) for row in weights.T]
            for f, column in zip(one.fields, one.columns, strict=True):
                width = len(self.levels[f])
                found.append(np.stack([np.bincount(column, row, width + 1)[:width] for row in sums]))
        return found

    def log_likelihood(self, tables: list[Floats]) -> Floats:
        """Return a row a pattern, a column a class."""
        of_kind: Floats = np.zeros((len(self.women), len(CLASSES)))
        # A missing item is no evidence: a last row of zeros.
        logs = [np.vstack((np.log(table.T), np.zeros(len(CLASSES)))) for table in tables]
        for one in self.together:
            parts = [logs[f][column] for f, column in zip(one.fields, one.columns, strict=True)]
            of_kind += np.sum(parts, axis=0)[one.kind]
        total: Floats = of_kind[self.kind]
        # A rarer name than usual is met less often among strangers; the unit is bits.
        total[:, STRANGER] -= self.frequency * np.log(2)
        total[:, CLASSES.index("neighbour")] -= self.frequency * np.log(2)
        return total


FIELDS_TOGETHER = 4
"""So many fields are looked up at once: what they show together is of far fewer sorts than there are kinds of pair."""


@dataclass(frozen=True, slots=True)
class _Together:
    """Some fields: the combinations of their levels that are met, a column a field, and of each kind which of them it shows."""

    fields: range
    columns: tuple[Ints, ...]
    kind: Ints

    @classmethod
    def of(cls, fields: range, columns: list[Ints], levels: tuple[tuple[str, ...], ...]) -> "_Together":
        code = np.zeros(len(columns[0]), np.int64)
        for f in fields:
            code = code * (len(levels[f]) + 1) + columns[f]
        _, first, kind = np.unique(code, return_index=True, return_inverse=True)
        return cls(fields, tuple(columns[f][first] for f in fields), kind)


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
    weights = np.asfortranarray(weights)
    for f, (name, held) in enumerate(zip(FIELDS, coded.held(weights), strict=True)):
        column, table = coded.columns[f], tables[f]
        if name == "gender":  # what a given name implies is no observation of gender
            held[:, coded.levels[f].index("implied")] = 0.0
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


def _split_by_women(fitted: Floats, weights: Floats, column: Ints, coded: _Coded) -> None:
    """A changed surname is judged among women of one given name, a different one among all others."""
    levels = coded.levels[FIELDS.index("family")]
    changed, differ = levels.index("changed"), levels.index("differ")
    there = column < len(levels)
    for place, group in ((changed, coded.women & there), (differ, ~coded.women & there)):
        held = weights[group & (column == place)].sum(axis=0)
        total = weights[group].sum(axis=0)
        guess = fitted[:, place]
        fitted[:, place] = (held + 20 * np.clip(guess, 1e-4, 1)) / (total + 20)
