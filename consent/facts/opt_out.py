"""The National Data Opt-out: what the national service answered of an NHS number, and what that comes to for a person.

An answer is never a flag. ``OptOutState`` has no truth value, evidence takes no other type, and only "clear" in so many words is clear: no
slip of a condition or of a polarity reads someone who opted out as someone who did not.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

from foundation.errors import Invalid


class OptOutState(StrEnum):
    """What the national service says of one NHS number. Ask which it is: it is neither true nor false."""

    CLEAR = "clear"
    OPTED_OUT = "opted-out"

    def __bool__(self) -> NoReturn:
        raise TypeError("an opt-out state is neither true nor false: compare it with one")


def parse_opt_out_state(text: str, field: str = "state") -> OptOutState:
    """Read a state by its own word; ``yes``, ``no``, ``1`` and ``true`` are none.

    Raises:
        Invalid: ``opt-out-state-unknown``.
    """
    try:
        return OptOutState(text)
    except ValueError:
        raise Invalid("opt-out-state-unknown", field=field) from None


@dataclass(frozen=True, slots=True)
class OptOutEvidence:
    """What the answers about a person's numbers come to, with the age of the oldest that it rests on."""

    state: OptOutState
    checked_at: datetime

    def __post_init__(self) -> None:
        if not isinstance(self.state, OptOutState):
            raise TypeError("opt-out evidence takes an OptOutState and nothing that may be read as one")


@dataclass(frozen=True, slots=True)
class OptOutAnswer:
    """One answer, kept with the record that bore the number. ``number_key`` marks the number; None: the person was asked about as such."""

    record_id: int
    state: OptOutState
    checked_at: datetime
    number_key: int | None


def evidence_of(answers: Iterable[OptOutAnswer], verified: Collection[int]) -> OptOutEvidence | None:
    """Fold the answers about the records of one person.

    Of each number the last answer stands, and of two of one instant the one that opts out. One number that is opted out opts the person
    out, whether or not a record still bears it. The person is clear if every verified number of theirs is: what a number that nobody
    verified, or that they no longer bear, is clear of may be another's choice. A person without a verified number is clear by an
    answer about them as such alone.

    Args:
        verified: marks of the verified NHS numbers that the records bear now.
    """
    last: dict[tuple[str, int], OptOutAnswer] = {}
    for one in answers:
        about = ("record", one.record_id) if one.number_key is None else ("number", one.number_key)
        before = last.get(about)
        if before is None or _order(before) < _order(one):
            last[about] = one
    out = [one for one in last.values() if one.state is not OptOutState.CLEAR]
    if out:
        return OptOutEvidence(OptOutState.OPTED_OUT, max(one.checked_at for one in out))
    if verified:
        clear = [last.get(("number", key)) for key in verified]
    else:
        clear = [one for about, one in last.items() if about[0] == "record"]
    told = [one.checked_at for one in clear if one is not None]
    if not told or len(told) < len(clear):
        return None
    return OptOutEvidence(OptOutState.CLEAR, min(told))


def _order(answer: OptOutAnswer) -> tuple[datetime, int]:
    return answer.checked_at, 0 if answer.state is OptOutState.CLEAR else 1
