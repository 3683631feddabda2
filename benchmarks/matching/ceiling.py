"""How much of what is missed could be told at all: the shipped model beside trees that were taught the truth, and what `live` holds back.

    python benchmarks/matching/ceiling.py --records 1000000 --learn-seed 11 --seed 31337
    python benchmarks/matching/ceiling.py --records 100000 --hide nhs_number

Two made-up regions: boosted trees (scikit-learn's) learn from every candidate pair of the one with its true answer, and are judged on the
other. They see what the model sees, levels and weights against each rival; in a second try also how often the sources of both records err,
as training learns it; in a third what else either record could be: its best other pairs, and how many it has. Their odds then take the
place of the model's weight in the same partition at even odds. No such model can ship: nobody has the truth of a region. What it misses
as well is not in the fields.

The second table takes the persons that the shipped model makes at `live`: of two groups that are one true person the best of their
pairs, by the safety rules that held it back and by its weight, with how many true pairs of records are lost between them; beside it in
how many cases two groups with such a best pair are two people.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.watch import machine, versions  # noqa: E402
from foundation.clock import SystemClock  # noqa: E402
from mpi.bulk.gather import Files, Gathered, gather  # noqa: E402
from mpi.bulk.partition import lenient  # noqa: E402
from mpi.bulk.weigh import Weighed, Weigher  # noqa: E402
from mpi.feeds.delimited import columns_of, row_reader  # noqa: E402
from mpi.matching import FIELDS, Model, load_model  # noqa: E402
from mpi.records import RecordKey  # noqa: E402
from mpi.sample import write_sample  # noqa: E402
from mpi.training.estimate import Patterns  # noqa: E402
from mpi.training.evaluate import GroupQuality, ScoredPairs, evaluate_groups, joined, link_pairs  # noqa: E402
from mpi.training.labels import read_truth_file  # noqa: E402
from mpi.training.pairs import candidate_pairs, newest_of  # noqa: E402
from mpi.training.sources import ERRORS, error_rates  # noqa: E402
from mpi.training.subgroups import NO_ABODE  # noqa: E402

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
NONE = -99_000
"""The weight of a pair that is not there."""
BANDS = ((6_500, "6.5 bits or more"), (4_000, "4 to 6.5"), (0, "0 to 4"), (-4_000, "-4 to 0"))


@dataclass(frozen=True)
class Region:
    """A made-up region, compared: every candidate pair, what it shows, and whether it is one person."""

    found: Gathered
    model: Model
    weigher: Weigher
    keys: list[RecordKey]
    truth: dict[RecordKey, str]
    person: Ints
    """The true person of every record."""
    pairs: Weighed
    shown: Floats
    is_one: NDArray[np.bool_]


@contextmanager
def a_region(records: int, seed: int, hide: Sequence[str], folder: Path) -> Iterator[Region]:
    made = write_sample(folder / str(seed), records, seed)
    truth = read_truth_file(folder / str(seed) / "truth.csv")
    model, today = load_model(), SystemClock().now().date()

    def heading(header: Sequence[str]) -> list[str | None]:
        return columns_of(header, dict.fromkeys(hide))

    files = Files((made.records_path,), heading, row_reader(today), today)
    with gather(files, model, newest_of, NO_ABODE) as found:
        keys = found.record_keys()
        numbers: dict[str, int] = {}
        person = np.array([numbers.setdefault(truth[key], len(numbers)) for key in keys], np.int64)
        weigher = found.weigher(model)
        pairs, shown = _compared(found, weigher, model)
        is_one = person[pairs.a] == person[pairs.b]
        yield Region(found, model, weigher, keys, truth, person, pairs, shown, is_one)


def _compared(found: Gathered, weigher: Weigher, model: Model) -> tuple[Weighed, Floats]:
    """Return every candidate pair, weighed, and what it shows: a level a field, how rare its names are, its weight against each rival."""
    weighed, shown = [], []
    for a, b in found.portions(*candidate_pairs(found.block(model, found.records))):
        compared = weigher.compare(a, b)
        pairs = weigher.weigh_compared(a, b, compared)
        patterns = weigher.patterns
        against = patterns.sums[pairs.pattern] + compared.given[:, None] * patterns.given[pairs.pattern]
        against += compared.family[:, None] * patterns.family[pairs.pattern]
        levels = patterns.levels_of(compared.codes)
        columns = (levels, compared.given, compared.family, against, pairs.weight, pairs.evidence)
        shown.append(np.column_stack(columns).astype(np.float32))
        weighed.append(pairs)
    return joined(weighed), np.concatenate(shown)


def rivals_of(region: Region) -> Floats:
    """Return of every pair what else its records could be: the best other pair of either, their next ones, and how many there are."""
    pairs, size = region.pairs, region.found.records.size
    record = np.concatenate((pairs.a, pairs.b))
    weight = np.concatenate((pairs.weight, pairs.weight))
    order = np.lexsort((-weight, record))
    record, weight = record[order], weight[order]
    starts, count = np.searchsorted(record, np.arange(size)), np.bincount(record, minlength=size)
    best = np.full((3, size), NONE, np.int64)
    for place in range(3):
        has = count > place
        best[place, has] = weight[starts[has] + place]
    good = np.bincount(record[weight > 0], minlength=size)
    columns = []
    for side in (pairs.a, pairs.b):
        columns += [np.where(pairs.weight >= best[0, side], best[1, side], best[0, side]), best[2, side]]
        columns += [good[side], count[side]]
    return np.column_stack(columns).astype(np.float32)


def sources_of(region: Region) -> Floats:
    """Return of every pair how often the sources of its two records err, field by field, by the model's own idea of who is one person."""
    pairs, patterns = region.pairs, region.pairs.patterns
    distinct, codes = np.unique(pairs.pattern, return_inverse=True)
    nothing = np.zeros(len(distinct), np.int64)
    kinds = Patterns(
        tuple(patterns.levels),
        patterns.levels_of(patterns.codes_of(distinct)),
        nothing.astype(np.bool_),
        nothing,
    )
    assert region.model.fields == FIELDS
    names, source = region.found.sources()
    chance = 1 / (1 + np.exp2(-np.clip(pairs.weight, -60_000, 60_000) / 1000))
    rates = np.zeros((len(names), len(ERRORS)), np.float32)
    for row in error_rates(names, source, pairs.a, pairs.b, kinds, codes, chance):
        rates[names.index(row["source"])] = [row["errors"].get(name, 0.0) for name in ERRORS]
    return np.hstack((rates[source[pairs.a]], rates[source[pairs.b]]))


def persons_of(region: Region, model: Model, weight: Ints | None = None) -> tuple[GroupQuality, Ints]:
    """Link a region, by other weights than the model's where they are given; and return the group of every record, by its least row."""
    pairs = region.pairs if weight is None else replace(region.pairs, weight=weight)
    edges = pairs.kept(pairs.is_edge(region.model))
    scored = ScoredPairs(
        pairs.a.astype(np.int32), pairs.b.astype(np.int32), pairs.weight, pairs.may_link, edges
    )
    groups = link_pairs(scored, region.found.records, region.keys, region.weigher, model)
    row = {key: place for place, key in enumerate(region.keys)}
    group = np.arange(len(row))
    for keys in groups:
        rows = [row[key] for key in keys]
        group[rows] = min(rows)
    return evaluate_groups(groups, region.truth), group


def held_back(region: Region, group: Ints) -> list[dict[str, Any]]:
    """Say by which rules, and at what weight, groups of one true person were kept apart, and how often such groups are two people."""
    pairs = region.pairs
    apart = np.flatnonzero(group[pairs.a] != group[pairs.b])
    one, other = group[pairs.a[apart]], group[pairs.b[apart]]
    code = np.minimum(one, other) * len(group) + np.maximum(one, other)
    order = np.lexsort((-pairs.weight[apart], code))
    best = apart[order[np.flatnonzero(np.diff(code[order], prepend=-1))]]
    best = best[(pairs.weight[best] >= BANDS[-1][0]) | region.is_one[best]]
    rules = pairs.patterns.obstacles(pairs.pattern[best])
    held = _shared(region.person, group)
    found: dict[tuple[tuple[str, ...], str], list[int]] = defaultdict(lambda: [0, 0, 0])
    met = 0
    for a, b, weight, is_one, codes in zip(
        pairs.a[best].tolist(),
        pairs.b[best].tolist(),
        pairs.weight[best].tolist(),
        region.is_one[best].tolist(),
        rules,
        strict=True,
    ):
        band = next((name for least, name in BANDS if weight >= least), "below -4")
        row = found[codes, band]
        row[0 if is_one else 1] += 1
        if is_one:
            whose = int(region.person[a])
            lost = held[whose, int(group[a])] * held[whose, int(group[b])]
            row[2] += lost
            met += lost
    sizes = np.bincount(region.person)
    there = int((sizes * (sizes - 1) // 2).sum())
    together = sum(count * (count - 1) // 2 for count in held.values())
    rows = [
        {"rules": list(codes), "weight": band, "one_person": right, "two_people": wrong, "pairs_lost": lost}
        for (codes, band), (right, wrong, lost) in found.items()
    ]
    rows.append(
        {"rules": [], "weight": "never compared", "pairs_lost": there - together - met}
        | {"one_person": 0, "two_people": 0}
    )
    return sorted(rows, key=lambda row: -row["pairs_lost"])


def _shared(person: Ints, group: Ints) -> dict[tuple[int, int], int]:
    """Count the records of every true person in every group."""
    found: dict[tuple[int, int], int] = defaultdict(int)
    for whose, where in zip(person.tolist(), group.tolist(), strict=True):
        found[whose, where] += 1
    return found


SEEN: dict[str, Callable[[Region], Floats]] = {
    "levels": lambda region: region.shown,
    "levels and sources": lambda region: np.hstack((region.shown, sources_of(region))),
    "levels and rivals": lambda region: np.hstack((region.shown, rivals_of(region))),
}


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with a_region(chosen.records, chosen.learn_seed, chosen.hide, folder) as region:
        learned, answers = {name: seen(region) for name, seen in SEEN.items()}, region.is_one
    rows = []
    with a_region(chosen.records, chosen.seed, chosen.hide, folder) as region:
        live, group = persons_of(region, region.model)
        rows.append(_row("shipped model, live", live))
        rows.append(_row("shipped model, even odds", persons_of(region, lenient(region.model))[0]))
        for name, seen in SEEN.items():
            began = time.process_time()
            trees = HistGradientBoostingClassifier(
                max_iter=chosen.rounds,
                learning_rate=0.08,
                max_leaf_nodes=63,
                min_samples_leaf=40,
                random_state=1,
            ).fit(learned.pop(name), answers)
            chance = np.clip(trees.predict_proba(seen(region))[:, 1], 1e-12, 1 - 1e-12)
            weight = np.rint(np.log2(chance / (1 - chance)) * 1000).astype(np.int64)
            quality = persons_of(region, lenient(region.model), weight)[0]
            rows.append(_row(f"trees taught the truth, {name}", quality, time.process_time() - began))
        sizes = np.bincount(region.person)
        return {
            "candidate_pairs": len(region.pairs),
            "true_pairs": int((sizes * (sizes - 1) // 2).sum()),
            "true_pairs_compared": int(region.is_one.sum()),
            "rows": rows,
            "held_back": held_back(region, group),
        }


def _row(who: str, quality: GroupQuality, cpu: float | None = None) -> dict[str, Any]:
    return {
        "who": who,
        "wrong": quality.pairs.wrong,
        "missed": quality.pairs.missed,
        "pair_f1": round(quality.pairs.f1, 5),
        "whole_f1": round(quality.persons.f1, 5),
        "cpu_s": cpu and round(cpu, 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--learn-seed", type=int, default=11, help="of the region that trees learn from")
    options.add_argument("--seed", type=int, default=31337, help="of the region that is judged")
    options.add_argument(
        "--hide", action="append", default=[], metavar="COLUMN", help="a column that nobody sees"
    )
    options.add_argument("--rounds", type=int, default=400, help="most trees")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        answer = measure(chosen, Path(name))
    if chosen.json:
        print(json.dumps({"machine": machine(), **answer}))
        return
    hidden = f", without {', '.join(chosen.hide)}" if chosen.hide else ""
    print(f"{machine()}; {versions('scikit-learn')}; {chosen.records} records, seed {chosen.seed}{hidden}")
    compared = answer["true_pairs_compared"]
    print(
        f"{answer['candidate_pairs']} candidate pairs; {compared} of {answer['true_pairs']} true pairs among them"
    )
    print(f"{'':44}{'wrong':>9}{'missed':>9}{'pair F1':>10}{'whole F1':>10}{'CPU s':>9}")
    for row in answer["rows"]:
        cpu = "" if row["cpu_s"] is None else row["cpu_s"]
        print(
            f"{row['who']:44}{row['wrong']:>9}{row['missed']:>9}{row['pair_f1']:>10.5f}{row['whole_f1']:>10.5f}{cpu:>9}"
        )
    print(f"\n{'kept apart at live':60}{'weight':>18}{'pairs lost':>12}{'one person':>12}{'two people':>12}")
    for row in answer["held_back"][:30]:
        rules = ", ".join(row["rules"]) or "no rule"
        print(
            f"{rules:60}{row['weight']:>18}{row['pairs_lost']:>12}{row['one_person']:>12}{row['two_people']:>12}"
        )


if __name__ == "__main__":
    main()
