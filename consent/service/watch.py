"""Looking through the sealed log, from a cursor, for views that somebody should ask about, unless care explains them."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from consent.facts.staff import Marks, StaffFile
from consent.rules.watch import in_order, is_explainable, rank_of, signals_of
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.service.staff import KEY, marks_of, user_mark
from consent.store import alerts as store
from consent.store import care as care_store
from consent.store import staff as staff_store
from consent.store import usage as usage_store
from consent.store.alerts import Alert
from consent.store.usage import SeenRow
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

_REMEMBERED = timedelta(days=365)
_TOLD_AT_ONCE = 500


def watch_views(consent: Consent, at_once: int = AT_ONCE) -> int:
    """Look through the next rows of the sealed log and raise what they give; return how many rows were looked at.

    The cursor moves in the transaction that raises, so that each view is looked at once. Without a staff file of the viewer's
    organisation nothing is compared, and a file that comes later is not held to what was seen before it.
    """

    def take(tx: Connection) -> int:
        mark = store.hold_mark(tx)
        reached, seen = usage_store.read_sealed(tx, mark, at_once)
        if reached.leaf_index == mark.leaf_index:
            return 0
        files = {one.organisation: one for one in staff_store.read_files(tx)}
        key = find_key(tx, KEY) if files else None
        if key is not None:
            _look(tx, consent, files, key, seen)
        store.write_mark(tx, reached)
        return reached.leaf_index - mark.leaf_index

    return taken_again(consent, take)


def _look(
    tx: Connection, consent: Consent, files: dict[str, StaffFile], key: bytes, seen: Iterable[SeenRow]
) -> None:
    first: dict[int, dict[tuple[str, str], SeenRow]] = defaultdict(dict)
    for one in sorted(seen, key=lambda one: one.event_id):
        file = files.get(one.organisation)
        if file is None or one.user_id is None or one.person_id is None or one.at < file.stands_since:
            continue
        first[one.person_id].setdefault((one.organisation, one.user_id), one)
    for person_id, views in sorted(first.items()):
        whole = read_whole_person(tx, person_id)
        if not whole.resolution.is_current:
            continue  # erased since, or on the way to somebody else
        for (organisation, user_id), view in sorted(views.items()):
            file_id = files[organisation].file_id
            user = staff_store.find_member(tx, file_id, user_mark(key, organisation, user_id))
            if user is None:
                continue
            patient = _patient(consent, whole, key, organisation)
            colleagues = [
                one.marks for one in staff_store.find_alike(tx, file_id, patient) if one.user != user.user
            ]
            found = signals_of(user.marks, patient, colleagues)
            if found:
                _raise(tx, whole, view, found, consent.clock.now())


def _patient(consent: Consent, whole: WholePerson, key: bytes, organisation: str) -> Marks:
    """Return the marks of everything that a person's records say; never of where they live, if that is protected."""
    with_addresses = not whole.resolution.restricted
    told = [
        marks_of(form, key, organisation, with_addresses=with_addresses)
        for form in consent.mpi.forms_of(whole.members).values()
    ]
    return Marks(
        numbers=frozenset(mark for one in told for mark in one.numbers),
        surnames=frozenset(mark for one in told for mark in one.surnames),
        persons=frozenset(mark for one in told for mark in one.persons),
        addresses=frozenset(mark for one in told for mark in one.addresses),
    )


def _raise(tx: Connection, whole: WholePerson, view: SeenRow, found: tuple[str, ...], now: datetime) -> None:
    """Raise an alert of a view, or add to the one that waits: one matter of one user and one person, whatever told of it."""
    person_id, user_id = whole.resolution.person_id, view.user_id
    assert person_id is not None and user_id is not None
    earlier = store.read_between(tx, person_id, user_id, view.organisation)
    settled = {
        signal
        for one in earlier
        if one.outcome == "legitimate" and one.reviewed_at and one.reviewed_at > view.at - _SETTLED
        for signal in one.signals
    }
    fresh = [signal for signal in found if signal not in settled]
    if not fresh:
        return
    was_confirmed = store.was_confirmed(tx, user_id, view.organisation, view.at - _REMEMBERED)
    for one in earlier:
        if one.state == "open":
            signals = in_order((*one.signals, *fresh))
            rank = min(one.rank, rank_of(signals, was_confirmed=was_confirmed))
            if signals == one.signals or store.change_alert(
                tx, one.alert_id, only_open=True, signals=signals, rank=rank
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
            person_id=person_id,
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
            if not is_explainable(one.signals):
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
