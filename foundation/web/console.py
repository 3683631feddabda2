"""The console's frame: templates of NHS.UK frontend, static files, signing in and out, and the first page."""

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
)
from jinja2 import ChainableUndefined, ChoiceLoader, FileSystemLoader, PackageLoader
from werkzeug.wrappers import Response as AnyResponse

from foundation.auth.openid import ATTEMPT_LIFE, CALLBACK, OpenId
from foundation.auth.roles import SCOPES, role_name
from foundation.auth.selected import SignInRefused
from foundation.auth.sessions import IDLE, Session, close_session, open_session
from foundation.auth.users import User, check_password
from foundation.directory import find_organisation
from foundation.errors import NotFound, Unauthenticated
from foundation.web.access import open_to_all, requires
from foundation.web.pages import cards_for, panels_for, prepare_pages, said
from foundation.web.shell import (
    COOKIE,
    caller_address,
    check_form_secret,
    check_same_site,
    is_surely_of_this_site,
    read_session,
    shell,
)

HERE = Path(__file__).resolve().parent
_SIGN_INS_PER_MINUTE = 30
_ENDED_PER_MINUTE = 600
_BROWSER = "mpi_sign_in"
_BROWSER_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_NOT_PAGES = ("/api/", "/fhir/", "/oauth2/", "/.well-known/", "/health/", "/metrics")
_KEPT_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class ConsoleLink:
    """A page of the console, shown to those whose scopes allow it."""

    title: str
    url: str
    scope: str
    hint: str = ""


def add_console_link(app: Flask, link: ConsoleLink) -> None:
    app.extensions.setdefault("console_links", []).append(link)


def prepare_templates(app: Flask) -> None:
    """Let the app find the console's templates and NHS.UK frontend's components; everything is escaped, whatever its name ends in."""
    app.jinja_options = {"undefined": ChainableUndefined, "autoescape": True}
    app.jinja_loader = ChoiceLoader(
        [FileSystemLoader(HERE / "templates"), PackageLoader("nhsuk_frontend_jinja", "templates")]
    )
    app.context_processor(_everywhere)
    prepare_pages(app)


def _everywhere() -> dict[str, Any]:
    session = read_session() if "session" in g or request.cookies.get(COOKIE) else None
    return {
        "session": session,
        "user": session.user if session else None,
        "role": role_name(session.user.role) if session else None,
        "csrf_token": session.csrf if session else "",
        "idle_seconds": int(IDLE.total_seconds()) if session else None,
        "links": console_links(session),
        "said": said(),
    }


def console_links(session: Session | None) -> list[ConsoleLink]:
    if session is None:
        return []
    scopes = session.user.principal().scopes
    links: list[ConsoleLink] = current_app.extensions.get("console_links", [])
    return [link for link in links if link.scope in scopes]


console = Blueprint("console", __name__)


@console.get("/")
@open_to_all("leads to the sign-in page whoever has not signed in")
def home() -> str | AnyResponse:
    session = read_session()
    if session is None:
        return redirect("/sign-in")
    by = session.user.principal()
    allowed = sorted(SCOPES[scope] for scope in by.scopes)
    with shell().db.read() as tx:
        known = find_organisation(tx, by.organisation)
    organisation = by.organisation if known is None else f"{known.name} ({by.organisation})"
    return render_template(
        "home.html", allowed=allowed, cards=cards_for(by), panels=panels_for(by), organisation=organisation
    )


@console.get("/sign-in")
@open_to_all("the way in")
def sign_in_page() -> str:
    if shell().openid is None:
        _need_local_sign_in()
    return _sign_in_page(_inside(request.args.get("next")))


def _sign_in_page(target: str, **more: Any) -> str:
    openid = shell().openid
    return render_template(
        "sign_in.html",
        next=target,
        provider=openid.name if openid is not None else None,
        start="/sign-in/start?" + urlencode({"next": target}),
        is_local=shell().settings.local_sign_in,
        **more,
    )


@console.get("/sign-in/start")
@open_to_all("the way in")
def start_sign_in() -> AnyResponse:
    """Send a browser to the provider. It gets a secret of its own, so that nobody can be signed in by another's answer."""
    openid = _need_openid()
    shell().limits.check("sign-in", caller_address(), _SIGN_INS_PER_MINUTE)
    browser = request.cookies.get(_BROWSER, "")
    if not _BROWSER_SECRET.fullmatch(browser):
        browser = secrets.token_urlsafe(32)
    answer = redirect(openid.begin(browser, _inside(request.args.get("next"))), 303)
    life = ATTEMPT_LIFE.total_seconds()
    answer.set_cookie(
        _BROWSER, browser, int(life), path="/sign-in", httponly=True, samesite="Lax", secure=shell().is_secure
    )
    return answer


@console.get(CALLBACK)
@open_to_all("the way in")
def finish_sign_in() -> AnyResponse:
    """Let in who comes back from the provider, or say why not."""
    openid = _need_openid()
    shell().limits.check("sign-in", caller_address(), _SIGN_INS_PER_MINUTE)
    try:
        done = openid.finish(request.args, request.cookies.get(_BROWSER), request.cookies.get(COOKIE))
    except SignInRefused as refused:
        g.problem_code = refused.code
        page = render_template("sign_in_refused.html", code=refused.code, provider=openid.name)
        return make_response(page, 403)
    return with_cookie(redirect(done.target, 303), done.token)


@console.post("/sign-in/back-channel-logout")
@open_to_all("the provider proves itself by its signature")
def end_sessions() -> AnyResponse:
    """Hear from the provider that a session of its own ended (Back-Channel Logout 1.0)."""
    openid = _need_openid()
    shell().limits.check("back-channel", caller_address(), _ENDED_PER_MINUTE)
    openid.leave(request.form.get("logout_token", ""))
    return make_response("", 200)


@console.post("/sign-in")
@open_to_all("the way in")
def sign_in() -> AnyResponse:
    _need_local_sign_in()
    check_same_site()
    try:
        _, token = sign_in_with(request.form.get("username", ""), request.form.get("password", ""))
    except Unauthenticated:
        page = _sign_in_page(
            _inside(request.form.get("next")),
            fault="sign-in-refused",
            username=request.form.get("username", "")[:64],
        )
        return make_response(page, 401)
    return with_cookie(redirect(_inside(request.form.get("next")), 303), token)


@console.get("/sign-in/stay")
@requires()
def stay() -> AnyResponse:
    """Note that somebody is still there, before half an hour without use ends their session."""
    return make_response("", 204)


@console.post("/sign-in/resume")
@open_to_all("the way in")
def resume() -> AnyResponse:
    """Go on with a form whose session ended before it was sent: sign in, then show it to be sent again.

    Nothing is done by it: whoever signed in sends the form again themselves, with the secret of their session.
    """
    check_same_site()
    held = HeldForm.of_fields()
    token = None
    if read_session() is None and shell().settings.local_sign_in and "username" in request.form:
        try:
            g.session, token = sign_in_with(
                request.form.get("username", ""), request.form.get("password", "")
            )
        except Unauthenticated:
            return make_response(_held_page(held, fault="sign-in-refused"), 401)
    if read_session() is None:
        return make_response(_held_page(held, fault="sign-in-needed"), 401)
    page = make_response(render_template("resume.html", held=held))
    return page if token is None else with_cookie(page, token)


@console.post("/sign-out")
@open_to_all("whoever is signed out already is shown the way in")
def sign_out() -> AnyResponse:
    session = read_session()
    leave()
    openid = shell().openid
    way_out = openid.way_out() if openid is not None and session is not None and session.is_national else None
    if openid is None or way_out is None:
        return without_cookie(redirect("/sign-in", 303))
    # A page that leads on, and no redirect: what a form may lead to is held to this site (Content-Security-Policy).
    g.session = None
    page = render_template("signing_out.html", way_out=way_out, provider=openid.name)
    return without_cookie(make_response(page))


@console.get("/static/<path:name>", endpoint="asset")
@open_to_all("style sheets and scripts hold no data")
def asset(name: str) -> Response:
    return send_from_directory(HERE / "static", name, max_age=_KEPT_SECONDS)


@console.get("/favicon.ico")
@open_to_all("a picture")
def icon() -> Response:
    return send_from_directory(HERE / "static", "icon.svg", max_age=_KEPT_SECONDS)


def sign_in_with(username: str, password: str) -> tuple[Session, str]:
    """Sign someone in; return the session and the token for the cookie.

    Raises:
        Unauthenticated: ``sign-in-refused``.
        TooMany: for one address, whoever it tries to be.
    """
    parts = shell()
    parts.limits.check("sign-in", caller_address(), _SIGN_INS_PER_MINUTE)
    if len(username) > 64 or not username.isprintable() or "\0" in password:
        raise Unauthenticated("sign-in-refused")
    user: User = check_password(parts.db, parts.clock, username, password)
    with parts.db.write() as tx:
        token, session = open_session(tx, parts.clock.now(), user, instead_of=request.cookies.get(COOKIE))
    return session, token


def leave() -> None:
    """End the request's session, if it has one."""
    session = read_session()
    token = request.cookies.get(COOKIE)
    if session is not None and token:
        check_form_secret(session)
        with shell().db.write() as tx:
            close_session(tx, token)


def with_cookie(response: AnyResponse, token: str) -> AnyResponse:
    response.set_cookie(COOKIE, token, httponly=True, samesite="Lax", secure=shell().is_secure, path="/")
    return response


def without_cookie(response: AnyResponse) -> AnyResponse:
    response.delete_cookie(COOKIE, httponly=True, samesite="Lax", secure=shell().is_secure, path="/")
    return response


def _need_openid() -> OpenId:
    openid = shell().openid
    if openid is None:
        raise NotFound("national-sign-in-off")
    return openid


def _need_local_sign_in() -> None:
    if not shell().settings.local_sign_in:
        raise NotFound("local-sign-in-off")


def _inside(target: str | None) -> str:
    """Return where to go after signing in: a page of ours, whatever the address says."""
    is_ours = (
        target is not None
        and target.startswith("/")
        and not target.startswith(("//", "/\\"))
        and target.isprintable()
    )
    return target if is_ours and target is not None and "\\" not in target else "/"


def wants_page() -> bool:
    """Whether the caller is a browser that asks for a page."""
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith(_NOT_PAGES)


_HELD = "held."


@dataclass(frozen=True, slots=True)
class HeldForm:
    """A form that came without a session to take it: where it was to go, and all that was in it but the old session's secret."""

    path: str
    fields: tuple[tuple[str, str], ...] = field(repr=False)
    had_files: bool = False

    @classmethod
    def of_request(cls) -> "HeldForm":
        """Return the form that this request bears."""
        fields = tuple(pair for pair in request.form.items(multi=True) if pair[0] != "csrf_token")
        return cls(request.full_path.rstrip("?"), fields, bool(request.files))

    @classmethod
    def of_fields(cls) -> "HeldForm":
        """Return the form that the fields of another one hold."""
        fields = tuple(
            (name.removeprefix(_HELD), value)
            for name, value in request.form.items(multi=True)
            if name.startswith(_HELD)
        )
        return cls(_inside(request.form.get("path")), fields, request.form.get("had_files") == "yes")

    @property
    def typed(self) -> tuple[str, ...]:
        """What people would miss: texts of some length, not the codes that a page put there, which have no blank."""
        return tuple(value for _, value in self.fields if len(value) > 20 and " " in value)


def _held_page(held: HeldForm, fault: str | None = None) -> str:
    openid = shell().openid
    return render_template(
        "held.html",
        held=held,
        prefix=_HELD,
        fault=fault,
        username=request.form.get("username", "")[:64],
        provider=openid.name if openid is not None else None,
        is_local=shell().settings.local_sign_in,
    )


def _page_before() -> str:
    """Return the page of ours that a form was sent from."""
    referrer = request.referrer or ""
    for here in (request.host_url, shell().settings.public_url + "/"):
        if referrer.startswith(here):
            return _inside("/" + referrer.removeprefix(here))
    return "/"


def page_of_problem(answer: Response) -> AnyResponse:
    """Turn a problem into what a browser can show: the way to sign in where that mends it, else a page that says what happened.

    What was typed into a form whose session ended is not lost: the page holds it until somebody has signed in.
    """
    if not wants_page():
        return answer
    if answer.status_code == 401 and request.method == "GET":
        return redirect("/sign-in?next=" + quote(request.full_path.rstrip("?"), safe="/"))
    told = answer.get_json(force=True)
    is_over = answer.status_code == 401 or told["code"] == "csrf-token"
    if is_over and request.method == "POST" and is_surely_of_this_site():
        held = HeldForm.of_request()
        if held.fields and read_session() is None:
            return make_response(_held_page(held), 401)
        if held.fields:
            return make_response(render_template("resume.html", held=held), answer.status_code)
    shown = render_template("problem.html", problem=told, before=_page_before())
    page = make_response(shown, answer.status_code)
    for name in ("Retry-After", "Allow"):
        if name in answer.headers:
            page.headers[name] = answer.headers[name]
    return page
