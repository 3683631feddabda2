"""Directives in bulk: rows of a CSV read and checked before any is written, told row by row, and known again when they come again.

A fault is told by its row, field and code, never by a value. Whether a directive yields to an emergency is one of two words: no yes and no,
whose question may be misread.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from consent.facts import Scope
from consent.service.context import Consent
from consent.service.directives import (
    FORM_SYSTEM,
    NewDirective,
    check_directive,
    foreseen_state,
    record_directive,
)
from consent.store.directives import StandingDirective, read_reference
from consent.store.erasure import ERASED
from foundation.delimited import Rows, delimiter_of
from foundation.directory import settings_of
from foundation.errors import Conflict, Forbidden, Invalid, NotFound, ServiceError
from foundation.ids import format_id, parse_id
from foundation.principal import Principal
from mpi.feeds.delimited import LARGEST_FIELD, check_encoding, row_reader
from mpi.feeds.mapping import NUMBERED, REQUIRED, SINGLE
from mpi.matching import Grade
from mpi.records import RecordKey, SourceRecord, parse_instant, parse_nhs_number
from mpi.service.match import match_person
from mpi.service.people import get_record
from mpi.service.persons import resolve_person

KINDS = frozenset({"objection", "dissent", "type-1"})
"""What may come in bulk: what holds back. A permission lifts what someone said, and is given by that one alone."""

EMERGENCY = {"may-override": True, "binds": False}
MOST_ROWS = 10_000

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_NUMBERS = re.compile(r"(?<![0-9])(?:[0-9]{10}|[0-9]{3}-[0-9]{3}-[0-9]{4})(?![0-9])")
_NEEDED = ("reference", "received_by")
_OURS = (
    *_NEEDED,
    "kind",
    "scope",
    "scope_code",
    "standing",
    "reason",
    "emergency",
    "capacity",
    "channel",
    "evidence",
    "effective_at",
    "ends_at",
    "review_at",
    "person_id",
)
_CHANNELS = frozenset({"in-person", "phone", "letter", "form", "online", "other"})
_LONGEST = {"evidence": 200, "reason": 500}
_NOT_A_FORM = frozenset({*REQUIRED, "updated_at"})


@dataclass(frozen=True, slots=True)
class DirectiveRow:
    """A row as it was read: what it asks for, or its faults. The header is row 1."""

    number: int
    new: NewDirective | None = field(repr=False)
    faults: tuple[Invalid, ...] = ()


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What became of a row, or would.

    ``binds``, ``waits`` until the index knows the person, ``kept`` for a refused one, ``known`` when it came before; in a preview also
    ``may-bind``, where people would have to look. ``rejected`` has a code and, it may be, a field.
    """

    row: int
    state: str
    person_id: int | None = None
    field: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class DirectiveLoad:
    """What a file came to. ``is_written``: False in a preview, and where a rejected row kept the others from being written."""

    rows: tuple[RowOutcome, ...]
    is_written: bool

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(one.state for one in self.rows)
        return {state: found[state] for state in sorted(found)}

    @property
    def rejected(self) -> tuple[RowOutcome, ...]:
        return tuple(one for one in self.rows if one.state == "rejected")


def load_directives(
    consent: Consent,
    rows: Iterable[DirectiveRow],
    by: Principal,
    *,
    is_preview: bool = False,
    skips_rejected: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> DirectiveLoad:
    """Record the directives of a file, after all of its rows were checked; the same file again changes nothing.

    Each row is one transaction with its audit row, so that nobody is held for long: a run that is killed leaves whole rows, and the next
    one does the others.

    Args:
        is_preview: say what would happen and write nothing, but that a search for a form's person is audited.
        skips_rejected: write the others; else a single rejected row keeps all from being written.

    Raises:
        Unavailable: as ``record_directive``; what was written before stands.
    """
    outcomes: dict[int, RowOutcome] = {}
    fresh: list[tuple[int, NewDirective]] = []
    seen: set[tuple[str, str]] = set()
    for row in rows:
        found = _checked(consent, row, seen, by, is_preview=is_preview)
        if found is not None:
            outcomes[row.number] = found
        elif row.new is not None:
            fresh.append((row.number, row.new))
    is_rejected = any(one.state == "rejected" for one in outcomes.values())
    is_written = not is_preview and (skips_rejected or not is_rejected)
    for number, new in fresh:
        outcomes[number] = (
            _recorded(consent, number, new, by) if is_written else _foreseen(consent, number, new, by)
        )
        progress(1)
    return DirectiveLoad(tuple(outcomes[number] for number in sorted(outcomes)), is_written)


def _recorded(consent: Consent, number: int, new: NewDirective, by: Principal) -> RowOutcome:
    try:
        receipt = record_directive(consent, new, by)
    except Conflict as fault:
        if fault.code != "reference-known":
            raise
        return _known(consent, number, new, by) or RowOutcome(number, "rejected", code=fault.code)
    except (Invalid, NotFound, Forbidden) as fault:  # the world moved since it was checked
        return _rejected(number, fault)
    return RowOutcome(number, _OF_RECEIPT.get(receipt.state, receipt.state), receipt.person_id)


_OF_RECEIPT = {"binding": "binds", "waiting": "waits"}


def _checked(
    consent: Consent, row: DirectiveRow, seen: set[tuple[str, str]], by: Principal, *, is_preview: bool
) -> RowOutcome | None:
    """Return the outcome of a row that is not to be written; None for one that is."""
    new = row.new
    if new is None:
        fault = row.faults[0]
        return RowOutcome(row.number, "rejected", field=fault.field, code=fault.code)
    about = (new.received_by, new.reference or "")
    if about in seen:
        return RowOutcome(row.number, "rejected", field="reference", code="reference-repeated")
    seen.add(about)
    try:
        _check_reference(new.reference or "")
        check_directive(consent, new, by)
        with consent.db.read() as tx:
            if new.kind == "type-1" and settings_of(tx, [new.received_by]).get(new.received_by) != "practice":
                raise Invalid("not-a-practice", field="received_by")
            if new.person_id is not None and resolve_person(tx, new.person_id).state not in (
                "current",
                "unlinked",
            ):
                raise NotFound("person-unknown", field="person_id")
    except (Invalid, NotFound, Forbidden) as fault:
        return _rejected(row.number, fault)
    return _known(consent, row.number, new, by)


def _rejected(number: int, fault: ServiceError) -> RowOutcome:
    return RowOutcome(number, "rejected", field=fault.field, code=fault.code)


# What came before ----------------------------------------------------------------------------------------------------


def _known(consent: Consent, number: int, new: NewDirective, by: Principal) -> RowOutcome | None:
    """Return the outcome of a row whose reference is on record: the same directive, or another under its name."""
    with consent.db.read() as tx:
        found = read_reference(tx, new.received_by, new.reference or "")
        if found is None:
            return None
        home = resolve_person(tx, found.row.identity_id).person_id
    if _is_same(new, found) and _is_same_person(consent, new, found, by):
        return RowOutcome(number, "known", home)
    return RowOutcome(number, "rejected", field="reference", code="reference-differs")


def _is_same(new: NewDirective, found: StandingDirective) -> bool:
    row = found.row
    if (row.scope_kind, row.scope_code) != (new.scope.kind, new.scope.code):
        return False
    if new.effective_at is not None and new.effective_at != row.effective_at:
        return False
    names = ("kind", "standing", "may_override", "capacity", "channel", "review_at", "ends_at")
    told = ((getattr(row, name), getattr(new, name)) for name in ("evidence", "reason"))
    return all(getattr(row, name) == getattr(new, name) for name in names) and all(
        kept in (ERASED, given) for kept, given in told
    )


def _is_same_person(consent: Consent, new: NewDirective, found: StandingDirective, by: Principal) -> bool:
    if new.person_id is not None:
        return new.person_id in found.anchors
    key = RecordKey(new.received_by, FORM_SYSTEM, format_id(found.row.directive_id))
    try:
        kept = get_record(consent.mpi, key, by).record
    except NotFound:
        return not found.anchors  # erased: whom it was for is no longer known, unless a person was named
    return new.form is not None and _said(kept) == _said(new.form)


def _said(form: SourceRecord) -> Any:
    told = replace(form, key=RecordKey("", "", ""), restricted=None, updated_at=None).to_payload()
    return {name: value for name, value in told.items() if value}


# What would happen ---------------------------------------------------------------------------------------------------


def _foreseen(consent: Consent, number: int, new: NewDirective, by: Principal) -> RowOutcome:
    if new.person_id is not None:
        with consent.db.read() as tx:
            state, home = foreseen_state(tx, consent, new, by)
        return RowOutcome(number, _OF_RECEIPT.get(state, state), home)
    if new.standing == "refused":
        return RowOutcome(number, "kept")
    assert new.form is not None  # it was checked
    try:
        candidates = match_person(consent.mpi, new.form, by).candidates
    except Invalid:
        return RowOutcome(number, "waits")  # too little to search with: it links, or waits for people
    if candidates and candidates[0].grade is Grade.CERTAIN:
        return RowOutcome(number, "binds", candidates[0].person_id)
    return RowOutcome(number, "may-bind" if candidates else "waits")


# Reading -------------------------------------------------------------------------------------------------------------


def read_directive_rows(path: Path, consent: Consent) -> list[DirectiveRow]:
    """Read a file of directives: our columns, and for a form those of a source record.

    Raises:
        Invalid: about the file or its header: as ``check_encoding``, ``column-missing``, ``column-unknown``, ``column-repeated``; or
            ``too-many-rows``.
    """
    check_encoding(path)
    csv.field_size_limit(LARGEST_FIELD)
    with path.open("r", encoding="utf-8-sig", newline="") as file:
        return list(_rows(file, consent))


def read_directive_text(content: bytes, consent: Consent) -> list[DirectiveRow]:
    """Read the content of a file as ``read_directive_rows`` reads a file; for what somebody sent over the network.

    Raises:
        Invalid: as ``read_directive_rows``.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        row = 1 + content.count(b"\n", 0, fault.start)
        raise Invalid("file-encoding", row=row, detail="Save it as UTF-8.") from None
    if "\0" in text:
        raise Invalid("file-format")
    csv.field_size_limit(LARGEST_FIELD)
    return list(_rows(io.StringIO(text, newline=""), consent))


def _rows(file: io.TextIOBase, consent: Consent) -> Iterator[DirectiveRow]:
    try:
        rows = Rows(file, delimiter_of(file))
    except (StopIteration, csv.Error) as error:
        raise Invalid("file-empty", row=1) from error
    names = [heading.strip().lower().replace(" ", "_") for heading in rows.header]
    _check_header(names)
    ours = {name: place for place, name in enumerate(names) if name in _OURS}
    forms = {name: place for place, name in enumerate(names) if name not in _OURS}
    read_form = row_reader(consent.mpi.today())
    count = 0
    for number, values in rows.read(()):
        if values is not None and not any(value.strip() for value in values):
            continue
        count += 1
        if count > MOST_ROWS:
            raise Invalid("too-many-rows", row=number, detail=f"At most {MOST_ROWS} rows a file: divide it.")
        if values is None:
            yield DirectiveRow(number, None, (Invalid("row-unreadable", row=number),))
        elif len(values) != len(names):
            yield DirectiveRow(number, None, (Invalid("column-count", row=number),))
        else:
            told = {name: values[place].strip() for name, place in ours.items()}
            form = {name: values[place].strip() for name, place in forms.items()}
            yield _row(number, told, form, read_form)


def _check_header(names: Sequence[str]) -> None:
    for name in _NEEDED:
        if name not in names:
            raise Invalid("column-missing", field=name, row=1)
    for place, name in enumerate(names, start=1):
        if name in names[: place - 1]:
            raise Invalid("column-repeated", row=1, detail=f"Column {place} comes twice.")
        base = re.sub(r"_[1-9][0-9]?\Z", "", name)
        is_form = name in SINGLE or any(base in group or name in group for group in NUMBERED.values())
        if name not in _OURS and (not is_form or name in _NOT_A_FORM):
            # The first line may be a person's row: it is told by its place.
            raise Invalid("column-unknown", row=1, detail=f"Column {place} is not known.")


def _row(
    number: int, told: Mapping[str, str], form: Mapping[str, str], read_form: Callable[..., Any]
) -> DirectiveRow:
    try:
        new = _directive(told)
    except Invalid as fault:
        return DirectiveRow(number, None, (Invalid(fault.code, field=fault.field, row=number),))
    if any(form.values()):
        filled = {name: value for name, value in form.items() if value}
        if new.person_id is not None:
            return DirectiveRow(number, None, (Invalid("person-and-form", field="person_id", row=number),))
        read = read_form([*REQUIRED, *filled], [new.received_by, FORM_SYSTEM, "form", *filled.values()])
        if read.record is None:
            faults = tuple(Invalid(one.code, field=one.field, row=number) for one in read.faults)
            return DirectiveRow(number, None, faults)
        new = replace(new, form=read.record)
    return DirectiveRow(number, new)


def _directive(told: Mapping[str, str]) -> NewDirective:
    def one(name: str, otherwise: str = "") -> str:
        return told.get(name) or otherwise

    kind, emergency, channel = (
        one("kind", "objection"),
        one("emergency", "may-override"),
        one("channel", "form"),
    )
    if kind not in KINDS:
        raise Invalid("directive-kind-unknown", field="kind")
    if emergency not in EMERGENCY:
        raise Invalid("emergency-unknown", field="emergency")
    if channel not in _CHANNELS:
        raise Invalid("channel-unknown", field="channel")
    for name, longest in _LONGEST.items():
        if len(one(name)) > longest:
            raise Invalid("too-long", field=name)
    return NewDirective(
        kind=kind,
        scope=Scope(one("scope", "everything"), one("scope_code")),
        received_by=_needed(told, "received_by"),
        reference=_needed(told, "reference"),
        person_id=parse_id(one("person_id"), "person_id") if one("person_id") else None,
        standing=one("standing", "upheld"),
        may_override=EMERGENCY[emergency],
        capacity=one("capacity", "patient"),
        channel=channel,
        evidence=one("evidence") or None,
        reason=one("reason") or None,
        effective_at=_instant(told, "effective_at"),
        ends_at=_instant(told, "ends_at"),
        review_at=_instant(told, "review_at"),
    )


def _needed(told: Mapping[str, str], name: str) -> str:
    if not told.get(name):
        raise Invalid("field-missing", field=name)
    return told[name]


def _check_reference(text: str) -> None:
    """See that a sender's reference is a code of theirs, and no NHS number, for it is kept."""
    if not _REFERENCE.fullmatch(text):
        raise Invalid("reference-format", field="reference")
    for found in _NUMBERS.findall(text):
        try:
            parse_nhs_number(found)
        except Invalid:
            continue
        raise Invalid("reference-identifies", field="reference")


def _instant(told: Mapping[str, str], name: str) -> datetime | None:
    """Read an instant or a day, which begins at midnight (UTC)."""
    return parse_instant(told[name], name) if told.get(name) else None
