"""Delimited files: rows of a CSV made into source records, with the faults of each row and never its values."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from foundation.delimited import Rows, delimiter_of
from foundation.errors import Invalid
from mpi.feeds.mapping import NUMBERED, REQUIRED, SINGLE, FileMap, Shape, as_map, parted
from mpi.records import (
    Address,
    HumanName,
    Identifier,
    RecordKey,
    SourceRecord,
    Telecom,
    faults,
    parse_instant,
)

_YES, _NO = frozenset({"1", "y", "yes", "true"}), frozenset({"0", "n", "no", "false"})
LARGEST_FIELD = 65_536
_LONGEST_LINE = 64 << 20
_OTHER_FORMATS = {
    b"\x1f\x8b": "It is compressed with gzip; unpack it first.",
    b"PK\x03\x04": "It is a workbook or a zip archive; save its sheet as CSV UTF-8.",
    b"PAR1": "It is a Parquet file; end its name in .parquet, or say so with --format.",
    b"\xd0\xcf\x11\xe0": "It is a workbook; save its sheet as CSV UTF-8.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the record it makes, or its faults (code and field). The header is row 1."""

    number: int
    record: SourceRecord | None = field(repr=False)
    faults: tuple[Invalid, ...] = ()


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where each column of a file goes: the plain ones by place, the repeated ones by number and place."""

    width: int
    single: Mapping[str, int]
    numbered: Mapping[str, Mapping[int, Mapping[str, int]]]
    continued: frozenset[int]
    """Numbers of addresses that are further lines of the first: those without a city or postcode of their own."""
    unnamed: tuple[int, ...]
    """Places at the end that have no heading, as spreadsheets leave them; nothing may stand there."""
    several_lines: frozenset[int]
    """Places whose values may be of several lines: addresses."""
    constants: tuple[str, ...] = field(default=(), repr=False)
    """What stands behind the values of every row."""
    shapes: Mapping[int, Shape] = field(default_factory=dict, repr=False)
    """What is done to the value at a place before it is read."""


def check_plain(path: Path) -> None:
    """See that a path is a file, and not one of some other format by its first bytes.

    Raises:
        Invalid: ``file-not-plain``, ``file-format``.
    """
    if not path.is_file():
        raise Invalid("file-not-plain", detail="Give a file: it is read twice, and a pipe can be read once.")
    with path.open("rb") as file:
        start = file.read(4)
    for mark, detail in _OTHER_FORMATS.items():
        if start.startswith(mark):
            raise Invalid("file-format", detail=detail)


def check_encoding(path: Path) -> int:
    """Read a file once through; return how many lines it has.

    Raises:
        Invalid: ``file-encoding`` with the row at fault, ``file-empty``, ``file-format`` for what is no text, ``file-not-plain`` for a
            pipe, which cannot be read again, ``line-too-long`` for a file that has no lines.
    """
    check_plain(path)
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    lines = unbroken = 0
    last = b"\n"
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            unbroken = 0 if b"\n" in part or b"\r" in part else unbroken + len(part)
            if unbroken > _LONGEST_LINE:
                raise Invalid("line-too-long", row=lines + 1)
            try:
                decoder.decode(part)
            except UnicodeDecodeError as fault:
                raise _not_utf8(lines + 1 + part.count(b"\n", 0, max(0, fault.start))) from fault
            lines += part.count(b"\n")
            last = part[-1:]
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as fault:
        raise _not_utf8(lines + 1) from fault
    lines += last != b"\n"
    if lines == 0:
        raise Invalid("file-empty", detail="The file has no header.")
    return lines


def _not_utf8(row: int) -> Invalid:
    return Invalid(
        "file-encoding", row=row, detail="The file must be UTF-8; save it as such and load it again."
    )


def read_rows(
    path: Path, today: date, mapping: FileMap | Mapping[str, str | None] | None = None
) -> Iterator[Row]:
    """Read a file row by row; a row that cannot be read says why, and the next one follows.

    Raises:
        Invalid: about the header only: ``column-unknown``, ``column-missing``, ``column-repeated``, ``file-empty``.
    """
    with path.open("r", encoding="utf-8-sig", newline="") as file:
        _, rows = _opened(file)
        layout = _mapped_layout(rows.header, as_map(mapping), today)
        for number, values in rows.read(layout.several_lines):
            if (row := _read(number, values, layout, today)) is not None:
                yield row


def _opened(file: io.TextIOBase) -> tuple[str, Rows]:
    """Return the delimiter of a file, and its rows."""
    # A field of several megabytes is a lost quotation mark, not a name.
    csv.field_size_limit(LARGEST_FIELD)
    try:
        delimiter = delimiter_of(file)
        return delimiter, Rows(file, delimiter)
    except (StopIteration, csv.Error) as fault:
        raise Invalid("file-empty", row=1, detail="The file has no header.") from fault


def _read(number: int, values: Sequence[str] | None, layout: "_Layout", today: date) -> Row | None:
    if values is None:
        return Row(number, None, (Invalid("row-unreadable", row=number),))
    return _row(number, values, layout, today) if any(value.strip() for value in values) else None


class File:
    """A file of rows, to be read from its beginning as often as it is called, and what its header says of its columns.

    Raises:
        Invalid: about the header, as ``read_rows``.
    """

    def __init__(self, path: Path, today: date, mapping: Mapping[str, str | None] | None = None) -> None:
        self.path, self._today, self._mapping = path, today, mapping
        with path.open("r", encoding="utf-8-sig", newline="") as file:
            self.delimiter, rows = _opened(file)
        self._layout = _layout(rows.header, mapping or {})
        self.header: tuple[str, ...] = tuple(rows.header)
        self.columns: tuple[str | None, ...] = tuple(_named(rows.header, mapping or {}))
        """Our name for each place; "" for a column without heading, None for one that is not wanted."""
        self.several_lines = self._layout.several_lines

    def __call__(self) -> Iterator[Row]:
        return read_rows(self.path, self._today, self._mapping)

    def read(self, number: int, values: Sequence[str] | None) -> Row | None:
        """Read one row of the file; None for a spreadsheet's empty one.

        Args:
            values: None for a row that cannot be told apart.
        """
        return _read(number, values, self._layout, self._today)


def columns_of(header: Sequence[str], mapping: Mapping[str, str | None] | None = None) -> list[str | None]:
    """Return our name for each heading, None for one that is not wanted.

    Raises:
        Invalid: about the header, as ``read_rows`` does.
    """
    _layout(header, mapping or {})
    return _named(header, mapping or {})


def row_reader(today: date) -> Callable[[Sequence[str], Sequence[str]], Row]:
    """Return a reader of single rows: from our columns and a row's texts to its record or its faults."""
    layouts: dict[tuple[str, ...], _Layout] = {}

    def read(columns: Sequence[str], values: Sequence[str]) -> Row:
        known = tuple(columns)
        if known not in layouts:
            layouts[known] = _layout(known, {})
        return _row(0, values, layouts[known], today)

    return read


_LAYOUTS_KEPT = 1_000


def table_reader(
    today: date, mapping: FileMap
) -> Callable[[int, Sequence[str], Sequence[str] | None], Row | None]:
    """Return a reader of rows under a sender's headings: from a row's number, its headings and its texts to the record or the faults.

    None where nothing stands in a row; texts are None for a row that cannot be read. It raises what is wrong with headings.
    """
    layouts: dict[tuple[str, ...], _Layout] = {}

    def read(number: int, headings: Sequence[str], values: Sequence[str] | None) -> Row | None:
        known = tuple(headings)
        if known not in layouts:
            if len(layouts) == _LAYOUTS_KEPT:
                layouts.clear()
            layouts[known] = _mapped_layout(known, mapping, today)
        return _read(number, values, layouts[known], today)

    return read


# Header --------------------------------------------------------------------------------------------------------------


def _named(header: Sequence[str], mapping: Mapping[str, str | None]) -> list[str | None]:
    return [
        mapping.get(heading, mapping.get(heading.strip(), heading.strip().lower().replace(" ", "_")))
        for heading in header
    ]


def _mapped_layout(header: Sequence[str], mapping: FileMap, today: date) -> _Layout:
    """As ``_layout``, with all that a map says."""
    layout = _layout(header, mapping.columns, tuple(mapping.constants))
    shapes = mapping.shapes(today)
    named = enumerate(_named(header, mapping.columns))
    return replace(
        layout,
        constants=tuple(mapping.constants.values()),
        shapes={place: shapes[name] for place, name in named if name in shapes},
    )


def _named_until(names: Sequence[str | None]) -> int:
    """Return how many columns there are, without those at the end that have no heading."""
    return max((place for place, named in enumerate(names, start=1) if named != ""), default=0)


def _layout(
    header: Sequence[str], mapping: Mapping[str, str | None], constants: Sequence[str] = ()
) -> _Layout:
    """Say where each column is; ``constants`` are columns that stand behind those of the file."""
    single: dict[str, int] = {}
    numbered: dict[str, dict[int, dict[str, int]]] = {name: {} for name in NUMBERED}
    names = _named(header, mapping)
    has_ours = {"organisation", "local_id"} <= {*names, *constants}

    def put(found: tuple[str, int], place: int) -> None:
        name, number = found
        if name in SINGLE:
            _put(single, name, place)
        else:
            group = next(group for group, names in NUMBERED.items() if name in names)
            _put(numbered[group].setdefault(number, {}), name, place)

    named_until = _named_until(names)
    for place, named in enumerate(names[:named_until]):
        if named is None:
            continue
        found = parted(named)
        if found is None:
            # The first line may be a person's row: a word is repeated only among headings of ours.
            plain = named if has_ours and re.fullmatch(r"[a-z][a-z_]{1,39}(_[0-9]{1,2})?", named) else None
            raise Invalid(
                "column-unknown",
                field=plain,
                row=1,
                detail=f"Column {place + 1} is not known; map it with --map.",
            )
        put(found, place)
    for place, name in enumerate(constants, start=len(header)):
        found = parted(name)
        assert found is not None, "a map is checked when it is read"
        put(found, place)
    for name in REQUIRED:
        if name not in single:
            raise Invalid("column-missing", field=name, row=1)
    continued = frozenset(
        number for number, places in numbered["address"].items() if number > 1 and set(places) == {"address"}
    )
    ordered = {group: dict(sorted(numbers.items())) for group, numbers in numbered.items()}
    return _Layout(
        len(header),
        single,
        ordered,
        continued,
        unnamed=tuple(range(named_until, len(header))),
        several_lines=frozenset(
            places["address"] for places in ordered["address"].values() if "address" in places
        ),
    )


def _put(places: dict[str, int], name: str, place: int) -> None:
    if name in places:
        raise Invalid("column-repeated", field=name, row=1)
    places[name] = place


# Rows ----------------------------------------------------------------------------------------------------------------


def _row(number: int, values: Sequence[str], layout: _Layout, today: date) -> Row:
    if len(values) != layout.width:
        return Row(number, None, (Invalid("column-count", row=number),))
    if any(values[place].strip() for place in layout.unnamed):
        return Row(number, None, (Invalid("column-unnamed", row=number),))
    try:
        record = _record(_shaped(values, layout), layout)
    except Invalid as fault:
        return Row(number, None, (Invalid(fault.code, field=fault.field, row=number),))
    found = tuple(
        Invalid(fault.code, field=fault.field, row=number)
        for fault in faults(record, today, strict_numbers=True)
    )
    return Row(number, None if found else record, found)


def _shaped(values: Sequence[str], layout: _Layout) -> Sequence[str]:
    """Return a row's values as the map has them.

    Raises:
        Invalid: ``code-not-in-map``, ``date-format``.
    """
    if not layout.shapes and not layout.constants:
        return values
    shaped = [*values, *layout.constants]
    for place, shape in layout.shapes.items():
        shaped[place] = shape(values[place])
    return shaped


def _record(values: Sequence[str], layout: _Layout) -> SourceRecord:
    one = {name: values[place].strip() or None for name, place in layout.single.items()}
    for name in REQUIRED:
        if one[name] is None:
            raise Invalid("field-missing", field=name)
    updated_at = one.get("updated_at")
    return SourceRecord(
        key=RecordKey(*(one[name] or "" for name in REQUIRED)),
        nhs_number=one.get("nhs_number"),
        nhs_number_status=one.get("nhs_number_status"),
        nhs_number_verified_by=one.get("nhs_number_verified_by"),
        nhs_number_verified_at=one.get("nhs_number_verified_at"),
        nhs_number_superseded_by=one.get("nhs_number_superseded_by"),
        nhs_number_withdrawn_at=one.get("nhs_number_withdrawn_at"),
        identifiers=_identifiers(values, layout),
        names=_names(values, layout),
        birth_date=one.get("birth_date"),
        gender=one.get("gender"),
        addresses=_addresses(values, layout),
        telecoms=(
            *(Telecom("phone", value) for value in _plain(values, layout, "phone")),
            *(Telecom("email", value) for value in _plain(values, layout, "email")),
        ),
        gp_practice=one.get("gp_practice"),
        mother_nhs_number=one.get("mother_nhs_number"),
        birth_order=one.get("birth_order"),
        death_date=one.get("death_date"),
        restricted=_flag(one.get("restricted"), "restricted"),
        updated_at=parse_instant(updated_at) if updated_at else None,
    )


def _groups(values: Sequence[str], layout: _Layout, group: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each numbered set of columns that has a value in this row."""
    for number, places in layout.numbered[group].items():
        found = {name: text for name, place in places.items() if (text := values[place].strip())}
        if found:
            yield number, found


def _identifiers(values: Sequence[str], layout: _Layout) -> tuple[Identifier, ...]:
    found = []
    for number, one in _groups(values, layout, "identifier"):
        suffix = f"_{number}" if number > 1 else ""
        if "identifier" not in one:
            continue
        if "identifier_system" not in one:
            raise Invalid("field-missing", field=f"identifier_system{suffix}")
        found.append(Identifier(one["identifier_system"], one["identifier"]))
    return tuple(found)


def _names(values: Sequence[str], layout: _Layout) -> tuple[HumanName, ...]:
    names = []
    for number, one in _groups(values, layout, "name"):
        # "Mary Ann" stays one given name: where it splits is not for a file reader to guess.
        given = tuple(one[name] for name in ("given",) if name in one) + tuple(one.get("middle", "").split())
        previous = one.get("previous_family")
        use = one.get("name_use") or ("usual" if number == 1 else "official")
        if given or "family" in one:
            names.append(HumanName(use=use, prefix=one.get("prefix"), given=given, family=one.get("family")))
        if previous:
            names.append(HumanName(use="old", prefix=None, given=given, family=previous))
    return tuple(names)


def _addresses(values: Sequence[str], layout: _Layout) -> tuple[Address, ...]:
    addresses: list[Address] = []
    further: list[str] = []
    for number, one in _groups(values, layout, "address"):
        if number in layout.continued:
            further.append(one["address"])
            continue
        lines = tuple(part for part in (text.strip() for text in one.get("address", "").split("\n")) if part)
        use = one.get("address_use") or ("home" if number == 1 else "old")
        if lines or "city" in one or "postcode" in one:
            addresses.append(
                Address(use=use, lines=lines, city=one.get("city"), postcode=one.get("postcode"))
            )
    if further:
        first = addresses[0] if addresses else Address(use="home", lines=(), city=None, postcode=None)
        first = Address(
            use=first.use, lines=(*first.lines, *further), city=first.city, postcode=first.postcode
        )
        addresses[:1] = [first]
    return tuple(addresses)


def _plain(values: Sequence[str], layout: _Layout, group: str) -> Iterator[str]:
    for _, one in _groups(values, layout, group):
        yield one[group]


def _flag(text: str | None, name: str) -> bool | None:
    if text is None:
        return None
    word = text.lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise Invalid("field-type", field=name)
