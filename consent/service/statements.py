"""Statements: directives as they were given at one time, told, recorded and changed as one; each directive stays one of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from consent.service.context import Consent
from consent.service.directives import (
    Held,
    NewDirective,
    change_directives,
    held_by,
    may_know,
    note_reading,
    record_statement,
)
from consent.service.order import taken_again
from consent.store.directives import StandingDirective, read_statement
from foundation.errors import Conflict, NotFound
from foundation.ids import format_id
from foundation.principal import Principal
from mpi.service.persons import resolve_person, resolve_records

STATES = ("active", "inactive", "rejected", "entered-in-error")
"""How the directives of a statement stand: they bind, or may; were withdrawn; were refused; should never have been recorded."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Directives that were given at one time and stand alike, in the order in which they were said.

    ``via_task``: they bear on this person only while an open task joins them to the one who gave them.
    """

    statement_id: int
    person_id: int
    state: str
    directives: tuple[StandingDirective, ...]
    via_task: bool = False

    @property
    def given_at(self) -> datetime:
        """When it was given; of a directive for which nobody said so, when it was recorded."""
        first = self.directives[0]
        return first.said.given_at if first.said is not None else first.row.recorded_at

    @property
    def changed_at(self) -> datetime:
        return max(at for one in self.directives for at in (one.row.recorded_at, *(e.at for e in one.events)))

    @property
    def version(self) -> int:
        """The number of its version: it grows with whatever becomes of it."""
        return 1 + sum(len(one.events) for one in self.directives)


def list_statements(consent: Consent, person_id: int, by: Principal) -> tuple[Statement, ...]:
    """Return every directive that bears on a person, by the statements in which they were given; as ``list_directives``.

    Raises:
        NotFound: ``person-unknown``.
    """

    def take(tx: Connection) -> tuple[Statement, ...]:
        home, held = held_by(tx, consent, person_id, by)
        return _statements(held, home.person_id or person_id)

    return taken_again(consent, take)


def read_statement_of(consent: Consent, statement_id: int, by: Principal) -> Statement:
    """Return one statement, of the person who gave it; the reading is audited as one of that person's directives.

    Raises:
        NotFound: ``consent-unknown``, for what may not be known too, and for directives of nobody who is left.
    """

    def take(tx: Connection) -> Statement:
        found = _known(tx, statement_id, by)
        note_reading(tx, consent, found.person_id, len(found.directives), by)
        return found

    return taken_again(consent, take)


def give_statement(
    consent: Consent, said: Sequence[NewDirective], given_at: datetime, by: Principal
) -> Statement:
    """Record a statement of a known person; see ``record_statement``, whose errors it raises."""
    statement_id, receipts = record_statement(consent, said, given_at, by)
    with consent.db.read() as tx:  # what the caller has just said: no reading of anything new
        return _holding(tx, statement_id, receipts[0].directive_id, by)


def change_statement(
    consent: Consent, statement_id: int, kind: str, reason: str, by: Principal, *, version: int | None = None
) -> Statement:
    """Let all directives of a statement be withdrawn, upheld, refused, or marked as entered in error.

    Args:
        version: the one that the caller read; None where it did not say.

    Raises:
        NotFound: ``consent-unknown``. Conflict: ``version-stale``; and as ``withdraw_directive`` and ``decide_directive``.
    """

    def which(tx: Connection) -> tuple[StandingDirective, ...]:
        found = _known(tx, statement_id, by)
        if version not in (None, found.version):
            raise Conflict("version-stale", ids={"version": format_id(found.version)})
        return found.directives

    receipts = change_directives(consent, which, kind, reason, by)

    def take(tx: Connection) -> Statement:
        found = _holding(tx, statement_id, receipts[0].directive_id, by)
        note_reading(tx, consent, found.person_id, len(found.directives), by)
        return found

    return taken_again(consent, take)


def _known(tx: Connection, statement_id: int, by: Principal) -> Statement:
    for one in _all_of(tx, statement_id, by):
        if one.statement_id == statement_id:
            return one
    raise NotFound("consent-unknown")


def _holding(tx: Connection, statement_id: int, directive_id: int, by: Principal) -> Statement:
    """Return that part of a statement in which a directive stands now."""
    for one in _all_of(tx, statement_id, by):
        if directive_id in (directive.row.directive_id for directive in one.directives):
            return one
    raise NotFound("consent-unknown")


def _all_of(tx: Connection, statement_id: int, by: Principal) -> tuple[Statement, ...]:
    directives = read_statement(tx, statement_id)
    if directives and directives[0].said is not None:
        # The id of one that no longer stands as the others: what it is told by depends on them.
        directives = read_statement(tx, directives[0].said.statement_id)
    held = [Held(one, False) for one in directives if may_know(one.row, by)]
    person_id = _whose(tx, [one.directive for one in held])
    return () if person_id is None else _statements(held, person_id)


def _whose(tx: Connection, directives: Sequence[StandingDirective]) -> int | None:
    """Return the person who gave some directives: whom their identity stands for now, or else whoever holds an anchor."""
    if not directives:
        return None
    identity_id = directives[0].row.identity_id
    home = resolve_person(tx, identity_id)
    if home.state in ("current", "unlinked"):
        return home.person_id or identity_id
    holders = resolve_records(tx, frozenset[int]().union(*(one.anchors for one in directives))).values()
    return min((number for number in holders if number is not None), default=None)


def _statements(held: Iterable[Held], person_id: int) -> tuple[Statement, ...]:
    """Put directives together as they were given; those that do not stand as most do are told by themselves, by their own ids."""
    together: dict[int, list[Held]] = {}
    for one in held:
        said = one.directive.said
        number = one.directive.row.directive_id if said is None else said.statement_id
        together.setdefault(number, []).append(one)
    found = []
    for number, members in together.items():
        members.sort(key=lambda one: 0 if one.directive.said is None else one.directive.said.place)
        kept = min(_rank(one) for one in members)
        found.append(_statement(number, [one for one in members if _rank(one) == kept], person_id))
        found += [
            _statement(one.directive.row.directive_id, [one], person_id)
            for one in members
            if _rank(one) != kept
        ]
    return tuple(sorted(found, key=lambda one: one.statement_id))  # ids are in order of time


def _statement(statement_id: int, members: Sequence[Held], person_id: int) -> Statement:
    state, _, via_task = _rank(members[0])
    directives = tuple(one.directive for one in members)
    return Statement(statement_id, person_id, STATES[state], directives, via_task)


def _rank(one: Held) -> tuple[int, str, bool]:
    directive = one.directive
    if directive.standing == "entered-in-error":
        state = "entered-in-error"
    elif directive.withdrawn_at is not None:
        state = "inactive"
    else:
        state = "rejected" if directive.standing == "refused" else "active"
    return STATES.index(state), directive.standing, one.via_task
