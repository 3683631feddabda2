"""Attributes: what a case file and its cells look like to the rows, as sets of codes."""

from dataclasses import dataclass
from datetime import timedelta

from consent.facts import codes
from consent.facts.agreements import Agreement
from consent.facts.case import CaseFile
from consent.facts.directives import Directive
from consent.facts.relationships import Relationship
from consent.facts.sensitivity import Cell
from consent.rules.fold import covers, standing_objections
from consent.rules.policy import Policy

Attributes = dict[str, frozenset[str]]

_YES, _NO, _NONE = frozenset({"yes"}), frozenset({"no"}), frozenset({"none"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case file read once, so that each of its cells costs little."""

    case: CaseFile
    policy: Policy
    attributes: Attributes
    purposes: frozenset[str]
    directives: tuple[Directive, ...]  # in force
    agreements: tuple[Agreement, ...]  # in force, for this organisation, role class and purpose
    relationships: tuple[Relationship, ...]  # current, of this organisation and user


def prepare(case: CaseFile, policy: Policy) -> Prepared:
    """Read the attributes of the whole case."""
    request, subject, actor = case.request, case.subject, case.actor
    consumer = case.lineage(actor.organisation)
    role_class = policy.role_class(actor.role)
    purposes = policy.answers_to(request.purpose)
    relationships = tuple(r for r in case.relationships if _is_evidence(r, case, consumer))
    attributes: Attributes = {
        "subject": frozenset((subject.state,)),
        "facts": frozenset((_facts_state(case),)),
        "request_codes": frozenset((_codes_state(case),)),
        "assurance": frozenset(("met" if actor.assurance >= policy.least_assurance else "not-met",)),
        "identified_by": frozenset((request.identified_by,)),
        "role_class": frozenset((role_class,)),
        "activity": actor.activities,
        "purpose": frozenset((request.purpose,)),
        "purpose_group": frozenset((policy.purpose_groups.get(request.purpose, "unknown"),)),
        "action": frozenset((request.action,)),
        "restricted": _YES if subject.is_restricted else _NO,
        "deceased": _YES if subject.is_deceased else _NO,
        "age_band": frozenset((_age_band(subject.age_years, policy),)),
        "relationship": _relationship_kinds(case, consumer, relationships),
        "self_claim": frozenset((_self_claim(case),)),
        "opt_out": frozenset((_opt_out(case, policy),)),
        "emergency": frozenset((_emergency(case, policy),)),
    }
    return Prepared(
        case=case,
        policy=policy,
        attributes=attributes,
        purposes=purposes,
        directives=tuple(d for d in case.directives if d.is_in_force(case.at)),
        agreements=tuple(
            a
            for a in case.agreements
            if a.is_in_force(case.at)
            and request.purpose in a.purposes
            and role_class in a.role_classes
            and ("*" in a.consumers or not consumer.isdisjoint(a.consumers))
        ),
        relationships=relationships,
    )


def read_cell(cell: Cell, prepared: Prepared) -> Attributes:
    """Read the attributes of one cell; the attributes of the case are with it."""
    case = prepared.case
    setting = case.sources.get(cell.source)
    source_kind = setting.kind if setting else "unknown"
    is_known = (
        cell.category in codes.CATEGORIES and cell.label in codes.LABELS and source_kind in codes.SOURCE_KINDS
    )
    agreements = agreements_for(cell, prepared)
    return {
        **prepared.attributes,
        "cell_codes": frozenset(("known" if is_known else "unknown",)),
        "category": frozenset((cell.category,)),
        "label": frozenset((cell.label,)),
        "source": frozenset((cell.source,)),
        "source_kind": frozenset((source_kind,)),
        "source_control": _source_control(cell, prepared),
        "bar": _YES if _has(prepared, "statutory-bar", cell) else _NO,
        "directive": frozenset((_directive_state(cell, prepared),)),
        "agreement": frozenset(("in-force" if agreements else "none",)),
        "legal_basis": frozenset(a.legal_basis for a in agreements) or _NONE,
        "type_1": frozenset((_type_1(source_kind, cell, prepared),)),
        "identity": frozenset(("warned" if cell.source in case.subject.warned_sources else "sure",)),
    }


def agreements_for(cell: Cell, prepared: Prepared) -> tuple[Agreement, ...]:
    """The agreements in force for this request that name the cell's source and category."""
    providers = prepared.case.lineage(cell.source)
    return tuple(
        a
        for a in prepared.agreements
        if cell.category in a.categories and ("*" in a.providers or not providers.isdisjoint(a.providers))
    )


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
    if case.opt_out.state == "opted-out":
        return "opted-out"
    is_fresh = (
        case.opt_out.checked_at <= case.at <= case.opt_out.checked_at + timedelta(days=policy.opt_out_days)
    )
    return "clear" if case.opt_out.state == "clear" and is_fresh else "stale"


def _emergency(case: CaseFile, policy: Policy) -> str:
    grant = case.emergency
    if grant is None or (grant.person_id, grant.user_id, grant.organisation) != (
        case.subject.person_id,
        case.actor.user_id,
        case.actor.organisation,
    ):
        return "none"
    if grant.reason_code not in codes.EMERGENCY_REASONS:
        return "unreasoned"
    if grant.renewals > policy.emergency_renewals:
        return "exhausted"
    longest = grant.opened_at + timedelta(hours=policy.emergency_hours)
    return "open" if grant.opened_at <= case.at < min(grant.expires_at, longest) else "expired"


def _has(prepared: Prepared, kind: str, cell: Cell) -> bool:
    return any(
        d.kind == kind and covers(d.scope, cell, prepared.case, prepared.purposes)
        for d in prepared.directives
        if not d.via_task
    )


def _source_control(cell: Cell, prepared: Prepared) -> frozenset[str]:
    """What the source itself decided: dissent or seal for this patient (scoped to the source), or a standing exclusion."""
    found = {
        word
        for kind, word in (("dissent", "dissent"), ("seal", "sealed"))
        for d in prepared.directives
        if d.kind == kind and not d.via_task and _is_source_scope(d, cell, prepared.case)
    }
    setting = prepared.case.sources.get(cell.source)
    if setting is not None and setting.excludes(cell):
        found.add("excluded")
    return frozenset(found) or _NONE


def _is_source_scope(directive: Directive, cell: Cell, case: CaseFile) -> bool:
    # A source speaks for its own items only: its scope is read on the providing side alone.
    scope = directive.scope
    if scope.kind == "organisation":
        return scope.code in case.lineage(cell.source)
    return scope.kind != "category" or scope.code == cell.category


def _directive_state(cell: Cell, prepared: Prepared) -> str:
    objections = standing_objections(prepared.directives, cell, prepared.case, prepared.purposes)
    if not objections:
        return "none"
    if all(d.may_override or d.via_task for d in objections):
        return "objection"
    return "objection-final"


def _type_1(source_kind: str, cell: Cell, prepared: Prepared) -> str:
    if source_kind not in ("practice", "unknown"):
        return "not-applicable"
    return "opted-out" if any(d.kind == "type-1" for d in prepared.directives) else "clear"
