"""A file of directives in the console: looked at, then recorded; rejects by row and field."""

import io

import pytest

from app import create_app
from foundation.settings import Settings
from tests.service.consent_world import UCLH, World, a_world
from tests.web.console_visitor import Page, Visitor
from tests.web.test_console_directives import held

HEADER = "reference,received_by,person_id,scope,scope_code,emergency,channel\n"


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


@pytest.fixture
def anne(world: World) -> Visitor:
    return Visitor(create_app(Settings.from_environment({}), database=world.db, clock=world.clock), "anne")


def sent(visitor: Visitor, content: str | bytes) -> Page:
    data = content if isinstance(content, bytes) else content.encode()
    return visitor.post("/objections/import", {"file": (io.BytesIO(data), "objections.csv")})


def a_row(world: World, number: int = 1, **changes: str) -> str:
    told = {"reference": f"form-{number}", "received_by": UCLH, "person_id": str(world.she), "scope": "category",
            "scope_code": "letters", "emergency": "", "channel": "letter"}  # fmt: skip
    return ",".join((told | changes).values()) + "\n"


def test_a_file_is_looked_at_and_then_recorded_and_known_again(world: World, anne: Visitor):
    content = HEADER + a_row(world) + a_row(world, 2, scope_code="notes")
    preview = sent(anne, content)
    assert (preview.status, held(world)) == (200, [])
    assert "Binds now 2 rows" in preview.text

    done = preview.send("/record")
    again = sent(anne, content)

    assert "The file was recorded" in done.text
    assert [one.row.scope_code for one in held(world)] == ["letters", "notes"]
    assert "Recorded before 2 rows" in again.text


def test_rejected_rows_are_told_by_row_and_field_and_left_out(world: World, anne: Visitor):
    preview = sent(
        anne, HEADER + a_row(world) + a_row(world, 2, scope_code="lettres") + a_row(world, 3, emergency="yes")
    )

    assert "3 scope covers nothing that is known 4 emergency must be may-override or binds" in preview.text
    assert "lettres" not in preview.text
    file = preview.send("/rejects")
    assert file.html == "row,field,code\n3,scope,scope-unknown\n4,emergency,emergency-unknown\n"
    done = preview.send("/record")
    assert (done.status, len(held(world))) == (200, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Choose a file"),
        (b"reference,kind\n", "A column is missing that every file needs: received_by"),
        (HEADER.encode() + b"\xff\xfe\n", "not UTF-8"),
        (b"reference,received_by,Rosalind\n", "A column is not known. Column 3 is not known."),
        (HEADER.encode() + b"a,b,c\n" * 501, "more than 500 rows"),
        (b"x" * 1_000_001, "too large"),
    ],
)
def test_a_file_that_cannot_be_taken_says_why(anne: Visitor, content: bytes, words: str):
    page = sent(anne, content)

    assert (page.status, words in page.text) == (422, True)
    assert "Rosalind" not in page.text


def test_a_page_of_the_most_rows_stays_small(world: World, anne: Visitor):
    rows = "".join(a_row(world, number, emergency="yes" if number % 2 else "") for number in range(500))

    assert sent(anne, HEADER + rows).size < 200_000


def test_what_the_page_holds_is_read_again_with_the_same_strictness(anne: Visitor):
    assert anne.post("/objections/import/record", {"packed": "no file"}).status == 422
    assert anne.post("/objections/import/record", {}).status == 422
