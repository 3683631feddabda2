"""NHS numbers: reading them, and what is known about the one a record carries."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from operator import mul

from foundation.errors import Invalid

_SHAPE = re.compile(r"\d{10}|\d{3}[ -]\d{3}[ -]\d{4}")
CHECK_WEIGHTS = (10, 9, 8, 7, 6, 5, 4, 3, 2)


@dataclass(frozen=True, slots=True, order=True)
class NhsNumber:
    """Ten digits that pass the check; made by ``parse_nhs_number`` only."""

    digits: str = field(repr=False)

    @property
    def is_reserved(self) -> bool:
        """Whether it lies in a range that is given to test patients (5xx, 9xx) or to nobody (86x to 89x, 3113 to 3199, under 01)."""
        head = self.digits
        return (
            head[0] in "59" or "86" <= head[:2] <= "89" or "3113" <= head[:4] <= "3199" or head < "0100000000"
        )

    def spaced(self) -> str:
        """Write it as the data dictionary shows it to people: 3-3-4."""
        return f"{self.digits[:3]} {self.digits[3:6]} {self.digits[6:]}"


class NhsNumberStatus(Enum):
    """NHS Data Dictionary, "NHS NUMBER STATUS INDICATOR CODE"."""

    VERIFIED = "01"
    NOT_TRACED = "02"
    TRACE_REQUIRED = "03"
    NO_MATCH_OR_MULTIPLE = "04"
    CONFLICT = "05"
    IN_PROGRESS = "06"
    NOT_PRESENT = "07"
    POSTPONED = "08"


class NumberState(Enum):
    """What may be made of a number. Only CLAIMED and VERIFIED are used to match; of a SUPERSEDED one, the number that took its place."""

    INVALID = "invalid"
    RESERVED = "reserved"
    CLAIMED = "claimed"
    VERIFIED = "verified"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    CONFLICTING = "conflicting"


@dataclass(frozen=True, slots=True)
class NhsNumberEvidence:
    """An NHS number as evidence: what was sent, what it is worth, and who says so.

    ``number`` is the text as received where the state is INVALID, else ten digits. ``superseded_by`` are the digits of the number that
    took its place; None where what was sent as such is none.
    """

    number: str = field(repr=False)
    state: NumberState
    verified_by: str | None = None
    verified_at: datetime | None = None
    superseded_by: str | None = field(default=None, repr=False)


def check_digit(nine: str) -> int | None:
    """Return the modulus 11 check digit of nine digits; None if no number can have them.

    Source: NHS Data Dictionary, "NHS NUMBER".
    """
    rest = 11 - sum(map(mul, map(int, nine), CHECK_WEIGHTS)) % 11
    return 0 if rest == 11 else None if rest == 10 else rest


def parse_nhs_number(text: str, field: str = "nhs_number") -> NhsNumber:
    """Read an NHS number: ten digits, the last a modulus 11 check digit, as 3-3-4 with spaces or hyphens or in one.

    Raises:
        Invalid: ``nhs-number-length``, ``nhs-number-check``, or ``nhs-number-placeholder`` for ten equal digits, which all pass
            the check and are sent as "none" (0000000000) and "several" (9999999999). The text is never part of the error.
    """
    stripped = text.strip()
    if not stripped.isascii() or not _SHAPE.fullmatch(stripped):
        raise Invalid("nhs-number-length", field=field)
    digits = stripped.replace(" ", "").replace("-", "")
    if check_digit(digits[:9]) != int(digits[9]):
        raise Invalid("nhs-number-check", field=field)
    if digits == digits[0] * 10:
        raise Invalid("nhs-number-placeholder", field=field)
    return NhsNumber(digits)


def parse_nhs_number_status(text: str, field: str = "nhs_number_status") -> NhsNumberStatus:
    """Read a status code, with or without its leading zero.

    Raises:
        Invalid: ``nhs-number-status-unknown``.
    """
    try:
        return NhsNumberStatus(text.strip().zfill(2))
    except ValueError:
        raise Invalid("nhs-number-status-unknown", field=field) from None


_USABLE_STATUSES = {
    None: NumberState.CLAIMED,
    NhsNumberStatus.VERIFIED: NumberState.VERIFIED,
    NhsNumberStatus.NOT_TRACED: NumberState.CLAIMED,
    NhsNumberStatus.TRACE_REQUIRED: NumberState.CLAIMED,
    NhsNumberStatus.IN_PROGRESS: NumberState.CLAIMED,
    NhsNumberStatus.POSTPONED: NumberState.CLAIMED,
    NhsNumberStatus.NOT_PRESENT: NumberState.CLAIMED,
    # A trace that failed or met a conflict: the number is kept and shown to reviewers, and is no evidence.
    NhsNumberStatus.NO_MATCH_OR_MULTIPLE: NumberState.WITHDRAWN,
    NhsNumberStatus.CONFLICT: NumberState.CONFLICTING,
}


def number_evidence(
    text: str | None,
    status: str | None,
    *,
    accept_reserved: bool = True,
    verified_by: str | None = None,
    verified_at: datetime | None = None,
    superseded_by: str | None = None,
    is_withdrawn: bool = False,
) -> NhsNumberEvidence | None:
    """Say what a received number is worth; None where none was sent. A bad number or status is kept and never raises.

    Args:
        accept_reserved: take test ranges as ordinary numbers, as samples and test systems need.
        superseded_by: the number that took its place, as received; it counts before a withdrawal, since it is known who is meant.
        is_withdrawn: whether the number was taken back, and stands for nobody.
    """
    if text is None or not text.strip():
        return None
    try:
        number = parse_nhs_number(text)
    except Invalid:
        return NhsNumberEvidence(text, NumberState.INVALID)
    if number.is_reserved and not accept_reserved:
        return NhsNumberEvidence(number.digits, NumberState.RESERVED)
    if superseded_by and superseded_by.strip():
        return NhsNumberEvidence(
            number.digits, NumberState.SUPERSEDED, superseded_by=_survivor(superseded_by, number)
        )
    if is_withdrawn:
        return NhsNumberEvidence(number.digits, NumberState.WITHDRAWN)
    try:
        code = parse_nhs_number_status(status) if status and status.strip() else None
    except Invalid:
        code = None
    state = _USABLE_STATUSES[code]
    if state is NumberState.VERIFIED:
        return NhsNumberEvidence(number.digits, state, verified_by, verified_at)
    return NhsNumberEvidence(number.digits, state)


def _survivor(text: str, superseded: NhsNumber) -> str | None:
    try:
        number = parse_nhs_number(text)
    except Invalid:
        return None
    return None if number == superseded else number.digits
