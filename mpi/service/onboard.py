"""What a new organisation's file would come to, before anything of it is kept: how good it is, whom it links to, what it asks of readers.

Its records are read as a load reads them, and linked beside the index as a bulk switch links them, by the model in force; the switch itself
is not done. What comes out are counts: nobody's ids, and no value.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.directory import known_codes
from foundation.errors import Invalid
from mpi.matching.quality import FIGURES, items_of
from mpi.matching.questions import Kind
from mpi.records import SourceRecord
from mpi.service.context import Mpi
from mpi.service.load import LoadReport, ReadRow, Reject, Seen, chunked, sound_rows
from mpi.service.switch import Settlement, tried_switch
from mpi.service.tombstones import erased_keys
from mpi.store import records as record_store

CHUNK = 500

MINUTES: Mapping[str, int] = {
    Kind.SPLIT.value: 10,
    Kind.IN_DOUBT.value: 8,
    Kind.ASKED.value: 8,
    Kind.OVERLAY.value: 8,
    Kind.OUTSIZED.value: 30,
    Kind.REFUSED.value: 8,
    Kind.NUMBERS.value: 8,
    Kind.POSSIBLE.value: 5,
    Kind.DUPLICATE.value: 5,
}
"""Minutes that a reader is taken to need for a task of each type: assumed, not measured. Whoever knows better says so."""

_OF_ONE_RECORD = tuple(
    figure.code
    for figure in FIGURES
    if figure.of == "records"
    and figure.code
    not in ("records", "waiting", "duplicates", "overlays", "number_conflicts", "linked_elsewhere")
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Tasks of one type that would be opened, and how long readers would sit over them."""

    kind: str
    tasks: int
    minutes_each: float

    @property
    def hours(self) -> float:
        return round(self.tasks * self.minutes_each / 60, 1)


@dataclass(frozen=True, slots=True)
class Onboarding:
    """What a file would come to; every number counts records unless it says otherwise.

    ``faults``: by field and code how many faults rows were set aside for. ``items``: of the records that are sound how many have what,
    by the codes of data quality. ``later``: further versions of records that came before, in the file or in the index; and
    ``apart``: records whose NHS number another took the place of, which says something of others too. Neither is weighed here.
    ``duplicates``: records beyond the first of each person inside the file. ``linked``: records that would come to ``linked_persons``
    of the index by themselves; the others would be ``new_persons``. ``joined`` and ``parted``: persons of the index that the file would
    make one of several, or take apart.
    """

    organisation: str
    is_in_directory: bool
    made_at: datetime
    model: str
    rows: int
    rejected: int
    faults: tuple[tuple[str | None, str, int], ...]
    records: int
    items: Mapping[str, int]
    later: int
    apart: int
    weighed: int
    duplicates: int
    duplicated_persons: int
    linked: int
    linked_persons: int
    new_persons: int
    index_records: int
    index_waiting: int
    joined: int
    parted: int
    tasks: tuple[Asked, ...]

    @property
    def hours(self) -> float:
        return round(sum(one.tasks * one.minutes_each for one in self.tasks) / 60, 1)

    def as_json(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in self.__slots__}
        return told | {
            "made_at": self.made_at.isoformat(),
            "faults": [{"field": where, "code": code, "count": count} for where, code, count in self.faults],
            "items": dict(self.items),
            "tasks": [
                {"kind": one.kind, "tasks": one.tasks, "minutes_each": one.minutes_each, "hours": one.hours}
                for one in self.tasks
            ],
            "hours": self.hours,
        }


def try_onboarding(
    mpi: Mpi,
    folder: Path,
    rows: Iterable[ReadRow],
    organisation: str,
    *,
    minutes: Mapping[str, float] | None = None,
    memory: int = 4 << 30,
    threads: int = 2,
    say: Callable[[str, int, int], None] = lambda *_: None,
    reject: Callable[[Reject], None] = lambda _: None,
) -> Onboarding:
    """Say what loading rows of a new organisation would come to; nothing is kept, and everything goes on meanwhile.

    Args:
        folder: an empty folder of the caller's; it then holds demographics.
        minutes: by type of task, in the place of ``MINUTES``.
        reject: called for each fault of a row that a load would set aside.

    Raises:
        Invalid: about the file as a whole, or where it cannot be read to its end; ``minutes-unknown`` for what is no type of task.
        Unavailable: as ``tried_switch``.
    """
    each = {**MINUTES, **(minutes or {})}
    if unknown := each.keys() - MINUTES.keys():
        raise Invalid("minutes-unknown", field=min(unknown)[:40])
    mpi = mpi.present()
    made_at = mpi.clock.now()
    incoming = _Incoming(mpi, rows, organisation, reject)
    with mpi.db.read() as tx:
        is_known = bool(known_codes(tx, [organisation]))
        waiting = record_store.count_records(tx)["waiting"]
    with tried_switch(mpi, folder, incoming.new(), memory=memory, threads=threads, say=say) as settled:
        say("Asking", 0, 1)
        opened = Counter(task.kind for task in settled.tasks().opened)
        report = incoming.report
        return Onboarding(
            organisation=organisation,
            is_in_directory=is_known,
            made_at=made_at,
            model=mpi.model.revision,
            rows=report.rows,
            rejected=report.rejected,
            faults=tuple(
                (where, code, count) for (where, code), count in sorted(incoming.faults.items(), key=_most)
            ),
            records=report.rows - report.rejected,
            items={code: incoming.items[code] for code in _OF_ONE_RECORD},
            later=incoming.later,
            apart=incoming.apart,
            **_counted(settled),
            index_waiting=waiting,
            tasks=tuple(Asked(kind, opened[kind], each[kind]) for kind in MINUTES if opened[kind]),
        )


def _most(item: tuple[tuple[str | None, str], int]) -> tuple[int, str, str]:
    return -item[1], item[0][0] or "", item[0][1]


def _counted(settled: Settlement) -> dict[str, int]:
    new = settled.is_new
    ours, theirs = settled.person[new], settled.person[~new]
    persons, counts = np.unique(ours, return_counts=True)
    is_linked = np.isin(ours, theirs)
    before, after = settled.before[~new], theirs
    stood = before > 0
    cells = np.unique(np.stack((before[stood], after[stood])), axis=1)
    return {
        "weighed": int(new.sum()),
        "duplicates": int((counts - 1).sum()),
        "duplicated_persons": int((counts > 1).sum()),
        "linked": int(is_linked.sum()),
        "linked_persons": int(len(np.unique(ours[is_linked]))),
        "new_persons": int((~np.isin(persons, theirs)).sum()),
        "index_records": int(stood.sum()),
        "joined": _repeated(cells[1]),
        "parted": _repeated(cells[0]),
    }


def _repeated(ids: NDArray[np.int64]) -> int:
    return int((np.unique(ids, return_counts=True)[1] > 1).sum())


class _Incoming:
    """The records of a file that the index has not met, and what is counted of all of them."""

    def __init__(
        self, mpi: Mpi, rows: Iterable[ReadRow], organisation: str, reject: Callable[[Reject], None]
    ) -> None:
        self._mpi, self._rows, self._organisation, self._reject = mpi, rows, organisation, reject
        self._seen, self._timeless = Seen(), Seen()
        self.report = LoadReport()
        self.faults: Counter[tuple[str | None, str]] = Counter()
        self.items: Counter[str] = Counter()
        self.later = self.apart = 0

    def new(self) -> Iterator[Sequence[SourceRecord]]:
        today = self._mpi.today()
        for part in chunked(self._rows, CHUNK):
            fresh: list[SourceRecord] = []
            for number, record in sound_rows(part, self._timeless, self.report, self._set_aside):
                if record.key.organisation != self._organisation:
                    self.report.rejected += 1
                    self._set_aside(Reject(number, "organisation", "organisation-other"))
                    continue
                self.items.update(items_of(record, self._mpi.model, today))
                if self._seen.again(record.key):
                    self.later += 1
                elif record.nhs_number_superseded_by:
                    self.apart += 1
                else:
                    fresh.append(record)
            keys = [record.key for record in fresh]
            with self._mpi.db.read() as tx:
                known = {*record_store.find_records(tx, keys), *erased_keys(tx, keys)}
            self.later += len(known)
            if come := [record for record in fresh if record.key not in known]:
                yield come

    def _set_aside(self, one: Reject) -> None:
        self.faults[one.field, one.code] += 1
        self._reject(one)


# In words ------------------------------------------------------------------------------------------------------------

Section = tuple[str, Sequence[str], Sequence[Sequence[object]]]
"""A title, the heads of a table, and its rows."""


def sections_of(found: Onboarding) -> list[Section]:
    """Tell a report as tables, for people."""

    def share(count: int, of: int) -> str:
        return f"{100 * count / of:.1f} %" if of else "–"

    meaning = {figure.code: figure.meaning for figure in FIGURES}
    return [
        (
            f"What {found.organisation}'s file would come to",
            ("", "count", "share"),
            [
                ("Rows", found.rows, ""),
                ("Rows that would be set aside", found.rejected, share(found.rejected, found.rows)),
                ("Records", found.records, share(found.records, found.rows)),
                ("Further versions of a record, not weighed", found.later, share(found.later, found.records)),
                (
                    "Records with a superseded NHS number, not weighed",
                    found.apart,
                    share(found.apart, found.records),
                ),
                ("New records, weighed", found.weighed, share(found.weighed, found.records)),
            ],
        ),
        (
            "Links, by the model in force",
            ("", "count", "share"),
            [
                (
                    "New records that would link to the index",
                    found.linked,
                    share(found.linked, found.weighed),
                ),
                ("Persons of the index that they would come to", found.linked_persons, ""),
                ("New persons", found.new_persons, ""),
                ("Duplicates inside the file", found.duplicates, share(found.duplicates, found.weighed)),
                ("Persons with more than one record in the file", found.duplicated_persons, ""),
                ("Persons made of several of the index", found.joined, ""),
                ("Persons of the index taken apart", found.parted, ""),
            ],
        ),
        (
            "Tasks for the review queue",
            ("type", "tasks", "minutes each", "hours"),
            [
                *((one.kind, one.tasks, f"{one.minutes_each:g}", one.hours) for one in found.tasks),
                ("together", sum(one.tasks for one in found.tasks), "", found.hours),
            ],
        ),
        (
            "Rows set aside, by reason",
            ("field", "code", "faults"),
            [(where or "", code, count) for where, code, count in found.faults],
        ),
        (
            "Completeness and validity of the records",
            ("item", "records", "share", "meaning"),
            [
                (code, count, share(count, found.records), meaning[code])
                for code, count in found.items.items()
            ],
        ),
    ]


def notes_of(found: Onboarding) -> list[str]:
    """Say what a reader must know of how the figures came about."""
    notes = [
        f"Made {found.made_at:%Y-%m-%d %H:%M} UTC under match model {found.model}, against {found.index_records} records of the index. "
        "Nothing was stored.",
        "Minutes a task are assumed, unless they were given: say your own with --minutes TYPE=MINUTES.",
    ]
    if found.index_waiting:
        notes.append(
            f"{found.index_waiting} records of the index wait for linking; what they come to is counted here too."
        )
    if not found.is_in_directory:
        notes.append(
            f"{found.organisation} is not in the directory of organisations yet: a load would refuse its rows."
        )
    return notes
