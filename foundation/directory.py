"""The directory of organisations, by ODS code, with what they are, whom they belong to and who succeeded them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import CheckConstraint, Column, Connection, Date, String, Table, select

from foundation.database import Json, metadata, upsert
from foundation.errors import Invalid, NotFound

SETTINGS = (
    "acute",
    "mental-health",
    "community",
    "ambulance",
    "practice",
    "care-home",
    "social-care",
    "pharmacy",
    "hospice",
    "other",
)

organisation = Table(
    "organisation",
    metadata,
    Column("ods_code", String(10), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("setting", String(20), nullable=False),
    Column("parent", String(10)),
    Column("successor", String(10)),
    Column("opened_on", Date),
    Column("closed_on", Date),
    Column("choices", Json, nullable=False),
    CheckConstraint(
        "closed_on is null or opened_on is null or closed_on >= opened_on", name="closes_after_opening"
    ),
)


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation. ``choices`` are its own settings, such as the categories that it never shares."""

    ods_code: str
    name: str
    setting: str
    parent: str | None = None
    successor: str | None = None
    opened_on: date | None = None
    closed_on: date | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)


_COLUMNS = tuple(Organisation.__dataclass_fields__)


def put_organisation(tx: Connection, one: Organisation) -> None:
    """Add an organisation or replace what is known of it.

    Raises:
        Invalid: ``ods-code-format``, ``organisation-setting-unknown``, or ``organisation-parent-self``.
    """
    code = one.ods_code
    if not (3 <= len(code) <= 10 and code.isascii() and code.isalnum() and code == code.upper()):
        raise Invalid("ods-code-format", field="ods_code")
    if one.setting not in SETTINGS:
        raise Invalid("organisation-setting-unknown", field="setting")
    if code in (one.parent, one.successor):
        raise Invalid("organisation-parent-self", field="parent")
    row = {name: getattr(one, name) for name in _COLUMNS} | {"choices": dict(one.choices)}
    upsert(tx, organisation, [row], ["ods_code"], _COLUMNS[1:])


def find_organisation(tx: Connection, ods_code: str) -> Organisation | None:
    row = tx.execute(select(organisation).where(organisation.c.ods_code == ods_code)).first()
    return Organisation(*row) if row else None


def get_organisation(tx: Connection, ods_code: str) -> Organisation:
    """Return an organisation.

    Raises:
        NotFound: ``organisation-unknown``.
    """
    found = find_organisation(tx, ods_code)
    if found is None:
        raise NotFound("organisation-unknown", field="organisation")
    return found


def list_organisations(tx: Connection, ods_codes: Iterable[str] | None = None) -> list[Organisation]:
    """Return organisations in order of code: all, or those named."""
    statement = select(organisation).order_by(organisation.c.ods_code)
    if ods_codes is not None:
        statement = statement.where(organisation.c.ods_code.in_(sorted(set(ods_codes))))
    return [Organisation(*row) for row in tx.execute(statement)]


def known_codes(tx: Connection) -> frozenset[str]:
    """Return every ODS code that the directory knows."""
    return frozenset(tx.execute(select(organisation.c.ods_code)).scalars())


def lineage(tx: Connection, ods_code: str) -> frozenset[str]:
    """Return an organisation with its parents, successors and predecessors: naming one of them means all.

    Siblings are not in it: two sites of one trust are reached through the trust only when the trust is named.
    """
    everyone = {one.ods_code: one for one in list_organisations(tx)}
    found: set[str] = set()
    waiting = [ods_code]
    while waiting:
        code = waiting.pop()
        if code in found:
            continue
        found.add(code)
        one = everyone.get(code)
        if one is not None:
            waiting.extend(up for up in (one.parent, one.successor) if up)
        waiting.extend(other.ods_code for other in everyone.values() if other.successor == code)
    return frozenset(found)
