"""Civil dates of which only a part may be known, and instants as they arrive in text."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from foundation.errors import Invalid

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_PART = r"(?:\d{1,2}|\?\?|--|XX|xx)"
_TIME = r"(?:[T ]\d{1,2}:?\d{2}.*)?"
_ISO = re.compile(rf"(\d{{4}})(?:[-/]({_PART})(?:[-/]({_PART}))?)?{_TIME}")
_COMPACT = re.compile(r"(\d{4})(\d{2})(?:(\d{2})(?:\d{4}(?:\d{2})?)?)?")
_DAY_FIRST = re.compile(rf"({_PART})[/.\- ]({_PART}|[A-Za-z]{{3,9}})[/.\- ](\d{{4}}){_TIME}")


@dataclass(frozen=True, slots=True)
class PartialDate:
    """A day, a month or a year; never a day without its month unless the text said so ("1990-??-14" is refused)."""

    year: int = field(repr=False)
    month: int | None = field(default=None, repr=False)
    day: int | None = field(default=None, repr=False)

    @property
    def is_complete(self) -> bool:
        return self.day is not None

    def earliest(self) -> date:
        """The first day that it can mean."""
        return date(self.year, self.month or 1, self.day or 1)

    def latest(self) -> date:
        """The last day that it can mean."""
        if self.day is not None and self.month is not None:
            return date(self.year, self.month, self.day)
        month = self.month or 12
        start_of_next = date(self.year + month // 12, month % 12 + 1, 1) if self.year < 9999 else date.max
        return date.fromordinal(start_of_next.toordinal() - 1)

    def isoformat(self) -> str:
        """Write what is known: ``1990``, ``1990-02`` or ``1990-02-14``."""
        return "-".join(
            [f"{self.year:04}", *(f"{part:02}" for part in (self.month, self.day) if part is not None)]
        )


def parse_partial_date(text: str, field: str = "birth_date") -> PartialDate:
    """Read a date that may lack its day or month.

    Accepts ``1990-02-14``, ``1990-02-??``, ``1990-02``, ``1990``, ``19900214``, ``199002``, ``14/02/1990`` (day first), ``14 Feb
    1990``, and any of them with a time after it. A day or month of ``00`` is one that is not known.

    Raises:
        Invalid: ``date-format`` or ``date-impossible``.
    """
    stripped = text.strip()
    if not stripped.isascii():
        raise Invalid("date-format", field=field)
    if found := _COMPACT.fullmatch(stripped):
        year, month, day = found.groups()
    elif found := _ISO.fullmatch(stripped):
        year, month, day = found.groups()
    elif found := _DAY_FIRST.fullmatch(stripped):
        day, month, year = found.groups()
    else:
        raise Invalid("date-format", field=field)
    return _made(int(year), _part(month, field), _part(day, field), field)


def _part(text: str | None, field: str) -> int | None:
    if text is None or text in ("??", "--", "XX", "xx"):
        return None
    if text.isdigit():
        return int(text) or None
    if (month := _MONTHS.get(text[:3].lower())) is None:
        raise Invalid("date-format", field=field)
    return month


def _made(year: int, month: int | None, day: int | None, field: str) -> PartialDate:
    if month is None and day is not None:
        raise Invalid("date-format", field=field)
    try:
        date(year, 1 if month is None else month, 1 if day is None else day)
    except ValueError:
        raise Invalid("date-impossible", field=field) from None
    return PartialDate(year, month, day)


def parse_instant(text: str, field: str = "updated_at") -> datetime:
    """Read an ISO instant or day; without an offset it is taken as UTC.

    Raises:
        Invalid: ``instant-format``.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Invalid("instant-format", field=field) from None
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid("instant-format", field=field) from None
