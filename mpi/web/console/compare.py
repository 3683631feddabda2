"""A task's records laid out side by side: which rows, what each record says, where two of them part; and the map of their edges."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from html import escape
from string import ascii_uppercase
from typing import Any

from markupsafe import Markup

from foundation.errors import Invalid
from foundation.web.pages import write_birth_date, write_bits, write_code, write_nhs_number
from mpi.records import Address, HumanName, SourceRecord, as_traced, parse_gender
from mpi.service.desk import Bench, Sheet
from mpi.service.review import TaskEdge
from mpi.web.console.words import FIELDS, NUMBER_STATES


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of a line: whether the other record says otherwise here."""

    text: str = field(repr=False)
    is_other: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    pieces: tuple[Piece, ...] = field(repr=False)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One field of all records. ``mark`` is what the two that were compared say of it: agree, close, differ, missing; empty for none."""

    label: str
    mark: str
    cells: tuple[tuple[Line, ...], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """Whose record a column is. ``letter`` is what the page calls it."""

    letter: str
    sheet: Sheet
    organisation: str
    is_compared: bool


Values = list[tuple[str, str]]
"""What a record says of a field: values, each with a note."""


def letters(count: int) -> list[str]:
    return [ascii_uppercase[place] if place < 26 else str(place + 1) for place in range(count)]


def heads_of(bench: Bench) -> list[Head]:
    compared = (bench.likeness.left, bench.likeness.right) if bench.likeness is not None else ()
    names = letters(len(bench.sheets))
    return [
        Head(
            names[place],
            sheet,
            bench.organisations.get(sheet.organisation, sheet.organisation),
            place in compared,
        )
        for place, sheet in enumerate(bench.sheets)
    ]


def rows_of(bench: Bench) -> list[Row]:
    """Lay out what records say, a row a field; fields of which none says anything are left out."""
    likeness = bench.likeness
    found = []
    for name, label, read in _ROWS:
        values = [read(sheet) for sheet in bench.sheets]
        if not any(values):
            continue
        mark = likeness.fields.get(name, "") if likeness is not None else ""
        pair = (
            (likeness.left, likeness.right) if likeness is not None and mark in ("close", "differ") else None
        )
        found.append(Row(label, mark, tuple(_cells(values, pair))))
    return found


def _cells(values: Sequence[Values], pair: tuple[int, int] | None) -> list[tuple[Line, ...]]:
    cells = []
    for place, of in enumerate(values):
        other = None
        if pair is not None and place in pair:
            other = values[pair[1] if place == pair[0] else pair[0]]
        against = other[0][0] if other else None
        cells.append(
            tuple(
                Line(_pieces(text, against if not number else None), note)
                for number, (text, note) in enumerate(of)
            )
        )
    return cells


def _pieces(text: str, other: str | None) -> tuple[Piece, ...]:
    """Part a value into what the other one has too, and what it has not: word by word, or letter by letter where it is but one."""
    if other is None:
        return (Piece(text),)
    words, others = _WORDS.findall(text), _WORDS.findall(other)
    if len(words) == 1 or not {one.strip().casefold() for one in words} & {
        one.strip().casefold() for one in others
    }:
        words, others = list(text), list(other)
    same = SequenceMatcher(None, _plain(others), _plain(words), autojunk=False)
    found, at = [], 0
    for block in same.get_matching_blocks():
        if block.b > at:
            found.append(Piece("".join(words[at : block.b]), True))
        if block.size:
            found.append(Piece("".join(words[block.b : block.b + block.size])))
        at = block.b + block.size
    if len(found) > 5 or not any(not one.is_other and len(one.text) > 1 for one in found):
        return (Piece(text, True),)  # so many small differences say no more than that all of it differs
    return tuple(found)


_WORDS = re.compile(r"\S+\s*")


def _plain(words: Sequence[str]) -> list[str]:
    return [one.strip().strip(",").casefold() for one in words]


# What a record says ---------------------------------------------------------------------------------------------------


def current_name(record: SourceRecord) -> HumanName | None:
    return next(
        (one for one in record.names if not one.is_previous), record.names[0] if record.names else None
    )


def write_name(name: HumanName) -> str:
    return " ".join(part for part in (name.prefix, *name.given, name.family) if part)


def write_address(one: Address) -> str:
    return ", ".join(part for part in (*one.lines, one.city, one.postcode) if part)


def _number(sheet: Sheet) -> Values:
    traced = as_traced(sheet.content, sheet.finding)
    evidence = traced.evidence()
    if not sheet.content.nhs_number:
        found = sheet.finding.number if sheet.finding is not None else None
        return [(write_nhs_number(found), "found by the national service")] if found else []
    state = NUMBER_STATES.get(evidence.state.value, "") if evidence is not None else ""
    return [(write_nhs_number(sheet.content.nhs_number), state)]


def _given(sheet: Sheet) -> Values:
    name = current_name(sheet.content)
    return [(name.given[0], "")] if name is not None and name.given else []


def _middle(sheet: Sheet) -> Values:
    name = current_name(sheet.content)
    return [(" ".join(name.given[1:]), "")] if name is not None and len(name.given) > 1 else []


def _family(sheet: Sheet) -> Values:
    name = current_name(sheet.content)
    return [(name.family, "")] if name is not None and name.family else []


def _other_names(sheet: Sheet) -> Values:
    current = current_name(sheet.content)
    return [
        (write_name(one), _USES.get(one.use, one.use)) for one in sheet.content.names if one is not current
    ]


def _addresses(sheet: Sheet) -> Values:
    return [(write_address(one), _USES.get(one.use, "")) for one in sheet.content.addresses]


def _telecoms(system: str) -> Callable[[Sheet], Values]:
    return lambda sheet: [(one.value, "") for one in sheet.content.telecoms if one.system == system]


def _identifiers(sheet: Sheet) -> Values:
    return [(one.value, one.system.rpartition("/")[2]) for one in sheet.content.identifiers]


def _gender(sheet: Sheet) -> Values:
    """Return the gender in words, and as it was sent where that is something else."""
    sent = sheet.content.gender
    if not sent or not sent.strip():
        return []
    try:
        word = parse_gender(sent).value
    except Invalid:
        return [(sent, "not a gender that is known")]
    return [(write_code(word), "" if word == sent.strip().lower() else f"sent as {sent.strip()}")]


def _text(name: str, write: Callable[[Any], str] = str) -> Callable[[Sheet], Values]:
    def read(sheet: Sheet) -> Values:
        value = getattr(sheet.content, name)
        return [(write(value), "")] if value else []

    return read


_USES = {
    "old": "previous",
    "maiden": "maiden name",
    "nickname": "nickname",
    "temp": "for a time",
    "anonymous": "not their own",
    "official": "official",
    "work": "work",
    "billing": "billing",
}

_ROWS: tuple[tuple[str, str, Callable[[Sheet], Values]], ...] = (
    ("nhs_number", FIELDS["nhs_number"], _number),
    ("given", FIELDS["given"], _given),
    ("middle", FIELDS["middle"], _middle),
    ("family", FIELDS["family"], _family),
    ("", "Other names", _other_names),
    ("birth_date", FIELDS["birth_date"], _text("birth_date", write_birth_date)),
    ("gender", FIELDS["gender"], _gender),
    ("address", FIELDS["address"], _addresses),
    ("phone", FIELDS["phone"], _telecoms("phone")),
    ("email", FIELDS["email"], _telecoms("email")),
    ("practice", FIELDS["practice"], _text("gp_practice")),
    ("identifier", FIELDS["identifier"], _identifiers),
    ("mother", FIELDS["mother"], _text("mother_nhs_number", write_nhs_number)),
    ("birth_order", FIELDS["birth_order"], _text("birth_order")),
    ("death_date", FIELDS["death_date"], _text("death_date", write_birth_date)),
)


# The map --------------------------------------------------------------------------------------------------------------

_WIDTH, _NODE, _ROW = 760, 216, 64
_ARC, _STEP, _EDGE = 34, 14, 110


@dataclass(frozen=True, slots=True)
class Road:
    """An edge between two records as a row of the table behind the map."""

    one: str
    other: str
    says: str
    fields: tuple[tuple[str, str], ...]
    weight: str


@dataclass(frozen=True, slots=True)
class Map:
    svg: Markup
    roads: tuple[Road, ...]
    says: str


def map_of(bench: Bench) -> Map | None:
    """Draw the records of a task by side, and the edges between them; None where there is but one record."""
    place_of: dict[int, int] = {}
    for place, sheet in enumerate(bench.sheets):
        if not sheet.is_held:
            place_of.setdefault(sheet.record_id, place)
    if len(place_of) < 2:
        return None
    edges = [one for one in bench.detail.edges if {one.low_id, one.high_id} <= place_of.keys()]
    names = letters(len(bench.sheets))
    roads = tuple(
        Road(
            names[place_of[edge.low_id]],
            names[place_of[edge.high_id]],
            _says(edge),
            tuple((FIELDS.get(one.field, one.field), one.reason) for one in edge.reasons),
            write_bits(edge.weight_millibits) if edge.weight_millibits is not None else "",
        )
        for edge in edges
    )
    count = f"{len(place_of)} records, {len(roads)} {'edge' if len(roads) == 1 else 'edges'} between them."
    return Map(_drawn(bench, place_of, edges, names, count), roads, count)


def _says(edge: TaskEdge) -> str:
    if edge.conflict is not None:
        return "They contradict each other"
    if edge.may_link is None:
        return "They were compared"
    return "Enough to link by itself" if edge.may_link else "Alike, and not enough to link by itself"


def _kind(edge: TaskEdge) -> str:
    if edge.conflict is not None:
        return "conflict"
    return {None: "read", True: "link", False: "weak"}[edge.may_link]


def _drawn(
    bench: Bench,
    place_of: Mapping[int, int],
    edges: Sequence[TaskEdge],
    names: Sequence[str],
    count: str,
) -> Markup:
    sides: dict[int, list[int]] = {}
    for place in place_of.values():
        sides.setdefault(bench.sheets[place].side, []).append(place)
    columns = sorted(sides)
    lefts = {side: _EDGE if not number else _WIDTH - _EDGE - _NODE for number, side in enumerate(columns)}
    where: dict[int, tuple[float, float]] = {}
    for side, places in sides.items():
        for number, place in enumerate(places):
            where[place] = (lefts[side], 44 + number * _ROW)
    height = 44 + max(len(places) for places in sides.values()) * _ROW
    body = [
        f'<text class="console-map__side" x="{lefts[side]}" y="26">'
        f"{'All records' if len(columns) == 1 else f'Side {number + 1}'}</text>"
        for number, side in enumerate(columns)
    ]
    for edge in edges:
        body.append(_road(edge, bench, place_of, where))
    for place, (x, y) in where.items():
        sheet = bench.sheets[place]
        body.append(f'<rect class="console-map__node" x="{x}" y="{y}" width="{_NODE}" height="48" rx="4"/>')
        body.append(f'<text class="console-map__letter" x="{x + 14}" y="{y + 31}">{names[place]}</text>')
        name = bench.organisations.get(sheet.organisation, sheet.organisation)
        shown = name if len(name) <= 22 else f"{name[:21]}…"
        body.append(f'<text x="{x + 40}" y="{y + 20}">{escape(shown)}</text>')
        body.append(
            f'<text class="console-map__small" x="{x + 40}" y="{y + 38}">{escape(sheet.system[:22])}</text>'
        )
    head = (
        f'<svg class="console-svg console-map" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="map-title map-words">'
        f'<title id="map-title">Map of the records</title><desc id="map-words">{escape(count)} The table below says the same.</desc>'
    )
    return Markup(head + "".join(body) + "</svg>")  # noqa: S704 - names are escaped, all else is ours


def _road(
    edge: TaskEdge, bench: Bench, place_of: Mapping[int, int], where: Mapping[int, tuple[float, float]]
) -> str:
    one, other = place_of[edge.low_id], place_of[edge.high_id]
    (x1, y1), (x2, y2) = where[one], where[other]
    kind = _kind(edge)
    if bench.sheets[one].side == bench.sheets[other].side:
        is_left = x1 < _WIDTH / 2
        x = x1 if is_left else x1 + _NODE
        arc = min(_ARC + _STEP * (abs(y1 - y2) / _ROW - 1), _EDGE)
        out = x - arc if is_left else x + arc
        path = f"M {x} {y1 + 24} C {out} {y1 + 24}, {out} {y2 + 24}, {x} {y2 + 24}"
        middle = (x - arc * 0.75 if is_left else x + arc * 0.75, (y1 + y2) / 2 + 24)
    else:
        if x1 > x2:
            x1, y1, x2, y2 = x2, y2, x1, y1
        path = f"M {x1 + _NODE} {y1 + 24} L {x2} {y2 + 24}"
        middle = ((x1 + _NODE + x2) / 2, (y1 + y2) / 2 + 24)
    sign = {"conflict": "✕", "link": "=", "weak": "≈", "read": "?"}[kind]
    x, y = middle
    return (
        f'<path class="console-map__road console-map__road--{kind}" d="{path}"/>'
        f'<circle class="console-map__dot" cx="{x}" cy="{y}" r="10"/>'
        f'<text class="console-map__sign" x="{x}" y="{y + 5}" text-anchor="middle">{sign}</text>'
    )
