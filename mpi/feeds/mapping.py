"""What a sender's file calls things and what we call them: other headings, constants, forms of dates and lists of codes."""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from foundation.errors import Invalid
from mpi.records import TEXTS

REQUIRED = ("organisation", "system", "local_id")

SINGLE = (*REQUIRED, *TEXTS, "restricted", "updated_at")
"""Columns that a row has once."""

NUMBERED = {
    "identifier": ("identifier", "identifier_system"),
    "name": ("prefix", "given", "middle", "family", "previous_family", "name_use"),
    "address": ("address", "city", "postcode", "address_use"),
    "phone": ("phone",),
    "email": ("email",),
}
"""Columns that may come again with a suffix: ``phone``, ``phone_2``, ``phone_3``."""

MOST_OF_ONE = 20

DATES = (
    "birth_date",
    "death_date",
    "nhs_number_verified_at",
    "nhs_number_withdrawn_at",
    "updated_at",
)
"""Columns whose values may be written in a form of the sender's."""

ANY_OTHER = "*"
"""The code that stands for every one that a list does not name."""

_REPEATED = frozenset(name for names in NUMBERED.values() for name in names)
_SUFFIX = re.compile(r"([a-z_]+?)_([1-9][0-9]?)")
_PARTS = ("columns", "constants", "dates", "codes", "local_id_system")
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_DIRECTIVES = frozenset("dmyYbBHMSfz%")
_CENTURY = 100

Shape = Callable[[str], str]
"""From a value as it was sent to the one that we read; empty stays empty."""


def parted(heading: str) -> tuple[str, int] | None:
    """Read a column's name: what it is and its number; None for a name that is not ours."""
    if heading in SINGLE or heading in _REPEATED:
        return heading, 1
    found = _SUFFIX.fullmatch(heading)
    if found and found[1] in _REPEATED and int(found[2]) <= MOST_OF_ONE:
        return found[1], int(found[2])
    return None


@dataclass(frozen=True, slots=True)
class FileMap:
    """How a sender's files are read.

    Args:
        columns: our column for a heading; None for one that is not wanted.
        constants: our columns that are the same in every row, with their value.
        dates: the forms of a column's dates, as of strptime, in the order in which they are tried.
        codes: for a column what each code of the sender's becomes; ``*`` stands for any other.
        local_id_system: the identifier system whose value is the local id, in FHIR Patients that do not say it by a system of ours.
    """

    columns: Mapping[str, str | None] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict, repr=False)
    dates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    local_id_system: str | None = None

    def headings_only(self) -> Mapping[str, str | None]:
        """Return the columns alone, for those who read no more of a map.

        Raises:
            Invalid: ``map-part-not-read``: the map says more than headings.
        """
        for name in _PARTS[1:]:
            if getattr(self, name):
                raise Invalid(
                    "map-part-not-read", field=name, detail="Only `mpi load` reads more than headings."
                )
        return self.columns

    def shapes(self, today: date) -> dict[str, Shape]:
        """Return what is done to the values of a column, for those of which anything is said."""
        found: dict[str, Shape] = {}
        for name, listed in self.codes.items():
            found[name] = _of_codes(name, listed)
        for name, forms in self.dates.items():
            found[name] = _of_dates(name, forms, today)
        return found


def as_map(given: FileMap | Mapping[str, str | None] | None) -> FileMap:
    """Return a map of what may be headings alone."""
    return given if isinstance(given, FileMap) else FileMap(columns=given or {})


# Reading a map -------------------------------------------------------------------------------------------------------


def read_map(path: Path) -> FileMap:
    """Read a map: ``{"Their heading": "our_column", "Not wanted": null}``, or a document with the parts of ``FileMap``, in JSON or TOML.

    In TOML, which has no null, an empty text leaves a column out.

    Raises:
        Invalid: ``map-format``; ``column-unknown`` naming a column that we do not have; ``map-part-unknown``; ``map-date-format`` and
            ``map-not-a-date`` naming the column.
    """
    found = _document(path)
    if not any(isinstance(value, dict) for value in found.values()) and not found.keys() & {
        "local_id_system"
    }:
        return FileMap(columns=_columns(found))
    for name in found:
        if name not in _PARTS:
            raise Invalid("map-part-unknown", field=name if name.isidentifier() and len(name) <= 40 else None)
    parts = {name: found.get(name, {}) for name in _PARTS[:-1]}
    if not all(isinstance(part, dict) for part in parts.values()):
        raise _not_a_map()
    local_id_system = found.get("local_id_system")
    if local_id_system is not None and not (isinstance(local_id_system, str) and local_id_system):
        raise _not_a_map()
    for part in ("constants", "dates", "codes"):
        _check_ours(parts[part])
    columns = _columns(parts["columns"])
    constants = {name: _text(value) for name, value in parts["constants"].items()}
    dates = {name: _forms(name, value) for name, value in parts["dates"].items()}
    codes = {name: _codes(value) for name, value in parts["codes"].items()}
    if both := dates.keys() & codes.keys():
        raise Invalid("map-said-twice", field=min(both))
    return FileMap(columns, constants, dates, codes, local_id_system)


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, OSError, RecursionError) as fault:
        raise _not_a_map() from fault
    if not isinstance(found, dict):
        raise _not_a_map()
    return found


def _not_a_map() -> Invalid:
    return Invalid(
        "map-format", detail="The map must be an object of headings, or of parts, in JSON or TOML."
    )


def _columns(found: Mapping[str, Any]) -> dict[str, str | None]:
    if not all(one is None or isinstance(one, str) for one in found.values()):
        raise _not_a_map()
    columns = {heading: named or None for heading, named in found.items()}
    _check_ours(named for named in columns.values() if named is not None)
    return columns


def _check_ours(names: Iterable[str]) -> None:
    for name in names:
        if parted(name) is None:
            raise Invalid("column-unknown", field=name[:40])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise _not_a_map()


def _forms(name: str, value: Any) -> tuple[str, ...]:
    if name not in DATES:
        raise Invalid("map-not-a-date", field=name)
    forms = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()
    if not forms or not all(isinstance(form, str) for form in forms):
        raise _not_a_map()
    for form in forms:
        said = set(_DIRECTIVE.findall(form))
        # Without its year, or a day without its month, a date says nothing that can be compared.
        if not said <= _DIRECTIVES or not said & set("yY") or ("d" in said and not said & set("mbB")):
            raise Invalid("map-date-format", field=name)
    return forms


def _codes(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(one is None or isinstance(one, str) for one in value.values()):
        raise _not_a_map()
    return {code.strip(): ours or "" for code, ours in value.items()}


# Values --------------------------------------------------------------------------------------------------------------


def _of_codes(name: str, listed: Mapping[str, str]) -> Shape:
    def shape(value: str) -> str:
        code = value.strip()
        if not code:
            return ""
        found = listed.get(code, listed.get(ANY_OTHER))
        if found is None:
            raise Invalid("code-not-in-map", field=name)
        return found

    return shape


def _of_dates(name: str, forms: Sequence[str], today: date) -> Shape:
    def shape(value: str) -> str:
        text = value.strip()
        if not text:
            return ""
        for form in forms:
            try:
                at = datetime.strptime(text, form)  # noqa: DTZ007 — a civil day, or an instant with an offset of its own
            except ValueError:
                continue
            return _written(at, set(_DIRECTIVE.findall(form)), today)
        raise Invalid("date-format", field=name)

    return shape


def _written(at: datetime, said: set[str], today: date) -> str:
    """Write what a form says of a date, and no more: a year alone stays a year."""
    if "Y" not in said and at.date() > today:
        # Two digits of a year: nobody was born, or died, in a year to come.
        at = at.replace(year=at.year - _CENTURY)
    if said & set("HMS"):
        return at.isoformat()
    shape = "%Y-%m-%d" if "d" in said else "%Y-%m" if said & set("mbB") else "%Y"
    return at.strftime(shape).zfill(len(at.strftime(shape)))
