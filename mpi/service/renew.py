"""After a new model: normalised forms and keys made again from what was received, and every record linked anew."""

from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import Connection

from foundation.principal import SYSTEM_ITSELF
from mpi.service.context import Mpi
from mpi.service.fold import put_current, read_again, read_unread, standing_record
from mpi.service.link import link_waiting, taken_again
from mpi.service.numbers import bearers_of, form_of
from mpi.store import numbers as number_store
from mpi.store import records as record_store

CHUNK = 200


def renew_index(mpi: Mpi, progress: Callable[[int], None] = lambda _: None) -> int:
    """Bring records that another model revision normalised to the present one, and link them again; return how many there were.

    Persons stand as they were until their records are linked again. A crash leaves some records renewed and some not: run it again.
    """
    renewed = after = 0
    while True:
        with mpi.db.read() as tx:
            rows = record_store.scan_records(tx, after, CHUNK)
        if not rows:
            break
        stale = [row.record_id for row in rows if row.model_revision != mpi.model.revision]

        def take(tx: Connection, ids: list[int] = stale) -> int:
            return _renew(tx, mpi, ids)

        renewed += taken_again(mpi, take) if stale else 0
        after = rows[-1].record_id
        progress(len(rows))
    link_waiting(mpi, limit=1 << 62)
    return renewed


def renew_records(mpi: Mpi, record_ids: Sequence[int]) -> int:
    """Bring some records to the present model; linking is then due for them. Return how many there were."""
    renewed = 0
    for start in range(0, len(record_ids), CHUNK):
        some = list(record_ids[start : start + CHUNK])
        renewed += taken_again(mpi, partial(_renew, mpi=mpi, ids=some))
    return renewed


def reread_numbers(mpi: Mpi) -> int:
    """Read again, and let T2 take again, whoever bears a superseded NHS number: after a bulk switch, which may have overtaken such news."""
    with mpi.db.read() as tx:
        numbers = number_store.read_all_superseded(tx)
    count = 0
    for start in range(0, len(numbers), CHUNK):
        some = numbers[start : start + CHUNK]

        def take(tx: Connection, some: list[str] = some) -> int:
            return read_again(tx, mpi, bearers_of(tx, some), SYSTEM_ITSELF, always=True)

        count += taken_again(mpi, take)
    return count


def _renew(tx: Connection, mpi: Mpi, ids: list[int]) -> int:
    record_store.lock_records(tx, ids)
    read_unread(tx, mpi, ids)
    versions = record_store.read_versions(tx, ids)
    count = 0
    for number, row in record_store.read_records(tx, ids).items():
        if row.state != "active" or row.model_revision == mpi.model.revision:
            continue
        current = next(one for one in versions[number] if one.version == row.current_version)
        record = standing_record(current, is_protected=row.restricted)
        put_current(tx, mpi, row, row.current_version, record, form_of(tx, mpi, record), SYSTEM_ITSELF)
        count += 1
    return count
