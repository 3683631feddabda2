"""People at the console over HTTP, as browsers are: a session, forms read out of pages and sent as they stand, redirects followed."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from app import Composition
from foundation.auth import users
from tests.web.foundation_caller import PASSWORD

_PAGE = {"Accept": "text/html", "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


@dataclass
class Page:
    """A page as it came, and where it came from."""

    status: int
    path: str
    html: str

    @property
    def heading(self) -> str:
        found = re.search(r"<h1[^>]*>(.*?)</h1>", self.html, re.S)
        return _text(found[1]) if found else ""

    @property
    def title(self) -> str:
        found = re.search(r"<title>(.*?)</title>", self.html, re.S)
        return _text(found[1]) if found else ""

    @property
    def text(self) -> str:
        """What the page says, without its tags; what its frame says too."""
        body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", self.html, flags=re.S)
        return _text(body)

    def fields(self, action: str, place: int = 0) -> dict[str, list[str]]:
        """The hidden fields, and what stands in texts, of the page's form that goes there; of several, the one at a place."""
        forms = [
            one for one in re.findall(r"<form\b.*?</form>", self.html, re.S) if f'action="{action}"' in one
        ]
        assert len(forms) > place, f"no form goes to {action}"
        found: dict[str, list[str]] = {}
        for tag in re.findall(r"<input\b[^>]*>", forms[place]):
            told = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
            if told.get("type") == "hidden" or (told.get("type") == "text" and told.get("value")):
                found.setdefault(told["name"], []).append(told.get("value", ""))
        return found

    def has_form(self, action: str) -> bool:
        return f'action="{action}"' in self.html


class Visitor:
    """Somebody who is signed in at the console in a role."""

    def __init__(
        self, app: Flask, username: str, role: str, organisation: str = "RRV", name: str = ""
    ) -> None:
        composition: Composition = app.extensions["composition"]
        with composition.db.write() as tx:
            users.create_user(
                tx,
                composition.clock.now(),
                username,
                PASSWORD,
                organisation,
                role,
                name=name or f"Reader {username}",
            )
        self.username = username
        self.client: FlaskClient = app.test_client()
        self.sign_in()

    def sign_in(self) -> None:
        answer = self.client.post("/sign-in", data={"username": self.username, "password": PASSWORD})
        assert answer.status_code == 303

    def open(self, path: str) -> Page:
        return self._page(self.client.get(path, headers=_PAGE, follow_redirects=True))

    def send(self, page: Page, action: str, place: int = 0, **typed: Any) -> Page:
        """Send the page's form that goes there, with what was typed."""
        form = page.fields(action, place)
        form |= {name: value if isinstance(value, list) else [value] for name, value in typed.items()}
        answer = self.client.post(action, data=form, headers=_PAGE, follow_redirects=True)
        return self._page(answer)

    def post(self, action: str, **typed: Any) -> Page:
        """Send a form that no page of these tests has, with the session's secret."""
        secret = self.client.get("/api/v1/me").json["csrf_token"]  # type: ignore[index]
        return self._page(
            self.client.post(
                action, data={"csrf_token": secret, **typed}, headers=_PAGE, follow_redirects=True
            )
        )

    def _page(self, answer: Any) -> Page:
        text = answer.get_data(as_text=True)
        assert len(text) < 200_000
        return Page(answer.status_code, answer.request.full_path.rstrip("?"), text)


def _text(html: str) -> str:
    inline = re.sub(r"</?(?:span|bdi|strong|a|kbd)\b[^>]*>", "", html)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", inline)).split())
