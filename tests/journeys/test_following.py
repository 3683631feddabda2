"""A hospital's system follows the index by both ways, with the example's client and receiver, a served API and a real worker."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from werkzeug.serving import make_server

from app import Composition, create_app, run_worker
from examples.client import NotSigned, Refused, ServiceClient, fresh_key, verify_webhook
from examples.follower import Kept
from examples.receiver import serve
from foundation.auth.clients import add_client_key, create_client
from foundation.clock import SystemClock
from foundation.database import Database
from foundation.principal import Principal
from foundation.settings import Settings
from foundation.webhooks import keep
from foundation.webhooks.address import Reach
from foundation.webhooks.send import headers_of, new_secret
from foundation.webhooks.tables import webhook
from mpi.client import DIRECTIVE_TOPICS, Behind, Event, EventPage
from tests.service.mpi_world import World

AMARA = {
    "names": [{"use": "usual", "given": ["Amara"], "family": "Okafor"}],
    "birth_date": "1990-02-14",
    "gender": "female",
    "addresses": [{"lines": ["12 Denmark Hill"], "city": "London", "postcode": "SE5 8AZ"}],
}
SUPERVISOR = Principal("person", "supervisor", "RRV", frozenset({"webhooks:write"}), role="R0008")


@contextmanager
def running(server: Any) -> Iterator[None]:
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def test_a_ward_board_is_told_of_a_person_that_came_and_changed(
    db: Database, capsys: pytest.CaptureFixture[str]
):
    clock = SystemClock()
    World(db, clock)  # type: ignore[arg-type]  organisations are all that is wanted of it
    key = fresh_key("ward-board")
    scopes = frozenset({"events:read", "persons:read", "records:read", "records:write"})
    with db.write() as tx:
        create_client(tx, clock.now(), "ward-board", "Ward board", "RRV", scopes)
        add_client_key(tx, clock.now(), "ward-board", key.as_dict(private=False))
    web = make_server("127.0.0.1", 0, lambda *_: [], threaded=True)  # its port is part of what the app is
    settings = Settings.from_environment({"MPI_PORT": str(web.server_port)})
    web.app = app = create_app(settings, database=db, clock=clock)
    secret = new_secret()
    receiver = serve(0, secret)
    with db.write() as tx:
        hook, _ = keep.create_webhook(
            tx,
            clock.now(),
            SUPERVISOR,
            Reach(is_trial=True),
            client_id="ward-board",
            url=f"http://127.0.0.1:{receiver.server_port}/",
            topics=["person.created", "person.demographics-changed"],
        )
        tx.execute(webhook.update().values(secret=secret))
    stop = threading.Event()
    composition: Composition = app.extensions["composition"]
    worker = threading.Thread(target=run_worker, args=(composition, stop))
    board = ServiceClient(settings.public_url, "ward-board", key)

    with running(web), running(receiver):
        worker.start()
        try:
            begun = board.get("/api/v1/events")["up_to"]
            events = board.follow(begun)
            board.put("/api/v1/source-records/RRV/pas/1", AMARA)
            came = [next(events) for _ in range(4)]
            board.put("/api/v1/source-records/RRV/pas/1", AMARA | {"gender": "unknown"})
            changed = next(events)
            person = board.get(f"/api/v1/persons/{came[1]['data']['person_id']}")
            while keep_of(db, hook.webhook_id).delivered < 2:
                stop.wait(0.05)
            with pytest.raises(Refused) as ahead:
                next(board.follow(10_000))
        finally:
            stop.set()
            worker.join()

    assert [one["topic"] for one in came] == [
        "record.received",
        "person.created",
        "record.linked",
        "person.changed",
    ]
    assert (changed["topic"], changed["data"]) == (
        "person.demographics-changed",
        {"person_id": person["person_id"]},
    )
    assert ahead.value.code == "events-ahead"
    printed = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert printed == [
        [str(came[1]["sequence"]), "person.created"],
        [str(changed["sequence"]), "person.demographics-changed"],
    ]


def test_what_is_kept_about_people_is_forgotten_as_they_change_and_not_served_while_that_is_unknown():
    pages = iter(
        [(5, []), (5, []), (6, [{"person_id": "7", "into_person_id": "8"}]), (7, [{"person_id": "9"}])]
    )

    class Index:
        def events(self, after: int | None = None, **_: Any) -> EventPage:
            up_to, told = next(pages)
            now = datetime(2026, 11, 23, tzinfo=UTC)
            events = tuple(Event(up_to, "person.merged", now, one) for one in told)
            return EventPage(events, up_to, 1, up_to, False, now, 0.0, DIRECTIVE_TOPICS)

    seconds = [0.0]
    kept = Kept(Index(), seconds=lambda: seconds[0])  # type: ignore[arg-type]
    asked: list[str] = []

    def get(person_id: str, *meanwhile: Callable[[], Any]) -> None:
        kept.get(person_id, lambda: (asked.append(person_id), [one() for one in meanwhile]))

    with pytest.raises(Behind):
        get("7")
    kept.follower.step()
    for person_id in ("7", "7", "8", "10"):
        get(person_id)
    kept.follower.step()
    for person_id in ("7", "8", "10"):
        get(person_id)
    # Told of while it is decided: not kept, as it may be about this one.
    get("9", kept.follower.step)
    get("9")
    seconds[0] = 60
    with pytest.raises(Behind):
        get("7")

    assert asked == ["7", "8", "10", "7", "8", "9", "9"]


def keep_of(db: Database, webhook_id: int) -> keep.Webhook:
    with db.read() as tx:
        return keep.get_webhook(tx, SUPERVISOR, webhook_id)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ({}, 301),
        ({}, -301),
        ({"webhook-id": "another"}, 0),
        ({"webhook-signature": "v1,AAAA"}, 0),
        ({"webhook-signature": "v1,é"}, 0),
        ({"webhook-signature": None}, 0),
        ({"webhook-timestamp": "yesterday"}, 0),
        ({"webhook-timestamp": None}, 0),
    ],
)
def test_a_message_that_the_service_did_not_send_now_is_refused(fault: dict[str, Any], seconds: int):
    now, body = SystemClock().now(), b'{"type": "ping"}'
    old, new = new_secret(), new_secret()
    headers = headers_of("msg_1", now, body, (new, old))
    wrong = {name: value for name, value in (headers | fault).items() if value is not None}

    for secret in (old, new):
        assert verify_webhook(headers, body, secret, now=now.timestamp()) == {"type": "ping"}
    with pytest.raises(NotSigned):
        verify_webhook(wrong, body, new, now=now.timestamp() + seconds)
    with pytest.raises(NotSigned):
        verify_webhook(headers, body + b" ", new, now=now.timestamp())
    with pytest.raises(NotSigned):
        verify_webhook(headers, body, new_secret(), now=now.timestamp())
