"""Agreements, relationships and national opt-outs over HTTP."""

from typing import Any

from flask_smorest import Blueprint

from consent.service.agreements import NewAgreement, list_agreements, record_agreement
from consent.service.context import Consent
from consent.service.opt_out import list_lists
from consent.service.relationships import NewRelationship, end_relationship, record_relationship
from consent.store.agreements import AgreementRow
from consent.web.schemas import (
    AgreementPage,
    AgreementRowSchema,
    AgreementSchema,
    EndedSchema,
    EndSchema,
    Loaded,
    OptOutListPage,
    RelationshipRowSchema,
    RelationshipSchema,
)
from foundation.web import (
    PageQuery,
    current_principal,
    make_blueprint,
    make_page,
    read_cursor,
    requires,
)

_SETS = ("providers", "consumers", "role_classes", "purposes", "categories")


def make(consent: Consent) -> Blueprint:
    room = make_blueprint(
        "facts", description="Agreements between organisations, evidence of care, and national opt-outs"
    )

    @room.post("/agreements")
    @requires("agreements:write")
    @room.arguments(AgreementSchema)
    @room.response(201, AgreementRowSchema)
    def record(body: Loaded) -> Any:
        """Record an agreement, or a new version of the one of this name; the same content again changes nothing."""
        sets = {name: frozenset(body[name]) for name in _SETS}
        recorded = record_agreement(consent, NewAgreement(**{**body, **sets}), current_principal())
        return _row(recorded.agreement) | {"state": recorded.state}

    @room.get("/agreements")
    @requires("directory:read")
    @room.arguments(PageQuery, location="query")
    @room.response(200, AgreementPage)
    def read(query: Loaded) -> Any:
        """Return the newest version of each agreement."""
        place = read_cursor(query["cursor"], int)
        rows = list_agreements(consent, after=place[0] if place else 0, limit=query["limit"] + 1)
        return make_page([_row(row) for row in rows], query["limit"], lambda row: [row["agreement_id"]])

    @room.post("/relationships")
    @requires("relationships:write")
    @room.arguments(RelationshipSchema)
    @room.response(201, RelationshipRowSchema)
    def relate(body: Loaded) -> Any:
        """Record evidence that an organisation, or one user of it, cares for a person."""
        fact = record_relationship(consent, NewRelationship(**body), current_principal())
        return body | {"relationship_id": fact.relationship_id, "started_at": fact.started_at}

    @room.post("/relationships/end")
    @requires("relationships:write")
    @room.arguments(EndSchema)
    @room.response(200, EndedSchema)
    def end(body: Loaded) -> Any:
        """End an organisation's relationships of one kind with a person: a discharge, a hand-over with its grace."""
        ended = end_relationship(
            consent,
            body["person_id"],
            body["kind"],
            body["organisation"],
            body["ends_at"],
            current_principal(),
        )
        return {"ended": ended}

    @room.get("/opt-out-lists")
    @requires("reports:read")
    @room.arguments(PageQuery, location="query")
    @room.response(200, OptOutListPage)
    def lists(query: Loaded) -> Any:
        """Return the lists of NHS numbers that were prepared for the national data opt-out service and what they came to, in counts.

        Lists are sent and answers read by an operator, through a folder: `consent opt-out`.
        """
        place = read_cursor(query["cursor"], int)
        rows = list_lists(consent, after=place[0] if place else 0, limit=query["limit"] + 1)
        return make_page(rows, query["limit"], lambda row: [row.list_id])

    return room


def _row(row: AgreementRow) -> Loaded:
    fact = row.fact
    return {
        **{name: sorted(getattr(fact, name)) for name in _SETS},
        "agreement_id": fact.agreement_id,
        "version": fact.version,
        "name": row.name,
        "legal_basis": fact.legal_basis,
        "starts_at": fact.starts_at,
        "ends_at": fact.ends_at,
        "recorded_at": row.recorded_at,
        "recorded_by": row.recorded_by,
    }
