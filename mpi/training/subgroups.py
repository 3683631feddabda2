"""Who is behind a figure: the groups of records for which a model's quality is told apart."""

from collections.abc import Iterable
from datetime import date

from mpi.matching import Model, load_model, normalise
from mpi.records import RecordKey, SourceRecord

AGE_BANDS = ((2, "0-1"), (18, "2-17"), (40, "18-39"), (65, "40-64"), (200, "65+"))
NO_ABODE = ("no fixed abode", "no fixed address", "homeless", "rough sleep", "nfa")
NO_ABODE_POSTCODE = "ZZ993VZ"
"""The Organisation Data Service's pseudo postcode for people of no fixed abode."""


def taken_on(records: Iterable[SourceRecord]) -> date | None:
    """Return the day of the newest record, from which ages are counted: never today, so that a report can be made again."""
    return max((one.updated_at.date() for one in records if one.updated_at), default=None)


def subgroups_by_key(
    records: Iterable[SourceRecord], model: Model | None = None
) -> dict[RecordKey, dict[str, str]]:
    """Return the subgroups of every record; ages are those on the day of the newest one."""
    sent = list(records)
    chosen, on = model or load_model(), taken_on(sent)
    return {record.key: subgroups_of(record, chosen, on) for record in sent}


def subgroups_of(record: SourceRecord, model: Model, on: date | None) -> dict[str, str]:
    """Return what a record belongs to: source, age band, sex, what it lacks, and no fixed abode. Placeholders count as lacking."""
    read = normalise(record, model)
    has_place = any(place.postcode or place.words for place in read.places)
    year, month, day = read.birth
    age = -1
    if on and year:
        age = on.year - year - ((month or 1, day or 1) > (on.month, on.day))
    return {
        "source": f"{record.key.organisation} {record.key.system}",
        "age": next((name for limit, name in AGE_BANDS if 0 <= age < limit), "not known"),
        "sex": {"m": "male", "f": "female"}.get(read.gender, "not known"),
        "NHS number": "there" if read.number else "missing",
        "birth date": "there" if read.birth[2] else "partial" if year else "missing",
        "address": "there" if has_place else "missing",
        "given name": "there" if read.given else "missing",
        "no fixed abode": "yes" if _has_no_abode(record) else "no",
    }


def _has_no_abode(record: SourceRecord) -> bool:
    for address in record.addresses:
        if (address.postcode or "").replace(" ", "").upper() == NO_ABODE_POSTCODE:
            return True
        lines = " ".join(address.lines).lower()
        if any(phrase in lines.split() or (" " in phrase and phrase in lines) for phrase in NO_ABODE):
            return True
    return False
