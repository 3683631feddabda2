"""The client of PDS against the simulator, over real HTTP: every kind of answer, sign-in, rate, and faults of the wire."""

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from flask import request
from joserfc import jwt
from joserfc.jwk import RSAKey

from foundation.errors import Invalid
from foundation.logs import configure_logs
from mpi.records import Address, HumanName
from mpi.tracing import (
    Found,
    NotANumber,
    NotAQuestion,
    NotFound,
    Refused,
    Sought,
    SupersededBy,
    TooMany,
    TracedPerson,
    Unavailable,
    Withdrawn,
)
from mpi.tracing.pds import ATTEMPTS, Pds, PdsSettings
from mpi.tracing.population import Known
from mpi.tracing.simulator import BASE, TOKEN_PATH, Simulator
from tests.core.matching_builders import ONE_NUMBER, OTHER_NUMBER, THIRD_NUMBER, a_number

KEY = RSAKey.generate_key(2048, {"kid": "test-1"})
STRANGER = RSAKey.generate_key(2048, {"kid": "test-1"})
PRIVATE, STRANGERS = (key.as_pem(private=True).decode() for key in (KEY, STRANGER))
OLD, INVALIDATED, RESTRICTED, NAMESAKE = (a_number(999_000_040 + 10 * place) for place in range(4))


def a_person(
    number: str, given: str = "Amara", family: str = "Okafor", postcode: str = "SE5 8AZ", **more: Any
) -> TracedPerson:
    name = HumanName("usual", None, tuple(given.split()), family)
    born = more.pop("born_on", "1990-02-14")
    return TracedPerson(
        number, (name,), born, "female", (Address("home", ("1 Road",), None, postcode),), **more
    )


PEOPLE = (
    Known(a_person(ONE_NUMBER), superseded=(OLD,), former=(HumanName("maiden", None, ("Amara",), "Eze"),), practice="G85001"),
    Known(a_person(OTHER_NUMBER, "Chidi", born_on="1985-05-05")),
    Known(a_person(THIRD_NUMBER, "Chinedu", born_on="1985-05-05", postcode="SE1 9RT")),
    Known(a_person(RESTRICTED, "Ngozi", "Adeyemi", is_restricted=True), former_postcodes=("SE5 8AZ",), practice="G85001"),
    Known(a_person(INVALIDATED, "Zainab", "Bello"), is_invalidated=True),
    Known(a_person(NAMESAKE, "Jo", "Li", born_on="1970-01-02")),
)  # fmt: skip


@dataclass
class Wire:
    """A simulator that runs, and a client of it whose clocks stand still but for what it waits."""

    simulator: Simulator
    settings: PdsSettings
    base: str
    trouble: list[tuple[int, int] | None] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    time: float = 1_790_000_000.0

    def client(self, **how: Any) -> Pds:
        settings = PdsSettings(
            **({name: getattr(self.settings, name) for name in PdsSettings.__slots__} | how)
        )
        return Pds(settings, now=lambda: self.time, ticks=lambda: self.time, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.time += seconds


@contextmanager
def running(simulator: Simulator) -> Iterator[str]:
    server = simulator.serve()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    made: list[Wire] = []

    def trouble() -> tuple[int, int] | None:
        return made[0].trouble.pop(0) if made[0].trouble else None

    public = KEY.as_dict(private=False)
    simulator = Simulator(PEOPLE, {"a-client": [public]}, now=lambda: made[0].time, trouble=trouble)
    with running(simulator) as url:
        settings = PdsSettings(
            f"{url}{BASE}", f"{url}{TOKEN_PATH}", "a-client", PRIVATE, "test-1", "RRV", 4.0
        )
        made.append(Wire(simulator, settings, url))
        yield made[0]


def an_id() -> str:
    return str(uuid.uuid4())


# -- every kind of answer ---------------------------------------------------------------------------------------------


def test_a_number_answers_with_the_person_whose_it_is(wire: Wire):
    answer = wire.client().retrieve(ONE_NUMBER, an_id())

    assert isinstance(answer, Found)
    assert answer.person.names[0].family == "Okafor"
    assert answer.person.birth_date == "1990-02-14"
    assert answer.person.addresses[0].postcode == "SE5 8AZ"
    assert not answer.person.is_restricted


def test_a_superseded_number_answers_with_the_one_in_its_place(wire: Wire):
    answer = wire.client().retrieve(OLD, an_id())

    assert isinstance(answer, SupersededBy)
    assert answer.person.number == ONE_NUMBER


def test_a_sensitive_record_answers_without_its_location(wire: Wire):
    answer = wire.client().retrieve(RESTRICTED, an_id())

    assert isinstance(answer, Found)
    assert answer.person.is_restricted
    assert answer.person.addresses == ()


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        (a_number(999_900_000), NotFound()),
        (INVALIDATED, Withdrawn()),
        ("9990000000", NotANumber()),
        ("999", NotANumber()),
    ],
)
def test_numbers_that_are_nobodys(wire: Wire, number: str, answer: Any):
    assert wire.client().retrieve(number, an_id()) == answer


BORN = "1990-02-14"


@pytest.mark.parametrize(
    ("sought", "number"),
    [
        (Sought("Amara", "Okafor", BORN, "SE5 8AZ"), ONE_NUMBER),
        (Sought("amara", "OKAFOR", BORN, "se58az"), ONE_NUMBER),
        (Sought("Amara", "Okafor", BORN), ONE_NUMBER),
        # another spelling of what follows the first three letters; a former name; another place
        (Sought("Amaryllis", "Okafor", BORN, "SE5 8AZ"), ONE_NUMBER),
        (Sought("Amara", "Eze", BORN, "SE5 8AZ"), ONE_NUMBER),
        (Sought("Amara", "Okafor", BORN, "M1 1AA"), ONE_NUMBER),
        # somebody protected is found by names and birth date, whatever postcode is asked with
        (Sought("Ngozi", "Adeyemi", BORN, "SE5 8AZ"), RESTRICTED),
        (Sought("Ngozi", "Adeyemi", BORN, "M1 1AA"), RESTRICTED),
        # too short a name for a wildcard
        (Sought("Jo", "Li", "1970-01-02", "SE5 8AZ"), NAMESAKE),
        # two of one beginning and birth date, told apart by the postcode
        (Sought("Chidi", "Okafor", "1985-05-05", "SE5 8AZ"), None),
        # not theirs
        (Sought("Amara", "Okafor", "1990-02-15", "SE5 8AZ"), None),
        (Sought("Chidi", "Okafor", BORN, "SE5 8AZ"), None),
        (Sought("Zainab", "Bello", BORN, "SE5 8AZ"), None),
    ],
)
def test_whom_a_search_finds(wire: Wire, sought: Sought, number: str | None):
    answer = wire.client().search(sought, an_id())

    if number is None:
        assert answer == (TooMany() if sought.birth_date == "1985-05-05" else NotFound())
    else:
        assert isinstance(answer, Found)
        assert answer.person.number == number


def test_a_search_goes_on_only_while_nobody_is_found(wire: Wire):
    client = wire.client()

    client.search(Sought("Amara", "Okafor", BORN, "SE5 8AZ"), an_id())
    assert wire.simulator.counts.searches == 1

    client.search(Sought("Nobody", "Here", BORN, "SE5 8AZ"), an_id())
    assert wire.simulator.counts.searches == 3


def test_a_name_that_is_a_wildcard_asks_for_nobody_else(wire: Wire):
    assert wire.client().search(Sought("A**", "O*", BORN), an_id()) == NotFound()
    assert wire.client().search(Sought("", "", BORN), an_id()) == NotAQuestion()


# -- signing in and being let in ---------------------------------------------------------------------------------------


def test_one_token_serves_until_shortly_before_it_runs_out(wire: Wire):
    client = wire.client()

    for _ in range(3):
        assert isinstance(client.retrieve(ONE_NUMBER, an_id()), Found)
    assert wire.simulator.counts.tokens == 1

    wire.time += 580
    assert isinstance(client.retrieve(ONE_NUMBER, an_id()), Found)
    assert wire.simulator.counts.tokens == 2


def test_a_token_that_was_taken_back_is_renewed_once(wire: Wire):
    client = wire.client()
    client.retrieve(ONE_NUMBER, an_id())

    wire.simulator._tokens.clear()
    assert isinstance(client.retrieve(ONE_NUMBER, an_id()), Found)

    assert wire.simulator.counts.tokens == 2


@pytest.mark.parametrize("how", [{"key": STRANGERS}, {"client_id": "nobody"}, {"key_id": "test-9"}])
def test_who_is_not_known_is_refused_without_another_try(wire: Wire, how: Any):
    answer = wire.client(**how).retrieve(ONE_NUMBER, an_id())

    assert answer == Refused("sign-in-refused", 401)
    assert wire.simulator.counts.tokens == 1
    assert wire.simulator.counts.retrievals == 0


def test_a_key_that_cannot_be_read_is_told_of_without_it():
    with pytest.raises(Invalid) as refusal:
        Pds(PdsSettings("http://127.0.0.1:9", "http://127.0.0.1:9", "a", "no key at all", "k"))

    assert refusal.value.code == "pds-key-unreadable"
    assert "no key at all" not in repr(refusal.value)


def an_assertion(wire: Wire, header: Any = {}, key: RSAKey = KEY, alg: str = "RS512", **claims: Any) -> str:  # noqa: B006
    told = {
        "iss": "a-client", "sub": "a-client", "aud": f"{wire.base}{TOKEN_PATH}", "jti": an_id(), "exp": int(wire.time) + 200,
    } | claims  # fmt: skip
    said = {"alg": alg, "typ": "JWT", "kid": "test-1"} | header
    return jwt.encode(
        {name: value for name, value in said.items() if value is not None},
        {name: value for name, value in told.items() if value is not None},
        key,
        algorithms=["RS512", "RS256"],
    )


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"alg": "RS256"}, 400, "must be 'RS512'"),
        ({"header": {"kid": None}}, 400, "Missing 'kid' header"),
        ({"header": {"kid": "other"}}, 401, "no matching public key"),
        ({"sub": "another"}, 400, "non-matching 'iss'/'sub'"),
        ({"iss": "x", "sub": "x"}, 401, "Invalid 'iss'/'sub'"),
        ({"aud": "https://elsewhere/oauth2/token"}, 401, "'aud' claim"),
        ({"jti": None}, 400, "Missing 'jti'"),
        ({"exp": None}, 400, "Missing 'exp'"),
        ({"exp": 1}, 400, "JWT has expired"),
        ({"exp": "soon"}, 400, "must be an integer"),
        ({"exp": 1_790_000_400}, 400, "more than 5 minutes"),
        ({"key": STRANGER}, 401, "signature verification failed"),
    ],
)
def test_the_simulator_refuses_as_the_identity_service_does(wire: Wire, change: Any, status: int, words: str):
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": an_assertion(wire, **change),
    }

    answer = requests.post(f"{wire.base}{TOKEN_PATH}", data=form, timeout=10)

    assert answer.status_code == status
    assert words in answer.json()["error_description"]
    form["client_assertion"] = an_assertion(wire)
    assert requests.post(f"{wire.base}{TOKEN_PATH}", data=form, timeout=10).status_code == 200
    again = requests.post(f"{wire.base}{TOKEN_PATH}", data=form, timeout=10)
    assert "Non-unique 'jti'" in again.json()["error_description"]


# -- what may be asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "UNSUPPORTED_SERVICE"),
        ("family=Okafor&_max-results=1", 400, "MISSING_VALUE"),
        ("birthdate=eq1990-02-14&_max-results=1", 400, "INVALID_SEARCH_DATA"),
        ("family=Okafor&birthdate=19900214&_max-results=1", 400, "INVALID_VALUE"),
        ("family=Okafor&birthdate=eq1990-02-31&_max-results=1", 400, "INVALID_VALUE"),
        ("family=O*afor&birthdate=eq1990-02-14&_max-results=1", 400, "INVALID_VALUE"),
        ("family=Oka*&birthdate=eq1990-02-14&_fuzzy-match=true&_max-results=1", 400, "INVALID_VALUE"),
        (f"family={'x' * 36}&birthdate=eq1990-02-14&_max-results=1", 400, "INVALID_VALUE"),
        ("family=Okafor&birthdate=eq1990-02-14&year=1990&_max-results=1", 400, "ADDITIONAL_PROPERTIES"),
        ("family=O&birthdate=eq1990-02-14&address-postcode=SE5&address-postalcode=SE5&_max-results=1", 400, "INVALID_SEARCH_DATA"),
        ("family=Okafor&birthdate=eq1990-02-14&_max-results=2", 403, "INVALID_VALUE"),
        ("family=Okafor&birthdate=eq1990-02-14", 403, "INVALID_VALUE"),
        ("family=Okafor&birthdate=eq1990-02-14&_max-results=51", 400, "INVALID_VALUE"),
        ("family=Okafor&birthdate=ge1985-01-01&birthdate=le1991-01-01&_max-results=1", 200, "TOO_MANY_MATCHES"),
    ],
)  # fmt: skip
def test_the_simulator_keeps_the_services_rules_of_search(wire: Wire, query: str, status: int, code: str):
    answer = requests.get(f"{wire.base}{BASE}/Patient?{query}", headers=signed_in(wire), timeout=10)

    assert answer.status_code == status
    assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == code
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("location", ["address-postalcode=SE5*", "general-practitioner=G85001"])
def test_a_search_with_a_location_does_not_know_the_protected(wire: Wire, location: str):
    asked = "family=Adeyemi&birthdate=eq1990-02-14&_history=true&_max-results=1"
    headers = signed_in(wire)

    found = requests.get(f"{wire.base}{BASE}/Patient?{asked}", headers=headers, timeout=10).json()
    none = requests.get(f"{wire.base}{BASE}/Patient?{asked}&{location}", headers=headers, timeout=10).json()

    assert (found["total"], none["total"]) == (1, 0)
    assert "entry" not in none
    assert not {"address", "telecom", "generalPractitioner"} & found["entry"][0]["resource"].keys()


def signed_in(wire: Wire) -> dict[str, str]:
    client = wire.client()
    client.retrieve(ONE_NUMBER, an_id())
    return {"Authorization": f"Bearer {client._token}", "X-Request-ID": an_id()}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": None}, 401, "ACCESS_DENIED"),
        ({"Authorization": "Bearer made-up"}, 401, "ACCESS_DENIED"),
        ({"X-Request-ID": None}, 400, "MISSING_VALUE"),
        ({"X-Request-ID": "1234"}, 400, "INVALID_VALUE"),
    ],
)
def test_the_simulator_wants_a_token_and_a_request_id(wire: Wire, headers: Any, status: int, code: str):
    answer = requests.get(
        f"{wire.base}{BASE}/Patient/{ONE_NUMBER}", headers=signed_in(wire) | headers, timeout=10
    )

    assert (answer.status_code, answer.json()["issue"][0]["details"]["coding"][0]["code"]) == (status, code)


# -- faults of the wire ------------------------------------------------------------------------------------------------


def test_requests_are_no_closer_than_the_rate_allows(wire: Wire):
    client = wire.client(per_second=4.0)
    began = wire.time

    for _ in range(9):
        client.retrieve(ONE_NUMBER, an_id())

    assert wire.time - began == pytest.approx(2.0)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again_longer_apart(wire: Wire, status: int):
    wire.trouble = [(status, 0), (status, 0)]

    assert isinstance(wire.client().retrieve(ONE_NUMBER, an_id()), Found)

    rests = [one for one in wire.waited if one > 0.25]
    assert len(rests) == 2
    assert 0.5 <= rests[0] <= 1.0 <= rests[1] <= 2.0


def test_the_service_is_left_alone_for_as_long_as_it_asks(wire: Wire):
    wire.trouble = [(429, 17)]

    wire.client().retrieve(ONE_NUMBER, an_id())

    assert 17.0 in wire.waited


def test_a_lasting_fault_is_no_answer(wire: Wire):
    wire.trouble = [(503, 0)] * ATTEMPTS

    assert wire.client().retrieve(ONE_NUMBER, an_id()) == Unavailable("service-failed")
    assert wire.trouble == []


def test_each_try_of_one_request_bears_the_same_id_and_each_step_of_a_search_its_own(wire: Wire):
    seen: list[str] = []
    wire.simulator.app.before_request(lambda: seen.append(request.headers.get("X-Request-ID", "")))
    client = wire.client()
    client.retrieve(ONE_NUMBER, an_id())
    seen.clear()
    wire.trouble = [(503, 0), None, (429, 0)]
    asked = an_id()

    client.search(Sought("Nobody", "Here", BORN, "SE5 8AZ"), asked)
    first, again, second, once_more = seen
    client.search(Sought("Nobody", "Here", BORN, "SE5 8AZ"), asked)

    assert (first, second) == (again, once_more)
    assert first != second
    assert seen[4:] == [first, second]


def a_settings(url: str) -> PdsSettings:
    return PdsSettings(url, f"{url}/oauth2/token", "a-client", PRIVATE, "test-1")


def test_nobody_there_is_no_answer():
    client = Pds(a_settings("http://127.0.0.1:9"), sleep=lambda _: None)

    assert client.retrieve(ONE_NUMBER, an_id()) == Unavailable("unreachable")


def test_no_trace_of_anybody_is_logged(wire: Wire, capsys: pytest.CaptureFixture[str], restore_logs: None):
    configure_logs("DEBUG")
    wire.trouble = [(503, 0)] * (3 * ATTEMPTS)
    client = wire.client()
    away = Pds(a_settings("http://127.0.0.1:9"), sleep=lambda _: None)

    for one in (client, away):
        one.retrieve(ONE_NUMBER, an_id())
        one.search(Sought("Amara", "Okafor", BORN, "SE5 8AZ"), an_id())
    client.retrieve(ONE_NUMBER, an_id())
    printed = "".join(capsys.readouterr())

    assert "tracing request failed" in printed
    assert not any(word in printed for word in (ONE_NUMBER, "Okafor", "Amara", BORN, "SE5", "Patient"))
    lines = [json.loads(line) for line in printed.splitlines() if "tracing request failed" in line]
    assert {line["code"] for line in lines} == {"service-failed", "unreachable"}


@pytest.fixture
def restore_logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
