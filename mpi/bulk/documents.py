"""What the index stores of rows, written by the column: the document as received, and the normalised form.

Each is the JSON that the online path writes, byte for byte: ``SourceRecord.to_payload`` without the source's time, and
``NormalisedRecord.to_payload``. Rows that were read singly are written by those functions themselves.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.normalise import Cleaned, Column, instant_of
from mpi.bulk.plain import fits
from mpi.bulk.records import Group
from mpi.bulk.table import KEY
from mpi.matching.definition import COLUMNS
from mpi.records import TEXTS

Texts = Any
Flags = NDArray[np.bool_]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EMPTY = pa.scalar("")


def payloads(cleaned: Cleaned) -> Texts:
    """Return each row's document; of rows that are not sound, or were read singly, it says nothing."""
    row = _Row(cleaned)
    parts = [
        *(row.single(name, '{"' if name == "organisation" else ',"') for name in (*KEY, *TEXTS)),
        row.identifiers(),
        row.names(),
        row.addresses(),
        row.telecoms(),
        row.restricted(),
    ]
    return _joined(*parts, "}")


def _joined(*parts: Any) -> Texts:
    return pc.binary_join_element_wise(*parts, "")


def _quoted(texts: Texts) -> Texts:
    """Return texts as JSON."""
    plain = _joined('"', texts, '"')
    odd = ~fits(texts, r'[^\x00-\x1f"\\]*')
    if not odd.any():
        return plain
    mask = pa.array(odd)
    return pc.replace_with_mask(
        plain, mask, pa.array([_encode(text) for text in texts.filter(mask).to_pylist()], pa.string())
    )


def _if_sent(texts: Texts, made: Texts) -> Texts:
    """Return what was made of texts that were sent, "" for others."""
    return pc.if_else(pc.equal(texts, ""), _EMPTY, made)


def _lists(texts: Texts, split: Callable[[str], Sequence[str]], one: str) -> Texts:
    """Return each text as a JSON list of its parts. ``one`` is the shape of texts that have one part."""
    made = _joined("[", _quoted(texts), "]")
    several = ~fits(texts, one)
    if not several.any():
        return made
    mask = pa.array(several)
    found = [_encode(list(split(text))) for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(made, mask, pa.array(found, pa.string()))


def _lines(text: str) -> list[str]:
    return [part for part in (line.strip() for line in text.split("\n")) if part]


class _Row:
    """Parts of the document, each "" where a row has nothing of it."""

    def __init__(self, cleaned: Cleaned) -> None:
        self._cleaned = cleaned

    def _taken(self, column: Column, made: Texts) -> Texts:
        """Spread what was made of a column's distinct texts over the rows."""
        return made.take(pa.array(column.rows))

    def _member(self, name: str, column: Column, start: str = ',"') -> Texts:
        texts = column.texts
        return self._taken(column, _if_sent(texts, _joined(f'{start}{name}":', _quoted(texts))))

    def single(self, name: str, start: str) -> Texts:
        return self._member(name, self._cleaned.sent(name), start)

    def _listed(self, name: str, items: Sequence[Texts]) -> Texts:
        """Return a member that is a list of objects, each of them "" where a row has it not."""
        if not items:
            return _EMPTY
        # Every object ends with a comma, and the last of them is taken off.
        found = _joined(*(pc.if_else(pc.equal(one, ""), _EMPTY, _joined(one, ",")) for one in items))
        whole = _joined(f',"{name}":[', pc.utf8_slice_codeunits(found, 0, -1), "]")
        return _if_sent(found, whole)

    def identifiers(self) -> Texts:
        items = []
        for name in self._cleaned.numbered("identifier"):
            value = self._cleaned.sent(name)
            system = self._cleaned.sent(name.replace("identifier", "identifier_system"))
            made = _joined(
                '{"system":',
                self._taken(system, _quoted(system.texts)),
                ',"value":',
                self._taken(value, _quoted(value.texts)),
                "}",
            )
            items.append(_where(value.sent, made))
        return self._listed("identifiers", items)

    def names(self) -> Texts:
        sent = self._cleaned.sent
        given, middle, family, before = (
            sent(name) for name in ("given", "middle", "family", "previous_family")
        )
        prefix, use = sent("prefix"), sent("name_use")
        # The first given name and the others, as parts of one list.
        first = self._taken(given, _if_sent(given.texts, _quoted(given.texts)))
        others = self._taken(
            middle,
            _if_sent(middle.texts, pc.utf8_slice_codeunits(_lists(middle.texts, str.split, "[^ ]*"), 1, -1)),
        )
        both = given.sent & middle.sent
        any_given = given.sent | middle.sent
        listed = _where(
            any_given, _joined(',"given":[', first, pc.if_else(pa.array(both), ",", ""), others, "]")
        )
        uses = _joined('{"use":', _quoted(pc.if_else(pc.equal(use.texts, ""), "usual", use.texts)))
        current = _joined(
            self._taken(use, uses),
            self._member("prefix", prefix),
            listed,
            self._member("family", family),
            "}",
        )
        old = _joined('{"use":"old"', listed, self._member("family", before), "}")
        return self._listed("names", [_where(any_given | family.sent, current), _where(before.sent, old)])

    def addresses(self) -> Texts:
        numbered, sent = self._cleaned.numbered, self._cleaned.sent
        numbers = {
            int(column.rpartition("_")[2]) if column[-1].isdigit() else 1
            for name in ("address", "city", "postcode")
            for column in numbered(name)
        }
        items = []
        for number in sorted(numbers):
            end = "" if number == 1 else f"_{number}"
            lines, city, postcode, use = (
                sent(f"{name}{end}") for name in ("address", "city", "postcode", "address_use")
            )
            usual = "home" if number == 1 else "old"
            uses = _joined('{"use":', _quoted(pc.if_else(pc.equal(use.texts, ""), usual, use.texts)))
            listed = _joined(',"lines":', _lists(lines.texts, _lines, r"[^\n]*"))
            made = _joined(
                self._taken(use, uses),
                self._taken(lines, _if_sent(lines.texts, listed)),
                self._member("city", city),
                self._member("postcode", postcode),
                "}",
            )
            items.append(_where(lines.sent | city.sent | postcode.sent, made))
        return self._listed("addresses", items)

    def telecoms(self) -> Texts:
        items = []
        for kind in ("phone", "email"):
            for name in self._cleaned.numbered(kind):
                column = self._cleaned.sent(name)
                made = _joined(f'{{"system":"{kind}","value":', _quoted(column.texts), "}")
                items.append(self._taken(column, _if_sent(column.texts, made)))
        return self._listed("telecoms", items)

    def restricted(self) -> Texts:
        is_said = self._cleaned.sent("restricted").sent
        said = pc.if_else(
            pa.array(flag_of(self._cleaned, "is_restricted")), ',"restricted":true', ',"restricted":false'
        )
        return _where(is_said, said)


def _where(which: Flags, made: Texts) -> Texts:
    return pc.if_else(pa.array(which), made, _EMPTY)


def flag_of(cleaned: Cleaned, name: str) -> Flags:
    """Return a column of flags of all rows."""
    group = next(one for one in cleaned.groups if name in one.values.column_names)
    values: Flags = group.values.column(name).to_numpy()
    return values if group.rows is None else values[group.rows]


def source_times(cleaned: Cleaned) -> Any:
    """Return the source's time of every row in microseconds, null where it told none; of rows read singly it says nothing."""
    column = cleaned.sent("updated_at")
    texts = column.texts
    plain = fits(texts, r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
    mask = pa.array(plain)
    known = np.zeros(len(texts), np.int64)
    read = pc.strptime(texts.filter(mask), "%Y-%m-%dT%H:%M:%SZ", "us", error_is_null=True)
    known[plain] = read.cast(pa.int64()).fill_null(0).to_numpy()
    for place in np.flatnonzero(~plain).tolist():
        # What cannot be read belongs to rows that are not sound.
        known[place] = instant_of(texts[place].as_py()) or 0
    is_told = pa.array(column.sent)
    return pc.if_else(is_told, pa.array(known[column.rows]), pa.scalar(None, pa.int64()))


# Forms ---------------------------------------------------------------------------------------------------------------


def forms(cleaned: Cleaned) -> Texts:
    """Return the normalised form of every row, as it is stored."""
    parts: list[Any] = []
    for place, name in enumerate(COLUMNS):
        parts.extend(["," if place else "[", _column_of(cleaned.groups, name)])
    return _joined(*parts, "]")


def _column_of(groups: Sequence[Group], name: str) -> Texts:
    kind = COLUMNS[name]
    first = f"{name}_0" if kind == "date" else name
    group = next(one for one in groups if first in one.values.column_names)

    def column(one: str) -> Any:
        found = group.values.column(one).combine_chunks()
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    if kind == "date":
        parts = [column(f"{name}_{part}").cast(pa.string()) for part in range(3)]
        made = _joined("[", pc.binary_join_element_wise(*parts, ","), "]")
    elif kind == "text":
        made = _quoted(column(name))
    elif kind == "texts":
        made = _json_lists(column(name), _quoted)
    elif kind == "places":
        made = _json_lists(column(name), _json_places)
    else:
        made = column(name).cast(pa.string())
    return made if group.rows is None else made.take(pa.array(group.rows))


def _json_lists(lists: Any, of_items: Callable[[Any], Texts]) -> Texts:
    items = of_items(lists.flatten())
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return _joined("[", pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), items), ","), "]")


def _json_places(places: Any) -> Texts:
    parts = [_quoted(places.field(name)) for name in ("postcode", "numbers", "words")]
    return _joined(
        "[", pc.binary_join_element_wise(*parts, places.field("is_shared").cast(pa.string()), ","), "]"
    )
