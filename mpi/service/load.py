"""Loading many records: T1 and T2 in chunks, through the same two steps as one record; bad rows are set aside."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from foundation.errors import Invalid, ServiceError, Unavailable
from foundation.principal import Principal
from mpi.records import RecordKey, SourceRecord
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.link import link_records, taken_again
from mpi.service.receive import Stored, store_records

CHUNK = 500
PATIENCE = 600
"""Seconds that a load waits for a bulk switch to end."""

LOADER = Principal(
    kind="system",
    id="mpi-load",
    organisation="MPI",
    scopes=frozenset({"records:write"}),
    organisations=frozenset({"*"}),
    client_id="mpi-load",
)
"""Who loads a file at the command line: the operator, for every organisation that the directory knows."""

T = TypeVar("T")


class ReadRow(Protocol):
    """A row of a file: a checked record, or its faults."""

    @property
    def number(self) -> int: ...
    @property
    def record(self) -> SourceRecord | None: ...
    @property
    def faults(self) -> Sequence[Invalid]: ...


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a row was set aside; never a value of it."""

    row: int
    field: str | None
    code: str


@dataclass(slots=True)
class LoadReport:
    """What a load came to, in rows; ``linked`` counts the records that T2 took. ``broken`` says where a file could not be read on."""

    rows: int = 0
    rejected: int = 0
    linked: int = 0
    states: Counter[str] = field(default_factory=Counter)
    broken: Invalid | None = None

    def as_json(self) -> dict[str, int]:
        names = ("new", "changed", "unchanged", "late", "held")
        return {
            "rows": self.rows,
            **{name: self.states[name] for name in names},
            "rejected": self.rejected,
            "linked": self.linked,
        }


def load_records(
    mpi: Mpi,
    rows: Iterable[ReadRow],
    by: Principal = LOADER,
    *,
    reject: Callable[[Reject], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
    dry_run: bool = False,
    link: bool = True,
    chunk: int = CHUNK,
) -> LoadReport:
    """Keep and link the records of a file; running it again with the same file changes nothing.

    Every chunk is two transactions, so a crash loses at most the chunk at hand, and the next run takes it up. Rows of one key
    without a source time cannot be put in order: the second one is set aside.

    Args:
        reject: called for each fault of a row that is set aside.
        progress: called with the number of rows that were dealt with.
        dry_run: check every row and store nothing.

    Raises:
        Invalid: what is wrong with the file as a whole, before any of its rows. Where it breaks later, its rows until then are kept, and
            the report says so.
    """
    report = LoadReport()
    timeless = Seen()
    for part in chunked(_until_broken(rows, report), chunk):
        good = sound_rows(part, timeless, report, reject)
        good = list(with_known_organisation(mpi, good, report, reject))
        if good and not dry_run:
            _keep(mpi, good, by, report, reject, link=link)
        progress(len(part))
    return report


def _until_broken(rows: Iterable[T], report: LoadReport) -> Iterator[T]:
    """Yield rows until the file that they are read from breaks, and note that."""
    has_some = False
    try:
        for row in rows:
            has_some = True
            yield row
    except Invalid as fault:
        if not has_some:
            raise
        report.broken = fault


def sound_rows(
    part: Sequence[ReadRow], timeless: "Seen", report: LoadReport, reject: Callable[[Reject], None]
) -> list[tuple[int, SourceRecord]]:
    """Return the rows without a fault, with their numbers; count all of them, and set the others aside.

    Args:
        timeless: the keys of rows without a time of their own that came before.
    """
    good: list[tuple[int, SourceRecord]] = []
    for row in part:
        report.rows += 1
        found = [Reject(row.number, fault.field, fault.code) for fault in row.faults]
        record = row.record
        if record is not None and record.updated_at is None and timeless.again(record.key):
            found.append(Reject(row.number, "updated_at", "updated-at-missing"))
        if found or record is None:
            report.rejected += 1
            for one in found:
                reject(one)
        else:
            good.append((row.number, record))
    return good


def _keep(
    mpi: Mpi,
    rows: Sequence[tuple[int, SourceRecord]],
    by: Principal,
    report: LoadReport,
    reject: Callable[[Reject], None],
    *,
    link: bool,
) -> None:
    records = [record for _, record in rows]
    try:
        stored = _stored(mpi, records, by)
    except ServiceError as fault:
        if len(rows) > 1:
            # One row spoils its chunk: find it by taking them one by one.
            for row in rows:
                _keep(mpi, [row], by, report, reject, link=link)
            return
        report.rejected += 1
        reject(Reject(rows[0][0], fault.field, fault.code))
        return
    report.states.update(one.state for one in stored)
    waiting = list(dict.fromkeys(one.record_id for one in stored if one.is_waiting))
    if link and waiting:
        report.linked += _linked_when_free(mpi, waiting)


def _linked_when_free(mpi: Mpi, waiting: Sequence[int]) -> int:
    """Link records, after a bulk switch where one is at work: it holds linking for as long as it writes.

    Raises:
        Unavailable: ``linking-busy`` when that lasts too long; what was kept waits for a worker, or the next load.
    """
    for remaining in reversed(range(PATIENCE)):
        try:
            return link_records(mpi, waiting).records
        except Unavailable as fault:
            if fault.code != "linking-busy" or not remaining:
                raise
            time.sleep(1)
    raise AssertionError("unreachable")


def _stored(mpi: Mpi, records: Sequence[SourceRecord], by: Principal) -> list[Stored]:
    def take(tx: Connection) -> list[Stored]:
        return store_records(tx, mpi, records, by)

    return taken_again(mpi, take)


def with_known_organisation(
    mpi: Mpi,
    rows: Sequence[tuple[int, SourceRecord]],
    report: LoadReport,
    reject: Callable[[Reject], None],
) -> Iterator[tuple[int, SourceRecord]]:
    codes = {record.key.organisation for _, record in rows}
    unknown: Mapping[str, bool] = {}
    if not codes <= mpi.organisations:
        with mpi.db.read() as tx:
            unknown = {
                code: trail.unknown_organisation(tx, mpi.organisations, [code]) is not None for code in codes
            }
    for number, record in rows:
        if unknown.get(record.key.organisation, False):
            report.rejected += 1
            reject(Reject(number, "organisation", "organisation-unknown"))
        else:
            yield number, record


class Seen:
    """Keys that came, as 8-byte digests: a file of millions fits."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def again(self, key: RecordKey) -> bool:
        return self.again_text("\x1f".join((key.organisation, key.system, key.local_id)))

    def again_text(self, text: str) -> bool:
        """As ``again``, of a key's parts joined by the unit separator."""
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        if digest in self._digests:
            return True
        self._digests.add(digest)
        return False


def chunked(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    part: list[T] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
