"""People in the console, over HTTP: found without a word in an address, shown now and then, merged and split by asking; quality, models."""

import json
from datetime import timedelta
from io import BytesIO

import pytest
from flask import Flask

from app import create_app
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.matching import load_model
from mpi.matching.model import DEFAULT_MODEL
from mpi.service.quality import measure_waiting
from tests.core.matching_builders import a_number
from tests.service.mpi_world import World
from tests.service.queue_world import PEOPLE, a_doubt, a_link, of_person, the_task
from tests.web.browsing import Visitor
from tests.web.test_console_review import CLERK, QUALITY, answer

NUMBER = a_number(999_100_000)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def app(world: World, db: Database, clock: FixedClock) -> Flask:
    return create_app(Settings.from_environment({"MPI_KNOWN_PER_MILLE": "0"}), database=db, clock=clock)


@pytest.fixture
def reader(app: Flask) -> Visitor:
    return Visitor(app, "reader-one", QUALITY, name="Ann One")


@pytest.fixture
def second(app: Flask) -> Visitor:
    return Visitor(app, "reader-two", QUALITY, name="Bob Two")


BORN = {"born-day": "14", "born-month": "1", "born-year": "1950"}


# Finding -----------------------------------------------------------------------------------------------------------------


def test_a_person_is_found_by_number_by_local_number_and_by_description_and_no_address_says_how(
    world: World, reader: Visitor
) -> None:
    person, _ = a_link(world, 0)
    form = reader.open("/persons")
    spaced = f"{NUMBER[:3]} {NUMBER[3:6]} {NUMBER[6:]}"

    by_number = reader.send(form, "/persons", 0, system="nhs-number", value=spaced)
    by_own = reader.send(form, "/persons", 0, system="own", source="pas", value="0x")
    described = reader.send(form, "/persons", 1, given="Kehinde", family="Bello", postcode="SE5 8AZ", **BORN)
    nobody = reader.send(form, "/persons", 1, given="Nobody", family="Noone", **BORN)
    again = reader.open("/persons")

    for page in (by_number, by_own, described):
        assert page.status == 200 and page.path == "/persons", page.text
        assert "One person was found" in page.text and f'href="/persons/{person}"' in page.html
        assert "Kehinde Bello" in page.text and "14 January 1950" in page.text
        assert page.title.startswith("Find a person –")
    assert "Certain" in described.text or "Probable" in described.text
    assert "✓ Same" in described.text
    assert "Nobody was found" in nobody.text and 'value="Noone"' in nobody.html
    assert "Bello" not in again.html


def test_a_search_that_says_too_little_keeps_what_was_typed_and_says_what_lacks(reader: Visitor) -> None:
    form = reader.open("/persons")

    little = reader.send(form, "/persons", 1, family="Bello")
    wrong = reader.send(form, "/persons", 1, family="Bello", nhs_number="999 000 0000", **BORN)
    empty = reader.send(form, "/persons", 0, system="nhs-number", value="")
    other = reader.send(form, "/persons", 0, system="own", source="", value="1")

    assert (little.status, wrong.status, empty.status, other.status) == (422, 422, 422, 422)
    assert "There is a problem" in little.text and 'value="Bello"' in little.html
    assert 'href="#nhs_number"' in wrong.html
    assert "Type the number" in empty.text and "Say which system" in other.text


def test_another_organisations_local_number_is_not_looked_up(world: World, reader: Visitor) -> None:
    a_link(world, 0)

    page = reader.send(
        reader.open("/persons"), "/persons", 0, system="own", source="pas", value="0y", organisation="RV5"
    )

    assert page.status == 403


def test_who_may_not_match_finds_by_number_alone(app: Flask, world: World) -> None:
    officer = Visitor(app, "officer", "R0001")

    form = officer.open("/persons")

    assert form.status == 200 and "By a number" in form.text and "By what is known" not in form.text
    assert officer.post("/persons", by="description", family="Bello", **BORN).status == 422
    assert Visitor(app, "analyst", "R8012").open("/persons").status == 403


# A person ----------------------------------------------------------------------------------------------------------------


def test_a_person_is_shown_with_whose_values_what_befell_them_how_they_were_built_and_as_they_were(
    world: World, reader: Visitor, clock: FixedClock
) -> None:
    one = world.send(of_person(0, "x", nhs_number=NUMBER)).record_id
    early = clock.now()
    clock.advance(timedelta(days=3))
    other = world.send(of_person(0, "y", "RV5", nhs_number=NUMBER, phone="07700900111")).record_id
    reader.sign_in()

    page = reader.open(f"/persons/{other}")
    history = reader.open(f"/persons/{one}/history")
    why = reader.open(f"/persons/{one}/why")
    then = reader.open(f"/persons/{one}?on-day={early.day}&on-month={early.month}&on-year={early.year}")
    before = reader.open(f"/persons/{one}?on-day=1&on-month=1&on-year=2021")
    odd = reader.open(f"/persons/{one}?on-day=31&on-month=2&on-year=2026")
    absent = reader.open("/persons/7")

    assert page.heading == "Kehinde Bello" and page.title.startswith("Person –")
    assert f"{NUMBER[:3]} {NUMBER[3:6]} {NUMBER[6:]}" in page.text and "14 January 1950" in page.text
    assert "pas 0x" in page.text.replace(" RRV", "")
    # What the other organisation says stays behind: no agreement lets it leave.
    assert "RRV" in page.text and "RV5" not in page.text and "No other record says anything" in page.text
    assert "came." in history.text and str(one) in history.text
    assert "How this person was built" in why.heading and (
        "Starting odds" in why.text or "No step" in why.text
    )
    assert "As at" in then.text and "07700 900111" not in then.text and "07700900111" not in then.text
    assert before.status == 404 and "had not come by then" in before.text
    assert odd.status == 422 and absent.status == 404


def test_a_long_history_comes_in_pages(
    world: World, reader: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpi.web.console.people.HISTORY_PAGE", 1)
    person, _ = a_link(world, 0)

    first = reader.open(f"/persons/{person}/history")
    following = first.html.partition('">Next page<')[0].rpartition('href="')[2]
    rest = reader.open(following)

    assert first.html.count("console-timeline__when") == rest.html.count("console-timeline__when") == 1
    assert "First page" in rest.text


# Asked by hand -------------------------------------------------------------------------------------------------------------


def test_two_people_are_merged_and_the_records_of_one_taken_apart_by_asking_and_both_are_taken_back(
    world: World, reader: Visitor, second: Visitor
) -> None:
    one, other = (world.send(of_person(place, "a")).record_id for place in (0, 1))

    person = reader.open(f"/persons/{one}")
    beside = reader.open(f"/persons/{one}/beside?other={other}")
    silent = reader.send(beside, f"/persons/{one}/beside/{other}", comment=" ")
    asked = reader.send(silent, f"/persons/{one}/beside/{other}", comment="She says so.")
    twice = reader.send(beside, f"/persons/{one}/beside/{other}", comment="I say so too.")

    path = f"/tasks/{the_task(world, one, other).task_id}"
    assert person.has_form(f"/persons/{one}/beside") and beside.path == f"/persons/{one}/beside/{other}"
    assert "Kehinde Bello" in beside.text and "Ottilie Quist" in beside.text and "✕ Differs" in beside.text
    assert silent.status == 422 and "Say why you ask" in silent.text
    assert (
        asked.path.startswith(path) and "She says so." in asked.text and "2 people become one" in asked.text
    )
    assert twice.status == 409 and "I say so too." in twice.html and f'href="{path}"' in twice.html

    for visitor in (reader, second):
        answer(visitor, visitor.open(f"{path}/same"), "same", reason="documents-seen", then="stay")
    assert world.resolve(other).person_id == one
    assert reader.open(f"/persons/{one}/beside/{other}").path.startswith(
        f"/persons/{one}?said=persons-are-one"
    )

    split = reader.open(f"/persons/{one}/split")
    every = reader.send(split, f"/persons/{one}/split", records=[str(one), str(other)], comment="Two.")
    none = reader.send(split, f"/persons/{one}/split", records=[], comment="Two.")
    parted = reader.send(split, f"/persons/{one}/split", records=[str(other)], comment="Two.")
    assert every.status == none.status == 422 and "not all" in every.text
    assert "One person becomes several" in parted.text and "A second reader must say so too" in parted.text
    gone = reader.send(parted, f"{parted.path.partition('?')[0]}/withdraw")
    assert "The question was taken back" in gone.text

    undone = second.send(second.open(path), f"{path}/undo")

    assert "The decision was taken back" in undone.text
    assert world.resolve(other).person_id == other


def test_those_who_work_no_queue_are_offered_no_question(app: Flask, world: World) -> None:
    one, other = (world.send(of_person(place, "a")).record_id for place in (0, 1))
    doctor = Visitor(app, "doctor", "R8000")

    page = doctor.open(f"/persons/{one}")

    assert page.status == 200 and "somebody else's" not in page.text
    assert doctor.open(f"/persons/{one}/split").status == 403
    assert doctor.post(f"/persons/{one}/beside/{other}", comment="One.").status == 403


# One answer to many --------------------------------------------------------------------------------------------------------


def test_many_tasks_are_answered_at_once_only_after_a_sample_was_looked_at_and_taken_back_as_one(
    world: World, reader: Visitor
) -> None:
    pairs = [a_doubt(world, place) for place in range(3)]
    chosen = {"kind": "possible-match", "verdict": "different", "reason": "same-name-only", "limit": "20"}

    form = reader.open("/tasks/bulk")
    wrong = reader.send(form, "/tasks/bulk/preview", **{**chosen, "reason": ""})
    seen = reader.send(form, "/tasks/bulk/preview", **chosen)
    unread = reader.send(seen, "/tasks/bulk/decide")
    sample = [number for pair in pairs if (number := str(the_task(world, *pair).task_id)) in seen.html]
    done = reader.send(unread, "/tasks/bulk/decide", checked=sample)

    assert wrong.status == 422 and "Choose a reason" in wrong.text
    assert "3 would be answered" in seen.text and "Task 1 of 3" in seen.text
    assert unread.status == 422 and "Look at each of these tasks" in unread.text
    assert world.rows("select verdict, state from link_decision") == [("different", "standing")] * 3
    assert "What came of it" in done.heading and done.text.count("Decided") == 3

    late = reader.send(seen, "/tasks/bulk/decide", checked=sample)
    back = reader.send(done, f"{done.path.partition('?')[0]}/undo")

    assert late.status == 409 and "No task was answered" in late.text
    assert "What was taken back" in back.heading
    assert world.rows("select state from link_decision") == [("undone",)] * 3
    assert sorted(world.kinds()) == ["possible-match"] * 3


# Quality and models --------------------------------------------------------------------------------------------------------


def test_the_worst_feeds_come_first_and_one_organisation_shows_its_trends(
    app: Flask, world: World, reader: Visitor, clock: FixedClock
) -> None:
    assert "Nothing was measured yet" in reader.open("/quality").text
    for place in range(6):
        world.send(of_person(place, "a", nhs_number=a_number(999_100_000 + 10 * place), status="01"))
        world.send(of_person(place, "b", "RV5"))
    for _ in range(2):
        measure_waiting(world.mpi)
        clock.advance(timedelta(days=1))
    reader.sign_in()

    worst = reader.open("/quality")
    held = reader.open("/quality?sort=overlays")
    own = reader.open("/quality/RRV")
    clerk = Visitor(app, "clerk", CLERK)

    assert worst.text.index("RV5") < worst.text.index("RRV pas") and "100.0%" in worst.text
    assert 'aria-sort="descending"' in held.html and 'aria-sort="ascending"' in worst.html
    assert "Completeness" in own.text and own.html.count("<polyline") >= 4
    assert "RV5" not in clerk.open("/quality").text and clerk.open("/quality/RV5").status == 403
    assert Visitor(app, "officer", "R0001").open("/quality").status == 403


def test_a_model_is_proposed_with_a_file_approved_by_another_and_taken_back(
    world: World, reader: Visitor, second: Visitor
) -> None:
    document = json.loads(DEFAULT_MODEL.read_text(encoding="utf-8"))
    document["name"] = "another model"
    document["thresholds"]["live"] += 500
    shown = reader.open("/models")
    text = json.dumps(document).encode()

    none = reader.send(shown, "/models", comment="Try it.")
    odd = reader.send(shown, "/models", comment="Try it.", model=(BytesIO(b"{"), "model.json"))
    asked = reader.send(shown, "/models", comment="Try it.", model=(BytesIO(text), "model.json"))

    assert load_model().revision in shown.text and "Live" in shown.text
    assert none.status == odd.status == 422 and "Choose a file" in none.text and "not JSON" in odd.text
    assert "Try it." in none.html
    assert "waits for a second person" in asked.text and "Somebody else must approve it" in asked.text
    path = next(
        part.partition('"')[0]
        for part in second.open("/models").html.split('action="')
        if "/approve" in part[:60]
    )
    approved = second.send(second.open("/models"), path)
    back = reader.send(reader.open("/models"), path.replace("/approve", "/withdraw"))

    assert "mpi model activate" in approved.text and "Withdrawn" in back.text


def test_nobody_is_named_in_titles_or_in_the_queue(world: World, reader: Visitor) -> None:
    person, _ = a_link(world, 0)

    pages = [
        reader.open(path) for path in (f"/persons/{person}", f"/persons/{person}/history", "/tasks", "/")
    ]

    assert not any(name in page.title for page in pages for one in PEOPLE for name in one)
