"""Directives as FHIR Consents: given, read, searched and withdrawn as over JSON, and refused wherever directives could not say it."""

from copy import deepcopy
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from app import create_app
from consent.facts import Scope
from consent.rules.decision import Outcome
from consent.service.directives import (
    CALDICOTT_GUARDIAN,
    NewDirective,
    list_directives,
    record_directive,
    withdraw_directive,
)
from foundation.audit import events_about
from foundation.principal import Principal
from foundation.settings import Settings
from tests.service.consent_world import (
    AMBULANCE,
    OFFICER,
    PRACTICE,
    PRACTICE_CLERK,
    SLAM,
    UCLH,
    World,
    a_possible_duplicate,
    a_world,
    join,
)
from tests.web.every_row import changed_tables, every_row
from tests.web.fhir_client import BASE, FHIR, HERE, expect_fhir, issue_of, patients_of
from tests.web.mpi_client import Caller

CONSENTS = f"{BASE}/Consent"
ODS = "https://fhir.nhs.uk/Id/ods-organization-code"
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
BREAK_GLASS = {"type": "permit", "purpose": [{"system": REASON, "code": "BTG"}]}
WRITES = frozenset({"directives:read", "directives:write"})


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


@pytest.fixture
def app(world, tmp_path) -> Flask:
    settings = replace(Settings.from_environment({"MPI_HOME": str(tmp_path)}), database_url=str(world.db.url))
    return create_app(settings, database=world.db, clock=world.clock)


@pytest.fixture
def practice(app) -> Caller:
    return Caller(app, "practice-1", organisation=PRACTICE, organisations=frozenset(), scopes=WRITES)


def ours(name: str) -> str:
    return f"{HERE}/fhir/R4/StructureDefinition/directive-{name}"


def actor(organisation: str, role: str = "IRCP") -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    identifier = {"system": ODS, "value": organisation}
    return {
        "role": {"coding": [{"system": system, "code": role}]},
        "reference": {"identifier": identifier},
    }


def a_consent(world: World, provision: Any = None, **changes: Any) -> dict[str, Any]:
    """A Consent as a client of PCF writes it: she objects to everything, but in an emergency."""
    patient = {"reference": f"Patient/{world.she}"}
    made = {
        "resourceType": "Consent",
        "status": "active",
        "scope": {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/consentscope",
                    "code": "patient-privacy",
                }
            ]
        },
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": patient,
        "dateTime": "2026-11-20T09:30:00Z",
        "performer": [patient],
        "organization": [{"identifier": {"system": ODS, "value": PRACTICE}}],
        "sourceReference": {"display": "objection-form-1"},
        "policy": [{"uri": "https://profiles.ihe.net/ITI/PCF/Policy-basic-normal"}],
        "provision": provision or {"type": "deny", "provision": [BREAK_GLASS]},
    }
    if provision is None:
        made["policy"] = [{"uri": "https://profiles.ihe.net/ITI/PCF/Policy-break-glass-only"}]
    return {name: part for name, part in (made | changes).items() if part is not None}


def deny(**more: Any) -> dict[str, Any]:
    """A no to one thing, which an emergency may override."""
    return {"type": "deny", **more, "provision": [BREAK_GLASS]}


def said(consent: dict[str, Any]) -> dict[str, Any]:
    """Return a Consent without what is ours to give: its id, its version, and the ids of its directives."""
    bare = deepcopy({name: part for name, part in consent.items() if name not in ("id", "meta")})
    for one in (bare["provision"], *bare["provision"].get("provision", ())):
        one.pop("id", None)
    return bare


def held(world: World, person_id: int | None = None) -> list[Any]:
    found = list_directives(world.consent, person_id or world.she, OFFICER)
    return [one.directive for one in found]


def search(caller: Caller, world: World, person_id: int | None = None, **asked: str) -> Any:
    return caller.get(f"{CONSENTS}?{urlencode({'patient': person_id or world.she, **asked})}")


def put(caller: Caller, consent: dict[str, Any], **headers: str) -> Any:
    return caller.put(f"{CONSENTS}/{consent['id']}", consent, **headers)


# -- giving and reading -----------------------------------------------------------------------------------------------


def test_a_dissent_as_pcf_writes_it_is_an_objection_that_yields_to_an_emergency(world, practice):
    assert world.ask().decision.outcome is not Outcome.DENY_OVERRIDABLE

    answer = practice.post(CONSENTS, a_consent(world))

    told = expect_fhir(answer)
    (directive,) = held(world)
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{HERE}/fhir/R4/Consent/{told['id']}"
    assert (answer.headers["ETag"], told["meta"]["versionId"]) == ('W/"1"', "1")
    assert said(told) == a_consent(world)
    assert (directive.row.kind, directive.row.scope_kind, directive.row.may_override) == (
        "objection",
        "everything",
        True,
    )
    assert directive.row.evidence == "objection-form-1"
    assert directive.row.effective_at.isoformat() == "2026-11-20T09:30:00+00:00"
    assert world.ask().decision.outcome is Outcome.DENY_OVERRIDABLE


def test_what_is_given_is_read_back_and_found(world, practice):
    given = expect_fhir(practice.post(CONSENTS, a_consent(world)))

    read = practice.get(f"{CONSENTS}/{given['id']}")
    found = expect_fhir(search(practice, world, status="active"))

    assert expect_fhir(read) == given
    assert (found["type"], found["total"], patients_of(found)) == ("searchset", 1, [given])
    assert found["entry"][0]["fullUrl"] == f"{HERE}/fhir/R4/Consent/{given['id']}"
    by_form = practice._client.post(
        f"{CONSENTS}/_search", data={"patient": f"Patient/{world.she}"}, headers=practice._headers
    )
    assert patients_of(expect_fhir(by_form)) == [given]


def test_several_provisions_are_as_many_directives_and_one_consent(world, practice):
    root = {
        "provision": [
            deny(actor=[actor(UCLH)], period={"end": "2027-06-30T00:00:00Z"}),
            deny(purpose=[{"system": REASON, "code": "HRESCH"}]),
            {
                "type": "deny",
                "class": [{"system": f"{HERE}/id/category", "code": "letters"}],
                "period": {"start": "2026-12-01T00:00:00Z"},
            },
        ]
    }

    answer = practice.post(CONSENTS, a_consent(world, root))

    told = expect_fhir(answer)
    rows = [one.row for one in held(world)]
    assert (answer.status_code, said(told)) == (201, a_consent(world, root))
    assert [(row.scope_kind, row.scope_code, row.may_override) for row in rows] == [
        ("organisation", UCLH, True),
        ("purpose", "HRESCH", True),
        ("category", "letters", False),
    ]
    assert [one["id"] for one in told["provision"]["provision"]] == [str(row.directive_id) for row in rows]
    assert told["id"] not in [str(row.directive_id) for row in rows]
    assert patients_of(search(practice, world).json) == [told]


def test_an_exception_lifts_its_own_part_of_a_no_to_everything(world, practice):
    root = {
        "type": "deny",
        "provision": [BREAK_GLASS, {"type": "permit", "actor": [actor(AMBULANCE)]}],
    }
    policy = [{"uri": "https://profiles.ihe.net/ITI/PCF/Policy-break-glass-only"}]

    practice.post(CONSENTS, a_consent(world))
    denied = world.ask().decision.outcome
    answer = practice.post(CONSENTS, a_consent(world, root, policy=policy))

    assert denied is Outcome.DENY_OVERRIDABLE
    assert said(expect_fhir(answer)) == a_consent(world, root, policy=policy)
    assert world.ask().decision.outcome is Outcome.PERMIT_FILTERED


def test_all_that_json_records_is_told_and_can_be_given_again(world, app, practice):
    """Every kind, scope and field: what is told of it says the same when it is given."""
    earlier = world.object(scope=Scope("purpose", "LEGAL"), may_override=False).directive_id
    for new in (
        NewDirective("permission", Scope("purpose", "LEGAL"), PRACTICE, lifts=(earlier,), may_override=False),
        NewDirective("dissent", Scope("organisation", PRACTICE), PRACTICE, capacity="practice"),
        NewDirective("seal", Scope("organisation", PRACTICE), PRACTICE, capacity="provider", reason="Sealed"),
        NewDirective("type-1", Scope("everything"), PRACTICE, channel="letter", evidence="scan 7"),
        NewDirective("objection", Scope("category", "notes"), PRACTICE, standing="refused", reason="Unsafe"),
        NewDirective("objection", Scope("organisation", SLAM), PRACTICE, standing="pending", capacity="parent"),
        NewDirective("objection", Scope("everything"), PRACTICE, effective_at=world.clock.now(), wording_digest="a" * 64,
                     review_at=world.clock.now(), ends_at=world.clock.now().replace(year=2027)),
    ):  # fmt: skip
        record_directive(world.consent, replace(new, person_id=world.she), PRACTICE_CLERK)

    told = patients_of(expect_fhir(search(practice, world)))
    again = [practice.post(CONSENTS, said(one)) for one in told]

    assert [one.status_code for one in again] == [201] * 8
    assert [said(one.json) for one in again] == [said(one) for one in told]
    assert len({str(said(one)) for one in told}) == 8

    def facts(directive: Any) -> tuple[Any, ...]:
        names = ("kind", "scope_kind", "scope_code", "standing", "may_override", "lifts", "capacity", "received_by", "channel",
                 "evidence", "reason", "wording_digest", "review_at", "effective_at", "ends_at")  # fmt: skip
        return tuple(getattr(directive.row, name) for name in names)

    found = list_directives(world.consent, world.she, PRACTICE_CLERK)
    rows = [facts(one.directive) for one in found]
    assert sorted(map(str, rows[8:])) == sorted(map(str, rows[:8]))


def test_a_statutory_bar_is_the_guardians_to_set_and_to_know(world, app, practice):
    guardian = Principal("person", "guardian-1", PRACTICE, frozenset(), role=CALDICOTT_GUARDIAN, assurance=2)
    bar = NewDirective("statutory-bar", Scope("category", "notes"), PRACTICE, person_id=world.she)
    number = record_directive(world.consent, bar, guardian).directive_id
    kind = {"coding": [{"system": f"{HERE}/id/directive-kind", "code": "statutory-bar"}]}
    provision = deny(**{"class": [{"system": f"{HERE}/id/category", "code": "notes"}]})
    asked = a_consent(world, provision)

    assert search(practice, world).json["total"] == 0
    assert issue_of(practice.get(f"{CONSENTS}/{number}"))[:2] == (404, "consent-unknown")
    refused = practice.post(CONSENTS, asked | {"category": [*asked["category"], kind]})
    assert issue_of(refused)[:2] == (403, "role-not-allowed")
    hub = Caller(app, "hub", organisation=PRACTICE, organisations=frozenset("*"), scopes=WRITES)
    assert [one["id"] for one in patients_of(expect_fhir(search(hub, world)))] == [str(number)]


def test_a_seal_is_told_to_its_source_alone(world, app, practice):
    seal = NewDirective("seal", Scope("organisation", PRACTICE), PRACTICE, person_id=world.she)
    number = record_directive(world.consent, seal, PRACTICE_CLERK).directive_id
    other = Caller(app, "other", organisation=UCLH, organisations=frozenset(), scopes=WRITES)

    assert [one["id"] for one in patients_of(search(practice, world).json)] == [str(number)]
    assert search(other, world).json["total"] == 0
    assert issue_of(other.get(f"{CONSENTS}/{number}"))[:2] == (404, "consent-unknown")


def test_a_directive_of_one_who_may_be_the_same_is_told_with_a_mark(world, practice):
    other = a_possible_duplicate(world)
    practice.post(CONSENTS, a_consent(world))

    (told,) = patients_of(expect_fhir(search(practice, world, other)))
    mine = expect_fhir(practice.get(f"{CONSENTS}/{told['id']}"))

    assert (told["meta"]["tag"][0]["code"], told["patient"]["reference"]) == ("via-task", f"Patient/{other}")
    assert ("tag" in mine["meta"], mine["patient"]["reference"]) == (False, f"Patient/{world.she}")


def test_an_objection_outlives_the_merge_of_two_persons(world, practice):
    other = a_possible_duplicate(world)
    theirs = a_consent(
        world, patient={"reference": f"Patient/{other}"}, performer=[{"reference": f"Patient/{other}"}]
    )
    given = expect_fhir(practice.post(CONSENTS, theirs))
    join(world)

    (told,) = patients_of(expect_fhir(search(practice, world)))

    assert (told["id"], told["patient"]["reference"]) == (given["id"], f"Patient/{world.she}")
    assert expect_fhir(practice.get(f"{CONSENTS}/{given['id']}")) == told


def test_every_reading_is_in_the_log_and_a_write_is_as_over_json(world, practice):
    given = practice.post(CONSENTS, a_consent(world)).json
    practice.get(f"{CONSENTS}/{given['id']}")
    search(practice, world)

    with world.db.read() as tx:
        kinds = [row.kind for row in events_about(tx, [world.she])]

    assert [kind for kind in kinds if kind.startswith("directive")] == [
        "directive-recorded",
        "directives-read",
        "directives-read",
    ]


# -- changing ---------------------------------------------------------------------------------------------------------


def test_a_consent_is_withdrawn_by_its_status_and_stays_on_record(world, practice):
    given = practice.post(CONSENTS, a_consent(world)).json
    why = {"url": ours("change-reason"), "valueString": "She changed her mind"}

    answer = put(practice, given | {"status": "inactive", "extension": [why]}, If_Match='W/"1"')

    told = expect_fhir(answer)
    (directive,) = held(world)
    assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"2"')
    assert told == given | {"status": "inactive", "meta": told["meta"]}
    assert [(event.kind, event.reason) for event in directive.events] == [
        ("withdrawn", "She changed her mind")
    ]
    assert world.ask().decision.outcome is Outcome.PERMIT_FILTERED
    assert (
        search(practice, world, status="active").json["total"],
        search(practice, world).json["total"],
    ) == (0, 1)


def test_a_pending_one_is_upheld_or_refused(world, practice):
    pending = {"extension": [{"url": ours("standing"), "valueCode": "pending"}]}
    one, other = (practice.post(CONSENTS, a_consent(world, **pending)).json for _ in range(2))
    bare = [{name: part for name, part in each.items() if name != "extension"} for each in (one, other)]

    upheld = put(practice, bare[0])
    refused = put(practice, bare[1] | {"status": "rejected"})

    assert [(each.status_code, said(expect_fhir(each))) for each in (upheld, refused)] == [
        (200, said(bare[0])),
        (200, said(bare[1] | {"status": "rejected"})),
    ]
    assert [each.standing for each in held(world)] == ["upheld", "refused"]


def test_one_entered_in_error_is_struck_out_by_a_second_person(world, app, practice):
    given = practice.post(CONSENTS, a_consent(world)).json
    second = Caller(app, "practice-2", organisation=PRACTICE, organisations=frozenset(), scopes=WRITES)

    own = put(practice, given | {"status": "entered-in-error"})
    answer = put(second, given | {"status": "entered-in-error"})

    assert issue_of(own)[:2] == (403, "second-person-needed")
    assert (answer.status_code, expect_fhir(answer)["status"]) == (200, "entered-in-error")


def test_what_is_sent_as_it_stands_changes_nothing(world, practice):
    given = practice.post(CONSENTS, a_consent(world)).json
    before = every_row(world.db)

    answer = put(practice, given)

    assert (answer.status_code, answer.json) == (200, given)
    assert changed_tables(before, every_row(world.db)) <= {"audit_event", "audit_text"}


def test_one_of_several_that_was_withdrawn_over_json_is_told_by_itself(world, practice):
    root = {"provision": [deny(actor=[actor(UCLH)]), deny(actor=[actor(SLAM)])]}
    given = practice.post(CONSENTS, a_consent(world, root)).json
    first, second = held(world)

    withdraw_directive(world.consent, first.row.directive_id, "changed her mind", PRACTICE_CLERK)

    alone, rest = patients_of(expect_fhir(search(practice, world)))
    assert (alone["id"], alone["status"]) == (str(first.row.directive_id), "inactive")
    assert alone["provision"] == {"id": alone["id"], **deny(actor=[actor(UCLH)])}
    assert (rest["id"], rest["status"]) == (given["id"], "active")
    assert rest["provision"] == {"id": str(second.row.directive_id), **deny(actor=[actor(SLAM)])}
    assert [expect_fhir(practice.get(f"{CONSENTS}/{one['id']}")) for one in (alone, rest)] == [alone, rest]
    assert put(practice, rest | {"status": "inactive"}).status_code == 200
    (both,) = patients_of(expect_fhir(search(practice, world)))
    assert (both["id"], both["status"], len(both["provision"]["provision"])) == (given["id"], "inactive", 2)


def test_an_edit_of_what_has_changed_meanwhile_is_refused(world, practice):
    given = practice.post(CONSENTS, a_consent(world)).json
    put(practice, given | {"status": "inactive"})

    stale = put(practice, given | {"status": "entered-in-error"}, If_Match='W/"1"')
    twice = put(practice, given | {"status": "inactive"})

    assert issue_of(stale)[:2] == (412, "version-stale")
    assert (twice.status_code, twice.json["meta"]["versionId"]) == (200, "2")


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"status": "proposed"}, "status-not-reached", "Consent.status"),
        ({"status": "rejected"}, "status-not-reached", "Consent.status"),
        ({"id": "42"}, "id-differs", "Consent.id"),
        ({"dateTime": "2026-11-21T09:30:00Z"}, "value-not-held", "Consent.dateTime"),
        ({"sourceReference": {"display": "another"}}, "value-not-held", "Consent.sourceReference.display"),
        ({"provision": {"type": "deny"}}, "required", "Consent.provision.id"),
    ],
)
def test_nothing_recorded_is_ever_changed(world, practice, change, code, path):
    given = practice.post(CONSENTS, a_consent(world)).json
    before = every_row(world.db)

    answer = practice.put(f"{CONSENTS}/{given['id']}", given | change)

    assert issue_of(answer) == (422, code, [path])
    assert changed_tables(before, every_row(world.db)) <= {"audit_event", "audit_text"}


# -- refusals ---------------------------------------------------------------------------------------------------------

EVERYONE = {"type": "deny", "provision": [BREAK_GLASS]}
RESEARCH = {"purpose": [{"system": REASON, "code": "HRESCH"}]}


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"status": "proposed"}, "status-not-new", "Consent.status"),
        ({"status": None}, "required", "Consent.status"),
        ({"status": ["active"]}, "type-string", "Consent.status"),
        ({"scope": None}, "required", "Consent.scope"),
        ({"text": {"status": "generated", "div": "<div/>"}}, "element-not-held", "Consent.text"),
        ({"contained": [{"resourceType": "Patient"}]}, "element-not-held", "Consent.contained"),
        ({"identifier": [{"value": "1"}]}, "element-not-held", "Consent.identifier"),
        ({"verification": [{"verified": True}]}, "element-not-held", "Consent.verification"),
        ({"modifierExtension": [{"url": "urn:x"}]}, "element-not-held", "Consent.modifierExtension"),
        ({"extension": [{"url": "urn:x", "valueString": "x"}]}, "extension-unknown", "Consent.extension[0].url"),
        ({"meta": {"profile": ["urn:x"]}}, "element-not-held", "Consent.meta.profile"),
        ({"_status": {"id": "x"}}, "element-not-held", "Consent._status"),
        ({"Rosalind Applewhite": 1}, "element-not-held", "Consent"),
        ({"category": []}, "required", "Consent.category[0]"),
        ({"patient": {"reference": "Group/1"}}, "value-not-held", "Consent.patient.reference"),
        ({"patient": {"reference": "Patient/x"}}, "id-format", "Consent.patient.reference"),
        ({"patient": {"identifier": {"value": "9990000018"}}}, "required", "Consent.patient.reference"),
        ({"dateTime": "2026-11-20"}, "date-format", "Consent.dateTime"),
        ({"dateTime": "2026-13-20T00:00:00Z"}, "date-format", "Consent.dateTime"),
        ({"performer": []}, "required", "Consent.performer"),
        ({"performer": [{"display": "Her son"}]}, "element-not-held", "Consent.performer[0].display"),
        ({"performer": [{"reference": "https://elsewhere.example/fhir/R4/Patient/1"}]}, "value-not-held", "Consent.performer[0].reference"),
        ({"organization": [{"display": "A practice"}]}, "required", "Consent.organization[0].identifier.value"),
        ({"organization": [{"identifier": {"system": ODS, "value": "QQQ99"}}]}, "organisation-not-yours", []),
        ({"sourceReference": {"reference": "DocumentReference/1"}}, "element-not-held", "Consent.sourceReference"),
        ({"sourceReference": {"display": "x" * 201}}, "too-long", "Consent.sourceReference.display"),
        ({"policy": [{"uri": "https://profiles.ihe.net/ITI/PCF/Policy-deny"}]}, "value-not-held", "Consent.policy[0].uri"),
        ({"policyRule": {"text": "OPTIN"}}, "element-not-held", "Consent.policyRule"),
        ({"provision": None}, "required", "Consent.provision"),
        ({"status": "rejected"}, "reason-missing", "Consent.extension"),
    ],
)  # fmt: skip
def test_what_directives_cannot_say_is_refused_by_its_path(world, practice, change, code, path):
    before = every_row(world.db)

    answer = practice.post(CONSENTS, {n: p for n, p in (a_consent(world) | change).items() if p is not None})

    places = [path] if isinstance(path, str) else ["Consent.organization"]
    assert issue_of(answer) == (403 if code == "organisation-not-yours" else 422, code, places)
    assert changed_tables(before, every_row(world.db)) == set()


@pytest.mark.parametrize(
    ("provision", "code", "path"),
    [
        ({}, "required", ".type"),
        ({"type": "maybe"}, "value-not-held", ".type"),
        (EVERYONE | {"action": [{"text": "disclose"}]}, "element-not-held", ".action"),
        (EVERYONE | {"securityLabel": [{"code": "R"}]}, "element-not-held", ".securityLabel"),
        (EVERYONE | {"dataPeriod": {"end": "2020"}}, "element-not-held", ".dataPeriod"),
        (EVERYONE | {"data": [{"meaning": "instance"}]}, "element-not-held", ".data"),
        (EVERYONE | {"code": [{"text": "x"}]}, "element-not-held", ".code"),
        (EVERYONE | {"period": {"end": "2027-01-01"}}, "date-format", ".period.end"),
        (EVERYONE | {"period": {"end": "2026-11-19T00:00:00Z"}}, "end-before-start", ".period.end"),
        (EVERYONE | {"period": {"start": "2026-11-20T09:30:00Z"}}, "element-not-held", ".period"),
        (EVERYONE | RESEARCH | {"actor": [actor(UCLH)]}, "provision-not-flat", ".purpose[0]"),
        (EVERYONE | {"actor": [actor(UCLH), actor(SLAM)]}, "provision-not-flat", ".actor[1]"),
        (EVERYONE | {"actor": [actor("QQQ99")]}, "scope-unknown", ".actor[0]"),
        (EVERYONE | {"actor": [actor(UCLH, "CST")]}, "value-not-held", ".actor[0].role.coding[0].code"),
        (EVERYONE | {"purpose": [{"system": REASON, "code": "FUN"}]}, "scope-unknown", ".purpose[0]"),
        (EVERYONE | {"purpose": [{"code": "HRESCH"}]}, "required", ".purpose[0].system"),
        (EVERYONE | {"class": [{"system": "urn:x", "code": "notes"}]}, "value-not-held", ".class[0].system"),
        ({"type": "permit", "provision": [BREAK_GLASS]}, "provision-not-flat", ".provision[0].type"),
        ({"type": "permit", "provision": [{"type": "permit", **RESEARCH}]}, "provision-not-flat", ".provision[0].type"),
        ({"type": "deny", **RESEARCH, "provision": [{"type": "permit", "actor": [actor(UCLH)]}]}, "provision-not-flat", ".provision[0]"),
        ({"type": "deny", "provision": [BREAK_GLASS, BREAK_GLASS]}, "element-not-held", ".provision[1]"),
        ({"provision": [deny(), deny(**RESEARCH)]}, "provision-not-flat", ".provision[1].type"),
        ({"provision": [deny(**RESEARCH), deny(**RESEARCH)]}, "provision-contradicts", ".provision[1].purpose[0]"),
        ({"provision": [deny(**RESEARCH), deny()]}, "provision-not-flat", ".provision[1]"),
        ({"provision": [{"provision": [deny(**RESEARCH)]}]}, "required", ".provision[0].type"),
        (
            {"type": "deny", "provision": [{"type": "permit", **RESEARCH, "period": {"start": "2025-01-01T00:00:00Z"}}]},
            "provision-not-flat",
            ".provision[0].period.start",
        ),
        (
            {"type": "permit", "extension": [{"url": ours("lifts"), "valueIdentifier": {"system": f"{HERE}/id/directive", "value": "42"}}]},
            "lifts-unknown",
            ".extension",
        ),
    ],
)  # fmt: skip
def test_a_provision_that_is_not_flat_is_refused_by_its_path(world, practice, provision, code, path):
    before = every_row(world.db)

    sent = a_consent(world) if EVERYONE.items() <= provision.items() else a_consent(world, EVERYONE)
    if provision.keys() & {"purpose", "actor", "class"}:
        sent = a_consent(world, EVERYONE)
    answer = practice.post(CONSENTS, sent | {"provision": provision})

    assert issue_of(answer) == (422, code, [f"Consent.provision{path}"])
    assert changed_tables(before, every_row(world.db)) == set()


def test_strangers_and_others_patients_are_refused_as_over_json(world, app, practice):
    """No write about nobody, none for another organisation, none without its scope."""
    nobody = {"reference": "Patient/42"}
    other = Caller(app, "other", organisation=UCLH, organisations=frozenset(), scopes=WRITES)
    reader = Caller(
        app, "reader", organisation=PRACTICE, organisations=frozenset(), scopes=frozenset({"directives:read"})
    )
    given = practice.post(CONSENTS, a_consent(world)).json

    assert issue_of(practice.post(CONSENTS, a_consent(world, patient=nobody, performer=[nobody])))[:2] == (
        404,
        "person-unknown",
    )
    assert issue_of(other.post(CONSENTS, a_consent(world)))[:2] == (403, "organisation-not-yours")
    assert issue_of(put(other, given | {"status": "inactive"}))[:2] == (403, "organisation-not-yours")
    assert issue_of(reader.post(CONSENTS, a_consent(world)))[:2] == (403, "scope-missing")
    assert issue_of(put(reader, given | {"status": "inactive"}))[:2] == (403, "scope-missing")
    assert issue_of(search(practice, world, 42))[:2] == (404, "person-unknown")
    assert issue_of(practice.get(f"{CONSENTS}/42"))[:2] == (404, "consent-unknown")
    assert issue_of(practice.call("DELETE", f"{CONSENTS}/{given['id']}"))[:2] == (405, "method-not-allowed")


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("", "required", "patient"),
        ("patient=Group/1", "id-format", "patient"),
        ("patient=1&status=alive", "not-one-of", "status"),
        ("patient=1&actor=2", "unknown-field", "actor"),
        ("patient=1&_cursor=x", "cursor-format", "_cursor"),
    ],
)
def test_a_search_that_cannot_be_read_is_refused_by_its_name(practice, query, code, field):
    assert issue_of(practice.get(f"{CONSENTS}?{query}")) == (400, code, [f"http.{field}"])


def test_pages_follow_each_other_and_count_all(world, practice):
    numbers = [practice.post(CONSENTS, a_consent(world)).json["id"] for _ in range(3)]
    path, found = f"{CONSENTS}?patient={world.she}&status=active&_count=2", []
    while path:
        page = expect_fhir(practice.get(path))
        assert page["total"] == 3
        found += [one["id"] for one in patients_of(page)]
        links = {one["relation"]: one["url"] for one in page["link"]}
        path = links.get("next", "").removeprefix(HERE)

    assert found == numbers


# -- manners ----------------------------------------------------------------------------------------------------------


def test_a_write_answers_with_what_the_caller_would_rather_have(world, practice):
    minimal = practice.post(CONSENTS, a_consent(world), Prefer="return=minimal")
    outcome = practice.post(CONSENTS, a_consent(world), Prefer="return=OperationOutcome")
    whole = practice.post(CONSENTS, a_consent(world), Prefer="respond-async, return=representation")
    unknown = practice.post(CONSENTS, a_consent(world), Prefer="return=everything")

    assert (minimal.status_code, minimal.data) == (201, b"")
    assert minimal.headers["Location"] and minimal.headers["Preference-Applied"] == "return=minimal"
    assert expect_fhir(outcome)["issue"][0]["details"]["coding"][0]["code"] == "given"
    assert outcome.headers["Preference-Applied"] == "return=OperationOutcome"
    assert expect_fhir(whole)["resourceType"] == "Consent"
    assert expect_fhir(unknown)["resourceType"] == "Consent" and "Preference-Applied" not in unknown.headers


def test_a_repeated_write_with_its_key_is_done_once(world, practice):
    answers = [practice.post(CONSENTS, a_consent(world), Idempotency_Key="k-1") for _ in range(2)]

    assert (
        answers[0].json == answers[1].json
        and answers[1].headers["Location"] == answers[0].headers["Location"]
    )
    assert len(held(world)) == 1


def test_a_summary_and_elements_tell_less_and_say_so(world, practice):
    given = practice.post(CONSENTS, a_consent(world)).json
    here = f"{CONSENTS}/{given['id']}"

    some = expect_fhir(practice.get(f"{here}?_elements=dateTime,source"))
    short = expect_fhir(practice.get(f"{here}?_summary=true"))
    text = expect_fhir(practice.get(f"{here}?_summary=text"))
    counted = expect_fhir(search(practice, world, _summary="count"))
    none = expect_fhir(search(practice, world, _count="0"))

    always = {"resourceType", "id", "meta", "status", "scope", "category"}
    assert some.keys() == always | {"dateTime", "sourceReference"}
    assert short.keys() == given.keys() - {"policy"}
    assert text.keys() == always
    assert {one["meta"]["tag"][0]["code"] for one in (some, short, text)} == {"SUBSETTED"}
    assert practice.get(f"{here}?_summary=data").json == practice.get(f"{here}?_summary=false").json == given
    assert [(one["total"], "entry" in one, len(one["link"])) for one in (counted, none)] == [
        (1, False, 1)
    ] * 2


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("_summary=short", "not-one-of", "_summary"),
        ("_summary=count", "not-one-of", "_summary"),
        ("_summary=true&_elements=status", "summary-and-elements", "_elements"),
        ("_elements=", "empty", "_elements"),
        ("_elements=Rosalind Applewhite", "not-one-of", "_elements"),
        ("_elements=status&_elements=scope", "repeated", "_elements"),
    ],
)
def test_a_part_that_cannot_be_read_is_refused_by_its_name(world, practice, query, code, field):
    given = practice.post(CONSENTS, a_consent(world)).json

    assert issue_of(practice.get(f"{CONSENTS}/{given['id']}?{query}")) == (400, code, [f"http.{field}"])


def test_xml_is_refused_before_anything_is_done(world, practice):
    before = every_row(world.db)

    for answer in (
        practice.post(CONSENTS, a_consent(world), Accept="application/fhir+xml"),
        practice.post(f"{CONSENTS}?_format=xml", a_consent(world)),
    ):
        assert issue_of(answer)[:2] == (406, "not-acceptable")
    assert changed_tables(before, every_row(world.db)) == set()


def test_what_is_stated_is_served(app, world, practice):
    (rest,) = app.test_client().get(f"{BASE}/metadata").json["rest"]
    (stated,) = [one for one in rest["resource"] if one["type"] == "Consent"]

    assert [one["code"] for one in stated["interaction"]] == ["create", "read", "update", "search-type"]
    assert [one["name"] for one in stated["searchParam"]] == ["patient", "status"]
    assert practice.get(f"{CONSENTS}?patient={world.she}&status=active").mimetype == FHIR
