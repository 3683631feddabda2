"""Step 1 in bulk: each distinct value of a column is normalised once, by the function that the online path uses.

Whatever is not certain to be sound at first sight (a fault, several names, a date that may lie in the future) is read row by row as
a loader reads it; so a bulk run and a load refuse the same rows for the same reasons.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from foundation.errors import Invalid
from mpi.bulk.columns import (
    BY_LETTERS,
    PLACE,
    SCHEMA,
    TEXTS,
    columns_of_values,
    family_parts,
    given_parts,
    table_of,
)
from mpi.bulk.lines import Sheet
from mpi.bulk.plain import (
    address_words,
    emails,
    filled,
    fits,
    identifiers,
    is_ascii,
    is_in,
    is_shared,
    longest,
    nhs_numbers,
    phones,
    plain_family,
    plain_given,
)
from mpi.bulk.read import Raw, Reject
from mpi.bulk.records import Group, Records, combined
from mpi.matching import Model, normalise
from mpi.matching.normalise import (
    canonical_of,
    date_of,
    distinct,
    email_of,
    gender_of,
    identifier_of,
    mother_of,
    names_of,
    number_of,
    order_of,
    phone_of,
    postcode_of,
    practice_of,
    words_of,
)
from mpi.matching.text import outward_of
from mpi.records import (
    HumanName,
    RecordKey,
    SourceRecord,
    parse_gender,
    parse_instant,
    parse_nhs_number,
    parse_partial_date,
    superseded_by,
    survivors,
)
from mpi.records.validate import CLOCKS_APART, EARLIEST_YEAR, MAX_ITEMS, MAX_LINE, MAX_NAME, MAX_VALUE

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


def normalise_rows(
    raw: Raw,
    model: Model,
    today: date,
    read_row: RowReader,
    said: Mapping[str, Collection[str]] | None = None,
) -> Normalised:
    """Normalise all rows, one kind of column at a time.

    Args:
        said: superseded NHS numbers, as ``said_of`` returns them, where these rows are a part of all; None: they say it themselves.
    """
    return _Bulk(raw, model, today, read_row, said).run()


def said_of(rows: Iterable[tuple[str | None, ReadRow | None]]) -> dict[str, set[str]]:
    """Return the NHS numbers that records say were superseded, by the rule of the index: over all the versions of a record.

    Args:
        rows: all rows of each record that says so, in their order, with the source's time as it was received.
    """
    versions: dict[RecordKey, list[tuple[int, int, SourceRecord]]] = defaultdict(list)
    for place, (instant, read) in enumerate(rows):
        if read is not None and read.record is not None and not read.faults:
            versions[read.record.key].append((instant_of(instant) or 0, place, read.record))
    said: dict[str, set[str]] = defaultdict(set)
    for told in versions.values():
        for old, new in superseded_by(one for *_, one in sorted(told, key=itemgetter(0, 1))).items():
            said[old].add(new)
    return dict(said)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Rows of a file in its order: normalised, checked, and what was sent, each distinct value of a column once.

    Rows that are not sound are empty, or ``faults`` says why they are set aside. Those of ``singly`` were read by the row reader:
    their record stands, whatever their columns say.
    """

    groups: tuple[Group, ...]
    sent: Callable[[str], "Column"]
    numbered: Callable[[str], list[str]]
    is_sound: Flags
    singly: Mapping[int, SourceRecord]
    faults: tuple[tuple[int, tuple[Invalid, ...]], ...]
    """Row numbers in order, and why each was set aside."""
    rows: int
    """Those that are not empty."""


SheetReader = Callable[[int, Sequence[str] | None], ReadRow | None]
"""From a row's number and its values to what a loader makes of it; None for an empty one."""


def clean_sheet(sheet: Sheet, model: Model, today: date, read_row: SheetReader) -> Cleaned:
    """Normalise and check some rows of a file, one kind of column at a time; those of an unusual shape by the row reader."""
    return _SheetBulk(sheet, model, today, read_row).run()


class Source(Protocol):
    """Rows as received, by our columns."""

    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def size(self) -> int: ...
    def column(self, name: str) -> Any: ...


# Distinct values -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """The distinct stripped texts of a column, the first of them "" for nothing sent, and which of them each row has."""

    texts: Any
    rows: NDArray[np.int32]

    @property
    def sent(self) -> Flags:
        found: Flags = self.rows != 0
        return found

    def values(self) -> list[str]:
        found: list[str] = self.texts.to_pylist()
        return found


def _column(source: Source, name: str) -> Column:
    whole = source.column(name)
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.combine_chunks()
    encoded = whole.dictionary_encode()
    sent = encoded.dictionary
    stripped = filled(pc.ascii_trim(sent, " "), fits(sent, "[ -~]*"), sent, str.strip)
    texts = pa.concat_arrays([pa.array([""], pa.string()), stripped])
    rows = encoded.indices.cast(pa.int32()).fill_null(-1).to_numpy(zero_copy_only=False) + np.int32(1)
    if not pc.any(pc.or_(pc.equal(stripped, ""), pc.not_equal(stripped, sent))).as_py():
        return Column(texts, rows)
    # Some were the same but for spaces.
    again = texts.dictionary_encode()
    return Column(again.dictionary, again.indices.to_numpy()[rows])


def _taken(texts: Any, places: NDArray[Any]) -> list[str]:
    found: list[str] = texts.take(pa.array(places)).to_pylist()
    return found


def _numbered_texts(
    parts: Sequence[tuple[Any, NDArray[np.int32]]],
) -> tuple[Any, list[NDArray[np.int32]]]:
    """Put texts of several columns into one array of distinct ones, the first of them "", and number the columns' rows by it."""
    encoded = pa.concat_arrays(
        [pa.array([""], pa.string()), *(texts for texts, _ in parts)]
    ).dictionary_encode()
    place, start, rows = encoded.indices.to_numpy(), 1, []
    for texts, own in parts:
        rows.append(place[start : start + len(texts)][own])
        start += len(texts)
    return encoded.dictionary, rows


def _lines_of(text: str) -> tuple[str, ...]:
    return tuple(part for part in (one.strip() for one in text.split("\n")) if part)


def _are_sound(lines: Sequence[str]) -> bool:
    return len(lines) <= 20 and all(len(one) <= MAX_LINE and one.isprintable() for one in lines)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        return not text or parse(text) is not None
    except Invalid:
        return False


def _is_sound(texts: Any, most: int) -> Flags:
    """Say which texts are short enough and can be printed."""
    good = fits(texts, "[ -~]*")
    others = np.flatnonzero(~good)
    good[others] = [text.isprintable() for text in _taken(texts, others)]
    return good & longest(texts, most)


# Kinds of columns ----------------------------------------------------------------------------------------------

_ODS = re.compile(r"[A-Z0-9]{2,12}")
_SYSTEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_PLAIN_VERIFIER = "[ -~]{0,64}"
_PLAIN_ID = "[!-~]([ -~]{0,62}[!-~])?"
_FLAGS = {
    "": False,
    "0": False,
    "1": True,
    "n": False,
    "no": False,
    "false": False,
    "y": True,
    "yes": True,
    "true": True,
}
_STATUSES = ("", "01", "02", "03", "04", "05", "06", "07", "08")
_PREVIOUS_USES = ("old", "maiden")
_NAME_USES = ("usual", "official", "temp", "nickname", "anonymous", *_PREVIOUS_USES)
_ADDRESS_USES = ("", "home", "temp", "billing", "work", "old")


class _Columns:
    """Normalises and checks rows by their columns, and says which of them it is not certain of."""

    def __init__(self, source: Source, model: Model, today: date) -> None:
        self._source, self._model, self._today = source, model, today
        self._doubtful: Flags = np.zeros(source.size, np.bool_)
        self._odd: Flags = np.zeros(source.size, np.bool_)
        self._groups: list[tuple[pa.Table, NDArray[np.int32]]] = []
        self._values: dict[str, int] = {}
        after = datetime.combine(today + CLOCKS_APART, datetime.min.time(), UTC)
        self._future = int(after.timestamp()) * 1_000_000

    def _clean(self) -> None:
        given = self._given_names()
        family = self._family_names()
        self._number()
        birth = self._date("birth_date", "birth")
        death = self._date("death_date", "death")
        # A placeholder is no year here, yet a death before it is refused.
        later = (death[:, 0] > 0) & (death[:, 0] <= np.where(birth[:, 0] > 0, birth[:, 0], self._today.year))
        later &= self._column("birth_date").sent
        self._doubtful |= later
        self._single("gender", lambda text: gender_of(text), lambda text: _parses(parse_gender, text))
        self._single(
            "practice",
            lambda text: practice_of(text, self._model),
            lambda text: not text or bool(_ODS.fullmatch(text.upper())),
            "gp_practice",
        )
        self._single("mother", mother_of, lambda text: _parses(parse_nhs_number, text), "mother_nhs_number")
        self._places()
        self._contacts("phones", "phone", phones, phone_of)
        self._contacts("emails", "email", emails, email_of)
        contacts = [*self._numbered("phone"), *self._numbered("email")]
        if len(contacts) > MAX_ITEMS:
            counts = np.zeros(self._source.size, np.int64)
            for one in contacts:
                counts += self._column(one).sent
            self._doubtful |= counts > MAX_ITEMS
        self._identifiers()
        self._flags(given, family)
        for name, shape in (("organisation", _ODS), ("system", _SYSTEM)):
            sent = self._column(name)
            self._doubt(
                np.fromiter((bool(shape.fullmatch(text)) for text in sent.values()), np.bool_), sent.rows
            )

    def _add(self, name: str, values: pa.Table, rows: NDArray[np.int32]) -> None:
        self._groups.append((values, rows))
        self._values[name] = values.num_rows
        odd = np.zeros(values.num_rows, np.bool_)
        for column in set(values.column_names) & set(BY_LETTERS):
            whole = values.column(column).combine_chunks()
            if whole.type == TEXTS:
                odd[pc.list_parent_indices(whole).to_numpy()[~is_ascii(whole.flatten())]] = True
            else:
                odd |= ~is_ascii(whole)
        if odd.any():
            self._odd |= odd[rows]

    def _doubt(self, is_sound: Flags, rows: NDArray[np.int32]) -> None:
        if not is_sound.all():
            self._doubtful |= ~is_sound[rows]

    def _column(self, name: str) -> Column:
        return _column(self._source, name)

    def _numbered(self, name: str) -> list[str]:
        """Return the columns of a name that come again: ``phone``, ``phone_2``, in order."""
        found = [column for column in self._source.columns if re.fullmatch(rf"{name}(_[0-9]+)?", column)]
        return sorted(found, key=lambda column: int(column.rpartition("_")[2]) if column != name else 1)

    # Names

    def _given_names(self) -> Ints:
        """Normalise given and middle names, each by itself where they are plain words; else both together.

        Returns:
            Of every row: is the given name a placeholder, is there another, the order of birth that it tells.
        """
        model = self._model
        for name in ("given", "middle", "family", "previous_family", "name_use", "prefix"):
            for further in self._numbered(name):
                # Rows of several names go by themselves.
                if further != name:
                    self._doubtful |= self._column(further).sent
        prefix, given, middle = self._column("prefix"), self._column("given"), self._column("middle")
        self._doubt(_is_sound(prefix.texts, MAX_NAME), prefix.rows)
        self._doubt(_is_sound(given.texts, MAX_NAME), given.rows)
        self._doubt(_is_sound(middle.texts, MAX_NAME), middle.rows)
        self._doubt(pc.count_substring(middle.texts, " ").to_numpy() < 8, middle.rows)
        is_plain_given = plain_given(given.texts, model)
        is_plain_middle = fits(middle.texts, "(?:[A-Za-z]+ )*[A-Za-z]+|")
        # Without a given name the first of the others is taken for it.
        alone = is_plain_given[given.rows] & is_plain_middle[middle.rows] & (given.sent | ~middle.sent)
        firsts: list[tuple[str, ...]] = [
            (text,) if text and is_plain else ()
            for text, is_plain in zip(
                pc.ascii_lower(given.texts).to_pylist(), is_plain_given.tolist(), strict=True
            )
        ]
        further_names = [
            distinct(text.split()) if is_plain else ()
            for text, is_plain in zip(
                pc.ascii_lower(middle.texts).to_pylist(), is_plain_middle.tolist(), strict=True
            )
        ]
        flags = [(False, bool(first), 0) for first in firsts]
        given_rows, middle_rows = given.rows.copy(), middle.rows.copy()
        together = np.flatnonzero(~alone)
        first, at = combined(
            (given.rows[together], middle.rows[together]), (len(given.texts), len(middle.texts))
        )
        some = together[first]
        given_rows[together] = len(firsts) + at
        middle_rows[together] = len(further_names) + at
        for one, other in zip(
            _taken(given.texts, given.rows[some]), _taken(middle.texts, middle.rows[some]), strict=True
        ):
            names = names_of((HumanName(given=(*((one,) if one else ()), *other.split())),), model)
            firsts.append(names.given)
            further_names.append(names.middle)
            flags.append((names.is_placeholder, bool(names.given), names.birth_order))
        columns = columns_of_values("given", firsts)
        columns |= columns_of_values("canonical", [canonical_of(names, model) for names in firsts])
        columns["given_part"] = given_parts(firsts, model)
        self._add("given names", pa.table(columns), given_rows)
        self._add("middle names", pa.table(columns_of_values("middle", further_names)), middle_rows)
        found: Ints = np.array(flags, np.int64).reshape(-1, 3)[given_rows]
        return found

    def _family_names(self) -> Flags:
        """Normalise family names, together with a previous one where there is one. Returns which rows have a placeholder."""
        model = self._model
        family, before, use = (
            self._column("family"),
            self._column("previous_family"),
            self._column("name_use"),
        )
        self._doubt(_is_sound(family.texts, MAX_NAME), family.rows)
        self._doubt(_is_sound(before.texts, MAX_NAME), before.rows)
        # A use that is not known is refused later, by the row.
        self._doubt(is_in(use.texts, ("", *_NAME_USES)), use.rows)
        is_current = ~is_in(use.texts, _PREVIOUS_USES)
        alone = is_current[use.rows] & ~before.sent
        rows = family.rows.copy()
        nobody = names_of((), model)
        lowered = pc.ascii_lower(family.texts).to_pylist()
        names = [
            nobody._replace(family=(low,))
            if low and is_plain
            else names_of((HumanName(family=text),) if text else (), model)
            for text, low, is_plain in zip(
                family.values(), lowered, plain_family(family.texts, model).tolist(), strict=True
            )
        ]
        together = np.flatnonzero(~alone)
        columns_sent = (family, before, use)
        first, at = combined(
            [one.rows[together] for one in columns_sent], [len(one.texts) for one in columns_sent]
        )
        rows[together] = len(names) + at
        texts = [_taken(one.texts, one.rows[together[first]]) for one in columns_sent]
        for now, old, said in zip(*texts, strict=True):
            human = [HumanName(use=said if said in _NAME_USES else "usual", family=now)] if now else []
            if old:
                human.append(HumanName(use="old", family=old))
            names.append(names_of(human, model))
        columns: dict[str, Any] = {}
        for name in ("family", "previous", "halves"):
            columns |= columns_of_values(name, [getattr(one, name) for one in names])
        columns["family_part"] = family_parts([one.family + one.previous for one in names], model)
        self._add("family names", pa.table(columns), rows)
        placeholder: Flags = np.fromiter((one.is_placeholder for one in names), np.bool_, len(names))[rows]
        return placeholder

    # Single values

    def _number(self) -> None:
        number, status = self._column("nhs_number"), self._column("nhs_number_status")
        self._doubt(is_in(status.texts, _STATUSES), status.rows)
        self._doubt_of_number()
        model = self._model
        digits, is_plain = nhs_numbers(number.texts, model)
        is_sound = is_plain.copy()
        others = np.flatnonzero(~is_plain)
        is_sound[others] = [
            not text or len(text) <= 20 and _parses(parse_nhs_number, text)
            for text in _taken(number.texts, others)
        ]
        self._doubt(is_sound, number.rows)
        states = ["", "v", "c", "i"]
        rows, state = number.rows.copy(), np.zeros(len(number.rows), np.int32)
        good = is_plain[number.rows]
        if is_plain.any():
            # What a status makes of a sound number, it makes of all.
            sound_number = digits[int(np.flatnonzero(is_plain)[0])].as_py()
            made = [
                states.index(number_of(sound_number, text or None, model, {})[1]) for text in status.values()
            ]
            state[good] = np.array(made, np.int32)[status.rows[good]]
            rows[good & (state == 0)] = 0
        together = np.flatnonzero(~good & number.sent)
        first, at = combined(
            (number.rows[together], status.rows[together]), (len(number.texts), len(status.texts))
        )
        some = together[first]
        found = [
            number_of(text, code or None, model, {})
            for text, code in zip(
                _taken(number.texts, number.rows[some]), _taken(status.texts, status.rows[some]), strict=True
            )
        ]
        rows[together] = len(digits) + at
        state[together] = np.array([states.index(one) for _, one in found], np.int32)[at]
        self._add(
            "NHS numbers",
            pa.table(
                {"number": pa.concat_arrays([digits, pa.array([text for text, _ in found], pa.string())])}
            ),
            rows,
        )
        self._add("", _table({"number_state": states}), state)

    def _doubt_of_number(self) -> None:
        """Doubt rows that say of their number more than who verified it and when: they are few, and change what it is worth."""
        for name in ("nhs_number_superseded_by", "nhs_number_withdrawn_at"):
            self._doubtful |= self._column(name).sent
        verifier, at = self._column("nhs_number_verified_by"), self._column("nhs_number_verified_at")
        self._doubt(fits(verifier.texts, _PLAIN_VERIFIER), verifier.rows)
        self._doubt(_are_plain_days(at.texts, (self._today + CLOCKS_APART).isoformat()), at.rows)
        self._doubtful |= (verifier.sent | at.sent) & ~self._column("nhs_number").sent

    def _date(self, column: str, name: str) -> Ints:
        sent = self._column(column)
        placeholders = self._model.placeholder_dates if name == "birth" else frozenset()
        dates = [date_of(text, placeholders) for text in sent.values()]
        self._doubt(np.fromiter((self._is_sound_date(text) for text in sent.values()), np.bool_), sent.rows)
        parts = np.array(dates, np.int64).reshape(-1, 3)
        self._add(f"{name} dates", _table({f"{name}_{part}": parts[:, part] for part in range(3)}), sent.rows)
        found: Ints = parts[sent.rows]
        return found

    def _is_sound_date(self, text: str) -> bool:
        if not text:
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
        is_sound: Callable[[str], bool],
        column: str | None = None,
    ) -> None:
        sent = self._column(column or name)
        self._doubt(np.fromiter(map(is_sound, sent.values()), np.bool_), sent.rows)
        self._add(name, _table({name: [clean(text or None) for text in sent.values()]}), sent.rows)

    # Lists

    def _contacts(
        self,
        name: str,
        column: str,
        plain: Callable[[Any, Model], tuple[Any, Flags]],
        clean: Callable[[str, Model], str],
    ) -> None:
        """Clean every distinct contact once, column by column; then make the lists of the rows."""
        slots = []
        for one in self._numbered(column):
            sent = self._column(one)
            self._doubt(_is_sound(sent.texts, MAX_VALUE), sent.rows)
            quick, is_plain = plain(sent.texts, self._model)
            slots.append(
                (
                    filled(
                        quick, is_plain, sent.texts, lambda text: clean(text, self._model) if text else ""
                    ),
                    sent.rows,
                )
            )
        self._lists(name, *_numbered_texts(slots))

    def _identifiers(self) -> None:
        slots = []
        for one in self._numbered("identifier"):
            value, system = self._column(one), self._column(one.replace("identifier", "identifier_system"))
            self._doubt(_is_sound(value.texts, MAX_VALUE), value.rows)
            self._doubt(_is_sound(system.texts, MAX_VALUE), system.rows)
            self._doubtful |= value.sent & ~system.sent
            first, rows = combined((value.rows, system.rows), (len(value.texts), len(system.texts)))
            values = value.texts.take(pa.array(value.rows[first]))
            systems = system.texts.take(pa.array(system.rows[first]))
            quick, is_plain = identifiers(systems, values)
            odd = pa.array(~is_plain)
            slow = [
                identifier_of(system_text, text) if text and system_text else ""
                for system_text, text in zip(
                    systems.filter(odd).to_pylist(), values.filter(odd).to_pylist(), strict=True
                )
            ]
            slots.append((pc.replace_with_mask(quick, odd, pa.array(slow, pa.string())), rows))
        self._lists("identifiers", *_numbered_texts(slots))

    def _places(self) -> None:
        model = self._model
        parts = []
        numbers = {
            int(column.rpartition("_")[2]) if column[-1].isdigit() else 1
            for name in ("address", "city", "postcode", "address_use")
            for column in self._numbered(name)
        }
        for number in sorted(numbers):
            end = "" if number == 1 else f"_{number}"
            if f"address_use{end}" in self._source.columns:
                use = self._column(f"address_use{end}")
                self._doubt(is_in(use.texts, _ADDRESS_USES), use.rows)
            if number > 1 and not {f"city{end}", f"postcode{end}"} & set(self._source.columns):
                # Further lines of the first address.
                self._doubtful |= self._column(f"address{end}").sent
                continue
            parts.append(
                self._address(*(self._column(f"{name}{end}") for name in ("address", "city", "postcode")))
            )
        # Postcode, numbers and words of all addresses; before them stands the place that none has.
        told = [_numbered_texts([part[place] for part in parts]) for place in range(3)]
        codes = [np.concatenate([np.zeros(1, np.int32), *rows]) for _, rows in told]
        first, at = combined(codes, [len(texts) for texts, _ in told])
        columns = {
            name: texts.take(pa.array(code[first]))
            for name, (texts, _), code in zip(("postcode", "numbers", "words"), told, codes, strict=True)
        }
        postcodes, code = told[0][0], pa.array(codes[0][first])
        outwards = pa.array([outward_of(text) for text in postcodes.to_pylist()], pa.string()).take(code)
        # None is nowhere: "" is no postcode, and without any part there is no place.
        by_postcode = is_shared(postcodes, "postcode", model)
        by_postcode[0] = False
        whole = pc.binary_join_element_wise(*columns.values(), ":")
        shared = by_postcode[codes[0][first]] | is_shared(whole, "place", model)
        shared[0] = False
        values = pa.StructArray.from_arrays(
            [
                columns["postcode"],
                outwards,
                columns["numbers"],
                columns["words"],
                pa.array(shared),
            ],
            fields=list(PLACE),
        )
        strange = ~(is_ascii(columns["postcode"]) & is_ascii(columns["numbers"]) & is_ascii(columns["words"]))
        rows = np.split(at[1:], len(parts)) if parts else []
        if strange.any():
            for slot in rows:
                self._odd |= strange[slot]
        self._lists("places", values, rows)

    def _address(self, lines: Column, city: Column, postcode: Column) -> list[tuple[Any, NDArray[np.int32]]]:
        """Clean an address: its postcode, numbers and words, each as distinct texts and which of them every row has."""
        model = self._model
        self._doubt(longest(postcode.texts, 16) & _is_sound(postcode.texts, 16), postcode.rows)
        self._doubt(_is_sound(city.texts, MAX_LINE), city.rows)
        short = (
            fits(lines.texts, "[ -~\n]*")
            & longest(lines.texts, MAX_LINE)
            & (pc.count_substring(lines.texts, "\n").to_numpy() < 20)
        )
        others = np.flatnonzero(~short)
        short[others] = [_are_sound(_lines_of(text)) for text in _taken(lines.texts, others)]
        self._doubt(short, lines.rows)
        first, rows = combined((lines.rows, city.rows), (len(lines.texts), len(city.texts)))
        texts, names, towns = lines.texts.take(pa.array(lines.rows[first])), city.values(), city.rows[first]
        numbers, words, is_plain = address_words(texts, names, towns, model)
        odd = np.flatnonzero(~is_plain)
        if len(odd):
            slow = [
                words_of(_lines_of(text), names[town], model)
                for text, town in zip(_taken(texts, odd), towns[odd].tolist(), strict=True)
            ]
            mask = pa.array(~is_plain)
            numbers = pc.replace_with_mask(numbers, mask, pa.array([one for one, _ in slow], pa.string()))
            words = pc.replace_with_mask(words, mask, pa.array([one for _, one in slow], pa.string()))
        codes = pa.array([postcode_of(text) for text in postcode.values()], pa.string())
        return [(codes, postcode.rows), (numbers, rows), (words, rows)]

    def _lists(self, name: str, values: Any, slots: Sequence[NDArray[np.int32]]) -> None:
        """Make each row's list of distinct values, in the order of their columns; each distinct list is kept once.

        Args:
            values: the first of them stands for none.
        """
        size = self._source.size
        if not slots:
            slots = [np.zeros(size, np.int32)]
        matrix = np.stack(slots, axis=1)
        for later in range(1, matrix.shape[1]):
            for earlier in range(later):
                matrix[matrix[:, later] == matrix[:, earlier], later] = 0
        first, rows = combined(list(matrix.T), [len(values)] * matrix.shape[1])
        chosen = matrix[first]
        present = chosen > 0
        offsets = np.concatenate(([0], np.cumsum(present.sum(axis=1)))).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), values.take(pa.array(chosen[present])))
        self._add(name, pa.table({name: lists.cast(SCHEMA.field(name).type)}), rows)
        self._values[name] = len(values) - 1

    def _flags(self, given: Ints, family: Flags) -> None:
        sent = self._column("birth_order")
        orders = np.array([order_of(text) for text in sent.values()], np.int64)[sent.rows]
        self._doubt(is_in(sent.texts, ("", *"123456789")), sent.rows)
        orders = np.where(orders > 0, orders, given[:, 2])
        self._add("orders of birth", _table({"birth_order": np.arange(10)}), orders.astype(np.int32))
        # As in a record's names together: a placeholder counts where no given name is left.
        placeholder = ((given[:, 0] > 0) | family) & (given[:, 1] == 0)
        self._add("", _table({"is_placeholder": [False, True]}), placeholder.astype(np.int32))
        sent = self._column("restricted")
        said = [_FLAGS.get(text.lower()) for text in sent.values()]
        self._doubt(np.array([one is not None for one in said]), sent.rows)
        restricted = np.array([bool(one) for one in said], np.int32)[sent.rows]
        self._add("", _table({"is_restricted": [False, True]}), restricted)

    # Times, and rows that were read singly

    def _doubt_instants(self, column: Any) -> None:
        """Doubt what is not plainly an instant in UTC and cannot be read as another."""
        plain = _are_plain_instants(column, (self._today + CLOCKS_APART).isoformat())
        others = np.flatnonzero(~plain)
        for place, text in zip(others.tolist(), column.take(pa.array(others)).to_pylist(), strict=True):
            at = instant_of(text)
            self._doubtful[place] |= at is None or (at < _FOREVER and at >= self._future)

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


class _Bulk(_Columns):
    """A whole table of rows, of which each key's latest version stands."""

    def __init__(
        self,
        raw: Raw,
        model: Model,
        today: date,
        read_row: RowReader,
        said: Mapping[str, Collection[str]] | None,
    ) -> None:
        super().__init__(raw, model, today)
        self._raw, self._read_row, self._said = raw, read_row, said

    def run(self) -> Normalised:
        self._clean()
        return self._ordered()

    # Keys, versions, rejects

    def _ordered(self) -> Normalised:
        raw = self._raw
        keys = raw.fetch(("organisation", "system", "local_id", "updated_at", "file_number", "row_number"))
        trimmed = {
            name: pc.utf8_trim_whitespace(pc.fill_null(keys.column(name), ""))
            for name in ("organisation", "system", "local_id")
        }
        self._doubtful |= ~fits(trimmed["local_id"], _PLAIN_ID)
        self._doubt_instants(keys.column("updated_at"))
        is_good = np.ones(raw.size, np.bool_)
        rejects = list(raw.unreadable)
        files, numbers = (keys.column(name).to_numpy() for name in ("file_number", "row_number"))
        row_of = _RowNumbers(raw.unreadable)
        doubtful = np.flatnonzero(self._doubtful)
        records: list[SourceRecord] = []
        places: list[int] = []
        empty = 0
        for place, read in zip(
            doubtful.tolist(), self._read(files[doubtful], numbers[doubtful]), strict=True
        ):
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
        said = self._said
        if said is None:
            said = self._superseded(records, trimmed, keys.column("updated_at"), is_good)
        self._put_survivors(said)
        if places:
            mask = np.zeros(raw.size, np.bool_)
            mask[places] = True
            for name, column in trimmed.items():
                mended = pa.array([getattr(record.key, name) for record in records], pa.string())
                trimmed[name] = pc.replace_with_mask(column.combine_chunks(), pa.array(mask), mended)
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
        kept = pa.table({name: column.take(pa.array(order)) for name, column in trimmed.items()})
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

    def _read(self, files: Ints, numbers: Ints) -> Iterable[ReadRow | None]:
        columns = self._raw.columns
        for start in range(0, len(numbers), 50_000):
            some = slice(start, start + 50_000)
            for row in self._raw.rows(files[some], numbers[some]).to_pylist():
                values = [row[name] or "" for name in columns]
                yield self._read_row(columns, values) if any(value.strip() for value in values) else None

    def _superseded(
        self, singly: Sequence[SourceRecord], keys: Mapping[str, Any], instants: Any, is_good: Flags
    ) -> dict[str, set[str]]:
        """Return what rows say of superseded numbers; whoever says so was read singly."""
        telling = {one.key for one in singly if one.nhs_number_superseded_by}
        if not telling:
            return {}
        texts = pc.binary_join_element_wise(*keys.values(), "\x1f")
        wanted = pa.array(["\x1f".join((one.organisation, one.system, one.local_id)) for one in telling])
        found = np.flatnonzero(is_good & pc.is_in(texts, value_set=wanted).to_numpy(zero_copy_only=False))
        raw = self._raw.fetch(("file_number", "row_number"))
        files, numbers = (raw.column(name).to_numpy()[found] for name in ("file_number", "row_number"))
        times = instants.take(pa.array(found)).to_pylist()
        return said_of(zip(times, self._read(files, numbers), strict=True))

    def _put_survivors(self, said: Mapping[str, Collection[str]]) -> None:
        """Let the number that stands for a superseded one take its place in every row."""
        if not said:
            return
        for number, (values, rows) in enumerate(self._groups):
            if "number" in values.column_names:
                sent = values.column("number").to_pylist()
                now = survivors(sent, said)
                mended = pa.array([now.get(one, one) for one in sent], pa.string())
                place = values.column_names.index("number")
                self._groups[number] = (values.set_column(place, "number", mended), rows)


class _SheetBulk(_Columns):
    """Some rows of a file, all of them kept in its order."""

    def __init__(self, sheet: Sheet, model: Model, today: date, read_row: SheetReader) -> None:
        super().__init__(sheet, model, today)
        self._sheet, self._read_row = sheet, read_row
        self._kept: dict[str, Column] = {}

    def _column(self, name: str) -> Column:
        if name not in self._kept:
            self._kept[name] = super()._column(name)
        return self._kept[name]

    def run(self) -> Cleaned:
        sheet = self._sheet
        self._clean()
        local_id = self._column("local_id")
        self._doubt(fits(local_id.texts, _PLAIN_ID), local_id.rows)
        self._doubt_instants(pa.chunked_array([sheet.column("updated_at")]))
        # What stands where there is no heading is a fault, and so is whatever else our columns do not tell.
        self._doubtful |= ~sheet.are_blank(sheet.unnamed)
        is_sound = ~self._doubtful
        singly: dict[int, SourceRecord] = {}
        faults = []
        rows = int(is_sound.sum())
        doubtful = np.flatnonzero(self._doubtful)
        for place, values in zip(doubtful.tolist(), sheet.rows(doubtful), strict=True):
            read = self._read_row(int(sheet.numbers[place]), values)
            if read is None:
                continue
            rows += 1
            if read.record is not None and not read.faults:
                singly[place] = read.record
                is_sound[place] = True
            else:
                faults.append((int(sheet.numbers[place]), tuple(read.faults)))
        for number, some in sheet.apart:
            if (told := self._read_row(number, some)) is not None:
                rows += 1
                faults.append((number, tuple(told.faults)))
        self._put(list(singly.values()), list(singly))
        groups = [Group(values, rows_of) for values, rows_of in self._groups]
        groups.append(Group(_table({"is_odd": [False, True]}), self._odd.astype(np.int32)))
        return Cleaned(
            tuple(groups),
            self._column,
            self._numbered,
            is_sound,
            singly,
            tuple(sorted(faults, key=_number)),
            rows,
        )


def _number(fault: tuple[int, Any]) -> int:
    return fault[0]


def _table(columns: dict[str, Any]) -> pa.Table:
    return pa.table({name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()})


_FOREVER = 2**62


_DAYS = "(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31"
_PLAIN_INSTANT = rf"\A[12][0-9]{{3}}-(?:{_DAYS})T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z\z"


def _are_plain_instants(column: Any, before: str) -> Flags:
    """Say which texts are plainly an instant in UTC before a day, or nothing at all."""
    plain = pc.and_(pc.match_substring_regex(column, _PLAIN_INSTANT), pc.less(column, before))
    found: Flags = plain.fill_null(True).to_numpy()
    return found


def _are_plain_days(column: Any, before: str) -> Flags:
    """Say which texts are plainly a day or an instant in UTC before a day, or nothing at all."""
    plain = pc.match_substring_regex(column, rf"\A(?:[12][0-9]{{3}}-(?:{_DAYS}))?\z|{_PLAIN_INSTANT}")
    found: Flags = pc.and_(plain, pc.less(column, before)).to_numpy(zero_copy_only=False)
    return found


def instant_of(text: str | None) -> int | None:
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
        times = [instant_of(text) or 0 for text in instants.take(pa.array(versions)).to_pylist()]
        untimed = [one for one, time in zip(versions.tolist(), times, strict=True) if time == _FOREVER][1:]
        last = max(
            (time, one) for one, time in zip(versions.tolist(), times, strict=True) if one not in untimed
        )[1]
        kept[start:end] = versions == last
        out.extend(untimed)
        older += end - start - 1 - len(untimed)
    return place[kept], older, np.array(out, np.int64)
