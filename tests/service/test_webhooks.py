"""Webhooks: signed, in order, at least once, whatever receivers do; and what administrators do about those that fail."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import event, text

from foundation.auth.clients import create_client, set_client_active
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, Gone, Invalid, NotFound
from foundation.logs import configure_logs
from foundation.outbox import emit, number_events, purge_relayed, relay
from foundation.principal import Principal
from foundation.webhooks import deliver, keep
from foundation.webhooks.address import Reach
from foundation.webhooks.deliver import (
    EVENTS_AT_ONCE,
    MESSAGE_ATTEMPTS,
    RECEIVER_ATTEMPTS,
    Post,
    Round,
    backlog_of,
    deliver_to,
    deliver_waiting,
    due_webhooks,
    ping_webhook,
    purge_deliveries,
    wait_after,
)
from foundation.webhooks.keep import Webhook
from foundation.webhooks.send import Sender, sign
from tests.service.receiver import Receiver, a_receiver
from tests.web.foundation_caller import put_trust

ADMINISTRATOR = Principal("person", "supervisor", "RRV", frozenset({"webhooks:write"}), role="R0008")
ELSEWHERE = replace(ADMINISTRATOR, id="elsewhere", organisation="RV5")
TRIAL = Reach(is_trial=True)
SCOPES = frozenset({"events:read", "persons:read", "records:read"})


class World:
    """A service with a client that follows, and a clock of its own."""

    def __init__(self, db: Database, clock: FixedClock, receiver: Receiver) -> None:
        self.db, self.clock, self.receiver = db, clock, receiver
        self.post = Post(db, clock, TRIAL, jitter=lambda: 0.5)
        put_trust(db)
        with db.write() as tx:
            create_client(tx, clock.now(), "follower", "Follower", "RRV", SCOPES)

    def add(self, url: str | None = None, *topics: str) -> tuple[Webhook, str]:
        with self.db.write() as tx:
            return keep.create_webhook(
                tx,
                self.clock.now(),
                ADMINISTRATOR,
                TRIAL,
                client_id="follower",
                url=url or self.receiver.url,
                topics=topics or ("person.changed",),
            )

    def happen(self, *subjects: int, topic: str = "person.changed", organisation: str | None = None) -> None:
        with self.db.write() as tx:
            for subject in subjects:
                emit(tx, topic, subject, {"person_id": str(subject)}, organisation=organisation)
        number_events(self.db, self.clock.now())

    def see(self, webhook_id: int) -> Webhook:
        with self.db.read() as tx:
            return keep.get_webhook(tx, ADMINISTRATOR, webhook_id)

    def deliveries(self, webhook_id: int, state: str | None = None) -> list[keep.Delivery]:
        with self.db.read() as tx:
            return list(keep.list_deliveries(tx, ADMINISTRATOR, webhook_id, state=state))

    def until_tried(self, times: int) -> None:
        """Let so many attempts pass, each when it is due."""
        for _ in range(times):
            while not due_webhooks(self.post):
                self.clock.advance(timedelta(minutes=10))
            deliver_waiting(self.post)

    def act(self, do: Any, *told: Any, **more: Any) -> Any:
        with self.db.write() as tx:
            return do(tx, self.clock.now(), ADMINISTRATOR, *told, **more)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as found:
        yield found


@pytest.fixture
def world(db: Database, clock: FixedClock, receiver: Receiver) -> World:
    return World(db, clock, receiver)


# Messages ------------------------------------------------------------------------------------------------------------


def test_what_happens_after_a_webhook_was_made_goes_to_it_in_order_and_signed(
    world: World, receiver: Receiver
):
    world.happen(1)
    hook, secret = world.add()
    world.happen(2, 3)
    world.happen(9, topic="task.opened")
    world.happen(4)

    taken = deliver_waiting(world.post)

    (request,) = receiver.requests
    assert (taken, request.sequences) == (3, [2, 3, 5])
    assert request.said["type"] == "events"
    assert request.said["data"]["webhook_id"] == str(hook.webhook_id)
    assert request.said["data"]["events"][0] == {
        "sequence": 2,
        "topic": "person.changed",
        "at": world.clock.now().isoformat(),
        "data": {"person_id": "2"},
    }
    assert request.headers["webhook-timestamp"] == str(int(world.clock.now().timestamp()))
    assert request.headers["content-type"] == "application/json"
    assert request.is_signed_with(secret)
    assert not request.is_signed_with("whsec_" + "A" * 43 + "=")
    assert world.see(hook.webhook_id).sent_through == 5
    assert (deliver_waiting(world.post), due_webhooks(world.post)) == (0, [])


def test_a_signature_is_that_of_the_convention(clock: FixedClock):
    """The example of the Standard Webhooks' own libraries."""
    at = clock.now().fromtimestamp(1614265330, tz=clock.now().tzinfo)

    made = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}'
    )

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_many_events_go_in_messages_of_some_each(world: World, receiver: Receiver):
    world.add()
    world.happen(*range(1, EVENTS_AT_ONCE * 2 + 6))

    assert deliver_waiting(world.post) == EVENTS_AT_ONCE * 2 + 5

    assert [len(request.sequences) for request in receiver.requests] == [EVENTS_AT_ONCE, EVENTS_AT_ONCE, 5]
    assert receiver.sequences == list(range(1, EVENTS_AT_ONCE * 2 + 6))
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 3


def test_while_a_secret_is_changed_both_sign_and_after_a_day_the_new_one_alone(
    world: World, receiver: Receiver
):
    hook, old = world.add()
    changed, new = world.act(keep.rotate_secret, hook.webhook_id)
    world.happen(1)
    deliver_waiting(world.post)
    world.clock.advance(keep.OLD_SECRET_LASTS)
    world.happen(2)
    deliver_waiting(world.post)

    both, alone = receiver.requests
    assert new != old
    assert changed.version == hook.version + 1
    assert both.is_signed_with(new) and both.is_signed_with(old)
    assert alone.is_signed_with(new) and not alone.is_signed_with(old)


def test_a_webhook_is_told_what_its_client_may_read_at_that_moment(world: World, receiver: Receiver):
    hook, _ = world.add(None, "person.changed", "record.linked")
    world.happen(1, topic="record.linked", organisation="RRV")
    world.happen(2, topic="record.linked", organisation="RV5")
    world.happen(3)
    deliver_waiting(world.post)
    with world.db.write() as tx:
        tx.execute(text('update client set scopes = \'["events:read","persons:read"]\''))
    world.happen(4, topic="record.linked", organisation="RRV")
    world.happen(5)
    deliver_waiting(world.post)
    with world.db.write() as tx:
        set_client_active(tx, "follower", is_active=False)
    world.happen(6)

    assert deliver_waiting(world.post) == 0
    with world.db.write() as tx:
        set_client_active(tx, "follower", is_active=True)
    deliver_waiting(world.post)

    assert receiver.sequences == [1, 3, 5, 6]
    assert world.see(hook.webhook_id).sent_through == 6


# Receivers that fail -------------------------------------------------------------------------------------------------


def test_waits_grow_from_a_second_to_hours_and_come_to_about_a_day():
    waits = [wait_after(failures, 0.5) for failures in range(1, RECEIVER_ATTEMPTS)]

    assert waits[:4] == [timedelta(seconds=seconds) for seconds in (1, 2, 4, 8)]
    assert waits == sorted(waits)
    assert max(waits) == deliver.LONGEST_WAIT
    assert timedelta(hours=20) < sum(waits, timedelta()) < timedelta(hours=28)
    assert wait_after(3, 0.0) < wait_after(3, 0.5) < wait_after(3, 1.0)
    assert sum(waits[: MESSAGE_ATTEMPTS - 1], timedelta()) < timedelta(minutes=10)


def test_what_was_not_taken_is_sent_again_when_it_is_time_and_what_follows_waits(
    world: World, receiver: Receiver
):
    hook, secret = world.add()
    receiver.answers = [503, 500, 204]
    world.happen(1, 2)

    deliver_waiting(world.post)
    world.happen(3)
    assert deliver_waiting(world.post) == 0, "it is not time yet"
    failing = world.see(hook.webhook_id)
    world.until_tried(1)
    first_again = receiver.requests[1]
    world.until_tried(1)

    assert (failing.failures, failing.sent_through, failing.last_outcome) == (1, 0, "receiver-failed")
    assert failing.next_attempt_at == failing.last_attempt_at + timedelta(seconds=1)
    assert first_again.sequences == [1], "after a failure the first event goes alone"
    assert [request.sequences for request in receiver.requests] == [[1, 2], [1], [1], [2, 3]]
    assert receiver.requests[1].body == receiver.requests[2].body
    assert receiver.requests[1].headers["webhook-id"] == receiver.requests[2].headers["webhook-id"]
    assert all(request.is_signed_with(secret) for request in receiver.requests)
    assert [(one.state, one.attempts, one.first_sequence) for one in world.deliveries(hook.webhook_id)] == [
        ("delivered", 1, 2),
        ("delivered", 3, 1),
    ]
    after = world.see(hook.webhook_id)
    assert (after.failures, after.sent_through, after.delivered, after.failed) == (0, 3, 3, 2)


def test_a_receiver_that_asks_for_time_is_given_it(world: World, receiver: Receiver):
    hook, _ = world.add()
    receiver.answers = [(429, {"Retry-After": "600"}), (503, {"Retry-After": "not a number"}), 204]
    world.happen(1)

    deliver_waiting(world.post)
    asked = world.see(hook.webhook_id)
    world.until_tried(1)
    unread = world.see(hook.webhook_id)

    assert asked.next_attempt_at == asked.last_attempt_at + timedelta(minutes=10)
    assert unread.next_attempt_at == unread.last_attempt_at + timedelta(seconds=2)


def test_the_one_event_that_a_receiver_cannot_take_is_set_aside_and_the_others_go_on(
    world: World, receiver: Receiver
):
    hook, _ = world.add()
    receiver.answer_to = lambda request: 422 if 3 in request.sequences else 204
    world.happen(1, 2, 3, 4, 5)

    for _ in range(30):
        while not due_webhooks(world.post):
            if world.see(hook.webhook_id).sent_through == 5:
                break
            world.clock.advance(timedelta(minutes=5))
        deliver_waiting(world.post)

    (dead,) = world.deliveries(hook.webhook_id, "dead")
    assert (dead.first_sequence, dead.last_sequence, dead.attempts) == (3, 3, MESSAGE_ATTEMPTS)
    assert (dead.outcome, dead.status) == ("message-refused", 422)
    found = world.see(hook.webhook_id)
    assert (found.state, found.sent_through, found.set_aside, found.delivered) == ("active", 5, 1, 4)
    assert world.deliveries(hook.webhook_id, "failing") == []
    with world.db.read() as tx:
        backlog = backlog_of(tx)
    assert (backlog.behind, backlog.set_aside) == ({hook.webhook_id: 0}, 1)

    with pytest.raises(Conflict) as refused:
        world.act(
            keep.retry_delivery,
            hook.webhook_id,
            world.deliveries(hook.webhook_id, "delivered")[0].delivery_id,
        )
    assert refused.value.code == "delivery-not-dead"
    assert world.act(keep.retry_delivery, hook.webhook_id, dead.delivery_id).state == "again"
    assert deliver_waiting(world.post) == 1
    assert [one.state for one in world.deliveries(hook.webhook_id) if one.first_sequence == 3] == ["dead"]
    receiver.answer_to = None
    world.act(keep.retry_delivery, hook.webhook_id, dead.delivery_id)
    world.happen(6)
    deliver_waiting(world.post)
    assert [request.sequences for request in receiver.requests[-2:]] == [[3], [6]]
    assert world.deliveries(hook.webhook_id, "dead") == []


@pytest.mark.parametrize("status", [404, 503])
def test_a_receiver_that_takes_nothing_for_a_day_is_paused_and_nothing_is_lost(
    world: World, receiver: Receiver, status: int
):
    hook, _ = world.add()
    receiver.answers = [(status, {"Location": receiver.url})]
    began = world.clock.now()
    world.happen(1, 2)

    world.until_tried(RECEIVER_ATTEMPTS)
    paused = world.see(hook.webhook_id)
    world.clock.advance(timedelta(days=2))
    quiet = due_webhooks(world.post)
    receiver.answers = [204]
    world.happen(3)
    world.act(keep.change_webhook, hook.webhook_id, {"state": "active"}, if_match=paused.version)
    deliver_waiting(world.post)

    assert (paused.state, paused.paused_because) == ("paused", "receiver-down")
    assert timedelta(hours=20) < paused.last_attempt_at - began < timedelta(hours=30)
    assert quiet == []
    assert receiver.requests[-1].sequences == [1, 2, 3]
    assert world.see(hook.webhook_id).state == "active"
    audited = world.db.engine.connect().execute(
        text("select count(*) from audit_event where kind = 'webhook-paused'")
    )
    assert audited.scalar_one() == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (301, "redirected"),
        (304, "redirected"),
        (308, "redirected"),
        (400, "message-refused"),
        (401, "receiver-refused"),
        (404, "receiver-refused"),
        (409, "message-refused"),
        (410, "gone"),
        (413, "message-refused"),
        (422, "message-refused"),
        (429, "receiver-refused"),
        (500, "receiver-failed"),
        (503, "receiver-failed"),
    ],
)
def test_what_a_receiver_means(receiver: Receiver, status: int, code: str):
    receiver.answers = [(status, {"Location": receiver.url})]

    with Sender(TRIAL) as sender:
        outcome = sender.post(receiver.url, {}, b"{}")

    assert (outcome.code, outcome.status, len(receiver.requests)) == (code, status, 1)


def test_a_receiver_that_is_gone_is_left_alone(world: World, receiver: Receiver):
    hook, _ = world.add()
    receiver.answers = [410]
    world.happen(1)

    deliver_waiting(world.post)

    found = world.see(hook.webhook_id)
    assert (found.state, found.paused_because, found.sent_through) == ("paused", "gone", 0)
    assert due_webhooks(world.post) == []
    assert found.version == hook.version + 1


def test_no_redirection_is_followed(world: World, receiver: Receiver):
    hook, _ = world.add()
    with a_receiver() as other:
        receiver.answers = [(307, {"Location": other.url})]
        world.happen(1)
        deliver_waiting(world.post)

        assert other.requests == []
    assert world.see(hook.webhook_id).last_outcome == "redirected"


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Answer a byte at a time, each within every timeout, for ever."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            handler.wfile.write(b"X")
            handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        pass
    handler.close_connection = True


def test_a_receiver_that_never_comes_to_an_end_is_cut_off(world: World, receiver: Receiver):
    hook, _ = world.add()
    receiver.answers = [drip]
    world.happen(1)

    deliver_to(replace(world.post, whole_seconds=0.2), hook.webhook_id)

    assert world.see(hook.webhook_id).last_outcome == "timed-out"


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def test_whoever_is_not_there_or_hangs_up_is_tried_again(world: World, receiver: Receiver):
    there, _ = world.add()
    nowhere, _ = world.add("http://127.0.0.1:9/")
    receiver.answers = [hang_up]
    world.happen(1)

    deliver_waiting(world.post)

    for number in (there.webhook_id, nowhere.webhook_id):
        found = world.see(number)
        assert (found.last_outcome, found.failures, found.state) == ("unreachable", 1, "active")


def test_a_slow_receiver_keeps_neither_others_nor_the_relay_waiting(world: World, receiver: Receiver):
    may_answer, is_asked = threading.Event(), threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        is_asked.set()
        may_answer.wait(20)
        handler.send_response(204)
        handler.end_headers()

    with a_receiver() as slow:
        slow.answers = [wait]
        world.add(slow.url)
        quick, _ = world.add()
        world.happen(1)
        rounds = Round(world.post)
        try:
            rounds.begin()
            assert is_asked.wait(20)
            rounds.serving[quick.webhook_id].result(20)
            world.happen(2)
            assert relay(world.db, world.clock, []) == 2
            rounds.begin()
            rounds.serving[quick.webhook_id].result(20)
            seen, waiting = list(receiver.sequences), [one.sequences for one in slow.requests]
        finally:
            may_answer.set()
            rounds.close()

    assert seen == [1, 2]
    assert waiting == [[1]], "it was asked once at a time"


# Crashes and hands at once -------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone, as far as the database can tell."""


def _delivered(world: World, webhook_id: int, statements: int) -> bool:
    """Deliver, and die before the statement after so many; say whether it was done before that."""
    left = statements

    def before(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    event.listen(world.db.engine, "before_cursor_execute", before)
    event.listen(world.db.engine, "commit", before)
    try:
        deliver_to(world.post, webhook_id)
    except Crash:
        return False
    finally:
        event.remove(world.db.engine, "before_cursor_execute", before)
        event.remove(world.db.engine, "commit", before)
    return True


def test_a_worker_that_dies_anywhere_loses_nothing_and_keeps_the_order(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(deliver, "EVENTS_AT_ONCE", 2)
    hook, _ = world.add()
    receiver.answer_to = lambda _: 503 if len(receiver.requests) in (2, 5) else 204
    world.happen(1, 2, 3, 4, 5)
    crashes = 0

    while world.see(hook.webhook_id).sent_through < 5:
        if not _delivered(world, hook.webhook_id, crashes):
            crashes += 1
        world.clock.advance(timedelta(minutes=2))  # the lease runs out, and waits are over

    seen = receiver.sequences
    firsts = [number for place, number in enumerate(seen) if number not in seen[:place]]
    assert firsts == [1, 2, 3, 4, 5]
    assert crashes > 5
    assert len(seen) > 5, "what was answered and not written comes again"
    assert [one.state for one in world.deliveries(hook.webhook_id) if one.state != "delivered"] == []


def test_of_two_workers_one_serves_a_webhook(world: World, receiver: Receiver):
    hook, _ = world.add()
    second: list[int] = []
    receiver.answer_to = lambda _: second.append(deliver_to(world.post, hook.webhook_id)) or 204
    world.happen(1)

    assert deliver_to(world.post, hook.webhook_id) == 1
    assert (second, len(receiver.requests)) == ([0], 1)


def test_what_was_being_sent_while_somebody_replayed_counts_for_nothing(world: World, receiver: Receiver):
    hook, _ = world.add()
    world.happen(1, 2, 3)
    deliver_waiting(world.post)
    world.happen(4)
    receiver.answer_to = lambda _: world.act(keep.replay_webhook, hook.webhook_id, 2) and 204

    deliver_waiting(world.post)
    receiver.answer_to = None
    stands = world.see(hook.webhook_id).sent_through
    deliver_waiting(world.post)

    assert stands == 1
    assert [request.sequences for request in receiver.requests] == [[1, 2, 3], [4], [2, 3, 4]]


# By hand -------------------------------------------------------------------------------------------------------------


def test_a_replay_sends_again_or_skips_what_is_kept(world: World, receiver: Receiver):
    hook, _ = world.add()
    world.happen(1, 2, 3)
    deliver_waiting(world.post)
    relay(world.db, world.clock, [])
    world.clock.advance(timedelta(days=31))
    with world.db.write() as tx:
        tx.execute(text("update outbox set relayed_at = null where sequence > 1"))
        assert purge_relayed(tx, world.clock.now()) == 1

    world.act(keep.replay_webhook, hook.webhook_id, 3)
    deliver_waiting(world.post)
    with pytest.raises(Gone) as gone:
        world.act(keep.replay_webhook, hook.webhook_id, 1)
    with pytest.raises(Conflict) as ahead:
        world.act(keep.replay_webhook, hook.webhook_id, 5)
    world.act(keep.replay_webhook, hook.webhook_id, 4)  # what comes next

    assert receiver.requests[-1].sequences == [3]
    assert (gone.value.code, ahead.value.code) == ("events-gone", "events-ahead")
    assert due_webhooks(world.post) == []


def test_a_webhook_that_was_away_for_too_long_is_paused_until_somebody_says_from_where(
    world: World, receiver: Receiver
):
    hook, _ = world.add()
    world.act(keep.change_webhook, hook.webhook_id, {"state": "paused"})
    world.happen(1, 2)
    relay(world.db, world.clock, [])
    world.clock.advance(timedelta(days=31))
    with world.db.write() as tx:
        purge_relayed(tx, world.clock.now())
    with pytest.raises(Gone):
        world.act(keep.change_webhook, hook.webhook_id, {"state": "active"})
    with world.db.write() as tx:
        tx.execute(text("update webhook set state = 'active', paused_because = null"))
    world.happen(3)

    deliver_waiting(world.post)
    found = world.see(hook.webhook_id)
    world.act(keep.replay_webhook, hook.webhook_id, 3)
    world.act(keep.change_webhook, hook.webhook_id, {"state": "active"})
    deliver_waiting(world.post)

    assert (found.state, found.paused_because) == ("paused", "events-gone")
    assert receiver.sequences == [3]


def test_other_topics_from_now_on(world: World, receiver: Receiver):
    hook, _ = world.add()
    receiver.answers = [503, 204]
    world.happen(1)
    deliver_waiting(world.post)

    world.act(
        keep.change_webhook, hook.webhook_id, {"topics": ["person.merged"], "description": "Ward board"}
    )
    world.happen(2, topic="person.merged")
    world.until_tried(1)

    assert [request.sequences for request in receiver.requests] == [[1], [2]]
    assert world.deliveries(hook.webhook_id, "failing") == []
    assert world.see(hook.webhook_id).description == "Ward board"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://user:word@hooks.example.org/", "url-credentials"),
        ("https://user@hooks.example.org/", "url-credentials"),
        ("http://hooks.example.org/", "url-scheme"),
        ("ftp://hooks.example.org/", "url-scheme"),
        ("https:///path", "url-format"),
        ("https://hooks.example.org/#part", "url-format"),
        ("https://hooks.example.org:99999/", "url-format"),
        ("https://hooks.example.org/a b", "url-format"),
        ("https://hooks.example.org/\u00e9", "url-format"),
        ("https://10.1.2.3/", "url-address"),
        ("https://169.254.169.254/latest", "url-address"),
        ("https://[fd00::1]/", "url-address"),
        ("https://[::ffff:10.1.2.3]/", "url-address"),
        ("https://" + "a" * 1_000 + ".example.org/", "url-format"),
    ],
)
def test_an_address_that_may_not_be_is_refused(url: str, code: str):
    with pytest.raises(Invalid) as refused:
        TRIAL.check(url)

    assert (refused.value.code, refused.value.field) == (code, "url")
    assert "hooks.example.org" not in str(refused.value)


def test_a_webhook_that_may_not_be_is_refused(world: World):
    given = {"client_id": "follower", "url": "https://hooks.example.org/in", "topics": ["person.changed"]}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"client_id": "nobody"}, "client-unknown"),
        ({"topics": []}, "topics-missing"),
        ({"topics": ["person.vanished"]}, "topic-unknown"),
        ({"topics": ["task.opened"]}, "topic-not-for-client"),
        ({"description": "one\ntwo"}, "description-format"),
        ({"url": "http://hooks.example.org/"}, "url-scheme"),
    ]

    for what, code in wrong:
        with pytest.raises((Invalid, NotFound)) as refused:
            world.act(keep.create_webhook, TRIAL, **given | what)
        assert refused.value.code == code
    assert world.act(keep.create_webhook, TRIAL, **given)[0].url == given["url"]


def test_a_second_one_for_the_same_system_and_address_is_refused(world: World):
    world.add()

    with pytest.raises(Conflict) as refused:
        world.add()

    assert refused.value.code == "webhook-exists"


def test_each_organisation_keeps_its_own(world: World):
    hook, _ = world.add()
    with world.db.write() as tx, pytest.raises(NotFound) as client:
        keep.create_webhook(
            tx,
            world.clock.now(),
            ELSEWHERE,
            TRIAL,
            client_id="follower",
            url="https://a.example/",
            topics=["person.changed"],
        )
    with world.db.read() as tx:
        listed = keep.list_webhooks(tx, ELSEWHERE)
        with pytest.raises(NotFound) as read:
            keep.get_webhook(tx, ELSEWHERE, hook.webhook_id)
        own = keep.list_webhooks(tx, ADMINISTRATOR)

    assert (client.value.code, read.value.code, listed) == ("client-unknown", "webhook-unknown", [])
    assert [one.webhook_id for one in own] == [hook.webhook_id]


def test_what_is_done_by_hand_is_in_the_log_without_secret_or_address(world: World, receiver: Receiver):
    hook, secret = world.add()
    world.act(keep.change_webhook, hook.webhook_id, {"state": "paused"})
    world.act(keep.change_webhook, hook.webhook_id, {"state": "active"})
    _, fresh = world.act(keep.rotate_secret, hook.webhook_id)
    world.act(keep.replay_webhook, hook.webhook_id, 1)
    ping_webhook(world.post, ADMINISTRATOR, hook.webhook_id)
    world.act(keep.delete_webhook, hook.webhook_id)

    with world.db.read() as tx:
        rows = tx.execute(text("select kind, actor_id, detail from audit_event order by event_id")).all()
    assert [kind for kind, *_ in rows] == [
        "webhook-added",
        "webhook-changed",
        "webhook-changed",
        "webhook-secret-rotated",
        "webhook-replayed",
        "webhook-pinged",
        "webhook-removed",
    ]
    assert {actor for _, actor, _ in rows} == {"supervisor"}
    told = "".join(detail for *_, detail in rows)
    assert all(word not in told for word in (secret, fresh, "127.0.0.1", "not-for-logs"))
    assert all(json.loads(detail)["webhook_id"] == str(hook.webhook_id) for *_, detail in rows)
    assert due_webhooks(world.post) == []


def test_a_ping_is_signed_and_leaves_the_webhook_where_it_stands(world: World, receiver: Receiver):
    hook, secret = world.add()
    world.happen(1)
    receiver.answers = [204, 500]

    outcomes = [ping_webhook(world.post, ADMINISTRATOR, hook.webhook_id) for _ in range(2)]

    assert [(one.code, one.status) for one in outcomes] == [("delivered", 204), ("receiver-failed", 500)]
    assert receiver.requests[0].said["type"] == "ping"
    assert receiver.requests[0].is_signed_with(secret)
    assert world.see(hook.webhook_id) == hook


def test_neither_the_log_nor_a_representation_holds_secret_payload_or_query(
    world: World, receiver: Receiver, capsys: pytest.CaptureFixture[str]
):
    hook, secret = world.add()
    receiver.answers = [500, drip]
    world.happen(4711)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    try:
        configure_logs("DEBUG")
        deliver_waiting(world.post)
        world.clock.advance(timedelta(minutes=1))
        deliver_to(replace(world.post, whole_seconds=0.2), hook.webhook_id)
    finally:
        root.handlers = handlers
        root.setLevel(level)

    lines = capsys.readouterr().err
    said = [json.loads(line) for line in lines.splitlines()]
    first, second = [one for one in said if one["event"] == "webhook not delivered"]
    assert (first["outcome"], first["host"], first["sequence"], first["attempt"]) == (
        "receiver-failed",
        "127.0.0.1",
        1,
        1,
    )
    assert second["outcome"] == "timed-out"
    assert all(word not in lines for word in (secret, "not-for-logs", "4711"))
    assert secret not in repr(hook) and "not-for-logs" not in repr(hook)


def test_what_is_known_of_messages_goes_when_it_is_old(world: World, receiver: Receiver):
    hook, _ = world.add()
    receiver.answer_to = lambda request: 204 if 1 in request.sequences else 422
    world.happen(1)
    deliver_waiting(world.post)
    world.happen(2)
    world.until_tried(MESSAGE_ATTEMPTS)
    now = world.clock.now()

    with world.db.write() as tx:
        early = purge_deliveries(tx, now + timedelta(days=4), now - timedelta(days=26))
    left = [one.state for one in world.deliveries(hook.webhook_id)]
    with world.db.write() as tx:
        late = purge_deliveries(tx, now + timedelta(days=31), now + timedelta(days=1))

    assert (early, left, late) == (1, ["dead"], 1)


# Where it may send ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "in_production", "on_trial"),
    [
        ("8.8.8.8", True, True),
        ("2a00:1450:4009::1", True, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("10.1.2.3", False, False),
        ("172.16.0.1", False, False),
        ("192.168.1.1", False, False),
        ("169.254.169.254", False, False),
        ("100.64.0.1", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
        ("fe80::1", False, False),
        ("fd12::1", False, False),
        ("64:ff9b::a01:203", False, False),
        ("2002:a01:203::1", False, False),
        ("10.20.0.7", True, True),
        ("::ffff:10.20.0.7", True, True),
        ("fd00:1::7", True, True),
    ],
)
def test_private_machines_are_reached_only_where_an_operator_has_named_their_network(
    address: str, in_production: bool, on_trial: bool
):
    networks = (ip_network("10.20.0.0/16"), ip_network("fd00:1::/64"))
    assert Reach(networks).allows(ip_address(address)) is in_production
    assert Reach(networks, is_trial=True).allows(ip_address(address)) is on_trial


def test_a_name_is_looked_at_when_it_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    """A name that leads to this machine, though its address looked like any other."""
    port = int(receiver.url.split(":")[2].split("/")[0])
    asked: list[str] = []

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with Sender(Reach()) as sender:
        refused = sender.post(f"http://hooks.example.org:{port}/", {}, b"{}")
    with Sender(Reach(is_trial=True)) as sender:
        taken = sender.post(f"http://hooks.example.org:{port}/", {}, b"{}")

    assert (refused.code, taken.code) == ("address-not-allowed", "delivered")
    assert set(asked) <= {"hooks.example.org", "127.0.0.1"}
    assert len(receiver.requests) == 1
    assert receiver.requests[0].headers["host"] == f"hooks.example.org:{port}"


def test_a_name_of_which_one_address_is_private_is_not_reached_at_all(monkeypatch: pytest.MonkeyPatch):
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)

    with Sender(Reach()) as sender:
        assert sender.post("https://hooks.example.org/", {}, b"{}").code == "address-not-allowed"


def test_no_proxy_of_the_environment_has_a_say(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    with a_receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with Sender(TRIAL) as sender:
            outcome = sender.post(receiver.url, {}, b"{}")

        assert proxy.requests == []
    assert outcome.code == "delivered"


def test_plain_words_to_a_secured_address_are_no_answer(receiver: Receiver):
    with Sender(TRIAL) as sender:
        assert sender.post(receiver.url.replace("http:", "https:"), {}, b"{}").code == "tls-failed"


def a_certificate(path: Path, host: str) -> Path:
    """Write a certificate that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A trust of one's own")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem)
    )
    return path


def test_a_receiver_is_believed_that_an_authority_of_ones_own_vouches_for(tmp_path: Path):
    own, other = (
        a_certificate(tmp_path / "own.pem", "127.0.0.1"),
        a_certificate(tmp_path / "other.pem", "127.0.0.2"),
    )
    with a_receiver(own) as there, a_receiver(other) as impostor:
        asked = [(there, own), (there, None), (there, other), (impostor, other)]
        outcomes = []
        for receiver, ca in asked:
            with Sender(TRIAL, None if ca is None else str(ca)) as sender:
                outcomes.append(sender.post(receiver.url, {}, b"{}").code)

    assert outcomes == ["delivered", "tls-failed", "tls-failed", "tls-failed"]
