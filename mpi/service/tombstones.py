"""Tombstones: a key whose record was erased is known when it comes again, though nothing is kept that tells it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from foundation.direct import Writes
from foundation.errors import Conflict
from foundation.keyed import SECRET, digest, find_key, get_key, key_in
from mpi.records import RecordKey
from mpi.store import purges as purge_store

_PURPOSE = "tombstone"


def digest_of_key(tx: Connection, key: RecordKey, at: datetime) -> bytes:
    return digest(get_key(tx, _PURPOSE, at), (key.organisation, key.system, key.local_id))


def erased_keys(tx: Connection, keys: Sequence[RecordKey]) -> dict[RecordKey, int]:
    """Return those of these keys under which a tombstone stands, with the ids of the records that were erased."""
    return _erased(tx, find_key(tx, _PURPOSE), keys) if keys else {}


def _erased(tx: Connection, secret: bytes | None, keys: Sequence[RecordKey]) -> dict[RecordKey, int]:
    if secret is None:
        return {}
    digests = {digest(secret, (key.organisation, key.system, key.local_id)): key for key in keys}
    return {
        digests[found]: record_id
        for found, record_id in purge_store.standing_tombstones(tx, digests.keys()).items()
    }


def write_unless_erased(tx: Connection, writes: Writes, keys: Sequence[RecordKey]) -> None:
    """Write what is waiting, and see that none of these keys is one whose record was erased.

    Raises:
        Conflict: ``record-erased``, with the id of the record that was; the transaction must not commit.
    """
    if not keys:
        writes.flush()
        return
    secret = key_in(writes.flush_and_ask(SECRET, _PURPOSE))
    for _, record_id in sorted(_erased(tx, secret, keys).items()):
        raise Conflict("record-erased", ids={"record_id": str(record_id)})
