"""The whole application with people, a task and a directive in it, its description, and questions at random that are held against it."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from app import create_app
from foundation.auth.roles import SCOPES
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from foundation.web import openapi_document
from tests.service.consent_world import AMBULANCE, PRACTICE, SLAM, a_possible_duplicate, a_world
from tests.web.foundation_caller import bearer, register_client

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
_METHODS = ("get", "put", "post", "delete", "patch")

DOCUMENT: dict[str, Any] = openapi_document(
    create_app(Settings.from_environment({"MPI_HOME": tempfile.gettempdir()}))
)
OPERATIONS = [
    (method.upper(), path)
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
    if method in _METHODS
]


# What can be asked rightly, and wrongly too where an operation takes anything that could be wrong.
QUESTIONS = [
    (method, path, mode)
    for method, path in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE
    or "requestBody" in (operation := DOCUMENT["paths"][path][method.lower()])
    or len(operation["parameters"]) > 1
    or "{" in path
]


NAMES = [f"{method} {path} {mode.value}" for method, path, mode in QUESTIONS]


@dataclass
class Described:
    """An application, its description as it serves it, and the headers of a caller with every scope."""

    schema: Any
    headers: dict[str, str]
    known: dict[str, list[str]]  # ids that are there, by the name of the argument


def describe(db: Database) -> Described:
    clock = FixedClock(datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
    world = a_world(db, clock)
    a_possible_duplicate(world)
    register_client(db, clock, "hub", *SCOPES, organisations=frozenset({SLAM, PRACTICE, AMBULANCE}))
    app: Flask = create_app(Settings.from_environment({}), database=db, clock=clock)
    headers = bearer(app, "hub")
    client = app.test_client()
    wish = {"kind": "objection", "scope": {"kind": "purpose", "code": "HRESCH"}, "received_by": PRACTICE}
    told = client.post("/api/v1/directives", json=wish | {"person_id": str(world.she)}, headers=headers)
    tasks = client.get("/api/v1/tasks", headers=headers).json["tasks"]
    # Nobody listens there: what is sent to it comes to nothing at once.
    hook = {"client_id": "hub", "url": "http://127.0.0.1:9/", "topics": ["person.changed"]}
    made = client.post("/api/v1/webhooks", json=hook, headers=headers).json
    known = {
        "person_id": [str(world.she)],
        "task_id": [task["task_id"] for task in tasks],
        "directive_id": [told.json["directive_id"]],
        "resource_id": [str(world.she)],
        "consent_id": [told.json["directive_id"]],
        "webhook_id": [made["webhook_id"]],
        "ods_code": [PRACTICE, SLAM],
        "organisation": [PRACTICE, SLAM],
    }
    return Described(schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app), headers, known)


def expect_answers_as_described(
    described: Described, method: str, path: str, mode: GenerationMode, examples: int
) -> None:
    """Ask one operation this often, the same questions on every run, and fail where an answer is not as it is described."""
    operation = described.schema[path][method]
    places = sorted(name for name in described.known if f"{{{name}}}" in path)
    theirs = st.fixed_dictionaries({name: st.sampled_from(described.known[name]) for name in places})

    @given(case=operation.as_strategy(generation_mode=mode), there=st.none() | theirs)
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any, there: dict[str, str] | None) -> None:
        if there and mode is GenerationMode.POSITIVE:
            # What is not there would be all that was ever asked for.
            case.path_parameters.update(there)
        case.headers = {**(case.headers or {}), **described.headers}
        case.call_and_validate(checks=_CHECKS)

    ask()
