"""FEBRL 1 to 4, each with and without its identifier: trained on the file alone, linked and judged, set by set and pooled.

    python benchmarks/matching/febrl.py
    python benchmarks/matching/febrl.py --shipped --sets 1 2

Every step is a command as an analyst types it: `mpi train`, `mpi link` at either cut, `mpi evaluate`. A model learns from the very file
it is judged on, without labels; there is no second half. With `--shipped` the shipped model is judged beside it. CPU seconds are
those of the commands, the start of Python included.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.watch import machine, mpi  # noqa: E402
from mpi.training import write_febrl  # noqa: E402

CUTS = ("balanced", "live")


class Found(NamedTuple):
    """Pairs of one set by one model at one cut."""

    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--sets", type=int, nargs="+", choices=(1, 2, 3, 4), default=[1, 2, 3, 4])
    options.add_argument("--seed", type=int, default=1, help="of the random pairs of training")
    options.add_argument("--shipped", action="store_true", help="judge the shipped model too")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    before = os.times()
    began = time.perf_counter()
    found: dict[str, list[Found]] = {}
    with tempfile.TemporaryDirectory() as name:
        for number in chosen.sets:
            for with_identifier in (True, False):
                one = _judged(Path(name), number, chosen.seed, with_identifier, chosen.shipped)
                for what, pairs in one.items():
                    found.setdefault(what, []).append(pairs)
    after = os.times()
    cpu = sum(after[at] - before[at] for at in (2, 3))
    if chosen.json:
        print(json.dumps({what: [one._asdict() for one in pairs] for what, pairs in found.items()}))
        return
    print(f"{machine()}; sets {', '.join(map(str, chosen.sets))}; seed {chosen.seed}")
    for what, pairs in found.items():
        pooled = Found(*(sum(column) for column in zip(*pairs, strict=True)))
        sets = "  ".join(f"{one.wrong}+{one.missed} of {one.right + one.missed}" for one in pairs)
        print(f"{what:45} F1 {pooled.f1:.5f}   wrong+missed: {sets}")
    print(f"{cpu:.1f} CPU s, {time.perf_counter() - began:.1f} s")


def _judged(
    folder: Path, number: int, seed: int, with_identifier: bool, with_shipped: bool
) -> dict[str, Found]:
    records, truth, model = (folder / name for name in ("records.csv", "truth.csv", "model.json"))
    write_febrl(number, records, truth)
    if not with_identifier:
        _hide_identifiers(records)
    mpi("train", records, "--out", model, "--seed", seed)
    models: dict[str, Sequence[Any]] = {"trained": ("--model", model), "shipped": ()}
    found = {}
    for name in ("trained", "shipped") if with_shipped else ("trained",):
        for cut in CUTS:
            out = folder / f"{number}-{with_identifier}-{name}-{cut}"
            mpi("link", records, "--out", out, "--cut", cut, *models[name])
            told = json.loads(mpi("evaluate", out / "persons.csv", "--truth", truth, "--json"))
            pairs = told["persons"]["pairs"]
            what = f"{'with' if with_identifier else 'without'} identifier, {name}, {cut}"
            found[what] = Found(pairs["right"], pairs["wrong"], pairs["missed"])
    return found


def _hide_identifiers(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if not name.startswith("identifier")])
        writer.writeheader()
        writer.writerows({name: row[name] for name in writer.fieldnames} for row in rows)


if __name__ == "__main__":
    main()
