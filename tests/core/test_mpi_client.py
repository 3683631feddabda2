"""The client: what it sends, what it makes of answers and refusals, and when whoever follows must stop serving."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from mpi.client import (
    DIRECTIVE_TOPICS,
    AccessToken,
    Behind,
    Client,
    Conflict,
    Event,
    Fault,
    Follower,
    Forbidden,
    Gone,
    Identifier,
    Name,
    NotFound,
    NotUnderstood,
    Record,
    Refused,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unreachable,
)

ROOT = Path(__file__).resolve().parents[2]
PERSON = {"person_id": "7", "epoch": 3, "identity_warning": False, "restricted": False}


@dataclass
class Line(requests.Session):
    """Answers in the order in which they were given; None loses the answer."""

    answers: list[Any] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def request(self, method: str, url: str, **more: Any) -> requests.Response:  # type: ignore[override]
        self.sent.append({"method": method, "path": url.removeprefix("http://mpi"), **more})
        given = self.answers.pop(0)
        if given is None:
            raise requests.ConnectionError("http://mpi/secret")
        status, body, headers = given if isinstance(given, tuple) else (200, given, {})
        response = requests.Response()
        response.status_code = status
        response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response.headers.update(headers)
        return response


def client_of(*answers: Any) -> tuple[Client, Line]:
    line = Line(list(answers))
    return Client("http://mpi/", lambda: "token", session=line), line


# Asking --------------------------------------------------------------------------------------------------------------


def test_a_match_sends_what_is_known_and_nothing_else():
    client, line = client_of(
        {
            "search_complete": True,
            "candidates": [
                {"person_id": "7", "grade": "certain", "probability": 0.99, "weight_millibits": 9, "new": 1}
            ],
        }
    )

    found = client.match(names=[Name("Marlowe", ("Ines",))], birth_date="1971-04-03")

    assert found.certain is not None and found.certain.person_id == "7"
    assert line.sent[0]["json"] == {
        "names": [{"given": ["Ines"], "family": "Marlowe"}],
        "birth_date": "1971-04-03",
        "limit": 10,
        "reasons": False,
    }
    assert line.sent[0]["headers"]["Authorization"] == "Bearer token"
    assert line.sent[0]["allow_redirects"] is False


def test_a_local_id_keeps_its_slashes_and_nothing_leaves_its_place():
    client, line = client_of(*[{"record_id": "1", "version": 1, "state": "linked", "person_id": "7"}] * 2)

    client.put_record("RRV", "pas", "a/b?c#d e", Record(restricted=False), if_version=0)
    client.put_record("RRV", "pas", "1", Record(birth_date="1990"), if_version=4, wait=False)

    assert [one["path"] for one in line.sent] == [
        "/api/v1/source-records/RRV/pas/a/b%3Fc%23d%20e",
        "/api/v1/source-records/RRV/pas/1",
    ]
    assert [one["json"] for one in line.sent] == [{"restricted": False}, {"birth_date": "1990"}]
    assert [one["headers"].get("If-None-Match") for one in line.sent] == ["*", None]
    assert line.sent[1]["headers"]["If-Match"] == 'W/"4"'
    assert [one["params"] for one in line.sent] == [{}, {"wait": "false"}]


def test_what_can_be_asked_twice_is_asked_again_once_where_no_answer_came():
    client, line = client_of(None, PERSON)
    assert client.person("7").epoch == 3
    lost, again = client_of(None, None, None)
    with pytest.raises(Unreachable) as fault:
        lost.person("7")
    with pytest.raises(Unreachable):
        lost.put_record("RRV", "pas", "1", Record(), if_version=2)

    assert (len(line.sent), len(again.sent)) == (2, 3)
    assert "secret" not in str(fault.value)


REFUSALS = [
    (401, Unauthenticated),
    (403, Forbidden),
    (404, NotFound),
    (409, Conflict),
    (410, Gone),
    (412, Conflict),
    (422, Refused),
    (429, TooMany),
    (500, Refused),
    (503, Unavailable),
]


@pytest.mark.parametrize(("status", "kind"), REFUSALS)
def test_a_refusal_is_an_exception_of_its_kind(status: int, kind: type[Refused]):
    problem = {
        "code": "a-code",
        "detail": "In words.",
        "ids": {"version": "3"},
        "errors": [{"field": "names.0.family", "code": "too-long"}],
    }
    client, _ = client_of((status, problem, {"X-Request-ID": "r1", "Retry-After": "7"}))

    with pytest.raises(kind) as caught:
        client.person("7")

    refused = caught.value
    assert type(refused) is kind
    assert (refused.status, refused.code, refused.detail) == (status, "a-code", "In words.")
    assert (refused.faults, refused.ids) == ((Fault("names.0.family", "too-long"),), {"version": "3"})
    assert refused.request_id == "r1"
    if isinstance(refused, TooMany | Unavailable):
        assert refused.retry_after_seconds == 7


@pytest.mark.parametrize("body", [b"<html>", b"[]", {}, {"person_id": "7", "epoch": None}])
def test_an_answer_of_something_else_is_not_understood(body: Any):
    client, _ = client_of(body)

    with pytest.raises(NotUnderstood):
        client.person("7")


def test_a_refusal_of_something_else_is_told_by_its_status():
    client, _ = client_of((502, b"<html>", {}))

    with pytest.raises(Refused) as caught:
        client.person("7")

    assert (caught.value.status, caught.value.code) == (502, "unknown")


def test_what_is_sent_and_read_shows_nobody_in_its_repr():
    record = Record(
        nhs_number="9990001006", names=[Name("Marlowe", ("Ines",))], identifiers=[Identifier("s", "secret")]
    )

    shown = repr(record) + repr(record.names) + repr(record.identifiers)

    assert not any(word in shown for word in ("9990001006", "Marlowe", "Ines", "secret"))


texts = st.none() | st.text(min_size=1, max_size=5)


@given(
    family=texts, prefix=texts, given_names=st.lists(st.text(min_size=1), max_size=3), birth=texts, flag=st.none() | st.booleans()
)  # fmt: skip
def test_a_record_reads_back_as_it_was_sent(
    family: str | None, prefix: str | None, given_names: list[str], birth: str | None, flag: bool | None
):
    record = Record(names=(Name(family, tuple(given_names), prefix),), birth_date=birth, restricted=flag)

    assert Record.of(record.to_json()) == record


# Tokens --------------------------------------------------------------------------------------------------------------


class TokenLine(Line):
    def post(self, url: str, **more: Any) -> requests.Response:  # type: ignore[override]
        return self.request("POST", url, **more)


def test_a_token_is_asked_for_once_and_kept():
    line = TokenLine([{"access_token": "t1", "expires_in": "599"}])
    token = AccessToken("http://mpi", lambda url: f"signed for {url}", session=line)

    assert [token(), token()] == ["t1", "t1"]
    assert line.sent[0]["data"]["client_assertion"] == "signed for http://mpi/oauth2/token"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, {"error": "invalid_client"}, {}), Unauthenticated),
        ((503, {"code": "database-busy"}, {}), Unavailable),
        (b"<html>", NotUnderstood),
        ({"access_token": "t1"}, NotUnderstood),
        (None, Unreachable),
    ],
)
def test_a_token_that_does_not_come_is_told_by_its_kind(answer: Any, kind: type[Exception]):
    token = AccessToken("http://mpi", lambda url: "signed", session=TokenLine([answer]))

    with pytest.raises(kind):
        token()


# Following -----------------------------------------------------------------------------------------------------------


def a_page(
    up_to: int, *subjects: int, age_ms: int | None = 0, topics: Any = DIRECTIVE_TOPICS
) -> dict[str, Any]:
    events = [
        {
            "sequence": up_to - len(subjects) + 1 + place,
            "topic": "person.changed",
            "at": "2026-11-23T09:00:00+00:00",
            "data": {"person_id": str(subject)},
        }
        for place, subject in enumerate(subjects)
    ]
    return {
        "events": events,
        "up_to": up_to,
        "oldest": 1,
        "last": up_to,
        "has_more": age_ms is None,
        "complete_at": None if age_ms is None else "2026-11-23T09:00:00+00:00",
        "complete_age_ms": age_ms,
        "topics": sorted(topics),
    }


class Following:
    """A follower with seconds that a test counts, and what it was told to do."""

    def __init__(self, *answers: Any, **how: Any) -> None:
        self.now = 1_000.0
        self.did: list[Any] = []
        client, self.line = client_of(*answers)
        how.setdefault("apply", lambda event: self.did.append(event.data["person_id"]))
        self.follower = Follower(
            client,
            start_over=lambda: self.did.append("start over"),
            keep=lambda number: self.did.append(number),
            seconds=lambda: self.now,
            **how,
        )


def test_nothing_is_served_before_everything_is_known():
    one = Following(a_page(5), a_page(7, 1, 2, age_ms=None), a_page(8, 3))
    follower = one.follower

    served = [follower.may_serve]
    for _ in range(2):
        follower.step()
        served.append(follower.may_serve)

    assert served == [False, False, True]
    assert one.did == ["start over", 5, "1", "2", 7, "3", 8]
    assert [sent["params"].get("after") for sent in one.line.sent] == [None, "5", "7"]


def test_who_is_sixty_seconds_behind_stops_serving():
    one = Following(a_page(5), a_page(5, age_ms=20_000), a_page(5, age_ms=1_000))
    one.follower.step()

    one.now += 39.9
    assert one.follower.may_serve
    one.follower.check()
    one.now += 0.1
    with pytest.raises(Behind) as behind:
        one.follower.check()
    assert behind.value.seconds == pytest.approx(60)
    one.follower.step()
    assert one.follower.seconds_behind == pytest.approx(1)


def test_at_sixty_seconds_to_the_second_nothing_is_served():
    one = Following(a_page(5), a_page(5))
    one.follower.step()

    one.now += 60

    assert (one.follower.seconds_behind, one.follower.may_serve) == (60, False)
    with pytest.raises(Behind):
        one.follower.check()


def test_the_time_that_an_answer_took_counts():
    one = Following(a_page(5), a_page(5, age_ms=1_000))
    ask = one.line.request

    def slowly(*words: Any, **more: Any) -> requests.Response:
        one.now += 30
        return ask(*words, **more)

    one.line.request = slowly  # type: ignore[method-assign]
    one.follower.step()

    assert one.follower.seconds_behind == pytest.approx(31)


@given(
    ages=st.lists(st.integers(0, 90_000), min_size=1, max_size=8),
    gap=st.floats(0, 30),
    late=st.floats(0, 200),
)
def test_an_answer_never_makes_a_follower_seem_nearer_than_it_is(ages: list[int], gap: float, late: float):
    """However old watermarks are told to be, what is served by is never 60 seconds older than the newest of them."""
    one = Following(a_page(5), *(a_page(5, age_ms=age) for age in ages))
    newest = -1e9
    for age in ages:
        one.follower.step()
        newest = max(newest, one.now - age / 1000)
        one.now += gap
    one.now += late

    assert one.follower.seconds_behind == pytest.approx(max(0.0, one.now - newest))
    assert one.follower.may_serve == (one.follower.seconds_behind < 60)


def test_an_event_that_could_not_be_applied_comes_again_and_nothing_goes_past_it():
    faults = iter([None, OSError("disk"), None, None])
    done: list[str] = []

    def apply(event: Event) -> None:
        if (fault := next(faults)) is not None:
            raise fault
        done.append(event.data["person_id"])

    one = Following(a_page(5), a_page(7, 1, 2), a_page(7, 2), apply=apply)
    with pytest.raises(OSError, match="disk"):
        one.follower.step()
    stopped = one.follower.may_serve, one.follower.after
    one.follower.step()

    assert stopped == (False, 6)
    assert done == ["1", "2"]
    assert one.line.sent[-1]["params"]["after"] == "6"


@pytest.mark.parametrize("refusal", [(410, {"code": "events-gone"}, {}), (409, {"code": "events-ahead"}, {})])
def test_who_missed_events_starts_over_and_serves_nothing_meanwhile(refusal: Any):
    one = Following(a_page(5), a_page(5), refusal, a_page(90), a_page(90))
    one.follower.step()
    before = one.follower.may_serve
    one.follower.step()
    meanwhile = one.follower.may_serve, one.follower.seconds_behind
    one.follower.step()

    assert (before, meanwhile, one.follower.may_serve) == (True, (False, float("inf")), True)
    assert one.did == ["start over", 5, 5, "start over", 90, 90]


def test_a_topic_that_is_no_longer_told_stops_serving_at_once():
    """A scope that was taken away would look like nothing happening."""
    told = DIRECTIVE_TOPICS - {"directive.changed"}
    one = Following(a_page(5), a_page(5), a_page(6, 1, topics=told))
    one.follower.step()
    before = one.follower.may_serve

    with pytest.raises(Forbidden) as refused:
        one.follower.step()

    assert (before, one.follower.may_serve) == (True, False)
    assert refused.value.ids == {"topics": "directive.changed"}
    assert "1" not in one.did


def test_a_follower_goes_on_where_one_before_it_stood():
    one = Following(a_page(7, 1), after=6)
    one.follower.step()

    assert one.did == ["1", 7]


def test_who_does_not_know_where_it_stands_does_not_wait_for_news():
    """A service whose worker stopped is asked once a second, and not without end."""
    old = [a_page(5, age_ms=70_000)] * 2
    one = Following(a_page(5), *old, a_page(5), a_page(5))
    rests: list[float] = []

    class Stop:
        def is_set(self) -> bool:
            return not one.line.answers

        def wait(self, seconds: float) -> None:
            rests.append(seconds)

    one.follower.run(Stop())  # type: ignore[arg-type]

    assert [sent["params"].get("wait") for sent in one.line.sent] == [None, "0", "0", "0", "10"]
    assert rests == [1.0, 1.0]


def test_a_run_asks_on_after_faults_until_it_is_told_to_stop():
    one = Following(
        a_page(5), (503, {"code": "database-busy"}, {"Retry-After": "0"}), None, None, a_page(6, 1)
    )
    rests: list[float] = []

    class Stop:
        def is_set(self) -> bool:
            return not one.line.answers

        def wait(self, seconds: float) -> None:
            rests.append(seconds)

    one.follower.run(Stop())  # type: ignore[arg-type]

    assert one.did[-2:] == ["1", 6]
    assert rests == [0, 1.0]


# What it needs -------------------------------------------------------------------------------------------------------

SERVER = (
    "flask", "flask_smorest", "marshmallow", "sqlalchemy", "alembic", "psycopg", "redis", "jellyfish", "joserfc", "authlib",
    "cryptography", "structlog", "prometheus_client", "gunicorn", "nhsuk_frontend_jinja", "duckdb", "pyarrow", "numpy", "scipy",
    "pandas", "click", "foundation", "consent", "app",
)  # fmt: skip


def test_the_client_is_imported_and_asks_with_none_of_the_servers_packages():
    script = f"""
import sys
for name in {SERVER!r}:
    sys.modules[name] = None  # an import of it fails
from mpi.client import Client, Follower, Unreachable
client = Client("http://127.0.0.1:1", lambda: "token", timeout_seconds=1)
try:
    client.match(birth_date="1990")
except Unreachable:
    print("imported")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)

    assert (done.stdout, done.returncode) == ("imported\n", 0), done.stderr
