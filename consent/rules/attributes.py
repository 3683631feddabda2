"""Attributes: what a case file and its cells look like to the rows: sets of codes, held as the bits of conditions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from consent.facts import codes
from consent.facts.agreements import Agreement
from consent.facts.case import CaseFile, EmergencyGrant
from consent.facts.directives import Directive
from consent.facts.opt_out import OptOutState
from consent.facts.relationships import Relationship
from consent.rules.fold import reach, reach_of_sources, standing_objections
from consent.rules.policy import Policy

RENEWAL_WINDOW = timedelta(hours=24)
"""A second opening within a day of the first is a renewal of it, whether or not the first has run out."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case file read once, so that each of its cells costs little. ``holding`` are the conditions that hold for the whole case."""

    case: CaseFile
    policy: Policy
    holding: int
    purposes: frozenset[str]
    directives: tuple[Directive, ...]  # in force
    agreements: tuple[Agreement, ...]  # in force, for this organisation, role class and purpose
    relationships: tuple[Relationship, ...]  # current, of this organisation and user


def prepare(case: CaseFile, policy: Policy) -> Prepared:
    """Read the attributes of the whole case."""
    request, subject, actor = case.request, case.subject, case.actor
    consumer = case.lineage(actor.organisation)
    role_class = policy.role_class(actor.role)
    relationships = tuple(r for r in case.relationships if _is_evidence(r, case, consumer))
    bits = policy.bits
    holding = policy.holding("activity", actor.activities)
    holding |= policy.holding("relationship", _relationship_kinds(case, consumer, relationships))
    for attribute, code in (
        ("subject", subject.state),
        ("facts", _facts_state(case)),
        ("request_codes", _codes_state(case)),
        ("assurance", _assurance(actor.assurance)),
        ("identified_by", request.identified_by),
        ("role_class", role_class),
        ("purpose", request.purpose),
        ("purpose_group", policy.purpose_groups.get(request.purpose, "unknown")),
        ("action", request.action),
        ("restricted", "yes" if subject.is_restricted else "no"),
        ("deceased", "yes" if subject.is_deceased else "no"),
        ("age_band", _age_band(subject.age_years, policy)),
        ("self_claim", _self_claim(case)),
        ("opt_out", _opt_out(case, policy)),
        ("emergency", _emergency(case, policy)),
    ):
        holding |= bits[attribute].get(code, 0)
    return Prepared(
        case=case,
        policy=policy,
        holding=holding,
        purposes=policy.answers_to(request.purpose),
        directives=tuple(d for d in case.directives if d.is_in_force(case.at)),
        agreements=tuple(
            a
            for a in case.agreements
            if request.purpose in a.purposes
            and role_class in a.role_classes
            and a.is_in_force(case.at)
            and ("*" in a.consumers or not consumer.isdisjoint(a.consumers))
        ),
        relationships=relationships,
    )


class StripFacts(NamedTuple):
    """What is known of a category of a source, whatever the label: the conditions that hold, as bits, those of the case among them.

    ``is_known``: category and kind of source are on the closed lists. ``is_free``: no control of the source applies.
    """

    holding: int
    is_known: bool
    is_free: bool
    excluded_labels: frozenset[str]


class StripReader:
    """Reads the cells of one case, a category of a source at a time; what these share is read once."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        case, policy = prepared.case, prepared.policy
        self._bits = policy.bits
        consumer = case.lineage(case.actor.organisation)
        self._reach = reach((d.scope for d in prepared.directives), consumer, prepared.purposes)
        self._bars = _places(d.kind == "statutory-bar" and not d.via_task for d in prepared.directives)
        self._states: dict[int, int] = {}
        self._controls = tuple(
            (word, reach_of_sources(said))
            for kind, word in (("dissent", "dissent"), ("seal", "sealed"))
            if (said := [d.scope for d in prepared.directives if d.kind == kind and not d.via_task])
        )
        has_type_1 = any(d.kind == "type-1" for d in prepared.directives)
        self._type_1 = "opted-out" if has_type_1 else "clear"
        self._sources: dict[str, _Source] = {}

    def read(self, category: str, source: str) -> StripFacts:
        known = self._sources.get(source)
        if known is None:
            known = self._sources[source] = self._read_source(source)
        bits = self._bits
        reached = self._reach.of(category, known.lineage)
        state = self._states.get(reached)
        if state is None:
            state = self._states[reached] = self._read_directives(reached)
        held = known.holding | state | bits["category"].get(category, 0)
        agreed = [a.legal_basis for a in known.agreements if category in a.categories]
        held |= bits["agreement"].get("in-force" if agreed else "none", 0)
        legal_bases = bits["legal_basis"]
        for basis in agreed or ("none",):
            held |= legal_bases.get(basis, 0)
        is_free = True
        for word, said in self._controls:
            if said.of(category, known.lineage):
                held |= bits["source_control"].get(word, 0)
                is_free = False
        if category in known.excluded_categories:
            held |= bits["source_control"].get("excluded", 0)
            is_free = False
        is_known = known.is_known and category in codes.CATEGORIES
        return StripFacts(held, is_known, is_free, known.excluded_labels)

    def _read_directives(self, reached: int) -> int:
        """What directives settle where these of them reach."""
        bits, directives = self._bits, self._prepared.directives
        held = bits["bar"].get("yes" if reached & self._bars else "no", 0)
        return held | bits["directive"].get(_directive_state(directives, reached), 0)

    def _read_source(self, source: str) -> "_Source":
        prepared, case, bits = self._prepared, self._prepared.case, self._bits
        setting = case.sources.get(source)
        kind = setting.kind if setting else "unknown"
        lineage = case.lineage(source)
        held = prepared.holding
        for attribute, code in (
            ("source", source),
            ("source_kind", kind),
            ("type_1", self._type_1 if kind in ("practice", "unknown") else "not-applicable"),
            ("identity", "warned" if source in case.subject.warned_sources else "sure"),
        ):
            held |= bits[attribute].get(code, 0)
        return _Source(
            lineage=lineage,
            holding=held,
            agreements=_agreements_of(lineage, prepared),
            is_known=kind in codes.SOURCE_KINDS,
            excluded_categories=setting.excluded_categories if setting else frozenset(),
            excluded_labels=setting.excluded_labels if setting else frozenset(),
        )


@dataclass(frozen=True, slots=True)
class _Source:
    """What a source settles of all its cells. ``agreements`` are those in force for this request that name it."""

    lineage: frozenset[str]
    holding: int
    agreements: tuple[Agreement, ...]
    is_known: bool
    excluded_categories: frozenset[str]
    excluded_labels: frozenset[str]


def agreements_for(category: str, source: str, prepared: Prepared) -> tuple[Agreement, ...]:
    """The agreements in force for this request that name a source and a category."""
    named = _agreements_of(prepared.case.lineage(source), prepared)
    return tuple(a for a in named if category in a.categories)


def _agreements_of(providers: frozenset[str], prepared: Prepared) -> tuple[Agreement, ...]:
    return tuple(
        a for a in prepared.agreements if "*" in a.providers or not providers.isdisjoint(a.providers)
    )


def _places(told: Iterable[bool]) -> int:
    return sum(1 << place for place, is_one in enumerate(told) if is_one)


def _facts_state(case: CaseFile) -> str:
    if case.unreadable:
        return "unreadable"
    return "behind" if case.subject.epoch < case.request.min_epoch else "readable"


def _codes_state(case: CaseFile) -> str:
    request = case.request
    is_known = (
        request.purpose in codes.PURPOSES
        and request.action in codes.ACTIONS
        and request.identified_by in codes.IDENTIFICATIONS
        and all(
            d.kind in codes.DIRECTIVE_KINDS
            and d.scope.kind in codes.SCOPE_KINDS
            and d.standing in codes.STANDINGS
            for d in case.directives
        )
    )
    return "known" if is_known else "unknown"


def _assurance(level: int) -> str:
    if level < 1:
        return "none"
    return "password" if level == 1 else "strong"


def _age_band(age_years: int | None, policy: Policy) -> str:
    if age_years is None:
        return "unknown"
    if age_years >= policy.proxy_end_age:
        return "sixteen-or-over"
    return "review-age" if age_years >= policy.proxy_review_age else "child"


def _is_evidence(relationship: Relationship, case: CaseFile, consumer: frozenset[str]) -> bool:
    incident = case.request.incident_id
    return (
        _is_of_caller(relationship, case, consumer)
        and relationship.is_current(case.at)
        and (relationship.incident_id is None or incident is None or relationship.incident_id == incident)
    )


def _is_of_caller(relationship: Relationship, case: CaseFile, consumer: frozenset[str]) -> bool:
    return relationship.organisation in consumer and relationship.user_id in (None, case.actor.user_id)


def _relationship_kinds(
    case: CaseFile, consumer: frozenset[str], current: tuple[Relationship, ...]
) -> frozenset[str]:
    if current:
        return frozenset(r.kind for r in current)
    has_ended = any(
        _is_of_caller(r, case, consumer) and r.ends_at is not None and r.ends_at <= case.at
        for r in case.relationships
    )
    return frozenset(("ended" if has_ended else "none",))


def _self_claim(case: CaseFile) -> str:
    request = case.request
    if request.claimed_relationship is None:
        return "none"
    is_coded = (
        request.reason_code in codes.SELF_CLAIM_REASONS
        and request.claimed_relationship in codes.RELATIONSHIP_KINDS
    )
    return "claimed" if is_coded else "unreasoned"


def _opt_out(case: CaseFile, policy: Policy) -> str:
    if case.opt_out is None:
        return "none"
    if case.opt_out.state is OptOutState.OPTED_OUT:
        return "opted-out"
    is_fresh = (
        case.opt_out.checked_at <= case.at <= case.opt_out.checked_at + timedelta(days=policy.opt_out_days)
    )
    return "clear" if case.opt_out.state is OptOutState.CLEAR and is_fresh else "stale"


def _emergency(case: CaseFile, policy: Policy) -> str:
    grant = case.emergency
    if grant is None or not _is_theirs(grant, case):
        return "none"
    if grant.reason_code not in codes.EMERGENCY_REASONS:
        return "unreasoned"
    if grant.renewals > policy.emergency_renewals:
        return "exhausted"
    return "open" if grant.opened_at <= case.at < end_of(grant, policy) else "expired"


def _is_theirs(grant: EmergencyGrant, case: CaseFile) -> bool:
    return (grant.person_id, grant.user_id, grant.organisation) == (
        case.subject.person_id,
        case.actor.user_id,
        case.actor.organisation,
    )


def next_grant(case: CaseFile, policy: Policy, grant_id: int, reason_code: str) -> EmergencyGrant:
    """Return the emergency access that would be opened at the case's instant: a renewal, if the last was opened within a day."""
    last = case.emergency
    is_renewal = last is not None and _is_theirs(last, case) and case.at < last.opened_at + RENEWAL_WINDOW
    return EmergencyGrant(
        grant_id=grant_id,
        person_id=case.subject.person_id,
        user_id=case.actor.user_id,
        organisation=case.actor.organisation,
        reason_code=reason_code,
        opened_at=case.at,
        expires_at=case.at + timedelta(hours=policy.emergency_hours),
        renewals=last.renewals + 1 if last is not None and is_renewal else 0,
    )


def grant_in_hand(case: CaseFile, policy: Policy, reason_code: str) -> EmergencyGrant:
    """Return what emergency access the one who asks can act under: the one that is open, or else the next."""
    if case.emergency is not None and _emergency(case, policy) == "open":
        return case.emergency
    return next_grant(case, policy, 0, reason_code)


def end_of(grant: EmergencyGrant, policy: Policy) -> datetime:
    """When emergency access ends: as it was granted, or sooner where the policy gives fewer hours by now."""
    return min(grant.expires_at, grant.opened_at + timedelta(hours=policy.emergency_hours))


def _directive_state(directives: Sequence[Directive], reached: int) -> str:
    objections = standing_objections(directives, reached)
    if not objections:
        return "none"
    if all(d.may_override or d.via_task for d in objections):
        return "objection"
    return "objection-final"
