"""Hours files: when an organisation's staff work, by role, loaded whole in the place of what was told before."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sqlalchemy import Connection

from consent.facts.hours import A_DAY, ALWAYS, DAYS, EVERY_ROLE, Shift, WorkingHours, contradicts
from consent.service import trail
from consent.service.context import Consent
from consent.service.filed import Reject, read_whole_file
from consent.service.order import taken_again
from consent.service.staff import theirs
from consent.store import alerts as alert_store
from consent.store import hours as store
from foundation.auth.roles import parse_role
from foundation.directory import find_organisation, parse_ods_code
from foundation.errors import Invalid, NotFound
from foundation.principal import Principal

_COLUMNS = ("role", "days", "from", "until")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


@dataclass(frozen=True, slots=True)
class LoadedHours:
    """The hours as they stand now; where a row was rejected, nothing was written and ``hours`` is None."""

    hours: WorkingHours | None
    rejected: tuple[Reject, ...]


def load_hours(consent: Consent, path: Path, by: Principal, *, organisation: str) -> LoadedHours:
    """Load an organisation's hours in the place of those before, all or none.

    Args:
        path: a CSV in UTF-8 with the columns ``role``, ``days``, ``from`` and ``until``. Role: a national job role code, or ``*`` for every
            role that has no row of its own. Days: days of the week (``mon-fri``, ``sat sun``), a date in their place, or ``always``. From
            and until: the wall clock's time in Britain, as 08:30; both empty on a date when nobody works, and with ``always``.

    Raises:
        Invalid: ``organisation-unknown``, ``hours-incomplete`` without a row for ``*``, ``hours-contradict`` where a role works round the
            clock and at certain hours; or as ``read_whole_file``.
    """
    code = parse_ods_code(organisation)
    rows, rejected = read_whole_file(path, _COLUMNS, _shifts)
    if rejected:
        return LoadedHours(None, rejected)
    shifts = tuple(
        sorted({one for row in rows for one in row}, key=lambda one: (one.role, one.day, one.begins))
    )
    if not any(one.role == EVERY_ROLE and one.day in (*DAYS, ALWAYS) for one in shifts):
        raise Invalid("hours-incomplete", field="role", detail="A row for * says when everybody else works.")
    if contradicts(shifts):
        raise Invalid(
            "hours-contradict", field="days", detail="A role works round the clock, or at some hours."
        )
    now = consent.clock.now()

    def take(tx: Connection) -> LoadedHours:
        if find_organisation(tx, code) is None:
            raise Invalid("organisation-unknown", field="organisation")
        alert_store.hold_mark(tx)  # nobody looks through the log meanwhile
        made = store.put_hours(tx, WorkingHours(code, shifts, now, now, by.id))
        detail = {"organisation": code, "shifts": len(shifts), "roles": list(made.roles)}
        trail.append(tx, "hours-loaded", by, now, detail=detail)
        return LoadedHours(made, ())

    return taken_again(consent, take)


def withdraw_hours(consent: Consent, organisation: str, reason: str, by: Principal) -> WorkingHours:
    """Take an organisation's hours away; alerts that were raised by them stay, and are reviewed as any.

    Raises:
        NotFound: ``hours-unknown``. Invalid: ``reason-missing``.
    """
    words = reason.strip()
    if not words or len(words) > 500:
        raise Invalid("reason-missing", field="reason")
    code = parse_ods_code(organisation)

    def take(tx: Connection) -> WorkingHours:
        alert_store.hold_mark(tx)
        gone = store.remove_hours(tx, code)
        if gone is None:
            raise NotFound("hours-unknown")
        detail = {"organisation": code, "reason": words}
        trail.append(tx, "hours-withdrawn", by, consent.clock.now(), detail=detail)
        return gone

    return taken_again(consent, take)


def list_hours(consent: Consent, by: Principal) -> list[WorkingHours]:
    """Return the hours of the officer's organisations."""
    with consent.db.read() as tx:
        return store.read_hours(tx, theirs(by))


# A row ---------------------------------------------------------------------------------------------------------------


def _shifts(told: Mapping[str, str]) -> list[Shift]:
    role = told["role"] if told["role"] == EVERY_ROLE else parse_role(told["role"])
    days = _days(told["days"].lower())
    is_dated = days[0] not in (*DAYS, ALWAYS)
    if days == [ALWAYS]:
        for name in ("from", "until"):
            if told[name]:
                raise Invalid("time-not-allowed", field=name)
        return [Shift(role, ALWAYS)]
    if is_dated and not told["from"] and not told["until"]:
        return [Shift(role, day, 0, 0) for day in days]
    begins, ends = _minutes(told, "from"), _minutes(told, "until")
    if begins == A_DAY:
        raise Invalid("time-format", field="from")
    if ends <= begins:
        ends += A_DAY  # on the day after
    return [Shift(role, day, begins, ends) for day in days]


def _days(text: str) -> list[str]:
    """Read ``always``, one date, or days of the week, alone or from one to another."""
    if text == ALWAYS:
        return [ALWAYS]
    if text[:1].isdigit():
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise Invalid("days-format", field="days") from None
        if day.isoformat() != text:
            raise Invalid("days-format", field="days")
        return [text]
    found: list[str] = []
    for part in text.split():
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in DAYS or last not in DAYS or DAYS.index(last) < DAYS.index(first):
            raise Invalid("days-format", field="days")
        found += DAYS[DAYS.index(first) : DAYS.index(last) + 1]
    if not found or len(set(found)) != len(found):
        raise Invalid("days-format", field="days")
    return found


def _minutes(told: Mapping[str, str], name: str) -> int:
    if not _TIME.fullmatch(told[name]):
        raise Invalid("time-format", field=name)
    hour, minute = told[name].split(":")
    return int(hour) * 60 + int(minute)
