"""Agreements, relationships and national opt-outs over HTTP."""

from typing import Any

from flask_smorest import Blueprint

from consent.service.agreements import (
    NewAgreement,
    Recorded,
    end_agreement,
    get_agreement,
    list_agreements,
    plan_change,
    read_matrix,
    record_agreement,
)
from consent.service.context import Consent
from consent.service.opt_out import list_lists
from consent.service.relationships import NewRelationship, end_relationship, record_relationship
from consent.store.agreements import AgreementRow
from consent.web.schemas import (
    AgreementEndSchema,
    AgreementPage,
    AgreementQuery,
    AgreementRowSchema,
    AgreementSchema,
    AgreementVersionsSchema,
    EndedSchema,
    EndSchema,
    Loaded,
    MatrixQuery,
    MatrixSchema,
    OptOutListPage,
    PlannedAgreementSchema,
    PlannedSchema,
    RelationshipRowSchema,
    RelationshipSchema,
)
from foundation.ids import parse_id
from foundation.web import (
    PageQuery,
    current_principal,
    etag,
    if_match,
    make_blueprint,
    make_page,
    read_cursor,
    requires,
    takes_if_match,
)

_SETS = ("providers", "consumers", "role_classes", "purposes", "categories")


def make(consent: Consent) -> Blueprint:
    room = make_blueprint(
        "facts", description="Agreements between organisations, evidence of care, and national opt-outs"
    )

    @room.post("/agreements")
    @requires("agreements:write")
    @takes_if_match
    @room.arguments(AgreementSchema)
    @room.response(201, AgreementRowSchema)
    def record(body: Loaded) -> Any:
        """Record an agreement, or a new version of the one of this name; the same content again changes nothing.

        With ``If-Match`` it is refused where another version is the newest; ``W/"0"`` lets it in only as the first.
        """
        recorded = record_agreement(consent, _new(body), current_principal(), if_version=if_match())
        return _recorded(recorded)

    @room.get("/agreements/matrix")
    @requires("directory:read")
    @room.arguments(MatrixQuery, location="query")
    @room.response(200, MatrixSchema)
    def matrix(query: Loaded) -> Any:
        """Lay agreements out as provider by consumer, as they are at an instant; a page of each."""
        at = query.pop("at") or consent.clock.now()
        found = read_matrix(consent, at, **query)
        names = ("at", "providers", "consumers", "providers_after", "consumers_after", "is_whole")
        pairs = [
            {"provider": provider, "consumer": consumer, "categories": sorted(pair.categories)}
            | {part: [row.fact.agreement_id for row in getattr(pair, part)] for part in _PARTS}
            for (provider, consumer), pair in found.pairs.items()
        ]
        return {name: getattr(found, name) for name in names} | {"pairs": pairs}

    @room.get("/agreements/<agreement_id>")
    @requires("directory:read")
    @room.response(200, AgreementVersionsSchema)
    def read_one(agreement_id: str) -> Any:
        """Return every version of an agreement; the ETag is of the newest."""
        rows = get_agreement(consent, parse_id(agreement_id, "agreement_id"))
        return {"versions": [_row(row) for row in rows]}, 200, {"ETag": etag(rows[0].fact.version)}

    @room.post("/agreements/<agreement_id>/end")
    @requires("agreements:write")
    @takes_if_match
    @room.arguments(AgreementEndSchema)
    @room.response(200, AgreementRowSchema)
    def end_one(body: Loaded, agreement_id: str) -> Any:
        """Let an agreement end, now or later: a new version of it with that end."""
        number = parse_id(agreement_id, "agreement_id")
        return _recorded(
            end_agreement(consent, number, **body, by=current_principal(), if_version=if_match())
        )

    @room.post("/agreements/<agreement_id>/plan")
    @requires("agreements:write")
    @takes_if_match
    @room.arguments(PlannedAgreementSchema)
    @room.response(201, PlannedSchema)
    def plan(body: Loaded, agreement_id: str) -> Any:
        """Plan a change: the agreement ends when the one that is sent, under a name of its own, begins. Until then nothing changes."""
        number = parse_id(agreement_id, "agreement_id")
        ended, begun = plan_change(consent, number, _new(body), current_principal(), if_version=if_match())
        return {"ended": _recorded(ended), "begun": _recorded(begun)}

    @room.get("/agreements")
    @requires("directory:read")
    @room.arguments(AgreementQuery, location="query")
    @room.response(200, AgreementPage)
    def read(query: Loaded) -> Any:
        """Return the newest version of each agreement; of one provider or consumer, or of all."""
        place = read_cursor(query["cursor"], int)
        rows = list_agreements(
            consent,
            after=place[0] if place else 0,
            limit=query["limit"] + 1,
            provider=query["provider"],
            consumer=query["consumer"],
        )
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


_PARTS = ("in_force", "coming", "past")


def _new(body: Loaded) -> NewAgreement:
    return NewAgreement(**{**body, **{name: frozenset(body[name]) for name in _SETS}})


def _recorded(one: Recorded) -> Loaded:
    return _row(one.agreement) | {"state": one.state}


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
        "approved_by": row.approved_by,
    }
