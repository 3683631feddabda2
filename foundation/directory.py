"""The directory of organisations: who they are by ODS code, in which setting they work, whom they belong to and who came after."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Date,
    Index,
    Row,
    String,
    Table,
    Text,
    func,
    or_,
    select,
)

from foundation.database import Json, metadata, upsert
from foundation.direct import Statement, listed_texts
from foundation.errors import Invalid, NotFound

SETTINGS = (
    "acute",
    "mental-health",
    "ambulance",
    "community",
    "practice",
    "care-home",
    "borough",
    "neighbour",
    "other",
)
_ODS_CODE = re.compile(r"[0-9A-Z]{3,10}")
_NAME_LENGTH = 200
_LONGEST_CHAIN = 20

organisation = Table(
    "organisation",
    metadata,
    Column("ods_code", String(10), primary_key=True),
    Column("name", Text, nullable=False),
    Column("setting", String(20), nullable=False),
    Column("parent", String(10)),
    Column("successor", String(10)),
    Column("opened_on", Date),
    Column("closed_on", Date),
    Column("settings", Json, nullable=False),
    CheckConstraint(f"setting in {SETTINGS}", name="setting_is_known"),
    CheckConstraint(
        "closed_on is null or opened_on is null or closed_on >= opened_on", name="closes_after_opening"
    ),
    CheckConstraint("successor is null or successor <> ods_code", name="successor_is_another"),
    CheckConstraint("parent is null or parent <> ods_code", name="parent_is_another"),
    Index("ix_organisation_parent", "parent"),
    Index("ix_organisation_successor", "successor"),
)


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation of the region or a neighbour; codes are compared exactly, in upper case."""

    ods_code: str
    name: str
    setting: str
    parent: str | None = None
    successor: str | None = None
    opened_on: date | None = None
    closed_on: date | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def is_open(self, on: date) -> bool:
        return (self.opened_on is None or self.opened_on <= on) and (
            self.closed_on is None or on < self.closed_on
        )


def parse_ods_code(text: str, field: str = "organisation") -> str:
    """Read an ODS code: 3 to 10 characters of 0-9 and A-Z.

    Raises:
        Invalid: ``organisation-format``.
    """
    if not isinstance(text, str) or not _ODS_CODE.fullmatch(text):
        raise Invalid("organisation-format", field=field)
    return text


def put_organisation(tx: Connection, given: Organisation) -> Organisation:
    """Record an organisation, or replace what was recorded of it.

    Raises:
        Invalid: naming the field. A parent and a successor must be there first; a chain of parents may not bite its tail.
    """
    parse_ods_code(given.ods_code, "ods_code")
    if not given.name.strip() or len(given.name) > _NAME_LENGTH or not given.name.isprintable():
        raise Invalid("name-format", field="name")
    if given.setting not in SETTINGS:
        raise Invalid("setting-unknown", field="setting")
    if given.opened_on and given.closed_on and given.closed_on < given.opened_on:
        raise Invalid("closed-before-opened", field="closed_on")
    for name in ("parent", "successor"):
        _check_chain(tx, given, name)
    row = {column.name: getattr(given, column.name) for column in organisation.columns}
    row["settings"] = dict(given.settings)
    upsert(tx, organisation, [row], ["ods_code"], [name for name in row if name != "ods_code"])
    return given


def _check_chain(tx: Connection, given: Organisation, name: str) -> None:
    other = getattr(given, name)
    if other is None:
        return
    parse_ods_code(other, name)
    column = organisation.c[name]
    for _ in range(_LONGEST_CHAIN):
        if other == given.ods_code:
            raise Invalid(f"{name}-circular", field=name)
        row = tx.execute(
            select(organisation.c.ods_code, column).where(organisation.c.ods_code == other)
        ).first()
        if row is None:
            raise Invalid("organisation-unknown", field=name)
        if row[1] is None:
            return
        other = row[1]
    raise Invalid(f"{name}-too-deep", field=name)


_KNOWN = Statement.alike(
    "SELECT ods_code FROM organisation WHERE ods_code IN (SELECT value FROM {each_text})"
)


def known_codes(tx: Connection, codes: Collection[str]) -> set[str]:
    """Return those of these codes that the directory has."""
    return {row[0] for row in _KNOWN.rows(tx, listed_texts(tx, codes))}


def find_organisation(tx: Connection, ods_code: str) -> Organisation | None:
    row = tx.execute(select(organisation).where(organisation.c.ods_code == ods_code)).first()
    return None if row is None else _from_row(row)


def settings_of(tx: Connection, ods_codes: Collection[str]) -> dict[str, str]:
    """Return in which setting each of these organisations works; one that the directory does not know is left out."""
    if not ods_codes:
        return {}
    statement = select(organisation.c.ods_code, organisation.c.setting)
    rows = tx.execute(statement.where(organisation.c.ods_code.in_(sorted(ods_codes))))
    return {row[0]: row[1] for row in rows}


def names_of(tx: Connection, ods_codes: Collection[str]) -> dict[str, str]:
    """Return the names of those of these organisations that are known."""
    if not ods_codes:
        return {}
    columns = (organisation.c.ods_code, organisation.c.name)
    found = tx.execute(select(*columns).where(organisation.c.ods_code.in_(sorted(ods_codes))))
    return {row[0]: row[1] for row in found}


def get_organisation(tx: Connection, ods_code: str) -> Organisation:
    """Return an organisation as it stands in the database: one row by primary key, so no copy of it is kept that could grow stale.

    Raises:
        NotFound: ``organisation-unknown``.
    """
    found = find_organisation(tx, ods_code)
    if found is None:
        raise NotFound("organisation-unknown")
    return found


def list_organisations(
    tx: Connection, *, setting: str | None = None, after: str | None = None, limit: int | None = None
) -> Sequence[Organisation]:
    """Return organisations in order of code, from the one after ``after``."""
    statement = select(organisation).order_by(organisation.c.ods_code)
    if setting is not None:
        statement = statement.where(organisation.c.setting == setting)
    if after is not None:
        statement = statement.where(organisation.c.ods_code > after)
    if limit is not None:
        statement = statement.limit(limit)
    return [_from_row(row) for row in tx.execute(statement)]


def one_of_each_setting(tx: Connection, on: date, among: Collection[str] | None = None) -> list[Organisation]:
    """Return of each setting the organisation with the first code that is not closed on a day, in the order of ``SETTINGS``.

    Args:
        among: only of these; None for all.
    """
    is_there = or_(organisation.c.closed_on.is_(None), organisation.c.closed_on > on)
    first = select(func.min(organisation.c.ods_code)).where(is_there).group_by(organisation.c.setting)
    if among is not None:
        first = first.where(organisation.c.ods_code.in_(sorted(among)))
    found = tx.execute(select(organisation).where(organisation.c.ods_code.in_(first)))
    return sorted(map(_from_row, found), key=lambda one: SETTINGS.index(one.setting))


def with_ancestors(tx: Connection, ods_code: str) -> tuple[str, ...]:
    """Return the code itself and those of its parents, nearest first; an unknown code stands alone."""
    chain = [ods_code]
    while len(chain) <= _LONGEST_CHAIN:
        parent = tx.execute(
            select(organisation.c.parent).where(organisation.c.ods_code == chain[-1])
        ).scalar_one_or_none()
        if parent is None or parent in chain:
            break
        chain.append(parent)
    return tuple(chain)


def _from_row(row: Row[Any]) -> Organisation:
    return Organisation(**row._mapping)
