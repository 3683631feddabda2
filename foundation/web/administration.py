"""Pages for administrators: the directory of organisations, and webhooks with what became of their messages."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from flask import Blueprint, Flask, make_response, render_template, request
from werkzeug.wrappers import Response

from foundation.auth.clients import list_clients
from foundation.directory import (
    SETTINGS,
    Organisation,
    get_organisation,
    list_organisations,
    parse_ods_code,
)
from foundation.errors import Conflict, Gone, Invalid
from foundation.ids import parse_id
from foundation.outbox import read_feed
from foundation.principal import Principal
from foundation.topics import TOPICS
from foundation.web.access import current_principal, requires
from foundation.web.console import ConsoleLink, add_console_link
from foundation.web.directory import keep_organisation, mark_of
from foundation.web.pages import (
    Card,
    Fault,
    Listing,
    add_cards,
    add_said,
    chosen_of,
    confirm_page,
    fault_of,
    go,
    moved_on_page,
    read_day,
    whole_number,
    write_day,
)
from foundation.web.shell import shell
from foundation.webhooks import keep
from foundation.webhooks.address import reach_of
from foundation.webhooks.deliver import ping_webhook, post_of
from foundation.webhooks.keep import WRITER

administration = Blueprint("administration", __name__)

_LISTED = 50
_SAID = {
    "organisation-kept": "The organisation is recorded.",
    "webhook-paused": "Nothing is sent until you go on with it.",
    "webhook-active": "It goes on from where it stood.",
    "webhook-removed": "It is removed, with what was known of its messages.",
    "webhook-replayed": "It is sent again from there on.",
    "webhook-changed": "The change is recorded.",
    "delivery-again": "The message goes with the next round of a worker.",
    "ping-delivered": "A message without events was sent, and taken.",
    "ping-failed": "A message without events was sent, and not taken.",
}
_WORDS = {
    "organisation-format": "An ODS code has 3 to 10 letters and digits",
    "name-format": "Give it a name of at most 200 characters",
    "setting-unknown": "Choose the setting",
    "closed-before-opened": "It would close before it opens",
    "organisation-unknown": "The directory does not know this code",
    "parent-circular": "It would belong to itself",
    "successor-circular": "It would come after itself",
    "date-format": "Write a date as day, month and year, such as 1 4 2027",
    "topics-missing": "Choose what is told",
    "topic-not-for-client": "The system may not be told this: it lacks a scope",
    "webhook-exists": "There is one for this system and address already",
    "client-closed": "The system is closed",
    "events-gone": "These events are kept no longer. Let the receiver read again what it holds, then send from a later one",
    "sequence-ahead": "No event of this number has come yet",
    "sequence-format": "Give the number of an event",
}
_FIELDS = ("name", "setting", "parent", "successor", "opened_on", "closed_on")
"""What the form of an organisation gives."""
_PLACES = {"opened_on": "opened-day", "closed_on": "closed-day"}
OUTCOMES = {
    "delivered": "Taken",
    "failing": "Tried again by itself",
    "dead": "Set aside",
    "again": "To be sent again",
}


def install_administration(app: Flask) -> None:
    """Add the administrators' pages to the console."""
    app.register_blueprint(administration)
    add_said(app, _SAID)
    add_console_link(app, ConsoleLink("Organisations", "/organisations", "directory:write"))
    add_console_link(app, ConsoleLink("Webhooks", "/webhooks", WRITER))
    add_cards(app, WRITER, _cards)


def _cards(by: Principal) -> list[Card]:
    with shell().db.read() as tx:
        hooks = keep.list_webhooks(tx, by, limit=200)
    paused = sum(one.state == "paused" for one in hooks)
    return [
        Card("Webhooks that are paused", "/webhooks", "Events wait for them as long as they are kept", paused)
    ]


# Organisations -------------------------------------------------------------------------------------------------------


@administration.get("/organisations")
@requires("directory:read")
def organisations() -> str:
    """List organisations in order of code."""
    chosen = chosen_of(request.args, {"setting": SETTINGS})
    after = request.args.get("cursor", "")[:10] or None
    with shell().db.read() as tx:
        found = list_organisations(tx, setting=chosen.get("setting"), after=after, limit=_LISTED + 1)
    shown = list(found)[:_LISTED]
    following = shown[-1].ods_code if len(found) > _LISTED else None
    return render_template(
        "administration/organisations.html",
        rows=shown,
        listing=Listing("/organisations", chosen, after, following),
        settings=SETTINGS,
        may_write=_may_write(),
        today=shell().clock.now().date(),
    )


@administration.get("/organisations/new")
@requires("directory:write")
def new_organisation() -> str:
    """Ask what is to be recorded."""
    return _organisation_form(None, {})


@administration.get("/organisations/<ods_code>")
@requires("directory:read")
def organisation(ods_code: str) -> str:
    """Show an organisation."""
    with shell().db.read() as tx:
        found = get_organisation(tx, parse_ods_code(ods_code, "ods_code"))
    return render_template("administration/organisation.html", one=found, may_write=_may_write())


@administration.get("/organisations/<ods_code>/change")
@requires("directory:write")
def ask_organisation(ods_code: str) -> str:
    """Ask what is to be otherwise."""
    with shell().db.read() as tx:
        found = get_organisation(tx, parse_ods_code(ods_code, "ods_code"))
    return _organisation_form(found, _as_form(found))


@administration.post("/organisations/new")
@requires("directory:write")
def add_organisation() -> Response:
    """Record an organisation that is not there yet."""
    return _kept(request.form.get("ods_code", "").strip().upper(), None)


@administration.post("/organisations/<ods_code>/change")
@requires("directory:write")
def change_organisation(ods_code: str) -> Response:
    """Replace what is recorded of an organisation, but for its own settings."""
    with shell().db.read() as tx:
        before = get_organisation(tx, parse_ods_code(ods_code, "ods_code"))
    return _kept(ods_code, before)


def _kept(ods_code: str, before: Organisation | None) -> Response:
    values = {name: text.strip() for name, text in request.form.items() if name != "csrf_token"}
    try:
        given = _organisation(ods_code, values, before)
        keep_organisation(given, named=_FIELDS, if_seen=values.get("seen", ""))
    except Invalid as error:
        fault = fault_of(error, _WORDS, _PLACES)
        return make_response(_organisation_form(before, values, [fault]), 422)
    except Conflict:
        if before is None:
            taken = Fault("ods_code", "The directory has this code already")
            return make_response(_organisation_form(None, values, [taken]), 409)
        return moved_on_page(
            "Somebody changed this organisation",
            ["What you sent started from an older state, so nothing was saved."],
            back=f"/organisations/{ods_code}",
            since=[("Name now", before.name), ("Setting now", before.setting)],
            kept=[("Name", values.get("name", "")), ("Belongs to", values.get("parent", ""))],
        )
    return go(f"/organisations/{ods_code}", "organisation-kept")


def _organisation(ods_code: str, values: Mapping[str, str], before: Organisation | None) -> Organisation:
    made = Organisation(
        ods_code=parse_ods_code(ods_code, "ods_code"),
        name=values.get("name", ""),
        setting=values.get("setting", ""),
        parent=values.get("parent", "").upper() or None,
        successor=values.get("successor", "").upper() or None,
        opened_on=_day(values, "opened"),
        closed_on=_day(values, "closed"),
    )
    return made if before is None else replace(made, settings=before.settings)


def _day(values: Mapping[str, str], name: str) -> date | None:
    told = read_day(values, name)
    try:
        return date.fromisoformat(told) if told is not None else None
    except ValueError:
        raise Invalid("date-format", field=f"{name}_on") from None


def _as_form(one: Organisation) -> dict[str, str]:
    values = {
        "ods_code": one.ods_code,
        "name": one.name,
        "setting": one.setting,
        "parent": one.parent or "",
        "successor": one.successor or "",
        "seen": mark_of(one),
    }
    for name, day in (("opened", one.opened_on), ("closed", one.closed_on)):
        if day is not None:
            values |= {
                f"{name}-day": str(day.day),
                f"{name}-month": str(day.month),
                f"{name}-year": str(day.year),
            }
    return values


def _organisation_form(before: Organisation | None, values: Mapping[str, str], faults: Any = ()) -> str:
    return render_template(
        "administration/organisation_form.html",
        one=before,
        values=values,
        faults=list(faults),
        settings=SETTINGS,
    )


def _may_write() -> bool:
    return "directory:write" in current_principal().scopes


# Webhooks ------------------------------------------------------------------------------------------------------------


@administration.get("/webhooks")
@requires(WRITER)
def webhooks() -> str:
    """List the webhooks of the caller's organisations."""
    after = parse_id(request.args["cursor"], "cursor") if request.args.get("cursor") else 0
    with shell().db.read() as tx:
        found = keep.list_webhooks(tx, current_principal(), after=after, limit=_LISTED + 1)
        last = read_feed(tx).last
    shown = list(found)[:_LISTED]
    following = str(shown[-1].webhook_id) if len(found) > _LISTED else None
    return render_template(
        "administration/webhooks.html",
        rows=shown,
        last=last,
        listing=Listing("/webhooks", {}, str(after) if after else None, following),
    )


@administration.get("/webhooks/new")
@requires(WRITER)
def new_webhook() -> str:
    """Ask where events are to be sent, and which."""
    return _webhook_form({}, [])


@administration.post("/webhooks/new")
@requires(WRITER)
def add_webhook() -> Response:
    """Make a webhook and show its secret, once."""
    parts, form = shell(), request.form
    topics = form.getlist("topics")
    try:
        with parts.db.write() as tx:
            made, secret = keep.create_webhook(
                tx,
                parts.clock.now(),
                current_principal(),
                reach_of(parts.settings),
                client_id=form.get("client_id", ""),
                url=form.get("url", "").strip(),
                topics=topics,
                description=form.get("description", "").strip() or None,
            )
    except (Invalid, Conflict) as error:
        words = _WORDS.get(error.code) or error.detail or f"This cannot be taken ({error.code})"
        place = error.field or ("url" if error.code == "webhook-exists" else "client_id")
        return make_response(_webhook_form(form, topics, [Fault(place, words)]), 422)
    page = render_template("administration/secret.html", hook=made, secret=secret, is_new=True)
    return make_response(page)


@administration.get("/webhooks/<webhook_id>")
@requires(WRITER)
def webhook(webhook_id: str) -> str:
    """Show how far a webhook is, how it fares, and what became of its messages."""
    return _webhook_page(_number(webhook_id))


@administration.post("/webhooks/<webhook_id>/state")
@requires(WRITER)
def set_state(webhook_id: str) -> Response:
    """Pause a webhook, or go on with it."""
    parts, number = shell(), _number(webhook_id)
    state = "paused" if request.form.get("state") == "paused" else "active"
    try:
        with parts.db.write() as tx:
            keep.change_webhook(
                tx,
                parts.clock.now(),
                current_principal(),
                number,
                {"state": state},
                if_match=whole_number(request.form.get("version")),
            )
    except Gone:
        return make_response(_webhook_page(number, [Fault("from_sequence", _WORDS["events-gone"])]), 410)
    except Conflict:
        says = ["Somebody changed it since you opened it, so nothing was done."]
        return moved_on_page("This webhook has changed", says, back=f"/webhooks/{number}")
    return go(f"/webhooks/{number}", f"webhook-{state}")


@administration.get("/webhooks/<webhook_id>/secret")
@requires(WRITER)
def ask_secret(webhook_id: str) -> str:
    """Ask before the secret is changed."""
    number = _number(webhook_id)
    return confirm_page(
        "Give it a new secret",
        action=f"/webhooks/{number}/secret",
        button="Show a new secret",
        back=f"/webhooks/{number}",
        says=["For a day messages bear two signatures, so that the receiver can change over when it likes."],
    )


@administration.post("/webhooks/<webhook_id>/secret")
@requires(WRITER)
def rotate(webhook_id: str) -> str:
    """Give a webhook a new secret, and show it once."""
    parts = shell()
    with parts.db.write() as tx:
        hook, secret = keep.rotate_secret(tx, parts.clock.now(), current_principal(), _number(webhook_id))
    return render_template("administration/secret.html", hook=hook, secret=secret, is_new=False)


@administration.post("/webhooks/<webhook_id>/replay")
@requires(WRITER)
def replay(webhook_id: str) -> Response:
    """Send everything from a sequence on once more."""
    parts, number = shell(), _number(webhook_id)
    given = whole_number(request.form.get("from_sequence", "").replace(",", "").strip())
    if given is None or not 1 <= given < 2**53:
        return make_response(_webhook_page(number, [Fault("from_sequence", _WORDS["sequence-format"])]), 422)
    try:
        with parts.db.write() as tx:
            keep.replay_webhook(tx, parts.clock.now(), current_principal(), number, given)
    except (Gone, Conflict) as error:
        words = _WORDS["events-gone"] if isinstance(error, Gone) else _WORDS["sequence-ahead"]
        return make_response(_webhook_page(number, [Fault("from_sequence", words)]), 409)
    return go(f"/webhooks/{number}", "webhook-replayed")


@administration.post("/webhooks/<webhook_id>/ping")
@requires(WRITER)
def ping(webhook_id: str) -> Response:
    """Send a signed message without events, and say what came of it."""
    parts, number = shell(), _number(webhook_id)
    outcome = ping_webhook(post_of(parts.db, parts.clock, parts.settings), current_principal(), number)
    return go(f"/webhooks/{number}", "ping-delivered" if outcome.is_delivered else "ping-failed")


@administration.post("/webhooks/<webhook_id>/deliveries/<delivery_id>/retry")
@requires(WRITER)
def retry(webhook_id: str, delivery_id: str) -> Response:
    """Have a message that was set aside sent once more."""
    parts, number = shell(), _number(webhook_id)
    try:
        with parts.db.write() as tx:
            keep.retry_delivery(
                tx, parts.clock.now(), current_principal(), number, parse_id(delivery_id, "delivery_id")
            )
    except Gone:
        return make_response(_webhook_page(number, [Fault("from_sequence", _WORDS["events-gone"])]), 410)
    except Conflict:
        says = ["The message is set aside no more: somebody else had it sent again."]
        return moved_on_page("This message has changed", says, back=f"/webhooks/{number}")
    return go(f"/webhooks/{number}", "delivery-again")


@administration.get("/webhooks/<webhook_id>/remove")
@requires(WRITER)
def ask_remove(webhook_id: str) -> str:
    """Ask before a webhook is removed."""
    number = _number(webhook_id)
    with shell().db.read() as tx:
        hook = keep.get_webhook(tx, current_principal(), number)
    return confirm_page(
        "Remove this webhook",
        action=f"/webhooks/{number}/remove",
        button="Remove it",
        back=f"/webhooks/{number}",
        rows=[("System", hook.client_id), ("Since", write_day(hook.created_at))],
        says=[
            "Nothing more is sent, and what is known of its messages goes with it. This cannot be taken back."
        ],
        is_warning=True,
    )


@administration.post("/webhooks/<webhook_id>/remove")
@requires(WRITER)
def remove(webhook_id: str) -> Response:
    """Remove a webhook."""
    parts = shell()
    with parts.db.write() as tx:
        keep.delete_webhook(tx, parts.clock.now(), current_principal(), _number(webhook_id))
    return go("/webhooks", "webhook-removed")


def _number(webhook_id: str) -> int:
    return parse_id(webhook_id, "webhook_id")


def _webhook_page(number: int, faults: Any = ()) -> str:
    by = current_principal()
    with shell().db.read() as tx:
        hook = keep.get_webhook(tx, by, number)
        feed = read_feed(tx)
        dead = keep.list_deliveries(tx, by, number, state="dead", limit=_LISTED)
        others = [one for one in keep.list_deliveries(tx, by, number, limit=20) if one.state != "dead"]
    return render_template(
        "administration/webhook.html",
        hook=hook,
        feed=feed,
        dead=dead,
        others=others,
        outcomes=OUTCOMES,
        topics=TOPICS,
        faults=list(faults),
    )


def _webhook_form(values: Mapping[str, str], topics: list[str], faults: Any = ()) -> str:
    by = current_principal()
    with shell().db.read() as tx:
        clients = [one for one in list_clients(tx) if one.is_active and by.may_act_for(one.organisation)]
    return render_template(
        "administration/webhook_form.html",
        values=values,
        chosen=topics,
        clients=clients,
        topics=TOPICS,
        faults=list(faults),
    )
