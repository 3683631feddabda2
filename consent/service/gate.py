"""The release gate: what the index may tell of a person's members, origins and demographics, decided like everything else."""

from dataclasses import replace

from sqlalchemy import Connection

from consent import rules
from consent.facts import Cell, Request
from consent.service import trail
from consent.service.asking import actor_of
from consent.service.casefile import FactsUnreadable, read_case
from consent.service.context import Consent
from consent.store.organisations import read_organisations
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.service.gate import GateAnswer, GateRequest, ReleaseGate, tells_place
from mpi.service.persons import lock_persons
from mpi.service.whole import read_whole_person

_IDENTITY_ROLES = frozenset({"system", "records", "privacy-officer", "caldicott", "support"})


def release_gate(consent: Consent) -> ReleaseGate:
    """Return the callable that the index asks, inside its own write transaction and before it answers."""

    def ask(tx: Connection, request: GateRequest) -> GateAnswer:
        return _ask(tx, consent, request)

    return ask


def _ask(tx: Connection, consent: Consent, request: GateRequest) -> GateAnswer:
    lock_persons(tx, [request.person_id], shared=True)
    whole = read_whole_person(tx, request.person_id)
    resolution = whole.resolution
    if resolution.person_id != request.person_id:
        return GateAnswer(code="person-moved")
    by = request.principal
    own = frozenset(source for source in request.sources if _is_own(by, source))
    others = sorted(set(request.sources) - own)
    organisations = read_organisations(tx, others)
    labels, kinds = organisations.membership_labels, organisations.settings
    told = {
        source: _cell(
            request,
            labels.get(source, "N"),
            source,
            is_place=resolution.restricted and tells_place(kinds[source].kind if source in kinds else None),
        )
        for source in others
    }
    places = {source: Cell("location", "N", source) for source in others}
    actor = actor_of(by, None)
    cells = {*told.values(), *(places.values() if request.wanted == "demographics" else ())}
    asked = Request(request.purpose or "TREAT", tuple(sorted(cells)), identified_by="care-context")
    try:
        # A savepoint, since the transaction is the index's: a failed read leaves one in which the denial can still be audited.
        with tx.begin_nested():
            reading = read_case(tx, consent, whole, actor, asked, request.person_id)
    except FactsUnreadable:
        reading = read_case(tx, consent, replace(whole, is_readable=False), actor, asked, request.person_id)
    if request.purpose is None and reading.policy.role_class(actor.role) in _IDENTITY_ROLES:
        reading = replace(reading, case=replace(reading.case, request=replace(asked, purpose="PATADMIN")))
    decision, purpose = rules.decide(reading.case, reading.policy), reading.case.request.purpose
    decision_id = new_id()
    permitted = set(decision.permitted)
    allowed = own | {source for source, cell in told.items() if cell in permitted}
    # A person's own organisation sees its own record whole; what others add is masked unless their location may leave too.
    masks_location = resolution.restricted or any(places[source] not in permitted for source in allowed - own)
    code = "own-sources" if allowed and allowed == own else "permitted" if allowed else "denied"
    trail.append(
        tx,
        "gate",
        by,
        decision.evaluated_at,
        outcome="success" if allowed else "denied",
        person_id=request.person_id,
        purpose=purpose,
        reasons=decision.told if not allowed else (),
        detail=trail.decision_detail(decision_id, decision, reading.versions())
        | {"outcome": "PERMIT" if allowed else "DENY", "wanted": request.wanted, "told": sorted(allowed)},
    )
    return GateAnswer(
        sources=frozenset(allowed),
        masks_location=masks_location and request.wanted == "demographics",
        code=code,
        decision_id=decision_id,
    )


def _is_own(by: Principal, source: str) -> bool:
    # Its own record is no disclosure. An operator's "every organisation" is not ownership.
    return source == by.organisation or source in by.organisations


def _cell(request: GateRequest, label: str, source: str, *, is_place: bool) -> Cell:
    """Return what would be told of a source.

    Args:
        is_place: whether that it knows this person would tell where they can be found.
    """
    if request.wanted == "demographics":
        return Cell("demographics", "N", source)
    if is_place:
        return Cell("location", "N", source)
    return Cell("membership", label, source)
