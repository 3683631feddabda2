"""Unusual volume: how many people a user views in a day and in an hour, held against their own past and their role's."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from consent.rules.hours import in_london
from consent.rules.volume import FLOOR, OWN_DAYS, Day, Volume, volume_of
from consent.rules.watch import UNUSUAL_VOLUME
from consent.service.asking import SYSTEM_ROLE
from consent.service.raising import raise_of_user
from consent.store import alerts as alert_store
from consent.store import volume as store
from consent.store.usage import SeenRow
from consent.store.volume import Viewer

_PAST = timedelta(days=90)
"""How far back the past goes that a day is held against."""

_WHOM = timedelta(days=3)
"""How long it is kept whom a user saw, so that nobody is counted twice; after that, only how many."""


def watch_volume(
    tx: Connection, seen: Iterable[SeenRow], before: datetime | None, reached: datetime | None, now: datetime
) -> None:
    """Count the people of some views by user and day, and raise an alert of a day that is unusual: one a user and day.

    Args:
        before: how far the log had been looked through. reached: how far it is now.
    """
    views: dict[Viewer, list[SeenRow]] = defaultdict(list)
    for one in sorted(seen, key=lambda one: one.event_id):
        if one.user_id is not None and one.person_id is not None and one.role != SYSTEM_ROLE:
            views[Viewer(one.organisation, one.user_id, in_london(one.at).date())].append(one)
    store.add_seen(
        tx,
        [
            (viewer, one.at.replace(minute=0, second=0, microsecond=0), one.person_id)
            for viewer, some in views.items()
            for one in some
            if one.person_id is not None
        ],
    )
    days = store.count_days(tx, {viewer: some[-1].role for viewer, some in views.items()})
    for viewer, counted in sorted(days.items(), key=lambda item: views[item[0]][-1].event_id):
        last = views[viewer][-1]
        usual = _usual(tx, viewer, last.role, counted)
        if usual is not None and usual.is_exceeded_by(counted):
            _raise(tx, viewer, last, _words(counted, usual), now)
    if reached is not None and (before is None or in_london(before).date() < in_london(reached).date()):
        today = in_london(reached).date()
        store.forget_before(tx, people=today - _WHOM, days=today - _PAST)


def _usual(tx: Connection, viewer: Viewer, role: str, counted: Day) -> Volume | None:
    if not FLOOR.is_exceeded_by(counted):
        return None  # whatever the past was
    since = viewer.day - _PAST
    return volume_of(store.read_own(tx, viewer, since), *store.read_role(tx, viewer, role, since))


def _words(counted: Day, usual: Volume) -> str:
    return (
        f"{counted.people} people in the day, {counted.most_in_hour} of them in one hour; "
        f"usual are up to {usual.day} and {usual.hour}"
    )


def _raise(tx: Connection, viewer: Viewer, view: SeenRow, words: str, now: datetime) -> None:
    for one in alert_store.read_of_user(
        tx, UNUSUAL_VOLUME, viewer.user_id, viewer.organisation, view.at - _WHOM
    ):
        if one.viewed_at is not None and in_london(one.viewed_at).date() == viewer.day:
            alert_store.change_alert(tx, one.alert_id, only_open=True, reason=words)
            return
    raise_of_user(
        tx,
        UNUSUAL_VOLUME,
        viewer.organisation,
        viewer.user_id,
        words,
        person_id=None,
        event_id=view.event_id,
        viewed_at=view.at,
        now=now,
    )


def with_enough_past(tx: Connection, organisations: Iterable[str], today: date) -> set[str]:
    """Return those of some organisations that have somebody whose past is enough to hold a day against."""
    return store.organisations_with_past(tx, set(organisations), today - _PAST, OWN_DAYS)
