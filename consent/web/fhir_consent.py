"""Directives as a FHIR R4 Consent and back, by plain functions: what cannot be said by directives is refused, and nothing is lost.

A Consent is read for what directives say, those are written as a Consent again, and where that differs from what was sent, what was sent
is refused by its place. So no element and no code is passed over, whatever it may be.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError

from consent.facts import Scope
from consent.facts.directives import EVERYTHING
from consent.service.directives import NewDirective
from consent.service.statements import Statement
from consent.web.schemas import DirectiveSchema
from foundation.errors import Invalid, ServiceError, Unprocessable
from foundation.ids import format_id
from foundation.web.problems import faults_of

Resource = dict[str, Any]

_ODS = "https://fhir.nhs.uk/Id/ods-organization-code"
_SCOPE = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]
}
_CATEGORY = {"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}
_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_POLICY = "https://profiles.ihe.net/ITI/PCF/"
_BREAK_GLASS = {"type": "permit", "purpose": [{"system": _REASON, "code": "BTG"}]}
"""The exception of a no that an emergency may override."""

_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_NAME = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,39}")
_MOST_RULES = 50
_STATUS = {"upheld": "active", "pending": "active", "refused": "rejected"}
_OF_SOURCES = ("dissent", "seal")
_HELD = {
    "channel": "valueCode",
    "standing": "valueCode",
    "reason": "valueString",
    "wording-digest": "valueString",
    "review-at": "valueDateTime",
    "change-reason": "valueString",
}
"""The extensions of a Consent, by the end of their addresses: what FHIR has no element for. The last is of a change alone."""
_OF_RULES = {"lifts": "valueIdentifier", "may-override": "valueBoolean"}


@dataclass(frozen=True, slots=True)
class Terms:
    """The addresses of our own codes and extensions, below the public address."""

    public_url: str

    @property
    def fhir(self) -> str:
        return f"{self.public_url}/fhir/R4"

    @property
    def kind(self) -> str:
        return f"{self.public_url}/id/directive-kind"

    @property
    def directive(self) -> str:
        return f"{self.public_url}/id/directive"

    @property
    def category(self) -> str:
        return f"{self.public_url}/id/category"

    def purpose(self, code: str) -> str:
        """HL7's reasons have none for courts and coroners."""
        return f"{self.public_url}/id/purpose" if code == "LEGAL" else _REASON

    def extension(self, name: str) -> str:
        return f"{self.fhir}/StructureDefinition/directive-{name}"


@dataclass(frozen=True, slots=True)
class ReadConsent:
    """A Consent as directives.

    Args:
        said: the directives, in the order in which they stand.
        status: as it was sent; the standing of what is new follows from it.
        places: for each directive, the elements from which its fields were read.
    """

    said: tuple[NewDirective, ...]
    given_at: datetime
    status: str
    change_reason: str | None = field(repr=False)
    places: tuple[Mapping[str, str], ...] = field(repr=False)

    def as_told(self, fault: ServiceError) -> ServiceError:
        """Return a fault of a directive as one of the Consent: its field is the FHIRPath of the element."""
        if fault.field is None:
            return fault
        where = self.places[(fault.row or 1) - 1].get(fault.field, "Consent")
        family = Unprocessable if isinstance(fault, Invalid) else type(fault)
        return family(fault.code, field=where, detail=fault.detail)


# Writing -------------------------------------------------------------------------------------------------------------


def consent_of(
    said: Sequence[NewDirective],
    given_at: datetime,
    terms: Terms,
    *,
    status: str | None = None,
    ids: Sequence[int] = (),
) -> Resource:
    """Write directives that a person gave at one time as a Consent, without its id and version.

    Args:
        said: of one person, received by one organisation; a directive about everything stands first.
        status: where it is not that of a new one.
        ids: those of the directives, in order, of such as were recorded.
    """
    first = said[0]
    assert first.person_id is not None
    patient = {"reference": f"Patient/{format_id(first.person_id)}"}
    status = status or _STATUS[first.standing]
    # What the status does not say of how it was decided.
    is_unsaid = first.standing == "pending" or (first.standing == "refused" and status != "rejected")
    extensions: list[Resource] = []
    for name, value in (
        ("channel", first.channel if first.channel != "in-person" else None),
        ("standing", first.standing if is_unsaid else None),
        ("reason", first.reason),
        ("wording-digest", first.wording_digest),
        ("review-at", None if first.review_at is None else _instant(first.review_at)),
    ):
        if value is not None:
            extensions.append({"url": terms.extension(name), _HELD[name]: value})
    capacity = {"url": terms.extension("capacity"), "valueCode": first.capacity}
    kind = None if first.kind in ("objection", "permission") else first.kind
    told: Resource = {
        "resourceType": "Consent",
        "extension": extensions,
        "status": status,
        "scope": _SCOPE,
        "category": [_CATEGORY, *([] if kind is None else [_concept(terms.kind, kind)])],
        "patient": patient,
        "dateTime": _instant(given_at),
        "performer": [patient if first.capacity == "patient" else {"extension": [capacity]}],
        "organization": [{"identifier": {"system": _ODS, "value": first.received_by}}],
        "sourceReference": None if first.evidence is None else {"display": first.evidence},
        "provision": _root(said, given_at, terms, ids),
        "policy": [{"uri": _POLICY + _policy(first)}],  # it follows from the provision, and so do its faults
    }
    return {name: part for name, part in told.items() if part}


def statement_of(statement: Statement, terms: Terms) -> Resource:
    """Write a statement as the Consent that it is, with its id and version."""
    rows = [one.row for one in statement.directives]
    said = [
        NewDirective(
            kind=row.kind,
            scope=Scope(row.scope_kind, row.scope_code),
            received_by=row.received_by,
            person_id=statement.person_id,
            standing=one.standing,
            may_override=row.may_override,
            lifts=row.lifts,
            capacity=row.capacity,
            channel=row.channel,
            evidence=row.evidence,
            reason=row.reason,
            wording_digest=row.wording_digest,
            review_at=row.review_at,
            effective_at=row.effective_at,
            ends_at=row.ends_at,
        )
        for one, row in zip(statement.directives, rows, strict=True)
    ]
    told = consent_of(
        said, statement.given_at, terms, status=statement.state, ids=[row.directive_id for row in rows]
    )
    meta: Resource = {
        "versionId": str(statement.version),
        "lastUpdated": _instant(statement.changed_at),
    }
    if statement.via_task:
        meta["tag"] = [{"system": "urn:mpi", "code": "via-task", "display": _VIA_TASK}]
    return {
        "resourceType": "Consent",
        "id": format_id(statement.statement_id),
        "meta": meta,
        **told,
    }


_VIA_TASK = "Given by somebody who may be this person: it binds while a task about the two is open"


def _policy(first: NewDirective) -> str:
    """Return the policy of PCF that the whole comes to: what holds where no exception does."""
    if first.kind == "objection" and first.scope == EVERYTHING:
        return "Policy-break-glass-only" if first.may_override else "Policy-deny"
    return "Policy-basic-normal"


def _root(said: Sequence[NewDirective], given_at: datetime, terms: Terms, ids: Sequence[int]) -> Resource:
    numbers: Sequence[str | None] = [format_id(one) for one in ids] or [None] * len(said)
    told = [_provision(new, given_at, terms, number) for new, number in zip(said, numbers, strict=True)]
    if len(told) == 1:
        return told[0]
    if said[0].scope != EVERYTHING:
        return {
            "provision": told
        }  # no rule of its own: what is asked of no provision is as if nothing was said
    root, *others = told
    return {**root, "provision": [*root.get("provision", ()), *others]}


def _provision(new: NewDirective, given_at: datetime, terms: Terms, number: str | None) -> Resource:
    permits = new.kind == "permission"
    extensions: list[Resource] = [
        {
            "url": terms.extension("lifts"),
            "valueIdentifier": {"system": terms.directive, "value": format_id(one)},
        }
        for one in new.lifts
    ]
    if permits and not new.may_override:
        extensions.append({"url": terms.extension("may-override"), "valueBoolean": False})
    period = {
        "start": None if new.effective_at in (None, given_at) else _instant(new.effective_at),
        "end": None if new.ends_at is None else _instant(new.ends_at),
    }
    told: Resource = {
        "id": number,
        "extension": extensions,
        "type": "permit" if permits else "deny",
        "period": {name: at for name, at in period.items() if at},
        **_criterion(new, terms),
        "provision": [_BREAK_GLASS] if not permits and new.may_override else [],
    }
    return {name: part for name, part in told.items() if part}


def _criterion(new: NewDirective, terms: Terms) -> Resource:
    code = new.scope.code
    match new.scope.kind:
        case "organisation":
            # Whoever objects to an organisation means it on either side; a source speaks of what it keeps.
            role = "CST" if new.kind in _OF_SOURCES else "IRCP"
            reference = {"identifier": {"system": _ODS, "value": code}}
            return {"actor": [{"role": _concept(_PARTICIPATION, role), "reference": reference}]}
        case "purpose":
            return {"purpose": [{"system": terms.purpose(code), "code": code}]}
        case "category":
            return {"class": [{"system": terms.category, "code": code}]}
    return {}


def _concept(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


# Reading -------------------------------------------------------------------------------------------------------------


def read_consent(body: Any, terms: Terms) -> ReadConsent:
    """Read a Consent as directives that are new.

    Raises:
        Unprocessable: ``element-not-held``, ``value-not-held`` and ``required`` where it is not what would be told of its directives;
            ``provision-not-flat``, ``provision-contradicts``, ``extension-unknown``, ``type-object``, ``type-list``, ``type-string``,
            ``date-format``, ``repeated``, or as a directive over JSON. Each names the element by its FHIRPath, and never its value.
    """
    body = _relative(body, terms)
    read = _read(body, terms)
    if read.status not in ("active", "rejected"):
        raise Unprocessable(
            "status-not-new", field="Consent.status", detail="What is new is active, or rejected."
        )
    if read.change_reason is not None:
        raise Unprocessable("element-not-held", field="Consent.extension")
    check_says(body, consent_of(read.said, read.given_at, terms))
    return read


def read_change(body: Any, statement: Statement, terms: Terms) -> tuple[str | None, str | None]:
    """Read what a Consent that is sent again asks of the one that is there: what is to become of it, if anything, and why.

    Directives are never changed: all but the status has to be as it is told.

    Raises:
        Unprocessable: as ``read_consent``; ``status-not-reached``.
    """
    told = statement_of(statement, terms)
    if isinstance(body, Mapping) and body.get("id") != told["id"]:
        raise Unprocessable("id-differs", field="Consent.id", detail="It bears another id than the request.")
    body = _relative(body, terms)
    read = _read(body, terms)
    of_change = [terms.extension("standing"), terms.extension("change-reason")]
    check_says(_without(body, of_change), _without(told, of_change) | {"status": read.status})
    asked = _first(_extensions(body, "Consent", terms, _HELD), "standing", None)
    stood = _first(_extensions(told, "Consent", terms, _HELD), "standing", None)
    return _becomes(read.status, asked, statement, stood), read.change_reason


def _becomes(status: str, asked: str | None, statement: Statement, stood: str | None) -> str | None:
    if (status, asked) == (statement.state, stood):
        return None
    if asked in (None, stood):
        if status == "inactive":
            return "withdrawn"
        if status == "entered-in-error":
            return "entered-in-error"
    if asked is None and stood == "pending" and statement.state == "active":
        if status in ("active", "rejected"):
            return "upheld" if status == "active" else "refused"
    raise Unprocessable(
        "status-not-reached", field="Consent.status", detail="Nothing recorded comes to stand so from here."
    )


def _relative(body: Any, terms: Terms) -> Any:
    """Return a Consent whose references to Patients here are relative, as they are told."""
    if not isinstance(body, Mapping):
        return body
    here = f"{terms.fhir}/Patient/"

    def one(reference: Any) -> Any:
        if not isinstance(reference, Mapping) or not str(reference.get("reference", "")).startswith(here):
            return reference
        return {**reference, "reference": reference["reference"].removeprefix(f"{terms.fhir}/")}

    found = {**body}
    if "patient" in body:
        found["patient"] = one(body["patient"])
    if isinstance(body.get("performer"), list):
        found["performer"] = [one(each) for each in body["performer"]]
    return found


def _without(resource: Mapping[str, Any], urls: Any) -> Resource:
    """Return a Consent without these extensions."""
    left = [one for one in resource.get("extension", ()) if one.get("url") not in urls]
    bare = {name: part for name, part in resource.items() if name != "extension"}
    return bare | ({"extension": left} if left else {})


def _read(body: Any, terms: Terms) -> ReadConsent:
    consent = _object(body, "Consent")
    if consent.get("resourceType") != "Consent":
        raise Unprocessable("resource-type", field="Consent.resourceType")
    held = _extensions(consent, "Consent", terms, _HELD)
    status = _needed(_text(consent, "status", "Consent"), "Consent.status")
    date = _text(consent, "dateTime", "Consent")
    given_at = _at(_needed(date, "Consent.dateTime"), "Consent.dateTime")
    performer = _only(consent, "performer", "Consent")
    capacity = _extensions(performer, "Consent.performer[0]", terms, {"capacity": "valueCode"})
    organisation = _object(_only(consent, "organization", "Consent").get("identifier", {}), _ORGANISATION)
    source = _object(consent.get("sourceReference", {}), "Consent.sourceReference")
    header: Resource = {
        "kind": _kind(consent, terms),
        "person_id": _person(consent),
        "received_by": _needed(_text(organisation, "value", _ORGANISATION), f"{_ORGANISATION}.value"),
        "standing": _first(held, "standing", "refused" if status == "rejected" else "upheld"),
        "capacity": _first(capacity, "capacity", "patient"),
        "channel": _first(held, "channel", "in-person"),
        "evidence": _text(source, "display", "Consent.sourceReference"),
        "reason": _first(held, "reason", None),
        "wording_digest": _first(held, "wording-digest", None),
        "review_at": _first(held, "review-at", None),
    }
    if header["review_at"] is not None:
        _at(header["review_at"], "Consent.extension")
    rules = _rules(_object(_needed(consent.get("provision"), _PROVISION), _PROVISION), terms)
    said, places = [], []
    for place, (rule, where) in enumerate(rules):
        named = {**_PLACES, **{name: f"{where}{end}" for name, end in _ENDS.items()}}
        for name in ("scope", "scope.code", "scope.kind"):
            named[name] = f"{where}{_SCOPED.get(rule['scope']['kind'], '')}"
        if rule["effective_at"] is None:
            named["effective_at"] = "Consent.dateTime"
        kind = header["kind"] or ("permission" if rule.pop("permits") else "objection")
        rule.pop("permits", None)
        rule["effective_at"] = rule["effective_at"] or _instant(given_at)
        said.append(_directive({**header, **rule, "kind": kind}, named))
        places.append(named)
        _check_flat(said, places, place)
    return ReadConsent(tuple(said), given_at, status, _first(held, "change-reason", None), tuple(places))


_PROVISION = "Consent.provision"
_ORGANISATION = "Consent.organization[0].identifier"
_PLACES = {
    "kind": "Consent.category",
    "person_id": "Consent.patient.reference",
    "received_by": "Consent.organization",
    "standing": "Consent.status",
    "capacity": "Consent.performer",
    "evidence": "Consent.sourceReference.display",
    "channel": "Consent.extension",
    "reason": "Consent.extension",
    "wording_digest": "Consent.extension",
    "review_at": "Consent.extension",
}
_ENDS = {
    "lifts": ".extension",
    "may_override": ".extension",
    "effective_at": ".period.start",
    "ends_at": ".period.end",
}
_SCOPED = {"organisation": ".actor[0]", "purpose": ".purpose[0]", "category": ".class[0]"}


def _directive(body: Resource, places: Mapping[str, str]) -> NewDirective:
    """Load what was read by the schema of the JSON routes, so that both take the same."""
    try:
        loaded = _SCHEMA.load(body)
    except ValidationError as error:
        name, code = min(faults_of(error))
        while name not in places and "." in name:
            name = name.rpartition(".")[0]
        raise Unprocessable(code, field=places.get(name, "Consent")) from None
    scope = loaded.pop("scope")
    loaded.pop("form")
    return NewDirective(
        **loaded | {"lifts": tuple(loaded["lifts"])}, scope=Scope(scope["kind"], scope["code"])
    )


_SCHEMA = DirectiveSchema()


def _check_flat(said: Sequence[NewDirective], places: Sequence[Mapping[str, str]], place: int) -> None:
    """See that a directive beside the ones before it says what the provision beside theirs does.

    What is said later is folded later; so the exceptions of a rule about everything come after it, are no older, and say the opposite, and
    no two rules are about the same.
    """
    if place == 0:
        return
    new, first = said[place], said[0]
    if new.scope in [one.scope for one in said[:place]]:
        raise Unprocessable("provision-contradicts", field=places[place]["scope"])
    if new.scope == EVERYTHING:
        raise Unprocessable(
            "provision-not-flat", field=places[place]["scope"], detail="What is about everything is the root."
        )
    if first.scope == EVERYTHING:
        if (new.kind == "permission") is (first.kind == "permission"):
            raise Unprocessable(
                "provision-not-flat",
                field=f"{places[place]['scope'].rpartition('.')[0]}.type",
                detail="An exception says the opposite of its rule.",
            )
        assert new.effective_at is not None and first.effective_at is not None
        if new.effective_at < first.effective_at:
            raise Unprocessable("provision-not-flat", field=places[place]["effective_at"])


def _rules(root: Mapping[str, Any], terms: Terms) -> list[tuple[Resource, str]]:
    nested = _listed(root, "provision", _PROVISION)
    places = [(one, f"{_PROVISION}.provision[{place}]") for place, one in enumerate(nested)]
    if root.get("type") is None:
        if not places:
            raise Unprocessable("required", field=f"{_PROVISION}.type")
        return [(_rule(one, where, terms), where) for one, where in places]
    is_deny = root["type"] == "deny"
    exceptions = [(one, where) for one, where in places if not (is_deny and one == _BREAK_GLASS)]
    bare = {name: part for name, part in root.items() if name != "provision"}
    first = _rule(bare, _PROVISION, terms)
    if len(exceptions) < len(places):
        first["may_override"] = True
    if exceptions and first["scope"]["kind"] != "everything":
        raise Unprocessable("provision-not-flat", field=exceptions[0][1], detail=_FLAT)
    return [(first, _PROVISION), *((_rule(one, where, terms), where) for one, where in exceptions)]


_FLAT = "A provision has one criterion of one value; only one about everything has exceptions."


def _rule(provision: Mapping[str, Any], where: str, terms: Terms) -> Resource:
    """Read one provision as the part of a directive that is its own."""
    kind = _needed(_text(provision, "type", where), f"{where}.type")
    if kind not in ("permit", "deny"):
        raise Unprocessable("value-not-held", field=f"{where}.type")
    nested = _listed(provision, "provision", where)
    for place, one in enumerate(nested):
        if kind != "deny" or one != _BREAK_GLASS:
            raise Unprocessable("provision-not-flat", field=f"{where}.provision[{place}]", detail=_FLAT)
    held = _extensions(provision, where, terms, _OF_RULES)
    lifted = [_object(one, f"{where}.extension").get("value") for one in held.get("lifts", ())]
    period = _object(provision.get("period", {}), f"{where}.period")
    times = {}
    for name, end in (("effective_at", "start"), ("ends_at", "end")):
        text = _text(period, end, f"{where}.period")
        times[name] = None if text is None else _instant(_at(text, f"{where}.period.{end}"))
    return {
        "permits": kind == "permit",
        "scope": _scope(provision, where),
        "may_override": _first(held, "may-override", True) if kind == "permit" else bool(nested),
        "lifts": lifted,
        **times,
    }


def _scope(provision: Mapping[str, Any], where: str) -> Resource:
    found: list[tuple[str, str]] = []
    for kind, name, read in _CRITERIA:
        for place, one in enumerate(_listed(provision, name, where)):
            path = f"{where}.{name}[{place}]"
            if found:
                raise Unprocessable("provision-not-flat", field=path, detail=_FLAT)
            found.append((kind, _needed(read(one, path), path)))
    kind, code = found[0] if found else ("everything", "")
    return {"kind": kind, "code": code}


def _of_actor(actor: Mapping[str, Any], where: str) -> str | None:
    reference = _object(actor.get("reference", {}), f"{where}.reference")
    identifier = _object(reference.get("identifier", {}), f"{where}.reference.identifier")
    return _text(identifier, "value", f"{where}.reference.identifier")


_Reading = Callable[[Mapping[str, Any], str], str | None]
_CRITERIA: tuple[tuple[str, str, _Reading], ...] = (
    ("organisation", "actor", _of_actor),
    ("purpose", "purpose", lambda one, where: _text(one, "code", where)),
    ("category", "class", lambda one, where: _text(one, "code", where)),
)


def _kind(consent: Mapping[str, Any], terms: Terms) -> str | None:
    """Return the kind of a source's or the law's directive; None for what a patient says."""
    for place, one in enumerate(_listed(consent, "category", "Consent")):
        where = f"Consent.category[{place}]"
        for number, coding in enumerate(_listed(one, "coding", where)):
            if coding.get("system") == terms.kind:
                return _text(coding, "code", f"{where}.coding[{number}]")
    return None


def _person(consent: Mapping[str, Any]) -> str:
    patient = _object(_needed(consent.get("patient"), "Consent.patient"), "Consent.patient")
    text = _needed(_text(patient, "reference", "Consent.patient"), "Consent.patient.reference")
    if not text.startswith("Patient/"):
        raise Unprocessable("value-not-held", field="Consent.patient.reference")
    return str(text.removeprefix("Patient/"))


# Elements ------------------------------------------------------------------------------------------------------------


def _extensions(
    parent: Mapping[str, Any], where: str, terms: Terms, known: Mapping[str, str]
) -> dict[str, list[Any]]:
    """Return the values of our extensions by name."""
    names = {terms.extension(name): (name, kind) for name, kind in known.items()}
    found: dict[str, list[Any]] = {}
    for place, one in enumerate(_listed(parent, "extension", where)):
        url = one.get("url")
        if not isinstance(url, str) or url not in names:
            raise Unprocessable("extension-unknown", field=f"{where}.extension[{place}].url")
        name, kind = names[url]
        value = _needed(one.get(kind), f"{where}.extension[{place}].{kind}")
        wanted = {"valueBoolean": bool, "valueIdentifier": Mapping}.get(kind, str)
        if not isinstance(value, wanted):
            raise Unprocessable("value-not-held", field=f"{where}.extension[{place}].{kind}")
        found.setdefault(name, []).append(value)
    return found


def _first(held: Mapping[str, list[Any]], name: str, otherwise: Any) -> Any:
    return held.get(name, [otherwise])[0]


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Unprocessable("type-object", field=where)
    return value


def _listed(parent: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    values = parent.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise Unprocessable("type-list", field=f"{where}.{name}")
    if len(values) > _MOST_RULES:
        raise Unprocessable("too-long", field=f"{where}.{name}")
    return [_object(one, f"{where}.{name}[{place}]") for place, one in enumerate(values)]


def _only(parent: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    values = _listed(parent, name, where)
    if not values:
        raise Unprocessable("required", field=f"{where}.{name}")
    if len(values) > 1:
        raise Unprocessable("repeated", field=f"{where}.{name}[1]")
    return values[0]


def _text(parent: Mapping[str, Any], name: str, where: str) -> str | None:
    value = parent.get(name)
    if value is not None and not isinstance(value, str):
        raise Unprocessable("type-string", field=f"{where}.{name}")
    return value


def _needed(value: Any, where: str) -> Any:
    if value is None:
        raise Unprocessable("required", field=where)
    return value


def _at(text: str, where: str) -> datetime:
    """Read an instant: to the second at least, with its zone."""
    try:
        if not _INSTANT.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unprocessable("date-format", field=where, detail="An instant, with its zone.") from None


# What was sent, held against what would be told ------------------------------------------------------------------------


def check_says(given: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """See that a Consent says what would be told of its directives, no more and no less; ids and versions are ours to give.

    Raises:
        Unprocessable: ``element-not-held``, ``value-not-held``, ``required``, ``repeated``.
    """
    meta = given.get("meta", {})
    for name in _object(meta, "Consent.meta"):
        if name not in ("versionId", "lastUpdated") and meta[name] != told.get("meta", {}).get(name):
            raise Unprocessable("element-not-held", field=f"Consent.meta{_step(name)}")
    ours = ("id", "meta")
    _compare(
        {name: part for name, part in given.items() if name not in ours},
        {name: part for name, part in told.items() if name not in ours},
        "Consent",
    )


def _compare(given: Any, told: Any, where: str) -> None:
    if isinstance(told, Mapping):
        for name in _object(given, where):
            if name not in told:
                raise Unprocessable("element-not-held", field=f"{where}{_step(name)}")
        for name, part in told.items():
            if name not in given:
                raise Unprocessable("required", field=f"{where}.{name}")
            _compare(given[name], part, f"{where}.{name}")
    elif isinstance(told, list):
        if not isinstance(given, list):
            raise Unprocessable("type-list", field=where)
        if len(given) != len(told):
            code = "element-not-held" if len(given) > len(told) else "required"
            raise Unprocessable(code, field=f"{where}[{min(len(given), len(told))}]")
        if where.endswith(".extension"):
            given, told = _ordered(given), _ordered(told)  # they have no order
        for place, (one, other) in enumerate(zip(given, told, strict=True)):
            _compare(one, other, f"{where}[{place}]")
    elif not _is_same(given, told):
        raise Unprocessable("value-not-held", field=where)


def _step(name: object) -> str:
    """Return the step of a path to a name; one that reads like no element's is left out, for it may be anything."""
    return f".{name}" if isinstance(name, str) and _NAME.fullmatch(name) else ""


def _ordered(extensions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(extensions, key=lambda one: (str(one.get("url")), str(one.get("valueIdentifier"))))


def _is_same(given: Any, told: Any) -> bool:
    if type(given) is not type(told):
        return False
    if given == told:
        return True
    is_instant = isinstance(told, str) and bool(_INSTANT.fullmatch(told) and _INSTANT.fullmatch(given))
    return is_instant and _at(given, "") == _at(told, "")  # in whatever zone
