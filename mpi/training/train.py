"""From unlabelled records to a match model, the same for the same records and seed."""

import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import Invalid
from mpi.matching import FIELDS, Comparison, Model, NormalisedRecord, build_model, safety_obstacles
from mpi.matching.model import fingerprint
from mpi.records import SourceRecord
from mpi.training.estimate import (
    Compared,
    Estimate,
    Pattern,
    Probabilities,
    compare_pairs,
    count_patterns,
    fit,
    out_of_reach,
    probabilities_of,
    stranger_probabilities,
)
from mpi.training.evaluate import Truth
from mpi.training.pairs import Pair, Population, blocked_pairs, newest, random_pairs
from mpi.training.starting import (
    CLASSES,
    PAIRS_PER_RECORD,
    RIVALS,
    THRESHOLDS,
    keep_order,
    millibits,
    starting_document,
)
from mpi.training.subgroups import subgroups_by_key

RARE = 20
"""A value seen less often than this is never listed: a rare name is personal data."""

SHARED_BY = {"phone": 12, "email": 6, "place": 24, "postcode": 150}
"""From how many different people on a contact or place tells little of who someone is."""

MOST_BLOCKED_PAIRS = 3_000_000
RANDOM_PAIRS = 600_000
SAFE_PRECISION = 0.9995
LIVE_PRECISION = 0.9998
"""What the model must expect of itself at ``live``: errors less than half of what SAFE_PRECISION allows.

The margin is there because the expectation leaves out what it cannot know: fields err together in one hurried record, relatives
that blocking did not bring together, and a region that differs from the records learned from.
"""

LEAST_LIVE = 6_000
"""No single pair is linked unseen at less than 64 to 1, however right all pairs are together: one wrong pair joins two whole persons."""

FEW_PAIRS = 30
"""With fewer pairs of one person than this, nearly all of the model is first guesses, and its report says so."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A new model document and how it came about; ``report`` holds counts and rates only, no values."""

    document: dict[str, Any] = field(repr=False)
    report: dict[str, Any]

    @property
    def model(self) -> Model:
        return build_model(self.document)

    def write(self, path: Path) -> None:
        """Write the model file, one list of values a line, so that two revisions can be compared."""
        path.write_text(
            json.dumps(self.document, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )


def train(
    records: Iterable[SourceRecord],
    *,
    name: str,
    seed: int = 0,
    population: int | None = 1_000_000,
    base: Mapping[str, Any] | None = None,
    cross_check: bool = True,
    chance_pairs: int = RANDOM_PAIRS,
    labels: Truth | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Trained:
    """Learn a match model from records, with labels or without.

    Args:
        name: how the model is called in its card and in answers.
        seed: of the random pairs; the same records, in any order, and the same seed give the same model.
        population: how many records the index will hold: strangers' pairs grow with it, so the prior is set for this size. None: as
            many as there are here.
        base: a model document to take lists and first guesses from; the starting values if not given.
        chance_pairs: how many random pairs tell how often strangers agree; no more than there are.
        cross_check: also fit recordlinkage's ECM on sampled pairs, and report where the two differ.
        labels: the true person of some of the records. Pairs with a label on both sides are not guessed at.
        tell: called with the name of each step as it begins.

    Raises:
        Invalid: nothing can be learned: ``records-missing``, ``record-alone``, ``names-missing``, ``birth-dates-missing``,
            ``column-constant`` (naming the field), ``pairs-missing``.
    """
    tell("normalising")
    document: dict[str, Any] = deepcopy(dict(base)) if base is not None else starting_document()
    sent = list(newest(records).values())
    people = Population.of(sent, build_model(document))
    _check_records(people)
    population = population or len(people)
    chance_pairs = min(chance_pairs, len(people) * (len(people) - 1) // 2)
    document["shared"] = _shared(people)
    document["frequency"] = {
        field_name: {**table, **_frequencies(people, field_name)}
        for field_name, table in document["frequency"].items()
    }
    model = build_model(document)
    people = Population.of(sent, model)
    tell("blocking")
    blocked = blocked_pairs(people, model)
    if not blocked.pairs:
        raise Invalid(
            "pairs-missing", detail="No two records share a blocking key: there is nothing to compare."
        )
    document["overfull"] = list(blocked.overfull)

    tell("comparing")
    first = probabilities_of(document)
    by_chance = count_patterns(people, random_pairs(people, chance_pairs, seed), model)
    guesses = deepcopy(first)
    first["stranger"] = stranger_probabilities(by_chance, first)
    step = 1 + len(blocked.pairs) // MOST_BLOCKED_PAIRS
    pairs = blocked.pairs[::step]
    compared = compare_pairs(people, pairs, model)
    verdicts = _verdicts(people, pairs, labels)
    unlabelled, same, different = (
        {pattern: count * step for pattern, count in compared.counts(verdicts == verdict).items()}
        for verdict in (_UNKNOWN, _SAME, _DIFFERENT)
    )
    tell("estimating")
    all_patterns = {pattern: count * step for pattern, count in compared.counts().items()}
    checked = _cross_check(all_patterns, seed) if cross_check else {}
    fitted = fit(
        unlabelled,
        len(people),
        _started(first, checked),
        PAIRS_PER_RECORD,
        same=same,
        different=different,
        guesses=guesses,
        unreached=out_of_reach(by_chance),
    )

    _enter(document, fitted, len(people), population)
    document["name"] = name
    expected = _Expected.of(document, fitted)
    live = expected.live()
    document["thresholds"] = {**document["thresholds"], "live": live}
    days = sorted(record.updated_at.date() for record in sent if record.updated_at)
    document["training"] = {
        "records": len(people),
        "candidate_pairs": len(blocked.pairs),
        "random_pairs": chance_pairs,
        "labelled_pairs": int((verdicts != _UNKNOWN).sum()),
        "seed": seed,
        "population": population,
        "rounds": fitted.rounds,
        "expected_precision": round(expected.at(live)["precision"], 6),
        **({"data_from": days[0].isoformat(), "data_to": days[-1].isoformat()} if days else {}),
    }
    tell("reporting")
    agreement = _compared(checked, fitted)
    report = {
        **document["training"],
        "patterns": fitted.patterns,
        "pairs_of": {kind: round(found, 1) for kind, found in fitted.pairs_of.items()},
        "pairs_by_rule": blocked.pairs_by_rule,
        "overfull_keys": len(blocked.overfull),
        "shared_values": len(document["shared"]),
        "listed_names": {name: len(table["values"]) for name, table in document["frequency"].items()},
        "thresholds": document["thresholds"],
        "cross_check": agreement,
        "known": _known(people),
        "expected": [expected.at(weight) for weight in sorted({*_STEPS, live})],
        "subgroups": _subgroups(sent, people, pairs, compared, expected, verdicts, live),
        "warnings": _warnings(people, fitted, agreement, expected, live),
    }
    return Trained(document, report)


# What can be learned from --------------------------------------------------------------------------------------

_UNKNOWN, _SAME, _DIFFERENT = 0, 1, 2
_VALUES: Mapping[str, Callable[[NormalisedRecord], Any]] = {
    "nhs_number": lambda record: record.number,
    "given": lambda record: record.given,
    "middle": lambda record: record.middle,
    "family": lambda record: record.family or record.previous,
    "birth_date": lambda record: record.birth if record.birth[0] else (),
    "gender": lambda record: record.gender,
    "address": lambda record: record.places,
    "phone": lambda record: record.phones,
    "email": lambda record: record.emails,
    "identifier": lambda record: record.identifiers,
    "practice": lambda record: record.practice,
    "mother": lambda record: record.mother,
    "birth_order": lambda record: record.birth_order,
    "death_date": lambda record: record.death if record.death[0] else (),
}


def _check_records(people: Population) -> None:
    """Refuse what no model can be learned from, in one clear line."""
    if not people.records:
        raise Invalid("records-missing", detail="There is no record to learn from.")
    if len(people) == 1:
        raise Invalid("record-alone", detail="One record makes no pair.")
    known = _known(people)
    if not known["given"] and not known["family"]:
        raise Invalid(
            "names-missing", field="family", detail="No record has a name that is not a placeholder."
        )
    if not known["birth_date"]:
        raise Invalid("birth-dates-missing", field="birth_date", detail="No record has a date of birth.")
    for name in ("given", "family", "birth_date"):
        if known[name] and name in _constant(people):
            raise Invalid(
                "column-constant",
                field=name,
                detail="All records have the same value: it tells nobody apart.",
            )


def _known(people: Population) -> dict[str, float]:
    """Return for each field the share of records that say something."""
    return {
        name: round(sum(bool(value(record)) for record in people.records) / len(people), 4)
        for name, value in _VALUES.items()
    }


def _constant(people: Population) -> list[str]:
    """Return the fields that have one value throughout, where more than one record says something."""
    found = []
    for name, value in _VALUES.items():
        values = [given for record in people.records if (given := value(record))]
        if len(values) > 1 and all(one == values[0] for one in values):
            found.append(name)
    return found


def _verdicts(people: Population, pairs: Iterable[Pair], labels: Truth | None) -> NDArray[np.int8]:
    """Return for each pair what its labels say; a pair that lacks a label on either side is unknown."""
    persons = [labels.get(key) for key in people.keys] if labels else [None] * len(people)
    return np.array(
        [
            _UNKNOWN
            if persons[low] is None or persons[high] is None
            else _SAME
            if persons[low] == persons[high]
            else _DIFFERENT
            for low, high in pairs
        ],
        dtype=np.int8,
    )


def _warnings(
    people: Population,
    fitted: Estimate,
    agreement: Mapping[str, Mapping[str, float]],
    expected: "_Expected",
    live: int,
) -> list[str]:
    """Return what whoever uses the model should know before, each in a sentence."""
    found = [f"The field {name} has one value throughout and tells nothing." for name in _constant(people)]
    if fitted.pairs_of["person"] < FEW_PAIRS:
        found.append(
            f"Only about {fitted.pairs_of['person']:.0f} pairs of one person were found: the model is little more than first guesses."
        )
    found += [
        f"recordlinkage's estimate of m for {name} is {one['recordlinkage_m']:.2f}, ours {one['our_m']:.2f}."
        for name, one in agreement.items()
        if abs(one["recordlinkage_m"] - one["our_m"]) > DIFFERENCE
    ]
    if expected.at(live)["precision"] < LIVE_PRECISION:
        found.append(
            "No threshold is expected to be precise enough: live is set where hardly anything is linked unseen."
        )
    return found


DIFFERENCE = 0.15
"""Two estimates of an m that differ by more are reported as a warning."""


# Lists learned from the records --------------------------------------------------------------------------------


def _shared(people: Population) -> list[int]:
    """Return fingerprints of contacts and places that many different people have; the values themselves are not kept."""
    holders: dict[str, set[tuple[Any, ...]]] = {}
    for record in people.records:
        who = (record.given[:1], record.birth)
        values = [f"phone:{value}" for value in record.phones] + [f"email:{value}" for value in record.emails]
        for place in record.places:
            if place.words:
                values.append(f"place:{place.postcode}:{place.numbers}:{place.words}")
            if place.postcode:
                values.append(f"postcode:{place.postcode}")
        for value in values:
            holders.setdefault(value, set()).add(who)
    return sorted(
        fingerprint(value) for value, who in holders.items() if len(who) > SHARED_BY[value.partition(":")[0]]
    )


def _frequencies(people: Population, name: str) -> dict[str, Any]:
    """Return how much more a value's agreement says than the average one's, against strangers, in millibits.

    Two strangers agree on a value of share p with chance p squared; on any value with the sum of squares. Given the value of one
    record the other's chance is p, so its part is log2(average / p). Given names also get their share within a decade of birth.
    """
    counts: Counter[str] = Counter()
    by_decade: Counter[tuple[str, int]] = Counter()
    decades: Counter[int] = Counter()
    for record in people.records:
        for value in (record.given if name == "given" else record.family)[:1]:
            counts[value] += 1
            if name == "given" and record.birth[0]:
                by_decade[value, record.birth[0] // 10] += 1
                decades[record.birth[0] // 10] += 1
    total = sum(counts.values())
    if not total:
        return {"values": {}, "unlisted": 0}
    average = sum(count * count for count in counts.values()) / total / total
    rare = [count for count in counts.values() if count < RARE]
    # Two sources with one slip make a rare value look rarer than it is; hence not below five.
    typical = max(5.0, sum(count * count for count in rare) / sum(rare)) if rare else RARE
    shares = {value: count / total for value, count in counts.items() if count >= RARE} | {
        f"{value}|{decade}": count / decades[decade]
        for (value, decade), count in by_decade.items()
        if count >= RARE
    }
    return {
        "values": {value: millibits(average / share) for value, share in sorted(shares.items())},
        "unlisted": millibits(average * total / typical),
    }


# Into the document ---------------------------------------------------------------------------------------------


def _enter(document: dict[str, Any], fitted: Estimate, records: int, population: int) -> None:
    person = fitted.pairs_of["person"] / records
    for rival in RIVALS:
        # A small file may hold no twins at all: the class stays thinkable.
        others = max(fitted.pairs_of[rival] / records, PAIRS_PER_RECORD[rival] / 5)
        if rival == "stranger":
            others = population / 2
        document["rivals"][rival] = {"prior": millibits(person / others)}
    document["fields"] = {
        name: {
            level: {kind: millibits(fitted.probabilities[kind][name][level]) for kind in CLASSES}
            for level in document["fields"][name]
        }
        for name in FIELDS
    }
    keep_order(document["fields"])


# What the model expects of itself -------------------------------------------------------------------------------

_STEPS = tuple(range(-4_000, 20_001, 2_000))


@dataclass(frozen=True, slots=True)
class _Expected:
    """Of each pattern: its least weight, whether a safety rule holds it back, its right pairs, and the wrong ones to go with them.

    Right pairs are those that the estimate finds among the records learned from. Wrong pairs are set beside them by the odds of the model
    document, whose prior is that of the whole index: its strangers are more. The odds are summed over the rivals, not taken from the best.
    """

    weight_of: Mapping[Pattern, int]
    weights: NDArray[np.int64]
    is_free: NDArray[np.bool_]
    right: NDArray[np.float64]
    wrong: NDArray[np.float64]

    @classmethod
    def of(cls, document: Mapping[str, Any], fitted: Estimate) -> "_Expected":
        model = build_model(document)
        rows: list[tuple[int, bool, float, float]] = []
        weight_of: dict[Pattern, int] = {}
        for pattern, count, chance in fitted.posterior:
            against = rival_weights(pattern, model)
            weight_of[pattern] = min(against)
            right = count * chance
            odds_of_wrong = sum(2.0 ** (max(-60_000, -weight) / 1000) for weight in against)
            # A pattern that is nearly surely wrong has next to no right pairs to go by: then its own count is the bound.
            wrong = (
                min(right * odds_of_wrong, count * (1 - chance)) if chance < 0.5 else right * odds_of_wrong
            )
            rows.append((min(against), not safety_obstacles(Comparison(pattern.levels)), right, wrong))
        weights, free, rights, wrongs = zip(*rows, strict=True)
        return cls(
            weight_of, np.array(weights), np.array(free, dtype=bool), np.array(rights), np.array(wrongs)
        )

    def at(self, threshold: int) -> dict[str, Any]:
        """Return what to expect of linking unseen from a weight: precision, recall of the pairs found, and pairs left to people."""
        linked = self.is_free & (self.weights >= threshold)
        shown = (self.weights >= THRESHOLDS["review"]) & ~linked
        right, wrong = float(self.right[linked].sum()), float(self.wrong[linked].sum())
        return {
            "weight": threshold,
            "precision": right / (right + wrong) if right + wrong else 1.0,
            "recall": right / (float(self.right.sum()) or 1.0),
            "linked": round(right + wrong, 1),
            "review": round(float((self.right + self.wrong)[shown].sum()), 1),
        }

    def live(self) -> int:
        """Return the least weight, in steps of half a bit from LEAST_LIVE up, from which LIVE_PRECISION is expected; else 20 bits."""
        for weight in range(LEAST_LIVE, 20_001, 500):
            found = self.at(weight)
            if found["precision"] >= LIVE_PRECISION and found["linked"]:
                return weight
        return 20_000


def rival_weights(pattern: Pattern, model: Model) -> list[int]:
    """Weigh a pattern against every rival, in millibits, with the frequency that was kept of its names in whole bits."""
    weights = list(model.priors)
    for name, level in zip(FIELDS, pattern.levels, strict=True):
        for place, part in enumerate(model.parts.get(name, {}).get(level, ())):
            weights[place] += part
    for place, rival in enumerate(model.rivals):
        # Given and family names were added up: the sum counts where both do.
        if all(rival in table.against for table in model.frequency.values()):
            weights[place] += pattern.frequency_bits * 1000
    return weights


def _subgroups(
    sent: Iterable[SourceRecord],
    people: Population,
    pairs: Iterable[Pair],
    compared: Compared,
    expected: _Expected,
    verdicts: NDArray[np.int8],
    live: int,
) -> list[dict[str, Any]]:
    """Return for each subgroup how many records, and how many of their pairs would be linked, or shown to a person.

    A pair counts to the subgroups of both its records. With labels also the measured precision of the pairs at ``live``.
    """
    groups = subgroups_by_key(sent)
    columns = [groups[key] for key in people.keys]
    weights = np.array([expected.weight_of[pattern] for pattern in compared.patterns])[compared.codes]
    free = np.array([not safety_obstacles(Comparison(pattern.levels)) for pattern in compared.patterns])[
        compared.codes
    ]
    linked = free & (weights >= live)
    shown = (weights >= THRESHOLDS["review"]) & ~linked
    ends = np.array(list(pairs), dtype=np.int64)
    rows = []
    for dimension in columns[0]:
        values = [column[dimension] for column in columns]
        names = sorted(set(values))
        if len(names) > MOST_SUBGROUPS:
            common = {
                name
                for name, _ in sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))[
                    :MOST_SUBGROUPS
                ]
            }
            values = [value if value in common else "others" for value in values]
            names = sorted(set(values))
        place = {name: number for number, name in enumerate(names)}
        codes = np.array([place[value] for value in values])
        records = np.bincount(codes, minlength=len(names))
        for name in names:
            number = place[name]
            inside = (codes[ends] == number).any(axis=1)
            row: dict[str, Any] = {
                "subgroup": dimension,
                "value": name,
                "records": int(records[number]),
                "linked": int((inside & linked).sum()),
                "review": int((inside & shown).sum()),
            }
            told = inside & linked & (verdicts != _UNKNOWN)
            if told.any():
                row["precision"] = round(float((verdicts[told] == _SAME).mean()), 6)
                same = inside & (verdicts == _SAME)
                row["recall"] = round(float(linked[same].mean()), 6) if same.any() else 1.0
            rows.append(row)
    return rows


MOST_SUBGROUPS = 25


# recordlinkage's estimate --------------------------------------------------------------------------------------

_AGREEING = {
    "given": ("exact", "nickname", "typo", "close", "reordered", "middle", "swapped"),
    "family": ("exact", "previous", "half", "close", "swapped"),
    "birth_date": ("exact", "january", "swapped", "close", "partial"),
    "gender": ("agree", "implied"),
    "address": ("same", "postcode", "street", "shared"),
}


def _cross_check(
    patterns: Mapping[Pattern, int], seed: int, most: int = 200_000
) -> dict[str, dict[str, float]]:
    """Fit recordlinkage's two-class ECM to yes-or-no vectors of sampled candidate pairs; return m and u by field.

    It takes no missing values and no levels: a missing item counts as "does not agree", so its m is low by that share.
    """
    import numpy as np
    import pandas as pd
    import recordlinkage

    rows = [
        (
            [
                int(dict(zip(FIELDS, pattern.levels, strict=True))[name] in levels)
                for name, levels in _AGREEING.items()
            ],
            count,
        )
        for pattern, count in sorted(
            patterns.items(), key=lambda one: (one[0].levels, one[0].women, one[0].frequency_bits)
        )
    ]
    if not rows:
        return {}
    counts = np.array([count for _, count in rows])
    scale = min(1.0, most / counts.sum())
    dice = np.random.default_rng(seed)
    repeated = np.repeat(np.arange(len(rows)), dice.binomial(counts, scale))
    vectors = pd.DataFrame(np.array([row for row, _ in rows])[repeated], columns=list(_AGREEING))
    vectors.index = pd.MultiIndex.from_arrays([range(len(vectors)), range(len(vectors))])
    varied = [name for name in vectors.columns if vectors[name].nunique() == 2]
    if len(varied) < 2:
        return {}
    classifier = recordlinkage.ECMClassifier(init="jaro", max_iter=100)
    try:
        with _quiet():
            classifier.fit(vectors[varied])
    except (ValueError, RuntimeError):
        return {}
    found = {"m": classifier.m_probs, "u": classifier.u_probs}
    return {
        name: {kind: float(probabilities[name][1]) for kind, probabilities in found.items()}
        for name in varied
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep recordlinkage's warnings off the terminal: what its estimate is worth is in the report."""
    root = logging.getLogger()

    def refuse(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("ECM algorithm")

    root.addFilter(refuse)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(refuse)


def _started(first: Probabilities, checked: Mapping[str, Mapping[str, float]]) -> Probabilities:
    """Let ECM's m say how much of a field's probability lies on agreeing levels when our estimate begins.

    Only where it is likelier than our first guess to have found the matches: between 0.6 and 0.995.
    """
    started = deepcopy(first)
    for name, probabilities in checked.items():
        levels = started["person"][name]
        agreeing = [
            level for level in _AGREEING[name] if level in levels and (name, level) != ("gender", "implied")
        ]
        if not 0.6 <= probabilities["m"] <= 0.995 or not agreeing:
            continue
        total = sum(levels.values())
        held = sum(levels[level] for level in agreeing)
        for level in levels:
            share = levels[level] / total
            if level in agreeing:
                levels[level] = share * probabilities["m"] / (held / total)
            elif (name, level) != ("gender", "implied"):
                levels[level] = share * (1 - probabilities["m"]) / max(1 - held / total, 1e-9)
    return started


def _compared(checked: Mapping[str, Mapping[str, float]], fitted: Estimate) -> dict[str, dict[str, float]]:
    """Set our estimate beside recordlinkage's, on its terms: agree or not, and a missing item does not agree."""
    found = {}
    for name, probabilities in checked.items():
        place = FIELDS.index(name)
        agrees = np.array([pattern.levels[place] in _AGREEING[name] for pattern, _, _ in fitted.posterior])
        counts = np.array([count for _, count, _ in fitted.posterior], dtype=float)
        chances = np.array([chance for _, _, chance in fitted.posterior])
        person, others = counts * chances, counts * (1 - chances)
        found[name] = {
            "recordlinkage_m": round(probabilities["m"], 4),
            "our_m": round(float(person[agrees].sum() / max(person.sum(), 1e-9)), 4),
            "recordlinkage_u": round(probabilities["u"], 4),
            "our_u": round(float(others[agrees].sum() / max(others.sum(), 1e-9)), 4),
        }
    return found
