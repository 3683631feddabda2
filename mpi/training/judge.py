"""Persons held against labels, by counting: pairs, whole persons and records, for all and by subgroup, in linear time and memory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import Invalid
from mpi.training.evaluate import Quality
from mpi.training.intervals import by_cluster
from mpi.training.labels import Key
from mpi.training.pairs import components

Ints = NDArray[np.int64]
MOST_VALUES = 40
"""A subgroup with more values than this shows its commonest, and the rest as "others"."""

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Judged:
    """Labelled records in order of key: the person each was put in, and its true person, both as numbers from 0."""

    keys: tuple[Key, ...] = field(repr=False)
    persons: Ints = field(repr=False)
    truths: Ints = field(repr=False)
    unlabelled: int
    """Records of the persons file without a label; they are left out."""
    unknown: int
    """Labels of records that no person holds; they count as persons of their own."""

    @classmethod
    def of(cls, persons: Mapping[Key, str], truth: Mapping[Key, str]) -> "Judged":
        """Bring persons and labels together.

        Raises:
            Invalid: ``labels-missing``, where no record has both.
        """
        keys = sorted(truth)
        both = sum(key in persons for key in keys)
        if not both:
            raise Invalid(
                "labels-missing", field="local_id", detail="No record of the persons file has a label."
            )
        person_codes: dict[str, int] = {}
        truth_codes: dict[str, int] = {}
        of_person = np.empty(len(keys), dtype=np.int64)
        of_truth = np.empty(len(keys), dtype=np.int64)
        for place, key in enumerate(keys):
            person = persons.get(key)
            of_person[place] = (
                NOBODY if person is None else person_codes.setdefault(person, len(person_codes))
            )
            of_truth[place] = truth_codes.setdefault(truth[key], len(truth_codes))
        alone = of_person == NOBODY
        of_person[alone] = len(person_codes) + np.arange(int(alone.sum()))
        return cls(tuple(keys), of_person, of_truth, len(persons) - both, int(alone.sum()))


@dataclass(frozen=True, slots=True)
class Counts:
    """Of each labelled record: how many others of its person are right, how many there are, and how many there should be."""

    right: Ints = field(repr=False)
    found: Ints = field(repr=False)
    there: Ints = field(repr=False)

    @classmethod
    def of(cls, judged: Judged) -> "Counts":
        cells = judged.persons * (int(judged.truths.max()) + 1) + judged.truths
        # Sorting and looking for steps: np.unique is several times slower on as many integers.
        order = np.argsort(cells, kind="stable")
        is_first = np.append(True, np.diff(cells[order]) != 0)
        number = np.cumsum(is_first) - 1
        right = np.empty(len(cells), dtype=np.int64)
        right[order] = np.bincount(number)[number] - 1
        return cls(
            right,
            np.bincount(judged.persons)[judged.persons] - 1,
            np.bincount(judged.truths)[judged.truths] - 1,
        )

    def by(self, column: Ints, size: int) -> list[dict[str, Any]]:
        """Return pairwise and B-cubed figures of the records of each number below ``size``; a pair counts by half for each end.

        B-cubed: the mean over records of the share of its person's records that are right, and of its true person's that are there.
        """
        right, found, there = self.right, self.found, self.there
        whole = (right == found) & (right == there)
        sums = [
            np.bincount(column, weights=values, minlength=size).tolist()
            for values in (right, found, there, (right + 1) / (found + 1), (right + 1) / (there + 1), whole)
        ]
        records = np.bincount(column, minlength=size).tolist()
        return [
            _figures(number, *(int(one) for one in row[:3]), *row[3:])
            for number, row in zip(records, zip(*sums, strict=True), strict=True)
        ]


def _figures(
    records: int, right: int, found: int, there: int, precision: float, recall: float, whole: float
) -> dict[str, Any]:
    size = max(1, records)
    precision, recall = precision / size, recall / size
    pairs = Quality(right, found - right, there - right)
    return {
        "records": records,
        "pairs": {
            **pairs.as_json(),
            "right": pairs.right / 2,
            "wrong": pairs.wrong / 2,
            "missed": pairs.missed / 2,
        },
        "b_cubed": {
            "precision": round(precision, 6),
            "recall": round(recall, 6),
            "f1": round(2 * precision * recall / (precision + recall), 6) if precision + recall else 0.0,
        },
        "whole": round(whole / size, 6),
    }


def judge(judged: Judged, counts: Counts, *, seed: int = 0) -> dict[str, Any]:
    """Return the figures of all records, with 95 % intervals of precision and recall, and the sizes of persons.

    ``persons``: persons that hold exactly the labelled records of one true person, against true persons.
    """
    (figures,) = counts.by(np.zeros(len(judged.keys), dtype=np.int64), 1)
    pairs = figures["pairs"]
    for name in ("right", "wrong", "missed"):
        pairs[name] = int(pairs[name])  # each pair has two ends, and both are here
    clusters = _clusters(judged)
    rights, founds, theres = (
        np.bincount(clusters, weights=column).astype(np.int64).tolist()
        for column in (counts.right, counts.found, counts.there)
    )
    pairs["precision_interval"] = [
        round(one, 6) for one in by_cluster(zip(rights, founds, strict=True), seed)
    ]
    pairs["recall_interval"] = [round(one, 6) for one in by_cluster(zip(rights, theres, strict=True), seed)]
    whole = (counts.right == counts.found) & (counts.right == counts.there)
    sizes, true_sizes = np.bincount(judged.persons), np.bincount(judged.truths)
    exact = int((np.bincount(judged.persons[whole], minlength=len(sizes)) > 0).sum())
    people, true_people = int((sizes > 0).sum()), int((true_sizes > 0).sum())
    mixed = counts.right < counts.found
    return {
        "records": figures["records"],
        "pairs": pairs,
        "persons": Quality(exact, people - exact, true_people - exact).as_json(),
        "b_cubed": figures["b_cubed"],
        "largest_group": int(sizes.max()),
        "largest_mixed_group": int(sizes[judged.persons[mixed]].max()) if mixed.any() else 0,
        "sizes": {
            str(size): int(number) for size, number in enumerate(np.bincount(sizes)) if size and number
        },
        "unlabelled_records": judged.unlabelled,
        "labels_without_a_person": judged.unknown,
    }


def judge_subgroups(
    judged: Judged, counts: Counts, columns: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Return figures by subgroup.

    Args:
        columns: of each subgroup its value for every record, in the order of ``judged.keys``; empty is "not known".
    """
    rows = []
    for name, values in columns.items():
        sizes = Counter(values)
        common = sorted(sizes, key=lambda value: (-sizes[value], value))[:MOST_VALUES]
        shown = sorted(common)
        if len(sizes) > MOST_VALUES:
            shown.append("others")
        place = {value: number for number, value in enumerate(shown)}
        last = len(shown) - 1
        column = np.fromiter((place.get(value, last) for value in values), dtype=np.int64, count=len(values))
        for value, figures in zip(shown, counts.by(column, len(shown)), strict=True):
            rows.append({"subgroup": name, "value": value or "not known", **figures})
    return rows


def _clusters(judged: Judged) -> Ints:
    """Number what hangs together: true persons that share a person, which is what makes an error of several pairs one."""
    truths = int(judged.truths.max()) + 1
    order = np.argsort(judged.persons, kind="stable")
    persons, of = judged.persons[order], judged.truths[order]
    joined = (persons[1:] == persons[:-1]) & (of[1:] != of[:-1])
    links = zip(of[:-1][joined].tolist(), of[1:][joined].tolist(), strict=True)
    number = np.arange(truths)
    for part in components(truths, links):
        number[part] = part[0]
    return number[judged.truths]
