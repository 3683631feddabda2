"""The order of objections against decisions and redemptions, with real concurrent connections."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import consent.service.casefile as casefile
import consent.service.directives as directives
import consent.service.emergency as emergency
import mpi.service.link as link
from consent.rules import Outcome
from consent.service.alerts import list_alerts
from consent.service.emergency import open_emergency_access
from consent.service.release import Item
from foundation.audit import events_about
from foundation.errors import Invalid, ServiceError
from tests.service.consent_world import APP, MEDICATION, World, a_possible_duplicate, a_world, join

PATIENCE_SECONDS = 60


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


class Door:
    """Holds whoever comes through until it is opened; tells when someone has come."""

    def __init__(self, through: Callable[..., Any]) -> None:
        self._through = through
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.reached.set()
        assert self.opened.wait(PATIENCE_SECONDS)
        return self._through(*args, **kwargs)


@pytest.fixture
def people():
    with ThreadPoolExecutor(12) as pool:
        yield pool


def _is_waiting(future: Future) -> bool:
    time.sleep(0.4)
    return not future.done()


@pytest.mark.parametrize("act", [lambda w: w.ask().decision, lambda w: w.release().answer.decision])
def test_a_decision_behind_an_open_objection_waits_and_denies(world, people, monkeypatch, act):
    door = Door(directives.emit)
    monkeypatch.setattr(directives, "emit", door)
    before = world.ask().decision
    objecting = people.submit(world.object)
    assert door.reached.wait(PATIENCE_SECONDS)

    asking = people.submit(act, world)
    was_waiting = _is_waiting(asking)
    door.opened.set()

    assert was_waiting
    receipt = objecting.result(PATIENCE_SECONDS)
    assert receipt.epoch == before.epoch + 1
    decision = asking.result(PATIENCE_SECONDS)
    # The epoch too is that of after the wait: what was read before the lock is not what is answered from.
    assert (decision.outcome, decision.epoch) == (Outcome.DENY_OVERRIDABLE, receipt.epoch)


def test_a_redemption_behind_an_open_objection_waits_and_releases_nothing(world, people, monkeypatch):
    issued = world.release()
    door = Door(directives.emit)
    monkeypatch.setattr(directives, "emit", door)
    objecting = people.submit(world.object)
    assert door.reached.wait(PATIENCE_SECONDS)

    redeeming = people.submit(world.redeem, issued.ticket)
    was_waiting = _is_waiting(redeeming)
    door.opened.set()

    assert was_waiting
    objecting.result(PATIENCE_SECONDS)
    assert redeeming.result(PATIENCE_SECONDS).answer["released"] == []


def test_an_objection_waits_for_a_decision_in_flight_and_then_binds(world, people, monkeypatch):
    door = Door(casefile.life_of)
    monkeypatch.setattr(casefile, "life_of", door)
    asking = people.submit(world.ask)
    assert door.reached.wait(PATIENCE_SECONDS)

    objecting = people.submit(world.object)
    was_waiting = _is_waiting(objecting)
    door.opened.set()

    assert was_waiting
    decided, receipt = asking.result(PATIENCE_SECONDS), objecting.result(PATIENCE_SECONDS)
    assert decided.decision.outcome.is_permit
    assert decided.decision.epoch < receipt.epoch
    assert not world.ask().decision.outcome.is_permit


def test_decisions_do_not_wait_for_each_other(world, people, monkeypatch, db):
    if db.is_sqlite:
        return  # one writer: they do wait, and that is its promise
    door = Door(casefile.life_of)
    monkeypatch.setattr(casefile, "life_of", door)
    first = people.submit(world.ask)
    assert door.reached.wait(PATIENCE_SECONDS)
    monkeypatch.undo()

    assert world.ask().decision.outcome.is_permit

    assert not first.done()
    door.opened.set()
    assert first.result(PATIENCE_SECONDS).decision.outcome.is_permit


def test_of_two_emergencies_opened_at_the_same_moment_one_is_opened_and_alerts_once(
    world, people, monkeypatch
):
    world.object()
    door = Door(emergency.trail.raise_alert)
    monkeypatch.setattr(emergency.trail, "raise_alert", door)
    ask = world.question(purpose="BTG", reason_code="emergency-care", reason="Found unconscious at home")
    first = people.submit(open_emergency_access, world.consent, ask, APP)
    assert door.reached.wait(PATIENCE_SECONDS)

    second = people.submit(open_emergency_access, world.consent, ask, APP)
    was_waiting = _is_waiting(second)
    door.opened.set()

    assert first.result(PATIENCE_SECONDS).grant is not None
    assert was_waiting
    with pytest.raises(Invalid, match="reason-repeated"):
        second.result(PATIENCE_SECONDS)
    assert [alert.code for alert in list_alerts(world.consent, APP)] == ["emergency-opened"]


def test_eight_overlapping_readers_do_not_starve_an_objection(world, people, monkeypatch):
    plain = casefile.life_of
    linger_seconds = 0.0 if world.db.is_sqlite else 0.05

    def lingering(*args):
        time.sleep(linger_seconds)
        return plain(*args)

    monkeypatch.setattr(casefile, "life_of", lingering)
    ends_at = time.monotonic() + PATIENCE_SECONDS
    is_over = threading.Event()

    def read_on() -> list[Outcome]:
        seen = []
        while not is_over.is_set() and time.monotonic() < ends_at:
            seen.append(world.ask().decision.outcome)
        return seen

    readers = [people.submit(read_on) for _ in range(8)]
    time.sleep(0.5)
    world.object()
    # The readers would have read on until the end of patience: the objection came in between, while all of them overlapped.
    were_reading = not any(reader.done() for reader in readers)
    after = world.ask().decision.outcome
    is_over.set()

    seen = [outcome for reader in readers for outcome in reader.result(PATIENCE_SECONDS)]
    assert were_reading
    assert after is Outcome.DENY_OVERRIDABLE
    assert Outcome.PERMIT_FILTERED in seen


def test_of_two_redemptions_at_once_with_different_items_one_is_a_replay(world, people):
    issued = world.release()
    start = threading.Barrier(2)

    def redeem(item: Item) -> list[str] | str:
        start.wait()
        try:
            return list(world.redeem(issued.ticket, item).answer["released"])
        except ServiceError as error:
            return error.code

    answers = [people.submit(redeem, Item(name, MEDICATION)) for name in ("a", "b")]

    found = sorted(map(str, (answer.result(PATIENCE_SECONDS) for answer in answers)))
    assert found in (["['a']", "ticket-replayed"], ["['b']", "ticket-replayed"])


def test_of_many_redemptions_at_once_with_the_same_items_all_get_one_answer(world, people):
    issued = world.release()

    answers = [people.submit(world.redeem, issued.ticket) for _ in range(6)]

    assert len({str(answer.result(PATIENCE_SECONDS).answer) for answer in answers}) == 1
    with world.db.read() as tx:
        kinds = [row.kind for row in events_about(tx, [world.she])]
    assert kinds.count("redemption") == 1
    assert kinds.count("redemption-repeated") == 5


def test_a_person_that_moves_while_a_decision_waits_is_decided_as_the_one_it_became(
    world, people, monkeypatch
):
    other = a_possible_duplicate(world)
    world.object(person_id=other, may_override=False)
    door = Door(link.trail.linked)
    monkeypatch.setattr(link.trail, "linked", door)
    joining = people.submit(join, world)
    assert door.reached.wait(PATIENCE_SECONDS)

    asking = people.submit(world.ask, person_id=other)
    was_waiting = _is_waiting(asking)
    door.opened.set()

    joining.result(PATIENCE_SECONDS)
    assert was_waiting
    assert asking.result(PATIENCE_SECONDS).decision.outcome is Outcome.DENY
