"""Step 2: the keys under which a record is found. Two records are compared when they share one."""

from typing import NamedTuple

from mpi.matching.definition import LOCATION_RULES
from mpi.matching.model import Model, fingerprint
from mpi.matching.normalise import NormalisedRecord


class BlockKey(NamedTuple):
    """A signed 64-bit key, and the rule that made it."""

    rule: str
    key: int


def block(record: NormalisedRecord, model: Model) -> tuple[BlockKey, ...]:
    """Return the keys to store for a record; nothing comes from missing, placeholder or shared values.

    Location keys of a restricted person lie in a space of their own, which only ``search_keys(receiving=True)`` reads.
    """
    return _keys(record, model, ("restricted" if record.is_restricted else "",))


def search_keys(record: NormalisedRecord, model: Model, *, receiving: bool) -> tuple[BlockKey, ...]:
    """Return the keys to look up: those of ``block``, and when receiving a record also the restricted space."""
    return _keys(record, model, ("", "restricted") if receiving else ("",))


def _keys(record: NormalisedRecord, model: Model, spaces: tuple[str, ...]) -> tuple[BlockKey, ...]:
    keys: dict[int, BlockKey] = {}
    for rule, value in model.blocker(record):
        for space in spaces if rule in LOCATION_RULES else ("",):
            key = fingerprint(f"{space}{rule}\x1f{value}")
            if key not in model.overfull:
                keys.setdefault(key, BlockKey(rule, key))
    return tuple(keys.values())
