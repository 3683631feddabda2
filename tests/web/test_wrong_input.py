"""Every wrong input in one table, over HTTP through the whole application, on both engines.

A line says what is wrong, what is sent, the status and code of the answer, and the field that it names. Each answer is problem+json (the
token endpoint speaks OAuth) and leaves every row of every table as it was, but for the tables that a line names: evidence of the attempt.
"""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import OKPKey

from app import create_app
from foundation.auth import users
from foundation.auth.clients import set_client_active
from foundation.auth.roles import SCOPES
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from tests.conftest import ENGINES, PostgresqlServer
from tests.engines import APPLICATION
from tests.service.consent_world import AMBULANCE, PRACTICE, SLAM, UCLH, World, a_possible_duplicate, a_world
from tests.web.every_row import changed_tables, every_row
from tests.web.foundation_caller import ASSERTION_TYPE, PASSWORD, bearer, register_client, token_for

# -- what is sent -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """A request: ``$name`` in path, body and headers stands for an id of the world; ``by`` names the caller."""

    method: str
    path: str
    json: Any = None
    raw: bytes | None = None
    content_type: str = "application/json"
    by: str = "hub"
    headers: dict[str, str] = field(default_factory=dict)
    is_chunked: bool = False


def put_record(fault: dict[str, Any], path: str = "RRV/pas/new", **more: Any) -> Sent:
    return Sent("PUT", f"/api/v1/source-records/{path}", AMARA | fault, **more)


def match(fault: dict[str, Any], **more: Any) -> Sent:
    return Sent("POST", "/api/v1/match", AMARA | fault, **more)


def ask(fault: dict[str, Any], path: str = "decisions", **more: Any) -> Sent:
    return Sent("POST", f"/api/v1/{path}", QUESTION | fault, **more)


def worklist(people: list[dict[str, Any]]) -> Sent:
    asked = {name: value for name, value in QUESTION.items() if name != "person_id"}
    return Sent("POST", "/api/v1/decisions/worklist", asked | {"people": people})


def direct(fault: dict[str, Any], **more: Any) -> Sent:
    return Sent("POST", "/api/v1/directives", DIRECTIVE | fault, **more)


def agree(fault: dict[str, Any], **more: Any) -> Sent:
    return Sent("POST", "/api/v1/agreements", AGREEMENT | fault, **more)


def relate(fault: dict[str, Any], **more: Any) -> Sent:
    return Sent("POST", "/api/v1/relationships", RELATIONSHIP | fault, **more)


def trust(fault: dict[str, Any], code: str = "RXX", **more: Any) -> Sent:
    return Sent("PUT", f"/api/v1/organisations/{code}", TRUST | fault, **more)


def hook(fault: dict[str, Any], **more: Any) -> Sent:
    return Sent("POST", "/api/v1/webhooks", WEBHOOK | fault, **more)


def post(path: str, body: Any = None, **more: Any) -> Sent:
    return Sent("POST", f"/api/v1/{path}", body, **more)


def get(path: str, **more: Any) -> Sent:
    return Sent("GET", f"/api/v1/{path}", **more)


def raw(body: bytes, **more: Any) -> Sent:
    return Sent("PUT", "/api/v1/source-records/RRV/pas/new", raw=body, **more)


AMARA = {
    "names": [{"use": "usual", "given": ["Amara"], "family": "Okafor"}],
    "birth_date": "1990-02-14",
    "gender": "female",
}
PARAMEDIC = {"user_id": "paramedic-1", "role": "R1070", "organisation": AMBULANCE, "assurance": 2}
QUESTION = {
    "person_id": "$she",
    "purpose": "TREAT",
    "identified_by": "certain-match",
    "user": PARAMEDIC,
}
DIRECTIVE = {
    "kind": "objection",
    "scope": {"kind": "everything"},
    "received_by": PRACTICE,
    "person_id": "$she",
}
WEBHOOK = {"client_id": "hub", "url": "https://hooks.example.org/in", "topics": ["person.changed"]}
AGREEMENT = {
    "name": "another",
    "providers": ["*"],
    "consumers": [UCLH],
    "role_classes": ["doctor"],
    "purposes": ["TREAT"],
    "categories": ["letters"],
    "legal_basis": "direct-care",
    "starts_at": "2026-01-01T00:00:00Z",
}
RELATIONSHIP = {"person_id": "$she", "kind": "incident", "organisation": UCLH}
TRUST = {"name": "Elsewhere", "setting": "acute"}
PUT_OFF = {"until": "2026-12-01T00:00:00Z", "reason": "waiting-for-source"}
HAND_ON = {"to": "regional-team", "reason": "sensitive"}
VERDICT = {"verdict": "same", "reason": "documents-seen"}
LETTER = {"id": "letter-1", "category": "letters", "label": "N", "source": UCLH}
TEN_MEGABYTES = 10_000_000
ACT_FOR = "NHSD-End-User-Organisation-ODS"

# A line a case: what is wrong, what is sent, status, code, field, and the tables that keep evidence of the attempt.
TABLE: list[tuple[Any, ...]] = [
    # -- values of a record
    ("bad check digit", put_record({"nhs_number": "9990000001"}), 422, "nhs-number-check", "nhs_number"),
    ("nine digits", put_record({"nhs_number": "999000001"}), 422, "nhs-number-length", "nhs_number"),
    ("number of a placeholder", put_record({"nhs_number": "0000000000"}), 422, "nhs-number-placeholder", "nhs_number"),
    ("mother's bad check digit", put_record({"mother_nhs_number": "9990000001"}), 422, "nhs-number-check", "mother_nhs_number"),
    ("unknown status of a number", put_record({"nhs_number_status": "99"}), 422, "nhs-number-status-unknown", "nhs_number_status"),
    ("impossible date", put_record({"birth_date": "1990-02-30"}), 422, "date-impossible", "birth_date"),
    ("thirteenth month", put_record({"birth_date": "1990-13"}), 422, "date-impossible", "birth_date"),
    ("date in words", put_record({"birth_date": "yesterday"}), 422, "date-format", "birth_date"),
    ("date in other digits", put_record({"birth_date": "１９９０-02-14"}), 422, "date-format", "birth_date"),
    ("birth to come", put_record({"birth_date": "2090-01-01"}), 422, "date-future", "birth_date"),
    ("birth long ago", put_record({"birth_date": "1066-10-14"}), 422, "date-too-early", "birth_date"),
    ("death before birth", put_record({"death_date": "1980-01-01"}), 422, "death-before-birth", "death_date"),
    ("unknown gender", put_record({"gender": "purple"}), 422, "gender-unknown-code", "gender"),
    ("tenth of a birth", put_record({"birth_order": "10"}), 422, "birth-order-range", "birth_order"),
    ("practice of no shape", put_record({"gp_practice": "G 85!"}), 422, "gp-practice-format", "gp_practice"),
    ("unknown use of a name", put_record({"names": [{"use": "royal"}]}), 422, "not-one-of", "names.0.use"),
    ("unknown means of contact", put_record({"telecoms": [{"system": "owl", "value": "1"}]}), 422, "not-one-of", "telecoms.0.system"),
    # -- types and sizes
    ("number for text", put_record({"birth_date": 1990}), 422, "type-string", "birth_date"),
    ("text for list", put_record({"names": "Amara"}), 422, "type-list", "names"),
    ("text for object", put_record({"names": ["Amara"]}), 422, "type-object", "names.0"),
    ("text for flag", put_record({"restricted": "no"}), 422, "type-boolean", "restricted"),
    ("null for list", put_record({"names": None}), 422, "null", "names"),
    ("list for body", raw(b"[]"), 422, "type-object", "(body)"),
    ("text for body", raw(b'"Amara"'), 422, "type-object", "(body)"),
    ("null for body", raw(b"null"), 422, "type-object", "(body)"),
    ("name too long", put_record({"names": [{"family": "x" * 101}]}), 422, "too-long", "names.0.family"),
    ("empty name", put_record({"names": [{"family": ""}]}), 422, "empty", "names.0.family"),
    ("21 phones", put_record({"telecoms": [{"system": "phone", "value": "1"}] * 21}), 422, "too-long", "telecoms"),
    ("21 given names", put_record({"names": [{"given": ["a"] * 21}]}), 422, "too-long", "names.0.given"),
    ("unknown field", put_record({"surname": "Okafor"}), 422, "unknown-field", "surname"),
    ("unknown field inside", put_record({"names": [{"surname": "Okafor"}]}), 422, "unknown-field", "names.0.surname"),
    ("field that is no name", put_record({"Okafor, Amara": 1}), 422, "unknown-field", "(unnamed)"),
    ("missing field inside", put_record({"identifiers": [{"value": "1"}]}), 422, "required", "identifiers.0.system"),
    # -- text that is no text
    ("bell", put_record({"names": [{"family": "a\x07b"}]}), 422, "control-character", "names.0.family"),
    ("line separator", put_record({"names": [{"family": "a\u2028b"}]}), 422, "control-character", "names.0.family"),
    ("text turned round", put_record({"names": [{"family": "a\u202eb"}]}), 422, "control-character", "names.0.family"),
    ("null character", raw(b'{"gender":"\\u0000"}'), 400, "json-null-character", None),
    ("null character in a key", raw(b'{"gen\\u0000der":"female"}'), 400, "json-null-character", None),
    ("lone high surrogate", raw(b'{"gender":"\\ud800"}'), 400, "json-null-character", None),
    ("lone low surrogate", raw(b'{"gender":"a\\udc00b"}'), 400, "json-null-character", None),
    ("surrogate in bytes", raw(b'{"gender":"\xed\xa0\x80"}'), 400, "json-encoding", None),
    ("no UTF-8", raw(b'{"gender":"\xff"}'), 400, "json-encoding", None),
    ("UTF-16", raw('{"gender":"female"}'.encode("utf-16")), 400, "json-encoding", None),
    # -- JSON that is no JSON
    ("empty body", raw(b""), 400, "body-missing", None),
    ("blank body", raw(b"  \n"), 400, "json-syntax", None),
    ("half a body", raw(b'{"gender":"fem'), 400, "json-syntax", None),
    ("comma too many", raw(b'{"gender":"female",}'), 400, "json-syntax", None),
    ("two bodies", raw(b'{"gender":"female"}{}'), 400, "json-syntax", None),
    ("raw tab in text", raw(b'{"gender":"fe\tmale"}'), 400, "json-syntax", None),
    ("same key twice", raw(b'{"gender":"female","gender":"male"}'), 400, "json-duplicate-key", None),
    ("same key twice inside", raw(b'{"names":[{"use":"usual","use":"old"}]}'), 400, "json-duplicate-key", None),
    ("not a number", raw(b'{"birth_order":NaN}'), 400, "json-syntax", None),
    ("endless number", raw(b'{"birth_order":-Infinity}'), 400, "json-syntax", None),
    ("number beyond every float", raw(b'{"birth_order":1e999}'), 400, "json-number", None),
    ("number of 5,000 digits", raw(b'{"birth_order":%s}' % (b"9" * 5_000)), 400, "json-number", None),
    ("100,000 brackets", raw(b"[" * 100_000), 400, "json-depth", None),
    ("33 objects deep", raw(b'{"a":' * 33 + b"1" + b"}" * 33), 400, "json-depth", None),
    # -- bodies of other kinds and sizes
    ("form for JSON", raw(b"gender=female", content_type="application/x-www-form-urlencoded"), 415, "content-type-unsupported", None),
    ("XML for JSON", raw(b"<gender/>", content_type="application/xml"), 415, "content-type-unsupported", None),
    ("no content type", raw(b"{}", content_type=""), 415, "content-type-unsupported", None),
    ("10 MB", raw(b" " * TEN_MEGABYTES), 413, "body-too-large", None),
    ("10 MB in chunks", raw(b" " * TEN_MEGABYTES, is_chunked=True), 413, "body-too-large", None),
    ("10 MB to sign in", Sent("POST", "/api/v1/sign-in", raw=b" " * TEN_MEGABYTES, by="nobody"), 413, "body-too-large", None),
    ("10 MB in chunks to sign in", Sent("POST", "/api/v1/sign-in", raw=b" " * TEN_MEGABYTES, is_chunked=True, by="nobody"),
        413, "body-too-large", None),
    ("10 MB of form to the console", Sent("POST", "/sign-in", raw=b"username=" + b"a" * TEN_MEGABYTES, by="nobody",
        content_type="application/x-www-form-urlencoded"), 413, "body-too-large", None),
    # -- who asks
    ("nobody", put_record({}, by="nobody"), 401, "sign-in-needed", None),
    ("token of no shape", put_record({}, headers={"Authorization": "Bearer x"}), 401, "token-invalid", None),
    ("token of another signer", put_record({}, by="forged"), 401, "token-invalid", None),
    ("changed token", put_record({}, by="changed"), 401, "token-invalid", None),
    ("token that ran out", put_record({}, by="late"), 401, "token-expired", None),
    ("token of a closed client", put_record({}, by="closed"), 401, "client-inactive", None),
    ("user name and password", put_record({}, headers={"Authorization": "Basic aHViOmh1Yg=="}), 401, "token-missing", None),
    ("empty token", put_record({}, headers={"Authorization": "Bearer "}), 401, "token-missing", None),
    ("token of 6,000 characters", put_record({}, headers={"Authorization": "Bearer " + "x" * 6_000}), 401, "token-invalid", None),
    ("cookie of no session", Sent("GET", "/api/v1/me", by="nobody", headers={"Cookie": "mpi_session=x"}), 401, "sign-in-needed", None),
    ("cookie of no text", Sent("GET", "/api/v1/me", by="nobody", headers={"Cookie": "mpi_session=\xff\xfe"}), 401, "sign-in-needed", None),
    ("cookie without its secret", direct({}, by="clerk"), 403, "csrf-token", None),
    ("cookie with another secret", direct({}, by="clerk", headers={"X-CSRF-Token": "é"}), 403, "csrf-token", None),
    ("missing scope", put_record({}, by="matcher"), 403, "scope-missing", None),
    ("missing scope before a bad body", raw(b"{", by="matcher"), 403, "scope-missing", None),
    ("missing scope for reasons", match({"reasons": True}, by="matcher"), 403, "scope-missing", None),
    ("organisation not yours", put_record({}, "VL123/pas/new"), 403, "organisation-not-yours", "organisation"),
    ("organisation not yours to act for", put_record({}, headers={ACT_FOR: "VL123"}), 403, "organisation-not-allowed", None),
    ("organisation of no shape to act for", put_record({}, headers={ACT_FOR: "é"}), 403, "organisation-not-allowed", None),
    ("unknown organisation", put_record({}, "RXX/pas/new", by="national"), 404, "organisation-unknown", "organisation"),
    ("organisation of no shape", put_record({}, "rrv/pas/new"), 422, "organisation-format", "organisation"),
    ("system of no shape", put_record({}, "RRV/p%20s/new"), 422, "system-format", "system"),
    ("local id with blanks", put_record({}, "RRV/pas/%20new"), 422, "local-id-format", "local_id"),
    ("local id too long", put_record({}, "RRV/pas/" + "9" * 65), 422, "text-too-long", "local_id"),
    ("wrong password", post("sign-in", {"username": "clerk", "password": "something else"}, by="nobody"),
        401, "sign-in-refused", None, {"user_account", "audit_event"}),
    ("unknown user", post("sign-in", {"username": "nobody", "password": "something else"}, by="nobody"),
        401, "sign-in-refused", None, {"audit_event"}),
    ("user name too long", post("sign-in", {"username": "a" * 65, "password": "x"}, by="nobody"), 422, "too-long", "username"),
    ("password too long", post("sign-in", {"username": "clerk", "password": "x" * 201}, by="nobody"), 422, "too-long", "password"),
    ("no password", post("sign-in", {"username": "clerk"}, by="nobody"), 422, "required", "password"),
    # -- addresses and methods
    ("unknown address", get("nothing"), 404, "route-unknown", None),
    ("wrong method", Sent("DELETE", "/api/v1/organisations/RRV"), 405, "method-not-allowed", None),
    ("method of another age", Sent("TRACE", "/api/v1/organisations/RRV"), 405, "method-not-allowed", None),
    ("method nobody knows", Sent("FROBNICATE", "/api/v1/me"), 405, "method-not-allowed", None),
    ("null character in the address", get("organisations/R%00V"), 400, "path-format", None),
    ("no UTF-8 in the address", get("organisations/R%FFV"), 400, "path-format", None),
    ("null character in the query", get("organisations?cursor=%00"), 400, "path-format", None),
    ("unknown argument", get("organisations?colour=red"), 422, "unknown-field", "colour"),
    ("page of none", get("organisations?limit=0"), 422, "out-of-range", "limit"),
    ("page of too many", get("organisations?limit=201"), 422, "out-of-range", "limit"),
    ("page of words", get("organisations?limit=many"), 422, "type-integer", "limit"),
    ("page of half", get("organisations?limit=1.5"), 422, "type-integer", "limit"),
    ("unknown filter value", get("organisations?setting=hospital"), 422, "not-one-of", "setting"),
    ("cursor of no shape", get("organisations?cursor=zz"), 422, "cursor-format", "cursor"),
    ("cursor of another list", get("organisations?cursor=WzFd"), 422, "cursor-format", "cursor"),
    ("cursor of nested lists", get("tasks?cursor=W1tdXQ"), 422, "cursor-format", "cursor"),
    ("cursor beyond every number", get("alerts?cursor=WzAsOTIyMzM3MjAzNjg1NDc3NTgwOF0"), 422, "cursor-format", "cursor"),
    ("cursor too long", get("alerts?cursor=" + "a" * 401), 422, "too-long", "cursor"),
    ("id in words", get("persons/abc"), 422, "id-format", "person_id"),
    ("id of nothing", get("persons/0"), 422, "id-format", "person_id"),
    ("id beyond 63 bits", get("persons/9223372036854775808"), 422, "id-format", "person_id"),
    ("id in other digits", get("persons/%D9%A1%D9%A2"), 422, "id-format", "person_id"),
    ("id of nobody", get("persons/42"), 404, "person-unknown", None),
    ("other id in words", get("persons/$she/why?other=abc"), 422, "id-format", "other"),
    ("history of nobody", get("persons/42/history"), 404, "person-unknown", None),
    ("history by who may not", get("persons/$she/history", by="matcher"), 403, "scope-missing", None),
    ("history after no place", get("persons/$she/history?cursor=WzFd"), 422, "cursor-format", "cursor"),
    ("history after no instant", get("persons/$she/history?cursor=WyJ4IiwwLCIxIiwwXQ"), 422, "cursor-format", "cursor"),
    ("as at no instant", get("persons/$she?as_at=yesterday"), 422, "instant-format", "as_at"),
    ("as at an instant without zone", get("persons/$she?as_at=2026-11-20T12:00:00"), 422, "instant-without-zone", "as_at"),
    ("as at an instant to come", get("persons/$she?as_at=2126-11-20T12:00:00Z"), 422, "as-at-future", "as_at"),
    ("members as at an instant to come", get("persons/$she/members?as_at=2126-11-20T12:00:00Z"), 422, "as-at-future", "as_at"),
    ("golden as at an instant to come", get("persons/$she/golden?as_at=2126-11-20T12:00:00Z"), 422, "as-at-future", "as_at"),
    ("golden as at an instant without zone", get("persons/$she/golden?as_at=2026-11-20T12:00:00"), 422, "instant-without-zone", "as_at"),
    ("golden as at an instant before anyone came", get("persons/$she/golden?as_at=1948-07-05T00:00:00Z"), 404, "person-unknown-then", None),
    ("as at an instant before anyone came", get("persons/$she?as_at=1948-07-05T00:00:00Z"), 404, "person-unknown-then", None),
    ("id of no task", get("tasks/42"), 404, "task-unknown", None),
    ("another's record", get("source-records/VL123/pas/maybe"), 404, "record-unknown", None),
    ("flag in words", put_record({}, "RRV/pas/new?wait=perhaps"), 422, "type-boolean", "wait"),
    ("kind of no task", get("tasks?kind=odd"), 422, "not-one-of", "kind"),
    ("instant without zone", get("persons/$she/access-report?since=2026-11-20T12:00:00"), 422, "instant-without-zone", "since"),
    ("instant beyond the calendar", get("persons/$she/access-report?since=0001-01-01T00:00:00%2B14:00"), 422, "instant-format", "since"),
    ("instant after the last year", get("persons/$she/access-report?until=9999-12-31T23:59:59-14:00"), 422, "instant-format", "until"),
    # -- states that have moved on, and repeats
    ("stale ETag of a record", put_record({}, "RRV/pas/kept", headers={"If-Match": 'W/"1"'}), 409, "version-stale", None),
    ("ETag of a record to come", put_record({}, "RRV/pas/kept", headers={"If-Match": 'W/"7"'}), 409, "version-stale", None),
    ("not the first", put_record({}, "RRV/pas/kept", headers={"If-None-Match": "*"}), 409, "version-stale", None),
    ("ETag of no shape", put_record({}, "RRV/pas/kept", headers={"If-Match": "1"}), 400, "if-match-format", None),
    ("two ETags", put_record({}, "RRV/pas/kept", headers={"If-Match": 'W/"1", W/"2"'}), 400, "if-match-format", None),
    ("stale ETag of a task", post("tasks/$task/claim", headers={"If-Match": 'W/"99"'}), 409, "task-stale", None),
    ("idempotency key of no shape", put_record({}, headers={"Idempotency-Key": "a b"}), 400, "idempotency-key-format", None),
    ("idempotency key too long", put_record({}, headers={"Idempotency-Key": "k" * 129}), 400, "idempotency-key-format", None),
    ("empty idempotency key", put_record({}, headers={"Idempotency-Key": ""}), 400, "idempotency-key-format", None),
    ("idempotency key of another request", put_record({}, headers={"Idempotency-Key": "used"}), 409, "idempotency-key-reused", None),
    ("refused under a fresh key", put_record({"gender": "purple"}, headers={"Idempotency-Key": "fresh"}),
        422, "gender-unknown-code", "gender"),
    # -- matching and finding
    ("nothing to match", Sent("POST", "/api/v1/match", {}), 400, "match-input-too-little", None),
    ("a birthday to match", Sent("POST", "/api/v1/match", {"birth_date": "1990-02-14"}), 400, "match-input-too-little", None),
    ("more candidates than there are", match({"limit": 1_000}), 422, "out-of-range", "limit"),
    ("candidates in words", match({"limit": "all"}), 422, "type-integer", "limit"),
    ("candidates beyond every number", match({"limit": 10**300}), 422, "out-of-range", "limit"),
    ("bad check digit to match", match({"nhs_number": "9990000001"}), 422, "nhs-number-check", "nhs_number"),
    ("two ways to find", post("persons/lookup", {"system": "pas", "value": "1", "local_id": "1"}), 422, "lookup-ambiguous", "value"),
    ("no way to find", post("persons/lookup", {"system": "pas"}), 422, "lookup-ambiguous", "value"),
    ("another's record to find", post("persons/lookup", {"system": "pas", "organisation": "VL123", "local_id": "maybe"}),
        403, "organisation-not-yours", "organisation"),
    # -- the queue
    ("unknown verdict", post("tasks/$task/decide", {"verdict": "maybe", "reason": "other"}), 422, "not-one-of", "verdict"),
    ("unknown reason", post("tasks/$task/decide", {"verdict": "same", "reason": "hunch"}), 422, "not-one-of", "reason"),
    ("other reason, not told", post("tasks/$task/decide", {"verdict": "same", "reason": "other"}), 422, "comment-missing", "comment"),
    ("undo of nothing", post("tasks/$task/undo", {}), 409, "task-not-decided", None),
    ("release of a task not claimed", post("tasks/$task/release"), 409, "task-not-claimed", None),
    ("empty comment", post("tasks/$task/comments", {"comment": ""}), 422, "empty", "comment"),
    ("blank comment", post("tasks/$task/comments", {"comment": "  "}), 422, "comment-empty", "comment"),
    ("comment on no task", post("tasks/42/comments", {"comment": "Hm."}), 404, "task-unknown", None),
    ("one person beside nobody", post("tasks/whether-one", {"persons": ["$she"], "comment": "Hm."}), 422, "length", "persons"),
    ("one person beside themself", post("tasks/whether-one", {"persons": ["$she", "$she"], "comment": "Hm."}),
        409, "persons-are-one", None),
    ("one person beside a stranger", post("tasks/whether-one", {"persons": ["$she", "42"], "comment": "Hm."}), 404, "person-unknown", None),
    ("asked without a why", post("tasks/whether-one", {"persons": ["$she", "42"], "comment": " "}), 422, "comment-missing", "comment"),
    ("all of a person somebody else's", post("tasks/whether-two", {"person": "$she", "records": ["42"], "comment": "Hm."}),
        422, "records-not-of-person", "records"),
    ("none of a person somebody else's", post("tasks/whether-two", {"person": "$she", "records": [], "comment": "Hm."}),
        422, "length", "records"),
    ("withdrawal of what the index asks", post("tasks/$task/withdraw"), 409, "not-asked-by-hand", None),
    ("preview of no answer", post("tasks/$task/preview", {"verdict": "maybe"}), 422, "not-one-of", "verdict"),
    ("preview of no task", post("tasks/42/preview", {"verdict": "same"}), 404, "task-unknown", None),
    ("tasks for nobody", get("tasks?for=nobody"), 422, "route-format", "for"),
    ("tasks for another", get("tasks?for=RRX"), 403, "organisation-not-yours", None),
    ("groups for another", get("task-groups?for=RRX"), 403, "organisation-not-yours", None),
    ("the next for another", post("tasks/next", {"for": "RRX"}), 403, "organisation-not-yours", None),
    ("the next of no kind", post("tasks/next", {"kind": "odd"}), 422, "not-one-of", "kind"),
    ("putting off until the past", post("tasks/$task/defer", PUT_OFF | {"until": "2020-01-01T00:00:00Z"}), 422, "until-range", "until"),
    ("putting off until no instant", post("tasks/$task/defer", PUT_OFF | {"until": "soon"}), 422, "instant-format", "until"),
    ("putting off for no reason", post("tasks/$task/defer", PUT_OFF | {"reason": "hunch"}), 422, "not-one-of", "reason"),
    ("going on with what goes on", post("tasks/$task/resume"), 409, "task-not-deferred", None),
    ("handing on to nobody", post("tasks/$task/escalate", HAND_ON | {"to": "somebody"}), 422, "not-one-of", "to"),
    ("handing on, not told why", post("tasks/$task/escalate", HAND_ON | {"reason": "other"}), 422, "comment-missing", "comment"),
    ("giving back what was not handed on", post("tasks/$task/give-back", {}), 409, "task-not-escalated", None),
    ("group of no task", post("task-groups/42/claim"), 404, "task-unknown", None),
    ("answer to no tasks", post("tasks/bulk-preview", VERDICT | {"task_ids": []}), 422, "length", "task_ids"),
    ("answer to too many tasks", post("tasks/bulk-preview", VERDICT | {"limit": 201}), 422, "out-of-range", "limit"),
    ("stale preview", post("tasks/bulk-decide", VERDICT | {"task_ids": ["$task"], "token": "0"}), 409, "preview-stale", "token"),
    ("answers that were never given", get("tasks/bulk/42"), 404, "bulk-unknown", None),
    ("undo of answers never given", post("tasks/bulk/42/undo", {}), 404, "bulk-unknown", None),
    ("figures of no days", get("tasks/metrics?days=0"), 422, "out-of-range", "days"),
    # -- the directory
    ("unknown parent", trust({"parent": "RZZ"}), 422, "organisation-unknown", "parent"),
    ("parent of its own", trust({"parent": "RXX"}), 422, "parent-circular", "parent"),
    ("closed before it opened", trust({"opened_on": "2026-01-02", "closed_on": "2026-01-01"}), 422, "closed-before-opened", "closed_on"),
    ("impossible day", trust({"opened_on": "2026-02-30"}), 422, "date-format", "opened_on"),
    ("blank name", trust({"name": " "}), 422, "name-format", "name"),
    ("code of no shape", trust({}, "rxx"), 422, "organisation-format", "ods_code"),
    ("code too long", trust({}, "R" * 11), 422, "organisation-format", "ods_code"),
    ("settings of no shape", trust({"settings": []}), 422, "type-object", "settings"),
    ("settings beyond every float", Sent("PUT", "/api/v1/organisations/RXX", raw=b'{"name":"x","setting":"acute","settings":{"a":1e999}}'),
        400, "json-number", None),
    # -- the audit log's tree
    ("checkpoints without the scope", get("audit/checkpoints", by="matcher"), 403, "scope-missing", None),
    ("checkpoints after no place", get("audit/checkpoints?cursor=x"), 422, "cursor-format", "cursor"),
    ("consistency without the scope", get("audit/consistency?first=1&second=1", by="matcher"), 403, "scope-missing", None),
    ("one size alone", get("audit/consistency?first=1"), 422, "required", "second"),
    ("no size at all", get("audit/consistency?first=0&second=1"), 422, "out-of-range", "first"),
    ("the larger first", get("audit/consistency?first=2&second=1"), 422, "tree-size-order", "first"),
    ("tree that is not there yet", get("audit/consistency?first=1&second=9007199254740991"), 422, "tree-size-unknown", "second"),
    ("proof for nobody", get("audit/events/1/proof", by="nobody"), 401, "sign-in-needed", None),
    ("proof without leaf hash", get("audit/events/1/proof", by="matcher"), 404, "audit-event-unknown", None),
    ("proof of no row", get("audit/events/9223372036854775807/proof"), 404, "audit-event-unknown", None),
    ("proof of no number", get("audit/events/x/proof"), 422, "id-format", "event_id"),
    ("leaf hash of no shape", get("audit/events/1/proof?leaf_hash=AA"), 422, "leaf-hash-format", "leaf_hash"),
    # -- events and webhooks
    ("events of no topic", get("events?after=0&topic=person.vanished"), 422, "not-one-of", "topic"),
    ("events after a number that was never given", get("events?after=4711"), 409, "events-ahead", None),
    ("events without the scope", get("events", by="matcher"), 403, "scope-missing", None),
    ("events after less than nothing", get("events?after=-1"), 422, "out-of-range", "after"),
    ("webhook for no system", hook({"client_id": "nobody"}), 404, "client-unknown", None),
    ("webhook for a system that is closed", hook({"client_id": "closed"}), 409, "client-closed", None),
    ("webhook for a system that may not follow", hook({"client_id": "matcher"}), 422, "topic-not-for-client", "topics"),
    ("webhook of no topic", hook({"topics": []}), 422, "length", "topics"),
    ("webhook of an unknown topic", hook({"topics": ["person.vanished"]}), 422, "not-one-of", "topics.0"),
    ("webhook with a password", hook({"url": "https://a:b@hooks.example.org/"}), 422, "url-credentials", "url"),
    ("webhook without TLS", hook({"url": "http://hooks.example.org/"}), 422, "url-scheme", "url"),
    ("webhook on a private machine", hook({"url": "https://10.0.0.1/"}), 422, "url-address", "url"),
    ("webhook of no address", hook({"url": "hooks"}), 422, "url-format", "url"),
    ("webhook with a line break", hook({"url": "https://hooks.example.org/\n"}), 422, "control-character", "url"),
    ("webhook by who may not", hook({}, by="matcher"), 403, "scope-missing", None),
    ("no such webhook", get("webhooks/4711"), 404, "webhook-unknown", None),
    ("webhook of no number", get("webhooks/x"), 422, "id-format", "webhook_id"),
    ("state of a webhook that is none", Sent("PATCH", "/api/v1/webhooks/4711", {"state": "gone"}), 422, "not-one-of", "state"),
    ("replay from nothing", post("webhooks/4711/replay", {"from_sequence": 0}), 422, "out-of-range", "from_sequence"),
    ("deliveries of no state", get("webhooks/4711/deliveries?state=lost"), 422, "not-one-of", "state"),
    # -- decisions and releases
    ("id as number", ask({"person_id": 5}), 422, "id-format", "person_id"),
    ("purpose too long", ask({"purpose": "P" * 17}), 422, "too-long", "purpose"),
    ("purpose of no shape", ask({"purpose": "to look"}), 422, "code-format", "purpose"),
    ("source of no shape", ask({"sources": ["rrv"]}), 422, "organisation-format", "sources.0"),
    ("assurance beyond its range", ask({"user": PARAMEDIC | {"assurance": 4}}), 422, "out-of-range", "user.assurance"),
    ("assurance as text", ask({"user": PARAMEDIC | {"assurance": "2"}}), 422, "type-integer", "user.assurance"),
    ("epoch below nothing", ask({"min_epoch": -1}), 422, "out-of-range", "min_epoch"),
    ("epoch beyond its range", ask({"min_epoch": 2**31}), 422, "out-of-range", "min_epoch"),
    ("user of another organisation", ask({"user": PARAMEDIC | {"organisation": "VL123"}}),
        403, "organisation-not-yours", "user.organisation"),
    ("role that is reserved", ask({"user": PARAMEDIC | {"role": "SYSTEM"}}), 422, "role-reserved", "user.role"),
    ("someone else's question", ask({}, by="clerk", headers={"X-CSRF-Token": "$csrf"}), 403, "scope-missing", None),
    ("41 categories", ask({"categories": [f"c{n}" for n in range(41)]}), 422, "too-long", "categories"),
    ("too many cells", ask({"categories": [f"c{n}" for n in range(40)], "labels": [f"l{n}" for n in range(40)],
        "sources": [f"R{n:04}" for n in range(100)]}), 422, "too-many-cells", "sources"),
    ("emergency without a reason", ask({}, "emergency-access"), 422, "reason-code-unknown", "reason_code"),
    ("emergency in one word", ask({"reason_code": "emergency-care", "reason": "help"}, "emergency-access"),
        422, "reason-missing", "reason"),
    ("unknown redeemer", ask({"redeemer": "nobody"}, "releases"), 422, "redeemer-unknown", "redeemer"),
    ("no redeemer", ask({}, "releases"), 422, "required", "redeemer"),
    ("source not of the redeemer", ask({"redeemer": "record-service", "sources": ["VL123"]}, "releases"),
        422, "source-not-of-redeemer", "sources"),
    ("ticket of no shape", post("releases/redeem", {"ticket": "x", "items": [LETTER]}), 422, "ticket-invalid", "ticket", {"audit_event"}),
    ("changed ticket", post("releases/redeem", {"ticket": "$changed_ticket", "items": [LETTER]}),
        422, "ticket-invalid", "ticket", {"audit_event"}),
    ("ticket of another client", post("releases/redeem", {"ticket": "$ticket", "items": [LETTER]}),
        403, "ticket-not-yours", None, {"audit_event"}),
    ("ticket that ran out", post("releases/redeem", {"ticket": "$old_ticket", "items": [LETTER]}, by="records"),
        410, "ticket-expired", None, {"audit_event"}),
    ("replayed ticket", post("releases/redeem", {"ticket": "$ticket", "items": [LETTER]}, by="records"),
        409, "ticket-replayed", None, {"audit_event", "alert"}),
    ("no items", post("releases/redeem", {"ticket": "$ticket", "items": []}, by="records"), 422, "length", "items"),
    ("same item twice", post("releases/redeem", {"ticket": "$ticket", "items": [LETTER, LETTER]}, by="records"),
        422, "item-repeated", "items"),
    ("ticket to inspect, of another", post("releases/inspect", {"ticket": "$ticket"}), 403, "ticket-not-yours", None, {"audit_event"}),
    # -- directives, agreements, relationships
    ("unknown kind of directive", direct({"kind": "wish"}), 422, "not-one-of", "kind"),
    ("unknown scope", direct({"scope": {"kind": "category", "code": "shoes"}}), 422, "scope-unknown", "scope"),
    ("directive about nobody", direct({"person_id": None}), 422, "person-or-form-missing", "person_id"),
    ("directive about a stranger", direct({"person_id": "42"}), 404, "person-unknown", None),
    ("form that is too thin", direct({"person_id": None, "form": {"gender": "female"}}), 422, "form-too-thin", "form"),
    ("form with a bad check digit", direct({"person_id": None, "form": AMARA | {"nhs_number": "9990000001"}}),
        422, "nhs-number-check", "form.nhs_number"),
    ("form with an impossible date", direct({"person_id": None, "form": AMARA | {"birth_date": "1990-02-30"}}),
        422, "date-impossible", "form.birth_date"),
    ("directive for another organisation", direct({"received_by": "VL123"}), 403, "organisation-not-yours", "received_by"),
    ("refused without a reason", direct({"standing": "refused"}), 422, "reason-missing", "reason"),
    ("ends before it starts", direct({"effective_at": "2026-11-24T00:00:00Z", "ends_at": "2026-11-23T00:00:00Z"}),
        422, "end-before-start", "ends_at"),
    ("instant before the calendar", direct({"effective_at": "0001-01-01T00:00:00+14:00"}), 422, "instant-format", "effective_at"),
    ("objection that lifts", direct({"lifts": ["$directive"]}), 422, "lifts-without-permission", "lifts"),
    ("lifts what is not there", direct({"kind": "permission", "lifts": ["42"]}), 422, "lifts-unknown", "lifts"),
    ("digest of no shape", direct({"wording_digest": "abc"}), 422, "digest-format", "wording_digest"),
    ("dissent of another's", direct({"kind": "dissent", "scope": {"kind": "organisation", "code": "VL123"}}),
        403, "organisation-not-yours", "scope"),
    ("withdrawal of nothing", post("directives/42/withdraw", {"reason": "wish"}), 404, "directive-unknown", None),
    ("withdrawal without a reason", post("directives/$directive/withdraw", {}), 422, "required", "reason"),
    ("verdict on what stands", post("directives/$directive/decide", {"verdict": "upheld", "reason": "yes"}),
        409, "directive-decided", None),
    ("worklist of nobody", worklist([]), 422, "length", "people"),
    ("worklist with one of them twice", worklist([{"person_id": "$she"}, {"person_id": "$she"}]), 422, "people-repeated", "people"),
    ("directives of nobody", get("directives"), 422, "required", "person_id"),
    ("unknown code in an agreement", agree({"purposes": ["FUN"]}), 422, "agreement-code-unknown", "purposes"),
    ("unknown provider", agree({"providers": ["RZZ"]}), 422, "organisation-unknown", "providers"),
    ("agreement of nobody", agree({"consumers": []}), 422, "length", "consumers"),
    ("agreement that ends before it starts", agree({"ends_at": "2025-01-01T00:00:00Z"}), 422, "end-before-start", "ends_at"),
    ("agreement without a name", agree({"name": " "}), 422, "agreement-name", "name"),
    ("relationship of another organisation", relate({"organisation": "VL123"}), 403, "organisation-not-yours", "organisation"),
    ("relationship with a stranger", relate({"person_id": "42"}), 404, "person-unknown", None),
    ("unknown kind of relationship", relate({"kind": "friend"}), 422, "not-one-of", "kind"),
    ("relationship that ends before it starts", relate({"ends_at": "2020-01-01T00:00:00Z"}), 422, "end-before-start", "ends_at"),
    ("report about a stranger", get("persons/42/access-report"), 404, "person-unknown", None),
]  # fmt: skip


# -- the world that is sent to ----------------------------------------------------------------------------------------


@dataclass
class Place:
    """One application over one database, the callers' headers, and the ids that ``$name`` stands for."""

    app: Flask
    db: Database
    callers: dict[str, dict[str, str]]
    names: dict[str, str]

    def send(self, sent: Sent) -> Any:
        headers = dict(self.callers[sent.by]) | {
            name: self._named(text) for name, text in sent.headers.items()
        }
        body: dict[str, Any] = {}
        if sent.raw is not None and sent.is_chunked:
            chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
            body = {"input_stream": io.BytesIO(sent.raw), "environ_overrides": chunked}
        elif sent.raw is not None:
            body = {"data": sent.raw}
        elif sent.json is not None:
            body = {"data": self._named(json.dumps(sent.json))}
        if body:
            body["content_type"] = sent.content_type
        client = self.app.test_client(use_cookies=False)
        return client.open(self._named(sent.path), method=sent.method, headers=headers, **body)

    def _named(self, text: str) -> str:
        for name in sorted(self.names, key=len, reverse=True):
            text = text.replace(f"${name}", self.names[name])
        return text


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def place(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One for all lines of an engine: as no line may change anything, each finds it as the one before did."""
    home = tmp_path_factory.mktemp("home")
    if engine == "sqlite":
        url = f"sqlite:///{home / 'mpi.sqlite3'}"
        (home / "mpi.sqlite3").write_bytes(Path(request.getfixturevalue("sqlite_template")).read_bytes())
        yield from _place(url, home)
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    name = request.getfixturevalue("new_name")()
    server.create(name, request.getfixturevalue("postgresql_template"))
    yield from _place(server.url(name, APPLICATION), home)
    server.drop(name)


def _place(url: str, home: Path) -> Iterator[Place]:
    db, clock = Database(url), FixedClock(datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
    world = a_world(db, clock)
    a_possible_duplicate(world)
    settings = replace(Settings.from_environment({"MPI_HOME": str(home)}), database_url=url)
    app = create_app(settings, database=db, clock=clock)
    yield Place(app, db, *_callers(app, world))
    db.close()


def _callers(app: Flask, world: World) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Open accounts for everyone, act out what went before, and return each caller's headers and the ids of what is there."""
    db, clock = world.db, world.clock
    register_client(db, clock, "hub", *SCOPES, organisations=frozenset({SLAM, PRACTICE, AMBULANCE}))
    register_client(db, clock, "national", *SCOPES, organisations=frozenset({"*"}))
    register_client(db, clock, "records", "redeem", organisations=frozenset({SLAM, PRACTICE}))
    for client_id in ("matcher", "late", "closed"):
        register_client(db, clock, client_id, "match")
    with db.write() as tx:
        users.create_user(tx, clock.now(), "clerk", PASSWORD, PRACTICE, "R8010", name="A Clerk")
    callers = {"nobody": {}, "late": bearer(app, "late"), "hub": bearer(app, "hub")}
    old_ticket = _ticket(app, callers["hub"], world)
    clock.advance(timedelta(minutes=10))

    for client_id in ("hub", "national", "records", "matcher", "closed"):
        callers[client_id] = bearer(app, client_id)
    with db.write() as tx:
        set_client_active(tx, "closed", is_active=False)
    head, claims, signature = token_for(app, "hub").split(".")
    changed = ("A" if signature[0] != "A" else "B") + signature[1:]
    callers["changed"] = {"Authorization": f"Bearer {head}.{claims}.{changed}"}
    ours, said = json.loads(_decoded(head)), json.loads(_decoded(claims))
    stranger = OKPKey.generate_key("Ed25519")
    forged = jwt.encode(ours, said, stranger, algorithms=[ours["alg"]], default_type=None)
    callers["forged"] = {"Authorization": f"Bearer {forged}"}
    browser = app.test_client()
    signed_in = browser.post("/api/v1/sign-in", json={"username": "clerk", "password": PASSWORD})
    callers["clerk"] = {"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0]}

    hub = app.test_client()
    for count, path, body, more in (
        (201, "source-records/RRV/pas/kept", AMARA, {}),
        (200, "source-records/RRV/pas/kept", AMARA | {"gp_practice": "G85001"}, {"Idempotency-Key": "used"}),
    ):
        assert hub.put(f"/api/v1/{path}", json=body, headers=callers["hub"] | more).status_code == count
    ticket = _ticket(app, callers["hub"], world)
    redeemed = {"ticket": ticket, "items": [LETTER | {"id": "letter-0"}]}
    redemption = hub.post("/api/v1/releases/redeem", json=redeemed, headers=callers["records"])
    assert redemption.json["released"] == ["letter-0"], redemption.json
    binding = hub.post(
        "/api/v1/directives", json=DIRECTIVE | {"person_id": str(world.she)}, headers=callers["hub"]
    )
    (task,) = hub.get("/api/v1/tasks", headers=callers["hub"]).json["tasks"]
    return callers, {
        "she": str(world.she),
        "task": task["task_id"],
        "directive": binding.json["directive_id"],
        "csrf": signed_in.json["csrf_token"],
        "ticket": ticket,
        "old_ticket": old_ticket,
        "changed_ticket": ticket[:-8] + ("A" if ticket[-8] != "A" else "B") + ticket[-7:],
    }


def _ticket(app: Flask, headers: dict[str, str], world: World) -> str:
    asked = QUESTION | {"person_id": str(world.she), "categories": ["letters"], "redeemer": "records"}
    answer = app.test_client().post("/api/v1/releases", json=asked, headers=headers)
    ticket: str = answer.json["ticket"]
    return ticket


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


# -- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", TABLE, ids=[line[0] for line in TABLE])
def test_a_wrong_input_is_told_and_nothing_is_stored(place: Place, line: tuple[Any, ...]):
    _, sent, status, code, field, *evidence = line
    before = every_row(place.db)

    answer = place.send(sent)

    told = answer.get_json(force=True)
    faults = told.get("errors", [])
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), told
    assert ({"field": field, "code": code} in faults) if field else (told["code"] == code), told
    assert told["status"] == status and told["request_id"] == answer.headers["X-Request-ID"]
    assert changed_tables(before, every_row(place.db)) == (evidence[0] if evidence else set())


def test_no_two_lines_of_the_table_have_one_name():
    names = [line[0] for line in TABLE]

    assert len(set(names)) == len(names)


def test_the_same_requests_without_their_fault_are_taken(place: Place):
    """Else a line could be refused for another reason than the one that it names."""
    right = [
        put_record({}, "RRV/pas/right"),
        match({}),
        ask({}),
        direct({}),
        agree({}),
        relate({}),
        trust({}),
        hook({}),
        get("events"),
    ]

    assert [place.send(sent).status_code for sent in right] == [201, 200, 200, 201, 201, 201, 201, 201, 200]


ASKED = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": "x"}
FORM = "application/x-www-form-urlencoded"
TWICE = "grant_type=client_credentials&grant_type=client_credentials"


@pytest.mark.parametrize(
    ("raw", "content_type", "description"),
    [
        (b"", FORM, "grant_type is missing"),
        (json.dumps(ASKED).encode(), "application/json", "grant_type is missing"),
        (b"grant_type=%FF", FORM, "grant_type is invalid"),
        (TWICE.encode(), FORM, "grant_type is given more than once"),
        (urlencode(ASKED | {"client_assertion": "a.b"}).encode(), FORM, "Malformed JWT in client_assertion"),
        (urlencode(ASKED | {"client_assertion": "é.b.c"}).encode(), FORM, "Malformed JWT in client_assertion"),
        (urlencode(ASKED | {"client_assertion": "W10." * 9_000}).encode(), FORM, "Malformed JWT in client_assertion"),
    ],
)  # fmt: skip
def test_a_wrong_token_request_is_told_in_the_words_of_oauth(
    place: Place, raw: bytes, content_type: str, description: str
):
    before = every_row(place.db)

    answer = place.send(Sent("POST", "/oauth2/token", raw=raw, content_type=content_type, by="nobody"))

    assert (answer.status_code, answer.json["error_description"]) == (400, description)
    assert answer.json["error"] in {"invalid_request", "unsupported_grant_type"}
    assert every_row(place.db) == before
