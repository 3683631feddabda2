"""Directives over HTTP: recorded, read, withdrawn, decided. Each write answers with the patient's receipt."""

from typing import Any

from flask_smorest import Blueprint

from consent.facts import Scope
from consent.service.binding import Situation, tell_binding
from consent.service.context import Consent
from consent.service.directive_file import DirectiveRow, load_directives
from consent.service.directives import (
    Held,
    NewDirective,
    decide_directive,
    get_directive,
    list_directives,
    record_directive,
    replace_directive,
    withdraw_directive,
)
from consent.service.foresee import foresee_change, foresee_directive
from consent.web.schemas import (
    AccountSchema,
    BindingAnswerSchema,
    BindingQuestionSchema,
    ChangeKindSchema,
    DirectiveBulkOutcomeSchema,
    DirectiveBulkSchema,
    DirectiveSchema,
    DirectivesQuery,
    ForesightSchema,
    HeldsSchema,
    Loaded,
    ReasonSchema,
    ReceiptSchema,
    ReplacementSchema,
    VerdictSchema,
)
from foundation.errors import Invalid
from foundation.ids import parse_id
from foundation.web import current_principal, make_blueprint, requires
from mpi.records import RecordKey
from mpi.web.records import record_of


def make(consent: Consent) -> Blueprint:
    room = make_blueprint("directives", description="What patients and sources asked for")

    @room.post("/directives")
    @requires("directives:write")
    @room.arguments(DirectiveSchema)
    @room.response(201, ReceiptSchema)
    def record(body: Loaded) -> Any:
        """Record an objection, a permission, or a source's dissent; it binds every decision that begins after the answer.

        A refused objection is kept with its reason. With ``form`` it can be taken for someone whom the index does not know yet.
        """
        return record_directive(consent, _new(body), current_principal())

    @room.post("/directives/bulk")
    @requires("directives:write")
    @room.arguments(DirectiveBulkSchema)
    @room.response(200, DirectiveBulkOutcomeSchema)
    def bulk(body: Loaded) -> Any:
        """Record up to 500 objections, dissents and Type 1 opt-outs, each known by the sender's `reference`: again, it changes nothing.

        All are checked before the first is written. In the mode `preview` the answer says what would happen to each, rejected ones too.
        In the mode `record` one that is rejected is answered by its code, with its place as `row`, and none is written.
        """
        rows = [DirectiveRow(place, _new(row)) for place, row in enumerate(body["rows"], start=1)]
        is_preview = body["mode"] == "preview"
        made = load_directives(consent, rows, current_principal(), is_preview=is_preview)
        if made.rejected and not (is_preview or made.is_written):
            first = made.rejected[0]
            raise Invalid(first.code or "row-rejected", field=first.field, row=first.row)
        return {"is_written": made.is_written, "rows": made.rows}

    @room.get("/directives")
    @requires("directives:read")
    @room.doc(responses={"404": {"description": "Nobody of this id"}})
    @room.arguments(DirectivesQuery, location="query")
    @room.response(200, HeldsSchema)
    def read(query: Loaded) -> Any:
        """Return every directive that bears on a person, refused and withdrawn ones too; the reading is audited."""
        held = list_directives(consent, query["person_id"], current_principal())
        return {"directives": [_held(one) for one in held]}

    @room.post("/directives/binding")
    @requires("directives:read")
    @room.arguments(BindingQuestionSchema)
    @room.response(200, BindingAnswerSchema)
    def binding(body: Loaded) -> Any:
        """Say which directives bind in a situation (who would ask, in which role, for what), and of the others why not; up to 100 people.

        It is told by what decides: the rules in force, with and without each directive. An emergency may lift what binds. Of somebody who
        is not there the answer is that of one of whom nothing is on record. Each reading is audited.
        """
        situation = Situation(
            body["purpose"],
            body["organisation"],
            body["role"],
            tuple(body["categories"]),
            tuple(body["sources"]),
        )
        told = tell_binding(
            consent, situation, body["people"], current_principal(), directive_ids=body["directives"]
        )
        return {"people": told}

    @room.post("/directives/foresee")
    @requires("directives:write")
    @room.arguments(DirectiveSchema)
    @room.response(200, ForesightSchema)
    def foresee(body: Loaded) -> Any:
        """Say what a directive would change if it were recorded now, for an asker of each setting who cares for the person.

        By the rules and agreements of today, and the person's directives that the caller may know of; of the person nothing else is read,
        so no answer tells who knows them. Nothing is recorded but that the directives were read.
        """
        return foresee_directive(consent, _new(body), current_principal())

    @room.get("/directives/<directive_id>")
    @requires("directives:read")
    @room.response(200, AccountSchema)
    def read_one(directive_id: str) -> Any:
        """Return one directive with what became of it and the audit rows that say so; the reading is audited."""
        found = get_directive(consent, parse_id(directive_id, "directive_id"), current_principal())
        return _held(Held(found.directive, False)) | {
            "person_id": found.person_id,
            "epoch": found.epoch,
            "events": found.directive.events,
            "proofs": found.proofs,
        }

    @room.post("/directives/<directive_id>/foresee")
    @requires("directives:write")
    @room.arguments(ChangeKindSchema)
    @room.response(200, ForesightSchema)
    def foresee_one(body: Loaded, directive_id: str) -> Any:
        """Say what it would change if a directive were withdrawn, decided or struck out, as for one that is new."""
        number = parse_id(directive_id, "directive_id")
        return foresee_change(consent, number, body["kind"], current_principal())

    @room.post("/directives/<directive_id>/replace")
    @requires("directives:write")
    @room.arguments(ReplacementSchema)
    @room.response(201, ReceiptSchema)
    def replace(body: Loaded, directive_id: str) -> Any:
        """Change what was asked for: record a directive of the same person and withdraw the one before it, both or neither."""
        reason = body.pop("change_reason")
        number = parse_id(directive_id, "directive_id")
        return replace_directive(consent, number, _new(body | {"form": None}), reason, current_principal())

    @room.post("/directives/<directive_id>/withdraw")
    @requires("directives:write")
    @room.arguments(ReasonSchema)
    @room.response(200, ReceiptSchema)
    def withdraw(body: Loaded, directive_id: str) -> Any:
        """Withdraw a directive; it stays on record."""
        number = parse_id(directive_id, "directive_id")
        return withdraw_directive(consent, number, body["reason"], current_principal())

    @room.post("/directives/<directive_id>/decide")
    @requires("directives:write")
    @room.arguments(VerdictSchema)
    @room.response(200, ReceiptSchema)
    def decide(body: Loaded, directive_id: str) -> Any:
        """Uphold or refuse a pending directive, or strike out one entered in error, for which a second person is needed."""
        number = parse_id(directive_id, "directive_id")
        return decide_directive(consent, number, body["verdict"], body["reason"], current_principal())

    return room


def _new(body: Loaded) -> NewDirective:
    form, scope = body["form"], body["scope"]
    return NewDirective(
        **{name: value for name, value in body.items() if name not in ("form", "scope", "lifts")},
        scope=Scope(scope["kind"], scope["code"]),
        lifts=tuple(body.get("lifts", ())),
        form=None if form is None else record_of(RecordKey(body["received_by"], "consent", "form"), form),
    )


def _held(one: Held) -> Loaded:
    row = one.directive.row
    return {
        **{name: getattr(row, name) for name in row.__slots__},
        "scope": {"kind": row.scope_kind, "code": row.scope_code},
        "standing": one.directive.standing,
        "withdrawn_at": one.directive.withdrawn_at,
        "via_task": one.via_task,
    }
