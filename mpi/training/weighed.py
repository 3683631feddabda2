"""Weighed pairs held against labels: figures by threshold, the weights of right and wrong pairs, and whether the model's chance holds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi.bulk.gather import Gathered, some_of
from mpi.matching import Model
from mpi.training.evaluate import Quality, score_pairs
from mpi.training.intervals import wilson
from mpi.training.judge import Ints, Judged
from mpi.training.labels import WeighedPair

LEAST_BITS, MOST_BITS = -10, 30
CALIBRATED = range(-8, 16, 2)
"""Bits from which each step of calibration runs to the next: beyond, a chance is as good as 0 or 1."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Candidate pairs among labelled records: places in ``Judged.keys``, the lower first; weights in millibits; which may link unseen."""

    low: Ints = field(repr=False)
    high: Ints = field(repr=False)
    weights: Ints = field(repr=False)
    may_link: NDArray[np.bool_] = field(repr=False)

    @classmethod
    def of(cls, judged: Judged, pairs: Iterable[WeighedPair]) -> "Weighed":
        """Keep each pair of labelled records once, at its greatest weight."""
        place = {key: number for number, key in enumerate(judged.keys)}
        found: dict[tuple[int, int], tuple[int, bool]] = {}
        for one, other, weight, may_link in pairs:
            a, b = place.get(one), place.get(other)
            if a is None or b is None or a == b:
                continue
            pair = (a, b) if a < b else (b, a)
            found[pair] = max((weight, may_link), found.get(pair, (weight, may_link)))
        ordered = sorted(found)
        ends = np.array(ordered, dtype=np.int64).reshape(-1, 2)
        return cls(
            ends[:, 0],
            ends[:, 1],
            np.array([found[pair][0] for pair in ordered], dtype=np.int64),
            np.array([found[pair][1] for pair in ordered], dtype=bool),
        )

    def is_right(self, judged: Judged) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = judged.truths[self.low] == judged.truths[self.high]
        return same


def weigh_records(found: Gathered, rows: Ints, model: Model) -> Weighed:
    """Block and weigh labelled records with a model; a pair may link unseen at ``live`` where no safety rule forbids it.

    Args:
        rows: of every place in ``Judged.keys`` the row of its record, -1 where there is none.
    """
    places = np.flatnonzero(rows >= 0)
    places = places[np.argsort(rows[places])]
    records = some_of(found.records, rows[places])
    scored = score_pairs(found, records, found.weigher(model, records), model)
    return Weighed(places[scored.low], places[scored.high], scored.weights, scored.may_link)


def judge_weights(judged: Judged, weighed: Weighed) -> dict[str, Any]:
    """Return what the weights say by themselves, before persons are made of them: no safety rule and no veto stands here.

    ``blocking``: how many of the true pairs are among the pairs. ``by_threshold``: pairs at or above a weight. ``calibration``: of
    the pairs of each step the chance that the model gives them, and the share that is right, with Wilson's interval as if pairs were
    independent.
    """
    right = weighed.is_right(judged)
    sizes = np.bincount(judged.truths)
    there = int((sizes * (sizes - 1) // 2).sum())
    steps = []
    for bits in range(LEAST_BITS, MOST_BITS + 1):
        chosen = weighed.weights >= bits * 1000
        found = int((chosen & right).sum())
        steps.append(
            {
                "weight": bits * 1000,
                "pairs": int(chosen.sum()),
                **Quality(found, int(chosen.sum()) - found, there - found).as_json(),
            }
        )
    clipped = np.clip(weighed.weights // 1000, LEAST_BITS, MOST_BITS - 1)
    columns = [
        np.bincount(clipped[chosen] - LEAST_BITS, minlength=MOST_BITS - LEAST_BITS)
        for chosen in (right, ~right)
    ]
    chances = 1 / (1 + np.exp2(-np.clip(weighed.weights, -60_000, 60_000) / 1000))
    calibration = []
    for bits in CALIBRATED:
        chosen = (weighed.weights >= bits * 1000) & (weighed.weights < (bits + CALIBRATED.step) * 1000)
        number = int(chosen.sum())
        if number:
            low, high = wilson(int((chosen & right).sum()), number)
            calibration.append(
                {
                    "from": bits * 1000,
                    "to": (bits + CALIBRATED.step) * 1000,
                    "pairs": number,
                    "expected": round(float(chances[chosen].mean()), 6),
                    "measured": round(float(right[chosen].mean()), 6),
                    "interval": [round(low, 6), round(high, 6)],
                }
            )
    found = int(right.sum())
    return {
        "pairs": len(right),
        "blocking": Quality(found, len(right) - found, there - found).as_json(),
        "by_threshold": steps,
        "histogram": [
            {"weight": bits * 1000, "right": int(columns[0][place]), "wrong": int(columns[1][place])}
            for place, bits in enumerate(range(LEAST_BITS, MOST_BITS))
        ],
        "calibration": calibration,
    }
