"""Step 1 in bulk: each distinct value of a column is normalised once, by the function that the online path uses.

Whatever is not certain to be sound at first sight (a fault, several names, a date that may lie in the future) is read row by row as
a loader reads it; so a bulk run and a load refuse the same rows for the same reasons.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from foundation.errors import Invalid
from mpi.bulk.columns import PLACE, SCHEMA, TEXTS, rare_parts, table_of
from mpi.bulk.read import Raw, Reject
from mpi.bulk.records import Group, Records
from mpi.matching import Model, normalise
from mpi.matching.normalise import (
    Place,
    canonical_of,
    date_of,
    email_of,
    gender_of,
    identifier_of,
    mother_of,
    names_of,
    number_of,
    order_of,
    phone_of,
    place_of,
    postcode_of,
    practice_of,
    words_of,
)
from mpi.matching.text import outward_of, sound
from mpi.records import (
    HumanName,
    SourceRecord,
    parse_gender,
    parse_instant,
    parse_nhs_number,
    parse_partial_date,
)
from mpi.records.validate import CLOCKS_APART, EARLIEST_YEAR, MAX_LINE, MAX_NAME, MAX_VALUE

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class ReadRow(Protocol):
    """A row read as a loader reads it: a checked record, or its faults."""

    @property
    def record(self) -> SourceRecord | None: ...
    @property
    def faults(self) -> Sequence[Invalid]: ...


RowReader = Callable[[Sequence[str], Sequence[str]], ReadRow]
"""From our columns and one row's texts."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """Records in the order of their keys, with their keys; which rows they are; and the rows that were set aside."""

    records: Records
    keys: pa.Table
    rejects: tuple[Reject, ...]
    rows: int
    older_versions: int
    places: Ints
    """Of each record the place of its row in ``Raw``."""
    values: dict[str, int] = field(default_factory=dict)
    """How many distinct values of each kind were normalised."""


def normalise_rows(raw: Raw, model: Model, today: date, read_row: RowReader) -> Normalised:
    """Normalise all rows, one kind of column at a time."""
    return _Bulk(raw, model, today, read_row).run()


# Distinct values -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Domain:
    """The distinct values of some columns, stripped, None where nothing was sent, and which of them each row has."""

    values: list[tuple[str | None, ...]]
    rows: NDArray[np.int32]


def _codes(column: Any) -> tuple[list[str | None], Ints]:
    """Return a column's distinct stripped texts, the first of them None, and the place of each row's."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if pc.all(pc.equal(pc.utf8_trim_whitespace(encoded.dictionary), encoded.dictionary)).as_py() is not False:
        sent = encoded.dictionary.to_pylist()
        if "" not in sent:
            return [None, *sent], encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(
                zero_copy_only=False
            ) + 1
    texts: list[str | None] = [None]
    place_of_text: dict[str, int] = {"": 0}
    places = []
    for text in encoded.dictionary.to_pylist():
        stripped = text.strip()
        place = place_of_text.get(stripped)
        if place is None:
            place = place_of_text[stripped] = len(texts)
            texts.append(stripped)
        places.append(place)
    if not places:
        return texts, np.zeros(len(column), np.int64)
    indices = encoded.indices.fill_null(len(places)).to_numpy(zero_copy_only=False)
    return texts, np.array([*places, 0], np.int64)[indices]


def _domain(raw: Raw, columns: Sequence[str]) -> _Domain:
    table = raw.fetch(columns)
    coded = [_codes(table.column(name)) for name in columns]
    if len(coded) == 1:
        texts, rows = coded[0]
        return _Domain([(text,) for text in texts], rows.astype(np.int32))
    code = np.zeros(raw.size, np.int64)
    for texts, rows in coded:
        code = code * len(texts) + rows
    found, inverse = np.unique(code, return_inverse=True)
    parts: list[list[str | None]] = []
    for texts, _ in reversed(coded):
        found, place = np.divmod(found, len(texts))
        parts.append([texts[one] for one in place.tolist()])
    return _Domain(list(zip(*reversed(parts), strict=True)), inverse.astype(np.int32))


def _is_sound_text(text: str | None, longest: int) -> bool:
    return text is None or (len(text) <= longest and text.isprintable())


def _parses(parse: Callable[[str], object], text: str | None) -> bool:
    try:
        return text is None or parse(text) is not None
    except Invalid:
        return False


@lru_cache(maxsize=65_536)
def _sound_of(name: str) -> str:
    return sound(name)


# Kinds of columns ----------------------------------------------------------------------------------------------

NO_PLACE = Place()
_ODS = re.compile(r"[A-Z0-9]{2,12}")
_SYSTEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_FLAGS = {
    None: False,
    "0": False,
    "1": True,
    "n": False,
    "no": False,
    "false": False,
    "y": True,
    "yes": True,
    "true": True,
}
_STATUSES = (None, "01", "02", "03", "04", "05", "06", "07", "08")
_NAME_USES = (None, "usual", "official", "temp", "nickname", "anonymous", "old", "maiden")
_ADDRESS_USES = (None, "home", "temp", "billing", "work", "old")


class _Bulk:
    def __init__(self, raw: Raw, model: Model, today: date, read_row: RowReader) -> None:
        self._raw, self._model, self._today, self._read_row = raw, model, today, read_row
        self._doubtful: Flags = np.zeros(raw.size, np.bool_)
        self._odd: Flags = np.zeros(raw.size, np.bool_)
        self._groups: list[tuple[pa.Table, NDArray[np.int32]]] = []
        self._values: dict[str, int] = {}
        after = datetime.combine(today + CLOCKS_APART, datetime.min.time(), UTC)
        self._future = int(after.timestamp()) * 1_000_000

    def run(self) -> Normalised:
        given, family = self._names()
        self._number()
        birth = self._date("birth_date", "birth")
        death = self._date("death_date", "death")
        later = (death[:, 0] > 0) & (birth[:, 0] > 0) & (death[:, 0] <= birth[:, 0])
        self._doubtful |= later
        self._single("gender", lambda text: gender_of(text), lambda text: _parses(parse_gender, text))
        self._single(
            "practice",
            lambda text: practice_of(text, self._model),
            lambda text: text is None or bool(_ODS.fullmatch(text.upper())),
            "gp_practice",
        )
        self._single("mother", mother_of, lambda text: _parses(parse_nhs_number, text), "mother_nhs_number")
        self._places()
        self._listed("phones", "phone", lambda text: phone_of(text, self._model))
        self._listed("emails", "email", lambda text: email_of(text, self._model))
        self._identifiers()
        self._flags(given, family)
        return self._ordered()

    def _add(
        self, name: str, values: pa.Table, domain_rows: NDArray[np.int32], odd: Sequence[bool] = ()
    ) -> None:
        self._groups.append((values, domain_rows))
        self._values[name] = values.num_rows
        if any(odd):
            self._odd |= np.array(odd, np.bool_)[domain_rows]

    def _doubt(self, is_sound: Iterable[bool], rows: NDArray[np.int32]) -> None:
        doubtful = ~np.fromiter(is_sound, np.bool_)
        if doubtful.any():
            self._doubtful |= doubtful[rows]

    def _numbered(self, name: str) -> list[str]:
        """Return the columns of a name that come again: ``phone``, ``phone_2``, in order."""
        found = [column for column in self._raw.columns if re.fullmatch(rf"{name}(_[0-9]+)?", column)]
        return sorted(found, key=lambda column: int(column.rpartition("_")[2]) if column != name else 1)

    # Names

    def _names(self) -> tuple[Any, Any]:
        """Given and family names apart, since together nearly every row is its own; rows of several names go by themselves."""
        model = self._model
        further = [
            column
            for name in ("given", "middle", "family", "previous_family", "name_use", "prefix")
            for column in self._numbered(name)
            if column != name
        ]
        for column in further:
            texts, rows = _codes(self._raw.fetch([column]).column(column))
            self._doubtful |= rows > 0
        domain = _domain(self._raw, ("given", "middle"))
        columns: dict[str, list[Any]] = {
            name: [] for name in ("given", "middle", "canonical", "given_sounds", "given_part")
        }
        flags = []
        for given, middle in domain.values:
            said = (*((given,) if given else ()), *(middle or "").split())
            names = names_of((HumanName(given=said),), model)
            columns["given"].append(names.given)
            columns["middle"].append(names.middle)
            columns["canonical"].append(canonical_of(names.given, model))
            columns["given_sounds"].append([_sound_of(name) for name in names.given])
            columns["given_part"].append(rare_parts(names.given, (), model)[0])
            flags.append((names.is_placeholder, bool(names.given), names.birth_order))
        odd = [
            not all(map(str.isascii, (*given, *middle)))
            for given, middle in zip(columns["given"], columns["middle"], strict=True)
        ]
        self._doubt(
            (
                _is_sound_text(given, MAX_NAME)
                and _is_sound_text(middle, MAX_NAME)
                and (middle or "").count(" ") < 8
                for given, middle in domain.values
            ),
            domain.rows,
        )
        self._add("given and middle names", _table(columns), domain.rows, odd)
        given_flags = np.array(flags, np.int64).reshape(-1, 3)[domain.rows]

        domain = _domain(self._raw, ("family", "previous_family", "name_use"))
        columns = {
            name: []
            for name in (
                "family",
                "previous",
                "halves",
                "family_sounds",
                "previous_sounds",
                "halves_sounds",
                "family_part",
            )
        }
        placeholder = []
        for family, before, use in domain.values:
            # A use that is not known is refused later, by the row.
            human = (
                [HumanName(use=use if use in _NAME_USES and use else "usual", family=family)]
                if family
                else []
            )
            if before:
                human.append(HumanName(use="old", family=before))
            names = names_of(human, model)
            for name in ("family", "previous", "halves"):
                columns[name].append(getattr(names, name))
                columns[f"{name}_sounds"].append([_sound_of(one) for one in getattr(names, name)])
            columns["family_part"].append(rare_parts((), names.family + names.previous, model)[1])
            placeholder.append(names.is_placeholder)
        odd = [
            not all(map(str.isascii, (*family, *previous, *halves)))
            for family, previous, halves in zip(
                columns["family"], columns["previous"], columns["halves"], strict=True
            )
        ]
        self._doubt(
            (
                _is_sound_text(family, MAX_NAME) and _is_sound_text(before, MAX_NAME) and use in _NAME_USES
                for family, before, use in domain.values
            ),
            domain.rows,
        )
        self._add("family names", _table(columns), domain.rows, odd)
        return given_flags, np.array(placeholder, np.bool_)[domain.rows]

    # Single values

    def _number(self) -> None:
        domain = _domain(self._raw, ("nhs_number", "nhs_number_status"))
        numbers, states, is_sound = [], [], []
        for text, status in domain.values:
            number, state = number_of(text, status, self._model, {})
            numbers.append(number)
            states.append(state)
            is_sound.append(
                status in _STATUSES
                and (
                    text is None
                    or len(text) <= 20
                    and (state in ("v", "c") or _parses(parse_nhs_number, text))
                )
            )
        self._doubt(is_sound, domain.rows)
        odd = [not number.isascii() for number in numbers]
        self._add("NHS numbers", _table({"number": numbers, "number_state": states}), domain.rows, odd)

    def _date(self, column: str, name: str) -> Ints:
        domain = _domain(self._raw, (column,))
        placeholders = self._model.placeholder_dates if name == "birth" else frozenset()
        dates = [date_of(text, placeholders) for (text,) in domain.values]
        self._doubt((self._is_sound_date(text) for (text,) in domain.values), domain.rows)
        parts = np.array(dates, np.int64).reshape(-1, 3)
        self._add(
            f"{name} dates", _table({f"{name}_{part}": parts[:, part] for part in range(3)}), domain.rows
        )
        return parts[domain.rows]

    def _is_sound_date(self, text: str | None) -> bool:
        if text is None:
            return True
        try:
            read = parse_partial_date(text)
        except Invalid:
            return False
        return read.year >= EARLIEST_YEAR and read.earliest() <= self._today

    def _single(
        self,
        name: str,
        clean: Callable[[str | None], str],
        is_sound: Callable[[str | None], bool],
        column: str | None = None,
    ) -> None:
        domain = _domain(self._raw, (column or name,))
        values = [clean(text) for (text,) in domain.values]
        self._doubt((is_sound(text) for (text,) in domain.values), domain.rows)
        self._add(name, _table({name: values}), domain.rows)

    # Lists

    def _listed(self, name: str, column: str, clean: Callable[[str], str]) -> None:
        """Contacts: every distinct one cleaned once, whatever column it came in; then the lists of the rows."""
        places: dict[str, int] = {"": 0}
        slots = []
        for one in self._numbered(column):
            domain = _domain(self._raw, (one,))
            cleaned = [clean(text) if text else "" for (text,) in domain.values]
            self._doubt((_is_sound_text(text, MAX_VALUE) for (text,) in domain.values), domain.rows)
            slots.append(
                np.array([places.setdefault(value, len(places)) for value in cleaned], np.int32)[domain.rows]
            )
        self._lists(name, pa.array(list(places), pa.string()), slots)

    def _identifiers(self) -> None:
        places: dict[str, int] = {"": 0}
        slots = []
        odd: Flags = np.zeros(self._raw.size, np.bool_)
        for one in self._numbered("identifier"):
            domain = _domain(self._raw, (one, one.replace("identifier", "identifier_system")))
            cleaned = [
                identifier_of(system, value) if value and system else "" for value, system in domain.values
            ]
            self._doubt(
                (
                    _is_sound_text(value, MAX_VALUE)
                    and _is_sound_text(system, MAX_VALUE)
                    and bool(system or not value)
                    for value, system in domain.values
                ),
                domain.rows,
            )
            if not all(map(str.isascii, cleaned)):
                odd |= np.array([not value.isascii() for value in cleaned])[domain.rows]
            slots.append(
                np.array([places.setdefault(value, len(places)) for value in cleaned], np.int32)[domain.rows]
            )
        self._odd |= odd
        self._lists("identifiers", pa.array(list(places), pa.string()), slots)

    def _places(self) -> None:
        model = self._model

        @lru_cache(maxsize=65_536)
        def postcode(text: str | None) -> str:
            return postcode_of(text)

        lines_of: dict[tuple[str | None, str | None], tuple[str, str, bool]] = {}
        places: dict[tuple[str, str, str], int] = {("", "", ""): 0}
        made = [NO_PLACE]
        slots = []
        numbers = {
            int(column.rpartition("_")[2]) if column[-1].isdigit() else 1
            for name in ("address", "city", "postcode", "address_use")
            for column in self._numbered(name)
        }
        for number in sorted(numbers):
            end = "" if number == 1 else f"_{number}"
            if f"address_use{end}" in self._raw.columns:
                uses = _domain(self._raw, (f"address_use{end}",))
                self._doubt((use in _ADDRESS_USES for (use,) in uses.values), uses.rows)
            columns = (f"address{end}", f"city{end}", f"postcode{end}")
            if number > 1 and columns[1] not in self._raw.columns and columns[2] not in self._raw.columns:
                # Further lines of the first address.
                texts, rows = _codes(self._raw.fetch([columns[0]]).column(columns[0]))
                self._doubtful |= rows > 0
                continue
            domain = _domain(self._raw, columns)
            found, is_sound = [], []
            for text, city, code in domain.values:
                read = lines_of.get((text, city))
                if read is None:
                    lines = tuple(part for part in (one.strip() for one in (text or "").split("\n")) if part)
                    sound_lines = len(lines) <= 20 and all(
                        len(one) <= MAX_LINE and one.isprintable() for one in lines
                    )
                    numbers_, words = words_of(lines, city, model)
                    read = lines_of[text, city] = (
                        numbers_,
                        words,
                        sound_lines and _is_sound_text(city, MAX_LINE),
                    )
                parts = (postcode(code), read[0], read[1])
                place = places.get(parts)
                if place is None:
                    place = places[parts] = len(made)
                    made.append(place_of(*parts, model) or NO_PLACE)
                found.append(place)
                is_sound.append(read[2] and _is_sound_text(code, 16))
            self._doubt(is_sound, domain.rows)
            slots.append(np.array(found, np.int32)[domain.rows])
        strange = np.array([not "".join(place[:3]).isascii() for place in made])
        if strange.any():
            for slot in slots:
                self._odd |= strange[slot]
        values = pa.StructArray.from_arrays(
            [
                pa.array([place.postcode for place in made], pa.string()),
                pa.array([outward_of(place.postcode) for place in made], pa.string()),
                pa.array([place.numbers for place in made], pa.string()),
                pa.array([place.words for place in made], pa.string()),
                pa.array([place.is_shared for place in made], pa.bool_()),
            ],
            fields=list(PLACE),
        )
        self._lists("places", values, slots)

    def _lists(self, name: str, values: Any, slots: Sequence[NDArray[np.int32]]) -> None:
        """Make each row's list of distinct values, in the order of their columns; each distinct list is kept once."""
        size = self._raw.size
        if not slots:
            slots = [np.zeros(size, np.int32)]
        matrix = np.stack(slots, axis=1)
        for later in range(1, matrix.shape[1]):
            for earlier in range(later):
                matrix[matrix[:, later] == matrix[:, earlier], later] = 0
        code = np.zeros(size, np.int64)
        for slot in range(matrix.shape[1]):
            if float(len(values)) ** (slot + 1) >= 2.0**62:
                _, code = np.unique(code, return_inverse=True)
            code = code * len(values) + matrix[:, slot]
        _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
        chosen = matrix[first]
        present = chosen > 0
        offsets = np.concatenate(([0], np.cumsum(present.sum(axis=1)))).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), values.take(pa.array(chosen[present])))
        self._groups.append((pa.table({name: lists.cast(SCHEMA.field(name).type)}), inverse.astype(np.int32)))
        self._values[name] = len(values) - 1

    def _flags(self, given: Any, family: Any) -> None:
        domain = _domain(self._raw, ("birth_order",))
        orders = np.array([order_of(text) for (text,) in domain.values], np.int64)[domain.rows]
        self._doubt((text in (None, *"123456789") for (text,) in domain.values), domain.rows)
        orders = np.where(orders > 0, orders, given[:, 2])
        self._add("orders of birth", _table({"birth_order": np.arange(10)}), orders.astype(np.int32))
        # As in a record's names together: a placeholder counts where no given name is left.
        placeholder = ((given[:, 0] > 0) | family) & (given[:, 1] == 0)
        self._add("", _table({"is_placeholder": [False, True]}), placeholder.astype(np.int32))
        domain = _domain(self._raw, ("restricted",))
        said = [_FLAGS.get(text.lower() if text else None) for (text,) in domain.values]
        self._doubt((one is not None for one in said), domain.rows)
        restricted = np.array([bool(one) for one in said], np.int32)[domain.rows]
        self._add("", _table({"is_restricted": [False, True]}), restricted)

    # Keys, versions, rejects

    def _ordered(self) -> Normalised:
        raw = self._raw
        keys = raw.fetch(("organisation", "system", "local_id", "updated_at", "file_number", "row_number"))
        trimmed = {
            name: pc.utf8_trim_whitespace(pc.fill_null(keys.column(name), ""))
            for name in ("organisation", "system", "local_id")
        }
        for name, shape in (("organisation", _ODS), ("system", _SYSTEM)):
            texts, rows = _codes(keys.column(name))
            self._doubt((bool(text and shape.fullmatch(text)) for text in texts), rows.astype(np.int32))
        self._doubtful |= ~pc.match_substring_regex(
            trimmed["local_id"], "^[!-~]([ -~]{0,62}[!-~])?$"
        ).to_numpy()
        self._doubt_instants(keys.column("updated_at"))
        is_good = np.ones(raw.size, np.bool_)
        rejects = list(raw.unreadable)
        files, numbers = (keys.column(name).to_numpy() for name in ("file_number", "row_number"))
        row_of = _RowNumbers(raw.unreadable)
        doubtful = np.flatnonzero(self._doubtful)
        records: list[SourceRecord] = []
        places: list[int] = []
        empty = 0
        for place, read in zip(doubtful.tolist(), self._read(doubtful), strict=True):
            if read is None:
                # A spreadsheet's empty row.
                is_good[place] = False
                empty += 1
                continue
            if read.record is not None and not read.faults:
                records.append(read.record)
                places.append(place)
                continue
            is_good[place] = False
            file, number = int(files[place]), row_of(int(files[place]), int(numbers[place]))
            rejects.extend(Reject(file, number, fault.field, fault.code) for fault in read.faults)
        self._put(records, places)
        if places:
            for name in ("organisation", "system", "local_id"):
                whole = trimmed[name].to_pylist()
                for place, record in zip(places, records, strict=True):
                    whole[place] = getattr(record.key, name)
                trimmed[name] = pa.chunked_array([pa.array(whole, pa.string())])
        order, older, untimed = _latest(self._raw, trimmed, keys.column("updated_at"), is_good)
        rejects.extend(
            Reject(
                int(files[place]),
                row_of(int(files[place]), int(numbers[place])),
                "updated_at",
                "updated-at-missing",
            )
            for place in untimed.tolist()
        )
        groups = [Group(values, rows[order]) for values, rows in self._groups]
        groups.append(Group(_table({"is_odd": [False, True]}), self._odd[order].astype(np.int32)))
        kept = pa.table(
            {name: column.take(pa.array(order)).combine_chunks() for name, column in trimmed.items()}
        )
        return Normalised(
            Records(tuple(groups), len(order)),
            kept,
            tuple(sorted(set(rejects), key=lambda one: (one.file, one.row, one.field or "", one.code))),
            raw.size - empty + len({(one.file, one.row) for one in raw.unreadable}),
            older,
            order,
            {name: count for name, count in self._values.items() if name}
            | {"rows read singly": len(doubtful)},
        )

    def _doubt_instants(self, column: Any) -> None:
        """Doubt what is not plainly an instant in UTC and cannot be read as another."""
        past = pc.less(column, (self._today + CLOCKS_APART).isoformat())
        plain = pc.and_(pc.match_substring_regex(column, _PLAIN_INSTANT), past).fill_null(True).to_numpy()
        others = np.flatnonzero(~plain)
        for place, text in zip(others.tolist(), column.take(pa.array(others)).to_pylist(), strict=True):
            at = _instant(text)
            self._doubtful[place] |= at is None or (at < _FOREVER and at >= self._future)

    def _read(self, places: Ints) -> Iterable[ReadRow | None]:
        columns = self._raw.columns
        for start in range(0, len(places), 50_000):
            some = places[start : start + 50_000]
            table = self._raw.fetch(columns).take(pa.array(some)).to_pylist()
            for row in table:
                values = [row[name] or "" for name in columns]
                yield self._read_row(columns, values) if any(value.strip() for value in values) else None

    def _put(self, records: Sequence[SourceRecord], places: Sequence[int]) -> None:
        """Put records that were read singly in the place of what their columns gave."""
        if not records:
            return
        made = table_of((normalise(record, self._model) for record in records), self._model).combine_chunks()
        at = np.array(places, np.int64)
        for number, (values, rows) in enumerate(self._groups):
            whole = pa.concat_tables(
                [values, made.select(values.column_names).cast(values.schema)]
            ).combine_chunks()
            rows = rows.copy()
            rows[at] = values.num_rows + np.arange(len(at), dtype=np.int32)
            self._groups[number] = (whole, rows)
        self._odd[at] = made.column("is_odd").to_numpy()


def _table(columns: dict[str, Any]) -> pa.Table:
    return pa.table(
        {
            name: pa.array([list(one) for one in values], TEXTS) if SCHEMA.field(name).type == TEXTS
            else pa.array(values, SCHEMA.field(name).type)
            for name, values in columns.items()
        }
    )  # fmt: skip


_FOREVER = 2**62


_PLAIN_INSTANT = (
    r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
)


def _instant(text: str | None) -> int | None:
    """Return microseconds; what has no time of its own is as late as its arrival. None for what cannot be read."""
    if text is None or not text.strip():
        return _FOREVER
    try:
        return int((parse_instant(text) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
    except Invalid:
        return None


class _RowNumbers:
    """Counts unreadable rows back in: the engine numbers only those that it could read."""

    def __init__(self, unreadable: Sequence[Reject]) -> None:
        self._lines: dict[int, list[int]] = {}
        for one in unreadable:
            self._lines.setdefault(one.file, []).append(one.row)

    def __call__(self, file: int, number: int) -> int:
        for line in self._lines.get(file, ()):
            if line > number:
                break
            number += 1
        return number


def _latest(raw: Raw, keys: dict[str, Any], instants: Any, is_good: Flags) -> tuple[Ints, int, Ints]:
    """Put good rows in order of their keys and keep each key's latest version.

    Returns:
        The places of the rows kept, how many older versions there were, and the places of rows without a time of their own that came
        after another such row of their key: they cannot be put in order.
    """
    table = pa.table({**keys, "good": pa.array(is_good), "place": pa.array(np.arange(raw.size))})
    raw.connection.register("bulk_keys", table)
    ordered = raw.connection.sql(
        "SELECT * FROM bulk_keys WHERE good ORDER BY organisation, system, local_id, place"
    ).to_arrow_table()
    raw.connection.unregister("bulk_keys")
    place: Ints = ordered.column("place").to_numpy()
    if len(place) < 2:
        return place, 0, place[:0]
    again = np.zeros(len(place), np.bool_)
    again[1:] = np.logical_and.reduce(
        [pc.equal(ordered.column(name)[1:], ordered.column(name)[:-1]).to_numpy() for name in keys]
    )
    if not again.any():
        return place, 0, place[:0]
    # Only keys that come more than once need their times.
    starts = np.flatnonzero(~again)
    ends = np.append(starts[1:], len(place))
    kept, out, older = np.ones(len(place), np.bool_), [], 0
    for start, end in zip(starts[ends - starts > 1].tolist(), ends[ends - starts > 1].tolist(), strict=True):
        versions = place[start:end]
        times = [_instant(text) or 0 for text in instants.take(pa.array(versions)).to_pylist()]
        untimed = [one for one, time in zip(versions.tolist(), times, strict=True) if time == _FOREVER][1:]
        last = max(
            (time, one) for one, time in zip(versions.tolist(), times, strict=True) if one not in untimed
        )[1]
        kept[start:end] = versions == last
        out.extend(untimed)
        older += end - start - 1 - len(untimed)
    return place[kept], older, np.array(out, np.int64)
