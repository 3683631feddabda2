"""What a national sign-in says of a person, read strictly: who they are, how surely, and the one role that they selected.

A person may have many roles; those that were not selected count for nothing. Claims are those of NHS CIS2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foundation.auth.roles import ROLES
from foundation.directory import parse_ods_code
from foundation.errors import Forbidden, Invalid

_USER_ID = re.compile(r"[0-9]{12}")
_ROLE_ID = re.compile(r"[0-9]{1,20}")
_ACR = re.compile(r"AAL([1-3])(_.*)?")
_LEVEL = re.compile(r"(?:AAL)?([0-3])")
_ACTIVITY = re.compile(r"B[0-9]{4}")


class SignInRefused(Forbidden):
    """The provider's word was heard, and the person is not let in; the code says why."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A person in the role that they selected for this session."""

    subject: str = field(repr=False)  # nhsid_useruid
    name: str | None = field(repr=False)
    organisation: str
    role: str
    activities: frozenset[str]
    assurance: int
    provider_session: str | None = field(default=None, repr=False)  # the provider's ``sid``


def selected_in(id_token: Mapping[str, Any], userinfo: Mapping[str, Any], least_assurance: int) -> Selected:
    """Read the claims of a checked id token and of the userinfo that came with it.

    How surely somebody signed in is read of the id token alone, which is signed.

    Raises:
        SignInRefused: ``user-info-of-another``, ``user-id-missing``, ``assurance-low``, ``role-not-selected`` or ``role-unmapped``.
    """
    if not isinstance(userinfo.get("sub"), str) or userinfo["sub"] != id_token.get("sub"):
        raise SignInRefused("user-info-of-another")
    subject = _subject(id_token, userinfo)
    assurance = _assurance(id_token)
    if assurance < least_assurance:
        raise SignInRefused("assurance-low")
    chosen = _chosen(id_token, userinfo)
    role = str(chosen.get("role_code")).rsplit(":", 1)[-1]
    if role not in ROLES:
        raise SignInRefused("role-unmapped")
    try:
        organisation = parse_ods_code(str(chosen.get("org_code")))
    except Invalid as error:
        raise SignInRefused("organisation-unknown") from error
    told = chosen.get("activity_codes")
    activities = frozenset(
        code
        for code in (told if isinstance(told, list) else ())
        if isinstance(code, str) and _ACTIVITY.fullmatch(code)
    )
    name, sid = userinfo.get("name"), id_token.get("sid")
    is_name = isinstance(name, str) and name.strip() and len(name) <= 200 and name.isprintable()
    return Selected(
        subject=subject,
        name=str(name) if is_name else None,
        organisation=organisation,
        role=role,
        activities=activities,
        assurance=assurance,
        provider_session=sid if isinstance(sid, str) and 0 < len(sid) <= 255 else None,
    )


def _subject(id_token: Mapping[str, Any], userinfo: Mapping[str, Any]) -> str:
    told = {
        claims[name]
        for claims in (id_token, userinfo)
        for name in ("nhsid_useruid", "uid")
        if _is_text(claims.get(name))
    }
    if len(told) != 1 or not _USER_ID.fullmatch(subject := told.pop()):
        raise SignInRefused("user-id-missing")
    return str(subject)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _assurance(id_token: Mapping[str, Any]) -> int:
    """Return the authentication assurance level, the lower where two claims differ; 0 where none is told."""
    told = []
    if "acr" in id_token:
        found = _ACR.fullmatch(str(id_token["acr"]))
        told.append(int(found[1]) if found else 0)
    if "authentication_assurance_level" in id_token:
        found = _LEVEL.fullmatch(str(id_token["authentication_assurance_level"]))
        told.append(int(found[1]) if found else 0)
    return min(told, default=0)


def _chosen(id_token: Mapping[str, Any], userinfo: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one role that was selected."""
    told = {
        claims["selected_roleid"]
        for claims in (id_token, userinfo)
        if _is_text(claims.get("selected_roleid"))
    }
    roles = userinfo.get("nhsid_nrbac_roles")
    if len(told) != 1 or not _ROLE_ID.fullmatch(selected := told.pop()) or not isinstance(roles, list):
        raise SignInRefused("role-not-selected")
    found = [one for one in roles if isinstance(one, dict) and one.get("person_roleid") == selected]
    if len(found) != 1:
        raise SignInRefused("role-not-selected")
    return found[0]
