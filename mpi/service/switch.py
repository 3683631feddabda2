"""The bulk switch: many records linked at once, and what they come to put in the place of what stood, in one transaction.

First the index and the files are read, linked and staged, while everything goes on. Then one lock holds linking, the run looks at what has
changed since it read, partitions again what that or people's decisions touch, and writes sets of rows. The outcome is that of linking the
same records one by one. Nothing is seen before the commit; a run that ends before it leaves nothing.
"""

import fcntl
import shutil
import time
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from foundation.audit import audit_event, bulk_columns, entry_by
from foundation.collector import seldom_collected
from foundation.database import LOCK_COMPONENT, LOCK_PERSON, Session, is_retryable, lock_space
from foundation.errors import Invalid, Unavailable
from foundation.ids import new_ids
from foundation.outbox import outbox
from foundation.principal import SYSTEM_ITSELF, Principal
from mpi.bulk.arrivals import Arrivals, Incoming, Stored, Waiting, arrivals_of, microseconds, read_arrivals
from mpi.bulk.copy import Texts, blobs, or_none, put_columns, texts, texts_of
from mpi.bulk.forms import Linkage, link_forms, write_forms
from mpi.bulk.lines import Form
from mpi.bulk.memory import check_memory, least_memory_of_index
from mpi.bulk.table import Forms, connect
from mpi.matching import Model, NormalisedRecord, Refusal
from mpi.matching.questions import Kind
from mpi.records import RecordKey, SourceRecord
from mpi.service import trail
from mpi.service.census import Formed, scan_forms
from mpi.service.context import Mpi, check_in_force
from mpi.service.evidence import Pair, pair_of
from mpi.service.fold import all_keys, derived_columns
from mpi.service.graph import Settled, Survey, Unions, settle
from mpi.service.link import (
    OF_HISTORY,
    Change,
    Moved,
    Tasks,
    asked_before,
    compare_tasks,
    is_settled,
    link_waiting,
    standing_overlays,
)
from mpi.service.load import (
    LOADER,
    LoadReport,
    ReadRow,
    Reject,
    Seen,
    load_records,
)
from mpi.service.lookup import NHS_NUMBER_SYSTEM, lookup_key
from mpi.service.place import UNTOLD
from mpi.service.questions import TRACE_CONFLICT, Question, open_questions, splits_of
from mpi.service.receive import document_of, first_versions
from mpi.service.renew import renew_records, reread_numbers
from mpi.service.tombstones import erased_keys
from mpi.store import graph as graph_store
from mpi.store import persons as person_store
from mpi.store import records as record_store
from mpi.store import stage, tables
from mpi.store import tasks as task_store
from mpi.store import withdrawals as withdrawal_store
from mpi.store.graph import DecisionRow, EdgeRow
from mpi.store.records import RecordRow
from mpi.store.tasks import TaskRow

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Say = Callable[[str, int, int], None]
"""Progress: what is done, how far, of how much."""
Enforce = Callable[[Connection], None]
"""Brings a model into force, inside the transaction of its switch."""

CHUNK = 5_000
PAIRS_AT_ONCE = 1_000
AUDITED_AT_ONCE = 100_000
ATTEMPTS = 5

ARRIVED, RELINKED = "record-linked", "index-relinked"


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch did. ``left_out`` are places, in the order given, of records that someone else brought meanwhile."""

    records: int
    new: int
    renewed: int
    linked: int
    moved: int
    pairs: int
    edges: int
    persons_before: int
    persons: int
    joined: int
    parted: int
    tasks_opened: int
    tasks_closed: int
    left_out: tuple[int, ...]
    stages: Mapping[str, Mapping[str, float]]

    def as_json(self) -> dict[str, Any]:
        names = [name for name in self.__slots__ if name not in ("left_out", "stages")]
        return {**{name: getattr(self, name) for name in names}, "stages": dict(self.stages)}


def switch_index(
    mpi: Mpi,
    folder: Path,
    records: Iterable[Sequence[SourceRecord] | Arrivals] = (),
    *,
    by: Principal = SYSTEM_ITSELF,
    memory: int = 4 << 30,
    threads: int = 2,
    say: Say = lambda *_: None,
    at_step: Callable[[str], None] = lambda _: None,
    enforce: Enforce | None = None,
) -> Switched:
    """Link the whole index, and records that it has not met, under the present model.

    Args:
        folder: an empty folder of the caller's for what does not fit in memory; it then holds demographics.
        records: checked records with keys that the index does not hold, each key once, in the order in which they arrive.
        at_step: told the name of each step as it begins; what it raises ends the run, and nothing has happened.
        enforce: called under the lock, to bring the index's model into force in the very transaction that links by it; without it, that
            model must be the one in force.

    Raises:
        Unavailable: ``keys-overfull``, ``match-model-unreadable``, ``index-busy`` when the same moved again and again.
        Conflict: ``model-not-in-force``, or what ``enforce`` raises.
        Invalid: ``memory-too-small``, as soon as more has been read than ``memory`` can hold.
    """
    if enforce is None:
        mpi = mpi.present()
    with seldom_collected(), mpi.db.session() as session:
        run = _Run(mpi, folder, by, memory, threads, say, at_step, enforce)
        switched = run.run(session, records)
    mpi.bell.ring("outbox")
    mpi.bell.ring("link")
    return switched


@contextmanager
def tried_switch(
    mpi: Mpi,
    folder: Path,
    records: Iterable[Sequence[SourceRecord] | Arrivals] = (),
    *,
    memory: int = 4 << 30,
    threads: int = 2,
    say: Say = lambda *_: None,
) -> Iterator["Settlement"]:
    """Give what linking the whole index under the present model would come to, while everything goes on; it is not done.

    Args:
        folder: as for ``switch_index``.
        records: those that would come with it, as for ``switch_index``.

    Raises:
        Unavailable, Invalid: as ``switch_index``, but for ``index-busy``.
    """
    run = _Trial(mpi, folder, SYSTEM_ITSELF, memory, threads, say, lambda _: None, None)
    with seldom_collected(), run.settled(records) as settled:
        yield settled


# Files and the whole index -------------------------------------------------------------------------------------------


@contextmanager
def working_folder(home: Path) -> Iterator[Path]:
    """Give a bulk run an empty folder of its own; what a run that was killed left there is removed first, as this one's is at its end.

    Raises:
        Unavailable: ``bulk-running`` where another run of this home has it.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "bulk.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise Unavailable(
                "bulk-running", detail="Another bulk run is at work here; let it end."
            ) from fault
        folder = home / "bulk"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def relink_index(mpi: Mpi, folder: Path, by: Principal = SYSTEM_ITSELF, **how: Any) -> Switched:
    """Link the whole index again under the present model, and then those who came meanwhile.

    Raises:
        Unavailable, Conflict, Invalid: as ``switch_index``.
    """
    switched = switch_index(mpi, folder, by=by, **how)
    catch_up(mpi)
    return switched


def catch_up(mpi: Mpi) -> None:
    """Link who came or changed while a switch was at work, one by one as ever."""
    with mpi.db.read() as tx:
        others = stage.records_of_other_models(tx, mpi.at(tx).model.revision)
    renew_records(mpi, others)
    reread_numbers(mpi)
    link_waiting(mpi)


class File(Form, Protocol):
    """A file, to be read row by row from its beginning as often as it is called, or by the column."""

    def __call__(self) -> Iterator[ReadRow]: ...
    def read(self, number: int, values: Sequence[str] | None) -> ReadRow | None: ...


def rows_at_once(memory: int) -> int:
    """Return how many rows of a file are read together: some three kilobytes each, while they are made into what is stored."""
    return max(20_000, min(500_000, memory // 8_192))


def load_index(
    mpi: Mpi,
    folder: Path,
    files: Sequence[File],
    by: Principal = LOADER,
    *,
    memory: int = 4 << 30,
    threads: int = 2,
    reject: Callable[[int, Reject], None] = lambda *_: None,
    **how: Any,
) -> tuple[LoadReport, Switched]:
    """Bring the records of files into the index by one switch; what the index has met is then loaded one by one.

    Those are further versions of records: of a key that is there, or that came in an earlier row.

    Args:
        reject: called with a file's number for each fault of a row that is set aside.
    """
    mpi = mpi.present()
    report = LoadReport()
    with closing(connect(folder, memory, threads)) as connection:
        incoming = _Incoming(mpi, files, report, reject, connection, rows_at_once(memory))
        switched = switch_index(mpi, folder, incoming.new(), by=by, memory=memory, threads=threads, **how)
    report.states["new"] += switched.new
    report.linked += switched.linked
    for place in switched.left_out:
        incoming.put_back(place)
    catch_up(mpi)
    for number, rows in enumerate(files):
        if later := incoming.later[number]:
            again = load_records(
                mpi,
                (row for row in rows() if row.number in later),
                by,
                reject=lambda one, number=number: reject(number, one),  # type: ignore[misc]
            )
            report.states.update(again.states)
            report.linked += again.linked
            report.rejected += again.rejected
    return report, switched


class _Incoming:
    """The records of files that the index has not met; ``later`` are the rows that bring further versions, by file."""

    def __init__(
        self,
        mpi: Mpi,
        files: Sequence[File],
        report: LoadReport,
        reject: Callable[[int, Reject], None],
        connection: Any,
        at_once: int,
    ) -> None:
        self._mpi, self._files, self._report, self._reject = mpi, files, report, reject
        self._connection, self._at_once = connection, at_once
        self.later: list[set[int]] = [set() for _ in files]
        self._places = array("q")
        self._starts: list[int] = []
        self._seen, self._timeless = Seen(), Seen()

    def new(self) -> Iterator[Arrivals]:
        mpi = self._mpi
        with mpi.db.read() as tx:
            is_empty = stage.is_empty(tx)
        for number, file in enumerate(self._files):
            self._starts.append(len(self._places))
            for rows in read_arrivals(file, file.read, mpi.model, mpi.today(), self._at_once):
                good = self._good(number, rows)
                again = np.fromiter(map(self._seen.again_text, rows.key_texts(good)), np.bool_, len(good))
                if not is_empty:
                    again |= self._known(rows, good)
                # What they say is of others too: it is folded one by one.
                again |= rows.are_superseding(good)
                self.later[number].update(rows.numbers[good[again]].tolist())
                if len(fresh := good[~again]):
                    self._places.extend(rows.numbers[fresh].tolist())
                    yield rows.arrivals(
                        fresh, self._connection, mpi.model, lookup_key, NHS_NUMBER_SYSTEM, document_of
                    )

    def _good(self, number: int, rows: Incoming) -> Ints:
        """Return the places of rows that can be kept, and set the others aside."""
        report = self._report
        report.rows += rows.rows
        out = list(rows.faults)
        good = rows.sound
        timeless = good[rows.are_timeless(good)]
        late = np.fromiter(map(self._timeless.again_text, rows.key_texts(timeless)), np.bool_, len(timeless))
        fault = Invalid("updated-at-missing", field="updated_at")
        out.extend((row, (fault,)) for row in rows.numbers[timeless[late]].tolist())
        self._set_aside(number, out)
        good = good[~np.isin(good, timeless[late])]
        organisations, own = rows.of_organisations(good)
        with self._mpi.db.read() as tx:
            unknown = [
                trail.unknown_organisation(tx, self._mpi.organisations, [code]) is not None
                for code in organisations
            ]
            feeds = withdrawal_store.standing_feeds(tx)
        is_unknown = np.array(unknown, np.bool_)[own] if len(good) else np.zeros(0, np.bool_)
        fault = Invalid("organisation-unknown", field="organisation")
        self._set_aside(number, [(row, (fault,)) for row in rows.numbers[good[is_unknown]].tolist()])
        good = good[~is_unknown]
        if feeds:
            # One by one they would be kept and follow their feed; a switch would link them first.
            keys = (text.split("\x1f") for text in rows.key_texts(good))
            lacks = np.array([any(one.holds(key[0], key[1]) for one in feeds) for key in keys], np.bool_)
            fault = Invalid("feed-withdrawn", field="system")
            self._set_aside(number, [(row, (fault,)) for row in rows.numbers[good[lacks]].tolist()])
            good = good[~lacks]
        return good

    def _set_aside(self, number: int, rows: Sequence[tuple[int, Sequence[Invalid]]]) -> None:
        self._report.rejected += len(rows)
        for row, faults in sorted(rows, key=lambda one: one[0]):
            for fault in faults:
                self._reject(number, Reject(row, fault.field, fault.code))

    def _known(self, rows: Incoming, places: Ints) -> Flags:
        """Say which rows bring records that the index has met, or had until they were erased: those are refused when they are loaded."""
        found: list[bool] = []
        for start in range(0, len(places), CHUNK):
            keys = rows.keys(places[start : start + CHUNK])
            with self._mpi.db.read() as tx:
                known = {*record_store.find_records(tx, keys), *erased_keys(tx, keys)}
            found.extend(key in known for key in keys)
        return np.array(found, np.bool_)

    def put_back(self, place: int) -> None:
        """Leave a new record, by its place among them all, to be loaded later."""
        self.later[bisect_right(self._starts, place) - 1].add(self._places[place])


@dataclass(slots=True)
class _Read:
    """What the run has read: stored records and after them new ones, each a row of the linkage; ``version`` is that of the form."""

    ids: "array[int]" = field(default_factory=lambda: array("q"))
    versions: "array[int]" = field(default_factory=lambda: array("q"))
    revisions: list[str] = field(default_factory=list)
    traced: "array[int]" = field(default_factory=lambda: array("q"))
    stored: int = 0
    renewed: int = 0


class _Run:
    def __init__(
        self,
        mpi: Mpi,
        folder: Path,
        by: Principal,
        memory: int,
        threads: int,
        say: Say,
        at_step: Callable[[str], None],
        enforce: Enforce | None,
    ) -> None:
        self._mpi, self._folder, self._by = mpi, folder, by
        self._enforce = enforce
        self._memory, self._threads, self._say, self._at_step = memory, threads, say, at_step
        self._now = mpi.clock.now()
        self._read = _Read()
        self._waiting = Waiting(folder)
        self._stages: dict[str, dict[str, float]] = {}

    def run(self, session: Session, records: Iterable[Sequence[SourceRecord] | Arrivals]) -> Switched:
        with self._stage("read"), session.stage() as tx:
            stage.open_stage(tx)
            write_forms(self._forms(tx, records), self._mpi.model, self._folder)
        with self._stage("link"):
            linkage = link_forms(self._mpi.model, self._folder, self._memory, self._threads, self._say)
        with self._stage("stage"), session.stage() as tx:
            self._stage_edges(tx, linkage)
            stage.close_stage(tx)
        for _ in range(ATTEMPTS):
            try:
                with self._stage("switch"), session.write() as tx:
                    self._begin(tx)
                    settled = Settlement(
                        self._mpi,
                        tx,
                        self._read,
                        linkage,
                        self._by,
                        # Of this moment, not of the run's beginning: linking went on until it was locked out, and has its own history.
                        self._mpi.clock.now(),
                        self._at_step,
                        self._waiting,
                    )
                    switched = settled.write(self._say)
                    self._at_step("commit")
            except Moved:
                continue
            except DBAPIError as error:
                if not is_retryable(error) or error.connection_invalidated:
                    raise
                continue
            return Switched(**switched, pairs=linkage.pairs, stages=self._stages)
        raise Unavailable("index-busy")

    def _begin(self, tx: Connection) -> None:
        """Hold linking, and see that what is linked by is in force: as it was when the run began, or from this transaction on."""
        lock_space(tx, LOCK_COMPONENT)
        if self._enforce is None:
            check_in_force(tx, self._mpi.model)
        else:
            self._enforce(tx)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._at_step(name)
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self._stages[name] = {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
        }

    # Reading and staging

    def _forms(self, tx: Connection, records: Iterable[Sequence[SourceRecord] | Arrivals]) -> Forms:
        yield from self._stored_forms(tx)
        self._read.stored = len(self._read.ids)
        for some in records:
            come = some if isinstance(some, Arrivals) else self._one_by_one(some)
            ids = np.array(new_ids(come.size), np.int64)
            self._waiting.add(come, ids)
            self._read.ids.extend(ids.tolist())
            self._read.versions.extend(1 for _ in range(come.size))
            self._count_read()
            yield come.formed

    def _count_read(self) -> None:
        count = len(self._read.ids)
        self._say("Reading", count, 0)
        check_memory(count, self._memory, least_memory_of_index)

    def _one_by_one(self, records: Sequence[SourceRecord]) -> Arrivals:
        fresh = first_versions(self._mpi, records, self._by, self._now)
        return arrivals_of(
            [one.key for one in fresh],
            [one.form for one in fresh],
            [
                Stored(
                    one.key.organisation,
                    one.key.system,
                    one.key.local_id,
                    one.row["normalised"],
                    one.row["keys"],
                    one.row["restricted"],
                    one.version["digest"],
                    one.version["payload"],
                    microseconds(one.version["source_at"]) if one.version["has_source_time"] else None,
                )
                for one in fresh
            ],
            [one.keys for one in fresh],
        )

    def _stored_forms(
        self, tx: Connection
    ) -> Iterator[tuple[Sequence[RecordKey], Sequence[NormalisedRecord]]]:
        for some in scan_forms(self._mpi, CHUNK):
            self._stage_renewed(tx, [one for one in some if one.record is not None])
            self._read.ids.extend(one.row.record_id for one in some)
            self._read.versions.extend(one.row.current_version for one in some)
            self._read.revisions.extend(one.row.model_revision for one in some)
            self._read.traced.extend(one.row.trace_id or 0 for one in some)
            self._count_read()
            yield [one.row.key for one in some], [one.form for one in some]

    def _stage_renewed(self, tx: Connection, stale: Sequence[Formed]) -> None:
        """Stage the forms and keys of records that another model had read."""
        forms: list[tuple[Any, ...]] = []
        lost: list[tuple[int, int]] = []
        come: list[tuple[int, int]] = []
        for one in stale:
            assert one.record is not None
            row = one.row
            keys = all_keys(self._mpi, one.form, one.record)
            derived = derived_columns(one.form, one.record, keys, self._mpi.model.revision)
            told = (derived["normalised"], derived["keys"], derived["model_revision"])
            at = (row.record_id, row.current_version, row.model_revision, row.restricted, row.trace_id)
            forms.append((*at, *told))
            lost.extend((key, row.record_id) for key in set(row.keys) - set(keys))
            come.extend((key, row.record_id) for key in set(keys) - set(row.keys))
        names = (
            "record_id",
            "version",
            "before",
            "restricted",
            "trace_id",
            "normalised",
            "keys",
            "model_revision",
        )
        stage.put_rows(tx, stage.staged_form, names, forms)
        stage.put_rows(tx, stage.staged_lost_key, ("key", "record_id"), lost)
        stage.put_rows(tx, stage.staged_key, ("key", "record_id"), come)
        self._read.renewed += len(stale)

    def _stage_edges(self, tx: Connection, linkage: Linkage) -> None:
        if not self._read.stored:
            return
        self._say("Staging", 0, 1)
        ids = np.array(self._read.ids, np.int64)
        everyone = np.ones(len(linkage.edges), np.bool_)
        put_columns(tx, stage.staged_edge, *edge_columns(linkage, ids, self._mpi.model, everyone))


class _Trial(_Run):
    """A run that keeps what it finds to itself: nothing is staged, locked or written."""

    @contextmanager
    def settled(self, records: Iterable[Sequence[SourceRecord] | Arrivals]) -> Iterator["Settlement"]:
        mpi = self._mpi
        with self._stage("read"), mpi.db.read() as tx:
            write_forms(self._forms(tx, records), mpi.model, self._folder)
        with self._stage("link"):
            linkage = link_forms(mpi.model, self._folder, self._memory, self._threads, self._say)
        with mpi.db.read() as tx:
            told = (self._read, linkage, self._by, self._now, self._at_step, self._waiting)
            yield Settlement(mpi, tx, *told)

    def _stage_renewed(self, tx: Connection, stale: Sequence[Formed]) -> None:
        """Leave them out of the stage: only how they read now matters."""


def edge_columns(linkage: Linkage, ids: Ints, model: Model, which: Flags) -> tuple[dict[str, Any], int]:
    """Return some of the linkage's edges as columns of the index, in order of their ends, and how many they are."""
    edges = linkage.edges
    low, high = np.minimum(ids[edges.a], ids[edges.b]), np.maximum(ids[edges.a], ids[edges.b])
    places = np.flatnonzero(which)
    places = places[np.lexsort((high[places], low[places]))]
    columns = {
        "low_id": low[places],
        "high_id": high[places],
        "weight": edges.weight[places],
        "may_link": edges.may_link[places],
        "conflict": texts(linkage.conflicts_at(places)),
        "parts": linkage.parts_at(places),
        "model_revision": model.revision,
        "search_complete": True,
    }
    return columns, len(places)


# Settling: under the lock, from what stands now ----------------------------------------------------------------------


class _Standing:
    """Where every record stands now, as columns in order of id; 0 for none."""

    def __init__(self, tx: Connection) -> None:
        codes: dict[str, int] = {}
        parts = [np.empty((0, 9), np.int64)]
        rows: list[tuple[int, ...]] = []
        for number, state, current, linked, held, revision, person, component, traced in stage.scan_standing(
            tx
        ):
            code = codes.setdefault(revision, len(codes))
            # One that was linked by a version of before waits, whatever its mark says.
            taken = current if linked == current else 0
            where = (person or 0, component, traced or 0)
            rows.append((number, state == "active", current, taken, held or 0, code, *where))
            if len(rows) == 100_000:
                parts.append(np.array(rows, np.int64))
                rows = []
        parts.append(np.array(rows, np.int64).reshape(-1, 9))
        table = np.concatenate(parts)
        self.ids, active, self.current, self.linked, self.held, self.revision = table.T[:6]
        self.person, self.component, self.traced = table.T[6:]
        self.is_active: Flags = active > 0
        self.codes = codes

    def places(self, ids: Ints) -> tuple[Ints, Flags]:
        """Return where records stand in the columns, and which of them are there at all."""
        place = np.searchsorted(self.ids, ids)
        place[place == len(self.ids)] = 0
        found: Flags = self.ids[place] == ids if len(self.ids) else np.zeros(len(ids), np.bool_)
        return place, found


class Settlement:
    """One attempt at a switch: persons, questions and epochs worked out under the lock of all components, and written.

    Of a trial, without the lock, it says what a switch of this moment would do, and must not be written.
    """

    def __init__(
        self,
        mpi: Mpi,
        tx: Connection,
        read: _Read,
        linkage: Linkage,
        by: Principal,
        now: datetime,
        at_step: Callable[[str], None],
        waiting: Waiting,
    ) -> None:
        self._mpi, self._tx, self._linkage, self._by, self._at_step = mpi, tx, linkage, by, at_step
        self._waiting = waiting
        self._now = now
        self._read = read
        self._at_step("locked")
        self._standing = standing = _Standing(tx)
        self.ids: Ints = np.array(read.ids, np.int64)
        self._stored = read.stored
        self._taken = self._taken_meanwhile()
        self.is_ok = self._as_read()
        edges = linkage.edges
        self.edge_ok: Flags = self.is_ok[edges.a] & self.is_ok[edges.b]
        # Everyone else: came or changed since, or cannot be read; whoever is somebody's stands with the edges that are stored.
        is_kept = np.zeros(len(standing.ids), np.bool_)
        place, found = standing.places(self.ids[: self._stored])
        is_kept[place[self.is_ok[: self._stored] & found]] = True
        self.left: Ints = standing.ids[~is_kept]
        self.late: Ints = standing.ids[~is_kept & standing.is_active & (standing.person > 0)]
        self._decisions = graph_store.read_standing_decisions(tx)
        self._late_edges = graph_store.read_edges(tx, self.late.tolist())
        self._settle()

    def _as_read(self) -> Flags:
        """Say of each row whether it is still as it was read: stored at the same version, or new and its key nobody's."""
        standing, read = self._standing, self._read
        ok = np.ones(len(self.ids), np.bool_)
        stored = self.ids[: self._stored]
        place, found = standing.places(stored)
        if len(stored):
            versions = np.array(read.versions, np.int64)[: self._stored]
            traced = np.array(read.traced, np.int64)
            revisions = np.array([standing.codes.get(one, -1) for one in read.revisions], np.int64)
            ok[: self._stored] = (
                found
                & standing.is_active[place]
                & (standing.current[place] == versions)
                & (standing.revision[place] == revisions)
                & (standing.traced[place] == traced)
            )
        ok[self._taken] = False
        return ok

    def _taken_meanwhile(self) -> Ints:
        """Return the rows of new records whose (organisation, system, local id) someone else has brought since the index was read."""
        if len(self.ids) == self._stored:
            return np.empty(0, np.int64)
        come = np.setdiff1d(self._standing.ids, self.ids[: self._stored], assume_unique=True).tolist()
        keys: list[RecordKey] = []
        for start in range(0, len(come), CHUNK):
            rows = record_store.read_records(self._tx, come[start : start + CHUNK])
            keys.extend(row.key for row in rows.values())
        return self._linkage.rows_of(keys, self._stored)

    # Persons

    def _settle(self) -> None:
        linkage, standing = self._linkage, self._standing
        person = _least(self.ids, linkage.persons.person)
        component = _least(self.ids, linkage.component)
        self._refused: list[Refusal] = []
        affected = self._affected()
        settled = self._settled_again(affected)
        if settled is not None:
            for row in np.flatnonzero(affected).tolist():
                number = int(self.ids[row])
                person[row] = settled.person_of[number] or 0
                component[row] = settled.component_of[number]
            self._refused.extend(settled.refused)
        for one in linkage.persons.refused:
            if self.is_ok[[one.low_id, one.high_id]].all() and not affected[[one.low_id, one.high_id]].any():
                low, high = pair_of(int(self.ids[one.low_id]), int(self.ids[one.high_id]))
                self._refused.append(Refusal(low, high, one.weight, one.veto, (low, high)))
        late_place, _ = standing.places(self.late)
        late_of = settled if settled is not None else Settled({}, {}, ())
        rows = self.is_ok
        self.node: Ints = np.concatenate((self.ids[rows], self.late))
        self.person: Ints = np.concatenate(
            (person[rows], np.array([late_of.person_of[one] for one in self.late.tolist()], np.int64))
        )
        self.component: Ints = np.concatenate(
            (component[rows], np.array([late_of.component_of[one] for one in self.late.tolist()], np.int64))
        )
        self._row_person = person
        place, found = standing.places(self.ids)
        found &= np.arange(len(self.ids)) < self._stored

        def stood(column: Ints) -> Ints:
            values = np.zeros(len(self.ids), np.int64)
            values[found] = column[place[found]]
            return np.concatenate((values[rows], column[late_place]))

        self.is_new: Flags = np.concatenate(
            ((np.arange(len(self.ids)) >= self._stored)[rows], np.zeros(len(self.late), np.bool_))
        )
        self.is_late: Flags = np.arange(len(self.node)) >= int(rows.sum())
        self.before, self.component_before = stood(standing.person), stood(standing.component)
        self.current, self.linked, self.held = (
            stood(standing.current),
            stood(standing.linked),
            stood(standing.held),
        )
        # A record whose held update waits for its search is left to that search.
        self.is_taken: Flags = self.is_new | ((self.linked == 0) & (self.held == 0) & ~self.is_late)
        self.is_moved: Flags = self.before != self.person
        self.person_of: dict[int, int] = dict(zip(self.node.tolist(), self.person.tolist(), strict=True))

    def _affected(self) -> Flags:
        """Say which rows stand in a component that a decision, a late record or a lost one touches."""
        rows = (
            dict(zip(self.ids.tolist(), range(len(self.ids)), strict=True))
            if self._decisions or len(self.late)
            else {}
        )
        touched = set(np.flatnonzero(~self.is_ok).tolist())
        for decision in self._decisions:
            if decision.verdict != "not-enough":
                touched.update(rows[number] for side in decision.sides for number in side if number in rows)
        for pair in self._late_edges:
            touched.update(rows[number] for number in pair if number in rows)
        touched.update(rows[number] for number in self.late.tolist() if number in rows)
        if not touched:
            return np.zeros(len(self.ids), np.bool_)
        labels = self._linkage.component[np.array(sorted(touched), np.int64)]
        found: Flags = np.isin(self._linkage.component, labels) & self.is_ok
        return found

    def _settled_again(self, affected: Flags) -> Settled | None:
        """Partition some rows and the late records by the rule itself, decisions and all."""
        rows = np.flatnonzero(affected)
        if not len(rows) and not len(self.late):
            return None
        tx, mpi, edges = self._tx, self._mpi, self._linkage.edges
        members = record_store.read_records(
            tx, [*self.ids[rows[rows < self._stored]].tolist(), *self.late.tolist()]
        )
        fresh = rows[rows >= self._stored]
        members |= self._new_rows(fresh)
        late = set(self.late.tolist())
        forms = {number: mpi.forms.of(row) for number, row in members.items() if number in late}
        for number, form in zip(self.ids[rows].tolist(), self._linkage.forms_of(rows), strict=True):
            forms[number] = form
        inside = np.flatnonzero(self.edge_ok & affected[edges.a] & affected[edges.b])
        found = {(row.low_id, row.high_id): row for row in self._edge_rows(inside)}
        for pair, row in self._late_edges.items():
            if pair[0] in members and pair[1] in members:
                found[pair] = row
        decisions = tuple(one for one in self._decisions)
        around = Survey(members, {}, found, (), decisions, ())
        return settle(around, mpi.model, forms, {}, members.keys())

    def _new_rows(self, rows: Ints) -> dict[int, RecordRow]:
        """Return rows as records, of which only identity and key are known: enough to partition and to ask."""
        return {
            number: RecordRow(number, key, "active", 1, 1, None, None, "", (), "", False, number, None)
            for number, key in zip(self.ids[rows].tolist(), self._linkage.keys_of(rows), strict=True)
        }

    def _edge_rows(self, places: Ints) -> Iterator[EdgeRow]:
        edges, conflicts = self._linkage.edges, self._linkage.conflicts_at(places)
        one, other = self.ids[edges.a[places]], self.ids[edges.b[places]]
        for low, high, weight, may_link, conflict, parts in zip(
            np.minimum(one, other).tolist(),
            np.maximum(one, other).tolist(),
            edges.weight[places].tolist(),
            edges.may_link[places].tolist(),
            conflicts,
            self._linkage.parts_at(places).tolist(),
            strict=True,
        ):
            yield EdgeRow(low, high, weight, may_link, conflict, parts, self._mpi.model.revision, True)

    # Questions

    def questions(self) -> list[Question]:
        """Return the questions that the whole index leaves open, as linking one by one would ask them."""
        ask = _Asking(self)
        crossing = self._crossing()
        persons = self._asked_inside(crossing)
        found: dict[tuple[str, str], Question] = {}
        pairs = sorted(crossing)
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            some = pairs[start : start + PAIRS_AT_ONCE]
            edges = {(row.low_id, row.high_id): row for pair in some for row in crossing[pair]}
            among = {person for pair in some for person in pair}
            persons -= among
            found |= ask.about(among, edges)
        rest = sorted(persons)
        for start in range(0, len(rest), PAIRS_AT_ONCE):
            found |= ask.about(set(rest[start : start + PAIRS_AT_ONCE]), {})
        return list(found.values())

    def _crossing(self) -> dict[Pair, list[EdgeRow]]:
        """Return the edges between two persons, by the persons."""
        edges = self._linkage.edges
        apart = np.flatnonzero(self.edge_ok & (self._row_person[edges.a] != self._row_person[edges.b]))
        crossing: dict[Pair, list[EdgeRow]] = defaultdict(list)
        for row in (*self._edge_rows(apart), *self._late_edges.values()):
            one, other = self.person_of.get(row.low_id), self.person_of.get(row.high_id)
            if one is not None and other is not None and one != other:
                crossing[pair_of(one, other)].append(row)
        return crossing

    def _asked_inside(self, crossing: Collection[Pair]) -> set[int]:
        """Return the persons that may leave a question by themselves; those that a late record belongs to are among them."""
        codes = self._row_person.copy()
        # A row that is not as it was read is nobody's here.
        codes[~self.is_ok] = -1 - np.arange(int((~self.is_ok).sum()))
        asked = {
            persons[0]
            for persons in self._linkage.questioned(codes, self.edge_ok & False, self._mpi.model)
            if len(persons) == 1 and persons[0] > 0
        }
        return asked | set(self.person[self.is_late].tolist())

    @property
    def read_under(self) -> Sequence[str]:
        """The model revision under which each stored record stood as it was read."""
        return self._read.revisions

    def columns(self, names: Sequence[str], keys: Sequence[str] = ()) -> dict[str, list[Any]]:
        """Return columns of normalised records, and of their keys, for every node; of a list how long it is. None for a late one."""
        rows, late = np.flatnonzero(self.is_ok), [None] * len(self.late)
        found = self._linkage.columns_of(rows, names, keys)
        return {name: [*values, *late] for name, values in found.items()}

    def tasks(self) -> Tasks:
        """Return which tasks open, change and close, once all questions that are left are asked."""
        questions = self.questions()
        stored = {(one.kind, one.subject): one for one in task_store.read_all_tasks(self._tx)}
        change = Change(RELINKED, self._by)
        questions += self._of_history(stored, asked_before(self._tx, change, stored.values(), self.person_of))
        self._open_before = [one for one in stored.values() if one.state == "open"]
        absent = frozenset(self._standing.ids[~self._standing.is_active].tolist())
        return compare_tasks(
            questions,
            stored,
            lambda task: is_settled(task, self.person_of, self.person_of, absent),
            change,
            self._now,
        )

    # Writing

    def write(self, say: Say) -> dict[str, Any]:
        tx, now = self._tx, self._now
        say("Asking", 0, 1)
        tasks = self.tasks()
        self._at_step("settled")
        say("Switching", 0, 1)
        is_wider = bool(self.is_new.any()) or self._read.renewed > 0
        self._stage_places(is_wider)
        inserted = int(self.is_new.sum())
        if inserted:
            self._insert_new()
        self._at_step("inserted")
        if self._stored or len(self._late_edges):
            stage.switch_edges(tx)
        else:
            # No edge stands between any two of these yet.
            put_columns(
                tx, tables.edge, *edge_columns(self._linkage, self.ids, self._mpi.model, self.edge_ok)
            )
        if (self._standing.person > 0).any():
            # From here on persons change whom others may be reading.
            lock_space(tx, LOCK_PERSON)
        renewed = stage.renew_staged_forms(tx, now) if self._read.renewed else 0
        stage.move_staged_records(tx, now)
        epochs = self._raise_epochs(tasks)
        self._at_step("moved")
        self._write_history()
        task_store.insert_tasks(tx, tasks.inserted, stage.put_named)
        task_store.replace_tasks(tx, (*tasks.reopened, *tasks.altered, *tasks.closed))
        task_store.wake_tasks(tx, [one.task_id for one in (*tasks.reopened, *tasks.altered)])
        # Whom these tasks are about has changed, and with it what their place may tell: the worker places them again.
        task_store.forget_place(tx, UNTOLD, self._moved_about())
        self._leave_trail(tasks, epochs, renewed)
        joined, parted = self._joined_and_parted()
        rows = np.arange(len(self.ids))
        return {
            "records": len(self.node),
            "new": inserted,
            "renewed": renewed,
            "linked": int(self.is_taken.sum()),
            "moved": int(self.is_moved.sum()),
            "edges": int(self.edge_ok.sum()) + len(self._late_edges),
            "persons_before": len(_distinct(self._standing.person[self._standing.person > 0])),
            "persons": len(_distinct(self.person)),
            "joined": joined,
            "parted": parted,
            "tasks_opened": len(tasks.opened),
            "tasks_closed": len(tasks.closed),
            "left_out": tuple((rows[(rows >= self._stored) & ~self.is_ok] - self._stored).tolist()),
        }

    def _moved_about(self) -> set[int]:
        """Return the records of tasks that stood open and are about anyone to whom a record came, or from whom one went."""
        moved = {*self.person[self.is_moved].tolist(), *self.before[self.is_moved].tolist()}
        found: set[int] = set()
        for row in self._open_before if moved else ():
            members = {number for side in row.sides for number in side}
            if not moved.isdisjoint(self.person_of.get(number, 0) for number in members):
                found |= members
        return found

    def _insert_new(self) -> None:
        """Insert new records with their versions and their keys, these in order, so that neighbours on a page are written together."""
        tx = self._tx
        is_kept = self.is_ok[self._stored :]
        person, component = np.zeros(len(is_kept), np.int64), np.zeros(len(is_kept), np.int64)
        person[is_kept], component[is_kept] = self.person[self.is_new], self.component[self.is_new]
        try:
            self._waiting.put(
                tx,
                is_kept,
                person,
                component,
                revision=self._mpi.model.revision,
                now=self._now,
                received_from=self._by.id,
            )
        except DBAPIError as fault:
            if stage.is_taken(fault):
                raise Moved from None  # someone brought one of them since the look
            raise
        keys, ids = self._waiting.keys()
        if len(self._taken):
            is_ok = ~np.isin(ids, self.ids[self._taken])
            keys, ids = keys[is_ok], ids[is_ok]
        order = _nearly_sorted(keys)
        put_columns(tx, tables.match_key, {"key": keys[order], "record_id": ids[order]}, len(order))

    def _of_history(
        self, stored: Mapping[tuple[str, str], TaskRow], asked_before: Iterable[Question]
    ) -> list[Question]:
        """Return the questions that edges do not ask: held updates, persons that this switch takes apart, and what was asked before."""
        held = np.flatnonzero(self.held > 0)
        members = {
            number: RecordRow(number, _NO_KEY, "active", 0, 0, None, version, "", (), "", False, 0, None)
            for number, version in zip(self.node[held].tolist(), self.held[held].tolist(), strict=True)
        }
        overlays = list(standing_overlays(members, (), stored))
        left = _distinct(self.before[self.is_moved & (self.before > 0)])
        was = np.flatnonzero(np.isin(self.before, left) & (self.before > 0))
        stood = {
            number: RecordRow(number, _NO_KEY, "active", 0, 0, None, None, "", (), "", False, 0, person)
            for number, person in zip(self.node[was].tolist(), self.before[was].tolist(), strict=True)
        }
        splits = splits_of(stood, Settled({}, {number: self.person_of[number] for number in stood}, ()))
        self._splits = len(splits)
        decisions = tuple(one for one in self._decisions if one.kind in (Kind.OVERLAY.value, *OF_HISTORY))
        around = Survey({}, {}, {}, (), decisions, ())
        of_history = [*asked_before, *splits]
        asked = open_questions(around, Settled({}, {}, ()), self._mpi.model, {}, overlays, of_history)
        return asked + list(self._traced(stored.values()))

    def _traced(self, stored: Iterable[TaskRow]) -> Iterator[Question]:
        """Ask of numbers that traces contradict what is asked of them already: a switch brings no finding and takes none away."""
        open_ones = {
            one.subject: one
            for one in stored
            if one.state == "open" and (one.kind, one.reason) == (Kind.NUMBERS.value, TRACE_CONFLICT)
        }
        for subject, one in sorted(open_ones.items()):
            evidence = tuple(tuple(item) for item in one.evidence)
            yield Question(Kind.NUMBERS, subject, one.sides, TRACE_CONFLICT, evidence)

    def _stage_places(self, is_wider: bool) -> None:
        tx = self._tx
        linked = np.full(len(self.node), -1, np.int64)
        linked[self.is_taken] = np.where(self.is_new, 1, self.current)[self.is_taken]
        if is_wider:
            # They were searched before what this run brings was there.
            linked[self.is_late] = 0
        changed = self.is_moved | self.is_taken | (self.component != self.component_before) | (linked == 0)
        changed &= ~self.is_new
        columns = {
            "record_id": self.node,
            "person_id": self.person,
            "component_id": self.component,
            "linked": linked,
            "held": self.held,
        }
        told = {name: column[changed] for name, column in columns.items()}
        put_columns(tx, stage.staged_place, told, int(changed.sum()))
        left = np.concatenate((self.left, self.ids[self._taken]))
        put_columns(tx, stage.staged_left, {"record_id": left}, len(left))
        stage.close_stage(tx)

    def _raise_epochs(self, tasks: Tasks) -> "_Epochs":
        """Raise the epoch of each person that changes, those that one change touches together to the greatest of them plus one."""
        merged = self.is_moved & (self.before > 0)
        together = Unions(())
        pairs = zip(self.before[merged].tolist(), self.person[merged].tolist(), strict=True)
        for some in (*pairs, *self._bound_together(tasks)):
            for person in some:
                together.add(person)
                together.join(some[0], person)
        groups = list(together.groups().values())
        members = np.array([person for group in groups for person in group], np.int64)
        changed = self.person[self.is_moved | self.is_taken]
        persons = _distinct(np.concatenate((changed, members)))
        stood = np.zeros(len(persons), np.int64)
        is_known = np.zeros(len(persons), np.bool_)
        if (self._standing.person > 0).any():
            before = person_store.read_epochs(self._tx, persons.tolist())
            at = np.searchsorted(persons, np.fromiter(before, np.int64, len(before)))
            stood[at], is_known[at] = list(before.values()), True
        epochs = stood + 1
        if groups:
            at = np.searchsorted(persons, members)
            sizes = [len(group) for group in groups]
            starts = np.cumsum([0, *sizes[:-1]])
            epochs[at] = np.repeat(np.maximum.reduceat(stood[at], starts), sizes) + 1
        for table, which in ((stage.staged_epoch, is_known), (tables.person, ~is_known)):
            told = {"person_id": persons[which], "epoch": epochs[which]}
            put_columns(self._tx, table, told, int(which.sum()))
        stage.switch_epochs(self._tx)
        return _Epochs(persons, epochs)

    def _bound_together(self, tasks: Tasks) -> Iterator[list[int]]:
        """Yield the persons of each task that begins or ends to bind them."""
        for task in (*tasks.opened, *tasks.closed, *tasks.altered):
            if task.is_binding or task.task_id in tasks.unbound:
                members = (number for side in task.sides for number in side)
                if persons := {self.person_of[number] for number in members if number in self.person_of}:
                    yield sorted(persons)

    def _write_history(self) -> None:
        moved = np.flatnonzero(self.is_moved)
        taken = self.is_taken[moved]
        for cause, places in ((ARRIVED, moved[taken]), (RELINKED, moved[~taken])):
            columns = {
                "change_id": np.array(new_ids(len(places)), np.int64),
                "record_id": self.node[places],
                "from_person_id": or_none(self.before[places]),
                "to_person_id": self.person[places],
                "cause": cause,
                "decision_id": None,
                "changed_at": self._now,
            }
            put_columns(self._tx, tables.membership_change, columns, len(places))

    def _leave_trail(self, tasks: Tasks, epochs: "_Epochs", renewed: int) -> None:
        """Leave what linking one by one leaves: a row for each record kept, linked or moved, and the events; and a row of the run."""
        tx, by, now = self._tx, self._by, self._now
        brought = self.node[self.is_new]
        told = texts_of(_sorted(trail.received_detail), brought, 1)
        self._audit("record-received", "new", None, told)
        epoch = epochs.of(self.person)
        is_from = (self.before > 0) & (self.before != self.person)
        for is_taken, is_moved in ((True, True), (True, False), (False, True)):
            for has_from in (False, True):
                places = np.flatnonzero(
                    (self.is_taken == is_taken) & (self.is_moved == is_moved) & (is_from == has_from)
                )
                # One person's rows side by side, as the index of persons has them.
                places = places[np.argsort(self.person[places], kind="stable")]
                person = self.person[places]
                before = self.before[places] if has_from else None
                told = texts_of(
                    _sorted(trail.linked_detail), self.node[places], before, person, epoch[places]
                )
                self._audit(
                    ARRIVED if is_taken else RELINKED, "moved" if is_moved else "unmoved", person, told
                )
        moved = int(self.is_moved.sum())
        trail.note(
            tx,
            by,
            now,
            "index-switched",
            detail={
                "model_revision": self._mpi.model.revision,
                "new": len(brought),
                "renewed": renewed,
                "linked": int(self.is_taken.sum()),
                "moved": moved,
            },
        )
        cause = RELINKED if len(self._standing.ids) else ARRIVED
        switched = {
            "model_revision": self._mpi.model.revision,
            "cause": cause,
            "records": len(brought),
            "moved": moved,
            "persons": len(epochs.persons),
        }
        if len(epochs.persons):
            trail.switched(tx, switched)
        told = texts_of(trail.received_payload, brought, 1, "new")
        self._emit("record.received", brought, told, self._organisations_of_new())
        changed = texts_of(trail.changed_payload, epochs.persons, epochs.epochs, cause)
        self._emit("person.changed", epochs.persons, changed)
        trail.task_events(
            tx, {task.task_id: (task.kind, task.state) for task in (*tasks.opened, *tasks.closed)}
        )

    def _audit(self, kind: str, reason: str, person: Ints | None, details: Texts) -> None:
        act = entry_by(self._by, self._now, kind, reasons=(reason,))
        columns = bulk_columns(act, None if person is None else person.tolist(), details.tolist())
        for name in ("salt", "personal_digest", "leaf_hash"):
            columns[name] = blobs(columns[name])
        put_columns(self._tx, audit_event, {**columns, "person_id": person, "detail": details}, len(details))

    def _organisations_of_new(self) -> Texts:
        """Return whose each new record is, in the order of their nodes."""
        rows = np.flatnonzero(self.is_ok)
        return self._linkage.organisations_of(rows[rows >= self._stored])

    def _emit(self, topic: str, subjects: Ints, payloads: Texts, organisations: Texts | None = None) -> None:
        columns = {
            "topic": topic,
            "subject_id": subjects,
            "organisation": organisations,
            "payload": payloads,
        }
        put_columns(self._tx, outbox, columns, len(subjects))

    def _joined_and_parted(self) -> tuple[int, int]:
        """Return how many persons went into others, and how many were taken apart."""
        stood = self.before > 0
        pairs = np.unique(np.stack((self.before[stood], self.person[stood])), axis=1)
        _, into = np.unique(pairs[1], return_counts=True)
        return int((into - 1).sum()), self._splits


@dataclass(frozen=True, slots=True)
class _Epochs:
    """Persons in order whose epochs were raised, and to what."""

    persons: Ints
    epochs: Ints

    def of(self, persons: Ints) -> Ints:
        """Return the epochs of persons, 0 for those whose epoch stands."""
        if not len(self.persons):
            return np.zeros(len(persons), np.int64)
        at = np.searchsorted(self.persons, persons)
        at[at == len(self.persons)] = 0
        return np.where(self.persons[at] == persons, self.epochs[at], 0)


_NO_KEY = RecordKey("", "", "")


def _sorted(detail: Callable[..., Mapping[str, Any]]) -> Callable[..., Mapping[str, Any]]:
    """Put the members of an audit row's detail into the order in which they are hashed."""
    return lambda *of: dict(sorted(detail(*of).items()))


class _Asking:
    """Asks the questions of some persons at a time, by the rule that linking one by one asks with."""

    def __init__(self, of: Settlement) -> None:
        self._of = of
        self._order = np.argsort(of.person, kind="stable")
        self._sorted = of.person[self._order]
        self._rows = np.flatnonzero(of.is_ok)
        self._refused = {(one.low_id, one.high_id): one for one in of._refused}
        self._decisions: dict[int, list[DecisionRow]] = defaultdict(list)
        for decision in of._decisions:
            for number in {number for side in decision.sides for number in side}:
                self._decisions[number].append(decision)

    def about(
        self, persons: Collection[int], edges: Mapping[Pair, EdgeRow]
    ) -> dict[tuple[str, str], Question]:
        of = self._of
        wanted = np.array(sorted(persons), np.int64)
        starts = np.searchsorted(self._sorted, wanted, "left")
        ends = np.searchsorted(self._sorted, wanted, "right")
        nodes = self._order[
            np.concatenate(
                [np.arange(start, end) for start, end in zip(starts, ends, strict=True)] or [wanted[:0]]
            )
        ]
        members, forms = self._members(nodes)
        decisions = {one.decision_id: one for number in members for one in self._decisions.get(number, ())}
        refused = tuple(self._refused[pair] for pair in edges if pair in self._refused)
        around = Survey(members, {}, edges, (), tuple(one for _, one in sorted(decisions.items())), ())
        settled = Settled({}, {number: of.person_of[number] for number in members}, refused)
        asked = open_questions(around, settled, of._mpi.model, forms, (), ())
        return {(one.kind.value, one.subject): one for one in asked}

    def _members(self, nodes: Ints) -> tuple[dict[int, RecordRow], dict[int, NormalisedRecord]]:
        of = self._of
        late = of.node[nodes[of.is_late[nodes]]].tolist()
        rows = self._rows[nodes[~of.is_late[nodes]]]
        members = of._new_rows(rows)
        forms = dict(zip(of.ids[rows].tolist(), of._linkage.forms_of(rows), strict=True))
        for number, row in record_store.read_records(of._tx, late).items():
            members[number], forms[number] = row, of._mpi.forms.of(row)
        return members, forms


def _distinct(numbers: Ints) -> Ints:
    """Return numbers in order, each once; ``np.unique`` would hash ids to tell them apart, at many times the cost."""
    ordered = np.sort(numbers)
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def _nearly_sorted(keys: Ints) -> Ints:
    """Return an order of keys in which equal ones keep theirs, and those that differ in their last bits alone may stand either way.

    The place of each takes those bits, so that one array of numbers is sorted rather than places by what they point to.
    """
    bits = len(keys).bit_length()
    placed = (keys >> bits << bits) | np.arange(len(keys))
    placed.sort()
    order: Ints = placed & ((1 << bits) - 1)
    return order


def _least(ids: Ints, group: Ints) -> Ints:
    """Return for each row the least id of its group."""
    least = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(least, group, ids)
    return least[group]
