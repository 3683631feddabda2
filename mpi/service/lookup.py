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
    """Return the keys under which a record's identifiers are looked up; an NHS number that is not usable has none."""
    keys = [lookup_key(one.system, one.value) for one in record.identifiers]
    if form.number and form.number_state in ("v", "c"):
        keys.append(lookup_key(NHS_NUMBER_SYSTEM, form.number))
    return tuple(keys)


def has_identifier(record: SourceRecord, form: NormalisedRecord, system: str, value: str) -> bool:
    """Whether a record bears this identifier."""
    if system == NHS_NUMBER_SYSTEM:
        return form.number_state in ("v", "c") and form.number == _plain(value)
    return any(one.system == system and _plain(one.value) == _plain(value) for one in record.identifiers)


def _plain(value: str) -> str:
    return "".join(value.split()).replace("-", "").upper()
