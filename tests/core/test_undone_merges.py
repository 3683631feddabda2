"""Persons that came apart, worked out from the history of their records: what stood as one, since when, and what a look at it saw."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mpi.records.past import MembershipChange, Span, undone_merges, whose

START = datetime(2026, 3, 1, tzinfo=UTC)
RECORDS = (1, 2, 3, 4, 5)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def history(*acts: dict[int, int | None]) -> list[MembershipChange]:
    """One act an hour, each a map of records to the persons that they come to."""
    holder: dict[int, int | None] = {}
    changes: list[MembershipChange] = []
    for hour, act in enumerate(acts):
        for record, person in act.items():
            before = holder.get(record)
            if before != person:
                changes.append(
                    MembershipChange(
                        len(changes) + 1, record, before, person, "record-linked", None, at(hour)
                    )
                )
                holder[record] = person
    return changes


def test_a_merge_that_is_undone_stood_from_the_merge_to_its_undoing():
    changes = history({1: 1}, {2: 2}, {2: 1}, {2: 2})

    (found,) = undone_merges(changes, 1)

    assert (found.since, found.at) == (at(2), at(3))
    assert found.parts == {1: (1,), 2: (2,)}
    assert found.stood == {1: (Span(at(2), at(3)),), 2: (Span(at(2), at(3)),)}


def test_persons_that_were_never_one_have_come_apart_never():
    assert undone_merges(history({1: 1}, {2: 2}, {3: 1}), 1) == []


def test_a_person_that_goes_whole_to_another_has_not_come_apart():
    assert undone_merges(history({1: 1, 2: 2}, {3: 2}, {2: 1, 3: 1}), 2) == []


def test_a_record_that_is_erased_is_of_no_part():
    assert undone_merges(history({1: 1}, {2: 1}, {2: None}), 1) == []


def test_others_that_part_as_the_record_between_them_is_erased_have_come_apart():
    (found,) = undone_merges(history({1: 1}, {2: 1}, {3: 1}, {1: None, 2: 2, 3: 3}), 1)

    assert found.parts == {2: (2,), 3: (3,)}
    assert (found.since, found.at) == (at(2), at(3))
    assert found.stood[1] == (Span(at(2), at(3)),)


def test_a_record_that_left_before_was_looked_at_with_the_others_until_then():
    changes = history({1: 1, 2: 2, 3: 3}, {2: 1}, {3: 1}, {3: 3}, {2: 2})

    _, found = undone_merges(changes, 1)

    assert found.parts == {1: (1,), 2: (2,)}
    assert found.stood[3] == (Span(at(2), at(3)),)


def test_a_record_that_came_late_was_not_looked_at_with_the_others_before():
    changes = history({1: 1, 2: 2, 3: 3}, {2: 1}, {3: 1}, {2: 2})

    (found,) = undone_merges(changes, 1)

    assert found.since == at(1)
    assert found.stood[3] == (Span(at(2), at(3)),)


def test_a_second_merge_of_the_same_is_told_by_itself():
    changes = history({1: 1, 2: 2}, {2: 1}, {2: 2}, {2: 1}, {2: 2})

    first, second = undone_merges(changes, 1)

    assert (first.since, first.at, second.since, second.at) == (at(1), at(2), at(3), at(4))
    assert first.change_id != second.change_id


def test_a_person_whose_own_record_leaves_too_comes_apart():
    changes = history({1: 1, 2: 1, 3: 3}, {1: 3, 2: 2})

    (found,) = undone_merges(changes, 1)

    assert found.parts == {2: (2,), 3: (1,)}


ACTS = st.lists(st.dictionaries(st.sampled_from(RECORDS), st.sampled_from((*RECORDS, None))), max_size=12)


@given(acts=ACTS, person=st.sampled_from(RECORDS))
def test_a_look_counts_where_its_person_held_records_of_two_parts_and_nowhere_else(acts, person):
    changes = history(*acts)

    for found in undone_merges(changes, person):
        part_of = {number: part for part, numbers in found.parts.items() for number in numbers}
        after = whose(changes, found.at)
        assert all(after[number] == part for number, part in part_of.items())
        assert len(found.parts) >= 2
        for hour in range(len(acts)):
            holders = whose(changes, at(hour))
            for number in RECORDS:
                beside = {
                    part
                    for other, part in part_of.items()
                    if holders.get(other) is not None and holders.get(other) == holders.get(number)
                }
                was_mixed = found.since <= at(hour) < found.at and len(beside) > 1
                assert found.covers(number, at(hour)) == was_mixed


@given(acts=ACTS, person=st.sampled_from(RECORDS))
def test_what_came_apart_had_been_one_just_before(acts, person):
    changes = history(*acts)

    for found in undone_merges(changes, person):
        before = whose(changes, found.at - timedelta(microseconds=1))
        assert {before[number] for numbers in found.parts.values() for number in numbers} == {person}


@given(acts=ACTS, person=st.sampled_from(RECORDS))
def test_what_came_later_changes_nothing_of_it(acts, person):
    changes = history(*acts)

    earlier = undone_merges(history(*acts[:-1]), person)

    assert undone_merges(changes, person)[: len(earlier)] == earlier
