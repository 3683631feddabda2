"""Checkpoints and proofs over HTTP: the link of a receipt leads to a proof that its holder can check by hand."""

import base64
import hashlib
import threading
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flask import Flask
from flask.testing import FlaskClient

from app import create_app, run_worker, seal_audit
from foundation import audit
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.principal import SYSTEM_ITSELF
from foundation.settings import Settings
from tests.service.audit_world import wait_until_settled
from tests.service.consent_world import PRACTICE, UCLH, World, a_world
from tests.web.foundation_caller import bearer, register_client


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return a_world(db, clock)


@pytest.fixture
def app(world: World, clock: FixedClock) -> Flask:
    register_client(
        world.db, clock, "portal", "directives:write", "decisions", organisations=frozenset({PRACTICE})
    )
    register_client(world.db, clock, "witness", "audit:read")
    return create_app(Settings.from_environment({}), database=world.db, clock=clock)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def seal(app: Flask) -> int:
    wait_until_settled(app.extensions["composition"].db)
    return seal_audit(app.extensions["composition"])


def object_to_all(app: Flask, world: World) -> dict:
    wish = {"kind": "objection", "scope": {"kind": "everything"}, "received_by": PRACTICE}
    told = app.test_client().post(
        "/api/v1/directives", json=wish | {"person_id": str(world.she)}, headers=bearer(app)
    )
    assert told.status_code == 201, told.json
    return told.json


def root_from(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that a path leads to, worked out from the top: which halves of the tree the leaf lies in."""
    sides = []
    start, end = 0, size
    while end - start > 1:
        half = 1
        while half * 2 < end - start:
            half *= 2
        is_left = index < start + half
        sides.append(is_left)
        start, end = (start, start + half) if is_left else (start + half, end)
    made = leaf
    for is_left, part in zip(reversed(sides), path, strict=True):
        made = hashlib.sha256(b"\x01" + (made + part if is_left else part + made)).digest()
    return made


def is_believable(checkpoint: dict) -> bool:
    """Whether the note is signed by the key that it names, with nothing of ours but its public half."""
    x = checkpoint["public_key"]["x"]
    thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    assert base64.urlsafe_b64encode(thumbprint).decode().rstrip("=") == checkpoint["key_id"]
    text, line = checkpoint["note"].split("\n\n")
    signature = base64.b64decode(line.split(" ")[-1])[4:]
    Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=")).verify(
        signature, f"{text}\n".encode()
    )
    lines = text.split("\n")
    return (lines[1], lines[2], lines[4]) == (
        str(checkpoint["tree_size"]),
        base64.b64encode(bytes.fromhex(checkpoint["root"])).decode(),
        f"key {checkpoint['key_id']}",
    )


def test_the_link_of_a_receipt_leads_to_its_proof(app: Flask, world: World, client: FlaskClient):
    receipt = object_to_all(app, world)
    before = client.get(receipt["proof"], headers=bearer(app))
    sealed = seal(app)

    told = client.get(receipt["proof"], headers=bearer(app))

    assert (before.status_code, before.json["code"]) == (404, "audit-event-unknown")
    assert sealed > 3
    assert told.status_code == 200
    proof = told.json
    assert proof["leaf_hash"] == receipt["leaf_hash"]
    assert proof["checkpoint"]["tree_size"] == sealed
    path = [bytes.fromhex(part) for part in proof["path"]]
    leaf = bytes.fromhex(proof["leaf_hash"])
    assert root_from(leaf, proof["leaf_index"], sealed, path).hex() == proof["checkpoint"]["root"]
    assert is_believable(proof["checkpoint"])


def test_a_decision_has_such_a_link_too(app: Flask, world: World, client: FlaskClient):
    question = {
        "person_id": str(world.she),
        "purpose": "TREAT",
        "identified_by": "certain-match",
        "user": {"user_id": "dr-1", "role": "R8000", "organisation": UCLH, "assurance": 2},
    }
    answer = client.post("/api/v1/decisions", json=question, headers=bearer(app)).json
    seal(app)

    told = client.get(answer["proof"], headers=bearer(app))

    assert urlsplit(answer["proof"]).query == f"leaf_hash={answer['leaf_hash']}"
    assert (told.status_code, told.json["leaf_hash"]) == (200, answer["leaf_hash"])


def test_who_does_not_hold_the_leaf_hash_is_told_nothing(app: Flask, world: World, client: FlaskClient):
    first, second = object_to_all(app, world), object_to_all(app, world)
    seal(app)
    place = urlsplit(first["proof"]).path

    without = client.get(place, headers=bearer(app))
    with_another = client.get(f"{place}?leaf_hash={second['leaf_hash']}", headers=bearer(app))
    as_witness = client.get(place, headers=bearer(app, "witness"))

    assert (without.status_code, with_another.status_code, as_witness.status_code) == (404, 404, 200)
    assert as_witness.json["leaf_hash"] == first["leaf_hash"]


def test_checkpoints_come_page_by_page_and_each_continues_the_one_before(
    app: Flask, world: World, client: FlaskClient, clock: FixedClock
):
    for _ in range(3):
        object_to_all(app, world)
        seal(app)
        clock.advance(timedelta(minutes=1))
    headers = bearer(app, "witness")

    first = client.get("/api/v1/audit/checkpoints?limit=2", headers=headers).json
    rest = client.get(f"/api/v1/audit/checkpoints?cursor={first['next']}", headers=headers).json

    found = [*first["items"], *rest["items"]]
    sizes = [one["tree_size"] for one in found]
    assert (len(first["items"]), rest["next"]) == (2, None)
    assert sizes == sorted(sizes, reverse=True)
    assert all(map(is_believable, found))
    for newer, older in zip(found, found[1:], strict=False):
        proof = client.get(
            f"/api/v1/audit/consistency?first={older['tree_size']}&second={newer['tree_size']}",
            headers=headers,
        ).json
        assert (proof["first_root"], proof["second_root"]) == (older["root"], newer["root"])
        assert proof["path"]


def test_reading_hashes_writes_no_rows(app: Flask, world: World, client: FlaskClient):
    object_to_all(app, world)
    headers = bearer(app, "witness")
    seal(app)

    for path in ("checkpoints", "consistency?first=1&second=2", "events/1/proof"):
        assert client.get(f"/api/v1/audit/{path}", headers=headers).status_code == 200

    assert seal(app) == 0


def test_the_gauges_say_how_far_sealing_is_behind(
    app: Flask, world: World, client: FlaskClient, clock: FixedClock
):
    def gauges() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {
            name: float(value)
            for name, value in (line.split(" ") for line in lines if line.startswith("audit_"))
            if "{" not in name
        }

    seal(app)
    sealed = gauges()["audit_tree_size"]
    object_to_all(app, world)
    clock.advance(timedelta(minutes=2))
    before = gauges()
    more = seal(app)
    after = gauges()

    assert before["audit_tree_size"] == sealed
    assert before["audit_waiting_rows"] == more >= 1
    assert before["audit_waiting_seconds"] == 120
    assert (after["audit_tree_size"], after["audit_waiting_rows"]) == (sealed + more, 0)
    assert after["audit_waiting_seconds"] == 0


def test_a_worker_seals_while_it_works(app: Flask, world: World, clock: FixedClock, monkeypatch):
    composition = app.extensions["composition"]
    stop = threading.Event()
    tried: list[int] = []

    def broken(_composition) -> int:
        tried.append(1)
        raise RuntimeError

    monkeypatch.setattr("app.work", broken)
    with world.db.write() as tx:
        audit.append(tx, audit.entry_by(SYSTEM_ITSELF, clock.now(), "user-added"))
    worker = threading.Thread(target=run_worker, args=(composition, stop))
    worker.start()
    try:
        for _ in range(600):
            with world.db.read() as tx:
                rows = tx.exec_driver_sql("SELECT count(*) FROM audit_checkpoint").scalar_one()
            if rows and tried:
                break
            stop.wait(0.05)
    finally:
        stop.set()
        worker.join(timeout=30)

    assert rows == 1
    assert tried
    assert not worker.is_alive()
