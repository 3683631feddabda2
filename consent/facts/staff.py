"""An employer's staff file: what of its staff may be compared with the people they look at, and the marks that are kept of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

COMPARED = ("surname", "birth_date", "address", "nhs_number")
"""What a legal basis may allow to be compared. An address is a postcode and a first line."""

_IDENTITY = (frozenset({"nhs_number"}), frozenset({"surname", "birth_date"}))

NEEDS: Mapping[str, tuple[frozenset[str], ...]] = {
    "own-record": _IDENTITY,
    "same-address": (frozenset({"address"}),),
    "colleague": _IDENTITY,
    "same-surname": (frozenset({"surname"}),),
}
"""Signals that rest on a staff file, and what of it each needs: any one of these sets."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Keyed digests of what is known of somebody, to be compared for equality and for nothing else.

    ``persons``: of a surname with a full birth date.
    """

    numbers: frozenset[bytes] = field(default=frozenset(), repr=False)
    surnames: frozenset[bytes] = field(default=frozenset(), repr=False)
    persons: frozenset[bytes] = field(default=frozenset(), repr=False)
    addresses: frozenset[bytes] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class StaffFile:
    """What stands of an employer: on what basis, what may be compared, by whom it was loaded, and when that is to be looked at again.

    ``stands_since``: when the organisation came to have a file; a newer one in its place changes nothing of that.
    """

    file_id: int
    organisation: str
    legal_basis: str
    compares: tuple[str, ...]
    members: int
    review_on: date
    stands_since: datetime
    loaded_at: datetime
    loaded_by: str


def not_evaluated(compares: frozenset[str] | None) -> tuple[str, ...]:
    """Return the signals that a file which compares these cannot give; None: there is no file."""
    known = compares or frozenset()
    return tuple(signal for signal, needs in NEEDS.items() if not any(one <= known for one in needs))
