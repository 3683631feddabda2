"""Tombstones: a key whose record was erased is known when it comes again, though nothing is kept that tells it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from foundation.errors import Conflict
from foundation.keyed import digest, find_key, get_key
from mpi.records import RecordKey
from mpi.store import purges as purge_store

_PURPOSE = "tombstone"


def digest_of_key(tx: Connection, key: RecordKey, at: datetime) -> bytes:
    return digest(get_key(tx, _PURPOSE, at), (key.organisation, key.system, key.local_id))


def erased_keys(tx: Connection, keys: Sequence[RecordKey]) -> dict[RecordKey, int]:
    """Return those of these keys under which a tombstone stands, with the ids of the records that were erased."""
    secret = find_key(tx, _PURPOSE) if keys else None
    if secret is None:
        return {}
    digests = {digest(secret, (key.organisation, key.system, key.local_id)): key for key in keys}
    return {
        digests[found]: record_id
        for found, record_id in purge_store.standing_tombstones(tx, digests.keys()).items()
    }


def refuse_erased(tx: Connection, keys: Sequence[RecordKey]) -> None:
    """See that none of these keys is one whose record was erased.

    Raises:
        Conflict: ``record-erased``, with the id of the record that was.
    """
    for _, record_id in sorted(erased_keys(tx, keys).items()):
        raise Conflict("record-erased", ids={"record_id": str(record_id)})
