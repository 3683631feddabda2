"""What is cleaned by the column is what the functions of ``mpi.matching.normalise`` say of each value, wherever a column claims to know."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mpi.bulk.plain import address_words, emails, identifiers, nhs_numbers, phones, plain_family, plain_given
from mpi.matching.model import fingerprint
from mpi.matching.normalise import email_of, identifier_of, names_of, number_of, phone_of, words_of
from mpi.records import HumanName
from tests.core.matching_builders import MODEL, ONE_NUMBER, OTHER_NUMBER

ANY_TEXT = st.text(max_size=30)
DIGITS = st.text("0123456789", max_size=14)
SHARED = replace(MODEL, shared=frozenset(fingerprint(one) for one in ("phone:07700900123", "email:a@b.org")))


def texts(values: Sequence[str]) -> Any:
    return pa.array(values, pa.string())


def lists_of(one: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(one, min_size=1, max_size=20)


def holds(found: tuple[Any, Any], values: Sequence[Any], say: Callable[..., str]) -> None:
    cleaned, is_plain = found
    for value, said, plain in zip(values, cleaned.to_pylist(), is_plain.tolist(), strict=True):
        if plain:
            assert said == say(value)


@given(lists_of(st.one_of(DIGITS, ANY_TEXT, st.sampled_from((ONE_NUMBER, OTHER_NUMBER, "0000000000", "")))))
def test_nhs_numbers(values: list[str]):
    for model in (MODEL, replace(MODEL, accept_reserved_numbers=False)):
        holds(
            nhs_numbers(texts(values), model),
            values,
            lambda text, model=model: number_of(text, "01", model, {})[0],
        )


def test_plain_values_of_every_kind_are_claimed():
    """A column that claims nothing would pass every other test here."""
    spaced = f"{ONE_NUMBER[:3]} {ONE_NUMBER[3:6]}-{ONE_NUMBER[6:]}"
    assert nhs_numbers(texts([ONE_NUMBER, spaced, "1234567890"]), MODEL)[1].tolist() == [True, True, False]
    assert not nhs_numbers(texts([ONE_NUMBER]), replace(MODEL, accept_reserved_numbers=False))[1].any()
    called = [
        "07700 900123",
        "+44 (0)7700 900123",
        "+447700900124",
        "7700900125",
        "00447700900123",
        "07777777777",
    ]
    assert phones(texts(called), MODEL)[1].tolist() == [True, True, True, True, False, False]
    assert phones(texts(called), SHARED)[1].tolist() == [False, False, True, True, False, False]
    written = ["A.Okafor@Example.org", "a@b.org", "none", "é@example.org", "a b@example.org"]
    assert emails(texts(written), SHARED)[1].tolist() == [True, False, False, False, False]
    assert identifiers(texts(["card", "card", ""]), texts(["A-12", "000", "A"]))[1].tolist() == [
        True,
        False,
        False,
    ]
    assert plain_given(texts(["Amara", "", "Baby", "Mary Ann", "Dr", "Unknwn", "Zoë"]), MODEL).tolist() == [
        True, True, False, False, False, False, False,
    ]  # fmt: skip
    assert plain_family(texts(["Okafor", "", "Unknown", "Zzzz", "O'Brien", "Zając"]), MODEL).tolist() == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    lines = ["12 Denmark Hl\nFlat 3", "Łódź Street 4"]
    assert address_words(texts(lines), ["London"], np.zeros(2, np.int64), MODEL)[2].tolist() == [True, False]


@given(
    lists_of(
        st.one_of(
            DIGITS,
            ANY_TEXT,
            st.from_regex(r"(\+44|0|44|0044|\(0\))? ?[1-9][0-9]{3} [0-9]{6}", fullmatch=True),
        )
    )
)
def test_phones(values: list[str]):
    for model in (MODEL, SHARED):
        holds(phones(texts(values), model), values, lambda text, model=model: phone_of(text, model))


@given(lists_of(st.one_of(ANY_TEXT, st.emails(), st.sampled_from(("none@nhs.net", "a@b.org", "a@b@c.d")))))
def test_emails(values: list[str]):
    for model in (MODEL, SHARED):
        holds(emails(texts(values), model), values, lambda text, model=model: email_of(text, model))


@given(
    lists_of(st.tuples(st.one_of(ANY_TEXT, st.just("Card ")), st.one_of(ANY_TEXT, DIGITS, st.just("a-a-A"))))
)
def test_identifiers(values: list[tuple[str, str]]):
    values = [(system.strip(), value.strip()) for system, value in values]
    systems, codes = (texts(one) for one in zip(*values, strict=True))
    holds(identifiers(systems, codes), values, lambda pair: identifier_of(*pair))


@given(
    lists_of(
        st.one_of(
            ANY_TEXT,
            st.sampled_from(("Baby", "TWIN", "unknwn", "Not", "amara", "Dr", "Mary Jane")),
            st.text("abzAZ", max_size=9),
        )
    ),
    ANY_TEXT,
)
def test_given_names(values: list[str], middle: str):
    further = tuple(word for word in middle.split() if word.isascii() and word.isalpha())
    for text, is_plain in zip(values, plain_given(texts(values), MODEL).tolist(), strict=True):
        if is_plain and text:
            names = names_of((HumanName(given=(text, *further)),), MODEL)
            assert names.given == (text.lower(),)
            assert names.middle == tuple(dict.fromkeys(word.lower() for word in further))
            assert (names.birth_order, names.is_placeholder) == (0, False)


@given(
    lists_of(
        st.one_of(
            ANY_TEXT,
            st.sampled_from(("Unknown", "ZZZtest", "xxtest", "Baby", "de la Cruz", "Smith")),
            st.text("abzAZ", max_size=9),
        )
    )
)
def test_family_names(values: list[str]):
    for text, is_plain in zip(values, plain_family(texts(values), MODEL).tolist(), strict=True):
        if is_plain and text:
            names = names_of((HumanName(family=text),), MODEL)
            assert names == names_of((), MODEL)._replace(family=(text.lower(),))


WORDS = st.sampled_from(
    (
        "12",
        "3a",
        "Mill",
        "Rd",
        "Road",
        "London",
        "Flat",
        "No",
        "Fixed",
        "Abode",
        "St.",
        "O'Neil",
        "12",
        "the",
        "_",
        "\n",
    )
)


@given(lists_of(st.tuples(st.one_of(ANY_TEXT, st.lists(WORDS, max_size=8).map(" ".join)), st.integers(0, 2))))
def test_addresses(values: list[tuple[str, int]]):
    towns = ["", "London", "Kingston upon Mill"]
    numbers, words, is_plain = address_words(
        texts([text for text, _ in values]), towns, np.array([town for _, town in values]), MODEL
    )
    for (text, town), *said, plain in zip(
        values, numbers.to_pylist(), words.to_pylist(), is_plain.tolist(), strict=True
    ):
        if plain:
            lines = tuple(part for part in (one.strip() for one in text.split("\n")) if part)
            assert tuple(said) == words_of(lines, towns[town], MODEL)
