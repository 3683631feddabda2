"""Notices: when persons that were one are so no longer, which organisations are to be told, and who saw what while they stood as one.

They follow from the history of persons and from the audit log, so a worker that dies loses none and one that works twice doubles none. What
is told to whom, people say and do: this service sends nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from consent.service import trail
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.service.staff import theirs
from consent.store import notices as store
from consent.store.erasure import ERASED
from consent.store.notices import MemberRow, MergeRow, NoticeRow
from foundation.audit import AuditEvent, events_about
from foundation.errors import Conflict, Invalid, NotFound
from foundation.ids import format_id, new_id
from foundation.outbox import Event, Sink
from foundation.principal import SYSTEM_ITSELF, Principal
from mpi.records.past import UndoneMerge
from mpi.service.persons import resolve_person, resolve_records
from mpi.service.undone import organisations_of, persons_ever_left, read_undone_merges, records_of_id

MEANS = ("letter", "telephone", "e-mail", "meeting", "other")
"""How an organisation can be told."""

REASONS = ("told-otherwise", "nothing-shown", "organisation-closed", "other")
"""Why an organisation need not be told; ``other`` in the officer's words."""

LONGEST_NOTE = 500
SETTLED = timedelta(minutes=5)
"""After this time nothing is written any more that was asked before: then it is counted once more who looked."""

_LOOKS_AT_ONCE = 50
_ROWS_AT_ONCE = 1_000
_SWITCHED = "index.switched"
_TOPICS = frozenset({"person.split", "person.merged", _SWITCHED})
_SHOWS = frozenset({"decision", "release", "redemption", "redemption-repeated", "gate", "person-searched"})
"""Acts in the audit log by which somebody was shown something of a person, or was told that it may be."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as an officer works with it.

    ``state`` is ``merged-again`` of an open one whose persons are one again. ``why``: ``held-a-record``, ``saw-it``. ``person_ids``: whose
    the records are now.
    """

    notice_id: int
    merge_id: int
    organisation: str
    why: tuple[str, ...]
    views: int
    users: int
    state: str
    version: int
    cause: str
    decision_id: int | None
    person_id: int
    person_ids: tuple[int, ...]
    stood_from: datetime
    stood_until: datetime
    opened_at: datetime
    means: str | None
    told_at: datetime | None
    reason: str | None
    note: str | None = field(repr=False)
    changed_by: str | None
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Shown:
    category: str
    source: str


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at persons that stood as one.

    ``shown`` is empty where who it is was all that was told, and where a redemption was repeated: what it showed stands with the first.
    """

    event_id: int
    at: datetime
    kind: str
    organisation: str | None
    user_id: str | None = field(repr=False)
    role: str | None
    client_id: str | None
    purpose: str | None
    person_id: int | None
    shown: tuple[Shown, ...]


# What follows from the index -----------------------------------------------------------------------------------------


def watch_partings(consent: Consent) -> Sink:
    """Return the sink that notes whose history is to be looked at; what is brought again is noted once."""

    def note(events: Sequence[Event]) -> bool:
        told = [one for one in events if one.topic in _TOPICS]
        if not told:
            return True
        persons = {
            (one.sequence, int(one.payload[name]))
            for one in told
            if one.topic != _SWITCHED
            for name in ("person_id", "into_person_id")
        }
        switches = [one.sequence for one in told if one.topic == _SWITCHED]
        if switches:
            with consent.db.read() as tx:
                persons |= {(switches[-1], number) for number in persons_ever_left(tx)}
        with consent.db.write() as tx:
            noted = store.hold_mark(tx)
            store.add_looks(tx, {number for sequence, number in persons if sequence > noted})
            store.write_mark(tx, max(noted, told[-1].sequence))
        return True

    return note


def tend_notices(consent: Consent, limit: int = 500) -> int:
    """Find merges that were undone or made again, and count who looked while they stood; return how many were looked at or counted."""
    done = 0
    while done < limit and (looked := taken_again(consent, lambda tx: _look(tx, consent))):
        done += looked
    while done < limit and taken_again(consent, lambda tx: _count(tx, consent)):
        done += 1
    return done


def _look(tx: Connection, consent: Consent) -> int:
    looks = store.take_looks(tx, _LOOKS_AT_ONCE)
    for person_id in sorted(set(looks.values())):
        for one in read_undone_merges(tx, person_id):
            _keep(tx, one)
        _follow(tx, consent, records_of_id(tx, person_id))
    if looks:
        store.remove_looks(tx, looks)
    return len(looks)


def _keep(tx: Connection, merge: UndoneMerge) -> None:
    part_of = {number: part for part, numbers in merge.parts.items() for number in numbers}
    organisations = organisations_of(tx, {*merge.stood, *part_of})
    row = MergeRow(
        merge.change_id,
        merge.person_id,
        merge.cause,
        merge.decision_id,
        merge.since,
        merge.at,
        count_at=merge.at,
    )
    members = [MemberRow(number, code, part_of.get(number)) for number, code in organisations.items()]
    store.add_merge(tx, row, members)


def _follow(tx: Connection, consent: Consent, record_ids: Collection[int]) -> None:
    """See whether persons that had come apart are one again, and the other way."""
    merges = store.read_merges_of(tx, record_ids)
    members = store.read_members(tx, [one.merge_id for one in merges])
    for one in merges:
        is_one = _is_one_again(tx, members[one.merge_id])
        if is_one == (one.rejoined_at is not None):
            continue
        now = consent.clock.now()
        store.change_merge(tx, one.merge_id, rejoined_at=now if is_one else None)
        kind = "notices-closed" if is_one else "notices-opened-again"
        detail = {"merge_id": format_id(one.merge_id)}
        trail.append(tx, kind, SYSTEM_ITSELF, now, person_id=one.person_id, detail=detail)


def _is_one_again(tx: Connection, members: Iterable[MemberRow]) -> bool:
    part_of = {one.record_id: one.part for one in members if one.part is not None}
    holders = {
        number: holder for number, holder in resolve_records(tx, part_of).items() if holder is not None
    }
    return len({part_of[number] for number in holders}) > 1 and len(set(holders.values())) == 1


def _count(tx: Connection, consent: Consent) -> bool:
    """Count who looked at the next merge of which it is due; False where none is."""
    now = consent.clock.now()
    merge = store.take_merge(tx, now)
    if merge is None:
        return False
    looks: dict[str, set[tuple[str | None, datetime]]] = defaultdict(set)
    for row in _rows(tx, merge):
        if row.organisation is not None:
            looks[row.organisation].add((row.actor_id, row.at.replace(minute=0, second=0, microsecond=0)))
    (members,) = store.read_members(tx, [merge.merge_id]).values()
    held = {one.organisation for one in members}
    fresh = store.put_notices(
        tx,
        [
            NoticeRow(
                notice_id=new_id(),
                merge_id=merge.merge_id,
                organisation=code,
                held_record=code in held,
                views=len(looks[code]),
                users=len({user for user, _ in looks[code]}),
                state="open",
                version=1,
                opened_at=now,
            )
            for code in sorted({*held, *looks})
        ],
    )
    settles_at = merge.stood_until + SETTLED
    store.change_merge(tx, merge.merge_id, count_at=settles_at if now < settles_at else None)
    if fresh:
        detail = {"merge_id": format_id(merge.merge_id), "notices": fresh}
        trail.append(tx, "notices-opened", SYSTEM_ITSELF, now, person_id=merge.person_id, detail=detail)
    return True


def _rows(
    tx: Connection,
    merge: MergeRow,
    *,
    after: int = 0,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[AuditEvent]:
    """Yield what was recorded of looks at a merge while it stood, in order: what an id stood for then, its record's history says."""
    found = _history_of(tx, merge)
    since = merge.stood_from if since is None else max(since, merge.stood_from)
    until = merge.stood_until if until is None else min(until, merge.stood_until)
    if found is None or since >= until:
        return
    while True:
        rows = events_about(tx, found.stood, since, until, kinds=_SHOWS, after=after, limit=_ROWS_AT_ONCE)
        yield from (row for row in rows if row.person_id is not None and found.covers(row.person_id, row.at))
        if len(rows) < _ROWS_AT_ONCE:
            return
        after = rows[-1].event_id


def _history_of(tx: Connection, merge: MergeRow) -> UndoneMerge | None:
    merges = read_undone_merges(tx, merge.person_id)
    return next((one for one in merges if one.change_id == merge.merge_id), None)


# Working through them ------------------------------------------------------------------------------------------------


def list_notices(
    consent: Consent,
    by: Principal,
    *,
    state: str = "open",
    organisation: str | None = None,
    person_id: int | None = None,
    after: tuple[int, int] | None = None,
    limit: int = 100,
) -> list[Notice]:
    """Return the notices of the officer's organisations, those of the oldest merge first; the reading is audited.

    Args:
        state: ``open``, ``told``, ``not-needed``, ``merged-again``, ``all``.
        organisation: only of this one.
        person_id: only of merges with a record that this person has now.
        after: merge and notice of the last one of the page before.
    """

    def take(tx: Connection) -> list[Notice]:
        own = theirs(by)
        chosen = (
            own if organisation is None else {organisation} & (own if own is not None else {organisation})
        )
        records = None if person_id is None else {person_id, *resolve_person(tx, person_id).record_ids}
        found = store.list_notices(tx, chosen, state=state, record_ids=records, after=after, limit=limit)
        detail = {"notices": len(found), "state": state}
        trail.append(tx, "notices-read", by, consent.clock.now(), detail=detail)
        return _told(tx, found)

    return taken_again(consent, take)


def get_notice(consent: Consent, notice_id: int, by: Principal) -> Notice:
    """Return one notice; the reading is audited.

    Raises:
        NotFound: ``notice-unknown``, also for another organisation's.
    """

    def take(tx: Connection) -> Notice:
        found = _find(tx, notice_id, by)
        detail = {"notices": 1, "notice_id": format_id(notice_id)}
        trail.append(tx, "notices-read", by, consent.clock.now(), detail=detail)
        return _told(tx, [found])[0]

    return taken_again(consent, take)


def note_told(
    consent: Consent,
    notice_id: int,
    by: Principal,
    *,
    means: str,
    told_at: datetime | None = None,
    note: str | None = None,
    if_match: int | None = None,
) -> Notice:
    """Note that an organisation was told, how, and when.

    Args:
        told_at: now, where nobody says.
        if_match: the version that the officer read.

    Raises:
        NotFound: ``notice-unknown``. Invalid: ``means-unknown``, ``told-at-future``, ``told-too-early`` before the merge was undone,
            ``note-format``.
        Conflict: ``notice-stale``, ``notice-settled`` where somebody told them or said that it is not needed, ``notice-merged-again``.
    """
    if means not in MEANS:
        raise Invalid("means-unknown", field="means")
    words = _words(note)

    def change(row: NoticeRow, merge: MergeRow, now: datetime) -> dict[str, Any]:
        _need_open(row, merge)
        at = told_at or now
        if at > now:
            raise Invalid("told-at-future", field="told_at")
        if at < merge.stood_until:
            raise Invalid("told-too-early", field="told_at")
        return {"state": "told", "means": means, "told_at": at, "note": words}

    return _change(consent, notice_id, by, "notice-told", {"means": means}, change, if_match)


def note_not_needed(
    consent: Consent,
    notice_id: int,
    by: Principal,
    *,
    reason: str,
    note: str | None = None,
    if_match: int | None = None,
) -> Notice:
    """Note that an organisation need not be told, and why.

    Raises:
        NotFound, Conflict: as ``note_told``. Invalid: ``reason-unknown``, ``note-format``, ``note-missing`` where the reason is ``other``.
    """
    if reason not in REASONS:
        raise Invalid("reason-unknown", field="reason")
    words = _words(note)
    if reason == "other" and words is None:
        raise Invalid("note-missing", field="note")

    def change(row: NoticeRow, merge: MergeRow, now: datetime) -> dict[str, Any]:
        _need_open(row, merge)
        return {"state": "not-needed", "reason": reason, "note": words}

    return _change(consent, notice_id, by, "notice-not-needed", {"reason": reason}, change, if_match)


def reopen_notice(
    consent: Consent,
    notice_id: int,
    by: Principal,
    *,
    note: str | None = None,
    if_match: int | None = None,
) -> Notice:
    """Take back that an organisation was told or need not be; what was said of it stays in the audit log.

    Raises:
        NotFound: ``notice-unknown``. Invalid: ``note-format``. Conflict: ``notice-stale``, ``notice-open``.
    """
    words = _words(note)

    def change(row: NoticeRow, merge: MergeRow, now: datetime) -> dict[str, Any]:
        if row.state == "open":
            raise Conflict("notice-open", ids={"notice_id": format_id(row.notice_id)})
        return {"state": "open", "means": None, "told_at": None, "reason": None, "note": words}

    return _change(consent, notice_id, by, "notice-reopened", {}, change, if_match)


def _words(note: str | None) -> str | None:
    words = (note or "").strip()
    if len(words) > LONGEST_NOTE or not words.isprintable():
        raise Invalid("note-format", field="note")
    return words or None


def _need_open(row: NoticeRow, merge: MergeRow) -> None:
    ids = {"notice_id": format_id(row.notice_id)}
    if row.state != "open":
        raise Conflict("notice-settled", ids=ids)
    if merge.rejoined_at is not None:
        raise Conflict("notice-merged-again", ids=ids)


def _change(
    consent: Consent,
    notice_id: int,
    by: Principal,
    kind: str,
    told: dict[str, str],
    change: Callable[[NoticeRow, MergeRow, datetime], dict[str, Any]],
    if_match: int | None,
) -> Notice:
    def take(tx: Connection) -> Notice:
        row, merge = _find(tx, notice_id, by, holds=True)
        if if_match is not None and if_match != row.version:
            ids = {"notice_id": format_id(notice_id), "version": str(row.version)}
            raise Conflict("notice-stale", ids=ids)
        now = consent.clock.now()
        values = change(row, merge, now)
        store.change_notice(
            tx, notice_id, **values, version=row.version + 1, changed_by=by.id, changed_at=now
        )
        detail = {"notice_id": format_id(notice_id), "merge_id": format_id(merge.merge_id), **told}
        if values.get("told_at") is not None:
            detail["told_at"] = values["told_at"].isoformat()
        detail["organisation"] = row.organisation
        trail.append(tx, kind, by, now, person_id=merge.person_id, detail=detail)
        return _told(tx, [_find(tx, notice_id, by)])[0]

    return taken_again(consent, take)


def _find(
    tx: Connection, notice_id: int, by: Principal, *, holds: bool = False
) -> tuple[NoticeRow, MergeRow]:
    found, own = store.find_notice(tx, notice_id, holds=holds), theirs(by)
    if found is None or (own is not None and found[0].organisation not in own):
        raise NotFound("notice-unknown")
    return found


def _told(tx: Connection, found: Sequence[tuple[NoticeRow, MergeRow]]) -> list[Notice]:
    members = store.read_members(tx, {merge.merge_id for _, merge in found})
    holders = resolve_records(tx, {one.record_id for some in members.values() for one in some})
    return [
        Notice(
            row.notice_id,
            merge.merge_id,
            row.organisation,
            ("held-a-record",) * row.held_record + ("saw-it",) * (row.views > 0),
            row.views,
            row.users,
            "merged-again" if row.state == "open" and merge.rejoined_at is not None else row.state,
            row.version,
            merge.cause,
            merge.decision_id,
            merge.person_id,
            _persons(holders, members[merge.merge_id]),
            merge.stood_from,
            merge.stood_until,
            row.opened_at,
            row.means,
            row.told_at,
            row.reason,
            row.note,
            row.changed_by,
            row.changed_at,
        )
        for row, merge in found
    ]


def _persons(holders: dict[int, int | None], members: Iterable[MemberRow]) -> tuple[int, ...]:
    found = {holders.get(one.record_id) for one in members if one.part is not None}
    return tuple(sorted(number for number in found if number is not None))


# Who saw what --------------------------------------------------------------------------------------------------------


def who_saw(
    consent: Consent,
    merge_id: int,
    by: Principal,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    organisation: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[Sight]:
    """Return every look at an undone merge while it stood, by users of the officer's organisations, in order; the reading is audited.

    A look is an act by which somebody was shown something, was told that it may be, or was told who it is.

    Args:
        since, until: only of this time; ``until`` left out.
        organisation: only by users of this one.
        after: the event of the last look of the page before.

    Raises:
        NotFound: ``merge-unknown``, also where none of the officer's organisations has a notice of it.
    """

    def take(tx: Connection) -> list[Sight]:
        own = theirs(by)
        merge = store.find_merge(tx, merge_id)
        if merge is None or not store.list_notices(tx, own, state="all", merge_id=merge_id, limit=1):
            raise NotFound("merge-unknown")
        sights: list[Sight] = []
        for row in _rows(tx, merge, after=after, since=since, until=until):
            if (own is None or row.organisation in own) and organisation in (None, row.organisation):
                sights.append(_sight(row))
                if len(sights) == limit:
                    break
        trail.append(
            tx,
            "who-saw-read",
            by,
            consent.clock.now(),
            person_id=merge.person_id,
            detail={"merge_id": format_id(merge_id), "looks": len(sights)},
        )
        return sights

    return taken_again(consent, take)


def _sight(row: AuditEvent) -> Sight:
    return Sight(
        row.event_id,
        row.at,
        row.kind,
        row.organisation,
        row.actor_id,
        row.actor_role,
        row.client_id,
        row.purpose,
        row.person_id,
        tuple(Shown(*one) for one in sorted(set(_shown(row)))),
    )


def _shown(row: AuditEvent) -> Iterator[tuple[str, str]]:
    """Yield category and source of what an act showed; of what the index tells, what was wanted of it stands for the category."""
    detail = row.detail or {}
    if row.kind == "gate":
        yield from ((str(detail.get("wanted")), str(source)) for source in detail.get("told", ()))
    elif row.kind.startswith("redemption"):
        yield from ((str(category), str(source)) for _, category, _, source in detail.get("items", ()))
    else:
        for source, by_label in detail.get("permitted", {}).items():
            for categories in by_label.values():
                yield from ((str(category), str(source)) for category in categories)


# Erasure -------------------------------------------------------------------------------------------------------------


def forget_record(tx: Connection, record_id: int, blanked: Callable[[str | None], bool]) -> int:
    """Let go of a record that is erased: where it was all for which an organisation was to be told, it no longer is.

    Args:
        blanked: whether words quote what is erased, and must go.

    Returns how many notes were blanked.
    """
    merges = store.read_merges_of(tx, [record_id])
    store.remove_member(tx, record_id)
    notes = 0
    for merge in merges:
        (members,) = store.read_members(tx, [merge.merge_id]).values()
        held = {one.organisation for one in members}
        gone = []
        for row, _ in store.list_notices(tx, None, state="all", merge_id=merge.merge_id):
            values: dict[str, Any] = {}
            if row.held_record and row.organisation not in held:
                values["held_record"] = False
                if not row.views and row.state == "open":
                    gone.append(row.notice_id)
                    continue
            if blanked(row.note):
                values["note"] = ERASED
                notes += 1
            if values:
                store.change_notice(tx, row.notice_id, **values)
        store.remove_notices(tx, gone)
    return notes
