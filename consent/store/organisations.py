"""Organisations as decisions need them: kind, own exclusions and lineage, without reading the whole directory."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from consent.facts import SourceSetting
from foundation.direct import Statement, listed_texts


@dataclass(frozen=True, slots=True)
class Organisations:
    """What the directory says of some organisations. One that it does not know has no setting, and is denied."""

    settings: dict[str, SourceSetting] = field(default_factory=dict)
    lineages: dict[str, frozenset[str]] = field(default_factory=dict)
    membership_labels: dict[str, str] = field(default_factory=dict)


def lineage(name: str, begin: str) -> str:
    """Write a table (for WITH RECURSIVE) of organisations, their parents, successors and predecessors, until nobody new is met."""
    return (
        f"{name} (code) AS ({begin} UNION SELECT CAST(CASE w.way WHEN 1 THEN o.ods_code WHEN 2 THEN o.parent "  # noqa: S608
        f"ELSE o.successor END AS text) FROM {name} n JOIN organisation o ON o.ods_code = n.code OR o.successor = n.code "
        "CROSS JOIN (SELECT 1 AS way UNION ALL SELECT 2 UNION ALL SELECT 3) w "
        "WHERE CASE w.way WHEN 1 THEN o.ods_code WHEN 2 THEN o.parent ELSE o.successor END IS NOT NULL)"
    )


LINEAGES = lineage("near", "SELECT value FROM {each_text}")
COLUMNS = "o.ods_code, o.setting, o.parent, o.successor, o.settings"
_READ = Statement.alike(
    f"WITH RECURSIVE {LINEAGES} SELECT {COLUMNS} FROM organisation o WHERE o.ods_code IN (SELECT code FROM near)"  # noqa: S608
)


def read_organisations(tx: Connection, codes: Collection[str]) -> Organisations:
    """Read these organisations, with their lineages."""
    return (
        organisations_from(_READ.rows(tx, listed_texts(tx, sorted(codes))), codes)
        if codes
        else Organisations()
    )


def organisations_from(rows: Iterable[Any], codes: Collection[str]) -> Organisations:
    """Make them of the rows (``COLUMNS``) of these organisations and of all their lineages (``LINEAGES``)."""
    known = {row[0]: row for row in rows}
    after: dict[str, list[str]] = {}
    for code, row in known.items():
        if row[3]:
            after.setdefault(row[3], []).append(code)
    found = Organisations()
    for code in codes:
        found.lineages[code] = _lineage(code, known, after)
        if code not in known:
            continue
        _, kind, _, _, told = known[code]
        choices: dict[str, object] = json.loads(told)
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


def _lineage(code: str, known: dict[str, Any], after: dict[str, list[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [code]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        found.add(here)
        if here in known:
            waiting.extend(up for up in known[here][2:4] if up)
        waiting.extend(after.get(here, ()))
    return frozenset(found)


def _codes(value: object) -> frozenset[str]:
    return frozenset(str(code) for code in value) if isinstance(value, list) else frozenset()
