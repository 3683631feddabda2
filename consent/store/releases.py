"""Tickets and their use: one row each, the use unique."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from consent.facts import Cell
from consent.store.tables import release_ticket, release_use
from foundation.database import insert_ignore


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was promised, to whom, and the question it answered, so that the question can be asked again."""

    ticket_id: int
    decision_id: int
    person_id: int
    redeemer: str
    asked_by: Mapping[str, Any]
    cells: tuple[Cell, ...]
    epoch: int
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Use:
    """The one use of a ticket, with the answer that was given."""

    ticket_id: int
    client_id: str
    items_digest: str
    decision_id: int
    answer: Mapping[str, Any]
    used_at: datetime


def insert_ticket(tx: Connection, ticket: Ticket) -> None:
    tx.execute(
        insert(release_ticket),
        {
            "ticket_id": ticket.ticket_id,
            "decision_id": ticket.decision_id,
            "person_id": ticket.person_id,
            "redeemer": ticket.redeemer,
            "asked_by": dict(ticket.asked_by),
            "cells": [[cell.category, cell.label, cell.source] for cell in ticket.cells],
            "epoch": ticket.epoch,
            "issued_at": ticket.issued_at,
            "expires_at": ticket.expires_at,
        },
    )


def read_ticket(tx: Connection, ticket_id: int) -> Ticket | None:
    row = tx.execute(select(release_ticket).where(release_ticket.c.ticket_id == ticket_id)).first()
    if row is None:
        return None
    return Ticket(
        ticket_id=row.ticket_id,
        decision_id=row.decision_id,
        person_id=row.person_id,
        redeemer=row.redeemer,
        asked_by=row.asked_by,
        cells=tuple(Cell(*cell) for cell in row.cells),
        epoch=row.epoch,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
    )


def insert_use(tx: Connection, use: Use) -> bool:
    """Take the ticket's one use; False when it is taken already.

    On PostgreSQL a second redemption waits here until the first has committed or gone.
    """
    row = {
        "ticket_id": use.ticket_id,
        "client_id": use.client_id,
        "items_digest": use.items_digest,
        "decision_id": use.decision_id,
        "answer": dict(use.answer),
        "used_at": use.used_at,
    }
    return insert_ignore(tx, release_use, [row], ["ticket_id"]) == 1


def read_use(tx: Connection, ticket_id: int) -> Use | None:
    row = tx.execute(select(release_use).where(release_use.c.ticket_id == ticket_id)).first()
    if row is None:
        return None
    return Use(row.ticket_id, row.client_id, row.items_digest, row.decision_id, row.answer, row.used_at)
