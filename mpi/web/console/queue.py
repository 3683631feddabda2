"""The review queue as people work it: chosen by type, organisation, state, holder and age; sorted, counted, page by page."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

from foundation.errors import Conflict, Invalid
from foundation.ids import format_id, parse_id
from foundation.principal import Principal
from foundation.web import current_principal, requires
from foundation.web.pages import Fault, Listing, chosen_of, go
from mpi.matching.harm import TEAMS
from mpi.service import queue, review, views
from mpi.service.context import Mpi
from mpi.web.console import words
from mpi.web.tasks import read_place, write_place

PAGE = 25
EVERYONE = "everyone"
"""Said in an address in place of ``*``."""

KNOWN: Mapping[str, Any] = {
    "kind": words.KINDS,
    "state": words.STATES,
    "whose": ("mine", "team"),
    "age": words.AGES,
    "sort": words.SORTS,
    "restricted": ("only",),
}


def make(mpi: Mpi) -> Blueprint:
    room = Blueprint("mpi-queue", __name__)

    @room.get("/tasks")
    @requires("tasks:read")
    def show_queue() -> str:
        return queue_page(chosen_by(current_principal()), "/tasks")

    @room.get("/restricted")
    @requires("tasks:read", "restricted:read")
    def show_restricted() -> str:
        return queue_page({**chosen_by(current_principal()), "restricted": "only"}, "/restricted")

    def queue_page(chosen: dict[str, str], path: str, faults: Sequence[Fault] = ()) -> str:
        by = current_principal()
        asked = asked_of(chosen, by)
        cursor = request.args.get("cursor")
        sort = chosen.get("sort", "worst")
        page = review.list_tasks(mpi, by, limit=PAGE, after=read_place(cursor), sort=sort, **asked)
        counts = review.count_tasks(mpi, by, **{**asked, "kind": None})
        shown = {name: code for name, code in chosen.items() if name != "restricted" or path == "/tasks"}
        listing = Listing(path, shown, cursor, write_place(page.next))
        return render_template(
            "mpi/queue.html",
            tasks=page.tasks,
            listing=listing,
            now=mpi.clock.now(),
            counts=[(code, words.KINDS[code], counts[code]) for code in words.KINDS if counts.get(code)],
            total=sum(counts.values()),
            shown_total=counts.get(asked["kind"], 0) if asked["kind"] else sum(counts.values()),
            selects=selects_for(by),
            words=words,
            may_work="tasks:work" in by.scopes,
            only_restricted=asked["only_protected"],
            within=within_of(chosen),
            undo=before_of(),
            views=[
                (one.name, Listing("/tasks", shown_of(one.chosen)).url(), format_id(one.view_id))
                for one in views.list_views(mpi, by)
            ],
            chosen=chosen,
            faults=faults,
            typed=request.form.get("name", ""),
            listing_url=lambda task_id, within: Listing(f"/tasks/{format_id(task_id)}", within).url(),
        )

    @room.post("/tasks/views")
    @requires("tasks:read")
    def keep_view() -> str | Response:
        by = current_principal()
        chosen = chosen_of(request.form, KNOWN)
        if request.form.get("for") in whose(by):
            chosen["for"] = request.form["for"]
        try:
            views.keep_view(mpi, by, request.form.get("name", ""), kept_of(chosen))
        except (Invalid, Conflict) as refusal:
            fault = Fault("name", words.VIEW_FAULTS.get(refusal.code, "This view cannot be kept"))
            return make_response(queue_page(chosen, "/tasks", (fault,)), 422)
        return go(Listing("/tasks", chosen).url(), "view-kept")

    @room.post("/tasks/views/<view_id>/drop")
    @requires("tasks:read")
    def drop_view(view_id: str) -> Response:
        views.drop_view(mpi, current_principal(), parse_id(view_id, "view_id"))
        return go("/tasks", "view-dropped")

    @room.post("/tasks/next")
    @requires("tasks:work")
    def take_next() -> Response:
        by = current_principal()
        return go_on(mpi, by)

    return room


def chosen_by(by: Principal) -> dict[str, str]:
    """Read what the address chooses. An organisation is taken as it stands: whether the reader may ask for it, the service says."""
    chosen = chosen_of(request.args, KNOWN)
    whom = request.args.get("for", "")
    if whom in whose(by):
        chosen["for"] = whom
    return chosen


def whose(by: Principal) -> set[str]:
    """Return whose tasks a reader may choose."""
    return {EVERYONE, review.OWN, *TEAMS, by.organisation, *by.organisations}


def kept_of(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return what an address chooses, by the names that the API gives it."""
    kept = {name: chosen[name] for name in ("kind", "state", "sort", "for") if name in chosen}
    if kept.get("for") == EVERYONE:
        kept["for"] = review.EVERYTHING
    if chosen.get("whose") == "mine":
        kept["mine"] = "true"
    if "age" in chosen:
        kept["older_than_days"] = chosen["age"]
    return kept


def shown_of(kept: Mapping[str, str]) -> dict[str, str]:
    """Return the same as an address has it."""
    chosen = {name: kept[name] for name in ("kind", "state", "sort", "for") if name in kept}
    if chosen.get("for") == review.EVERYTHING:
        chosen["for"] = EVERYONE
    if "mine" in kept:
        chosen["whose"] = "mine"
    if "older_than_days" in kept:
        chosen["age"] = kept["older_than_days"]
    return chosen


def asked_of(chosen: Mapping[str, str], by: Principal) -> dict[str, Any]:
    """Turn what was chosen into what the service is asked."""
    only_restricted = chosen.get("restricted") == "only"
    begins = review.EVERYTHING if only_restricted else review.begins_with(by)
    whom = chosen.get("for")
    is_mine = chosen.get("whose") == "mine"
    if whom == EVERYONE or (is_mine and whom is None):
        whom = review.EVERYTHING
    age = chosen.get("age")
    return {
        "kind": chosen.get("kind"),
        "view": chosen.get("state", "open"),
        "for_whom": whom or begins,
        "only_protected": only_restricted,
        "only_mine": is_mine,
        "older_than": timedelta(days=int(age)) if age else None,
    }


def selects_for(by: Principal) -> list[dict[str, Any]]:
    begins = review.begins_with(by)
    whom = [
        (EVERYONE, "Everyone"),
        (review.OWN, "My organisations"),
        *words.TEAMS.items(),
        *((code, code) for code in sorted({by.organisation, *by.organisations} - {"*"})),
    ]
    shown = {review.EVERYTHING: EVERYONE}.get(begins, begins)
    whom.sort(key=lambda one: one[0] != shown)
    return [
        {"name": "kind", "label": "Type", "items": [("", "All types"), *words.KINDS.items()]},
        {"name": "for", "label": "Waits for", "items": [("", whom[0][1]), *whom[1:]]},
        {"name": "state", "label": "State", "items": [("", "Open"), *words.pairs(words.STATES)[1:]]},
        {"name": "whose", "label": "Held by", "items": [("", "Anyone"), ("mine", "Me")]},
        {"name": "age", "label": "Open for", "items": [("", "Any time"), *words.AGES.items()]},
        {"name": "sort", "label": "Order", "items": [("", "Worst first"), *words.pairs(words.SORTS)[1:]]},
    ]


# Going on from task to task --------------------------------------------------------------------------------------------


def within_of(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return what of a list's filters says which task is the next: its type, whom it waits for, and whether restricted people alone."""
    return {name: chosen[name] for name in ("kind", "for", "restricted") if name in chosen}


def within_form(by: Principal) -> dict[str, str]:
    """Return the same of a form, or of the address of a task."""
    given = request.form if request.method == "POST" else request.args
    found = chosen_of(given, {"kind": KNOWN["kind"], "restricted": KNOWN["restricted"]})
    if given.get("for") in whose(by):
        found["for"] = given["for"]
    return found


def go_on(mpi: Mpi, by: Principal, said: str | None = None, before: str | None = None) -> Response:
    """Claim the next task of those that the reader works through and send them there; to the queue where there is none."""
    within = within_form(by)
    asked = asked_of(within, by)
    task = queue.next_task(
        mpi,
        by,
        kind=asked["kind"],
        for_whom=asked["for_whom"],
        only_protected=asked["only_protected"],
    )
    more = {**within, **({"before": before} if before else {})}
    if task is None:
        return go(Listing("/tasks", more).url(), said or "queue-empty")
    return go(Listing(f"/tasks/{format_id(task.task_id)}", more).url(), said)


def before_of() -> tuple[str, str] | None:
    """Return the task and the decision that the reader just made, by their ids, which the address bears."""
    task, _, decision = request.args.get("before", "").partition(".")
    is_ids = all(part.isascii() and part.isdecimal() and len(part) < 20 for part in (task, decision))
    return (task, decision) if is_ids else None


__all__ = [
    "asked_of",
    "before_of",
    "chosen_by",
    "go_on",
    "make",
    "within_form",
    "within_of",
]
