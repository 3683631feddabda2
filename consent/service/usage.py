"""Usage: views counted once from the sealed audit log, told by month, setting, organisation, role and purpose beside the year before."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from consent.facts import codes
from consent.facts.usage import (
    FEWEST_STAFF,
    MINUTES_A_VIEW,
    Month,
    Usage,
    Viewed,
    parse_month,
    usage_of,
)
from consent.service import trail
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.store import usage as store
from consent.store.usage import Mark, SeenRow
from foundation.auth.roles import ROLES
from foundation.delimited import Rows, delimiter_of
from foundation.directory import list_organisations, parse_ods_code
from foundation.errors import Invalid
from foundation.keyed import digest, get_key
from foundation.principal import Principal
from mpi.feeds.delimited import check_encoding

AT_ONCE = 5_000
"""Rows of the log that one transaction counts."""

MOST_MONTHS = 120
_HOUR = timedelta(hours=1)
_COLUMNS = ("month", "organisation", "role", "purpose", "views")


@dataclass(frozen=True, slots=True)
class Told:
    """Usage of a period. ``staff`` is None below five; ``counted_until`` says how far the log was counted: later views are not in it."""

    usage: Usage
    staff: int | None
    counted_until: datetime | None


def count_usage(consent: Consent, at_once: int = AT_ONCE) -> int:
    """Count the next views of the sealed log; return how many rows of it were looked at.

    Each sealed row is counted once: the mark moves in the transaction that counts, and no later commit can come before a sealed row.
    """

    def take(tx: Connection) -> int:
        mark = store.read_mark(tx, holds=True)
        reached, seen = store.read_sealed(tx, mark, at_once)
        if reached.leaf_index == mark.leaf_index:
            return 0
        views = _views(tx, seen)
        counts = Counter((_month(one.at), one.organisation, one.role, one.purpose) for one in views)
        store.add_views(tx, [Viewed(*about, count) for about, count in sorted(counts.items())])
        store.add_staff(tx, _staff(tx, seen, consent.clock.now()))
        times = [at for at in (mark.counted_until, reached.counted_until) if at is not None]
        store.write_mark(tx, Mark(reached.leaf_index, max(times, default=None)))
        return reached.leaf_index - mark.leaf_index

    return taken_again(consent, take)


def _views(tx: Connection, seen: Sequence[SeenRow]) -> list[SeenRow]:
    """Return the first redemption of each view: by one user of one organisation about one person within one clock hour."""
    known = [one for one in seen if _about(one) is not None]
    views = [
        one for one in seen if _about(one) is None
    ]  # erased in part: whether it is one with another is not known any more
    if known:
        since, until = min(_hour(one.at) for one in known), max(_hour(one.at) for one in known) + _HOUR
        people = {one.person_id for one in known if one.person_id is not None}
        first: dict[object, int] = {}
        for one in (*known, *store.read_others(tx, people, since, until)):
            about = _about(one)
            first[about] = min(first.get(about, one.event_id), one.event_id)
        views += [one for one in known if first[_about(one)] == one.event_id]
    return views


def _about(one: SeenRow) -> tuple[str, int, str, datetime] | None:
    if one.user_id is None or one.person_id is None:
        return None
    return one.user_id, one.person_id, one.organisation, _hour(one.at)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _month(at: datetime) -> Month:
    return Month(at.year, at.month)


_STAFF = "usage-staff"


def _staff(tx: Connection, seen: Iterable[SeenRow], now: datetime) -> set[tuple[Month, str, int]]:
    known = [(one, one.user_id) for one in seen if one.user_id is not None]
    if not known:
        return set()
    key = get_key(tx, _STAFF, now)
    digests = {user_id: _digest(key, user_id) for user_id in {user_id for _, user_id in known}}
    return {(_month(one.at), one.organisation, digests[user_id]) for one, user_id in known}


def _digest(key: bytes, user_id: str) -> int:
    # A digest of a digest: what was kept before there was a key could so be brought under it.
    inner = int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=8).digest(), signed=True)
    return int.from_bytes(digest(key, (str(inner),))[:8], signed=True)


def read_usage(
    consent: Consent,
    by: Principal,
    *,
    first: str | None = None,
    last: str | None = None,
    minutes_a_view: float = MINUTES_A_VIEW,
) -> Told:
    """Tell the usage of some months: the twelve before this one, if nobody says otherwise. That it was told is audited.

    Raises:
        Invalid: ``month-format``, ``period-order``, ``period-range`` beyond ten years, ``minutes-range``.
    """
    now = consent.clock.now()
    until = parse_month(last, "to") if last else _month(now).plus(-1)
    since = parse_month(first, "from") if first else until.plus(-11)
    if since.plus(MOST_MONTHS) <= until:
        raise Invalid("period-range", field="from", detail=f"At most {MOST_MONTHS} months.")

    def take(tx: Connection) -> Told:
        settings = {one.ods_code: one.setting for one in list_organisations(tx)}
        usage = usage_of(store.read_views(tx), settings, since, until, minutes_a_view=minutes_a_view)
        staff = store.count_staff(tx, since, until)
        trail.append(tx, "usage-read", by, now, detail={"from": str(since), "to": str(until)})
        return Told(usage, staff if staff >= FEWEST_STAFF else None, store.read_mark(tx).counted_until)

    return taken_again(consent, take)


# From a file ---------------------------------------------------------------------------------------------------------


def load_usage(consent: Consent, path: Path, by: Principal) -> int:
    """Bring counts of earlier months from a CSV (month, organisation, role, purpose, views), all or none; return how many rows.

    They stand in the place of what a file said before of the same month and organisation. A month that the log has counted of an
    organisation is refused: its views would count twice.

    Raises:
        Invalid: naming row and field: ``column-missing``, ``month-format``, ``organisation-format``, ``role-unknown``, ``purpose-unknown``,
            ``views-format``, ``row-repeated``, ``month-counted``; or as ``check_encoding``.
    """
    check_encoding(path)
    with path.open("r", encoding="utf-8-sig", newline="") as file:
        viewed = list(_read(file))

    def take(tx: Connection) -> int:
        store.read_mark(tx, holds=True)  # nobody counts a month meanwhile
        counted = {(one.month, one.organisation) for one in store.read_views(tx, origin="log")}
        for number, one in viewed:
            if (one.month, one.organisation) in counted:
                raise Invalid("month-counted", field="month", row=number)
        store.put_file(tx, [one for _, one in viewed])
        trail.append(tx, "usage-loaded", by, consent.clock.now(), detail={"rows": len(viewed)})
        return len(viewed)

    return taken_again(consent, take)


def _read(file: io.TextIOBase) -> Iterable[tuple[int, Viewed]]:
    try:
        rows = Rows(file, delimiter_of(file))
    except (StopIteration, csv.Error) as error:
        raise Invalid("file-empty", row=1) from error
    names = [heading.strip().lower() for heading in rows.header]
    for name in _COLUMNS:
        if names.count(name) != 1:
            raise Invalid("column-missing", field=name, row=1)
    seen = set()
    for number, values in rows.read(()):
        if values is None or len(values) != len(names):
            raise Invalid("row-unreadable", row=number)
        told = {name: value.strip() for name, value in zip(names, values, strict=True)}
        try:
            one = _viewed(told)
        except Invalid as fault:
            raise Invalid(fault.code, field=fault.field, row=number) from None
        about = (one.month, one.organisation, one.role, one.purpose)
        if about in seen:
            raise Invalid("row-repeated", row=number)
        seen.add(about)
        yield number, one


def _viewed(told: dict[str, str]) -> Viewed:
    role, purpose, views = told["role"] or "unknown", told["purpose"] or "unknown", told["views"]
    if role not in ROLES and role != "unknown":
        raise Invalid("role-unknown", field="role")
    if purpose not in codes.PURPOSES and purpose != "unknown":
        raise Invalid("purpose-unknown", field="purpose")
    if not (views.isascii() and views.isdigit() and len(views) <= 12):
        raise Invalid("views-format", field="views")
    return Viewed(parse_month(told["month"]), parse_ods_code(told["organisation"]), role, purpose, int(views))
