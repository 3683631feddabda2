"""The description and the service agree: what is described is served, and what is served is as described, for right and for wrong input."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from schemathesis import GenerationMode

from foundation.auth.roles import SCOPES
from foundation.database import Database
from tests.web.described import (
    DOCUMENT,
    NAMES,
    OPERATIONS,
    QUESTIONS,
    Described,
    describe,
    expect_answers_as_described,
)

# A few of each; tests/long/test_openapi_long.py asks further, and on both engines.
EXAMPLES = 3


@pytest.fixture(scope="module")
def described(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    path = tmp_path_factory.mktemp("openapi") / "mpi.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    db = Database(f"sqlite:///{path}")
    yield describe(db)
    db.close()


@pytest.mark.parametrize(("method", "path", "mode"), QUESTIONS, ids=NAMES)
def test_every_operation_answers_as_it_is_described(
    described: Described, method: str, path: str, mode: GenerationMode
):
    expect_answers_as_described(described, method, path, mode, EXAMPLES)


# -- the document -----------------------------------------------------------------------------------------------------


def described_operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for method, path in OPERATIONS:
        yield f"{method} {path}", DOCUMENT["paths"][path][method.lower()]


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return dict(found)


def test_every_operation_has_a_summary_a_description_and_an_id_of_its_own():
    operations = dict(described_operations())

    assert len(operations) > 30
    assert [name for name, one in operations.items() if not one["summary"] or not one["description"]] == []
    assert [
        name for name, one in operations.items() if "\n" in one["summary"] or "``" in one["description"]
    ] == []
    assert len({one["operationId"] for one in operations.values()}) == len(operations)


def test_every_refusal_is_described_as_a_problem():
    """The routes about tokens alone speak OAuth, as their clients do, and FHIR's routes answer with an OperationOutcome."""
    odd = [
        (name, status)
        for name, one in described_operations()
        for status, answer in one["responses"].items()
        if status[0] in "45"
        and ("application/fhir+json" if " /fhir/" in name else "application/problem+json")
        not in resolved(answer)["content"]
        and (name, status)
        not in {
            ("GET /health/ready", "503"),
            *(
                (f"POST /oauth2/{place}", status)
                for place in ("token", "introspect", "revoke")
                for status in ("400", "401", "403")
            ),
        }
    ]

    assert odd == []


def test_what_is_answered_in_another_form_too_is_still_described_as_json():
    forms = {
        name: set(one["responses"]["200"]["content"])
        for name, one in described_operations()
        if "content" in one["responses"].get("200", {})
        and any(given.get("name") == "format" for given in one.get("parameters", ()))
    }

    assert forms == {
        "GET /api/v1/persons/{person_id}/why": {"application/json", "image/svg+xml"},
        "GET /api/v1/quality": {"application/json", "text/csv"},
        "GET /api/v1/usage": {"application/json", "text/csv", "image/svg+xml"},
    }


_TAKES_CONSENTS = {"POST /fhir/R4/Consent", "PUT /fhir/R4/Consent/{consent_id}"}


def test_what_a_caller_must_expect_is_listed_with_every_operation():
    for name, one in described_operations():
        statuses = set(one["responses"])
        assert {"400", "429", "503"} <= statuses, name
        if one["security"]:
            assert {"401", "403"} <= statuses, name
        if one["security"] and not name.startswith("GET"):
            assert "409" in statuses, name
        if "requestBody" in one:
            assert {"413", "415"} <= statuses, name
            assert "422" in statuses or " /fhir/" in name, name
        if " /fhir/" in name:
            # 422 is of a resource that can be read and cannot be taken.
            assert "406" in statuses and ("422" in statuses) is (name in _TAKES_CONSENTS), name
        elif "{" in name:
            assert {"404", "422"} <= statuses, name


def test_every_scope_is_explained_and_every_one_that_is_asked_for_exists():
    flow = DOCUMENT["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    asked = {
        scope
        for _, one in described_operations()
        for way in one["security"]
        for scope in way.get("oauth2", ())
    }

    assert flow["scopes"] == SCOPES
    assert asked and asked <= SCOPES.keys()


def examples(part: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example of the document, with the schema that it must fit."""
    if isinstance(part, list):
        for place, one in enumerate(part):
            yield from examples(one, f"{where}/{place}")
    if not isinstance(part, dict):
        return
    schema = part.get("schema", part)
    if "example" in part:
        yield where, schema, part["example"]
    named = part.get("examples")
    if isinstance(named, dict):
        for name, one in named.items():
            yield f"{where}/{name}", schema, one["value"]
    elif isinstance(named, list):
        for one in named:
            yield where, schema, one
    for name, one in part.items():
        if name not in ("example", "examples"):
            yield from examples(one, f"{where}/{name}")


def test_every_example_fits_its_schema():
    found = list(examples(DOCUMENT))
    wrong = [where for where, schema, example in found if not fits(schema, example)]

    assert len(found) > 15
    assert {re.sub(r"/example.*", "", where) for where in wrong} == set()


def test_an_example_that_does_not_fit_would_be_seen():
    problem = {"$ref": "#/components/schemas/Problem"}

    assert not fits(problem, {"status": "four"})
    assert not fits({"type": "string", "pattern": "^[A-Z]+$"}, "a")


def fits(schema: dict[str, Any], example: Any) -> bool:
    whole = {**schema, "components": DOCUMENT["components"]}
    return bool(jsonschema_rs.Draft202012Validator(whole, validate_formats=True).is_valid(example))
