"""What a look at a person says of who looked: signals from marks, and the order in which alerts are to be seen."""

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, builds, frozensets, lists, sampled_from

from consent.facts.staff import COMPARED, NEEDS, Marks, not_evaluated
from consent.rules.watch import EXPLAINABLE, RANKS, in_order, is_explainable, rank_of, signals_of

_MARKS = frozensets(sampled_from([b"a", b"b", b"c"]), max_size=2)
MARKS = builds(Marks, numbers=_MARKS, surnames=_MARKS, persons=_MARKS, addresses=_MARKS)
SIGNALS = frozensets(sampled_from(sorted(RANKS)), min_size=1)

HER = Marks(
    numbers=frozenset({b"n"}),
    surnames=frozenset({b"s"}),
    persons=frozenset({b"p"}),
    addresses=frozenset({b"a"}),
)
NOBODY = Marks()


def marks(numbers: str = "", surnames: str = "", persons: str = "", addresses: str = "") -> Marks:
    told = (numbers, surnames, persons, addresses)
    return Marks(*(frozenset(one.encode() for one in text.split()) for text in told))


# fmt: off
@pytest.mark.parametrize(
    ("user", "colleagues", "expected"),
    [
        (marks("n", "s", "p", "a"), [], ("own-record",)),
        (marks("n"),                [], ("own-record",)),
        (marks("", "", "p"),        [], ("own-record",)),
        (marks("m", "s", "p", "a"), [], ("same-address", "same-surname")),   # a twin: another number
        (marks("m", "s"),           [], ("same-surname",)),
        (marks("m", "t", "q", "a"), [], ("same-address",)),
        (marks("m", "t", "q", "b"), [marks("n")], ("colleague",)),
        (marks("m", "t", "q", "b"), [marks("", "", "p")], ("colleague",)),
        (marks("m", "t", "q", "b"), [marks("k", "", "p")], ()),              # another of that name and birth date
        (marks("m", "t", "q", "b"), [], ()),
        (NOBODY,                    [NOBODY], ()),
    ],
)
# fmt: on
def test_what_a_look_says_of_who_looked(user: Marks, colleagues: list[Marks], expected: tuple[str, ...]):
    assert signals_of(user, HER, colleagues) == expected


@given(user=MARKS, patient=MARKS, colleagues=lists(MARKS, max_size=3))
def test_what_is_not_known_agrees_with_nothing(user: Marks, patient: Marks, colleagues: list[Marks]):
    found = signals_of(user, patient, colleagues)

    assert signals_of(NOBODY, patient, ()) == signals_of(user, NOBODY, colleagues) == ()
    assert in_order(found) == found
    assert set(found) <= NEEDS.keys()
    without = Marks(patient.numbers, patient.surnames, patient.persons)
    assert signals_of(user, without, colleagues) == tuple(one for one in found if one != "same-address")


@given(signals=SIGNALS, more=SIGNALS, was_confirmed=booleans())
def test_more_that_agrees_never_ranks_lower(signals: frozenset[str], more: frozenset[str], was_confirmed: bool):
    rank = rank_of(signals, was_confirmed=was_confirmed)

    assert 0 <= rank_of(signals | more, was_confirmed=True) <= rank <= rank_of(signals) <= 5
    assert rank_of(signals) <= min(RANKS[one] for one in signals)


def test_nobody_is_explained_into_their_own_record_or_out_of_an_emergency():
    assert EXPLAINABLE.isdisjoint({"own-record", "emergency-opened", "emergency-renewed", "ticket-replayed"})
    assert is_explainable({"same-surname", "colleague"})
    assert not is_explainable({"same-surname", "own-record"})
    assert not is_explainable(())


@pytest.mark.parametrize(
    ("compares", "missing"),
    [
        (None, ("own-record", "same-address", "colleague", "same-surname")),
        ({"surname"}, ("own-record", "same-address", "colleague")),
        ({"surname", "birth_date"}, ("same-address",)),
        ({"nhs_number"}, ("same-address", "same-surname")),
        ({"address"}, ("own-record", "colleague", "same-surname")),
        (set(COMPARED), ()),
    ],
)
def test_what_a_file_cannot_give_is_not_evaluated(compares: set[str] | None, missing: tuple[str, ...]):
    assert not_evaluated(None if compares is None else frozenset(compares)) == missing
