"""An HL7 v2 message, read: its separators, character set, segments and fields. Values never reach an error; the place at fault does."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from foundation.errors import Invalid

LARGEST_MESSAGE_BYTES = 1 << 20
MOST_SEGMENTS = 1_000
DELETED = '""'
"""What a sender writes for "this value is no more"; a field that is empty says nothing."""

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_LINES = re.compile(r"\r\n|\r|\n")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2}){1,64})")
_CHARACTER_SETS = {
    "": None,
    "ASCII": "ascii",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/9": "iso8859-9",
    "8859/14": "iso8859-14",
    "8859/15": "iso8859-15",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "WINDOWS-1252": "cp1252",
    "CP1252": "cp1252",
}
"""HL7 table 0211, as far as it is met in Britain, and what vendors write in its stead."""


@dataclass(frozen=True, slots=True)
class Separators:
    """What parts a message: MSH-1 and MSH-2. A sub-component or escape character that the sender has none of is empty."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @property
    def encoding(self) -> str:
        return self.component + self.repetition + self.escape + self.subcomponent


@dataclass(frozen=True, slots=True)
class Header:
    """What MSH says, as far as it can be read; missing is empty. Texts are as they stood, so that an answer can repeat them."""

    separators: Separators = Separators()
    application: str = ""
    facility: str = ""
    to_application: str = ""
    to_facility: str = ""
    sent_at: str = ""
    kind: str = ""
    event: str = ""
    control_id: str = ""
    processing_id: str = ""
    version: str = ""
    accept_when: str = ""
    answer_when: str = ""
    character_set: str = ""

    @property
    def is_enhanced(self) -> bool:
        """Whether the sender tells when it wants to be answered; else it wants one answer, always."""
        return bool(self.accept_when or self.answer_when)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: its name, and its fields as they stood, by number; MSH's are numbered as the standard has them."""

    name: str
    fields: tuple[str, ...] = field(repr=False)
    separators: Separators = field(repr=False)

    def raw(self, number: int) -> str:
        return self.fields[number] if number < len(self.fields) else ""

    def says(self, number: int) -> bool:
        """Whether a field says something: that it is deleted, too."""
        return bool(self.raw(number).strip())

    def is_deleted(self, number: int) -> bool:
        return self.raw(number).strip() == DELETED

    def repetitions(self, number: int) -> Iterator["Field"]:
        """Yield what a field says, each repetition; nothing for a field that is empty or deleted."""
        if self.is_deleted(number):
            return
        for place, text in enumerate(self.raw(number).split(self.separators.repetition)):
            if text.strip():
                yield Field(text, self.separators, place)

    def first(self, number: int, component: int = 1) -> str:
        """Return a component of a field's first repetition, unescaped and trimmed; empty where nothing is said or it is deleted."""
        return next((one.part(component) for one in self.repetitions(number)), "")


@dataclass(frozen=True, slots=True)
class Field:
    """One repetition of a field."""

    text: str = field(repr=False)
    separators: Separators = field(repr=False)
    place: int = 0

    def part(self, component: int, subcomponent: int = 1) -> str:
        """Return one part, unescaped and trimmed; empty where nothing is said or it is deleted."""
        parts = self.text.split(self.separators.component)
        found = parts[component - 1] if component <= len(parts) else ""
        if self.separators.subcomponent:
            below = found.split(self.separators.subcomponent)
            found = below[subcomponent - 1] if subcomponent <= len(below) else ""
        elif subcomponent > 1:
            found = ""
        found = unescape(found, self.separators).strip()
        return "" if found == DELETED else found

    def deletes(self, component: int) -> bool:
        parts = self.text.split(self.separators.component)
        return component <= len(parts) and parts[component - 1].strip() == DELETED


@dataclass(frozen=True, slots=True)
class Message:
    """A message whose segments could be told apart; what they mean is not looked at here."""

    header: Header
    segments: tuple[Segment, ...] = field(repr=False)

    def all(self, name: str) -> list[Segment]:
        return [one for one in self.segments if one.name == name]

    def one(self, name: str) -> Segment | None:
        return next((one for one in self.segments if one.name == name), None)


def read_header(raw: bytes) -> Header:
    """Read what can be read of MSH, whatever the bytes are: an answer is owed to every frame. Never raises."""
    lines = _LINES.split(_trimmed(raw)[:8_192].decode("latin-1"))
    fields = _fields_of_header(lines[0]) if lines else None
    if fields is None:
        return Header()
    separators = _separators(fields)
    if separators is None:
        separators, fields = Separators(), fields[:1]
    msh = Segment("MSH", tuple(fields), separators)
    kind = msh.raw(9).split(separators.component)
    return Header(
        separators=separators,
        **{
            name: _plain(msh.raw(number))
            for name, number in (
                ("application", 3),
                ("facility", 4),
                ("to_application", 5),
                ("to_facility", 6),
                ("sent_at", 7),
                ("control_id", 10),
            )
        },
        kind=_plain(kind[0]),
        event=_plain(kind[1]) if len(kind) > 1 else "",
        processing_id=_plain(msh.raw(11)),
        version=_plain(msh.raw(12)),
        accept_when=_plain(msh.raw(15)),
        answer_when=_plain(msh.raw(16)),
        character_set=_plain(msh.raw(18)),
    )


def parse(raw: bytes, character_set: str = "cp1252") -> Message:
    """Read a message: segments end with CR; LF and CRLF of sloppy senders are taken.

    Args:
        character_set: the sender's, for a message that does not name one in MSH-18.

    Raises:
        Invalid: ``hl7-no-header``, ``hl7-separators``, ``hl7-character-set-unknown``, ``hl7-characters``, ``hl7-segment``,
            ``hl7-too-long``; ``field`` names the place at fault.
    """
    if len(raw) > LARGEST_MESSAGE_BYTES:
        raise Invalid("hl7-too-long", field="MSH")
    raw = _trimmed(raw)
    head = _fields_of_header(_LINES.split(raw[:8_192].decode("latin-1"))[0])
    if head is None:
        raise Invalid("hl7-no-header", field="MSH")
    separators = _separators(head)
    if separators is None:
        raise Invalid("hl7-separators", field="MSH-2")
    text = _decoded(raw, head, separators, character_set)
    lines = [line for line in _LINES.split(text) if line.strip()]
    if len(lines) > MOST_SEGMENTS:
        raise Invalid("hl7-too-long", field="MSH")
    segments = []
    for number, line in enumerate(lines, start=1):
        name, *fields = line.split(separators.field)
        if not _NAME.fullmatch(name) or (name == "MSH") is not (number == 1) or name in ("DSC", "ADD"):
            # A name that came from outside may be a line of somebody's notes: its number is told alone.
            raise Invalid("hl7-segment", field="MSH", detail=f"Segment {number} cannot be read.")
        numbered = ("", separators.field, *fields) if number == 1 else ("", *fields)
        segments.append(Segment(name, tuple(numbered), separators))
    return Message(read_header(raw), tuple(segments))


def unescape(text: str, separators: Separators) -> str:
    r"""Return text with its escape sequences read: ``\F\ \S\ \T\ \R\ \E\ \Xhh..\ \.br\``; formatting is dropped, others are kept.

    Source: HL7 v2.5, 2.7. Hexadecimal is read as Latin-1; a control character that it makes becomes a space.
    """
    mark = separators.escape
    if not mark or mark not in text:
        return text
    plain = {
        "F": separators.field,
        "S": separators.component,
        "T": separators.subcomponent,
        "R": separators.repetition,
        "E": mark,
        "H": "",
        "N": "",
    }
    told, rest = [], text
    while True:
        before, found, rest = rest.partition(mark)
        told.append(before)
        if not found:
            return "".join(told)
        inside, closed, after = rest.partition(mark)
        if not closed:
            return "".join((*told, mark, rest))  # one that nobody closed
        if inside in plain:
            told.append(plain[inside])
        elif hexadecimal := _HEX.fullmatch(inside):
            made = bytes.fromhex(hexadecimal[1]).decode("latin-1")
            told.append("".join(one if one.isprintable() else " " for one in made))
        elif inside.startswith("."):
            told.append(" ")
        else:
            told.append(mark + inside)
            rest = mark + after
            continue
        rest = after


def _trimmed(raw: bytes) -> bytes:
    return raw.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n\t ")


def _fields_of_header(line: str) -> list[str] | None:
    """Return MSH's fields by number, 0 being its name; None for a line that is none."""
    if not line.startswith("MSH") or len(line) < 8:
        return None
    name, *fields = line.split(line[3])
    return [name, line[3], *fields] if name == "MSH" else None


def _separators(fields: list[str]) -> Separators | None:
    marks = fields[1] + fields[2]
    # v2.7 has a fifth in MSH-2, for texts cut short; nothing here depends on it.
    if not 3 <= len(marks) <= 6 or len(set(marks)) < len(marks):
        return None
    if any(mark.isalnum() or mark.isspace() or not mark.isprintable() or mark == '"' for mark in marks):
        return None
    component, repetition, escape, subcomponent = (*fields[2][:4], *[""] * (4 - len(fields[2][:4])))
    return Separators(fields[1], component, repetition, escape, subcomponent)


def _decoded(raw: bytes, head: list[str], separators: Separators, character_set: str) -> str:
    named = Segment("MSH", tuple(head), separators).raw(18).split(separators.repetition)[0].strip().upper()
    if named not in _CHARACTER_SETS:
        raise Invalid("hl7-character-set-unknown", field="MSH-18")
    try:
        return raw.decode(_CHARACTER_SETS[named] or character_set)
    except UnicodeDecodeError:
        raise Invalid("hl7-characters", field="MSH-18") from None


def _plain(text: str) -> str:
    return "".join(one for one in text if one.isprintable())[:250].strip()
