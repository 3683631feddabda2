"""Which of a person's directives bind in a situation, and why the others do not; nothing is shown or decided by it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from consent.facts import Actor, codes
from consent.rules.binding import Bearing, bearings
from consent.service import trail
from consent.service.asking import Ask, request_of
from consent.service.casefile import read_case
from consent.service.context import Consent
from consent.service.directives import Held, read_held
from consent.service.order import decide_under_lock
from foundation.directory import find_organisation
from foundation.errors import Invalid, Unavailable
from foundation.principal import Principal
from mpi.service.whole import WholePerson

MOST_ASKED_ABOUT = 100
"""People, and directives, that one question may name."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Who would ask, and for what. Empty categories mean all that can be shared.

    ``sources``: of whose items; empty for whoever may have some, told of nobody: so no answer says which organisations know a person.
    """

    purpose: str
    organisation: str
    role: str | None = None
    categories: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PersonBearings:
    """What directives come to for one person, as it was asked about."""

    person_id: int
    directives: tuple[Bearing, ...]


def tell_binding(
    consent: Consent,
    situation: Situation,
    person_ids: Sequence[int],
    by: Principal,
    *,
    directive_ids: Sequence[int] = (),
) -> list[PersonBearings]:
    """Say of each person which directives bind in a situation; each reading is a transaction, and audited, by itself.

    Somebody who is not there, or not linked yet, is answered as one of whom nothing is on record; so is a directive that the caller may
    not know of.

    Args:
        directive_ids: which are asked about; none for all on record.

    Raises:
        Invalid: ``people-repeated``, ``people-too-many``, ``directives-too-many``, ``purpose-unknown``, ``category-unknown``,
            ``organisation-unknown``, ``too-many-cells``.
        Unavailable: ``facts-unreadable``: then nothing is said, for silence would read as nothing binding; ``audit-unavailable``,
            ``person-moving``, ``database-busy``.
    """
    _check(consent, situation, person_ids, directive_ids)

    def tell(person_id: int) -> PersonBearings:
        def act(tx: Connection, whole: WholePerson) -> PersonBearings:
            told = _tell(tx, consent, situation, whole, person_id, by)
            if directive_ids:
                known = {one.directive_id: one for one in told}
                told = [known.get(one, Bearing(one, "not-on-this-person")) for one in directive_ids]
            trail.append(
                tx,
                "directives-read",
                by,
                consent.clock.now(),
                person_id=whole.resolution.person_id,
                purpose=situation.purpose,
                detail={
                    "directives": len(told),
                    "binding": sum(one.binds for one in told),
                    "organisation": situation.organisation,
                    "role": situation.role,
                },
            )
            return PersonBearings(person_id, tuple(told))

        return decide_under_lock(consent, person_id, act)

    return [tell(person_id) for person_id in person_ids]


def _tell(
    tx: Connection,
    consent: Consent,
    situation: Situation,
    whole: WholePerson,
    person_id: int,
    by: Principal,
) -> list[Bearing]:
    if whole.is_readable and not whole.resolution.is_current:
        return []
    held = read_held(tx, whole.resolution, person_id, by)
    ask = Ask(person_id, situation.purpose, situation.categories)
    sources = situation.sources or (situation.organisation, *_named(held))
    request = request_of(ask, sources, are_named=bool(situation.sources))
    actor = Actor(by.id, situation.organisation, situation.role)
    reading = read_case(tx, consent, whole, actor, request, person_id)
    if reading.case.unreadable:
        raise Unavailable("facts-unreadable")
    known = {one.directive.row.directive_id for one in held}
    return [one for one in bearings(reading.case, reading.policy) if one.directive_id in known]


def _named(held: Sequence[Held]) -> set[str]:
    """Return the organisations of whose items directives speak."""
    rows = [one.directive.row for one in held]
    named = {row.scope_code for row in rows if row.scope_kind == "organisation"}
    return named | {row.received_by for row in rows if row.kind == "type-1"}


def _check(
    consent: Consent, situation: Situation, person_ids: Sequence[int], directive_ids: Sequence[int]
) -> None:
    if len(set(person_ids)) < len(person_ids):
        raise Invalid("people-repeated", field="people")
    if len(person_ids) > MOST_ASKED_ABOUT:
        raise Invalid("people-too-many", field="people")
    if len(directive_ids) > MOST_ASKED_ABOUT:
        raise Invalid("directives-too-many", field="directives")
    if situation.purpose not in codes.PURPOSES:
        raise Invalid("purpose-unknown", field="purpose")
    if not codes.CATEGORIES.issuperset(situation.categories):
        raise Invalid("category-unknown", field="categories")
    with consent.db.read() as tx:
        # A code that is mistyped would reach nothing, and the answer would read as nothing binding.
        for field, code in (
            ("organisation", situation.organisation),
            *(("sources", code) for code in situation.sources),
        ):
            if find_organisation(tx, code) is None:
                raise Invalid("organisation-unknown", field=field)
