"""Merges and renumberings inside a source over HTTP: done, held and answered, taken back, and refused by name."""

from typing import Any

import pytest
from flask import Flask

from app import create_app, work
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from tests.service.mpi_world import World
from tests.web.mpi_client import ALL, Caller

CHANGES = "/api/v1/local-changes"
AMARA = {
    "names": [{"use": "usual", "given": ["Amara"], "family": "Okafor"}],
    "birth_date": "1990-02-14",
    "gender": "female",
    "addresses": [{"lines": ["12 Denmark Hill"], "city": "London", "postcode": "SE5 8AZ"}],
}
KEVIN = {
    "names": [{"use": "usual", "given": ["Kevin"], "family": "Blackwood"}],
    "birth_date": "1951-07-30",
    "gender": "male",
}


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    World(db, clock)
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def feed(app: Flask) -> Caller:
    caller = Caller(app)
    for local_id, body in (("1", AMARA), ("2", AMARA), ("3", KEVIN)):
        assert caller.put(f"/api/v1/source-records/RRV/pas/{local_id}", body).status_code == 201
    return caller


def asked(act: str, local_id: str, to: str, organisation: str = "RRV") -> dict[str, Any]:
    return {"act": act, "organisation": organisation, "system": "pas", "local_id": local_id, "to": to}


def test_a_record_is_merged_read_by_its_old_id_and_parted_again(feed: Caller):
    done = feed.post(CHANGES, asked("merge", "1", "2"))

    change = done.json
    gone = feed.get("/api/v1/source-records/RRV/pas/1")
    stays = feed.get("/api/v1/source-records/RRV/pas/2")
    person = feed.get(f"/api/v1/persons/{change['record_id']}")
    again = feed.put("/api/v1/source-records/RRV/pas/1", AMARA | {"gender": "unknown"})
    undone = feed.post(f"{CHANGES}/{change['change_id']}/undo")

    assert (done.status_code, change["state"], change["act"]) == (200, "done", "merge")
    assert (gone.json["state"], stays.json["state"]) == ("merged", "linked")
    assert person.json["person_id"] == stays.json["person_id"]
    assert (again.status_code, again.json["state"]) == (202, "withdrawn")
    assert (undone.status_code, undone.json["state"]) == (200, "undone")
    assert feed.get("/api/v1/source-records/RRV/pas/1").json["state"] == "linked"
    assert "local_id" not in undone.json


def test_a_merge_of_two_people_is_held_and_waits_for_an_answer(app: Flask, feed: Caller):
    held = feed.post(CHANGES, asked("merge", "1", "3"))

    task = feed.get(f"/api/v1/tasks/{held.json['task_id']}").json["task"]
    feed.post(
        f"/api/v1/tasks/{held.json['task_id']}/decide", {"verdict": "different", "reason": "documents-seen"}
    )
    work(app.extensions["composition"])
    after = feed.get(f"{CHANGES}/{held.json['change_id']}")

    assert (held.status_code, held.json["state"]) == (202, "held")
    assert (task["kind"], task["state"]) == ("asked-by-hand", "open")
    assert after.json["state"] == "rejected"
    listed = feed.get(f"{CHANGES}?state=rejected").json["items"]
    assert [one["change_id"] for one in listed] == [held.json["change_id"]]
    assert feed.get(f"{CHANGES}?state=held").json["items"] == []


def test_a_record_is_renumbered_and_found_by_both_ids(feed: Caller):
    done = feed.post(CHANGES, asked("renumber", "1", "PAS-0009"))

    assert (done.status_code, done.json["state"]) == (200, "done")
    assert feed.get("/api/v1/source-records/RRV/pas/PAS-0009").json["record_id"] == done.json["record_id"]
    assert feed.get("/api/v1/source-records/RRV/pas/1").json["record_id"] == done.json["record_id"]
    assert feed.put("/api/v1/source-records/RRV/pas/1", AMARA | {"gender": "unknown"}).json["version"] == 2


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (asked("merge", "2", "404"), 404, "record-unknown"),
        (asked("merge", "1", "1"), 422, "local-ids-are-one"),
        (asked("renumber", "1", "2"), 409, "local-id-taken"),
        (asked("merge", "1", "2", "VM9001"), 404, "record-unknown"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(feed: Caller, body: dict[str, Any], status: int, code: str):
    answer = feed.post(CHANGES, body)

    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert "404" not in answer.json.get("detail", "")


def test_it_takes_the_scope_of_those_who_send_records(app: Flask, feed: Caller):
    reader = Caller(app, "reader", scopes=ALL - {"records:write"})

    answer = reader.post(CHANGES, asked("merge", "1", "2"))

    assert (answer.status_code, answer.json["code"]) == (403, "scope-missing")


def test_changes_are_listed_a_page_at_a_time_for_whose_they_are(app: Flask, feed: Caller):
    steps = (("1", "a"), ("a", "b"), ("b", "1"))
    made = [feed.post(CHANGES, asked("renumber", *step)).json["change_id"] for step in steps]
    stranger = Caller(app, "stranger", organisation="VM9001", organisations=frozenset())

    first = feed.get(f"{CHANGES}?limit=2").json
    second = feed.get(f"{CHANGES}?limit=2&cursor={first['next']}").json

    assert [one["change_id"] for one in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None
    assert stranger.get(CHANGES).json["items"] == []
