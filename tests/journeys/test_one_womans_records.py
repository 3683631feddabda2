"""The story of one woman's records, told once on SQLite and once on PostgreSQL with Redis, by processes of their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.journey import AMBULANCE, CARE_HOME, NEIGHBOUR, PRACTICE, SLAM, UCLH, tell
from examples.world import open_world

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="module", params=ENGINES)
def seen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What was seen when the story was told, to be looked at from several sides."""
    folder: Path = tmp_path_factory.mktemp("world")
    environment: dict[str, str] = {}
    if request.param == "postgresql":
        environment = request.getfixturevalue("production_stores")
    with open_world(folder, environment) as world:
        yield tell(world, say=lambda _line: None)


def test_four_organisations_records_are_one_person(seen: dict[str, Any]):
    assert len(seen["persons_of_four"]) == 1


def test_that_a_mental_health_trust_knows_her_is_not_told_to_the_queue(seen: dict[str, Any]):
    assert seen["member_organisations"] == sorted([PRACTICE, UCLH, CARE_HOME])
    assert SLAM not in seen["member_organisations"]


def test_why_they_are_one_is_told_by_edges_and_fields(seen: dict[str, Any]):
    assert seen["why"]["answer"] == "one-person"
    assert len(seen["why"]["steps"]) == 2
    assert all(step["reasons"] for step in seen["why"]["steps"])


def test_the_twin_is_somebody_else(seen: dict[str, Any]):
    assert seen["twin_person_id"] != seen["person_id"]


def test_a_doubtful_record_waits_until_people_decide(seen: dict[str, Any]):
    assert seen["fifth_alone"]
    assert seen["task_kind"] == "possible-match"
    assert seen["stale_decision"][0] == 409
    assert seen["fifth_joined"]


def test_the_crew_matches_her_by_name_birth_date_and_street(seen: dict[str, Any]):
    assert seen["match"]["person_id"] == seen["person_id"]
    assert seen["match"]["grade"] in ("certain", "probable")
    assert seen["match_complete"]
    assert seen["match"]["reasons"]["birth_date"] == "agree"
    assert set(seen["match"]["reasons"].values()) <= {"agree", "close", "differ", "missing"}


def test_without_a_relationship_nothing_is_shared(seen: dict[str, Any]):
    assert seen["without_relationship"] == "DENY_OVERRIDABLE"


def test_the_release_leaves_the_mental_health_note_out(seen: dict[str, Any]):
    assert seen["release_outcome"] == "PERMIT_FILTERED"
    assert seen["shown_status"] == 200
    assert seen["shown"] == ["Discharge letter", "Medication list"]


def test_a_lost_reply_is_given_again(seen: dict[str, Any]):
    assert seen["repeated_equally"]


def test_the_decision_after_her_objection_is_a_no(seen: dict[str, Any]):
    assert seen["receipt"]["epoch"] > seen["release_epoch"]
    assert seen["after_objection"] == "DENY_OVERRIDABLE"
    assert "sharing preference" in seen["staff_text"]
    assert len(seen["receipt"]["leaf_hash"]) == 64


def test_an_unredeemed_ticket_dies_with_her_objection(seen: dict[str, Any]):
    status, items = seen["unredeemed"]

    assert status == 403
    assert not items


def test_her_possible_duplicate_is_covered_and_her_twin_is_not(seen: dict[str, Any]):
    assert seen["possible_person_id"] != seen["person_id"]
    assert seen["possible_is_binding"]
    assert "objection" in seen["possible_reasons"]
    assert "objection" not in seen["twin_reasons"]


def test_the_privacy_officers_report_says_who_saw_what(seen: dict[str, Any]):
    looks = [access for access in seen["report"]["accesses"] if access["items"]]

    assert [access["organisation"] for access in looks] == [AMBULANCE]
    assert {(one["category"], one["source"]) for one in looks[0]["items"]} == {
        ("medication", PRACTICE),
        ("letters", UCLH),
    }
    assert looks[0]["role"] == "R1070"
    assert NEIGHBOUR not in {access["organisation"] for access in seen["report"]["accesses"]}
