"""The National Data Opt-out: lists and answers to the letter of the national service, and what answers come to for a person."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.facts import OptOutAnswer, OptOutEvidence, OptOutState
from consent.facts.opt_out import evidence_of, parse_opt_out_state
from consent.facts.opt_out_file import REFUSED, list_name, read_answer, reconcile, write_list
from foundation.errors import Invalid
from mpi.records.nhs_number import check_digit

CLEAR, OUT = OptOutState.CLEAR, OptOutState.OPTED_OUT
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
A, B = 101, 102  # marks of two numbers


@st.composite
def nhs_numbers(draw: st.DrawFn) -> str:
    nine = draw(
        st.from_regex(r"999[0-9]{6}", fullmatch=True).filter(lambda one: check_digit(one) is not None)
    )
    return f"{nine}{check_digit(nine)}"


number_sets = st.frozensets(nhs_numbers().filter(lambda one: one != "9999999999"), min_size=1, max_size=12)

# -- types that cannot be read the wrong way round --------------------------------------------------------------------


@pytest.mark.parametrize("state", OptOutState)
def test_a_state_is_neither_true_nor_false(state: OptOutState) -> None:
    with pytest.raises(TypeError):
        bool(state)
    with pytest.raises(TypeError):
        not state  # noqa: B018


@pytest.mark.parametrize("wrong", [True, False, None, "clear", "opted-out", 0, 1])
def test_evidence_takes_a_state_and_nothing_that_looks_like_one(wrong: object) -> None:
    with pytest.raises(TypeError):
        OptOutEvidence(wrong, NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "true", "false", "yes", "no", "0", "1", "Clear", "CLEAR", "opted_out", " clear"]
)
def test_a_state_is_read_by_its_own_word_alone(text: str) -> None:
    with pytest.raises(Invalid, match="opt-out-state-unknown"):
        parse_opt_out_state(text)


# -- what answers come to ---------------------------------------------------------------------------------------------


def answer(state: OptOutState, key: int | None = A, *, record_id: int = 1, days_ago: int = 1) -> OptOutAnswer:
    return OptOutAnswer(record_id, state, NOW - days_ago * DAY, key)


@pytest.mark.parametrize(
    ("why", "answers", "verified", "expected"),
    [
        ("nothing is known", [], {A}, None),
        ("one number, clear", [answer(CLEAR)], {A}, (CLEAR, 1)),
        ("one number, opted out", [answer(OUT)], {A}, (OUT, 1)),
        ("the last answer of a number stands", [answer(OUT, days_ago=9), answer(CLEAR)], {A}, (CLEAR, 1)),
        ("… whichever record it came with", [answer(OUT, days_ago=9), answer(CLEAR, record_id=2)], {A}, (CLEAR, 1)),
        ("… and in the other direction", [answer(CLEAR, days_ago=9), answer(OUT)], {A}, (OUT, 1)),
        ("of two of one instant the one that opts out", [answer(CLEAR), answer(OUT, record_id=2)], {A}, (OUT, 1)),
        ("merged: one of two numbers is opted out", [answer(OUT, days_ago=9), answer(CLEAR, B)], {A, B}, (OUT, 9)),
        ("… and both are clear: as old as the older", [answer(CLEAR, days_ago=9), answer(CLEAR, B)], {A, B}, (CLEAR, 9)),
        ("… and one was never asked about", [answer(CLEAR)], {A, B}, None),
        ("clear of a number that nobody verified", [answer(CLEAR)], set(), None),
        ("clear of a number that was corrected since", [answer(CLEAR)], {B}, None),
        ("opted out under a number that nobody verified", [answer(OUT)], set(), (OUT, 1)),
        ("opted out under a number that was corrected since", [answer(OUT), answer(CLEAR, B, record_id=2)], {B}, (OUT, 1)),
        ("no number: asked about as a person", [answer(CLEAR, None)], set(), (CLEAR, 1)),
        ("… which says nothing of a verified number", [answer(CLEAR, None)], {A}, None),
        ("… but opts out all the same", [answer(OUT, None), answer(CLEAR)], {A}, (OUT, 1)),
    ],
)  # fmt: skip
def test_what_answers_come_to(why, answers, verified, expected) -> None:
    found = evidence_of(answers, verified)

    told = None if found is None else (found.state, (NOW - found.checked_at).days)
    assert told == expected, why


answers_drawn = st.lists(
    st.builds(
        OptOutAnswer,
        st.integers(1, 3),
        st.sampled_from(OptOutState),
        st.integers(0, 3).map(lambda days: NOW - days * DAY),
        st.sampled_from([None, A, B]),
    ),
    max_size=8,
)


@given(answers_drawn, st.frozensets(st.sampled_from([A, B])), st.randoms())
def test_order_does_not_matter(answers, verified, random) -> None:
    shuffled = list(answers)
    random.shuffle(shuffled)

    assert evidence_of(shuffled, verified) == evidence_of(answers, verified)


@given(answers_drawn, st.frozensets(st.sampled_from([A, B])), st.sampled_from([None, A, B]))
def test_one_more_opted_out_is_never_read_as_clear(answers, verified, key) -> None:
    newest = OptOutAnswer(9, OUT, NOW + DAY, key)

    found = evidence_of([*answers, newest], verified)

    assert found is not None and found.state is OUT


@given(answers_drawn, st.frozensets(st.sampled_from([A, B])), st.sampled_from([A, B]))
def test_one_more_verified_number_never_makes_anyone_clear(answers, verified, key) -> None:
    before, after = evidence_of(answers, verified), evidence_of(answers, verified | {key})

    if verified and after is not None and after.state is CLEAR:
        assert before is not None and before.state is CLEAR


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_list_is_to_the_letter_of_the_service() -> None:
    assert write_list(["9990000018", "999 000 0026"]) == "9990000018,\n9990000026,\n"
    assert list_name("8HQ50OT001", date(2020, 6, 3), 1) == "8HQ50OT001-030620-0001"


@pytest.mark.parametrize(
    ("numbers", "code", "row"),
    [
        (["9990000018", "9990000019"], "nhs-number-check", 2),
        (["999000001"], "nhs-number-length", 1),
        (["9999999999"], "nhs-number-placeholder", 1),
        (["9990000018", "9990000026", "999-000-0018"], "number-repeated", 3),
        ([], "list-empty", None),
    ],
)
def test_one_bad_number_and_no_list_is_written(numbers, code, row) -> None:
    with pytest.raises(Invalid) as caught:
        write_list(numbers)

    assert (caught.value.code, caught.value.row) == (code, row)
    assert "9990" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code", "row"),
    [
        (f"{REFUSED}\n", "list-refused", None),
        ("9990000018,\n9990000026", "answer-format", 2),  # cut short
        ("9990000018,\n99900", "answer-format", 2),
        ("9990000018,Y\n", "answer-format", 1),
        ("9990000018,9990000026,\n", "answer-format", 1),
        ("nhs_number\n9990000018,\n", "answer-format", 1),
        ("9990000018,\n\n9990000026,\n", "answer-format", 2),
        ("9990000019,\n", "nhs-number-check", 1),
        ("9990000018,\n9990000018,\n", "number-repeated", 2),
        ("\ufeff9990000018,\n", "answer-format", 1),
        ("٩٩٩٠٠٠٠٠١٨,\n", "answer-format", 1),
    ],
)
def test_an_answer_that_is_not_understood_in_full_is_refused_in_full(text, code, row) -> None:
    with pytest.raises(Invalid) as caught:
        read_answer(text)

    assert (caught.value.code, caught.value.row) == (code, row)


@given(number_sets, st.data())
def test_every_number_sent_comes_to_one_of_two_things(sent, data) -> None:
    returned = data.draw(st.frozensets(st.sampled_from(sorted(sent))))
    text = "".join(f"{one},\n" for one in sorted(returned, reverse=True))

    found = reconcile(sent, read_answer(text))

    assert found.clear | found.opted_out == sent and not found.clear & found.opted_out
    assert found.clear == returned, "what came back is clear: to swap the two would release who opted out"


@given(number_sets, number_sets)
def test_the_answer_to_another_list_is_refused(sent, returned) -> None:
    foreign = returned - sent
    if not foreign:
        return

    with pytest.raises(Invalid, match="answer-not-of-list"):
        reconcile(sent, returned, taken_back=len(foreign) - 1)
    assert reconcile(sent, returned, taken_back=len(foreign)).clear <= sent


@given(number_sets)
def test_a_list_reads_back_as_it_was_written(numbers) -> None:
    assert read_answer(write_list(sorted(numbers))) == numbers
