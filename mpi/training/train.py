"""From unlabelled records to a match model, the same for the same records and seed."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpi.matching import FIELDS, Comparison, Model, build_model, score
from mpi.matching.model import fingerprint
from mpi.records import SourceRecord
from mpi.training.estimate import (
    Estimate,
    Pattern,
    Probabilities,
    count_patterns,
    fit,
    out_of_reach,
    probabilities_of,
    stranger_probabilities,
)
from mpi.training.pairs import Population, blocked_pairs, random_pairs
from mpi.training.starting import CLASSES, PAIRS_PER_RECORD, RIVALS, keep_order, millibits, starting_document

RARE = 20
"""A value seen less often than this is never listed: a rare name is personal data."""

SHARED_BY = {"phone": 12, "email": 6, "place": 24, "postcode": 150}
"""From how many different people on a contact or place tells little of who someone is."""

MOST_BLOCKED_PAIRS = 3_000_000
RANDOM_PAIRS = 600_000
LIVE_PRECISION = 0.9998
"""What the model must expect of itself at ``live``: a margin over 0.9995, since its own estimate is rosy."""


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
    population: int = 1_000_000,
    base: Mapping[str, Any] | None = None,
    cross_check: bool = True,
    chance_pairs: int = RANDOM_PAIRS,
) -> Trained:
    """Learn a match model from unlabelled records.

    Args:
        name: how the model is called in its card and in answers.
        seed: of the random pairs; the same records and seed give the same model.
        population: how many records the index will hold: strangers' pairs grow with it, so the prior is set for this size.
        base: a model document to take lists and first guesses from; the starting values if not given.
        chance_pairs: how many random pairs tell how often strangers agree.
        cross_check: also fit recordlinkage's ECM on sampled pairs, and report where the two differ.
    """
    document: dict[str, Any] = deepcopy(dict(base)) if base is not None else starting_document()
    sent = list(records)
    people = Population.of(sent, build_model(document))
    document["shared"] = _shared(people)
    document["frequency"] = {
        field_name: {**table, **_frequencies(people, field_name)}
        for field_name, table in document["frequency"].items()
    }
    model = build_model(document)
    people = Population.of(sent, model)
    blocked = blocked_pairs(people, model)
    document["overfull"] = list(blocked.overfull)

    first = probabilities_of(document)
    by_chance = count_patterns(people, random_pairs(people, chance_pairs, seed), model)
    guesses = deepcopy(first)
    first["stranger"] = stranger_probabilities(by_chance, first)
    step = 1 + len(blocked.pairs) // MOST_BLOCKED_PAIRS
    patterns = count_patterns(people, blocked.pairs[::step], model)
    if step > 1:
        patterns = Counter({pattern: count * step for pattern, count in patterns.items()})
    checked = _cross_check(patterns, seed) if cross_check else {}
    fitted = fit(
        patterns,
        len(people),
        _started(first, checked),
        PAIRS_PER_RECORD,
        guesses=guesses,
        unreached=out_of_reach(by_chance),
    )

    _enter(document, fitted, len(people), population)
    document["name"] = name
    document["thresholds"] = {
        **document["thresholds"],
        "live": _live(document, fitted, len(people), population),
    }
    document["training"] = {
        "records": len(people),
        "candidate_pairs": len(blocked.pairs),
        "random_pairs": chance_pairs,
        "seed": seed,
        "population": population,
        "rounds": fitted.rounds,
    }
    report = {
        **document["training"],
        "patterns": fitted.patterns,
        "pairs_of": {kind: round(pairs, 1) for kind, pairs in fitted.pairs_of.items()},
        "pairs_by_rule": blocked.pairs_by_rule,
        "overfull_keys": len(blocked.overfull),
        "shared_values": len(document["shared"]),
        "listed_names": {name: len(table["values"]) for name, table in document["frequency"].items()},
        "thresholds": document["thresholds"],
        "cross_check": _compared(checked, fitted.probabilities),
    }
    return Trained(document, report)


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


def _live(document: Mapping[str, Any], fitted: Estimate, records: int, population: int) -> int:
    """Return the least weight, in steps of half a bit from 6 bits up, from which the model expects LIVE_PRECISION."""
    model = build_model(document)
    weighed = []
    for pattern, count, _ in fitted.posterior:
        scored = score(Comparison(pattern.levels), model)
        # The values are gone; their frequency was kept in whole bits, and counts where strangers are the rival.
        weight = scored.weight + pattern.frequency_bits * 1000 * (scored.rival == "stranger")
        chance = 1 / (1 + 2.0 ** (-weight / 1000))
        weighed.append((weight, count * chance, count * (1 - chance)))
    weighed.sort(reverse=True)
    for at in range(6_000, 20_001, 500):
        right = sum(one[1] for one in weighed if one[0] >= at)
        wrong = sum(one[2] for one in weighed if one[0] >= at)
        if right and right / (right + wrong) >= LIVE_PRECISION:
            return at
    return 20_000


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
        for pattern, count in sorted(patterns.items(), key=lambda one: (one[0].levels, one[0].women))
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
        classifier.fit(vectors[varied])
    except (ValueError, RuntimeError):
        return {}
    found = {"m": classifier.m_probs, "u": classifier.u_probs}
    return {
        name: {kind: float(probabilities[name][1]) for kind, probabilities in found.items()}
        for name in varied
    }


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


def _compared(checked: Mapping[str, Mapping[str, float]], ours: Probabilities) -> dict[str, Any]:
    return {
        name: {
            "recordlinkage_m": round(probabilities["m"], 4),
            "our_m": round(_share(ours["person"][name], _AGREEING[name]), 4),
        }
        for name, probabilities in checked.items()
    }


def _share(levels: Mapping[str, float], agreeing: tuple[str, ...]) -> float:
    """Return how much of a field's probability lies on agreeing levels, without what only a given name implies."""
    said = {level: share for level, share in levels.items() if level != "implied"}
    return sum(said[level] for level in agreeing if level in said) / sum(said.values())
