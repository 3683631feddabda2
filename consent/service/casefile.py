"""Reading a case file: every fact that a decision may depend on, in statements that come after the person's lock."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import prod

from sqlalchemy import Connection

from consent.facts import (
    Actor,
    CaseFile,
    Cell,
    Directive,
    EmergencyGrant,
    Request,
    Subject,
)
from consent.facts.opt_out import evidence_of
from consent.rules import Policy
from consent.service.context import Consent
from consent.store.facts import OnRecord, read_facts
from consent.store.organisations import Organisations
from mpi.service.borne import verified_number_keys
from mpi.service.life import life_of
from mpi.service.persons import Resolution
from mpi.service.whole import WholePerson, binding_of, doubted_of, far_records

log = logging.getLogger(__name__)

FORM_SYSTEM = "consent"
"""The system of records built from forms: they identify, and hold nothing that could be shared."""

CLOCK_TOLERANCE = timedelta(seconds=5)
"""How far the clocks of two servers may lie apart; a fact of a later future casts doubt on our own clock, and doubt denies."""

_GROWN_UP = 18

_HOPPING = ("objection", "permission")
"""What a task carries over to the other person: the patient's own words. A source speaks for its own items only."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A case file with the policy that was in force, read in the same statement, and what is worth keeping of how it was read."""

    case: CaseFile
    policy: Policy = field(repr=False)
    organisations: Organisations = field(repr=False)
    is_bound_too_widely: bool = False

    def versions(self) -> dict[str, object]:
        """The ids and versions of the facts, and what is kept in no version, from which the case can be made again."""
        case, subject, actor, request = self.case, self.case.subject, self.case.actor, self.case.request
        return {
            "directives": [_written_directive(d) for d in case.directives if not d.via_task],
            "through_tasks": [_written_directive(d) for d in case.directives if d.via_task],
            "agreements": [[str(a.agreement_id), a.version] for a in case.agreements],
            "relationships": [
                [str(r.relationship_id), r.ends_at.isoformat() if r.ends_at else None]
                for r in case.relationships
            ],
            "grant": _written_grant(case.emergency),
            "opt_out": [case.opt_out.state.value, case.opt_out.checked_at.isoformat()]
            if case.opt_out
            else None,
            "unreadable": sorted(case.unreadable),
            "subject": {
                "person": str(subject.person_id),
                "state": subject.state,
                "epoch": subject.epoch,
                "restricted": subject.is_restricted,
                "deceased": subject.is_deceased,
                # No rule tells one grown-up age from another, and an age is nobody's to keep.
                "age": None if subject.age_years is None else min(subject.age_years, _GROWN_UP),
                "warned": sorted(subject.warned_sources),
            },
            "actor": {
                "user": actor.user_id,
                "organisation": actor.organisation,
                "role": actor.role,
                "assurance": actor.assurance,
                "activities": sorted(actor.activities),
            },
            "request": {
                "purpose": request.purpose,
                "action": request.action,
                "identified_by": request.identified_by,
                "claimed": request.claimed_relationship,
                "reason_code": request.reason_code,
                "incident": request.incident_id,
                "min_epoch": request.min_epoch,
                "cells": written_cells(request.cells),
            },
            "organisations": {
                code: [
                    case.sources[code].kind if code in case.sources else None,
                    sorted(case.sources[code].excluded_categories) if code in case.sources else [],
                    sorted(case.sources[code].excluded_labels) if code in case.sources else [],
                    sorted(lineage - {code}),
                ]
                for code, lineage in sorted(case.lineages.items())
            },
        }


def written_cells(cells: Collection[Cell]) -> object:
    """Write cells narrowly: as three lists when they are every combination of them, else source by source."""
    axes = [sorted({getattr(cell, axis) for cell in cells}) for axis in ("category", "label", "source")]
    if len(set(cells)) == prod(map(len, axes)):
        return axes
    return grouped(cells)


def grouped(cells: Collection[Cell]) -> dict[str, dict[str, list[str]]]:
    """Cells as source → label → categories, so that a row stays narrow."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in sorted(cells):
        found.setdefault(cell.source, {}).setdefault(cell.label, []).append(cell.category)
    return found


def _written_directive(directive: Directive) -> list[object]:
    """A directive's id, and what its later events had made of it by then."""
    withdrawn_at = directive.withdrawn_at.isoformat() if directive.withdrawn_at else None
    return [str(directive.directive_id), directive.standing, withdrawn_at]


def _written_grant(grant: EmergencyGrant | None) -> list[object] | None:
    if grant is None:
        return None
    times = grant.opened_at.isoformat(), grant.expires_at.isoformat()
    return [str(grant.grant_id), grant.reason_code, *times, grant.renewals]


def sources_of(resolution: Resolution) -> tuple[str, ...]:
    """The organisations that hold something of a person."""
    return tuple(
        sorted({member.organisation for member in resolution.members if member.system != FORM_SYSTEM})
    )


class FactsUnreadable(Exception):
    """Facts could not be read, and the transaction may be good for nothing more: take another, in which a denial can be audited."""


def read_case(
    tx: Connection, consent: Consent, whole: WholePerson, actor: Actor, request: Request, asked_id: int
) -> Reading:
    """Read the facts. The caller holds the person's lock and resolved the person after taking it.

    Of a person who is not readable nothing is read, which is named in ``unreadable`` and leads to a denial, under the shipped policy:
    silence is not permission. A policy in force that cannot be read is such a fact.

    Raises:
        FactsUnreadable: a fact could not be read. The caller asks again about the person as one who is not readable.
    """
    resolution = whole.resolution
    nothing_known = CaseFile(
        at=consent.clock.now(),
        subject=Subject(resolution.person_id or asked_id, resolution.state, resolution.epoch),
        actor=actor,
        request=request,
        unreadable=frozenset({"facts"}),
    )
    if not whole.is_readable:
        return Reading(nothing_known, consent.policies.shipped, Organisations())
    try:
        return _read(tx, consent, whole, nothing_known)
    except Exception as error:  # whatever the fault, the answer is a denial
        log.error("facts unreadable", extra={"fault": type(error).__name__})
        raise FactsUnreadable from error


def _read(tx: Connection, consent: Consent, whole: WholePerson, bare: CaseFile) -> Reading:
    actor, request, resolution = bare.actor, bare.request, whole.resolution
    # Of someone who is not there the same is read, and found empty: how long an answer takes must not tell an absent
    # person from a hidden one.
    person_id = resolution.person_id or bare.subject.person_id
    binding = binding_of(tx, whole)
    on_record = read_facts(
        tx,
        consent.known_agreements,
        person_id=person_id,
        record_ids=resolution.record_ids or (person_id,),
        far_ids=far_records(tx, whole, binding),
        sources={cell.source for cell in request.cells},
        organisation=actor.organisation,
        user_id=actor.user_id,
    )
    organisations, policy = (
        on_record.organisations,
        consent.policies.of_revision(tx, on_record.policy_revision),
    )
    directives = _directives(on_record)
    # Another server's clock may be ahead: what is on record has been said, so the decision is no earlier than that.
    at = max([bare.at, *(directive.recorded_at for directive in directives)])
    is_doubtful = at - bare.at > CLOCK_TOLERANCE
    life = life_of(consent.mpi, whole.members, at.date())
    common = {
        "actor": actor,
        "request": request,
        "sources": organisations.settings,
        "lineages": organisations.lineages,
    }
    if not resolution.is_current:
        nobody = Subject(person_id, resolution.state)
        return Reading(CaseFile(at=bare.at, subject=nobody, **common), policy, organisations)  # type: ignore[arg-type]
    return Reading(
        CaseFile(
            at=bare.at if is_doubtful else at,
            unreadable=frozenset({"clock"} if is_doubtful else ()),
            subject=Subject(
                person_id=person_id,
                state="current",
                epoch=resolution.epoch,
                is_restricted=resolution.restricted,
                is_deceased=life.is_deceased,
                age_years=life.age_years,
                warned_sources=doubted_of(tx, whole),
            ),
            directives=directives,
            agreements=tuple(one for one in on_record.agreements if one.is_in_force(at)),
            relationships=on_record.relationships,
            opt_out=evidence_of(on_record.opt_out, verified_number_keys(consent.mpi, whole.members))
            if on_record.opt_out
            else None,
            emergency=on_record.emergency,
            **common,  # type: ignore[arg-type]
        ),
        policy,
        organisations,
        binding.alarm,
    )


def _directives(on_record: OnRecord) -> tuple[Directive, ...]:
    """Every directive that binds the person: anchored to its own records, or one hop away over an open task."""
    own = {directive.directive_id for directive in on_record.directives}
    hopping = (
        replace(directive, via_task=True)
        for directive in on_record.far_directives
        if directive.kind in _HOPPING and directive.directive_id not in own
    )
    return (*on_record.directives, *hopping)
