"""What needs no database of changing what is in force: who may, what a comment may hold, and figures that someone sent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.changes import (
    Figures,
    Governed,
    Tables,
    check_may_change,
    read_count,
    read_figures,
    read_instant,
    read_tally,
    read_word,
)
from foundation.comments import MAX_COMMENT, check_comment
from foundation.errors import Forbidden, Invalid
from foundation.principal import Principal

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ANNE = Principal("person", "anne", "RRV", frozenset({"matrix:write"}))
MATRIX = Governed(
    cast(Tables, SimpleNamespace(figures="shadow_run")),
    word="matrix",
    kind="publication",
    done="published",
    scope="matrix:write",
    not_approved="Ask somebody.",
    note=lambda *_: None,
)
TOLD: dict[str, Any] = {"lost": 3, "of": "r1", "made_at": NOW.isoformat()}


def read(told: Any) -> Figures | None:
    return read_figures(MATRIX, told, "r1", NOW, lambda one: ({"lost": read_count(one["lost"])}, one["of"]))


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (replace(ANNE, kind="system"), "approver-not-a-person"),
        (replace(ANNE, scopes=frozenset({"matrix:read"})), "scope-missing"),
    ],
)
def test_systems_and_those_without_the_scope_may_not(by: Principal, code: str):
    check_may_change(MATRIX, ANNE)

    with pytest.raises(Forbidden, match=code):
        check_may_change(MATRIX, by)


@pytest.mark.parametrize(
    ("comment", "code"),
    [
        (None, None),
        ("", None),
        ("two\nlines\tand é", None),
        ("a" * MAX_COMMENT, None),
        ("a" * (MAX_COMMENT + 1), "text-too-long"),
        ("a\x07", "control-character"),
        ("a\u202eb", "control-character"),
        ("a\ud800", "control-character"),
    ],
)
def test_a_comment_is_short_and_can_be_shown(comment: str | None, code: str | None):
    if code is None:
        check_comment(comment)
        return
    with pytest.raises(Invalid, match=code):
        check_comment(comment)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({}, "shadow-run-format"),
        ([], "shadow-run-format"),
        ("", "shadow-run-format"),
        (7, "shadow-run-format"),
        (TOLD | {"lost": -1}, "shadow-run-format"),
        (TOLD | {"lost": True}, "shadow-run-format"),
        (TOLD | {"lost": 1 << 60}, "shadow-run-format"),
        (TOLD | {"made_at": None}, "shadow-run-format"),
        (TOLD | {"made_at": "yesterday"}, "shadow-run-format"),
        (TOLD | {"made_at": "2026-11-23T09:00:00"}, "shadow-run-format"),
        (TOLD | {"made_at": "0001-01-01T00:00:00+10:00"}, "shadow-run-format"),
        (TOLD | {"made_at": "9999-12-31T23:59:59-10:00"}, "shadow-run-format"),
        (TOLD | {"made_at": (NOW + timedelta(days=1, seconds=1)).isoformat()}, "shadow-run-format"),
        (TOLD | {"of": "r2"}, "shadow-run-of-another-matrix"),
        (TOLD | {"of": ["r1"]}, "shadow-run-of-another-matrix"),
    ],
)
def test_figures_that_are_none_are_refused_by_the_name_of_their_field(told: Any, code: str):
    with pytest.raises(Invalid, match=code) as refused:
        read(told)

    assert (refused.value.code, refused.value.field) == (code, "shadow_run")


def test_figures_are_kept_without_whatever_else_was_sent():
    assert read(None) is None
    assert read(TOLD | {"examples": ["7421938201934823424"]}) == Figures({"lost": 3}, NOW)
    assert read(TOLD | {"made_at": "2026-11-23T10:00:00+01:00"}) == Figures({"lost": 3}, NOW)
    assert "lost" not in repr(read(TOLD))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(told=anything | st.fixed_dictionaries({"lost": anything, "of": anything, "made_at": anything}))
def test_whatever_is_sent_is_read_or_refused(told: Any):
    try:
        found = read(told)
    except Invalid as refused:
        assert refused.field == "shadow_run"
    else:
        assert found is None or (found.counts["lost"] >= 0 and found.made_at.tzinfo is UTC)


@pytest.mark.parametrize(
    "words", [{"a" * 61: 1}, {"a\n": 1}, {7: 1}, {"a": -1}, {"a": 1, "b": 2, "c": 3}, [1], 7]
)
def test_a_tally_has_few_short_words_and_counts(words: Any):
    assert read_tally({"a" * 60: 1, "": 0}, 2, 60) == {"a" * 60: 1, "": 0}

    with pytest.raises((ValueError, TypeError, AttributeError)):
        read_tally(words, 2, 60)


def test_a_word_is_two_hundred_signs_at_most_if_nobody_says_otherwise():
    assert read_word("a" * 200) == "a" * 200
    with pytest.raises(ValueError, match="no word"):
        read_word("a" * 201)


@given(at=st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_an_instant_is_read_back_in_utc(at: datetime):
    found = read_instant(at.isoformat())

    assert (found, found.tzinfo) == (at.astimezone(UTC), UTC)
