"""A stand-in for the Personal Demographics Service over a made-up population: the same HTTP interface, for tests and demonstrations.

It signs clients in, searches and retrieves as an application-restricted client meets it. It knows no updates. Where our sheet of the
service leaves something open, the simulator takes the stricter reading, so that a client that pleases it asks for nothing doubtful.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import jellyfish
from flask import Flask, Response, request
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from werkzeug.datastructures import MultiDict
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from foundation.errors import Invalid
from mpi.records import HumanName, parse_nhs_number
from mpi.tracing.population import Known, check_made_up

BASE = "/personal-demographics/FHIR/R4"
TOKEN_PATH = "/oauth2/token"
_NUMBER_SYSTEM = "https://fhir.nhs.uk/Id/nhs-number"
_STATUS = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus"
_SPINE = "https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode"
_CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFE_SECONDS, _LONGEST_SECONDS = 599, 300
_MOST_RESULTS = 50
_LONGEST = 35
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DATE = re.compile(r"(?:eq|ge|le)?(\d{4}-\d{2}-\d{2})")
_FLAGS = ("_fuzzy-match", "_exact-match", "_history")
_TEXTS = ("family", "given", "address-postalcode")
_PARAMETERS = frozenset(
    (*_FLAGS, *_TEXTS, "gender", "birthdate", "death-date", "address-postcode", "general-practitioner")
    + ("email", "phone", "_max-results")
)


@dataclass(slots=True)
class Counts:
    """What was asked of a simulator."""

    tokens: int = 0
    searches: int = 0
    retrievals: int = 0


class _Problem(Exception):
    """An answer that is an OperationOutcome."""

    def __init__(
        self, status: int, severity: str, kind: str, code: str, display: str, diagnostics: str = ""
    ) -> None:
        self.status = status
        issue: dict[str, Any] = {
            "severity": severity,
            "code": kind,
            "details": {"coding": [{"system": _SPINE, "version": "1", "code": code, "display": display}]},
        }
        if diagnostics:
            issue["diagnostics"] = diagnostics
        self.body = {"resourceType": "OperationOutcome", "issue": [issue]}
        super().__init__(code)


def _invalid_value(what: str) -> _Problem:
    return _Problem(
        400, "error", "value", "INVALID_VALUE", "Provided value is invalid", f"Invalid value - {what}"
    )


def _invalid_search(diagnostics: str = "") -> _Problem:
    return _Problem(400, "error", "value", "INVALID_SEARCH_DATA", "Search data is invalid", diagnostics)


def _missing(what: str) -> _Problem:
    return _Problem(400, "error", "required", "MISSING_VALUE", "Required value is missing", what)


class Simulator:
    """The service as it stands: whom it knows, who may ask, and who signed in.

    Args:
        known: made-up people.
        keys: the public keys of each client, by client id: a JWK set's ``keys``.
        trouble: asked before every request for a patient; a status that it returns is answered instead, with the seconds to wait if any.

    Raises:
        Invalid: ``not-a-sample``.
    """

    def __init__(
        self,
        known: Iterable[Known],
        keys: Mapping[str, Iterable[Mapping[str, Any]]],
        *,
        now: Callable[[], float] = time.time,
        trouble: Callable[[], tuple[int, int] | None] = lambda: None,
    ) -> None:
        self._people = {one.person.number: one for one in check_made_up(known)}
        self._successor = {old: one for one in self._people.values() for old in one.superseded}
        self._keys = {
            client: {str(jwk["kid"]): RSAKey.import_key(dict(jwk)) for jwk in some}
            for client, some in keys.items()
        }
        self._now, self._trouble = now, trouble
        self._tokens: dict[str, float] = {}
        self._used: set[str] = set()
        self.counts = Counts()
        self.app = self._routes()

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> BaseWSGIServer:
        """Return a server of this simulator that waits to be run; nothing of what is asked is logged."""
        return make_server(host, port, self.app, threaded=True, request_handler=_Silent)

    def _routes(self) -> Flask:
        app = Flask("pds-simulator", static_folder=None)

        @app.post(TOKEN_PATH)
        def token() -> Response:
            return self._issue(request.form, request.base_url)

        @app.get(f"{BASE}/Patient/<number>")
        def retrieve(number: str) -> Response:
            return self._answered(lambda: self._retrieve(number))

        @app.get(f"{BASE}/Patient")
        def search() -> Response:
            return self._answered(lambda: self._search(request.args))

        return app

    # -- every request --------------------------------------------------------------------------------------------

    def _answered(self, answer: Callable[[], tuple[dict[str, Any], str]]) -> Response:
        try:
            self._admit()
            if (trouble := self._trouble()) is not None:
                status, wait = trouble
                busy = {429: "TOO_MANY_REQUESTS", 408: "UNABLE_TO_CALL_SERVICE"}.get(
                    status, "SERVICE_UNAVAILABLE"
                )
                made = _json(_Problem(status, "error", "throttled", busy, "Not now").body, status)
                if wait:
                    made.headers["Retry-After"] = str(wait)
            else:
                body, version = answer()
                made = _json(body, 200)
                if version:
                    made.headers["ETag"] = f'W/"{version}"'
        except _Problem as problem:
            made = _json(problem.body, problem.status)
        for name in ("X-Request-ID", "X-Correlation-ID"):
            if name in request.headers:
                made.headers[name] = request.headers[name]
        return made

    def _admit(self) -> None:
        denied = ("error", "forbidden", "ACCESS_DENIED", "Access Denied - Unauthorised")
        header = request.headers.get("Authorization")
        if header is None:
            raise _Problem(401, *denied, "Missing Authorization header")
        token = header.removeprefix("Bearer ").strip()
        if self._tokens.get(token, 0.0) <= self._now():
            raise _Problem(401, *denied, "Invalid Access Token")
        request_id = request.headers.get("X-Request-ID")
        if request_id is None:
            raise _missing(
                "Invalid request with error - X-Request-ID header must be supplied to access this resource"
            )
        if not _UUID.fullmatch(request_id):
            raise _invalid_value(f"'{request_id}' in header 'X-Request-ID'")

    # -- one patient ------------------------------------------------------------------------------------------------

    def _retrieve(self, number: str) -> tuple[dict[str, Any], str]:
        self.counts.retrievals += 1
        try:
            digits = parse_nhs_number(number).digits
        except Invalid:
            digits = ""
        if digits != number:
            raise _Problem(400, "error", "value", "INVALID_RESOURCE_ID", "Resource Id is invalid")
        # A number that was superseded answers with the record that took its place, under that one's id.
        one = self._people.get(number) or self._successor.get(number)
        if one is None:
            raise _Problem(404, "information", "not-found", "RESOURCE_NOT_FOUND", "Resource not found")
        if one.is_invalidated:
            raise _Problem(
                404,
                "error",
                "processing",
                "INVALIDATED_RESOURCE",
                "Resource that has been marked as invalid was requested - invalid resources cannot be retrieved",
            )
        return _patient(one), "1"

    # -- a search -----------------------------------------------------------------------------------------------------

    def _search(self, sent: "MultiDict[str, str]") -> tuple[dict[str, Any], str]:
        self.counts.searches += 1
        if not sent:
            raise _Problem(400, "error", "processing", "UNSUPPORTED_SERVICE", "Unsupported Service")
        for name in sent:
            if name not in _PARAMETERS:
                raise _Problem(
                    400,
                    "error",
                    "invariant",
                    "ADDITIONAL_PROPERTIES",
                    "Additional properties should not be included",
                    f"Invalid request with error - Additional properties are not allowed ('{name}' was unexpected)",
                )
        asked = _Asked.of(sent)
        scored = [(score, one) for one in self._people.values() if (score := asked.score(one)) is not None]
        if asked.wants_exact:
            scored = [(score, one) for score, one in scored if score == 1.0]
        scored.sort(key=lambda found: (-found[0], found[1].person.number))
        if len(scored) > asked.most:
            problem = _Problem(200, "information", "multiple-matches", "TOO_MANY_MATCHES", "Too Many Matches")
            raise problem
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(self._now())),
            "total": len(scored),
            **({"entry": [_entry(one, score) for score, one in scored]} if scored else {}),
        }, ""

    # -- signing in -----------------------------------------------------------------------------------------------

    def _issue(self, form: Mapping[str, str], url: str) -> Response:
        self.counts.tokens += 1
        try:
            self._check(form, url)
        except _Denied as denied:
            told = {"error": denied.error, "error_description": denied.text, "message_id": str(uuid.uuid4())}
            return _json(told, denied.status)
        token = uuid.uuid4().hex
        self._tokens[token] = self._now() + _LIFE_SECONDS
        return _json({"access_token": token, "expires_in": str(_LIFE_SECONDS), "token_type": "Bearer"}, 200)

    def _check(self, form: Mapping[str, str], url: str) -> None:
        """See that a request for a token is as the identity service wants it, in the order and the words of its table."""
        if "grant_type" not in form:
            raise _Denied("grant_type is missing")
        if form["grant_type"] != "client_credentials":
            raise _Denied("grant_type is invalid", error="unsupported_grant_type")
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise _Denied(f"Missing or invalid client_assertion_type - must be '{_ASSERTION_TYPE}'")
        if not form.get("client_assertion"):
            raise _Denied("Missing client_assertion")
        said = "client_assertion JWT"
        try:
            read = jws.extract_compact(form["client_assertion"].encode())
            header, claims = read.headers(), json.loads(read.payload)
        except (JoseError, ValueError):
            raise _Denied(f"Malformed JWT in {said.split()[0]}") from None
        if header.get("alg") != "RS512":
            raise _Denied(f"Invalid 'alg' header in {said} - unsupported JWT algorithm - must be 'RS512'")
        if header.get("typ") != "JWT":
            raise _Denied(f"Invalid 'typ' header in {said} - must be 'JWT'")
        if not header.get("kid"):
            raise _Denied(f"Missing 'kid' header in {said}")
        client = claims.get("iss")
        if not client or client != claims.get("sub"):
            raise _Denied(f"Missing or non-matching 'iss'/'sub' claims in {said}")
        if client not in self._keys:
            raise _Denied(f"Invalid 'iss'/'sub' claims in {said}", 401)
        if (key := self._keys[client].get(header["kid"])) is None:
            raise _Denied(f"Invalid 'kid' header in {said} - no matching public key", 401)
        if claims.get("aud") != url:
            raise _Denied(f"Missing or invalid 'aud' claim in {said}", 401)
        if not claims.get("jti"):
            raise _Denied(f"Missing 'jti' claim in {said}")
        if claims["jti"] in self._used:
            raise _Denied(f"Non-unique 'jti' claim in {said}")
        if "exp" not in claims:
            raise _Denied(f"Missing 'exp' claim in {said}")
        if not isinstance(claims["exp"], int):
            raise _Denied(f"Invalid 'exp' claim in {said} - must be an integer")
        if claims["exp"] <= self._now():
            raise _Denied(f"Invalid 'exp' claim in {said} - JWT has expired")
        if claims["exp"] > self._now() + _LONGEST_SECONDS + 10:
            raise _Denied(f"Invalid 'exp' claim in {said} - more than 5 minutes in future")
        try:
            jws.deserialize_compact(form["client_assertion"].encode(), key, algorithms=["RS512"])
        except (JoseError, ValueError):
            raise _Denied("JWT signature verification failed", 401, "public_key error") from None
        self._used.add(claims["jti"])


class _Denied(Exception):
    def __init__(self, text: str, status: int = 400, error: str = "invalid_request") -> None:
        self.text, self.status, self.error = text, status, error
        super().__init__(error)


class _Silent(WSGIRequestHandler):
    """Logs nothing: a line of the request holds a number or a search."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


# -- what a search asks -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search, checked."""

    family: str
    given: tuple[str, ...]
    gender: str
    born: tuple[str, ...]
    postcode: str
    practice: str
    is_fuzzy: bool
    has_history: bool
    wants_exact: bool
    most: int

    @classmethod
    def of(cls, sent: "MultiDict[str, str]") -> "_Asked":
        if "address-postalcode" in sent and "address-postcode" in sent:
            raise _invalid_search()
        flags = {}
        for name in _FLAGS:
            if (text := sent.get(name, "false")) not in ("true", "false"):
                raise _invalid_value(f"'{text}' in field '{name}'")
            flags[name] = text == "true"
        is_fuzzy = flags["_fuzzy-match"]
        given = tuple(sent.getlist("given"))
        postcode = sent.get("address-postalcode", sent.get("address-postcode", ""))
        for name, value in (("family", sent.get("family", "")), *(("given", one) for one in given)):
            if len(value) > _LONGEST or "*" in value[:2] or is_fuzzy and "*" in value:
                raise _invalid_value(f"'{value}' in field '{name}'")
        for value in sent.getlist("birthdate"):
            if not _is_day(value):
                raise _invalid_value(f"'{value}' in field 'birthdate'")
        gender = sent.get("gender", "")
        if gender not in ("", "male", "female", "other", "unknown"):
            raise _invalid_value(f"'{gender}' in field 'gender'")
        _check_least(sent, is_fuzzy)
        most = sent.get("_max-results", str(_MOST_RESULTS))
        if not most.isdecimal() or not 1 <= int(most) <= _MOST_RESULTS:
            raise _invalid_value(f"'{most}' in field '_max-results'")
        if int(most) != 1:
            # An application without a user is told of one person only.
            raise _Problem(403, "error", "value", "INVALID_VALUE", "Provided value is invalid")
        return cls(
            sent.get("family", ""),
            given,
            gender,
            tuple(sent.getlist("birthdate")),
            postcode,
            sent.get("general-practitioner", ""),
            is_fuzzy,
            flags["_history"] or is_fuzzy,
            flags["_exact-match"],
            int(most),
        )

    def score(self, one: Known) -> float | None:
        """Return how well somebody fits, up to 1; None where they do not."""
        person = one.person
        if one.is_invalidated or not all(_falls(person.birth_date, value) for value in self.born):
            return None
        # Where somebody lives must not be found out by asking: with a location in it, a search does not know the protected.
        if person.is_restricted and (self.postcode or self.practice):
            return None
        if self.gender and self.gender != person.gender and not self.is_fuzzy:
            return None
        names = (*person.names, *one.former) if self.has_history else person.names
        codes = [address.postcode or "" for address in person.addresses]
        codes += one.former_postcodes if self.has_history else ()
        if self.practice and not self.is_fuzzy and self.practice != one.practice:
            return None
        if self.postcode and not any(_fits(_packed(self.postcode), _packed(code)) for code in codes):
            return None
        if any(self._fits_name(name) for name in names):
            is_current = any(self._fits_name(name) for name in person.names)
            return 1.0 if is_current else 0.95
        if self.is_fuzzy and any(self._sounds_like(name) for name in names):
            return 0.9
        return None

    def _fits_name(self, name: HumanName) -> bool:
        if self.family and not _fits(self.family.casefold(), (name.family or "").casefold()):
            return False
        said = [one.casefold() for one in name.given]
        for value in self.given:
            # A wildcard is held against the first given name only.
            tried = said[:1] if "*" in value else [*said, " ".join(said)]
            if not any(_fits(value.casefold(), one) for one in tried):
                return False
        return True

    def _sounds_like(self, name: HumanName) -> bool:
        family, given = _sound(name.family or ""), [_sound(one) for one in name.given]
        asked_family, asked_given = _sound(self.family), [_sound(one) for one in self.given]
        straight = asked_family in ("", family) and all(one in given for one in asked_given)
        crossed = bool(self.family and self.given) and asked_family in given and family in asked_given
        return straight or crossed


def _check_least(sent: "MultiDict[str, str]", is_fuzzy: bool) -> None:
    """See that a search says enough to be made."""
    has = {name for name in ("given", "family", "birthdate", "gender") if sent.get(name)}
    if sent.get("address-postalcode") or sent.get("address-postcode"):
        has.add("postcode")
    if not is_fuzzy:
        if "birthdate" not in has:
            raise _missing("Missing value - 'birth_date/birth_date_range_start/birth_date_range_end'")
        enough = "family" in has
    else:
        least = (
            "given family birthdate",
            "family birthdate gender postcode",
            "given birthdate gender postcode",
        )
        enough = any(set(one.split()) <= has for one in least)
    if not enough:
        raise _invalid_search(
            "No searches were performed as the search criteria did not meet the minimum requirements"
        )


def _is_day(text: str) -> bool:
    read = _DATE.fullmatch(text)
    try:
        return bool(read and date.fromisoformat(read[1]))
    except ValueError:
        return False


def _falls(born: str | None, asked: str) -> bool:
    day = asked[-10:]
    if born is None or len(born) != len(day):
        return False
    return {"ge": born >= day, "le": born <= day}.get(asked[:2], born == day)


def _fits(asked: str, said: str) -> bool:
    if "*" not in asked:
        return asked == said
    return re.fullmatch(".*".join(re.escape(part) for part in asked.split("*")), said) is not None


def _packed(postcode: str) -> str:
    return "".join(postcode.split()).casefold()


def _sound(name: str) -> str:
    return jellyfish.soundex(name) if name else ""


# -- what is answered -------------------------------------------------------------------------------------------------


def _json(body: Mapping[str, Any], status: int) -> Response:
    return Response(json.dumps(body), status=status, mimetype="application/fhir+json")


def _entry(one: Known, score: float) -> dict[str, Any]:
    return {
        "fullUrl": f"{request.base_url}/{one.person.number}",
        "search": {"score": score},
        "resource": _patient(one),
    }


def _patient(one: Known) -> dict[str, Any]:
    """Write somebody as the service does; of the protected it leaves out where they live and who treats them."""
    person = one.person
    code, word = ("R", "restricted") if person.is_restricted else ("U", "unrestricted")
    verified = {
        "system": "https://fhir.hl7.org.uk/CodeSystem/UKCore-NHSNumberVerificationStatus",
        "version": "1.0.0",
        "code": "01",
        "display": "Number present and verified",
    }
    told: dict[str, Any] = {
        "resourceType": "Patient",
        "id": person.number,
        "identifier": [
            {
                "system": _NUMBER_SYSTEM,
                "value": person.number,
                "extension": [{"url": _STATUS, "valueCodeableConcept": {"coding": [verified]}}],
            }
        ],
        "meta": {
            "versionId": "1",
            "security": [{"system": _CONFIDENTIALITY, "code": code, "display": word}],
        },
        "name": [
            {"id": str(place), "use": name.use, "given": list(name.given), "family": name.family}
            for place, name in enumerate(person.names)
        ],
        "birthDate": person.birth_date,
        "gender": person.gender,
        # 1 is "first or only"; 9 is "not known".
        "multipleBirthInteger": int(person.birth_order or 1),
    }
    if not person.is_restricted:
        told["address"] = [
            {
                "id": str(place),
                "use": "home",
                "line": [*address.lines, *([address.city] if address.city else [])],
            }
            | ({"postalCode": address.postcode} if address.postcode else {})
            for place, address in enumerate(person.addresses)
        ]
        if one.practice:
            system = "https://fhir.nhs.uk/Id/ods-organization-code"
            told["generalPractitioner"] = [
                {"id": "0", "type": "Organization", "identifier": {"system": system, "value": one.practice}}
            ]
    return {name: value for name, value in told.items() if value is not None}
