"""A source record written as the message that a hospital's system would send of it; reading it gives the record back."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import blake2b

from mpi.records import Address, HumanName, SourceRecord, Telecom

_ESCAPED = str.maketrans(
    {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": " ", "\n": " "}
)
_NAME_TYPES = {"nickname": "N", "maiden": "M", "old": "B", "anonymous": "S"}
_ADDRESS_TYPES = {"home": "H", "temp": "C", "work": "B", "billing": "M"}
"""An address of old has no type that says so, and is left out."""
_GENDERS = {"male": "M", "female": "F", "other": "O", "unknown": "U"}


def registration(
    record: SourceRecord, sent_at: datetime, *, event: str = "A28", processing_id: str = "P"
) -> bytes:
    """Return an ADT message in UTF-8 that says all of a record that a registration can; MSH-3 is its system, MSH-4 its organisation.

    What became of its NHS number and who verified it have no field. The control id follows from what is said, so that the same said again
    is known as the same.
    """
    own = f"{_part(record.key.local_id)}^^^{_part(record.key.organisation)}^MR"
    pid: dict[int, str] = {
        1: "1",
        3: "~".join([own, *_identifiers(record)]),
        5: "~".join(_names(record.names)),
        7: _day(record.birth_date),
        8: _part(_GENDERS.get(record.gender or "", record.gender)),
        11: "~".join(_addresses(record.addresses)),
        13: "~".join(_telecoms(record.telecoms)),
        21: f"{_part(record.mother_nhs_number)}^^^NHS^NH" if record.mother_nhs_number else "",
        24: "Y" if record.birth_order else "",
        25: _part(record.birth_order),
        29: _day(record.death_date),
        30: "Y" if record.death_date else "",
        32: f"NSTS{_part(record.nhs_number_status)}" if record.nhs_number_status else "",
    }
    care: dict[int, str] = {
        3: f"^^{_part(record.gp_practice)}" if record.gp_practice else "",
        12: {None: "", True: "Y", False: "N"}[record.restricted],
    }
    said = [
        _segment("EVN", {1: event, 2: _stamp(record.updated_at) if record.updated_at else ""}),
        _segment("PID", pid),
        *([_segment("PD1", care)] if any(care.values()) else []),
    ]
    body = "".join(line + "\r" for line in said).encode()
    mark = blake2b(repr(record.key).encode() + body, digest_size=10).hexdigest()
    header = "|".join(
        (
            r"MSH|^~\&",
            _part(record.key.system),
            _part(record.key.organisation),
            "MPI",
            "LCR",
            _stamp(sent_at),
            "",
            f"ADT^{event}^ADT_A{'01' if event in ('A01', 'A04', 'A08') else '05'}",
            mark,
            processing_id,
            "2.5.1",
            "",
            "",
            "",
            "",
            "",
            "UNICODE UTF-8",
        )
    )
    return header.encode() + b"\r" + body


def _segment(name: str, fields: Mapping[int, str]) -> str:
    last = max((number for number, text in fields.items() if text), default=0)
    return "|".join([name, *(fields.get(number, "") for number in range(1, last + 1))])


def _part(text: str | None) -> str:
    return (text or "").translate(_ESCAPED)


def _stamp(at: datetime) -> str:
    at = at.astimezone(UTC)
    part = f".{at.microsecond // 100:04}" if at.microsecond else ""
    return f"{at:%Y%m%d%H%M%S}{part}+0000"


def _day(text: str | None) -> str:
    return _part(text).replace("-", "")


def _identifiers(record: SourceRecord) -> Iterator[str]:
    if record.nhs_number:
        yield f"{_part(record.nhs_number)}^^^NHS^NH"
    for one in record.identifiers:
        yield f"{_part(one.value)}^^^{_part(one.system)}"


def _names(names: tuple[HumanName, ...]) -> Iterator[str]:
    for one in names:
        first, *others = one.given or ("",)
        parts = (one.family, first, " ".join(others), "", one.prefix, "", _NAME_TYPES.get(one.use, "L"))
        if one.family or one.given:
            yield "^".join(map(_part, parts))


def _addresses(addresses: tuple[Address, ...]) -> Iterator[str]:
    for one in addresses:
        kind = _ADDRESS_TYPES.get(one.use)
        lines = [line for line in one.lines if line]
        if kind is not None and (lines or one.city or one.postcode):
            first, second, rest = (*lines[:2], "", "")[0], (*lines[1:2], "")[0], ", ".join(lines[2:])
            yield "^".join(map(_part, (first, second, one.city, rest, one.postcode, "", kind)))


def _telecoms(telecoms: tuple[Telecom, ...]) -> Iterator[str]:
    for one in telecoms:
        if one.system == "email":
            yield f"^NET^Internet^{_part(one.value)}"
        elif one.system == "phone":
            yield f"{_part(one.value)}^PRN^PH"
