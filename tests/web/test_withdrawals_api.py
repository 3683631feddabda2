"""Withdrawal over HTTP: records and feeds out and back, whose they may be, what is refused, and who is told."""

from typing import Any

import pytest
from flask import Flask

from app import create_app, work
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from foundation.topics import TOPICS, Rights
from tests.service.follower import told
from tests.service.mpi_world import World
from tests.web.mpi_client import ALL, Caller

WITHDRAWALS = "/api/v1/withdrawals"
FEEDS = f"{WITHDRAWALS}/feeds"
RECORDS = "/api/v1/source-records/RRV/pas"
AMARA = {
    "names": [{"use": "usual", "given": ["Amara"], "family": "Okafor"}],
    "birth_date": "1990-02-14",
    "gender": "female",
    "addresses": [{"lines": ["12 Denmark Hill"], "city": "London", "postcode": "SE5 8AZ"}],
}
WHY = {"reason": "sent-in-error"}
FEED = {"organisation": "RRV", "reason": "feed-fault", "comment": "It overwrites."}


def key(local_id: str = "1", organisation: str = "RRV") -> dict[str, Any]:
    return {"organisation": organisation, "system": "pas", "local_id": local_id}


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    World(db, clock)
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def manager(app: Flask) -> Caller:
    caller = Caller(app, scopes=ALL | {"records:withdraw"})
    for local_id in ("1", "2"):
        assert caller.put(f"{RECORDS}/{local_id}", AMARA).status_code == 201
    return caller


def withdrawn(caller: Caller, local_id: str = "1") -> Any:
    answer = caller.post(WITHDRAWALS, key(local_id) | WHY)
    assert answer.status_code == 201, answer.json
    return answer.json


def test_a_record_leaves_what_is_sent_of_it_is_kept_and_it_comes_back(manager: Caller):
    first, second = (manager.get(f"{RECORDS}/{one}").json["record_id"] for one in ("1", "2"))
    seen = manager.post(f"{WITHDRAWALS}/preview", key()).json
    assert manager.get(f"{RECORDS}/1").json["state"] == "linked"

    out = withdrawn(manager)

    assert {name: out[name] for name in seen} == seen
    assert (out["person_ids"], out["persons"]) == ([first], [second])
    assert (out["withdrawal"]["record_id"], out["withdrawal"]["reason"]) == (first, "sent-in-error")
    assert "local_id" not in out["withdrawal"]
    assert manager.get(f"{RECORDS}/1").json["state"] == "withdrawn"
    gone = manager.get(f"/api/v1/persons/{first}")
    assert (gone.status_code, gone.json["code"]) == (410, "person-gone")
    later = manager.put(f"{RECORDS}/1", AMARA | {"gender": "unknown"})
    assert (later.status_code, later.json["state"], later.json["person_id"]) == (202, "withdrawn", None)
    back = manager.post(f"{WITHDRAWALS}/{out['withdrawal']['withdrawal_id']}/restore")
    assert (back.status_code, back.json) == (200, {"record_id": first, "person_id": first})
    now = manager.get(f"{RECORDS}/1").json
    assert (now["state"], now["version"], now["record"]["gender"]) == ("linked", 2, "unknown")


def test_a_feed_is_withdrawn_and_restored_by_a_worker(app: Flask, manager: Caller):
    assert manager.post(f"{FEEDS}/preview", {"organisation": "RRV"}).json == {"records": 2, "persons": 1}

    out = manager.post(FEEDS, FEED)

    assert (out.status_code, out.json["records_left"], out.json["system"]) == (202, 2, None)
    work(app.extensions["composition"])
    (listed,) = manager.get(FEEDS).json["feeds"]
    assert (listed["feed_id"], listed["records_left"], listed["restored_at"]) == (
        out.json["feed_id"],
        0,
        None,
    )
    assert manager.get(f"{RECORDS}/2").json["state"] == "withdrawn"
    assert {one["feed_id"] for one in manager.get(WITHDRAWALS).json["items"]} == {out.json["feed_id"]}
    back = manager.post(f"{FEEDS}/{out.json['feed_id']}/restore")
    assert (back.status_code, back.json["records_left"]) == (202, 2)
    work(app.extensions["composition"])
    assert manager.get(f"{RECORDS}/2").json["state"] == "linked"
    assert manager.get(WITHDRAWALS).json["items"] == []


def test_another_version_than_the_caller_read_is_not_withdrawn(manager: Caller):
    manager.put(f"{RECORDS}/1", AMARA | {"gender": "unknown"})

    stale = manager.post(WITHDRAWALS, key() | WHY, **{"If-Match": '"1"'})
    fresh = manager.post(WITHDRAWALS, key() | WHY, **{"If-Match": '"2"'})

    assert (stale.status_code, stale.json["code"]) == (409, "version-stale")
    assert fresh.status_code == 201


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("", key("404") | WHY, 404, "record-unknown"),
        ("", key("1", "VM9001") | WHY, 404, "record-unknown"),
        ("", key() | {"reason": "other"}, 422, "comment-missing"),
        ("", key() | {"reason": "because"}, 422, "fields-invalid"),
        ("", key() | WHY | {"system": "consent"}, 404, "record-unknown"),
        ("/preview", key("404"), 404, "record-unknown"),
        ("/1/restore", None, 404, "withdrawal-unknown"),
        ("/feeds", FEED | {"organisation": "VM9001"}, 404, "organisation-unknown"),
        ("/feeds", FEED | {"system": "consent"}, 422, "system-not-a-feed"),
        ("/feeds", FEED | {"comment": " "}, 422, "comment-missing"),
        ("/feeds/preview", {"organisation": "VM9001"}, 404, "organisation-unknown"),
        ("/feeds/1/restore", None, 404, "feed-unknown"),
    ],
)
def test_what_cannot_be_withdrawn_is_refused_by_name(
    manager: Caller, path: str, body: Any, status: int, code: str
):
    answer = manager.post(f"{WITHDRAWALS}{path}", body)

    assert (answer.status_code, answer.json["code"]) == (status, code), answer.json


def test_what_is_out_is_not_withdrawn_again_and_what_is_back_not_restored_again(manager: Caller):
    number = withdrawn(manager)["withdrawal"]["withdrawal_id"]
    feed = manager.post(FEEDS, FEED).json["feed_id"]

    refused = [
        manager.post(WITHDRAWALS, key() | WHY),
        manager.post(FEEDS, FEED),
        manager.post(f"{WITHDRAWALS}/{number}/restore"),
    ]
    manager.post(f"{FEEDS}/{feed}/restore")
    refused.append(manager.post(f"{FEEDS}/{feed}/restore"))
    assert manager.post(f"{WITHDRAWALS}/{number}/restore").status_code == 200
    refused.append(manager.post(f"{WITHDRAWALS}/{number}/restore"))

    assert [(one.status_code, one.json["code"]) for one in refused] == [
        (409, "record-withdrawn"),
        (409, "feed-withdrawn"),
        (409, "feed-withdrawn"),
        (409, "feed-not-withdrawn"),
        (404, "withdrawal-unknown"),
    ]


def test_withdrawals_are_listed_a_page_at_a_time_for_whose_they_are(app: Flask, manager: Caller):
    made = [withdrawn(manager, one)["withdrawal"]["withdrawal_id"] for one in ("1", "2")]
    stranger = Caller(
        app, "stranger", organisation="VM9001", organisations=frozenset(), scopes=ALL | {"records:withdraw"}
    )

    first = manager.get(f"{WITHDRAWALS}?limit=1").json
    second = manager.get(f"{WITHDRAWALS}?limit=1&cursor={first['next']}").json

    assert [one["withdrawal_id"] for one in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None
    assert stranger.get(WITHDRAWALS).json["items"] == []
    refused = stranger.post(f"{WITHDRAWALS}/{made[0]}/restore")
    assert (refused.status_code, refused.json["code"]) == (404, "withdrawal-unknown")


def test_each_route_takes_the_scope_of_those_who_withdraw(app: Flask, manager: Caller):
    sender = Caller(app, "sender")
    number = withdrawn(manager)["withdrawal"]["withdrawal_id"]

    answers = [
        sender.post(WITHDRAWALS, key("2") | WHY),
        sender.post(f"{WITHDRAWALS}/preview", key("2")),
        sender.get(WITHDRAWALS),
        sender.post(f"{WITHDRAWALS}/{number}/restore"),
        sender.post(FEEDS, FEED),
        sender.post(f"{FEEDS}/preview", {"organisation": "RRV"}),
        sender.get(FEEDS),
        sender.post(f"{FEEDS}/1/restore"),
    ]

    assert {(one.status_code, one.json["code"]) for one in answers} == {(403, "scope-missing")}


def test_events_are_told_to_those_of_the_organisation(app: Flask, manager: Caller, clock: FixedClock):
    number = withdrawn(manager)["withdrawal"]["withdrawal_id"]
    manager.post(f"{WITHDRAWALS}/{number}/restore")
    feed = manager.post(FEEDS, FEED).json["feed_id"]
    manager.post(f"{FEEDS}/{feed}/restore")
    db = app.extensions["composition"].db
    topics = ["record.withdrawn", "record.restored", "feed.withdrawn", "feed.restored"]

    def seen_by(organisation: str) -> list[str]:
        rights = Rights(frozenset(TOPICS), frozenset({organisation}))
        return [one.topic for one in told(db, rights=rights, now=clock) if one.topic in topics]

    assert seen_by("RRV") == topics
    assert seen_by("VM9001") == []
