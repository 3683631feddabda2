"""What pages of the console share: how dates, numbers and ages are written, words after a redirect, cards of work, faults of forms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Flask, current_app, redirect, request
from werkzeug.wrappers import Response

from foundation.errors import Invalid
from foundation.principal import Principal

_CARDS, _SAID = "console_cards", "console_said"


def _local_zone() -> tzinfo:
    try:
        return ZoneInfo("Europe/London")
    except ZoneInfoNotFoundError:  # pragma: no cover - a machine without zone data shows UTC, and says so
        return UTC


LOCAL = _local_zone()


# Work and words ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Card:
    """One piece of work on the first page: how much of it waits, and where it is done."""

    title: str
    url: str
    hint: str
    count: int | None = None


CardsOf = Callable[[Principal], Sequence[Card]]


def add_cards(app: Flask, scope: str, cards_of: CardsOf) -> None:
    """Let a wing say what work waits for those who have a scope; it is asked anew for every first page."""
    app.extensions.setdefault(_CARDS, []).append((scope, cards_of))


def cards_for(by: Principal) -> list[Card]:
    known: list[tuple[str, CardsOf]] = current_app.extensions.get(_CARDS, [])
    return [card for scope, cards_of in known if scope in by.scopes for card in cards_of(by)]


def add_said(app: Flask, words: Mapping[str, str]) -> None:
    """Register what a page may say after a redirect. The address carries the code only, and no page says anything else."""
    app.extensions.setdefault(_SAID, {}).update(words)


def said() -> str | None:
    words: dict[str, str] = current_app.extensions.get(_SAID, {})
    return words.get(request.args.get("said", ""))


def go(url: str, code: str | None = None) -> Response:
    """Send the browser on after a form was taken, so that loading the page again repeats nothing."""
    return redirect(f"{url}?{urlencode({'said': code})}" if code else url, 303)


# Faults of forms -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of a form, in words; ``field`` is the id of the input to jump to."""

    field: str
    words: str


def fault_of(error: Invalid, words: Mapping[str, str], fields: Mapping[str, str]) -> Fault:
    """Say a refusal in the words of a form.

    Args:
        words: sentences by code.
        fields: ids of inputs by the field that the refusal names.
    """
    name = error.field or ""
    sentence = words.get(error.code) or error.detail or f"This cannot be taken ({error.code})"
    return Fault(fields.get(name, name), sentence)


def read_day(form: Mapping[str, str], name: str) -> str | None:
    """Read three inputs as year-month-day text; parts that were left empty become question marks, all empty is None."""
    day, month, year = (form.get(f"{name}-{part}", "").strip() for part in ("day", "month", "year"))
    if not (day or month or year):
        return None
    return f"{year or '????'}-{_two(month)}-{_two(day)}"


def _two(text: str) -> str:
    return text.zfill(2) if text.isdecimal() else text or "??"


# How things are written ----------------------------------------------------------------------------------------------


def write_day(value: date | datetime | None) -> str:
    """3 March 2026."""
    if value is None:
        return "not given"
    if isinstance(value, datetime):
        value = value.astimezone(LOCAL).date()
    return f"{value.day} {value:%B %Y}"


def write_moment(value: datetime | None) -> str:
    """3 March 2026 at 09:05, London time."""
    if value is None:
        return "not given"
    local = value.astimezone(LOCAL)
    return f"{local.day} {local:%B %Y at %H:%M}"


def write_age(value: datetime, now: datetime) -> str:
    """How long ago, in the largest whole unit."""
    passed = max(now - value, timedelta())
    for seconds, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        count = int(passed.total_seconds() // seconds)
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"


def write_nhs_number(digits: str | None) -> str:
    """999 000 0018; what has not ten digits is written as it came."""
    if digits is None:
        return ""
    plain = digits.replace(" ", "").replace("-", "")
    return f"{plain[:3]} {plain[3:6]} {plain[6:]}" if len(plain) == 10 and plain.isdecimal() else digits


def write_birth_date(text: str | None) -> str:
    """14 February 1990 where all of it is known, and as it came where it is not."""
    try:
        return write_day(date.fromisoformat(text)) if text else ""
    except ValueError:
        return text or ""


def write_bits(millibits: int) -> str:
    """A weight with its sign, to a tenth of a bit."""
    return f"{millibits / 1000:+.1f}".replace("-", "−")


def prepare_pages(app: Flask) -> None:
    """Teach the app's templates how things are written."""
    filters: dict[str, Callable[..., Any]] = {
        "day": write_day,
        "moment": write_moment,
        "nhs_number": write_nhs_number,
        "birth_date": write_birth_date,
        "bits": write_bits,
    }
    app.jinja_env.filters.update(filters)
