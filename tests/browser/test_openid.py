"""A whole sign-in through a provider that is not ours, in Chromium: there and back, what is said to who is refused, and the way out."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from werkzeug.serving import make_server

from app import create_app
from foundation.clock import SystemClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.settings import Settings
from tests.browser.conftest import SIZES, Visitor
from tests.browser.test_console import faults
from tests.web.openid_provider import (
    CLIENT_ID,
    USER,
    free_port,
    person,
    provider_of_another,
    put_person,
    role,
)

Visit = Callable[..., Visitor]
REFUSED = {
    "unselected": (person(selected_roleid=None), "select the role that you work in now"),
    "unmapped": (
        person(nhsid_nrbac_roles=[role("555254242102", "S8001:G8002:R9999")]),
        "has no work in this service",
    ),
    "unsure": (person(acr="AAL1_USERPASS", authentication_assurance_level="1"), "your smartcard"),
}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with provider_of_another() as issuer:
        put_person(issuer, USER, person())
        for name, (claims, _) in REFUSED.items():
            put_person(issuer, name, claims)
        yield issuer


@pytest.fixture(scope="module")
def served(provider: str, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a console to which people come through the provider."""
    home = tmp_path_factory.mktemp("national")
    (home / "mpi.sqlite3").write_bytes(sqlite_template.read_bytes())
    (home / "secret").write_text("a secret of ours")
    db = Database(f"sqlite:///{home / 'mpi.sqlite3'}")
    with db.write() as tx:
        put_organisation(tx, Organisation("RRV", "University College London Hospitals", "acute"))
    port = free_port()
    settings = {
        "MPI_HOME": str(home),
        "MPI_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "OIDC_ISSUER": provider,
        "OIDC_CLIENT_ID": CLIENT_ID,
        "OIDC_CLIENT_SECRET_FILE": str(home / "secret"),
    }
    app = create_app(Settings.from_environment(settings), database=db, clock=SystemClock())
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    thread.join()
    server.server_close()
    db.close()


@pytest.fixture
def visit(browser: Browser, served: str) -> Iterator[Callable[..., Visitor]]:
    contexts = []
    visitors: list[Visitor] = []

    def opened(size: str = "desktop") -> Visitor:
        context = browser.new_context(viewport=SIZES[size], locale="en-GB")
        context.set_default_timeout(30_000)
        contexts.append(context)
        visitor = Visitor(context.new_page(), served)
        visitor.page.on("pageerror", lambda error: visitor.troubles.append(f"script: {error}"))
        visitors.append(visitor)
        return visitor

    yield opened
    for context in contexts:
        context.close()
    assert [trouble for visitor in visitors for trouble in visitor.troubles] == []


def go_there(visitor: Visitor, subject: str) -> None:
    """From a page of ours to the provider's, and say there who one is."""
    visitor.page.get_by_role("button", name="Sign in with NHS Care Identity").click()
    visitor.page.locator("input[name=sub]").fill(subject)
    visitor.page.locator("button[type=submit]").first.click()


@pytest.mark.parametrize("size", SIZES)
def test_a_nurse_signs_in_works_and_signs_out(visit: Visit, provider: str, size: str):
    visitor = visit(size)
    page = visitor.page
    visitor.open("/")
    expect(page.locator("h1")).to_have_text("Sign in")
    expect(page.get_by_label("Password")).to_have_count(0)
    before = faults(visitor)

    go_there(visitor, USER)
    expect(page.locator("h1")).to_have_text("My work")
    expect(page.get_by_text("Nurse at University College London Hospitals (RRV)")).to_be_visible()
    at_work = faults(visitor)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{provider}/**")

    assert before == at_work == []
    visitor.open("/")
    expect(page.locator("h1")).to_have_text("Sign in")


@pytest.mark.parametrize("subject", REFUSED)
def test_who_is_refused_is_told_why_and_may_try_again(visit: Visit, subject: str):
    visitor = visit("phone")
    visitor.open("/sign-in")

    go_there(visitor, subject)

    expect(visitor.page.locator("h1")).to_have_text("You were not signed in")
    expect(visitor.page.get_by_text(REFUSED[subject][1])).to_be_visible()
    assert faults(visitor) == []
    visitor.page.get_by_role("button", name="Back to sign in").click()
    go_there(visitor, USER)
    expect(visitor.page.locator("h1")).to_have_text("My work")


def test_the_page_that_leads_on_to_the_providers_way_out_can_be_read_by_everyone(visit: Visit, provider: str):
    visitor = visit()
    visitor.open("/sign-in")
    go_there(visitor, USER)
    visitor.page.route(f"{provider}/**", lambda route: route.fulfill(status=204))

    visitor.page.get_by_role("button", name="Sign out").click()

    expect(visitor.page.get_by_text("Sign out of NHS Care Identity")).to_be_visible()
    assert faults(visitor) == []
