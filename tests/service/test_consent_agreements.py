"""Agreements over time: approved, changed by those who saw the newest version, ended, planned, and laid out as a matrix."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consent.service.agreements import (
    end_agreement,
    get_agreement,
    list_agreements,
    plan_change,
    read_matrix,
    record_agreement,
)
from foundation.errors import Conflict, Invalid, NotFound
from tests.service.consent_world import AMBULANCE, FEED, PRACTICE, SLAM, UCLH, World, a_world, the_agreement


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


def a_pair(world: World, **changes):
    made = the_agreement(world.clock.now())
    told = {"name": "two trusts", "providers": frozenset({SLAM}), "consumers": frozenset({UCLH}),
            "categories": frozenset({"letters", "medication"}), "approved_by": "The board, 2 November 2026"}  # fmt: skip
    return replace(made, **{**told, **changes})


def test_who_approved_it_is_kept_with_each_version(world: World):
    recorded = record_agreement(world.consent, a_pair(world), FEED)
    record_agreement(world.consent, a_pair(world, approved_by="The board, 9 November 2026"), FEED)

    rows = get_agreement(world.consent, recorded.agreement.fact.agreement_id)

    assert [row.approved_by for row in rows] == ["The board, 9 November 2026", "The board, 2 November 2026"]
    assert record_agreement(world.consent, a_pair(world, approved_by=None), FEED).state == "unchanged"
    with pytest.raises(Invalid, match="approver-format"):
        record_agreement(world.consent, a_pair(world, approved_by=" "), FEED)
    with pytest.raises(NotFound, match="agreement-unknown"):
        get_agreement(world.consent, 17)


def test_of_two_who_saw_the_same_version_the_second_is_told(world: World):
    record_agreement(world.consent, a_pair(world), FEED, if_version=0)
    with pytest.raises(Conflict, match="agreement-changed"):
        record_agreement(world.consent, a_pair(world), FEED, if_version=0)
    record_agreement(world.consent, a_pair(world, categories=frozenset({"notes"})), FEED, if_version=1)

    with pytest.raises(Conflict, match="agreement-changed"):
        record_agreement(world.consent, a_pair(world, categories=frozenset({"letters"})), FEED, if_version=1)


def test_an_end_is_a_new_version_and_lies_not_in_the_past(world: World):
    number = record_agreement(world.consent, a_pair(world), FEED).agreement.fact.agreement_id
    now = world.clock.now()
    with pytest.raises(Invalid, match="end-in-past"):
        end_agreement(world.consent, number, now - timedelta(days=1), FEED)

    ended = end_agreement(world.consent, number, now + timedelta(days=10), FEED, if_version=1)

    assert (ended.agreement.fact.version, ended.agreement.fact.ends_at) == (2, now + timedelta(days=10))
    assert ended.agreement.approved_by == "The board, 2 November 2026"
    world.clock.advance(timedelta(days=11))
    with pytest.raises(Invalid, match="agreement-ended"):
        end_agreement(world.consent, number, world.clock.now() + timedelta(days=1), FEED)


def test_a_planned_change_leaves_no_gap_and_changes_nothing_before_its_day(world: World):
    number = record_agreement(world.consent, a_pair(world), FEED).agreement.fact.agreement_id
    day = world.clock.now() + timedelta(days=30)
    later = a_pair(world, name="two trusts from spring", starts_at=day, categories=frozenset({"letters"}))

    ended, begun = plan_change(world.consent, number, later, FEED, if_version=1)

    assert (ended.agreement.fact.ends_at, begun.agreement.fact.starts_at) == (day, day)
    assert ended.agreement.fact.categories == {"letters", "medication"}
    before = read_matrix(world.consent, day - timedelta(minutes=1)).pairs[SLAM, UCLH]
    after = read_matrix(world.consent, day).pairs[SLAM, UCLH]
    assert "two trusts" in {row.name for row in before.in_force}
    assert {"two trusts from spring"} == {row.name for row in before.coming}
    assert "two trusts from spring" in {row.name for row in after.in_force}
    with pytest.raises(Invalid, match="agreement-name-taken"):
        plan_change(world.consent, number, replace(later, name="region"), FEED)


def test_the_matrix_counts_what_stands_for_everyone_too_and_pages_both_ways(world: World):
    record_agreement(world.consent, a_pair(world), FEED)
    record_agreement(
        world.consent, a_pair(world, name="to the practice", consumers=frozenset({PRACTICE})), FEED
    )

    found = read_matrix(world.consent, world.clock.now(), providers=1, consumers=2)

    assert (found.providers, found.consumers) == (("*",), ("*", UCLH))
    assert (found.providers_after, found.consumers_after) == ("*", UCLH)
    rest = read_matrix(world.consent, world.clock.now(), providers_after="*", consumers_after=UCLH)
    assert (rest.providers, rest.consumers, rest.providers_after) == ((SLAM,), (PRACTICE,), None)
    pair = rest.pairs[SLAM, PRACTICE]
    assert {row.name for row in pair.in_force} == {"region", "to the practice"}
    assert rest.names == {SLAM: f"Organisation {SLAM}", PRACTICE: f"Organisation {PRACTICE}"}
    only = read_matrix(world.consent, world.clock.now(), category="social-care", purpose="HRESCH")
    assert (only.providers, only.pairs) == ((), {})


def test_agreements_of_one_provider_and_consumer_are_listed(world: World):
    record_agreement(world.consent, a_pair(world), FEED)

    def names(**asked) -> list[str]:
        return [row.name for row in list_agreements(world.consent, **asked)]

    assert names(provider=SLAM, consumer=UCLH) == ["region", "two trusts"]
    assert names(provider=SLAM, consumer=AMBULANCE) == ["region"]
    assert names(provider=SLAM, consumer=UCLH, limit=1) == ["region"]


def test_those_that_fit_are_found_however_many_come_before_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_agreement(world.consent, a_pair(world), FEED)
    monkeypatch.setattr("consent.service.agreements.READ_AT_ONCE", 1)
    monkeypatch.setattr("consent.service.agreements.MOST_IN_MATRIX", 1)

    found = list_agreements(world.consent, provider=SLAM, consumer=UCLH)

    assert [row.name for row in found] == ["region", "two trusts"]
