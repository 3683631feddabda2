"""Following the index over HTTP: by asking for events, and by webhooks that administrators keep."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from app import Composition, create_app, tidy, work
from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.outbox import emit, number_events
from foundation.settings import Settings
from foundation.topics import TOPICS
from foundation.web import events as events_web
from foundation.webhooks.deliver import deliver_waiting, post_of
from tests.service.mpi_world import World
from tests.service.receiver import Receiver, a_receiver
from tests.web.every_row import every_row
from tests.web.foundation_caller import PASSWORD
from tests.web.mpi_client import ALL, Caller
from tests.web.test_purge_api import AMARA, HERS, Person

EVENTS, WEBHOOKS = "/api/v1/events", "/api/v1/webhooks"
THEIRS = "/api/v1/source-records/RV5/pas/2"


ROLES = {
    "supervisor": ("RRV", "R0008"),
    "elsewhere": ("RV5", "R0008"),
    "doctor": ("RRV", "R8000"),
    "officer": ("RRV", "R0001"),
    "quality": ("RRV", "R5110"),
}


@pytest.fixture
def app(db: Database, clock: FixedClock) -> Flask:
    World(db, clock)
    return create_app(Settings.from_environment({}), database=db, clock=clock)


def signed_in(app: Flask, name: str) -> Person:
    """Open an account for one of them and sign in; an account costs half a second, so there are no more than are wanted."""
    composition: Composition = app.extensions["composition"]
    organisation, role = ROLES[name]
    with composition.db.write() as tx:
        create_user(tx, composition.clock.now(), name, PASSWORD, organisation, role, name="Example")
    return Person(app, name)


@pytest.fixture
def composition(app: Flask) -> Composition:
    found: Composition = app.extensions["composition"]
    return found


@pytest.fixture
def follower(app: Flask) -> Caller:
    scopes = ALL | {"events:read"}
    return Caller(app, "follower", organisation="RRV", organisations=frozenset({"RV5"}), scopes=scopes)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as found:
        yield found


# By asking -----------------------------------------------------------------------------------------------------------


def test_a_follower_begins_at_the_end_and_is_told_what_comes(
    app: Flask, composition: Composition, follower: Caller
):
    assert follower.put(HERS, AMARA).status_code == 201
    work(composition)
    begin = follower.get(EVENTS).json
    assert follower.put(THEIRS, AMARA).status_code == 201
    before = follower.get(f"{EVENTS}?after={begin['up_to']}").json
    work(composition)

    first = follower.get(f"{EVENTS}?after={begin['up_to']}&limit=2").json
    rest = follower.get(f"{EVENTS}?after={first['up_to']}").json
    of_persons = follower.get(f"{EVENTS}?after={begin['up_to']}&topic=person.changed").json

    assert (begin["events"], begin["has_more"], begin["oldest"]) == ([], False, 1)
    assert before["events"] == [], "not before the worker has numbered it"
    assert [one["topic"] for one in first["events"]] == ["record.received", "record.linked"]
    assert [one["sequence"] for one in first["events"]] == [begin["up_to"] + 1, begin["up_to"] + 2]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [one["topic"] for one in rest["events"]] == ["person.changed"]
    assert of_persons["events"] == rest["events"]
    assert of_persons["up_to"] == rest["up_to"] == rest["last"]
    told = rest["events"][0]
    assert follower.get(f"/api/v1/persons/{told['data']['person_id']}").json["epoch"] == told["data"]["epoch"]


def test_how_far_behind_a_follower_is_is_told_though_nothing_happens(
    composition: Composition, follower: Caller, clock: FixedClock
):
    never = follower.get(EVENTS).json
    work(composition)
    begun = follower.get(EVENTS).json
    clock.advance(timedelta(seconds=61.5))  # with the worker at rest
    behind = follower.get(f"{EVENTS}?after=0").json
    work(composition)
    again = follower.get(f"{EVENTS}?after=0").json

    assert (never["complete_at"], never["complete_age_ms"]) == (None, None)
    assert (begun["complete_age_ms"], behind["complete_age_ms"], again["complete_age_ms"]) == (0, 61_500, 0)
    assert behind["complete_at"] == begun["complete_at"] < again["complete_at"]
    assert again["events"] == []


def test_a_page_with_more_behind_it_does_not_say_until_when_it_is_complete(
    composition: Composition, follower: Caller
):
    follower.put(HERS, AMARA)
    work(composition)

    part, whole = (follower.get(f"{EVENTS}?after={after}&limit=1").json for after in (0, 3))

    assert (part["has_more"], part["complete_at"], part["complete_age_ms"]) == (True, None, None)
    assert (whole["has_more"], whole["complete_age_ms"]) == (False, 0)


def test_which_topics_may_be_told_is_said(app: Flask, follower: Caller):
    persons = Caller(app, "persons", scopes=frozenset({"events:read", "persons:read"}))

    whole, one = (persons.get(EVENTS + query).json["topics"] for query in ("", "?topic=person.merged"))

    assert whole == sorted(name for name, topic in TOPICS.items() if topic.scope == "persons:read")
    assert one == ["person.merged"]
    assert "record.linked" in follower.get(EVENTS).json["topics"]


def test_another_organisations_records_are_not_told(app: Flask, composition: Composition, follower: Caller):
    stranger = Caller(
        app, "stranger", organisation="RRU", organisations=frozenset(), scopes=ALL | {"events:read"}
    )
    follower.put(HERS, AMARA)
    work(composition)

    own, others = (one.get(f"{EVENTS}?after=0").json for one in (follower, stranger))

    assert {one["topic"] for one in own["events"]} == {
        "record.received",
        "record.linked",
        "person.created",
        "person.changed",
    }
    assert {one["topic"] for one in others["events"]} == {"person.created", "person.changed"}
    assert own["up_to"] == others["up_to"]


def test_who_may_ask_for_events_and_how(app: Flask):
    callers = {
        scopes: Caller(app, f"caller-{place}", scopes=frozenset(scopes.split()))
        for place, scopes in enumerate(("persons:read", "events:read", "events:read persons:read"))
    }
    table = [
        ("persons:read", "", 403, "scope-missing"),
        ("events:read", "", 200, None),
        ("events:read", "?after=0&topic=person.changed", 403, "scope-missing"),
        ("events:read persons:read", "?after=0&topic=person.changed", 200, None),
        ("events:read", "?after=1", 409, "events-ahead"),
        ("events:read", "?after=-1", 422, "fields-invalid"),
        ("events:read", "?after=x", 422, "fields-invalid"),
        ("events:read", "?after=0&limit=0", 422, "fields-invalid"),
        ("events:read", "?after=0&limit=501", 422, "fields-invalid"),
        ("events:read", "?after=0&wait=21", 422, "fields-invalid"),
        ("events:read", "?after=0&topic=person.vanished", 422, "fields-invalid"),
        ("events:read", "?from=0", 422, "fields-invalid"),
    ]

    answers = [callers[scopes].get(EVENTS + query) for scopes, query, *_ in table]

    assert [(one.status_code, one.json.get("code")) for one in answers] == [tuple(line[2:]) for line in table]


def test_no_role_of_a_person_follows_by_itself(app: Flask):
    assert signed_in(app, "supervisor").get(EVENTS).json["code"] == "scope-missing"
    assert app.test_client().get(EVENTS).status_code == 401


def test_who_stayed_away_for_too_long_is_told_to_begin_anew(
    composition: Composition, clock: FixedClock, follower: Caller
):
    follower.put(HERS, AMARA)
    work(composition)
    last = follower.get(EVENTS).json["last"]
    clock.advance(timedelta(days=composition.settings.events_kept_days, seconds=1))
    tidy(composition)

    clock.advance(timedelta(days=-31))
    gone = follower.get(f"{EVENTS}?after=0")
    kept = follower.get(f"{EVENTS}?after={last}")

    assert (gone.status_code, gone.json["code"]) == (410, "events-gone")
    assert gone.json["ids"] == {"oldest": str(last + 1), "last": str(last)}
    assert (kept.status_code, kept.json["events"], kept.json["up_to"]) == (200, [], last)


def test_a_request_may_wait_for_the_next_event(
    db: Database, clock: FixedClock, follower: Caller, monkeypatch: pytest.MonkeyPatch
):
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 3:
            with db.write() as tx:
                emit(tx, "person.changed", 7, {"person_id": "7", "epoch": 1, "cause": "record-linked"})
            number_events(db, clock.now())

    monkeypatch.setattr(events_web, "rest", rest)

    found = follower.get(f"{EVENTS}?after=0&wait=20").json
    in_vain = follower.get(f"{EVENTS}?after={found['up_to']}&wait=2").json

    assert [one["data"]["person_id"] for one in found["events"]] == ["7"]
    assert in_vain["events"] == []
    assert rests == [0.5] * 7


def test_waiting_leaves_threads_for_others(follower: Caller, monkeypatch: pytest.MonkeyPatch):
    rests: list[float] = []
    monkeypatch.setattr(events_web, "rest", rests.append)
    most = Settings.from_environment({}).web_threads // 2

    with events_web.waiters.one_more(most):
        for _ in range(most - 1):
            events_web.waiters._count += 1
        answer = follower.get(f"{EVENTS}?after=0&wait=20")
        events_web.waiters._count -= most - 1

    assert (answer.status_code, rests) == (200, [])
    assert events_web.waiters._count == 0


# By webhooks ---------------------------------------------------------------------------------------------------------


def asked(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {"client_id": "follower", "url": receiver.url, "topics": ["person.changed"], **more}


def test_an_administrator_keeps_a_webhook(
    app: Flask, composition: Composition, follower: Caller, receiver: Receiver
):
    supervisor = signed_in(app, "supervisor")
    post = post_of(composition.db, composition.clock, composition.settings)

    made = supervisor.post(WEBHOOKS, asked(receiver, description="Ward board"))
    hook = f"{WEBHOOKS}/{made.json['webhook_id']}"
    secret = made.json["secret"]
    read = supervisor.get(hook)
    pinged = supervisor.post(f"{hook}/ping")
    follower.put(HERS, AMARA)
    work(composition)
    deliver_waiting(post)
    listed = supervisor.get(WEBHOOKS).json["items"]

    assert (made.status_code, made.json["state"], made.json["organisation"]) == (201, "active", "RRV")
    assert "secret" not in read.json and read.json == {
        name: value for name, value in made.json.items() if name != "secret"
    }
    assert pinged.json == {"outcome": "delivered", "status": 204}
    assert [one.said["type"] for one in receiver.requests] == ["ping", "events"]
    assert all(one.is_signed_with(secret) for one in receiver.requests)
    assert [(one["delivered"], one["last_outcome"]) for one in listed] == [(1, "delivered")]

    rotated = supervisor.post(f"{hook}/rotate-secret")
    replayed = supervisor.post(f"{hook}/replay", {"from_sequence": 1})
    deliver_waiting(post)
    assert receiver.requests[-1].sequences == receiver.requests[-2].sequences
    assert receiver.requests[-1].is_signed_with(secret)
    assert receiver.requests[-1].is_signed_with(rotated.json["secret"])
    assert replayed.json["sent_through"] == 0
    deliveries = supervisor.get(f"{hook}/deliveries?limit=1").json
    older = supervisor.get(f"{hook}/deliveries?limit=1&cursor={deliveries['next']}").json
    assert [one["state"] for page in (deliveries, older) for one in page["items"]] == ["delivered"] * 2
    assert supervisor.get(f"{hook}/deliveries?state=dead").json["items"] == []


def test_a_webhook_is_paused_changed_and_removed(
    app: Flask, composition: Composition, follower: Caller, receiver: Receiver
):
    supervisor = signed_in(app, "supervisor")
    made = supervisor.post(WEBHOOKS, asked(receiver))
    hook = f"{WEBHOOKS}/{made.json['webhook_id']}"

    paused = patch(supervisor, hook, {"state": "paused"}, If_Match=made.headers["ETag"])
    stale = patch(supervisor, hook, {"state": "active"}, If_Match=made.headers["ETag"])
    follower.put(HERS, AMARA)
    work(composition)
    deliver_waiting(post_of(composition.db, composition.clock, composition.settings))
    quiet = list(receiver.requests)
    active = patch(supervisor, hook, {"state": "active", "topics": ["person.created"]})
    deliver_waiting(post_of(composition.db, composition.clock, composition.settings))

    assert (paused.json["state"], paused.json["paused_because"]) == ("paused", "administrator")
    assert (stale.status_code, stale.json["code"]) == (409, "stale-etag")
    assert quiet == []
    assert (active.json["state"], active.json["topics"]) == ("active", ["person.created"])
    assert [one["topic"] for one in receiver.requests[0].said["data"]["events"]] == ["person.created"]
    assert supervisor.delete(hook).status_code == 204
    assert supervisor.get(hook).json["code"] == "webhook-unknown"


def patch(by: Person, path: str, body: Any, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return by.send("PATCH", path, body, **named)


def test_a_message_that_was_set_aside_is_sent_again_when_asked(
    app: Flask, composition: Composition, follower: Caller, receiver: Receiver, clock: FixedClock
):
    supervisor = signed_in(app, "supervisor")
    hook = f"{WEBHOOKS}/{supervisor.post(WEBHOOKS, asked(receiver)).json['webhook_id']}"
    post = post_of(composition.db, clock, composition.settings)
    receiver.answers = [400]
    follower.put(HERS, AMARA)
    work(composition)
    for _ in range(12):
        deliver_waiting(post)
        clock.advance(timedelta(minutes=6))

    clock.advance(timedelta(minutes=-72))
    (dead,) = supervisor.get(f"{hook}/deliveries?state=dead").json["items"]
    receiver.answers = [204]
    again = supervisor.post(f"{hook}/deliveries/{dead['delivery_id']}/retry")
    deliver_waiting(post)
    twice = supervisor.post(f"{hook}/deliveries/{dead['delivery_id']}/retry")

    assert (dead["outcome"], dead["status"], dead["events"]) == ("message-refused", 400, 1)
    assert again.json["state"] == "again"
    assert receiver.requests[-1].sequences == [dead["first_sequence"]]
    assert (twice.status_code, twice.json["code"]) == (409, "delivery-not-dead")
    unknown = supervisor.post(f"{hook}/deliveries/4711/retry")
    assert (unknown.status_code, unknown.json["code"]) == (404, "delivery-unknown")


def test_a_secret_is_not_kept_for_a_repeat(app: Flask, db: Database, follower: Caller, receiver: Receiver):
    supervisor = signed_in(app, "supervisor")

    made = supervisor.post(WEBHOOKS, asked(receiver), Idempotency_Key="k-1")
    again = supervisor.post(WEBHOOKS, asked(receiver), Idempotency_Key="k-1")
    rotated = supervisor.post(f"{WEBHOOKS}/{made.json['webhook_id']}/rotate-secret", Idempotency_Key="k-2")

    assert (again.status_code, again.json["code"]) == (409, "webhook-exists")
    rows = every_row(db)
    where = {
        table
        for table, lines in rows.items()
        for secret in (made.json["secret"], rotated.json["secret"])
        if any(secret in line for line in lines)
    }
    assert where == {"webhook"}


ROUTES = [
    ("POST", ""),
    ("GET", ""),
    ("GET", "/{hook}"),
    ("PATCH", "/{hook}"),
    ("DELETE", "/{hook}"),
    ("POST", "/{hook}/rotate-secret"),
    ("POST", "/{hook}/replay"),
    ("POST", "/{hook}/ping"),
    ("GET", "/{hook}/deliveries"),
    ("POST", "/{hook}/deliveries/1/retry"),
]
_BODIES = {"PATCH/{hook}": {"state": "paused"}, "POST/{hook}/replay": {"from_sequence": 1}}


def test_webhooks_are_for_administrators_of_the_organisation(
    app: Flask, db: Database, follower: Caller, receiver: Receiver
):
    made = signed_in(app, "supervisor").post(WEBHOOKS, asked(receiver)).json
    nobody = app.test_client()
    callers: dict[str, Any] = {
        "nobody": lambda method, path, body: nobody.open(path, method=method, json=body),
        "system": follower.call,
        **{who: signed_in(app, who).send for who in ("doctor", "officer", "quality", "elsewhere")},
    }
    before = every_row(db)["webhook"]
    seen: dict[str, dict[tuple[str, str], tuple[int, str | None]]] = {}
    for who, call in callers.items():
        for method, path in ROUTES:
            body = _BODIES.get(method + path, asked(receiver) if method == "POST" and not path else None)
            answer = call(method, WEBHOOKS + path.format(hook=made["webhook_id"]), body)
            told = (answer.json or {}).get("code")
            seen.setdefault(who, {})[method, path] = (answer.status_code, told)

    assert seen["elsewhere"].pop(("POST", "")) == (404, "client-unknown")
    assert seen["elsewhere"].pop(("GET", "")) == (200, None)
    assert {who: set(answers.values()) for who, answers in seen.items()} == {
        "nobody": {(401, "sign-in-needed")},
        "elsewhere": {(404, "webhook-unknown")},
        **dict.fromkeys(("system", "doctor", "officer", "quality"), {(403, "scope-missing")}),
    }
    assert every_row(db)["webhook"] == before
    assert receiver.requests == []


def test_a_client_that_is_closed_or_lacks_a_scope_gets_no_webhook(
    app: Flask, follower: Caller, receiver: Receiver
):
    answer = signed_in(app, "supervisor").post(WEBHOOKS, asked(receiver, topics=["directive.changed"]))

    assert (answer.status_code, answer.json["errors"]) == (
        422,
        [{"field": "topics", "code": "topic-not-for-client"}],
    )
    assert "directives:read" in answer.json["detail"]


def test_in_production_a_receiver_on_this_machine_is_refused(
    db: Database, app: Flask, clock: FixedClock, follower: Caller, receiver: Receiver
):
    real = create_app(Settings.from_environment({"MPI_PRODUCTION": "yes"}), database=db, clock=clock)

    supervisor = signed_in(real, "supervisor")
    plain = supervisor.post(WEBHOOKS, asked(receiver))
    private = supervisor.post(WEBHOOKS, asked(receiver, url="https://127.0.0.1/"))

    assert [one.json["errors"][0]["code"] for one in (plain, private)] == ["url-scheme", "url-address"]


def test_the_counters_tell_how_far_events_are(
    app: Flask, composition: Composition, follower: Caller, receiver: Receiver, clock: FixedClock
):
    made = signed_in(app, "supervisor").post(WEBHOOKS, asked(receiver)).json
    follower.put(HERS, AMARA)

    def counters() -> dict[str, str]:
        lines = app.test_client().get("/metrics").get_data(as_text=True).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith(("events_", "webhook")))

    before = counters()
    work(composition)
    numbered = counters()
    deliver_waiting(post_of(composition.db, composition.clock, composition.settings))
    delivered = counters()
    clock.advance(timedelta(seconds=90))  # with the worker at rest

    assert numbered["events_complete_age_seconds"] == "0.0"
    assert counters()["events_complete_age_seconds"] == "90.0"
    behind = f'webhook_behind_events{{webhook_id="{made["webhook_id"]}"}}'
    assert (before["events_waiting"], before["events_last_sequence"], before[behind]) == ("4.0", "0.0", "0.0")
    assert (numbered["events_waiting"], numbered["events_last_sequence"], numbered[behind]) == (
        "0.0",
        "4.0",
        "4.0",
    )
    assert (delivered[behind], delivered['webhook_deliveries{outcome="delivered"}']) == ("0.0", "1.0")
    assert delivered["webhooks_paused"] == "0.0"


def test_the_description_lists_every_topic(app: Flask):
    described = app.test_client().get("/api/v1/openapi.json").json
    (topic,) = [one for one in described["paths"][EVENTS]["get"]["parameters"] if one.get("name") == "topic"]

    assert topic["schema"]["enum"] == list(TOPICS)
