"""What records say of superseded NHS numbers, and which number stands for one now."""

from collections.abc import Collection, Iterable, Mapping

from foundation.errors import Invalid
from mpi.records.nhs_number import NhsNumberStatus, NumberState, parse_nhs_number_status
from mpi.records.source_record import SourceRecord

LONGEST_CHAIN = 10
"""How many times a number may have been superseded in turn; a longer chain is followed no further."""


def superseded_by(versions: Iterable[SourceRecord]) -> dict[str, str]:
    """Return the numbers that a record says were superseded, each with the one in its place.

    The latest version that bears a number decides what is said of it. Only what its source verified (status 01) holds for others.

    Args:
        versions: those that were accepted, in order of the source's time.
    """
    said: dict[str, str] = {}
    for version in versions:
        evidence = version.evidence()
        if evidence is None:
            continue
        said.pop(evidence.number, None)
        if (
            evidence.state is NumberState.SUPERSEDED
            and evidence.superseded_by is not None
            and is_verified(version)
        ):
            said[evidence.number] = evidence.superseded_by
    return said


def is_verified(record: SourceRecord) -> bool:
    """Whether a record's source says that what it says of the NHS number is verified (status 01)."""
    try:
        return parse_nhs_number_status(record.nhs_number_status or "") is NhsNumberStatus.VERIFIED
    except Invalid:
        return False


def survivors(numbers: Iterable[str], said: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return of some numbers those that were superseded, each with the one that stands for it now.

    One for which records name two different ones stands for itself, and so does one of a circle.
    """
    found = {}
    for start in numbers:
        at, seen = start, {start}
        while len(said.get(at, ())) == 1 and len(seen) <= LONGEST_CHAIN:
            (at,) = said[at]
            if at in seen:
                at = start
                break
            seen.add(at)
        if at != start:
            found[start] = at
    return found
