"""Laws of directives and Consents: what is told says the same when it is read, and what is read is told again, or refused by its path."""

import re
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consent.facts import Scope, codes
from consent.facts.directives import EVERYTHING
from consent.service.directives import NewDirective
from consent.web.fhir_consent import Terms, check_says, consent_of, read_consent
from foundation.errors import Unprocessable
from tests.web.fhir_client import expect_valid

TERMS = Terms("https://index.example")
ODS = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=10)
INSTANTS = st.integers(0, 3_000_000_000_000_000).map(
    lambda us: datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
WORDS = st.none() | st.text("abcdefÅöß -.,/\"'&<>", min_size=1, max_size=60).filter(str.strip)
IDS = st.integers(1, 2**63 - 1)
SCOPES = st.one_of(
    st.just(EVERYTHING),
    ODS.map(lambda code: Scope("organisation", code)),
    st.sampled_from(sorted(codes.CATEGORIES)).map(lambda code: Scope("category", code)),
    st.sampled_from(sorted(codes.PURPOSES)).map(lambda code: Scope("purpose", code)),
)
HEADERS = st.fixed_dictionaries(
    {
        "received_by": ODS,
        "person_id": IDS,
        "standing": st.sampled_from(("pending", "upheld", "refused")),
        "capacity": st.sampled_from(sorted(codes.CAPACITIES)),
        "channel": st.sampled_from(("in-person", "phone", "letter", "form", "online", "other")),
        "evidence": WORDS,
        "reason": WORDS,
        "wording_digest": st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
        "review_at": st.none() | INSTANTS,
    }
)


@st.composite
def statements(draw: st.DrawFn) -> tuple[tuple[NewDirective, ...], datetime]:
    """Directives that one Consent can say: of no two scopes alike, and what is about everything first, with its exceptions behind it."""
    header, given_at = draw(HEADERS), draw(INSTANTS)
    scopes = draw(st.lists(SCOPES, min_size=1, max_size=4, unique=True))
    scopes.sort(key=lambda scope: scope != EVERYTHING)
    kind = draw(st.sampled_from(sorted(codes.DIRECTIVE_KINDS)))
    if kind not in ("objection", "permission") and scopes[0] == EVERYTHING:
        scopes = scopes[:1]  # exceptions of it would be permissions, which are a patient's
    said = []
    for place, scope in enumerate(scopes):
        is_exception = place > 0 and scopes[0] == EVERYTHING
        of = kind
        if kind in ("objection", "permission"):
            other = "permission" if kind == "objection" else "objection"
            of = other if is_exception else kind if place == 0 else draw(st.sampled_from((kind, other)))
        at = draw(st.just(given_at) | INSTANTS)
        if is_exception and at < said[0].effective_at:
            at = said[0].effective_at
        said.append(
            NewDirective(
                kind=of,
                scope=scope,
                may_override=draw(st.booleans()),
                lifts=tuple(draw(st.lists(IDS, max_size=3, unique=True))) if of == "permission" else (),
                effective_at=at,
                ends_at=draw(st.none() | st.just(at + timedelta(days=1, microseconds=1))),
                **header,
            )
        )
    break_glass = Scope("purpose", "BTG")
    if said[0].scope == EVERYTHING and any(one.scope == break_glass for one in said[1:]):
        # To permit an emergency beside a no to everything is how FHIR says that one may override it.
        said = [one for one in said if one.scope != break_glass]
    return tuple(said), given_at


@given(statement=statements())
@settings(max_examples=200)
def test_any_directives_are_the_same_when_they_are_read_from_their_consent(statement):
    said, given_at = statement

    told = consent_of(said, given_at, TERMS)
    read = read_consent(told, TERMS)

    assert read.said == tuple(replace(one, lifts=tuple(one.lifts)) for one in said)
    assert read.given_at == given_at
    expect_valid(told)


@given(statement=statements())
@settings(max_examples=100)
def test_any_directive_alone_is_a_consent_of_its_own(statement):
    said, given_at = statement

    read = [read_consent(consent_of([one], given_at, TERMS), TERMS).said for one in said]

    assert read == [(one,) for one in said]


# -- whatever else is sent --------------------------------------------------------------------------------------------

_ELEMENTS = st.sampled_from(
    ["type", "period", "start", "end", "actor", "role", "action", "securityLabel", "purpose", "class", "code", "dataPeriod", "data",
     "provision", "id", "extension", "modifierExtension", "url", "valueCode", "valueString", "status", "scope", "category", "patient",
     "reference", "dateTime", "performer", "organization", "sourceReference", "sourceAttachment", "policy", "policyRule", "uri",
     "verification", "system", "value", "display", "coding", "text", "identifier", "language", "contained", "meta", "_status"]
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(
        ["deny", "permit", "active", "rejected", "TREAT", "BTG", "IRCP", "CST", "RRV", "notes", "LEGAL", "Patient/1", "",
         "2026-11-20T09:30:00Z", "2026-11-20T10:30:00+01:00", "2026", "urn:x", "pending", "parent"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ELEMENTS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a JSON value."""
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [path, *(place for name, one in inner for place in places(one, (*path, name)))]


@st.composite
def consents(draw: st.DrawFn) -> Any:
    """A Consent with a few things changed in it: parts left out, put in, put in twice, or of another value."""
    said, given_at = draw(statements())
    consent = deepcopy(consent_of(said, given_at, TERMS))
    for _ in range(draw(st.integers(1, 4))):
        *path, last = draw(st.sampled_from(places(consent)[1:] or [("status",)]))
        parent: Any = consent
        for step in path:
            parent = parent[step]
        act = draw(st.sampled_from(["remove", "replace", "add", "repeat"]))
        if act == "remove":
            del parent[last]
        elif act == "replace":
            parent[last] = draw(_VALUES)
        elif isinstance(parent, list):
            parent.append(deepcopy(parent[last]) if act == "repeat" else draw(_VALUES))
        else:
            parent[draw(_ELEMENTS)] = draw(_VALUES)
    return consent


@given(consent=consents())
@settings(max_examples=500)
def test_any_consent_is_told_again_as_it_was_sent_or_refused_by_its_path(consent):
    try:
        read = read_consent(consent, TERMS)
    except Unprocessable as fault:
        assert re.fullmatch(r"Consent(\.[A-Za-z_]+(\[[0-9]+\])?)*", fault.field or ""), fault.field
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fault.code), fault.code
        return

    told = consent_of(read.said, read.given_at, TERMS)

    check_says(consent, told)
    assert told.keys() == consent.keys() - {"id", "meta"}
    assert read_consent(told, TERMS).said == read.said
    assert len(told["provision"].get("provision", ())) == len(consent["provision"].get("provision", ()))


@given(body=_VALUES)
def test_any_json_is_refused_by_its_path(body):
    try:
        read_consent(body, TERMS)
    except Unprocessable as fault:
        assert (fault.field or "").startswith("Consent")
        return
    raise AssertionError("was taken")
