"""The one order of every act: lock the person as a statement of its own, resolve again, read, decide, audit, commit, answer."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from consent.service.casefile import FactsUnreadable
from consent.service.context import Consent
from foundation.database import is_retryable
from foundation.errors import Unavailable
from mpi.service.persons import bound_with, lock_persons, resolve_person
from mpi.service.whole import WholePerson, read_whole_person

T = TypeVar("T")
_ATTEMPTS = 8


class Moved(Exception):
    """The person is not where it was when its lock was taken: start over."""


def decide_under_lock(
    consent: Consent, person_id: int, act: Callable[[Connection, WholePerson], T], *, shared: bool = True
) -> T:
    """Run ``act`` in one transaction that holds the person shared: directives and membership stand still, other readers do not wait.

    Facts must be read by later statements than the lock: in the same statement they would be those of before an objection
    that was waited for. The person that is asked about is held first by the id that was given; where that turns out to be another's,
    the transaction is taken again and holds that one. Where facts cannot be read it is taken again too, for a denial.

    Args:
        shared: False to hold the person alone, for an act that must not be done twice at the same moment.

    Raises:
        Unavailable: ``person-moving`` when the person moves again and again, ``database-busy``.
    """

    expected, is_readable = person_id, True

    def take(tx: Connection) -> T:
        nonlocal expected
        lock_persons(tx, [expected], shared=shared, plan_once=True)
        whole = _read(tx, person_id, is_readable=is_readable)
        if whole.resolution.person_id not in (None, expected):
            # Not who is held. Locks are taken in order of id, so this one cannot be taken beside the other.
            expected = whole.resolution.person_id
            raise Moved
        return act(tx, whole)

    try:
        return taken_again(consent, take)
    except FactsUnreadable:
        is_readable = False
        return taken_again(consent, take)


def _read(tx: Connection, person_id: int, *, is_readable: bool) -> WholePerson:
    if not is_readable:
        return WholePerson(resolve_person(tx, person_id), is_readable=False)
    try:
        return read_whole_person(tx, person_id)
    except DBAPIError as error:
        if is_retryable(error):
            raise
        raise FactsUnreadable from error


def write_under_locks(
    consent: Consent,
    person_ids: Callable[[Connection], frozenset[int]],
    act: Callable[[Connection, frozenset[int]], T],
) -> T:
    """Run ``act`` in one transaction that holds alone every person whom a directive binds.

    ``person_ids`` says who those are; it is asked before and after the locks, and only if nobody new has come is ``act`` run.

    Raises:
        Unavailable: ``person-moving``, ``database-busy``.
    """

    def take(tx: Connection) -> T:
        locked = person_ids(tx)
        lock_persons(tx, sorted(locked), shared=False)
        bound = person_ids(tx)
        if not bound <= locked:
            raise Moved
        return act(tx, bound)

    return taken_again(consent, take)


def bound_by(tx: Connection, person_ids: frozenset[int]) -> frozenset[int]:
    """These persons and everyone whom an open task binds to them: one hop.

    Those beyond the limit too: seen from their side this person may be within it, so their decisions may read what is written here.
    """
    hops = [bound_with(tx, number) for number in sorted(person_ids)]
    return person_ids.union(*(hop.person_ids + hop.beyond for hop in hops))


def taken_again(consent: Consent, take: Callable[[Connection], T]) -> T:
    """Take a transaction, and again from the start when a person moved or the database broke a deadlock."""
    for attempt in range(_ATTEMPTS):
        try:
            with consent.db.write() as tx:
                return take(tx)
        except Moved:
            continue
        except DBAPIError as error:
            if not is_retryable(error) or attempt == _ATTEMPTS - 1:
                raise
    raise Unavailable("person-moving")
