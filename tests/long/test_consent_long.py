"""Processes that object, decide, release, redeem, join and take apart at once: no yes outlives a no, and every row has its cause."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from foundation.audit import audit_event, verify_rows
from foundation.clock import SystemClock
from foundation.database import Database
from tests.service.consent_world import a_possible_duplicate, a_world

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 10

HAND = """
import json, random, sys, time
from consent.facts import Scope
from consent.service.context import Consent
from consent.service.directives import withdraw_directive
from foundation.clock import SystemClock
from foundation.database import Database
from foundation.errors import Conflict, Gone, Unavailable
from mpi.service.context import Mpi
from mpi.service.review import decide_task, list_tasks, undo_decision
from tests.service.consent_world import MODEL, PRACTICE_CLERK, PROVIDER, QUALITY_CLERK, World

url, role, she, other, rounds, stop = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6]
db, clock = Database(url, pool_size=2), SystemClock()
mpi = Mpi(db=db, clock=clock, model=MODEL)
world = World(db, clock, mpi, Consent(db=db, clock=clock, mpi=mpi, issuer="http://test"), she)
chance = random.Random(role)

def say(what, **more):
    print(json.dumps({"what": what, "by": role, "at": time.monotonic(), **more}), flush=True)

def again(act, *args, **more):
    # SQLite's one writer may not come free in time: then nothing was done, and it is tried again.
    while True:
        try:
            return act(*args, **more)
        except Unavailable:
            pass

def over():
    import os
    return os.path.exists(stop)

def object_and_withdraw():
    for turn in range(rounds):
        whom = she if turn % 2 else other
        receipt = again(world.object, person_id=whom)
        say("objected", epoch=receipt.epoch, directive=str(receipt.directive_id))
        time.sleep(chance.uniform(0.05, 0.3))
        say("withdrawing")
        back = again(withdraw_directive, world.consent, receipt.directive_id, "changed her mind", PRACTICE_CLERK)
        say("withdrawn", epoch=back.epoch)
        time.sleep(chance.uniform(0.05, 0.3))
    open(stop, "w").close()

def ask_on():
    while not over():
        begun = time.monotonic()
        answer = again(world.ask, person_id=chance.choice((she, other)))
        say("asked", begun=begun, decision=str(answer.decision_id), leaf=answer.leaf_hash,
            epoch=answer.decision.epoch, shown=len(answer.shown))

def redeem_on():
    while not over():
        issued = again(world.release, person_id=chance.choice((she, other)))
        say("released", leaf=issued.answer.leaf_hash, epoch=issued.answer.decision.epoch, shown=len(issued.answer.shown))
        if issued.ticket is None:
            continue
        time.sleep(chance.uniform(0, 0.1))
        for _ in range(chance.choice((1, 1, 2))):
            begun = time.monotonic()
            try:
                answer = again(world.redeem, issued.ticket).answer
            except Gone:
                break
            say("redeemed", begun=begun, redemption=answer["redemption_id"], epoch=answer["epoch"], shown=len(answer["released"]))

def join_and_part():
    while not over():
        for task in [one for one in list_tasks(mpi, QUALITY_CLERK).tasks if one.is_binding]:
            try:
                again(decide_task, mpi, task.task_id, QUALITY_CLERK, verdict="same", reason="patient-confirmed")
                say("joined")
                time.sleep(chance.uniform(0, 0.1))
                again(undo_decision, mpi, task.task_id, QUALITY_CLERK)
                say("parted")
            except Conflict:
                pass
        time.sleep(chance.uniform(0, 0.1))

acts = {"objector": object_and_withdraw, "asker": ask_on, "redeemer": redeem_on, "joiner": join_and_part}
print("ready", flush=True)
sys.stdin.readline()
try:
    acts[role.rstrip("0123456789")]()
except BaseException:
    open(stop, "w").close()
    raise
"""
HANDS = ("objector", "asker1", "asker2", "redeemer1", "redeemer2", "joiner")


def the_story_of(db: Database, folder: Path) -> list[dict]:
    """Let the hands work until the objector is done; return what they said, in order of time."""
    world = a_world(db, SystemClock())  # type: ignore[arg-type]
    other = a_possible_duplicate(world)
    world.is_caring(person_id=other)
    url, stop = db.url.render_as_string(hide_password=False), str(folder / "over")
    hands = [
        subprocess.Popen(
            [sys.executable, "-c", HAND, url, role, str(world.she), str(other), str(ROUNDS), stop],
            stdin=subprocess.PIPE,
            stdout=(folder / f"{role}.log").open("w"),
            stderr=(folder / f"{role}.err").open("w"),
            text=True,
            cwd=ROOT,
        )
        for role in HANDS
    ]
    for role in HANDS:
        while "ready" not in (folder / f"{role}.log").read_text():
            assert all(hand.poll() is None for hand in hands)
            time.sleep(0.1)
    for hand in hands:
        assert hand.stdin is not None
        hand.stdin.write("\n")
        hand.stdin.flush()
    try:
        for role, hand in zip(HANDS, hands, strict=True):
            assert hand.wait(timeout=540) == 0, (folder / f"{role}.err").read_text()[-2000:]
    finally:
        for hand in hands:
            hand.kill()
    said = [
        json.loads(line)
        for role in HANDS
        for line in (folder / f"{role}.log").read_text().splitlines()
        if line != "ready"
    ]
    return sorted(said, key=lambda one: one["at"])


@pytest.fixture
def story(db, tmp_path) -> list[dict]:
    return the_story_of(db, tmp_path)


def test_no_yes_outlives_a_no_and_every_row_has_its_cause(db, story):
    answers = [one for one in story if one["what"] in ("asked", "released", "redeemed")]
    bounds = [one for one in story if one["by"] == "objector"]
    objections = [
        (bounds[place], bounds[place + 1], bounds[place + 2])
        for place, one in enumerate(bounds)
        if one["what"] == "objected"
    ]
    assert len(objections) == ROUNDS
    assert {one["what"] for one in story} >= {"joined", "parted", "redeemed"}
    assert any(one["shown"] for one in answers if one["what"] == "redeemed")

    for objected, withdrawing, withdrawn in objections:
        # By the clock on the wall: what began after the receipt was in hand and was answered before the withdrawal began.
        during = [
            one
            for one in answers
            if "begun" in one and objected["at"] < one["begun"] and one["at"] < withdrawing["at"]
        ]
        assert [one for one in during if one["shown"]] == []
        # By the epochs: whatever the interleaving, the facts of that stretch allow nothing.
        within = [
            one for one in answers if one["epoch"] and objected["epoch"] <= one["epoch"] < withdrawn["epoch"]
        ]
        assert [one for one in within if one["shown"]] == []

    with db.read() as tx:
        rows = tx.execute(select(audit_event).order_by(audit_event.c.event_id)).all()
        assert verify_rows(tx).faulty == ()
    leaves = Counter(row.leaf_hash.hex() for row in rows)
    assert all(leaves[one["leaf"]] == 1 for one in answers if "leaf" in one)
    kinds = Counter(row.kind for row in rows)
    said = Counter(one["what"] for one in story)
    assert kinds["decision"] == said["asked"]
    assert kinds["release"] == said["released"]
    assert kinds["redemption"] + kinds["redemption-repeated"] == said["redeemed"]
    assert kinds["directive-recorded"] == kinds["directive-withdrawn"] == ROUNDS
    used = Counter(row.detail["ticket"] for row in rows if row.kind == "redemption")
    assert set(used.values()) == {1}
