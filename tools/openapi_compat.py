#!/usr/bin/env python3
"""See whether who was written against the last release can still speak to this one: docs/openapi.json beside the description kept of it.

    tools/openapi_compat.py                what breaks; exit status 1 where something does
    tools/openapi_compat.py --keep         keep the present description as that of the version in it, when it is released

What a request may say may only grow, and what an answer says may not shrink. An answer may gain members, and a list of codes in it values:
clients pass over what they do not know. What is prose may change freely, so a kept description has none.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
PRESENT = ROOT / "docs" / "openapi.json"
KEPT = ROOT / "docs" / "openapi"

Json = Mapping[str, Any]
Direction = Literal["in", "out"]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_PROSE = frozenset(
    {"description", "summary", "example", "examples", "title", "tags", "operationId", "externalDocs"}
)
_NAMED = frozenset(
    {"properties", "schemas", "parameters", "responses", "headers", "paths", "content", "securitySchemes"}
)
"""Members whose own members are named by us: a property may be called ``description``."""
_AT_MOST = ("maxLength", "maximum", "maxItems", "exclusiveMaximum", "maxProperties")
_AT_LEAST = ("minLength", "minimum", "minItems", "exclusiveMinimum", "minProperties")


def breaks(before: Json, now: Json) -> list[str]:
    """Return what breaks, each as a line: where, and what."""
    return sorted(set(_Comparison(before, now).breaks()))


class _Comparison:
    def __init__(self, before: Json, now: Json) -> None:
        self._before, self._now = before, now
        self._seen: set[tuple[str, str, Direction]] = set()

    def breaks(self) -> Iterator[str]:
        later = dict(_operations(self._now))
        for name, old in _operations(self._before):
            new = later.get(name)
            if new is None:
                yield f"{name}: removed"
                continue
            yield from self._security(name, old[0], new[0])
            yield from self._parameters(name, old, new)
            yield from self._body(name, old[0].get("requestBody"), new[0].get("requestBody"))
            yield from self._answers(name, old[0]["responses"], new[0]["responses"])

    # Parts of an operation

    def _security(self, name: str, old: Json, new: Json) -> Iterator[str]:
        ways, later = old.get("security", []), new.get("security", [])
        if not ways and later:
            yield f"{name}: must be signed in"
        for way in ways:
            for scheme, scopes in way.items():
                same = [set(one[scheme]) for one in later if scheme in one]
                if later and not same:
                    yield f"{name}: no longer open to {scheme}"
                elif same and not any(one <= set(scopes) for one in same):
                    yield f"{name}: needs more scopes"

    def _parameters(self, name: str, old: tuple[Json, Json], new: tuple[Json, Json]) -> Iterator[str]:
        ours, theirs = self._named(self._before, old), self._named(self._now, new)
        for place, one in ours.items():
            if place[0] == "path":
                continue  # told by the path, whatever they are called
            later = theirs.get(place)
            where = f"{name} {place[0]} {place[1]}"
            if later is None:
                yield f"{where}: removed"
                continue
            if later.get("required") and not one.get("required"):
                yield f"{where}: now required"
            yield from self._schemas(where, one.get("schema", {}), later.get("schema", {}), "in")
        for place, later in theirs.items():
            if place not in ours and place[0] != "path" and later.get("required"):
                yield f"{name} {place[0]} {place[1]}: new, and required"

    def _named(self, document: Json, operation: tuple[Json, Json]) -> dict[tuple[str, str], Json]:
        listed = [*operation[1].get("parameters", ()), *operation[0].get("parameters", ())]
        found = [_resolved(document, one)[1] for one in listed]
        return {(one["in"], one["name"]): one for one in found}

    def _body(self, name: str, old: Json | None, new: Json | None) -> Iterator[str]:
        if new is not None and new.get("required") and not (old or {}).get("required"):
            yield f"{name} body: now required"
        if old is None:
            return
        if new is None:
            yield f"{name} body: removed"
            return
        for kind, content in old["content"].items():
            if kind not in new["content"]:
                yield f"{name} body: no longer {kind}"
                continue
            yield from self._schemas(
                f"{name} body", content.get("schema", {}), new["content"][kind].get("schema", {}), "in"
            )

    def _answers(self, name: str, old: Json, new: Json) -> Iterator[str]:
        for status, answer in old.items():
            if not status.startswith("2"):
                continue  # refusals are told by their code, in one form
            if status not in new:
                yield f"{name} {status}: removed"
                continue
            before = _resolved(self._before, answer)[1].get("content", {})
            now = _resolved(self._now, new[status])[1].get("content", {})
            for kind, content in before.items():
                if kind not in now:
                    yield f"{name} {status}: no longer {kind}"
                    continue
                yield from self._schemas(
                    f"{name} {status}", content.get("schema", {}), now[kind].get("schema", {}), "out"
                )

    # Schemas

    def _schemas(self, where: str, old: Any, new: Any, direction: Direction) -> Iterator[str]:
        old_name, old = _resolved(self._before, old)
        new_name, new = _resolved(self._now, new)
        if old_name and new_name:
            if (old_name, new_name, direction) in self._seen:
                return  # told where it was met first, or going round
            self._seen.add((old_name, new_name, direction))
        if old_name:
            where = f"{old_name} ({'asked' if direction == 'in' else 'answered'})"
        wide, narrow = (new, old) if direction == "in" else (old, new)
        if alternatives := _alternatives(old) + _alternatives(new):
            del alternatives
            yield from self._any_of(where, wide, narrow, old, direction)
            return
        if not _types(narrow) <= _grown(_types(wide)):
            yield f"{where}: {'takes fewer types' if direction == 'in' else 'may be of more types'}"
        yield from self._members(where, old, new, direction)
        if direction == "in":
            yield from _limits(where, old, new)
        if "items" in old and "items" in new:
            yield from self._schemas(f"{where}[]", old["items"], new["items"], direction)
        more_old, more_new = old.get("additionalProperties"), new.get("additionalProperties")
        if isinstance(more_old, Mapping) and isinstance(more_new, Mapping):
            yield from self._schemas(f"{where}{{}}", more_old, more_new, direction)

    def _members(self, where: str, old: Json, new: Json, direction: Direction) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        must_before, must_now = set(old.get("required", ())), set(new.get("required", ()))
        for name, one in before.items():
            if name not in now:
                yield f"{where}.{name}: removed"
                continue
            yield from self._schemas(f"{where}.{name}", one, now[name], direction)
        if direction == "in":
            yield from (f"{where}.{name}: now required" for name in sorted(must_now - must_before))
        else:
            lost = (must_before - must_now) & now.keys()
            yield from (f"{where}.{name}: may be missing" for name in sorted(lost))

    def _any_of(self, where: str, wide: Json, narrow: Json, old: Json, direction: Direction) -> Iterator[str]:
        """Each alternative of the narrower side must be one of the wider side's."""
        for one in _alternatives(narrow) or [narrow]:
            pairs = (
                (one, other) if narrow is old else (other, one) for other in _alternatives(wide) or [wide]
            )
            if not any(self._fits(before, now, direction) for before, now in pairs):
                yield f"{where}: {'takes fewer forms' if direction == 'in' else 'may be of more forms'}"

    def _fits(self, old: Any, new: Any, direction: Direction) -> bool:
        apart = _Comparison(self._before, self._now)
        apart._seen = set(self._seen)
        return not any(apart._schemas("", old, new, direction))


def _operations(document: Json) -> Iterator[tuple[str, tuple[Json, Json]]]:
    """Yield operations by a name in which path parameters have no names, each with its path."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}", (item[method], item)


def _resolved(document: Json, part: Any) -> tuple[str | None, Json]:
    """Return what a reference leads to, and its name."""
    name = None
    while isinstance(part, Mapping) and "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        found: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return name, part if isinstance(part, Mapping) else {}


def _alternatives(schema: Json) -> list[Any]:
    return [*schema.get("anyOf", ()), *schema.get("oneOf", ())]


_ANY = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def _types(schema: Json) -> frozenset[str]:
    said = schema.get("type")
    if said is None:
        if "enum" in schema:
            return frozenset(_type_of(value) for value in schema["enum"])
        return frozenset({"object"}) if "properties" in schema else _ANY
    return frozenset([said] if isinstance(said, str) else said)


def _type_of(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _grown(types: frozenset[str]) -> frozenset[str]:
    return types | ({"integer"} if "number" in types else set())


def _limits(where: str, old: Json, new: Json) -> Iterator[str]:
    """Say which values were taken and are not any more."""
    if "enum" in new and ("enum" not in old or not set(map(str, old["enum"])) <= set(map(str, new["enum"]))):
        yield f"{where}: takes fewer codes"
    for name in _AT_MOST:
        if name in new and (name not in old or new[name] < old[name]):
            yield f"{where}: {name} is smaller"
    for name in _AT_LEAST:
        if name in new and (name not in old or new[name] > old[name]):
            yield f"{where}: {name} is greater"
    for name in ("pattern", "format"):
        if name in new and new[name] != old.get(name):
            yield f"{where}: another {name}"


# What is kept --------------------------------------------------------------------------------------------------------


def without_prose(part: Any, *, is_named: bool = False) -> Any:
    """Return a description without what only people read."""
    if isinstance(part, list):
        return [without_prose(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: without_prose(one, is_named=not is_named and name in _NAMED)
        for name, one in part.items()
        if is_named or name not in _PROSE
    }


def _order(path: Path) -> tuple[int, ...]:
    return tuple(map(int, path.stem.split(".")))


def last_release() -> Path:
    """Return the description of the newest version that is kept."""
    return max(KEPT.glob("*.json"), key=_order)


def main() -> None:
    ask = argparse.ArgumentParser(
        prog="tools/openapi_compat.py", description="See what a release would break."
    )
    ask.add_argument(
        "--keep", action="store_true", help="keep the present description as that of its version"
    )
    given = ask.parse_args()
    present = json.loads(PRESENT.read_text(encoding="utf-8"))
    if given.keep:
        path = KEPT / f"{present['info']['version']}.json"
        KEPT.mkdir(exist_ok=True)
        path.write_text(json.dumps(without_prose(present), separators=(",", ":")) + "\n", encoding="utf-8")
        print(f"Kept {path.relative_to(ROOT)}")
        return
    path = last_release()
    found = breaks(json.loads(path.read_text(encoding="utf-8")), present)
    for line in found:
        print(line)
    print(f"{len(found)} breaks since {path.stem}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
