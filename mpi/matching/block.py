"""Step 2: the keys under which a record is found. Two records are compared when they share one."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jellyfish

from mpi.matching.model import Model, fingerprint
from mpi.matching.normalise import NormalisedRecord, outward_of


class BlockKey(NamedTuple):
    """A signed 64-bit key, and the rule that made it."""

    rule: str
    key: int


def block(record: NormalisedRecord, model: Model) -> tuple[BlockKey, ...]:
    """Return the keys to store for a record; nothing comes from missing, placeholder or shared values.

    Location keys of a restricted person lie in a space of their own, which only ``search_keys(receiving=True)`` reads.
    """
    return _keys(record, model, ("restricted" if record.is_restricted else "",))


def search_keys(record: NormalisedRecord, model: Model, *, receiving: bool) -> tuple[BlockKey, ...]:
    """Return the keys to look up: those of ``block``, and when receiving a record also the restricted space."""
    return _keys(record, model, ("", "restricted") if receiving else ("",))


def _keys(record: NormalisedRecord, model: Model, spaces: tuple[str, ...]) -> tuple[BlockKey, ...]:
    keys: dict[int, BlockKey] = {}
    for rule in model.rules:
        for value in _RULES[rule](record):
            for space in spaces if rule in LOCATION_RULES else ("",):
                key = fingerprint(f"{space}{rule}\x1f{value}")
                if key not in model.overfull:
                    keys.setdefault(key, BlockKey(rule, key))
    return tuple(keys.values())


def _number(record: NormalisedRecord) -> Iterator[str]:
    if record.number and record.number_state != "i":
        yield record.number


def _given_birth_date(record: NormalisedRecord) -> Iterator[str]:
    if record.birth[2]:
        for name in record.canonical:
            yield f"{name} {_day(record)}"


def _family_birth_date(record: NormalisedRecord) -> Iterator[str]:
    if record.birth[2]:
        for name in _families(record):
            yield f"{name} {_day(record)}"


def _swapped_birth_date(record: NormalisedRecord) -> Iterator[str]:
    """Day and month in either order, for days that can be months."""
    year, month, day = record.birth
    if day and day <= 12 and day != month:
        low, high = min(day, month), max(day, month)
        for given in record.given:
            for family in record.family:
                yield f"{given[0]}{family} {year} {low} {high}"


def _names_birth_year(record: NormalisedRecord) -> Iterator[str]:
    """Full name, in either order, and birth year."""
    if record.birth[0]:
        for given in record.canonical:
            for family in _families(record):
                yield f"{min(given, family)} {max(given, family)} {record.birth[0]}"


def _names_birth_day(record: NormalisedRecord) -> Iterator[str]:
    """Sound of the full name and the day of birth without its year."""
    _, month, day = record.birth
    if day:
        for given in record.given:
            for family in record.family:
                yield f"{_sound(given)} {_sound(family)} {month} {day}"


def _sound_birth_year(record: NormalisedRecord) -> Iterator[str]:
    year, month, _ = record.birth
    if month:
        for given in record.given:
            for family in _families(record):
                yield f"{_sound(family)} {given[0]} {year} {month}"


def _sound_given_birth_date(record: NormalisedRecord) -> Iterator[str]:
    if record.birth[2]:
        for given in record.given:
            for family in record.family:
                yield f"{_sound(given)} {family[0]} {_day(record)}"


def _birth_date_district(record: NormalisedRecord) -> Iterator[str]:
    if record.birth[2]:
        for place in record.places:
            if place.postcode:
                yield f"{outward_of(place.postcode)} {_day(record)}"


def _postcode_birth_month(record: NormalisedRecord) -> Iterator[str]:
    year, month, _ = record.birth
    if month:
        for place in record.places:
            if place.postcode:
                yield f"{place.postcode} {year} {month}"


def _postcode_given(record: NormalisedRecord) -> Iterator[str]:
    for place in record.places:
        if place.postcode:
            for given in record.canonical:
                yield f"{place.postcode} {given}"


def _names_district(record: NormalisedRecord) -> Iterator[str]:
    for place in record.places:
        if place.postcode:
            for given in record.canonical:
                for family in record.family:
                    yield f"{min(given, family)} {max(given, family)} {outward_of(place.postcode)}"


def _phone(record: NormalisedRecord) -> Iterator[str]:
    yield from record.phones


def _email(record: NormalisedRecord) -> Iterator[str]:
    yield from record.emails


def _identifier(record: NormalisedRecord) -> Iterator[str]:
    yield from record.identifiers


def _mother(record: NormalisedRecord) -> Iterator[str]:
    if record.mother and record.birth[1]:
        yield f"{record.mother} {record.birth[0]} {record.birth[1]}"


_RULES: dict[str, Callable[[NormalisedRecord], Iterator[str]]] = {
    "number": _number,
    "given-birth-date": _given_birth_date,
    "family-birth-date": _family_birth_date,
    "swapped-birth-date": _swapped_birth_date,
    "names-birth-year": _names_birth_year,
    "names-birth-day": _names_birth_day,
    "sound-birth-year": _sound_birth_year,
    "sound-given-birth-date": _sound_given_birth_date,
    "birth-date-district": _birth_date_district,
    "postcode-birth-month": _postcode_birth_month,
    "postcode-given": _postcode_given,
    "names-district": _names_district,
    "phone": _phone,
    "email": _email,
    "identifier": _identifier,
    "mother": _mother,
}

LOCATION_RULES = frozenset(
    ("birth-date-district", "postcode-birth-month", "postcode-given", "names-district", "phone")
)


def _families(record: NormalisedRecord) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*record.family, *record.previous, *record.halves)))


def _day(record: NormalisedRecord) -> str:
    year, month, day = record.birth
    return f"{year:04}{month:02}{day:02}"


def _sound(name: str) -> str:
    return jellyfish.soundex(name) or name[:2]
