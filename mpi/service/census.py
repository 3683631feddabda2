"""The whole index at once: its counts, its groups, its records, and whether persons are what records and decisions make them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from mpi.matching import NormalisedRecord
from mpi.records import RecordKey, SourceRecord
from mpi.service.context import Mpi
from mpi.service.fold import UNREAD, standing_record
from mpi.service.graph import settle, survey
from mpi.service.numbers import forms_of
from mpi.store import records as record_store
from mpi.store.records import RecordRow, VersionRow

CHUNK = 500


def count_index(mpi: Mpi) -> dict[str, int]:
    """Count records, records that wait for linking, and persons."""
    with mpi.db.read() as tx:
        return record_store.count_records(tx)


def index_groups(mpi: Mpi) -> list[tuple[RecordKey, ...]]:
    """Return the records of every person, in order of person."""
    with mpi.db.read() as tx:
        rows = record_store.scan_groups(tx)
    return [tuple(key for _, key in group) for _, group in groupby(rows, key=lambda row: row[0])]


def current_records(mpi: Mpi) -> Iterator[SourceRecord]:
    """Yield every record as it stands, in order of arrival."""
    after = 0
    while True:
        with mpi.db.read() as tx:
            rows = record_store.scan_records(tx, after, CHUNK)
            versions = record_store.read_versions(tx, [row.record_id for row in rows])
        if not rows:
            return
        for row in rows:
            if row.state == "active":
                yield _standing(row, versions[row.record_id])
        after = rows[-1].record_id


def _standing(row: RecordRow, versions: Sequence[VersionRow]) -> SourceRecord:
    return standing_record(versions[row.current_version - 1], is_protected=row.restricted)


@dataclass(frozen=True, slots=True)
class Formed:
    """A stored record with its form under the present model. ``record`` is what the form was made of, where it had to be made anew."""

    row: RecordRow
    form: NormalisedRecord = field(repr=False)
    record: SourceRecord | None = field(default=None, repr=False)


def scan_forms(mpi: Mpi, chunk: int = 5_000) -> Iterator[list[Formed]]:
    """Yield the records in force with their forms, in order of arrival; what came while no model could be read is left out."""
    after = 0
    while True:
        with mpi.db.read() as tx:
            rows = record_store.scan_records(tx, after, chunk)
            chosen = [row for row in rows if row.state == "active" and row.model_revision != UNREAD]
            stale = [row.record_id for row in chosen if row.model_revision != mpi.model.revision]
            versions = record_store.read_versions(tx, stale)
            records = [_standing(row, versions[row.record_id]) for row in chosen if row.record_id in versions]
            forms = forms_of(tx, mpi, records)
        if not rows:
            return
        after = rows[-1].record_id
        found = []
        anew = zip(forms, records, strict=True)
        for row in chosen:
            if row.record_id in versions:
                found.append(Formed(row, *next(anew)))
            else:
                # Not remembered: a scan would push out what is asked for often.
                found.append(Formed(row, NormalisedRecord.from_payload(row.normalised)))
        yield found


@dataclass(frozen=True, slots=True)
class Verification:
    """What looking again at every component found; ids of records that are not where they belong, or are there by a version of before."""

    records: int
    waiting: int
    misplaced: tuple[int, ...]
    unfindable: tuple[int, ...]

    @property
    def is_sound(self) -> bool:
        return not self.misplaced and not self.unfindable

    def as_json(self) -> dict[str, object]:
        return {
            "records": self.records,
            "waiting": self.waiting,
            "misplaced": [str(number) for number in self.misplaced],
            "unfindable": [str(number) for number in self.unfindable],
            "sound": self.is_sound,
        }


def verify_index(mpi: Mpi, progress: Callable[[int], None] = lambda _: None) -> Verification:
    """Partition every component again from its edges and decisions, and look up every record's keys; write nothing.

    Edges are taken as stored. Records that wait for linking are counted and not judged.
    """
    mpi = mpi.present()
    records = waiting = after = 0
    misplaced: list[int] = []
    unfindable: list[int] = []
    while True:
        with mpi.db.read() as tx:
            rows = record_store.scan_records(tx, after, CHUNK)
            if not rows:
                return Verification(records, waiting, tuple(misplaced), tuple(unfindable))
            active = [row for row in rows if row.state == "active"]
            records += len(active)
            waiting += sum(row.linked_version is None for row in active)
            pairs = {row.record_id: {(key, row.record_id) for key in row.keys} for row in active}
            if record_store.keys_held(tx, set().union(*pairs.values())) < sum(map(len, pairs.values())):
                unfindable += [
                    number for number, one in pairs.items() if record_store.keys_held(tx, one) < len(one)
                ]
            found = survey(tx, mpi.model, [row.record_id for row in active], {}, ())
        forms = mpi.forms_of(found.members.values())
        settled = settle(found, mpi.model, forms, {}, ())
        for row in active:
            placed = (settled.person_of[row.record_id], settled.component_of[row.record_id])
            is_linked = row.linked_version == row.current_version
            if row.linked_version is not None and not (
                is_linked and placed == (row.person_id, row.component_id)
            ):
                misplaced.append(row.record_id)
        after = rows[-1].record_id
        progress(len(rows))
