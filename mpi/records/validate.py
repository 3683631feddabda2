"""Structural faults that refuse a source record. What is odd but possible is kept, and left to matching."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date, timedelta

from foundation.errors import Invalid
from mpi.records.dates import PartialDate, parse_instant, parse_partial_date
from mpi.records.demographics import ADDRESS_USES, NAME_USES, parse_gender
from mpi.records.nhs_number import parse_nhs_number, parse_nhs_number_status
from mpi.records.source_record import SourceRecord

MAX_NAME = 100
MAX_LOCAL_ID = 64
MAX_SYSTEM = 64
MAX_LINE = 200
MAX_VALUE = 254
MAX_VERIFIER = 64
MAX_ITEMS = 20
EARLIEST_YEAR = 1850
CLOCKS_APART = timedelta(days=1)
"""How far a source's clock, or its zone, may be ahead."""

OF_NUMBER = (
    "nhs_number_verified_by",
    "nhs_number_verified_at",
    "nhs_number_superseded_by",
    "nhs_number_withdrawn_at",
)
"""What is said of an NHS number, and of nothing where there is none."""

_ODS = re.compile(r"[A-Z0-9]{2,12}")
_SYSTEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")


def validate(record: SourceRecord, today: date, *, strict_numbers: bool = False) -> None:
    """Raise the first structural fault of a record, if it has one; see ``faults``.

    Raises:
        Invalid: the fault, naming the field and never the value.
    """
    for fault in faults(record, today, strict_numbers=strict_numbers):
        raise fault


def faults(record: SourceRecord, today: date, *, strict_numbers: bool = False) -> Iterator[Invalid]:
    """Yield every structural fault.

    Args:
        today: the civil day against which "in the future" is judged.
        strict_numbers: also refuse NHS numbers that fail their check, as the API and files do; a feed keeps them, unused.
    """
    key = record.key
    if not _ODS.fullmatch(key.organisation):
        yield Invalid("organisation-format", field="organisation")
    if len(key.system) > MAX_SYSTEM or not _SYSTEM.fullmatch(key.system):
        yield Invalid("system-format", field="system")
    yield from _text_faults(key.local_id, "local_id", MAX_LOCAL_ID)
    if key.local_id != key.local_id.strip() or not key.local_id or not key.local_id.isprintable():
        yield Invalid("local-id-format", field="local_id")
    yield from _number_faults(record, today, strict_numbers)
    yield from _item_faults(record)
    yield from _date_faults(record, today)
    if record.updated_at is not None and (record.updated_at - CLOCKS_APART).date() > today:
        # A version from the future would stand for good: whatever came after it would be late.
        yield Invalid("instant-future", field="updated_at")
    if record.gender:
        yield from _raised(parse_gender, record.gender, "gender")
    if record.gp_practice and not _ODS.fullmatch(record.gp_practice.strip().upper()):
        yield Invalid("gp-practice-format", field="gp_practice")
    if record.birth_order and record.birth_order.strip() not in tuple("123456789"):
        yield Invalid("birth-order-range", field="birth_order")


def _number_faults(record: SourceRecord, today: date, strict: bool) -> Iterator[Invalid]:
    for name in ("nhs_number", "nhs_number_superseded_by", "mother_nhs_number"):
        text = getattr(record, name)
        if text:
            yield from _text_faults(text, name, 20)
            if strict:
                yield from _raised(parse_nhs_number, text, name)
    if record.nhs_number_status:
        yield from _raised(parse_nhs_number_status, record.nhs_number_status, "nhs_number_status")
    yield from _text_faults(record.nhs_number_verified_by, "nhs_number_verified_by", MAX_VERIFIER)
    for name in ("nhs_number_verified_at", "nhs_number_withdrawn_at"):
        if text := getattr(record, name):
            yield from _instant_faults(text, name, today)
    if not record.nhs_number and any(getattr(record, name) for name in OF_NUMBER):
        yield Invalid("field-missing", field="nhs_number")
    if strict and record.nhs_number and record.nhs_number_superseded_by:
        if _digits(record.nhs_number) == _digits(record.nhs_number_superseded_by):
            yield Invalid("nhs-number-supersedes-itself", field="nhs_number_superseded_by")


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def _instant_faults(text: str, field: str, today: date) -> Iterator[Invalid]:
    try:
        at = parse_instant(text, field)
    except Invalid as fault:
        yield fault
        return
    if (at - CLOCKS_APART).date() > today:
        yield Invalid("instant-future", field=field)


def _item_faults(record: SourceRecord) -> Iterator[Invalid]:
    for name in ("identifiers", "names", "addresses", "telecoms"):
        if len(getattr(record, name)) > MAX_ITEMS:
            yield Invalid("too-many-items", field=name)
    for place, identifier in enumerate(record.identifiers):
        yield from _text_faults(identifier.system, f"identifiers.{place}.system", MAX_VALUE)
        yield from _text_faults(identifier.value, f"identifiers.{place}.value", MAX_VALUE)
    for place, human in enumerate(record.names):
        where = f"names.{place}"
        if human.use not in NAME_USES:
            yield Invalid("name-use-unknown", field=f"{where}.use")
        if len(human.given) > MAX_ITEMS:
            yield Invalid("too-many-items", field=f"{where}.given")
        for part, text in (("prefix", human.prefix), ("family", human.family)):
            yield from _text_faults(text, f"{where}.{part}", MAX_NAME)
        for given in human.given:
            yield from _text_faults(given, f"{where}.given", MAX_NAME)
    for place, address in enumerate(record.addresses):
        where = f"addresses.{place}"
        if address.use not in ADDRESS_USES:
            yield Invalid("address-use-unknown", field=f"{where}.use")
        if len(address.lines) > MAX_ITEMS:
            yield Invalid("too-many-items", field=f"{where}.lines")
        for line in (*address.lines, address.city):
            yield from _text_faults(line, f"{where}.lines", MAX_LINE)
        # A postcode of another country is kept as received: only what cannot be one is refused.
        yield from _text_faults(address.postcode, f"{where}.postcode", 16)
    for place, telecom in enumerate(record.telecoms):
        where = f"telecoms.{place}"
        if telecom.system not in ("phone", "email"):
            yield Invalid("telecom-system-unknown", field=f"{where}.system")
        yield from _text_faults(telecom.value, f"{where}.value", MAX_VALUE)


def _date_faults(record: SourceRecord, today: date) -> Iterator[Invalid]:
    read: dict[str, PartialDate] = {}
    for name in ("birth_date", "death_date"):
        text = getattr(record, name)
        if not text or not text.strip():
            continue
        try:
            read[name] = parse_partial_date(text, name)
        except Invalid as fault:
            yield fault
            continue
        if read[name].earliest() > today:
            yield Invalid("date-future", field=name)
        elif read[name].year < EARLIEST_YEAR:
            yield Invalid("date-too-early", field=name)
    if len(read) == 2 and read["death_date"].latest() < read["birth_date"].earliest():
        yield Invalid("death-before-birth", field="death_date")


def _text_faults(text: str | None, field: str, longest: int) -> Iterator[Invalid]:
    if text is None:
        return
    if len(text) > longest:
        yield Invalid("text-too-long", field=field)
    if not text.isascii() or not text.isprintable():
        if any(unicodedata.category(character) in ("Cc", "Cs", "Cn", "Co") for character in text):
            yield Invalid("control-character", field=field)


def _raised(parse: Callable[[str, str], object], text: str, field: str) -> Iterator[Invalid]:
    try:
        parse(text, field)
    except Invalid as fault:
        yield fault
