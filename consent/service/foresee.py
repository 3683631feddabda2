"""Before a directive is saved: what it would change for people who might ask, by the rules and agreements of today.

The askers are examples: someone of each setting who cares for the person. Of the person nothing but the directives is read, so that no
answer tells who knows them, or anything else of them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from consent.facts import Actor, CaseFile, Directive, Subject
from consent.facts.opt_out import OptOutEvidence, OptOutState
from consent.facts.relationships import Relationship
from consent.rules.foresee import Sight, foresee
from consent.service.asking import ORDINARY_CATEGORIES, Ask, request_of
from consent.service.context import Consent
from consent.service.directives import (
    Held,
    NewDirective,
    as_if_recorded,
    check_directive,
    check_replacement,
    find_directive,
    foreseen_state,
    note_reading,
    read_held,
)
from consent.service.order import taken_again
from consent.store.agreements import EVERYONE, read_consumers
from consent.store.facts import read_facts
from foundation.directory import Organisation, find_organisation, one_of_each_setting
from foundation.errors import NotFound
from foundation.principal import Principal
from mpi.service.persons import resolve_person

_CARERS = {
    "acute": ("R8000", "attendance"),
    "mental-health": ("R8001", "team"),
    "ambulance": ("R1070", "incident"),
    "community": ("R8001", "referral"),
    "practice": ("R0260", "registration"),
    "care-home": ("L0010", "residency"),
    "borough": ("R8014", "team"),
    "neighbour": ("R8000", "referral"),
    "other": ("R8003", "referral"),
}
"""Who is taken as an example of a setting: a role, and the relationship in which they would ask."""

_ANALYST = "R8012"
_BEYOND_CARE = "HRESCH"
_NOBODY = 0


@dataclass(frozen=True, slots=True)
class Example:
    """Someone who might ask: a user in this role at this organisation, for this purpose."""

    organisation: str
    name: str
    setting: str
    role: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Foreseen:
    example: Example
    sight: Sight


@dataclass(frozen=True, slots=True)
class Foresight:
    """What an act would come to.

    ``state`` is that of the receipt. ``at``: the instant that was looked at, later than now for a directive that takes effect later.
    ``epoch`` is that of the person: an answer about another epoch is about other facts.
    """

    state: str
    person_id: int | None
    epoch: int
    at: datetime
    sources: tuple[Organisation, ...]
    examples: tuple[Foreseen, ...]

    @property
    def is_changing(self) -> bool:
        return any(one.sight.is_changed for one in self.examples)


def foresee_directive(
    consent: Consent, new: NewDirective, by: Principal, *, instead_of: int | None = None
) -> Foresight:
    """Say what a directive would change if it were recorded now; nothing is recorded but that the person's directives were read.

    Args:
        instead_of: a directive that would be withdrawn by the same act.

    Raises:
        As ``record_directive``; in another one's place, as ``replace_directive``.
    """
    check_directive(consent, new, by)
    if instead_of is not None:
        check_replacement(consent, new)

    def take(tx: Connection) -> Foresight:
        held: list[Held] = []
        state, home_id, epoch = "kept" if new.standing == "refused" else "waiting", None, 0
        if new.person_id is not None:
            home = resolve_person(tx, new.person_id)
            if home.state not in ("current", "unlinked"):
                raise NotFound("person-unknown")
            held, epoch = read_held(tx, home, new.person_id, by), home.epoch
            note_reading(tx, consent, home.person_id, len(held), by)
            state, home_id = foreseen_state(tx, consent, new, by)
        made = as_if_recorded(consent, new, home_id or new.person_id or _NOBODY, by, held).as_fact()
        present = _facts_of(held)
        after = (*(one for one in present if one.directive_id != instead_of), made)
        at = max(consent.clock.now(), made.recorded_at, made.effective_at)
        named = [made.scope.code] if made.scope.kind == "organisation" else []
        purposes = [made.scope.code] if made.scope.kind == "purpose" else []
        return _look(
            tx, consent, present, after, at, (new.received_by, *named), purposes, state, home_id, epoch
        )

    return taken_again(consent, take)


def foresee_change(consent: Consent, directive_id: int, kind: str, by: Principal) -> Foresight:
    """Say what it would change if a directive were withdrawn, struck out, or a pending one decided.

    Args:
        kind: ``withdrawn``, ``upheld``, ``refused`` or ``entered-in-error``.

    Raises:
        NotFound: ``directive-unknown``.
    """

    def take(tx: Connection) -> Foresight:
        found = find_directive(tx, directive_id, by)
        row = found.row
        home = resolve_person(tx, row.identity_id)
        held = read_held(tx, home, row.identity_id, by)
        note_reading(tx, consent, home.person_id, len(held), by)
        present = _facts_of(held)
        now = consent.clock.now()
        after = tuple(
            _changed(one, kind, now) if one.directive_id == directive_id else one for one in present
        )
        at = max([now, row.effective_at, *(one.recorded_at for one in present)])
        named = [row.scope_code] if row.scope_kind == "organisation" else []
        purposes = [row.scope_code] if row.scope_kind == "purpose" else []
        state = "binding" if kind == "upheld" else kind
        return _look(
            tx,
            consent,
            present,
            after,
            at,
            (row.received_by, *named),
            purposes,
            state,
            home.person_id,
            home.epoch,
        )

    return taken_again(consent, take)


def _facts_of(held: Iterable[Held]) -> tuple[Directive, ...]:
    return tuple(one.directive.as_fact(via_task=one.via_task) for one in held)


def _changed(one: Directive, kind: str, at: datetime) -> Directive:
    return replace(one, withdrawn_at=at) if kind == "withdrawn" else replace(one, standing=kind)


def _look(
    tx: Connection,
    consent: Consent,
    present: Collection[Directive],
    after: Collection[Directive],
    at: datetime,
    named: Iterable[str],
    purposes: Iterable[str],
    state: str,
    person_id: int | None,
    epoch: int,
) -> Foresight:
    organisations = _examples(tx, named, at)
    askers = [_carer(one) for one in organisations if one.setting in _CARERS]
    first = organisations[0]
    asked = dict.fromkeys((*purposes, _BEYOND_CARE))
    askers += [
        Example(
            first.ods_code,
            first.name,
            first.setting,
            _ANALYST if purpose == _BEYOND_CARE else "R8000",
            purpose,
        )
        for purpose in asked
        if purpose != "TREAT"
    ]
    told = tuple(
        Foreseen(one, _sight(tx, consent, one, [o.ods_code for o in organisations], present, after, at))
        for one in askers
    )
    return Foresight(state, person_id, epoch, at, tuple(organisations), told)


def _examples(tx: Connection, named: Iterable[str], at: datetime) -> list[Organisation]:
    """Return the organisations that are named, and of each other setting one that is a party to agreements, where there is such."""
    found = [one for code in dict.fromkeys(named) if (one := find_organisation(tx, code)) is not None]
    parties = read_consumers(tx, at)
    for among in (parties - {EVERYONE}, None):
        settings = {one.setting for one in found}
        others = one_of_each_setting(tx, at.date(), among)
        found += [one for one in others if one.setting not in settings]
    return found


def _carer(one: Organisation) -> Example:
    return Example(one.ods_code, one.name, one.setting, _CARERS[one.setting][0], "TREAT")


def _sight(
    tx: Connection,
    consent: Consent,
    example: Example,
    codes_of_all: Collection[str],
    present: Collection[Directive],
    after: Collection[Directive],
    at: datetime,
) -> Sight:
    sources = [code for code in codes_of_all if code != example.organisation]
    ask = Ask(_NOBODY, example.purpose, labels=("N",), categories=tuple(sorted(ORDINARY_CATEGORIES)))
    facts = read_facts(
        tx,
        consent.known_agreements,
        person_id=_NOBODY,
        record_ids=(_NOBODY,),
        far_ids=(),
        sources=sources,
        organisation=example.organisation,
        user_id="example",
    )
    case = CaseFile(
        at=at,
        subject=Subject(_NOBODY, "current", age_years=_AGE),
        actor=Actor("example", example.organisation, example.role, assurance=2),
        request=request_of(ask, sources, are_named=False),
        directives=tuple(present),
        agreements=tuple(one for one in facts.agreements if one.is_in_force(at)),
        relationships=(
            Relationship(_NOBODY, _CARERS[example.setting][1], example.organisation, started_at=at),
        ),
        sources=facts.organisations.settings,
        lineages=facts.organisations.lineages,
        opt_out=OptOutEvidence(OptOutState.CLEAR, at),
    )
    return foresee(case, after, consent.policies.of_revision(tx, facts.policy_revision))


_AGE = 40
"""A grown-up, of whom no rule about age says anything."""
