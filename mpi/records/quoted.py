"""Whether a text quotes what a record says: how traces of an erased record are found in words that people wrote."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from mpi.records.source_record import SourceRecord

SHORTEST = 3
"""Letters and digits of a value that is looked for inside a text; a shorter one is too common, and only found as the whole text."""

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"[\d\s()+-]+")
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?!\d)")
_BEFORE, _AFTER = r"(?<![^\W_])", r"(?![^\W_])"


@dataclass(frozen=True, slots=True)
class Quotes:
    """The values of a record, made ready to be looked for. Upper and lower case are one, and so are ways to space a number or a date."""

    inside: re.Pattern[str] | None = field(repr=False)
    whole: frozenset[str] = field(repr=False)

    def are_in(self, text: str | None) -> bool:
        """Whether a text holds one of the values, as words of its own."""
        if not text:
            return False
        folded = text.casefold()
        return folded.strip() in self.whole or (self.inside is not None and bool(self.inside.search(folded)))


def quotes_of(records: Iterable[SourceRecord]) -> Quotes:
    """Make ready what some versions of a record say that may tell who it is of: names, numbers, days, addresses, contacts, local id.

    Gender, town, practice and birth order tell of nobody by themselves, and are left out.
    """
    values = {value.casefold().strip() for record in records for value in _telling(record) if value}
    values.discard("")
    patterns = sorted({pattern for value in values for pattern in _patterns(value)})
    inside = re.compile(_BEFORE + "(?:" + "|".join(patterns) + ")" + _AFTER) if patterns else None
    return Quotes(inside, frozenset(values))


def _telling(record: SourceRecord) -> Iterable[str | None]:
    yield record.key.local_id
    yield from (record.nhs_number, record.nhs_number_superseded_by, record.mother_nhs_number)
    yield from (record.birth_date, record.death_date)
    yield from (one.value for one in record.identifiers)
    yield from (one.value for one in record.telecoms)
    for name in record.names:
        yield from (*name.given, name.family)
    for address in record.addresses:
        yield from (*address.lines, address.postcode)
        yield from map(_street, address.lines)


def _street(line: str) -> str | None:
    """Return a line of an address without the number of the house, where more than one word is left."""
    words = line.split()
    named = [word for word in words if not any(character.isdigit() for character in word)]
    return " ".join(named) if len(words) > len(named) > 1 else None


def _patterns(value: str) -> Iterable[str]:
    words = _WORD.findall(value)
    if sum(map(len, words)) < SHORTEST:
        return
    if day := _DAY.match(value):
        year, month, date = day.groups()
        short = (f"0?{date.lstrip('0')}", f"0?{month.lstrip('0')}")
        yield r"[\W_]*".join((year, *reversed(short)))
        yield r"[\W_]*".join((*short, year))
    elif _NUMBER.fullmatch(value):
        yield r"[\s()-]*".join("".join(words))
    else:
        yield r"[\W_]*".join(map(re.escape, words))
