"""``mpi webhook``: the operator's way to do what administrators do over HTTP, and one clear line for every refusal."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from app import Composition, mpi_command
from foundation.auth.clients import create_client
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from tests.service.mpi_world import World, a_source_record
from tests.service.receiver import Receiver, a_receiver

Run = Callable[..., Result]
SCOPES = frozenset({"events:read", "persons:read"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as found:
        yield found


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    made = World(db, clock)
    with db.write() as tx:
        create_client(tx, clock.now(), "follower", "Follower", "RRV", SCOPES)
    return made


@pytest.fixture
def run(world: World, clock: FixedClock) -> Run:
    composition = Composition(Settings.from_environment({}), database=world.mpi.db, clock=clock)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(mpi_command, list(words), obj=composition)

    return invoke


def added(run: Run, receiver: Receiver) -> tuple[str, str]:
    """Make a webhook; return its id and its secret."""
    made = run("webhook", "add", "follower", receiver.url, "--topic", "person.changed")
    found = re.search(
        r"Webhook (\d+), from event 1 on\.\nIts secret, not shown again: (whsec_\S+)", made.output
    )
    assert found is not None, made.output
    return found[1], found[2]


def test_an_operator_makes_a_webhook_and_a_worker_serves_it(run: Run, world: World, receiver: Receiver):
    hook, secret = added(run, receiver)
    world.send(a_source_record("1"))

    pinged = run("webhook", "ping", hook)
    worked = run("worker", "--once")
    listed = json.loads(run("webhook", "list", "--json").output)
    deliveries = json.loads(run("webhook", "deliveries", hook, "--json").output)["deliveries"]

    assert (pinged.output, worked.exit_code) == ("delivered 204\n", 0)
    assert [one.said["type"] for one in receiver.requests] == ["ping", "events"]
    assert all(one.is_signed_with(secret) for one in receiver.requests)
    (one,) = listed["webhooks"]
    assert (one["webhook_id"], one["delivered"], one["sent_through"]) == (hook, 1, listed["last"])
    assert [(one["state"], one["events"]) for one in deliveries] == [("delivered", 1)]
    lines = run("webhook", "list").output
    assert "0 behind" in lines and "not-for-logs" not in lines and secret not in lines
    assert "delivered" in run("webhook", "deliveries", hook).output


def test_it_is_paused_changed_replayed_and_removed(run: Run, world: World, receiver: Receiver):
    hook, secret = added(run, receiver)

    assert run("webhook", "pause", hook).output == "paused: person.changed\n"
    assert "PAUSED administrator" in run("webhook", "list").output
    world.send(a_source_record("1"))
    run("worker", "--once")
    assert receiver.requests == []
    assert run("webhook", "topics", hook, "person.created", "person.ended").exit_code == 0
    assert run("webhook", "resume", hook).output == "active: person.created person.ended\n"
    fresh = run("webhook", "rotate-secret", hook).output.split()[-1]
    run("worker", "--once")
    run("webhook", "replay", hook, "1")
    run("worker", "--once")

    assert [one.sequences for one in receiver.requests] == [[2], [2]]
    assert all(one.is_signed_with(key) for one in receiver.requests for key in (secret, fresh))
    assert run("webhook", "remove", hook).output == "Removed.\n"
    assert run("webhook", "list").output == ""


def test_a_message_that_was_set_aside_is_sent_again(run: Run, world: World, receiver: Receiver):
    hook, _ = added(run, receiver)
    receiver.answers = [400]
    world.send(a_source_record("1"))
    for _ in range(12):
        run("worker", "--once")
        with world.mpi.db.write() as tx:
            tx.execute(text("update webhook set next_attempt_at = null"))
    (dead,) = json.loads(run("webhook", "deliveries", hook, "--dead", "--json").output)["deliveries"]
    receiver.answers = [204]

    assert run("webhook", "retry", hook, dead["delivery_id"]).exit_code == 0
    run("worker", "--once")

    assert receiver.requests[-1].sequences == [dead["first_sequence"]]
    assert run("webhook", "deliveries", hook, "--dead").output == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "nobody", "https://hooks.example.org/", "--topic", "person.changed"), "client-unknown"),
        (("add", "follower", "http://hooks.example.org/", "--topic", "person.changed"), "url-scheme"),
        (("add", "follower", "https://hooks.example.org/", "--topic", "person.vanished"), "topic-unknown"),
        (("add", "follower", "https://hooks.example.org/", "--topic", "task.opened"), "tasks:read"),
        (("pause", "4711"), "webhook-unknown"),
        (("retry", "4711", "4712"), "webhook-unknown"),
        (("ping", "x"), "id-format"),
    ],
)
def test_a_refusal_is_one_line(run: Run, words: tuple[str, ...], said: str):
    result = run("webhook", *words)

    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.splitlines()) == 1


def test_a_ping_that_comes_to_nothing_fails(run: Run, receiver: Receiver):
    hook, _ = added(run, receiver)
    receiver.answers = [503]

    result = run("webhook", "ping", hook)

    assert (result.exit_code, result.output) == (1, "Error: receiver-failed 503\n")
