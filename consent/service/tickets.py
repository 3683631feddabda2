"""Claim tickets: Ed25519 JWS that live for a minute, for one redeeming client, and name permitted cells only."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from consent.service.context import Consent
from consent.store.releases import Ticket
from foundation.auth import keys
from foundation.errors import Gone, Invalid, Unauthenticated
from foundation.ids import format_id, parse_id

LIFE = timedelta(seconds=60)
_TYPE = "release+jwt"


def sign_ticket(tx: Connection, consent: Consent, ticket: Ticket) -> str:
    """Write a ticket. The consumer carries it and may read it: it holds no local id and no cell that was withheld."""
    claims = {
        "iss": consent.issuer,
        "jti": format_id(ticket.ticket_id),
        "aud": ticket.redeemer,
        "sub": format_id(ticket.person_id),
        "iat": int(ticket.issued_at.timestamp()),
        "exp": int(ticket.expires_at.timestamp()),
        "consumer": ticket.asked_by["organisation"],
        "purpose": ticket.asked_by["purpose"],
        "cells": [[cell.category, cell.label, cell.source] for cell in ticket.cells],
    }
    return keys.sign(tx, ticket.issued_at, claims, _TYPE)


def read_ticket_id(tx: Connection, consent: Consent, token: str, at: datetime) -> int:
    """Return the id of the row that a believed ticket proves; everything else is read from that row.

    A ticket dies with the key that signed it: one that is no longer believed makes it invalid.

    Raises:
        Invalid: ``ticket-invalid``. Gone: ``ticket-expired``.
    """
    try:
        claims = keys.read_signed(tx, at, token, _TYPE)
        if claims["iss"] != consent.issuer:
            raise Invalid("ticket-invalid", field="ticket")
        return parse_id(claims["jti"], "ticket")
    except Unauthenticated as error:
        if error.code == "token-expired":
            raise Gone("ticket-expired") from error
        raise Invalid("ticket-invalid", field="ticket") from error
    except (KeyError, Invalid) as error:
        raise Invalid("ticket-invalid", field="ticket") from error
