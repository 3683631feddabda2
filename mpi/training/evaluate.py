"""How right a model or an index is, against labels: pairs, whole persons and blocking, by threshold."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import Invalid
from mpi.bulk.gather import Gathered, gather
from mpi.bulk.partition import lenient, partition_records
from mpi.bulk.records import Records
from mpi.bulk.weigh import Weighed, Weigher
from mpi.matching import Model
from mpi.records import RecordKey, SourceRecord
from mpi.training.pairs import candidate_pairs, newest_of
from mpi.training.subgroups import NO_ABODE

Truth = Mapping[RecordKey, Hashable]
"""The true person of every record that has a label."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Right, wrong and missed, and the rates made of them (1.0 where there was nothing to find)."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        found = self.right + self.wrong
        return self.right / found if found else 1.0

    @property
    def recall(self) -> float:
        there = self.right + self.missed
        return self.right / there if there else 1.0

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "right": self.right,
            "wrong": self.wrong,
            "missed": self.missed,
            "precision": round(self.precision, 6),
            "recall": round(self.recall, 6),
            "f1": round(self.f1, 6),
        }


@dataclass(frozen=True, slots=True)
class GroupQuality:
    """How well groups of records agree with true persons.

    ``pairs``: pairs in one group against pairs of one person. ``persons``: groups that hold exactly one person's labelled records
    against true persons. ``b_cubed_…``: mean over records of the share of its group, or of its person, that is right.
    """

    pairs: Quality
    persons: Quality
    b_cubed_precision: float
    b_cubed_recall: float
    largest_group: int
    largest_mixed_group: int
    records: int

    @property
    def b_cubed_f1(self) -> float:
        total = self.b_cubed_precision + self.b_cubed_recall
        return 2 * self.b_cubed_precision * self.b_cubed_recall / total if total else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "pairs": self.pairs.as_json(),
            "persons": self.persons.as_json(),
            "b_cubed": {
                "precision": round(self.b_cubed_precision, 6),
                "recall": round(self.b_cubed_recall, 6),
                "f1": round(self.b_cubed_f1, 6),
            },
            "largest_group": self.largest_group,
            "largest_mixed_group": self.largest_mixed_group,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's figures on labelled records; weights in millibits."""

    model_revision: str
    records: int
    candidate_pairs: int
    blocking: Quality
    live: GroupQuality
    balanced: GroupQuality
    review_pairs: int
    review_right: int
    by_threshold: tuple[tuple[int, Quality], ...] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        return {
            "model_revision": self.model_revision,
            "records": self.records,
            "candidate_pairs": self.candidate_pairs,
            "blocking_recall": round(self.blocking.recall, 6),
            "live": self.live.as_json(),
            "balanced": self.balanced.as_json(),
            "review": {"pairs": self.review_pairs, "right": self.review_right},
            "by_threshold": [
                {"weight": weight, **quality.as_json()} for weight, quality in self.by_threshold
            ],
        }

    def as_lines(self) -> list[str]:
        """Write the figures as a table for people."""
        rows = [("live", self.live), ("balanced", self.balanced)]
        return [
            f"{self.records} records, {self.candidate_pairs} candidate pairs, "
            f"{self.blocking.recall:.5f} of the true pairs among them",
            f"{'':10}{'precision':>11}{'recall':>9}{'F1':>9}{'persons F1':>12}{'B-cubed':>9}{'largest':>9}",
            *(
                f"{name:10}{one.pairs.precision:>11.5f}{one.pairs.recall:>9.5f}{one.pairs.f1:>9.5f}"
                f"{one.persons.f1:>12.5f}{one.b_cubed_f1:>9.5f}{one.largest_group:>9}"
                for name, one in rows
            ),
            f"between review and live: {self.review_pairs} pairs, {self.review_right} of them one person",
        ]


def read_truth(rows: Iterable[Mapping[str, str | None]]) -> dict[RecordKey, str]:
    """Read rows of a truth file: organisation, system, local_id, true_person.

    Raises:
        Invalid: ``column-missing`` or ``field-missing``, with the field and the row (the header is row 1).
    """
    truth: dict[RecordKey, str] = {}
    for number, row in enumerate(rows, start=2):
        values = []
        for name in ("organisation", "system", "local_id", "true_person"):
            if name not in row:
                raise Invalid("column-missing", field=name)
            value = row[name]
            if not value:
                raise Invalid("field-missing", field=name, row=number)
            values.append(value)
        truth[RecordKey(*values[:3])] = values[3]
    return truth


def evaluate_groups(groups: Iterable[Iterable[RecordKey]], truth: Truth) -> GroupQuality:
    """Compare persons as an index holds them with the truth; records without a label are left out.

    A labelled record that is in no group counts as a group of its own.
    """
    found = [[key for key in group if key in truth] for group in groups]
    seen = {key for group in found for key in group}
    found = [group for group in found if group] + [[key] for key in truth if key not in seen]
    sizes = Counter(truth.values())
    right = within = exact = mixed = 0
    b_precision = b_recall = 0.0
    for group in found:
        people = Counter(truth[key] for key in group)
        within += len(group) * (len(group) - 1) // 2
        right += sum(count * (count - 1) // 2 for count in people.values())
        if len(people) == 1:
            exact += sizes[next(iter(people))] == len(group)
        else:
            mixed = max(mixed, len(group))
        b_precision += sum(count * count for count in people.values()) / len(group)
        b_recall += sum(count * count / sizes[person] for person, count in people.items())
    there = sum(count * (count - 1) // 2 for count in sizes.values())
    total = len(truth) or 1
    return GroupQuality(
        pairs=Quality(right, within - right, there - right),
        persons=Quality(exact, len(found) - exact, len(sizes) - exact),
        b_cubed_precision=b_precision / total,
        b_cubed_recall=b_recall / total,
        largest_group=max(map(len, found), default=0),
        largest_mixed_group=mixed,
        records=len(truth),
    )


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Every candidate pair of some rows, in order: its weight, and whether it may be linked unseen; and those worth keeping, as edges."""

    low: NDArray[np.int32] = field(repr=False)
    high: NDArray[np.int32] = field(repr=False)
    weights: NDArray[np.int64] = field(repr=False)
    may_link: NDArray[np.bool_] = field(repr=False)
    edges: Weighed = field(repr=False)


def score_pairs(found: Gathered, records: Records, weigher: Weigher, model: Model) -> ScoredPairs:
    """Compare and score every candidate pair of some of the records gathered."""
    low, high = candidate_pairs(found.block(model, records))
    none = np.empty(0, np.int64)
    weights, may_link = [none], [none.astype(np.bool_)]
    edges = [weigher.weigh(none, none)]
    for a, b in found.portions(low, high):
        weighed = weigher.weigh(a, b)
        weights.append(weighed.weight)
        may_link.append(weighed.may_link)
        edges.append(weighed.kept(weighed.is_edge(model)))
    return ScoredPairs(low, high, np.concatenate(weights), np.concatenate(may_link), joined(edges))


def joined(parts: Sequence[Weighed]) -> Weighed:
    """Put weighed pairs of one weigher together."""

    def whole(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(one, name) for one in parts])

    return Weighed(
        whole("a"),
        whole("b"),
        whole("weight"),
        whole("evidence"),
        whole("may_link"),
        whole("conflict"),
        whole("pattern"),
        parts[0].patterns,
    )


def link_pairs(
    scored: ScoredPairs, records: Records, keys: Sequence[RecordKey], weigher: Weigher, model: Model
) -> list[tuple[RecordKey, ...]]:
    """Partition scored pairs into persons, as the index does; records that joined nobody are left out.

    Args:
        model: at its ``live`` threshold. One made ``lenient`` links at even odds and without the safety rules of pairs; the vetoes of the
            partition stand.
    """
    edges = scored.edges
    if model.thresholds.live == model.thresholds.balanced:
        edges = replace(edges, may_link=edges.weight >= model.thresholds.live)
    person = partition_records(
        records, lambda rows: [keys[row] for row in rows.tolist()], edges, weigher, model
    ).person
    order = np.argsort(person, kind="stable")
    starts = np.flatnonzero(np.diff(person[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(person)))
    groups = zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True)
    return [tuple(keys[row] for row in order[start : start + size].tolist()) for start, size in groups]


def evaluate(
    records: Iterable[SourceRecord],
    truth: Truth,
    model: Model,
    *,
    thresholds: Sequence[int] = range(-10_000, 30_001, 2_000),
) -> Evaluation:
    """Link records in memory with a model and compare with the truth.

    Args:
        thresholds: weights, in millibits, at which pairs are also judged one by one, before the partition.
    """
    labelled = (record for record in records if record.key in truth)
    with gather(labelled, model, newest_of, NO_ABODE) as found:
        keys = found.record_keys()
        weigher = found.weigher(model)
        scored = score_pairs(found, found.records, weigher, model)
        live, balanced = (
            link_pairs(scored, found.records, keys, weigher, chosen) for chosen in (model, lenient(model))
        )
    known = {key: truth[key] for key in keys}
    numbers: dict[Hashable, int] = {}
    labels = np.array([numbers.setdefault(known[key], len(numbers)) for key in keys], np.int64)
    is_right = labels[scored.low] == labels[scored.high]
    sizes = np.bincount(labels)
    there = int((sizes * (sizes - 1) // 2).sum())
    steps = []
    for at in thresholds:
        chosen_pairs = scored.weights >= at
        right = int((chosen_pairs & is_right).sum())
        steps.append((at, Quality(right, int(chosen_pairs.sum()) - right, there - right)))
    review = (scored.weights >= model.thresholds.review) & ~scored.may_link
    blocked = int(is_right.sum())
    return Evaluation(
        model_revision=model.revision,
        records=len(keys),
        candidate_pairs=len(is_right),
        blocking=Quality(blocked, len(is_right) - blocked, there - blocked),
        live=evaluate_groups(live, known),
        balanced=evaluate_groups(balanced, known),
        review_pairs=int(review.sum()),
        review_right=int((review & is_right).sum()),
        by_threshold=tuple(steps),
    )
