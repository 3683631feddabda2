"""From unlabelled records to a match model, the same for the same records and seed."""

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import Invalid
from mpi.bulk.gather import Files, Gathered, gather
from mpi.bulk.learn import count_names, is_constant, says, shared_values, with_lists
from mpi.bulk.records import Records
from mpi.matching import FIELDS, Comparison, Model, build_model, safety_obstacles
from mpi.records import RecordKey, SourceRecord
from mpi.training.estimate import (
    KEPT_LEVELS,
    REACHED_BY_FEW,
    Compared,
    Estimate,
    Patterns,
    Probabilities,
    compare_pairs,
    fit,
    out_of_reach,
    probabilities_of,
    stranger_probabilities,
)
from mpi.training.evaluate import Truth
from mpi.training.labels import key_of
from mpi.training.pairs import Rows, candidate_pairs, newest_of, random_pairs
from mpi.training.sources import error_rates
from mpi.training.starting import (
    CLASSES,
    PAIRS_PER_RECORD,
    RIVALS,
    THRESHOLDS,
    WIDE,
    even_out,
    keep_order,
    millibits,
    starting_document,
)
from mpi.training.subgroups import NO_ABODE, subgroups_of

RARE = 20
"""A value seen less often than this is never listed: a rare name is personal data."""

SHARED_BY = {"phone": 12, "email": 6, "place": 24, "postcode": 150}
"""From how many different people on a contact or place tells little of who someone is."""

MOST_BLOCKED_PAIRS = 3_000_000
RANDOM_PAIRS = 600_000
PAIRS_A_RECORD = 4.0
"""So many pairs a record may a rule bring that asks for one thing alone. Weighing a pair costs some six microseconds."""

SAFE_PRECISION = 0.9995
LIVE_PRECISION = 0.9998
"""What the model must expect of itself at ``live``: errors less than half of what SAFE_PRECISION allows.

The margin is there because the expectation leaves out what it cannot know: fields err together in one hurried record, relatives
that blocking did not bring together, and a region that differs from the records learned from.
"""

LEAST_LIVE = 6_000
"""No single pair is linked unseen at less than 64 to 1, however right all pairs are together: one wrong pair joins two whole persons."""

SOLE: Mapping[str, Any] = {
    "rival": THRESHOLDS["balanced"],
    "margin": 3_000,
    "allowance": {rival: 0 if rival == "stranger" else 1_000 for rival in RIVALS},
    "answers": ["birth-date-missing", "family-names-differ", "placeholder-name"],
}
"""The rule of the sole candidate, as a trained model has it: narrower than the shipped one.

Allowances and answers are judgements, and the shipped ones were chosen where labels could be looked at. Where there are none: one bit, and
another given name is not answered; another surname and a missing birth date are, which by themselves hold back every woman who married and
stayed, and all who gave no date. On made-up people more than this brought wrong pairs with the right ones (``docs/matching/tried.md``).
"""

QUORUM: Mapping[str, int] = {"sure": 12_000, "bound": 12_000}
"""From where on a pair joins two groups whatever their other pairs say: one chance in four thousand. No other pair counts for more."""

Decided = Mapping[tuple[RecordKey, RecordKey], bool]
"""Of pairs of records whether people said that they are one person."""

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
    records: Iterable[SourceRecord] | Files,
    *,
    name: str,
    seed: int = 0,
    population: int | None = 1_000_000,
    base: Mapping[str, Any] | None = None,
    cross_check: bool = True,
    chance_pairs: int = RANDOM_PAIRS,
    labels: Truth | None = None,
    decided: Decided | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Trained:
    """Learn a match model from records, with labels or without.

    Args:
        name: how the model is called in its card and in answers.
        seed: of the random pairs; the same records, in any order, and the same seed give the same model.
        population: how many records the index will hold: strangers' pairs grow with it, so the prior is set for this size. None: as
            many as there are here.
        base: a model document to take lists of words and first guesses from; the starting values if not given. What is learned from
            records (frequencies, shared and overfull values) is learned anew.
        chance_pairs: how many random pairs tell how often strangers agree; no more than there are.
        cross_check: also fit recordlinkage's ECM on sampled pairs, and report where the two differ.
        labels: the true person of some of the records. Pairs with a label on both sides are not guessed at.
        decided: of some pairs whether people said that they are one person; where ``labels`` say something of a pair, those count.
        tell: called with the name of each step as it begins.

    Raises:
        Invalid: nothing can be learned: ``records-missing``, ``record-alone``, ``names-missing``, ``birth-dates-missing``,
            ``column-constant`` (naming the field), ``pairs-missing``; or about the files' form or headings.
    """
    tell("normalising")
    document: dict[str, Any] = deepcopy(dict(base)) if base is not None else starting_document()
    document["shared"] = document["overfull"] = []
    with gather(records, build_model(document), newest_of, NO_ABODE) as found:
        return _learn(
            found,
            document,
            name=name,
            seed=seed,
            population=population or found.records.size,
            cross_check=cross_check,
            chance_pairs=chance_pairs,
            labels=labels,
            decided=decided,
            tell=tell,
        )


def _learn(
    found: Gathered,
    document: dict[str, Any],
    *,
    name: str,
    seed: int,
    population: int,
    cross_check: bool,
    chance_pairs: int,
    labels: Truth | None,
    decided: Decided | None,
    tell: Callable[[str], None],
) -> Trained:
    size = found.records.size
    _check_records(found.records)
    chance_pairs = min(chance_pairs, size * (size - 1) // 2)
    tell("counting")
    shared = shared_values(found.records, SHARED_BY)
    document["shared"] = shared.fingerprints()
    document["frequency"] = {
        field_name: {**table, **_frequencies(found.records, field_name)}
        for field_name, table in document["frequency"].items()
    }
    model = build_model(document)
    records = with_lists(found.records, shared, model)
    tell("blocking")
    document["blocking"] |= {
        rule: {"cap": cap} for rule, cap in WIDE.items() if rule not in document["blocking"]
    }
    candidates = found.block(build_model(document), records, _affordable(size, population))
    document["blocking"] = {
        rule: settings for rule, settings in document["blocking"].items() if rule not in candidates.left_out
    }
    low, high = candidate_pairs(candidates)
    if not len(low):
        raise Invalid(
            "pairs-missing", detail="No two records share a blocking key: there is nothing to compare."
        )
    document["overfull"] = sorted({one.key for one in candidates.dropped})

    first = probabilities_of(document)
    weigher = found.weigher(model, records)
    tell("comparing random pairs")
    by_chance = compare_pairs(
        weigher, records, model, found.portions(*random_pairs(size, chance_pairs, seed))
    )
    met_by_chance = by_chance.counts()
    guesses = deepcopy(first)
    first["stranger"] = stranger_probabilities(by_chance.patterns, met_by_chance, first)
    tell("comparing candidate pairs")
    step = 1 + len(low) // MOST_BLOCKED_PAIRS
    candidate_count = len(low)
    low, high = low[::step], high[::step]
    compared = compare_pairs(weigher, records, model, found.portions(low, high))
    verdicts = _verdicts(found, low, high, labels)
    said = _decided(found, low, high, decided)
    said[verdicts != _UNKNOWN] = _UNKNOWN
    verdicts[said != _UNKNOWN] = said[said != _UNKNOWN]
    unlabelled, same, different = (
        compared.counts(verdicts == verdict) * step for verdict in (_UNKNOWN, _SAME, _DIFFERENT)
    )
    tell("estimating")
    checked = _cross_check(compared.patterns, compared.counts() * step, seed) if cross_check else {}
    fitted = fit(
        compared.patterns,
        unlabelled,
        size,
        _started(first, checked),
        PAIRS_PER_RECORD,
        same=same,
        different=different,
        guesses=guesses,
        unreached=out_of_reach(by_chance.patterns, met_by_chance),
    )

    _enter(document, fitted, size, population)
    document["name"] = name
    document.pop("sole", None)
    document["quorum"] = dict(QUORUM)
    if fitted.pairs_of["person"] >= FEW_PAIRS:  # first guesses must not join by what is not there
        document["sole"] = deepcopy(dict(SOLE))
    expected = _Expected.of(document, fitted)
    live = expected.live()
    document["thresholds"] = {**document["thresholds"], "live": live}
    document["training"] = {
        "records": size,
        "candidate_pairs": candidate_count,
        "random_pairs": chance_pairs,
        "labelled_pairs": int((verdicts != _UNKNOWN).sum()),
        **({"reviewed_pairs": int((said != _UNKNOWN).sum())} if decided is not None else {}),
        "seed": seed,
        "population": population,
        "rounds": fitted.rounds,
        "expected_precision": round(expected.at(live)["precision"], 6),
        "sources": error_rates(
            *found.sources(),
            low,
            high,
            compared.patterns,
            compared.codes,
            _chances(fitted, compared, verdicts),
        ),
        **(
            {"data_from": found.days[0].isoformat(), "data_to": found.days[1].isoformat()}
            if found.days
            else {}
        ),
    }
    tell("reporting")
    agreement = _compared(checked, fitted)
    report = {
        **document["training"],
        "patterns": len(fitted.counts),
        "pairs_of": {kind: round(number, 1) for kind, number in fitted.pairs_of.items()},
        "pairs_by_rule": candidates.by_rule,
        "overfull_keys": len(document["overfull"]),
        "shared_values": len(document["shared"]),
        "listed_names": {name: len(table["values"]) for name, table in document["frequency"].items()},
        "thresholds": document["thresholds"],
        "cross_check": agreement,
        "known": _known(records),
        "expected": [expected.at(weight) for weight in sorted({*_STEPS, live})],
        "subgroups": _subgroups(found, low, high, compared, expected, verdicts, live),
        "warnings": _warnings(records, fitted, agreement, expected, live),
    }
    return Trained(document, report)


def _affordable(records: int, population: int) -> dict[str, int]:
    """Return how many pairs each of the wide rules may bring here, so that in the index it brings no more than PAIRS_A_RECORD.

    A key's pairs grow with the square of those who hold it: ten times the records have ten times the pairs each.
    """
    return dict.fromkeys(WIDE, int(PAIRS_A_RECORD * records * min(1.0, records / population)))


# What can be learned from --------------------------------------------------------------------------------------

_UNKNOWN, _SAME, _DIFFERENT = 0, 1, 2
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "nhs_number": ("number",),
    "given": ("given",),
    "middle": ("middle",),
    "family": ("family", "previous"),
    "birth_date": ("birth",),
    "gender": ("gender",),
    "address": ("places",),
    "phone": ("phones",),
    "email": ("emails",),
    "identifier": ("identifiers",),
    "practice": ("practice",),
    "mother": ("mother",),
    "birth_order": ("birth_order",),
    "death_date": ("death",),
}
"""Of each field the columns of a normalised record in which it says something."""


def _check_records(records: Records) -> None:
    """Refuse what no model can be learned from, in one clear line."""
    if not records.size:
        raise Invalid("records-missing", detail="There is no record to learn from.")
    if records.size == 1:
        raise Invalid("record-alone", detail="One record makes no pair.")
    known = _known(records)
    if not known["given"] and not known["family"]:
        raise Invalid(
            "names-missing", field="family", detail="No record has a name that is not a placeholder."
        )
    if not known["birth_date"]:
        raise Invalid("birth-dates-missing", field="birth_date", detail="No record has a date of birth.")
    for name in ("given", "family", "birth_date"):
        if known[name] and is_constant(records, _COLUMNS[name]):
            raise Invalid(
                "column-constant",
                field=name,
                detail="All records have the same value: it tells nobody apart.",
            )


def _known(records: Records) -> dict[str, float]:
    """Return for each field the share of records that say something."""
    return {
        name: round(
            int(np.logical_or.reduce([says(records, one) for one in columns]).sum()) / records.size, 4
        )
        for name, columns in _COLUMNS.items()
    }


def _verdicts(found: Gathered, low: Rows, high: Rows, labels: Truth | None) -> NDArray[np.int8]:
    """Return for each pair what its labels say; a pair that lacks a label on either side is unknown."""
    verdicts = np.full(len(low), _UNKNOWN, np.int8)
    if labels:
        persons: dict[Any, int] = {}
        numbers = np.array([persons.setdefault(person, len(persons)) for person in labels.values()], np.int64)
        rows = found.rows_of([key_of(key) for key in labels])
        person = np.full(found.records.size, -1, np.int64)
        person[rows[rows >= 0]] = numbers[rows >= 0]
        told = (person[low] >= 0) & (person[high] >= 0)
        verdicts[told] = np.where(person[low] == person[high], _SAME, _DIFFERENT)[told]
    return verdicts


def _decided(found: Gathered, low: Rows, high: Rows, decided: Decided | None) -> NDArray[np.int8]:
    """Return for each pair what people said of it; of most nobody said anything."""
    verdicts = np.full(len(low), _UNKNOWN, np.int8)
    if not decided:
        return verdicts
    size = found.records.size
    keys = list({key for pair in decided for key in pair})
    rows = dict(zip(keys, found.rows_of([key_of(key) for key in keys]).tolist(), strict=True))
    told = {
        min(rows[one], rows[other]) * size + max(rows[one], rows[other]): _SAME if is_same else _DIFFERENT
        for (one, other), is_same in decided.items()
        if rows[one] >= 0 and rows[other] >= 0
    }
    ordered = np.array(sorted(told), np.int64)
    said = np.array([told[number] for number in ordered.tolist()], np.int8)
    asked = np.minimum(low, high).astype(np.int64) * size + np.maximum(low, high)
    if len(ordered):
        place = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
        is_told = ordered[place] == asked
        verdicts[is_told] = said[place[is_told]]
    return verdicts


def _chances(fitted: Estimate, compared: Compared, verdicts: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return of every pair the chance that it is one person: as estimated, or as its label says."""
    asked = compared.counts(verdicts == _UNKNOWN) > 0
    chance = np.zeros(len(compared.patterns))
    chance[asked] = fitted.chances[: int(asked.sum())]  # those without a label stand first
    found: NDArray[np.float64] = np.where(verdicts == _UNKNOWN, chance[compared.codes], verdicts == _SAME)
    return found


def _warnings(
    records: Records,
    fitted: Estimate,
    agreement: Mapping[str, Mapping[str, float]],
    expected: "_Expected",
    live: int,
) -> list[str]:
    """Return what whoever uses the model should know before, each in a sentence."""
    found = [
        f"The field {name} has one value throughout and tells nothing."
        for name, columns in _COLUMNS.items()
        if is_constant(records, columns)
    ]
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


def _frequencies(records: Records, name: str) -> dict[str, Any]:
    """Return how much more a value's agreement says than the average one's, against strangers, in millibits.

    Two strangers agree on a value of share p with chance p squared; on any value with the sum of squares. Given the value of one
    record the other's chance is p, so its part is log2(average / p). Given names also get their share within a decade of birth.
    """
    found = count_names(records, name)
    total = int(found.counts.sum())
    if not total:
        return {"values": {}, "unlisted": 0}
    average = int((found.counts**2).sum()) / total / total
    rare = found.counts[found.counts < RARE]
    # Two sources with one slip make a rare value look rarer than it is; hence not below five.
    typical = max(5.0, int((rare**2).sum()) / int(rare.sum())) if len(rare) else RARE
    shares = {
        found.names[place]: found.counts[place] / total
        for place in np.flatnonzero(found.counts >= RARE).tolist()
    }
    if name == "given":
        of_decade = np.bincount(found.decades, found.by_decade)
        for at in np.flatnonzero(found.by_decade >= RARE).tolist():
            decade = found.decades[at]
            shares[f"{found.names[found.places[at]]}|{decade}"] = found.by_decade[at] / of_decade[decade]
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
    even_out(document["fields"], REACHED_BY_FEW | KEPT_LEVELS)
    keep_order(document["fields"])


# What the model expects of itself -------------------------------------------------------------------------------

_STEPS = tuple(range(-4_000, 20_001, 2_000))
LEAST_ASKED = min(_STEPS[0], THRESHOLDS["review"])
"""Below this nothing is linked or shown, whatever the safety rules say."""


@dataclass(frozen=True, slots=True)
class _Expected:
    """Of each pattern: its least weight, whether a safety rule holds it back, its right pairs, and the wrong ones to go with them.

    Right pairs are those that the estimate finds among the records learned from. Wrong pairs are set beside them by the odds of the model
    document, whose prior is that of the whole index: its strangers are more. The odds are summed over the rivals, not taken from the best.
    """

    weight_of: NDArray[np.int64]
    """Of every pattern its least weight, and whether it is free; the other columns are of the estimate's patterns, once a verdict."""
    free_of: NDArray[np.bool_]
    weights: NDArray[np.int64]
    is_free: NDArray[np.bool_]
    right: NDArray[np.float64]
    wrong: NDArray[np.float64]

    @classmethod
    def of(cls, document: Mapping[str, Any], fitted: Estimate) -> "_Expected":
        patterns = fitted.patterns
        against = rival_weights(patterns, build_model(document))
        least = against.min(axis=1)
        free = _is_free(patterns, least >= LEAST_ASKED)
        right = fitted.counts * fitted.chances
        odds = np.exp2(np.maximum(-60_000, -against) / 1000).sum(axis=1)[fitted.pattern]
        wrong = right * odds
        # A pattern that is nearly surely wrong has next to no right pairs to go by: then its own count is the bound.
        is_wrong = fitted.chances < 0.5
        wrong[is_wrong] = np.minimum(wrong, fitted.counts * (1 - fitted.chances))[is_wrong]
        return cls(least, free, least[fitted.pattern], free[fitted.pattern], right, wrong)

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


def rival_weights(patterns: Patterns, model: Model) -> NDArray[np.int64]:
    """Weigh patterns against every rival, in millibits, with the frequency that was kept of their names in whole bits.

    Returns:
        A row a pattern, a column a rival.
    """
    weights = np.tile(np.array(model.priors, np.int64), (len(patterns), 1))
    nothing = (0,) * len(model.rivals)
    for place, name in enumerate(FIELDS):
        parts = [model.parts.get(name, {}).get(level, nothing) for level in patterns.words[place]]
        weights += np.array(parts, np.int64)[patterns.levels[:, place]]
    for place, rival in enumerate(model.rivals):
        # Given and family names were added up: the sum counts where both do.
        if all(rival in table.against for table in model.frequency.values()):
            weights[:, place] += patterns.bits * 1000
    return weights


def _is_free(patterns: Patterns, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which of some patterns no safety rule holds back, as far as levels tell."""
    free: NDArray[np.bool_] = np.zeros(len(patterns), np.bool_)
    places = np.flatnonzero(asked)
    if len(places):
        levels = patterns.levels[places]
        # Neighbours with the same levels need one answer.
        is_new = np.append(True, (levels[1:] != levels[:-1]).any(axis=1))
        told = [
            not safety_obstacles(Comparison(patterns.levels_of(place))) for place in places[is_new].tolist()
        ]
        free[places] = np.array(told, np.bool_)[np.cumsum(is_new) - 1]
    return free


def _subgroups(
    found: Gathered,
    low: Rows,
    high: Rows,
    compared: Compared,
    expected: _Expected,
    verdicts: NDArray[np.int8],
    live: int,
) -> list[dict[str, Any]]:
    """Return for each subgroup how many records, and how many of their pairs would be linked, or shown to a person.

    A pair counts to the subgroups of both its records. With labels also the measured precision of the pairs at ``live``.
    """
    weights, free = expected.weight_of[compared.codes], expected.free_of[compared.codes]
    linked = free & (weights >= live)
    shown = (weights >= THRESHOLDS["review"]) & ~linked
    told = linked & (verdicts != _UNKNOWN)
    right, same = told & (verdicts == _SAME), verdicts == _SAME
    rows = []
    for dimension, column in subgroups_of(found).items():
        names, codes = column.commonest(MOST_SUBGROUPS)
        one, other = codes[low], codes[high]

        def count(
            chosen: NDArray[np.bool_], one: Any = one, other: Any = other, size: int = len(names)
        ) -> list[int]:
            a, b = one[chosen], other[chosen]
            found: list[int] = (
                np.bincount(a, minlength=size)
                + np.bincount(b, minlength=size)
                - np.bincount(a[a == b], minlength=size)
            ).tolist()
            return found

        records = np.bincount(codes, minlength=len(names)).tolist()
        counted = [count(chosen) for chosen in (linked, shown, told, right, same, same & linked)]
        for place, name in enumerate(names):
            in_linked, in_shown, in_told, in_right, in_same, in_both = (one[place] for one in counted)
            row: dict[str, Any] = {
                "subgroup": dimension,
                "value": name,
                "records": records[place],
                "linked": in_linked,
                "review": in_shown,
            }
            if in_told:
                row["precision"] = round(in_right / in_told, 6)
                row["recall"] = round(in_both / in_same, 6) if in_same else 1.0
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
    patterns: Patterns, counts: NDArray[np.int64], seed: int, most: int = 200_000
) -> dict[str, dict[str, float]]:
    """Fit recordlinkage's two-class ECM to yes-or-no vectors of sampled candidate pairs; return m and u by field.

    It takes no missing values and no levels: a missing item counts as "does not agree", so its m is low by that share.
    """
    import pandas as pd
    import recordlinkage

    agrees = np.stack([patterns.has(name, levels) for name, levels in _AGREEING.items()], axis=1)
    scale = min(1.0, most / int(counts.sum()))
    dice = np.random.default_rng(seed)
    repeated = np.repeat(np.arange(len(patterns)), dice.binomial(counts, scale))
    vectors = pd.DataFrame(agrees[repeated].astype(np.int64), columns=list(_AGREEING))
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
    person, others = fitted.counts * fitted.chances, fitted.counts * (1 - fitted.chances)
    for name, probabilities in checked.items():
        agrees = fitted.patterns.has(name, _AGREEING[name])[fitted.pattern]
        found[name] = {
            "recordlinkage_m": round(probabilities["m"], 4),
            "our_m": round(float(person[agrees].sum() / max(person.sum(), 1e-9)), 4),
            "recordlinkage_u": round(probabilities["u"], 4),
            "our_u": round(float(others[agrees].sum() / max(others.sum(), 1e-9)), 4),
        }
    return found
