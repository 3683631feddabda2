"""The client: one method for each thing that a system asks of the index."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from mpi.client.answers import (
    Address,
    Contact,
    EventPage,
    Identifier,
    Links,
    Matched,
    Name,
    Person,
    Received,
    Record,
    StoredRecord,
    Task,
    TaskPage,
)
from mpi.client.errors import (
    OF_STATUS,
    Fault,
    NotUnderstood,
    Refused,
    TooMany,
    Unavailable,
    Unreachable,
)

T = TypeVar("T")


class Client:
    """Speaks to the index for one registered system. Use one in each thread that asks.

    Every method raises ``Refused``, or one of its kinds, where the service says no; ``Unreachable`` where it does not answer; and
    ``NotUnderstood`` where what answers is something else.
    """

    def __init__(
        self,
        base_url: str,
        token: Callable[[], str],
        *,
        timeout_seconds: float = 10.0,
        session: requests.Session | None = None,
    ) -> None:
        """``token`` returns a bearer token that stands, such as ``AccessToken``."""
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._session = session or requests.Session()

    # Who is this?

    def match(
        self,
        *,
        names: Sequence[Name] = (),
        birth_date: str | None = None,
        gender: str | None = None,
        nhs_number: str | None = None,
        addresses: Sequence[Address] = (),
        contacts: Sequence[Contact] = (),
        identifiers: Sequence[Identifier] = (),
        gp_practice: str | None = None,
        limit: int = 10,
        with_reasons: bool = False,
    ) -> Matched:
        """Find who someone is. Nothing is kept of what was asked."""
        record = Record(
            names=names,
            birth_date=birth_date,
            gender=gender,
            nhs_number=nhs_number,
            addresses=addresses,
            contacts=contacts,
            identifiers=identifiers,
            gp_practice=gp_practice,
        )
        body = {**record.to_json(), "limit": limit, "reasons": with_reasons}
        return self._ask(Matched.of, "POST", "/api/v1/match", body=body, is_safe=True)

    def person(self, person_id: str) -> Person:
        """Return the person that an id stands for now; any id of before a merge will do."""
        return self._ask(Person.of, "GET", f"/api/v1/persons/{_in_path(person_id)}")

    def members(self, person_id: str, *, purpose: str | None = None) -> Person:
        """Return a person with those of its records that may be told to us."""
        path = f"/api/v1/persons/{_in_path(person_id)}/members"
        return self._ask(Person.of, "GET", path, query={"purpose": purpose})

    def persons_with(self, identifier: Identifier) -> tuple[Person, ...]:
        """Return the persons that bear an identifier; two of them are a conflict that nobody must choose in."""
        return self._ask(_persons, "POST", "/api/v1/persons/lookup", body=identifier.to_json(), is_safe=True)

    def person_of(self, organisation: str, system: str, local_id: str) -> Person | None:
        """Return the person that holds a record of our own."""
        body = {"organisation": organisation, "system": system, "local_id": local_id}
        found = self._ask(_persons, "POST", "/api/v1/persons/lookup", body=body, is_safe=True)
        return found[0] if found else None

    def links(self, person_id: str, other: str | None = None, *, purpose: str | None = None) -> Links:
        """Say why a person is one, or how it stands to another, from records that may be told to us."""
        path = f"/api/v1/persons/{_in_path(person_id)}/why"
        return self._ask(Links.of, "GET", path, query={"other": other, "purpose": purpose})

    # Records of our own

    def put_record(
        self,
        organisation: str,
        system: str,
        local_id: str,
        record: Record,
        *,
        wait: bool = True,
        if_version: int | None = None,
    ) -> Received:
        """Send a record, or a later version of it; the same again changes nothing.

        Args:
            wait: for linking, before the answer.
            if_version: the version that we believe to be the last, 0 for none yet: ``Conflict`` where another one is.
        """
        headers = {}
        if if_version is not None:
            headers = {"If-Match": f'W/"{if_version}"'} if if_version else {"If-None-Match": "*"}
        path = _record_path(organisation, system, local_id)
        query = {"wait": None if wait else "false"}
        return self._ask(
            Received.of,
            "PUT",
            path,
            body=record.to_json(),
            query=query,
            headers=headers,
            is_safe=if_version is None,
        )

    def get_record(self, organisation: str, system: str, local_id: str) -> StoredRecord:
        """Read a record of our own back as it stands."""
        return self._ask(StoredRecord.of, "GET", _record_path(organisation, system, local_id))

    # The review queue

    def tasks(
        self, *, kind: str | None = None, state: str | None = None, after: str | None = None, limit: int = 50
    ) -> TaskPage:
        """Return tasks, the worst first; ``after`` is ``next`` of the page before."""
        query = {"kind": kind, "state": state, "cursor": after, "limit": str(limit)}
        return self._ask(TaskPage.of, "GET", "/api/v1/tasks", query=query)

    def task(self, task_id: str) -> Task:
        return self._ask(_task, "GET", f"/api/v1/tasks/{_in_path(task_id)}")

    def claim_task(self, task: Task) -> Task:
        """Take a task for ourselves, for as long as its lease lasts.

        Raises:
            Conflict: ``task-stale``, or someone else has it.
        """
        path = f"/api/v1/tasks/{_in_path(task.task_id)}/claim"
        return self._ask(Task.of, "POST", path, headers=_of_version(task))

    def decide_task(self, task: Task, verdict: str, reason: str, *, comment: str | None = None) -> Task:
        """Answer a task: same, different or not-enough, with one of the reasons that the API lists; return it as it then stands.

        Raises:
            Conflict: ``task-stale``: look at it again.
        """
        body = {"verdict": verdict, "reason": reason, **({"comment": comment} if comment else {})}
        path = f"/api/v1/tasks/{_in_path(task.task_id)}/decide"
        return self._ask(_task, "POST", path, body=body, headers=_of_version(task))

    # What changes

    def events(
        self,
        after: int | None = None,
        *,
        topic: str | None = None,
        wait_seconds: int = 0,
        limit: int = 100,
    ) -> EventPage:
        """Return what comes after a number; without one, where the feed ends now, and no events. ``Follower`` asks on and on.

        Raises:
            Gone: ``events-gone``. Conflict: ``events-ahead``. Read again what you hold, and follow from the end.
        """
        query = {"topic": topic, "limit": str(limit)}
        if after is not None:
            query |= {"after": str(after), "wait": str(wait_seconds)}
        return self._ask(EventPage.of, "GET", "/api/v1/events", query=query, waits_seconds=wait_seconds)

    # The line

    def _ask(
        self,
        read: Callable[[Mapping[str, Any]], T],
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        is_safe: bool | None = None,
        waits_seconds: float = 0,
    ) -> T:
        """Ask, and read the answer.

        Args:
            is_safe: whether it may be asked again where no answer came.
        """
        repeats = 1 if (method == "GET" if is_safe is None else is_safe) else 0
        response = self._sent(method, path, body, query, headers, repeats, waits_seconds)
        document = _document(response)
        if response.status_code >= 400:
            raise _refusal(response, document)
        try:
            return read(document)
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise NotUnderstood("the answer lacks what it should have") from fault

    def _sent(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str | None] | None,
        headers: Mapping[str, str] | None,
        repeats: int,
        waits_seconds: float,
    ) -> requests.Response:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        for attempt in range(repeats + 1):
            try:
                return self._session.request(
                    method,
                    self._base_url + path,
                    params=asked,
                    json=body,
                    headers={"Authorization": f"Bearer {self._token()}", **(headers or {})},
                    timeout=self._timeout_seconds + waits_seconds,
                    allow_redirects=False,
                )
            except requests.RequestException as fault:
                if attempt == repeats:
                    # The library's own words may hold the address that was asked, and ids with it.
                    raise Unreachable("the service cannot be reached") from fault
        raise AssertionError("unreachable")


def _document(response: requests.Response) -> Mapping[str, Any]:
    try:
        found = response.json()
    except (ValueError, json.JSONDecodeError):
        found = None
    if isinstance(found, dict):
        return found
    if response.status_code >= 400:
        return {}
    raise NotUnderstood("the answer is no JSON")


def _refusal(response: requests.Response, document: Mapping[str, Any]) -> Refused:
    errors, ids = document.get("errors"), document.get("ids")
    refused = OF_STATUS.get(response.status_code, Refused)(
        response.status_code,
        str(document.get("code", "unknown")),
        detail=str(document["detail"]) if "detail" in document else None,
        faults=tuple(
            Fault(str(one.get("field")), str(one.get("code")))
            for one in (errors if isinstance(errors, list) else ())
            if isinstance(one, dict)
        ),
        ids={str(name): str(value) for name, value in ids.items()} if isinstance(ids, dict) else None,
        request_id=response.headers.get("X-Request-ID"),
    )
    if isinstance(refused, TooMany | Unavailable):
        waits = response.headers.get("Retry-After", "")
        refused.retry_after_seconds = float(waits) if waits.isdigit() else 1.0
    return refused


def _of_version(task: Task) -> dict[str, str]:
    return {"If-Match": f'W/"{task.version}"'}


def _persons(said: Mapping[str, Any]) -> tuple[Person, ...]:
    return tuple(map(Person.of, said["persons"]))


def _task(said: Mapping[str, Any]) -> Task:
    return Task.of(said["task"])


def _record_path(organisation: str, system: str, local_id: str) -> str:
    return f"/api/v1/source-records/{_in_path(organisation)}/{_in_path(system)}/{quote(local_id, safe='/')}"


def _in_path(text: str) -> str:
    return quote(text, safe=":")
