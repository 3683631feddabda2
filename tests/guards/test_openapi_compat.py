"""No change of the API breaks who was written against the last release; and the check sees each kind of break that is planted."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.openapi_compat import PRESENT, breaks, last_release, without_prose

Change = Callable[[dict[str, Any]], Any]


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_nothing_breaks_who_was_written_against_the_last_release():
    assert breaks(read(last_release()), read(PRESENT)) == [], (
        "Old clients would break. Keep what was, beside what is new; what cannot be kept is another version of the address."
    )


def test_the_last_release_is_kept_without_prose_and_breaks_nothing_of_itself():
    kept, present = read(last_release()), read(PRESENT)

    assert without_prose(kept) == kept
    assert breaks(kept, kept) == []
    assert breaks(without_prose(present), present) == breaks(present, without_prose(present)) == []
    assert "description" not in json.dumps(kept["paths"]["/api/v1/match"])
    assert "description" in str(without_prose({"properties": {"description": {"type": "string"}}}))


BEFORE: dict[str, Any] = {
    "paths": {
        "/things/{thing_id}": {
            "parameters": [
                {"in": "path", "name": "thing_id", "required": True, "schema": {"type": "string"}}
            ],
            "get": {
                "security": [{"oauth2": ["read", "see"]}, {"session": []}],
                "parameters": [
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 50}},
                    {"$ref": "#/components/parameters/Trace"},
                ],
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
                            "text/csv": {"schema": {"type": "string"}},
                        }
                    },
                    "404": {"description": "Nothing"},
                },
            },
            "put": {
                "security": [],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewThing"}}}
                },
                "responses": {"201": {"description": "Made"}, "200": {"description": "Changed"}},
            },
        }
    },
    "components": {
        "parameters": {"Trace": {"in": "header", "name": "X-Trace", "schema": {"type": "string"}}},
        "schemas": {
            "Thing": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "size": {"type": "integer"},
                    "state": {"type": "string", "enum": ["open", "closed"]},
                    "part": {"anyOf": [{"$ref": "#/components/schemas/Thing"}, {"type": "null"}]},
                    "notes": {"type": "array", "items": {"type": "string"}},
                    "more": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
            "NewThing": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 10, "minLength": 1},
                    "kind": {"type": "string", "enum": ["a", "b"]},
                    "size": {"type": ["integer", "null"]},
                    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
                    "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                },
            },
        },
    },
}


def changed(change: Change) -> list[str]:
    after = copy.deepcopy(BEFORE)
    change(after)
    return breaks(BEFORE, after)


def thing(document: dict[str, Any]) -> dict[str, Any]:
    return document["components"]["schemas"]["Thing"]["properties"]


def new_thing(document: dict[str, Any]) -> dict[str, Any]:
    return document["components"]["schemas"]["NewThing"]["properties"]


def of(document: dict[str, Any], method: str) -> dict[str, Any]:
    return document["paths"]["/things/{thing_id}"][method]


def put(where: dict[str, Any], **more: Any) -> None:
    where.update(more)


GET, PUT = "GET /things/{}", "PUT /things/{}"
# ruff: noqa: E501
BREAKS: list[tuple[str, Change]] = [
    (f"{GET}: removed", lambda d: d["paths"]["/things/{thing_id}"].pop("get")),
    (f"{PUT}: removed", lambda d: d["paths"]["/things/{thing_id}"].pop("put")),
    (f"{GET}: needs more scopes", lambda d: of(d, "get")["security"][0]["oauth2"].append("write")),
    (f"{GET}: no longer open to session", lambda d: of(d, "get")["security"].pop()),
    (f"{PUT}: must be signed in", lambda d: of(d, "put")["security"].append({"session": []})),
    (f"{GET} query limit: removed", lambda d: of(d, "get")["parameters"].pop(0)),
    (f"{GET} query limit: now required", lambda d: put(of(d, "get")["parameters"][0], required=True)),
    (f"{GET} query limit: maximum is smaller", lambda d: put(of(d, "get")["parameters"][0]["schema"], maximum=49)),
    (f"{GET} query q: new, and required", lambda d: of(d, "get")["parameters"].append({"in": "query", "name": "q", "required": True})),
    (f"{GET} header X-Trace: takes fewer types", lambda d: put(d["components"]["parameters"]["Trace"]["schema"], type="integer")),
    (f"{GET} 200: removed", lambda d: of(d, "get")["responses"].pop("200")),
    (f"{GET} 200: no longer text/csv", lambda d: of(d, "get")["responses"]["200"]["content"].pop("text/csv")),
    (f"{PUT} 201: removed", lambda d: of(d, "put")["responses"].pop("201")),
    (f"{PUT} body: now required", lambda d: put(of(d, "put")["requestBody"], required=True)),
    (f"{PUT} body: removed", lambda d: of(d, "put").pop("requestBody")),
    (f"{PUT} body: no longer application/json", lambda d: put(of(d, "put")["requestBody"], content={"text/plain": {}})),
    ("Thing (answered).size: removed", lambda d: thing(d).pop("size")),
    ("Thing (answered).name: may be missing", lambda d: put(d["components"]["schemas"]["Thing"], required=[])),
    ("Thing (answered).size: may be of more types", lambda d: put(thing(d)["size"], type=["integer", "null"])),
    ("Thing (answered).size: may be of more types", lambda d: put(thing(d)["size"], type="number")),
    ("Thing (answered).size: may be of more types", lambda d: thing(d).__setitem__("size", {})),
    ("Thing (answered).notes[]: may be of more types", lambda d: put(thing(d)["notes"]["items"], type="integer")),
    ("Thing (answered).more{}: may be of more types", lambda d: put(thing(d)["more"]["additionalProperties"], type="integer")),
    ("Thing (answered).part: may be of more forms", lambda d: thing(d)["part"]["anyOf"].append({"type": "string"})),
    ("NewThing (asked).kind: removed", lambda d: new_thing(d).pop("kind")),
    ("NewThing (asked).kind: now required", lambda d: put(d["components"]["schemas"]["NewThing"], required=["name", "kind"])),
    ("NewThing (asked).owner: now required", lambda d: put(d["components"]["schemas"]["NewThing"], required=["name", "owner"]) or put(new_thing(d), owner={})),
    ("NewThing (asked).kind: takes fewer codes", lambda d: put(new_thing(d)["kind"], enum=["a"])),
    ("NewThing (asked).name: takes fewer codes", lambda d: put(new_thing(d)["name"], enum=["a"])),
    ("NewThing (asked).size: takes fewer types", lambda d: put(new_thing(d)["size"], type="integer")),
    ("NewThing (asked).name: maxLength is smaller", lambda d: put(new_thing(d)["name"], maxLength=9)),
    ("NewThing (asked).name: minLength is greater", lambda d: put(new_thing(d)["name"], minLength=2)),
    ("NewThing (asked).name: another pattern", lambda d: put(new_thing(d)["name"], pattern="^a$")),
    ("NewThing (asked).tags: minItems is greater", lambda d: put(new_thing(d)["tags"], minItems=1)),
    ("NewThing (asked).either: takes fewer forms", lambda d: new_thing(d)["either"]["anyOf"].pop()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "change"), BREAKS, ids=[f"{line}-{place}" for place, (line, _) in enumerate(BREAKS)]
)
def test_a_planted_break_is_seen(line: str, change: Change):
    assert line in changed(change)


GROWTH: dict[str, Change] = {
    "a route": lambda d: put(d["paths"], **{"/more": {"get": {"responses": {}}}}),
    "another name of a path parameter": lambda d: put(d["paths"], **{"/things/{id}": d["paths"].pop("/things/{thing_id}")}),
    "fewer scopes": lambda d: put(of(d, "get")["security"][0], oauth2=["read"]),
    "no sign-in": lambda d: put(of(d, "get"), security=[]),
    "an optional parameter": lambda d: of(d, "get")["parameters"].append({"in": "query", "name": "q"}),
    "a greater limit": lambda d: put(of(d, "get")["parameters"][0]["schema"], maximum=500),
    "a member of an answer": lambda d: put(thing(d), colour={"type": "string"}),
    "a member that always comes": lambda d: put(d["components"]["schemas"]["Thing"], required=["name", "size"]),
    "a code in an answer": lambda d: thing(d)["state"]["enum"].append("gone"),
    "a form less in an answer": lambda d: thing(d)["part"]["anyOf"].pop(),
    "an optional member of a question": lambda d: put(new_thing(d), owner={"type": "string"}),
    "a code in a question": lambda d: new_thing(d)["kind"]["enum"].append("c"),
    "any text for a code": lambda d: new_thing(d)["kind"].pop("enum"),
    "a type in a question": lambda d: put(new_thing(d)["name"], type=["string", "null"]),
    "numbers for whole numbers": lambda d: put(new_thing(d)["size"], type=["number", "null"]),
    "a form in a question": lambda d: new_thing(d)["either"]["anyOf"].append({"type": "boolean"}),
    "no longer required": lambda d: put(d["components"]["schemas"]["NewThing"], required=[]),
    "another refusal": lambda d: of(d, "get")["responses"].pop("404"),
    "prose": lambda d: put(of(d, "get"), description="Otherwise."),
}  # fmt: skip


@pytest.mark.parametrize("change", GROWTH.values(), ids=GROWTH)
def test_what_only_grows_breaks_nothing(change: Change):
    assert changed(change) == []
