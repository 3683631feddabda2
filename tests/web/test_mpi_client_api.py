"""The client against the API as it is served: every method, refusals, and a follower whose worker stops."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from flask import Flask

from app import Composition, create_app, work
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.client import (
    Address,
    Behind,
    Client,
    Conflict,
    Follower,
    Forbidden,
    Identifier,
    Member,
    Name,
    NotFound,
    Record,
    Refused,
)
from tests.service.mpi_world import ONE_NUMBER, World
from tests.web.mpi_client import ALL, Caller

AMARA = Record(
    nhs_number=ONE_NUMBER,
    names=(Name("Okafor", ("Amara",), use="usual"),),
    birth_date="1990-02-14",
    gender="female",
    addresses=(Address(("12 Denmark Hill",), "London", "SE5 8AZ", "home"),),
    updated_at=datetime(2026, 11, 20, 12, tzinfo=UTC),
)
ALIKE = Record(
    names=(Name("Okafor", ("Ama",)),),
    birth_date="1990-02-14",
    gender="female",
    addresses=(Address(("3 Essex Road",), "London", "N1 9GU"),),
)
TUNDE = Record(
    nhs_number=ONE_NUMBER, names=(Name("Bello", ("Tunde",)),), birth_date="1951-01-01", gender="male"
)
"""Someone else with her number."""
NHS = "https://fhir.nhs.uk/Id/nhs-number"


class Wire(requests.Session):
    """Carries a client's requests into the application without a socket."""

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self._caller = caller

    def request(self, method: str, url: str, **more: Any) -> requests.Response:  # type: ignore[override]
        path = url.removeprefix("http://mpi")
        if more.get("params"):
            path += "?" + urlencode(more["params"])
        headers = {name: value for name, value in more["headers"].items() if name != "Authorization"}
        answer = self._caller.call(method, path, more.get("json"), **headers)
        response = requests.Response()
        response.status_code = answer.status_code
        response._content = json.dumps(answer.json).encode()
        response.headers.update(answer.headers)
        return response


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    World(db, clock)
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def composition(app: Flask) -> Composition:
    found: Composition = app.extensions["composition"]
    return found


def a_client(app: Flask, name: str = "caller", scopes: frozenset[str] = ALL, **of: Any) -> Client:
    return Client("http://mpi", lambda: "token", session=Wire(Caller(app, name, scopes=scopes, **of)))


def test_a_record_is_sent_read_back_and_found(app: Flask):
    client = a_client(app)

    sent = client.put_record("RRV", "pas", "ward/1", AMARA, if_version=0)
    again = client.put_record("RRV", "pas", "ward/1", AMARA)
    stored = client.get_record("RRV", "pas", "ward/1")
    found = client.match(
        names=AMARA.names, birth_date=AMARA.birth_date, addresses=AMARA.addresses, with_reasons=True
    )
    assert sent.person_id is not None
    person = client.person(sent.person_id)

    assert (sent.state, sent.version, again.state) == ("linked", 1, "unchanged")
    assert (stored.record, stored.version, stored.nhs_number_state) == (AMARA, 1, "claimed")
    assert found.certain is not None and found.certain.person_id == sent.person_id
    assert found.certain.reasons["birth_date"] == "agree"
    assert client.persons_with(Identifier(NHS, ONE_NUMBER)) == (person,)
    assert client.person_of("RRV", "pas", "ward/1") == person
    assert client.members(sent.person_id).members == (Member(sent.record_id, "RRV", "pas", "ward/1"),)
    with pytest.raises(Conflict, match="version-stale"):
        client.put_record("RRV", "pas", "ward/1", ALIKE, if_version=7)


def test_links_say_what_joined_records(app: Flask):
    client = a_client(app)
    one = client.put_record("RRV", "pas", "1", AMARA)
    two = client.put_record("RV5", "pas", "2", AMARA)
    other = client.put_record(
        "RRV", "pas", "3", Record(names=(Name("Bello", ("Tunde",)),), birth_date="1951-01-01")
    )
    assert one.person_id and other.person_id

    same, apart = client.links(one.person_id), client.links(one.person_id, other.person_id)

    assert same.is_one_person
    assert [link.record_ids for link in same.links] == [
        tuple(sorted((one.record_id, two.record_id), key=int))
    ]
    assert same.links[0].rule == "weight"
    assert set(same.links[0].reasons.values()) == {"agree"}
    assert (apart.is_one_person, apart.because) == (False, "no-edge")


def test_tasks_are_listed_and_read(app: Flask):
    client = a_client(app)
    client.put_record("RRV", "pas", "1", AMARA)
    client.put_record("RV5", "pas", "2", TUNDE)

    page = client.tasks(kind="number-conflict", limit=1)

    (task,) = page.tasks
    assert (task.kind, task.state, len(task.sides), page.next) == ("number-conflict", "open", 2, None)
    assert client.task(task.task_id) == task


def test_a_task_is_claimed_and_decided_from_the_state_that_was_read(app: Flask):
    client = a_client(app)
    client.put_record("RRV", "pas", "1", AMARA)
    client.put_record("RV5", "pas", "2", TUNDE)
    (task,) = client.tasks(kind="number-conflict").tasks

    claimed = client.claim_task(task)
    with pytest.raises(Conflict, match="task-stale"):
        client.claim_task(task)
    decided = client.decide_task(claimed, "not-enough", "insufficient-evidence")

    assert (claimed.claimed_by, decided.state, decided.version) == ("caller", "decided", claimed.version + 1)


def test_refusals_name_the_field_and_the_scope(app: Flask):
    client = a_client(app, scopes=frozenset({"match", "records:write"}))

    with pytest.raises(Refused) as wrong:
        client.put_record("RRV", "pas", "1", Record(birth_date="1990-02-31"))
    with pytest.raises(Forbidden, match="scope-missing"):
        client.person("7")
    with pytest.raises(NotFound, match="person-unknown"):
        a_client(app, "reader").person("7")

    assert [fault.field for fault in wrong.value.faults] == ["birth_date"]
    assert wrong.value.request_id


def test_a_follower_stops_serving_when_the_worker_has_stopped_for_a_minute(
    app: Flask, composition: Composition, clock: FixedClock
):
    scopes = ALL | {"events:read", "directives:read"}
    client = a_client(app, "follower", scopes)
    forgotten: list[str] = []
    seconds = [0.0]
    follower = Follower(
        client,
        apply=lambda event: forgotten.append(event.topic),
        start_over=forgotten.clear,
        wait_seconds=0,
        seconds=lambda: seconds[0],
    )

    def pass_by(by: float) -> None:
        clock.advance(timedelta(seconds=by))
        seconds[0] += by

    work(composition)
    follower.step()
    client.put_record("RRV", "pas", "1", AMARA)
    pass_by(50)
    work(composition)
    follower.step()
    assert "person.changed" in forgotten
    # The worker stops; the web goes on answering, and has nothing to tell.
    pass_by(59)
    follower.step()
    assert follower.may_serve
    pass_by(1)
    follower.step()
    with pytest.raises(Behind) as behind:
        follower.check()
    work(composition)
    follower.step()

    assert behind.value.seconds == 60
    assert follower.seconds_behind == 0


def test_a_follower_without_the_scope_of_directives_serves_nothing(app: Flask, composition: Composition):
    client = a_client(app, "follower", ALL | {"events:read"})
    follower = Follower(client, apply=lambda _: None, start_over=lambda: None)
    work(composition)

    with pytest.raises(Forbidden) as refused:
        follower.step()

    assert refused.value.ids == {"topics": "directive.changed"}
    assert not follower.may_serve
