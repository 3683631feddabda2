"""The reader's desk: what waits, and the records of one task side by side with the weight between them in words."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import combinations

from sqlalchemy import Connection

from foundation.auth import users
from foundation.directory import names_of
from foundation.errors import NotFound
from foundation.principal import Principal
from mpi.matching import compare, explain, score, veto
from mpi.matching.explain import Reason, reasons
from mpi.matching.questions import Kind
from mpi.records import Address, Finding, HumanName, SourceRecord, as_traced
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.fold import finding_of
from mpi.service.numbers import forms_of
from mpi.service.review import Task, TaskDetail, get_task, list_tasks, sees_protected
from mpi.service.samples import without_numbers
from mpi.store import desk as desk_store
from mpi.store import queue as queue_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store.records import RecordRow, VersionRow

MOST_RECORDS = 12
"""How many records of a side are laid out; an outsized person has more than a reader can compare."""

MOST_MINE = 50
"""How many tasks of a reader's own are told."""

MOST_BEFORE = 20
"""How many earlier versions of a record are laid out, the latest of them."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What waits for everyone, by kind, and what one reader holds."""

    open_by_kind: Mapping[str, int]
    mine: tuple[int, ...]

    @property
    def open_count(self) -> int:
        return sum(self.open_by_kind.values())


@dataclass(frozen=True, slots=True)
class Sheet:
    """One source record as its reader sees it.

    ``content`` is the version that stands; of people whose location is protected, by whichever of their records, it comes without
    location. ``is_held`` marks an update that reads like another person and waits for an answer: then ``content`` is that update.
    """

    record_id: int
    organisation: str
    system: str
    person_id: int | None
    side: int
    version: int
    source_at: datetime
    received_at: datetime
    is_restricted: bool
    is_held: bool
    content: SourceRecord = field(repr=False)
    finding: Finding | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier version of a record said and the one that stands does not: names, addresses, birth date. ``sheet`` is whose."""

    sheet: int
    version: int
    source_at: datetime
    names: tuple[HumanName, ...] = field(default=(), repr=False)
    addresses: tuple[Address, ...] = field(default=(), repr=False)
    birth_date: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Likeness:
    """What the model says of two sheets: for each field agree, close, differ or missing; the weight in words; a veto if one stands.

    Of a possible match neither weight nor words are told: what the model thinks would sway who is asked.
    """

    left: int
    right: int
    weight_millibits: int | None
    fields: Mapping[str, str]
    parts: tuple[Reason, ...]
    veto: str | None


@dataclass(frozen=True, slots=True)
class Bench:
    """A task with all that a reader needs in order to decide it. ``likeness`` compares the two sheets that are most alike.

    ``earlier``: what records said before, the latest first. ``organisations``: names of those whose records are laid out. ``readers``:
    names of people who hold the task, decided or wrote, as their accounts call them.
    """

    detail: TaskDetail
    sheets: tuple[Sheet, ...]
    left_out: int
    likeness: Likeness | None
    earlier: tuple[Earlier, ...] = ()
    organisations: Mapping[str, str] = field(default_factory=dict)
    readers: Mapping[str, str] = field(default_factory=dict)


def names_for(mpi: Mpi, ods_codes: Collection[str]) -> Mapping[str, str]:
    """Return the names of those of these organisations that the directory knows."""
    with mpi.db.read() as tx:
        return names_of(tx, ods_codes)


def read_desk(mpi: Mpi, by: Principal) -> Desk:
    sees = sees_protected(by)
    with mpi.db.read() as tx:
        held = desk_store.claimed_by(tx, by.id, mpi.clock.now(), limit=MOST_MINE, with_protected=sees)
        return Desk(desk_store.count_open(tx, with_protected=sees), tuple(held))


def my_tasks(mpi: Mpi, by: Principal) -> tuple[Task, ...]:
    """Return the tasks that a reader holds, in the order of the queue."""
    return list_tasks(mpi, by, limit=MOST_MINE, only_mine=True).tasks


def read_bench(mpi: Mpi, task_id: int, by: Principal) -> Bench:
    """Lay out a task's records. Names and dates of birth are shown here, so the reading leaves an audit row for each person.

    Raises:
        NotFound: ``task-unknown``.
    """
    detail = get_task(mpi, task_id, by)
    with mpi.db.write() as tx:
        mpi = mpi.at(tx)
        named = [number for side in detail.task.sides for number in side]
        rows = record_store.read_records(tx, named)
        if not rows:
            raise NotFound("task-unknown", ids={"task_id": str(task_id)})
        versions = record_store.read_versions(tx, list(rows))
        protected = record_store.protected_records(tx, rows)
        sheets: list[Sheet] = []
        left_out = 0
        for place, side in enumerate(detail.task.sides):
            present = [number for number in side if number in rows]
            left_out += max(0, len(present) - MOST_RECORDS)
            for number in present[:MOST_RECORDS]:
                sheets += _sheets(
                    rows[number],
                    versions[number],
                    place,
                    is_overlay=detail.task.kind == "overlay",
                    is_protected=number in protected,
                )
        now = mpi.clock.now()
        for person_id in sorted({one.person_id for one in sheets if one.person_id is not None}):
            trail.note(tx, by, now, "task-read", person_id=person_id, detail={"task_id": str(task_id)})
        asked = task_store.read_task(tx, task_id)
        if asked is not None and asked.is_sample:
            purpose = queue_store.read_sample(tx, task_id).purpose
            sheets = [_as_asked(one, purpose) for one in sheets]
        likeness = _likeness(tx, mpi, sheets, is_told=detail.task.kind != Kind.POSSIBLE.value)
        organisations = names_of(tx, {one.organisation for one in sheets})
        readers = users.names_of(tx, _readers(detail))
    return Bench(
        detail,
        tuple(sheets),
        left_out,
        likeness,
        _earlier(sheets, versions),
        organisations,
        readers,
    )


def _readers(detail: TaskDetail) -> set[str]:
    found = {detail.task.claimed_by, *(one.author for one in detail.comments)}
    for decided in detail.decisions:
        found |= {decided.decided_by, decided.seconded_by, decided.undone_by}
    for act in detail.acts:
        found |= {act.done_by, act.undone_by}
    return {one for one in found if one is not None}


def _earlier(sheets: Sequence[Sheet], versions: Mapping[int, list[VersionRow]]) -> tuple[Earlier, ...]:
    """Return what versions before the one that is laid out said otherwise, the latest first; of held ones and rejected ones nothing."""
    found = []
    for place, sheet in enumerate(sheets):
        values: tuple[HumanName | Address, ...] = (*sheet.content.names, *sheet.content.addresses)
        told, born = {_plainly(one) for one in values}, {sheet.content.birth_date}
        before = [one for one in versions[sheet.record_id] if one.state == "accepted"]
        before = [one for one in before if (one.source_at, one.version) < (sheet.source_at, sheet.version)]
        for row in sorted(before, key=lambda one: (one.source_at, one.version), reverse=True)[:MOST_BEFORE]:
            content = SourceRecord.from_payload(json.loads(row.payload))
            addresses = () if sheet.is_restricted else content.addresses
            one = Earlier(
                place,
                row.version,
                row.source_at,
                tuple(name for name in content.names if _plainly(name) not in told),
                tuple(address for address in addresses if _plainly(address) not in told),
                content.birth_date if content.birth_date not in born else None,
            )
            told |= {_plainly(name) for name in one.names} | {_plainly(address) for address in one.addresses}
            born.add(one.birth_date)
            if one.names or one.addresses or one.birth_date:
                found.append(one)
    return tuple(sorted(found, key=lambda one: (one.source_at, one.version), reverse=True))


def _plainly(value: HumanName | Address) -> tuple[str, ...]:
    """Return a name or an address without what it is used for, as letters alone: that it became an old one changes nothing of it."""
    parts: tuple[str | None, ...]
    if isinstance(value, HumanName):
        parts = ("name", *value.given, value.family)
    else:
        parts = ("address", *value.lines, value.city, value.postcode)
    return tuple(part.casefold().strip() for part in parts if part)


def _as_asked(sheet: Sheet, purpose: str) -> Sheet:
    """Return the sheet of a sample as its reader sees it: as if its record stood alone, and of a known pair without the NHS numbers."""
    content, finding = sheet.content, sheet.finding
    if purpose == "known":
        content, finding = without_numbers(content), None
    return replace(sheet, person_id=sheet.record_id, content=content, finding=finding)


def _sheets(
    row: RecordRow, versions: list[VersionRow], side: int, *, is_overlay: bool, is_protected: bool
) -> list[Sheet]:
    of_version = {one.version: one for one in versions}
    found = [_sheet(row, of_version[row.current_version], side, is_held=False, is_protected=is_protected)]
    if is_overlay and row.held_version is not None and side == 0:
        held = of_version[row.held_version]
        found.append(_sheet(row, held, side, is_held=True, is_protected=is_protected))
    return found


def _sheet(row: RecordRow, version: VersionRow, side: int, *, is_held: bool, is_protected: bool) -> Sheet:
    content = SourceRecord.from_payload(json.loads(version.payload))
    is_restricted = is_protected or content.restricted is True
    if is_restricted:
        content = replace(content, addresses=(), telecoms=(), gp_practice=None)
    return Sheet(
        record_id=row.record_id,
        organisation=row.key.organisation,
        system=row.key.system,
        person_id=row.person_id,
        side=side,
        version=version.version,
        source_at=version.source_at,
        received_at=version.received_at,
        is_restricted=is_restricted,
        is_held=is_held,
        content=content,
        finding=finding_of(version),
    )


def _likeness(tx: Connection, mpi: Mpi, sheets: Sequence[Sheet], *, is_told: bool) -> Likeness | None:
    """Compare the two sheets most alike: with a held update if there is one, else across the sides, else inside the only one."""
    everything = list(combinations(range(len(sheets)), 2))
    across = [pair for pair in everything if sheets[pair[0]].side != sheets[pair[1]].side]
    with_held = [pair for pair in everything if sheets[pair[0]].is_held != sheets[pair[1]].is_held]
    forms = forms_of(tx, mpi, [as_traced(one.content, one.finding) for one in sheets])
    compared = [
        (pair, comparison, score(comparison, mpi.model))
        for pair in with_held or across or everything
        for comparison in (compare(forms[pair[0]], forms[pair[1]], mpi.model),)
    ]
    if not compared:
        return None
    (left, right), comparison, scored = max(compared, key=lambda one: one[2].weight)
    return Likeness(
        left=left,
        right=right,
        weight_millibits=scored.weight if is_told else None,
        fields=reasons(comparison),
        parts=explain(scored, mpi.model) if is_told else (),
        veto=veto(forms[left], forms[right], mpi.model),
    )
