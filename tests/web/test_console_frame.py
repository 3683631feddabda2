"""The console's frame over HTTP: a session that ends mid-form loses nothing, old pages, lists, confirmations, charts."""

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template_string, request
from flask.testing import FlaskClient

from foundation.auth.sessions import IDLE
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict
from foundation.web import current_principal, requires
from foundation.web.charts import Chart, Series, ticks
from foundation.web.pages import (
    Fault,
    Listing,
    add_panel,
    add_said,
    chosen_of,
    confirm_page,
    go,
    moved_on_page,
    whole_number,
    write_code,
    write_share,
)
from tests.web.foundation_caller import PASSWORD, make_app, open_account, put_trust

PAGE = {"Accept": "text/html"}
HERE = {**PAGE, "Origin": "http://localhost"}
TYPED = "She says that both records are hers, and has shown a passport."


@pytest.fixture
def app(sqlite_template: Path, tmp_path: Path, clock: FixedClock) -> Iterator[Flask]:
    """A console with a form; on one engine, since nothing of it is in a store but sessions, which are tried on both elsewhere."""
    (tmp_path / "mpi.sqlite3").write_bytes(sqlite_template.read_bytes())
    db = Database(f"sqlite:///{tmp_path / 'mpi.sqlite3'}")
    put_trust(db)
    open_account(db, clock)
    open_account(db, clock, "nurse", "R8001")
    app = make_app(db, clock)
    app.extensions["taken"] = []

    @app.post("/note")
    @requires("persons:read")
    def take() -> Any:
        app.extensions["taken"].append((current_principal().id, request.form["comment"]))
        return go("/?filter=a", "noted")

    @app.post("/late")
    @requires("persons:read")
    def late() -> Any:
        return moved_on_page(
            "Somebody else decided this first",
            ["Nothing of yours was saved."],
            since=[("3 March 2026 at 09:05", "Decided")],
            kept=[("Comment", request.form["comment"]), ("Reason", "")],
            back="/",
        )

    @app.post("/moved")
    @requires("persons:read")
    def moved() -> Any:
        raise Conflict("task-stale")

    add_said(app, {"noted": "Your note was kept"})
    yield app
    db.close()


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return signed_in(app)


def signed_in(app: Flask, username: str = "doctor") -> FlaskClient:
    client = app.test_client()
    answer = client.post("/sign-in", data={"username": username, "password": PASSWORD})
    assert answer.status_code == 303
    return client


def secret_of(client: FlaskClient) -> str:
    return str(client.get("/api/v1/me").json["csrf_token"])


def fields_of(page: str, action: str) -> list[tuple[str, str]]:
    """The hidden fields of the page's form that goes there."""
    form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', page, re.S)
    assert form is not None, page
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form[0])
    return [(name, unescape(value)) for name, value in found]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("12", 12), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5_000, None), ("-1", None),
     ("1.0", None), ("\u0663", None), (" 1", None), ("", None), (None, None)],
)  # fmt: skip
def test_a_whole_number_is_read_or_is_none(text: str | None, number: int | None) -> None:
    assert whole_number(text) == number


# A session that ends -------------------------------------------------------------------------------------------------


def test_what_a_page_put_into_its_form_is_held_and_not_shown_as_typed(
    browser: FlaskClient, clock: FixedClock
) -> None:
    packed = "eNorSS0uAQAEXQHB" * 3
    form = {"csrf_token": secret_of(browser), "comment": TYPED, "packed": packed}
    clock.advance(IDLE)

    page = browser.post("/note", data=form, headers=HERE).get_data(as_text=True)

    assert ("held.packed", packed) in fields_of(page, "/sign-in/resume")
    assert re.findall(r'<p class="console-typed">([^<]*)</p>', page) == [TYPED]


def test_what_was_typed_when_a_session_ended_is_sent_after_signing_in_again(
    app: Flask, browser: FlaskClient, clock: FixedClock
) -> None:
    form = {"csrf_token": secret_of(browser), "comment": TYPED, "tick": ["one", "two"]}
    clock.advance(IDLE)

    held = browser.post("/note?step=2", data=form, headers=HERE)

    page = held.get_data(as_text=True)
    assert held.status_code == 401 and "nothing that you typed is lost" in page and TYPED in page
    assert app.extensions["taken"] == []
    fields = fields_of(page, "/sign-in/resume")
    assert fields == [
        ("path", "/note?step=2"),
        ("held.comment", TYPED),
        ("held.tick", "one"),
        ("held.tick", "two"),
    ]

    wrong = browser.post(
        "/sign-in/resume",
        data=_form(fields, username="doctor", password="something else"),
        headers=HERE,
    )
    assert wrong.status_code == 401
    assert fields_of(wrong.get_data(as_text=True), "/sign-in/resume") == fields
    again = browser.post(
        "/sign-in/resume", data=_form(fields, username="doctor", password=PASSWORD), headers=HERE
    )

    shown = again.get_data(as_text=True)
    assert again.status_code == 200 and TYPED in shown and app.extensions["taken"] == []
    sent = browser.post("/note?step=2", data=_form(fields_of(shown, "/note?step=2")), headers=HERE)
    assert (sent.status_code, sent.headers["Location"]) == (303, "/?filter=a&said=noted")
    ((who, text),) = app.extensions["taken"]
    assert (bool(who), text) == (True, TYPED)
    assert "Your note was kept" in browser.get(sent.headers["Location"]).get_data(as_text=True)


def test_a_form_of_an_older_session_is_sent_by_whoever_is_signed_in_now_once_they_say_so(
    app: Flask, browser: FlaskClient
) -> None:
    old = secret_of(browser)
    browser.post("/sign-in", data={"username": "nurse", "password": PASSWORD})

    answer = browser.post("/note", data={"csrf_token": old, "comment": TYPED}, headers=HERE)

    page = answer.get_data(as_text=True)
    assert answer.status_code == 403 and TYPED in page and app.extensions["taken"] == []
    assert fields_of(page, "/note") == [("csrf_token", secret_of(browser)), ("comment", TYPED)]


@pytest.mark.parametrize(
    "headers",
    [PAGE, {**PAGE, "Origin": "https://elsewhere.example"}, {**HERE, "Sec-Fetch-Site": "cross-site"}],
)
def test_a_form_that_no_page_of_ours_surely_sent_is_not_held(
    app: Flask, browser: FlaskClient, headers: dict[str, str]
) -> None:
    for client, secret in ((app.test_client(), ""), (browser, "old")):
        page = client.post("/note", data={"csrf_token": secret, "comment": TYPED}, headers=headers)

        assert page.status_code in (401, 403)
        assert TYPED not in page.get_data(as_text=True)


def test_a_held_form_goes_nowhere_but_to_this_site_and_shows_its_sender_nothing_of_another(
    app: Flask,
) -> None:
    client = app.test_client()
    fields = {"path": "https://elsewhere.example/", "held.comment": TYPED}

    unsigned = client.post("/sign-in/resume", data=fields, headers=HERE)
    crossed = client.post("/sign-in/resume", data=fields, headers={**PAGE, "Origin": "https://a.example"})
    signed = signed_in(app).post("/sign-in/resume", data=fields, headers=HERE)

    assert unsigned.status_code == 401 and crossed.status_code == 403 and signed.status_code == 200
    assert 'action="/"' in signed.get_data(as_text=True)
    assert "elsewhere.example" not in unsigned.get_data(as_text=True) + signed.get_data(as_text=True)


def test_a_file_cannot_be_held_and_the_page_says_so(
    app: Flask, browser: FlaskClient, clock: FixedClock
) -> None:
    form = {"csrf_token": secret_of(browser), "comment": TYPED}
    clock.advance(IDLE)

    held = browser.post("/note", data={**form, "file": (BytesIO(b"a,b"), "rows.csv")}, headers=HERE)

    page = held.get_data(as_text=True)
    assert "Choose it again" in page
    fields = fields_of(page, "/sign-in/resume")
    again = browser.post(
        "/sign-in/resume", data=_form(fields, username="doctor", password=PASSWORD), headers=HERE
    )
    assert "choose it again" in again.get_data(as_text=True)
    assert 'action="/note"' not in again.get_data(as_text=True)


def test_a_form_that_holds_nothing_leads_back_to_its_page(browser: FlaskClient, clock: FixedClock) -> None:
    secret = secret_of(browser)
    clock.advance(IDLE)

    answer = browser.post(
        "/note", data={"csrf_token": secret}, headers={**HERE, "Referer": "http://localhost/tasks/7?a=b"}
    )

    assert answer.status_code == 401
    assert '"/sign-in?next=/tasks/7%3Fa%3Db"' in answer.get_data(as_text=True)


def test_who_says_that_they_are_still_there_is_not_signed_out(
    browser: FlaskClient, clock: FixedClock
) -> None:
    for _ in range(3):
        clock.advance(IDLE - timedelta(minutes=1))
        assert browser.get("/sign-in/stay").status_code == 204

    clock.advance(IDLE)

    assert browser.get("/sign-in/stay").status_code == 401


# Pages that several screens need -------------------------------------------------------------------------------------


def test_a_page_saved_late_says_what_changed_and_keeps_what_was_typed(browser: FlaskClient) -> None:
    form = {"csrf_token": secret_of(browser), "comment": TYPED}

    late = browser.post("/late", data=form, headers=HERE)
    plain = browser.post("/moved", data=form, headers={**HERE, "Referer": "http://localhost/tasks/7"})

    page = late.get_data(as_text=True)
    assert late.status_code == plain.status_code == 409
    assert all(one in page for one in ("decided this first", "3 March 2026 at 09:05", TYPED))
    assert "Reason" not in page
    assert 'href="/tasks/7"' in plain.get_data(as_text=True)


def test_a_confirmation_bears_its_fields_and_the_way_back(app: Flask) -> None:
    with app.test_request_context("/"):
        page = confirm_page(
            "Close <this>?",
            action="/close",
            button="Close it",
            back="/tasks",
            says=["It stays closed."],
            rows=[("Tasks", "2")],
            fields={"version": "3", "task": ["1", "2"]},
            is_warning=True,
        )

    assert "<h1>Close &lt;this&gt;?</h1>" in page and "nhsuk-button--warning" in page
    assert fields_of(page, "/close")[1:] == [("version", "3"), ("task", "1"), ("task", "2")]
    assert page.count('href="/tasks"') == 2


def test_a_panel_is_shown_to_those_with_its_scope_alone(app: Flask) -> None:
    add_panel(app, "emergency", lambda by: render_template_string("<p>{{ who }} & co</p>", who="<them>"))

    doctor = signed_in(app).get("/", headers=PAGE).get_data(as_text=True)

    assert "<p>&lt;them&gt; & co</p>" in doctor


def test_fields_show_their_faults_and_what_was_typed(app: Flask) -> None:
    form = {"from-day": "31", "from-month": "2", "from-year": "2026"}
    source = (
        '{% import "parts.html" as p %}{{ p.faults_summary(faults) }}{{ p.text_input("name", "Name", value, faults) }}'
        '{{ p.text_area("why", "Why", value, faults) }}{{ p.select("kind", "Kind", items, "b", faults) }}'
        '{{ p.radios("one", "One", items, "b", faults) }}{{ p.checks("more", "More", items, ["a", "b"], faults) }}'
        '{{ p.day_input("from", "From", form, faults) }}'
    )
    faults = [Fault(name, f"{name} is wrong") for name in ("name", "why", "kind", "one", "more", "from-day")]

    with app.test_request_context("/"):
        shown = render_template_string(
            source, faults=faults, value='"><b>', items=[("a", "First"), ("b", "Second", "A hint")], form=form
        )

    for fault in faults:
        assert f'href="#{fault.field}"' in shown and f'id="{fault.field}"' in shown
        assert shown.count(f"{fault.field} is wrong") == 2
    assert "<b>" not in shown
    assert shown.count(" checked") == 3 and 'value="31"' in shown and '<option value="b" selected>' in shown


# Lists ---------------------------------------------------------------------------------------------------------------


def test_a_list_keeps_what_was_chosen_and_begins_anew_when_that_changes() -> None:
    listing = Listing("/tasks", {"kind": "overlay", "sort": "age"}, cursor="abc", next="def")

    assert listing.next_url == "/tasks?kind=overlay&sort=age&cursor=def"
    assert listing.first_url == "/tasks?kind=overlay&sort=age"
    assert listing.url(kind=None) == "/tasks?sort=age"
    assert (listing.is_sorted("age"), listing.sort_url("age")) == (
        "ascending",
        "/tasks?kind=overlay&sort=-age",
    )
    assert (listing.is_sorted("kind"), listing.sort_url("kind")) == ("none", "/tasks?kind=overlay&sort=kind")


def test_an_address_chooses_only_what_may_be_chosen() -> None:
    known = {"kind": ("overlay",), "state": ("open", "decided")}

    assert chosen_of({"kind": "Smith", "state": "open", "name": "Jones"}, known) == {"state": "open"}


def test_a_list_is_shown_with_its_sorting_pages_and_filters(app: Flask) -> None:
    source = (
        '{% import "parts.html" as p %}{% call p.table("Tasks", ["What", ["Age", "age", true]], listing) %}<tr><td>x</td></tr>'
        "{% endcall %}{{ p.pager(listing, 1, 1200) }}{{ p.filters(listing, selects) }}"
    )
    selects = [{"name": "kind", "label": "Kind", "items": [("", "All"), ("overlay", "Held update")]}]

    with app.test_request_context("/"):
        shown = render_template_string(
            source,
            listing=Listing("/tasks", {"kind": "overlay", "sort": "-age"}, next="n"),
            selects=selects,
        )

    assert 'aria-sort="descending"' in shown and "1,200" in shown and ">Next page<" in shown
    assert "First page" not in shown and '<option value="overlay" selected>' in shown
    assert '<input type="hidden" name="sort" value="-age">' in shown


# Charts --------------------------------------------------------------------------------------------------------------


def test_a_chart_says_in_words_and_in_a_table_what_it_draws(app: Flask) -> None:
    lines = Chart(
        "ages",
        "Ages <of> tasks",
        "lines",
        ("1 May", "2 May", "3 May"),
        (Series("Open", (3, None, 7)),),
        of="Day",
    )
    bars = Chart(
        "kinds", "Kinds", "bars", ("A & B", "C"), (Series("Open", (12.5, 0)), Series("Put off", (1, 2))), "%"
    )

    with app.test_request_context("/"):
        shown = render_template_string(
            '{% import "parts.html" as p %}{{ p.chart(lines) }}{{ p.chart(bars) }}', lines=lines, bars=bars
        )

    assert lines.says == "Open: 3 at 1 May, 7 at 3 May; between 3 and 7."
    assert bars.says == "Open: most 12.5%, A & B. Put off: most 2%, C."
    assert "Ages &lt;of&gt; tasks" in shown and "A &amp; B" in shown and "style=" not in shown
    assert lines.rows == [("1 May", ["3"]), ("2 May", ["–"]), ("3 May", ["7"])]
    assert shown.count("<rect") == 4 and 'aria-labelledby="ages-title ages-words"' in shown


@pytest.mark.parametrize(
    ("most", "expected"), [(0, [0, 1]), (7, [0, 2, 4, 6, 8]), (100, [0, 25, 50, 75, 100])]
)
def test_an_axis_has_round_marks_up_to_the_greatest_value(most: float, expected: list[float]) -> None:
    assert ticks(most) == expected


def test_an_empty_chart_says_so(app: Flask) -> None:
    nothing = Chart("none", "Nothing", "lines", ("a",), (Series("Open", (None,)),))

    with app.test_request_context("/"):
        shown = render_template_string('{% import "parts.html" as p %}{{ p.chart(one) }}', one=nothing)

    assert "Nothing to show yet" in shown and "<svg" not in shown


def test_shares_and_codes_are_written_for_people() -> None:
    assert (write_share(0.1234), write_share(None)) == ("12.3%", "–")
    assert (write_code("number-conflict"), write_code(None)) == ("Number conflict", "")


def _form(fields: list[tuple[str, str]], **more: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in [*fields, *more.items()]:
        found.setdefault(name, []).append(value)
    return found
