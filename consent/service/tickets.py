"""Claim tickets: Ed25519 JWS that live for a minute, for one redeeming client, and name permitted cells only."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from consent.store.releases import Ticket
from foundation.errors import Invalid
from foundation.ids import format_id, parse_id

LIFE = timedelta(seconds=60)
_ALGORITHM = "Ed25519"  # RFC 9864: fully specified, where "EdDSA" was not
_TYPE = "release+jwt"


class TicketKeys:
    """The key that signs and those that are still believed. A key that is taken out kills every ticket it signed."""

    def __init__(self, keys: Iterable[OKPKey], issuer: str) -> None:
        """``keys``: Ed25519 keys with their ids; the first, a private one, signs."""
        self._keys = tuple(keys)
        if not self._keys or not self._keys[0].is_private:
            raise ValueError("a ticket needs a private key")
        self._believed = KeySet(list(self._keys))
        self._issuer = issuer

    @classmethod
    def fresh(cls, issuer: str) -> "TicketKeys":
        """New keys that nobody else knows; tickets die with the process."""
        return cls([OKPKey.generate_key("Ed25519", auto_kid=True)], issuer)

    def sign(self, ticket: Ticket) -> str:
        """Write a ticket. The consumer carries it and may read it: it holds no local id and no cell that was withheld."""
        key = self._keys[0]
        claims = {
            "iss": self._issuer,
            "jti": format_id(ticket.ticket_id),
            "aud": ticket.redeemer,
            "sub": format_id(ticket.person_id),
            "iat": int(ticket.issued_at.timestamp()),
            "exp": int(ticket.expires_at.timestamp()),
            "consumer": ticket.asked_by["organisation"],
            "purpose": ticket.asked_by["purpose"],
            "cells": [[cell.category, cell.label, cell.source] for cell in ticket.cells],
        }
        header = {"alg": _ALGORITHM, "typ": _TYPE, "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=[_ALGORITHM])

    def read(self, token: str) -> "Claims":
        """Check a ticket's signature and shape; whether it is still alive is the caller's question.

        Raises:
            Invalid: ``ticket-invalid``.
        """
        try:
            decoded = jwt.decode(token, self._believed, algorithms=[_ALGORITHM])
            claims: dict[str, Any] = decoded.claims
            if decoded.header.get("typ") != _TYPE or claims["iss"] != self._issuer:
                raise Invalid("ticket-invalid", field="ticket")
            return Claims(
                ticket_id=parse_id(claims["jti"], "ticket"),
                redeemer=str(claims["aud"]),
                expires_at=datetime.fromtimestamp(int(claims["exp"]), tz=UTC),
            )
        except (JoseError, ValueError, KeyError, TypeError, Invalid) as error:
            raise Invalid("ticket-invalid", field="ticket") from error


@dataclass(frozen=True, slots=True)
class Claims:
    """What a believed ticket says; everything else is read from the row of that id."""

    ticket_id: int
    redeemer: str
    expires_at: datetime
