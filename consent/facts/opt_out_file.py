"""Files of the national "check for national data opt-outs" service: a list of NHS numbers goes, and those without an opt-out come back.

Source: NHS England, user guides of that service over MESH. Where they are silent the strict reading is taken: what cannot be understood in
full is refused in full, since a number that is missing from an answer is read as opted out.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date

from foundation.errors import Invalid
from mpi.records import parse_nhs_number

WORKFLOW = "SPINE_NTT_UPHOLDING"
NATIONAL_MAILBOX = "X26HC065"
REFUSED = "The file contains one or more invalid NHS Numbers."
"""All that an answer holds when one number of the list was invalid: then nothing was checked."""

_MAILBOX = re.compile(r"[0-9A-Z]{3,20}")
_LINE = re.compile(r"([0-9]{10}),")
MOST_A_DAY = 9_999


def parse_mailbox(text: str) -> str:
    """Read the id of one's own mailbox.

    Raises:
        Invalid: ``mailbox-format``.
    """
    if not _MAILBOX.fullmatch(text):
        raise Invalid("mailbox-format", field="mailbox")
    return text


def list_name(mailbox: str, on: date, serial: int) -> str:
    """Name the ``serial``-th list of a day: ``<own mailbox>-DDMMYY-NNNN``.

    Raises:
        Invalid: ``mailbox-format``, ``too-many-lists`` after 9,999 of one day.
    """
    if not 1 <= serial <= MOST_A_DAY:
        raise Invalid("too-many-lists")
    return f"{parse_mailbox(mailbox)}-{on:%d%m%y}-{serial:04d}"


def write_list(numbers: Iterable[str]) -> str:
    """Write a list: one number a line, each followed by a comma, each line ended by a line feed alone.

    Every number is checked again, since one that is invalid voids the whole list.

    Raises:
        Invalid: a check of ``parse_nhs_number`` or ``number-repeated``, with the row; ``list-empty``.
    """
    lines: list[str] = []
    seen: set[str] = set()
    for row, number in enumerate(numbers, start=1):
        try:
            digits = parse_nhs_number(number).digits
        except Invalid as fault:
            raise Invalid(fault.code, field="nhs_number", row=row) from None
        if digits in seen:
            raise Invalid("number-repeated", field="nhs_number", row=row)
        seen.add(digits)
        lines.append(f"{digits},\n")
    if not lines:
        raise Invalid("list-empty")
    return "".join(lines)


def read_answer(text: str) -> frozenset[str]:
    """Read an answer: the numbers without an opt-out, in the form of the list. An empty answer is read as no number.

    Raises:
        Invalid: ``list-refused`` when the service found an invalid number and checked nothing; ``answer-format``, a check of
            ``parse_nhs_number`` or ``number-repeated``, with the row.
    """
    if text.strip() == REFUSED:
        raise Invalid("list-refused", detail="The national service found an invalid number and checked none.")
    numbers: set[str] = set()
    for row, line in enumerate(text.splitlines(), start=1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise Invalid("answer-format", row=row)
        try:
            digits = parse_nhs_number(found[1]).digits
        except Invalid as fault:
            raise Invalid(fault.code, row=row) from None
        if digits in numbers:
            raise Invalid("number-repeated", row=row)
        numbers.add(digits)
    return frozenset(numbers)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What became of the numbers of a list: each is in one of the two sets and in no other."""

    clear: frozenset[str] = field(repr=False)
    opted_out: frozenset[str] = field(repr=False)


def reconcile(sent: Collection[str], returned: Collection[str], *, taken_back: int = 0) -> Reconciled:
    """Tell what a list came to: what came back is clear, and what did not is opted out.

    Args:
        taken_back: how many of the numbers that were sent are no longer known, since their records were erased meanwhile; so many
            numbers that were not asked about may come back.

    Raises:
        Invalid: ``answer-not-of-list`` when more numbers came back that were not sent: it is the answer to another list.
    """
    asked, answered = frozenset(sent), frozenset(returned)
    if len(answered - asked) > taken_back:
        raise Invalid("answer-not-of-list", detail="It names numbers that this list did not ask about.")
    return Reconciled(asked & answered, asked - answered)
