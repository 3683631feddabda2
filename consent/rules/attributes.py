"""Attributes: what a case file and its cells look like to the rows: sets of codes, held as the bits of conditions."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from consent.facts import codes
from consent.facts.agreements import Agreement
from consent.facts.case import CaseFile
from consent.facts.directives import Directive
from consent.facts.opt_out import OptOutState
from consent.facts.relationships import Relationship
from consent.facts.sensitivity import Cell
from consent.rules.fold import covers, standing_objections
from consent.rules.policy import Policy


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
    attributes: dict[str, Iterable[str]] = {
        "subject": (subject.state,),
        "facts": (_facts_state(case),),
        "request_codes": (_codes_state(case),),
        "assurance": (_assurance(actor.assurance),),
        "identified_by": (request.identified_by,),
        "role_class": (role_class,),
        "activity": actor.activities,
        "purpose": (request.purpose,),
        "purpose_group": (policy.purpose_groups.get(request.purpose, "unknown"),),
        "action": (request.action,),
        "restricted": ("yes" if subject.is_restricted else "no",),
        "deceased": ("yes" if subject.is_deceased else "no",),
        "age_band": (_age_band(subject.age_years, policy),),
        "relationship": _relationship_kinds(case, consumer, relationships),
        "self_claim": (_self_claim(case),),
        "opt_out": (_opt_out(case, policy),),
        "emergency": (_emergency(case, policy),),
    }
    holding = 0
    for attribute, found in attributes.items():
        holding |= policy.holding(attribute, found)
    return Prepared(
        case=case,
        policy=policy,
        holding=holding,
        purposes=policy.answers_to(request.purpose),
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


class CellReader:
    """Reads cells of one case; what cells of one category and source, or of one label and source, share is read once."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._by_category: dict[tuple[str, str], tuple[int, bool, bool]] = {}
        self._by_label: dict[tuple[str, str], tuple[int, bool, bool]] = {}
        holding = prepared.policy.holding
        self._known, self._unknown = (holding("cell_codes", (word,)) for word in ("known", "unknown"))
        self._free = holding("source_control", ("none",))

    def holding(self, cell: Cell) -> int:
        """Return the conditions that hold for the cell, as bits, those of the case among them."""
        by_category = self._by_category.get((cell.category, cell.source))
        if by_category is None:
            by_category = self._by_category[cell.category, cell.source] = self._read_category(cell)
        by_label = self._by_label.get((cell.label, cell.source))
        if by_label is None:
            by_label = self._by_label[cell.label, cell.source] = self._read_label(cell)
        held = self._prepared.holding | by_category[0] | by_label[0]
        held |= self._known if by_category[1] and by_label[1] else self._unknown
        return held | self._free if by_category[2] and by_label[2] else held

    def _read_category(self, cell: Cell) -> tuple[int, bool, bool]:
        """What category and source settle: conditions, whether the codes are known, whether no control of the source applies."""
        prepared, case = self._prepared, self._prepared.case
        setting = case.sources.get(cell.source)
        source_kind = setting.kind if setting else "unknown"
        agreements = agreements_for(cell, prepared)
        controls = _source_controls(cell, prepared)
        if setting is not None and cell.category in setting.excluded_categories:
            controls.add("excluded")
        attributes: dict[str, Iterable[str]] = {
            "category": (cell.category,),
            "source": (cell.source,),
            "source_kind": (source_kind,),
            "source_control": controls,
            "bar": ("yes" if _is_barred(cell, prepared) else "no",),
            "directive": (_directive_state(cell, prepared),),
            "agreement": ("in-force" if agreements else "none",),
            "legal_basis": {a.legal_basis for a in agreements} or ("none",),
            "type_1": (_type_1(source_kind, prepared),),
            "identity": ("warned" if cell.source in case.subject.warned_sources else "sure",),
        }
        held = 0
        for attribute, found in attributes.items():
            held |= prepared.policy.holding(attribute, found)
        is_known = cell.category in codes.CATEGORIES and source_kind in codes.SOURCE_KINDS
        return held, is_known, not controls

    def _read_label(self, cell: Cell) -> tuple[int, bool, bool]:
        policy, setting = self._prepared.policy, self._prepared.case.sources.get(cell.source)
        held = policy.holding("label", (cell.label,))
        is_excluded = setting is not None and cell.label in setting.excluded_labels
        if is_excluded:
            held |= policy.holding("source_control", ("excluded",))
        return held, cell.label in codes.LABELS, not is_excluded


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


def _is_barred(cell: Cell, prepared: Prepared) -> bool:
    return any(
        d.kind == "statutory-bar"
        and not d.via_task
        and covers(d.scope, cell, prepared.case, prepared.purposes)
        for d in prepared.directives
    )


def _source_controls(cell: Cell, prepared: Prepared) -> set[str]:
    """What the source itself decided for this patient: dissent or seal."""
    return {
        word
        for kind, word in (("dissent", "dissent"), ("seal", "sealed"))
        for d in prepared.directives
        if d.kind == kind and not d.via_task and _is_source_scope(d, cell, prepared.case)
    }


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


def _type_1(source_kind: str, prepared: Prepared) -> str:
    if source_kind not in ("practice", "unknown"):
        return "not-applicable"
    return "opted-out" if any(d.kind == "type-1" for d in prepared.directives) else "clear"
