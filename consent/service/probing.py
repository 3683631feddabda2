"""Repeated probing: many different searches by one caller that seem to be about one person."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from consent.rules.probing import DAY, SHARE, Fullest, Usual, excess_of
from consent.rules.watch import PROBING
from consent.service.raising import raise_of_user
from consent.store import alerts as alert_store
from consent.store import probing as store
from consent.store.alerts import Alert
from consent.store.probing import Caller, Search, SeenSearch
from foundation.keyed import forget_keys
from mpi.service.match import MARKS

_KEYS = timedelta(days=3)
"""How long the key of a day is kept: until the log of that day is sealed and looked through for certain."""


def watch_searches(
    tx: Connection, searches: Iterable[Search], limits: Usual, reached: datetime | None, now: datetime
) -> None:
    """Hold some searches against those of the day before them, and raise an alert where too many seem to be about one person.

    Searches seem to be about one person where all but one kind of fact is the same, or a number, or where the same person fitted best. The
    same name counts only while it is much of all that the caller asks: many bear one name.

    Args:
        reached: how far the log is looked through.
    """
    by_caller: dict[Caller, list[Search]] = defaultdict(list)
    for one in searches:
        by_caller[one.caller].append(one)
    store.add_searches(tx, [(one, _groups(one)) for some in by_caller.values() for one in some])
    for caller, some in sorted(by_caller.items(), key=lambda item: item[1][0].event_id):
        weak = {one.by_name for one in some}
        groups = {alike for one in some for alike in _groups(one)}
        since = min(one.at for one in some) - DAY
        alike = store.read_alike(tx, caller, groups, since, min(limits.hour, limits.day))
        for group, made in sorted(alike.items()):
            _hold(tx, caller, made, limits, some[-1], now, is_weak=group in weak)
    if reached is not None:
        store.forget_searches(tx, reached - 2 * DAY)
        forget_keys(tx, MARKS, now - _KEYS)


def _groups(one: Search) -> tuple[str, ...]:
    by_name = () if one.by_name is None else (one.by_name,)
    person = () if one.person_id is None else (f"person {one.person_id}",)
    return (*one.alike, *by_name, *person)


def _hold(
    tx: Connection,
    caller: Caller,
    made: list[SeenSearch],
    limits: Usual,
    last: Search,
    now: datetime,
    *,
    is_weak: bool,
) -> None:
    whom = Counter(one.person_id for one in made if one.person_id is not None)
    person_id = max(whom, key=lambda number: (whom[number], -number)) if whom else None
    earlier = [
        one
        for one in alert_store.read_of_user(tx, PROBING, caller.user_id, caller.organisation, last.at - DAY)
        # Who nobody was found for may be anybody: one matter until somebody is.
        if one.person_id in (None, person_id) or person_id is None
    ]
    reviewed_at = max((one.reviewed_at for one in earlier if one.reviewed_at is not None), default=None)
    fresh = [(one.at, one.mark) for one in made if reviewed_at is None or one.at > reviewed_at]
    found = excess_of(fresh, limits)
    if found is None:
        return
    if (
        is_weak
        and store.count_searches(tx, caller, found.until - found.span, found.until) > SHARE * found.searches
    ):
        return
    _raise(tx, caller, found, person_id, [one for one in earlier if one.state == "open"], last, now)


def _raise(
    tx: Connection,
    caller: Caller,
    found: Fullest,
    person_id: int | None,
    waiting: list[Alert],
    last: Search,
    now: datetime,
) -> None:
    # The same words whether anybody was found, or may be told of: of whom it is says the alert's person alone.
    stretch = "an hour" if found.span < DAY else "a day"
    words = f"{found.searches} different searches in {stretch} that seem to be about one person"
    for one in waiting:
        before = (one.reason or "").split(maxsplit=1)
        is_more = not before or not before[0].isdecimal() or found.searches > int(before[0])
        changes: dict[str, object] = {"reason": words} if is_more else {}
        if one.person_id is None and person_id is not None:
            changes["person_id"] = person_id
        if not changes or alert_store.change_alert(tx, one.alert_id, only_open=True, **changes):
            return
    raise_of_user(
        tx,
        PROBING,
        caller.organisation,
        caller.user_id,
        words,
        person_id=person_id,
        event_id=last.event_id,
        viewed_at=last.at,
        now=now,
    )
