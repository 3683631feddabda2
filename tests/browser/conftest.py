"""A console that is served, and a Chromium to look at it with: Debian's, fresh for every test, reaching nothing but the console."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import make_server

from app import create_app
from foundation.auth import users
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.settings import Settings
from tests.web.foundation_caller import PASSWORD

FLAGS = [
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
SIZES = {"desktop": DESKTOP, "phone": PHONE}
LONG_NAME = "Dr Wilhelmina-Konstantinopoulou Featherstonehaugh-Cholmondeley of the Emergency Department"
PEOPLE = {
    "doctor": ("R8000", "Dr Example"),
    "quality": ("R5110", "Data quality"),
    "supervisor": ("R0008", LONG_NAME),
}


@pytest.fixture(scope="session")
def console(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a console with three accounts; its clock stands still, so that nobody's session ends."""
    home = tmp_path_factory.mktemp("console")
    (home / "mpi.sqlite3").write_bytes(sqlite_template.read_bytes())
    db, clock = (
        Database(f"sqlite:///{home / 'mpi.sqlite3'}"),
        FixedClock(datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
    )
    with db.write() as tx:
        put_organisation(tx, Organisation("RRV", "University College London Hospitals", "acute"))
        for username, (role, name) in PEOPLE.items():
            users.create_user(tx, clock.now(), username, PASSWORD, "RRV", role, name=name)
    app = create_app(Settings.from_environment({"MPI_HOME": str(home)}), database=db, clock=clock)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
    db.close()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_playwright() as player:
        opened = player.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()


@dataclass
class Visitor:
    """Someone in front of the console, and what went wrong in their browser."""

    page: Page
    address: str
    troubles: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)

    def sign_in(self, username: str = "doctor", password: str = PASSWORD) -> None:
        self.open("/sign-in")
        self.page.get_by_label("User name").fill(username)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self.address)


@pytest.fixture
def visit(browser: Browser, console: str) -> Iterator[Callable[..., Visitor]]:
    """Open a fresh profile; at the end, no script failed, no policy was broken, and nothing outside was asked for."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    def opened(size: str = "desktop", **options: Any) -> Visitor:
        context = browser.new_context(viewport=SIZES[size], locale="en-GB", **options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        visitor = Visitor(context.new_page(), console)
        page = visitor.page
        page.on("pageerror", lambda error: visitor.troubles.append(f"script: {error}"))
        page.on("console", lambda said: _note(visitor, said))
        page.on("request", lambda sent: _note_stranger(visitor, sent.url))
        visitors.append(visitor)
        return visitor

    yield opened
    for context in contexts:
        context.close()
    assert [trouble for visitor in visitors for trouble in visitor.troubles] == []


def _note(visitor: Visitor, said: Any) -> None:
    # That an answer was a refusal, the tests say themselves.
    if said.type in ("error", "warning") and "Failed to load resource" not in said.text:
        visitor.troubles.append(f"{said.type}: {said.text}")


def _note_stranger(visitor: Visitor, url: str) -> None:
    if not url.startswith((visitor.address, "data:")):
        visitor.troubles.append(f"asked for {url}")
