"""``Patient/$match``: the cases of ITI-119, the same search as over JSON, and every malformed body refused by its place."""

import copy
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import create_app
from foundation.settings import Settings
from tests.service.mpi_world import ONE_NUMBER, OTHER_NUMBER, World, a_doubtful_record, a_source_record
from tests.web.every_row import changed_tables, every_row
from tests.web.fhir_client import (
    BASE,
    FHIR,
    GRADE,
    HERE,
    NUMBERS,
    PERSONS,
    a_caller,
    expect_fhir,
    issue_of,
    patients_of,
)
from tests.web.mpi_client import Caller

MATCH = f"{BASE}/Patient/$match"
AMARA = {
    "resourceType": "Patient",
    "name": [{"use": "official", "family": "Okafor", "given": ["Amara"]}],
    "gender": "female",
    "birthDate": "1990-02-14",
    "address": [{"line": ["12 Denmark Hill"], "city": "London", "postalCode": "SE5 8AZ"}],
}
AS_JSON = {
    "names": [{"use": "official", "given": ["Amara"], "family": "Okafor"}],
    "birth_date": "1990-02-14",
    "gender": "female",
    "addresses": [{"lines": ["12 Denmark Hill"], "city": "London", "postcode": "SE5 8AZ"}],
}


@pytest.fixture
def world(db, clock) -> World:
    return World(db, clock)


@pytest.fixture
def app(world, db, clock) -> Flask:
    return create_app(Settings.from_environment({}), database=db, clock=clock)


@pytest.fixture
def caller(app) -> Caller:
    return a_caller(app)


def parameters(patient: Any = AMARA, **more: Any) -> dict[str, Any]:
    given = [{"name": "resource", "resource": patient}]
    kinds = {bool: "valueBoolean", int: "valueInteger"}
    given += [{"name": name, kinds[type(value)]: value} for name, value in more.items()]
    return {"resourceType": "Parameters", "parameter": given}


def grades(bundle: Any) -> list[str]:
    return [
        one["search"]["extension"][0]["valueCode"]
        for one in bundle.get("entry", ())
        if one["search"]["mode"] == "match"
    ]


def hers(world: World, local_id: str = "1", **more: Any) -> int:
    received = world.send(a_source_record(local_id, **more))
    assert received.person_id is not None
    return received.person_id


# -- the cases of ITI-119 ---------------------------------------------------------------------------------------------


def test_one_person_is_told_by_id_grade_and_score_and_nothing_else(world, caller):
    she = hers(world)

    bundle = expect_fhir(caller.post(MATCH, parameters()))

    (entry,) = bundle["entry"]
    assert (bundle["type"], bundle["total"]) == ("searchset", 1)
    assert entry["fullUrl"] == f"{HERE}/fhir/R4/Patient/{she}"
    assert entry["resource"] == {
        "resourceType": "Patient",
        "id": str(she),
        "meta": {
            "tag": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
                    "code": "SUBSETTED",
                }
            ]
        },
        "identifier": [{"system": PERSONS, "value": str(she)}],
        "active": True,
    }
    assert entry["search"]["extension"] == [{"url": GRADE, "valueCode": "certain"}]
    assert (entry["search"]["mode"], 0.99 < entry["search"]["score"] <= 1) == ("match", True)


def test_several_are_ordered_and_answered_as_over_json(world, caller):
    hers(world)
    world.send(a_doubtful_record())

    bundle = expect_fhir(caller.post(MATCH, parameters()))
    same = caller.post("/api/v1/match", AS_JSON).json["candidates"]

    told = [(one["resource"]["id"], one["search"]["score"]) for one in bundle["entry"]]
    assert told == [(one["person_id"], one["probability"]) for one in same] and len(told) > 1
    assert grades(bundle) == [one["grade"] for one in same]
    scores = [score for _, score in told]
    assert scores == sorted(scores, reverse=True)


def test_only_certain_ones_are_told_to_who_wants_no_others(world, caller):
    she = hers(world)

    whole = expect_fhir(caller.post(MATCH, parameters(onlyCertainMatches=True)))
    doubtful = AMARA | {"birthDate": "1990-02-15", "address": []}
    others = expect_fhir(caller.post(MATCH, parameters(doubtful)))
    less = expect_fhir(caller.post(MATCH, parameters(doubtful, onlyCertainMatches=True)))

    assert grades(others) and set(grades(others)) <= {"probable", "possible"}
    assert [one["id"] for one in patients_of(whole)] == [str(she)]
    assert (less["total"], "entry" in less) == (0, False)


def test_two_who_fit_alike_are_certain_for_nobody(world, caller):
    hers(world, nhs_number=ONE_NUMBER, status="01")
    hers(world, "2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01")

    all_of_them = expect_fhir(caller.post(MATCH, parameters()))
    certain = expect_fhir(caller.post(MATCH, parameters(onlyCertainMatches=True)))

    assert len(all_of_them["entry"]) == 2 and "certain" not in grades(all_of_them)
    assert "entry" not in certain


def test_a_count_cuts_after_the_order(world, caller):
    hers(world)
    world.send(a_doubtful_record())

    one = expect_fhir(caller.post(MATCH, parameters(count=1)))
    many = expect_fhir(caller.post(MATCH, parameters(count=1_000_000)))

    assert one["entry"] == many["entry"][:1] and len(many["entry"]) > 1


def test_nobody_is_an_empty_bundle(caller):
    assert expect_fhir(caller.post(MATCH, parameters())) == {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 0,
    }


def test_who_was_withdrawn_is_left_out(world, caller):
    hers(world)
    key = {"organisation": "RRV", "system": "pas", "local_id": "1"}
    gone = caller.post("/api/v1/withdrawals", key | {"reason": "sent-in-error"})

    assert gone.status_code == 201
    assert "entry" not in expect_fhir(caller.post(MATCH, parameters()))


def test_a_search_that_was_cut_says_so_and_is_certain_of_nobody(world, caller, monkeypatch):
    hers(world)
    monkeypatch.setattr("mpi.store.records.Candidates.__init__", _cut)

    bundle = expect_fhir(caller.post(MATCH, parameters()))

    found, warning = bundle["entry"]
    assert grades(bundle) == ["probable"] and bundle["total"] == 1
    assert warning["search"] == {"mode": "outcome"}
    (issue,) = warning["resource"]["issue"]
    assert (issue["severity"], issue["code"]) == ("warning", "incomplete")
    assert found["resource"]["active"] is True


def _cut(self: Any, rows: Any, _is_cut: bool, protected: Any) -> None:
    object.__setattr__(self, "rows", rows)
    object.__setattr__(self, "is_cut", True)
    object.__setattr__(self, "protected", protected)


def test_a_patient_alone_is_a_question_too(world, caller):
    she = hers(world)

    answer = caller.call("POST", MATCH, AMARA, Content_Type=FHIR)

    assert [one["id"] for one in patients_of(expect_fhir(answer))] == [str(she)]


def test_every_element_that_the_index_compares_is_compared(world, caller):
    she = hers(world, nhs_number="9990000018", status="01")
    patient = AMARA | {
        "identifier": [
            {"system": NUMBERS, "value": "999 000 0018"},
            {"system": "https://fhir.rrv.example.nhs.uk/Id/mrn", "value": "A1"},
        ],
        "telecom": [{"system": "phone", "value": "07700 900123"}, {"system": "fax", "value": "1"}],
        "multipleBirthInteger": 8,
        "deceasedBoolean": False,
        "generalPractitioner": [
            {
                "identifier": {
                    "system": "https://fhir.nhs.uk/Id/ods-organization-code",
                    "value": "G85001",
                }
            }
        ],
        "maritalStatus": {"text": "single"},
    }

    bundle = expect_fhir(caller.post(MATCH, parameters(patient)))

    assert [one["id"] for one in patients_of(bundle)] == [str(she)] and grades(bundle) == ["certain"]


# -- probing ----------------------------------------------------------------------------------------------------------


def test_a_match_in_fhir_counts_as_one_over_json(world, caller):
    hers(world)

    caller.post(MATCH, parameters())
    caller.post("/api/v1/match", AS_JSON)

    rows = world.rows("select kind, person_id, detail from audit_event where kind = 'person-searched'")
    assert len(rows) == 2 and rows[0] == rows[1]


def test_a_restricted_person_is_found_alike_with_a_right_and_a_wrong_postcode(world, caller):
    she = hers(world, restricted=True)
    wrong = AMARA | {"address": [{"line": ["1 Elsewhere"], "postalCode": "N1 9GU"}]}

    right, other = (expect_fhir(caller.post(MATCH, parameters(one))) for one in (AMARA, wrong))
    little = {name: value for name, value in AMARA.items() if name != "birthDate"}

    assert right == other and [one["id"] for one in patients_of(right)] == [str(she)]
    assert "entry" not in expect_fhir(caller.post(MATCH, parameters(little)))


def test_too_little_is_refused_as_over_json(caller):
    only_born = {"resourceType": "Patient", "birthDate": "1990-02-14"}

    assert issue_of(caller.post(MATCH, parameters(only_born)))[:2] == (400, "match-input-too-little")


def test_a_caller_without_the_scope_is_refused_in_fhir(app):
    reader = a_caller(app, "reader", scopes=frozenset({"persons:read"}))

    assert issue_of(reader.post(MATCH, parameters()))[:2] == (403, "scope-missing")


# -- malformed bodies -------------------------------------------------------------------------------------------------


def changed(**faults: Any) -> dict[str, Any]:
    return parameters(AMARA | faults)


ROOT = "Parameters.parameter[0].resource"


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        ([], "type-object", "Parameters"),
        ({"resourceType": "Bundle"}, "resource-type", "Parameters.resourceType"),
        ({"resourceType": "Parameters"}, "required", "Parameters.parameter"),
        ({"resourceType": "Parameters", "parameter": {}}, "type-list", "Parameters.parameter"),
        ({"resourceType": "Parameters", "parameter": [3]}, "type-object", "Parameters.parameter[0]"),
        (parameters(count=0), "out-of-range", "Parameters.parameter[1].valueInteger"),
        (parameters([]), "type-object", ROOT),
        (changed(resourceType="Person"), "resource-type", f"{ROOT}.resourceType"),
        (changed(surname="Okafor"), "unknown-field", f"{ROOT}.surname"),
        (changed(modifierExtension=[]), "modifier-extension", f"{ROOT}.modifierExtension"),
        (changed(birthDate="14/02/1990"), "date-format", f"{ROOT}.birthDate"),
        (changed(birthDate="1990-02-30"), "date-impossible", f"{ROOT}.birthDate"),
        (changed(birthDate=1990), "type-string", f"{ROOT}.birthDate"),
        (changed(birthDate="2090-01-01"), "date-future", f"{ROOT}.birthDate"),
        (changed(gender="purple"), "not-one-of", f"{ROOT}.gender"),
        (changed(name={}), "type-list", f"{ROOT}.name"),
        (changed(name=["Amara"]), "type-object", f"{ROOT}.name[0]"),
        (changed(name=[{"use": "royal", "family": "X"}]), "not-one-of", f"{ROOT}.name[0].use"),
        (changed(name=[{"given": "Amara"}]), "type-list", f"{ROOT}.name[0].given"),
        (
            changed(name=[{"use": "old", "family": "x" * 101}, {"family": "Okafor"}]),
            "text-too-long",
            f"{ROOT}.name[0].family",
        ),
        (changed(name=[{"family": "a\x07b"}]), "control-character", f"{ROOT}.name[0].family"),
        (
            changed(address=[{"postalCode": "x" * 20}]),
            "text-too-long",
            f"{ROOT}.address[0].postalCode",
        ),
        (changed(identifier=[{"value": "1"}]), "required", f"{ROOT}.identifier[0].system"),
        (changed(identifier=[{"system": NUMBERS}]), "required", f"{ROOT}.identifier[0].value"),
        (
            changed(identifier=[{"system": NUMBERS, "value": "9990000001"}]),
            "nhs-number-check",
            f"{ROOT}.identifier[0].value",
        ),
        (
            changed(identifier=[{"system": NUMBERS, "value": "9990000018"}] * 2),
            "repeated",
            f"{ROOT}.identifier[1]",
        ),
        (changed(multipleBirthInteger=0), "out-of-range", f"{ROOT}.multipleBirth"),
        (changed(deceasedDateTime="1980-01-01"), "death-before-birth", f"{ROOT}.deceased"),
        (changed(active="yes"), "type-boolean", f"{ROOT}.active"),
    ],
)
def test_a_fault_is_named_by_its_place_in_the_body(caller, body, code, place):
    assert issue_of(caller.post(MATCH, body)) == (400, code, [place])


@pytest.mark.parametrize(
    "extra",
    [
        {"name": "onlySingleMatch", "valueBoolean": True},
        {"name": "count", "valueString": "1"},
        {"name": "count", "valueInteger": True},
        {"name": "onlyCertainMatches", "valueBoolean": "true"},
        {"name": "resource", "resource": AMARA},
        {"name": 7},
    ],
)
def test_the_list_of_parameters_is_closed(caller, extra):
    body = parameters()
    body["parameter"].append(extra)

    status, _, (place,) = issue_of(caller.post(MATCH, body))

    assert status == 400 and place.startswith("Parameters.parameter[1]")


SECRET = "Quetzalcoatl"
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just(SECRET)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["family", "system", "value", "use", "line", "coding"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
_ELEMENTS = ("name", "identifier", "address", "telecom", "birthDate", "gender", "meta", "link", "active",
             "deceasedDateTime", "multipleBirthInteger", "generalPractitioner", "nickname")  # fmt: skip


def test_a_malformed_body_is_refused_without_a_word_of_it_and_leaves_nothing(world, caller, db):
    hers(world)
    before = every_row(db)

    @given(element=st.sampled_from(_ELEMENTS), value=_JSON)
    @settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def ask(element: str, value: Any) -> None:
        body = copy.deepcopy(AMARA) | {element: value}
        answer = caller.call("POST", MATCH, parameters(body))
        assert answer.status_code in (200, 400), answer.json
        assert SECRET not in answer.get_data(as_text=True)
        assert answer.mimetype == FHIR

    ask()

    assert changed_tables(before, every_row(db)) <= {"audit_event", "digest_key"}
