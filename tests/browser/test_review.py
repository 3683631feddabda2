"""The review of a task in Chromium: by keyboard alone and two keys an answer, on a phone without JavaScript; axe on every page."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, expect
from werkzeug.serving import make_server

from app import create_app
from foundation.auth import users
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.records import HumanName
from tests.browser.conftest import SIZES, Visitor
from tests.browser.test_console import faults
from tests.service.mpi_world import World
from tests.service.queue_world import a_doubt, a_link, of_person
from tests.web.foundation_caller import PASSWORD

Visit = Callable[..., Visitor]


@pytest.fixture
def world(sqlite_template: Path, tmp_path: Path) -> Iterator[World]:
    """Three doubts, one of them of somebody whose name is written from right to left."""
    (tmp_path / "mpi.sqlite3").write_bytes(sqlite_template.read_bytes())
    db = Database(f"sqlite:///{tmp_path / 'mpi.sqlite3'}")
    clock = FixedClock(datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
    made = World(db, clock)
    for place in range(3):
        a_doubt(made, place)
    given = HumanName("usual", None, ("ليلى",), "حداد")
    made.send(replace(of_person(2, "a"), names=(*of_person(2, "a").names, replace(given, use="nickname"))))
    a_link(made, 4)
    with db.write() as tx:
        users.create_user(tx, clock.now(), "quality", PASSWORD, "RRV", "R5110", name="Data quality")
    yield made
    db.close()


@pytest.fixture
def visit(browser: Browser, world: World, tmp_path: Path) -> Iterator[Visit]:
    settings = Settings.from_environment({"MPI_HOME": str(tmp_path), "MPI_KNOWN_PER_MILLE": "0"})
    app = create_app(settings, database=world.mpi.db, clock=world.clock)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    contexts, visitors = [], []

    def opened(size: str = "desktop", **options: bool) -> Visitor:
        context = browser.new_context(viewport=SIZES[size], locale="en-GB", **options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        visitor = Visitor(context.new_page(), f"http://127.0.0.1:{server.server_port}")
        visitor.page.on("pageerror", lambda error: visitor.troubles.append(f"script: {error}"))
        visitors.append(visitor)
        return visitor

    yield opened
    for context in contexts:
        context.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert [trouble for visitor in visitors for trouble in visitor.troubles] == []


def answers(world: World) -> list[tuple[str, str]]:
    return [
        (verdict, reason)
        for verdict, reason in world.rows("select verdict, reason from link_decision order by decision_id")
    ]


def test_by_keys_alone_two_answers_take_two_keys_each_and_same_shows_what_changes_and_asks_why(
    visit: Visit, world: World
) -> None:
    visitor = visit()
    visitor.sign_in("quality")
    page, keys = visitor.page, visitor.page.keyboard
    found = faults(visitor)
    visitor.open("/tasks")
    found += faults(visitor)

    keys.press("x")
    expect(page.get_by_text("You hold this task until")).to_be_visible()
    found += faults(visitor)
    keys.press("d")
    found += faults(visitor)
    keys.press("1")
    expect(page.get_by_text("Your answer stands")).to_be_visible()
    keys.press("n")
    keys.press("1")
    expect(page.get_by_role("button", name="Take it back")).to_be_visible()
    page.wait_for_function("document.body.textContent.includes('Your answer stands')")

    assert answers(world) == [("different", "same-name-only"), ("not-enough", "insufficient-evidence")]
    keys.press("s")
    expect(page.get_by_role("heading", level=1)).to_have_text("Same person: what will change")
    found += faults(visitor)
    page.get_by_label("The name changed").focus()
    keys.press("Space")
    page.get_by_role("button", name="Same person: answer, and take the next").focus()
    keys.press("Enter")
    expect(page.get_by_text("The queue is empty")).to_be_visible()
    assert answers(world)[2:] == [("same", "name-changed")]
    found += faults(visitor)

    keys.press("u")
    expect(page.get_by_text("The decision was taken back")).to_be_visible()

    assert world.rows("select count(*) from link_decision where state = 'undone'") == [(1,)]
    assert found == []


def test_keys_can_be_turned_off_and_do_nothing_while_somebody_types(visit: Visit, world: World) -> None:
    visitor = visit()
    visitor.sign_in("quality")
    page, keys = visitor.page, visitor.page.keyboard
    visitor.open("/tasks")
    keys.press("x")
    expect(page.get_by_text("You hold this task until")).to_be_visible()
    held = visitor.path
    keys.press("d")
    page.locator("#different-comment").fill("")
    keys.type("d1nsx")
    expect(page.locator("#different-comment")).to_have_value("d1nsx")

    page.get_by_text("Keys of this page").click()
    page.get_by_label("Use single keys").uncheck()
    page.get_by_role("heading", level=1).click()
    keys.press("s")
    keys.press("x")

    assert (visitor.path, answers(world)) == (held, [])


def test_on_a_phone_without_javascript_a_task_is_claimed_read_answered_and_people_are_found(
    visit: Visit, world: World
) -> None:
    visitor = visit("phone", java_script_enabled=False)
    visitor.sign_in("quality")
    page = visitor.page
    visitor.open("/tasks")
    page.get_by_role("button", name=re.compile("Take the next task")).click()
    page.locator("summary", has_text="Different people").click()
    page.get_by_label("Relatives").check()
    page.get_by_role("button", name="Answer, and stay").first.click()
    expect(page.get_by_text("Your answer stands")).to_be_visible()
    visitor.open("/persons")
    page.get_by_label("First name").fill("Birgitta")
    page.get_by_label("Surname").fill("Lindqvist")
    for part, value in (("Day", "14"), ("Month", "5"), ("Year", "1970")):
        page.get_by_label(part, exact=True).fill(value)
    page.get_by_role("button", name="Find by description").click()
    page.get_by_role("link", name="Birgitta Lindqvist").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Birgitta Lindqvist")
    assert answers(world) == [("different", "relatives")]
    assert "Birgitta" not in visitor.path


@pytest.mark.parametrize("size", SIZES)
def test_every_other_page_of_the_index_can_be_read_by_everyone(visit: Visit, world: World, size: str) -> None:
    visitor = visit(size)
    visitor.sign_in("quality")
    person = world.rows("select min(record_id) from source_record where local_id = '4x'")[0][0]
    other = world.rows("select min(record_id) from source_record where local_id = '0a'")[0][0]
    task = world.rows("select max(task_id) from task where state = 'open'")[0][0]
    paths = ["/", "/tasks?kind=overlay", f"/tasks/{task}", "/tasks/bulk", "/persons", f"/persons/{person}"]
    paths += [f"/persons/{person}/{one}" for one in ("history", "why", f"beside/{other}")]
    found = []

    for path in [*paths, "/quality", "/models"]:
        visitor.open(path)
        found += [f"{path}: {fault}" for fault in faults(visitor)]
        wide = visitor.page.evaluate("document.documentElement.scrollWidth")
        if wide > SIZES[size]["width"]:
            found.append(f"{path}: {wide} pixels wide")

    assert found == []
