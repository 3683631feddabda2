"""The index over HTTP: records in, candidates and persons out, and the queue; every wrong input has its answer."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from app import create_app
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from tests.service.mpi_world import World, a_doubtful_record, a_source_record
from tests.web.mpi_client import Caller


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def app(world: World, db: Database, clock: FixedClock) -> Any:
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def caller(app: Any) -> Caller:
    return Caller(app)


AMARA = {
    "names": [{"use": "usual", "given": ["Amara"], "family": "Okafor"}],
    "birth_date": "1990-02-14",
    "gender": "female",
    "addresses": [{"lines": ["12 Denmark Hill"], "city": "London", "postcode": "SE5 8AZ"}],
}
HERS = "/api/v1/source-records/RRV/pas/1"


# Records -------------------------------------------------------------------------------------------------------------


def test_a_record_is_put_read_back_and_changed_under_its_etag(caller: Caller) -> None:
    first = caller.put(HERS, AMARA)
    assert (first.status_code, first.json["state"], first.headers["ETag"]) == (201, "linked", 'W/"1"')

    read = caller.get(HERS)
    assert read.json["record"] == AMARA | {
        "organisation": "RRV",
        "system": "pas",
        "local_id": "1",
        "names": AMARA["names"],
        "addresses": [AMARA["addresses"][0] | {"use": "home"}],  # type: ignore[operator]
    }
    again = caller.put(HERS, AMARA)
    assert (again.status_code, again.json["state"]) == (200, "unchanged")

    changed = caller.put(HERS, AMARA | {"gp_practice": "G85001"}, If_Match=first.headers["ETag"])
    assert (changed.status_code, changed.headers["ETag"]) == (200, 'W/"2"')
    stale = caller.put(HERS, AMARA, If_Match=first.headers["ETag"])
    assert (stale.status_code, stale.json["code"]) == (409, "version-stale")
    not_first = caller.put(HERS, AMARA | {"gender": "unknown"}, If_None_Match="*")
    assert (not_first.status_code, not_first.json["code"]) == (409, "version-stale")
    strange = caller.put(HERS, AMARA | {"gender": "unknown"}, If_None_Match='W/"1"')
    assert (strange.status_code, strange.json["code"]) == (400, "if-none-match-format")
    assert caller.get(HERS).json["version"] == 2


def test_a_record_that_need_not_wait_is_accepted_unlinked(caller: Caller) -> None:
    answer = caller.put(HERS + "?wait=false", AMARA)

    assert (answer.status_code, answer.json["state"], answer.json["person_id"]) == (202, "waiting", None)


def test_a_put_under_one_key_is_done_once(caller: Caller, world: World) -> None:
    first = caller.put(HERS, AMARA, Idempotency_Key="feed-0001")

    again = caller.put(HERS, AMARA, Idempotency_Key="feed-0001")

    assert again.json == first.json
    assert world.rows("select count(*) from record_version") == [(1,)]


def test_a_local_id_may_hold_a_slash(caller: Caller) -> None:
    answer = caller.put("/api/v1/source-records/RRV/pas/2026/17", AMARA)

    assert answer.status_code == 201
    assert caller.get("/api/v1/source-records/RRV/pas/2026/17").json["record"]["local_id"] == "2026/17"


def test_another_organisations_record_looks_like_one_that_is_not_there(caller: Caller, world: World) -> None:
    world.send(a_source_record("1", organisation="VM9001"))

    hidden, absent = (caller.get(f"/api/v1/source-records/VM9001/pas/{number}") for number in (1, 2))

    assert hidden.status_code == absent.status_code == 404
    assert {**hidden.json, "request_id": 0} == {**absent.json, "request_id": 0}


WRONG = [
    ("bad check digit", {"nhs_number": "9990000001"}, 422, "nhs-number-check", "nhs_number"),
    ("impossible date", {"birth_date": "1990-02-30"}, 422, "date-impossible", "birth_date"),
    ("date in words", {"birth_date": "yesterday"}, 422, "date-format", "birth_date"),
    ("birth to come", {"birth_date": "2090-01-01"}, 422, "date-future", "birth_date"),
    ("unknown gender", {"gender": "purple"}, 422, "gender-unknown-code", "gender"),
    ("number for text", {"birth_date": 1990}, 422, "type-string", "birth_date"),
    ("text for list", {"names": "Amara"}, 422, "type-list", "names"),
    ("text for flag", {"restricted": "no"}, 422, "type-boolean", "restricted"),
    ("too long", {"names": [{"family": "x" * 101}]}, 422, "too-long", "names.0.family"),
    ("control character", {"names": [{"family": "a\x07b"}]}, 422, "control-character", "names.0.family"),
    ("unknown field", {"surname": "Okafor"}, 422, "unknown-field", "surname"),
    ("time without zone", {"updated_at": "2026-11-20T12:00:00"}, 422, "instant-without-zone", "updated_at"),
    ("unknown use", {"names": [{"use": "royal", "family": "X"}]}, 422, "not-one-of", "names.0.use"),
    ("death before birth", {"death_date": "1980-01-01"}, 422, "death-before-birth", "death_date"),
    ("21 phones", {"telecoms": [{"system": "phone", "value": "1"}] * 21}, 422, "too-long", "telecoms"),
]


@pytest.mark.parametrize(
    ("fault", "status", "code", "field"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_a_wrong_record_is_refused_with_its_field_and_nothing_is_stored(
    caller: Caller, world: World, fault: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = caller.put(HERS, AMARA | fault)

    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert {"field": field, "code": code} in [
        {"field": one["field"], "code": one["code"]} for one in answer.json["errors"]
    ]
    value = next(iter(fault.values()))
    assert not isinstance(value, str) or value not in answer.get_data(as_text=True)
    assert world.rows("select count(*) from source_record") == [(0,)]


def test_an_unknown_organisation_is_not_found_and_one_not_ones_own_is_forbidden(
    app: Any, caller: Caller, world: World
) -> None:
    other = caller.put("/api/v1/source-records/VM9001/pas/1", AMARA)

    assert (other.status_code, other.json["code"]) == (403, "organisation-not-yours")
    assert world.rows("select count(*) from source_record") == [(0,)]


def test_nobody_unknown_and_nobody_without_the_scope_is_answered(app: Any) -> None:
    nameless = app.test_client().put(HERS, json=AMARA)
    scopeless = Caller(app, scopes=frozenset({"match"})).put(HERS, AMARA)

    assert (nameless.status_code, nameless.json["code"]) == (401, "sign-in-needed")
    assert (scopeless.status_code, scopeless.json["code"]) == (403, "scope-missing")


# Matching ------------------------------------------------------------------------------------------------------------


def test_a_match_answers_ids_and_grades_and_stores_nothing(caller: Caller, world: World) -> None:
    sent = caller.put(HERS, AMARA | {"nhs_number": "9990000018"}).json
    before = world.standing()

    answer = caller.post("/api/v1/match", AMARA | {"nhs_number": "9990000018"})

    (candidate,) = answer.json["candidates"]
    assert (candidate["person_id"], candidate["grade"]) == (sent["person_id"], "certain")
    assert answer.json["search_complete"] is True
    assert "reasons" not in candidate
    assert world.standing() == before
    assert world.rows("select count(*) from audit_event where kind = 'person-searched'") == [(1,)]


def test_reasons_need_their_scope_and_hold_no_value(app: Any, caller: Caller) -> None:
    caller.put(HERS, AMARA)

    told = caller.post("/api/v1/match", AMARA | {"reasons": True})
    refused = Caller(app, "other", scopes=frozenset({"match"})).post(
        "/api/v1/match", AMARA | {"reasons": True}
    )

    assert set(told.json["candidates"][0]["reasons"].values()) <= {"agree", "close", "differ", "missing"}
    assert (refused.status_code, refused.json["code"]) == (403, "scope-missing")


@pytest.mark.parametrize(
    "little",
    [{}, {"gender": "female"}, {"birth_date": "1990-02-14"}, {"names": AMARA["names"]}],
    ids=["nothing", "gender", "birth date", "name"],
)
def test_too_little_to_search_with_is_refused(caller: Caller, little: dict[str, Any]) -> None:
    answer = caller.post("/api/v1/match", little)

    assert (answer.status_code, answer.json["code"]) == (400, "match-input-too-little")


# Persons -------------------------------------------------------------------------------------------------------------


def test_a_person_is_found_by_any_of_its_ids_and_by_identifier(caller: Caller) -> None:
    number = {"nhs_number": "9990000018"}
    first = caller.put(HERS, AMARA | number).json
    second = caller.put("/api/v1/source-records/RV5/pas/7", AMARA | number).json

    by_id = caller.get(f"/api/v1/persons/{second['record_id']}").json
    by_number = caller.post(
        "/api/v1/persons/lookup",
        {"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "999 000 0018"},
    ).json
    by_key = caller.post(
        "/api/v1/persons/lookup", {"organisation": "RV5", "system": "pas", "local_id": "7"}
    ).json

    assert by_id["person_id"] == first["record_id"]
    assert by_number["persons"] == by_key["persons"] == [by_id]


def test_members_and_reasons_leave_as_far_as_the_gate_lets_them(caller: Caller, world: World) -> None:
    number = {"nhs_number": "9990000018"}
    first = caller.put(HERS, AMARA | number).json
    world.send(a_source_record("7", organisation="VM9001", nhs_number="9990000018"))

    members = caller.get(f"/api/v1/persons/{first['record_id']}/members")
    why = caller.get(f"/api/v1/persons/{first['record_id']}/why")

    assert [one["organisation"] for one in members.json["members"]] == ["RRV"]
    assert "VM9001" not in members.get_data(as_text=True)
    assert (why.json["answer"], why.json["steps"]) == ("one-person", [])
    assert why.json["record_ids"] == [first["record_id"]]


def test_the_golden_view_tells_values_of_records_that_may_leave_with_their_origins(
    caller: Caller, world: World
) -> None:
    number = {"nhs_number": "9990000018", "nhs_number_status": "01"}
    first = caller.put(HERS, AMARA | number).json["record_id"]
    second = caller.put("/api/v1/source-records/RV5/pas/7", AMARA | {"nhs_number": "9990000018"}).json
    world.send(a_source_record("9", organisation="VM9001", nhs_number="9990000018", gender="male"))

    answer = caller.get(f"/api/v1/persons/{second['record_id']}/golden")
    absent = caller.get("/api/v1/persons/7/golden")

    assert (answer.status_code, absent.status_code) == (200, 404)
    assert answer.json.keys() == {
        "person_id",
        "epoch",
        "identity_warning",
        "restricted",
        "rules_version",
        "nhs_number_state",
        "values",
    }
    assert (answer.json["person_id"], answer.json["nhs_number_state"]) == (first, "verified")
    told = {one["field"]: one for one in answer.json["values"]}
    assert told.keys() == {"nhs_number", "name", "birth_date", "gender", "address"}
    assert told["address"]["value"] == AMARA["addresses"][0]  # type: ignore[index]
    assert "VM9001" not in answer.get_data(as_text=True)
    origin = told["gender"].pop("origin")
    assert told["gender"] == {
        "field": "gender",
        "value": "female",
        "verified": True,
        "because": "agreed",
        "agree": 1,
        "differ": 0,
        "replaced": False,
    }
    assert (origin["record_id"], origin["organisation"], origin["version"]) == (first, "RRV", 1)


def test_the_golden_view_as_at_an_instant_tells_what_it_told_then(caller: Caller, world: World) -> None:
    first = caller.put(HERS, AMARA).json["record_id"]
    path, came = f"/api/v1/persons/{first}/golden", world.clock.now()
    before = caller.get(path).json
    world.clock.advance(timedelta(minutes=2))
    caller.put(HERS, AMARA | {"gender": "male"})

    then = caller.get(f"{path}?as_at={came.strftime('%Y-%m-%dT%H:%M:%SZ')}")

    assert then.status_code == 200
    assert caller.get(path).json["values"] != before["values"]
    del before["epoch"]
    assert then.json == before | {"as_at": came.isoformat(), "erased_records": False}


def test_a_person_as_at_an_instant_and_its_history_leave_as_its_members_do(
    caller: Caller, world: World, app: Any
) -> None:
    number = {"nhs_number": "9990000018"}
    came = world.clock.now()
    first = caller.put(HERS, AMARA | number).json["record_id"]
    world.clock.advance(timedelta(minutes=2))
    second = caller.put("/api/v1/source-records/RV5/pas/7", AMARA | number).json["record_id"]
    world.send(a_source_record("9", organisation="VM9001", nhs_number="9990000018"))
    path, joined = f"/api/v1/persons/{second}", world.clock.now()

    now = caller.get(path)
    before = caller.get(f"{path}?as_at={came.strftime('%Y-%m-%dT%H:%M:%SZ')}")
    then = caller.get(f"{path}?as_at={joined.strftime('%Y-%m-%dT%H:%M:%SZ')}")
    members = caller.get(f"{path}/members?as_at={joined.strftime('%Y-%m-%dT%H:%M:%SZ')}")
    told = caller.get(f"{path}/history")
    pages = [caller.get(f"{path}/history?limit=3")]
    pages.append(caller.get(f"{path}/history?limit=3&cursor={pages[0].json['next']}"))

    assert now.json.keys() == {"person_id", "epoch", "identity_warning", "restricted"}
    assert (before.status_code, before.json["code"]) == (404, "person-unknown-then")
    assert then.json == {
        "person_id": first,
        "as_at": joined.isoformat(),
        "identity_warning": False,
        "restricted": False,
        "erased_records": False,
    }
    assert [(one["organisation"], one["version"]) for one in members.json["members"]] == [
        ("RRV", 1),
        ("RV5", 1),
    ]
    assert [one["says"] for one in told.json["items"]] == [
        f"Record {first} came.",
        f"Record {first} became person {first}, by what sources sent.",
        f"Record {second} came.",
        f"Record {second} joined person {first}, by what sources sent.",
    ]
    assert told.json["next"] is None
    assert [one for page in pages for one in page.json["items"]] == told.json["items"]
    assert "VM9001" not in members.get_data(as_text=True) + told.get_data(as_text=True)
    rows = world.rows("select detail from audit_event where kind = 'gate' order by event_id")
    assert [
        json.loads(row[0] if isinstance(row[0], str) else json.dumps(row[0]))["wanted"] for row in rows
    ] == [
        "members",
        "history",
        "history",
        "history",
    ]
    other = Caller(app, "other", scopes=frozenset({"match"}))
    for refused in (f"{path}?as_at=2026-11-23T09:00:00Z", f"{path}/history"):
        assert (other.get(refused).status_code, other.get(refused).json["code"]) == (403, "scope-missing")


def test_why_comes_as_json_or_as_a_picture_as_the_caller_asks(caller: Caller) -> None:
    number = {"nhs_number": "9990000018"}
    first = caller.put(HERS, AMARA | number).json
    second = caller.put("/api/v1/source-records/RV5/pas/7", AMARA | number).json
    path = f"/api/v1/persons/{first['record_id']}/why"

    told = caller.get(path)
    pictures = [
        caller.get(f"{path}?format=svg"),
        caller.get(path, Accept="image/svg+xml"),
        caller.get(f"{path}?format=svg", Accept="application/json"),
    ]
    plain = [
        caller.get(path, Accept=accept)
        for accept in ("*/*", "application/json", "text/html", "image/svg+xml;q=0.5, application/json")
    ] + [caller.get(f"{path}?format=json", Accept="image/svg+xml")]

    (step,) = told.json["steps"]
    fall = step["waterfall"]
    assert (
        sum(bar["weight_millibits"] for bar in fall["bars"])
        == fall["total_millibits"]
        == step["weight_millibits"]
    )
    assert fall["bars"][0] == {
        "field": "prior",
        "reason": "prior",
        "rival": fall["bars"][0]["rival"],
        "weight_millibits": fall["bars"][0]["to_millibits"],
        "from_millibits": 0,
        "to_millibits": fall["bars"][0]["to_millibits"],
    }
    assert {one.status_code for one in (*pictures, *plain)} == {200}
    assert [one.content_type for one in pictures] == ["image/svg+xml; charset=utf-8"] * 3
    assert len({one.get_data(as_text=True) for one in pictures}) == 1
    text = pictures[0].get_data(as_text=True)
    assert text.startswith("<svg ") and first["record_id"] in text and second["record_id"] in text
    assert not {"Amara", "Okafor", "SE5", "9990000018"} & set(re.findall(r"\w+", text))
    assert [one.json for one in plain] == [told.json] * 5


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/persons/42/why?format=png", 422, "fields-invalid"),
        ("/api/v1/persons/42", 404, "person-unknown"),
        ("/api/v1/persons/abc", 422, "id-format"),
        ("/api/v1/persons/0", 422, "id-format"),
        ("/api/v1/persons/99999999999999999999", 422, "id-format"),
        ("/api/v1/tasks/42", 404, "task-unknown"),
        ("/api/v1/tasks?limit=0", 422, "fields-invalid"),
        ("/api/v1/tasks?cursor=nonsense", 422, "cursor-format"),
        ("/api/v1/tasks?kind=odd", 422, "fields-invalid"),
    ],
)
def test_a_wrong_question_has_its_answer(caller: Caller, path: str, status: int, code: str) -> None:
    answer = caller.get(path)

    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_an_unlinked_id_and_an_unknown_one_answer_alike(caller: Caller) -> None:
    waiting = caller.put(HERS + "?wait=false", AMARA).json

    unlinked = caller.get(f"/api/v1/persons/{waiting['record_id']}")
    unknown = caller.get("/api/v1/persons/42")

    assert {**unlinked.json, "request_id": 0} == {**unknown.json, "request_id": 0}


# The queue -----------------------------------------------------------------------------------------------------------


def test_a_task_is_listed_claimed_decided_and_undone(app: Any, caller: Caller, world: World) -> None:
    world.send(a_source_record("1"))
    world.send(a_doubtful_record("2"))
    (task,) = caller.get("/api/v1/tasks").json["tasks"]
    path = f"/api/v1/tasks/{task['task_id']}"

    shown = caller.get(path)
    claimed = caller.post(f"{path}/claim", If_Match=shown.headers["ETag"])
    assert (claimed.status_code, claimed.json["claimed_by"]) == (200, "caller")
    taken = Caller(app, "another").post(f"{path}/claim")
    assert (taken.status_code, taken.json["code"]) == (409, "task-claimed")

    answer = {"verdict": "same", "reason": "patient-confirmed", "comment": "She rang."}
    stale = caller.post(f"{path}/decide", answer, If_Match=shown.headers["ETag"])
    assert (stale.status_code, stale.json["code"]) == (409, "task-stale")
    decided = caller.post(f"{path}/decide", answer, If_Match=claimed.headers["ETag"])
    assert (decided.status_code, decided.json["outcome"]) == (200, "decided")
    assert caller.get("/api/v1/tasks").json == {"tasks": [], "next": None}

    undone = caller.post(f"{path}/undo", {"comment": "Not her."}, If_Match=decided.headers["ETag"])
    assert (undone.status_code, undone.json["task"]["state"]) == (200, "open")


def test_the_queue_is_paged(caller: Caller, world: World) -> None:
    for number in range(3):
        world.send(a_source_record(f"{number}a", system=f"s{number}", family=f"Okafor{'abc'[number]}"))
        world.send(a_source_record(f"{number}b", system=f"s{number}", family=f"Okafor{'abc'[number]}"))
    everything = [task["task_id"] for task in caller.get("/api/v1/tasks").json["tasks"]]

    paged: list[str] = []
    path = "/api/v1/tasks?limit=1"
    while path:
        page = caller.get(path).json
        paged += [task["task_id"] for task in page["tasks"]]
        path = f"/api/v1/tasks?limit=1&cursor={page['next']}" if page["next"] else ""

    assert paged == everything and len(paged) > 1
