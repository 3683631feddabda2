"""Looking through the sealed log, from a cursor, for views that somebody should ask about, unless care explains them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from consent.facts.hours import WorkingHours
from consent.facts.staff import NEEDS, Marks, StaffFile
from consent.rules.hours import is_outside
from consent.rules.watch import CELEBRITY, OUT_OF_HOURS, in_order, is_explainable, rank_of, signals_of
from consent.service.asking import SYSTEM_ROLE
from consent.service.celebrities import listed_among
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.service.probing import watch_searches
from consent.service.raising import REMEMBERED
from consent.service.staff import KEY, marks_of, user_mark
from consent.service.volume import watch_volume
from consent.store import alerts as store
from consent.store import care as care_store
from consent.store import hours as hours_store
from consent.store import staff as staff_store
from consent.store import usage as usage_store
from consent.store.alerts import Alert
from consent.store.probing import read_searches
from consent.store.usage import SeenRow
from foundation.directory import with_ancestors
from foundation.ids import new_id
from foundation.keyed import find_key
from mpi.service.persons import resolve_person
from mpi.service.whole import WholePerson, read_whole_person

AT_ONCE = 2_000
"""Rows of the log that one transaction looks through."""

_BEFORE, _AFTER = timedelta(days=1), timedelta(days=7)
"""How long before care begins, and after it ended, a look is taken for a part of it."""

_EXPLAINED_WITHIN = timedelta(days=7)
"""How long an open alert waits for care that is only told of later."""

_SETTLED = timedelta(days=90)
"""How long a review that found a look legitimate covers the same signals of the same user and person."""

_TOLD_AT_ONCE = 500

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class _OnFile:
    """What is on file to hold looks against: staff and hours by organisation, each good for its sites too; and celebrities, since when."""

    staff: Mapping[str, StaffFile]
    hours: Mapping[str, WorkingHours]
    listed: Mapping[int, datetime] = field(repr=False)
    key: bytes | None = field(repr=False)
    lineages: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def staff_of(self, tx: Connection, organisation: str) -> StaffFile | None:
        return self._nearest(tx, organisation, self.staff)

    def hours_of(self, tx: Connection, organisation: str) -> WorkingHours | None:
        return self._nearest(tx, organisation, self.hours)

    def _nearest(self, tx: Connection, organisation: str, files: Mapping[str, F]) -> F | None:
        if organisation not in self.lineages:
            self.lineages[organisation] = with_ancestors(tx, organisation)
        return next((files[code] for code in self.lineages[organisation] if code in files), None)


def watch_views(consent: Consent, at_once: int = AT_ONCE) -> int:
    """Look through the next rows of the sealed log and raise what they give; return how many rows were looked at.

    The cursor moves in the transaction that raises, so that each view is looked at once. How many people each user sees is counted on the
    way, and so is how many searches are about one person. Without a file of the viewer's organisation, or of one that it is a part of,
    nothing is held against it, and a file that comes later is not held to what was seen before it.
    """

    def take(tx: Connection) -> int:
        mark = store.hold_mark(tx)
        reached, seen = usage_store.read_sealed(tx, mark, at_once)
        if reached.leaf_index == mark.leaf_index:
            return 0
        staff = {one.organisation: one for one in staff_store.read_files(tx)}
        hours = {one.organisation: one for one in hours_store.read_hours(tx)}
        viewed = {one.person_id for one in seen if one.person_id is not None}
        listed = listed_among(tx, viewed)
        if staff or hours or listed:
            key = find_key(tx, KEY) if staff else None
            _look(tx, consent, _OnFile(staff, hours, listed, key), seen)
        now = consent.clock.now()
        watch_volume(tx, seen, mark.counted_until, reached.counted_until, now)
        searches = read_searches(tx, mark.leaf_index, reached.leaf_index)
        watch_searches(tx, searches, consent.probing, reached.counted_until, now)
        store.write_mark(tx, reached)
        return reached.leaf_index - mark.leaf_index

    return taken_again(consent, take)


def _look(tx: Connection, consent: Consent, on_file: _OnFile, seen: Iterable[SeenRow]) -> None:
    looks: dict[int, dict[tuple[str, str], list[SeenRow]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(seen, key=lambda one: one.event_id):
        if one.user_id is not None and one.person_id is not None:
            looks[one.person_id][one.organisation, one.user_id].append(one)
    for person_id, by_user in sorted(looks.items()):
        whole: WholePerson | None = None
        for (organisation, user_id), views in sorted(by_user.items()):
            file, hours = on_file.staff_of(tx, organisation), on_file.hours_of(tx, organisation)
            compared = next((one for one in views if file and one.at >= file.stands_since), None)
            outside = next((one for one in views if hours and _is_outside(hours, one)), None)
            since = on_file.listed.get(person_id)
            curious = next((one for one in views if since and one.at >= since), None)
            if compared is None and outside is None and curious is None:
                continue
            whole = whole or read_whole_person(tx, person_id)
            if not whole.resolution.is_current:
                break  # erased since, or on the way to somebody else
            found: tuple[str, ...] = ()
            anchor = whole.resolution.person_id
            if compared is not None and file is not None and on_file.key is not None:
                found, anchor = _compared(tx, consent, whole, file, on_file.key, user_id)
            employer = file.organisation if found and file is not None else None
            if outside is not None:
                found = in_order((*found, OUT_OF_HOURS))
            view = compared if employer else outside
            now = consent.clock.now()
            if view is not None:
                _raise(tx, whole, view, found, now, employer=employer, anchor=anchor)
            if curious is not None:
                _raise(tx, whole, curious, (CELEBRITY,), now)


def _is_outside(hours: WorkingHours, view: SeenRow) -> bool:
    """A system that asks for itself has no hours."""
    return (
        view.role != SYSTEM_ROLE
        and view.at >= hours.stands_since
        and is_outside(hours.shifts, view.role, view.at)
    )


def _compared(
    tx: Connection, consent: Consent, whole: WholePerson, file: StaffFile, key: bytes, user_id: str
) -> tuple[tuple[str, ...], int | None]:
    """Return what comes of comparing a member of staff, if the file has them, with a person; and which record says most of it."""
    employer, person_id = file.organisation, whole.resolution.person_id
    user = staff_store.find_member(tx, file.file_id, user_mark(key, employer, user_id))
    if user is None:
        return (), person_id
    by_record = _marks_by_record(consent, whole, key, employer)
    patient = _together(by_record.values())
    alike = staff_store.find_alike(tx, file.file_id, patient)
    others = [one.marks for one in alike if one.user != user.user]
    found = signals_of(user.marks, patient, others)

    def says(record_id: int) -> tuple[int, bool, int]:
        alone = signals_of(user.marks, by_record[record_id], others)
        return len(set(found) & set(alone)), record_id == person_id, -record_id

    return found, max(by_record, key=says, default=person_id)


def _marks_by_record(consent: Consent, whole: WholePerson, key: bytes, organisation: str) -> dict[int, Marks]:
    """Return the marks of what each of a person's records says; never of where they live, if that is protected."""
    with_addresses = not whole.resolution.restricted
    return {
        record_id: marks_of(form, key, organisation, with_addresses=with_addresses)
        for record_id, form in consent.mpi.forms_of(whole.members).items()
    }


def _together(told: Collection[Marks]) -> Marks:
    return Marks(
        numbers=frozenset(mark for one in told for mark in one.numbers),
        surnames=frozenset(mark for one in told for mark in one.surnames),
        persons=frozenset(mark for one in told for mark in one.persons),
        addresses=frozenset(mark for one in told for mark in one.addresses),
    )


def _raise(
    tx: Connection,
    whole: WholePerson,
    view: SeenRow,
    found: tuple[str, ...],
    now: datetime,
    *,
    employer: str | None = None,
    anchor: int | None = None,
) -> None:
    """Raise an alert of a view, or add to the one that waits: one matter of one user and one person, whatever told of it.

    That somebody is a celebrity is a matter of its own: who may not know of it is not to see another alert change by it.

    Args:
        employer: whose staff file some of what was found rests on.
        anchor: the record with which the alert goes when the person's records part; that whose id the person bears, if none is given.
    """
    person_id, user_id = whole.resolution.person_id, view.user_id
    assert person_id is not None and user_id is not None
    earlier = [
        one
        for one in store.read_between(tx, whole.resolution.record_ids, user_id, view.organisation)
        if (CELEBRITY in one.signals) == (CELEBRITY in found)
    ]
    settled = {
        signal
        for one in earlier
        if one.outcome == "legitimate" and one.reviewed_at and one.reviewed_at > view.at - _SETTLED
        for signal in one.signals
    }
    fresh = [signal for signal in found if signal not in settled]
    if not fresh:
        return
    if NEEDS.keys().isdisjoint(fresh):
        employer = None
    was_confirmed = store.was_confirmed(tx, user_id, view.organisation, view.at - REMEMBERED)
    for one in earlier:
        if one.state == "open" and (employer is None or one.staff_of in (None, employer)):
            signals = in_order((*one.signals, *fresh))
            rank = min(one.rank, rank_of(signals, was_confirmed=was_confirmed))
            if signals == one.signals or store.change_alert(
                tx,
                one.alert_id,
                only_open=True,
                signals=signals,
                rank=rank,
                staff_of=employer or one.staff_of,
            ):
                return
    explained_by = (
        _explanation(tx, whole.resolution.record_ids, view.organisation, user_id, view.at)
        if is_explainable(fresh)
        else None
    )
    if explained_by is not None and any(one.explained_by == explained_by for one in earlier):
        return
    signals = in_order(fresh)
    store.insert_alert(
        tx,
        Alert(
            alert_id=new_id(),
            code=signals[0],
            alert_type=None,
            alert_reason=None,
            rank=rank_of(signals, was_confirmed=was_confirmed),
            person_id=anchor or person_id,
            organisation=view.organisation,
            user_id=user_id,
            decision_id=None,
            grant_id=None,
            reason=None,
            state="open" if explained_by is None else "closed",
            raised_at=now,
            signals=signals,
            event_id=view.event_id,
            viewed_at=view.at,
            staff_of=employer,
            explained_by=explained_by,
        ),
    )


# Care that accounts for a view ---------------------------------------------------------------------------------------


def _explanation(
    tx: Connection, record_ids: Iterable[int], organisation: str, user_id: str, at: datetime
) -> int | None:
    """Return the care of a person by an organisation around that time, if there is any that the user did not tell of."""
    return care_store.find_attendance(
        tx, list(record_ids), organisation, user_id, begun_by=at + _BEFORE, ended_from=at - _AFTER
    )


def explain_open(consent: Consent) -> int:
    """Close open alerts of the last week that care accounts for which was told of since; return how many."""
    since = consent.clock.now() - _EXPLAINED_WITHIN
    closed, after = 0, 0

    def take(tx: Connection) -> tuple[int, int]:
        found = store.read_unexplained(tx, since, after, _TOLD_AT_ONCE)
        done = 0
        for one in found:
            if one.person_id is None or not is_explainable(one.signals):
                continue
            at = one.viewed_at or one.raised_at
            records = resolve_person(tx, one.person_id).record_ids
            by = _explanation(tx, records, one.organisation, one.user_id, at)
            if by is not None:
                done += store.change_alert(tx, one.alert_id, only_open=True, state="closed", explained_by=by)
        return done, found[-1].alert_id if len(found) == _TOLD_AT_ONCE else 0

    while True:
        done, after = taken_again(consent, take)
        closed += done
        if not after:
            return closed
