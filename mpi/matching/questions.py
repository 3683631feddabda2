"""What people should look at, said once for the index and for bulk runs: which task is asked, and how its sides are laid out."""

from collections.abc import Collection, Iterable, Mapping
from enum import Enum

FORM_SYSTEMS = frozenset({"consent"})
"""Systems that keep a record for each form rather than for each patient: several for one person are no duplicates."""


class Kind(Enum):
    """Types of task; the order is that of the queue, worst first."""

    SPLIT = "split-by-new-evidence"
    IN_DOUBT = "link-in-doubt"
    ASKED = "asked-by-hand"
    OVERLAY = "overlay"
    OUTSIZED = "outsized-person"
    REFUSED = "refused-join"
    NUMBERS = "number-conflict"
    POSSIBLE = "possible-match"
    DUPLICATE = "same-source-duplicate"

    @property
    def rank(self) -> int:
        return list(Kind).index(self)


WHETHER_ONE, WHETHER_TWO = "whether-one", "whether-two"
"""What somebody asks by hand: whether two persons are one, or whether records of one person are another's."""

BETWEEN_PERSONS = frozenset({Kind.REFUSED.value, Kind.NUMBERS.value, Kind.POSSIBLE.value})
"""Kinds that ask whether two persons are one; they change into each other as evidence comes."""


def asked_between(vetoes: Iterable[str], conflicts: Iterable[str]) -> tuple[Kind, str]:
    """Return which question two persons that share edges leave, and why: a join that was refused before a conflict before mere likeness.

    Args:
        vetoes: codes of what refused a join of their records.
        conflicts: codes of the contradictions that their edges show.
    """
    for kind, codes in ((Kind.REFUSED, vetoes), (Kind.NUMBERS, conflicts)):
        for code in sorted(codes):
            return kind, code
    return Kind.POSSIBLE, "possible-match"


def sides_by_number(records: Mapping[str, Collection[int]]) -> tuple[list[int], list[int]] | None:
    """Return the sides of a person with several NHS numbers: the records of the one that most have, and the others; None with one.

    Args:
        records: the person's records by the number that they claim or have verified.
    """
    if len(records) < 2:
        return None
    first, *others = sorted(records.values(), key=lambda group: (-len(group), min(group)))
    return sorted(first), sorted(number for group in others for number in group)


def sides_of_source(records: Collection[int]) -> tuple[list[int], list[int]] | None:
    """Return the sides of a person of whom one system has several records: the earliest and the others; None with one."""
    first, *others = sorted(records)
    return ([first], others) if others else None
