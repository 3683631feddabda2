"""What comes in at the edge: JSON with one meaning, text without control characters, cursors and ids that read back."""

import json
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError, fields

from foundation.errors import Invalid
from foundation.web import Code, IdText, Instant, OdsCode, Schema, Text, make_page, read_cursor, write_cursor
from foundation.web.body import parse_json
from foundation.web.problems import answer_validation_error

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=values)
def test_json_reads_as_it_was_written(value: object):
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\xff\xfe{}", "json-encoding"),
        (b'{"a": 1,}', "json-syntax"),
        (b"", "json-syntax"),
        (b'{"a": NaN}', "json-syntax"),
        (b'{"a": -Infinity}', "json-syntax"),
        (b"1" * 5_000, "json-number"),
        (b"[-1e999]", "json-number"),
        (b"[" * 33 + b"]" * 33, "json-depth"),
        (b"[" * 1_000_000, "json-depth"),
        (b'{"a":' * 100_000, "json-depth"),
        (b'{"a": 1, "a": 2}', "json-duplicate-key"),
        (b'{"x": [{"a": 1, "\\u0061": 2}]}', "json-duplicate-key"),
        (b'{"a": "\\u0000"}', "json-null-character"),
        (b'{"\\u0000": 1}', "json-null-character"),
        (b'["\\ud800"]', "json-null-character"),
    ],
)
def test_json_that_could_be_read_in_two_ways_or_not_be_stored_is_refused(raw: bytes, code: str):
    with pytest.raises(Invalid) as refused:
        parse_json(raw)

    assert refused.value.code == code
    assert refused.value.field is None


def test_brackets_inside_text_are_not_depth():
    value = {"a": '[{"' * 100 + "\\"}

    assert parse_json(json.dumps(value).encode()) == value


class Inner(Schema):
    family = Text(5, required=True)


class Outer(Schema):
    name = fields.List(fields.Nested(Inner))
    person_id = IdText()
    organisation = OdsCode()
    at = Instant()
    kind = Code(("a", "b"))
    on = fields.Date()


@pytest.mark.parametrize(
    ("given_body", "field", "code"),
    [
        ({"name": [{}]}, "name.0.family", "required"),
        ({"name": [{"family": "a\tb"}]}, "name.0.family", "control-character"),
        ({"name": [{"family": "a\u202eb"}]}, "name.0.family", "control-character"),
        ({"name": [{"family": "a\u2028b"}]}, "name.0.family", "control-character"),
        ({"name": [{"family": "abcdef"}]}, "name.0.family", "too-long"),
        ({"name": [{"family": ""}]}, "name.0.family", "empty"),
        ({"name": [{"family": 7}]}, "name.0.family", "type-string"),
        ({"name": [{"family": None}]}, "name.0.family", "null"),
        ({"name": "Ann"}, "name", "type-list"),
        ({"name": ["Ann"]}, "name.0", "type-object"),
        ({"nme": []}, "nme", "unknown-field"),
        ({"person_id": 12}, "person_id", "id-format"),
        ({"person_id": "012"}, "person_id", "id-format"),
        ({"person_id": str(2**63)}, "person_id", "id-format"),
        ({"organisation": "rrv"}, "organisation", "organisation-format"),
        ({"at": "2026-01-01T00:00:00"}, "at", "instant-without-zone"),
        ({"at": 5}, "at", "instant-format"),
        ({"kind": "c"}, "kind", "not-one-of"),
        ({"on": "2026-02-30"}, "on", "date-format"),
    ],
)
def test_a_fault_names_its_field_and_a_code(flask_app, given_body: dict, field: str, code: str):
    with pytest.raises(ValidationError) as refused:
        Outer().load(given_body)

    with flask_app.test_request_context():
        problem = answer_validation_error(refused.value).get_json(force=True)
    assert problem["errors"] == [{"field": field, "code": code}]


def test_every_fault_is_told_at_once_and_no_value_of_any(flask_app):
    with pytest.raises(ValidationError) as refused:
        Outer().load({"kind": "Smith", "person_id": "Smith", "Jane Smith": 1, "organisation": "Smith"})

    with flask_app.test_request_context():
        answer = answer_validation_error(refused.value)
    assert "Smith" not in answer.get_data(as_text=True)
    assert [fault["field"] for fault in answer.get_json(force=True)["errors"]] == [
        "(unnamed)",
        "kind",
        "organisation",
        "person_id",
    ]


def test_what_passes_comes_out_typed():
    read = Outer().load(
        {
            "person_id": "7421938201934823424",
            "at": "2026-01-01T01:00:00+01:00",
            "on": "2026-02-28",
            "kind": "a",
        }
    )

    assert read == {
        "person_id": 7421938201934823424,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "on": date(2026, 2, 28),
        "kind": "a",
    }
    assert Outer().dump({"person_id": 7421938201934823424}) == {"person_id": "7421938201934823424"}


@given(place=st.tuples(st.integers(-(2**63), 2**63 - 1), st.text("abcXYZ09-")))
def test_a_cursor_reads_back(place: tuple[int, str]):
    assert read_cursor(write_cursor(place), int, str) == place


@pytest.mark.parametrize(
    "text", ["", "x", "ä", "W10", "WyJhIl0", "WzFd", "bnVsbA", "W3RydWVd", write_cursor([2**63])]
)
def test_a_cursor_of_another_making_is_refused(text: str):
    with pytest.raises(Invalid) as refused:
        read_cursor(text, int) if text != "WzFd" else read_cursor(text, str)

    assert refused.value.code == "cursor-format"


def test_pages_follow_each_other_without_a_gap_or_a_repeat():
    items = list(range(1, 8))
    seen: list[int] = []
    cursor = None
    while True:
        place = read_cursor(cursor, int)
        found = [item for item in items if place is None or item > place[0]][:4]
        page = make_page(found, 3, lambda item: [item])
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break

    assert seen == items


@pytest.fixture(scope="module")
def flask_app():
    from flask import Flask

    return Flask("test")
