"""What two rule sets say otherwise: their documents compared part by part, rows by their ids."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_IDS = {"rows": "id", "tiers": "tier"}
ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs. ``part`` of the document and ``name`` in it; ``before`` and ``after`` as JSON texts, a dash for nothing.

    ``field`` is the attribute of a row that differs; empty where the whole row came or went.
    """

    part: str
    name: str
    field: str
    change: Literal["added", "removed", "changed"]
    before: str
    after: str


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Compare two documents, in the order of their parts: what is the same is left out."""
    found: list[Difference] = []
    for part in dict.fromkeys((*after, *before)):
        one, other = before.get(part), after.get(part)
        if one == other:
            continue
        if part in _IDS:
            found += _of_rows(part, _by_id(one, _IDS[part]), _by_id(other, _IDS[part]))
        elif isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _of_entries(part, one, other)
        else:
            found.append(_difference(part, part, "", one, other))
    return tuple(found)


def _by_id(rows: Any, name: str) -> dict[str, Any]:
    return {str(row[name]): row for row in rows or ()}


def _of_rows(part: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    found = []
    for name in dict.fromkeys((*after, *before)):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            found.append(_difference(part, name, "", one, other))
            continue
        found += [
            _difference(part, name, field, one.get(field), other.get(field))
            for field in dict.fromkeys((*other, *one))
            if one.get(field) != other.get(field)
        ]
    return found


def _of_entries(part: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    return [
        _difference(part, name, "", before.get(name), after.get(name))
        for name in dict.fromkeys((*after, *before))
        if before.get(name) != after.get(name)
    ]


def _difference(part: str, name: str, field: str, before: Any, after: Any) -> Difference:
    change: Literal["added", "removed", "changed"] = (
        "added" if before is None else "removed" if after is None else "changed"
    )
    return Difference(part, name, field, change, _written(before), _written(after))


def _written(value: Any) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
