"""Systems that speak FHIR, and what every resource that is told must pass: another's models of R4B, of which R4's Patient is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from flask import Flask
from werkzeug.serving import make_server

from app import create_app
from foundation.clock import Clock
from foundation.database import Database
from foundation.settings import Settings
from tests.web.mpi_client import Caller

FHIR = "application/fhir+json"
BASE = "/fhir/R4"
NUMBERS = "https://fhir.nhs.uk/Id/nhs-number"
HERE = "http://127.0.0.1:8080"
PERSONS = f"{HERE}/Id/person"
GRADE = "http://hl7.org/fhir/StructureDefinition/match-grade"
EVERYTHING = frozenset(
    {"match", "match:reasons", "persons:read", "records:write", "records:read", "records:withdraw"}
)


def expect_fhir(answer: Any) -> Any:
    """Return a resource that was answered, which others' models must accept with everything in it."""
    assert answer.mimetype == FHIR, answer.get_data(as_text=True)
    expect_valid(answer.json)
    return answer.json


def expect_valid(resource: dict[str, Any]) -> None:
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def a_caller(app: Flask, name: str = "fhir", organisation: str = "RRV", **more: Any) -> Caller:
    given = {"organisations": frozenset(), "scopes": EVERYTHING} | more
    return Caller(app, name, organisation=organisation, **given)


def issue_of(answer: Any) -> tuple[int, str, list[str]]:
    """Return status, our code and the place of a refusal of one issue."""
    outcome = expect_fhir(answer)
    assert outcome["resourceType"] == "OperationOutcome"
    (one,) = outcome["issue"]
    return (
        answer.status_code,
        one["details"]["coding"][0]["code"],
        one.get("expression", one.get("location", [])),
    )


def patients_of(bundle: Any) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle.get("entry", ()) if one["search"]["mode"] == "match"]


def local(organisation: str, system: str = "main") -> str:
    return f"{HERE}/Id/{organisation}/{system}"


@contextmanager
def serving(db: Database, clock: Clock, home: Path) -> Iterator[Flask]:
    """The application behind a real socket; its address is its public one."""
    web = make_server("127.0.0.1", 0, lambda *_: [], threaded=True)  # its port is part of what the app is
    here = f"http://127.0.0.1:{web.server_port}"
    settings = Settings.from_environment({"MPI_HOME": str(home), "MPI_PUBLIC_URL": here})
    web.app = create_app(replace(settings, database_url=str(db.url)), database=db, clock=clock)
    Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield web.app
    finally:
        web.shutdown()
