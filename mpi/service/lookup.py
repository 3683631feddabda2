"""Finding a person by an identifier: keys of a space of their own, verified against what the record says."""

from mpi.matching import NormalisedRecord
from mpi.matching.model import fingerprint
from mpi.records import SourceRecord

NHS_NUMBER_SYSTEM = "https://fhir.nhs.uk/Id/nhs-number"


def lookup_key(system: str, value: str) -> int:
    """Return the key of an identifier. An NHS number is found under its blocking key; others have a space of their own."""
    if system == NHS_NUMBER_SYSTEM:
        return fingerprint(f"number\x1f{_plain(value)}")
    return fingerprint(f"lookup\x1f{system}\x1f{_plain(value)}")


def lookup_keys(record: SourceRecord, form: NormalisedRecord) -> tuple[int, ...]:
    """Return the keys under which a record's identifiers are looked up; an NHS number that is not usable has none.

    A number that the record bears is found though another stands for it: whoever still holds the old one must find the person.
    """
    keys = [lookup_key(one.system, one.value) for one in record.identifiers]
    keys += [lookup_key(NHS_NUMBER_SYSTEM, number) for number in _other_numbers(record, form)]
    if form.number and form.number_state in ("v", "c"):
        keys.append(lookup_key(NHS_NUMBER_SYSTEM, form.number))
    return tuple(keys)


def has_identifier(record: SourceRecord, form: NormalisedRecord, system: str, value: str) -> bool:
    """Whether a record bears this identifier."""
    if system == NHS_NUMBER_SYSTEM:
        number = _plain(value)
        is_own = form.number_state in ("v", "c") and form.number == number
        return is_own or number in _other_numbers(record, form)
    return any(one.system == system and _plain(one.value) == _plain(value) for one in record.identifiers)


def _other_numbers(record: SourceRecord, form: NormalisedRecord) -> tuple[str, ...]:
    """Return the numbers that a record bears where another stands for them."""
    if not form.number and not record.nhs_number_superseded_by:
        return ()
    return tuple(number for number in record.usable_numbers if number != form.number)


def _plain(value: str) -> str:
    return "".join(value.split()).replace("-", "").upper()
