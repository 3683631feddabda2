"""Which searches were alike in the last day: by marks from the sealed log, never by what was asked."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from consent.store.tables import search_seen
from foundation.audit import audit_event
from foundation.database import insert_ignore
from foundation.sealing.tables import audit_leaf

EVERY = "every"
"""Under which each search of a caller is kept, whatever it is like."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who searches: a user, or a system by itself, of an organisation."""

    organisation: str
    user_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Search:
    """A search as the log has it: its mark, what it is alike by, and the person who fitted best; None where nobody did."""

    event_id: int
    at: datetime
    caller: Caller
    mark: str
    alike: tuple[str, ...]
    by_name: str | None
    person_id: int | None


@dataclass(frozen=True, slots=True)
class SeenSearch:
    at: datetime
    mark: str
    person_id: int | None


def read_searches(tx: Connection, since: int, until: int) -> list[Search]:
    """Return the searches among sealed rows from one leaf to another, that one left out; each by the row of the person who fitted best."""
    statement = (
        select(
            audit_event.c.event_id,
            audit_event.c.at,
            audit_event.c.organisation,
            audit_event.c.actor_id,
            audit_event.c.person_id,
            audit_event.c.detail,
        )
        .join(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id)
        .where(
            audit_leaf.c.leaf_index >= since,
            audit_leaf.c.leaf_index < until,
            audit_event.c.kind == "person-searched",
        )
        .order_by(audit_event.c.event_id)
    )
    found = []
    for event_id, at, organisation, actor_id, person_id, detail in tx.execute(statement):
        asked = (detail or {}).get("asked")
        if asked is None or actor_id is None:
            continue
        alike = tuple(f"{kind} {mark}" for kind, mark in sorted(asked.get("alike", {}).items()))
        by_name = f"name {asked['by_name']}" if "by_name" in asked else None
        caller = Caller(organisation or "unknown", actor_id)
        found.append(Search(event_id, at, caller, asked["mark"], alike, by_name, person_id))
    return found


def add_searches(tx: Connection, searches: Iterable[tuple[Search, Collection[str]]]) -> None:
    """Keep searches under what each is alike by. The caller holds the mark of the log."""
    rows = [
        {
            "organisation": one.caller.organisation,
            "user_id": one.caller.user_id,
            "alike": alike,
            "mark": one.mark,
            "at": one.at,
            "person_id": one.person_id,
        }
        for one, groups in searches
        for alike in (*groups, EVERY)
    ]
    insert_ignore(tx, search_seen, rows, ["organisation", "user_id", "alike", "mark"])


def read_alike(
    tx: Connection, caller: Caller, groups: Collection[str], since: datetime, more_than: int
) -> dict[str, list[SeenSearch]]:
    """Return a caller's searches since then, by what they are alike by, where there are more than so many."""
    found: dict[str, list[SeenSearch]] = defaultdict(list)
    listed = sorted(groups)
    of_caller = (
        search_seen.c.organisation == caller.organisation,
        search_seen.c.user_id == caller.user_id,
        search_seen.c.at >= since,
    )
    for start in range(0, len(listed), 500):
        among = listed[start : start + 500]
        many = (
            select(search_seen.c.alike)
            .where(*of_caller, search_seen.c.alike.in_(among))
            .group_by(search_seen.c.alike)
            .having(func.count() > more_than)
        )
        large = list(tx.scalars(many))
        statement = select(
            search_seen.c.alike, search_seen.c.at, search_seen.c.mark, search_seen.c.person_id
        ).where(*of_caller, search_seen.c.alike.in_(large))
        for alike, at, mark, person_id in tx.execute(statement) if large else ():
            found[alike].append(SeenSearch(at, mark, person_id))
    return dict(found)


def count_searches(tx: Connection, caller: Caller, after: datetime, until: datetime) -> int:
    """Count the different searches of a caller after one instant, up to another."""
    statement = select(func.count()).where(
        search_seen.c.organisation == caller.organisation,
        search_seen.c.user_id == caller.user_id,
        search_seen.c.alike == EVERY,
        search_seen.c.at > after,
        search_seen.c.at <= until,
    )
    return tx.scalar(statement) or 0


def forget_searches(tx: Connection, before: datetime) -> None:
    tx.execute(delete(search_seen).where(search_seen.c.at < before))
