"""Who asks and what: the caller's words, made into an actor and a request without believing more than it may say."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from consent.facts import Actor, Cell, Request, codes, every_cell
from foundation.errors import Forbidden, Invalid
from foundation.principal import Principal

SYSTEM_ROLE = "SYSTEM"
_KEY_ASSURANCE = 2  # a system proves itself with a private key
_MOST_CELLS = 2_000
ORDINARY_CATEGORIES = codes.CATEGORIES - {"membership"}
_ALL_CATEGORIES, _ALL_LABELS = tuple(sorted(ORDINARY_CATEGORIES)), tuple(sorted(codes.SHAREABLE_LABELS))


@dataclass(frozen=True, slots=True)
class User:
    """The person at the screen of a calling system, as that system vouches for them."""

    user_id: str = field(repr=False)
    role: str
    organisation: str
    assurance: int = 0
    activities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: may this be seen? Empty categories or labels mean all that can be shared; empty sources mean all there are."""

    person_id: int
    purpose: str
    categories: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    action: str = "view"
    identified_by: str = "nhs-number"
    user: User | None = None
    claimed_relationship: str | None = None
    reason_code: str | None = None
    reason: str | None = field(default=None, repr=False)
    incident_id: str | None = None
    min_epoch: int = 0


def actor_of(by: Principal, user: User | None) -> Actor:
    """Say who acts: the person signed in, or the user for whom a system speaks, or the system for itself.

    Raises:
        Invalid: ``user-not-allowed`` when a person names another, ``role-reserved``.
        Forbidden: ``organisation-not-yours`` when a system speaks for an organisation that is not its own.
    """
    if by.kind == "person":
        if user is not None:
            raise Invalid("user-not-allowed", field="user")
        return Actor(by.id, by.organisation, by.role, by.assurance, by.activities, by.client_id)
    if user is None:
        return Actor(by.id, by.organisation, SYSTEM_ROLE, _KEY_ASSURANCE, frozenset(), by.client_id)
    role = user.role.rsplit(":", 1)[-1]
    if role == SYSTEM_ROLE:  # read before it is compared: "S0:G0:SYSTEM" is that role too
        raise Invalid("role-reserved", field="user.role")
    if not by.may_act_for(user.organisation):
        raise Forbidden("organisation-not-yours", field="user.organisation")
    return Actor(user.user_id, user.organisation, role, user.assurance, user.activities, by.client_id)


def acting_principal(by: Principal, actor: Actor) -> Principal:
    """The caller as the audit log names it: the user who saw, at their organisation, through the client."""
    if actor.role == SYSTEM_ROLE or by.kind == "person":
        return by
    return replace(
        by,
        kind="person",
        id=actor.user_id,
        organisation=actor.organisation,
        role=(actor.role or "")[:16] or None,
        activities=actor.activities,
        assurance=actor.assurance,
        client_id=by.client_id or by.id,
    )


def request_of(ask: Ask, sources: Iterable[str], *, are_named: bool) -> Request:
    """Make the request: one cell for each category, label and source that was asked for.

    Cells come from the question and from closed lists, never from what the person's record holds, so that no answer tells it.

    Raises:
        Invalid: ``too-many-cells``, when the sources were named: a person who is known in many places must not be told by an error.
    """
    categories, labels = ask.categories or _ALL_CATEGORIES, ask.labels or _ALL_LABELS
    places = tuple(sorted(set(sources)))
    if are_named and len(categories) * len(labels) * len(places) > _MOST_CELLS:
        raise Invalid("too-many-cells", field="sources")
    return Request(
        purpose=ask.purpose,
        cells=every_cell(categories, labels, places),
        action=ask.action,
        identified_by=ask.identified_by,
        claimed_relationship=ask.claimed_relationship,
        reason_code=ask.reason_code,
        incident_id=ask.incident_id,
        min_epoch=ask.min_epoch,
    )


def ask_to_payload(ask: Ask, actor: Actor) -> dict[str, Any]:
    """Write a question as JSON, to be asked again at redemption."""
    return {
        "purpose": ask.purpose,
        "action": ask.action,
        "identified_by": ask.identified_by,
        "claimed_relationship": ask.claimed_relationship,
        "reason_code": ask.reason_code,
        "incident_id": ask.incident_id,
        "min_epoch": ask.min_epoch,
        "user_id": actor.user_id,
        "organisation": actor.organisation,
        "role": actor.role,
        "assurance": actor.assurance,
        "activities": sorted(actor.activities),
        "client_id": actor.client_id,
    }


def actor_from_payload(payload: dict[str, Any]) -> Actor:
    return Actor(
        user_id=payload["user_id"],
        organisation=payload["organisation"],
        role=payload["role"],
        assurance=payload["assurance"],
        activities=frozenset(payload["activities"]),
        client_id=payload["client_id"],
    )


def request_from_payload(payload: dict[str, Any], cells: tuple[Cell, ...]) -> Request:
    return Request(
        purpose=payload["purpose"],
        cells=cells,
        action=payload["action"],
        identified_by=payload["identified_by"],
        claimed_relationship=payload["claimed_relationship"],
        reason_code=payload["reason_code"],
        incident_id=payload["incident_id"],
        min_epoch=payload["min_epoch"],
    )
