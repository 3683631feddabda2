"""The review queue in the console, over HTTP: chosen, read side by side, claimed, answered, taken back; nothing decided twice."""

from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask, g

from app import create_app
from foundation.auth.sessions import IDLE
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.principal import Principal
from foundation.settings import Settings
from foundation.web.evened import STEP_SECONDS
from mpi.service.by_hand import ask_whether_one
from mpi.service.review import LEASE
from tests.service.mpi_world import World
from tests.service.queue_world import PEOPLE, a_doubt, a_third, elsewhere, of_person, the_task
from tests.web.browsing import Page, Visitor

QUALITY, CLERK, MANAGER, OFFICER, SENSITIVE = "R5110", "R1984", "R8013", "R0001", "R1751"


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


def task_of(world: World, pair: tuple[int, int]) -> str:
    return f"/tasks/{the_task(world, *pair).task_id}"


def asked_by(world: World, one: int, other: int) -> str:
    """The path of a task in which the first reader asks whether two are one."""
    by = Principal("person", "reader-one", "RRV", frozenset({"tasks:work"}), role=QUALITY)
    return f"/tasks/{ask_whether_one(world.mpi, one, other, by, comment='They say one.').task_id}"


def answer(reader: Visitor, page: Page, verdict: str = "different", **more: str) -> Page:
    """Send the form of an answer as it stands on a page."""
    places = {"different": 0, "not-enough": 1, "same": 0}
    more = {"reason": "same-name-only", **more}
    return reader.send(
        page, f"{page.path.partition('?')[0].removesuffix('/same')}/decide", places[verdict], **more
    )


def test_pages_leave_at_whole_steps_of_time_but_to_who_sees_every_task(
    app: Flask, reader: Visitor, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensitive = Visitor(app, "keeper", SENSITIVE)
    rested: list[float] = []
    monkeypatch.setattr(clock, "rest", rested.append)
    monkeypatch.setattr("foundation.web.evened.perf_counter", lambda: g.started + 2.3 * STEP_SECONDS)

    statuses = [who.open(path).status for who in (reader, sensitive) for path in ("/tasks", "/tasks/7")]

    assert statuses == [200, 404] * 2
    assert rested == [pytest.approx(0.7 * STEP_SECONDS)] * 2


# The queue -------------------------------------------------------------------------------------------------------------


def test_a_reader_goes_from_the_queue_through_two_tasks_and_takes_the_last_answer_back(
    world: World, reader: Visitor
) -> None:
    first, other = a_doubt(world, 0), a_doubt(world, 1)
    paths = [task_of(world, pair) for pair in (first, other)]

    home = reader.open("/")
    queue = reader.open("/tasks")
    one = reader.send(queue, "/tasks/next")
    two = answer(reader, one)
    end = answer(reader, two, "not-enough", reason="insufficient-evidence")

    assert "Tasks that I hold" in home.text and "Review queue" in home.text
    assert queue.text.count("Possible match") >= 2 and "2 of 2 shown" in queue.text
    assert {one.path, two.path.partition("?")[0]} == set(paths)
    assert "You hold this task until" in one.text and "You hold this task until" in two.text
    assert "Your answer stands" in two.text and two.has_form(f"{one.path}/undo")
    assert end.heading == "Review queue" and "The queue is empty" in end.text
    verdicts = world.rows("select verdict, state from link_decision order by decision_id")
    assert verdicts == [("different", "standing"), ("not-enough", "standing")]

    undone = reader.send(end, f"{two.path.partition('?')[0]}/undo")

    assert "The decision was taken back" in undone.text and undone.status == 200
    assert world.rows("select verdict, state from link_decision order by decision_id")[1] == (
        "not-enough",
        "undone",
    )


def test_the_queue_is_chosen_counted_and_sorted_by_codes_in_its_address(
    world: World, reader: Visitor, clock: FixedClock
) -> None:
    old = a_doubt(world, 0)
    clock.advance(timedelta(days=8))
    new = a_doubt(world, 1)
    world.send(of_person(2, "a"))
    world.send(of_person(2, "a2"))
    number = {pair: str(the_task(world, *pair).task_id) for pair in (old, new)}

    reader.sign_in()
    every = reader.open("/tasks")
    week = reader.open("/tasks?age=7")
    newest = reader.open("/tasks?kind=possible-match&sort=newest")
    oldest = reader.open("/tasks?kind=possible-match&sort=oldest")
    mine = reader.open("/tasks?whose=mine")
    odd = reader.open("/tasks?kind=Smith&sort=surname&for=Jones")

    assert (
        "Duplicate in one system 1" in every.text
        and "Possible match 2" in every.text
        and "All 3" in every.text
    )
    assert number[old] in week.html and number[new] not in week.html
    assert newest.html.index(number[new]) < newest.html.index(number[old])
    assert oldest.html.index(number[old]) < oldest.html.index(number[new])
    assert "No task is like that" in mine.text
    assert "3 of 3 shown" in odd.text and "Smith" not in odd.html and "Jones" not in odd.html
    assert all(name not in every.html for person in PEOPLE for name in person)


def test_a_long_queue_comes_in_pages_of_one_size_that_repeat_and_skip_nothing(
    world: World, reader: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpi.web.console.queue.PAGE", 2)
    numbers = {str(the_task(world, *a_doubt(world, place)).task_id) for place in range(5)}

    for sort in ("", "&sort=newest", "&sort=oldest", "&sort=harm"):
        seen: list[str] = []
        path: str | None = f"/tasks?state=open{sort}"
        while path:
            page = reader.open(path)
            seen += [one for one in numbers if f"/tasks/{one}" in page.html]
            path = _next(page)

        assert sorted(seen) == sorted(numbers), sort


def _next(page: Page) -> str | None:
    before, found, _ = page.html.partition('">Next page<')
    return before.rpartition('href="')[2].replace("&amp;", "&") if found else None


def test_a_view_is_kept_under_a_name_for_its_reader_alone_and_forgotten(
    world: World, reader: Visitor, second: Visitor
) -> None:
    a_doubt(world, 0)
    chosen = "/tasks?kind=possible-match&whose=mine&age=7&sort=oldest&for=everyone"
    page = reader.open(chosen)

    kept = reader.send(page, "/tasks/views", name="My old  ones")
    again = reader.send(page, "/tasks/views", name="My old ones")
    nameless = reader.send(page, "/tasks/views", name=" ")
    told = reader.client.get("/api/v1/task-views").get_json()["views"]

    assert "The view was kept" in kept.text and "My old ones" in kept.text
    assert again.status == nameless.status == 422 and 'value="My old ones"' in again.html
    assert "You have a view of this name" in again.text and "Give the view a name" in nameless.text
    assert [(one["name"], one["chosen"]) for one in told] == [
        (
            "My old ones",
            {"for": "*", "kind": "possible-match", "mine": "true", "older_than_days": "7", "sort": "oldest"},
        )
    ]
    assert chosen.replace("&", "&amp;") in _sorted_links(kept)
    assert "My old ones" not in second.open("/tasks").text
    drop = f"/tasks/views/{told[0]['view_id']}/drop"
    assert second.post(drop).status == 404

    gone = reader.send(kept, drop)

    assert "The view was forgotten" in gone.text and "My old ones" not in gone.text


def _sorted_links(page: Page) -> set[str]:
    """Addresses of the queue on a page, with what they choose in the order in which these tests write it."""
    order = ("kind", "whose", "age", "sort", "for")
    found = set()
    for link in page.html.split('href="')[1:]:
        path, _, query = link.partition('"')[0].partition("?")
        parts = dict(part.partition("=")[::2] for part in query.split("&amp;") if part)
        wanted = "&amp;".join(f"{name}={parts[name]}" for name in order if name in parts)
        found.add(f"{path}?{wanted}" if wanted else path)
    return found


# A task ------------------------------------------------------------------------------------------------------------------


def test_a_task_lays_out_who_says_what_and_marks_in_words_what_agrees_and_what_does_not(
    world: World, reader: Visitor
) -> None:
    pair = a_doubt(world, 0)
    world.send(of_person(0, "b", "RV5", **{**elsewhere(0), "line": "1 Former Road", "postcode": "E8 1EJ"}))
    world.send(of_person(0, "b", "RV5", **elsewhere(0)))

    page = reader.open(task_of(world, pair))

    assert page.title.startswith("Possible match")
    assert all(word in page.text for word in ("Kehinde", "Bello", "14 January 1950", "15 January 1950"))
    assert "✓ Same" in page.text and "✕ Differs" in page.text
    assert "1 Former Road" in page.text.partition("What the records said before")[2]
    assert "Map of the records" in page.text and 'class="console-svg console-map"' in page.html
    assert "2 people become one" in page.text and "kept apart for good" in page.text
    assert "so that it sways nobody" in page.text and "Bits" not in page.text
    assert "Kehinde" not in page.title and "Kehinde" not in page.path
    read = world.rows("select count(*) from audit_event where kind = 'task-read'")
    assert read == [(2,)]


def test_the_weight_is_told_in_words_where_it_sways_nobody(world: World, reader: Visitor) -> None:
    one, other = (world.send(of_person(2, local)).record_id for local in ("a", "a2"))

    page = reader.open(task_of(world, (one, other)))

    assert "Family name: the same" in page.text and "Together" in page.text and "Starting odds" in page.text


def test_to_call_them_the_same_one_sees_what_changes_and_must_say_why(world: World, reader: Visitor) -> None:
    pair = a_doubt(world, 0)
    path = task_of(world, pair)

    page = reader.open(f"{path}/same")
    refused = reader.send(page, f"{path}/decide", then="stay")
    unsaid = reader.send(refused, f"{path}/decide", reason="other", then="stay", comment=" ")
    done = reader.send(unsaid, f"{path}/decide", reason="other", comment="Asked her.", then="stay")

    assert "2 people become one" in page.text and "Date of birth" in page.text
    assert (refused.status, unsaid.status, done.status) == (422, 422, 200)
    assert "Choose a reason" in refused.text and "Say which reason" in unsaid.text
    assert done.path.startswith(path) and "Your answer stands" in done.text and "Asked her." in done.text
    assert world.resolve(pair[1]).person_id == pair[0]

    back = reader.send(done, f"{path}/undo", comment="Wrong row.")

    assert "Taken back" in back.text
    assert world.resolve(pair[1]).person_id == pair[1]


def test_what_was_typed_stays_where_an_answer_is_at_fault(
    world: World, reader: Visitor, clock: FixedClock
) -> None:
    path = task_of(world, a_doubt(world, 0))
    page = reader.open(path)

    none = answer(reader, page, reason="", comment="Half a thought")
    late = reader.send(
        page, f"{path}/defer", **{"until-day": "1", "until-month": "1", "until-year": "1999"}, reason="other"
    )

    assert none.status == late.status == 422
    assert "Half a thought" in none.html and 'href="#different-reason"' in none.html
    assert none.html.count('id="different-reason"') == 1
    assert "Say which reason" in late.text or "Choose a day" in late.text
    assert world.rows("select count(*) from link_decision") == [(0,)]


# Two readers, leases, late pages ----------------------------------------------------------------------------------------


def test_of_two_readers_on_one_task_the_later_loses_nothing_and_decides_nothing_twice(
    world: World, reader: Visitor, second: Visitor
) -> None:
    path = task_of(world, a_doubt(world, 0))
    pages = [one.open(path) for one in (reader, second)]

    answer(reader, pages[0], then="stay")
    late = answer(second, pages[1], "not-enough", reason="insufficient-evidence", comment="I am not sure.")

    assert late.status == 409 and late.heading == "This task changed while you had it open"
    assert "nothing was decided twice" in late.text and "Answered “different people” by Ann One" in late.text
    assert "I am not sure." in late.html and "Not enough to say: The records say too little" in late.html
    assert world.rows("select verdict, state from link_decision") == [("different", "standing")]


def test_who_finds_a_task_held_reads_who_holds_it_and_cannot_answer_it(
    world: World, reader: Visitor, second: Visitor, clock: FixedClock
) -> None:
    path = task_of(world, a_doubt(world, 0))
    opened = second.open(path)
    held = reader.send(reader.open(path), f"{path}/claim")

    seen = second.open(path)
    tried = answer(second, opened)
    clock.advance(LEASE + timedelta(seconds=1))
    reader.sign_in()
    second.sign_in()
    free = second.open(path)
    taken = second.send(free, f"{path}/claim")
    old = answer(reader, held, comment="Is it too late now?")
    late = reader.send(old, f"{path}/decide")

    assert 'data-seconds-left="1800"' in held.html
    assert "Ann One holds this task until" in seen.text and not seen.has_form(f"{path}/decide")
    assert tried.status == 409 and "Held by Ann One" in tried.text
    assert "Nobody holds this task" in free.text and "You hold this task" in taken.text
    assert late.status == 409 and "Held by Bob Two" in late.text and "Is it too late now?" in late.html
    assert world.rows("select count(*) from link_decision") == [(0,)]


def test_a_lease_that_ran_out_unnoticed_loses_no_answer_where_nobody_else_took_the_task(
    world: World, reader: Visitor, clock: FixedClock
) -> None:
    path = task_of(world, a_doubt(world, 0))
    held = reader.send(reader.open(path), f"{path}/claim")
    clock.advance(LEASE - timedelta(minutes=5))
    reader.open("/")
    clock.advance(timedelta(minutes=6))

    done = answer(reader, held, then="stay")

    assert "Your answer stands" in done.text


def test_an_answer_typed_into_a_session_that_ended_is_sent_after_signing_in(
    world: World, reader: Visitor, clock: FixedClock
) -> None:
    path = task_of(world, a_doubt(world, 0))
    page = reader.open(path)
    clock.advance(IDLE)

    held = answer(reader, page, comment="Seen their letters, both of them.", then="stay")
    again = reader.send(held, "/sign-in/resume", username="reader-one", password="a long enough one")
    done = reader.send(again, f"{path}/decide")

    assert held.status == 401 and "Seen their letters" in held.text
    assert "Your answer stands" in done.text and "Seen their letters" in done.text


def test_a_second_reader_is_shown_nothing_of_the_first(
    world: World, reader: Visitor, second: Visitor
) -> None:
    one, other = (world.send(of_person(place, "a")).record_id for place in (0, 1))
    path = asked_by(world, one, other)
    reader.post(f"{path}/comments", comment="I would bet on it.")
    first = answer(
        reader,
        reader.open(f"{path}/same"),
        "same",
        reason="documents-seen",
        comment="Passports.",
        then="stay",
    )

    blind = second.open(path)
    theirs = reader.open(path)

    assert "Your answer waits for a second reader" in first.text
    assert "Second reading" in blind.text
    said = blind.text.partition("What was said and done")[2]
    assert "They say one." in said
    assert all(
        word not in said
        for word in ("Passports.", "I would bet on it.", "Documents were", "Waits for a second")
    )
    assert "Passports." in theirs.text and not theirs.has_form(f"{path}/decide")

    done = answer(second, second.open(f"{path}/same"), "same", reason="documents-seen", then="stay")

    assert "Your answer stands" in done.text and "Passports." in done.text
    assert world.resolve(other).person_id == one


def test_readers_who_disagree_hand_the_task_on(world: World, reader: Visitor, second: Visitor) -> None:
    one, other = (world.send(of_person(place, "a")).record_id for place in (0, 1))
    path = asked_by(world, one, other)
    answer(reader, reader.open(f"{path}/same"), "same", reason="documents-seen")

    after = answer(second, second.open(path), "different", reason="relatives", then="stay")

    assert "the regional team decides" in after.text and "Handed on: Regional team" in after.text


# Beside deciding ---------------------------------------------------------------------------------------------------------


def test_a_task_is_commented_put_off_brought_back_handed_on_and_given_back(
    world: World, reader: Visitor
) -> None:
    path = task_of(world, a_doubt(world, 0))

    said = reader.send(reader.open(path), f"{path}/comments", comment="Rang the practice.")
    empty = reader.send(said, f"{path}/comments", comment="  ")
    later = reader.send(
        said,
        f"{path}/defer",
        reason="waiting-for-source",
        **{"until-day": "30", "until-month": "11", "until-year": "2026"},
    )
    off = reader.open(path)
    back = reader.send(off, f"{path}/resume")
    on = reader.send(back, f"{path}/escalate", to="privacy-officer", reason="sensitive")
    handed = reader.open(path)
    given = reader.send(handed, f"{path}/give-back")

    assert "Rang the practice." in said.text and empty.status == 422 and "Write a comment" in empty.text
    assert later.heading == "Review queue" and "The task was put off" in later.text
    assert "Put off until 30 November 2026" in off.text and "in the queue again" in back.text
    assert "handed on" in on.text and "Handed on: Privacy officer" in handed.text
    assert "being handed on" in given.text


def test_a_privacy_officer_reads_and_advises_on_what_was_handed_on_and_decides_nothing(
    app: Flask, world: World, reader: Visitor
) -> None:
    path = task_of(world, a_doubt(world, 0))
    reader.send(reader.open(path), f"{path}/escalate", to="privacy-officer", reason="sensitive")
    officer = Visitor(app, "officer", OFFICER)

    queue = officer.open("/tasks")
    page = officer.open(path)
    said = officer.send(page, f"{path}/comments", comment="Ask the guardian.")

    assert "1 of 1 shown" in queue.text and "Take the next" not in queue.text
    assert (
        not page.has_form(f"{path}/decide")
        and "Same person" not in page.html.partition("<main")[2].partition("What was said")[0]
    )
    assert "Ask the guardian." in said.text
    assert officer.post(f"{path}/decide", verdict="different", reason="twins").status == 403


# Who may -----------------------------------------------------------------------------------------------------------------


def test_tasks_about_restricted_people_are_there_for_their_named_role_alone(
    app: Flask, world: World, reader: Visitor
) -> None:
    pair = a_doubt(world, 0)
    world.send(replace(of_person(0, "a"), restricted=True))
    keeper = Visitor(app, "keeper", SENSITIVE)
    number = world.rows("select task_id from task where state = 'open'")[0][0]
    path = f"/tasks/{number}"

    assert reader.open(path).status == 404 and "The queue is empty" in reader.open("/tasks").text
    assert reader.open("/tasks?restricted=only").status == 403
    alone = keeper.open("/tasks?restricted=only")
    page = keeper.open(path)

    assert "1 of 1 shown" in alone.text
    assert page.status == 200 and "Location protected" in page.text and str(pair[0]) not in page.text
    assert "Denmark Hill" not in page.html and PEOPLE[0][2] not in page.html
    assert "Restricted people" in keeper.open("/").text and "Restricted people" not in reader.open("/").text


@pytest.mark.parametrize(
    ("role", "status"), [("R8000", 403), ("R0008", 403), (CLERK, 200), (MANAGER, 200), (OFFICER, 200)]
)
def test_the_queue_is_for_those_who_may_read_it(app: Flask, world: World, role: str, status: int) -> None:
    path = task_of(world, a_doubt(world, 0))
    somebody = Visitor(app, "somebody", role)

    assert somebody.open("/tasks").status == somebody.open(path).status == status
    assert ("Review queue" in somebody.open("/").text) is (status == 200)


def test_a_group_of_many_records_is_laid_out_as_far_as_a_page_holds(world: World, reader: Visitor) -> None:
    pair = a_doubt(world, 0)
    a_third(world, 0)

    page = reader.open(task_of(world, pair))

    assert page.status == 200 and len(page.html) < 60_000
