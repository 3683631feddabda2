"""After a new model: normalised forms and keys made again from what was received, and every record linked anew."""

from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import Connection

from foundation.principal import SYSTEM_ITSELF
from mpi.service.context import Mpi
from mpi.service.fold import read_again, read_anew
from mpi.service.link import link_waiting, taken_again
from mpi.service.numbers import bearers_of
from mpi.store import numbers as number_store
from mpi.store import records as record_store

CHUNK = 200


def renew_index(mpi: Mpi, progress: Callable[[int], None] = lambda _: None) -> int:
    """Bring records that another model revision normalised to the present one, and link them again; return how many there were.

    Persons stand as they were until their records are linked again. A crash leaves some records renewed and some not: run it again.
    """
    mpi = mpi.present()
    renewed = after = 0
    while True:
        with mpi.db.read() as tx:
            rows = record_store.scan_records(tx, after, CHUNK)
        if not rows:
            break
        stale = [row.record_id for row in rows if row.model_revision != mpi.model.revision]

        def take(tx: Connection, ids: list[int] = stale) -> int:
            return read_anew(tx, mpi, ids, SYSTEM_ITSELF)

        renewed += taken_again(mpi, take) if stale else 0
        after = rows[-1].record_id
        progress(len(rows))
    link_waiting(mpi)
    return renewed


def renew_records(mpi: Mpi, record_ids: Sequence[int]) -> int:
    """Bring some records to the present model; linking is then due for them. Return how many there were."""
    mpi = mpi.present()
    renewed = 0
    for start in range(0, len(record_ids), CHUNK):
        some = list(record_ids[start : start + CHUNK])
        renewed += taken_again(mpi, partial(read_anew, mpi=mpi, record_ids=some, by=SYSTEM_ITSELF))
    return renewed


def reread_numbers(mpi: Mpi) -> int:
    """Read again, and let T2 take again, whoever bears a superseded NHS number: after a bulk switch, which may have overtaken such news."""
    with mpi.db.read() as tx:
        mpi = mpi.at(tx)
        numbers = number_store.read_all_superseded(tx)
    count = 0
    for start in range(0, len(numbers), CHUNK):
        some = numbers[start : start + CHUNK]

        def take(tx: Connection, some: list[str] = some) -> int:
            return read_again(tx, mpi, bearers_of(tx, some), SYSTEM_ITSELF, always=True)

        count += taken_again(mpi, take)
    return count
