"""Step 3: what two records say of each other, field by field, as named levels."""

from dataclasses import dataclass, field

import jellyfish

from mpi.matching.model import Frequency, Model
from mpi.matching.normalise import Date, NormalisedRecord, Place, outward_of

FIELDS = (
    "nhs_number",
    "given",
    "middle",
    "family",
    "birth_date",
    "gender",
    "address",
    "phone",
    "email",
    "identifier",
    "practice",
    "mother",
    "birth_order",
    "death_date",
)

MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One level for each of FIELDS, the agreeing names (for their frequency), and what the safety rules need."""

    levels: tuple[str, ...]
    given: str = field(default="", repr=False)
    family: str = field(default="", repr=False)
    is_placeholder: bool = False
    is_later_birth: bool = False

    def level(self, name: str) -> str:
        return self.levels[FIELDS.index(name)]


def compare(a: NormalisedRecord, b: NormalisedRecord, model: Model) -> Comparison:
    """Compare two records; the answer is the same whichever stands first. Missing on either side is no evidence."""
    given, given_value = _given(a, b, model)
    family, family_value = _family(a, b, model)
    if given in _WEAK_GIVEN and family in _WEAK_FAMILY and _are_swapped(a, b):
        given, family, given_value, family_value = "swapped", "swapped", "", ""
    birth = "missing" if not a.birth[0] or not b.birth[0] else _dates(a.birth, b.birth)
    if given_value and birth in _SAME_DECADE:
        given_value = f"{given_value}|{min(a.birth[0], b.birth[0]) // 10}"
    if family == "differ" and given in _SAME_GIVEN and a.gender == "f" and b.gender == "f":
        family = "changed"
    return Comparison(
        (
            _number(a, b),
            given,
            "missing" if given in _MIDDLE_SPENT else _middle(a, b),
            family,
            birth,
            _gender(a, b, given),
            _address(a.places, b.places),
            _phone(a.phones, b.phones),
            _overlap(a.emails, b.emails),
            _identifiers(a.identifiers, b.identifiers) if a.identifiers and b.identifiers else "missing",
            _equal(a.practice, b.practice),
            _equal(a.mother, b.mother),
            _birth_order(a.birth_order, b.birth_order),
            "missing" if not a.death[0] or not b.death[0] else _deaths(a.death, b.death),
        ),
        given_value,
        family_value,
        a.is_placeholder or b.is_placeholder,
        a.birth_order > 1 or b.birth_order > 1,
    )


# Names ---------------------------------------------------------------------------------------------------------

_WEAK_GIVEN = frozenset(("differ", "loose", "initial", "missing", "middle"))
_WEAK_FAMILY = frozenset(("differ", "loose", "close", "half", "previous"))
_MIDDLE_SPENT = frozenset(("middle", "reordered"))
_SAME_DECADE = frozenset(("exact", "january", "swapped", "close", "partial"))
_SAME_GIVEN = frozenset(("exact", "nickname", "typo", "close", "middle", "reordered"))

CLOSE = 0.9
LOOSE = 0.8


def similarity(a: str, b: str) -> float:
    """Jaro-Winkler, rounded so that every engine puts a pair on the same level; the same whichever stands first.

    Jaro matches letters greedily from its first argument, so that a few pairs differ with the order: the lesser text goes first.
    """
    if b < a:
        a, b = b, a
    return round(jellyfish.jaro_winkler_similarity(a, b), 6)


def _given(a: NormalisedRecord, b: NormalisedRecord, model: Model) -> tuple[str, str]:
    ours, theirs = a.given, b.given
    if not ours or not theirs:
        return "missing", ""
    if ours[0] == theirs[0] and len(ours[0]) > 1:
        return "exact", ours[0]
    if len(ours) > 1 or len(theirs) > 1:
        both = [name for name in ours if name in theirs and len(name) > 1]
        if both:
            return "exact", min(both)
    for name in a.canonical:
        if name in b.canonical and len(name) > 1:
            return "nickname", _commoner(ours[0], theirs[0], model.frequency["given"])
    order = _order(a, b)
    if order:
        return order, ""
    best = "differ"
    for mine in ours:
        for other in theirs:
            level = _close_given(mine, other)
            if _RANK[level] > _RANK[best]:
                best = level
    if best in ("differ", "loose") and (a.middle or b.middle) and (_near_middle(a, b) or _near_middle(b, a)):
        return "middle", ""
    return best, _commoner(ours[0], theirs[0], model.frequency["given"]) if best == "typo" else ""


def _order(a: NormalisedRecord, b: NormalisedRecord) -> str:
    """Say whether a first name stands among the other's further names: ``reordered`` both ways, ``middle`` one way."""
    here = any(name in b.middle for name in a.canonical if len(name) > 1)
    there = any(name in a.middle for name in b.canonical if len(name) > 1)
    return "reordered" if here and there else "middle" if here or there else ""


def _near_middle(a: NormalisedRecord, b: NormalisedRecord) -> bool:
    return any(
        name[0] == middle[0] and (len(name) == 1 or len(middle) > 2 and similarity(name, middle) >= 0.92)
        for name in a.given
        for middle in b.middle
    )


_RANK = {"differ": 0, "loose": 1, "initial": 2, "close": 3, "typo": 4}


def _close_given(mine: str, other: str) -> str:
    short, long = (mine, other) if len(mine) <= len(other) else (other, mine)
    if len(short) == 1:
        return "initial" if short == long[0] else "differ"
    alike = similarity(mine, other)
    if len(short) >= 3 and alike >= 0.55 and jellyfish.damerau_levenshtein_distance(mine, other) == 1:
        # Twins are given rhyming names; a clerk rarely mistakes the first letter.
        return "typo" if mine[0] == other[0] and len(short) > 3 else "close"
    # A shortened form begins ("Dan", "Danielle") or, as in Yoruba, ends like the long one ("Tunde", "Babatunde").
    if (
        alike >= CLOSE
        or (len(short) >= 3 and long.startswith(short))
        or (len(short) >= 4 and long.endswith(short))
    ):
        return "close"
    return "loose" if alike >= LOOSE or _sound_alike(mine, other) else "differ"


def _sound_alike(mine: str, other: str) -> bool:
    return mine[0] == other[0] and jellyfish.soundex(mine) == jellyfish.soundex(other)


def _middle(a: NormalisedRecord, b: NormalisedRecord) -> str:
    if not a.middle or not b.middle:
        return "missing"
    if a.middle[0] == b.middle[0] and len(a.middle[0]) > 1:
        return "exact"
    best = "differ"
    for mine in a.middle:
        for other in b.middle:
            if mine == other and len(mine) > 1:
                return "exact"
            if mine[0] == other[0] and (len(mine) == 1 or len(other) == 1):
                best = "initial" if best == "differ" else best
            elif best != "close" and mine[0] == other[0] and similarity(mine, other) >= CLOSE:
                best = "close"
    return best


def _commoner(one: str, other: str, frequency: Frequency) -> str:
    """Return the name that says less: of a name and its slip, the name; so a slip never makes a common name rare."""
    return min((one, other), key=lambda name: (frequency.part(name), name))


def _family(a: NormalisedRecord, b: NormalisedRecord, model: Model) -> tuple[str, str]:
    ours, theirs = a.family, b.family
    if not (ours or a.previous) or not (theirs or b.previous):
        return "missing", ""
    if ours and theirs:
        if ours[0] == theirs[0]:
            return "exact", ours[0]
        if len(ours) > 1 or len(theirs) > 1:
            both = [name for name in ours if name in theirs]
            if both:
                return "exact", min(both)
    if a.previous or b.previous:
        both = [name for name in (*ours, *a.previous) if name in theirs or name in b.previous]
        if both:
            return "previous", min(both)
    if a.halves or b.halves:
        mine, other = (*ours, *a.previous, *a.halves), (*theirs, *b.previous, *b.halves)
        if any(name in other for name in mine):
            return "half", ""
    best = "differ"
    for name in (*ours, *a.previous):
        for other_name in (*theirs, *b.previous):
            alike = similarity(name, other_name)
            if alike >= CLOSE:
                best = "close"
            elif alike >= LOOSE and best == "differ":
                best = "loose"
    if best == "close":
        here, there = (ours or a.previous)[0], (theirs or b.previous)[0]
        return best, _commoner(here, there, model.frequency["family"])
    if any(name in b.middle for name in ours) or any(name in a.middle for name in theirs):
        return "half", ""
    return best, ""


def _are_swapped(a: NormalisedRecord, b: NormalisedRecord) -> bool:
    return _any_alike(a.given, (*b.family, *b.halves)) and _any_alike(b.given, (*a.family, *a.halves))


def _any_alike(given: tuple[str, ...], family: tuple[str, ...]) -> bool:
    return any(
        name == other or (name[0] == other[0] and similarity(name, other) >= 0.88)
        for name in given
        for other in family
        if len(name) > 1
    )


# Dates ---------------------------------------------------------------------------------------------------------


def _dates(ours: Date, theirs: Date) -> str:
    year, month, day = ours
    other_year, other_month, other_day = theirs
    if ours == theirs:
        return "exact" if day and (day, month) != (1, 1) else "january" if day else "partial"
    if not day or not other_day:
        if year != other_year:
            return "differ"
        if month and other_month:
            return "partial" if month == other_month else "year"
        return "year"
    if year == other_year:
        if month == other_day and day == other_month:
            return "swapped"
        # The first of January is written where only the year is known.
        if (day, month) == (1, 1) or (other_day, other_month) == (1, 1):
            return "year"
    same = (year == other_year) + (month == other_month) + (day == other_day)
    if same == 2:
        return "close" if _one_slip(ours, theirs) else "part"
    return "year" if year == other_year else "differ"


def _one_slip(ours: Date, theirs: Date) -> bool:
    """Whether one digit differs, or two neighbours changed places."""
    mine, other = _text(ours), _text(theirs)
    places = [place for place in range(8) if mine[place] != other[place]]
    if len(places) == 1:
        return True
    first, last = places[0], places[-1]
    return (
        len(places) == 2 and last == first + 1 and mine[first] == other[last] and mine[last] == other[first]
    )


def _text(date: Date) -> str:
    year, month, day = date
    return f"{year:04}{month:02}{day:02}"


def _deaths(ours: Date, theirs: Date) -> str:
    return (
        "agree" if _dates(ours, theirs) in ("exact", "january", "partial", "swapped", "close") else "differ"
    )


# Numbers and codes ---------------------------------------------------------------------------------------------


def _number(a: NormalisedRecord, b: NormalisedRecord) -> str:
    if not a.number or not b.number:
        return "missing"
    states = a.number_state + b.number_state
    if a.number == b.number:
        return "verified" if states == "vv" else "claimed" if "i" not in states else "missing"
    if "i" in states:
        # A wrong number one slip away from a right one was meant to be it; else it says nothing.
        near = jellyfish.damerau_levenshtein_distance(a.number, b.number) == 1
        return "close" if near else "missing"
    return "differ-verified" if states == "vv" else "differ"


def _gender(a: NormalisedRecord, b: NormalisedRecord, given: str) -> str:
    if not a.gender or not b.gender:
        return "missing"
    if given in ("exact", "nickname"):
        return "implied"
    return "agree" if a.gender == b.gender else "differ"


def _equal(ours: str, theirs: str) -> str:
    if not ours or not theirs:
        return "missing"
    return "agree" if ours == theirs else "differ"


def _overlap(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    if not ours or not theirs:
        return "missing"
    return "agree" if any(value in theirs for value in ours) else "differ"


def _phone(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    if not ours or not theirs:
        return "missing"
    both = [value for value in ours if value in theirs]
    if not both:
        return "differ"
    return "mobile" if any(value.startswith("07") for value in both) else "landline"


def _identifiers(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    if any(value in theirs for value in ours):
        return "agree"
    level = "missing"
    for mine in ours:
        system, _, value = mine.partition("|")
        for other in theirs:
            other_system, _, other_value = other.partition("|")
            if system == other_system:
                if jellyfish.damerau_levenshtein_distance(value, other_value) == 1:
                    return "close"
                level = "differ"
    return level


def _birth_order(ours: int, theirs: int) -> str:
    if not ours or not theirs:
        return "missing"
    return "agree" if ours == theirs else "differ"


# Addresses -----------------------------------------------------------------------------------------------------

_ADDRESS_RANK = {"missing": 0, "differ": 1, "district": 2, "shared": 3, "street": 4, "postcode": 5, "same": 6}


def _address(ours: tuple[Place, ...], theirs: tuple[Place, ...]) -> str:
    best = "missing"
    for mine in ours:
        for other in theirs:
            level = _places(mine, other)
            if level == "same":
                return level
            if _ADDRESS_RANK[level] > _ADDRESS_RANK[best]:
                best = level
    return best


def _places(mine: Place, other: Place) -> str:
    if mine == other:
        return "shared" if mine.is_shared else "same" if mine.postcode and mine.words else _bare(mine)
    have_codes = bool(mine.postcode and other.postcode)
    same_code = have_codes and mine.postcode == other.postcode
    if mine.is_shared or other.is_shared:
        return "shared" if same_code else "district" if have_codes and _near(mine, other) else "differ"
    have_lines = bool(mine.words and other.words)
    if have_lines:
        alike = _alike_lines(mine, other)
        if same_code:
            return "same" if alike else "postcode"
        numbered = bool(mine.numbers and other.numbers)
        if alike and (numbered or min(len(mine.words), len(other.words)) > 12):
            return "same" if not have_codes and numbered else "street"
    elif same_code:
        return "postcode"
    if have_codes:
        return "district" if _near(mine, other) else "differ"
    return "differ" if have_lines else "missing"


def _bare(place: Place) -> str:
    return "postcode" if place.postcode else "same" if place.numbers and place.words else "street"


def _near(mine: Place, other: Place) -> bool:
    return outward_of(mine.postcode) == outward_of(other.postcode)


def _alike_lines(mine: Place, other: Place) -> bool:
    """Whether the house numbers agree where both have one, and half of the shorter one's words are in the other."""
    if mine.numbers != other.numbers and mine.numbers and other.numbers:
        ours, theirs = mine.numbers.split(), other.numbers.split()
        if not any(number in theirs for number in ours):
            return False
    if mine.words == other.words:
        return True
    words, others = set(mine.words.split()), set(other.words.split())
    if 2 * len(words & others) > min(len(words), len(others)):
        return True
    return similarity(mine.words, other.words) >= CLOSE
