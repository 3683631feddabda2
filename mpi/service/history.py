"""Persons as they were at an instant, and all that became of them, in order and in words.

What was erased is told at no instant, and what is withdrawn at none until it is restored. What may be told of the rest is decided as for
the present: each record by the release gate's answer of today for the person whose it is today, and by the protection that it has today.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection

from foundation.audit import events_about
from foundation.errors import Gone, Invalid, NotFound
from foundation.ids import format_id
from foundation.principal import Principal
from mpi.records.past import (
    MembershipChange,
    Span,
    Turn,
    kept_company,
    standing_version,
    turns_of,
    whose,
)
from mpi.service.context import Mpi
from mpi.service.gate import GateRequest, Wanted
from mpi.service.past import versions_then
from mpi.service.persons import lock_persons, resolve_person
from mpi.store import graph as graph_store
from mpi.store import persons as person_store
from mpi.store import records as record_store
from mpi.store.graph import DecisionRow
from mpi.store.records import RecordRow

_INSTANT = timedelta(microseconds=1)
"""The least that two instants differ by."""


@dataclass(frozen=True, slots=True)
class MemberThen:
    """A record of a person at an instant. ``version`` stood for it then; None where a protected location would show when it changed."""

    record_id: int
    organisation: str
    system: str
    local_id: str = field(repr=False)
    version: int | None


@dataclass(frozen=True, slots=True)
class PersonThen:
    """A person at an instant.

    ``person_id`` is the id that stood for it then; None where the record of that id was erased, or is another person's today of whom it
    may not be told. ``has_erased_records``: some that it had are not told, and not how many. ``is_restricted`` is of today. ``members``
    are those that the gate let leave.
    """

    as_at: datetime
    person_id: int | None
    has_identity_warning: bool
    is_restricted: bool
    has_erased_records: bool
    members: tuple[MemberThen, ...] = ()


def get_person_then(
    mpi: Mpi,
    number: int,
    as_at: datetime,
    by: Principal,
    *,
    with_members: bool = False,
    purpose: str | None = None,
) -> PersonThen:
    """Return the person that an id stood for at an instant; what happened at that very instant counts.

    Raises:
        Invalid: ``as-at-future``.
        NotFound: ``person-unknown``; ``person-unknown-then`` where it was nobody's id yet.
        Gone: ``person-gone``: the record was erased, and no instant tells of it.
    """
    refuse_future(mpi, as_at)
    if not with_members:
        with mpi.db.read() as tx:
            found, _, today = person_then(tx, number, as_at)
        # An id that it does not bear today may be another person's now: that they were one is then for the gate to say.
        if found.person_id in (None, number, today):
            return found
    with mpi.db.write() as tx:  # the gate's decisions are audited with the answer
        found, held, today = person_then(tx, number, as_at)
        asked = [one.record_id for one in held if with_members or one.record_id == found.person_id]
        rows, _ = visible_records(tx, mpi, asked, by, "members", purpose)
        if found.person_id not in (number, today, *rows):
            found = replace(found, person_id=None)
        return replace(found, members=_members_then(tx, rows, as_at, by)) if with_members else found


def refuse_future(mpi: Mpi, as_at: datetime) -> None:
    """See that an instant is not to come.

    Raises:
        Invalid: ``as-at-future``.
    """
    if as_at > mpi.clock.now():
        raise Invalid("as-at-future", field="as_at")


def _members_then(
    tx: Connection, rows: Mapping[int, RecordRow], as_at: datetime, by: Principal
) -> tuple[MemberThen, ...]:
    stood = versions_then(tx, rows)
    quiet = _quiet(tx, rows, by)
    return tuple(
        MemberThen(
            row.record_id,
            row.key.organisation,
            row.key.system,
            row.key.local_id,
            None if row.record_id in quiet else standing_version(stood[row.record_id], as_at),
        )
        for _, row in sorted(rows.items())
    )


def person_then(
    tx: Connection, number: int, as_at: datetime
) -> tuple[PersonThen, list[RecordRow], int | None]:
    """Return who an id stood for, the records that it had and that were not erased since, and whom the id stands for today.

    Raises:
        NotFound, Gone: as ``get_person_then``.
    """
    row = record_store.read_records(tx, [number]).get(number)
    if row is None:
        raise NotFound("person-unknown")
    if row.state != "active":
        raise Gone("person-gone")
    person_id = whose(person_store.read_changes(tx, [number]), as_at).get(number)
    if person_id is None:
        raise NotFound("person-unknown-then")
    entrants = {person_id, *person_store.read_entrants(tx, [person_id])}
    holders = whose(person_store.read_changes(tx, entrants), as_at)
    had = [record_id for record_id, holder in holders.items() if holder == person_id]
    rows = record_store.read_records(tx, had)
    held = [rows[record_id] for record_id in sorted(had) if rows[record_id].state == "active"]
    stood = versions_then(tx, {one.record_id: one for one in held})
    found = PersonThen(
        as_at,
        person_id if any(one.record_id == person_id for one in held) else None,
        has_identity_warning=any(one.is_held(as_at) for versions in stood.values() for one in versions),
        is_restricted=bool(record_store.protected_records(tx, [number])),
        has_erased_records=len(held) < len(had),
    )
    return found, held, row.person_id


# What may be told ----------------------------------------------------------------------------------------------------


def visible_records(
    tx: Connection, mpi: Mpi, record_ids: Collection[int], by: Principal, wanted: Wanted, purpose: str | None
) -> tuple[dict[int, RecordRow], frozenset[int]]:
    """Return the records that may be told, each as the gate says of the person whose it is now, and those whose location stays behind."""
    persons = {row.person_id for row in record_store.read_records(tx, record_ids).values()} - {None}
    # All at once and in order, so that two who ask for several never wait for each other.
    lock_persons(tx, {number for number in persons if number is not None}, shared=True)
    by_person: dict[int, list[RecordRow]] = {}
    for row in record_store.read_records(tx, record_ids).values():
        if row.state == "active" and row.person_id is not None:
            by_person.setdefault(row.person_id, []).append(row)
    epochs = person_store.read_epochs(tx, by_person)
    told: dict[int, RecordRow] = {}
    masked: set[int] = set()
    for person_id, rows in sorted(by_person.items()):
        sources = tuple(sorted({row.key.organisation for row in rows}))
        request = GateRequest(by, person_id, epochs.get(person_id, 0), wanted, sources, purpose)
        answer = mpi.release_gate(tx, request)
        let_leave = {row.record_id: row for row in rows if row.key.organisation in answer.sources}
        told |= let_leave
        if answer.masks_location:
            masked |= let_leave.keys()
    return told, frozenset(masked)


def _quiet(tx: Connection, rows: Mapping[int, RecordRow], by: Principal) -> frozenset[int]:
    """Return the records of which it is not told when they changed: others' ones of people whose location is protected."""
    own = {by.organisation, *by.organisations}
    others = [number for number, row in rows.items() if row.key.organisation not in own]
    return record_store.protected_records(tx, others)


# History -------------------------------------------------------------------------------------------------------------

What = Literal[
    "record-received",
    "version-received",
    "version-held",
    "records-linked",
    "persons-merged",
    "person-split",
    "records-moved",
    "record-erased",
    "record-withdrawn",
    "record-merged",
    "decision-made",
    "decision-undone",
]
WHAT: tuple[What, ...] = What.__args__  # type: ignore[attr-defined]

_TURNS: Mapping[str, What] = {
    "linked": "records-linked",
    "merged": "persons-merged",
    "split": "person-split",
    "moved": "records-moved",
}
_LEFT: Mapping[str, What] = {"record-withdrawn": "record-withdrawn", "record-merged": "record-merged"}
"""What is told of a record that is nobody's any more, by cause; of any other that it was erased."""

Place = tuple[datetime, int, int, int]
"""Where an entry stands in a history: its instant, and what sets it apart from others of that instant."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that befell a person.

    Args:
        cause: of records that changed hands, why, as in the events of the index.
        record_ids: the records that it concerns, as far as they may be told.
        from_person_id, person_id: whom records left and came to; None where nobody, or where the record of that id may not be told.
        version: of a version that came.
        verdict, reason: of a decision, or of the one that moved records.
        role: the role in which it was decided or undone, where the log still says so.
        readers: how many people gave that answer.
        organisations: of a merge that was undone, those whose records were in that person: who is to be told.
        says: all this in a sentence.
    """

    what: What
    at: datetime
    place: Place = field(repr=False)
    cause: str | None = None
    record_ids: tuple[int, ...] = ()
    from_person_id: int | None = None
    person_id: int | None = None
    version: int | None = None
    decision_id: int | None = None
    verdict: str | None = None
    reason: str | None = None
    role: str | None = None
    readers: int | None = None
    organisations: tuple[str, ...] = ()
    says: str = ""


def read_history(
    mpi: Mpi,
    number: int,
    by: Principal,
    *,
    purpose: str | None = None,
    after: Place | None = None,
    limit: int | None = None,
) -> list[Entry]:
    """Return what befell the person that an id stands for now, the oldest first, as far as it may be told.

    Its own records count for as long as they are there, others for as long as they were one person with one of them. A decision counts
    where both its sides are among these.

    Raises:
        NotFound: ``person-unknown``.
        Gone: ``person-gone``.
    """
    with mpi.db.write() as tx:  # the gate's decisions are audited with the answer
        found = resolve_person(tx, number)
        if found.state == "gone":
            raise Gone("person-gone")
        if found.state != "current":
            raise NotFound("person-unknown")
        assert found.person_id is not None
        past = _read_past(tx, found.person_id, found.record_ids)
        rows, _ = visible_records(tx, mpi, past.together.keys(), by, "history", purpose)
        entries = [
            *_of_versions(tx, past, rows, by),
            *_of_turns(past, rows),
            *_of_decisions(past, rows),
        ]
        told = sorted(
            (one for one in entries if after is None or one.place > after), key=lambda one: one.place
        )
        page = told if limit is None else told[:limit]
        return [_in_words(one) for one in _with_roles(tx, past, page)]


@dataclass(frozen=True, slots=True)
class _Past:
    """What is known of a person: what befell it, which records were in it and when, and the decisions that name one of these."""

    person_id: int
    members: frozenset[int]
    turns: Sequence[Turn]
    together: Mapping[int, Sequence[Span]]
    decisions: Mapping[int, DecisionRow]


def _read_past(tx: Connection, person_id: int, members: Collection[int]) -> _Past:
    borne = _persons(person_store.read_changes(tx, members))
    entrants = {*members, *borne, *person_store.read_entrants(tx, borne)}
    changes = person_store.read_changes(tx, entrants)
    # Whether a person went on without the records that came from it, only its own record tells.
    others = _persons(changes) - entrants
    changes += person_store.read_changes(tx, others)
    turns = turns_of(changes, members)
    together = kept_company(changes, members)
    decisions = graph_store.read_decisions(tx, together, ("standing", "undone"))
    return _Past(
        person_id,
        frozenset(members),
        turns,
        together,
        {row.decision_id: row for row in decisions},
    )


def _persons(changes: Iterable[MembershipChange]) -> set[int]:
    found = {person for one in changes for person in (one.from_person_id, one.to_person_id)}
    return {person for person in found if person is not None}


def _of_versions(
    tx: Connection, past: _Past, rows: Mapping[int, RecordRow], by: Principal
) -> Iterable[Entry]:
    quiet = _quiet(tx, rows, by)
    for number, versions in versions_then(tx, rows).items():
        for one in versions:
            at = one.received_at
            is_ours = number in past.members or any(span.covers(at) for span in past.together[number])
            if not is_ours or (one.version > 1 and number in quiet):
                continue
            what: What = "version-held" if one.was_held else "version-received"
            yield Entry(
                "record-received" if one.version == 1 else what,
                at,
                (at, 0, number, one.version),
                record_ids=(number,),
                version=one.version,
            )


def _of_turns(past: _Past, rows: Mapping[int, RecordRow]) -> Iterable[Entry]:
    for turn in past.turns:
        shown = tuple(number for number in turn.record_ids if number in rows)
        has_left = turn.became == "left"
        # Of a record that is gone nothing is told but that there was one, and that to nobody who may know none of the others.
        if not (rows if has_left else shown):
            continue
        decision = past.decisions.get(turn.decision_id or 0)
        is_undone_merge = turn.cause == "decision-undone" and turn.became == "split"
        yield Entry(
            _LEFT.get(turn.cause, "record-erased") if has_left else _TURNS[turn.became],
            turn.at,
            (turn.at, 2, turn.change_id, 0),
            cause=turn.cause,
            record_ids=shown,
            from_person_id=_told_id(past, rows, turn.from_person_id),
            person_id=_told_id(past, rows, turn.to_person_id),
            decision_id=decision.decision_id if decision is not None else None,
            organisations=_organisations(turn.beside, rows) if is_undone_merge else (),
        )


def _told_id(past: _Past, rows: Mapping[int, RecordRow], number: int | None) -> int | None:
    """Return a person's id if it may be told: who the person is today anyone may ask, who it was is as the record of that id."""
    return number if number == past.person_id or number in rows else None


def _organisations(record_ids: Iterable[int], rows: Mapping[int, RecordRow]) -> tuple[str, ...]:
    return tuple(sorted({rows[number].key.organisation for number in record_ids if number in rows}))


def _of_decisions(past: _Past, rows: Mapping[int, RecordRow]) -> Iterable[Entry]:
    effects = {turn.decision_id: turn.at for turn in past.turns if turn.cause == "task-decided"}
    for row in past.decisions.values():
        named = [side for side in row.sides if side]
        # A look-alike that was never part of this person is another one's business.
        if not past.members & frozenset().union(*named) or any(not side & rows.keys() for side in named):
            continue
        shown = tuple(sorted(number for side in named for number in side if number in rows))
        # What waited for a second reader took effect with that one's word.
        at = effects.get(row.decision_id, row.decided_at) if row.seconded_by is not None else row.decided_at
        told = Entry(
            "decision-made",
            at,
            (at, 1, row.decision_id, 0),
            record_ids=shown,
            decision_id=row.decision_id,
            verdict=row.verdict,
            reason=row.reason,
            readers=1 if row.seconded_by is None else 2,
        )
        yield told
        if row.undone_at is not None:
            at = row.undone_at
            place = (at, 1, row.decision_id, 1)
            yield replace(told, what="decision-undone", at=at, place=place, readers=None)


def _with_roles(tx: Connection, past: _Past, entries: Iterable[Entry]) -> Iterable[Entry]:
    """Say in which role it was decided: the audit rows of the records that a decision linked or moved bear it."""
    acts = {"decision-made": "task-decided", "decision-undone": "decision-undone"}
    turns = {(turn.decision_id, turn.cause): turn for turn in past.turns}
    for one in entries:
        cause = acts.get(one.what)
        turn = turns.get((one.decision_id, cause)) if cause is not None else None
        if turn is None or turn.to_person_id is None:
            yield one
            continue
        rows = events_about(tx, [turn.to_person_id], turn.at, turn.at + _INSTANT)
        roles = [row.actor_role for row in rows if row.kind == cause and row.actor_role is not None]
        yield replace(one, role=roles[0] if roles else None)


# In words ------------------------------------------------------------------------------------------------------------

_WHY = {
    "record-linked": "by what sources sent",
    "index-relinked": "when the whole index was linked again",
    "task-decided": "by a decision of people",
    "decision-undone": "since a decision was undone",
    "record-erased": "since a record was erased",
    "record-withdrawn": "since a record was withdrawn",
    "record-merged": "since its source merged a record into another",
}
_VERDICTS = {
    "same": "are of one person",
    "different": "are of different people",
    "not-enough": "cannot be told to be of one person or of two",
}


def _in_words(entry: Entry) -> Entry:
    return replace(entry, says=_sentence(entry))


def _sentence(entry: Entry) -> str:
    records = _records(entry.record_ids)
    why = _WHY.get(entry.cause or "", f"by {entry.cause}")
    came, went = _person(entry.person_id), _person(entry.from_person_id)
    match entry.what:
        case "record-received":
            return f"{records} came."
        case "version-received":
            return f"Version {entry.version} of {_uncapped(records)} came."
        case "version-held":
            return f"Version {entry.version} of {_uncapped(records)} came and was held: it read like another person."
        case "records-linked":
            if entry.record_ids == (entry.person_id,):
                return f"{records} became {came}, {why}."
            return f"{records} joined {came}, {why}."
        case "persons-merged":
            return f"{_capped(went)} became part of {came}, with {_uncapped(records)}, {why}."
        case "person-split":
            left = f"{records} left {went} and became {came}, {why}."
            if not entry.organisations:
                return left
            return f"{left} Organisations with records in it until then: {', '.join(entry.organisations)}."
        case "records-moved":
            return f"{records} went from {went} to {came}, {why}."
        case "record-erased":
            return "A record of this person was erased."
        case "record-withdrawn":
            return f"{_which(entry)} was withdrawn."
        case "record-merged":
            return f"{_which(entry)} was merged by its source into another."
        case "decision-made":
            readers = "Two readers" if entry.readers == 2 else "A reader"
            return f"{readers} decided that {_decided(entry)} ({entry.reason})."
        case "decision-undone":
            return f"The decision that {_decided(entry)} was undone."


def _which(entry: Entry) -> str:
    return _records(entry.record_ids) if entry.record_ids else "A record of this person"


def _decided(entry: Entry) -> str:
    if len(entry.record_ids) == 1:
        fate = "is of the same person" if entry.verdict == "same" else "is of another person"
        return f"what was held of {_uncapped(_records(entry.record_ids))} {fate}"
    return f"{_uncapped(_records(entry.record_ids))} {_VERDICTS.get(entry.verdict or '', '')}"


def _records(ids: Sequence[int]) -> str:
    return f"Record{'' if len(ids) == 1 else 's'} {', '.join(map(format_id, ids))}"


def _person(number: int | None) -> str:
    return "a person who may not be named" if number is None else f"person {format_id(number)}"


def _capped(words: str) -> str:
    return words[0].upper() + words[1:]


def _uncapped(words: str) -> str:
    return words[0].lower() + words[1:]
