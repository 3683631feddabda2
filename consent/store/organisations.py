"""Organisations as decisions need them: kind, own exclusions and lineage, without reading the whole directory."""

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import Connection, or_, select

from consent.facts import SourceSetting
from foundation.directory import organisation

_LONGEST_CHAIN = 12  # site, trust, two mergers, their parents: a longer chain is a circle


@dataclass(frozen=True, slots=True)
class Organisations:
    """What the directory says of some organisations. One that it does not know has no setting, and is denied."""

    settings: dict[str, SourceSetting] = field(default_factory=dict)
    lineages: dict[str, frozenset[str]] = field(default_factory=dict)
    membership_labels: dict[str, str] = field(default_factory=dict)


def read_organisations(tx: Connection, codes: Collection[str]) -> Organisations:
    """Read these organisations, with their parents, successors and predecessors, a generation a statement."""
    rows: dict[str, tuple[str, str | None, str | None, dict[str, object]]] = {}
    asked: set[str] = set()
    wave = set(codes)
    for _ in range(_LONGEST_CHAIN):
        if not wave:
            break
        asked |= wave
        statement = select(
            organisation.c.ods_code,
            organisation.c.setting,
            organisation.c.parent,
            organisation.c.successor,
            organisation.c.settings,
        ).where(or_(organisation.c.ods_code.in_(wave), organisation.c.successor.in_(wave)))
        for row in tx.execute(statement):
            rows[row.ods_code] = (row.setting, row.parent, row.successor, row.settings)
        near = {up for _, parent, successor, _ in rows.values() for up in (parent, successor) if up}
        wave = (near | set(rows)) - asked
    found = Organisations()
    for code in codes:
        found.lineages[code] = _lineage(code, rows)
        if code in rows:
            kind, _, _, choices = rows[code]
            found.settings[code] = SourceSetting(
                organisation=code,
                kind=kind,
                excluded_categories=_codes(choices.get("excluded_categories")),
                excluded_labels=_codes(choices.get("excluded_labels")),
            )
            label = choices.get("membership_label")
            # That a mental-health trust knows someone is itself sensitive.
            default = "PSY" if kind == "mental-health" else "N"
            found.membership_labels[code] = label if isinstance(label, str) else default
    return found


def _lineage(
    code: str, rows: dict[str, tuple[str, str | None, str | None, dict[str, object]]]
) -> frozenset[str]:
    found: set[str] = set()
    waiting = [code]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        found.add(here)
        if here in rows:
            waiting.extend(up for up in rows[here][1:3] if up)
        waiting.extend(other for other, row in rows.items() if row[2] == here)
    return frozenset(found)


def _codes(value: object) -> frozenset[str]:
    return frozenset(str(code) for code in value) if isinstance(value, list) else frozenset()
