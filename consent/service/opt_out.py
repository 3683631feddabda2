"""The National Data Opt-out: lists of numbers prepared for the national service, its answers read back, answers about one person."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from consent.facts import OptOutAnswer, OptOutState
from consent.facts.opt_out import parse_opt_out_state
from consent.facts.opt_out_file import (
    list_name,
    parse_mailbox,
    read_answer,
    reconcile,
    write_list,
)
from consent.service import trail
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.store import opt_out as store
from consent.store.opt_out import OptOutList
from foundation.errors import Conflict, Invalid, NotFound
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.service.borne import hold_numbers, number_key, numbers_of
from mpi.service.census import count_index
from mpi.service.persons import resolve_person

MOST_NUMBERS = 50_000
"""Numbers of one list, if nobody says otherwise: an answer is read by one transaction."""

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class PreparedList:
    """A list that waits to be sent: its name, which the file bears too, and what the file holds."""

    name: str
    numbers: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Preparation:
    """What preparing came to. ``reserved``: records whose number is of a test range or given to nobody, which the service would refuse."""

    lists: tuple[PreparedList, ...]
    records: int
    fresh: int
    reserved: int


def prepare_lists(
    consent: Consent,
    mailbox: str,
    by: Principal,
    *,
    older_than: timedelta = timedelta(0),
    most: int = MOST_NUMBERS,
    takes_reserved: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Preparation:
    """Put the NHS numbers of all records into lists for the national service, each number once and each checked again.

    Args:
        mailbox: the id of one's own mailbox; it begins the lists' names.
        older_than: leave out a number of which every record has an answer no older than this.
        most: numbers of one list.
        takes_reserved: whether numbers of test ranges go too, as on a test system.
        progress: told now and then how many more records were looked at.

    Raises:
        Conflict: ``opt-out-list-waiting`` while an earlier list waits for its answer.
        Invalid: ``mailbox-format``, ``too-many-lists``.
    """
    parse_mailbox(mailbox)
    now = consent.clock.now()
    first = new_id()

    def begin(tx: Connection) -> None:
        waiting = store.waiting_lists(tx)
        if waiting:
            raise Conflict(
                "opt-out-list-waiting",
                ids={"list": waiting[0].name},
                detail="Read its answer, or abandon it, before the next ones are prepared.",
            )
        name = list_name(
            mailbox, now.date(), store.count_named(tx, list_name(mailbox, now.date(), 1)[:-4]) + 1
        )
        store.insert_list(tx, OptOutList(first, name, "waiting", 0, 0, None, None, now, by.id, None, None))

    try:
        taken_again(consent, begin)
    except IntegrityError as error:
        raise Conflict("opt-out-list-waiting") from error  # another began at this moment, under the same name
    try:
        counts = _gather(consent, first, now - older_than, takes_reserved=takes_reserved, progress=progress)
        lists = taken_again(consent, lambda tx: _divide(tx, consent, mailbox, first, now, most, by, counts))
    except BaseException:
        _drop(consent, first, by)
        raise
    return Preparation(lists, *counts)


def _gather(
    consent: Consent,
    list_id: int,
    since: datetime,
    *,
    takes_reserved: bool,
    progress: Callable[[int], None],
) -> tuple[int, int, int]:
    """Ask about the number of every record: how many records were looked at, had a fresh answer, or bear a reserved number."""
    after = records = fresh = reserved = 0
    while True:

        def take(tx: Connection, after: int = after) -> tuple[int, int, int, int, int]:
            # The records are held: one that is erased meanwhile finds what is asked about it, and takes it away.
            last, looked_at, borne = hold_numbers(tx, after, _AT_ONCE)
            usable = [one for one in borne if takes_reserved or not one.is_reserved]
            known = store.answered_since(tx, [one.record_id for one in usable], since)
            asked = [one for one in usable if (one.record_id, one.key) not in known]
            store.insert_asked(tx, list_id, [(one.record_id, one.number) for one in asked])
            return last, looked_at, len(borne), len(usable) - len(asked), len(borne) - len(usable)

        after, looked_at, *found = taken_again(consent, take)
        if not after:
            return records, fresh, reserved
        records, fresh, reserved = (a + b for a, b in zip((records, fresh, reserved), found, strict=True))
        progress(looked_at)


def _divide(
    tx: Connection,
    consent: Consent,
    mailbox: str,
    list_id: int,
    now: datetime,
    most: int,
    by: Principal,
    counts: tuple[int, int, int],
) -> tuple[PreparedList, ...]:
    """Divide what is asked into lists of no more than ``most`` numbers, and write them."""
    lists: list[PreparedList] = []
    if list_id not in {one.list_id for one in store.waiting_lists(tx)}:
        raise Conflict("opt-out-list-closed", detail="It was abandoned while it was prepared.")
    beginning = list_name(mailbox, now.date(), 1)[:-4]
    left = store.count_asked(tx, list_id)
    if not left:
        store.close_list(tx, list_id, "abandoned", now, by.id)
    parts = [list_id] if left else []
    while left > most * len(parts):
        parts.append(new_id())
        name = list_name(mailbox, now.date(), store.count_named(tx, beginning) + 1)
        store.insert_list(
            tx, OptOutList(parts[-1], name, "waiting", 0, 0, None, None, now, by.id, None, None)
        )
        store.hand_on_asked(tx, list_id, parts[-1], keep=most)
    for part in parts:
        text = write_list(store.asked_numbers(tx, part))
        count = text.count("\n")
        lists.append(PreparedList(store.set_numbers(tx, part, count), count, text))
    trail.append(
        tx,
        "opt-out-lists-prepared",
        by,
        consent.clock.now(),
        detail={
            "lists": [one.name for one in lists],
            "numbers": sum(one.numbers for one in lists),
            **dict(zip(("records", "fresh", "reserved"), counts, strict=True)),
        },
    )
    return tuple(lists)


def _drop(consent: Consent, list_id: int, by: Principal) -> None:
    with consent.db.write() as tx:
        store.take_asked(tx, list_id)
        store.close_list(tx, list_id, "abandoned", consent.clock.now(), by.id)


def count_records(consent: Consent) -> int:
    """Return about how many records ``prepare_lists`` looks at: those that were erased or withdrawn are not counted."""
    return count_index(consent.mpi)["records"]


def count_waiting(consent: Consent) -> int:
    """Return of how many records the lists that wait for their answer ask: as many answers ``receive_answer`` writes, of all of them."""
    with consent.db.read() as tx:
        return store.count_waiting(tx)


def receive_answer(
    consent: Consent,
    name: str,
    text: str,
    by: Principal,
    *,
    may_be_empty: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> OptOutList:
    """Read the answer to a list, in one transaction: numbers that came back are clear, those that did not are opted out.

    The answers are as old as the list: what was chosen since it was prepared may not be in them. Once read, the list is closed, and
    the numbers that it asked about are no longer kept with it.

    Args:
        may_be_empty: believe an answer without any number, which says that everyone opted out. It may also be a file that was lost.
        progress: told now and then of how many more records the answer was written; they are kept once all are.

    Raises:
        NotFound: ``opt-out-list-unknown``. Conflict: ``opt-out-list-closed``, ``opt-out-list-unfinished``.
        Invalid: as ``read_answer`` and ``reconcile``, or ``answer-empty``. Nothing was changed, but that after ``list-refused`` the list
            is closed, for the service checked none of its numbers.
    """
    try:
        returned = read_answer(text)
    except Invalid as fault:
        if fault.code == "list-refused":
            _close(consent, name, "refused", by)
        raise
    if not returned and not may_be_empty:
        raise Invalid(
            "answer-empty", detail="It says that everyone opted out, or it was lost on the way. Say which."
        )

    def take(tx: Connection) -> OptOutList:
        waiting = _waiting(tx, name)
        if not waiting.numbers:
            raise Conflict("opt-out-list-unfinished", ids={"list": name})
        asked = store.take_asked(tx, waiting.list_id)
        taken_back = (store.read_list(tx, name) or waiting).taken_back  # as it is now that erasures wait
        found = reconcile({number for _, number in asked}, returned, taken_back=taken_back)
        store.put_answers(
            tx,
            (
                OptOutAnswer(
                    record_id,
                    OptOutState.CLEAR if number in found.clear else OptOutState.OPTED_OUT,
                    waiting.prepared_at,
                    number_key(number),
                )
                for record_id, number in asked
            ),
            progress,
        )
        now = consent.clock.now()
        clear, opted_out = len(found.clear), len(found.opted_out)
        if not store.close_list(
            tx, waiting.list_id, "answered", now, by.id, clear=clear, opted_out=opted_out
        ):
            raise Conflict("opt-out-list-closed", ids={"list": name})
        trail.append(
            tx,
            "opt-out-answered",
            by,
            now,
            detail={
                "list": name,
                "prepared_at": waiting.prepared_at.isoformat(),
                "clear": clear,
                "opted_out": opted_out,
                "records": len(asked),
            },
        )
        return _known(tx, name)

    return taken_again(consent, take)


def abandon_list(consent: Consent, name: str, by: Principal) -> OptOutList:
    """Give up a list that will have no answer; what it asked about is asked again with the next.

    Raises:
        NotFound: ``opt-out-list-unknown``. Conflict: ``opt-out-list-closed``.
    """
    return _close(consent, name, "abandoned", by)


def list_lists(consent: Consent, *, after: int = 0, limit: int = 100) -> list[OptOutList]:
    """Return lists in order of preparation; they tell counts and nobody's choice."""
    with consent.db.read() as tx:
        return store.read_lists(tx, after=after, limit=limit)


def waiting_names(consent: Consent) -> list[str]:
    with consent.db.read() as tx:
        return [one.name for one in store.waiting_lists(tx)]


def record_opt_out_evidence(
    consent: Consent, person_id: int, state: str, checked_at: datetime, by: Principal
) -> None:
    """Keep an answer of the national service about one person, looked up elsewhere, for each NHS number that their records bear.

    Where no record bears one it is about the person as such.

    Raises:
        Invalid: ``opt-out-state-unknown``, ``checked-at-future``. NotFound: ``person-unknown``.
    """
    told = parse_opt_out_state(state)
    if checked_at > consent.clock.now():
        raise Invalid("checked-at-future", field="checked_at")

    def take(tx: Connection) -> None:
        resolution = resolve_person(tx, person_id)
        if resolution.person_id is None:
            raise NotFound("person-unknown")
        borne = numbers_of(tx, resolution.record_ids)
        answers: Iterable[OptOutAnswer] = [
            OptOutAnswer(one.record_id, told, checked_at, one.key) for one in borne
        ]
        store.put_answers(tx, answers or [OptOutAnswer(person_id, told, checked_at, None)])
        trail.append(
            tx,
            "opt-out-evidence",
            by,
            consent.clock.now(),
            person_id=resolution.person_id,
            detail={"checked_at": checked_at.isoformat()},
        )

    taken_again(consent, take)


def _close(consent: Consent, name: str, state: str, by: Principal) -> OptOutList:
    def take(tx: Connection) -> OptOutList:
        waiting = _waiting(tx, name)
        store.take_asked(tx, waiting.list_id)
        if not store.close_list(tx, waiting.list_id, state, consent.clock.now(), by.id):
            raise Conflict("opt-out-list-closed", ids={"list": name})
        trail.append(tx, f"opt-out-list-{state}", by, consent.clock.now(), detail={"list": name})
        return _known(tx, name)

    return taken_again(consent, take)


def _waiting(tx: Connection, name: str) -> OptOutList:
    found = _known(tx, name)
    if found.state != "waiting":
        raise Conflict("opt-out-list-closed", ids={"list": name})
    return found


def _known(tx: Connection, name: str) -> OptOutList:
    found = store.read_list(tx, name)
    if found is None:
        raise NotFound("opt-out-list-unknown")
    return found
