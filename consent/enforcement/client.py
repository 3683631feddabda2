"""The client: inspect a ticket, redeem it, and refuse whatever is not understood."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

HANDLED_HERE = frozenset(
    {
        "WITHHOLD",  # only released items reach the view
        "HIDE_EXISTENCE",  # and nothing is said of the others
        "WITHHELD_NOTICE",  # Release.notice is what to show
        "NO_STORE",  # Cache-Control, and nothing is kept here
        "SINGLE_USE",
        "REPORT_ITEMS_RELEASED",  # redeeming reports them
        "EXPIRES",  # checked when it is redeemed
        "RECORD_REASON",  # the three that the consent service does itself
        "ALERT_PRIVACY_OFFICER",
        "NOTIFY_PATIENT",
        "NO_EXPORT",  # the view gives no file
    }
)
"""Obligations that this package keeps. Others must be named by the service that promises to keep them (``also_keeps``)."""

_NOTICE = "Some information is not shown."
_RELEASED = frozenset({"PERMIT", "PERMIT_FILTERED"})


class Refused(Exception):
    """Nothing may be shown. ``code`` is for machines, ``text`` may be shown to staff; neither names an item or a person."""

    def __init__(self, code: str, text: str = "The information cannot be shown.", status: int = 403) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
        self.status = status


@dataclass(frozen=True, slots=True)
class LocalId:
    """One of our own ids for the person."""

    organisation: str
    system: str
    local_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a ticket is for: our ids for the person, and the cells (category, label, source) that were promised."""

    ticket_id: str
    consumer: str
    purpose: str
    local_ids: tuple[LocalId, ...]
    cells: frozenset[tuple[str, str, str]]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """Something we hold. ``content`` never leaves this process except through the view."""

    id: str
    category: str
    label: str
    source: str
    content: Any = field(default=None, repr=False, compare=False)

    @property
    def cell(self) -> tuple[str, str, str]:
        return self.category, self.label, self.source


@dataclass(frozen=True, slots=True)
class Release:
    """What may be shown now. ``items`` is all of it; ``notice`` is to be shown beside it when it is there."""

    redemption_id: str
    items: tuple[Item, ...]
    obligations: Mapping[str, Mapping[str, str]]
    text: str
    notice: str | None = None

    def must(self, obligation: str) -> bool:
        return obligation in self.obligations


class ReleaseClient:
    """Speaks to the consent service for one registered record service."""

    def __init__(
        self,
        base_url: str,
        token: Callable[[], str],
        *,
        also_keeps: Iterable[str] = (),
        timeout_seconds: float = 5.0,
        session: requests.Session | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``token`` returns a bearer token with the scope ``redeem``; ``also_keeps`` are obligations that the service itself keeps."""
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._keeps = HANDLED_HERE | frozenset(also_keeps)
        self._timeout_seconds = timeout_seconds
        self._session = session or requests.Session()
        self._now = now

    def inspect(self, ticket: str) -> Inspection:
        """Return what a ticket is for. It is not used up by this.

        Raises:
            Refused: the ticket is not for us, has run out, or the service gave no proper answer.
        """
        body = self._post("/api/v1/releases/inspect", {"ticket": ticket})
        try:
            return Inspection(
                ticket_id=str(body["ticket_id"]),
                consumer=str(body["consumer"]),
                purpose=str(body["purpose"]),
                local_ids=tuple(
                    LocalId(one["organisation"], one["system"], one["local_id"]) for one in body["local_ids"]
                ),
                cells=frozenset((c["category"], c["label"], c["source"]) for c in body["cells"]),
                expires_at=datetime.fromisoformat(body["expires_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Refused("answer-unreadable", status=502) from error

    def redeem(self, ticket: str, items: Sequence[Item]) -> Release:
        """Say which of these items may be shown now. A lost reply is asked for again once, with the same items.

        Raises:
            Refused: nothing may be shown, an obligation is not one we keep, or the service gave no proper answer.
        """
        if not items:
            raise Refused("nothing-held", "No record was found.", 404)
        body = self._post(
            "/api/v1/releases/redeem",
            {
                "ticket": ticket,
                "items": [
                    {"id": one.id, "category": one.category, "label": one.label, "source": one.source}
                    for one in items
                ],
            },
            repeats=1,
        )
        try:
            released = frozenset(map(str, body["released"]))
            outcome = str(body["outcome"])
            obligations = {str(one["code"]): dict(one["parameters"]) for one in body["obligations"]}
            text = str(body["text"])
            redemption_id = str(body["redemption_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise Refused("answer-unreadable", status=502) from error
        if outcome not in _RELEASED or not released:
            raise Refused("not-released", text)
        if not released <= {one.id for one in items}:
            raise Refused("answer-unreadable", status=502)
        self._check(obligations)
        return Release(
            redemption_id=redemption_id,
            items=tuple(one for one in items if one.id in released),
            obligations=obligations,
            text=text,
            notice=_NOTICE if "WITHHELD_NOTICE" in obligations else None,
        )

    def _check(self, obligations: Mapping[str, Mapping[str, str]]) -> None:
        """Refuse on any obligation that nobody here keeps, and on a permit that has come to its end."""
        if not set(obligations) <= self._keeps:
            raise Refused("obligation-unknown")
        if "EXPIRES" in obligations:
            try:
                ends_at = datetime.fromisoformat(obligations["EXPIRES"]["at"])
                is_over = self._now() >= ends_at
            except (KeyError, TypeError, ValueError) as error:
                raise Refused("obligation-unreadable") from error
            if is_over:
                raise Refused("expired")

    def _post(self, path: str, body: Mapping[str, Any], *, repeats: int = 0) -> Mapping[str, Any]:
        for attempt in range(repeats + 1):
            try:
                response = self._session.post(
                    self._base_url + path,
                    json=body,
                    headers={"Authorization": f"Bearer {self._token()}"},
                    timeout=self._timeout_seconds,
                    allow_redirects=False,
                )
                break
            except requests.RequestException as error:
                if attempt == repeats:
                    raise Refused(
                        "service-unavailable", "The service that decides cannot be reached.", 503
                    ) from error
        if response.status_code != 200:
            raise _refusal(response)
        try:
            answer = response.json()
        except ValueError as error:
            raise Refused("answer-unreadable", status=502) from error
        if not isinstance(answer, dict):
            raise Refused("answer-unreadable", status=502)
        return answer


def _refusal(response: requests.Response) -> Refused:
    """Turn a problem document into a refusal; the service's own words go to logs by code only."""
    try:
        code = str(response.json().get("code", "refused"))
    except (ValueError, AttributeError):
        code = "refused"
    if response.status_code >= 500:
        return Refused(code, "The service that decides cannot answer now. Try again shortly.", 503)
    if response.status_code == 401:
        return Refused("not-signed-in", status=502)  # our own sign-in failed: no fault of the caller's
    return Refused(code, status=403)
