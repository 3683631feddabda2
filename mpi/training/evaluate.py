"""How right a model or an index is, against labels: pairs, whole persons and blocking, by threshold."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from foundation.errors import Invalid
from mpi.matching import Edge, Member, Model, compare, decide, partition, score
from mpi.records import RecordKey, SourceRecord
from mpi.training.pairs import Pair, Population, blocked_pairs, components

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
    """Every candidate pair with its weight and whether the safety rules leave it free to be linked."""

    population: Population = field(repr=False)
    pairs: tuple[Pair, ...] = field(repr=False)
    weights: tuple[int, ...] = field(repr=False)
    free: tuple[bool, ...] = field(repr=False)


def score_pairs(population: Population, model: Model) -> ScoredPairs:
    """Compare and score every candidate pair."""
    records = population.records
    blocked = blocked_pairs(population, model)
    weights, free = [], []
    for low, high in blocked.pairs:
        comparison = compare(records[low], records[high], model)
        scored = score(comparison, model)
        weights.append(scored.weight)
        free.append(
            scored.weight >= model.thresholds.review and not decide(scored, comparison, model).obstacles
        )
    return ScoredPairs(population, blocked.pairs, tuple(weights), tuple(free))


def link_records(scored: ScoredPairs, model: Model, *, balanced: bool = False) -> list[tuple[RecordKey, ...]]:
    """Partition scored pairs into persons, as the index does; records that joined nobody are left out.

    Args:
        balanced: link at even odds and without the safety rules of pairs; the vetoes of the partition stand.
    """
    population = scored.population
    records = population.records
    at = model.thresholds.balanced if balanced else model.thresholds.live
    limits = replace(model.thresholds, live=at)
    lenient = replace(model, thresholds=limits)
    edges = [
        Edge(low, high, weight)
        for (low, high), weight, free in zip(scored.pairs, scored.weights, scored.free, strict=True)
        if weight >= at and (balanced or free)
    ]
    by_component: dict[int, list[Edge]] = {}
    parts = components(len(population), ((edge.low_id, edge.high_id) for edge in edges))
    part_of = {place: number for number, part in enumerate(parts) for place in part}
    for edge in edges:
        by_component.setdefault(part_of[edge.low_id], []).append(edge)

    def weigh(low: int, high: int) -> int:
        return score(compare(records[low], records[high], model), model).evidence

    groups: list[tuple[RecordKey, ...]] = []
    for number, part in enumerate(parts):
        members = {place: Member.of(place, population.keys[place], records[place]) for place in part}
        split = partition(members, by_component[number], (), lenient, weigh)
        groups.extend(tuple(population.keys[place] for place in group) for group in split.groups)
    return groups


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
    population = Population.of((record for record in records if record.key in truth), model)
    scored = score_pairs(population, model)
    keys = population.keys
    labels = [truth[key] for key in keys]
    is_right = [labels[low] == labels[high] for low, high in scored.pairs]
    sizes = Counter(labels)
    there = sum(count * (count - 1) // 2 for count in sizes.values())
    known = {key: truth[key] for key in keys}
    steps = []
    for at in thresholds:
        judged = [right for right, weight in zip(is_right, scored.weights, strict=True) if weight >= at]
        right = sum(judged)
        steps.append((at, Quality(right, len(judged) - right, there - right)))
    limits = model.thresholds
    review = [
        right
        for right, weight, free in zip(is_right, scored.weights, scored.free, strict=True)
        if weight >= limits.review and not (free and weight >= limits.live)
    ]
    return Evaluation(
        model_revision=model.revision,
        records=len(population),
        candidate_pairs=len(scored.pairs),
        blocking=Quality(sum(is_right), len(is_right) - sum(is_right), there - sum(is_right)),
        live=evaluate_groups(link_records(scored, model), known),
        balanced=evaluate_groups(link_records(scored, model, balanced=True), known),
        review_pairs=len(review),
        review_right=sum(review),
        by_threshold=tuple(steps),
    )


__all__ = [
    "Evaluation",
    "GroupQuality",
    "Quality",
    "ScoredPairs",
    "Truth",
    "evaluate",
    "evaluate_groups",
    "link_records",
    "read_truth",
    "score_pairs",
]
