"""Step 1: from a source record as received to the form that is compared."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import jellyfish

from foundation.errors import Invalid
from mpi.matching.model import Model, fingerprint
from mpi.records import (
    Address,
    Gender,
    HumanName,
    NumberState,
    SourceRecord,
    number_evidence,
    parse_gender,
    parse_nhs_number,
    parse_partial_date,
    parse_postcode,
)

T = TypeVar("T")

Date = tuple[int, int, int]
"""Year, month, day; 0 where a part is not known. All 0: nothing is known."""

NO_DATE: Date = (0, 0, 0)


class Place(NamedTuple):
    """One address: postcode without its space, the numbers in it, and its other words in order of the alphabet."""

    postcode: str = ""
    numbers: str = ""
    words: str = ""
    is_shared: bool = False

    def __repr__(self) -> str:
        return "Place(…)"


@dataclass(frozen=True, slots=True)
class NormalisedRecord:
    """A source record made comparable. Empty means missing or a placeholder; current values stand first.

    ``number_state`` is the worth of ``number``: "v" verified, "c" claimed, "i" invalid (kept to see a typing error).
    ``given`` holds the first given name of every name, ``middle`` the others, ``canonical`` the full forms of nicknames.
    """

    number: str = field(default="", repr=False)
    number_state: str = ""
    given: tuple[str, ...] = field(default=(), repr=False)
    middle: tuple[str, ...] = field(default=(), repr=False)
    canonical: tuple[str, ...] = field(default=(), repr=False)
    family: tuple[str, ...] = field(default=(), repr=False)
    previous: tuple[str, ...] = field(default=(), repr=False)
    halves: tuple[str, ...] = field(default=(), repr=False)
    birth: Date = field(default=NO_DATE, repr=False)
    gender: str = field(default="", repr=False)
    places: tuple[Place, ...] = field(default=(), repr=False)
    phones: tuple[str, ...] = field(default=(), repr=False)
    emails: tuple[str, ...] = field(default=(), repr=False)
    identifiers: tuple[str, ...] = field(default=(), repr=False)
    practice: str = field(default="", repr=False)
    mother: str = field(default="", repr=False)
    birth_order: int = field(default=0, repr=False)
    death: Date = field(default=NO_DATE, repr=False)
    is_restricted: bool = False
    is_placeholder: bool = False

    def to_payload(self) -> list[Any]:
        """Return a list for JSON, short enough to be stored with every record."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def from_payload(cls, payload: Sequence[Any] | str) -> "NormalisedRecord":
        """Read what ``to_payload`` gave, as a list or still as JSON text."""
        values = json.loads(payload) if isinstance(payload, str) else list(payload)
        for place in _SEQUENCES:
            values[place] = tuple(values[place])
        values[_PLACES] = tuple([Place._make(one) for one in values[_PLACES]])
        return cls(*values)

    def without_location(self) -> "NormalisedRecord":
        """Leave out all that tells where the person lives, for any comparison with a restricted person."""
        return replace(self, places=(), phones=(), practice="")


_SEQUENCES = (2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 17)
_PLACES = 10


def normalise(
    record: SourceRecord, model: Model, *, superseded: Mapping[str, str] | None = None
) -> NormalisedRecord:
    """Clean a record for comparison; unreadable and placeholder values become missing, and nothing is refused.

    Args:
        superseded: NHS numbers that were replaced, each with the number that stands for it now.
    """
    number, state = number_of(
        record.nhs_number,
        record.nhs_number_status,
        model,
        superseded or {},
        superseded_by=record.nhs_number_superseded_by,
        is_withdrawn=bool(record.nhs_number_withdrawn_at),
    )
    names = names_of(record.names, model)
    return NormalisedRecord(
        number=number,
        number_state=state,
        given=names.given,
        middle=names.middle,
        canonical=canonical_of(names.given, model),
        family=names.family,
        previous=names.previous,
        halves=names.halves,
        birth=date_of(record.birth_date, model.placeholder_dates),
        gender=gender_of(record.gender),
        places=distinct(_place(address, model) for address in record.addresses),
        phones=distinct(phone_of(one.value, model) for one in record.telecoms if one.system == "phone"),
        emails=distinct(email_of(one.value, model) for one in record.telecoms if one.system == "email"),
        identifiers=distinct(identifier_of(one.system, one.value) for one in record.identifiers),
        practice=practice_of(record.gp_practice, model),
        mother=mother_of(record.mother_nhs_number),
        birth_order=order_of(record.birth_order) or names.birth_order,
        death=date_of(record.death_date, frozenset()),
        is_restricted=record.restricted is True,
        is_placeholder=names.is_placeholder,
    )


# Numbers, dates, codes -----------------------------------------------------------------------------------------

_STATES = {NumberState.VERIFIED: "v", NumberState.CLAIMED: "c", NumberState.INVALID: "i"}
_BIRTH_ORDERS = frozenset("1234567")  # 8 means "not applicable" and 9 "not known"
_GENDERS = {Gender.MALE: "m", Gender.FEMALE: "f"}


def number_of(
    text: str | None,
    status: str | None,
    model: Model,
    superseded: Mapping[str, str],
    *,
    superseded_by: str | None = None,
    is_withdrawn: bool = False,
) -> tuple[str, str]:
    """Return the number to match by and its worth; for one that was superseded, the number that took its place."""
    evidence = number_evidence(
        text,
        status,
        accept_reserved=model.accept_reserved_numbers,
        superseded_by=superseded_by,
        is_withdrawn=is_withdrawn,
    )
    if evidence is not None and evidence.state is NumberState.SUPERSEDED:
        return number_of(evidence.superseded_by, status, model, superseded)
    state = _STATES.get(evidence.state, "") if evidence else ""
    if evidence is None or not state:
        return "", ""
    digits = _NOT_DIGIT.sub("", evidence.number)
    if len(digits) < 8 or len(set(digits)) == 1:
        return "", ""
    return superseded.get(digits, digits), state


def order_of(text: str | None) -> int:
    order = (text or "").strip()
    return int(order) if order in _BIRTH_ORDERS else 0


def mother_of(text: str | None) -> str:
    try:
        return parse_nhs_number(text).digits if text else ""
    except Invalid:
        return ""


def date_of(text: str | None, placeholders: frozenset[Date]) -> Date:
    if not text:
        return NO_DATE
    try:
        read = parse_partial_date(text)
    except Invalid:
        return NO_DATE
    date = (read.year, read.month or 0, read.day or 0)
    return NO_DATE if date in placeholders else date


def gender_of(text: str | None) -> str:
    try:
        return _GENDERS.get(parse_gender(text), "") if text else ""
    except Invalid:
        return ""


def practice_of(text: str | None, model: Model) -> str:
    code = (text or "").strip().upper()
    return "" if code in model.placeholder_practices else code


# Text ----------------------------------------------------------------------------------------------------------

_LETTERS = str.maketrans({
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h",
})  # fmt: skip
_APOSTROPHES = re.compile("['’‘`´ʻʼʹ′]")
_NOT_DIGIT = re.compile("[^0-9]+")
_NOT_WORD = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """Lower case without diacritics or apostrophes; every other mark becomes one space."""
    lowered = text.lower()
    if not lowered.isascii():
        parts = unicodedata.normalize("NFKD", lowered.translate(_LETTERS))
        lowered = "".join(character for character in parts if not unicodedata.combining(character))
    return _NOT_WORD.sub(" ", _APOSTROPHES.sub("", lowered)).strip()


def distinct(values: Iterable[T | None]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(filter(None, values)))


# Names ---------------------------------------------------------------------------------------------------------

_KNOWN_AS = re.compile(r"[(\[\"“]([^)\]\"”]+)[)\]\"”]|\bknown as\b(.+)", re.IGNORECASE)
_BIRTH_LABELS = {
    "1": 1, "one": 1, "a": 1, "i": 1, "2": 2, "two": 2, "b": 2, "ii": 2, "3": 3, "three": 3, "c": 3, "iii": 3,
}  # fmt: skip


class _Names(NamedTuple):
    given: tuple[str, ...]
    middle: tuple[str, ...]
    family: tuple[str, ...]
    previous: tuple[str, ...]
    halves: tuple[str, ...]
    birth_order: int
    is_placeholder: bool


def names_of(names: Sequence[HumanName], model: Model) -> _Names:
    given: list[str] = []
    middle: list[str] = []
    current: list[str] = []
    previous: list[str] = []
    halves: list[str] = []
    birth_order, is_placeholder = 0, False
    for name in sorted(names, key=lambda one: one.is_previous):
        words, aliases = _given_words(name.given, model)
        if words and _is_placeholder(words, model):
            is_placeholder = True
            birth_order = birth_order or _birth_label(words)
            words = []
        if words:
            given.append(words[0])
            middle.extend(words[1:])
            # A compound first name ("Mary-Jane", "John Paul") is also met written as one word.
            parts = fold(name.given[0]).split()
            if len(parts) == 2 and parts[0] == words[0]:
                given.append(parts[0] + parts[1])
        given.extend(aliases)
        family, of_family = _family(name.family or "", model)
        if family:
            (previous if name.is_previous else current).append(family)
            halves.extend(of_family)
        elif name.family and name.family.strip():
            is_placeholder = True
    return _Names(
        distinct(given),
        distinct(middle),
        distinct(current),
        distinct(one for one in previous if one not in current),
        distinct(halves),
        birth_order,
        is_placeholder and not given,
    )


def _is_placeholder(words: Sequence[str], model: Model) -> bool:
    first = words[0]
    if first in model.placeholder_given or " ".join(words[:2]) in model.placeholder_given:
        return True
    # A slip in "unknown" makes no name of it.
    return first.startswith(("unk", "ukn", "not")) and any(
        jellyfish.damerau_levenshtein_distance("".join(words[:2]), said) <= 1 for said in _MISSPELT
    )


_MISSPELT = ("unknown", "notknown", "notgiven", "notstated")


def _given_words(given: Sequence[str], model: Model) -> tuple[list[str], list[str]]:
    """Split given names into words; the second list holds what stands in brackets or after "known as"."""
    words: list[str] = []
    aliases: list[str] = []
    for text in given:
        for found in _KNOWN_AS.finditer(text) if not text.isalpha() else ():
            alias = fold(found.group(1) or found.group(2)).split()
            aliases.extend(alias[:1])
        plain = text if text.isalpha() else _KNOWN_AS.sub(" ", text)
        words.extend(fold(plain).split())
    while len(words) > 1 and words[0] in model.titles:
        words.pop(0)
    return words, aliases


def _birth_label(words: Sequence[str]) -> int:
    """Read "Twin 2" or "Triplet B"; a plain "Baby A" says nothing of an order."""
    if words[0] not in ("twin", "triplet") or len(words) < 2:
        return 0
    return _BIRTH_LABELS.get(words[1], 0)


def _family(text: str, model: Model) -> tuple[str, list[str]]:
    """Return a family name as one word, and the parts of a double one; "" for a placeholder."""
    words = fold(text).split()
    if not words or " ".join(words) in model.placeholder_family or words[0].startswith(("zzz", "xxtest")):
        return "", []
    if len(words) > 1 and words[0] == "baby":  # "Baby Okafor" as a family name
        words = words[1:]
    if len(words) == 1:
        return words[0], []
    words = [word for word in words if word not in model.suffixes] or words
    parts: list[str] = []
    lead = ""
    for word in words:
        if word in model.particles:
            lead += word
        else:
            parts.append(lead + word)
            lead = ""
    if lead:
        parts.append(lead)
    return "".join(words), [part for part in parts if len(part) > 2] if len(parts) > 1 else []


def canonical_of(given: Sequence[str], model: Model) -> tuple[str, ...]:
    return distinct(full for name in given for full in canonical_forms(name, model))


def canonical_forms(name: str, model: Model) -> tuple[str, ...]:
    """Return a given name with the full forms it may stand for."""
    return (name, *model.nicknames.get(name, ()))


# Places and contacts -------------------------------------------------------------------------------------------

UNIT_WORDS = frozenset(("flat", "apartment", "apt", "unit", "room", "house", "no", "number", "floor", "the"))


def _place(address: Address, model: Model) -> Place | None:
    return place_of(postcode_of(address.postcode), *words_of(address.lines, address.city, model), model)


def words_of(lines: Sequence[str], city: str | None, model: Model) -> tuple[str, str]:
    """Return the numbers in an address and its other words, each in order; empty for a placeholder."""
    folded = fold(" ".join(lines))
    if any(phrase in folded for phrase in model.placeholder_addresses):
        folded = ""
    words = folded.split()
    town = fold_town(city or "")
    numbers = " ".join(sorted({word for word in words if word[0].isdigit()}))
    named = {
        model.street_words.get(word, word)
        for word in words
        if not word[0].isdigit() and word not in UNIT_WORDS and word != town
    }
    return numbers, " ".join(sorted(named))


@lru_cache(maxsize=4_096)
def fold_town(city: str) -> str:
    return fold(city)


def place_of(postcode: str, numbers: str, words: str, model: Model) -> Place | None:
    if not postcode and not numbers and not words:
        return None
    is_shared = (
        fingerprint(f"place:{postcode}:{numbers}:{words}") in model.shared
        or bool(postcode)
        and fingerprint(f"postcode:{postcode}") in model.shared
    )
    return Place(postcode, numbers, words, is_shared)


def postcode_of(text: str | None) -> str:
    """Return a postcode without its space; pseudo postcodes are missing, other countries' codes kept as they are."""
    if not text or not text.strip():
        return ""
    try:
        read = parse_postcode(text)
    except Invalid:
        plain = "".join(character for character in text.upper() if character.isalnum())
        return plain if 3 <= len(plain) <= 10 and any(character.isdigit() for character in plain) else ""
    return "" if read.is_pseudo else read.text.replace(" ", "")


def phone_of(text: str, model: Model) -> str:
    digits = _NOT_DIGIT.sub("", text.replace("(0)", ""))
    if digits.startswith("0044"):
        digits = "0" + digits[4:].lstrip("0")
    elif digits.startswith("44") and len(digits) == 12:
        digits = "0" + digits[2:]
    elif len(digits) == 10 and digits[0] in "127":
        digits = "0" + digits
    if len(digits) < 7 or len(set(digits)) <= 2 or digits in model.placeholder_contacts:
        return ""
    return "" if fingerprint(f"phone:{digits}") in model.shared else digits


def email_of(text: str, model: Model) -> str:
    address = text.strip().lower()
    name, at, host = address.partition("@")
    if not at or not name or "." not in host or name in model.placeholder_contacts:
        return ""
    return "" if fingerprint(f"email:{address}") in model.shared else address


def identifier_of(system: str, value: str) -> str:
    plain = "".join(character for character in value.upper() if character.isalnum())
    return f"{system.strip().lower()}|{plain}" if plain and len(set(plain)) > 1 else ""
