"""Which questions a part of the graph leaves open: a function of edges, decisions and groups, so that undo restores them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from mpi.matching import Model, NormalisedRecord, veto
from mpi.matching.questions import (
    BETWEEN_PERSONS,
    FORM_SYSTEMS,
    Kind,
    asked_between,
    sides_by_number,
    sides_of_source,
)
from mpi.service.evidence import Pair, pair_of
from mpi.service.graph import Settled, Survey
from mpi.store.graph import DecisionRow
from mpi.store.records import RecordRow


@dataclass(frozen=True, slots=True)
class Question:
    """A task that ought to be open. ``subject`` names what it is about; ``evidence`` is what a reader would have before them."""

    kind: Kind
    subject: str
    sides: tuple[frozenset[int], ...]
    reason: str
    evidence: tuple[tuple[Any, ...], ...] = field(repr=False)
    is_binding: bool = False
    weight_millibits: int | None = None


TRACE_CONFLICT = "trace-conflict"
"""Why a record is asked about whose NHS number is somebody else's, by the national service."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """A held update: its record, its version, and the records that it reads like instead."""

    record_id: int
    version: int
    reads_like: frozenset[int]


def open_questions(
    found: Survey,
    settled: Settled,
    model: Model,
    forms: Mapping[int, NormalisedRecord],
    overlays: Iterable[Overlay],
    of_history: Iterable[Question],
) -> list[Question]:
    """Return the questions that concern any member of a survey, less those that standing decisions have answered.

    Args:
        forms: the normalised forms of all members and neighbours that share an edge.
        overlays: held updates of members.
        of_history: what history asks: of persons that this change took apart, and what was asked before.
    """
    persons = _Persons.of(found, settled)
    questions = [
        *_between_persons(found, settled, persons, model, forms),
        *_within_persons(found, settled, persons, model, forms),
        *_overlays(overlays),
        *_traced(found.members),
        *of_history,
    ]
    return [question for question in questions if not _is_answered(question, found.decisions)]


@dataclass(frozen=True, slots=True)
class _Persons:
    """Who is whose, members as they are now and neighbours as they stand."""

    person_of: Mapping[int, int]
    records_of: Mapping[int, frozenset[int]]

    @classmethod
    def of(cls, found: Survey, settled: Settled) -> "_Persons":
        person_of = {number: person for number, person in settled.person_of.items() if person is not None}
        for number, row in found.neighbours.items():
            if row.person_id is not None and number not in found.members:
                person_of[number] = row.person_id
        records: dict[int, set[int]] = defaultdict(set)
        for number, person in person_of.items():
            records[person].add(number)
        return cls(person_of, {person: frozenset(numbers) for person, numbers in records.items()})


# Two persons ---------------------------------------------------------------------------------------------------------


def _between_persons(
    found: Survey,
    settled: Settled,
    persons: _Persons,
    model: Model,
    forms: Mapping[int, NormalisedRecord],
) -> Iterable[Question]:
    if len(persons.records_of) < 2:
        return
    pairs: dict[Pair, list[Pair]] = defaultdict(list)
    person_of = persons.person_of
    for low, high in sorted(pair for pair in found.edges if person_of.get(pair[0]) != person_of.get(pair[1])):
        one, other = person_of.get(low), person_of.get(high)
        if one is not None and other is not None:
            pairs[pair_of(one, other)].append((low, high))
    refused = {(one.low_id, one.high_id): one.veto for one in settled.refused}
    for one, other in sorted(pairs):
        sides = (persons.records_of[one], persons.records_of[other])
        if _is_decided_never(sides, found.decisions) or are_vetoed(sides, model, forms):
            continue
        edges = [found.edges[pair] for pair in pairs[one, other]]
        vetoes = sorted({refused[pair] for pair in pairs[one, other] if pair in refused})
        conflicts = {edge.conflict for edge in edges if edge.conflict}
        weight = max(edge.weight_millibits for edge in edges)
        kind, reason = asked_between(vetoes, conflicts)
        evidence: list[tuple[Any, ...]] = [
            ("edge", edge.low_id, edge.high_id, edge.weight_millibits, edge.may_link) for edge in edges
        ]
        evidence += [("refused", code) for code in vetoes]
        yield Question(
            kind=kind,
            subject=f"{one}:{other}",
            sides=sides,
            reason=reason,
            evidence=tuple(evidence),
            # One number on two people who are otherwise unlike binds nobody: the number is the mistake.
            is_binding=weight >= model.thresholds.review,
            weight_millibits=weight,
        )


def _is_decided_never(sides: tuple[frozenset[int], frozenset[int]], decisions: Iterable[DecisionRow]) -> bool:
    """Whether the last decision on any cross pair says that these are two people."""
    last: dict[Pair, str] = {}
    for decision in sorted(decisions, key=lambda row: row.decision_id):
        if decision.verdict == "not-enough":
            continue
        for left, right in ((0, 1), (1, 0)):
            for number in decision.sides[left] & sides[0]:
                for other in decision.sides[right] & sides[1]:
                    last[number, other] = decision.verdict
    return "different" in last.values()


def are_vetoed(
    sides: tuple[frozenset[int], frozenset[int]], model: Model, forms: Mapping[int, NormalisedRecord]
) -> bool:
    """Whether verified numbers or birth orders tell two persons apart: then no clerk is asked, and nothing binds."""
    return any(
        veto(forms[number], forms[other], model) is not None for number in sides[0] for other in sides[1]
    )


# One person ----------------------------------------------------------------------------------------------------------


def _within_persons(
    found: Survey,
    settled: Settled,
    persons: _Persons,
    model: Model,
    forms: Mapping[int, NormalisedRecord],
) -> Iterable[Question]:
    for person in sorted({number for number in settled.person_of.values() if number is not None}):
        records = persons.records_of[person]
        if len(records) == 1:
            continue
        numbers: dict[str, set[int]] = defaultdict(set)
        sources: dict[tuple[str, str], set[int]] = defaultdict(set)
        for number in sorted(records):
            form, row = forms[number], found.members[number]
            if form.number and form.number_state in ("v", "c"):
                numbers[form.number].add(number)
            if row.key.system not in FORM_SYSTEMS:
                sources[row.key.organisation, row.key.system].add(number)
        if (apart := sides_by_number(numbers)) is not None:
            yield _of_their_earliest(Kind.NUMBERS, apart, "numbers-differ")
        for _, same in sorted(sources.items()):
            if (apart := sides_of_source(same)) is not None:
                yield _of_their_earliest(Kind.DUPLICATE, apart, "same-source")
        if len(records) > model.group_limit:
            yield Question(Kind.OUTSIZED, str(person), (records,), "outsized", records_as_evidence(records))


def _of_their_earliest(kind: Kind, apart: tuple[list[int], list[int]], reason: str) -> Question:
    """Name a question after a record that it is about: whoever asks it has that one before them, and every task under its name."""
    sides = (frozenset(apart[0]), frozenset(apart[1]))
    subject = str(min(sides[0] | sides[1]))
    return Question(kind, subject, sides, reason, records_as_evidence(*sides))


def records_as_evidence(*sides: Collection[int]) -> tuple[tuple[Any, ...], ...]:
    return tuple(("record", number, side) for side, group in enumerate(sides) for number in sorted(group))


# What happened -------------------------------------------------------------------------------------------------------


def _overlays(overlays: Iterable[Overlay]) -> Iterable[Question]:
    for overlay in overlays:
        held = frozenset({overlay.record_id})
        sides = (held, overlay.reads_like) if overlay.reads_like else (held,)
        evidence = (("held", overlay.record_id, overlay.version),)
        yield Question(
            Kind.OVERLAY, str(overlay.record_id), sides, "reads-like-another", evidence, is_binding=True
        )


def _traced(members: Mapping[int, RecordRow]) -> Iterable[Question]:
    """Ask of every number that a trace found to be somebody else's. It binds nobody: the number is the mistake."""
    for number, row in sorted(members.items()):
        if row.conflict_trace_id is not None:
            evidence = (("trace", number, row.conflict_trace_id),)
            yield Question(Kind.NUMBERS, f"trace:{number}", (frozenset({number}),), TRACE_CONFLICT, evidence)


def splits_of(members: Mapping[int, RecordRow], settled: Settled) -> list[Question]:
    """Return a question for every person that stood before and is now several."""
    before: dict[int, list[int]] = defaultdict(list)
    for number, row in members.items():
        if row.person_id is not None:
            before[row.person_id].append(number)
    questions = []
    for numbers in before.values():
        groups: dict[int | None, set[int]] = defaultdict(set)
        for number in numbers:
            groups[settled.person_of[number]].add(number)
        if len(groups) > 1:
            ordered = sorted(groups.values(), key=min)
            sides = (frozenset(ordered[0]), frozenset().union(*ordered[1:]))
            questions.append(
                Question(
                    Kind.SPLIT,
                    subject_of(sides),
                    sides,
                    "evidence-apart",
                    records_as_evidence(*sides),
                    is_binding=True,
                )
            )
    return questions


def subject_of(sides: Iterable[Collection[int]]) -> str:
    text = "|".join(",".join(str(number) for number in sorted(side)) for side in sides)
    return blake2b(text.encode(), digest_size=16).hexdigest()


# Answers -------------------------------------------------------------------------------------------------------------


def _is_answered(question: Question, decisions: Iterable[DecisionRow]) -> bool:
    """Whether standing decisions had all this evidence before them."""
    kinds = BETWEEN_PERSONS if question.kind.value in BETWEEN_PERSONS else {question.kind.value}
    seen = {tuple(item) for row in decisions if row.kind in kinds for item in row.evidence}
    return all(item in seen for item in question.evidence)
