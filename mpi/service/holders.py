"""Who else holds something of a record: asked in the transaction that erases or withdraws it; ``app.py`` injects them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from mpi.records.quoted import Quotes


@dataclass(frozen=True, slots=True)
class Erasure:
    """A record that is being erased. Its person, and whoever a binding task joined to it, is held by this transaction alone.

    Args:
        person_ids: every person that it was ever part of, and its own id.
        kin: the other records of the person whose it is; none where it was alone.
        quotes: finds in a text what it said.
    """

    record_id: int
    person_ids: frozenset[int]
    kin: tuple[int, ...]
    local_id: str = field(repr=False)
    quotes: Quotes = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True)
class LetGo:
    """What a holder took away or changed, counted by name, and the audit rows whose detail quotes the record."""

    counts: Mapping[str, int]
    audit_rows: Collection[int] = ()


Holder = Callable[[Connection, Erasure], LetGo]
"""Takes away what it holds of a record; what it raises stops the erasure."""


@dataclass(frozen=True, slots=True)
class Leave:
    """A record that is being withdrawn, and may come back. Its person, and that of ``into``, are held by this transaction alone.

    Args:
        kin: the other records of the person whose it was; none where it was alone.
        into: the record of the same system that stands for it from now on.
    """

    record_id: int
    kin: tuple[int, ...]
    into: int | None
    at: datetime


Handed = Mapping[str, list[str]]
"""What was handed on with a record, as ids by name."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Whoever keeps something of a record that is withdrawn: asked when it leaves, and told what it answered when it comes back."""

    name: str
    leave: Callable[[Connection, Leave], Handed]
    come_back: Callable[[Connection, int, Handed], None]
