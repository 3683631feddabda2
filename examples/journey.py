"""The story of one woman's records, from four organisations' feeds to a release and an objection, through public interfaces only.

``tell`` acts it out against a running service and returns what was seen, for a test to check; ``say`` prints each step for a reader.
Everyone in it is made up.
"""

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from examples.client import Refused, ServiceClient
from mpi.client import Address, Name, Record

PRACTICE, UCLH, SLAM, CARE_HOME = "Y99001", "RRV", "RV5", "Y9C901"
AMBULANCE, NEIGHBOUR, BOARD = "RRU", "RD8", "QMJ"

ORGANISATIONS = (
    (BOARD, "North Central London Integrated Care Board", "other", None),
    (UCLH, "University College London Hospitals", "acute", BOARD),
    (SLAM, "South London and Maudsley", "mental-health", None),
    (AMBULANCE, "London Ambulance Service", "ambulance", None),
    (NEIGHBOUR, "Milton Keynes University Hospital", "acute", None),
    (PRACTICE, "Story Lane Surgery", "practice", BOARD),
    (CARE_HOME, "Story House Care Home", "care-home", None),
)

CLIENTS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    # client id: (organisation, further organisations, scopes)
    "story-admin": (
        BOARD,
        ("*",),
        ("directory:write", "agreements:write", "relationships:write", "directory:read"),
    ),
    "uclh-epr": (UCLH, (), ("records:write", "records:read", "relationships:write")),
    "slam-epr": (SLAM, (), ("records:write", "records:read")),
    "surgery-gp": (PRACTICE, (), ("records:write", "directives:write", "directives:read")),
    "care-home-app": (CARE_HOME, (), ("records:write",)),
    "mk-epr": (NEIGHBOUR, (), ("records:write",)),
    "ambulance-app": (
        AMBULANCE,
        (),
        ("match", "match:reasons", "decisions", "releases", "relationships:write", "emergency"),
    ),
    "record-service": (UCLH, (SLAM, PRACTICE), ("redeem",)),
}

PEOPLE: Mapping[str, tuple[str, str]] = {
    # user name: (organisation, national job role)
    "queue-reader": (BOARD, "R1984"),
    "queue-second": (BOARD, "R5110"),
    "privacy-officer": (BOARD, "R0001"),
}

_NAME_OF = {code: name for code, name, *_ in ORGANISATIONS}
_FIELD = {
    "nhs_number": "NHS number",
    "given": "given name",
    "middle": "middle name",
    "family": "family name",
    "birth_date": "birth date",
    "practice": "GP practice",
}

HER_NUMBER, HER_SISTERS_NUMBER = "9990001006", "9990002002"
_BIRTH = "1946-03-14"
_HOME = {"use": "home", "lines": ["14 Larkspur Mews"], "city": "London", "postcode": "NW5 2QT"}
_PHONE = {"system": "phone", "value": "020 7946 0817"}


def _name(given: str, family: str, *, use: str = "usual", middle: str | None = None) -> dict[str, Any]:
    return {"use": use, "given": [given, *([middle] if middle else [])], "family": family}


_SURGERY_RECORD = {
    "nhs_number": HER_NUMBER,
    "nhs_number_status": "01",
    "names": [_name("Miriam", "Holloway", middle="Adaeze"), _name("Miriam", "Okafor", use="maiden")],
    "birth_date": _BIRTH,
    "gender": "female",
    "addresses": [_HOME],
    "telecoms": [_PHONE],
    "gp_practice": PRACTICE,
}
_UCLH_RECORD = {  # a slip of the keyboard in her surname, and a claimed number
    "nhs_number": HER_NUMBER,
    "nhs_number_status": "02",
    "names": [_name("Miriam", "Holoway")],
    "birth_date": _BIRTH,
    "gender": "female",
    "addresses": [_HOME],
    "telecoms": [_PHONE],
}
_SLAM_RECORD = {  # known there since before her marriage
    "nhs_number": HER_NUMBER,
    "nhs_number_status": "01",
    "names": [_name("Miriam", "Okafor", middle="Adaeze")],
    "birth_date": _BIRTH,
    "gender": "female",
    "addresses": [{"use": "home", "lines": ["3 Fennel Court"], "city": "London", "postcode": "SE5 8QX"}],
}
_CARE_HOME_RECORD = {  # no NHS number
    "names": [_name("Miriam", "Holloway", middle="Adaeze")],
    "birth_date": _BIRTH,
    "gender": "female",
    "addresses": [_HOME],
    "telecoms": [_PHONE],
    "gp_practice": PRACTICE,
}
_TWIN_RECORD = {
    "nhs_number": HER_SISTERS_NUMBER,
    "nhs_number_status": "01",
    "names": [_name("Esther", "Holloway", middle="Ngozi")],
    "birth_date": _BIRTH,
    "gender": "female",
    "addresses": [_HOME],
    "telecoms": [_PHONE],
    "gp_practice": PRACTICE,
}
_DOUBTFUL_RECORD = {  # on a visit to her daughter: another spelling, another year of birth, no number
    "names": [_name("Miriam", "Hollaway")],
    "birth_date": "1949-03-14",
    "gender": "female",
    "addresses": [
        {"use": "temp", "lines": ["9 Oldbrook Way"], "city": "Milton Keynes", "postcode": "MK9 3EJ"}
    ],
}
_POSSIBLE_RECORD = {  # a second doubtful one, that nobody has looked at yet
    "names": [_name("Miriam", "Holloway")],
    "birth_date": "1946-03-15",
    "gender": "female",
    "addresses": [{"use": "home", "lines": ["2 Sorrel Walk"], "city": "London", "postcode": "SE5 9AA"}],
}


@dataclass(frozen=True)
class PersonAtScreen:
    """A person signed in with a local account; the session lives in a cookie."""

    base_url: str
    session: requests.Session = field(repr=False)
    csrf_token: str = field(repr=False)

    @staticmethod
    def sign_in(base_url: str, username: str, password: str) -> "PersonAtScreen":
        session = requests.Session()
        answer = session.post(
            f"{base_url}/api/v1/sign-in", json={"username": username, "password": password}, timeout=30
        )
        document = answer.json()
        if answer.status_code != 200:
            raise Refused(answer.status_code, document["code"], document)
        return PersonAtScreen(base_url, session, document["csrf_token"])

    def get(self, path: str, **query: str) -> Any:
        return self._read(self.session.get(self.base_url + path, params=query, timeout=30))

    def post(self, path: str, body: dict[str, Any] | None = None, *, if_match: str | None = None) -> Any:
        headers = {"X-CSRF-Token": self.csrf_token} | ({"If-Match": if_match} if if_match else {})
        return self._read(self.session.post(self.base_url + path, json=body, headers=headers, timeout=30))

    @staticmethod
    def _read(answer: requests.Response) -> Any:
        document = answer.json()
        if answer.status_code >= 400:
            raise Refused(answer.status_code, document["code"], document)
        return document


@dataclass(frozen=True)
class World:
    """Where the story takes place: a running service, its registered clients, people with accounts, and a record service."""

    base_url: str
    records_url: str
    clients: Mapping[str, ServiceClient]
    passwords: Mapping[str, str] = field(repr=False)

    def at_screen(self, username: str) -> PersonAtScreen:
        return PersonAtScreen.sign_in(self.base_url, username, self.passwords[username])


Say = Callable[[str], None]


def tell(world: World, say: Say = print) -> dict[str, Any]:
    """Act the story out, once, in an index where none of it has happened; return what was seen."""
    seen: dict[str, Any] = {}
    _agree(world, say)
    _send_records(world, say, seen)
    _decide_doubtful(world, say, seen)
    _release_to_ambulance(world, say, seen)
    _object(world, say, seen)
    _report(world, say, seen)
    return seen


# 1. What was agreed --------------------------------------------------------------------------------------------------


def _agree(world: World, say: Say) -> None:
    say("\n1. What the organisations agreed")
    admin = world.clients["story-admin"]
    for code, name, setting, parent in ORGANISATIONS:
        body = {"name": name, "setting": setting} | ({"parent": parent} if parent else {})
        admin.put(f"/api/v1/organisations/{code}", body)
    started = (datetime.now(UTC) - timedelta(days=365)).isoformat()
    admin.post(
        "/api/v1/agreements",
        {
            "name": "Direct care in London",
            "providers": [UCLH, SLAM, PRACTICE],
            "consumers": [AMBULANCE, UCLH],
            "role_classes": ["doctor", "nurse", "paramedic"],
            "purposes": ["TREAT", "ETREAT", "BTG"],
            "categories": ["medication", "letters", "notes", "allergies"],
            "legal_basis": "direct-care",
            "starts_at": started,
        },
    )
    admin.post(
        "/api/v1/agreements",
        {
            "name": "Keeping identities right",
            "providers": ["*"],
            "consumers": [BOARD],
            "role_classes": ["records", "privacy-officer"],
            "purposes": ["PATADMIN"],
            "categories": ["demographics", "location", "membership"],
            "legal_basis": "direct-care",
            "starts_at": started,
        },
    )
    say(f"   {len(ORGANISATIONS)} organisations are in the directory; two agreements are in force.")


# 2. Who is this? -----------------------------------------------------------------------------------------------------


def _send(
    world: World, client: str, organisation: str, local_id: str, record: dict[str, Any]
) -> dict[str, Any]:
    return asdict(world.clients[client].index.put_record(organisation, "PAS", local_id, Record.of(record)))


def _send_records(world: World, say: Say, seen: dict[str, Any]) -> None:
    say("\n2. Four organisations send what they know of one woman")
    sent = [
        (
            "the surgery, with a verified NHS number",
            _send(world, "surgery-gp", PRACTICE, "S-1", _SURGERY_RECORD),
        ),
        ("UCLH, with a slip in her surname", _send(world, "uclh-epr", UCLH, "U-1", _UCLH_RECORD)),
        ("SLaM, under her maiden name", _send(world, "slam-epr", SLAM, "M-1", _SLAM_RECORD)),
        (
            "the care home, without an NHS number",
            _send(world, "care-home-app", CARE_HOME, "C-1", _CARE_HOME_RECORD),
        ),
    ]
    for who, answer in sent:
        say(f"   {who}: record {answer['record_id']} is {answer['state']} to person {answer['person_id']}")
    seen["persons_of_four"] = {answer["person_id"] for _, answer in sent}
    seen["person_id"] = sent[0][1]["person_id"]

    twin = _send(world, "surgery-gp", PRACTICE, "S-2", _TWIN_RECORD)
    seen["twin_person_id"] = twin["person_id"]
    say(f"   her twin sister, same birth date and home: person {twin['person_id']}, somebody else")

    reader = world.at_screen("queue-reader")
    members = reader.get(f"/api/v1/persons/{seen['person_id']}/members", purpose="PATADMIN")
    seen["member_organisations"] = sorted(member["organisation"] for member in members["members"])
    why = reader.get(f"/api/v1/persons/{seen['person_id']}/why", purpose="PATADMIN")
    seen["why"] = why
    told = ", ".join(_NAME_OF[code] for code in seen["member_organisations"])
    say(f"   a reader of the review queue, asking who knows her, is told of {told};")
    say("   not of SLaM: that a mental-health trust knows someone is itself withheld")
    say("   and why they are one (one bit more doubles the odds; no value is told):")
    for step in why["steps"]:
        agreeing = [
            _FIELD.get(one["field"], one["field"]) for one in step["reasons"] if one["reason"] == "agree"
        ]
        say(f"      {step['weight_millibits'] / 1000:.1f} bits: {', '.join(agreeing)} agree")


# 3. A doubtful one ---------------------------------------------------------------------------------------------------


def _task_about(reader: PersonAtScreen, record_id: str) -> dict[str, Any] | None:
    whole = {"for": "*", "limit": "200"}  # not only one's own organisation's
    tasks = reader.get("/api/v1/tasks", **whole)["tasks"]
    return next((task for task in tasks if any(record_id in side for side in task["sides"])), None)


def _decide_doubtful(world: World, say: Say, seen: dict[str, Any]) -> None:
    say("\n3. A fifth record is doubtful, and people decide")
    fifth = _send(world, "mk-epr", NEIGHBOUR, "K-1", _DOUBTFUL_RECORD)
    seen["fifth_alone"] = fifth["person_id"] != seen["person_id"]
    reader = world.at_screen("queue-reader")
    task = _task_about(reader, fifth["record_id"])
    assert task is not None, "the doubtful record opened no task"
    seen["task_kind"] = task["kind"]
    say(
        f"   Milton Keynes sends another spelling, birth year and address: task {task['task_id']} ({task['kind']}) opens"
    )
    path = f"/api/v1/tasks/{task['task_id']}"
    claimed = reader.post(f"{path}/claim", if_match=f'W/"{task["version"]}"')
    try:
        reader.post(
            f"{path}/decide",
            {"verdict": "same", "reason": "patient-confirmed"},
            if_match=f'W/"{task["version"]}"',
        )
    except Refused as refused:
        seen["stale_decision"] = (refused.status, refused.code)
    decided = reader.post(
        f"{path}/decide",
        {"verdict": "same", "reason": "patient-confirmed"},
        if_match=f'W/"{claimed["version"]}"',
    )
    seen["decision_outcome"] = decided["outcome"]
    joined = reader.get(f"/api/v1/persons/{fifth['record_id']}/members", purpose="PATADMIN")
    seen["fifth_joined"] = joined["person_id"] == seen["person_id"] and NEIGHBOUR in {
        member["organisation"] for member in joined["members"]
    }
    say("   claimed, confirmed with the patient, decided: the same person; five records now")

    sixth = _send(world, "slam-epr", SLAM, "M-2", _POSSIBLE_RECORD)
    seen["possible_person_id"] = sixth["person_id"]
    waiting = _task_about(reader, sixth["record_id"])
    assert waiting is not None, "the possible duplicate opened no task"
    seen["possible_is_binding"] = waiting["is_binding"]
    say("   a possible duplicate at SLaM (one day off, another address) waits in the queue")


# 4. May this be shared? ----------------------------------------------------------------------------------------------

_PARAMEDIC = {"user_id": "555254240100", "role": "R1070", "organisation": AMBULANCE, "assurance": 3}
_INCIDENT = "LAS-20261124-0001"


def _ask(person_id: str, **more: Any) -> dict[str, Any]:
    return {
        "person_id": person_id,
        "purpose": "TREAT",
        "categories": ["medication", "letters", "notes"],
        "identified_by": "confirmed-match",
        "incident_id": _INCIDENT,
        "user": _PARAMEDIC,
        **more,
    }


def _show(world: World, ticket: str) -> tuple[int, dict[str, Any]]:
    """Ask the record service for what a ticket releases."""
    answer = requests.get(f"{world.records_url}/records", headers={"X-Release-Ticket": ticket}, timeout=30)
    return answer.status_code, answer.json()


def _release_to_ambulance(world: World, say: Say, seen: dict[str, Any]) -> None:
    say("\n4. An ambulance crew meets her at home")
    app = world.clients["ambulance-app"]
    found = app.index.match(
        names=[Name("Holloway", ("Miriam",))],
        birth_date=_BIRTH,
        addresses=[Address(("14 Larkspur Mews",), "London")],
        with_reasons=True,
    )
    best = asdict(found.candidates[0])
    seen["match"] = best
    seen["match_complete"] = found.is_complete
    say(f"   matched by name, birth date and street: {best['grade']}, person {best['person_id']}")

    refused = app.post("/api/v1/decisions", _ask(best["person_id"]))
    seen["without_relationship"] = refused["outcome"]
    say(f"   before the incident is opened, {refused['outcome']}: {refused['texts']['staff']}")

    app.post(
        "/api/v1/relationships",
        {
            "person_id": best["person_id"],
            "kind": "incident",
            "organisation": AMBULANCE,
            "incident_id": _INCIDENT,
            "ends_at": (datetime.now(UTC) + timedelta(hours=6)).isoformat(),
        },
    )
    issued = app.post("/api/v1/releases", _ask(best["person_id"], redeemer="record-service"))
    seen["release_outcome"] = issued["decision"]["outcome"]
    seen["release_epoch"] = issued["decision"]["epoch"]
    status, shown = _show(world, issued["ticket"])
    seen["shown_status"] = status
    seen["shown"] = sorted(item["title"] for item in shown["items"])
    seen["shown_categories"] = sorted(item["category"] for item in shown["items"])
    say(
        f"   {issued['decision']['outcome']}: the crew sees {', '.join(seen['shown'])}; the mental-health note stays"
    )
    again = _show(world, issued["ticket"])
    seen["repeated_equally"] = again == (status, shown)
    say("   the reply got lost on the way and is asked for again: the same answer")


# 5. She objects ------------------------------------------------------------------------------------------------------


def _object(world: World, say: Say, seen: dict[str, Any]) -> None:
    say("\n5. She objects at her practice")
    app, surgery = world.clients["ambulance-app"], world.clients["surgery-gp"]
    unredeemed = app.post("/api/v1/releases", _ask(seen["person_id"], redeemer="record-service"))
    receipt = surgery.post(
        "/api/v1/directives",
        {
            "kind": "objection",
            "scope": {"kind": "everything"},
            "received_by": PRACTICE,
            "person_id": seen["person_id"],
            "channel": "in-person",
            "may_override": True,
        },
    )
    seen["receipt"] = receipt
    say(f"   recorded at epoch {receipt['epoch']}; receipt {receipt['leaf_hash'][:16]}…")

    denied = app.post("/api/v1/decisions", _ask(seen["person_id"], min_epoch=receipt["epoch"]))
    seen["after_objection"] = denied["outcome"]
    seen["staff_text"] = denied["texts"]["staff"]
    say(f"   the next decision, {denied['outcome']}: {denied['texts']['staff']}")

    status, shown = _show(world, unredeemed["ticket"])
    seen["unredeemed"] = (status, shown.get("items"))
    say(f"   a ticket issued a moment before, redeemed now: {status}, nothing is shown")

    app.post(
        "/api/v1/relationships",
        {
            "person_id": seen["possible_person_id"],
            "kind": "incident",
            "organisation": AMBULANCE,
            "incident_id": _INCIDENT,
            "ends_at": (datetime.now(UTC) + timedelta(hours=6)).isoformat(),
        },
    )
    covered = app.post("/api/v1/decisions", _ask(seen["possible_person_id"]))
    seen["possible_reasons"] = sorted({finding["reason"] for finding in covered["determining"]})
    say(
        f"   her possible duplicate is covered too: {covered['outcome']}, as long as nobody has decided whose it is"
    )

    twin = app.post("/api/v1/decisions", _ask(seen["twin_person_id"]))
    seen["twin_reasons"] = sorted({finding["reason"] for finding in twin["determining"]})
    say("   her twin sister's record is not touched by it")


# 6. Who saw what -----------------------------------------------------------------------------------------------------


def _report(world: World, say: Say, seen: dict[str, Any]) -> None:
    say("\n6. The privacy officer answers: who saw my record?")
    officer = world.at_screen("privacy-officer")
    report = officer.get(f"/api/v1/persons/{seen['person_id']}/access-report")
    seen["report"] = report
    for access in report["accesses"]:
        shown = ", ".join(f"{one['category']} of {_NAME_OF[one['source']]}" for one in access["items"])
        say(
            f"   {access['at'][11:19]}  {_NAME_OF[access['organisation']]}: {access['act']}, {access['outcome']}"
            + (f"; shown: {shown}" if shown else "")
        )


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]", seconds: float = 60) -> None:
    """Wait until a service answers 200.

    Raises:
        RuntimeError: its process ended.
        TimeoutError: it did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the process behind {url} ended with status {process.returncode}")
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} did not become ready")
