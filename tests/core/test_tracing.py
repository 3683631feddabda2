"""Tracing, without a wire: the service's answers as the port reads them, who is whose number, and a record as it reads with a finding."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import Invalid
from mpi.matching import Agreement, NormalisedRecord, agreement_by_number, agreement_by_search, normalise
from mpi.records import (
    Address,
    Finding,
    HumanName,
    NumberState,
    Outcome,
    SourceRecord,
    as_traced,
    check_digit,
)
from mpi.records.traced import carried, still_holds
from mpi.tracing import (
    UNREADABLE,
    Found,
    NotANumber,
    NotAQuestion,
    NotFound,
    Refused,
    SupersededBy,
    TooMany,
    TracedPerson,
    Unavailable,
    Withdrawn,
)
from mpi.tracing.fhir import answer_to_retrieval, answer_to_search, code_of, person_of
from mpi.tracing.population import Known, check_made_up, people_of_sample
from tests.core.matching_builders import (
    MODEL,
    ONE_NUMBER,
    OTHER_NUMBER,
    THIRD_NUMBER,
    a_normalised,
    a_source_record,
)

SPINE = "https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode"
NHS_NUMBER = "https://fhir.nhs.uk/Id/nhs-number"


def an_outcome(code: str, **more: Any) -> dict[str, Any]:
    details = {"coding": [{"system": SPINE, "version": "1", "code": code, "display": code}]}
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "details": details, **more}]}


def a_patient(number: str = ONE_NUMBER, mark: str | None = "U", **more: Any) -> dict[str, Any]:
    """A patient in the service's shape, as its published examples have it."""
    security = [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": mark}]
    return {
        "resourceType": "Patient",
        "id": number,
        "identifier": [{"system": NHS_NUMBER, "value": number}],
        "meta": {"versionId": "2"} | ({"security": security} if mark else {}),
        "name": [
            {"use": "old", "given": ["Amara"], "family": "Eze"},
            {"use": "usual", "given": ["Amara", "Joy"], "family": "OKAFOR", "prefix": ["MRS"]},
        ],
        "birthDate": "1990-02-14",
        "gender": "female",
        "multipleBirthInteger": 1,
        "address": [{"use": "home", "line": ["12 Denmark Hill"], "postalCode": "SE5 8AZ"}],
    } | more


def a_set(*patients: dict[str, Any], total: int | None = None) -> dict[str, Any]:
    entries = {"entry": [{"resource": one, "search": {"score": 1}} for one in patients]} if patients else {}
    total = len(patients) if total is None else total
    return {"resourceType": "Bundle", "type": "searchset", "total": total} | entries


# -- the service's answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (404, an_outcome("RESOURCE_NOT_FOUND"), NotFound()),
        (404, an_outcome("INVALIDATED_RESOURCE"), Withdrawn()),
        (404, an_outcome("SOMETHING_ELSE"), Refused("answer-unknown", 404)),
        (404, {"message": "no such path"}, Refused("answer-unknown", 404)),
        (400, an_outcome("INVALID_RESOURCE_ID"), NotANumber()),
        (400, an_outcome("INVALID_VALUE"), NotAQuestion()),
        (401, an_outcome("ACCESS_DENIED"), Refused("not-admitted", 401)),
        (403, an_outcome("INVALID_METHOD"), Refused("not-admitted", 403)),
        (408, an_outcome("UNABLE_TO_CALL_SERVICE"), Unavailable("service-failed")),
        (429, an_outcome("TOO_MANY_REQUESTS"), Unavailable("rate-limited")),
        (500, None, Unavailable("service-failed")),
        (503, "busy", Unavailable("service-failed")),
        (302, None, UNREADABLE),
        (200, None, UNREADABLE),
        (200, [], UNREADABLE),
        (200, a_set(), UNREADABLE),
        (200, {"resourceType": "Patient"}, UNREADABLE),
        (200, a_patient("9990000000"), UNREADABLE),
        (200, a_patient(identifier=[{"system": NHS_NUMBER, "value": OTHER_NUMBER}]), UNREADABLE),
    ],
)
def test_every_answer_to_a_retrieval_is_one_of_the_port(status: int, body: Any, answer: Any):
    assert answer_to_retrieval(status, body, ONE_NUMBER) == answer


def test_a_patient_with_another_id_is_the_one_that_took_the_numbers_place():
    assert isinstance(answer_to_retrieval(200, a_patient(), ONE_NUMBER), Found)

    answer = answer_to_retrieval(200, a_patient(OTHER_NUMBER), ONE_NUMBER)

    assert isinstance(answer, SupersededBy)
    assert answer.person.number == OTHER_NUMBER


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, a_set(), NotFound()),
        (200, an_outcome("TOO_MANY_MATCHES"), TooMany()),
        (200, a_set(a_patient(), a_patient(OTHER_NUMBER)), TooMany()),
        (200, an_outcome("SINGLE_MATCH"), UNREADABLE),
        (200, a_set(a_patient(), total=2), UNREADABLE),
        (200, a_set(total=1), UNREADABLE),
        (200, a_set(a_patient("9990000000")), UNREADABLE),
        (400, an_outcome("INVALID_SEARCH_DATA"), NotAQuestion()),
        (403, an_outcome("INVALID_VALUE"), Refused("not-admitted", 403)),
        (404, None, Refused("request-refused", 404)),
        (502, None, Unavailable("service-failed")),
    ],
)
def test_every_answer_to_a_search_is_one_of_the_port(status: int, body: Any, answer: Any):
    assert answer_to_search(status, body) == answer


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("resourceType", "id", "entry", "resource", "issue", "details", "coding", "meta", "security", "code")),
            inner | st.sampled_from(("Patient", "Bundle", "OperationOutcome")),
            max_size=4,
        ),
        max_leaves=12,
    ),
    status=st.sampled_from((200, 302, 400, 401, 404, 429, 500)),
)  # fmt: skip
def test_nothing_that_is_answered_raises(body: Any, status: int):
    for answer in (answer_to_retrieval(status, body, ONE_NUMBER), answer_to_search(status, body)):
        assert not isinstance(answer, Found | SupersededBy)
    assert isinstance(code_of(body), str)


@pytest.mark.parametrize("mark", ["R", "V", "REDACTED", "X"])
def test_of_a_sensitive_record_no_location_is_held_whatever_was_sent(mark: str):
    person = person_of(a_patient(mark=mark))

    assert person is not None
    assert person.is_restricted
    assert person.addresses == ()
    assert person.as_record("pds").addresses == ()


@pytest.mark.parametrize("mark", ["U", None])
def test_an_ordinary_record_tells_its_address(mark: str | None):
    person = person_of(a_patient(mark=mark))

    assert person is not None
    assert not person.is_restricted
    assert person.addresses == (Address("home", ("12 Denmark Hill",), None, "SE5 8AZ"),)


def test_the_current_name_stands_first_and_a_first_birth_proves_no_twin():
    person = person_of(a_patient())

    assert person is not None
    assert [name.family for name in person.names] == ["OKAFOR", "Eze"]
    assert person.birth_order is None
    assert (twin := person_of(a_patient(multipleBirthInteger=2))) and twin.birth_order == "2"
    assert (other := person_of(a_patient(multipleBirthInteger=9))) and other.birth_order is None


def test_nobody_can_be_read_off_what_the_port_prints():
    answer = answer_to_retrieval(200, a_patient(), ONE_NUMBER)

    assert not any(word in repr(answer) for word in (ONE_NUMBER, "OKAFOR", "1990", "SE5"))


# -- whose number -----------------------------------------------------------------------------------------------------


def known(**what: Any) -> NormalisedRecord:
    return a_normalised("9", nhs_number=ONE_NUMBER, status="01", **what)


RESTRICTED = {"restricted": True, "line": None, "postcode": None}


@pytest.mark.parametrize(
    ("record", "other", "expected"),
    [
        # the same person
        ({}, {}, Agreement.SAME),
        ({"given": "Amarah"}, {}, Agreement.SAME),
        ({"family": "Eze", "line": "1 New Road", "postcode": "E1 4NS"}, {}, Agreement.SAME),
        ({"born_on": "1990-14-02"}, {}, Agreement.OPEN),
        ({"born_on": "1990-02-15"}, {}, Agreement.SAME),
        ({}, RESTRICTED, Agreement.SAME),
        # somebody else
        ({}, {"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "gender": "male"}, Agreement.ANOTHER),
        ({}, {"given": "Kevin", "family": "Blackwood"}, Agreement.ANOTHER),
        ({}, {"born_on": "1951-07-30", "family": "Blackwood"}, Agreement.ANOTHER),
        # a twin: all but the given name agrees
        ({"given": "Chidi"}, {}, Agreement.ANOTHER),
        ({"birth_order": "1"}, {"birth_order": "2"}, Agreement.ANOTHER),
        # too little
        ({"born_on": None}, {}, Agreement.OPEN),
        ({"born_on": "1951-07-30"}, {}, Agreement.OPEN),
        ({"given": (), "line": None, "postcode": None}, {}, Agreement.OPEN),
        # without a given name: two other items
        ({"given": ()}, {}, Agreement.SAME),
        ({"given": (), "family": "Blackwood"}, {}, Agreement.OPEN),
    ],
)  # fmt: skip
def test_a_number_and_a_birth_date_never_do_alone(record: Any, other: Any, expected: Agreement):
    asked = a_normalised(nhs_number=ONE_NUMBER, **record)

    assert agreement_by_number(asked, known(**other), MODEL) is expected


@pytest.mark.parametrize("postcode", ["SE5 8AZ", "E1 4NS"])
@pytest.mark.parametrize("family", ["Okafor", "Blackwood"])
@pytest.mark.parametrize("given_name", ["Amara", ""])
def test_where_somebody_protected_lives_plays_no_part(postcode: str, family: str, given_name: str):
    record = a_normalised(nhs_number=ONE_NUMBER, postcode=postcode, family=family, given=given_name)
    elsewhere = a_normalised(
        nhs_number=ONE_NUMBER, postcode="W1A 1AA", line="5 Far Lane", family=family, given=given_name
    )
    protected = known(restricted=True)

    for rule in (agreement_by_number, agreement_by_search):
        assert rule(record, protected, MODEL) is rule(elsewhere, protected, MODEL)


@pytest.mark.parametrize(
    ("record", "other", "expected"),
    [
        ({}, {}, Agreement.SAME),
        ({"family": "Eze"}, {"previous_family": "Eze"}, Agreement.SAME),
        # by names and birth date alone
        ({"line": "1 New Road", "postcode": "E1 4NS"}, {}, Agreement.OPEN),
        ({"line": None, "postcode": None}, {}, Agreement.OPEN),
        ({}, RESTRICTED, Agreement.OPEN),
        # by something short of them
        ({"born_on": "1990-02"}, {}, Agreement.OPEN),
        ({"born_on": "1990-02-15"}, {}, Agreement.OPEN),
        ({"given": "Amarah"}, {}, Agreement.OPEN),
        ({"given": "Chidi"}, {}, Agreement.OPEN),
        ({"gender": "male"}, {}, Agreement.OPEN),
        ({"given": "Baby"}, {}, Agreement.OPEN),
    ],
)
def test_whoever_a_search_found_is_the_person_by_all_of_their_names_their_birth_date_and_home(
    record: Any, other: Any, expected: Agreement
):
    assert agreement_by_search(a_normalised(**record), known(**other), MODEL) is expected


# -- a record with what was found -------------------------------------------------------------------------------------


def a_finding(outcome: Outcome, number: str | None = None, **more: Any) -> Finding:
    return Finding(7, outcome, "pds", "2026-11-20T12:00:00+00:00", number, **more)


@pytest.mark.parametrize(
    ("said", "finding", "state", "usable"),
    [
        # what the source claims
        ((ONE_NUMBER, None), a_finding(Outcome.VERIFIED), NumberState.VERIFIED, (ONE_NUMBER,)),
        ((ONE_NUMBER, "02"), a_finding(Outcome.VERIFIED), NumberState.VERIFIED, (ONE_NUMBER,)),
        ((ONE_NUMBER, None), a_finding(Outcome.SUPERSEDED, OTHER_NUMBER), NumberState.SUPERSEDED, (ONE_NUMBER, OTHER_NUMBER)),
        ((ONE_NUMBER, None), a_finding(Outcome.CONFLICTING), NumberState.CONFLICTING, ()),
        ((ONE_NUMBER, None), a_finding(Outcome.WITHDRAWN), NumberState.WITHDRAWN, ()),
        ((ONE_NUMBER, None), a_finding(Outcome.NOT_FOUND), NumberState.WITHDRAWN, ()),
        ((ONE_NUMBER, None), a_finding(Outcome.NOT_A_NUMBER), NumberState.WITHDRAWN, ()),
        ((ONE_NUMBER, None), a_finding(Outcome.UNSURE), NumberState.CLAIMED, (ONE_NUMBER,)),
        ((ONE_NUMBER, None), a_finding(Outcome.FOUND, OTHER_NUMBER), NumberState.CLAIMED, (ONE_NUMBER,)),
        # what the source says itself stands, but that a number was superseded
        ((ONE_NUMBER, "01"), a_finding(Outcome.CONFLICTING), NumberState.VERIFIED, (ONE_NUMBER,)),
        ((ONE_NUMBER, "01"), a_finding(Outcome.SUPERSEDED, OTHER_NUMBER), NumberState.SUPERSEDED, (ONE_NUMBER, OTHER_NUMBER)),
        ((ONE_NUMBER, "04"), a_finding(Outcome.VERIFIED), NumberState.WITHDRAWN, ()),
        ((ONE_NUMBER, "05"), a_finding(Outcome.VERIFIED), NumberState.CONFLICTING, ()),
        (("9990000000", None), a_finding(Outcome.VERIFIED), NumberState.INVALID, ()),
        # what the source did not send
        ((None, None), a_finding(Outcome.FOUND, OTHER_NUMBER), NumberState.VERIFIED, (OTHER_NUMBER,)),
        ((None, None), a_finding(Outcome.NOT_FOUND), None, ()),
        ((None, None), a_finding(Outcome.TOO_MANY), None, ()),
        ((None, None), a_finding(Outcome.UNSURE), None, ()),
    ],
)  # fmt: skip
def test_what_a_number_is_worth_with_what_was_found(
    said: tuple[str | None, str | None], finding: Finding, state: NumberState | None, usable: tuple[str, ...]
):
    record = as_traced(a_source_record(nhs_number=said[0], status=said[1]), finding)

    evidence = record.evidence()
    assert (evidence.state if evidence else None) is state
    assert record.usable_numbers == usable
    if state is NumberState.VERIFIED and said[1] != "01":
        assert evidence is not None
        assert (evidence.verified_by, str(evidence.verified_at)) == ("pds", "2026-11-20 12:00:00+00:00")


@given(
    outcome=st.sampled_from(Outcome),
    number=st.sampled_from((None, ONE_NUMBER)),
    status=st.sampled_from((None, "01", "02", "04", "05")),
    is_restricted=st.booleans(),
)
def test_a_finding_adds_to_what_is_known_of_a_number_and_changes_nothing_else(
    outcome: Outcome, number: str | None, status: str | None, is_restricted: bool
):
    record = a_source_record(nhs_number=number, status=status)
    finding = a_finding(outcome, OTHER_NUMBER, is_restricted=is_restricted)

    read = as_traced(record, finding)

    assert Finding.from_text(finding.to_text()) == finding
    assert read == as_traced(read, None) and as_traced(record, None) == record
    assert number is None or read.nhs_number == number
    assert (read.names, read.birth_date, read.addresses) == (
        record.names,
        record.birth_date,
        record.addresses,
    )
    assert (read.restricted is True) == is_restricted
    if outcome in (Outcome.VERIFIED, Outcome.SUPERSEDED, Outcome.FOUND, Outcome.CONFLICTING):
        # Read by any model, it reads like what the source might have said.
        assert normalise(read, MODEL).number in ("", ONE_NUMBER, OTHER_NUMBER)


@pytest.mark.parametrize(
    ("outcome", "change", "holds"),
    [
        (Outcome.VERIFIED, {"postcode": "E1 4NS"}, True),
        (Outcome.VERIFIED, {"family": "Eze"}, True),
        (Outcome.VERIFIED, {"phone": "07700900123"}, True),
        (Outcome.VERIFIED, {"given": "Chidi"}, False),
        (Outcome.VERIFIED, {"born_on": "1990-02-15"}, False),
        (Outcome.VERIFIED, {"nhs_number": OTHER_NUMBER}, False),
        (Outcome.VERIFIED, {"nhs_number": None}, False),
        (Outcome.CONFLICTING, {"nhs_number": THIRD_NUMBER}, False),
    ],
)
def test_a_finding_holds_for_later_versions_that_ask_the_same(outcome: Outcome, change: Any, holds: bool):
    of = a_source_record(nhs_number=ONE_NUMBER)
    later = a_source_record(**({"nhs_number": ONE_NUMBER} | change))
    finding = a_finding(outcome)

    assert still_holds(finding, of, later) is holds
    assert carried([(of, finding), (of, None)], later) == (finding if holds else None)


@pytest.mark.parametrize("change", [{"postcode": "E1 4NS"}, {"family": "Eze"}, {"nhs_number": OTHER_NUMBER}])
def test_a_number_that_was_found_is_let_go_with_anything_that_it_was_found_by(change: Any):
    of = a_source_record()

    assert still_holds(a_finding(Outcome.FOUND, ONE_NUMBER), of, a_source_record(phone="07700900123"))
    assert not still_holds(a_finding(Outcome.FOUND, ONE_NUMBER), of, a_source_record(**change))


# -- made-up people ---------------------------------------------------------------------------------------------------


def test_a_simulator_takes_nobody_who_might_be_real():
    nine = "401000001"  # in the range of the living; put together here, so that it stands nowhere
    issued = f"{nine}{check_digit(nine)}"
    assert check_made_up([Known(TracedPerson(ONE_NUMBER))])

    for one in (Known(TracedPerson(issued)), Known(TracedPerson(ONE_NUMBER), superseded=(issued,))):
        with pytest.raises(Invalid, match="not-a-sample"):
            check_made_up([one])


def test_the_people_of_a_sample_are_those_of_its_truth():
    people = people_of_sample(300, 1)

    assert len(people) > 50
    assert people == people_of_sample(300, 1)
    assert all(
        one.person.number.startswith("999") and one.person.names and one.person.birth_date for one in people
    )
    assert not any(json.dumps(repr(one)).count(one.person.number) for one in people)


def test_a_traced_person_as_a_record_reads_like_one():
    person = TracedPerson(
        ONE_NUMBER, (HumanName("usual", None, ("Amara",), "Okafor"),), "1990-02-14", "female"
    )

    record: SourceRecord = person.as_record("pds")

    assert normalise(record, MODEL).number_state == "v"
    assert replace(person, is_restricted=True).as_record("pds").restricted is True
