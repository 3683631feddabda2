"""Whether somebody whom a national service knows by a number is the person of a record: a rule of its own, without weights.

Weights say how likely two records are one person's. Here a number stands between them already, and what is asked is whether it was given
to the right one: so the rule must not depend on the model that is in force, nor on how rare a name is.
"""

from dataclasses import replace
from enum import Enum

from mpi.matching.compare import MISSING, Comparison, compare
from mpi.matching.decide import safety_obstacles
from mpi.matching.definition import FIELDS
from mpi.matching.model import Model
from mpi.matching.normalise import NormalisedRecord


class Agreement(Enum):
    """SAME person, ANOTHER one, or OPEN: too little says either."""

    SAME = "same"
    ANOTHER = "another"
    OPEN = "open"


_ALIKE_BIRTH = frozenset(("exact", "january", "swapped", "close", "partial"))
_OTHER_BIRTH = frozenset(("differ", "year"))
_OTHER_GIVEN = frozenset(("differ", "loose"))
_OTHER_FAMILY = frozenset(("differ", "changed", "loose"))
_SAME_GIVEN = frozenset(("exact", "nickname", "reordered", "typo", "close"))
_SAME_FAMILY = frozenset(("exact", "previous", "half"))
_SAME_PLACE = frozenset(("same", "postcode", "street"))


def agreement_by_number(record: NormalisedRecord, known: NormalisedRecord, model: Model) -> Agreement:
    """Say whether a number that a record bears is its person's.

    A number and a birth date never do alone: the given name must agree as well, or two other items. A different given name beside the
    same birth date is a twin's, whatever else agrees. Where somebody is protected, no location is compared, on either side.

    Args:
        known: the one whose the number is; its number is taken as the record's.
    """
    comparison = _compared(record, known, model)
    level = _levels(comparison)
    birth, given, family = level["birth_date"], level["given"], level["family"]
    if birth in _OTHER_BIRTH and not (given in _SAME_GIVEN and family in _SAME_FAMILY):
        return Agreement.ANOTHER
    if given in _OTHER_GIVEN and (family in _OTHER_FAMILY or birth in _ALIKE_BIRTH):
        return Agreement.ANOTHER
    if level["birth_order"] == "differ":
        return Agreement.ANOTHER
    if birth not in _ALIKE_BIRTH or safety_obstacles(comparison):
        return Agreement.OPEN
    return Agreement.SAME


def agreement_by_search(record: NormalisedRecord, known: NormalisedRecord, model: Model) -> Agreement:
    """Say whether the only one whom a search found is a record's person.

    Nothing but names and a birth date led there, and of a large nation's people two may share these: so the whole birth date, given
    name and family name must be the same, and where they live or how they are reached as well. Nobody whose location is protected is
    ever the same by this: there is nothing to compare.
    """
    comparison = _compared(record, known, model)
    level = _levels(comparison)
    at_home = level["address"] in _SAME_PLACE or level["phone"] == "mobile" or level["email"] == "agree"
    is_same = (
        level["birth_date"] == "exact"
        and level["given"] in ("exact", "nickname", "reordered")
        and level["family"] in _SAME_FAMILY
        and level["middle"] != "differ"
        and (not record.gender or not known.gender or record.gender == known.gender)
        and level["birth_order"] != "differ"
        and not comparison.is_placeholder
        and at_home
    )
    return Agreement.SAME if is_same else Agreement.OPEN


def _compared(record: NormalisedRecord, known: NormalisedRecord, model: Model) -> Comparison:
    if record.is_restricted or known.is_restricted:
        record, known = record.without_location(), known.without_location()
    # Claimed: that it is verified is what is asked, and must not count for itself.
    record = replace(record, number=known.number, number_state="c")
    return compare(record, known, model)


def _levels(comparison: Comparison) -> dict[str, str]:
    return dict.fromkeys(FIELDS, MISSING) | dict(zip(comparison.fields, comparison.levels, strict=True))
