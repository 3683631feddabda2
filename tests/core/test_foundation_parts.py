"""Small parts of the foundation by themselves: the bell, rate limits, ids, logs, roles and public keys."""

import json
import logging
import threading
import time
from datetime import timedelta

import pytest
from joserfc.jwk import ECKey, RSAKey

from foundation.auth.clients import check_public_key
from foundation.auth.roles import ROLES, SCOPES, parse_role
from foundation.bell import Bell
from foundation.clock import FixedClock
from foundation.errors import Invalid, TooMany
from foundation.ids import new_id, new_ids
from foundation.limits import Limits
from foundation.logs import configure_logs, current_request_id, drop_unlisted, get_logger


def test_a_ring_wakes_one_who_waits():
    bell = Bell()
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(bell.wait("link", 10)))
    waiting.start()
    time.sleep(0.05)

    bell.ring("link")
    waiting.join(5)

    assert answers == [True]


def test_a_ring_before_the_wait_is_not_lost_and_counts_once():
    bell = Bell()
    bell.ring("link")
    bell.ring("link")

    assert bell.wait("link", 0.01)
    assert not bell.wait("link", 0.01)
    assert not bell.wait("other", 0.01)


def test_the_limit_is_by_caller_and_by_window(clock: FixedClock):
    limits = Limits(clock)
    for _ in range(3):
        limits.check("requests", "a", 3)

    with pytest.raises(TooMany) as refused:
        limits.check("requests", "a", 3)
    limits.check("requests", "b", 3)
    clock.advance(timedelta(seconds=refused.value.retry_after_seconds))
    limits.check("requests", "a", 3)

    assert refused.value.retry_after_seconds == 60


def test_ids_given_many_at_a_time_ascend_among_those_given_one_by_one():
    found = [new_id(), *new_ids(1), *new_ids(0), *new_ids(5_000), new_id(), *new_ids(3), new_id()]

    assert len(found) == 5_007
    assert all(one < other for one, other in zip(found, found[1:], strict=False))
    assert 0 < found[-1] < 2**63


def test_a_log_line_keeps_ids_and_codes_and_drops_the_rest():
    kept = drop_unlisted(
        None,
        "info",
        {
            "event": "record linked",
            "record_id": 12,
            "weight_bits": 3.5,
            "code": "postcode-format",
            "family": "Smith",
            "local_id": "X1",
            "client_id": "Jane Smith",
            "route": "/api/v1/persons/<person_id>",
            "record_ids": [1, 2],
            "task_id": {"name": "Smith"},
        },
    )

    assert kept == {
        "event": "record linked",
        "record_id": 12,
        "weight_bits": 3.5,
        "code": "postcode-format",
        "route": "/api/v1/persons/<person_id>",
        "record_ids": [1, 2],
    }


def test_an_exception_is_logged_by_type_and_place_and_never_by_message(capsys):
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    token = current_request_id.set("r-1")
    family = "Smith"
    configure_logs()

    try:
        raise ValueError(f"cannot read {family}")
    except ValueError:
        get_logger("here").error("unexpected error", exc_info=True)
        logging.getLogger("library").error("cannot store %s", family, exc_info=True, extra={"record_id": 5})
        logging.getLogger("gunicorn.error").info("Listening at: %s", "http://127.0.0.1:8080")
    finally:
        current_request_id.reset(token)
        root.handlers = handlers
        root.setLevel(level)

    ours, library, server = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert "Smith" not in json.dumps([ours, library])
    assert ours["error"] == library["error"] == "ValueError"
    assert ours["frames"][-1].startswith("test_foundation_parts.py:")
    assert library["event"] == "cannot store %s"
    assert server["event"] == "Listening at: http://127.0.0.1:8080"
    assert (ours["request_id"], library["record_id"]) == ("r-1", 5)


def test_every_role_brings_known_scopes_only():
    assert {scope for _, scopes in ROLES.values() for scope in scopes} <= SCOPES.keys()


def test_of_a_national_role_code_the_last_part_counts():
    assert parse_role("S8002:G8003:R0001") == parse_role("R0001") == "R0001"
    with pytest.raises(Invalid):
        parse_role("S8002:G8003:R9999")


def public(key, **more) -> dict:
    return key.as_dict(private=False) | {"kid": "k1"} | more


@pytest.mark.parametrize(
    ("jwk", "code"),
    [
        (RSAKey.generate_key(2048).as_dict(private=True) | {"kid": "k1"}, "key-private"),
        (public(RSAKey.generate_key(2048), kid=""), "key-format"),
        (public(RSAKey.generate_key(2048), kid=5), "key-format"),
        (public(RSAKey.generate_key(2048), n="!"), "key-format"),
        (public(ECKey.generate_key("P-256")), "key-format"),
        (public(RSAKey.generate_key(2048), n="3Q" + "A" * 100), "key-too-short"),
        ({}, "key-format"),
    ],
)
def test_only_a_public_rsa_key_of_2048_bits_is_taken(jwk: dict, code: str):
    with pytest.raises(Invalid) as refused:
        check_public_key(jwk)

    assert refused.value.code == code
