"""Match models over HTTP: one person proposes, another approves; systems do neither, and a wrong input leaves nothing behind."""

import json
from pathlib import Path
from typing import Any

import pytest

from app import create_app, health
from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.matching import Model, build_model, load_model
from mpi.service.activate import activate_model
from tests.service.mpi_world import World, a_source_record
from tests.service.test_mpi_models import OPERATOR
from tests.web.every_row import changed_tables, every_row
from tests.web.mpi_client import Caller

PASSWORD = "a rather long pass phrase"
MODELS = "/api/v1/models"


class Person:
    """Someone who has signed in at the console."""

    def __init__(self, app: Any, name: str, role: str = "R5110") -> None:
        composition = app.extensions["composition"]
        with composition.db.write() as tx:
            create_user(tx, composition.clock.now(), name, PASSWORD, "RRV", role)
        self._client = app.test_client()
        answer = self._client.post("/api/v1/sign-in", json={"username": name, "password": PASSWORD})
        self._headers = {"X-CSRF-Token": answer.json["csrf_token"]}

    def get(self, path: str) -> Any:
        return self._client.get(path)

    def post(self, path: str, body: Any = None) -> Any:
        return self._client.post(path, json=body, headers=self._headers)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def app(world: World, db: Database, clock: FixedClock) -> Any:
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def anne(app: Any) -> Person:
    return Person(app, "anne")


@pytest.fixture
def bela(app: Any) -> Person:
    return Person(app, "bela")


def a_model() -> Model:
    document = dict(load_model().document)
    limits = {**document["thresholds"], "live": document["thresholds"]["live"] + 1_000}
    return build_model({**document, "name": "another", "thresholds": limits})


def document_of(model: Model) -> dict[str, Any]:
    return json.loads(json.dumps(dict(model.document)))


def test_one_person_proposes_and_another_approves(
    app: Any, world: World, anne: Person, bela: Person, tmp_path: Path
):
    world.send_all([a_source_record("1"), a_source_record("2", organisation="RV5")])
    model = a_model()
    path = f"{MODELS}/{model.revision}"

    proposed = anne.post(MODELS, {"model": document_of(model), "comment": "fewer doubts"})
    own = anne.post(f"{path}/approve")
    approval = bela.post(f"{path}/approve")

    assert (proposed.status_code, proposed.json["state"], proposed.json["proposed_by"]) == (
        201,
        "proposed",
        "anne",
    )
    assert (own.status_code, own.json["code"]) == (409, "second-person-same")
    assert (approval.status_code, approval.json["state"], approval.json["approved_by"]) == (
        200,
        "approved",
        "bela",
    )
    assert anne.get(MODELS).json["in_force"] == load_model().revision
    mpi = app.extensions["composition"].mpi
    activate_model(mpi, model.revision, tmp_path, OPERATOR, memory=1 << 30, threads=1)
    told = anne.get(MODELS).json
    assert told["in_force"] == model.revision
    assert [(one["revision"], one["state"], one["approved_by"]) for one in told["models"]] == [
        (one, *what)
        for one, what in sorted(
            {model.revision: ("in-force", "bela"), load_model().revision: ("past", None)}.items()
        )
    ]
    assert health(app.extensions["composition"])["model"] == "ok"
    back = bela.post(f"{MODELS}/roll-back", {})
    assert (back.status_code, back.json["kind"], back.json["revision"]) == (
        201,
        "roll-back",
        load_model().revision,
    )
    gone = anne.post(f"{MODELS}/{back.json['revision']}/withdraw")
    assert (gone.status_code, gone.json["state"], gone.json["withdrawn_by"]) == (200, "withdrawn", "anne")


def test_the_health_of_the_model_is_that_of_the_one_in_force(
    app: Any, world: World, anne: Person, bela: Person, tmp_path: Path
):
    composition = app.extensions["composition"]
    model = a_model()
    anne.post(MODELS, {"model": document_of(model)})
    bela.post(f"{MODELS}/{model.revision}/approve")
    activate_model(composition.mpi, model.revision, tmp_path, OPERATOR, memory=1 << 30, threads=1)
    with composition.db.write() as tx:
        tx.exec_driver_sql("update match_model set document = '{}'")

    again = create_app(Settings.from_environment({}), database=composition.db, clock=composition.clock)

    assert health(again.extensions["composition"])["model"] == "match-model-unreadable"
    answer = again.test_client().get("/health/ready")
    assert (answer.status_code, answer.json["checks"]["model"]) == (503, "match-model-unreadable")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("", {"model": {}}, 422, "model-format"),
        ("", {"model": {"format": 1, "name": "x"}}, 422, "model-format"),
        ("", {"model": []}, 422, "fields-invalid"),
        ("", {}, 422, "fields-invalid"),
        ("", {"model": document_of(load_model())}, 409, "model-in-force"),
        ("", {"model": document_of(a_model()), "forecast": {}}, 422, "forecast-format"),
        ("", {"model": document_of(a_model()), "forecast": 7}, 422, "fields-invalid"),
        ("", {"model": document_of(a_model()), "comment": "a\u0000b"}, 400, "json-null-character"),
        ("", {"model": document_of(a_model()), "approved_by": "bela"}, 422, "fields-invalid"),
        ("/roll-back", {}, 409, "nothing-to-roll-back"),
        ("/0123456789abcdef/approve", None, 404, "model-not-proposed"),
        ("/0123456789abcdef/withdraw", None, 404, "model-not-proposed"),
    ],
)
def test_a_wrong_input_is_told_and_nothing_is_stored(
    db: Database, anne: Person, path: str, body: Any, status: int, code: str
):
    before = every_row(db)

    answer = anne.post(MODELS + path, body)

    assert (answer.status_code, answer.mimetype, answer.json["code"]) == (
        status,
        "application/problem+json",
        code,
    )
    assert changed_tables(before, every_row(db)) <= {"user_session"}


def test_a_system_may_look_and_not_propose(app: Any, db: Database):
    caller = Caller(app)
    before = every_row(db)

    looked = caller.get(MODELS)
    proposed = caller.post(MODELS, {"model": document_of(a_model())})
    approval = caller.post(f"{MODELS}/0123456789abcdef/approve")

    assert (looked.status_code, looked.json["in_force"]) == (200, load_model().revision)
    assert (proposed.status_code, proposed.json["code"]) == (403, "approver-not-a-person")
    assert (approval.status_code, approval.json["code"]) == (403, "approver-not-a-person")
    assert changed_tables(before, every_row(db)) == set()


def test_whoever_does_not_work_on_quality_is_refused(app: Any):
    clerk = Person(app, "clerk", "R8010")

    assert clerk.get(MODELS).json["code"] == "scope-missing"
    assert clerk.post(MODELS, {"model": document_of(a_model())}).json["code"] == "scope-missing"
