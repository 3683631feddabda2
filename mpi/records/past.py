"""What was so at an instant: whose each record was, which of its versions stood, and what became of persons in between.

Whatever happened at an instant counts from that instant on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """A record left one person (None: it was nobody's) for another (None: it is nobody's)."""

    change_id: int
    record_id: int
    from_person_id: int | None
    to_person_id: int | None
    cause: str
    decision_id: int | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """From an instant until another, that one left out; None while it lasts."""

    since: datetime
    until: datetime | None

    def covers(self, at: datetime) -> bool:
        return self.since <= at and (self.until is None or at < self.until)


def in_order(changes: Iterable[MembershipChange]) -> list[MembershipChange]:
    """Return changes in the order in which they count, none earlier than the one before it of the same record.

    Ids are given in the order in which a record's changes are made. Its instants follow them; one that does not, since a clock went
    back, is read as that of the change before.
    """
    last: dict[int, datetime] = {}
    found = []
    for change in sorted(changes, key=lambda one: one.change_id):
        at = max(change.changed_at, last.get(change.record_id, change.changed_at))
        last[change.record_id] = at
        found.append(replace(change, changed_at=at))
    return sorted(found, key=lambda one: (one.changed_at, one.change_id))


def whose(changes: Iterable[MembershipChange], at: datetime) -> dict[int, int | None]:
    """Return for each record that had come by an instant whose it was then; None where it was nobody's."""
    return {one.record_id: one.to_person_id for one in in_order(changes) if one.changed_at <= at}


# Versions ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ruling:
    """What people decided of a version that was held, and while it stood."""

    stood: Span
    is_accepted: bool


@dataclass(frozen=True, slots=True)
class PastVersion:
    """A version of a record. ``was_held``: it read like another person, and counts only while a ruling accepts it."""

    version: int
    source_at: datetime
    received_at: datetime
    was_held: bool = False
    rulings: Sequence[Ruling] = ()

    def is_accepted(self, at: datetime) -> bool:
        if self.received_at > at:
            return False
        return not self.was_held or any(one.is_accepted and one.stood.covers(at) for one in self.rulings)

    def is_held(self, at: datetime) -> bool:
        return (
            self.was_held and self.received_at <= at and not any(one.stood.covers(at) for one in self.rulings)
        )


def standing_version(versions: Iterable[PastVersion], at: datetime) -> int | None:
    """Return the version that stood for a record: of those accepted by then the latest by the source's time, ties by arrival."""
    accepted = [one for one in versions if one.is_accepted(at)]
    return max(accepted, key=lambda one: (one.source_at, one.version)).version if accepted else None


# What became of persons ----------------------------------------------------------------------------------------------

Became = Literal["linked", "merged", "split", "moved", "left"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Records that one act took from one person to another.

    ``linked``: they were nobody's. ``split``: the person that they came to began with it. ``merged``: the person that they left ended
    with it. ``moved``: both stood before and after. ``left``: they are nobody's any more, for a time or for good.

    Args:
        change_id: the earliest of its changes, by which turns of one instant are in order.
        beside: every record known to have been in the person that they left, just before.
    """

    became: Became
    at: datetime
    change_id: int
    cause: str
    decision_id: int | None
    from_person_id: int | None
    to_person_id: int | None
    record_ids: tuple[int, ...]
    beside: tuple[int, ...] = ()


def turns_of(changes: Iterable[MembershipChange], members: Iterable[int]) -> list[Turn]:
    """Return what befell the persons that these records were in, in order.

    A change counts if its record is one of them, came from a person that just then held one of them, or came to one that from then on did.
    So a person who was wrongly part of another for a day keeps that day, and nothing of before or after it.

    Args:
        changes: those of the members, and of every record that was ever in a person of theirs.
    """
    ours = frozenset(members)
    holder: dict[int, int | None] = {}
    turns: list[Turn] = []
    for act in _acts(in_order(changes)):
        before = {holder.get(number) for number in ours} - {None}
        beside = _by_person(holder)
        holder |= {one.record_id: one.to_person_id for one in act}
        after = {holder.get(number) for number in ours} - {None}
        counted = [
            one
            for one in act
            if one.record_id in ours or one.from_person_id in before or one.to_person_id in after
        ]
        turns += _turns(counted, act, beside)
    return turns


def kept_company(changes: Iterable[MembershipChange], members: Iterable[int]) -> dict[int, list[Span]]:
    """Return for each record that was ever in one person with any of these the spans in which it was; for themselves, since they came."""
    ours = frozenset(members)
    holder: dict[int, int | None] = {}
    spans: dict[int, list[Span]] = {}
    for act in _acts(in_order(changes)):
        holder |= {one.record_id: one.to_person_id for one in act}
        persons = {holder.get(number) for number in ours} - {None}
        for number, person in holder.items():
            is_beside = person in persons
            known = spans.setdefault(number, [])
            is_open = bool(known) and known[-1].until is None
            if is_beside and not is_open:
                known.append(Span(act[0].changed_at, None))
            elif is_open and not is_beside:
                known[-1] = Span(known[-1].since, act[0].changed_at)
    return {number: known for number, known in spans.items() if known}


@dataclass(frozen=True, slots=True)
class UndoneMerge:
    """A person whose records one act gave to several: they were one, and are so no longer.

    Args:
        change_id: the earliest of the changes by which records left, which names it for good.
        person_id: whose the records were.
        since, at: from when on records of two of its parts were in one person without a break, and when they came apart.
        parts: the records by the person that they came to, or stayed with. There are two or more.
        stood: when each record was in one person with records of two parts, of those too that had left before they came apart.
    """

    change_id: int
    person_id: int
    since: datetime
    at: datetime
    cause: str
    decision_id: int | None
    parts: Mapping[int, Sequence[int]]
    stood: Mapping[int, Sequence[Span]]

    def covers(self, record_id: int, at: datetime) -> bool:
        """Whether who looked at this record's person at that instant looked at several who are none."""
        return any(span.covers(at) for span in self.stood.get(record_id, ()))


def undone_merges(changes: Iterable[MembershipChange], person_id: int) -> list[UndoneMerge]:
    """Return how often a person came apart, in order. Records that were erased are of no part.

    Args:
        changes: those of every record that was ever in it, or in a person with one of these.
    """
    acts = list(_acts(in_order(changes)))
    holder: dict[int, int | None] = {}
    found = []
    for place, act in enumerate(acts):
        had = sorted(number for number, holds in holder.items() if holds == person_id)
        left = [one for one in act if one.from_person_id == person_id]
        holder |= {one.record_id: one.to_person_id for one in act}
        parts: dict[int, list[int]] = {}
        for number in had:
            if (came_to := holder[number]) is not None:
                parts.setdefault(came_to, []).append(number)
        if not left or len(parts) < 2:
            continue
        first = min(left, key=lambda one: one.change_id)
        since, stood = _stood_as_one(acts[: place + 1], parts)
        found.append(
            UndoneMerge(
                first.change_id,
                person_id,
                since,
                first.changed_at,
                first.cause,
                first.decision_id,
                {person: tuple(numbers) for person, numbers in sorted(parts.items())},
                stood,
            )
        )
    return found


def _stood_as_one(
    acts: Sequence[Sequence[MembershipChange]], parts: Mapping[int, Iterable[int]]
) -> tuple[datetime, dict[int, tuple[Span, ...]]]:
    """Return since when records of two parts were in one person until the last act, and when each record was in such a person."""
    part_of = {number: part for part, numbers in parts.items() for number in numbers}
    apart_at = since = acts[-1][0].changed_at
    holder: dict[int, int | None] = {}
    begun: dict[int, datetime] = {}
    spans: dict[int, list[Span]] = {}
    for act in acts[:-1]:
        at = act[0].changed_at
        holder |= {one.record_id: one.to_person_id for one in act}
        held: dict[int | None, set[int]] = {}
        for number, part in part_of.items():
            held.setdefault(holder.get(number), set()).add(part)
        mixed = {person for person, some in held.items() if person is not None and len(some) > 1}
        if not mixed:  # what was before is another merge, and told as that
            begun, spans = {}, {}
            continue
        since = at if not begun else since
        inside = {number for number, person in holder.items() if person in mixed}
        for number in begun.keys() - inside:
            spans.setdefault(number, []).append(Span(begun.pop(number), at))
        for number in inside:
            begun.setdefault(number, at)
    for number, at in begun.items():
        spans.setdefault(number, []).append(Span(at, apart_at))
    return since, {number: tuple(known) for number, known in sorted(spans.items())}


def _acts(changes: Iterable[MembershipChange]) -> Iterator[list[MembershipChange]]:
    """Put together what was written at once: of one instant and decision, each record once."""
    act: dict[int, MembershipChange] = {}
    last: tuple[datetime, int | None] | None = None
    for change in changes:
        name = (change.changed_at, change.decision_id)
        if act and (name != last or change.record_id in act):
            yield list(act.values())
            act = {}
        act[change.record_id] = change
        last = name
    if act:
        yield list(act.values())


def _by_person(holder: Mapping[int, int | None]) -> dict[int | None, list[int]]:
    found: dict[int | None, list[int]] = {}
    for number, person in sorted(holder.items()):
        found.setdefault(person, []).append(number)
    return found


def _turns(
    counted: Iterable[MembershipChange],
    act: Iterable[MembershipChange],
    beside: Mapping[int | None, Sequence[int]],
) -> Iterator[Turn]:
    came_from = {one.record_id: one.from_person_id for one in act}
    together: dict[tuple[int | None, int | None, str], list[MembershipChange]] = {}
    for one in counted:
        together.setdefault((one.from_person_id, one.to_person_id, one.cause), []).append(one)
    for (before, after, cause), changes in together.items():
        first = changes[0]
        yield Turn(
            _became(before, after, came_from),
            first.changed_at,
            first.change_id,
            cause,
            first.decision_id,
            before,
            after,
            tuple(sorted(one.record_id for one in changes)),
            tuple(beside.get(before, ())) if before is not None else (),
        )


def _became(before: int | None, after: int | None, came_from: Mapping[int, int | None]) -> Became:
    # An id stands for a person as long as the person holds the record of that id, its earliest.
    if before is None:
        return "linked"
    if after is None:
        return "left"
    if came_from.get(after) == before:
        return "split"
    return "merged" if came_from.get(before) == before else "moved"
