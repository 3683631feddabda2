"""What an ADT message says of a patient, in the shape that files and the JSON route use: said, deleted, or nothing said of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from foundation.errors import Invalid
from mpi.feeds.hl7.message import Field, Message, Segment
from mpi.records import Address, HumanName, Identifier, RecordKey, SourceRecord, Telecom
from mpi.records.nhs_number import parse_nhs_number
from mpi.records.validate import OF_NUMBER
from mpi.service.hl7_feeds import Reading

REGISTRATIONS = frozenset({"A01", "A04", "A05", "A08", "A28", "A31"})
"""Events that say who somebody is."""

NHS_AUTHORITIES = frozenset({"NHS", "NHSNUMBER", "NHSNO"})
_NHS_TYPES = frozenset({"NH", "NHS", "NN"})
_STATUS = re.compile(r"NSTS(0[1-8])")
_STATUS_IN_TYPE = re.compile(r"NH\{status:(0[1-8])\}")
_DAY = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,4})?)?)?)?)?)?(?:[+-]\d{4})?"
)
_STAMP = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,4}))?)?)?)?)?)?([+-]\d{4})?"
)

_NAME_USES = {
    "": "usual", "L": "usual", "D": "usual", "A": "nickname", "N": "nickname", "M": "maiden", "B": "old", "S": "anonymous",
}  # fmt: skip
"""HL7 table 0200. An alias has no word of its own in a record: like a nickname it is a name beside the current one."""
_ADDRESS_USES = {
    "": "home",
    "H": "home",
    "L": "home",
    "P": "home",
    "C": "temp",
    "B": "work",
    "O": "work",
    "M": "billing",
}
"""HL7 table 0190; an address of another type (a bad one, the place of birth) is nobody's home and is left out."""
_ELECTRONIC = frozenset({"NET", "INTERNET", "X.400"})

PLACES = {
    "organisation": "MSH-4", "system": "MSH-3", "local_id": "PID-3", "identifiers": "PID-3", "nhs_number": "PID-3",
    "nhs_number_status": "PID-32", "names": "PID-5", "birth_date": "PID-7", "gender": "PID-8", "addresses": "PID-11",
    "telecoms": "PID-13", "mother_nhs_number": "PID-21", "birth_order": "PID-25", "death_date": "PID-29",
    "gp_practice": "PD1-3", "updated_at": "EVN-2",
}  # fmt: skip
"""Where in a message each item of a record comes from."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose messages are read, and what their fields mean."""

    organisation: str
    system: str
    reading: Reading = Reading()


@dataclass(frozen=True, slots=True)
class Said:
    """What one message says of one patient. ``items`` holds what it says alone: None or empty deletes; ``identifiers`` are by system.

    ``is_unknown``: the sender does not know who it is (PID-31), so what it says of the person is left out until it does.
    """

    key: RecordKey
    at: datetime | None
    items: dict[str, Any] = field(repr=False)
    identifiers: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)
    is_unknown: bool = False

    def applied_to(self, before: SourceRecord | None) -> SourceRecord:
        """Return the record as it is with this message, from what stood at its time; None for nothing."""
        if self.is_unknown:
            return SourceRecord(key=self.key, gender=self.items.get("gender"), updated_at=self.at)
        record = before or SourceRecord(key=self.key)
        items = dict(self.items)
        number = items.get("nhs_number", record.nhs_number)
        if number != record.nhs_number:
            # What was known of another number is not known of this one.
            items = dict.fromkeys((*OF_NUMBER, "nhs_number_status")) | items
        if not number:
            items |= dict.fromkeys((*OF_NUMBER, "nhs_number_status"))
        named = {system for system, _ in self.identifiers}
        kept = tuple(one for one in record.identifiers if one.system not in named)
        fresh = tuple(Identifier(system, value) for system, value in self.identifiers if value is not None)
        # A protection that is not said now is left to the version that said it.
        return replace(
            record,
            **({"restricted": None} | items),
            key=self.key,
            updated_at=self.at,
            identifiers=(*kept, *fresh),
        )


def check_header(message: Message, sender: Sender) -> None:
    """See that a message is one that this sender may send and we can read.

    Raises:
        Invalid: ``hl7-type-unsupported``, ``hl7-event-unsupported``, ``hl7-processing-id``, ``hl7-version``, ``hl7-required``, each
            with the field.
    """
    header = message.header
    if not header.control_id:
        raise Invalid("hl7-required", field="MSH-10")
    if len(header.control_id) > 199:
        raise Invalid("hl7-data-type", field="MSH-10")
    if header.kind != "ADT":
        raise Invalid("hl7-type-unsupported", field="MSH-9")
    if header.event not in REGISTRATIONS:
        raise Invalid("hl7-event-unsupported", field="MSH-9")
    if header.processing_id[:1] not in sender.reading.processing_ids:
        raise Invalid("hl7-processing-id", field="MSH-11")
    if not re.match(r"2\.[1-9]", header.version):
        raise Invalid("hl7-version", field="MSH-12")


def read_registration(message: Message, sender: Sender) -> Said:
    """Read what an event of ``REGISTRATIONS`` says of its patient.

    Raises:
        Invalid: ``hl7-segment-missing``, ``hl7-required``, ``hl7-data-type``, ``hl7-table-value``, each with the field, never the value.
    """
    found = message.all("PID")
    if not found:
        raise Invalid("hl7-segment-missing", field="PID")
    if len(found) > 1:
        raise Invalid("hl7-segment-sequence", field="PID")
    (pid,) = found
    local_id, identifiers, number = _identifiers(pid, sender)
    unreliable = {one.part(1) for one in pid.repetitions(32)}
    items: dict[str, Any] = {}
    if number is not None and "US" not in unreliable:
        items["nhs_number"] = number[0] or None
    status = _status(pid, number)
    if status is not None and items.get("nhs_number"):
        items["nhs_number_status"] = status
    _put_names(items, pid)
    if pid.says(7) and "UD" not in unreliable:
        # Of an estimated day the year alone is known.
        items["birth_date"] = _civil_day(pid, 7, "ED" in unreliable)
    if pid.says(8):
        items["gender"] = pid.first(8) or None
    if pid.says(11) and "UA" not in unreliable:
        items["addresses"] = tuple(_addresses(pid))
    if pid.says(13) or pid.says(14):
        items["telecoms"] = tuple(dict.fromkeys((*_telecoms(pid, 13), *_telecoms(pid, 14))))
    if pid.says(24) or pid.says(25):
        order = pid.first(25)
        items["birth_order"] = order if order and pid.first(24).upper() != "N" else None
    if pid.says(29):
        items["death_date"] = _civil_day(pid, 29)
    elif pid.first(30).upper() == "N":
        items["death_date"] = None
    _put_mother(items, message, pid)
    _put_care(items, message)
    return Said(
        RecordKey(sender.organisation, sender.system, local_id),
        _said_at(message, pid, sender),
        items,
        tuple(identifiers),
        is_unknown=pid.first(31).upper() == "Y",
    )


def placed(fault: Invalid) -> Invalid:
    """Return a fault of a record as one of the message: the field that the item came from."""
    item = (fault.field or "").split(".")[0]
    return Invalid(fault.code, field=PLACES.get(item, item or None), detail=fault.detail)


def parse_stamp(text: str, zone: str, place: str) -> datetime | None:
    """Read an HL7 time as aware UTC; without an offset it is the sender's local time. A year, a month or a day is its first instant.

    Raises:
        Invalid: ``hl7-data-type``.
    """
    found = _STAMP.fullmatch(text)
    if found is None:
        raise Invalid("hl7-data-type", field=place)
    year, month, day, hour, minute, second, part, offset = found.groups()
    try:
        local = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
            int((part or "0").ljust(6, "0")), tzinfo=_zone(offset, zone),
        )  # fmt: skip
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid("hl7-data-type", field=place) from None


def _zone(offset: str | None, zone: str) -> timezone | ZoneInfo:
    if offset is None:
        return ZoneInfo(zone)
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _said_at(message: Message, pid: Segment, sender: Sender) -> datetime | None:
    """Return the time that the message folds by: the last update of the person, when the event was recorded or happened, or it was sent."""
    event = message.one("EVN")
    for segment, number in ((pid, 33), (event, 2), (event, 6), (message.one("MSH"), 7)):
        if segment is not None and (text := segment.first(number)):
            return parse_stamp(text, sender.reading.time_zone, f"{segment.name}-{number}")
    return None


def _identifiers(
    pid: Segment, sender: Sender
) -> tuple[str, list[tuple[str, str | None]], tuple[str, str] | None]:
    """Return the local id, other identifiers by system (None deletes), and the NHS number with the type that bore it."""
    local: dict[str, str] = {}
    others: list[tuple[str, str | None]] = []
    number: tuple[str, str] | None = None
    for one in pid.repetitions(3):
        value, authority, kind = one.part(1), one.part(4), one.part(5)
        if authority.upper() in NHS_AUTHORITIES or (
            kind.split("{")[0] in _NHS_TYPES and not _is_own(authority, sender)
        ):
            if value or one.deletes(1):
                if number is not None and number[0] != value:
                    raise Invalid("hl7-identifier-repeated", field="PID-3")
                number = (value, kind)
        elif kind in sender.reading.local_id_types and _is_own(authority, sender):
            if not value:
                continue
            if local.setdefault(kind, value) != value:
                raise Invalid("hl7-identifier-repeated", field="PID-3")
        elif authority and (value or one.deletes(1)):
            others.append((authority if not kind else f"{authority}:{kind}", value or None))
    if number is None:
        number = _number_in_old_field(pid, sender)
    for kind in sender.reading.local_id_types:
        if kind in local:
            return local[kind], others, number
    raise Invalid("hl7-required", field="PID-3")


def _is_own(authority: str, sender: Sender) -> bool:
    if sender.reading.authorities:
        return authority in sender.reading.authorities
    return not authority or authority.upper().startswith(sender.organisation)


def _number_in_old_field(pid: Segment, sender: Sender) -> tuple[str, str] | None:
    """Return an NHS number from PID-2 or PID-19, where the sender is known to put it there: only one that passes its check."""
    for number, is_used in ((2, sender.reading.number_in_pid2), (19, sender.reading.number_in_pid19)):
        text = pid.first(number) if is_used else ""
        if text:
            try:
                return parse_nhs_number(text).digits, ""
            except Invalid:
                continue
    return None


def _status(pid: Segment, number: tuple[str, str] | None) -> str | None:
    for one in pid.repetitions(32):
        if found := _STATUS.fullmatch(one.part(1)):
            return found[1]
    found = _STATUS_IN_TYPE.fullmatch(number[1]) if number is not None else None
    return found[1] if found else None


def _put_names(items: dict[str, Any], pid: Segment) -> None:
    if pid.says(5):
        # A sender may put the current name anywhere in the list: here it is the first.
        names = sorted(_names(pid, 5), key=lambda one: one.use != "usual")
        if names or pid.is_deleted(5):
            items["names"] = tuple(names)
    if pid.says(9) and "names" in items:
        items["names"] += tuple(replace(one, use="nickname") for one in _names(pid, 9))


def _names(pid: Segment, number: int) -> Iterator[HumanName]:
    for one in pid.repetitions(number):
        given = tuple(part for part in (one.part(2), *one.part(3).split()) if part)
        family = one.part(1) or None
        if given or family:
            yield HumanName(
                _NAME_USES.get(one.part(7).upper(), "nickname"), one.part(5) or None, given, family
            )


def _civil_day(segment: Segment, number: int, is_estimated: bool = False) -> str | None:
    """Return a day, a month or a year as ISO text, without a time; None where it is deleted."""
    if segment.is_deleted(number):
        return None
    found = _DAY.fullmatch(segment.first(number))
    if found is None:
        raise Invalid("hl7-data-type", field=f"{segment.name}-{number}")
    return found[1] if is_estimated else "-".join(part for part in found.groups() if part is not None)


def _addresses(pid: Segment) -> Iterator[Address]:
    for one in pid.repetitions(11):
        use = _ADDRESS_USES.get(one.part(7).upper())
        lines = tuple(part for part in (one.part(1), one.part(2), one.part(4)) if part)
        city, postcode = one.part(3) or None, one.part(5) or None
        if use is not None and (lines or city or postcode):
            yield Address(use, lines, city, postcode)


def _telecoms(pid: Segment, number: int) -> Iterator[Telecom]:
    for one in pid.repetitions(number):
        if one.part(2).upper() in _ELECTRONIC or one.part(3).upper() in _ELECTRONIC or one.part(4):
            if text := one.part(4) or one.part(1):
                yield Telecom("email", text)
        elif text := one.part(1) or one.part(12) or _dialled(one):
            yield Telecom("phone", text)


def _dialled(one: Field) -> str:
    country, number = one.part(5).lstrip("+"), one.part(6) + one.part(7)
    return f"+{country} {number}" if country and number and not number.startswith("0") else number


def _put_mother(items: dict[str, Any], message: Message, pid: Segment) -> None:
    """Read the mother's NHS number: from PID-21, else from the next of kin who is the mother."""
    if pid.is_deleted(21):
        items["mother_nhs_number"] = None
    mothers = [one for one in message.all("NK1") if one.first(3).upper() in ("MTH", "MOTHER")]
    for segment, number in ((pid, 21), *((one, 33) for one in mothers)):
        for one in segment.repetitions(number):
            if one.part(1) and (one.part(4).upper() in NHS_AUTHORITIES or one.part(5) in _NHS_TYPES):
                items["mother_nhs_number"] = one.part(1)
                return


def _put_care(items: dict[str, Any], message: Message) -> None:
    more, visit = message.one("PD1"), message.one("PV1")
    if more is not None and more.says(3):
        items["gp_practice"] = more.first(3, 3) or None
        if items["gp_practice"] is None and not more.is_deleted(3):
            del items["gp_practice"]  # a name alone says of no practice which one
    if more is not None and more.first(12).upper() in ("Y", "N"):
        items["restricted"] = more.first(12).upper() == "Y"
    if visit is not None and visit.first(16).upper() not in ("", "N", "0"):
        items["restricted"] = True
