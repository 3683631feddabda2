"""Releases over HTTP: a consumer is issued a ticket, the provider inspects and redeems it."""

from typing import Any

from flask_smorest import Blueprint

from consent.facts import Cell
from consent.service.context import Consent
from consent.service.release import Item, inspect_release, issue_release, redeem_release
from consent.web.decisions import ask_of, decision_body
from consent.web.schemas import (
    InspectionSchema,
    IssuedSchema,
    Loaded,
    RedeemSchema,
    RedemptionSchema,
    ReleaseSchema,
    TicketSchema,
)
from foundation.web import answers_repeats_itself, current_principal, make_blueprint, requires


def make(consent: Consent) -> Blueprint:
    room = make_blueprint("releases", description="Tickets for one provider, redeemed once")

    @room.post("/releases")
    @answers_repeats_itself
    @requires("releases")
    @room.arguments(ReleaseSchema)
    @room.response(200, IssuedSchema)
    def issue(body: Loaded) -> Any:
        """Decide for what one provider's client holds and sign a ticket of at most a minute for it. A denial has no ticket."""
        by = current_principal()
        redeemer = body.pop("redeemer")
        issued = issue_release(consent, ask_of(body), redeemer, by)
        return {
            "decision": decision_body(issued.answer, by),
            "ticket": issued.ticket,
            "expires_at": issued.expires_at,
        }

    @room.post("/releases/inspect")
    @answers_repeats_itself
    @requires("redeem")
    @room.doc(responses={"410": {"description": "The ticket has run out"}})
    @room.arguments(TicketSchema)
    @room.response(200, InspectionSchema)
    def inspect(body: Loaded) -> Any:
        """Tell the redeeming client its own ids for the person. The ticket is not used up, and releases nothing yet."""
        return inspect_release(consent, body["ticket"], current_principal())

    @room.post("/releases/redeem")
    @answers_repeats_itself
    @requires("redeem")
    @room.doc(responses={"410": {"description": "The ticket has run out"}})
    @room.arguments(RedeemSchema)
    @room.response(200, RedemptionSchema)
    def redeem(body: Loaded) -> Any:
        """Decide again, over the facts of this moment, and say which items may be shown.

        Only items under ``released`` may be shown. The same ticket and items may be sent again within the ticket's life, when a reply was
        lost; other items are a replay (409 ``ticket-replayed``), and a ticket that has run out is 410 ``ticket-expired``.
        """
        items = [Item(one["id"], Cell(one["category"], one["label"], one["source"])) for one in body["items"]]
        return redeem_release(consent, body["ticket"], items, current_principal()).answer

    return room
