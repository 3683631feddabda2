"""Someone at the console, at HTTP height: signs in, opens pages, fills in forms as a browser without JavaScript would."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from flask import Flask

from app import Composition
from foundation.auth.users import create_user
from tests.web.foundation_caller import PASSWORD


@dataclass
class Form:
    """A form of a page: where it goes, and what it would send as it stands."""

    action: str
    fields: dict[str, Any] = field(default_factory=dict)  # text, or a list of texts where a name comes twice
    has_file: bool = False


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self._open: Form | None = None
        self._area: str | None = None
        self._select: str | None = None
        self._is_quiet = 0
        self.title = ""
        self._is_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag in ("style", "script"):
            self._is_quiet += 1
        if tag == "title":
            self._is_title = True
        if tag == "a" and told.get("href"):
            self.links.append(told["href"] or "")
        if tag == "form":
            self._open = Form(told.get("action") or "")
            self.forms.append(self._open)
        if self._open is None:
            return
        name, kind = told.get("name"), told.get("type")
        if tag == "input" and kind == "file":
            self._open.has_file = True
        elif tag == "input" and name and (kind not in ("radio", "checkbox") or "checked" in told):
            value = told.get("value") or ""
            known = self._open.fields.get(name)
            self._open.fields[name] = value if known is None else [*_listed(known), value]
        elif tag == "textarea" and name:
            self._area = name
            self._open.fields[name] = ""
        elif tag == "select" and name:
            self._select = name
        elif tag == "option" and self._select:
            if "selected" in told or self._select not in self._open.fields:
                self._open.fields[self._select] = told.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script"):
            self._is_quiet -= 1
        self._is_title = self._is_title and tag != "title"
        if tag == "form":
            self._open = None
        if tag == "textarea":
            self._area = None
        if tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self.title += data
        if self._area and self._open is not None:
            self._open.fields[self._area] += data
        if not self._is_quiet and data.strip():
            self.texts.append(" ".join(data.split()))


class Page:
    """An answer as a reader sees it."""

    def __init__(self, answer: Any, visitor: "Visitor") -> None:
        self.status, self.location = answer.status_code, answer.headers.get("Location")
        self.html = answer.get_data(as_text=True)
        self.size = len(answer.get_data())
        self._visitor = visitor
        reader = _Reader()
        reader.feed(self.html)
        self.title, self.text = reader.title, " ".join(reader.texts)
        self.forms, self.links = reader.forms, reader.links

    def form(self, ends: str = "") -> Form:
        """Return the one form whose action ends so, without that of signing out."""
        (found,) = [
            one for one in self.forms if one.action.endswith(ends) and not one.action.endswith("/sign-out")
        ]
        return found

    def send(self, ends: str = "", /, **changes: Any) -> "Page":
        """Send a form with some of its fields filled in; None leaves one out. Underscores stand for themselves."""
        form = self.form(ends)
        data = {name: value for name, value in {**form.fields, **changes}.items() if value is not None}
        return self._visitor.post(form.action, data)

    def follow(self) -> "Page":
        assert self.status == 303, (self.status, self.text)
        return self._visitor.get(self.location)


class Visitor:
    """A person with a session."""

    def __init__(
        self, app: Flask, name: str = "supervisor", role: str = "R0008", organisation: str = "RRV"
    ) -> None:
        composition: Composition = app.extensions["composition"]
        with composition.db.write() as tx:
            create_user(tx, composition.clock.now(), name, PASSWORD, organisation, role)
        self._client = app.test_client()
        answer = self._client.post("/api/v1/sign-in", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.json
        self._csrf = answer.json["csrf_token"]

    def get(self, path: str) -> Page:
        return Page(self._client.get(path, headers={"Accept": "text/html"}), self)

    def post(self, path: str, data: dict[str, Any] | None = None) -> Page:
        sent = {"csrf_token": self._csrf, **(data or {})}
        return Page(self._client.post(path, data=sent, headers={"Accept": "text/html"}), self)
